"""Many small groups at once: each value drawn towards the mean of all, as far as it is unsure.

Empirical Bayes with a normal prior (Morris 1983, JASA 78:47-55).
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtri

from evalkit.stats.intervals import LEVEL, NO_SPREAD, Estimate, Floats

FEWEST = 4  # groups; the prior's width cannot be told from fewer
ROUNDS = 100  # of finding it


def shrunken_means(groups: Mapping[str, Floats], level: float = LEVEL) -> dict[str, Estimate]:
    """The mean of each group, shrunken; in units of the values, which lie in [0, 1].

    `groups`: name -> (n,) values, one a question. The variance of one value is pooled over the
    groups, so that ten equal values are not taken for certainty. With B = V / (V + prior variance)
    the estimate is (1 - B) mean + B grand mean, and its variance V (1 - B (k - 1) / k) +
    2 / (k - 3) B^2 (mean - grand mean)^2. Empty where fewer than `FEWEST` groups have two values,
    or where no value varies.
    """
    told = {name: values for name, values in groups.items() if len(values)}
    several = [values for values in told.values() if len(values) > 1]
    k = len(told)
    if len(several) < FEWEST:
        return {}
    within = sum(float(np.sum((values - values.mean()) ** 2)) for values in several)
    pooled = within / sum(len(values) - 1 for values in several)
    if pooled < NO_SPREAD:
        return {}
    means = np.array([values.mean() for values in told.values()])
    variances = pooled / np.array([len(values) for values in told.values()])
    prior = _prior_variance(means, variances)
    weights = 1 / (variances + prior)
    grand = float(weights @ means / weights.sum())
    b = variances / (variances + prior) * (k - 3) / (k - 1)
    value = (1 - b) * means + b * grand
    variance = variances * (1 - b * (k - 1) / k) + 2 / (k - 3) * b**2 * (means - grand) ** 2
    se = np.sqrt(variance)
    half = float(ndtri(0.5 + level / 2)) * se
    low, high = np.clip(value - half, 0, 1), np.clip(value + half, 0, 1)
    return {
        name: Estimate(float(value[n]), float(se[n]), float(low[n]), float(high[n]))
        for n, name in enumerate(told)
    }


def _prior_variance(means: Floats, variances: Floats) -> float:
    """The variance of the true means (Paule and Mandel 1982): weighted squares come to k - 1."""
    low, high = 0.0, 1.0  # of values in [0, 1]

    def squares(prior: float) -> float:
        weights = 1 / (variances + prior)
        grand = weights @ means / weights.sum()
        return float(weights @ (means - grand) ** 2)

    if squares(0.0) <= len(means) - 1:
        return 0.0
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if squares(middle) > len(means) - 1 else (low, middle)
    return (low + high) / 2
