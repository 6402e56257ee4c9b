"""The e-process: the figures of its definition, and that looking at every question errs seldom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.stats.sequential import (
    ALPHA,
    Decided,
    EProcess,
    decide,
    e_benjamini_hochberg,
    race,
)

outcomes = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), max_size=60)


@pytest.mark.parametrize(
    ("d", "found"),
    [
        ([1, 1, 0] * 20, Decided(1, 10)),
        ([-1] * 20, Decided(-1, 7)),
        ([0] * 50, Decided(None, 50)),
        ([1, -1] * 50, Decided(None, 100)),
        ([], Decided(None, 0)),
    ],
)
def test_it_stops_where_the_definition_says(d, found):
    assert decide(d) == found


@pytest.mark.parametrize(("d", "log_k"), [([0] * 50, 0.0), ([1, -1] * 50, -2.53087640)])
def test_what_is_held_at_the_end(d, log_k):
    process = EProcess()
    for each in d:
        process.take(each)
    assert process.log_k == pytest.approx(log_k, abs=1e-8)


def test_a_tie_is_declared_only_inside_the_zone():
    dice = np.random.default_rng(0)
    even = dice.choice([-0.5, 0.0, 0.5], 3000)
    assert decide(even, tie_zone=0.05).decision == 0
    assert decide(even).decision is None
    apart = np.clip(dice.normal(0.3, 0.5, 3000), -1, 1)
    assert decide(apart, tie_zone=0.05).decision == 1


@given(outcomes)
def test_turning_the_sides_turns_the_decision(d):
    one, other = decide(d, tie_zone=0.1), decide([-each for each in d], tie_zone=0.1)
    assert one.after == other.after
    assert other.decision == (None if one.decision is None else -one.decision)


@given(outcomes, outcomes)
def test_what_comes_later_changes_no_decision(d, more):
    found = decide(d)
    if found.decision is not None:
        assert decide(d + more) == found


@given(outcomes)
def test_a_bet_on_one_side_never_pays_for_the_other(d):
    up = EProcess(1)
    for each in d:
        assert 0 <= up.bet() <= 0.75
        up.take(-abs(each))
        assert up.log_k <= 0


@pytest.mark.parametrize("kind", ["fair coins", "with ties", "skewed"])
def test_looking_at_every_question_errs_at_most_as_often_as_it_says(kind):
    """Type I error with a look after each of 200 questions, of 400 true ties."""
    dice = np.random.default_rng(5)
    wrong = 0
    for _ in range(400):
        if kind == "fair coins":
            d = dice.choice([-1.0, 1.0], 200)
        elif kind == "with ties":
            d = dice.choice([-1.0, 0.0, 0.0, 1.0], 200)
        else:  # seldom a whole loss, often a small gain: 0 on average
            d = dice.choice([-1.0, 0.25], 200, p=[0.2, 0.8])
        wrong += decide(d).decision is not None
    assert wrong / 400 <= ALPHA + 0.022  # two standard errors of 400 draws


def test_an_outcome_outside_the_scale_is_refused():
    with pytest.raises(ValueError, match="not in"):
        EProcess().take(1.01)


def test_many_pairs_take_more_than_one_pair_does():
    assert e_benjamini_hochberg([np.log(21)]) == [True]
    assert e_benjamini_hochberg([np.log(21), 0.0]) == [False, False]
    assert e_benjamini_hochberg([np.log(41), 0.0]) == [True, False]
    assert e_benjamini_hochberg([np.log(21), np.log(21)]) == [True, True]
    assert e_benjamini_hochberg([0.0, np.log(25), np.log(35), 5.0]) == [False, False, False, True]
    assert e_benjamini_hochberg([]) == []


def test_a_race_keeps_the_best_and_drops_the_others_early():
    dice = np.random.default_rng(2)
    rates = np.array([0.3, 0.4, 0.5, 0.9])
    outcomes = (dice.random((600, 4)) < rates).astype(float)
    left, after = race(outcomes)
    assert left == [3] and after < 200
    same = (dice.random((200, 4)) < 0.5).astype(float)
    assert len(race(same)[0]) == 4


def test_a_race_of_equals_seldom_drops_the_best():
    dice = np.random.default_rng(3)
    dropped = 0
    for _ in range(100):
        outcomes = (dice.random((150, 4)) < [0.5, 0.5, 0.5, 0.55]).astype(float)
        dropped += 3 not in race(outcomes)[0]
    assert dropped / 100 <= ALPHA + 0.044


def test_a_pair_is_decided_in_the_order_of_the_places_whoever_is_shown_first():
    from conftest import review

    from evalkit.records import Review
    from evalkit.stats.battles import battles
    from evalkit.stats.sequential import decisions

    rows = []
    for n in range(30):
        scores = (9, 5) if n < 20 else (5, 9)  # a wins the first 20, b the last 10
        rows.append(review(f"q{n}", ("a", "b"), scores))
        rows.append(review(f"q{n}", ("b", "a"), scores[::-1]))
    table = battles(map(Review.model_validate, rows), {f"q{n}": "generic" for n in range(30)}, "a")
    (row,) = decisions(table, {f"q{n}": n for n in range(30)}).to_dict("records")
    assert (row["decision"], row["after"], row["questions"]) == ("a", 7, 30)
    (turned,) = decisions(table, {f"q{n}": -n for n in range(30)}).to_dict("records")
    assert (turned["decision"], turned["after"]) == ("b", 7)
    assert decisions(battles([], {}), {}).empty


def test_the_sample_s_page_says_when_each_pair_was_certain(evalkit, tmp_path):
    import json

    assert evalkit("report").code == 0
    found = json.loads((tmp_path / "reports" / "sample.json").read_text())["decisions"]
    told = {row["b"]: (row["decision"], row["after"]) for row in found}
    assert told["sample-vague"] == told["sample-null"] == ("a", 7)
    assert told["sample-brief"] == (None, 16)
    page = (tmp_path / "reports" / "sample.html").read_text()
    assert page.count(">after 7<") == 2 and page.count(">not yet<") == 1
