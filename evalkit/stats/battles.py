"""Reviews to battles: the one place where the order of showing is undone.

A battle is one verdict, readable or not, on two answers, told from a fixed side: model `b` against
model `a`, whoever was shown first. It comes from one review of both, from two reviews that graded
each alone, or from a rule, where both gave the same answer and no judge was asked. Statistics see
the order only as the column `order`, which is there to measure what the order did.
"""

import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

import pandas as pd

from evalkit.records import Review

PAIR = ["judge", "prompt", "a", "b"]
"""What is never mixed: one judge with one prompt, on one pair of models."""

A_FIRST, B_FIRST, ALONE, BY_RULE = "a first", "b first", "each alone", "by rule"
UNKNOWN = "unknown"
SHARE = 1e-9  # how far from 1 two shares may add up
"""The values of `order`."""

Key = tuple[str, ...]
Same = tuple[str, str, str]
"""A question, and two models that gave the same answer to it."""

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
    question; they have no scores.
    """
    rows: list[tuple[object, ...]] = []
    grades: dict[Key, dict[str, Review]] = defaultdict(dict)
    sides: dict[tuple[str, ...], tuple[str, str] | None] = {}
    for review in reviews:
        if review.canary is not None or review.question not in categories:
            continue
        shown = review.shown
        if shown not in sides:
            both = len(set(shown)) == len(shown) == 2
            sides[shown] = _sides(shown[0], shown[1], baseline) if both else None
        if pair := sides[shown]:
            rows.append(_battle(review, categories[review.question], pair))
        elif len(shown) == 1:
            key = (review.judge, review.prompt, review.question, str(review.sample))
            grades[key][review.shown[0]] = review
    rows += _graded(grades, categories, baseline)
    rows += _by_rule(rows, categories, baseline, identical)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return _without_shares(table.astype({"score_a": float, "score_b": float, "outcome": float}))


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


def _battle(review: Review, category: str, pair: tuple[str, str]) -> tuple[object, ...]:
    a, b = pair
    first = review.shown[0]
    scores = review.scores if first == a or not review.scores else review.scores[::-1]
    order = (A_FIRST if first == a else B_FIRST) if review.order_known else UNKNOWN
    where = (review.judge, review.prompt, a, b, category, review.question, order)
    if review.soft and scores:
        return (*where, *scores, scores[1])
    return (*where, *_scored(*(scores or (None, None))))


def _scored(score_a: float | None, score_b: float | None) -> tuple[float | None, ...]:
    if score_a is None or score_b is None:
        return None, None, None
    return score_a, score_b, 1.0 if score_b > score_a else 0.0 if score_b < score_a else 0.5


def _without_shares(battles: pd.DataFrame) -> pd.DataFrame:
    """The same without scores of judgings that always add up to 1: there are no totals of them."""
    off = (battles["score_a"] + battles["score_b"] - 1).abs()
    worst = off.groupby([battles["judge"], battles["prompt"]]).transform("max")
    shared = worst < SHARE
    return battles.assign(
        score_a=battles["score_a"].mask(shared), score_b=battles["score_b"].mask(shared)
    )


def _graded(
    grades: Mapping[Key, Mapping[str, Review]], categories: Mapping[str, str], baseline: str | None
) -> Iterator[tuple[object, ...]]:
    graded: dict[Key, set[str]] = defaultdict(set)
    for (judge, prompt, *_), models in grades.items():
        graded[judge, prompt] |= set(models)
    for (judge, prompt, question, _), models in grades.items():
        met = combinations(sorted(models), 2)
        for one, other in met:
            if baseline in graded[judge, prompt] and baseline not in (one, other):
                continue
            a, b = _sides(one, other, baseline)
            both = [(models[model].scores or (None,))[0] for model in (a, b)]
            where = (judge, prompt, a, b, categories[question], question, ALONE)
            yield (*where, *_scored(*both))


def _by_rule(
    rows: list[tuple[object, ...]],
    categories: Mapping[str, str],
    baseline: str | None,
    identical: Iterable[Same],
) -> Iterator[tuple[object, ...]]:
    judged = {(*row[:4], row[5]) for row in rows}
    judgings = sorted({row[:4] for row in rows}, key=str)
    for question, one, other in identical:
        sides = _sides(one, other, baseline)
        for judge, prompt, *pair in judgings:
            asked = (judge, prompt, *pair, question) in judged
            if tuple(pair) == sides and question in categories and not asked:
                where = (judge, prompt, *sides, categories[question], question, BY_RULE)
                yield (*where, None, None, 0.5)
