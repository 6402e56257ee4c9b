"""The win rate that a model would have if its answers were as long as the baseline's.

After AlpacaEval's length-controlled win rate (Dubois et al. 2024, arXiv:2404.04475), with
differences: a question's difficulty comes from the other models of the same run, rows are joined by
id, and the standard error counts that the coefficients are estimated too. What it takes out is the
association of length and verdict, be it the judge's taste or that better answers say more. Four
models carry it to within 2.7 points of AlpacaEval's figures, which know the difficulty from all.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit, stdtrit

from evalkit.said import Said
from evalkit.stats.battles import by_question, groups
from evalkit.stats.intervals import LEVEL, Estimate, Floats

FEWEST = 40  # questions; with fewer the fit is often one-sided, and its interval too wide
STEPS = 50  # of Newton's method
CLOSE = 1e-10  # how far from 0 a gradient may be, for each question
LARGEST = 15.0  # of a coefficient; beyond, the fit is on its way to infinity
COLUMNS = [
    "judge", "prompt", "model", "win_rate", "se", "low", "high", "length_effect", "questions", "why"
]  # fmt: skip


class Fitted(NamedTuple):
    """A length-controlled win rate."""

    rate: Estimate
    length_effect: float | None
    """Log-odds that a model loses by an answer much shorter than the baseline's: -phi."""
    why: str | None = None
    """Why there is no rate."""


def length_controlled(
    battles: pd.DataFrame, lengths: Mapping[tuple[str, str], int], baseline: str
) -> pd.DataFrame:
    """One row for each judge, prompt and model that met the baseline; `COLUMNS`.

    `lengths`: (question, model) -> characters. `win_rate` is the model's, a fraction; where there
    is none, `why` says it. `questions`: those with an outcome, both lengths, and a difficulty.
    """
    rows: list[tuple[object, ...]] = []
    met = by_question(battles)
    for key, judged in groups(met[met["a"] == baseline], ["judge", "prompt"]):
        outcomes = judged.pivot(index="question", columns="b", values="outcome")
        for model in outcomes.columns:
            others = outcomes.drop(columns=model).mean(axis=1)
            table = pd.DataFrame({"y": outcomes[model], "difficulty": others})
            if outcomes.shape[1] == 1:
                table["difficulty"] = 0.0
            ids = list(table.index)
            table["base"] = [lengths.get((id_, baseline)) for id_ in ids]
            table["own"] = [lengths.get((id_, model)) for id_ in ids]
            table = table.astype(float).dropna()
            y, difficulty, longer = (
                table["y"].to_numpy(),
                table["difficulty"].to_numpy(),
                (table["base"] - table["own"]).to_numpy(),
            )
            found = controlled(y, longer, difficulty)
            rows.append((*key, model, *found.rate, found.length_effect, len(y), found.why))
    numbers = dict.fromkeys(["win_rate", "se", "low", "high", "length_effect"], float)
    return pd.DataFrame(rows, columns=COLUMNS).astype(numbers)


def controlled(y: Floats, longer: Floats, difficulty: Floats, level: float = LEVEL) -> Fitted:
    """The win rate at equal lengths.

    `y`: (n,) outcomes in [0, 1]; `longer`: (n,) length of the baseline's answer less the model's;
    `difficulty`: (n,). Fits logit P = theta + phi tanh(longer / sd) + psi difficulty; the rate is
    G = mean(p0), p0 = expit(theta + psi difficulty). Influence of question i:
    (p0_i - G) + n (y_i - p_i) X_i H^-1 dG, with H = sum p (1 - p) X X' and
    dG = mean(p0 (1 - p0) (1, 0, difficulty)); SE = sd / sqrt(n), and the interval is t on the
    log-odds, with n less the number of coefficients.
    """
    n = len(y)
    if n < FEWEST:
        return _none(
            Said(
                "length control takes {fewest} questions and more, here are {n}", fewest=FEWEST, n=n
            )
        )
    spread = float(np.std(longer))
    if spread == 0:
        return _none(
            Said("all answers differ in length by as much, so that it cannot be told what it did")
        )
    columns = [np.ones(n), np.tanh(longer / spread)]
    if np.std(difficulty) > 0:
        columns.append(difficulty - difficulty.mean())
    x = np.stack(columns, 1)
    at = _newton(x, y)
    if at is None:
        return _none(Said("outcomes are too one-sided to tell what the length did"))
    p = expit(x @ at)
    level_ = x.copy()
    level_[:, 1] = 0.0
    p0 = expit(level_ @ at)
    value = float(p0.mean())
    slope = ((p0 * (1 - p0))[:, None] * level_).mean(0)
    information = (x * (p * (1 - p))[:, None]).T @ x
    influence = p0 - value + n * (y - p) * (x @ np.linalg.solve(information, slope))
    df = n - x.shape[1]
    se = float(np.std(influence, ddof=1)) / n**0.5
    half = float(stdtrit(df, 0.5 + level / 2)) * se / (value * (1 - value))
    ends = expit(logit(value) + np.array([-half, half]))
    return Fitted(Estimate(value, se, float(ends[0]), float(ends[1])), -float(at[1]))


def _newton(x: Floats, y: Floats) -> Floats | None:
    """Logistic coefficients for outcomes in [0, 1]; None where they go to infinity."""
    at = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = expit(x @ at)
        gradient = x.T @ (y - p)
        if np.abs(gradient).max() <= CLOSE * len(y):
            return at
        information = (x * (p * (1 - p))[:, None]).T @ x
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, gradient)
        at = at + step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(at).max() > LARGEST:
            return None
    return None


def _none(why: Said) -> Fitted:
    return Fitted(Estimate(None), None, why)
