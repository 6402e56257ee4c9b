"""Length control against a fit by another hand, and where it must say nothing."""

import numpy as np
import pandas as pd
import pytest
from conftest import review
from scipy.optimize import minimize
from scipy.special import expit

from evalkit.records import Review
from evalkit.stats.battles import COLUMNS, battles
from evalkit.stats.differences import differences
from evalkit.stats.length_control import FEWEST, controlled, length_controlled
from evalkit.stats.shrinkage import shrunken_means


def drawn(n, seed=0, theta=-0.4, phi=-1.0, psi=2.0):
    dice = np.random.default_rng(seed)
    difficulty = dice.uniform(0, 1, n)
    longer = dice.normal(100, 300, n)
    p = expit(theta + phi * np.tanh(longer / 300) + psi * (difficulty - 0.5))
    return (dice.random(n) < p).astype(float), longer, difficulty


def test_the_fit_is_the_maximum_of_the_likelihood():
    y, longer, difficulty = drawn(200)
    x = np.stack([np.ones(200), np.tanh(longer / longer.std()), difficulty], 1)

    def loss(at):
        return np.logaddexp(0, x @ at).sum() - y @ (x @ at)

    at = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    rate = expit(at[0] + at[2] * difficulty).mean()
    found = controlled(y, longer, difficulty)
    assert found.rate.value == pytest.approx(rate, abs=1e-6)
    assert found.length_effect == pytest.approx(-at[1], abs=1e-4)


@pytest.mark.parametrize("psi", [2.0, 5.0])
def test_the_standard_error_is_that_of_new_questions(psi):
    """Against the spread over 600 banks drawn anew."""
    found = [controlled(*drawn(150, seed, psi=psi)).rate for seed in range(600)]
    spread = np.std([each.value for each in found])
    assert np.mean([each.se for each in found]) == pytest.approx(spread, rel=0.08)


def test_a_model_that_wins_by_length_alone_is_brought_to_a_half():
    dice = np.random.default_rng(1)
    longer = dice.normal(-400, 500, 2000)
    y = (dice.random(2000) < expit(-1.5 * np.tanh(longer / longer.std()))).astype(float)
    found = controlled(y, longer, np.zeros(2000))
    assert y.mean() > 0.6
    assert found.rate.low < 0.5 < found.rate.high and found.rate.high - found.rate.low < 0.1


@pytest.mark.parametrize(
    ("y", "longer", "why"),
    [
        (np.ones(FEWEST - 1), np.arange(FEWEST - 1.0), "takes 40 questions"),
        (np.ones(60), np.arange(60.0), "one-sided"),
        (np.zeros(60), np.arange(60.0), "one-sided"),
        ((np.arange(60) < 30) * 1.0, np.arange(60.0), "one-sided"),
        (np.tile([0.0, 1.0], 30), np.full(60, 7.0), "differ in length by as much"),
        (np.array([]), np.array([]), "takes 40 questions"),
    ],
)
def test_where_nothing_can_be_told_there_is_a_sentence_and_no_number(y, longer, why):
    found = controlled(y, longer, np.zeros(len(y)))
    assert found.rate.value is None and found.rate.low is None and why in found.why


def run_of(outcomes):
    """Battles of models against base, from {model: outcomes by question}."""
    rows = [
        ("j", "p", "base", model, "c", f"q{n}", "a first", None, None, y)
        for model, own in outcomes.items()
        for n, y in enumerate(own)
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"outcome": float})


def test_rows_are_joined_by_id_and_the_others_tell_the_difficulty():
    y, longer, _ = drawn(80)
    other, _, _ = drawn(80, 1)
    lengths = {(f"q{n}", "base"): 1000 for n in range(80)}
    lengths |= {(f"q{n}", "x"): int(1000 - longer[n]) for n in range(80)}
    lengths |= {(f"q{n}", "y"): 1000 + n for n in range(80)}
    table = run_of({"x": y, "y": other})
    found = length_controlled(table, lengths, "base").set_index("model")
    expected = controlled(y, np.array([1000 - lengths[f"q{n}", "x"] for n in range(80)]), other)
    assert found["win_rate"]["x"] == pytest.approx(expected.rate.value)
    mixed = length_controlled(table.sample(frac=1, random_state=1), lengths, "base")
    assert mixed.set_index("model")["win_rate"]["x"] == pytest.approx(expected.rate.value)
    del lengths["q3", "x"]
    fewer = length_controlled(table, lengths, "base").set_index("model")
    assert (fewer["questions"]["x"], fewer["questions"]["y"]) == (79, 80)


def test_two_models_that_met_the_baseline_are_compared_question_by_question():
    table = run_of({"x": [1, 1, 0, 0.5], "y": [1, 0, 0, 0], "z": [1]})
    found = differences(table, "base").set_index(["a", "b"])
    row = found.loc["x", "y"]
    assert (row["questions"], row["win_rate"]) == (4, pytest.approx(-1.5 / 4))
    d = np.array([0, -1, 0, -0.5])
    assert row["win_rate_se"] == pytest.approx(d.std(ddof=1) / 2)
    assert found.loc["x", "z"]["questions"] == 1 and np.isnan(found.loc["x", "z"]["win_rate_low"])
    assert differences(table, "x").empty


# -- shrinkage


def test_small_groups_are_drawn_to_the_mean_and_large_ones_are_not():
    dice = np.random.default_rng(2)
    groups = {f"c{n}": (dice.random(10) < 0.5).astype(float) for n in range(8)}
    found = shrunken_means(groups)
    raw = {name: values.mean() for name, values in groups.items()}
    grand = np.mean(list(raw.values()))
    for name, each in found.items():
        assert abs(each.value - grand) <= abs(raw[name] - grand) + 1e-12
        assert each.low <= each.value <= each.high
    large = {f"c{n}": np.tile([0.0, 1.0, float(n % 2)], 400) for n in range(8)}
    for name, each in shrunken_means(large).items():
        assert each.value == pytest.approx(large[name].mean(), abs=0.005)


@pytest.mark.parametrize("wins", [(2, 4, 5, 6, 9), (5, 5, 5, 5, 6)])
def test_shrinkage_by_hand(wins):
    """Five groups of ten: V pooled, the prior's variance what the means vary beyond it."""
    groups = {str(n): np.repeat([1.0, 0.0], [w, 10 - w]) for n, w in enumerate(wins)}
    means = np.array(wins) / 10
    v = sum(10 * p * (1 - p) for p in means) / 45 / 10
    prior = max(0.0, means.var(ddof=1) - v)
    assert (prior > 0) == (wins[0] == 2)
    b = v / (v + prior) * 2 / 4
    value = means - b * (means - means.mean())
    variance = v * (1 - b * 4 / 5) + 2 / 2 * b**2 * (means - means.mean()) ** 2
    found = list(shrunken_means(groups).values())
    assert [each.value for each in found] == pytest.approx(value)
    assert [each.se for each in found] == pytest.approx(np.sqrt(variance))


def test_shrunken_intervals_hold():
    dice = np.random.default_rng(3)
    held = total = 0
    for _ in range(200):
        true = np.clip(dice.normal(0.5, 0.12, 9), 0.05, 0.95)
        found = shrunken_means({str(n): dice.binomial(1, p, 10) * 1.0 for n, p in enumerate(true)})
        for n, p in enumerate(true):
            held += found[str(n)].low <= p <= found[str(n)].high
            total += 1
    assert 0.92 < held / total < 0.99


@pytest.mark.parametrize(
    "groups",
    [{}, {"a": [0.5]}, {n: [0.0, 1.0] for n in "abc"}, {n: [1.0, 1.0] for n in "abcd"}],
)
def test_too_few_groups_or_no_spread_give_nothing(groups):
    assert shrunken_means({name: np.array(values) for name, values in groups.items()}) == {}


def test_answers_graded_alone_and_unreadable_ones_do_not_break_it():
    rows = [review(f"q{n}", ("base", "m"), None) for n in range(5)]
    table = battles(map(Review.model_validate, rows), {f"q{n}": "x" for n in range(5)}, "base")
    assert length_controlled(table, {}, "base").empty
