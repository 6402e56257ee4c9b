"""Agreement of judges by hand calculation and by textbook examples; the bootstrap behind it."""

import numpy as np
import pandas as pd
import pytest
from conftest import review
from scipy.stats import bootstrap as scipy_bootstrap

from evalkit.records import Review
from evalkit.stats import agreement, bootstrap
from evalkit.stats.battles import battles

# 40 verdicts: rows are what one judge said (a, tie, b), columns what the other said.
TABLE = np.array([[[10.0, 2, 3], [1, 4, 0], [5, 0, 15]]])


def test_agreement_by_hand():
    # (29 + (2 + 1) / 2) / 40
    assert agreement.agreement(TABLE)[0] == pytest.approx(30.5 / 40)
    # rows 15 5 20, columns 16 6 18: chance (240 + 30 + 360) / 1600
    assert agreement.kappa(TABLE)[0] == pytest.approx((29 / 40 - 630 / 1600) / (1 - 630 / 1600))
    share = np.array([31, 11, 38]) / 80
    chance = (share * (1 - share)).sum() / 2
    assert agreement.ac1(TABLE)[0] == pytest.approx((29 / 40 - chance) / (1 - chance))


def test_where_one_verdict_is_all_there_is_kappa_is_nothing_and_ac1_is_one():
    same = np.array([[[12.0, 0, 0], [0, 0, 0], [0, 0, 0]]])
    assert np.isnan(agreement.kappa(same)[0])
    assert agreement.ac1(same)[0] == pytest.approx(1)
    assert np.isnan(agreement.krippendorff(same)[0])


def test_krippendorff_s_own_example_with_missing_values():
    """Four observers, twelve units (Krippendorff 2011): nominal alpha 0.743, here of 3 values.

    His values 1 to 5 are cut to three, and the alpha of these is worked out from its definition.
    """
    given = np.array(
        [[0, 0, np.nan, 0], [1, 1, 2, 1], [2, 2, 2, 2], [2, 2, 2, 2], [1, 1, 1, 1], [0, 1, 2, 2],
         [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, np.nan], [np.nan, 2, np.nan, np.nan]]
    )  # fmt: skip
    counts = agreement.coincidences(given, np.arange(10))
    pairs = same = 0.0
    values = []
    for row in given:
        here = row[~np.isnan(row)]
        if len(here) < 2:
            continue
        values += list(here)
        for i in range(len(here)):
            for j in range(len(here)):
                if i != j:
                    pairs += 1 / (len(here) - 1)
                    same += (here[i] == here[j]) / (len(here) - 1)
    n = len(values)
    chance = sum(values.count(v) * (n - values.count(v)) for v in (0, 1, 2)) / (n * (n - 1))
    alpha = 1 - ((pairs - same) / n) / chance
    found = agreement.krippendorff(counts.sum(0, keepdims=True))[0]
    assert found == pytest.approx(alpha) and 0.6 < found < 1


def two_judges(said, prompts=("p", "p")):
    """Reviews of two judges on one pair; `said`: (scores of one, scores of the other)."""
    rows = []
    for n, both in enumerate(said):
        for judge, prompt, scores in zip(("one", "two"), prompts, both, strict=True):
            if scores:
                rows.append(review(f"q{n}", ("a", "b"), scores, judge=judge, prompt=prompt))
    reviews = [Review.model_validate(row) for row in rows]
    return battles(reviews, {f"q{n}": "x" for n in range(len(said))}, "a")


def test_judges_are_compared_on_what_both_have_read():
    table = two_judges([((8, 9), (7, 9)), ((8, 9), (9, 8)), ((8, 8), (9, 8)), ((8, 9), None)] * 3)
    (row,) = agreement.agreements(table).to_dict("records")
    assert (row["judge"], row["other_judge"], row["items"], row["questions"]) == (
        "one",
        "two",
        9,
        9,
    )
    assert row["agreement"] == pytest.approx((3 + 1.5) / 9)
    assert row["agreement_low"] < row["agreement"] < row["agreement_high"]
    (panel,) = agreement.panel(table).to_dict("records")
    assert (panel["judges"], panel["items"]) == (2, 9)


def test_pooled_judges_weigh_the_same_on_each_question():
    table = two_judges([((8, 9), (9, 8)), ((8, 9), (7, 9)), ((9, 8), (9, 8)), ((8, 9), None)])
    (row,) = agreement.pooled(table).to_dict("records")
    assert (row["judges"], row["questions"]) == (2, 4)
    assert row["win_rate_b"] == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    alone = table[table["judge"] == "one"]
    assert agreement.pooled(alone).empty and agreement.agreements(alone).empty
    assert agreement.panel(alone).empty


def test_one_judge_with_two_prompts_is_two():
    said = [((8, 9), (9, 8)), ((8, 9), (7, 9))]
    rows = two_judges(said, ("p", "q")).assign(judge="j")
    (row,) = agreement.agreements(rows).to_dict("records")
    assert (row["judge"], row["prompt"], row["other_prompt"]) == ("j", "p", "q")


def test_orders_that_contradict_each_other_are_a_tie():
    rows = [
        review("q0", ("a", "b"), (9, 8), judge="one"),
        review("q0", ("b", "a"), (9, 8), judge="one"),
        review("q0", ("a", "b"), (8, 8), judge="two"),
    ]
    table = battles(map(Review.model_validate, rows), {"q0": "x"}, "a")
    (row,) = agreement.agreements(table).to_dict("records")
    assert row["agreement"] == 1 and np.isnan(row["agreement_low"])


# -- the bootstrap


def test_the_interval_is_that_of_scipy():
    dice = np.random.default_rng(4)
    values = dice.exponential(size=60)
    found = bootstrap.interval(lambda w: (w @ values) / w.sum(1), 60, resamples=20_000)
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(5)
    )
    low, high = theirs.confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.02)
    assert found.se == pytest.approx(theirs.standard_error, rel=0.03)

    def spread(weights):
        share = weights / weights.sum(1, keepdims=True)
        return np.sqrt(share @ values**2 - (share @ values) ** 2)

    found = bootstrap.interval(spread, 60, resamples=20_000)
    theirs = scipy_bootstrap(
        (values,), np.std, n_resamples=20_000, method="BCa", rng=np.random.default_rng(5)
    )
    low, high = theirs.confidence_interval
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.02)
    plain = np.quantile(spread(np.concatenate([*bootstrap.draws(60, 20_000)])), [0.025, 0.975])
    assert abs(found.low - plain[0]) > 0.04  # the correction is no trifle here


def test_rows_that_share_a_question_make_nothing_surer():
    dice = np.random.default_rng(6)
    one = dice.integers(0, 3, 40).astype(float), dice.integers(0, 3, 40).astype(float)
    questions = np.arange(40)
    alone = agreement.of_counts(agreement.kappa, agreement.crossed(*one, questions))
    five = agreement.crossed(*(np.tile(v, 5) for v in one), np.tile(questions, 5))
    assert agreement.of_counts(agreement.kappa, five) == pytest.approx(alone)


def test_too_little_gives_a_value_and_no_interval_or_nothing():
    assert bootstrap.interval(lambda w: w.sum(1), 0).value is None
    one = bootstrap.interval(lambda w: w @ np.array([3.0]) / w.sum(1), 1)
    assert (one.value, one.low) == (3, None)
    same = bootstrap.interval(lambda w: w @ np.ones(9) / w.sum(1), 9)
    assert (same.value, same.low) == (1, None)
    none = bootstrap.interval(lambda w: np.full(len(w), np.nan), 9)
    assert none.value is None


def test_nothing_to_agree_on():
    empty = battles([], {})
    assert agreement.agreements(empty).empty and agreement.pooled(empty).empty
    assert agreement.panel(empty).empty
    assert isinstance(agreement.agreements(empty), pd.DataFrame)
