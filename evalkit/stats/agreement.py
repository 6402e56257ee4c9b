"""How far two judges agree, or a judge and people; and what several judges say together.

An item is a question of a pair of models; a verdict is a, tie or b, the orders and samples of one
judge averaged. A judge with another prompt is another judge here.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from evalkit.stats import bootstrap
from evalkit.stats.battles import by_question, groups
from evalkit.stats.intervals import Estimate, Floats, mean_outcome

VERDICTS = 3
"""a, tie, b."""
COLUMNS = [
    "judge", "prompt", "other_judge", "other_prompt", "items", "questions",
    "agreement", "agreement_low", "agreement_high",
    "kappa", "kappa_low", "kappa_high", "ac1", "ac1_low", "ac1_high",
]  # fmt: skip
POOLED = [
    "a", "b", "judges", "questions", "win_rate_b", "win_rate_b_se", "win_rate_b_low",
    "win_rate_b_high",
]  # fmt: skip
PANEL = ["judges", "items", "questions", "alpha", "alpha_low", "alpha_high"]


def verdicts(outcomes: Floats) -> Floats:
    """0 where a won, 1 for a tie, 2 where b won, of outcomes in [0, 1]."""
    return 1 + np.sign(outcomes - 0.5)


def crossed(one: Floats, other: Floats, questions: Floats) -> Floats:
    """(Q, 3, 3): how often one judge said the row and the other the column, on each question.

    `one`, `other`: (n,) verdicts on the same items; `questions`: (n,) which question each is of.
    """
    _, at = np.unique(questions, return_inverse=True)
    found = np.zeros((int(at.max()) + 1 if len(at) else 0, VERDICTS, VERDICTS))
    np.add.at(found, (at, one.astype(int), other.astype(int)), 1.0)
    return found


def agreement(tables: Floats) -> Floats:
    """(R,) the share of (R, 3, 3) verdicts that agree; a tie against a winner agrees half."""
    both = np.array([[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]])
    return _over((tables * both).sum((1, 2)), tables.sum((1, 2)))


def kappa(tables: Floats) -> Floats:
    """(R,) Cohen's kappa of (R, 3, 3) verdicts (1960, Educ. Psychol. Meas. 20:37-46).

    NaN where chance alone would agree always.
    """
    p = _shares(tables)
    observed = np.trace(p, axis1=1, axis2=2)
    expected = (p.sum(1) * p.sum(2)).sum(1)
    return _over(observed - expected, 1 - expected)


def ac1(tables: Floats) -> Floats:
    """(R,) Gwet's AC1 of (R, 3, 3) verdicts (2008, Br. J. Math. Stat. Psychol. 61:29-48).

    As kappa, but does not fall where one verdict is much more frequent than the others.
    """
    p = _shares(tables)
    said = (p.sum(1) + p.sum(2)) / 2
    expected = (said * (1 - said)).sum(1) / (VERDICTS - 1)
    return _over(np.trace(p, axis1=1, axis2=2) - expected, 1 - expected)


def krippendorff(tables: Floats) -> Floats:
    """(R,) Krippendorff's nominal alpha of (R, 3, 3) coincidences, as `coincidences` counts them.

    NaN where only one verdict was ever given. (Krippendorff 2011, Computing Krippendorff's
    Alpha-Reliability.)
    """
    said = tables.sum(2)
    n = said.sum(1)
    differ = n - np.trace(tables, axis1=1, axis2=2)
    expected = _over(n * n - (said * said).sum(1), n - 1)
    return 1 - _over(differ, expected)


def coincidences(given: Floats, questions: Floats) -> Floats:
    """(Q, 3, 3): pairs of verdicts of different judges on one item, added up by question.

    `given`: (items, judges) verdicts, NaN where a judge gave none; `questions`: (items,).
    """
    _, at = np.unique(questions, return_inverse=True)
    found = np.zeros((int(at.max()) + 1 if len(at) else 0, VERDICTS, VERDICTS))
    counts = np.stack([(given == verdict).sum(1) for verdict in range(VERDICTS)], 1).astype(float)
    judges = counts.sum(1)
    pairs = counts[:, :, None] * counts[:, None, :]
    pairs[:, range(VERDICTS), range(VERDICTS)] -= counts
    told = judges > 1
    np.add.at(found, at[told], pairs[told] / (judges[told] - 1)[:, None, None])
    return found


def agreements(battles: pd.DataFrame) -> pd.DataFrame:
    """One row for every two judgings that share an item; `COLUMNS`. Intervals: BCa, by question."""
    rows = []
    table = _items(battles)
    for one, other in combinations(table.columns, 2):
        both = table[[one, other]].dropna()
        if both.empty:
            continue
        questions = both.reset_index()["question"].to_numpy(str)
        counts = crossed(both[one].to_numpy(), both[other].to_numpy(), questions)
        values: list[float | None] = []
        for statistic in (agreement, kappa, ac1):
            found = of_counts(statistic, counts)
            values += [found.value, found.low, found.high]
        rows.append((*one, *other, len(both), len(counts), *values))
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[6:], float))


def of_counts(statistic: bootstrap.Statistic, counts: Floats) -> Estimate:
    """A statistic of tables of verdicts, with its interval; `counts`: (Q, 3, 3), by question."""
    flat = counts.reshape(len(counts), -1)
    return bootstrap.interval(
        lambda weights: statistic((weights @ flat).reshape(-1, VERDICTS, VERDICTS)), len(counts)
    )


def panel(battles: pd.DataFrame) -> pd.DataFrame:
    """The agreement of all judges, where there are two or more: one row or none; `PANEL`."""
    table = _items(battles)
    shared = table[table.notna().sum(axis=1) > 1]
    if shared.empty:
        return pd.DataFrame(columns=PANEL)
    counts = coincidences(shared.to_numpy(), shared.reset_index()["question"].to_numpy(str))
    found = of_counts(krippendorff, counts)
    row = (len(table.columns), len(shared), len(counts), found.value, found.low, found.high)
    return pd.DataFrame([row], columns=PANEL).astype(dict.fromkeys(PANEL[3:], float))


def pooled(battles: pd.DataFrame) -> pd.DataFrame:
    """One row a pair that two judges or more have judged; `POOLED`.

    On each question the judges' outcomes are averaged, each weighing the same, so that their
    common questions are counted once.
    """
    rows = []
    for (a, b), judged in groups(by_question(battles), ["a", "b"]):
        judges = len(judged.groupby(["judge", "prompt"]))
        if judges > 1:
            outcomes = judged.groupby("question")["outcome"].mean().to_numpy(np.float64)
            rows.append((a, b, judges, len(outcomes), *mean_outcome(outcomes)))
    return pd.DataFrame(rows, columns=POOLED).astype(dict.fromkeys(POOLED[4:], float))


def _items(battles: pd.DataFrame) -> pd.DataFrame:
    """Verdicts: a row an item, a column a judge with a prompt, NaN where it gave none."""
    items = by_question(battles)
    items["verdict"] = verdicts(items["outcome"].to_numpy(np.float64))
    return items.pivot(index=["a", "b", "question"], columns=["judge", "prompt"], values="verdict")


def _shares(tables: Floats) -> Floats:
    total = np.broadcast_to(tables.sum((1, 2), keepdims=True), tables.shape)
    return _over(tables, total)


def _over(above: Floats, below: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    found: Floats = np.full_like(above, np.nan)
    np.divide(above, below, out=found, where=np.abs(below) > 1e-12)
    return found
