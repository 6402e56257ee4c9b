"""Who won how often, and by how much: wins, ties, losses, win rates, totals, ratios.

Every function takes the battles of `stats.battles` and returns a table with a row for each judge,
prompt and pair, values with their intervals. Judges and prompts are never mixed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from evalkit.stats.battles import A_FIRST, ALONE, BY_RULE, PAIR, UNKNOWN, by_question, groups
from evalkit.stats.intervals import Estimate, mean_outcome, ratio, stratified_ratio
from evalkit.stats.shrinkage import shrunken_means

SHRUNKEN = ["win_rate_b_shrunken", "win_rate_b_shrunken_low", "win_rate_b_shrunken_high"]

RowOf = Callable[[pd.DataFrame, pd.DataFrame], dict[str, Any]]
"""Questions and reviews of one group -> the values of its row."""


def pairs(battles: pd.DataFrame) -> pd.DataFrame:
    """One row for each judge, prompt and pair: counts, sums, ratio and win rate of b against a.

    Counts are of questions, except `unreadable` and `reviews`, which are of reviews. Sums and
    ratios are over questions with scores, so without ties by rule. The bounds `win_rate_b_worst`
    and `_best` book every question without a readable review as lost, then as won. Ratios and
    rates are fractions; `ratio_by_category` is the mean of the categories' own ratios, so that
    each category weighs the same.
    """
    return _table(battles, PAIR, _pair_row)


def by_category(battles: pd.DataFrame) -> pd.DataFrame:
    """As `pairs`, a row for each category; `gap_share` is its part of the pair's score gap.

    A share says little where the gap itself is not sure (the pair's ratio interval holds 1).
    `win_rate_b_shrunken`, `_low`, `_high`: as `stats.shrinkage` draws the categories together.
    """
    table = _table(battles, [*PAIR, "category"], _counts_and_rates)
    if table.empty:
        return table
    table = table.join(_shrunken(battles), on=[*PAIR, "category"])
    gap = table["sum_a"] - table["sum_b"]
    whole = gap.groupby([table[name] for name in PAIR]).transform("sum")
    table["gap_share"] = (gap / whole).where(whole != 0)
    return table


def _shrunken(battles: pd.DataFrame) -> pd.DataFrame:
    rows: dict[tuple[str, ...], Estimate] = {}
    for pair, questions in groups(by_question(battles), PAIR):
        parts = {
            str(name): part["outcome"].to_numpy(np.float64)
            for name, part in questions.groupby("category")
        }
        rows |= {(*pair, name): found for name, found in shrunken_means(parts).items()}
    table = pd.DataFrame(
        [(*key, found.value, found.low, found.high) for key, found in rows.items()],
        columns=[*PAIR, "category", *SHRUNKEN],
    )
    return table.set_index([*PAIR, "category"]).astype(float)


def _table(battles: pd.DataFrame, keys: list[str], row: RowOf) -> pd.DataFrame:
    asked = by_question(battles)
    questions, none = dict(groups(asked, keys)), asked.iloc[:0]
    rows = [
        dict(zip(keys, key, strict=True)) | row(questions.get(key, none), reviews)
        for key, reviews in groups(battles, keys)
    ]
    table = pd.DataFrame(rows)
    numbers = [name for name in table if str(name).startswith(("ratio_", "win_rate_"))]
    return table.astype(dict.fromkeys(numbers, float))


def _counts_and_rates(questions: pd.DataFrame, reviews: pd.DataFrame) -> dict[str, Any]:
    outcome = questions["outcome"].to_numpy(float)
    scored = questions.dropna(subset=["score_a"])
    a, b = scored["score_a"].to_numpy(float), scored["score_b"].to_numpy(float)
    plain, rate = ratio(a, b), mean_outcome(outcome)
    judged = reviews[reviews["order"] != BY_RULE]
    return {
        "questions": len(questions),
        "questions_both_orders": int((questions["orders"] == 2).sum()),
        "questions_alone": int((questions["order"] == ALONE).sum()),
        "questions_order_unknown": int((questions["order"] == UNKNOWN).sum()),
        "ties_by_rule": int((reviews["order"] == BY_RULE).sum()),
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
        "reviews": len(judged),
        "reviews_a_first": int((judged["order"] == A_FIRST).sum()),
        "unreadable": int(judged["outcome"].isna().sum()),
    }


def _pair_row(questions: pd.DataFrame, reviews: pd.DataFrame) -> dict[str, Any]:
    scored = questions.dropna(subset=["score_a"])
    a, b = scored["score_a"].to_numpy(float), scored["score_b"].to_numpy(float)
    within = stratified_ratio(a, b, scored["category"].to_numpy(str))
    sums = scored.groupby("category")[["score_a", "score_b"]].sum()
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
