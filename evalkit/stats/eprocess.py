"""Bets against a mean of 0: what is held after each outcome is evidence that holds at every look.

A betting e-process (Waudby-Smith and Ramdas 2024, JRSS B 86:1-27, with the aGRAPA bet): it begins
with 1 and is, while the mean is 0, expected to stay there, so the chance that it ever reaches
1 / alpha is at most alpha. Outcomes are taken one question after the other, in an order that was
fixed before. Knows no judge and no model.
"""

from copy import copy
from typing import Literal

import numpy as np
import numpy.typing as npt

from evalkit.stats.intervals import LEVEL, Floats

LARGEST_BET = 0.75  # of what is held, on one outcome
GRID = 401  # means that the interval tries, from -1 to 1
STEPS = 256  # outcomes that are taken in one go

Side = Literal[1, 0, -1]


class EProcesses:
    """Bets side by side, each on outcomes d in [-1, 1] of its own; either side, or one."""

    def __init__(self, shape: int | tuple[int, ...], side: Side = 0) -> None:
        """`side`: which mean is bet on: above 0 (1), either (0), below 0 (-1)."""
        self.log_k: Floats = np.zeros(shape)
        """The log of what each holds."""
        self.sum_d: Floats = np.zeros(shape)
        self.sum_dd: Floats = np.ones(shape)
        self._lowest = 0.0 if side == 1 else -LARGEST_BET
        self._highest = 0.0 if side == -1 else LARGEST_BET

    def take(self, outcomes: npt.ArrayLike) -> Floats:
        """Take (T, *shape) outcomes, T one after the other; NaN is none, and no bet.

        Returns (T, *shape): the logs of what is held after each. Raises ValueError for an outcome
        outside [-1, 1].
        """
        d = np.nan_to_num(np.asarray(outcomes, dtype=np.float64))  # an outcome of 0 changes nothing
        if (np.abs(d) > 1).any():
            raise ValueError(f"an outcome of {d[np.abs(d) > 1][0]} is not in [-1, 1]")
        sums = np.cumsum(d, 0)
        squares = np.cumsum(d * d, 0)
        before = (self.sum_d + sums - d) / (self.sum_dd + squares - d * d)
        bets = np.clip(before, self._lowest, self._highest)  # each known before its outcome
        logs: Floats = self.log_k + np.cumsum(np.log1p(bets * d), 0)
        self.log_k, self.sum_d = logs[-1], self.sum_d + sums[-1]
        self.sum_dd = self.sum_dd + squares[-1]
        return logs

    def only(self, some: npt.NDArray[np.bool_]) -> "EProcesses":
        """Those of them that are marked, with what they hold."""
        fewer = copy(self)
        fewer.log_k, fewer.sum_d = self.log_k[some], self.sum_d[some]
        fewer.sum_dd = self.sum_dd[some]
        return fewer


class ShiftedEProcesses:
    """The same against means other than 0; `means` of any shape, each in [-1, 1]."""

    def __init__(self, means: npt.ArrayLike, side: Side = 0) -> None:
        """`side`: whether a mean above the given one is bet on (1), either, or one below."""
        self._means = np.asarray(means, dtype=np.float64)
        self._reach = 1 + np.abs(self._means)  # brings outcomes less the mean back into [-1, 1]
        self._processes = EProcesses(self._means.shape, side)

    def take(self, outcomes: npt.ArrayLike) -> Floats:
        """As `EProcesses.take`."""
        d = np.asarray(outcomes, dtype=np.float64)
        return self._processes.take((d - self._means) / self._reach)

    def only(self, some: npt.NDArray[np.bool_]) -> "ShiftedEProcesses":
        """Those of them that are marked, with what they hold."""
        fewer = copy(self)
        fewer._means, fewer._reach = self._means[some], self._reach[some]
        fewer._processes = self._processes.only(some)
        return fewer


class TieEProcesses:
    """Evidence that a mean lies within a zone around 0: below its top and above its foot."""

    def __init__(self, number: int, zone: float) -> None:
        """`zone`: half its width; 0: there is no evidence of a tie, ever."""
        self._zone = zone
        self._below = ShiftedEProcesses(np.full(number, zone), -1)
        self._above = ShiftedEProcesses(np.full(number, -zone), 1)

    def take(self, outcomes: npt.ArrayLike) -> Floats:
        """As `EProcesses.take`; the weaker of the two sides."""
        if not self._zone:
            return np.full(np.shape(outcomes), -np.inf)
        return np.minimum(self._below.take(outcomes), self._above.take(outcomes))


def always_valid(outcomes: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float] | None:
    """An interval for the mean of outcomes in [-1, 1] that holds however often one looks.

    The means that no bet has ruled out at any time (a confidence sequence, Waudby-Smith and Ramdas
    2024), on a grid; wider than a t interval, and right where the number of outcomes depends on
    what they were. None without an outcome.
    """
    d = np.asarray(outcomes, dtype=np.float64)
    d = d[~np.isnan(d)]
    if not len(d):
        return None
    means = np.linspace(-1, 1, GRID)
    left = np.arange(GRID)
    held = ShiftedEProcesses(means)
    for begin in range(0, len(d), STEPS):
        some = d[begin : begin + STEPS, None]
        logs = held.take(np.broadcast_to(some, (len(some), len(left))))
        stays = (logs < -np.log(1 - level)).all(0)
        left, held = left[stays], held.only(stays)
    step = 2 / (GRID - 1)
    kept = means[left] if len(left) else d.mean(keepdims=True)
    return max(-1.0, float(kept.min()) - step), min(1.0, float(kept.max()) + step)
