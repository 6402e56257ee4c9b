"""How sure a number is: 95% intervals over questions.

Each function takes one value a question (never two for the same one) and returns an Estimate.
There is no interval where there is nothing to make it from: one question, a denominator of 0, no
spread at all in a ratio.
The functions know no model and no judge.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri, stdtrit

LEVEL = 0.95
NO_SPREAD = 1e-12  # below this a standard error is rounding

Floats = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A value with its standard error and interval; None where the data do not give one."""

    value: float | None
    se: float | None = None
    low: float | None = None
    high: float | None = None


def mean(values: Floats, level: float = LEVEL) -> Estimate:
    """Mean of values of any size, one a question: SE = sd / sqrt(n) (ddof 1), t with n - 1."""
    n = len(values)
    if n == 0:
        return Estimate(None)
    value = float(np.mean(values))
    if n == 1:
        return Estimate(value)
    se = float(np.std(values, ddof=1)) / n**0.5
    if se < NO_SPREAD:
        return Estimate(value, se)
    half = _t(n - 1, level) * se
    return Estimate(value, se, value - half, value + half)


def mean_outcome(outcomes: Floats, level: float = LEVEL) -> Estimate:
    """Mean of outcomes in [0, 1], one a question: a win rate.

    Logit-t: with p the mean, SE = sd / sqrt(n) (ddof 1), the interval is
    expit(logit(p) -+ t[n-1] SE / (p (1 - p))), which stays inside (0, 1). Where all outcomes are
    equal (all won, all lost, all tied) the SE is 0 and says nothing; then Wilson's interval for
    n p of n is taken (Wilson 1927, JASA 22:209-212).
    """
    n = len(outcomes)
    if n == 0:
        return Estimate(None)
    p = float(np.mean(outcomes))
    if n == 1:
        return Estimate(p)
    se = float(np.std(outcomes, ddof=1)) / n**0.5
    if se < NO_SPREAD:
        return Estimate(p, se, *wilson(p * n, n, level))
    half = _t(n - 1, level) * se / (p * (1 - p))
    return Estimate(p, se, float(expit(logit(p) - half)), float(expit(logit(p) + half)))


def half_width(questions: int, level: float = LEVEL) -> float:
    """How far from an end the middle of a win rate's interval lies at most: half won, half lost."""
    z = float(ndtri(0.5 + level / 2))
    return z * 0.5 / float(np.sqrt(questions))


def wilson(successes: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval for a share of `successes` (a half counts) in `n` trials."""
    z = float(ndtri(0.5 + level / 2))
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def ratio(a: Floats, b: Floats, level: float = LEVEL) -> Estimate:
    """Ratio of sums, sum(b) / sum(a), paired by question.

    Delta method: e_i = (b_i - R a_i) / mean(a), SE^2 = var(e) / n (ddof 1), t with n - 1
    (Cochran 1977, Sampling Techniques, ch. 6).
    """
    if (values := _ratio_influence(a, b)) is None:
        return Estimate(None)
    value, e = values
    n = len(e)
    if n < 2:
        return Estimate(value)
    return _around(value, float(np.std(e, ddof=1)) / n**0.5, n - 1, level)


def stratified_ratio(a: Floats, b: Floats, strata: npt.ArrayLike, level: float = LEVEL) -> Estimate:
    """As `ratio`, for a bank whose categories are fixed: only spread inside a category counts.

    SE^2 = sum_c (n_c / n)^2 var_c(e) / n_c, t with n - (number of strata). Strata of one
    question have no spread of their own and are put together; if one question is still alone it
    joins the smallest other stratum (collapsed strata, Cochran 1977, sec. 5A.12).
    """
    if (values := _ratio_influence(a, b)) is None:
        return Estimate(None)
    value, e = values
    n = len(e)
    groups = _collapsed([e[np.asarray(strata) == name] for name in np.unique(strata)])
    df = n - len(groups)
    if df < 1:
        return Estimate(value)
    variance = sum((len(g) / n) ** 2 * np.var(g, ddof=1) / len(g) for g in groups)
    return _around(value, float(variance) ** 0.5, df, level)


def product(links: list[tuple[Floats, Floats]], level: float = LEVEL) -> Estimate:
    """Product of ratios of sums, sum(b_k) / sum(a_k) over links k: a chain of comparisons.

    Each link is (a, b), one entry a question, the same questions in the same places in every
    link; NaN where a link lacks the question. The relative influences of the links are added
    question by question before the variance is taken, so that what the links share (questions,
    and the answers of the bridge model) is counted once and with its sign: relative
    psi_i = sum_k (N / n_k) e_ki / R_k with e and R as in `ratio`, SE = value sd(psi) / sqrt(N), t
    with min(n_k) - 1. No interval where a link has one question or a sum is 0.
    """
    value, thinnest = 1.0, len(links[0][0])
    psi = np.zeros(thinnest)
    for a, b in links:
        here = ~(np.isnan(a) | np.isnan(b))
        if (values := _ratio_influence(a[here], b[here])) is None:
            return Estimate(None)
        link, e = values
        value *= link
        thinnest = min(thinnest, len(e))
        if value > 0:
            psi[here] += e / link * len(psi) / len(e)
    if thinnest < 2 or value == 0:
        return Estimate(value)
    return _around(value, value * float(np.std(psi, ddof=1)) / len(psi) ** 0.5, thinnest - 1, level)


def _ratio_influence(a: Floats, b: Floats) -> tuple[float, Floats] | None:
    """R and e of `ratio`; None where there is no ratio."""
    if len(a) == 0 or a.sum() <= 0:
        return None
    value = float(b.sum() / a.sum())
    return value, (b - value * a) / a.mean()


def _collapsed(groups: list[Floats]) -> list[Floats]:
    alone = [group for group in groups if len(group) == 1]
    rest = sorted((group for group in groups if len(group) > 1), key=len)
    if len(alone) == 1 and rest:
        return [np.concatenate([rest[0], alone[0]]), *rest[1:]]
    return [*rest, np.concatenate(alone)] if alone else rest


def _around(value: float, se: float, df: int, level: float) -> Estimate:
    """The value -+ t SE, cut at 0 since scores are not negative.

    No interval where nothing varies: an SE of 0 over a few questions is no certainty.
    """
    if se < NO_SPREAD * max(value, 1.0):
        return Estimate(value, se)
    half = _t(df, level) * se
    return Estimate(value, se, max(0.0, value - half), value + half)


def _t(df: int, level: float) -> float:
    return float(stdtrit(df, 0.5 + level / 2))
