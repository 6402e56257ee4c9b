"""Intervals for any statistic, by drawing whole questions again.

Counts are added up by question first; a resample is how often each question is drawn, never a row
copied, so that a statistic of counts is one matrix product for all resamples.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import ndtr, ndtri

from evalkit.stats.intervals import LEVEL, NO_SPREAD, Estimate, Floats

RESAMPLES = 2000
MOST = 2000
"""Questions that are drawn, or left out, one by one; of more, so many groups of them are."""
AT_ONCE = 10_000_000
"""Weights that are held at once."""

Statistic = Callable[[Floats], Floats]
"""(R, n) how often each question counts -> (R,) values, NaN where there is none."""


def draws(questions: int, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[Floats]:
    """(R, n): how often each of n questions is drawn, with replacement, in R resamples.

    In pieces, of some of the R each. Of more than `MOST` questions whole groups are drawn, each of
    every `MOST`-th question: as wide, since questions do not hang on each other.
    """
    dice = np.random.default_rng(seed)
    groups = min(questions, MOST)
    at = np.arange(questions) % groups
    some = max(1, AT_ONCE // questions)
    for done in range(0, resamples, some):
        size = min(some, resamples - done)
        drawn = dice.multinomial(groups, np.full(groups, 1 / groups), size).astype(float)
        yield drawn if groups == questions else drawn[:, at]


def _left_out(questions: int) -> Iterator[Floats]:
    """(n, n): each question, or group of them, left out in turn; in pieces as `draws`."""
    groups = min(questions, MOST)
    at = np.arange(questions) % groups
    some = max(1, AT_ONCE // questions)
    for done in range(0, groups, some):
        out = np.arange(done, min(groups, done + some))
        yield (at != out[:, None]).astype(float)


def interval(
    statistic: Statistic,
    questions: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """The statistic of all questions, its SE and its interval: bias-corrected and accelerated.

    BCa (Efron 1987, JASA 82:171-185), with the acceleration from leaving out each question in
    turn. No interval from fewer than two questions, or where no resample differs.
    """
    if questions == 0:
        return Estimate(None)
    value = float(statistic(np.ones((1, questions)))[0])
    if np.isnan(value):
        return Estimate(None)
    if questions == 1:
        return Estimate(value)
    drawn = np.concatenate([statistic(each) for each in draws(questions, resamples, seed)])
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) < resamples / 2:
        return Estimate(value)
    se = float(np.std(drawn, ddof=1))
    if se < NO_SPREAD:
        return Estimate(value, se)
    same = np.isclose(drawn, value)
    below = (np.sum((drawn < value) & ~same) + 0.5 * np.sum(same)) / len(drawn)
    bias = float(ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))
    without = np.concatenate([statistic(each) for each in _left_out(questions)])
    off = np.nanmean(without) - without[~np.isnan(without)]
    spread = float(np.sum(off**2)) ** 1.5
    skew = float(np.sum(off**3)) / (6 * spread) if spread > NO_SPREAD else 0.0
    ends = bias + ndtri(np.array([0.5 - level / 2, 0.5 + level / 2]))
    low, high = np.quantile(drawn, ndtr(bias + ends / (1 - skew * ends)))
    return Estimate(value, se, float(low), float(high))
