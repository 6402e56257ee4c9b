"""Calibration by hand, against figures of ppi-python, and by whether its intervals hold."""

import numpy as np
import pandas as pd
import pytest
from conftest import review
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm, t

from evalkit.records import VOTE, Review, human
from evalkit.stats import calibration
from evalkit.stats.battles import battles
from evalkit.stats.calibration import Labelled, calibrated, correlation, more_labels, slope, weight
from evalkit.stats.intervals import Estimate, mean, mean_outcome


def pair(people, judge, rest):
    return Labelled(*(np.array(each, float) for each in (people, judge, rest)))


SMALL = pair([1, 0, 1, 0], [1, 0.5, 1, 0], [1, 0.5, 0, 0])

# -- one pair


def test_by_hand():
    """Eight questions, of which people voted on four.

    cov = (.5 * .375 + .5 * .125 + .5 * .375 + .5 * .625) / 3 = 1/4; the judge on all eight: mean
    1/2, variance 6 * .25 / 7 = 3/14. Slope 7/6, lam = 7/6 / (1 + 4/4) = 7/12. Mean of the rest
    3/8, of people 1/2, of the judge beside them 5/8: theta = 7/12 * 3/8 + 1/2 - 7/12 * 5/8 = 17/48.
    Variance of the rest 11/48; people - lam judge are 10, -7, 10, 0 of 24, variance 827/12 / 24^2.
    """
    by = slope([SMALL])
    assert by == pytest.approx(7 / 6)
    found = calibrated(SMALL, by)
    assert found.lam == weight(by, SMALL) == pytest.approx(7 / 12)
    theta, squared = 17 / 48, (7 / 12) ** 2 * (11 / 48) / 4 + 827 / 12 / 24**2 / 4
    half = t.ppf(0.975, 3) * squared**0.5 / (theta * (1 - theta))
    ends = expit(logit(theta) + np.array([-half, half]))
    assert found.rate == pytest.approx((theta, squared**0.5, *ends))
    # the same, as what the judge's labelled questions were off its mean on all questions
    assert found.rate.value == pytest.approx(0.5 - by * (5 / 8 - 1 / 2))
    assert correlation([SMALL]) == pytest.approx(0.75 / (1 * (11 / 16)) ** 0.5)


def test_the_figures_of_ppi_python():
    """ppi-python 0.2.3 on the same numbers; its variances divide by n, and its interval is normal.

    Its own lam, and with lam = .5 its value, its SE, and its SE with a rest that does not vary.
    """
    own = pair(
        [1, 1, 1, 0, 0, 0, 0.5, 1, 0, 1],
        [1, 0.75, 1, 0.25, 0.5, 0, 0.5, 1, 0.5, 0.25],
        [1, 1, 0.75, 0.5, 1, 0.25, 0, 1, 0.75, 0.5, 0.5, 1, 1, 0.25, 0.75],
    )
    lam, value, se, of_labels = 0.5673913043478263, 0.60416667, 0.1262323511683177, 0.11917686436553
    assert weight(slope([own]), own) == pytest.approx(lam * 10 / 9, abs=1e-9)
    assert calibrated(own, slope([own])).rate.value == pytest.approx(
        0.61146739 + lam / 9 * (np.mean(own.rest) - np.mean(own.judge)), abs=1e-8
    )
    found = calibrated(own, 0.5 * (1 + 10 / 15))
    assert found.lam == pytest.approx(0.5)
    assert found.rate.value == pytest.approx(value, abs=1e-8)
    squared = of_labels**2 * 10 / 9 + (se**2 - of_labels**2) * 15 / 14
    assert found.rate.se == pytest.approx(squared**0.5, abs=1e-9)


def test_a_judge_that_says_nothing_leaves_people_alone():
    for judge, rest in (([0.5] * 4, [0.5] * 9), ([1, 0, 0, 1], [1, 0, 1])):
        own = pair([1, 0, 1, 0.5], judge, rest)
        assert calibrated(own, min(slope([own]), 0)) == (mean_outcome(own.people), 0)


@pytest.mark.parametrize(
    "own",
    [
        pair([1, 0, 1], [1, 0, 0.5], []),  # all have a label
        pair([1, 0, 1], [1, 0, 0.5], [1]),  # one has none: no variance
        pair([1], [0.5], [1, 0, 1]),  # one label
        pair([1, 1, 1], [1, 0, 0.5], [1, 0, 1]),  # no spread
        pair([1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0.5]),  # beyond 1
    ],
)
def test_where_it_cannot_be_told_people_s_labels_stand_alone(own):
    assert calibrated(own, 0.9) == (mean_outcome(own.people), 0)


def test_nothing_comes_of_nothing():
    none = pair([], [], [1, 0])
    assert calibrated(none, 0.5) == (Estimate(None), 0)
    assert slope([none]) == slope([]) == 0
    assert correlation([none]) is correlation([]) is None
    assert more_labels(none, 0.5) is None


def test_slope_and_correlation_are_pooled_inside_pairs():
    """Two pairs whose means differ, each of which tells the same; a label alone tells nothing."""
    low = pair([0, 0.5, 0, 0.5], [0, 0.5, 0.25, 0.25], [0, 0.5])
    high = low._replace(people=low.people + 0.5, judge=low.judge, rest=low.rest)
    assert slope([low, high]) == pytest.approx(slope([low]))
    assert correlation([low, high]) == pytest.approx(correlation([low]))
    assert slope([low, pair([1], [0], [1, 0, 1])]) == slope([low])


def test_a_multiplier():
    assert calibration.multiplier(0.5) == pytest.approx(4 / 3)
    assert calibration.multiplier(-0.5) == 1
    assert calibration.multiplier(1) is calibration.multiplier(None) is None


def test_three_times_the_labels_more_halve_an_interval():
    dice = np.random.default_rng(3)
    people, judge, rest = drawn(dice, 0.5, 0.65, 40, 40_000)
    own = Labelled(people, judge, rest)
    assert more_labels(own, 0.0) == 120  # of people alone: 4 n in all
    assert more_labels(own, slope([own])) == pytest.approx(120, abs=3)
    assert more_labels(own._replace(rest=rest[:119]), 0.0) is None  # 159 questions are too few
    few = own._replace(rest=rest[:150])
    more, by = more_labels(few, 0.6), 0.6

    def se(labels):
        lam, left = by * (190 - labels) / 190, 190 - labels
        of_labels = np.var(people - lam * judge, ddof=1) / labels
        return (lam**2 * np.var(few.rest, ddof=1) / left + of_labels) ** 0.5

    assert se(40) == pytest.approx(calibrated(few, by).rate.se)
    assert se(40 + more) <= se(40) / 2 < se(40 + more - 1)


def drawn(dice, p, r, labels, questions):
    """People's win rate is p, the judge's .12 more; what is behind both correlates by r."""
    one, other = dice.standard_normal((2, questions))
    people, judge = verdicts(one, p), verdicts(r * one + (1 - r * r) ** 0.5 * other, p + 0.12)
    return people[:labels], judge[:labels], judge[labels:]


def verdicts(latent, p):
    """Outcomes 0, .5 (one in ten), 1, of mean p."""
    return np.searchsorted(norm.ppf([0.95 - p, 1.05 - p]), latent) / 2


@pytest.mark.parametrize(
    ("p", "r", "labels", "questions", "rho", "narrower"),
    [
        (0.5, 0.66, 40, 400, 0.5, 0.08),
        (0.5, 0.95, 40, 80, 0.8, 0.15),  # half of the questions have a label
        (0.8, 0.66, 20, 80, 0.4, 0.04),  # few labels, and nobody near a half
    ],
)
def test_intervals_hold_where_the_judge_s_own_do_not(p, r, labels, questions, rho, narrower):
    dice = np.random.default_rng(2026)
    held, alone, widths, correlated = [], [], [], []
    for _ in range(2000):
        own = Labelled(*drawn(dice, p, r, labels, questions))
        found = calibrated(own, slope([own])).rate
        judge = mean_outcome(np.append(own.judge, own.rest))
        people = mean_outcome(own.people)
        held.append(found.low <= p <= found.high)
        alone.append(judge.low <= p <= judge.high)
        widths.append((found.high - found.low, people.high - people.low))
        correlated.append(correlation([own]) or 0)
    assert np.mean(correlated) == pytest.approx(rho, abs=0.04)
    assert 0.93 <= np.mean(held) <= 0.97
    assert np.mean(alone) < 0.4
    ours, theirs = np.mean(widths, axis=0)
    assert ours < theirs * (1 - narrower)


outcomes = st.integers(0, 4).map(lambda n: n / 4)


def pairs_of(both, fewest):
    """Pairs with labels of people and judge like `both`, at least so many, and as many without."""
    return st.builds(
        lambda both, rest: pair([y for y, _ in both], [f for _, f in both], rest),
        st.lists(both, min_size=fewest, max_size=12),
        st.lists(outcomes, min_size=fewest, max_size=12),
    )


anything = st.tuples(outcomes, outcomes)
labelled = pairs_of(anything, 0)
telling = pairs_of(st.one_of(outcomes.map(lambda y: (y, y)), anything), 5)
"""A judge that says something of people, so that it has a weight."""


@settings(max_examples=200, deadline=None)
@given(labelled, st.lists(labelled, max_size=2))
def test_bounds(own, others):
    by = slope([own, *others])
    value, se, low, high = calibrated(own, by).rate
    assert 0 <= calibrated(own, by).lam <= 1
    assert (value is None) == (len(own.people) == 0)
    assert (low is None) == (high is None) == (len(own.people) < 2)
    if low is not None:
        assert se >= 0 and 0 <= low <= value + 1e-12 and value - 1e-12 <= high <= 1
    rho = correlation([own, *others])
    assert rho is None or -1 <= rho <= 1
    more = more_labels(own, by)
    assert more is None or 0 < more <= len(own.rest)


@settings(max_examples=60, deadline=None)
@given(telling)
def test_told_from_the_other_side_it_is_the_other_side(own):
    turned = Labelled(*(1 - each for each in own))
    assert slope([turned]) == pytest.approx(slope([own]))
    here, there = calibrated(own, slope([own])), calibrated(turned, slope([own]))
    assume(here.rate.low is not None and here.lam > 0 and 1e-9 < here.rate.value < 1 - 1e-9)
    value, se, low, high = there.rate
    assert (1 - value, se, 1 - high, 1 - low) == pytest.approx(here.rate, abs=1e-9)


# -- the tables

Y = [1, 0, 1, 0.5, 0, 1]
SCORES = {0: (9, 1), 0.5: (5, 5), 1: (1, 9)}


def said(outcomes, judge="judge", prompt="p", b="b", first=0):
    """Reviews of (a, b) by b's outcomes; None: nothing was said."""
    return [
        review(f"q{n}", ("a", b), SCORES[outcome], judge=judge, prompt=prompt)
        for n, outcome in enumerate(outcomes, first)
        if outcome is not None
    ]


def voted(outcomes, name="ann", **more):
    return said(outcomes, human(name), VOTE, **more)


def table_of(*rows, identical=()):
    reviews = [Review.model_validate(row) for some in rows for row in some]
    return battles(reviews, {f"q{n}": "x" for n in range(200)}, "a", identical)


def one_row(*rows, **more):
    (row,) = calibration.calibration(table_of(*rows, **more)).to_dict("records")
    return row


def test_a_row_by_hand():
    judge = [1, 0, 1, 1, 0, 0.5, 1, 0, 0.5, 1]
    row = one_row(said(judge), voted(Y))
    assert list(row) == calibration.COLUMNS
    assert (row["judge"], row["prompt"], row["a"], row["b"]) == ("judge", "p", "a", "b")
    assert (row["labels"], row["questions"], row["enough"]) == (6, 10, False)
    own = pair(Y, judge[:6], judge[6:])
    found = calibrated(own, slope([own]))
    names = ["win_rate_b_calibrated" + end for end in ("", "_se", "_low", "_high")]
    assert [row[name] for name in names] == pytest.approx(found.rate)
    assert row["lam"] == found.lam > 0
    people, bias = mean_outcome(own.people), mean(own.judge - own.people)
    assert row["win_rate_b"] == pytest.approx(0.6)
    assert row["win_rate_b_people"] == pytest.approx(3.5 / 6)
    assert row["win_rate_b_people_low"] == pytest.approx(people.low)
    assert row["bias"] == pytest.approx(0, abs=1e-12)
    assert (row["bias_low"], row["bias_high"]) == pytest.approx((bias.low, bias.high))
    assert row["rho"] == pytest.approx(np.corrcoef(Y, judge[:6])[0, 1])
    assert row["multiplier"] == pytest.approx(1 / (1 - row["rho"] ** 2))
    assert pd.isna(row["more_labels"])


def test_a_label_is_the_mean_over_its_voters_who_vote_as_often_as_they_like():
    judge = [1, 0, 1, 1, 0, 0.5]
    bo = [0, 0, None, 0.5]
    again = [{**row, "sample": 1} for row in voted([1])]
    row = one_row(said(judge), voted(Y), again, voted(bo, "bo"))
    assert (row["labels"], row["questions"]) == (6, 6)
    assert row["win_rate_b_people"] == pytest.approx((0.5 + 0 + 1 + 0.5 + 0 + 1) / 6)
    assert row["win_rate_b_calibrated"] == row["win_rate_b_people"]  # all have a label
    assert row["lam"] == 0


def test_orders_and_samples_of_the_judge_are_averaged_first():
    turned = [
        {**row, "shown": ["b", "a"], "answers": row["answers"][::-1], "sample": n}
        for n in range(3)
        for row in said([1, 0, 1, 1, 0, 0.5])
    ]  # always the one in the first place, whichever order
    row = one_row(said([1, 0, 1, 1, 0, 0.5]), turned, voted(Y))
    assert row["win_rate_b"] == 0.5 and row["bias"] == pytest.approx(0.5 - 3.5 / 6)


def test_votes_on_what_the_judge_has_not_read_are_left_out():
    row = one_row(said([1, 0, None, None, 0]), voted(Y))
    assert (row["labels"], row["questions"]) == (3, 3)
    row = one_row(said([1, 0, 1]), voted(Y, first=3))
    assert (row["labels"], row["questions"], row["enough"]) == (0, 3, False)
    empty = set(row) - {*calibration.COLUMNS[:7], "enough"}
    assert all(pd.isna(row[name]) for name in empty)


def test_answers_that_are_the_same_are_no_labels_and_are_told_for_sure():
    judge = [1, 0, 1, 1, 0, 0.5, 1, 1, 0.5, 1]
    same = [(f"q{n}", "a", "b") for n in range(10, 15)]
    without = one_row(said(judge), voted(Y))
    row = one_row(said(judge), voted(Y), voted([1], first=12), identical=same)
    assert (row["labels"], row["questions"]) == (6, 15)
    assert row["win_rate_b"] == pytest.approx((sum(judge) + 5 / 2) / 15)
    for name in ("win_rate_b_calibrated", "win_rate_b_people"):
        for end in ("", "_low", "_high"):
            told = (10 * without[name + end] + 5 * 0.5) / 15
            assert row[name + end] == pytest.approx(told), name + end
    assert row["win_rate_b_calibrated_se"] == pytest.approx(
        without["win_rate_b_calibrated_se"] * 2 / 3
    )
    assert row["bias_low"] == pytest.approx(without["bias_low"] * 2 / 3)
    assert row["rho"] == pytest.approx(without["rho"])


def many(n, seed):
    return list(np.random.default_rng(seed).choice([0, 0.5, 1], n))


@pytest.mark.parametrize(
    ("labels", "of_other", "enough"),
    [(20, 0, True), (19, 20, False), (19, 21, True), (1, 60, False)],
)
def test_enough_labels_of_a_pair_or_pooled(labels, of_other, enough):
    both = [said(many(80, 1)), said(many(80, 2), b="c")]
    votes = [voted(many(labels, 3)), voted(many(of_other, 4), b="c")]
    found = calibration.calibration(table_of(*both, *votes)).set_index("b")
    assert bool(found["enough"]["b"]) is enough
    assert found["labels"].to_dict() == {"b": labels, "c": of_other}
    assert found["rho"]["b"] == found["rho"]["c"] or labels < 2


def test_judges_and_prompts_are_never_mixed():
    judge = [1, 0, 1, 1, 0, 0.5, 1, 0, 0.5, 1]
    alone = one_row(said(judge), voted(Y))
    other = said(judge[::-1], "other"), said(judge[::-1], prompt="other")
    found = calibration.calibration(table_of(said(judge), *other, voted(Y)))
    assert found[["judge", "prompt"]].values.tolist() == [
        ["judge", "other"], ["judge", "p"], ["other", "p"]
    ]  # fmt: skip
    assert found.to_dict("records")[1] == pytest.approx(alone, nan_ok=True)


def test_agreement_with_people_beside_theirs_with_each_other():
    judge = [1, 0, 1, 1, 0, 0.5]
    bo = [1, 1, None, 0.5]
    found = calibration.with_people(table_of(said(judge), voted(Y), voted(bo, "bo")))
    own, theirs = found.to_dict("records")
    assert (own["judge"], own["prompt"], own["people"]) == ("judge", "p", 2)
    assert (own["items"], own["questions"]) == (6, 6)
    # ann: 1 1 1 .5 1 .5, bo: 1 0 .5
    assert own["agreement"] == pytest.approx(6.5 / 9)
    assert own["agreement_low"] < own["agreement"] < own["agreement_high"]
    assert (theirs["judge"], theirs["prompt"], theirs["people"]) == ("people", VOTE, 2)
    assert (theirs["items"], theirs["agreement"]) == (3, pytest.approx(2 / 3))


def test_one_voter_agrees_with_nobody_else():
    from evalkit.stats.agreement import agreements

    table = table_of(said([1, 0, 1, 1, 0, 0.5]), voted(Y))
    (row,) = calibration.with_people(table).to_dict("records")
    (known,) = agreements(table).to_dict("records")
    names = calibration.WITH_PEOPLE[3:]
    assert [row[name] for name in names] == pytest.approx([known[name] for name in names])


def test_ties_by_rule_are_no_agreement_with_people():
    same = [(f"q{n}", "a", "b") for n in range(10, 15)]
    rows = said([1, 0, 1, 1, 0, 0.5]), voted(Y), voted([1], "bo")
    pd.testing.assert_frame_equal(
        calibration.with_people(table_of(*rows, identical=same)),
        calibration.with_people(table_of(*rows)),
    )


def test_tables_of_nothing_and_of_no_votes():
    for rows in ([], voted(Y)):
        assert calibration.calibration(table_of(rows)).empty
    assert calibration.with_people(table_of()).empty
    assert calibration.with_people(table_of(said(Y))).empty
    assert list(calibration.calibration(table_of())) == calibration.COLUMNS
    assert list(calibration.with_people(table_of())) == calibration.WITH_PEOPLE
    assert one_row(said(Y))["labels"] == 0
