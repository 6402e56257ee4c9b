"""One run in shards, side by side: asked once, read as one, and the same as the whole run."""

import csv
import hashlib
import json
import os
import subprocess
import sys
import time

import pytest
from chat_server import Behaviour, last_said, serving
from conftest import answer, question, read_lines, review, write_lines

from evalkit.cli.report import found_in
from evalkit.errors import BadName, Locked
from evalkit.ledger import Ledger
from evalkit.records import Answer, Review
from evalkit.shards import Shard, parse
from evalkit.workspace import Workspace

ANSWERS = "answers/mine"
REVIEWS = "reviews/mine"
NUMBER = 14  # questions, so that no number of shards divides them


def says(body):
    """A chatbot's answer, or two scores; always the same to the same words."""
    words = last_said(body)
    digits = hashlib.sha256(words.encode()).digest()
    if body["model"] == "judge":
        return f"{digits[0] % 10 + 1} {digits[1] % 10 + 1}"
    return f"{body['model']} says {digits.hex()[: 8 + digits[0] % 20]}"


def bank(folder, number=NUMBER):
    rows = [question(f"q{n}", category=("generic", "math")[n % 2]) for n in range(number)]
    write_lines(folder / "questions" / "mine.jsonl", rows)


def rows_of(folder):
    """The rows of each ledger of a folder, by its name."""
    return {file.name: read_lines(file) for file in sorted(folder.glob("*.jsonl"))}


def bought(folder):
    """What stands in all ledgers of a folder: each row as often as it stands there."""
    names = ("question", "model", "judge", "shown", "canary", "sample", "asked", "turns", "text")
    rows = [row for ledger in rows_of(folder).values() for row in ledger]
    return sorted(repr([row.get(name) for name in names]) for row in rows)


def timeless(told):
    """What a program is told, but for how long it took."""
    if isinstance(told, dict):
        gone = ("time", "latency", "seconds", "files", "made")
        return {k: timeless(v) for k, v in told.items() if not any(name in k for name in gone)}
    return [timeless(each) for each in told] if isinstance(told, list) else told


def start(folder, *args, shard=None):
    command = [sys.executable, "-m", "evalkit", *map(str, args), "-C", str(folder)]
    env = os.environ | ({"EVALKIT_SHARD": shard} if shard else {})
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def ends(process):
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


@pytest.fixture
def ask(evalkit, tmp_path):
    """Ask the model m the bank 'mine'; returns how it ran."""
    bank(tmp_path)

    def command(server, *args):
        return evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine", *args)

    return command


# -- the same as the whole run


def test_four_shards_side_by_side_are_the_whole_run(evalkit, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    bank(whole)
    bank(parts)
    with serving(Behaviour(text=says)) as server:
        both = ("answer", "--model", f"{server.url}#a,{server.url}#b", "--bank", "mine")
        judging = ("judge", "--judge", f"{server.url}#judge", "--bank", "mine", "--baseline", "a")
        for step in (both, (*judging, "--limit", 11, "--again")):
            before = len(server.calls)
            assert evalkit(*step, "-C", whole).code == 0
            asked = len(server.calls) - before
            running = start(parts, *step, shard="4/4")
            for own in ("1/4", "2/4", "3/4"):  # side by side with that one, and sooner to start
                assert evalkit(*step, "-C", parts, "--shard", own).code == 0
            told = ends(running)
            assert len(server.calls) - before == 2 * asked
        again = evalkit(*judging, "--limit", 11, "--again", "-C", parts)
        assert again.code == 0 and len(server.calls) - before == 2 * asked
    assert "  shard 4 of 4: 2 of 11 questions" in told.splitlines()
    following = "evalkit: Next: when all 4 shards are done: evalkit report --open --bank mine"
    assert following in told
    for folder in (ANSWERS, REVIEWS):
        assert bought(parts / folder) == bought(whole / folder)
    assert sum(row.canary is not None for row in Workspace(parts).reviews("mine")) == 8
    names = [f"{model}.{n}-of-4.jsonl" for model in "ab" for n in (1, 2, 3, 4)]
    assert list(rows_of(parts / ANSWERS)) == names
    sizes = [len(rows) for rows in rows_of(parts / ANSWERS).values()]
    assert sizes == [4, 4, 3, 3] * 2

    one, other = (
        timeless(found_in(Workspace(folder), "mine", "a", None).results.model_dump(mode="json"))
        for folder in (whole, parts)
    )
    assert one["pairs"][0]["questions"] == 11
    assert one == other


def test_shards_of_labelling_share_the_texts(evalkit, tmp_path):
    texts = [question(f"t{n}", label=[("car", "no car")[n % 2]]) for n in range(7)]
    write_lines(tmp_path / "questions" / "ads.jsonl", texts)
    with serving(Behaviour(text="car")) as server:
        classify = ("classify", "--model", f"{server.url}#m", "--bank", "ads")
        for n, calls in ((1, 3), (2, 2), (3, 2)):
            ran = evalkit(*classify, "--shard", f"{n}/3", "--json")
            assert ran.code == 0 and f"shard {n} of 3: {calls} of 7 texts to label" in ran.err
            assert json.loads(ran.out)["scores"][0]["texts"] == (3, 5, 7)[n - 1]
        assert evalkit(*classify).code == 0
    assert len(server.calls) == 7


# -- nothing is paid for twice


def test_a_torn_line_of_another_shard_is_left_to_who_writes_that(tmp_path):
    one, other = (tmp_path / f"j.p.{n}-of-2.jsonl" for n in (1, 2))
    row = Review.model_validate(review("q1", ("m", "base")))
    one.write_text(row.line() + "\n" + row.line()[:40])
    other.write_text(2 * (row.line() + "\n"))
    before = one.read_bytes(), other.read_bytes()
    told = []
    with Ledger(other, Review, told.append).writing() as writer:
        assert not writer.add(row)
    assert (one.read_bytes(), other.read_bytes(), told) == (*before, [])


def test_shards_that_overlap_and_the_whole_run_behind_them_pay_for_nothing_twice(ask, tmp_path):
    with serving() as server:
        for shard, calls in (("1/4", 4), ("1/2", 7), ("3/4", 7), ("2/3", 10), ("2/3", 10)):
            assert ask(server, "--shard", shard).code == 0
            assert len(server.calls) == calls
        ran = ask(server)
        assert ran.code == 0 and "4 owed, 10 kept" in ran.err
        assert "bank mine · 14 questions · 2 categories" in ran.err
        told = ask(server, "--shard", "2/4")
    assert (told.code, len(server.calls)) == (0, NUMBER)
    assert told.out == "m   4/4 (4 kept, 0 new)   0 cut at max_tokens · 0 empty\n"
    assert "bank mine · shard 2 of 4: 4 of 14 questions · 1 category" in told.err
    read = Workspace(tmp_path).answers("mine")
    assert sorted(row.question for row in read) == sorted(f"q{n}" for n in range(NUMBER))


def test_a_killed_shard_goes_on_where_it_stopped(ask, tmp_path):
    behaviour = Behaviour(latency=(0.2, 0.2))
    with serving(behaviour) as server:
        step = ("answer", "--model", f"{server.url}#m", "--bank", "mine", "--concurrency", 1)
        process = start(tmp_path, *step, "--shard", "2/2")
        kept = tmp_path / ANSWERS / "m.2-of-2.jsonl"
        while not kept.exists() or len(kept.read_bytes().splitlines()) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
        behaviour.latency = (0, 0)
        ran = ask(server, "--shard", "2/2")
    assert ran.code == 0 and " kept" in ran.err
    assert sorted(row["question"] for row in read_lines(kept)) == sorted(
        f"q{n}" for n in range(1, NUMBER, 2)
    )
    assert len(server.calls) <= 7 + 1, "more than the call in flight was paid for twice"


@pytest.mark.parametrize(
    ("writing", "refused", "at_once"),
    [
        ("2/4", [None, "1/2", "2/4", "2/3"], ["3/4"]),
        (None, [None, "1/1", "1/4"], []),
    ],
)
def test_runs_that_could_buy_the_same_are_not_made_at_once(
    ask, tmp_path, writing, refused, at_once
):
    own = parse(writing) if writing else None
    (ledger,) = Workspace(tmp_path).answer_ledgers("mine", ["m"], own).values()
    with serving() as server:
        with ledger.writing():
            for other in refused:
                ran = ask(server, *(["--shard", other] if other else []))
                assert (ran.code, server.calls) == (2, []), other
                assert ran.lines[-1].endswith(f"is writing {ledger.path.relative_to(tmp_path)}")
                assert f"another evalkit (pid {os.getpid()}, since " in ran.lines[-1]
            for other in at_once:
                assert ask(server, "--shard", other).code == 0
                assert server.calls
        assert ask(server).code == 0
    assert len(server.calls) == NUMBER


def test_many_shards_that_start_at_once_do_not_stand_in_each_others_way(tmp_path):
    """Each looks whether the whole run is being made; a look of another is not that."""
    script = (
        "import sys; from pathlib import Path; from evalkit.shards import parse;"
        "from evalkit.workspace import Workspace\n"
        "sys.stdin.read()\n"
        "for _ in range(150):\n"
        "    own = Workspace(Path('.')).answer_ledgers('mine', ['m'], parse(sys.argv[1]))['m']\n"
        "    with own.writing(): pass\n"
    )
    with Workspace(tmp_path).answer_ledgers("mine", ["m"])["m"].writing():
        pass  # its lock stays behind
    command = [sys.executable, "-c", script]
    running = [
        subprocess.Popen(
            [*command, f"{n}/3"], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for n in (1, 2, 3)
    ]
    for each in running:
        each.stdin.close()
    assert [(each.wait(), each.stderr.read()) for each in running] == [(0, b"")] * 3
    for each in running:
        each.stderr.close()


# -- read as one


def at(second, **more):
    return {"time": f"2026-11-01T10:00:{second:02}+00:00", **more}


def test_a_row_that_stands_in_two_ledgers_counts_once(evalkit, tmp_path):
    bank(tmp_path, 3)
    read = {"rung": "strict"}
    ledgers = {
        f"{ANSWERS}/a.jsonl": [answer("q0", **at(1)), answer("q1", **at(4))],
        f"{ANSWERS}/a.1-of-2.jsonl": [answer("q0", **at(3)), answer("q2", **at(2))],
        f"{ANSWERS}/b.jsonl": [answer(f"q{n}", "b") for n in range(3)],
        f"{REVIEWS}/judge.pair-scores.jsonl": [review("q0", **read), review("q1", **read)],
        f"{REVIEWS}/judge.pair-scores.2-of-3.jsonl": [review(q, **read) for q in ("q1", "q2")],
    }
    for name, rows in ledgers.items():
        write_lines(tmp_path / name, rows)
    read = Workspace(tmp_path)
    own = [(row.question, row.time) for row in read.answers("mine") if row.model == "a"]
    assert own == [(q, at(s)["time"]) for q, s in (("q0", 1), ("q2", 2), ("q1", 4))]
    assert sorted(row.question for row in read.reviews("mine")) == ["q0", "q1", "q2"]
    assert read.answered("mine") == ["a", "b"]
    assert evalkit("export", "out", "--to", "csv", "--bank", "mine").code == 0
    for name, number in (("answers", 6), ("reviews", 3)):
        with open(next((tmp_path / "out").rglob(f"{name}.csv")), newline="") as stream:
            assert len(list(csv.DictReader(stream))) == number, name
    again = evalkit("judge", "--bank", "mine", "--reparse")
    assert again.out == "3 reviews read again: 0 changed, 0 unreadable\n"
    given = [Answer.model_validate(answer(f"q{n}")) for n in range(3)]
    assert read.append("mine", given).new == 0
    judged = [Review.model_validate(review("q2"))]
    assert read.append("mine", judged).new == 0


def test_the_last_answer_counts_whichever_ledger_holds_it(ask, tmp_path):
    rows = {
        "m.jsonl": [answer("q0", "m", "old", asked="1", **at(1))],
        "m.1-of-2.jsonl": [answer("q0", "m", "new", asked="2", **at(3))],
        "m.1-of-3.jsonl": [answer("q0", "m", "middle", asked="3", **at(2))],
    }
    for name, each in rows.items():
        write_lines(tmp_path / ANSWERS / name, each)
    read = Workspace(tmp_path).answers("mine")
    assert [row.turns[0] for row in read] == ["old", "middle", "new"]


def test_repair_mends_the_ledgers_of_shards(ask, tmp_path):
    path = write_lines(tmp_path / ANSWERS / "m.1-of-2.jsonl", [answer("q0", "m")])
    path.write_text(f"garbage\n{path.read_text()}")
    with serving() as server:
        refused = ask(server)
        assert refused.code == 2 and "m.1-of-2.jsonl:1: " in refused.err and not server.calls
        assert ask(server, "--repair", "--limit", 1).code == 0


def test_a_shards_own_answers_hide_the_shipped_ones_of_that_model(tmp_path):
    write_lines(
        tmp_path / "answers" / "sample" / "sample-brief.1-of-2.jsonl",
        [answer("poem", "sample-brief", "mine")],
    )
    read = Workspace(tmp_path).answers("sample")
    assert [row.turns for row in read if row.model == "sample-brief"] == [("mine",)]
    assert len({row.model for row in read}) == 4


# -- what is refused, and what is not confused


@pytest.mark.parametrize("value", ["0/8", "9/8", "a/b", "2/0", "2", "-1/2", "1/2/3", "1.5/2", ""])
def test_what_is_no_shard_is_refused(ask, tmp_path, monkeypatch, value):
    with serving() as server:
        ran = ask(server, "--shard", value)
        assert (ran.code, ran.out, server.calls) == (2, "", [])
    told = f"'{value}' is no shard; expected N/OF with N from 1 to OF, as in 2/8"
    assert told in ran.err and len(ran.lines) == 1


def test_one_of_one_is_all(ask):
    with serving() as server:
        assert ask(server, "--shard", "1/1").code == 0
    assert len(server.calls) == NUMBER


def test_a_shard_without_a_question_is_done(ask):
    with serving() as server:
        ran = ask(server, "--shard", "4/4", "--limit", 3)
        shown = ask(server, "--shard", "4/4", "--limit", 3, "--show-prompt")
    assert ran.code == 0 and "shard 4 of 4: 0 of 3 questions" in ran.err
    assert (shown.code, shown.out) == (2, "") and "no question is in shard 4 of 4" in shown.err
    assert server.calls == []


def test_until_and_a_shard_do_not_go_together(evalkit, monkeypatch):
    judging = ("judge", "--judge", "gpt-4", "--until", "decided")
    ran = evalkit(*judging, "--shard", "1/2")
    assert ran.code == 2 and len(ran.lines) == 1
    assert ran.lines[0].startswith("--until must see every review, and --shard makes a part")
    monkeypatch.setenv("EVALKIT_SHARD", "1/2")
    assert evalkit(*judging).lines == ran.lines


def test_programs_learn_which_shard_it_was(ask):
    with serving() as server:
        told = json.loads(ask(server, "--shard", "2/8", "--json").out)
    assert (told["shard"], told["done"], told["files"]) == ("2/8", 2, [f"{ANSWERS}/m.2-of-8.jsonl"])


def test_a_model_that_is_called_like_a_shard_is_not_one(tmp_path):
    workspace = Workspace(tmp_path)
    names = "m", "m.2-of-8", "m.1-OF-8", "m.2-of-8.1-of-2"
    workspace.append("mine", [Answer.model_validate(answer("q0", name)) for name in names])
    shards = workspace.answer_ledgers("mine", names, Shard(2, 8))
    assert len({str(ledger.path).casefold() for ledger in shards.values()}) == len(names)
    for name, ledger in workspace.answer_ledgers("mine", names).items():
        assert [row.model for part in ledger.parts() for row in part.read()] == [name]
    with shards["m"].writing():
        with pytest.raises(Locked), workspace.answer_ledgers("mine", ["m"])["m"].writing():
            pass
        with workspace.answer_ledgers("mine", ["m.2-of-8"])["m.2-of-8"].writing():
            pass
    judged = review("q0", judge="j", prompt="2-of-8")
    workspace.append("mine", [Review.model_validate(judged)])
    (ledger,) = workspace.review_ledgers("mine", ["j"], "2-of-8").values()
    assert [row.prompt for row in ledger.read()] == ["2-of-8"]


def test_a_file_of_another_model_is_no_shard_of_this_one(tmp_path):
    write_lines(tmp_path / ANSWERS / "m.2-of-8.jsonl", [answer("q0", "m.2-of-8")])
    for shard in (None, Shard(1, 2)):
        with pytest.raises(BadName, match=r"'m' and 'm\.2-of-8' would share one file"):
            Workspace(tmp_path).answer_ledgers("mine", ["m"], shard)


@pytest.mark.parametrize("of", [1, 2, 3, 8, 40])
def test_every_question_is_in_one_shard_and_every_category_in_all_that_can_hold_it(of):
    bank = [(category, n) for category in "abc" for n in range(10)]
    parts = [Shard(number, of).part(bank) for number in range(1, of + 1)]
    assert sorted(each for part in parts for each in part) == bank
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert of > 10 or all({category for category, _ in part} == set("abc") for part in parts)
