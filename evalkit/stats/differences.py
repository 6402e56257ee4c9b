"""Two models that both met the baseline: how much better one did, on the same questions."""

from itertools import combinations

import numpy as np
import pandas as pd

from evalkit.stats.battles import by_question, groups
from evalkit.stats.intervals import mean

COLUMNS = [
    "judge", "prompt", "a", "b", "questions", "win_rate", "win_rate_se", "win_rate_low",
    "win_rate_high",
]  # fmt: skip


def differences(battles: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """One row for each judge, prompt and two models besides the baseline; `COLUMNS`.

    `win_rate`: b's win rate against the baseline minus a's, a fraction: the mean of the
    differences question by question (t), on the questions where both met it. Narrower than two
    intervals beside each other, since a hard question is hard for both.
    """
    rows: list[tuple[object, ...]] = []
    met = by_question(battles)
    for key, judged in groups(met[met["a"] == baseline], ["judge", "prompt"]):
        outcomes = judged.pivot(index="question", columns="b", values="outcome")
        for a, b in combinations(outcomes.columns, 2):
            both = (outcomes[b] - outcomes[a]).dropna().to_numpy(np.float64)
            if len(both):
                rows.append((*key, a, b, len(both), *mean(both)))
    numbers = dict.fromkeys(COLUMNS[5:], float)
    return pd.DataFrame(rows, columns=COLUMNS).astype(numbers)
