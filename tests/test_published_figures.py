"""The numbers of the published Vicuna evaluation, with the error bars that it never had.

Every figure was computed from the published reviews by hand, apart from this code.
"""

import json

import pytest

MODELS = ["alpaca-13b", "bard", "gpt-3.5-turbo", "llama-13b", "vicuna-13b"]

# What vicuna-13b (b) did against each other model (a), in percent where it is a ratio.
PAIRS = {
    "alpaca-13b": {
        "sums": (583, 704),
        "ratio": (120.7547, 2.0865, 116.60, 124.91),
        "stratified": (1.6399, 117.48, 124.02),
        "won, tied, lost": (76, 1, 3),
        "win rate": (95.62, 88.4, 98.4),
    },
    "bard": {
        "sums": (664, 655.5),
        "ratio": (98.7199, 2.6181, 93.51, 103.93),
        "stratified": (1.6524, 95.43, 102.01),
        "won, tied, lost": (40, 10, 30),
        "win rate": (56.25, 45.7, 66.2),
    },
    "gpt-3.5-turbo": {
        "sums": (693, 638),
        "ratio": (92.0635, 2.0571, 87.97, 96.16),
        "stratified": (1.1763, 89.72, 94.41),
        "won, tied, lost": (14, 22, 44),
        "win rate": (31.25, 23.4, 40.4),
    },
    "llama-13b": {
        "sums": (513, 694),
        "ratio": (135.2827, 4.4573, 126.41, 144.15),
        "stratified": (4.4390, 126.43, 144.13),
        "won, tied, lost": (77, 0, 3),
        "win rate": (96.25, 88.8, 98.8),
    },
}

CATEGORIES = {
    "generic": (89, 86.5),
    "knowledge": (87, 87.5),
    "roleplay": (88, 86),
    "common-sense": (88, 88),
    "fermi": (82, 65),
    "counterfactual": (84, 86),
    "coding": (56, 40.5),
    "math": (30, 11),
    "writing": (89, 87.5),
}


@pytest.fixture
def imported(evalkit, vicuna_blog):
    ran = evalkit("import", "vicuna", vicuna_blog)
    assert ran.code == 0, ran.err
    return ran


@pytest.fixture
def numbers(evalkit, imported, tmp_path):
    ran = evalkit("report", "--bank", "vicuna80", "--baseline", "gpt-3.5-turbo")
    assert ran.code == 0, ran.err
    return json.loads((tmp_path / "reports" / "vicuna80.json").read_text())


def test_every_pair(numbers):
    assert numbers["models"] == MODELS
    assert [pair["a"] for pair in numbers["pairs"]] == sorted(PAIRS)
    for pair in numbers["pairs"]:
        figures = PAIRS[pair["a"]]
        assert (pair["b"], pair["questions"], pair["unreadable"]) == ("vicuna-13b", 80, 0)
        assert (pair["sum_a"], pair["sum_b"]) == figures["sums"]
        assert (pair["wins_b"], pair["ties"], pair["wins_a"]) == figures["won, tied, lost"]
        percent = {name: 100 * x for name, x in pair.items() if isinstance(x, float)}
        ratio, se, *ends = figures["ratio"]
        assert percent["ratio_b_to_a"] == pytest.approx(ratio, abs=1e-3)
        assert percent["ratio_se"] == pytest.approx(se, abs=1e-3)
        assert [percent["ratio_low"], percent["ratio_high"]] == pytest.approx(ends, abs=0.01)
        se, *ends = figures["stratified"]
        assert percent["ratio_se_stratified"] == pytest.approx(se, abs=1e-3)
        found = [percent["ratio_low_stratified"], percent["ratio_high_stratified"]]
        assert found == pytest.approx(ends, abs=0.01)
        rate, *ends = figures["win rate"]
        assert percent["win_rate_b"] == pytest.approx(rate, abs=0.01)
        found = [percent["win_rate_b_low"], percent["win_rate_b_high"]]
        assert found == pytest.approx(ends, abs=0.05)  # known to one decimal


def test_the_chart(numbers):
    chart = {row["model"]: row for row in numbers["relative_score"]}
    percent = {name: round(row["percent"], 2) for name, row in chart.items()}
    assert percent == {
        "gpt-3.5-turbo": 100,
        "bard": 93.26,
        "vicuna-13b": 92.06,
        "alpaca-13b": 76.24,
        "llama-13b": 68.05,
    }
    assert list(percent.values()) == sorted(percent.values(), reverse=True)
    for name, row in chart.items():
        direct = name in ("vicuna-13b", "gpt-3.5-turbo")
        assert row["via"] == ([] if direct else ["vicuna-13b"])
    assert chart["vicuna-13b"]["low"] == pytest.approx(87.97, abs=0.01)
    assert chart["vicuna-13b"]["high"] == pytest.approx(96.16, abs=0.01)
    assert (chart["gpt-3.5-turbo"]["low"], chart["gpt-3.5-turbo"]["high"]) == (None, None)


def test_categories(numbers):
    rows = {row["category"]: row for row in numbers["by_category"] if row["a"] == "gpt-3.5-turbo"}
    assert {name: (row["sum_a"], row["sum_b"]) for name, row in rows.items()} == CATEGORIES
    hard = ("fermi", "coding", "math")
    assert sum(rows[name]["questions"] for name in hard) == 20
    assert sum(rows[name]["gap_share"] for name in hard) == pytest.approx(0.94, abs=0.005)
    (pair,) = (pair for pair in numbers["pairs"] if pair["a"] == "gpt-3.5-turbo")
    assert pair["ratio_by_category"] == pytest.approx(0.872, abs=5e-4)


def test_chain_interval_agrees_with_a_bootstrap_of_questions(vicuna_blog):
    """The delta method over shared questions against 4,000 resamples of whole questions."""
    import numpy as np

    from evalkit.formats import Given, vicuna
    from evalkit.stats import chains
    from evalkit.stats.battles import battles

    found = vicuna.read(vicuna_blog, Given())
    table = battles(found.reviews, {q.id: q.category for q in found.questions}, "gpt-3.5-turbo")
    given = chains.relative_scores(table, "gpt-3.5-turbo").set_index("model")["se"]
    scores = table.pivot(index="question", columns="a", values=["score_a", "score_b"])
    draws = np.random.default_rng(1).multinomial(80, [1 / 80] * 80, size=4000)
    sums = {side: draws @ scores[side].to_numpy() for side in ("score_a", "score_b")}
    ratio = sums["score_b"] / sums["score_a"]
    columns = list(scores["score_a"].columns)
    chatgpt = ratio[:, columns.index("gpt-3.5-turbo")]
    for model in ("alpaca-13b", "bard", "llama-13b"):
        resampled = 100 * chatgpt / ratio[:, columns.index(model)]
        assert given[model] == pytest.approx(resampled.std(), rel=0.1), model


def test_all_replies_are_read_from_the_text_alone(vicuna_blog):
    """318 of 320 replies say the score beside them; two say another one than was typed in.

    Both are question 70 (math), where the text names 10 and 4 and the row holds 10 and 2.
    """
    from evalkit.formats import Given, vicuna
    from evalkit.parsers import pair_scores

    found = vicuna.read(vicuna_blog, Given())
    texts = {q.id: list(q.turns) for q in found.questions}
    for answer in found.answers:
        texts[answer.hash] = list(answer.turns)
    rungs = {"strict": 0, "tolerant": 0}
    differ = {}
    for review in found.reviews:
        seen = [text for key in (review.question, *review.answers) for text in texts[key]]
        reading = pair_scores(review.text, seen)
        assert reading.scores is not None, review.question
        rungs[reading.rung] += 1
        if reading.scores != review.scores:
            differ[review.question, review.shown[0]] = (reading.scores, review.scores)
    assert rungs == {"strict": 308, "tolerant": 12}
    assert differ == {
        ("70", "bard"): ((10, 4), (10, 2)),
        ("70", "llama-13b"): ((10, 4), (10, 2)),
    }


def test_each_disagreement_is_told_and_the_text_is_kept(imported, vicuna_blog, tmp_path):
    told = [line for line in imported.lines if "the text says" in line]
    assert len(told) == 2
    for line in told:
        assert "review_" in line
        assert line.endswith("question 70: given 10 2, the text says: 10 4; the given one is kept")
    published = {}
    for file in (vicuna_blog / "review").rglob("*.jsonl"):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            published[row["review_id"]] = row
    (ledger,) = (tmp_path / "reviews" / "vicuna80").glob("*.jsonl")
    kept = [json.loads(line) for line in ledger.read_text().split("\n") if line]
    assert len(kept) == len(published) == 320
    for row in kept:
        source = published[row["extra"]["vicuna"]["review_id"]]
        assert (row["text"], row["scores"]) == (source["text"], source["score"])


def test_importing_again_adds_nothing(imported, evalkit, vicuna_blog, tmp_path):
    from conftest import tree

    before = tree(tmp_path)
    ran = evalkit("import", "vicuna", vicuna_blog)
    assert ran.code == 0
    assert "720 rows were here already" in ran.out
    assert tree(tmp_path) == before


def test_the_readme_shows_these_figures(numbers):
    from conftest import ROOT

    readme = (ROOT / "README.md").read_text()
    for row in numbers["relative_score"]:
        assert f"{row['percent']:.1f}" in readme
        if row["low"] is not None:
            assert f"[{row['low']:.1f}, {row['high']:.1f}]" in readme
