"""Calls in batches: handed over, left, come back to; whatever happens, each is paid for once."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from chat_server import Behaviour, serving
from conftest import answer, question, tree, write_lines

from evalkit import batches
from evalkit.batches import Batch, Log, Spoken, Status, parted
from evalkit.catalog import Catalog, Stanza
from evalkit.chat import Failure, Kind, Message, Request, Sampling
from evalkit.errors import BadFile
from evalkit.keys import Keys
from evalkit.ledger import Ledger, Writer
from evalkit.providers.openai_api import Batches, Provider
from evalkit.records import Answer
from evalkit.workspace import write_batches

KEY = "sk-test-Kq3v8Zt1Lm5Rw9Yb2x9Qd"
MODEL = "gpt-4o-mini"
BANK = "questions/mine.jsonl"
NOT_THE_SAME = ("batch", "dollars", "time", "latency")
COLLECT = "Next: the same command collects what is done"


@pytest.fixture(autouse=True)
def said(tmp_path, monkeypatch):
    """All that runs said. None of it, and no file, holds the key."""
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
            monkeypatch.delenv(name)
    for module in ("evalkit.cli.desk", "evalkit.runner"):
        monkeypatch.setattr(f"{module}.LONGEST_WAIT", 0.01)
    words = []
    yield words
    for text in (*words, *(data.decode() for data in tree(tmp_path).values() if data)):
        assert KEY[8:-4] not in text, text[-2000:]


@pytest.fixture
def service(monkeypatch):
    """OpenAI, as far as it is here, with a bank of `number` questions."""

    @contextmanager
    def command(**behaviour):
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        with serving(Behaviour(key=KEY, **behaviour)) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            yield server

    return command


@pytest.fixture
def ask(evalkit, tmp_path, said):
    """Run evalkit answer --batch on the bank 'mine'."""
    bank(tmp_path)

    def command(*args, batch=True, verb=("answer", "--model", MODEL)):
        how = ("--batch",) if batch else ()
        ran = evalkit(*verb, "--bank", "mine", *how, *args)
        said.extend([ran.out, ran.err])
        assert "Traceback" not in ran.err
        return ran

    return command


def bank(folder, number=4, **more):
    return write_lines(folder / BANK, [question(f"q{n}", **more) for n in range(number)])


def ledger(folder):
    return folder / "answers" / "mine" / f"{MODEL}.jsonl"


def rows_of(folder):
    path = ledger(folder)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def noted(folder, path=None):
    """The batches as the disk has them."""
    path = path or ledger(folder).with_name(f"{MODEL}.batches.json")
    return json.loads(path.read_text()).get("batches", [])


def states(folder):
    return [batch.get("state", "submitting") for batch in noted(folder)]


def lines_of(server):
    """The lines of each file that was handed over."""
    return [
        [json.loads(line) for line in data.splitlines()]
        for name, data in server.files.items()
        if name.startswith("file-")
    ]


def asked_alone(server):
    return [call for call in server.calls if call.path.endswith("/chat/completions")]


def handed_over(server):
    return [call for call in server.calls if (call.method, call.path) == ("POST", "/v1/batches")]


def each_paid_once(server, number):
    assert len(server.paid) == number and set(server.paid.values()) == {1}, server.paid


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


# -- the whole way


def test_handed_over_looked_at_and_collected(ask, service, tmp_path):
    with service(steps=["in_progress", "completed"]) as server:
        first = ask()
        assert first.code == 1 and first.lines[-1] == COLLECT
        assert len(asked_alone(server)) == 1 and len(rows_of(tmp_path)) == 1
        (lines,) = lines_of(server)
        assert {line["url"] for line in lines} == {"/v1/chat/completions"}
        assert len({line["custom_id"] for line in lines}) == len(lines) == 3
        alone = asked_alone(server)[0].body
        assert {tuple(line["body"]) for line in lines} == {tuple(alone)}
        assert states(tmp_path) == ["running"] and noted(tmp_path)[0]["id"] == "batch_1"
        assert "3 calls in batch_1 (validating)" in first.err and f"{MODEL}   1/4" in first.out
        second = ask()
        assert "3 owed, 1 kept" in second.err and "about $0.00, at most $0.00" in second.err
        assert second.code == 1 and "3 calls in batch_1 (in_progress)" in second.err
        assert len(asked_alone(server)) == len(handed_over(server)) == 1
        third = ask()
        assert third.code == 0 and f"{MODEL}   4/4 (1 kept, 3 new)" in third.out
        assert "batch_1 completed; 3 replies kept" in third.err
        assert states(tmp_path) == ["collected"] and "calls" not in noted(tmp_path)[0]
        before = tree(tmp_path)
        assert ask().code == 0 and ask(batch=False).code == 0
        assert tree(tmp_path) == before
        each_paid_once(server, 4)
    assert [row.get("batch") for row in rows_of(tmp_path)] == [None, *["batch_1"] * 3]


def test_the_rows_are_those_of_a_live_run_at_half_the_price(ask, service, tmp_path):
    by_text = {"q1": "echo-key", "q2": "think", "q3": "refusal"}
    with service(by_text=by_text, refuses={"temperature": "unsupported_parameter"}):
        assert ask(batch=False).code == 0
        live = {row["question"]: row for row in rows_of(tmp_path)}
        ledger(tmp_path).unlink()
        ask()
        assert ask().code == 0
    rows = rows_of(tmp_path)
    assert len(rows) == len(live) == 4
    for row in rows:
        other = live[row["question"]]
        same = {name: value for name, value in row.items() if name not in NOT_THE_SAME}
        assert same == {name: value for name, value in other.items() if name not in NOT_THE_SAME}
        half = 0.5 if "batch" in row else 1
        assert row["dollars"] == pytest.approx(half * other["dollars"]) and row["time"]
    assert sum("batch" in row for row in rows) == 3
    assert rows[-1]["sampling"] == {"max_completion_tokens": 1024}


def test_each_turn_goes_into_the_next_batch(ask, service, tmp_path):
    rows = [question(f"q{n}", turns=[f"First {n}?", "Second?"]) for n in range(3)]
    write_lines(tmp_path / BANK, rows)
    with service() as server:
        assert [ask().code for _ in range(3)] == [1, 1, 0]
        each_paid_once(server, 6)
        sent = [[len(line["body"]["messages"]) for line in lines] for lines in lines_of(server)]
    assert sent == [[3, 1, 1], [3]]  # the first of each run is made alone
    last = [row for row in rows_of(tmp_path) if len(row["turns"]) == 2]
    assert {row["question"] for row in last} == {"q0", "q1", "q2"}


def test_one_call_that_is_owed_is_made_alone_with_what_follows(ask, service, tmp_path):
    bank(tmp_path, 1, turns=["First?", "Second?"])
    with service() as server:
        assert ask().code == 0
        assert len(asked_alone(server)) == 2 and not server.files
    assert not (tmp_path / "answers/mine" / f"{MODEL}.batches.json").exists()


def test_a_judge_asks_again_in_the_next_batch(ask, service, tmp_path, evalkit):
    rows = [answer(f"q{n}", model) for n in range(4) for model in ("a", "b")]
    for model in ("a", "b"):
        own = [row for row in rows if row["model"] == model]
        write_lines(tmp_path / "answers/mine" / f"{model}.jsonl", own)

    def text(body):
        return "8 9" if len(body["messages"]) > 2 or "q0" in str(body["messages"]) else "Well."

    judge = ("judge", "--judge", MODEL, "--baseline", "a", "--canaries", 0)
    with service(text=text) as server:
        codes = [ask(verb=judge).code for _ in range(4)]
        assert codes[0] == 1 and codes[-1] == 0
        assert set(server.paid.values()) == {1}
    path = tmp_path / f"reviews/mine/{MODEL}.pair-scores.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(row["scores"] == [8, 9] for row in found) == 8
    assert {row.get("rung") for row in found if row["scores"]} == {"strict", "repaired"}
    log = noted(tmp_path, path.with_name(f"{MODEL}.pair-scores.batches.json"))
    assert [batch["state"] for batch in log] == ["collected"] * len(log) and len(log) >= 2


# -- killed at every moment


def started(folder, *args):
    command = [sys.executable, "-m", "evalkit", "answer", "--model", MODEL, "--bank", "mine"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, "--batch", *args], cwd=folder, **pipes)


def killed(folder, server, said, place, seen):
    """Kill a run while the service says nothing at a place."""
    server.behaviour.hangs = {place}
    process = started(folder)
    try:
        until(lambda: seen() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
    finally:
        process.kill()
        said.extend(process.communicate())
    server.behaviour.hangs = set()


@pytest.mark.parametrize(
    ("place", "state", "new"),
    [("upload", None, 1), ("create", "submitting", 1), ("created", "submitting", 0)],
)
def test_killed_while_handing_over(ask, service, tmp_path, said, monkeypatch, place, state, new):
    with service() as server:
        path = "/v1/files" if place == "upload" else "/v1/batches"
        posted = lambda: any((c.method, c.path) == ("POST", path) for c in server.calls)  # noqa: E731
        killed(tmp_path, server, said, place, posted)
        log = tmp_path / "answers/mine" / f"{MODEL}.batches.json"
        assert (states(tmp_path) if log.exists() else []) == ([state] if state else [])
        assert len(rows_of(tmp_path)) == 1
        if place == "create":
            soon = ask()  # the service may still be about to take it
            assert soon.code == 1 and "is not known yet; wait a minute" in soon.err
            assert len(asked_alone(server)) == 1 and len(server.batches) == 0
            refused = ask(batch=False)
            assert refused.code == 2 and len(asked_alone(server)) == 1
        monkeypatch.setattr("evalkit.cli.desk.SETTLES", 0)
        for _ in range(3):
            ran = ask()
        assert ran.code == 0 and len(rows_of(tmp_path)) == 4
        assert len(server.batches) == 1 and len(asked_alone(server)) == 1 + new
        each_paid_once(server, 4)


@pytest.mark.parametrize("place", ["look", "content"])
def test_killed_while_collecting(ask, service, tmp_path, said, place):
    bank(tmp_path, 30)
    with service() as server:
        ask()
        seen = (
            (lambda: any(call.path == "/v1/batches/batch_1" for call in server.calls))
            if place == "look"
            else (lambda: len(rows_of(tmp_path)) > 5)
        )
        killed(tmp_path, server, said, place, seen)
        rows = ledger(tmp_path).read_bytes()
        assert states(tmp_path) == ["running"]
        assert len(rows_of(tmp_path)) == 1 if place == "look" else 5 < len(rows_of(tmp_path)) < 30
        assert ask().code == 0
        assert ledger(tmp_path).read_bytes().startswith(rows)
        each_paid_once(server, 30)
    assert sorted(row["question"] for row in rows_of(tmp_path)) == sorted(
        f"q{n}" for n in range(30)
    )
    assert not ledger(tmp_path).with_name(f"{MODEL}.jsonl.unplanned").exists()


def test_killed_between_the_rows_and_the_note_that_they_are_kept(ask, service, tmp_path):
    with service() as server:
        ask()
        log = ledger(tmp_path).with_name(f"{MODEL}.batches.json")
        before = log.read_bytes()
        ask()
        rows = ledger(tmp_path).read_bytes()
        log.write_bytes(before)
        assert ask().code == 0
        assert ledger(tmp_path).read_bytes() == rows and states(tmp_path) == ["collected"]
        assert not ledger(tmp_path).with_name(f"{MODEL}.jsonl.unplanned").exists()
        each_paid_once(server, 4)


def test_a_batch_is_noted_as_kept_after_its_rows_are_on_disk(ask, service, monkeypatch):
    done, sync, write = [], Writer.sync, write_batches
    monkeypatch.setattr(Writer, "sync", lambda self: (done.append("rows"), sync(self)))

    def noted(path, log):
        done.append(log.batches[-1].state)
        write(path, log)

    monkeypatch.setattr("evalkit.cli.desk.write_batches", noted)
    with service():
        ask()
        assert ask().code == 0
    assert done == ["submitting", "running", "running", "rows", "collected"]


def test_what_a_run_is_writing_is_not_cancelled_beside_it(ask, service, tmp_path, evalkit):
    with service(steps=["in_progress"]):
        ask()
        with Ledger(ledger(tmp_path), Answer, print).writing():
            for more in ((), ("--forget",)):
                ran = evalkit("batches", "cancel", "batch_1", *more)
                assert ran.code == 2 and "another evalkit" in ran.lines[0]
    assert states(tmp_path) == ["running"]


def test_two_runs_at_once_and_a_batch_that_is_found_without_its_token(
    ask, service, tmp_path, said, monkeypatch
):
    with service() as server:
        server.behaviour.hangs = {"created"}
        process = started(tmp_path)
        try:
            until(lambda: server.batches or process.poll() is not None)
            ran = ask()
            assert ran.code == 2 and "another evalkit" in ran.err
        finally:
            process.kill()
            said.extend(process.communicate())
        server.behaviour.hangs = set()
        server.batches["batch_1"]["metadata"] = None  # a service that keeps none
        monkeypatch.setattr("evalkit.cli.desk.SETTLES", 0)
        assert [ask().code, ask().code] == [1, 0] and len(server.batches) == 1
        each_paid_once(server, 4)


# -- batches that do not end well


def test_what_failed_is_owed_and_counted(ask, service, tmp_path):
    with service(by_text={"q1": "400", "q3": "malformed"}) as server:
        ask()
        ran = ask("--json")
        told = json.loads(ran.out)
    assert ran.code == 1 and told["owed"] == 2 and told["status"] == "owed"
    assert told["models"][0]["failed"].keys() >= {"rejected"}
    assert {row["question"] for row in rows_of(tmp_path)} == {"q0", "q2"}
    assert len(server.batches) == 1 and len(asked_alone(server)) == 4  # q3 again, alone
    assert server.paid[json.dumps([{"role": "user", "content": "What is q2?"}])] == 1


def test_an_expired_batch_keeps_what_was_done(ask, service, tmp_path):
    with service(steps=["expired"], batch_done=1) as server:
        ask()
        server.behaviour.steps = ["completed"]
        ran = ask()
        assert "batch_1 expired; 1 reply kept" in ran.err
        assert ran.code == 1 and "not answered: 2 expired" in ran.out
        assert states(tmp_path)[0] == "expired"
        assert ask().code == 0
        each_paid_once(server, 4)


def test_a_batch_that_was_not_taken_says_why(ask, service, tmp_path):
    with service(steps=["failed"]) as server:
        ask()
        server.behaviour.steps = ["completed"]
        ran = ask()
        assert "batch_1 failed: Enqueued token limit reached; 0 replies kept" in ran.err
        assert "not answered: 3 rejected" in ran.out and states(tmp_path) == ["failed"]
        half = ask()
        assert "at most 1 call at a time, since batch_1 was not taken; 1 call must wait" in half.err
        assert [len(lines) for lines in lines_of(server)] == [3, 1]
        assert ask().code == 0  # the one that had to wait, alone
        each_paid_once(server, 4)


def test_a_batch_is_listed_and_cancelled(ask, service, tmp_path, evalkit):
    with service(steps=["in_progress"] * 9, batch_done=1) as server:
        ask()
        ran = evalkit("batches")
        assert ran.code == 0 and ran.out.splitlines()[1].split()[:4] == [
            "batch_1", "mine", MODEL, "in_progress"
        ]  # fmt: skip
        assert evalkit("batches", "--bank", "other").out == ""
        (told,) = json.loads(evalkit("batches", "--json").out)["batches"]
        assert (told["state"], told["status"], told["calls"]) == ("running", "in_progress", 3)
        refused = ask(batch=False)
        assert refused.code == 2 and "evalkit batches cancel batch_1 gives it up" in refused.err
        assert len(refused.lines) == 3 and "--batch collects what is done" in refused.err
        assert evalkit("batches", "cancel", "batch_7").code == 2
        told = evalkit("batches", "cancel", "batch_1").out
        assert told == "batch_1: cancelled, 1 of 3 calls done\n"
        ran = ask(batch=False)
        assert ran.code == 0 and "batch_1 cancelled; 1 reply kept" in ran.err
        assert "batch_1" in evalkit("batches").out and states(tmp_path) == ["cancelled"]
        each_paid_once(server, 4)
    assert sum("batch" in row for row in rows_of(tmp_path)) == 1


def test_a_service_that_is_not_there_leaves_what_the_disk_says(ask, service, tmp_path, evalkit):
    with service(steps=["in_progress"]):
        ask()
    ran = evalkit("batches")
    assert ran.code == 0 and "batch_1" in ran.out
    assert "no connection to" in ran.err and "as it was when it was last seen" in ran.err
    ran = evalkit("batches", "cancel", "batch_1")
    assert ran.code == 2 and "--forget takes its calls as owed" in ran.lines[0]
    assert evalkit("batches", "cancel", "batch_1", "--forget").code == 0
    assert states(tmp_path) == ["cancelled"]
    with service():
        ran = ask(batch=False)
    assert ran.code == 0 and len(rows_of(tmp_path)) == 4


# -- plans that change meanwhile


def test_a_reply_to_what_was_changed_is_kept_and_counts_when_it_is_asked_again(
    ask, service, tmp_path
):
    old = (tmp_path / BANK).read_text()
    with service(by_text={"q1": "echo-key"}) as server:
        ask()
        (tmp_path / BANK).write_text(old.replace("What is q1?", "Who is q1?"))
        ran = ask()
        aside = f"answers/mine/{MODEL}.jsonl.unplanned"
        assert f"1 reply to what is asked no more or otherwise, kept in {aside}" in ran.err
        (line,) = (tmp_path / aside).read_text().splitlines()
        assert "reply to: What is q1?" in json.loads(line)["line"]
        assert ran.code == 0 and len(rows_of(tmp_path)) == 4  # the one that was new: alone
        (tmp_path / BANK).write_text(old)
        ran = ask(batch=False)
        assert ran.code == 0 and "1 reply of an earlier batch, asked for again" in ran.err
        each_paid_once(server, 5)
    assert len(rows_of(tmp_path)) == 5 and rows_of(tmp_path)[-1]["batch"] == "batch_1"


def test_calls_beyond_a_smaller_limit_come_back_with_a_larger_one(ask, service, tmp_path):
    with service() as server:
        ask()
        assert ask("--limit", 2).code == 0 and len(rows_of(tmp_path)) == 2
        assert ask().code == 0 and len(rows_of(tmp_path)) == 4
        each_paid_once(server, 4)


# -- money


def test_the_estimate_and_the_budget(ask, service, tmp_path, monkeypatch):
    bank(tmp_path, 40)
    with service(steps=["in_progress", "completed"]) as server:
        whole = json.loads(ask("--dry-run", "--json").out)["models"][0]
        live = json.loads(ask("--dry-run", "--json", batch=False).out)["models"][0]
        assert whole["about_usd"] == pytest.approx(live["about_usd"] / 2)
        assert live["at_most_usd"] / 2 < whole["at_most_usd"] < live["at_most_usd"] * 0.55
        assert not server.calls and "half price" in ask("--dry-run").err
        assert "--batch" not in ask("--dry-run", batch=False).err  # a cent is not worth a word
        budget = live["at_most_usd"] / 4
        ran = ask("--budget", budget)
        (lines,) = lines_of(server)
        (batch,) = noted(tmp_path)
        assert ran.code == 1 and 10 < len(lines) < 22 and batch["at_most"] < budget
        assert f"{39 - len(lines)} calls of {MODEL} must wait" in ran.err
        again = ask("--budget", budget)  # what is under way is set aside
        assert len(lines_of(server)) == 1 and len(asked_alone(server)) == 1
        assert "must wait" in again.err
        ask("--budget", budget)
        assert len(lines_of(server)) == 2 and len(rows_of(tmp_path)) == 2 + len(lines)
        monkeypatch.setattr("evalkit.cli.batching.HINT_FROM", 0.0001)
        assert "--batch: about $" in ask("--dry-run", batch=False).err


def test_a_price_that_is_unknown_needs_a_yes(ask, service):
    with service() as server:
        model = ("answer", "--model", "openai/gpt-nobody-knows")
        assert ask("--budget", 1, verb=model).code == 2 and not server.calls
        assert ask("--budget", 1, "--yes", verb=model).code == 1 and server.files


def test_many_calls_are_parted(ask, service, tmp_path, monkeypatch):
    assert [len(each) for each in parted(range(50_001), lambda _: 1)] == [50_000, 1]
    assert list(map("".join, parted("abcde", lambda _: 9, most_bytes=25))) == ["ab", "cd", "e"]
    assert list(map("".join, parted("ab", lambda _: 99, most_bytes=25))) == ["a", "b"]
    monkeypatch.setattr(batches, "MOST_CALLS", 2)
    with service() as server:
        ask()
        assert [len(lines) for lines in lines_of(server)] == [2, 1]
        assert ask().code == 0 and states(tmp_path) == ["collected"] * 2
        each_paid_once(server, 4)


# -- what is refused


def test_a_refused_key_hands_nothing_over(ask, service, tmp_path, monkeypatch):
    with service() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-another-Zt1Lm5Rw9Yb2")
        ran = ask()
        assert ran.code == 2 and "refused the key" in ran.err
        assert len(server.calls) == 1 and not server.files
    assert not rows_of(tmp_path) and not list(tmp_path.rglob("*.batches.json"))


def test_a_service_without_batches(ask, service, tmp_path):
    with service(batches=False) as server:
        ran = ask(verb=("answer", "--model", f"{server.url}#m"))
        assert ran.code == 2 and not server.calls
        assert len(ran.lines) == 1 and "`batch: 0.5`" in ran.lines[0]
        ran = ask()
        assert ran.code == 1 and "has no batch API (leave --batch out)" in ran.err
        assert ask(batch=False).code == 0


def test_an_own_address_brings_no_batches_along():
    shipped = {"o": Stanza(provider="openai_api", url="http://o/v1", batch=0.5)}
    own = {"m": Stanza(service="o", model="x", url="http://m/v1")}
    own["n"] = Stanza(service="o", model="x", batch=0.4)
    catalog = Catalog(shipped, own, {})
    found = [catalog.find(name).stanza.batch for name in ("o/y", "m", "n")]
    assert found == [0.5, None, 0.4]


def test_a_run_from_a_file_asks_nothing_that_a_batch_holds(ask, service, tmp_path, evalkit):
    models = f"bank: mine\nmodels: [{MODEL}, chatgpt]\njudges: [gpt-4]\n"
    (tmp_path / "evaluation.yaml").write_text(models)
    with service(steps=["in_progress"]) as server:
        ask()
        ran = evalkit("run", "evaluation.yaml")
        assert ran.code == 2 and "evalkit answer --batch collects what is done" in ran.err
        assert len(asked_alone(server)) == 1


def test_what_does_not_go_together(ask, evalkit, service, tmp_path):
    ran = evalkit("judge", "--judge", MODEL, "--batch", "--until", "decided")
    assert ran.code == 2 and "--until looks after every reply" in ran.lines[0]
    with service() as server:
        told = json.loads(ask("--json").out)
        assert [each["id"] for each in told["batches"]] == ["batch_1"] and told["calls"] == 1
        assert told["next"] == "the same command collects what is done"
        replay = ask("--replay", str(ledger(tmp_path)), batch=False)
        assert replay.code == 2 and "under way in batch_1" in replay.err
        assert len(asked_alone(server)) == 1


def test_a_reply_that_never_came_to_the_call_that_makes_a_batch(ask, service, tmp_path):
    with service(hangs={"created"}) as server:
        ran = ask("--timeout", 0.5)
        assert ran.code == 1 and "did not reply in time" in ran.err
        assert "3 calls in" in ran.err and "whether the service took it is not known yet" in ran.err
        (batch,) = noted(tmp_path)
        server.behaviour.hangs = set()
        assert [ask().code, ask().code] == [1, 0] and noted(tmp_path)[0]["token"] == batch["token"]
        each_paid_once(server, 4)


def test_a_batch_that_the_service_does_not_know(ask, service, tmp_path, evalkit):
    with service() as server:
        ask()
        server.batches.clear()
        ran = ask()
        assert ran.code == 1 and "has no such batch at" in ran.err
        assert "evalkit batches cancel batch_1 --forget takes its calls as owed" in ran.err
        assert len(asked_alone(server)) == 1


@pytest.mark.parametrize("refused", ["upload", "create"])
def test_a_hand_over_that_is_refused_leaves_nothing_behind(
    ask, service, tmp_path, monkeypatch, refused
):
    with service() as server:
        server.behaviour.no = refused
        ran = ask()
        assert ran.code == 1 and "quota used up at" in ran.err
        server.behaviour.no = None
        assert [ask().code, ask().code] == [1, 0]
        each_paid_once(server, 4)


def test_a_batch_at_another_address_is_left_alone(ask, service, tmp_path):
    with service():
        ask()
    with service() as other:
        ran = ask()
        assert ran.code == 1 and "it is left alone" in ran.err
        assert not other.files and not other.calls
    assert states(tmp_path) == ["running"]


# -- the file


def log_of(*states):
    made = {
        "model": "m",
        "model_id": "m",
        "url": "u",
        "began": "2026-01-01",
        "size": 1,
        "share": 1.0,
    }
    spoken = Spoken(max_tokens_name="max_tokens")
    each = [
        Batch(token=f"t{n}", state=state, calls=(f"c{n}",), spoken=spoken, **made)
        for n, state in enumerate(states)
    ]
    return Log(batches=tuple(each))


def test_a_log_comes_back_and_knows_what_is_open():
    log = log_of("submitting", "running", "collected", "expired", "failed", "cancelled")
    assert batches.read(log.text(), "file") == log
    assert [batch.token for batch in log.open()] == ["t0", "t1"]
    assert {name: batch.token for name, batch in log.holds().items()} == {"c0": "t0", "c1": "t1"}
    changed = log.told(log.batches[1].now(state="collected"))
    assert [batch.token for batch in changed.batches] == [batch.token for batch in log.batches]
    assert [batch.token for batch in changed.without(changed.batches[0]).open()] == []


@pytest.mark.parametrize("text", ["", "[]", '{"batches": [{}]}', '{"batch": []}', "{"])
def test_a_log_that_is_none_is_told_with_its_file(ask, tmp_path, service, text):
    with pytest.raises(BadFile, match="file: no list of batches"):
        batches.read(text, "file")
    log = ledger(tmp_path).with_name(f"{MODEL}.batches.json")
    log.parent.mkdir(parents=True)
    log.write_text(text)
    with service() as server:
        for batch in (True, False):
            ran = ask(batch=batch)
            assert ran.code == 2 and f"answers/mine/{log.name}: no list of" in ran.lines[-1]
    assert not server.calls and log.read_text() == text


# -- what a service may say


@pytest.fixture
def wire():
    stanza = Stanza(provider="openai_api", url="http://127.0.0.1:9/v1", model="m", key_env="A_KEY")
    model = Catalog({}, {"m": stanza}, {}).find("m")
    return Batches(Provider(model, Keys({"A_KEY": KEY}, ["A_KEY"])))


NOTHING = ["", "[]", "null", "7", "{", "[" * 9_999, '{"id": 7}', '{"id": "b"}', '{"status": "x"}']
SAYING = Request((Message("user", "Hi"),), Sampling(max_tokens=5), about=("q",))


@pytest.mark.parametrize("text", NOTHING)
def test_what_is_no_batch_and_no_line(wire, text):
    assert isinstance(wire._status(text), Failure)
    assert wire.called(text) is None and not wire.replied(text)
    failure = wire.came(text, log_of("running").batches[0], SAYING)
    assert isinstance(failure, Failure) and "127.0.0.1:9" in failure.said


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": f"no {KEY}"}}, Kind.REJECTED),
        (400, {"error": {"code": "context_length_exceeded"}}, Kind.TOO_LONG),
        (429, {"error": {"message": "later"}}, Kind.BUSY),
        (500, None, Kind.DOWN),
        ("400", [], Kind.DOWN),
        (200, {"choices": []}, Kind.BAD_REPLY),
        (200, KEY, Kind.BAD_REPLY),
        (200, None, Kind.BAD_REPLY),
    ],
)
def test_a_line_without_a_reply_has_its_reason(wire, status, body, kind):
    line = json.dumps({"custom_id": "c", "response": {"status_code": status, "body": body}})
    failure = wire.came(line, log_of("running").batches[0], SAYING)
    assert failure.kind == kind and KEY[8:-4] not in failure.said


@pytest.mark.parametrize(("code", "kind"), [("batch_expired", Kind.EXPIRED), ("x", Kind.DOWN)])
def test_a_line_that_was_not_asked_says_so(wire, code, kind):
    line = json.dumps({"custom_id": "c", "response": None, "error": {"code": code}})
    assert wire.came(line, log_of("running").batches[0], SAYING).kind == kind


def test_odd_parts_of_a_batch_are_not_there(wire):
    odd = {"id": "b", "status": "failed", "metadata": 1, "request_counts": []}
    odd |= {"errors": {"data": 7}}
    odd |= {"output_file_id": 5, "error_file_id": "", "created_at": "now", "input_file_id": {}}
    assert wire._status(json.dumps(odd)) == Status("b", "failed")
    odd["errors"] = {"data": [{"message": f"  why\n{KEY} "}]}
    assert wire._status(json.dumps(odd)).said == f"why …{KEY[-4:]}"
