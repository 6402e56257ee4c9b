"""evalkit answer against a service that misbehaves: what is kept, what is owed, what is said.

A test named test_NN_... is row NN of the table of bad inputs.
"""

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from chat_server import Behaviour, serving
from conftest import answer, question, spawn, tree, write_lines

KEY = "sk-test-0123456789abcdefx9Qd"


def bank(folder, number=3, **more):
    """A bank 'mine' of so many questions."""
    rows = [question(f"q{n}", **more) for n in range(number)]
    write_lines(folder / "questions" / "mine.jsonl", rows)


def rows_of(folder, model="m"):
    path = folder / "answers" / "mine" / f"{model}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def ask(evalkit, tmp_path):
    """Run `evalkit answer` on a bank of three questions; the model is m at a server."""
    bank(tmp_path)

    def command(server, *args, model="m"):
        return evalkit("answer", "--model", f"{server.url}#{model}", "--bank", "mine", *args)

    return command


@pytest.fixture
def keyed(monkeypatch, tmp_path):
    """OpenAI's key and address in the environment; what is written and said must not hold it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def check(server, ran, folder=tmp_path):
        said = ran.out + ran.err
        assert KEY not in said
        for name, data in tree(folder).items():
            assert KEY.encode() not in (data or b""), name
        assert {call.headers.get("authorization") for call in server.calls} <= {f"Bearer {KEY}"}

    return check


def at_openai(evalkit, monkeypatch, server, *args):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    return evalkit("answer", "--model", "openai/gpt-4o", "--bank", "mine", *args)


# -- the plain way


def test_a_run_asks_each_question_once_and_another_asks_nothing(ask, tmp_path):
    with serving() as server:
        ran = ask(server)
        assert ran.code == 0, ran.err
        assert ran.out == "m   3/3   0 cut at max_tokens · 0 empty\n"
        assert f"  m   3 owed   {server.url} (no key sent)   free" in ran.err.splitlines()
        assert ran.lines[-1] == "Next: evalkit answer --model chatgpt --bank mine"
        again = ask(server)
        assert again.code == 0
        assert again.out == "m   3/3 (3 kept, 0 new)   0 cut at max_tokens · 0 empty\n"
        assert len(server.calls) == 3
    rows = rows_of(tmp_path)
    assert sorted(row["question"] for row in rows) == ["q0", "q1", "q2"]
    for row in rows:
        assert row["turns"] == [f"reply to: What is {row['question']}? (messages: 1)"]
        assert row["served"] and row["finish_reason"] == "stop" and row["usage"]["output"] > 0
        assert row["latency"] > 0 and row["time"].endswith("+00:00") and row["dollars"] == 0
        assert row["sampling"] == {"temperature": 0.0, "max_tokens": 1024}


def test_own_earlier_answers_are_sent_back(evalkit, tmp_path):
    bank(tmp_path, 1, turns=["First?", "Second?", "Third?"])
    with serving() as server:
        ran = evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine")
    assert "  m   1 owed (3 calls) " in ran.err
    said = [[m["content"] for m in call.body["messages"]] for call in server.calls]
    first, second, third = (
        f"reply to: {t}? (messages: {n})" for t, n in (("First", 1), ("Second", 3), ("Third", 5))
    )
    assert said == [
        ["First?"],
        ["First?", first, "Second?"],
        ["First?", first, "Second?", second, "Third?"],
    ]
    assert [row["turns"] for row in rows_of(tmp_path)] == [
        [first], [first, second], [first, second, third]
    ]  # fmt: skip


def test_a_conversation_goes_on_where_it_stopped(evalkit, tmp_path):
    bank(tmp_path, 1, turns=["First?", "Second?"])
    with serving(Behaviour(by_text={"Second": "400"})) as server:
        ran = evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine")
        assert ran.code == 1
        assert ran.out == "m   0/1   0 cut at max_tokens · 0 empty   not answered: 1 rejected\n"
        server.behaviour.by_text = {}
        assert evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine").code == 0
    assert [call.body["messages"][-1]["content"] for call in server.calls] == [
        "First?", "Second?", "Second?"
    ]  # fmt: skip
    assert len(rows_of(tmp_path)) == 2


def test_an_answer_that_stopped_half_way_is_owed_in_the_report(evalkit, tmp_path):
    bank(tmp_path, 1, turns=["First?", "Second?"])
    with serving(Behaviour(by_text={"Second": "400"})) as server:
        evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine")
    assert "m: 1 of 1 answers are owed." in evalkit("report", "--bank", "mine").lines


def test_samples_temperature_tokens_and_seed_are_sent(ask, tmp_path):
    with serving() as server:
        args = ("--samples", 2, "--temperature", 0.5, "--max-tokens", 7, "--seed", 40)
        assert ask(server, *args).code == 0
    sent = [(c.body["temperature"], c.body["max_tokens"], c.body["seed"]) for c in server.calls]
    assert sorted(sent) == [(0.5, 7, 40)] * 3 + [(0.5, 7, 41)] * 3
    assert sorted((row["question"], row.get("sample", 0)) for row in rows_of(tmp_path)) == [
        (f"q{n}", sample) for n in range(3) for sample in range(2)
    ]


@pytest.mark.parametrize(
    ("category", "temperature"), [("writing", 0.7), ("roleplay", 0.7), ("math", 0)]
)
def test_each_category_has_its_temperature(evalkit, tmp_path, category, temperature):
    bank(tmp_path, 1, category=category)
    with serving() as server:
        assert evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine").code == 0
    assert [call.body["temperature"] for call in server.calls] == [temperature]


def test_samples_without_temperature_are_warned_of(ask):
    with serving() as server:
        told = [line for line in ask(server, "--samples", 2).lines if "temperature 0" in line]
    assert len(told) == 1


def test_a_limit_takes_of_every_category(evalkit, tmp_path):
    rows = [question(f"{c}{n}", category=c) for c in ("math", "coding", "fermi") for n in range(5)]
    write_lines(tmp_path / "questions" / "mine.jsonl", rows)
    with serving() as server:
        evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine", "--limit", 4)
    asked = [row["question"] for row in rows_of(tmp_path)]
    assert sorted(asked) == ["coding0", "fermi0", "math0", "math1"]


def test_several_models_share_a_run_and_the_same_one_twice_is_one(evalkit, tmp_path):
    bank(tmp_path)
    with serving() as server:
        one, two = f"{server.url}#one", f"{server.url}#two"
        ran = evalkit("answer", "--model", f"{one},{two}", "--model", one, "--bank", "mine")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["one", "two"]
    assert len(server.calls) == 6
    assert len(rows_of(tmp_path, "one")) == len(rows_of(tmp_path, "two")) == 3


def test_two_servers_with_one_name_are_refused(evalkit, tmp_path):
    bank(tmp_path)
    names = "http://127.0.0.1:1/v1#m,http://127.0.0.1:2/v1#m"
    ran = evalkit("answer", "--model", names, "--bank", "mine")
    assert ran.code == 2 and "would both be called 'm'" in ran.err


def test_a_dry_run_needs_no_key_and_leaves_nothing(evalkit, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    bank(tmp_path)
    before = tree(tmp_path)
    ran = evalkit("answer", "--model", "openai/gpt-4o", "--bank", "mine", "--dry-run")
    assert ran.code == 0 and ran.err.splitlines()[-1] == "nothing was sent."
    assert "key OPENAI_API_KEY, not set" in ran.err
    assert "about $0.01, at most $0.03 (prices of 2025-07-04)" in ran.err
    assert tree(tmp_path) == before


def test_a_prompt_can_be_seen_without_asking(ask, tmp_path):
    with serving() as server:
        ran = ask(server, "--show-prompt")
        assert (ran.code, ran.out) == (0, "[user]\nWhat is q0?\n")
        told = json.loads(ask(server, "--show-prompt", "--json").out)["prompts"]
    message = {"role": "user", "content": "What is q0?"}
    assert told == [{"model": "m", "messages": [message], "temperature": 0.0, "max_tokens": 1024}]
    assert server.calls == [] and not (tmp_path / "answers").exists()


def test_programs_get_one_object(ask):
    with serving(Behaviour(by_text={"q1": "length", "q2": "empty"})) as server:
        told = json.loads(ask(server, "--json").out)
    model = told.pop("models")[0]
    assert told == {
        "schema": 1, "verb": "answer", "status": "done", "files": ["answers/mine/m.jsonl"],
        "next": "evalkit answer --model chatgpt --bank mine", "bank": "mine",
        "done": 3, "owed": 0, "calls": 3, "usd": 0.0,
    }  # fmt: skip
    assert (model["model"], model["cut"], model["empty"], model["failed"]) == ("m", 1, 1, {})


def test_a_recording_answers_without_a_key_or_a_server(ask, evalkit, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving() as server:
        ask(server, model="gpt-4o")
    said = {row["question"]: row["turns"] for row in rows_of(tmp_path, "gpt-4o")}
    recording = tmp_path / "recording.jsonl"
    (tmp_path / "answers" / "mine" / "gpt-4o.jsonl").rename(recording)
    with recording.open() as stream:
        recording.write_text("".join(stream.readlines()[:2]))
    args = ("--bank", "mine", "--replay", recording)
    ran = evalkit("answer", "--model", "openai/gpt-4o", *args)
    assert ran.code == 1
    assert "not answered: 1 not_recorded" in ran.out
    again = {row["question"]: row["turns"] for row in rows_of(tmp_path, "openai__gpt-4o")}
    assert len(again) == 2 and again.items() <= said.items()


def test_the_old_name_of_an_address_is_read_with_a_warning(evalkit, tmp_path, monkeypatch, keyed):
    bank(tmp_path)
    with serving() as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        ran = evalkit("answer", "--model", "gpt-4o", "--bank", "mine")
    assert ran.code == 0 and len(server.calls) == 3
    assert "OPENAI_API_BASE is read as OPENAI_BASE_URL; set that one instead" in ran.lines
    keyed(server, ran)


def test_a_server_of_ones_own_from_evalkit_yaml(evalkit, tmp_path, monkeypatch):
    bank(tmp_path)
    monkeypatch.setenv("MY_OWN_VARIABLE", "another-key-4711-wxyz")
    with serving(Behaviour(key="another-key-4711-wxyz")) as server:
        (tmp_path / "evalkit.yaml").write_text(
            f"catalog:\n  mine:\n    provider: openai_api\n    url: {server.url}\n"
            "    model: org/name\n    key_env: MY_OWN_VARIABLE\n"
            "    price: {input: 1000, output: 2000, date: 2026-11-01}\n"
        )
        ran = evalkit("answer", "--model", "mine", "--bank", "mine")
    assert ran.code == 0, ran.err
    assert {call.body["model"] for call in server.calls} == {"org/name"}
    assert "(key MY_OWN_VARIABLE …wxyz)" in ran.err and "another-key" not in ran.err
    for row in rows_of(tmp_path, "mine"):
        usage = row["usage"]
        assert row["dollars"] == pytest.approx((usage["input"] + 2 * usage["output"]) / 1000)


# -- names


@pytest.mark.parametrize("name", ["../x", "a/../../b", ".x", "-x", "x" * 130, "CON"])
def test_17_a_name_that_no_file_may_have(evalkit, tmp_path, name):
    bank(tmp_path)
    before = tree(tmp_path)
    ran = evalkit("answer", "--model", f"http://127.0.0.1:9/v1#{name}", "--bank", "mine")
    assert ran.code == 2 and "cannot be a name" in ran.err
    assert tree(tmp_path) == before


def test_17_an_organisation_becomes_part_of_the_file_name(ask, tmp_path):
    with serving() as server:
        assert ask(server, model="org/name").code == 0
    assert {row["model"] for row in rows_of(tmp_path, "org__name")} == {"org/name"}


@pytest.mark.parametrize("other", ["M", "o__m"])
def test_18_two_names_for_one_file(evalkit, tmp_path, other):
    bank(tmp_path)
    first = "m" if other == "M" else "o/m"
    names = f"http://127.0.0.1:9/v1#{first},http://127.0.0.1:9/v1#{other}"
    ran = evalkit("answer", "--model", names, "--bank", "mine")
    assert ran.code == 2
    assert f"'{other}'" in ran.err and f"'{first}'" in ran.err and "one file" in ran.err
    assert not (tmp_path / "answers").exists()


def test_19_a_name_is_data(ask, tmp_path):
    with serving() as server:
        ran = ask(server, model="=cmd<b>\x1b[31m")
    assert ran.code == 0 and "\x1b" not in ran.out + ran.err and "␛" in ran.out


# -- keys and the network


def test_20_no_key(evalkit, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    bank(tmp_path)
    with serving() as server:
        ran = at_openai(evalkit, monkeypatch, server)
    assert ran.code == 2 and server.calls == []
    assert ran.lines[-1] == (
        "no key for openai: set OPENAI_API_KEY (export OPENAI_API_KEY=...) or give --key-env NAME."
    )


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (f"{KEY}\n", "OPENAI_API_KEY has a line break at its end"),
        (f'"{KEY}"', "OPENAI_API_KEY has a quote"),
        (f"{KEY} x", "OPENAI_API_KEY has a blank in it"),
    ],
)
def test_21_a_key_that_cannot_be_one(evalkit, tmp_path, monkeypatch, key, told):
    bank(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with serving() as server:
        ran = at_openai(evalkit, monkeypatch, server)
    assert ran.code == 2 and server.calls == []
    assert told in ran.err and KEY not in ran.err


@pytest.mark.parametrize("fault", ["401", "403"])
def test_22_a_refused_key_stops_at_the_first_call(evalkit, tmp_path, monkeypatch, keyed, fault):
    bank(tmp_path, 30)
    with serving(Behaviour(script=[fault] * 99)) as server:
        ran = at_openai(evalkit, monkeypatch, server)
    assert ran.code == 2 and len(server.calls) == 1
    host = f"127.0.0.1:{server.port}"
    line = next(line for line in ran.lines if line.startswith(f"{host} refused the key …x9Qd"))
    assert f"({fault})" in line and line.endswith("Stopped after 1 call; 30 owed.")
    assert rows_of(tmp_path, "gpt-4o") == []
    keyed(server, ran)


def test_22_an_echoed_key_is_written_nowhere(evalkit, tmp_path, monkeypatch, keyed):
    bank(tmp_path)
    with serving(Behaviour(script=["echo-key"] * 3)) as server:
        ran = at_openai(evalkit, monkeypatch, server, "-v")
    assert ran.code == 0
    assert all("…x9Qd" in row["turns"][0] for row in rows_of(tmp_path, "gpt-4o"))
    keyed(server, ran)


def test_a_key_does_not_leave_its_service(evalkit, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    bank(tmp_path)
    with serving() as server:
        (tmp_path / "evalkit.yaml").write_text(
            f"catalog:\n  own:\n    provider: openai_api\n    url: {server.url}\n"
            f"    model: m\n    key_env: OPENAI_API_KEY\n  openai:\n    url: {server.url}\n"
        )
        for args in (
            ("--model", "own"),
            ("--model", "m", "--base-url", server.url, "--key-env", "OPENAI_API_KEY"),
        ):
            ran = evalkit("answer", *args, "--bank", "mine")
            assert ran.code == 2 and "OPENAI_API_KEY goes only to" in ran.err
        # A file of the workspace that moves a known service takes no key along.
        assert evalkit("answer", "--model", "openai/gpt-4o", "--bank", "mine").code == 0
    assert [call for call in server.calls if "authorization" in call.headers] == []


def test_23_no_such_model_stops_at_the_first_call(ask):
    with serving(Behaviour(models=["other"])) as server:
        ran = ask(server)
        assert ran.code == 2 and len(server.calls) == 1
        host = f"127.0.0.1:{server.port}"
        assert f"no model 'm' at {host} (404). evalkit models m --check" in ran.lines[-2]


def test_23_a_model_that_is_there_is_asked_beside_one_that_is_not(evalkit, tmp_path):
    bank(tmp_path, 20)
    with serving(Behaviour(models=["there"], latency=(0.01, 0.01))) as server:
        names = f"{server.url}#gone,{server.url}#there"
        ran = evalkit("answer", "--model", names, "--bank", "mine")
    assert ran.code == 2
    assert len(rows_of(tmp_path, "there")) == 20


def test_24_a_question_that_is_too_long_is_owed_and_the_others_go_on(evalkit, tmp_path):
    rows = [question("q0"), question("q1", turns=["word " * 500]), question("q2")]
    write_lines(tmp_path / "questions" / "mine.jsonl", rows)
    with serving(Behaviour(context=100)) as server:
        ran = evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine")
    assert ran.code == 1 and len(server.calls) == 3
    assert "2/3" in ran.out and "not answered: 1 too_long" in ran.out
    assert sorted(row["question"] for row in rows_of(tmp_path)) == ["q0", "q2"]


def test_25_a_refused_parameter_is_left_out_once_for_all(ask, tmp_path):
    refuses = {"temperature": "unsupported_value", "max_tokens": "unsupported_parameter"}
    with serving(Behaviour(refuses=refuses)) as server:
        assert ask(server, "--temperature", 0.5).code == 0
    assert len(server.calls) == 5
    for row in rows_of(tmp_path):
        assert row["sampling"] == {"max_completion_tokens": 1024}


def test_26_a_busy_service_is_waited_for(ask, tmp_path):
    with serving(Behaviour(script=["429", "429-no-hint"], wait=0.05)) as server:
        ran = ask(server)
    assert ran.code == 0 and len(server.calls) == 5
    told = [line for line in ran.lines if "is busy (429); trying again in" in line]
    assert len(told) == 1
    assert len(rows_of(tmp_path)) == 3


def test_26_a_service_that_stays_busy_is_left_at_the_deadline(ask, tmp_path):
    with serving(Behaviour(script=["429"] * 999, wait=0.1)) as server:
        ran = ask(server, "--deadline", 0.5)
    assert ran.code == 1 and len(server.calls) < 20
    assert "took no call for too long. Kept 0, owed 3" in ran.err
    assert rows_of(tmp_path) == []


def test_26_a_wait_beyond_the_deadline_ends_at_once(ask):
    with serving(Behaviour(script=["429"] * 9, wait=5000)) as server:
        assert ask(server).code == 1
    assert len(server.calls) == 1


def test_27_a_used_up_quota_stops_at_once(ask, tmp_path):
    with serving(Behaviour(script=["", "quota", "quota", "quota"])) as server:
        ran = ask(server, "--concurrency", 1)
    assert ran.code == 1 and len(server.calls) == 2
    told = next(line for line in ran.lines if line.startswith("quota used up"))
    assert "(429 insufficient_quota). Kept 1, owed 2. Add credit, run it again." in told


@pytest.mark.parametrize("fault", ["500", "503", "408", "409", "reset", "drop"])
def test_28_what_can_pass_is_tried_again(ask, tmp_path, fault):
    with serving(Behaviour(script=[fault])) as server:
        ran = ask(server)
    assert ran.code == 0 and len(server.calls) == 4
    assert len({row["question"] for row in rows_of(tmp_path)}) == len(rows_of(tmp_path)) == 3
    assert len([line for line in ran.lines if "trying again in" in line]) == 1


@pytest.fixture
def impatient(monkeypatch):
    """Tries follow each other at once."""
    monkeypatch.setattr("evalkit.runner.LONGEST_WAIT", 0.01)


def test_28_a_service_that_is_not_there_is_tried_and_told(evalkit, tmp_path, impatient):
    bank(tmp_path, 30)
    with serving() as server:
        pass
    ran = evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine")
    assert ran.code == 1
    host = f"127.0.0.1:{server.port}"
    assert f"no connection to {host}" in ran.err
    assert "Stopped after 6 calls; 30 owed. Run it again." in ran.err


def test_28_ten_in_a_row_without_a_reply_stop(evalkit, tmp_path, impatient):
    bank(tmp_path, 40)
    with serving(Behaviour(script=["", *["500"] * 999])) as server:
        ran = evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine", "--concurrency", 1)
    assert ran.code == 1 and len(server.calls) == 1 + 10 * 6
    assert len(rows_of(tmp_path)) == 1


def test_29_a_service_that_hangs_is_given_up_and_asked_again(ask, tmp_path):
    with serving(Behaviour(script=["hang"])) as server:
        ran = ask(server, "--timeout", 0.3)
    assert ran.code == 0 and len(server.calls) == 4
    assert "did not reply in time; trying again" in ran.err
    assert len(rows_of(tmp_path)) == 3


@pytest.mark.parametrize("fault", ["html", "no-choices", "wrong-shape", "malformed", "no-message"])
def test_30_a_reply_that_is_none_is_owed(ask, tmp_path, impatient, fault):
    with serving(Behaviour(by_text={"q1": fault})) as server:
        ran = ask(server, "-v")
    assert ran.code == 1 and len(server.calls) == 2 + 3
    assert "not answered: 1 bad_reply" in ran.out
    assert sorted(row["question"] for row in rows_of(tmp_path)) == ["q0", "q2"]
    assert max(map(len, ran.lines)) < 300


def test_31_a_redirect_is_not_followed(evalkit, tmp_path, monkeypatch, keyed):
    bank(tmp_path)
    with serving(Behaviour(script=["redirect"] * 9)) as server:
        ran = at_openai(evalkit, monkeypatch, server)
    assert ran.code == 2 and "points elsewhere" in ran.err
    assert server.stats()["elsewhere"] == 0 and len(server.calls) == 1
    keyed(server, ran)


def test_32_an_unknown_price_is_said_to_be_unknown(evalkit, tmp_path, monkeypatch, keyed):
    bank(tmp_path)
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        args = ("answer", "--model", "openai/new-model", "--bank", "mine")
        ran = evalkit(*args, "--budget", 1)
        assert ran.code == 2 and server.calls == []
        assert "the price of new-model is unknown, so no budget can hold" in ran.err
        assert "price unknown" in ran.err and "$0" not in ran.err
        ran = evalkit(*args, "--budget", 1, "--yes")
        assert ran.code == 0 and "cost unknown" in ran.out and "$0" not in ran.out
    assert all("dollars" not in row for row in rows_of(tmp_path, "new-model"))


@pytest.mark.parametrize("budget", [0.002, 0.01, 0.05])
def test_a_budget_is_not_passed_by_one_call(evalkit, tmp_path, monkeypatch, keyed, budget):
    bank(tmp_path, 60)
    price = {"input": 10.0, "output": 20.0}
    with serving(Behaviour(text="word " * 30, latency=(0.0, 0.02))) as server:
        (tmp_path / "evalkit.yaml").write_text(
            f"catalog:\n  m:\n    provider: openai_api\n    url: {server.url}\n    model: m\n"
            f"    price: {{input: {price['input']}, output: {price['output']}, date: 2026-11-01}}\n"
        )
        args = ("answer", "--model", "m", "--bank", "mine", "--max-tokens", 64, "--budget", budget)
        ran = evalkit(*args)
        rows = rows_of(tmp_path)
        used = [(row["usage"]["input"], row["usage"]["output"]) for row in rows]
        spent = sum(i * price["input"] + o * price["output"] for i, o in used) / 1e6
        assert spent <= budget
        assert sum(row["dollars"] for row in rows) == pytest.approx(spent)
        assert server.stats()["billed"] == len(rows)
        assert ran.code == (1 if len(rows) < 60 else 0)
        if len(rows) < 60:
            assert f"{60 - len(rows)} owed." in ran.err and "could pass the budget" in ran.err
            assert spent + 2 * (64 * 20 + 60 * 10) / 1e6 > budget  # it was not left unused
            assert evalkit(*args[:-2]).code == 0
    assert len({row["question"] for row in rows_of(tmp_path)}) == 60


# -- answers


@pytest.mark.parametrize("fault", ["empty", "null-content"])
def test_33_an_empty_answer_is_an_answer(ask, tmp_path, fault):
    with serving(Behaviour(by_text={"q1": fault})) as server:
        ran = ask(server)
        assert ran.code == 0 and "1 empty" in ran.out
        assert ask(server).code == 0 and len(server.calls) == 3
    row = next(row for row in rows_of(tmp_path) if row["question"] == "q1")
    assert row["turns"] == [""] and row["finish_reason"]


@pytest.mark.parametrize("fault", ["length", "content_filter"])
def test_34_a_cut_answer_is_kept_with_its_reason(ask, tmp_path, fault):
    with serving(Behaviour(script=[fault] * 3)) as server:
        ran = ask(server)
    assert ran.code == 0 and f"{3 if fault == 'length' else 0} cut at max_tokens" in ran.out
    assert {row["finish_reason"] for row in rows_of(tmp_path)} == {fault}


def test_35_a_long_answer_is_kept_whole(ask, tmp_path):
    with serving(Behaviour(script=["long"] * 3)) as server:
        assert ask(server).code == 0
    assert {len(row["turns"][0]) for row in rows_of(tmp_path)} == {200_000}


def test_36_half_characters_and_nul_end_no_run(ask, tmp_path):
    with serving(Behaviour(by_text={"q0": "surrogate", "q1": "nul"})) as server:
        assert ask(server).code == 0
    rows = {row["question"]: row for row in rows_of(tmp_path)}
    assert rows["q0"]["turns"] == ["a lone surrogate: \ufffd"] and rows["q0"]["repaired"] == 1
    assert rows["q1"]["turns"] == ["before\x00after"] and "repaired" not in rows["q1"]


def test_37_nothing_that_a_service_says_controls_the_terminal(ask, tmp_path):
    with serving(Behaviour(script=["ansi"] * 3)) as server:
        ran = ask(server, "-v")
    assert ran.code == 0 and "\x1b" not in ran.out + ran.err
    assert all("\x1b[2J" in row["turns"][0] for row in rows_of(tmp_path))


def test_38_a_question_is_no_template(evalkit, tmp_path):
    text = "[bold] %s {x} {{ 7*7 }} {answer_2} $x \\n"
    bank(tmp_path, 1, turns=[text])
    with serving() as server:
        assert evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine").code == 0
    assert [call.body["messages"][0]["content"] for call in server.calls] == [text]


def test_41_reasoning_is_kept_apart(ask, tmp_path):
    with serving(Behaviour(by_text={"q0": "think", "q1": "reasoning"})) as server:
        assert ask(server).code == 0
    rows = {row["question"]: row for row in rows_of(tmp_path)}
    for id_ in ("q0", "q1"):
        assert rows[id_]["reasoning"].startswith("Let me think.")
        assert "think" not in rows[id_]["turns"][0].lower()


# -- running


def started(folder, server, *args, **more):
    """`evalkit answer` as a process of its own."""
    command = [sys.executable, "-m", "evalkit", "answer", "--model", f"{server.url}#m"]
    command += ["--bank", "mine", *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, **more)


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@contextmanager
def under_way(folder, behaviour, *args, calls=1, **more):
    """A run that has made so many calls."""
    with serving(behaviour) as server:
        process = started(folder, server, *args, **more)
        try:
            until(lambda: server.stats()["calls"] >= calls)
            yield server, process
        finally:
            process.kill()
            process.communicate()


def test_48_a_second_run_says_who_is_writing_and_stops(evalkit, tmp_path):
    bank(tmp_path, 3)
    with under_way(tmp_path, Behaviour(script=["hang"] * 9)) as (server, process):
        ran = evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine")
        assert ran.code == 2
        who = f"another evalkit (pid {process.pid}, since "
        assert who in ran.err and "is writing answers/mine/m.jsonl" in ran.err
        process.kill()
        process.wait()
        server.behaviour.script = []
        assert evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine").code == 0


@pytest.mark.parametrize("seed", range(3))
def test_49_a_killed_run_pays_for_nothing_twice_but_what_was_under_way(evalkit, tmp_path, seed):
    bank(tmp_path, 150)
    ledger = tmp_path / "answers" / "mine" / "m.jsonl"
    with serving(Behaviour(latency=(0.02, 0.08))) as server:
        process = started(tmp_path, server)
        until(lambda: server.stats()["calls"] >= 20 + 40 * seed)
        process.send_signal(signal.SIGSTOP)
        until(lambda: server.stats()["in_flight"] == 0)
        *whole, _ = ledger.read_bytes().split(b"\n")
        kept = [json.loads(line) for line in whole]
        lost = server.stats()["billed"] - len(kept)
        process.kill()
        process.communicate()
        assert evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine").code == 0
        assert server.stats()["billed"] <= 150 + lost and lost <= 256
    rows = rows_of(tmp_path)
    assert len(rows) == len({row["question"] for row in rows}) == 150
    assert rows[: len(kept)] == kept


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_50_a_signal_waits_for_what_is_under_way(evalkit, tmp_path, name, code):
    bank(tmp_path, 40)
    behaviour = Behaviour(latency=(0.6, 0.6))
    with under_way(tmp_path, behaviour, "--concurrency", 4, calls=4) as (server, process):
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=20)
        assert process.returncode == code
        assert len(rows_of(tmp_path)) == server.stats()["calls"] == 4
        if name != "SIGHUP":
            assert "stopping: 4 calls in flight, waiting" in err
            assert "m   4/40" in out and "the same command goes on where it stopped" in err
        assert "Traceback" not in err
        assert evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine").code == 0
        assert server.stats()["calls"] == 40


def test_50_a_second_signal_drops_what_is_under_way(tmp_path):
    bank(tmp_path, 9)
    with under_way(tmp_path, Behaviour(script=["", *["hang"] * 9]), calls=3) as (_, process):
        process.send_signal(signal.SIGINT)
        until(lambda: process.stderr.readline().startswith("evalkit: stopping:"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 130 and "m   1/9" in out and "Traceback" not in err


def test_51_a_full_disk_leaves_whole_rows_and_prints_the_one_that_was_paid_for(tmp_path):
    bank(tmp_path, 30)
    limit = 5_000

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    with serving(Behaviour(text="word " * 50)) as server:
        process = started(tmp_path, server, "--concurrency", 2, preexec_fn=small)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    kept = rows_of(tmp_path)
    assert 5 < len(kept) < 30
    assert f"at answers/mine/m.jsonl. {len(kept)} new rows are whole" in err
    lost = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert lost and len(kept) + len(lost) == server.stats()["billed"]
    assert {row["question"] for row in lost}.isdisjoint(row["question"] for row in kept)
    assert f"m   {len(kept)}/30" in out


@pytest.mark.skipif(
    os.geteuid() == 0, reason="A READ-ONLY FOLDER IS NOT TESTED HERE: root may write anywhere"
)
def test_51_a_read_only_folder_is_told_before_any_call(ask, tmp_path):
    (tmp_path / "answers").mkdir(mode=0o500)
    with serving() as server:
        ran = ask(server)
    assert ran.code == 2 and server.calls == [] and "permission denied" in ran.err


def test_51_a_file_where_the_folder_belongs_is_told_before_any_call(ask, tmp_path):
    (tmp_path / "answers").write_text("")
    with serving() as server:
        ran = ask(server)
    assert ran.code == 2 and server.calls == [] and "answers/mine" in ran.err


def test_53_an_edited_question_is_asked_again_and_its_old_answer_counts_no_more(
    ask, evalkit, tmp_path
):
    with serving() as server:
        ask(server)
        write_lines(
            tmp_path / "questions" / "mine.jsonl",
            [question("q0", turns=["Edited?"]), question("q1"), question("q2")],
        )
        assert "m: 1 of 3 answers are owed." in evalkit("report", "--bank", "mine").lines
        ran = ask(server)
    assert ran.code == 0 and "(2 kept, 1 new)" in ran.out and len(server.calls) == 4
    assert [row["turns"][0] for row in rows_of(tmp_path) if row["question"] == "q0"] == [
        "reply to: What is q0? (messages: 1)", "reply to: Edited? (messages: 1)"
    ]  # fmt: skip


def test_53_other_settings_are_asked_anew_and_that_is_said_before(ask):
    with serving() as server:
        ask(server)
        ran = ask(server, "--temperature", 1)
    assert "3 answers of other settings will count no more" in ran.err
    assert len(server.calls) == 6


def test_an_imported_answer_counts_until_it_is_asked_for(ask, evalkit, tmp_path):
    write_lines(tmp_path / "answers" / "mine" / "m.jsonl", [answer("q0", "m"), answer("q1", "m")])
    assert "m: 1 of 3 answers are owed." in evalkit("report", "--bank", "mine").lines
    with serving() as server:
        assert "2 answers of other settings will count no more" in ask(server).err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--limit", "0"], "invalid value for '--limit'"),
        (["--limit", "-1"], "invalid value for '--limit'"),
        (["--limit", "abc"], "invalid value for '--limit'"),
        (["--limit", "1e9"], "invalid value for '--limit'"),
        (["--budget", "-1"], "invalid value for '--budget'"),
        (["--budget", "nan"], "nan is not a number to count with"),
        (["--temperature", "inf"], "inf is not a number to count with"),
        (["--samples", "0"], "invalid value for '--samples'"),
        (["--max-tokens", "0"], "invalid value for '--max-tokens'"),
        (["--concurrency", "0"], "invalid value for '--concurrency'"),
        (["--timeout", "0"], "invalid value for '--timeout'"),
        (["--key-env", "sk-0123456789abcdefghij"], "takes the name of a variable, not a key"),
    ],
)
def test_54_numbers_that_are_none(ask, tmp_path, args, told):
    with serving() as server:
        ran = ask(server, *args)
    assert ran.code == 2 and server.calls == []
    assert told in ran.err and "sk-0123" not in ran.err
    assert not (tmp_path / "answers").exists()


def test_54_numbers_that_mean_something(ask):
    with serving() as server:
        assert ask(server, "--limit", 1_000_000_000, "--budget", 0).code == 0


def test_54_the_environment_sets_what_no_flag_does(ask, monkeypatch):
    monkeypatch.setenv("EVALKIT_CONCURRENCY", "none")
    with serving() as server:
        assert "'--concurrency'" in ask(server).err
        assert ask(server, "--concurrency", 2).code == 0


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "cp1252"},
        {"COLUMNS": "20", "TERM": "dumb"},
        {"HOME": "/nowhere"},
        {"NO_COLOR": "1"},
    ],
)
def test_55_odd_terminals(tmp_path, env):
    bank(tmp_path)
    with serving() as server:
        ran = spawn(
            "answer",
            "--model",
            f"{server.url}#m",
            "--bank",
            "mine",
            cwd=tmp_path,
            env=env,
            errors="replace",
        )
    assert ran.code == 0 and "Traceback" not in ran.err and "3/3" in ran.out


def test_55_nobody_reads_the_output(tmp_path):
    bank(tmp_path)
    with serving() as server:
        process = started(tmp_path, server)
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        assert process.wait(20) == 0 and "Traceback" not in err
    assert len(rows_of(tmp_path)) == 3


def on_a_terminal(folder, *args, typed="", env=None):
    """Run on a terminal of its own; returns the exit code and what it showed."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "evalkit", *map(str, args)],
        cwd=folder, stdin=side, stdout=side, stderr=side, close_fds=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"} | (env or {}),
    )  # fmt: skip
    os.close(side)
    os.write(main, typed.encode())
    shown = []

    def read():
        try:
            while data := os.read(main, 65536):
                shown.append(data)
        except OSError:  # how the end of a terminal is told
            pass

    reading = threading.Thread(target=read)
    reading.start()
    code = process.wait(30)
    reading.join(30)
    os.close(main)
    return code, b"".join(shown).decode()


@pytest.mark.parametrize("env", [{}, {"TERM": "dumb"}, {"COLUMNS": "20"}, {"LC_ALL": "C"}])
def test_55_progress_on_a_terminal(tmp_path, env):
    bank(tmp_path, 12)
    with serving(Behaviour(latency=(0.1, 0.2))) as server:
        args = ("answer", "--model", f"{server.url}#m", "--bank", "mine")
        code, shown = on_a_terminal(tmp_path, *args, env=env)
    assert code == 0 and "Traceback" not in shown and "12/12" in shown
    assert ("\x1b[" in shown) == (env.get("TERM") != "dumb")


@pytest.mark.parametrize(("typed", "code", "calls"), [("n\n", 130, 0), ("y\n", 0, 3)])
def test_a_person_is_asked_before_a_dollar_is_spent(tmp_path, typed, code, calls):
    bank(tmp_path)
    with serving() as server:
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url}
        args = ("answer", "--model", "gpt-4", "--bank", "mine", "--max-tokens", 10_000)
        ended, shown = on_a_terminal(tmp_path, *args, typed=typed, env=env)
        assert "at most $1.80. Go on? [y/N]" in shown
        assert ended == code and len(server.calls) == calls
        # Nobody is asked where nobody watches, or where there is a budget.
        assert spawn(*args, cwd=tmp_path, env=env).code == 0
        _, shown = on_a_terminal(tmp_path, *args, "--budget", 5, env=env)
    assert "Go on?" not in shown


@pytest.mark.parametrize("args", [["answer", "--help"], ["models"], ["models", "gpt-4"]])
def test_56_help_and_models_load_little_and_write_nothing(tmp_path, args):
    heavy = {"aiohttp", "openai", "pandas", "numpy", "torch", "transformers", "rich", "asyncio"}
    code = (
        "import sys; from evalkit.cli import run; code = run(sys.argv[1:]);"
        f"print(sorted(set(sys.modules) & {heavy!r}), code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr.splitlines()[-1] == "[] 0" and done.stdout
    assert list(tmp_path.iterdir()) == []
