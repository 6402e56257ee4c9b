"""What the tables say of a judge: the order of showing, the canaries, ties by rule, grades."""

import numpy as np
import pandas as pd
import pytest
from conftest import review
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from evalkit.records import Review
from evalkit.stats import chains, rates
from evalkit.stats.battles import ALONE, BY_RULE, battles, by_question
from evalkit.stats.canaries import canaries
from evalkit.stats.intervals import mean
from evalkit.stats.report_card import report_card

CATEGORIES = {f"q{n}": "generic" for n in range(40)}


def table(rows, baseline="a", identical=()):
    return battles([Review.model_validate(row) for row in rows], CATEGORIES, baseline, identical)


def card(rows, baseline="a", lengths=()):
    """The report card of the one judge of these rows."""
    reviews = [Review.model_validate(row) for row in rows]
    (found,) = report_card(table(rows, baseline), reviews, dict(lengths))
    return found


def both(question, first, second):
    """A question in both orders: the scores as (first place, second place)."""
    return [review(question, ("a", "b"), first), review(question, ("b", "a"), second)]


scores = st.tuples(st.integers(1, 5), st.integers(1, 5))

# -- the order of showing


def test_a_judge_that_always_takes_the_first_pulls_by_a_whole_win():
    row = card([r for n in range(9) for r in both(f"q{n}", (9, 1), (9, 1))])
    assert (row["items"], row["questions"], row["consistent"], row["effect"]) == (9, 9, 0, 1)
    assert (row["flips_to_first"], row["flips_to_second"]) == (9, 0)
    assert row["flips_p"] == pytest.approx(2 * 0.5**9)


def test_a_judge_that_always_takes_the_second_pulls_the_other_way():
    row = card([r for n in range(4) for r in both(f"q{n}", (1, 9), (1, 9))])
    assert (row["effect"], row["flips_to_first"], row["flips_to_second"]) == (-1, 0, 4)


def test_a_judge_that_sees_no_order_is_consistent():
    rows = both("q1", (8, 9), (9, 8)) + both("q2", (7, 7), (7, 7)) + both("q3", (9, 2), (2, 9))
    row = card(rows)
    assert (row["consistent"], row["effect"]) == (1, 0) and row["flips_p"] is None
    assert row["consistent_low"] < 1


def test_what_was_read_in_one_order_only_is_no_item():
    rows = [*both("q1", (8, 9), None), review("q2", ("a", "b"), (8, 9))]
    assert card(rows)["items"] == 0 and card(rows)["consistent"] is None
    row = card([*rows, *both("q3", (8, 9), (9, 8))])
    assert row["items"] == 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.tuples(st.integers(1, 5), st.integers(1, 5))] * 2), min_size=2, max_size=30
    )
)
def test_which_model_is_told_of_changes_nothing(said):
    rows = [row for n, (first, second) in enumerate(said) for row in both(f"q{n}", first, second)]
    one = card(rows, "a")
    other = card(rows, "b")
    assert one == pytest.approx(other, nan_ok=True)


def test_pairs_of_one_question_are_averaged_before_the_interval_is_taken():
    pull = [(9, 1), (1, 9)]
    rows = [
        row
        for n in range(10)
        for other in ("b", "c")
        for row in (
            review(f"q{n}", ("a", other), pull[n % 2]),
            review(f"q{n}", (other, "a"), pull[n % 2]),
        )
    ]
    row = card(rows)
    alone = [r for r in rows if "c" not in r["shown"]]
    half = card(alone)
    assert (row["items"], half["items"]) == (20, 10)
    assert row["effect_high"] == pytest.approx(half["effect_high"])


def test_the_interval_of_a_mean_is_student_s():
    values = np.array([0.5, -0.5, 1.0, 0.0, 0.25])
    found = mean(values)
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert mean(np.array([])).value is None and mean(np.array([0.5])).low is None
    assert mean(np.array([0.5, 0.5])).low is None


# -- canaries


def canary(kind, scores, right=0, **more):
    shown = ("a", "a")[: len(scores or (0, 0))]
    row = review("q1", shown, scores, canary=kind, right=right, **more)
    return Review.model_validate(row)


@pytest.mark.parametrize(
    ("kind", "scores", "right", "missed"),
    [
        ("order", (9, 1), 0, 0), ("order", (1, 9), 0, 1), ("order", (5, 5), 0, 1),
        ("order", (1, 9), 1, 0), ("empty", (9, 0), 0, 0), ("empty", (0, 0), 1, 1),
        ("foreign", (9, 8), 1, 1), ("twins", (7, 7), None, 0), ("twins", (7, 8), None, 1),
        ("order", (3,), None, 0), ("order", (8,), None, 1), ("empty", (5.5,), None, 1),
    ],
)  # fmt: skip
def test_a_canary_is_missed_where_its_known_verdict_was(kind, scores, right, missed):
    (row,) = canaries([canary(kind, scores, right)]).to_dict("records")
    assert (row["canary"], row["calls"], row["missed"]) == (kind, 1, missed)


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "alarm"),
    [
        ("order", 9, 1, True),
        ("empty", 9, 1, True),
        ("foreign", 8, 2, False),
        ("foreign", 7, 3, True),
    ],
)
def test_an_order_or_an_empty_answer_may_never_win_and_a_strange_one_one_time_in_five(
    kind, right, wrong, alarm
):
    rows = [canary(kind, (9, 1), sample=n) for n in range(right)]
    rows += [canary(kind, (1, 9), sample=99 + n) for n in range(wrong)]
    (row,) = canaries(rows).to_dict("records")
    assert (row["missed"], row["alarm"]) == (wrong, alarm)


def test_twins_raise_no_alarm_and_what_cannot_be_read_is_counted_apart():
    rows = [canary("twins", (9, 1), None, sample=n) for n in range(5)]
    (row,) = canaries([*rows, canary("twins", None, None, sample=9)]).to_dict("records")
    assert (row["calls"], row["unreadable"], row["missed"], row["alarm"]) == (6, 1, 5, False)


def test_canaries_are_no_battles():
    found = battles([canary("order", (9, 1)), canary("empty", (9, 1))], CATEGORIES, "a")
    assert found.empty
    alone = [canary("empty", (1,), None), Review.model_validate(review("q1", ("b",), (8,)))]
    assert battles(alone, CATEGORIES, "a").empty
    assert canaries([]).empty


# -- ties by rule


def test_a_tie_by_rule_counts_in_the_win_rate_and_in_no_sum():
    rows = both("q1", (8, 9), (9, 8)) + both("q2", (8, 6), (6, 8))
    (pair,) = rates.pairs(table(rows, identical=[("q3", "b", "a"), ("q4", "a", "c")])).to_dict(
        "records"
    )
    assert (pair["questions"], pair["wins_b"], pair["ties"], pair["wins_a"]) == (3, 1, 1, 1)
    assert (pair["ties_by_rule"], pair["reviews"], pair["unreadable"]) == (1, 4, 0)
    assert (pair["sum_a"], pair["sum_b"]) == (16, 15)
    assert pair["win_rate_b"] == 0.5
    (bare,) = rates.pairs(table(rows)).to_dict("records")
    for name in ("ratio_b_to_a", "ratio_se", "ratio_se_stratified", "ratio_low"):
        assert pair[name] == bare[name]
    percent = chains.relative_scores(table(rows, identical=[("q3", "a", "b")]), "a")
    assert percent.set_index("model").loc["b", "questions"] == 2


def test_the_same_answer_that_was_judged_all_the_same_is_no_tie_by_rule():
    """As in published data, where a judge was asked about every pair."""
    rows = both("q1", (8, 6), (6, 8)) + both("q2", None, None)
    found = table(rows, identical=[("q1", "a", "b"), ("q2", "a", "b")])
    (pair,) = rates.pairs(found).to_dict("records")
    assert (pair["ties_by_rule"], pair["ties"], pair["wins_a"], pair["unreadable"]) == (0, 0, 1, 2)


def test_a_pair_that_was_never_judged_has_no_ties_by_rule():
    assert set(table(both("q1", (8, 9), (9, 8)), identical=[("q1", "a", "c")])["order"]) != {
        BY_RULE
    }
    assert table([], identical=[("q1", "a", "c")]).empty


# -- grades


def grade(model, score, question="q1", **more):
    return review(question, (model,), None if score is None else (score,), **more)


def test_grades_of_one_question_meet_afterwards():
    rows = [grade("a", 6), grade("b", 8), grade("c", 6)]
    found = table(rows)
    assert set(found["order"]) == {ALONE}
    told = found[["a", "b", "score_a", "score_b", "outcome"]].to_numpy().tolist()
    assert told == [["a", "b", 6, 8, 1], ["a", "c", 6, 6, 0.5]]
    assert len(table(rows, None)) == 3
    assert len(table([grade("b", 8), grade("c", 6)], "a")) == 1


def test_a_grade_that_cannot_be_read_is_a_battle_without_an_outcome():
    battles_ = table([grade("a", 6), grade("b", None)])
    assert battles_[["score_a", "score_b", "outcome"]].isna().all(axis=None)
    (pair,) = rates.pairs(battles_).to_dict("records")
    assert (pair["questions"], pair["unreadable"], pair["questions_alone"]) == (0, 1, 0)


def test_an_order_that_is_not_known_is_no_order():
    rows = [review("q1", s, (9, 1), asked=s[0]) | {"order_known": False} for s in ("ab", "ba")]
    battles_ = table([row | {"shown": [*row["shown"]]} for row in rows])
    assert list(battles_["order"]) == ["unknown"] * 2
    assert list(battles_["outcome"]) == [0, 1]


def test_ties_by_rule_stand_in_the_order_of_the_alphabet_too():
    found = table([review("q2", ("a", "b"), (9, 1))], identical=[("q1", "a", "b")])
    assert list(by_question(found)["question"]) == ["q1", "q2"]
    assert all(isinstance(found[name].dtype, pd.CategoricalDtype) for name in found.columns[:-3])


def test_grades_are_paired_sample_by_sample_and_judge_by_judge():
    rows = [grade(m, s, sample=n) for n, (m, s) in enumerate([("a", 6), ("b", 8)])]
    assert table(rows).empty
    rows = [grade("a", 6), grade("b", 8) | {"judge": "other"}]
    assert table(rows).empty
