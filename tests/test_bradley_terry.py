"""The leaderboard: known strengths, other people's fit, whole questions, and what has none."""

import evalica
import numpy as np
import pandas as pd
import pytest
from conftest import question, review, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.stats.bradley_terry import Unranked, fit, leaderboard


def table(rows):
    """Battles from (a, b, outcome of b) or (a, b, outcome, question)."""
    full = [(*row, f"q{n}")[:4] for n, row in enumerate(rows)]
    frame = pd.DataFrame(full, columns=["a", "b", "outcome", "question"])
    return frame.assign(order="a first", outcome=frame["outcome"].astype(float))


def drawn(seed, models=6, questions=40, share=0.0):
    """Every pair on every question; `share`: how much of its luck all pairs of one share."""
    dice = np.random.default_rng(seed)
    strength = np.linspace(-1, 1, models)
    rows = []
    for q in range(questions):
        luck = dice.normal(0, share, models)
        for i in range(models):
            for j in range(i + 1, models):
                p = 1 / (1 + np.exp(strength[i] + luck[i] - strength[j] - luck[j]))
                draw = dice.random()
                outcome = 0.5 if dice.random() < 0.1 else float(draw < p)
                rows.append((f"m{i}", f"m{j}", outcome, f"q{q}"))
    return table(rows)


def test_two_models_differ_by_the_log_odds_of_their_wins():
    found = leaderboard(table([("a", "b", 1)] * 30 + [("a", "b", 0)] * 10))
    strengths = found.set_index("model")["strength"]
    assert strengths["b"] - strengths["a"] == pytest.approx(np.log(3))
    assert strengths.sum() == pytest.approx(0)
    value, low, high = fit(table([("a", "b", 1)] * 30 + [("a", "b", 0)] * 10)).difference(1, 0)
    half = 2.0227 * np.sqrt(40 / 39) * np.sqrt(40 / (30 * 10))  # t39, binomial log-odds
    assert value == pytest.approx(np.log(3))
    assert (high - low) / 2 == pytest.approx(half, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_strengths_are_those_that_evalica_finds(seed):
    battles = drawn(seed)
    winners = {0.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 1.0: evalica.Winner.Y}
    said = evalica.bradley_terry(
        battles["a"].tolist(),
        battles["b"].tolist(),
        battles["outcome"].map(winners).tolist(),
        tolerance=1e-13,
        limit=10_000,
    )
    theirs = np.log(said.scores)
    ours = leaderboard(battles).set_index("model")["strength"]
    assert (ours - (theirs - theirs.mean())).abs().max() < 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.randoms())
def test_order_of_rows_and_sides_change_nothing(seed, dice):
    battles = drawn(seed, 4, 10)
    told = battles[["a", "b", "outcome", "question"]].itertuples(index=False)
    rows = [(b, a, 1 - y, q) if dice.random() < 0.5 else (a, b, y, q) for a, b, y, q in told]
    dice.shuffle(rows)
    try:
        one = leaderboard(battles)
    except Unranked:
        with pytest.raises(Unranked):
            leaderboard(table(rows))
        return
    other = leaderboard(table(rows))
    pd.testing.assert_frame_equal(one, other)


def test_asking_a_question_twice_makes_nothing_surer():
    battles = drawn(1)
    pd.testing.assert_frame_equal(leaderboard(battles), leaderboard(pd.concat([battles, battles])))


def test_battles_that_share_their_luck_are_less_sure_than_they_look():
    battles = drawn(2, questions=60, share=1.5)
    alone = battles.assign(question=[f"q{n}" for n in range(len(battles))])
    assert leaderboard(battles)["se"].mean() > 1.15 * leaderboard(alone)["se"].mean()


@pytest.mark.parametrize("seed", range(2))
def test_the_sandwich_agrees_with_a_bootstrap_of_whole_questions(seed):
    battles = drawn(seed, questions=80, share=1.0)
    analytic, boot = leaderboard(battles), leaderboard(battles, resamples=1000, seed=1)
    widths = [(each["high"] - each["low"]).to_numpy() for each in (analytic, boot)]
    assert np.allclose(widths[0], widths[1], rtol=0.15)
    assert (boot["strength"] == analytic["strength"]).all()


def test_places_are_sure_only_where_the_difference_is():
    battles = drawn(3, models=3, questions=200)
    assert leaderboard(battles)[["rank_low", "rank_high"]].to_numpy().tolist() == [
        [1, 1], [2, 2], [3, 3]
    ]  # fmt: skip
    even = table([("a", "b", n % 2, f"q{n}") for n in range(40)])
    assert leaderboard(even)[["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("a", "b", 1), ("b", "a", 1), ("c", "d", 1), ("d", "c", 1)], "nothing connects"),
        ([("a", "b", 1), ("b", "a", 1), ("a", "c", 1), ("b", "c", 1)], "c lost to none"),
        ([("a", "b", 1), ("b", "a", 1), ("a", "c", 0), ("b", "c", 0)], "c won against none"),
        ([("a", "b", 1)], "a won against none"),
        ([("a", "b", None)], "no verdict could be read"),
        ([], "no verdict could be read"),
        ([("a", "b", 0.5)], "one question gives no interval"),
    ],
)
def test_what_has_no_leaderboard_says_so_by_name(rows, told):
    with pytest.raises(Unranked, match=told):
        leaderboard(table(rows))


def test_all_ties_are_no_difference_at_all():
    found = leaderboard(table([("a", "b", 0.5), ("b", "c", 0.5), ("a", "c", 0.5)]))
    assert found["strength"].abs().max() < 1e-9
    assert found["rank_low"].tolist() == [1, 1, 1] and found["rank_high"].tolist() == [3, 3, 3]


def test_the_page_and_the_json_hold_the_leaderboard(evalkit, tmp_path):
    asked = [question(f"q{n}") for n in range(12)]
    write_lines(tmp_path / "questions" / "mine.jsonl", asked)
    rows = [
        review(f"q{n}", shown, (8, 7) if (n + k) % 3 else (6, 9))
        for n in range(12)
        for k, shown in enumerate([("a", "b"), ("b", "c"), ("a", "c")])
    ]
    write_lines(tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl", rows)
    ran = evalkit("report", "--bank", "mine", "--baseline", "a")
    assert ran.code == 0
    page = (tmp_path / "reports" / "mine.html").read_text()
    assert ('id="leaderboard"' in page and "1 to 2" in page) or "1 to 3" in page
    beaten = [row | {"scores": [9, 1] if row["shown"][1] == "c" else row["scores"]} for row in rows]
    write_lines(tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl", beaten)
    told = evalkit("report", "--bank", "mine", "--baseline", "a")
    assert told.code == 0 and "leaderboard" not in told.err
    page = (tmp_path / "reports" / "mine.html").read_text()
    assert "No leaderboard by judge with pair-scores: c won against none of the others" in page
    assert "One strength for each model" not in page
