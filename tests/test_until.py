"""evalkit judge --until: it stops where it is certain, resumes alike, and the page agrees.

The judges here are functions on loopback.
"""

import json
import random
import re

import pytest
from chat_server import Behaviour, serving
from conftest import answer, question, write_lines
from test_judging import says, seen

from evalkit.chat import Reply
from evalkit.cli.report import found_in
from evalkit.judge.judging import Judging
from evalkit.judge.showings import plan
from evalkit.prompts import JudgePrompt
from evalkit.records import Answer, Question, place
from evalkit.until import Goal, Until
from evalkit.workspace import SHIPPED, Workspace
from evalkit.yamlfile import load

MODELS = ("base", "good", "even")


def bank(folder, number=60, models=MODELS, same=()):
    rows = [question(f"q{n}") for n in range(number)]
    write_lines(folder / "questions" / "mine.jsonl", rows)
    for model in models:
        said = [
            answer(f"q{n}", model, "the same words" if f"q{n}" in same else f"q{n}: {model} says")
            for n in range(number)
        ]
        write_lines(folder / "answers" / "mine" / f"{model}.jsonl", said)


def strengths(**score):
    """A judge that prefers the model with the higher number, and tosses a coin between equals."""

    def judge(body):
        shown = [re.search(r"q(\d+): (\w+) says", text) for text in seen(body)]
        if not all(shown):
            return says(5, 5)
        own = [score[found[2]] for found in shown]
        if own[0] == own[1]:
            models = sorted(found[2] for found in shown)
            heads = random.Random(f"{shown[0][1]} {models}").random() < 0.5
            own = [6 + heads * (found[2] == models[0]) for found in shown]
            own = [
                each + (not heads) * (f[2] == models[1]) for each, f in zip(own, shown, strict=True)
            ]
        return says(*own)

    return judge


def rows_of(folder):
    path = folder / "reviews" / "mine" / "j.pair-scores.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def until(evalkit, tmp_path):
    def command(server, *args, what="decided"):
        where = ("--judge", f"{server.url}#j", "--bank", "mine", "--baseline", "base")
        return evalkit("judge", *where, "--until", what, "--canaries", 0, *args)

    return command


def report(evalkit):
    ran = evalkit("report", "--bank", "mine", "--baseline", "base", "--json")
    return json.loads(ran.out)


def numbers(folder):
    """What the page of the bank would tell, without the page."""
    return found_in(Workspace(folder), "mine", "base", None).results


def test_a_pair_that_is_decided_is_asked_no_more_and_the_page_says_the_same(
    until, evalkit, tmp_path
):
    bank(tmp_path)
    with serving(Behaviour(text=strengths(base=5, good=8, even=5))) as server:
        ran = until(server, "--concurrency", 1)
        calls = len(server.calls)
        again = until(server)
        assert again.code == 0 and len(server.calls) == calls
    assert ran.code == 0, ran.err
    rows = rows_of(tmp_path)
    good = {row["question"] for row in rows if "good" in row["shown"]}
    even = {row["question"] for row in rows if "even" in row["shown"]}
    assert 5 < len(good) < 15 and len(even) == 60
    first = sorted((f"q{n}" for n in range(60)), key=place)[: len(good)]
    assert good == set(first)
    (line,) = [line for line in ran.lines if "good is better than base: certain after" in line]
    after = int(re.search(r"after (\d+) questions", line)[1])
    assert after == len(good) and ", 1 pair left; " in line and line.endswith("calls saved")
    assert any("base and even are not separable by 60 questions; " in line for line in ran.lines)
    assert any("good is better than base: certain after" in line for line in again.lines)
    found = {row["b"]: row for row in report(evalkit)["decisions"]}
    assert (found["good"]["decision"], found["good"]["after"]) == ("b", after)
    assert found["even"]["decision"] is None
    page = (tmp_path / "reports" / "mine.html").read_text()
    told = f"good against base was judged on {after} of 60 questions. If judging ended because of"
    assert told in page and page.count("If judging ended because of") == 1
    low, high = (100 * found["good"][end] for end in ("low", "high"))
    assert f"for the win rate [{low:.1f},\u00a0{high:.1f}] holds" in page and low > 50
    values = json.loads(until(server, "--dry-run", "--json").out)
    assert values["saved"] + len(rows) == values["saved"] + values["done"]
    assert values["owed"] == 0 and values["saved"] > 50


def test_calls_beyond_the_stop_are_kept_and_change_no_decision(until, tmp_path):
    bank(tmp_path, models=("base", "good"))
    with serving(Behaviour(text=strengths(base=5, good=8), latency=(0.05, 0.05))) as server:
        ran = until(server, "--concurrency", 16, "--orders", "coin")
    assert ran.code == 0
    rows = rows_of(tmp_path)
    (found,) = numbers(tmp_path).decisions
    assert found.decision == "b" and found.after == 7
    assert 7 < len(rows) <= 7 + 16
    assert f"{len(rows) - 7} beyond the stop" in ran.out
    assert len(rows) == ran_done(ran)


def ran_done(ran):
    return int(re.search(r"^j   (\d+)/\1 ", ran.out)[1])


@pytest.mark.parametrize("orders", ["plan", "both", "coin"])
def test_a_run_in_pieces_decides_as_one_in_one_piece(until, tmp_path, orders):
    """Cut by a budget of calls: each piece ends after some replies; what follows is the same."""
    bank(tmp_path, 40)
    judge = strengths(base=5, good=5, even=5)

    def weak(body):
        shown = [re.search(r"q(\d+): (\w+) says", text) for text in seen(body)]
        better = random.Random(f"{shown[0][1]}").random() < 0.75
        if {found[2] for found in shown} == {"base", "good"} and better:
            return says(*(8 if found[2] == "good" else 5 for found in shown))
        return judge(body)

    with serving(Behaviour(text=weak)) as server:
        whole = until(server, "--concurrency", 1, "--orders", orders)
    assert whole.code == 0
    one = numbers(tmp_path).decisions
    assert any(each.decision for each in one)
    ledger = tmp_path / "reviews" / "mine" / "j.pair-scores.jsonl"
    rows = ledger.read_text().splitlines(keepends=True)
    cut = random.Random(3).sample(rows, len(rows) // 2)
    ledger.write_text("".join(cut))  # as if half of the calls had been in flight, and were lost
    with serving(Behaviour(text=weak)) as server:
        rest = until(server, "--concurrency", 3, "--orders", orders)
    assert rest.code == 0
    other = numbers(tmp_path).decisions
    assert [(d.b, d.decision, d.after) for d in one if d.decision] == [
        (d.b, d.decision, d.after) for d in other if d.decision
    ]


def test_the_best_of_three_is_found_and_what_is_left_is_not_asked(until, tmp_path):
    bank(tmp_path)
    with serving(Behaviour(text=strengths(base=3, good=8, even=5))) as server:
        ran = until(server, "--pairs", "all", "--concurrency", 1, what="best")
    assert ran.code == 0, ran.err
    assert any("good is the best: certain after" in line for line in ran.lines)
    assert any("base is not the best: certain after" in line for line in ran.lines)
    assert len(rows_of(tmp_path)) < 60
    (race,) = numbers(tmp_path).races
    assert race.left == ["good"]


def test_where_the_best_is_not_known_the_contenders_are_told(until, tmp_path):
    bank(tmp_path, 20)
    with serving(Behaviour(text=strengths(base=3, good=8, even=8))) as server:
        ran = until(server, "--pairs", "all", "--concurrency", 1, what="best")
    assert ran.code == 0
    assert any("the best may still be even or good: " in line for line in ran.lines), ran.err
    assert any("base is not the best: certain after" in line for line in ran.lines)


def test_ties_by_rule_count_for_the_decision(until, tmp_path):
    first = sorted((f"q{n}" for n in range(60)), key=place)[:20]
    bank(tmp_path, models=("base", "good"), same=first)
    with serving(Behaviour(text=strengths(base=5, good=8))) as server:
        ran = until(server, "--concurrency", 1, "--orders", "coin", "--tie-zone", 0)
    assert ran.code == 0
    (found,) = numbers(tmp_path).decisions
    assert found.decision == "b" and found.after > 20
    assert {row["question"] for row in rows_of(tmp_path)}.isdisjoint(first)
    assert f"certain after {found.after} questions" in ran.err


def test_a_reply_that_is_read_at_the_second_try_decides_then(until, tmp_path):
    bank(tmp_path, models=("base", "good"))
    sound = strengths(base=5, good=8)

    def judge(body):
        return sound(body) if len(body["messages"]) > 2 else "Both have their merits."

    with serving(Behaviour(text=judge)) as server:
        ran = until(server, "--concurrency", 1, "--orders", "coin")
    assert any("good is better than base: certain after 7" in line for line in ran.lines), ran.err
    assert len(rows_of(tmp_path)) == 14


def test_the_bar_counts_what_is_still_wanted(until, tmp_path, monkeypatch):
    from evalkit.cli import running

    works = []
    real = running.perform
    monkeypatch.setattr(running, "perform", lambda run: works.extend(run.works) or real(run))
    bank(tmp_path, models=("base", "good"))
    with serving(Behaviour(text=strengths(base=5, good=8))) as server:
        until(server, "--concurrency", 1, "--orders", "coin")
    assert [(work.kept, work.owed) for work in works] == [(7, 7)]


def test_a_question_that_cannot_be_asked_is_passed_over(until, tmp_path):
    bank(tmp_path, models=("base", "good"))
    lost = sorted((f"q{n}" for n in range(60)), key=place)[2]
    judge = strengths(base=5, good=8)
    with serving(Behaviour(text=judge, by_text={f"What is {lost}?": "400"})) as server:
        ran = until(server, "--concurrency", 1, "--orders", "coin")
        assert any("good is better than base: certain after 7" in line for line in ran.lines)
    assert len(rows_of(tmp_path)) == 7
    assert lost not in {row["question"] for row in rows_of(tmp_path)}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--prompt", "grade"), "--until compares two answers"),
        (("--alpha", "0"), "0<x<1"),
        (("--alpha", "nan"), "not a number"),
        (("--tie-zone", "-1"), "0<=x<100"),
        (("--until", "never"), "'never' is not one of"),
    ],
)
def test_goals_that_cannot_be(until, tmp_path, args, told):
    bank(tmp_path, 3)
    with serving() as server:
        ran = until(server, *args)
        assert (ran.code, server.calls) == (2, [])
    assert told in ran.err


@pytest.mark.parametrize("option", ["--alpha", "--tie-zone"])
def test_what_is_of_until_alone_is_refused_without_it(evalkit, tmp_path, option):
    bank(tmp_path, 3)
    ran = evalkit("judge", "--judge", "gpt-4", "--bank", "mine", option, "0.5")
    assert ran.code == 2 and f"{option} goes with --until" in ran.err


def test_the_best_takes_models_that_can_be_compared(evalkit, tmp_path):
    bank(tmp_path, 3, models=("a", "b", "c", "d"))
    with serving() as server:
        where = ("--judge", f"{server.url}#j", "--bank", "mine", "--until", "best")
        ran = evalkit("judge", *where, "--pairs", "a:b", "--pairs", "c:d")
        assert (ran.code, server.calls) == (2, [])
    assert "cannot be compared with each of the others" in ran.err


def test_an_evaluation_file_can_say_it(evalkit, tmp_path):
    bank(tmp_path, models=("base", "good"))
    with serving(Behaviour(text=strengths(base=5, good=8))) as server:
        (tmp_path / "e.yaml").write_text(
            "bank: mine\nmodels:\n"
            + "".join(f"  - {{name: {m}, url: '{server.url}'}}\n" for m in ("base", "good"))
            + "baseline: base\njudges:\n"
            "  - {model: j, until: decided, canaries: 0, again: true}\n"
        )
        (tmp_path / "evalkit.yaml").write_text(
            f"catalog:\n  j:\n    provider: openai_api\n    url: {server.url}\n    model: j\n"
        )
        ran = evalkit("run", "e.yaml", "--dry-run")
    assert "j (pair-scores, orders: plan, until decided)" in ran.err
    assert "each pair until it is certain who is better" in ran.err


def test_a_question_is_taken_when_all_its_samples_are_there():
    questions = [Question.model_validate(question(f"q{n}")) for n in range(8)]
    said = [Answer.model_validate(answer(q.id, m, f"{q.id} {m}")) for q in questions for m in "ab"]
    showings = plan(questions, said, [("a", "b")], samples=2).showings
    prompt = load(SHIPPED / "prompts/judge/pair-scores.yaml", JudgePrompt)
    judging = Judging("j", "id", "pair-scores", prompt, showings, [])
    rows = [judging.record(request, Reply("7 7"), 0.1) for request in judging.requests()]
    for number, taken in ((0, 0), (1, 0), (2, 8)):  # samples that are there, questions taken
        some = [row for row in rows if row.sample < number]
        again = Judging("j", "id", "pair-scores", prompt, showings, some)
        until = Until(again, showings, [], Goal("decided"))
        assert [each[2] for each in until.undecided()] == [taken]
        assert until.total == len(rows) == 32
