"""The e-process: the figures of its definition, and that looking at every question errs seldom."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.records import place
from evalkit.stats.eprocess import EProcesses, ShiftedEProcesses, always_valid
from evalkit.stats.sequential import (
    ALPHA,
    Comparisons,
    Decided,
    Duels,
    Race,
    decide,
    e_benjamini_hochberg,
    more_questions,
)


def race(outcomes):
    """The models left, and after how many questions one was; `outcomes`: (n, M) in [0, 1]."""
    running = Race(outcomes.shape[1])
    for taken, row in enumerate(outcomes, 1):
        running.take(row[:, None] - row[None, :])
        if len(running.left) == 1:
            return running.left, taken
    return running.left, len(outcomes)


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
    process = EProcesses(1)
    for each in d:
        process.take([[each]])
    assert process.log_k[0] == pytest.approx(log_k, abs=1e-8)
    assert EProcesses(1).take(np.array(d)[:, None])[-1, 0] == pytest.approx(log_k, abs=1e-8)


def test_what_a_sure_winner_holds_by_hand():
    held = EProcesses(1).take(np.ones((8, 1)))[:, 0]  # bets of 0, 1/2, 2/3, then 3/4 at most
    by_hand = np.cumprod([1, 3 / 2, 5 / 3, 7 / 4, 7 / 4, 7 / 4, 7 / 4, 7 / 4])
    assert np.exp(held) == pytest.approx(by_hand)


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
    up = EProcesses(1, 1)
    for each in d:
        up.take([[-abs(each)]])
        assert up.log_k[0] <= 0
    one, two = EProcesses(2, 1), ShiftedEProcesses([0.0, 0.0], 1)
    both = np.stack([d, np.negative(d)], 1)
    if len(d):
        assert (one.take(both) == two.take(both)).all()


@pytest.mark.parametrize("kind", ["fair coins", "with ties", "skewed"])
def test_looking_at_every_question_errs_at_most_as_often_as_it_says(kind):
    """Type I error with a look after each of 200 questions, of 4,000 true ties."""
    dice = np.random.default_rng(5)
    shape = 200, 4000
    if kind == "fair coins":
        d = dice.choice([-1.0, 1.0], shape)
    elif kind == "with ties":
        d = dice.choice([-1.0, 0.0, 0.0, 1.0], shape)
    else:  # seldom a whole loss, often a small gain: 0 on average
        d = dice.choice([-1.0, 0.25], shape, p=[0.2, 0.8])
    held = EProcesses(4000).take(d)
    wrong = (held >= -np.log(ALPHA)).any(0)
    assert 0 < wrong.mean() <= ALPHA + 0.007  # two standard errors of 4,000 draws
    for n in np.flatnonzero(wrong)[:5]:
        assert decide(d[:, n]).decision is not None


def test_an_outcome_outside_the_scale_is_refused():
    with pytest.raises(ValueError, match="not in"):
        EProcesses(1).take([[1.01]])


def test_many_pairs_take_more_than_one_pair_does():
    def counted(*log_e):
        return e_benjamini_hochberg(list(log_e)).tolist()

    assert counted(np.log(21)) == [True]
    assert counted(np.log(21), 0.0) == [False, False]
    assert counted(np.log(41), 0.0) == [True, False]
    assert counted(np.log(21), np.log(21)) == [True, True]
    assert counted(0.0, np.log(25), np.log(35), 5.0) == [False, False, False, True]
    assert counted() == []


def test_pairs_that_are_looked_at_together_take_longer_each_and_stay_decided():
    alone = decide([1] * 40).after
    together = Comparisons(10)
    sure = np.array([1.0] + [0.0] * 9)
    after = next(n for n in range(1, 41) if together.take(sure))
    assert after > alone == 7
    assert together.found[0] == Decided(1, after)
    for _ in range(20):
        together.take(-sure)
    assert together.found[0] == Decided(1, after) and together.open == list(range(1, 10))


def test_the_evidence_of_a_decided_pair_stays_and_helps_the_others():
    together = Comparisons(2)
    for _ in range(10):
        together.take([1, 0])
    assert together.open == [1]
    after = next(n for n in range(1, 20) if together.take([-1, 1]))
    assert after == 7  # as if it were alone: both are counted
    assert together.found[0].decision == 1 and together.taken.tolist() == [8, 17]


def test_of_many_true_ties_few_are_called_decided():
    """200 runs of 20 pairs, all of them ties, looked at after each of 80 questions."""
    dice = np.random.default_rng(8)
    wrong = 0
    for _ in range(200):
        together = Comparisons(20)
        for outcomes in dice.choice([-1.0, 0.0, 1.0], (80, 20)):
            together.take(outcomes)
        wrong += len(together.open) < 20
    assert wrong / 200 <= ALPHA + 0.031


def test_the_interval_that_is_always_valid_holds_at_every_look():
    dice = np.random.default_rng(9)
    for mean in (0.0, 0.4, -0.8):
        missed = 0
        for _ in range(150):
            d = np.where(dice.random(60) < (1 + mean) / 2, 1.0, -1.0)
            ends = [always_valid(d[:n]) for n in (5, 10, 20, 40, 60)]
            missed += not all(low <= mean <= high for low, high in ends)
        assert missed / 150 <= ALPHA + 0.036
    assert always_valid([]) is None
    low, high = always_valid([0.0] * 500)
    assert -0.2 < low < 0 < high < 0.2


def test_how_many_more_is_about_what_it_then_takes():
    dice = np.random.default_rng(10)
    d = dice.choice([-1.0, 1.0], 4000, p=[0.38, 0.62])
    told = more_questions(d[:40], tie_zone=0)
    took = decide(d).after - 40
    assert told is not None and took > 0
    assert more_questions([0.0, 0.0, 0.0], tie_zone=0) is None
    even = decide([0.5, -0.5] * 2000, tie_zone=0.2).after - 20
    assert more_questions([0.5, -0.5] * 10, tie_zone=0.2) == pytest.approx(even, rel=0.5)
    ahead = decide([0.5, 0.5, -0.5] * 2000, tie_zone=0.2).after - 9
    assert more_questions([0.5, 0.5, -0.5] * 3, tie_zone=0.2) == pytest.approx(ahead, rel=0.5)
    assert more_questions([0.3], tie_zone=0) is None
    close = [more_questions(dice.choice([-1.0, 1.0], 60, p=[0.4, 0.6])) for _ in range(20)]
    far = [more_questions(dice.choice([-1.0, 1.0], 60, p=[0.48, 0.52])) for _ in range(20)]
    large = [np.inf if each is None else each for each in far]
    small = [np.inf if each is None else each for each in close]
    assert np.median(small) < np.median(large)


def test_models_that_met_the_same_third_one_are_compared_by_way_of_it():
    duels = Duels([("base", "x"), ("base", "y")])
    assert duels.models == ["base", "x", "y"] and not duels.unconnected
    found = duels.outcomes([-1.0, 0.5])  # x won against base, y lost half
    assert found[1, 0] == 1 and found[0, 2] == 0.5
    assert found[1, 2] == pytest.approx(0.75) == -found[2, 1]
    assert np.isnan(np.diag(found)).all()
    assert duels.needed([1, 2]) == {0, 1} and duels.needed([0, 1]) == {0}
    assert Duels([("a", "b"), ("c", "d")]).unconnected == ["a", "b", "c", "d"]


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

    ids = sorted((f"q{n}" for n in range(30)), key=place)
    rows = []
    for n, id_ in enumerate(ids):
        scores = (9, 5) if n < 20 else (5, 9)  # a wins the first 20, b the last 10
        rows.append(review(id_, ("a", "b"), scores))
        rows.append(review(id_, ("b", "a"), scores[::-1]))
    table = battles(map(Review.model_validate, rows[::-1]), dict.fromkeys(ids, "generic"), "a")
    (row,) = decisions(table).to_dict("records")
    assert (row["decision"], row["after"], row["questions"]) == ("a", 7, 30)
    turned = table.assign(outcome=1 - table["outcome"])
    (row,) = decisions(turned).to_dict("records")
    assert (row["decision"], row["after"]) == ("b", 7)
    assert 0.5 < row["low"] < row["high"] <= 1
    assert decisions(battles([], {})).empty


def test_the_sample_s_page_says_when_each_pair_was_certain(evalkit, tmp_path):
    import json

    assert evalkit("report").code == 0
    found = json.loads((tmp_path / "reports" / "sample.json").read_text())["decisions"]
    told = {row["b"]: (row["decision"], row["after"]) for row in found}
    assert told["sample-vague"] == told["sample-null"] == ("a", 8)  # of three pairs
    assert told["sample-brief"] == (None, 16)
    page = (tmp_path / "reports" / "sample.html").read_text()
    assert (
        page.count(">after 8<") == 2
        and page.count(">not yet<") == 1
        and "not separable by 16 questions" in page
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.3]))
def test_many_questions_in_one_go_decide_as_one_by_one(seed, zone):
    chance = np.random.default_rng(seed)
    means = chance.choice([-0.6, -0.1, 0.0, 0.1, 0.6], 4)
    table = np.clip(chance.normal(means, 0.5, (300, 4)), -1, 1)
    table[chance.random(table.shape) < 0.1] = np.nan
    one, all_ = Comparisons(4, tie_zone=zone), Comparisons(4, tie_zone=zone)
    for row in table:
        one.take(row)
    all_.take_all(table)
    assert all_.found == one.found
    assert (all_.taken == one.taken).all()


@pytest.mark.parametrize("mean", [-0.9, 0.0, 0.2])
def test_the_interval_drops_no_mean_that_no_bet_has_ruled_out(mean):
    d = np.clip(np.random.default_rng(1).normal(mean, 0.4, 700), -1, 1)
    means = np.linspace(-1, 1, 401)
    held = ShiftedEProcesses(means).take(np.broadcast_to(d[:, None], (700, 401)))
    kept = means[(held < -np.log(0.05)).all(0)]
    assert always_valid(d) == pytest.approx((kept.min() - 0.005, kept.max() + 0.005))
