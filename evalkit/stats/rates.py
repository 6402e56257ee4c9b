"""Who won how often, and by how much: wins, ties, losses, win rates, totals, "% of ChatGPT".

Every function takes the battles of `stats.battles` and returns a table with a row for each judge,
prompt and pair (or model), values with their intervals. Judges and prompts are never mixed.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pandas as pd

from evalkit.stats.battles import PAIR, by_question
from evalkit.stats.intervals import (
    Estimate,
    mean_outcome,
    product,
    ratio,
    stratified_ratio,
)

Key = tuple[str, ...]
Chain = tuple[str, ...]
"""Models from the baseline to another, each compared with the next."""
RowOf = Callable[[pd.DataFrame, pd.DataFrame], dict[str, Any]]
"""Questions and reviews of one group -> the values of its row."""


def pairs(battles: pd.DataFrame) -> pd.DataFrame:
    """One row for each judge, prompt and pair: counts, sums, ratio and win rate of b against a.

    Counts are of questions, except `unreadable` and `reviews`, which are of reviews. The bounds
    `win_rate_b_worst` and `_best` book every question without a readable review as lost, then as
    won. Ratios and rates are fractions; `ratio_by_category` is the mean of the categories' own
    ratios, so that each category weighs the same.
    """
    return _table(battles, PAIR, _pair_row)


def by_category(battles: pd.DataFrame) -> pd.DataFrame:
    """As `pairs`, a row for each category; `gap_share` is its part of the pair's score gap."""
    table = _table(battles, [*PAIR, "category"], _counts_and_rates)
    if table.empty:
        return table
    gap = table["sum_a"] - table["sum_b"]
    whole = gap.groupby([table[name] for name in PAIR]).transform("sum")
    table["gap_share"] = (gap / whole).where(whole != 0)
    return table


def relative_scores(battles: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Each model's total score in percent of the baseline's: the "% of ChatGPT" chart.

    A model that met the baseline is compared with it directly. Another goes by way of models
    that connect the two: the fewest, and among chains of equal length the one with the smallest
    variance; their names are in `via`. A model that no chain connects has no percent.
    Columns: judge, prompt, model, percent, se, low, high (all in percent), via (tuple), questions.
    """
    questions = by_question(battles)
    rows = []
    for (judge, prompt), group in _groups(questions, ["judge", "prompt"]):
        scores = dict(_groups(group, ["a", "b"]))
        models = sorted(set(group["a"]) | set(group["b"]))
        chains = _chains(scores, baseline)
        for model in models:
            if model == baseline:
                rows.append((judge, prompt, model, 100.0, None, None, None, (), None))
                continue
            chain = chains.get(model)
            found, n = _along(scores, chain) if chain else (Estimate(None), 0)
            percent = [None if x is None else 100 * x for x in found]
            rows.append((judge, prompt, model, *percent, tuple(chain or ())[1:-1], n))
    columns = ["judge", "prompt", "model", "percent", "se", "low", "high", "via", "questions"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(
        ["judge", "prompt", "percent"], ascending=[True, True, False], kind="stable"
    ).reset_index(drop=True)


def _table(battles: pd.DataFrame, keys: list[str], row: RowOf) -> pd.DataFrame:
    asked = by_question(battles)
    questions, none = dict(_groups(asked, keys)), asked.iloc[:0]
    rows = [
        dict(zip(keys, key, strict=True)) | row(questions.get(key, none), reviews)
        for key, reviews in _groups(battles, keys)
    ]
    table = pd.DataFrame(rows)
    numbers = [name for name in table if str(name).startswith(("ratio_", "win_rate_"))]
    return table.astype(dict.fromkeys(numbers, float))


def _counts_and_rates(questions: pd.DataFrame, reviews: pd.DataFrame) -> dict[str, Any]:
    outcome = questions["outcome"].to_numpy(float)
    a, b = questions["score_a"].to_numpy(float), questions["score_b"].to_numpy(float)
    plain, rate = ratio(a, b), mean_outcome(outcome)
    return {
        "questions": len(questions),
        "questions_both_orders": int((questions["orders"] == 2).sum()),
        "wins_a": int((outcome < 0.5).sum()),
        "ties": int((outcome == 0.5).sum()),
        "wins_b": int((outcome > 0.5).sum()),
        "sum_a": float(a.sum()),
        "sum_b": float(b.sum()),
        "ratio_b_to_a": plain.value,
        "ratio_se": plain.se,
        "ratio_low": plain.low,
        "ratio_high": plain.high,
        "win_rate_b": rate.value,
        "win_rate_b_se": rate.se,
        "win_rate_b_low": rate.low,
        "win_rate_b_high": rate.high,
        "reviews": len(reviews),
        "reviews_a_first": int(reviews["a_first"].sum()),
        "unreadable": int(reviews["outcome"].isna().sum()),
    }


def _pair_row(questions: pd.DataFrame, reviews: pd.DataFrame) -> dict[str, Any]:
    a, b = questions["score_a"].to_numpy(float), questions["score_b"].to_numpy(float)
    within = stratified_ratio(a, b, questions["category"].to_numpy(str))
    sums = questions.groupby("category", observed=True)[["score_a", "score_b"]].sum()
    ratios = sums["score_b"] / sums["score_a"].where(sums["score_a"] > 0)
    outcomes, asked = float(questions["outcome"].sum()), reviews["question"].nunique()
    unread = asked - len(questions)
    return _counts_and_rates(questions, reviews) | {
        "ratio_se_stratified": within.se,
        "ratio_low_stratified": within.low,
        "ratio_high_stratified": within.high,
        "ratio_by_category": None if ratios.empty or ratios.isna().any() else float(ratios.mean()),
        "win_rate_b_worst": outcomes / asked,
        "win_rate_b_best": (outcomes + unread) / asked,
    }


def _along(scores: dict[Key, pd.DataFrame], chain: Chain) -> tuple[Estimate, int]:
    links = []
    for a, b in pairwise(chain):
        told = (a, b) in scores
        table = scores[(a, b) if told else (b, a)].set_index("question")
        columns = ["score_a", "score_b"] if told else ["score_b", "score_a"]
        links.append(table[columns].set_axis([f"{a} {b} 0", f"{a} {b} 1"], axis=1))
    aligned = pd.concat(links, axis=1, join="outer").to_numpy(float)
    sides = [(aligned[:, i], aligned[:, i + 1]) for i in range(0, aligned.shape[1], 2)]
    return (ratio(*sides[0]) if len(sides) == 1 else product(sides)), len(aligned)


def _chains(scores: dict[Key, pd.DataFrame], baseline: str) -> dict[str, Chain]:
    """The best chain from the baseline to each model that one reaches (Dijkstra)."""
    links: dict[str, list[tuple[str, float]]] = {}
    for (a, b), table in scores.items():
        if (cost := _relative_variance(table)) is not None:
            links.setdefault(a, []).append((b, cost))
            links.setdefault(b, []).append((a, cost))
    best: dict[str, Chain] = {}
    heap: list[tuple[int, float, Chain]] = [(0, 0.0, (baseline,))]
    while heap:
        length, variance, chain = heapq.heappop(heap)
        if chain[-1] in best:
            continue
        best[chain[-1]] = chain
        for model, cost in links.get(chain[-1], []):
            heapq.heappush(heap, (length + 1, variance + cost, (*chain, model)))
    return best


def _relative_variance(table: pd.DataFrame) -> float | None:
    """(SE / ratio)^2 of one pair; 0 where one question gives no SE, None where no ratio."""
    found = ratio(table["score_a"].to_numpy(float), table["score_b"].to_numpy(float))
    if not found.value:
        return None
    return ((found.se or 0.0) / found.value) ** 2


def _groups(table: pd.DataFrame, keys: list[str]) -> Iterator[tuple[Key, pd.DataFrame]]:
    for key, group in table.groupby(keys, sort=True, observed=True):
        yield tuple(map(str, key)), group
