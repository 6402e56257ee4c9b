"""What changed since an earlier run: evalkit report --against."""

import json

import pytest
from conftest import answer, question, review, write_lines

from evalkit.records import Question
from evalkit.report.results import evidence

QUESTIONS = [f"q{n}" for n in range(4)]


@pytest.fixture
def run(evalkit, tmp_path):
    """Report on a model `b` that beats `a` on some of four questions; returns the JSON's text."""

    def run(wins, *options, models=("a", "b"), code=0, category="generic", **more):
        bank = [question(q, category=category) for q in QUESTIONS]
        write_lines(tmp_path / "questions" / "mine.jsonl", bank)
        for model in models:
            rows = [answer(q, model, served=f"{model}-1") for q in QUESTIONS]
            write_lines(tmp_path / "answers" / "mine" / f"{model}.jsonl", rows)
        rows = [
            review(q, pair, (4, 8) if n in wins else (8, 4), **more)
            for n, q in enumerate(QUESTIONS)
            for pair in [(models[0], other) for other in models[1:]]
        ]
        write_lines(tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl", rows)
        ran = evalkit("report", "--baseline", "a", *options)
        assert ran.code == code, ran.err
        return ran

    return run


def kept(tmp_path):
    """The numbers of the run before, put aside."""
    before = tmp_path / "before.json"
    before.write_bytes((tmp_path / "reports" / "mine.json").read_bytes())
    return before


def numbers(tmp_path):
    return json.loads((tmp_path / "reports" / "mine.json").read_text())


def test_verdicts_that_turned_are_named_by_their_question(run, tmp_path):
    run({0, 1})
    run({1, 2, 3}, "--against", kept(tmp_path))
    (change,) = numbers(tmp_path)["changes"]
    assert (change["to_b"], change["to_a"]) == (["q2", "q3"], ["q0"])
    assert (change["win_rate_then"], change["win_rate_now"]) == (0.5, 0.75)
    assert (change["ratio_then"], change["ratio_now"]) == (1.0, 28 / 20)
    page = (tmp_path / "reports" / "mine.html").read_text()
    part = page[page.index('<section id="changes"') : page.index('<section id="chart"')]
    assert "2 towards b" in part and 'href="#q=q2&amp;a=a&amp;b=b"' in part
    assert "1 towards a" in part and "50.0, 75.0" in part


def test_the_same_again_is_no_change(run, tmp_path):
    run({0})
    run({0}, "--against", kept(tmp_path))
    found = numbers(tmp_path)
    assert found["changed"] == []
    assert (found["changes"][0]["to_b"], found["changes"][0]["to_a"]) == ([], [])


def test_without_an_earlier_run_there_is_no_such_part(run, tmp_path):
    run({0})
    assert '<section id="changes"' not in (tmp_path / "reports" / "mine.html").read_text()


def test_who_came_and_who_judged_as_what_is_said(run, tmp_path):
    run({0}, served="judge-0314")
    run({0}, "--against", kept(tmp_path), models=("a", "b", "c"), served="judge-0613")
    assert numbers(tmp_path)["changed"] == [
        "New models: c.",
        "judge judged as judge-0613, before as judge-0314.",
    ]


def test_other_questions_are_said(run, tmp_path):
    run({0})
    before = kept(tmp_path)
    was = numbers(tmp_path)["bank_hash"]
    before.write_text(before.read_text().replace(was, "0" * 16))
    run({0}, "--against", before, category="writing")
    assert numbers(tmp_path)["changed"] == [
        "The bank has other questions (0000000000000000 before)."
    ]
    assert numbers(tmp_path)["bank_hash"] == was, "of the questions' words alone"


def test_the_hash_of_a_bank_is_of_its_ids_too():
    rows = [[Question.model_validate(question(id_, turns=["Why?"]))] for id_ in ("q1", "q2")]
    assert len({evidence("bank", asked, [], []).results.bank_hash for asked in rows}) == 2


def test_another_prompt_is_said(run, tmp_path):
    run({0})
    before = kept(tmp_path)
    told = json.loads(before.read_text())
    told["reviews"][0]["prompt_hash"] = "0" * 16
    before.write_text(json.dumps(told))
    run({0}, "--against", before)
    assert numbers(tmp_path)["changed"] == [
        "The prompt pair-scores of judge is another one (0000000000000000 before)."
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "no such file"), ("{}", "no numbers of this evalkit's reports"), ("[", "no numbers")],
)
def test_what_is_no_earlier_run_is_told(run, tmp_path, text, said):
    file = tmp_path / "before.json"
    if text is not None:
        file.write_text(text)
    ran = run({0}, "--against", file, code=2)
    assert said in ran.err and "before.json" in ran.err
    assert not (tmp_path / "reports").exists()
