"""How well chatbots label texts: against the truth, against each other, and what it costs.

Predictions are a table of one row a model, prompt and question, with the columns
`model`, `prompt`, `question`: names, each of them a text; a model with another prompt is another;
`truth`: the right labels, a tuple or frozenset; None where nobody said which;
`said`: the labels that the model gave, a tuple or frozenset; None where its reply is unreadable.
`labels` are all labels that may stand in either; another is a KeyError.

A bank is of single labels where every truth holds exactly one. What was said is right where it
holds the labels of the truth and no others. Unreadable is wrong, and never a class: nothing was
said.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import binomtest, entropy

from evalkit.errors import Missing
from evalkit.records import place
from evalkit.stats import bootstrap
from evalkit.stats.battles import groups
from evalkit.stats.intervals import LEVEL, Estimate, Floats, wilson

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Given: TypeAlias = "pd.Series[Any]"
Verdict = Literal["better", "not worse", "worse", "open"]

MARGIN = 0.02
"""The accuracy that a chatbot may lose and still be called not worse, a fraction."""
BLOCKS = 2000
"""More texts than this are drawn in as many blocks: a resample is a number for each of them."""

SCORES = [
    "model", "prompt", "texts", "unreadable", "accuracy", "accuracy_low", "accuracy_high",
    "accuracy_readable", "accuracy_readable_low", "accuracy_readable_high", "labels",
    "macro_precision", "macro_recall", "macro_f1", "macro_f1_low", "macro_f1_high",
    "weighted_precision", "weighted_recall", "weighted_f1", "kappa",
]  # fmt: skip
BY_LABEL = [
    "model", "prompt", "label", "support", "predicted", "precision", "precision_low",
    "precision_high", "recall", "recall_low", "recall_high", "f1",
]  # fmt: skip
BETWEEN = [
    "a", "prompt_a", "b", "prompt_b", "texts", "both_read", "agreement", "kappa", "labelled",
    "only_a", "only_b", "p", "difference", "difference_low", "difference_high", "verdict_b",
    "verdict_a",
]  # fmt: skip
TO_LABEL = ["question", "votes", "entropy"]


class Confusion(NamedTuple):
    """What was said of each truth; the labels are in the order in which they were given."""

    matrix: Ints | None
    """(L, L + 1) texts: truth by said, the last column unreadable; None where a text has not
    exactly one label."""
    each: Ints
    """(L, 2, 2) texts, a label each: rows truth, columns said, first without and then with it."""


def scores(predictions: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """One row a model and prompt, on its texts with a truth; `SCORES`. Shares are fractions.

    `accuracy`: of all texts, `_readable`: of those it read; both with Wilson's interval. Macro and
    weighted precision, recall and F1 as scikit-learn has them (zero_division=0), over the `labels`
    that stand in a truth or were said: one that does not occur can be had neither right nor wrong.
    `macro_f1_low`, `_high`: BCa, drawing texts. `kappa`: Cohen's, with the truth, on the texts that
    it read; several labels of a text are one class of their own. Raises Missing without
    scikit-learn.
    """
    rows: list[tuple[object, ...]] = []
    for key, own in groups(predictions[predictions["truth"].notna()], ["model", "prompt"]):
        truth, said, readable = _hot(own["truth"], labels), _hot(own["said"], labels), _read(own)
        right, read = int(_right(own).sum()), int(readable.sum())
        occurs = np.flatnonzero((truth | said).any(0))
        macro, weighted = (_averages(truth, said, occurs, kind) for kind in ("macro", "weighted"))
        f1 = _macro_f1(truth, said)
        agreed = _kappa(own.loc[readable, "truth"], own.loc[readable, "said"])
        sure = *_share(right, len(own)), *_share(right, read)
        counts = len(own), len(own) - read
        rows.append((*key, *counts, *sure, len(occurs), *macro, f1.low, f1.high, *weighted, agreed))
    numbers = dict.fromkeys(SCORES[4:], float) | {"labels": int}
    return pd.DataFrame(rows, columns=SCORES).astype(numbers)


def by_label(predictions: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """One row a model, prompt and label, on the texts with a truth; `BY_LABEL`.

    `support`: texts that have the label; `predicted`: texts of which it was said. Precision and
    recall with Wilson's interval, which needs a text to be made from; 0 where there is none
    (scikit-learn, zero_division=0), and nothing where the label does not occur at all. Raises
    Missing without scikit-learn.
    """
    rows: list[tuple[object, ...]] = []
    for key, own in groups(predictions[predictions["truth"].notna()], ["model", "prompt"]):
        truth, said = _hot(own["truth"], labels), _hot(own["said"], labels)
        occurs = np.flatnonzero((truth | said).any(0))
        found = np.full((3, len(labels)), np.nan)
        found[:, occurs] = _averages(truth, said, occurs, None)
        hits, support, predicted = (each.sum(0, dtype=int) for each in (truth & said, truth, said))
        for at, label in enumerate(labels):
            _, *of_predicted = _share(int(hits[at]), int(predicted[at]))
            _, *of_support = _share(int(hits[at]), int(support[at]))
            precision, recall, f1 = found[:, at]
            sure = precision, *of_predicted, recall, *of_support, f1
            rows.append((*key, label, support[at], predicted[at], *sure))
    return pd.DataFrame(rows, columns=BY_LABEL).astype(dict.fromkeys(BY_LABEL[5:], float))


def confusion(predictions: pd.DataFrame, labels: Sequence[str]) -> dict[tuple[str, ...], Confusion]:
    """(model, prompt) -> what was said of each truth, on the texts with one."""
    found = {}
    for key, own in groups(predictions[predictions["truth"].notna()], ["model", "prompt"]):
        truth, said = _hot(own["truth"], labels), _hot(own["said"], labels)
        unreadable = ~_read(own)
        matrix = None
        if (truth.sum(1) == 1).all() and (said.sum(1) == ~unreadable).all():
            matrix = truth.T.astype(int) @ np.column_stack([said, unreadable]).astype(int)
        both = [[~truth & ~said, ~truth & said], [truth & ~said, truth & said]]
        found[key] = Confusion(matrix, np.moveaxis(np.sum(both, axis=2), -1, 0))
    return found


def between(predictions: pd.DataFrame, margin: float = MARGIN) -> pd.DataFrame:
    """One row for every two models or prompts that share a text; `BETWEEN`.

    `texts`: those that both were asked. `agreement` and `kappa` (Cohen's): on the ones that
    `both_read`, the same labels and no others. The rest is on the `labelled` ones, with a truth:
    `only_a`, `only_b`: texts that only one had right; `p`: McNemar's exact test of these two
    (binomial, two-sided; McNemar 1947, Psychometrika 12:153-157); `difference`: b's accuracy minus
    a's, a fraction, with `tango`'s interval; `verdict_b`: whether b is worse than a by more than
    the margin, as `verdict` says it; `verdict_a`: whether a is worse than b.
    """
    rows: list[tuple[object, ...]] = []
    judged = predictions.assign(read=_read(predictions), right=_right(predictions))
    each = dict(groups(judged, ["model", "prompt"]))
    for one, other in combinations(each, 2):
        both = each[one].merge(each[other], on="question", suffixes=("_a", "_b"))
        if len(both):
            read = both[both["read_a"] & both["read_b"]]
            agreed = [set(a) == set(b) for a, b in zip(read["said_a"], read["said_b"], strict=True)]
            alike = np.mean(agreed) if agreed else None, _kappa(read["said_a"], read["said_b"])
            told = both[both["truth_a"].notna()]
            right = told["right_a"].to_numpy(bool), told["right_b"].to_numpy(bool)
            rows.append((*one, *other, len(both), len(read), *alike, *_paired(*right, margin)))
    numbers = dict.fromkeys([*BETWEEN[6:8], *BETWEEN[11:15]], float)
    return pd.DataFrame(rows, columns=BETWEEN).astype(numbers)


def tango(only_a: int, only_b: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Score interval of b's accuracy minus a's, on n texts that both labelled.

    `only_a`, `only_b`: texts that only one had right. The differences d that the score test does
    not refuse: |only_b - only_a - n d| <= z sqrt(n (2 q + d (1 - d))), q being the likeliest share
    of texts that only a has right where the difference is d (Tango 1998, Stat. Med. 17:891-908).
    It is good for few texts, and has a width where no text tells the two apart.
    """
    z = float(ndtri(0.5 + level / 2))
    value = (only_b - only_a) / n

    def inside(d: float, side: int) -> float:
        """Above 0 where d is inside, to the right (side 1) or left (-1) of the value."""
        half = (-only_a - only_b + (2 * n - only_b + only_a) * d) / 2
        root = max(0.0, half * half + 2 * n * only_a * d * (1 - d))
        q = (root**0.5 - half) / (2 * n)
        return float(z * max(0.0, n * (2 * q + d * (1 - d))) ** 0.5 - side * n * (d - value))

    def end(side: int) -> float:
        return float(brentq(inside, value + side * 1e-9, side, args=(side,), xtol=1e-12))

    return end(-1), end(1)


def verdict(low: float, high: float, margin: float = MARGIN) -> Verdict:
    """What a 95% interval of b's accuracy minus a's says of b, all of them fractions.

    `better`: all of it above 0; `not worse`: above -margin; `worse`: below -margin; else `open`.
    """
    if low > 0:
        return "better"
    if low > -margin:
        return "not worse"
    return "worse" if high < -margin else "open"


def against(predictions: pd.DataFrame, model: str, prompt: str) -> pd.DataFrame:
    """The predictions of all others, the truth being what this model said with this prompt.

    Where nobody knows the truth, `scores` of it and its neighbours tell how far the others agree
    with that model. There is no truth where it was not asked or its reply is unreadable.
    """
    of_it = (predictions["model"] == model) & (predictions["prompt"] == prompt)
    said = dict(
        zip(predictions.loc[of_it, "question"], predictions.loc[of_it, "said"], strict=True)
    )
    others = predictions[~of_it]
    truth = pd.Series([said.get(each) for each in others["question"]], others.index, object)
    return others.assign(truth=truth)


def to_label_first(predictions: pd.DataFrame, limit: int) -> pd.DataFrame:
    """The texts without a truth that are best labelled by hand, at most `limit`; `TO_LABEL`.

    Those first on which the models disagree most: `entropy`, in bits, of the `votes`, one a model
    and prompt that read the text. Ties are in the order that nobody chose, `records.place`.
    """
    rows = []
    open_ = predictions[predictions["truth"].isna()]
    for (question,), own in groups(open_, ["question"]):
        votes = Counter(map(frozenset, own["said"].dropna()))
        spread = float(entropy(list(votes.values()), base=2)) if votes else 0.0
        rows.append((question, votes.total(), spread))
    rows.sort(key=lambda row: (-round(row[2], 9), place(row[0])))
    return pd.DataFrame(rows[:limit], columns=TO_LABEL)


def cost_per_thousand(dollars: float, texts: int) -> float | None:
    """Dollars for 1,000 texts, at what `texts` of them have cost; None where there are none."""
    return 1000 * dollars / texts if texts else None


def break_even(per_thousand: float, per_hour: float) -> float | None:
    """Texts an hour from which a machine of one's own costs no more than a service's price.

    `per_thousand`: the service's dollars for 1,000 texts; `per_hour`: dollars for each hour that
    the machine is paid for, busy or idle. A month has 730 hours. None where the service costs
    nothing.
    """
    return 1000 * per_hour / per_thousand if per_thousand > 0 else None


def _read(predictions: pd.DataFrame) -> Bools:
    """(n,) whether the reply is readable."""
    return predictions["said"].notna().to_numpy(bool)


def _right(predictions: pd.DataFrame) -> Bools:
    """(n,) whether what was said is the truth."""
    both = (predictions["truth"].notna() & predictions["said"].notna()).to_numpy(bool, copy=True)
    pairs = zip(predictions["truth"][both], predictions["said"][both], strict=True)
    both[both] = [set(truth) == set(said) for truth, said in pairs]
    return both


def _hot(given: Given, labels: Sequence[str]) -> Bools:
    """(n, L): which labels stand in each of n; none in None."""
    at = {label: number for number, label in enumerate(labels)}
    found = np.zeros((len(given), len(labels)), bool)
    for row in np.flatnonzero(given.notna()):
        found[row, [at[label] for label in given.iloc[row]]] = True
    return found


def _averages(truth: Bools, said: Bools, occurs: Ints, average: str | None) -> Floats:
    """(3,) precision, recall and F1, averaged over the labels that occur; (3, l) by None.

    `truth`, `said`: (n, L); `occurs`: (l,) which labels do; NaN where none does.
    """
    try:
        from sklearn.metrics import precision_recall_fscore_support
    except ImportError:
        raise Missing(
            "precision, recall and F1 need scikit-learn: pip install 'evalkit[classify]'"
        ) from None
    # A last column that is no label: one column alone would not be taken for labels.
    both = (np.pad(each.astype(int), ((0, 0), (0, 1))) for each in (truth, said))
    found = precision_recall_fscore_support(*both, labels=occurs, average=average, zero_division=0)
    return np.array(found[:3], float)


def _macro_f1(truth: Bools, said: Bools) -> Estimate:
    """Of the labels that occur, F1 = 2 hits / (support + predicted); in a resample those in it.

    `truth`, `said`: (n, L).
    """
    n, labels = truth.shape
    blocks = np.arange(n)
    if n > BLOCKS:
        blocks = np.random.default_rng(0).permutation(n) % BLOCKS
    counts = np.zeros((min(n, BLOCKS), 2 * labels))
    np.add.at(counts, blocks, np.hstack([2.0 * (truth & said), 1.0 * truth + said]))

    def statistic(weights: Floats) -> Floats:
        hits, all_ = np.split(weights @ counts, 2, axis=1)
        there = all_ > 0
        f1 = np.divide(hits, all_, out=np.zeros_like(hits), where=there)
        number = there.sum(1)
        return np.where(number, f1.sum(1) / np.maximum(number, 1), np.nan)

    return bootstrap.interval(statistic, len(counts))


def _kappa(one: Given, other: Given) -> float | None:
    """Cohen's kappa, as `agreement.kappa`, where a class is a set of labels: there may be many."""
    pairs = [(frozenset(a), frozenset(b)) for a, b in zip(one, other, strict=True)]
    a, b = Counter(pair[0] for pair in pairs), Counter(pair[1] for pair in pairs)
    n = len(pairs)
    same, by_chance = n * sum(x == y for x, y in pairs), sum(a[each] * b[each] for each in a)
    return (same - by_chance) / (n * n - by_chance) if by_chance < n * n else None


def _paired(right_a: Bools, right_b: Bools, margin: float) -> tuple[object, ...]:
    """The columns of `between` from `labelled` on; (n,) who had which text right."""
    n = len(right_a)
    if not n:
        return 0, 0, 0, *[None] * 6
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    low, high = tango(only_a, only_b, n)
    verdicts = verdict(low, high, margin), verdict(-high, -low, margin)
    return n, only_a, only_b, p, (only_b - only_a) / n, low, high, *verdicts


def _share(successes: int, n: int) -> tuple[float | None, float | None, float | None]:
    """A share with Wilson's interval; nothing of nothing."""
    return (successes / n, *wilson(successes, n)) if n else (None, None, None)
