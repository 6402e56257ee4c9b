"""The leaderboard: one strength for each model from all pairs, by Bradley and Terry (1952).

P(i beats j) = 1 / (1 + exp(s_j - s_i)), a tie is half a win of each (Biometrika 39:324-345). Fitted
by Newton's method; strengths are log-odds and add up to 0. Battles that share a question are not
independent, so the covariance is a sandwich clustered by question (Cameron and Miller 2015, J.
Human Resources 50:317-372), and a bootstrap draws whole questions. Knows no judge and no score.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, stdtrit

from evalkit.said import Said
from evalkit.stats.bootstrap import draws
from evalkit.stats.intervals import LEVEL, Floats

COLUMNS = ["model", "strength", "se", "low", "high", "rank", "rank_low", "rank_high", "questions"]
STEPS = 100  # of Newton's method; it takes fewer than ten where there is a solution
CLOSE = 1e-10  # how far from 0 a gradient may be, for each battle
CLOSE_ENOUGH = 1e-6  # of a strength, in a resample: far below its standard error
BATCH = 50  # resamples at a time; more of them fall out of the processor's cache
LARGEST = 30.0  # a strength that is no estimate but a way to infinity


class Unranked(ValueError):
    """There is no leaderboard; says which models cannot be placed, and why."""

    def __init__(self, why: Said) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Fit:
    """Strengths of `models`, with what is needed to compare any two of them."""

    models: list[str]
    strengths: Floats
    """(M,), log-odds that add up to 0."""
    covariance: Floats
    """(M, M), clustered by question."""
    questions: int

    def difference(self, i: int, j: int, level: float = LEVEL) -> tuple[float, float, float]:
        """s_i - s_j with its interval (t with questions - 1)."""
        value = float(self.strengths[i] - self.strengths[j])
        c = self.covariance
        half = _t(self.questions, level) * float(max(0.0, c[i, i] + c[j, j] - 2 * c[i, j])) ** 0.5
        return value, value - half, value + half


def leaderboard(
    battles: pd.DataFrame, resamples: int = 0, seed: int = 0, level: float = LEVEL
) -> pd.DataFrame:
    """One row a model, the strongest first; `COLUMNS`. `battles`: of one judge and prompt.

    Battles of a pair on a question are averaged and weigh as one. `low` and `high` are of the
    strength itself; `rank_low` and `rank_high` count the models that are surely stronger, and
    surely weaker, by the intervals of the differences. With `resamples` the intervals of the
    strengths are percentiles of a bootstrap over questions. Raises Unranked.
    """
    cells = _cells(battles)
    found = _fitted(cells)
    half = _t(found.questions, level) * np.sqrt(np.diag(found.covariance))
    low, high = found.strengths - half, found.strengths + half
    if resamples:
        draws = _bootstrap(cells, found, resamples, seed)
        low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    sure = _surely_stronger(found, level)
    asked = cells.by_model()
    order = np.argsort(-found.strengths, kind="stable")
    rows = [
        (
            found.models[i],
            float(found.strengths[i]),
            float(found.covariance[i, i]) ** 0.5,
            float(low[i]),
            float(high[i]),
            place,
            1 + int(sure[:, i].sum()),
            len(found.models) - int(sure[i].sum()),
            int(asked[i]),
        )
        for place, i in enumerate(order, 1)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def fit(battles: pd.DataFrame) -> Fit:
    """The strengths behind `leaderboard`, to compare any two models. Raises Unranked."""
    return _fitted(_cells(battles))


@dataclass(frozen=True)
class _Cells:
    """Outcomes of pairs on questions, averaged: one cell each."""

    models: list[str]
    questions: int
    a: npt.NDArray[np.intp]
    b: npt.NDArray[np.intp]
    question: npt.NDArray[np.intp]
    outcome: Floats
    """b's."""

    def wins(self, weights: Floats | None = None) -> Floats:
        """(M, M): how often the row's model beat the column's; `weights`: of each question."""
        size = len(self.models)
        w = np.ones(len(self.a)) if weights is None else weights[self.question]
        flat = np.zeros(size * size)
        flat += np.bincount(self.b * size + self.a, w * self.outcome, size * size)
        flat += np.bincount(self.a * size + self.b, w * (1 - self.outcome), size * size)
        return flat.reshape((size, size))

    def by_model(self) -> npt.NDArray[np.intp]:
        """(M,): on how many questions each model was judged."""
        size = len(self.models)
        both = np.concatenate([self.a, self.b]) * self.questions + np.tile(self.question, 2)
        return np.bincount(np.unique(both) // self.questions, minlength=size).astype(np.intp)


def _cells(battles: pd.DataFrame) -> _Cells:
    readable = battles[battles["outcome"].notna()]
    if readable.empty:
        raise Unranked(Said("no verdict could be read"))
    sides = pd.concat([readable["a"], readable["b"]], ignore_index=True)
    codes, models = pd.factorize(sides, sort=True)
    question, names = pd.factorize(readable["question"])
    a, b = codes[: len(readable)], codes[len(readable) :]
    outcome = readable["outcome"].to_numpy(np.float64)
    turned = a > b  # a pair has one cell, whichever side it is told from
    a, b = np.where(turned, b, a), np.where(turned, a, b)
    outcome = np.where(turned, 1 - outcome, outcome)
    order, orders = pd.factorize(readable["order"])
    one_order = ((a * len(models) + b) * len(names) + question) * len(orders) + order
    keys, first, which = np.unique(one_order, return_index=True, return_inverse=True)
    mean = np.bincount(which, outcome) / np.bincount(which)
    _, at, of = np.unique(keys // len(orders), return_index=True, return_inverse=True)
    mean = np.bincount(of, mean) / np.bincount(of)
    pick = first[at]
    return _Cells(list(models), len(names), a[pick], b[pick], question[pick], mean)


def _fitted(cells: _Cells) -> Fit:
    wins = cells.wins()
    _refuse_what_has_no_solution(wins, cells.models)
    strengths = _newton(wins[None], np.zeros((1, len(cells.models))))[0]
    bread = np.linalg.pinv(_information(wins[None], strengths[None])[0], hermitian=True)
    off = cells.outcome - expit(strengths[cells.b] - strengths[cells.a])
    size = len(cells.models)
    at = cells.question * size
    scores = np.bincount(at + cells.b, off, cells.questions * size)
    scores -= np.bincount(at + cells.a, off, cells.questions * size)
    scores = scores.reshape(cells.questions, size)
    if cells.questions < 2:
        raise Unranked(Said("one question gives no interval"))
    meat = scores.T @ scores * cells.questions / (cells.questions - 1)
    return Fit(cells.models, strengths, bread @ meat @ bread, cells.questions)


def _refuse_what_has_no_solution(wins: Floats, models: list[str]) -> None:
    """Strengths are finite only where each model can be reached from each by wins (Ford 1957)."""
    parts, label = connected_components(wins > 0, connection="strong")
    if parts == 1:
        return
    islands, island = connected_components(wins > 0, connection="weak")
    if islands > 1:
        smallest = int(np.argmin(np.bincount(island)))
        names = ", ".join(m for m, i in zip(models, island, strict=True) if i == smallest)
        raise Unranked(Said("nothing connects {models} with the others", models=names))
    for part in np.argsort(np.bincount(label), kind="stable"):  # the fewest names that say it
        inside = label == part
        names = ", ".join(m for m, i in zip(models, inside, strict=True) if i)
        if not wins[~inside][:, inside].any():
            raise Unranked(
                Said(
                    "{models} lost to none of the others: there is no end to how strong",
                    models=names,
                )
            )
        if not wins[inside][:, ~inside].any():
            raise Unranked(
                Said(
                    "{models} won against none of the others: there is no end to how weak",
                    models=names,
                )
            )


def _parts(wins: Floats) -> int:
    """Groups of models of which each reaches each by wins."""
    return int(connected_components(wins > 0, connection="strong")[0])


def _information(wins: Floats, strengths: Floats) -> Floats:
    """(R, M, M): minus the second derivative of the log-likelihood."""
    met = wins + wins.transpose(0, 2, 1)
    p = expit(strengths[:, :, None] - strengths[:, None, :])
    each = met * p * (1 - p)
    found = -each
    diagonal = np.arange(wins.shape[1])
    found[:, diagonal, diagonal] = each.sum(2) - each[:, diagonal, diagonal]
    return found


def _newton(wins: Floats, strengths: Floats) -> Floats:
    """(R, M): the maximum-likelihood strengths of R tables of wins (R, M, M)."""
    met = wins + wins.transpose(0, 2, 1)
    number = np.maximum(met.sum((1, 2)), 1)
    size = wins.shape[1]
    for _ in range(STEPS):
        p = expit(strengths[:, :, None] - strengths[:, None, :])
        gradient = wins.sum(2) - (met * p).sum(2)
        if (np.abs(gradient).max(1) <= CLOSE * number).all():
            centred: Floats = strengths - strengths.mean(1, keepdims=True)
            return centred
        information = _information(wins, strengths) + 1.0 / size  # the sum of strengths stays 0
        step: Floats = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
        strengths = strengths + step / np.maximum(1.0, np.abs(step).max(1, keepdims=True) / 2)
        if np.abs(strengths).max() > LARGEST:
            break
    raise Unranked(Said("the fit does not converge"))


def _bootstrap(cells: _Cells, found: Fit, resamples: int, seed: int) -> Floats:
    """(R, M): strengths of resampled questions.

    A draw that loses a win which the leaderboard hangs on gets half a win more in each pair.
    Newton's method with the information of the whole table: a draw is near it, and no table but
    that one has to be inverted.
    """
    size, number = len(cells.models), cells.questions
    table = np.zeros((number, size * size))
    np.add.at(table, (cells.question, cells.b * size + cells.a), cells.outcome)
    np.add.at(table, (cells.question, cells.a * size + cells.b), 1 - cells.outcome)
    sums = np.concatenate([weights @ table for weights in draws(number, resamples, seed)])
    base = cells.wins()
    inverse = np.linalg.pinv(_information(base[None], found.strengths[None])[0], hermitian=True)
    strengths = np.empty((resamples, size))
    for begin in range(0, resamples, BATCH):
        drawn = sums[begin : begin + BATCH].reshape(-1, size, size)
        for each in drawn:
            whole = np.array_equal(each > 0, base > 0)
            if not whole and _parts(each) > 1:
                each += 0.5 * ((base + base.T) > 0)
        strengths[begin : begin + BATCH] = _near(drawn, found.strengths, inverse)
    return strengths


def _near(wins: Floats, start: Floats, inverse: Floats) -> Floats:
    """(R, M): the strengths of tables near one whose information has this inverse."""
    met = wins + wins.transpose(0, 2, 1)
    won = wins.sum(2)
    strengths = np.tile(start, (len(wins), 1))
    for _ in range(STEPS):
        p = expit(strengths[:, :, None] - strengths[:, None, :])
        step = (won - np.einsum("rij,rij->ri", met, p)) @ inverse
        strengths += step
        if np.abs(step).max() < CLOSE_ENOUGH:
            return strengths
    return _newton(wins, np.tile(start, (len(wins), 1)))


def _surely_stronger(found: Fit, level: float) -> npt.NDArray[np.bool_]:
    """(M, M): whether the row's model is stronger than the column's, beyond the interval."""
    c, s = found.covariance, found.strengths
    variance = np.maximum(np.diag(c)[:, None] + np.diag(c)[None] - 2 * c, 0.0)
    sure: npt.NDArray[np.bool_] = s[:, None] - s[None] > _t(found.questions, level) * np.sqrt(
        variance
    )
    return sure


def _t(questions: int, level: float) -> float:
    return float(stdtrit(questions - 1, 0.5 + level / 2))
