"""The judge's report card: what its own verdicts tell of how far it can be trusted.

An item is a question of a pair of models. Items that share a question are averaged before an
interval is taken. What people would have said is not in here; see `stats.agreement`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import bdtr

from evalkit.records import Review
from evalkit.rows import Rows
from evalkit.stats.agreement import crossed, kappa, of_counts, verdicts
from evalkit.stats.battles import A_FIRST, B_FIRST, PAIR, by_question, groups
from evalkit.stats.intervals import Estimate, Floats, mean, mean_outcome, wilson
from evalkit.stats.shrinkage import shrunken_means

BY_CATEGORY = ["judge", "prompt", "category", "questions", "consistent", "low", "high"]

Lengths = Mapping[tuple[str, str], int]
"""(question, model) -> characters of the answer."""


def report_card(
    battles: pd.DataFrame, reviews: Iterable[Review], lengths: Lengths
) -> list[dict[str, Any]]:
    """One row for each judge and prompt; a value is None where nothing tells of it.

    `battles` and `reviews` are of the same rows, canaries left out. Shares are fractions, each
    with `_low` and `_high`:
    `unreadable` (Wilson; `refused` of them); `consistent`: items with one verdict in both orders,
    `order_kappa` between the orders (Cohen, three verdicts, BCa); `effect`: the win rate a model
    gains by being shown first instead of second (t), with the verdicts that flip to the first and
    to the second place and the exact binomial test `flips_p` of the two; `repeated`: asked the
    same again, the same verdict; `longer`: the longer answer won, of `decided` items, which is an
    association and no cause.
    """
    called = Rows.of(reviews).by("judge", "prompt")
    readable = battles.dropna(subset=["outcome"])
    parts = dict(groups(readable, ["judge", "prompt"]))
    rows = []
    for key, calls in sorted(called.items()):
        own = parts.get(key, readable.iloc[:0])
        row: dict[str, Any] = {"judge": key[0], "prompt": key[1], "reviews": len(calls)}
        row |= _unread(calls) | _orders(own) | _again(own) | _longer(own, lengths)
        rows.append(row)
    return rows


def consistency_by_category(battles: pd.DataFrame) -> pd.DataFrame:
    """How often a judge says the same in both orders, by category; `BY_CATEGORY`.

    Shrunken towards the judge's own mean, since ten questions rank nothing; no row where a judge
    has fewer than four categories with two questions.
    """
    rows: list[tuple[object, ...]] = []
    for key, group in groups(battles.dropna(subset=["outcome"]), ["judge", "prompt"]):
        both = _both_orders(group)
        if both.empty:
            continue
        same = (both[A_FIRST] == both[B_FIRST]).astype(float)
        of = same.groupby(["category", "question"]).mean()
        parts: dict[str, Floats] = {
            str(name): np.asarray(part, np.float64) for name, part in of.groupby(level="category")
        }
        for name, found in shrunken_means(parts).items():
            rows.append((*key, name, len(parts[name]), found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=BY_CATEGORY)


def _unread(calls: Rows) -> dict[str, Any]:
    unreadable = calls.how_many("scores", lambda scores: scores is None)
    low, high = wilson(unreadable, len(calls))
    refused = calls.mask("refusal", bool) | calls.among("unreadable", {"refused"})
    return {
        "unreadable": unreadable / len(calls),
        "unreadable_low": low,
        "unreadable_high": high,
        "refused": int(refused.sum()),
    }


def _both_orders(group: pd.DataFrame) -> pd.DataFrame:
    """A row an item that was read in both orders, samples averaged."""
    item = group.groupby([*PAIR, "category", "question", "order"])["outcome"].mean()
    table = item.unstack("order")
    if not {A_FIRST, B_FIRST} <= set(table.columns):
        return table.iloc[:0]
    return table.dropna(subset=[A_FIRST, B_FIRST])


def _orders(group: pd.DataFrame) -> dict[str, Any]:
    both = _both_orders(group)
    if both.empty:
        none = Estimate(None)
        return {
            "questions": 0,
            "items": 0,
            **_estimate("consistent", none),
            **_estimate("order_kappa", none),
            **_estimate("effect", none),
            "flips_to_first": 0,
            "flips_to_second": 0,
            "flips_p": None,
        }
    pull = both[B_FIRST] - both[A_FIRST]  # of b's win rate, where b comes first
    same = (both[A_FIRST] == both[B_FIRST]).astype(float)
    counts = crossed(
        verdicts(both[A_FIRST].to_numpy()),
        verdicts(both[B_FIRST].to_numpy()),
        both.reset_index()["question"].to_numpy(str),
    )
    first, second = int((pull > 0).sum()), int((pull < 0).sum())
    return {
        "questions": both.reset_index()["question"].nunique(),
        "items": len(both),
        **_estimate("consistent", mean_outcome(_by_question(same))),
        **_estimate("order_kappa", of_counts(kappa, counts)),
        **_estimate("effect", mean(_by_question(pull))),
        "flips_to_first": first,
        "flips_to_second": second,
        "flips_p": _sign_test(first, second),
    }


def _sign_test(one: int, other: int) -> float | None:
    """The exact binomial test of two counts that are as likely, two-sided; None of none."""
    if not one + other:
        return None
    return min(1.0, 2 * float(bdtr(min(one, other), one + other, 0.5)))


def _again(group: pd.DataFrame) -> dict[str, Any]:
    """Of the same showing asked several times: the share of pairs of verdicts that agree."""
    counts = group.groupby([*PAIR, "question", "order", "outcome"]).size()
    showing = [*PAIR, "question", "order"]
    n = counts.groupby(showing).sum()
    alike = (counts * (counts - 1)).groupby(showing).sum()
    several = n > 1
    share = alike[several] / (n * (n - 1))[several]
    return {
        "asked_again": int(several.sum()),
        **_estimate("repeated", mean_outcome(_by_question(share))),
    }


def _longer(group: pd.DataFrame, lengths: Lengths) -> dict[str, Any]:
    items = by_question(group)
    items = items[items["outcome"] != 0.5]
    won, questions = [], []
    for a, b, question, outcome in items[["a", "b", "question", "outcome"]].itertuples(index=False):
        one, other = lengths.get((question, a)), lengths.get((question, b))
        if one is not None and other is not None and one != other:
            won.append(float((outcome > 0.5) == (other > one)))
            questions.append(question)
    of = pd.Series(won, index=pd.Index(questions, name="question"), dtype=float)
    return {
        "decided": len(won),
        "longer_won": int(sum(won)),
        **_estimate("longer", mean_outcome(_by_question(of))),
    }


def _estimate(name: str, found: Estimate) -> dict[str, float | None]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _by_question(items: "pd.Series[float]") -> Floats:
    """One value a question: what shares a question is not independent."""
    return np.asarray(items.groupby(level="question").mean(), dtype=np.float64)
