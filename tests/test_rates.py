"""What must hold of the tables whatever the judge said."""

import gc
import math
from random import Random

import numpy as np
import pandas as pd
import pytest
from conftest import review
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evalkit.records import Review
from evalkit.stats import battles as stats_battles
from evalkit.stats import chains, rates
from evalkit.stats.battles import battles, by_question
from evalkit.stats.intervals import product

MODELS = ("base", "m1", "m2", "m3")
CATEGORIES = {f"q{n}": ("math", "writing", "alone")[min(n, 9) // 4] for n in range(9)}

scores = st.one_of(st.none(), st.tuples(*[st.integers(0, 20).map(lambda x: x / 2)] * 2))
rows = st.lists(
    st.tuples(
        st.sampled_from(sorted(CATEGORIES)),
        st.permutations(MODELS).map(lambda models: tuple(models[:2])),
        scores,
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=24,
    unique_by=lambda row: (row[0], row[1], row[3]),
)


def reviews(rows):
    return [
        Review.model_validate(review(question, shown, scores, sample=sample))
        for question, shown, scores, sample in rows
    ]


def tables(reviews, baseline="base"):
    table = battles(reviews, CATEGORIES, baseline)
    return rates.pairs(table), rates.by_category(table), chains.relative_scores(table, baseline)


def same(one, other, but=()):
    for left, right in zip(one, other, strict=True):
        keep = [column for column in left.columns if column not in but]
        pd.testing.assert_frame_equal(left[keep], right[keep], check_dtype=False)


TWICE = [  # each order asked twice, with another outcome
    ("q0", ("base", "m1"), (9, 1), 0), ("q0", ("base", "m1"), (2, 8), 1),
    ("q0", ("m1", "base"), (6, 5), 0), ("q0", ("m1", "base"), None, 1),
    ("q4", ("m2", "m3"), (3, 3), 1), ("q4", ("m2", "m3"), (0, 9), 0),
    ("q8", ("base", "m3"), (7, 8), 0),
]  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(rows, st.randoms(use_true_random=False))
@example(TWICE, Random(2))
def test_no_table_changes_where_the_same_is_told_otherwise(rows, random):
    once, found = reviews(rows), tables(reviews(rows))
    counts = ["reviews", "unreadable", "reviews_a_first"]

    swapped = [(q, shown[::-1], scores and scores[::-1], n) for q, shown, scores, n in rows]
    same(found, tables(reviews(swapped)), but=["reviews_a_first"])

    same(found, tables(once + once), but=counts)

    # The same verdicts again as further samples: new rows, but no new question.
    again = [(q, shown, scores, sample + 2) for q, shown, scores, sample in rows]
    same(found, tables(reviews(rows + again)), but=counts)

    shuffled = list(rows)
    random.shuffle(shuffled)
    same(found, tables(reviews(shuffled)))


@settings(max_examples=12, deadline=None)
@given(rows)
def test_naming_another_baseline_only_turns_the_pairs_around(rows):
    pairs, turned = (
        rates.pairs(battles(reviews(rows), CATEGORIES, baseline)).set_index(["a", "b"])
        for baseline in ("base", "m3")
    )
    for (a, b), pair in pairs.iterrows():
        told = turned.loc[(a, b) if (a, b) in turned.index else (b, a)]
        mirrored = (a, b) not in turned.index
        assert told["wins_b"] == pair["wins_a" if mirrored else "wins_b"]
        rate = 1 - pair["win_rate_b"] if mirrored else pair["win_rate_b"]
        assert told["win_rate_b"] == pytest.approx(rate, nan_ok=True)


def test_a_judge_that_always_says_first_comes_out_at_exactly_a_half():
    said = [(q, shown, (9, 1), 0) for q in CATEGORIES for shown in (("base", "m1"), ("m1", "base"))]
    (pair,) = tables(reviews(said))[0].to_dict("records")
    assert pair["win_rate_b"] == 0.5
    assert pair["ratio_b_to_a"] == 1
    assert (pair["wins_a"], pair["ties"], pair["wins_b"]) == (0, len(CATEGORIES), 0)
    assert pair["win_rate_b_low"] < 0.25  # nine ties are no certainty
    assert pair["questions_both_orders"] == len(CATEGORIES)


def test_an_order_that_was_asked_more_often_weighs_no_more():
    said = [("q0", ("base", "m1"), (9, 1), sample) for sample in range(3)]
    said.append(("q0", ("m1", "base"), (9, 1), 0))
    (row,) = by_question(battles(reviews(said), CATEGORIES, "base")).to_dict("records")
    assert (row["outcome"], row["score_a"], row["score_b"]) == (0.5, 5, 5)


def test_what_one_statistic_does_with_its_questions_no_other_sees():
    gc.collect()
    others = len(stats_battles._HELD)
    table = battles(reviews(TWICE), CATEGORIES, "base")
    first = by_question(table)
    untouched = first.copy()
    first["outcome"] = 0.25
    pd.testing.assert_frame_equal(by_question(table), untouched)
    some = table[table["question"] == "q8"]
    assert by_question(some)["question"].tolist() == ["q8"]
    del table, some
    gc.collect()
    assert len(stats_battles._HELD) == others, "what is held is let go with its table"


def test_counts_and_bounds_with_unreadable_replies():
    said = [
        ("q0", ("base", "m1"), (1, 9), 0),
        ("q1", ("m1", "base"), (1, 9), 0),
        ("q2", ("m1", "base"), (5, 5), 0),
        ("q3", ("m1", "base"), None, 0),
    ]
    (pair,) = tables(reviews(said))[0].to_dict("records")
    assert (pair["a"], pair["b"], pair["questions_both_orders"]) == ("base", "m1", 0)
    assert (pair["wins_b"], pair["ties"], pair["wins_a"]) == (1, 1, 1)
    assert (pair["sum_a"], pair["sum_b"]) == (1 + 9 + 5, 9 + 1 + 5)
    assert (pair["questions"], pair["reviews"], pair["unreadable"]) == (3, 4, 1)
    assert (pair["win_rate_b"], pair["win_rate_b_worst"], pair["win_rate_b_best"]) == (
        0.5,
        1.5 / 4,
        2.5 / 4,
    )


def test_nothing_readable_gives_counts_and_no_numbers():
    said = [(q, ("base", "m1"), None, 0) for q in CATEGORIES]
    (pair,) = tables(reviews(said))[0].to_dict("records")
    assert (pair["questions"], pair["unreadable"]) == (0, len(CATEGORIES))
    assert math.isnan(pair["win_rate_b"]) and math.isnan(pair["ratio_b_to_a"])
    assert (pair["win_rate_b_worst"], pair["win_rate_b_best"]) == (0, 1)


def test_judges_and_prompts_are_never_mixed():
    said = [
        Review.model_validate(review("q0", ("base", "m1"), (9, 1))),
        Review.model_validate(review("q0", ("base", "m1"), (1, 9), judge="other")),
        Review.model_validate(review("q0", ("base", "m1"), (5, 5), prompt="other")),
    ]
    pairs = tables(said)[0].set_index(["judge", "prompt"])["win_rate_b"]
    assert pairs.to_dict() == {
        ("judge", "pair-scores"): 0,
        ("judge", "other"): 0.5,
        ("other", "pair-scores"): 1,
    }


def chart(said, baseline="base"):
    return tables(reviews(said), baseline)[2].set_index("model")


def test_a_chain_goes_by_the_fewest_bridges():
    said = [
        ("q0", ("base", "m1"), (8, 4), 0),
        ("q0", ("m1", "m2"), (8, 4), 0),
        ("q0", ("m2", "m3"), (8, 4), 0),
    ]
    found = chart(said)
    assert found["percent"].to_dict() == {"base": 100, "m1": 50, "m2": 25, "m3": 12.5}
    assert found["via"].to_dict() == {"base": (), "m1": (), "m2": ("m1",), "m3": ("m1", "m2")}
    direct = chart([*said, ("q0", ("base", "m3"), (10, 9), 0)])
    assert direct["percent"]["m3"] == 90 and direct["via"]["m3"] == ()


def test_between_equal_chains_the_surer_one_is_taken():
    def battle(a, b, spread):
        return [(f"q{n}", (a, b), (8, 6 + spread * (-1) ** n), 0) for n in range(8)]

    said = battle("base", "m1", 2) + battle("m1", "m3", 0)
    said += battle("base", "m2", 1) + battle("m2", "m3", 0)
    assert chart(said)["via"]["m3"] == ("m2",)


def test_a_chain_over_a_single_question_has_no_interval_and_is_the_last_choice():
    thin = [("q0", ("base", "m1"), (8, 6), 0), ("q0", ("m1", "m3"), (8, 8), 0)]
    found = chart(thin).loc["m3"]
    assert (found["percent"], found["questions"]) == (75, 1)
    assert pd.isna(found["low"]) and pd.isna(found["se"])
    wide = [(f"q{n}", ("base", "m2"), (8, 4 + n % 3), 0) for n in range(8)]
    wide += [(f"q{n}", ("m2", "m3"), (8, 5 + n % 2), 0) for n in range(8)]
    assert chart(thin + wide)["via"]["m3"] == ("m2",)


def test_a_score_of_zero_is_a_percentage_and_ends_a_chain():
    said = [(f"q{n}", ("base", "m1"), (8, 0), 0) for n in range(4)]
    said += [(f"q{n}", ("m1", "m2"), (4, 8), 0) for n in range(4)]
    found = chart(said)["percent"]
    assert found["m1"] == 0
    assert math.isnan(found["m2"])


def test_a_baseline_that_scored_zero_has_no_percentages():
    found = chart([(f"q{n}", ("base", "m1"), (0, 8), 0) for n in range(4)])["percent"]
    assert found["base"] == 100 and math.isnan(found["m1"])


def test_a_model_that_nothing_connects_has_no_percent():
    found = chart([("q0", ("base", "m1"), (8, 4), 0), ("q0", ("m2", "m3"), (8, 4), 0)])
    assert found["percent"][["m2", "m3"]].isna().all()


def test_a_chain_joins_questions_by_id_and_bears_missing_ones():
    first = [(f"q{n}", ("base", "m1"), (8, 4 + n % 2), 0) for n in range(6)]
    second = [(f"q{n}", ("m1", "m2"), (8, 4 + n % 3), 0) for n in range(8, 3, -1)]
    found = chart(first + second).loc["m2"]
    assert found["questions"] == 5  # on the thinner link
    assert found["percent"] == pytest.approx(100 * (27 / 48) * (26 / 40))
    # The two links share q4 and q5, wherever these stand in each of them.
    gap = float("nan")
    links = [
        ([8, 8, 8, 8, 8, 8, gap, gap, gap], [4, 5, 4, 5, 4, 5, gap, gap, gap]),
        ([gap, gap, gap, gap, 8, 8, 8, 8, 8], [gap, gap, gap, gap, 5, 6, 4, 5, 6]),
    ]
    by_hand = product([(np.array(a, float), np.array(b, float)) for a, b in links])
    assert [found["se"], found["low"], found["high"]] == pytest.approx(
        [100 * x for x in (by_hand.se, by_hand.low, by_hand.high)]
    )


def test_questions_outside_the_bank_are_left_out():
    said = [("q0", ("base", "m1"), (8, 4), 0), ("gone", ("base", "m1"), (1, 9), 0)]
    assert tables(reviews(said))[0]["sum_b"].tolist() == [4]
