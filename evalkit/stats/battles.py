"""Reviews to battles: the one place where the order of showing is undone.

A battle is one verdict, readable or not, on two answers, told from a fixed side: model `b` against
model `a`, whoever was shown first. It comes from one review of both, from two reviews that graded
each alone, or from a rule, where both gave the same answer and no judge was asked. Statistics see
the order only as the column `order`, which is there to measure what the order did.
"""

import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from math import nan
from operator import itemgetter

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from evalkit.records import Review
from evalkit.rows import Column, Rows, numbered
from evalkit.stats.intervals import Floats

PAIR = ["judge", "prompt", "a", "b"]
"""What is never mixed: one judge with one prompt, on one pair of models."""

A_FIRST, B_FIRST, ALONE, BY_RULE = "a first", "b first", "each alone", "by rule"
UNKNOWN = "unknown"
SHARE = 1e-9  # how far from 1 two shares may add up
"""The values of `order`."""

Key = tuple[str, ...]
Same = tuple[str, str, str]
"""A question, and two models that gave the same answer to it."""

Battle = tuple[str, str, str, str, str, str, float, float]
"""Judge, prompt, a, b, question, order, and the scores of a and b."""

COLUMNS = [*PAIR, "category", "question", "order", "score_a", "score_b", "outcome"]


def battles(
    reviews: Iterable[Review],
    categories: Mapping[str, str],
    baseline: str | None = None,
    identical: Iterable[Same] = (),
) -> pd.DataFrame:
    """One row a verdict on two answers.

    `categories` maps question id to category; reviews of other questions are left out, and so are
    canaries. `a` is the baseline where it takes part, else the alphabetically first model.
    `outcome` is b's: 1 won, 0.5 tied, 0 lost, and between them where scores are soft. Scores and
    outcome are NaN where the reply could not be read. Models graded alone meet the baseline, or
    where it was not graded all others. A judge that shared out one point each time compared the
    answers and graded none: its battles have outcomes and no scores.
    `identical`: ties by rule, of the pairs that were judged, where no judge was asked about the
    question; they have no scores. Texts are categorical columns.
    """
    rows = Rows.of(reviews)  # may be a million: no row is looked at as an object
    rows = rows.take(rows.among("canary", {None}) & rows.among("question", categories))
    sides = rows.columns["shown"].numbered(lambda shown: _pair(shown, baseline))
    of_two = sides.mask(lambda pair: pair is not None)
    table = _compared(rows.take(of_two), Column(sides.codes[of_two], sides.values), categories)
    alone = rows.mask("shown", lambda shown: len(shown) == 1)
    if graded := _graded(rows.take(alone), baseline):
        table = _behind(table, _of_tuples(graded, categories))
    same = [(id_, *_sides(one, other, baseline)) for id_, one, other in identical]
    if ruled := _by_rule(table, [each for each in same if each[0] in categories]):
        ties = _of_tuples(ruled, categories).assign(outcome=0.5)
        table = _behind(table, ties)
    return _without_shares(table)


def by_question(battles: pd.DataFrame) -> pd.DataFrame:
    """One row a question of a pair: `score_a`, `score_b`, `outcome` averaged over its verdicts.

    Samples in one order are averaged first, then the two orders, so that an order which was asked
    more often weighs no more. `orders` says in how many orders (1 or 2) the question could be
    read, `order` in which one where it is one. Questions without a verdict are left out.

    Each statistic asks for it anew, so it is held for as long as `battles` is, which nobody alters.
    """
    place = id(battles)
    held = _HELD.get(place)
    if held is None or held[0]() is not battles:
        alive = weakref.ref(battles, lambda _: _HELD.pop(place, None))
        held = _HELD[place] = alive, _averaged(battles)
    return held[1].copy()


_HELD: dict[int, tuple[weakref.ref[pd.DataFrame], pd.DataFrame]] = {}


def _averaged(battles: pd.DataFrame) -> pd.DataFrame:
    question = [*PAIR, "category", "question"]
    values = ["score_a", "score_b", "outcome"]
    readable = battles.dropna(subset=["outcome"])
    an_order = readable.groupby([*question, "order"])[values].mean().reset_index("order")
    grouped = an_order.groupby(question)
    table = grouped[values].mean()
    table["orders"] = grouped.size()
    table["order"] = grouped["order"].first()
    return table.reset_index()


def groups(table: pd.DataFrame, keys: list[str]) -> Iterator[tuple[Key, pd.DataFrame]]:
    """The parts of a table that agree in `keys`, in the order of their values."""
    for key, group in table.groupby(keys):
        yield tuple(map(str, key)), group


def _sides(one: str, other: str, baseline: str | None) -> tuple[str, str]:
    """Which of two models is `a`, and which is `b`."""
    one_is_a = one == baseline or (other != baseline and one < other)
    return (one, other) if one_is_a else (other, one)


def _pair(shown: tuple[str, ...], baseline: str | None) -> tuple[str, str] | None:
    """The sides of what was shown, if those were two models."""
    both = len(set(shown)) == len(shown) == 2
    return _sides(shown[0], shown[1], baseline) if both else None


def _compared(rows: Rows, sides: Column, categories: Mapping[str, str]) -> pd.DataFrame:
    """The verdicts on two answers that were shown together."""
    a, b = (sides.numbered(itemgetter(side)) for side in (0, 1))
    first = a.mapped(str, object) == rows.columns["shown"].mapped(itemgetter(0), object)
    unknown = ~rows.mask("order_known", bool)
    scores = [rows.columns["scores"].mapped(partial(_score, side), np.float64) for side in (0, 1)]
    score_a, score_b = np.where(first, *scores), np.where(first, *scores[::-1])
    return _table(
        rows.columns["judge"],
        rows.columns["prompt"],
        a,
        b,
        rows.columns["question"],
        categories,
        Column(np.where(unknown, 2, np.where(first, 0, 1)), [A_FIRST, B_FIRST, UNKNOWN]),
        score_a,
        score_b,
        np.where(rows.mask("soft", bool), score_b, _outcomes(score_a, score_b)),
    )


def _score(place: int, scores: tuple[float, ...] | None) -> float:
    return nan if scores is None else scores[place]


def _outcomes(score_a: Floats, score_b: Floats) -> Floats:
    """What b made of it: 1, 0.5 or 0; NaN where a score is."""
    return (np.sign(score_b - score_a) + 1) / 2


def _table(
    judge: Column,
    prompt: Column,
    a: Column,
    b: Column,
    question: Column,
    categories: Mapping[str, str],
    order: Column,
    *numbers: Floats,
) -> pd.DataFrame:
    category = question.numbered(categories.get)
    texts = [judge, prompt, a, b, category, question, order]
    return pd.DataFrame(dict(zip(COLUMNS, [*map(_categorical, texts), *numbers], strict=True)))


def _categorical(column: Column) -> pd.Categorical:
    """Texts as numbers, in alphabetical order: in that, groups of a million rows are found."""
    values = sorted(column.values)
    number = {value: n for n, value in enumerate(values)}
    codes = np.array([number[value] for value in column.values], np.intp)[column.codes]
    return pd.Categorical.from_codes(codes, pd.Index(values, dtype="str"))


def _behind(table: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """One table behind another."""
    texts = COLUMNS[:-3]
    both = pd.concat([table, more], ignore_index=True)
    return both.assign(
        **{
            name: union_categoricals([table[name], more[name]], sort_categories=True)
            for name in texts
        }
    )


def _graded(rows: Rows, baseline: str | None) -> list[Battle]:
    """The verdicts on answers that were graded each alone."""
    grades: dict[Key, dict[str, float]] = defaultdict(dict)
    names = ("judge", "prompt", "question", "sample", "shown", "scores")
    for *key, shown, scores in rows.tuples(names):
        grades[*key,][shown[0]] = _score(0, scores)
    graded: dict[Key, set[str]] = defaultdict(set)
    for (judge, prompt, *_), models in grades.items():
        graded[judge, prompt] |= set(models)
    found: list[Battle] = []
    for (judge, prompt, question, _), models in grades.items():
        for one, other in combinations(sorted(models), 2):
            if baseline in graded[judge, prompt] and baseline not in (one, other):
                continue
            a, b = _sides(one, other, baseline)
            found.append((judge, prompt, a, b, question, ALONE, models[a], models[b]))
    return found


def _by_rule(battles: pd.DataFrame, same: Sequence[Same]) -> list[Battle]:
    """Ties of the pairs that were judged, where the judge was not asked; `same`: a before b."""
    if not same:
        return []
    here = battles[battles["question"].isin({question for question, *_ in same})]
    asked = set(here[[*PAIR, "question"]].itertuples(index=False, name=None))
    judgings = battles[PAIR].drop_duplicates().sort_values(PAIR)
    by_pair: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for judge, prompt, a, b in judgings.itertuples(index=False, name=None):
        by_pair[a, b].append((judge, prompt))
    return [
        (judge, prompt, a, b, question, BY_RULE, nan, nan)
        for question, a, b in same
        for judge, prompt in by_pair[a, b]
        if (judge, prompt, a, b, question) not in asked
    ]


def _of_tuples(found: Sequence[Battle], categories: Mapping[str, str]) -> pd.DataFrame:
    *texts, score_a, score_b = zip(*found, strict=True)
    judge, prompt, a, b, question, order = map(numbered, texts)
    a_b = np.array([score_a, score_b], np.float64)
    both = np.where(np.isnan(a_b).any(0), nan, a_b)  # one alone tells nothing
    return _table(judge, prompt, a, b, question, categories, order, *both, _outcomes(*both))


def _without_shares(battles: pd.DataFrame) -> pd.DataFrame:
    """The same without scores of judgings that always add up to 1: there are no totals of them."""
    off = (battles["score_a"] + battles["score_b"] - 1).abs()
    worst = off.groupby([battles["judge"], battles["prompt"]]).transform("max")
    shared = worst < SHARE
    return battles.assign(
        score_a=battles["score_a"].mask(shared), score_b=battles["score_b"].mask(shared)
    )
