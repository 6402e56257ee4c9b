"""Stop when it is certain: tests that hold at every look, so that looking often costs nothing.

A betting e-process (Waudby-Smith and Ramdas 2024, JRSS B 86:1-27, with the aGRAPA bet): if A and B
were equal, the chance that it ever reaches 1 / alpha is at most alpha. Outcomes are taken one
question after the other, in an order that was fixed before. Knows no judge and no model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.stats.battles import PAIR, by_question, groups
from evalkit.stats.intervals import Floats

ALPHA = 0.05
TIE = 0.05  # a win rate from 47.5 to 52.5% is a tie: the mean outcome is twice as wide
LARGEST_BET = 0.75  # of what is held, on one outcome
COLUMNS = [*PAIR, "decision", "after", "questions"]

Decision = Literal[1, 0, -1]
"""A is better, a tie within the zone, B is better."""


@dataclass
class EProcess:
    """A bet that outcomes d in [-1, 1] are not 0 on average; either side, or one.

    After each outcome `log_k` is the log of what is held. It begins with 1 and is, while the mean
    is 0, expected to stay there.
    """

    side: Literal[1, 0, -1] = 0
    """Which mean is bet on: above 0, either, below 0."""
    log_k: float = 0.0
    sum_d: float = 0.0
    sum_dd: float = 1.0

    def bet(self) -> float:
        """What is staked on the next outcome, known before it comes."""
        stake = float(np.clip(self.sum_d / self.sum_dd, -LARGEST_BET, LARGEST_BET))
        return max(0.0, stake) if self.side == 1 else min(0.0, stake) if self.side == -1 else stake

    def take(self, d: float) -> float:
        """Take an outcome in [-1, 1]; returns the log of what is held then.

        Raises ValueError for an outcome that is outside.
        """
        if not -1 <= d <= 1:
            raise ValueError(f"an outcome of {d} is not in [-1, 1]")
        self.log_k += float(np.log1p(self.bet() * d))
        self.sum_d += d
        self.sum_dd += d * d
        return self.log_k


@dataclass(frozen=True)
class Decided:
    """What one pair came to."""

    decision: Decision | None
    """None: not certain yet."""
    after: int
    """Outcomes that it took, or all that there were."""


def decide(outcomes: Iterable[float], alpha: float = ALPHA, tie_zone: float = 0.0) -> Decided:
    """A is better (1), B is better (-1), a tie within the zone (0), or not certain yet.

    `outcomes`: of A minus B, one a question, each in [-1, 1], in the order that was fixed before.
    `tie_zone`: half its width, in units of the mean outcome; 0: a tie is never declared. At every
    look the chance of a wrong decision is at most `alpha`.
    """
    line = -float(np.log(alpha))
    better = EProcess()
    below, above = _Shifted(tie_zone, -1), _Shifted(-tie_zone, 1)
    taken = 0
    for taken, d in enumerate(outcomes, 1):
        if better.take(d) >= line:
            return Decided(1 if better.sum_d > 0 else -1, taken)
        if tie_zone:
            sides = below.take(d), above.take(d)  # the mean is below the zone's top, above its foot
            if min(sides) >= line:
                return Decided(0, taken)
    return Decided(None, taken)


def decisions(
    battles: pd.DataFrame, place: Mapping[str, int], alpha: float = ALPHA, tie_zone: float = TIE
) -> pd.DataFrame:
    """One row for each judge, prompt and pair; `COLUMNS`. `decision`: a, b, tie, or None.

    `place` says where each question stands in an order that was fixed before anything was judged.
    `after` is how many questions the decision took, or all that there were.
    """
    rows = []
    for pair, questions in groups(by_question(battles), PAIR):
        in_order = questions.sort_values("question", key=lambda ids: ids.map(place))
        found = decide(1 - 2 * in_order["outcome"].to_numpy(np.float64), alpha, tie_zone)
        decision = {1: "a", 0: "tie", -1: "b", None: None}[found.decision]
        rows.append((*pair, decision, found.after, len(in_order)))
    return pd.DataFrame(rows, columns=COLUMNS)


class _Shifted:
    """An e-process that the mean is on one side of a value."""

    def __init__(self, value: float, side: Literal[1, -1]) -> None:
        self._value = value
        self._reach = 1 + abs(value)  # outcomes less the value, brought back into [-1, 1]
        self._process = EProcess(side)

    def take(self, d: float) -> float:
        return self._process.take((d - self._value) / self._reach)


def e_benjamini_hochberg(log_e: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Which of many e-values count, with false discoveries of at most `alpha` on average.

    e-BH (Wang and Ramdas 2022, JRSS B 84:822-852): the largest k for which the k-th largest is at
    least m / (alpha k). Holds however they depend on each other.
    """
    m = len(log_e)
    if not m:
        return []
    order = np.argsort(-np.asarray(log_e, dtype=np.float64), kind="stable")
    lines = np.log(m) - np.log(alpha) - np.log(np.arange(1, m + 1))
    passed = np.flatnonzero(np.asarray(log_e, dtype=np.float64)[order] >= lines)
    counted = set(order[: passed[-1] + 1].tolist()) if len(passed) else set()
    return [place in counted for place in range(m)]


def race(outcomes: Floats, alpha: float = ALPHA) -> tuple[list[int], int]:
    """Which models may still be the best, and after how many questions one was left.

    `outcomes`: (n, M), what each model got on each question, in [0, 1]. Model k drops out when the
    average over j of the one-sided e-processes "j beats k" reaches 1 / alpha; the chance that the
    best ever drops out is at most `alpha`, however many models there are.
    """
    n, models = outcomes.shape
    left = list(range(models))
    against = {(j, k): EProcess(1) for j in left for k in left if j != k}
    for taken in range(n):
        for j, k in against:
            if j in left and k in left:
                against[j, k].take(float(outcomes[taken, j] - outcomes[taken, k]))
        for k in list(left):
            rest = [against[j, k].log_k for j in range(models) if j != k]
            if len(left) > 1 and float(np.logaddexp.reduce(rest)) - np.log(len(rest)) >= -np.log(
                alpha
            ):
                left.remove(k)
        if len(left) == 1:
            return left, taken + 1
    return left, n
