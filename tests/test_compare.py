"""evalkit compare: one pair, every number, in the terminal; and numbers that cannot be."""

import json
from itertools import product

import pytest
from conftest import answer, question, review, tree, write_lines

from evalkit.records import short_hash


def workspace(folder, number=12, models=("a", "b", "c"), scores=None, judges=("judge",), text=None):
    """Answers of all models; each judge has compared a with every other in both orders."""
    scores = scores or (lambda model, n: (7, 5 + n % 4))
    categories = ("generic", "math", "writing", "coding")
    rows = [question(f"q{n}", category=categories[n % 4]) for n in range(number)]
    write_lines(folder / "questions" / "mine.jsonl", rows)
    for model in models:
        said = [answer(f"q{n}", model, text and text(model, n)) for n in range(number)]
        write_lines(folder / "answers" / "mine" / f"{model}.jsonl", said)
    for judge in judges:
        found = []
        for model, n in product(models[1:], range(number)):
            both = scores(model, n)
            hashes = [short_hash([text(m, n)]) for m in ("a", model)] if text else None
            for shown in (1, -1):
                more = {"judge": judge, "asked": str(2 + shown) * 16}
                if hashes:
                    more["answers"] = hashes[::shown]
                said = both and both[::shown]
                found.append(review(f"q{n}", ("a", model)[::shown], said, **more))
        write_lines(folder / "reviews" / "mine" / f"{judge}.pair-scores.jsonl", found)


def test_every_number_of_a_pair_stands_there(evalkit, tmp_path):
    workspace(tmp_path)
    before = tree(tmp_path)
    ran = evalkit("compare", "a", "b")
    assert ran.code == 0 and tree(tmp_path) == before
    lines = ran.out.splitlines()
    assert lines[0] == "b against a, judged by judge with pair-scores"
    for words in (
        "questions", "won / tied / lost", "win rate %", "whenever one stops", "ratio %",
        "total scores", "not separable by 12 questions", "coding", "judge: reads 100.0 %",
    ):  # fmt: skip
        assert any(words in line for line in lines), words
    assert next(line for line in lines if "won / tied" in line).split(maxsplit=5)[-1] == "3 / 3 / 6"
    found = json.loads(evalkit("compare", "a", "b", "--json").out)
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"], pair["wins_b"], pair["ties"]) == ("a", "b", 3, 3)
    assert {row["b"] for row in found["by_category"]} == {"b"}
    assert found["judge_card"] and found["decisions"][0]["more"] is not None


def test_the_first_named_is_the_one_that_the_other_is_told_against(evalkit, tmp_path):
    workspace(tmp_path)
    one = json.loads(evalkit("compare", "a", "b", "--json").out)["pairs"][0]
    other = json.loads(evalkit("compare", "b", "a", "--json").out)["pairs"][0]
    assert (other["a"], other["b"]) == ("b", "a")
    assert one["win_rate_b"] == pytest.approx(1 - other["win_rate_b"])


def test_two_that_never_met_are_compared_by_way_of_a_third(evalkit, tmp_path):
    workspace(tmp_path, scores=lambda model, n: (7, 5 + n % 4 + (model == "c")))
    ran = evalkit("compare", "b", "c", "--baseline", "a")
    assert ran.code == 0
    assert ran.out.startswith("c and b, by way of a, judged by judge with pair-scores")
    assert "difference, points" in ran.out and "on the 12 questions" in ran.out
    found = json.loads(evalkit("compare", "b", "c", "--baseline", "a", "--json").out)
    assert found["pairs"] == []
    (row,) = found["differences"]
    assert row["win_rate"] == pytest.approx(0.25)


def test_a_panel_is_told_judge_by_judge_and_pooled(evalkit, tmp_path):
    workspace(tmp_path, judges=("one", "two"))
    out = evalkit("compare", "a", "b").out
    assert "judged by one with" in out and "judged by two with" in out
    assert "all 2 judges together: b wins 37.5 % [" in out
    page = evalkit("report", "--json")
    found = json.loads(page.out)
    assert found["agreement"][0]["agreement"] == 1 and found["agreement"][0]["kappa"] == 1
    assert found["panel"]["alpha"] == 1 and len(found["pooled"]) == 2
    html = (tmp_path / "reports" / "mine.html").read_text()
    assert "Judges against each other" in html and "All judges together" in html


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("a", "x"), "no model 'x'"),
        (("x", "a"), "no model 'x'"),
        (("a", "a"), "'a' twice"),
        (("b", "d"), "never judged together"),
        (("a", "b", "--bank", "nope"), "no bank 'nope'"),
    ],
)
def test_what_cannot_be_compared_is_told(evalkit, tmp_path, args, told):
    workspace(tmp_path)
    write_lines(tmp_path / "answers" / "mine" / "d.jsonl", [answer("q0", "d")])
    ran = evalkit("compare", *args)
    assert (ran.code, ran.out) == (2, "") and told in ran.err


# -- degenerate evaluations: a sentence and no number, never a crash, never a false interval


def numbers(evalkit):
    ran = evalkit("report", "--bank", "mine", "--baseline", "a", "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_one_question_gives_values_and_no_interval(evalkit, tmp_path):
    workspace(tmp_path, 1)
    found = numbers(evalkit)
    for pair in found["pairs"]:
        assert pair["win_rate_b_low"] is None and pair["ratio_low"] is None
    assert all(row["decision"] is None and row["more"] is None for row in found["decisions"])
    assert found["leaderboard"] == [] and len(found["unranked"]) == 1
    assert all(row["win_rate"] is None and row["why"] for row in found["length_controlled"])
    assert found["judge_by_category"] == []
    (card,) = found["judge_card"]
    assert card["consistent_low"] is None and card["order_kappa_low"] is None
    assert any("one question gives no interval" in line for line in found["missing"])


def test_one_model_gives_a_sentence(evalkit, tmp_path):
    workspace(tmp_path, 5, models=("a",))
    found = numbers(evalkit)
    assert found["pairs"] == found["decisions"] == found["races"] == found["differences"] == []
    assert any("nothing to compare it with" in line for line in found["missing"])
    assert evalkit("compare", "a", "b", "--bank", "mine").code == 2


def test_all_ties_are_half_with_an_interval_that_is_not_a_point(evalkit, tmp_path):
    workspace(tmp_path, 12, scores=lambda model, n: (7, 7))
    found = numbers(evalkit)
    for pair in found["pairs"]:
        assert pair["win_rate_b"] == 0.5
        assert pair["win_rate_b_low"] < 0.4 and pair["win_rate_b_high"] > 0.6
        assert pair["win_rate_b_shrunken"] is None if "win_rate_b_shrunken" in pair else True
    assert {row["decision"] for row in found["decisions"]} == {None}
    (card,) = found["judge_card"]
    assert card["order_kappa"] is None and card["decided"] == 0 and card["longer"] is None
    assert card["effect"] == 0 and card["effect_low"] is None and card["flips_p"] is None
    assert [row["strength"] for row in found["leaderboard"]] == pytest.approx([0, 0, 0], abs=1e-9)


def test_all_wins_are_no_certainty_of_all_and_no_leaderboard(evalkit, tmp_path):
    workspace(tmp_path, 12, scores=lambda model, n: (5, 9))
    found = numbers(evalkit)
    for pair in found["pairs"]:
        assert pair["win_rate_b"] == 1 and 0.6 < pair["win_rate_b_low"] < 0.9
    assert found["leaderboard"] == [] and "no end" in found["unranked"][0]
    assert {row["decision"] for row in found["decisions"]} == {"b"}
    (race,) = found["races"]
    assert race["left"] == ["b", "c"]
    assert all(row["why"] for row in found["length_controlled"])


def test_a_judge_without_a_readable_reply_gives_no_rate(evalkit, tmp_path):
    workspace(tmp_path, 12, scores=lambda model, n: None)
    found = numbers(evalkit)
    for pair in found["pairs"]:
        assert pair["win_rate_b"] is None
        assert (pair["win_rate_b_worst"], pair["win_rate_b_best"]) == (0, 1)
    (card,) = found["judge_card"]
    assert card["unreadable"] == 1 and 0.9 < card["unreadable_low"] < card["unreadable_high"] <= 1
    assert card["consistent"] is None and card["longer"] is None
    assert found["decisions"] == found["agreement"] == [] and found["panel"] is None
    assert evalkit("compare", "a", "b", "--bank", "mine").code == 0


def test_some_unreadable_replies_widen_the_bounds_and_nothing_else(evalkit, tmp_path):
    workspace(tmp_path, 12, scores=lambda model, n: None if n < 3 else (7, 9))
    found = numbers(evalkit)
    for pair in found["pairs"]:
        assert (pair["win_rate_b"], pair["questions"]) == (1, 9)
        assert (pair["win_rate_b_worst"], pair["win_rate_b_best"]) == (0.75, 1)
    assert "unreadable lost, won" in evalkit("compare", "a", "b", "--bank", "mine").out


def test_detectors_speak_on_the_page_and_in_the_terminal(evalkit, tmp_path):
    words = "river mountain harbour castle garden window bridge forest meadow island village"
    workspace(tmp_path, 12, text=lambda model, n: words if model == "b" else f"{words} {model} {n}")
    ran = evalkit("report", "--bank", "mine", "--baseline", "a")
    assert "b: 92% of its answers repeat another one" in ran.err
    html = (tmp_path / "reports" / "mine.html").read_text()
    assert html.count("not a chatbot&#39;s answers") == 1


# -- the report card


def test_a_judge_that_is_asked_again_is_told_how_often_it_says_the_same(evalkit, tmp_path):
    workspace(tmp_path, 10, models=("a", "b"))
    path = tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl"
    again = [
        review(f"q{n}", ("a", "b"), (7, 5 + n % 4) if n < 8 else (9, 1), sample=1, asked="3" * 16)
        for n in range(10)
    ]
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in again)
    (card,) = numbers(evalkit)["judge_card"]
    # q8 was (7, 5): lost twice; q9 was (7, 6): lost twice; so all agree
    assert (card["asked_again"], card["repeated"]) == (10, 1)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row.get("sample") == 1 and row["question"] in ("q3", "q7", "q9"):
            row["scores"], row["text"] = [1.0, 9.0], "1 9"
    write_lines(path, rows)
    (card,) = numbers(evalkit)["judge_card"]
    # q3 and q7 were (7, 8): won twice; only q9 differs
    assert card["repeated"] == pytest.approx(0.9)
    assert card["repeated_low"] < 0.9 < card["repeated_high"]


def test_a_judge_that_refuses_is_told_apart_from_one_that_cannot_be_read(evalkit, tmp_path):
    workspace(tmp_path, 6, models=("a", "b"), scores=lambda _, n: (7, 8) if n > 1 else None)
    path = tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["scores"] is None and row["question"] == "q0":
            row["unreadable"] = "refused"
    write_lines(path, rows)
    (card,) = numbers(evalkit)["judge_card"]
    assert (card["refused"], card["unreadable"]) == (2, pytest.approx(4 / 12))


def test_the_longer_answer_is_counted_where_there_is_one_and_a_winner(evalkit, tmp_path):
    def text(model, n):
        return "word " * (10 + (model == "b") * (n % 3))

    def scores(_, n):
        return 7, (9, 7, 5)[n % 4 % 3]

    workspace(tmp_path, 12, models=("a", "b"), text=text, scores=scores)
    (card,) = numbers(evalkit)["judge_card"]
    told = [(n % 3, scores("b", n)[1]) for n in range(12)]
    decided = [(longer, score) for longer, score in told if longer and score != 7]
    assert card["decided"] == len(decided)
    assert card["longer_won"] == sum(score == 9 for _, score in decided)
