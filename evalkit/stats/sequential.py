"""Stop when it is certain: who is better in each pair, and which is best, with a look at any time.

Built on the bets of `stats.eprocess`. Outcomes come question by question, in the order of `place`,
which depends on nothing but the questions' ids. Knows no judge and no score.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from evalkit.records import place
from evalkit.stats.battles import PAIR, by_question, groups
from evalkit.stats.eprocess import STEPS, EProcesses, TieEProcesses, always_valid
from evalkit.stats.intervals import Floats

ALPHA = 0.05
TIE = 0.05  # the win rates of a tie differ by at most 5 points: 47.5 to 52.5% each
RESAMPLES = 200  # futures that `more_questions` draws
FARTHEST = 3000  # questions that they go on for
COLUMNS = [*PAIR, "decision", "after", "questions", "low", "high", "more"]
RACE_COLUMNS = ["judge", "prompt", "left", "after", "questions"]

Decision = Literal[1, 0, -1]
"""A is better, a tie within the zone, B is better."""
NAMES: dict[Decision | None, str] = {1: "a", 0: "tie", -1: "b"}
Duel = tuple[str, str]
"""Two models: a, b."""


@dataclass(frozen=True)
class Decided:
    """What one pair came to."""

    decision: Decision | None
    """None: not certain yet."""
    after: int
    """Outcomes that it took, or all that there were."""


class Comparisons:
    """Several pairs, looked at together after every question.

    A pair is decided as soon as its evidence counts among all of them (e-BH): of the decisions at
    most `alpha` are wrong on average, whenever one stops and however the pairs depend on each
    other. Evidence of a decided pair stays as it is.
    """

    def __init__(self, number: int, alpha: float = ALPHA, tie_zone: float = 0.0) -> None:
        """`tie_zone`: half its width, in units of the mean outcome; 0: no tie is declared."""
        self.found: list[Decided | None] = [None] * number
        self.taken = np.zeros(number, dtype=np.intp)
        """Outcomes of each pair, until it was decided."""
        self._alpha = alpha
        self._better = EProcesses(number)
        self._tie = TieEProcesses(number, tie_zone)

    @property
    def open(self) -> list[int]:
        """Pairs that are not decided."""
        return [pair for pair, found in enumerate(self.found) if found is None]

    def take(self, outcomes: npt.ArrayLike) -> list[int]:
        """Take (m,) outcomes of A minus B in [-1, 1], NaN where there is none.

        Returns the pairs that are decided by it.
        """
        d = np.asarray(outcomes, dtype=np.float64).copy()
        d[[found is not None for found in self.found]] = np.nan
        self.taken += ~np.isnan(d)
        (better,), (tie,) = self._better.take([d]), self._tie.take([d])
        counted = e_benjamini_hochberg(np.maximum(better, tie), self._alpha)
        new = [pair for pair in self.open if counted[pair]]
        for pair in new:
            sign: Decision = 1 if self._better.sum_d[pair] > 0 else -1
            decision: Decision = 0 if tie[pair] > better[pair] else sign
            self.found[pair] = Decided(decision, int(self.taken[pair]))
        return new

    def take_all(self, table: Floats) -> None:
        """Take (n, m) outcomes as `take` does, one row after the other."""
        while len(table):
            some = np.where([found is not None for found in self.found], np.nan, table[:STEPS])
            better, tie = deepcopy(self._better), deepcopy(self._tie)
            held = np.maximum(better.take(some), tie.take(some))
            new = e_benjamini_hochberg(held, self._alpha)[:, self.open].any(1)
            if not new.any():
                self._better, self._tie = better, tie
                self.taken += (~np.isnan(some)).sum(0)
                table = table[STEPS:]
                continue
            decided = int(new.argmax())
            if decided:
                self._better.take(some[:decided])
                self._tie.take(some[:decided])
                self.taken += (~np.isnan(some[:decided])).sum(0)
            self.take(table[decided])
            table = table[decided + 1 :]


def e_benjamini_hochberg(log_e: npt.ArrayLike, alpha: float = ALPHA) -> npt.NDArray[np.bool_]:
    """Which of many e-values count, with false discoveries of at most `alpha` on average.

    `log_e`: (..., m) their logs; those of each row of m go together. e-BH (Wang and Ramdas 2022,
    JRSS B 84:822-852): the largest k for which the k-th largest is at least m / (alpha k). Holds
    however they depend on each other.
    """
    values = np.asarray(log_e, dtype=np.float64)
    m = values.shape[-1]
    if not m:
        return np.zeros(values.shape, dtype=np.bool_)
    ordered = -np.sort(-values, axis=-1)
    lines = np.log(m) - np.log(alpha) - np.log(np.arange(1, m + 1))
    passed = ordered >= lines
    last = np.where(passed, ordered, np.inf).min(-1, keepdims=True)
    counted: npt.NDArray[np.bool_] = values >= last
    return counted


class Race:
    """Which of M models is the best: one drops out when the others together have shown it is not.

    Model k drops out when the average over j of the one-sided e-processes "j beats k" reaches
    1 / alpha; the chance that the best ever drops out is at most `alpha`, however many there are.
    """

    def __init__(self, models: int, alpha: float = ALPHA) -> None:
        self.left = list(range(models))
        """Models that may still be the best."""
        self._line = -float(np.log(alpha))
        self._against = EProcesses((models, models), 1)

    def take(self, outcomes: npt.ArrayLike) -> list[int]:
        """Take (M, M) outcomes of the row's model minus the column's, in [-1, 1]; NaN is none.

        Returns the models that drop out.
        """
        d = np.full(self._against.log_k.shape, np.nan)
        inside = np.ix_(self.left, self.left)
        d[inside] = np.asarray(outcomes, dtype=np.float64)[inside]
        np.fill_diagonal(d, np.nan)
        held = self._against.take([d])[-1].copy()
        np.fill_diagonal(held, -np.inf)
        others = max(1, len(held) - 1)
        mean = np.logaddexp.reduce(held, axis=0) - np.log(others)
        out = [k for k in self.left if mean[k] >= self._line]
        if len(out) == len(self.left):  # somebody is the best
            out.remove(min(out, key=lambda k: mean[k]))
        self.left = [k for k in self.left if k not in out]
        return out


class Duels:
    """How models compare on one question, from the pairs that were judged.

    Two that were judged together: their outcome. Two that only met the same third model: half the
    difference of their outcomes against it, which is that of their win rates.
    """

    def __init__(self, pairs: Iterable[Duel]) -> None:
        """`pairs`: those that are judged, each once."""
        self.pairs = list(pairs)
        self.models = sorted({model for pair in self.pairs for model in pair})
        at = {}
        for place_, (a, b) in enumerate(self.pairs):
            at[a, b], at[b, a] = (place_, 1.0), (place_, -1.0)
        size = range(len(self.models))
        self._uses: dict[tuple[int, int], list[tuple[int, float]]] = {}
        """Row and column -> the pairs that tell of them, and how much of each outcome counts."""
        for j, k in ((j, k) for j in size for k in size if j != k):
            one, other = self.models[j], self.models[k]
            if (one, other) in at:
                self._uses[j, k] = [at[one, other]]
                continue
            thirds = (c for c in self.models if (one, c) in at and (other, c) in at)
            if (third := next(thirds, None)) is not None:
                (p, sign), (q, turned) = at[one, third], at[other, third]
                self._uses[j, k] = [(p, sign / 2), (q, -turned / 2)]

    @property
    def unconnected(self) -> list[str]:
        """Models that cannot be compared with each of the others."""
        size = len(self.models)
        met = {j: sum((j, k) in self._uses for k in range(size)) for j in range(size)}
        return [self.models[j] for j, number in met.items() if number < size - 1]

    def outcomes(self, d: npt.ArrayLike) -> Floats:
        """(M, M) of the row's model minus the column's, given those of `pairs`; NaN is none."""
        of = np.asarray(d, dtype=np.float64)
        found = np.full((len(self.models), len(self.models)), np.nan)
        for (j, k), uses in self._uses.items():
            found[j, k] = sum(weight * of[pair] for pair, weight in uses)
        return found

    def needed(self, left: Iterable[int]) -> set[int]:
        """The pairs that still tell something of the models `left`."""
        inside = set(left)
        return {
            pair
            for (j, k), uses in self._uses.items()
            if j in inside and k in inside
            for pair, _ in uses
        }


def decide(outcomes: Iterable[float], alpha: float = ALPHA, tie_zone: float = 0.0) -> Decided:
    """A is better (1), B is better (-1), a tie within the zone (0), or not certain yet.

    `outcomes`: of A minus B, one a question, each in [-1, 1], in the order that was fixed before.
    `tie_zone`: half its width, in units of the mean outcome; 0: a tie is never declared. At every
    look the chance of a wrong decision is at most `alpha`.
    """
    comparison = Comparisons(1, alpha, tie_zone)
    for d in outcomes:
        comparison.take([d])
        if comparison.found[0] is not None:
            return comparison.found[0]
    return Decided(None, int(comparison.taken[0]))


def more_questions(
    outcomes: npt.ArrayLike, alpha: float = ALPHA, tie_zone: float = TIE, seed: int = 0
) -> int | None:
    """About how many more questions would decide a pair, if they were like those that there are.

    `outcomes`: (n,) of A minus B. The median of futures drawn from them, each going on where the
    bets stand; None where there is one outcome or none, or it is more than `FARTHEST`.
    """
    d = np.asarray(outcomes, dtype=np.float64)
    d = d[~np.isnan(d)]
    if len(d) < 2:
        return None
    future = np.random.default_rng(seed).choice(d, (FARTHEST, RESAMPLES))
    after = np.concatenate([np.broadcast_to(d[:, None], (len(d), RESAMPLES)), future])
    better, tie = EProcesses(RESAMPLES).take(after), TieEProcesses(RESAMPLES, tie_zone).take(after)
    held = np.maximum(better, tie)
    sure = np.maximum.accumulate(held[len(d) :], 0) >= -np.log(alpha)
    enough = np.flatnonzero(sure.mean(1) >= 0.5)
    return int(enough[0]) + 1 if len(enough) else None


def decisions(battles: pd.DataFrame, alpha: float = ALPHA, tie_zone: float = TIE) -> pd.DataFrame:
    """One row for each judge, prompt and pair; `COLUMNS`. `decision`: a, b, tie, or None.

    The pairs of one judge and prompt are looked at together, see `Comparisons`. `after`: how many
    questions the decision took, or all that there were. `low`, `high`: of b's win rate, always
    valid. `more`: about how many more questions would decide a pair that is not.
    """
    rows: list[tuple[object, ...]] = []
    for _, judged in groups(by_question(battles), ["judge", "prompt"]):
        pairs, table = _in_order(judged)
        comparisons = Comparisons(len(pairs), alpha, tie_zone)
        comparisons.take_all(table)
        for number, pair in enumerate(pairs):
            own = table[:, number][~np.isnan(table[:, number])]
            found = comparisons.found[number]
            decision = NAMES[found.decision] if found else None
            more = None if found else more_questions(own, alpha, tie_zone)
            d_low, d_high = always_valid(own) or (-1.0, 1.0)
            low, high = (1 - d_high) / 2, (1 - d_low) / 2
            after = found.after if found else len(own)
            rows.append((*pair, decision, after, len(own), low, high, more))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"more": float})


def races(battles: pd.DataFrame, alpha: float = ALPHA) -> pd.DataFrame:
    """One row for each judge and prompt of three models or more that can be compared with each
    other; `RACE_COLUMNS`. `left`: those that may still be the best; `after`: questions until one
    was left, or all that there were.
    """
    rows = []
    for key, judged in groups(by_question(battles), ["judge", "prompt"]):
        pairs, table = _in_order(judged)
        duels = Duels([(a, b) for *_, a, b in pairs])
        if len(duels.models) < 3 or duels.unconnected:
            continue
        running, after = Race(len(duels.models), alpha), 0
        for outcomes in table:
            if len(running.left) > 1:
                running.take(duels.outcomes(outcomes))
                after += 1
        left = tuple(duels.models[k] for k in running.left)
        rows.append((*key, left, after, len(table)))
    return pd.DataFrame(rows, columns=RACE_COLUMNS)


def _in_order(judged: pd.DataFrame) -> tuple[Sequence[tuple[str, ...]], Floats]:
    """The pairs of one judging, and (n, m) their outcomes of a minus b, question by question."""
    table = judged.pivot(index="question", columns=PAIR, values="outcome")
    table = table.iloc[np.argsort([place(str(id_)) for id_ in table.index])]
    pairs: list[tuple[str, ...]] = [tuple(pair) for pair in table.columns]
    return pairs, 1 - 2 * table.to_numpy(np.float64)
