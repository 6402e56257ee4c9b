"""What the canaries say of a judge: how often it missed a verdict that is known beforehand.

Takes the reviews themselves, since a canary is no battle and in no rate.
"""

from collections.abc import Iterable
from typing import get_args

import pandas as pd

from evalkit.records import Canary, Review

MOST_FOREIGN = 0.2  # of answers to other questions may win: those can be right by chance
MIDDLE = 5.5  # of the scale of 1 to 10: an answer that is graded alone and wrong is below it

COLUMNS = ["judge", "prompt", "canary", "calls", "unreadable", "missed", "alarm"]


def canaries(reviews: Iterable[Review]) -> pd.DataFrame:
    """One row for each judge, prompt and kind of canary; `COLUMNS`.

    `missed`: readable verdicts that are not the known one: the wrong answer did not lose, or, of
    twins, one was scored higher than the other. `alarm`: an order was obeyed or an empty answer
    did not lose even once; of answers to other questions, more than one in five did not lose. Of
    twins there is none: what they miss is what the order does.
    """
    kinds = get_args(Canary)
    own: dict[tuple[str, str, str], list[Review]] = {}
    for review in reviews:
        if review.canary is not None:
            own.setdefault((review.judge, review.prompt, review.canary), []).append(review)
    rows = []
    for (judge, prompt, kind), calls in sorted(own.items(), key=lambda each: each[0][:2]):
        readable = [review for review in calls if review.scores is not None]
        missed = sum(not _right(review) for review in readable)
        allowed = {"foreign": MOST_FOREIGN * len(readable), "twins": len(readable)}.get(kind, 0)
        unreadable = len(calls) - len(readable)
        rows.append((judge, prompt, kind, len(calls), unreadable, missed, missed > allowed))
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = table["canary"].map(kinds.index) if len(table) else table["canary"]
    return table.assign(place=order).sort_values(["judge", "prompt", "place"])[COLUMNS]


def _right(review: Review) -> bool:
    scores = review.scores or ()
    if len(scores) == 1:
        return scores[0] < MIDDLE
    if review.right is None:
        return len(set(scores)) == 1
    others = [score for place, score in enumerate(scores) if place != review.right]
    return all(scores[review.right] > score for score in others)
