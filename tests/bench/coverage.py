"""Do the intervals hold? Coverage of nominal 95% intervals, by simulation, and type I errors.

    python tests/bench/coverage.py [RUNS]

RUNS (default 4000) simulated evaluations for each line; a line passes from .925 to .975, an error
rate at most at .05. The naive way stands beside it, in the same draws. Takes a minute.
"""

import sys
import warnings

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm, ttest_1samp

from evalkit.stats.bradley_terry import fit
from evalkit.stats.calibration import Labelled, calibrated, slope
from evalkit.stats.eprocess import EProcesses
from evalkit.stats.intervals import mean_outcome, ratio, stratified_ratio
from evalkit.stats.length_control import controlled
from evalkit.stats.sequential import Comparisons

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
dice = np.random.default_rng(2026)
shown = []


def line(name, held, naive=None, low=0.925, high=0.975):
    """Print a share of runs, that of the naive way, and whether it is where it must be."""
    share = float(np.mean(held))
    beside = "" if naive is None else f"{np.mean(naive):9.3f}"
    ok = low <= share <= high
    shown.append(ok)
    print(f"{name:58}{share:8.3f}{beside:>9}   {'' if ok else 'OUTSIDE'}")


def win_rates():
    for p in (0.05, 0.3, 0.5):
        for ties in (0.0, 0.2):
            held, naive = [], []
            for _ in range(RUNS):
                y = (dice.random(80) < p).astype(float)
                tied = dice.random(80) < ties
                y[tied] = 0.5
                true = p * (1 - ties) + 0.5 * ties
                found = mean_outcome(y)
                held.append(found.low <= true <= found.high)
                half = 1.96 * y.std() / 80**0.5
                naive.append(abs(y.mean() - true) <= half)
            kind = f"win rate, n = 80, p = {p}" + (f", {ties:.0%} ties" if ties else "")
            line(kind, held, naive)


def scores(n):
    """Scores of two models from 1 to 10: a question is hard for both, by category."""
    category = np.repeat(np.arange(8), n // 8)
    level = np.array([8.5, 8.5, 8, 8, 7, 7, 5, 4])[category] + dice.normal(0, 1, n)
    a = np.clip(np.round(level + dice.normal(0.5, 1, n)), 1, 10)
    b = np.clip(np.round(level + dice.normal(0, 1.5, n)), 1, 10)
    return a, b, category


def relative_scores():
    many = [scores(80_000) for _ in range(10)]
    true = sum(b.sum() for _, b, _ in many) / sum(a.sum() for a, _, _ in many)
    plain, strata, naive = [], [], []
    for _ in range(RUNS):
        a, b, category = scores(80)
        found, within = ratio(a, b), stratified_ratio(a, b, category)
        plain.append(found.low <= true <= found.high)
        strata.append(within.low <= true <= within.high)
        each = 1.96 * np.hypot(a.std() / a.mean(), b.std() / b.mean()) / 80**0.5
        naive.append(abs(found.value / true - 1) <= each)
    line("relative score, n = 80", plain, naive)
    line("relative score, n = 80, categories fixed", strata)


def bradley_terry():
    """Six models; each question shifts each model's strength, for all its battles on it."""
    strength = np.array([1.0, 0.6, 0.3, 0.0, -0.4, -0.8])
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    names = [f"m{n}" for n in range(6)]
    shift = dice.normal(0, 1.0, (400_000, 6))
    true = average_fit(strength, shift, pairs)
    runs = max(200, RUNS // 8)
    held, naive = [], []
    for _ in range(runs):
        here = strength + dice.normal(0, 1.0, (100, 6))
        rows = []
        for q in range(100):
            for i, j in pairs:
                won = dice.random() < expit(here[q, j] - here[q, i])
                rows.append((names[i], names[j], f"q{q}", "a first", float(won)))
        battles = pd.DataFrame(rows, columns=["a", "b", "question", "order", "outcome"])
        found = fit(battles)
        bread = np.linalg.pinv(information(found.strengths, pairs, 100), hermitian=True)
        for i, j in ((0, 5), (1, 2), (2, 4)):
            value, low, high = found.difference(i, j)
            held.append(low <= true[i] - true[j] <= high)
            se = (bread[i, i] + bread[j, j] - 2 * bread[i, j]) ** 0.5
            naive.append(abs(value - (true[i] - true[j])) <= 1.96 * se)
    line("Bradley-Terry difference, 6 models, questions shared", held, naive)


def information(strengths, pairs, questions):
    found = np.zeros((6, 6))
    for i, j in pairs:
        p = expit(strengths[i] - strengths[j])
        w = questions * p * (1 - p)
        found[i, i] += w
        found[j, j] += w
        found[i, j] -= w
        found[j, i] -= w
    return found


def average_fit(strength, shift, pairs):
    """What Bradley-Terry comes to on all questions there are."""
    wins = {
        (i, j): float(expit(strength[i] - strength[j] + shift[:, i] - shift[:, j]).mean())
        for i, j in pairs
    }
    s = strength.copy()
    for _ in range(200):
        gradient = np.zeros(6)
        for (i, j), won in wins.items():
            off = won - expit(s[i] - s[j])
            gradient[i] += off
            gradient[j] -= off
        s = s + gradient
    return s


def length_control():
    for n, theta in ((80, -0.3), (80, -1.5), (400, -0.3)):
        held, naive = [], []
        true = None
        for _ in range(RUNS):
            difficulty = dice.uniform(0, 1, n)
            longer = dice.normal(150, 400, n)
            eta = theta + 2 * (difficulty - 0.5)
            if true is None:
                true = float(expit(theta + 2 * (dice.uniform(0, 1, 10**6) - 0.5)).mean())
            y = (dice.random(n) < expit(eta - 1.2 * np.tanh(longer / 400))).astype(float)
            found = controlled(y, longer, difficulty).rate
            if found.low is None:
                continue
            held.append(found.low <= true <= found.high)
            naive.append(abs(y.mean() - true) <= 1.96 * y.std() / n**0.5)
        line(f"length-controlled rate, n = {n}, {true:.0%} at equal lengths", held, naive)


def calibration():
    """A judge that favours b, with people's labels on some questions; naive: the judge alone."""
    for p, r, labels, questions, pairs in (
        (0.5, 0.66, 40, 400, 1),
        (0.5, 0.95, 40, 80, 1),
        (0.5, 0.95, 60, 80, 1),
        (0.8, 0.66, 20, 80, 1),
        (0.8, 0.66, 20, 80, 5),
    ):
        held, naive = [], []
        for _ in range(RUNS // pairs):
            own = [labelled(p, r, labels, questions) for _ in range(pairs)]
            by = slope(own)
            for each in own:
                found = calibrated(each, by).rate
                judge = mean_outcome(np.append(each.judge, each.rest))
                held.append(found.low <= p <= found.high)
                naive.append(judge.low <= p <= judge.high)
        kind = f"calibrated, {labels} labels of {questions}, p = {p}, r = {r}"
        line(kind + (f", {pairs} pairs" if pairs > 1 else ""), held, naive)


def labelled(p, r, labels, questions):
    """A pair's outcomes: people's mean is p, the judge's .12 more, latently correlated by r."""
    one, other = dice.standard_normal((2, questions))
    people = verdicts(one, p)
    judge = verdicts(r * one + (1 - r * r) ** 0.5 * other, p + 0.12)
    return Labelled(people[:labels], judge[:labels], judge[labels:])


def verdicts(latent, p):
    """Outcomes 0, .5 (one in ten), 1, of mean p."""
    return np.searchsorted(norm.ppf([0.95 - p, 1.05 - p]), latent) / 2


def type_one():
    """A look after every question, of 200, where A and B are equal; naive: a t-test each time."""
    nulls = {
        "signs flipped, real-like scores": lambda: flipped(),
        "fair coins": lambda: dice.choice([-1.0, 1.0], (200, RUNS)),
        "skewed: often a little, seldom a whole loss": lambda: dice.choice(
            [-1.0, 0.25], (200, RUNS), p=[0.2, 0.8]
        ),
        "skewed the other way, with ties": lambda: dice.choice(
            [1.0, 0.0, -0.5], (200, RUNS), p=[0.2, 0.4, 0.4]
        ),
    }
    for name, drawn in nulls.items():
        d = drawn()
        wrong = (EProcesses(d.shape[1]).take(d) >= -np.log(0.05)).any(0)
        looks = range(10, 201, 5)
        with warnings.catch_warnings(action="ignore"):  # where all outcomes are the same yet
            p = np.array([ttest_1samp(d[:n], 0).pvalue for n in looks])
        line(f"wrong decisions: {name}", wrong, (p < 0.05).any(0), 0.0, 0.05)
    wrong = []
    for _ in range(max(200, RUNS // 10)):
        together = Comparisons(20)
        for outcomes in dice.choice([-1.0, 0.0, 1.0], (80, 20)):
            together.take(outcomes)
        wrong.append(len(together.open) < 20)
    line("wrong decisions: any of 20 pairs that tie, together", wrong, None, 0.0, 0.05)


def flipped():
    a, b, _ = scores(200)
    d = np.sign(b - a)[:, None]
    return d * dice.choice([-1.0, 1.0], (200, RUNS))


def main():
    print(f"{RUNS} runs a line{'':46}{'found':>8}{'naive':>9}")
    for part in (win_rates, relative_scores, bradley_terry, length_control, calibration, type_one):
        part()
    print("all where they must be" if all(shown) else f"{shown.count(False)} outside")


main()
