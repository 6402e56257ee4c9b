"""What the order of showing did: how far a judge says the same whoever comes first.

From the battles of `stats.battles` that were judged in both orders. Nothing here knows a score.
"""

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from evalkit.stats.battles import A_FIRST, B_FIRST, PAIR, groups
from evalkit.stats.intervals import Floats, mean, mean_outcome

COLUMNS = [
    "judge", "prompt", "questions", "items",
    "consistent", "consistent_low", "consistent_high",
    "effect", "effect_low", "effect_high",
    "flips_to_first", "flips_to_second", "flips_p",
]  # fmt: skip


def order_effects(battles: pd.DataFrame) -> pd.DataFrame:
    """One row for each judge and prompt that read something in both orders; `COLUMNS`.

    An item is a question of a pair, samples averaged. `consistent`: the share of items with the
    same verdict in both orders. `effect`: how many points of win rate (a fraction) a model gains by
    being shown first instead of second, mean(w_first - w_second). Items that share a question are
    averaged before the interval is taken (logit-t; t). `flips_p`: exact binomial test of verdicts
    that flip to the first place against those that flip to the second.
    """
    rows = []
    for (judge, prompt), group in groups(battles.dropna(subset=["outcome"]), ["judge", "prompt"]):
        item = group.groupby([*PAIR, "question", "order"])["outcome"].mean().unstack("order")
        if not {A_FIRST, B_FIRST} <= set(item.columns):
            continue
        both = item.dropna(subset=[A_FIRST, B_FIRST])
        if both.empty:
            continue
        pull = both[B_FIRST] - both[A_FIRST]  # of b's win rate, where b comes first
        same = (both[A_FIRST] == both[B_FIRST]).astype(float)
        consistent = mean_outcome(_by_question(same))
        effect = mean(_by_question(pull))
        first, second = int((pull > 0).sum()), int((pull < 0).sum())
        p = float(binomtest(first, first + second).pvalue) if first + second else None
        questions = both.reset_index()["question"].nunique()
        rows.append(
            (judge, prompt, questions, len(both), consistent.value, consistent.low,
             consistent.high, effect.value, effect.low, effect.high, first, second, p)
        )  # fmt: skip
    numbers = ["consistent_low", "consistent_high", "effect_low", "effect_high", "flips_p"]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(numbers, float))


def _by_question(items: "pd.Series[float]") -> Floats:
    """One value a question: what shares a question is not independent."""
    return np.asarray(items.groupby("question").mean(), dtype=np.float64)
