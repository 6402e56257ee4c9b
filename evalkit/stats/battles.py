"""Reviews to battles: the one place where the order of showing is undone.

A battle is one readable or unreadable review of two answers, told from a fixed side: model `b`
against model `a`, whoever was shown first. Statistics never see the order again, except as the
column `a_first`, which is there to measure what the order did.
"""

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from evalkit.records import Review

PAIR = ["judge", "prompt", "a", "b"]
"""What is never mixed: one judge with one prompt, on one pair of models."""

Key = tuple[str, ...]

COLUMNS = [*PAIR, "category", "question", "a_first", "score_a", "score_b", "outcome"]


def battles(
    reviews: Iterable[Review], categories: Mapping[str, str], baseline: str | None = None
) -> pd.DataFrame:
    """One row a review of two answers.

    `categories` maps question id to category; reviews of other questions are left out. `a` is the
    baseline where it takes part, else the alphabetically first model. `outcome` is b's: 1 won,
    0.5 tied, 0 lost. Scores and outcome are NaN where the reply could not be read.
    """
    rows = [
        _battle(review, categories[review.question], baseline)
        for review in reviews
        if len(set(review.shown)) == len(review.shown) == 2 and review.question in categories
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"score_a": float, "score_b": float, "outcome": float, "a_first": bool})


def by_question(battles: pd.DataFrame) -> pd.DataFrame:
    """One row a question of a pair: `score_a`, `score_b`, `outcome` averaged over its reviews.

    Samples in one order are averaged first, then the two orders, so that an order which was asked
    more often weighs no more. `orders` says in how many orders (1 or 2) the question could be
    read. Questions without a readable review are left out.
    """
    question = [*PAIR, "category", "question"]
    values = ["score_a", "score_b", "outcome"]
    readable = battles.dropna(subset=["outcome"])
    an_order = readable.groupby([*question, "a_first"])[values].mean()
    grouped = an_order.groupby(question)
    table = grouped[values].mean()
    table["orders"] = grouped.size()
    return table.reset_index()


def groups(table: pd.DataFrame, keys: list[str]) -> Iterator[tuple[Key, pd.DataFrame]]:
    """The parts of a table that agree in `keys`, in the order of their values."""
    for key, group in table.groupby(keys):
        yield tuple(map(str, key)), group


def _battle(review: Review, category: str, baseline: str | None) -> tuple[object, ...]:
    first, second = review.shown
    a_first = first == baseline or (second != baseline and first < second)
    a, b = (first, second) if a_first else (second, first)
    if review.scores is None:
        score_a = score_b = outcome = None
    else:
        score_a, score_b = review.scores if a_first else review.scores[::-1]
        outcome = 1.0 if score_b > score_a else 0.0 if score_b < score_a else 0.5
    where = (review.judge, review.prompt, a, b, category, review.question, a_first)
    return (*where, score_a, score_b, outcome)
