"""Intervals against formulas written out, against scipy, and against what they promise."""

import numpy as np
import pytest
from scipy import stats

from evalkit.stats import bootstrap
from evalkit.stats.intervals import (
    Estimate,
    mean_outcome,
    product,
    ratio,
    stratified_ratio,
    wilson,
)

RNG = np.random.default_rng(20230330)


@pytest.mark.parametrize(("wins", "n"), [(0, 10), (3, 10), (80, 80), (1, 2)])
def test_wilson_is_scipys(wins, n):
    expected = stats.binomtest(wins, n).proportion_ci(method="wilson")
    assert wilson(wins, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_win_rate_by_hand():
    outcomes = np.array([1, 1, 0.5, 0, 1, 0.5, 0, 1])
    p, se = 0.625, np.std(outcomes, ddof=1) / np.sqrt(8)
    half = stats.t.ppf(0.975, 7) * se / (p * (1 - p))
    centre = np.log(p / (1 - p))
    expected = [1 / (1 + np.exp(-(centre + side * half))) for side in (-1, 1)]
    found = mean_outcome(outcomes)
    assert (found.value, found.se) == pytest.approx((p, se))
    assert (found.low, found.high) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_equal_outcomes_are_no_certainty(value):
    found = mean_outcome(np.full(10, value))
    assert (found.low, found.high) == pytest.approx(wilson(10 * value, 10))
    assert found.high - found.low > 0.25


def test_one_question_gives_a_value_and_no_interval():
    one = np.array([0.5])
    assert mean_outcome(one) == Estimate(0.5)
    assert ratio(one * 4, one * 2) == Estimate(0.5)
    assert stratified_ratio(one * 4, one * 2, ["x"]) == Estimate(0.5)
    assert product([(one * 4, one * 2), (one * 2, one)]) == Estimate(0.25)


def test_no_spread_is_no_certainty():
    a, b = np.full(4, 8.0), np.full(4, 7.0)
    for found in (ratio(a, b), stratified_ratio(a, b, list("xxyy")), product([(a, b), (b, a)])):
        assert found.se == pytest.approx(0, abs=1e-12)
        assert (found.low, found.high) == (None, None)


def test_a_chain_is_as_sure_as_its_thinnest_link():
    a, b = RNG.uniform(4, 10, 40), RNG.uniform(4, 10, 40)
    few = np.where(np.arange(40) < 3, b, np.nan)
    found = product([(a, b), (few, np.where(np.isnan(few), np.nan, a))])
    assert found.high - found.value == pytest.approx(found.se * stats.t.ppf(0.975, 2))
    # The thin link alone: three questions, and nothing of the thick one.
    alone = ratio(few[:3], a[:3])
    assert found.se / found.value > 0.5 * alone.se / alone.value


def test_nothing_gives_nothing():
    none = np.array([])
    assert (
        mean_outcome(none)
        == ratio(none, none)
        == stratified_ratio(none, none, [])
        == Estimate(None)
    )
    assert ratio(np.zeros(3), np.ones(3)) == Estimate(None)


def test_ratio_by_hand():
    a, b = np.array([8.0, 9, 4, 10, 7]), np.array([9.0, 7, 4, 6, 9])
    r = 35 / 38
    e = (b - r * a) / 7.6
    se = np.sqrt(((e - e.mean()) ** 2).sum() / 4 / 5)
    half = stats.t.ppf(0.975, 4) * se
    assert ratio(a, b) == pytest.approx((r, se, r - half, r + half))


def test_stratified_ratio_by_hand():
    a = np.array([8.0, 9, 4, 10, 7, 6, 8])
    b = np.array([9.0, 7, 4, 6, 9, 5, 8])
    strata = ["x", "x", "x", "y", "y", "z", "y"]  # z is alone and joins y: both have three or fewer
    r = b.sum() / a.sum()
    e = (b - r * a) / a.mean()
    groups = [e[[0, 1, 2, 5]], e[[3, 4, 6]]]
    variance = sum((len(g) / 7) ** 2 * np.var(g, ddof=1) / len(g) for g in groups)
    half = stats.t.ppf(0.975, 5) * np.sqrt(variance)
    found = stratified_ratio(a, b, strata)
    assert found == pytest.approx((r, np.sqrt(variance), r - half, r + half))


def test_strata_of_one_are_put_together():
    a, b = np.full(4, 8.0), np.array([8.0, 6, 7, 5])
    assert stratified_ratio(a, b, list("wxyz")) == pytest.approx(ratio(a, b))


def test_no_ratio_is_below_zero():
    assert ratio(np.array([10.0, 10, 10]), np.array([0.0, 0, 9])).low == 0


def test_a_product_of_one_link_is_its_ratio():
    a, b = RNG.uniform(1, 10, 30), RNG.uniform(1, 10, 30)
    assert product([(a, b)]) == pytest.approx(ratio(a, b))


def test_there_and_back_again_is_certain():
    """b/a times a/b is 1, whatever the scores: errors that links share must cancel."""
    a, b = RNG.uniform(1, 10, 30), RNG.uniform(1, 10, 30)
    found = product([(a, b), (b, a)])
    assert found.value == pytest.approx(1)
    assert found.se == pytest.approx(0, abs=1e-12)


def covered(draw, truth, times=1500):
    inside = 0
    for _ in range(times):
        found = draw()
        inside += found.low <= truth <= found.high
    return inside / times


def test_coverage_of_a_win_rate():
    def draw():
        return mean_outcome(RNG.choice([0, 0.5, 1], p=[0.55, 0.27, 0.18], size=80))

    assert 0.93 <= covered(draw, 0.315) <= 0.975


def test_coverage_of_a_ratio_and_of_a_chain():
    def scores():
        hard = RNG.uniform(0, 4, 80)  # a hard question is hard for everybody
        return [np.clip(mean - hard + RNG.normal(0, 1, 80), 0, None) for mean in (9, 8, 7)]

    truth = [np.mean([s[k].mean() for s in (scores() for _ in range(4000))]) for k in range(3)]

    def direct():
        a, b, _ = scores()
        return ratio(a, b)

    def chained():
        a, b, c = scores()
        return product([(a, b), (b, c)])

    assert 0.93 <= covered(direct, truth[1] / truth[0]) <= 0.97
    assert 0.93 <= covered(chained, truth[2] / truth[0]) <= 0.97


def test_groups_of_questions_are_drawn_where_there_are_many(monkeypatch):
    values = np.random.default_rng(1).exponential(1.0, 900)

    def mean(weights):
        return weights @ values / weights.sum(1)

    one_by_one = bootstrap.interval(mean, 900)
    monkeypatch.setattr(bootstrap, "MOST", 150)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 10_000)  # in pieces
    groups = bootstrap.interval(mean, 900)
    assert groups.value == one_by_one.value == pytest.approx(values.mean())
    exact = values.std(ddof=1) / 30
    assert [one_by_one.se, groups.se] == pytest.approx([exact, exact], rel=0.12)
    assert groups.low == pytest.approx(one_by_one.low, abs=exact / 3)
    assert groups.high == pytest.approx(one_by_one.high, abs=exact / 3)


def test_draws_in_pieces_are_the_same_draws(monkeypatch):
    whole = np.concatenate([*bootstrap.draws(50, 300)])
    monkeypatch.setattr(bootstrap, "AT_ONCE", 1000)
    pieces = [*bootstrap.draws(50, 300)]
    assert len(pieces) == 15
    assert (np.concatenate(pieces) == whole).all()
    assert (whole.sum(1) == 50).all()
    monkeypatch.setattr(bootstrap, "MOST", 10)
    groups = np.concatenate([*bootstrap.draws(50, 300)])
    assert (groups.sum(1) == 50).all()
    assert (groups[:, :10] == groups[:, 10:20]).all()
