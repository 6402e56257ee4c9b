"""evalkit answer as its users meet it, whole: files, words, exit codes, keys, money, signals.

The number in a test's name is its row in the table of bad inputs. After every test each file and
every word that was said is searched for the key.
"""

import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from chat_server import LONG, Behaviour, serving
from conftest import answer, question, review, tree, write_lines

from evalkit.records import Answer, short_hash
from evalkit.workspace import LONGEST_NAME

KEY = "sk-test-Kq3v8Zt1Lm5Rw9Yb2x9Qd"
NOWHERE = "http://127.0.0.1:9/v1"
BANK = "questions/mine.jsonl"


def no_key_in(text):
    """Not the key, and no part of it beyond the last four characters that its owner is shown."""
    text = text if isinstance(text, str) else text.decode("utf-8", "replace")
    assert KEY[8:-4] not in text, text[-2000:]


@pytest.fixture(autouse=True)
def said(tmp_path, monkeypatch):
    """All that runs said. None of it, and no file, holds the key."""
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
            monkeypatch.delenv(name)
    words = []
    yield words
    for text in words:
        no_key_in(text)
    for data in tree(tmp_path).values():
        no_key_in(data or b"")


@pytest.fixture
def keyed(monkeypatch):
    """The key of OpenAI, which a server at OPENAI_BASE_URL demands."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    @contextmanager
    def command(**behaviour):
        with serving(Behaviour(key=KEY, **behaviour)) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            yield server

    return command


@pytest.fixture
def impatient(monkeypatch):
    """A call that failed is made again at once."""
    monkeypatch.setattr("evalkit.runner.LONGEST_WAIT", 0.01)


@pytest.fixture
def ask(evalkit, tmp_path, said):
    """Run evalkit answer on the bank 'mine', of three questions unless a test writes another."""
    bank(tmp_path)

    def command(*args):
        ran = evalkit("answer", "--bank", "mine", *args)
        said.extend([ran.out, ran.err])
        assert "Traceback" not in ran.err
        return ran

    return command


@pytest.fixture
def refused(ask, tmp_path):
    """Run what must be refused: nothing is written. What was said."""

    def command(*args):
        before = tree(tmp_path)
        ran = ask(*args)
        assert (ran.code, ran.out) == (2, ""), ran
        assert tree(tmp_path) == before
        return ran.err

    return command


def bank(folder, number=3, **more):
    return write_lines(folder / BANK, [question(f"q{n}", **more) for n in range(number)])


def at(server, model="m"):
    return "--model", f"{server.url}#{model}"


def ledger(folder, model="m"):
    return folder / "answers" / "mine" / f"{model}.jsonl"


def rows_of(folder, model="m"):
    path = ledger(folder, model)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def said_to(folder, model="m"):
    """What was answered to each question."""
    return {row["question"]: row["turns"] for row in rows_of(folder, model)}


def catalogue(folder, name, url, *lines):
    """An evalkit.yaml with one model."""
    stanza = ["provider: openai_api", f"url: {url}", "model: org/own", *lines]
    text = "".join(f"    {line}\n" for line in stanza)
    (folder / "evalkit.yaml").write_text(f"catalog:\n  {name}:\n{text}")


PRICE = "price: {input: 10, output: 20, date: 2026-11-01}"


def spent(rows, input_=10, output=20):
    return sum(r["usage"]["input"] * input_ + r["usage"]["output"] * output for r in rows) / 1e6


def texts(call):
    return [message["content"] for message in call.body["messages"]]


def line_with(part, text):
    return next(line for line in text.splitlines() if part in line)


# -- a run


def test_a_run_writes_a_row_for_each_question_and_says_what_it_does(ask, tmp_path):
    with serving() as server:
        ran = ask(*at(server))
    assert ran.code == 0
    first, second = ran.err.splitlines()[:2]
    assert first == "bank mine · 3 questions · 1 category"
    assert second.split("   ") == ["  m", "3 owed", f"{server.url} (no key sent)", "free"]
    assert ran.lines[-1] == "Next: evalkit answer --model chatgpt --bank mine"
    assert ran.out == "m   3/3   0 cut at max_tokens · 0 empty\n"
    rows = rows_of(tmp_path)
    assert {row["question"] for row in rows} == {"q0", "q1", "q2"}
    for row in rows:
        kept = Answer.model_validate(row)
        assert kept.turns == (f"reply to: What is {kept.question}? (messages: 1)",)
        assert kept.question_hash == short_hash([f"What is {kept.question}?"])
        assert (kept.model, kept.served, kept.finish_reason) == ("m", "m-0613", "stop")
        assert kept.usage and kept.dollars == 0


def test_the_same_command_again_asks_nothing(ask, tmp_path):
    with serving() as server:
        ask(*at(server))
        before = ledger(tmp_path).read_bytes()
        again = ask(*at(server))
    assert again.code == 0 and len(server.calls) == 3
    assert again.out == "m   3/3 (3 kept, 0 new)   0 cut at max_tokens · 0 empty\n"
    assert ledger(tmp_path).read_bytes() == before


def test_the_next_command_names_the_folder_that_was_given(ask, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    bank(tmp_path / "elsewhere", 1)
    with serving() as server:
        ran = ask(*at(server), "-C", "elsewhere")
    assert ran.lines[-1] == "Next: evalkit answer --model chatgpt --bank mine -C elsewhere"
    assert len(rows_of(tmp_path / "elsewhere")) == 1 and not (tmp_path / "answers").exists()


def test_each_turn_is_a_call_that_holds_the_models_own_answers(ask, tmp_path):
    bank(tmp_path, 2, turns=["First?", "Second?"])
    with serving(Behaviour(text=lambda body: f"said {len(body['messages'])}")) as server:
        ran = ask(*at(server), "--concurrency", 1)
    assert ran.code == 0 and "2 owed (4 calls)" in ran.err
    assert [texts(call) for call in server.calls] == [
        ["First?"],
        ["First?", "said 1", "Second?"],
    ] * 2
    assert [[m["role"] for m in call.body["messages"]] for call in server.calls][1] == [
        "user", "assistant", "user"
    ]  # fmt: skip
    assert [row["turns"] for row in rows_of(tmp_path)] == [["said 1"], ["said 1", "said 3"]] * 2


def test_a_conversation_goes_on_in_its_middle(ask, tmp_path):
    bank(tmp_path, 1, turns=["First?", "Second?"])
    with serving(Behaviour(by_text={"Second": "400"})) as server:
        assert ask(*at(server)).code == 1
        server.behaviour.by_text = {}
        again = ask(*at(server))
    assert again.code == 0 and "1 owed" in again.err and "calls)" not in again.err
    assert [texts(call)[-1] for call in server.calls] == ["First?", "Second?", "Second?"]


def test_limit_takes_questions_of_every_category_and_a_larger_one_adds_to_them(ask, tmp_path):
    rows = [question(f"{c}{n}", category=c) for c in ("math", "fermi") for n in range(4)]
    write_lines(tmp_path / BANK, rows)
    with serving() as server:
        assert "bank mine · 3 questions · 2 categories" in ask(*at(server), "--limit", 3).err
        assert set(said_to(tmp_path)) == {"math0", "math1", "fermi0"}
        assert ask(*at(server), "--limit", 4).code == 0
    assert set(said_to(tmp_path)) == {"math0", "math1", "fermi0", "fermi1"}
    assert len(server.calls) == 4


def test_what_the_user_says_about_sampling_is_sent_and_recorded(ask, tmp_path):
    drawn = ("--samples", 2, "--temperature", 0.5, "--max-tokens", 7, "--seed", 40)
    with serving() as server:
        assert ask(*at(server), *drawn).code == 0
        sent = [{n: c.body[n] for n in ("temperature", "max_tokens", "seed")} for c in server.calls]
        assert ask(*at(server), *drawn).code == 0 and len(server.calls) == 6
    wanted = [{"temperature": 0.5, "max_tokens": 7, "seed": 40 + n} for n in (0, 0, 0, 1, 1, 1)]
    assert sorted(sent, key=lambda each: each["seed"]) == wanted
    for row in rows_of(tmp_path):
        assert row["sampling"] == wanted[3 * row.get("sample", 0)]


@pytest.mark.parametrize(
    ("category", "temperature"), [("writing", 0.7), ("roleplay", 0.7), ("math", 0), ("generic", 0)]
)
def test_a_category_has_its_temperature(ask, tmp_path, category, temperature):
    bank(tmp_path, 1, category=category)
    with serving() as server:
        ask(*at(server))
    assert server.calls[0].body["temperature"] == temperature
    assert "seed" not in server.calls[0].body


@pytest.mark.parametrize("changed", [("--temperature", 1), ("--max-tokens", 9), ("--seed", 1)])
def test_other_settings_are_asked_anew_and_that_is_said_before(ask, tmp_path, changed):
    with serving() as server:
        ask(*at(server))
        before = ledger(tmp_path).read_text()
        told = ask(*at(server), *changed, "--dry-run").err
        assert "3 answers of other settings will count no more" in told
        assert ask(*at(server), *changed).code == 0
    assert len(server.calls) == 6 and ledger(tmp_path).read_text().startswith(before)


# -- looking before it runs


def test_show_prompt_shows_the_first_thing_to_be_asked(ask, tmp_path):
    bank(tmp_path, 2, turns=["First\x1b[2J?", "Second?"], category="writing")
    before = tree(tmp_path)
    with serving() as server:
        ran = ask(*at(server), "--show-prompt", "--seed", 3)
        told = json.loads(ask(*at(server), "--show-prompt", "--seed", 3, "--json").out)
    assert (ran.code, ran.out) == (0, "[user]\nFirst␛[2J?\n")
    for part in ("m (m), question q0", "temperature 0.7", "max_tokens 1024", "seed 3"):
        assert part in ran.err
    message = {"role": "user", "content": "First\x1b[2J?"}
    sampling = {"temperature": 0.7, "max_tokens": 1024, "seed": 3}
    assert told["prompts"] == [{"model": "m", "messages": [message], **sampling}]
    assert (told["verb"], told["status"], told["files"]) == ("answer", "done", [])
    assert server.calls == [] and tree(tmp_path) == before


def test_a_dry_run_needs_no_key_makes_no_call_and_writes_no_file(ask, keyed, tmp_path, monkeypatch):
    before = tree(tmp_path)
    with keyed() as server:
        monkeypatch.delenv("OPENAI_API_KEY")
        ran = ask("--model", "gpt-4o-mini", "--dry-run")
        told = json.loads(ask("--model", "gpt-4o-mini", "--dry-run", "--json").out)
        assert server.calls == []
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[-1] == "nothing was sent."
    assert f"{server.url} (key OPENAI_API_KEY, not set)" in ran.err
    assert (told["status"], told["owed"], told["calls"], told["usd"]) == ("dry run", 3, 0, 0)
    assert 0 < told["models"][0]["about_usd"] < told["models"][0]["at_most_usd"]
    assert tree(tmp_path) == before


def test_a_dry_run_counts_what_is_there(ask):
    with serving() as server:
        ask(*at(server), "--limit", 2)
        ran = ask(*at(server), "--dry-run")
    assert "   1 owed, 2 kept   " in ran.err and len(server.calls) == 2


def test_programs_get_one_object(ask, tmp_path):
    with serving(Behaviour(by_text={"q0": "length", "q1": "empty", "q2": "400"})) as server:
        ran = ask(*at(server), "--json")
    told = json.loads(ran.out)
    (model,) = told.pop("models")
    assert ran.code == 1 and told == {
        "schema": 1,
        "verb": "answer",
        "status": "owed",
        "files": ["answers/mine/m.jsonl"],
        "next": "the same command goes on where it stopped",
        "bank": "mine",
        "done": 2,
        "owed": 1,
        "calls": 3,
        "usd": 0.0,
    }
    assert (model["model"], model["cut"], model["empty"]) == ("m", 1, 1)
    assert model["failed"] == {"rejected": 1}


@pytest.mark.parametrize(("fault", "status"), [("quota", "stopped"), ("", "done")])
def test_programs_learn_how_it_ended(ask, fault, status):
    with serving(Behaviour(script=[fault] * 3)) as server:
        assert json.loads(ask(*at(server), "--json").out)["status"] == status


# -- whom it asks


@pytest.mark.parametrize("form", ["repeated", "listed"])
def test_several_models_share_a_run_and_the_same_twice_is_once(ask, tmp_path, form):
    with serving() as server:
        names = [f"{server.url}#{name}" for name in ("one", "two", "one")]
        repeated = [part for name in names for part in ("--model", name)]
        ran = ask(*(repeated if form == "repeated" else ("--model", ",".join(names))))
    assert ran.code == 0 and len(server.calls) == 6
    assert [line.split()[:2] for line in ran.out.splitlines()] == [["one", "3/3"], ["two", "3/3"]]
    for name in ("one", "two"):
        assert {row["model"] for row in rows_of(tmp_path, name)} == {name}


def test_two_models_that_would_have_one_name_are_refused(refused):
    names = f"{NOWHERE}#m", "http://127.0.0.1:8/v1#m"
    told = refused("--model", ",".join(names))
    assert all(name in told for name in names) and "would both be called 'm'" in told


def test_an_unknown_model_is_refused_with_the_nearest_one(refused):
    assert "no model 'gpt4o-mini'. Did you mean 'gpt-4o-mini'?" in refused("--model", "gpt4o-mini")


def test_a_model_without_an_api_says_what_to_do_instead(refused):
    assert "import answers FILE --model bard" in refused("--model", "bard")


def test_base_url_names_the_server_and_sends_no_key(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as server:
        assert ask("--model", "gpt-4o-mini", "--base-url", server.url).code == 0
    assert {call.model for call in server.calls} == {"gpt-4o-mini"}
    assert [call for call in server.calls if KEY in str(call.headers)] == []
    assert len(rows_of(tmp_path, "gpt-4o-mini")) == 3


def test_key_env_names_the_key_for_such_a_server(ask, monkeypatch):
    monkeypatch.setenv("MY_OWN", KEY)
    with serving(Behaviour(key=KEY)) as server:
        ran = ask("--model", "m", "--base-url", server.url, "--key-env", "MY_OWN")
    assert ran.code == 0 and f"{server.url} (key MY_OWN …x9Qd)" in ran.err


def test_the_address_of_the_environment_gets_the_key(ask, keyed):
    with keyed() as server:
        ran = ask("--model", "openai/gpt-4o-mini")
    assert ran.code == 0 and f"{server.url} (key OPENAI_API_KEY …x9Qd)" in ran.err
    assert {call.headers["authorization"] for call in server.calls} == {f"Bearer {KEY}"}


def test_the_old_name_of_that_address_is_read_with_a_warning(ask, keyed, monkeypatch):
    with keyed() as server:
        monkeypatch.delenv("OPENAI_BASE_URL")
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        ran = ask("--model", "gpt-4o-mini")
    assert ran.code == 0 and len(server.calls) == 3
    told = [line for line in ran.lines if "OPENAI_API_BASE" in line]
    assert told == ["OPENAI_API_BASE is read as OPENAI_BASE_URL; set that one instead"]


def test_a_stanza_of_evalkit_yaml_gets_the_key_that_it_names(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_OWN", KEY)
    with serving(Behaviour(key=KEY)) as server:
        catalogue(tmp_path, "mine", server.url, "key_env: MY_OWN", PRICE)
        ran = ask("--model", "mine")
    assert ran.code == 0 and f"{server.url} (key MY_OWN …x9Qd)" in ran.err
    assert {call.model for call in server.calls} == {"org/own"}
    rows = rows_of(tmp_path, "mine")
    assert {row["model"] for row in rows} == {"mine"}
    assert sum(row["dollars"] for row in rows) == pytest.approx(spent(rows))


@pytest.mark.parametrize(
    "away",
    ["a stanza", "an address over a service", "base-url", "a variable of one's own", "the name"],
)
def test_the_key_of_openai_goes_to_no_other_address(ask, tmp_path, monkeypatch, away):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    args = ("--model", "mine")
    with serving() as server:
        monkeypatch.setenv("EVIL_URL", server.url)
        named = "key_env: OPENAI_API_KEY"
        if away == "a stanza":
            catalogue(tmp_path, "mine", server.url, named)
        elif away == "an address over a service":
            catalogue(tmp_path, "mine", server.url, named, "service: openai")
        elif away == "a variable of one's own":
            catalogue(tmp_path, "mine", server.url, named, "url_env: EVIL_URL")
        elif away == "base-url":
            args = ("--model", "m", "--base-url", server.url, "--key-env", "OPENAI_API_KEY")
        else:
            args = (*at(server), "--key-env", "OPENAI_API_KEY")
        ran = ask(*args)
        assert server.calls == []
    assert ran.code == 2 and not (tmp_path / "answers").exists()
    assert "OPENAI_API_KEY goes only to https://api.openai.com" in ran.err
    assert "OPENAI_BASE_URL" in ran.err and f"127.0.0.1:{server.port}" in ran.err


@pytest.mark.parametrize("how", ["service: openai", "openai"])
def test_a_file_that_moves_a_service_takes_no_key_along(ask, tmp_path, monkeypatch, how):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as server:
        if how == "openai":
            text = f"catalog:\n  openai:\n    url: {server.url}\n"
            (tmp_path / "evalkit.yaml").write_text(text)
        else:
            catalogue(tmp_path, "mine", server.url, how)
        ran = ask("--model", "openai/gpt-4o-mini" if how == "openai" else "mine")
    assert ran.code == 0 and "(no key sent)" in ran.err and len(server.calls) == 3
    assert [call for call in server.calls if KEY in str(call.headers)] == []


# -- a recording


@pytest.mark.parametrize("begun", ["abc", "aab"], ids=["apart", "alike"])
def test_a_recording_gives_the_same_texts_without_key_or_server(
    ask, keyed, tmp_path, monkeypatch, begun
):
    rows = [question(f"q{n}", turns=[f"{first}?", f"And {n}?"]) for n, first in enumerate(begun)]
    write_lines(tmp_path / BANK, rows)
    with keyed(text=lambda body: f"said {random.random()}") as server:
        assert ask("--model", "gpt-4o-mini", "--temperature", 1).code == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    write_lines(tmp_path / "other" / BANK, rows)
    recording = ledger(tmp_path, "gpt-4o-mini")
    args = ("--model", "gpt-4o-mini", "--temperature", 1, "--replay", recording)
    ran = ask(*args, "-C", "other")
    assert ran.code == 0 and f"recording {recording}" in ran.err and "free" in ran.err
    assert said_to(tmp_path / "other", "gpt-4o-mini") == said_to(tmp_path, "gpt-4o-mini")
    assert len(server.calls) == 6


def test_a_recording_answers_a_question_that_was_reworded(ask, tmp_path):
    with serving() as server:
        ask(*at(server))
    texts = said_to(tmp_path)
    ledger(tmp_path).rename(tmp_path / "recorded.jsonl")
    bank(tmp_path, 3, turns=["Reworded?"])
    assert ask("--model", "m", "--replay", "recorded.jsonl").code == 0
    assert said_to(tmp_path) == texts


def test_what_a_recording_does_not_hold_is_owed(ask, tmp_path):
    with serving() as server:
        ask(*at(server), "--limit", 2)
    ledger(tmp_path).rename(tmp_path / "recorded.jsonl")
    ran = ask("--model", "m", "--replay", "recorded.jsonl")
    assert ran.code == 1 and "2/3" in ran.out and "not answered: 1 not_recorded" in ran.out


# -- money


def test_a_known_price_is_said_with_its_date(ask, tmp_path):
    catalogue(tmp_path, "mine", NOWHERE, PRICE)
    line = line_with("owed", ask("--model", "mine", "--dry-run").err)
    # 3 calls of at most 1,024 tokens; a prompt of 11 bytes has at most 11 tokens and 16 around it
    most = 3 * (27 * 10 + 1024 * 20) / 1e6
    assert line.endswith(f"at most ${most:.2f} (prices of 2026-11-01)")
    assert "   about $0.02, " in line


def test_the_estimate_holds_what_a_run_costs(ask, tmp_path):
    bank(tmp_path, 5, turns=["First?", "Second?", "Third?"])
    with serving(Behaviour(text="word " * 60)) as server:
        catalogue(tmp_path, "mine", server.url, PRICE)
        args = ("--model", "mine", "--max-tokens", 60, "--json")
        (told,) = json.loads(ask(*args, "--dry-run").out)["models"]
        ran = json.loads(ask(*args).out)
    assert ran["calls"] == 15
    assert 0 < ran["usd"] == pytest.approx(spent(rows_of(tmp_path, "mine")), abs=1e-6)
    assert ran["usd"] <= told["at_most_usd"]


def test_a_server_on_this_machine_is_free(ask):
    with serving() as server:
        ran = ask(*at(server))
    assert line_with("owed", ran.err).endswith("   free") and "$" not in ran.err + ran.out


def test_32_an_unknown_price_is_said_to_be_unknown_and_is_never_nothing(ask, keyed, tmp_path):
    with keyed() as server:
        ran = ask("--model", "openai/new")
        assert ran.code == 0 and line_with("owed", ran.err).endswith("   price unknown")
        assert "cost unknown" in ran.out and "$" not in ran.out + ran.err
        assert all("dollars" not in row for row in rows_of(tmp_path, "new"))
        told = json.loads(ask("--model", "openai/newer", "--json").out)["models"][0]
        assert told["calls_of_unknown_cost"] == 3
        assert len(server.calls) == 6


def test_32_a_budget_without_a_price_is_refused_unless_yes(ask, refused, keyed):
    with keyed() as server:
        told = refused("--model", "openai/new", "--budget", 1)
        assert server.calls == [] and "$0" not in told
        assert "the price of new is unknown" in told and "`price:`" in told
        assert ask("--model", "openai/new", "--budget", 1, "--yes").code == 0


@pytest.mark.parametrize("budget", [0.004, 0.02])
def test_a_budget_is_never_passed_and_a_later_run_goes_on(ask, tmp_path, impatient, budget):
    bank(tmp_path, 60)
    said, lost = "word " * 30, {"drop": 0.1, "malformed": 0.1}
    with serving(Behaviour(text=said, latency=(0, 0.01), faults=lost)) as server:
        catalogue(tmp_path, "mine", server.url, PRICE)
        args = ("--model", "mine", "--max-tokens", 40)
        ran = ask(*args, "--budget", budget)
        rows = rows_of(tmp_path, "mine")
        each = spent(rows[:1])
        assert server.stats()["billed"] * each <= budget
        assert 0 < spent(rows) <= budget and len(rows) < 60
        assert ran.code == 1
        assert f"{60 - len(rows)} owed." in line_with("could pass the budget", ran.err)
        assert ran.lines[-1] == "Next: the same command goes on where it stopped"
        billed = server.stats()["billed"]
        server.behaviour.faults = {}
        assert ask(*args, "--budget", 5).code == 0
        assert server.stats()["billed"] - billed == 60 - len(rows)
    assert set(said_to(tmp_path, "mine")) == {f"q{n}" for n in range(60)}


def test_a_budget_holds_for_all_models_of_a_run_together(ask, tmp_path):
    bank(tmp_path, 30)
    with serving(Behaviour(text="word " * 40)) as server:
        stanzas = "".join(
            f"  {name}:\n    provider: openai_api\n    url: {server.url}\n    model: {name}\n"
            f"    {PRICE}\n"
            for name in "ab"
        )
        (tmp_path / "evalkit.yaml").write_text(f"catalog:\n{stanzas}")
        ran = ask("--model", "a,b", "--max-tokens", 40, "--budget", 0.01)
    rows = [*rows_of(tmp_path, "a"), *rows_of(tmp_path, "b")]
    assert ran.code == 1 and 0.008 < spent(rows) <= 0.01


# -- names


BAD_NAMES = {
    "../x": "leads out of its folder",
    "a/../../b": "leads out of its folder",
    "a//b": "leads out of its folder",
    ".": "leads out of its folder",
    "..": "leads out of its folder",
    "..\\x": "leads out of its folder",
    "/x": "is an absolute path",
    "C:\\x": "is an absolute path",
    "a\0b": "holds a NUL or a line break",
    "a\nb": "holds a NUL or a line break",
    "-x": "begins with a dot or a dash",
    "org/-x": "begins with a dot or a dash",
    ".x": "begins with a dot or a dash",
    "CON": "is reserved on Windows",
    "x" * (LONGEST_NAME + 1): f"is longer than {LONGEST_NAME} bytes",
    "é" * (LONGEST_NAME // 2 + 1): f"is longer than {LONGEST_NAME} bytes",
    "\udcff": "cannot be written in utf-8",
}


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name[:9]))
def test_17_a_name_that_no_file_may_have(refused, name):
    with serving() as server:
        for given in (
            at(server, name),
            ("--model", name, "--base-url", server.url),
            ("--model", f"ollama/{name}"),
        ):
            assert f"cannot be a name: it {BAD_NAMES[name]}" in refused(*given)
    assert server.calls == []


def test_17_a_name_with_an_organisation_is_a_file_and_stays_itself_in_the_row(ask, tmp_path):
    with serving() as server:
        assert ask(*at(server, "org/name")).code == 0
        assert ask(*at(server, "org/name")).code == 0
    assert {row["model"] for row in rows_of(tmp_path, "org__name")} == {"org/name"}
    assert {call.model for call in server.calls} == {"org/name"} and len(server.calls) == 3


@pytest.mark.parametrize(("one", "other"), [("m", "M"), ("org/m", "org__m"), ("é", "É")])
@pytest.mark.parametrize("here", [False, True])
def test_18_two_names_that_fall_on_one_file(refused, tmp_path, one, other, here):
    names = f"{NOWHERE}#{other}"
    if here:
        write_lines(ledger(tmp_path, one.replace("/", "__")), [answer("q0", one)])
    else:
        names = f"{NOWHERE}#{one},{names}"
    told = refused("--model", names)
    assert f"'{one}'" in told and f"'{other}'" in told and "would share one file" in told


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "<img src=x>", "\x1b[31mred\x1b]52;c;QQ\x07"]
)
def test_19_a_hostile_name_is_data(ask, tmp_path, name):
    with serving(Behaviour(models=[])) as server:
        refusal = ask(*at(server, name), "-v")
        server.behaviour.models = None
        ran = ask(*at(server, name))
    assert (refusal.code, ran.code) == (2, 0)
    (path,) = (tmp_path / "answers" / "mine").glob("*.jsonl")
    assert {json.loads(line)["model"] for line in path.read_text().splitlines()} == {name}
    for text in (refusal.err, refusal.out, ran.err, ran.out):
        assert not {"\x1b", "\x07"} & set(text)
    assert name.replace("\x1b", "␛").replace("\x07", "␇") in ran.out


# -- keys


@pytest.mark.parametrize("value", [None, ""])
def test_20_without_a_key_no_call_is_made_and_nothing_is_written(
    refused, keyed, monkeypatch, value
):
    with keyed() as server:
        monkeypatch.delenv("OPENAI_API_KEY")
        if value is not None:
            monkeypatch.setenv("OPENAI_API_KEY", value)
        told = refused("--model", "gpt-4o-mini")
    assert server.calls == []
    assert "no key for openai: set OPENAI_API_KEY (export OPENAI_API_KEY=" in told
    assert "--key-env NAME." in told


def test_20_a_model_that_has_its_key_waits_for_one_that_has_not(refused, keyed, tmp_path):
    with keyed() as server:
        catalogue(tmp_path, "mine", server.url, "key_env: MY_OWN")
        told = refused("--model", "gpt-4o-mini,mine")
    assert server.calls == [] and "no key for mine: set MY_OWN" in told


BAD_KEYS = {
    "KEY\n": "a line break at its end",
    "KEY\r\n": "a line break at its end",
    " KEY": "a blank at its beginning",
    "KEY KEY": "a blank in it",
    "'KEY'": "a quote",
    'KEY"': "a quote at its end",
    "KEYé": "a character that no key has",
}


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
def test_21_a_key_that_cannot_be_one(refused, keyed, monkeypatch, key):
    with keyed() as server:
        monkeypatch.setenv("OPENAI_API_KEY", key.replace("KEY", KEY))
        assert f"OPENAI_API_KEY has {BAD_KEYS[key]}" in refused("--model", "gpt-4o-mini")
    assert server.calls == []


@pytest.mark.parametrize("fault", ["401", "403"])
def test_22_a_refused_key_stops_at_the_first_call(ask, keyed, tmp_path, fault):
    bank(tmp_path, 80)
    with keyed(script=[fault] * 99) as server:
        ran = ask("--model", "gpt-4o-mini", "-v")
    assert ran.code == 2 and len(server.calls) == 1 and rows_of(tmp_path, "gpt-4o-mini") == []
    (told,) = [line for line in ran.lines if "refused the key" in line]
    assert told.startswith(f"127.0.0.1:{server.port} refused the key …x9Qd ({fault})")
    assert told.endswith("Stopped after 1 call; 80 owed.")


def test_22_a_key_that_is_refused_later_keeps_what_was_paid_for(ask, keyed, tmp_path):
    with keyed(script=["", "401"]):
        ran = ask("--model", "gpt-4o-mini", "--concurrency", 1)
    assert ran.code == 2 and "Stopped after 2 calls; 2 owed." in ran.err
    assert len(rows_of(tmp_path, "gpt-4o-mini")) == 1


def test_22_a_key_in_a_reply_is_taken_out_of_it(ask, keyed, tmp_path):
    bank(tmp_path, 3, turns=["First?", "Second?"])
    with keyed(script=["echo-key"] * 6) as server:
        ran = ask("--model", "gpt-4o-mini", "-v")
    assert ran.code == 0 and len(server.calls) == 6
    assert all(text.endswith("…x9Qd") for row in rows_of(tmp_path, "gpt-4o-mini")
               for text in row["turns"])  # fmt: skip


def test_22_a_key_that_is_known_but_not_sent_is_taken_out_too(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_OTHER_API_KEY", KEY)
    with serving(Behaviour(text=f"Your key is {KEY}, is it not?")) as server:
        assert ask(*at(server)).code == 0
    assert said_to(tmp_path)["q0"] == ["Your key is …x9Qd, is it not?"]


# -- the network


def test_23_an_unknown_model_stops_at_the_first_call(ask, tmp_path):
    bank(tmp_path, 30)
    with serving(Behaviour(models=["other"])) as server:
        ran = ask(*at(server, "gpt-5x"))
    assert ran.code == 2 and len(server.calls) == 1
    told = line_with("no model", ran.err)
    assert f"no model 'gpt-5x' at 127.0.0.1:{server.port} (404). evalkit models " in told
    assert "--check lists what" in told and told.endswith("30 owed.")


def test_23_the_models_beside_it_are_asked(ask, tmp_path):
    bank(tmp_path, 10)
    with serving(Behaviour(models=["there"])) as server:
        ran = ask("--model", f"{server.url}#gone,{server.url}#there")
    assert ran.code == 2 and len(rows_of(tmp_path, "there")) == 10
    assert [call.model for call in server.calls].count("gone") < 10


def test_24_a_question_that_is_too_long_is_owed_and_the_others_go_on(ask, tmp_path):
    rows = [question("q0"), question("q1", turns=["word " * 500]), question("q2")]
    write_lines(tmp_path / BANK, rows)
    with serving(Behaviour(context=100)) as server:
        ran = ask(*at(server))
    assert ran.code == 1 and len(server.calls) == 3 and "1 too_long" in ran.out
    assert set(said_to(tmp_path)) == {"q0", "q2"}


def test_25_a_refused_parameter_is_negotiated_once_and_recorded(ask, tmp_path):
    refuses = {"temperature": "unsupported_value", "max_tokens": "unsupported_parameter"}
    bank(tmp_path, 20)
    with serving(Behaviour(refuses=refuses)) as server:
        assert ask(*at(server), "--max-tokens", 50).code == 0
        assert ask(*at(server), "--max-tokens", 50).code == 0
    assert len(server.calls) == 22
    sampled = [row["sampling"] for row in rows_of(tmp_path)]
    assert sampled == [{"max_completion_tokens": 50}] * 20


def test_26_a_busy_service_is_waited_for_as_it_asks(ask, tmp_path):
    with serving(Behaviour(script=["", "429", "429"], wait=0.2)) as server:
        ran = ask(*at(server), "--concurrency", 1)
    assert ran.code == 0 and len(rows_of(tmp_path)) == 3 and len(server.calls) == 5
    assert "is busy (429); trying again in 0." in ran.err
    at_ = [call.at for call in server.calls]
    assert min(at_[2] - at_[1], at_[3] - at_[2]) >= 0.2


def test_26_a_service_that_stays_busy_is_left_at_the_deadline_without_a_row(ask, tmp_path):
    with serving(Behaviour(script=["", *["429"] * 999], wait=0.1)) as server:
        ran = ask(*at(server), "--deadline", 0.3)
    assert ran.code == 1 and len(rows_of(tmp_path)) == 1 and len(server.calls) < 20
    assert "took no call for too long. Kept 1, owed 2. Run it again." in ran.err


def test_27_a_used_up_quota_stops_at_once(ask, keyed, tmp_path):
    bank(tmp_path, 20)
    with keyed(script=["", "", "quota"] + ["quota"] * 20) as server:
        ran = ask("--model", "gpt-4o-mini", "--concurrency", 1)
    assert ran.code == 1 and len(server.calls) == 3
    told = line_with("quota used up", ran.err)
    assert "(429 insufficient_quota). Kept 2, owed 18, spent " in told
    assert told.endswith("Add credit, run it again.")


@pytest.mark.parametrize("fault", ["500", "503", "408", "409", "reset", "drop"])
def test_28_what_can_pass_is_tried_again(ask, tmp_path, impatient, fault):
    with serving(Behaviour(script=["", *[fault] * 5])) as server:
        ran = ask(*at(server), "--concurrency", 1)
    assert ran.code == 0 and len(server.calls) == 3 + 5
    assert set(said_to(tmp_path)) == {"q0", "q1", "q2"}
    assert len([line for line in ran.lines if "trying again" in line]) == 1


def test_28_after_six_tries_it_is_owed_and_the_others_go_on(ask, tmp_path, impatient):
    with serving(Behaviour(by_text={"q1": "500"})) as server:
        ran = ask(*at(server), "-v")
    assert ran.code == 1 and "not answered: 1 down" in ran.out
    assert len(server.calls) == 2 + 6 and set(said_to(tmp_path)) == {"q0", "q2"}


def test_28_ten_in_a_row_end_the_run(ask, tmp_path, impatient):
    bank(tmp_path, 40)
    with serving(Behaviour(script=["", *["500"] * 999])) as server:
        ran = ask(*at(server), "--concurrency", 1)
    assert ran.code == 1 and len(server.calls) == 1 + 10 * 6
    assert "39 owed. Run it again." in ran.err


def test_28_a_server_that_is_not_there(ask, tmp_path, impatient):
    with serving() as server:
        pass
    ran = ask(*at(server))
    assert ran.code == 1 and rows_of(tmp_path) == []
    told = line_with("Stopped after 6 calls", ran.err)
    assert f"no connection to 127.0.0.1:{server.port}" in told and "3 owed. Run it again." in told


def test_28_a_server_that_speaks_no_tls(ask, impatient):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        port = listening.getsockname()[1]
        ran = ask("--model", f"https://127.0.0.1:{port}/v1#m")
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert ran.code == 1 and f"no safe connection to 127.0.0.1:{port}" in ran.err


@pytest.mark.parametrize("fault", ["hang", "slow-drip"])
def test_29_a_call_that_hangs_is_given_up_and_made_again(ask, tmp_path, fault):
    with serving(Behaviour(script=["", fault])) as server:
        ran = ask(*at(server), "--timeout", 0.3)
    assert ran.code == 0 and len(server.calls) == 4
    assert f"127.0.0.1:{server.port} did not reply in time; trying again" in ran.err


@pytest.mark.parametrize(
    "fault", ["html", "no-choices", "empty-choices", "wrong-shape", "no-message", "malformed"]
)
def test_30_a_reply_that_is_none_is_owed(ask, tmp_path, impatient, fault):
    with serving(Behaviour(by_text={"q1": fault})) as server:
        ran = ask(*at(server), "-v")
    assert ran.code == 1 and "not answered: 1 bad_reply" in ran.out
    assert set(said_to(tmp_path)) == {"q0", "q2"}
    assert "Please log in" in ran.err if fault == "html" else "127.0.0.1" in ran.err
    assert max(map(len, ran.lines)) < 300


def test_31_a_redirect_is_not_followed(ask, keyed):
    with keyed(script=["redirect"] * 99) as server:
        ran = ask("--model", "gpt-4o-mini")
    assert ran.code == 2 and "points elsewhere (307); not followed" in ran.err
    assert server.stats()["elsewhere"] == 0 and len(server.calls) == 1


# -- answers


@pytest.mark.parametrize(
    ("fault", "text", "finish"),
    [("empty", "", "stop"), ("null-content", "", "stop"), ("refusal", "", "stop")],
)
def test_33_an_empty_answer_is_a_row_and_is_counted(ask, tmp_path, fault, text, finish):
    with serving(Behaviour(by_text={"q1": fault})) as server:
        ran = ask(*at(server))
        assert ask(*at(server)).code == 0 and len(server.calls) == 3
    assert ran.code == 0 and "1 empty" in ran.out
    (row,) = [row for row in rows_of(tmp_path) if row["question"] == "q1"]
    assert (row["turns"], row["finish_reason"]) == ([text], finish)
    assert ("refusal" in row) == (fault == "refusal")


def test_33_blanks_are_an_answer_and_count_as_empty(ask, tmp_path):
    with serving(Behaviour(text=" \n ")) as server:
        assert "3 empty" in ask(*at(server)).out
    assert said_to(tmp_path)["q0"] == [" \n "]


@pytest.mark.parametrize(("fault", "cut"), [("length", 3), ("content_filter", 0)])
def test_34_a_cut_answer_is_a_row_with_its_reason(ask, tmp_path, fault, cut):
    with serving(Behaviour(script=[fault] * 3)) as server:
        ran = ask(*at(server))
    assert ran.code == 0 and f"{cut} cut at max_tokens" in ran.out
    assert {row["finish_reason"] for row in rows_of(tmp_path)} == {fault}


def test_35_a_long_answer_is_kept_whole_and_sent_back_whole(ask, tmp_path):
    bank(tmp_path, 1, turns=["First?", "Second?"])
    with serving(Behaviour(script=["long"])) as server:
        assert ask(*at(server)).code == 0
    assert rows_of(tmp_path)[0]["turns"] == [LONG]
    assert texts(server.calls[1]) == ["First?", LONG, "Second?"]


def test_36_half_characters_and_nul_end_no_run(ask, tmp_path):
    turns = ["First?", "Second?"]
    rows = [question("q0", turns=["surrogate?", *turns]), question("q1", turns=["nul?", *turns])]
    write_lines(tmp_path / BANK, rows)
    with serving(Behaviour(by_text={"surrogate": "surrogate", "nul": "nul"})) as server:
        assert ask(*at(server)).code == 0
    first = {row["question"]: row for row in rows_of(tmp_path) if len(row["turns"]) == 1}
    assert (first["q0"]["turns"], first["q0"]["repaired"]) == (["a lone surrogate: \ufffd"], 1)
    assert first["q1"]["turns"] == ["before\x00after"] and "repaired" not in first["q1"]
    assert b"before\\u0000after" in ledger(tmp_path).read_bytes()


def test_37_no_escape_of_an_answer_or_an_error_reaches_the_terminal(ask, tmp_path, impatient):
    with serving(Behaviour(script=["ansi"] * 3)) as server:
        good = ask(*at(server), "-v")
        server.behaviour.models = []
        wrong = ask(*at(server, "\x1b]0;title\x07\r"), "-v")
    assert (good.code, wrong.code) == (0, 2)
    for text in (good.out, good.err, wrong.out, wrong.err):
        assert not {"\x1b", "\x07", "\r", "\x9b"} & set(text)
    assert "␛]0;title␇" in wrong.err
    assert all("\x1b[2J" in turns[0] for turns in said_to(tmp_path).values())


def test_38_no_text_is_a_template_or_markup(ask, tmp_path):
    text = "[bold]%s {x} {{ 7*7 }} {answer_2} $HOME ${x} %(x)s \\n {% raw %}"
    bank(tmp_path, 1, turns=[text, text])
    with serving(Behaviour(text=text)) as server:
        assert ask(*at(server)).code == 0
        shown = ask(*at(server), "--show-prompt").out
    assert [texts(call) for call in server.calls] == [[text], [text] * 3]
    assert said_to(tmp_path) == {"q0": [text, text]} and shown == f"[user]\n{text}\n"


# -- running


def started(folder, server, *args, **more):
    """`evalkit answer` as a process of its own."""
    command = [sys.executable, "-m", "evalkit", "answer", *at(server), "--bank", "mine"]
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, *map(str, args)], cwd=folder, **(usual | more))


def until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@pytest.fixture
def under_way(tmp_path, said):
    """A run that has made so many calls; what it says is kept."""

    @contextmanager
    def command(server, *args, calls=1, **more):
        process = started(tmp_path, server, *args, **more)
        try:
            until(lambda: server.stats()["calls"] >= calls or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            yield process
        finally:
            process.kill()
            said.extend(text or "" for text in process.communicate())

    return command


def test_48_a_second_run_says_who_is_writing_and_since_when(ask, under_way, tmp_path):
    with serving(Behaviour(script=["", *["hang"] * 99])) as server:
        with under_way(server, calls=2) as process:
            ran = ask(*at(server))
            assert (ran.code, ran.out) == (2, "")
            who = rf"another evalkit \(pid {process.pid}, since \d\d:\d\d\) is writing "
            assert re.search(rf"{who}answers/mine/m\.jsonl", ran.err)
            assert ask(*at(server), "--dry-run").code == 0
            calls = len(server.calls)
        assert len(server.calls) == calls
        server.behaviour.script = []
        assert ask(*at(server)).code == 0


def test_48_the_lock_of_a_process_that_is_no_more_is_taken_over(ask, tmp_path):
    ledger(tmp_path).parent.mkdir(parents=True)
    ledger(tmp_path).with_name(".m.jsonl.lock").write_text("pid 1, since 10:02")
    with serving() as server:
        assert ask(*at(server)).code == 0


def ended(folder):
    """The rows of a ledger that is being written: those whose line has its end."""
    lines = ledger(folder).read_bytes().split(b"\n") if ledger(folder).exists() else [b""]
    return [json.loads(line) for line in lines[:-1]]


def test_49_killed_at_any_moment_no_row_is_lost_torn_or_paid_for_twice(under_way, ask, tmp_path):
    number, at_once = 150, 6
    dice = random.Random(49)
    bank(tmp_path, number)
    lost = 0
    with serving(Behaviour(latency=(0.03, 0.05))) as server:
        for _ in range(4):
            before, kept = server.stats()["calls"], len(ended(tmp_path))
            enough = before + dice.randint(1, 30)
            wait = dice.uniform(0, 0.05)
            with under_way(server, "--concurrency", at_once, calls=enough) as process:
                end = time.monotonic() + wait
                seen = ended(tmp_path)
                while time.monotonic() < end:
                    rows = ended(tmp_path)
                    assert rows[: len(seen)] == seen
                    seen = rows
                process.kill()
            until(lambda: not server.open)
            rows = ended(tmp_path)
            assert rows[: len(seen)] == seen
            gone = server.stats()["calls"] - before - (len(rows) - kept)
            assert 0 <= gone <= at_once
            lost += gone
        ran = ask(*at(server))
        assert ran.code == 0 and f"({len(rows)} kept, {number - len(rows)} new)" in ran.out
        assert server.stats()["calls"] == number + lost
    assert sorted(row["question"] for row in rows_of(tmp_path)) == sorted(
        f"q{n}" for n in range(number)
    )


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_50_a_signal_waits_for_what_is_under_way(ask, under_way, tmp_path, name, code):
    bank(tmp_path, 200)
    with serving(Behaviour(latency=(0.4, 0.4))) as server:
        with under_way(server, "--concurrency", 4, calls=4) as process:
            process.send_signal(getattr(signal, name))
            out, err = process.communicate(timeout=30)
        kept = len(rows_of(tmp_path))
        assert process.returncode == code and "Traceback" not in err
        assert kept == server.stats()["calls"] == server.stats()["billed"] < 100
        if name != "SIGHUP":
            assert "calls in flight, waiting (Ctrl-C again to drop them)" in err
            assert f"m   {kept}/200" in out
            assert "Next: the same command goes on where it stopped" in err
        server.behaviour.latency = (0, 0)
        assert ask(*at(server)).code == 0 and server.stats()["calls"] == 200


def test_50_a_second_one_drops_what_is_under_way(under_way, tmp_path):
    bank(tmp_path, 9)
    with serving(Behaviour(script=["", *["hang"] * 9])) as server:
        with under_way(server, "--json", calls=3) as process:
            process.send_signal(signal.SIGINT)
            assert any("stopping: " in line for line in iter(process.stderr.readline, ""))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 130 and "Traceback" not in err
        told = json.loads(out)
        assert (told["status"], told["done"], told["owed"]) == ("stopped", 1, 8)
    assert len(rows_of(tmp_path)) == 1


def test_50_a_terminal_that_is_closed_keeps_what_is_under_way(tmp_path):
    bank(tmp_path, 200)
    with serving(Behaviour(latency=(0.3, 0.3))) as server:
        main, process = on_a_terminal(tmp_path, *at(server), "--concurrency", 4)
        try:
            until(lambda: server.stats()["calls"] >= 4)
            os.close(main)
            assert process.wait(30) == 129
        finally:
            process.kill()
            process.wait()
        assert len(rows_of(tmp_path)) == server.stats()["calls"] < 100


@pytest.mark.parametrize("at_once", [1, 4])
def test_51_a_full_disk_leaves_rows_whole_and_shows_what_was_paid_for(
    under_way, ask, keyed, tmp_path, at_once
):
    bank(tmp_path, 30)

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))

    with keyed(script=["echo-key"] * 99, text="word " * 50) as server:
        args = ("--model", "gpt-4o-mini", "--bank", "mine", "--concurrency", at_once)
        command = [sys.executable, "-m", "evalkit", "answer", *map(str, args)]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=small, timeout=60
        )
        no_key_in(done.stdout + done.stderr)
        kept = rows_of(tmp_path, "gpt-4o-mini")
        assert done.returncode == 1 and 0 < len(kept) < 30 and "Traceback" not in done.stderr
        told = line_with("new rows are whole", done.stderr)
        assert f"at answers/mine/gpt-4o-mini.jsonl. {len(kept)} new rows are whole" in told
        shown = [line for line in done.stderr.splitlines() if line.startswith("{")]
        lost = [json.loads(Answer.model_validate_json(line).line()) for line in shown]
        assert 1 <= len(lost) <= at_once
        assert len(kept) + len(lost) == server.stats()["billed"]
        assert {r["question"] for r in lost}.isdisjoint(r["question"] for r in kept)
        assert ask("--model", "gpt-4o-mini").code == 0
        assert server.stats()["billed"] == 30 + len(lost)
    assert rows_of(tmp_path, "gpt-4o-mini")[: len(kept)] == kept


def test_51_a_disk_that_is_really_full(tmp_path):
    bank(tmp_path, 60)
    mount = 'mount -t tmpfs -o size=16k none answers && exec "$@"'
    private = ["unshare", "--map-root-user", "--mount", "sh", "-ec", mount, "sh"]
    (tmp_path / "answers").mkdir()
    if not shutil.which("unshare") or subprocess.run([*private, "true"], cwd=tmp_path).returncode:
        pytest.skip("A FULL DISK IS NOT TESTED: no private mount here")
    with serving(Behaviour(text="word " * 100)) as server:
        command = [sys.executable, "-m", "evalkit", "answer", *at(server), "--bank", "mine"]
        done = subprocess.run(
            [*private, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1 and "disk full at answers/mine/m.jsonl." in done.stderr
    whole = int(line_with("disk full", done.stderr).split(" new rows")[0].split()[-1])
    shown = [line for line in done.stderr.splitlines() if line.startswith("{")]
    assert whole + len(shown) == server.stats()["billed"] and whole > 0 < len(shown)


UNPRIVILEGED = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root's way past permissions
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; it holds from exec on
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("closed", [".", "answers", "answers/mine", "answers/mine/m.jsonl"])
def test_51_what_is_read_only_is_told_before_any_call(tmp_path, closed):
    if not sys.platform.startswith("linux"):
        pytest.skip("A READ-ONLY FOLDER IS NOT TESTED: root is bound by permissions on Linux only")
    bank(tmp_path)
    if closed.startswith("answers/mine"):
        write_lines(ledger(tmp_path), [answer("q0", "m")])
    elif closed == "answers":
        (tmp_path / closed).mkdir()
    before = tree(tmp_path)
    (tmp_path / closed).chmod(0o555)
    bound = [sys.executable, "-c", UNPRIVILEGED]
    probe = f"import os; print(os.access({str(tmp_path / closed)!r}, os.W_OK))"
    writable = subprocess.run([*bound, "-c", probe], capture_output=True, text=True).stdout
    if writable != "False\n":
        pytest.skip("A READ-ONLY FOLDER IS NOT TESTED: permissions do not bind us here")
    with serving() as server:
        command = [*bound, "-m", "evalkit", "answer", *at(server), "--bank", "mine"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    (tmp_path / closed).chmod(0o755)
    assert done.returncode == 2 and server.calls == [] and "Traceback" not in done.stderr
    assert "answers/mine/m.jsonl: permission denied" in done.stderr
    if not closed.endswith(".jsonl"):  # beside a file its lock can be made
        assert tree(tmp_path) == before


def test_52_a_clock_that_jumps_ends_no_run(tmp_path):
    bank(tmp_path, 12)
    jumping = (
        "import itertools, runpy, sys, time\n"
        "real, step = time.time, itertools.cycle([0, 1e6, -1e6, 3e7])\n"
        "time.time = lambda: real() + next(step)\n"
        "runpy.run_module('evalkit', run_name='__main__')\n"
    )
    with serving(Behaviour(script=["", *["429"] * 4, "503"], wait=0.05)) as server:
        command = [sys.executable, "-c", jumping, "answer", *at(server), "--bank", "mine"]
        done = subprocess.run(
            [*command, "--deadline", "30"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path)) == 12 and len(server.calls) == 17


def test_53_an_edited_question_is_asked_again_and_old_rows_are_stale(ask, evalkit, tmp_path):
    with serving() as server:
        for model in "ab":
            ask(*at(server, model))
        hashes = {r["question"]: [short_hash(r["turns"])] * 2 for r in rows_of(tmp_path, "a")}
        reviews = [review(id_, answers=both) for id_, both in hashes.items()]
        write_lines(tmp_path / "reviews/mine/judge.pair-scores.jsonl", reviews)
        told = evalkit("report", "--bank", "mine", "--baseline", "a")
        assert "owed" not in told.err and "left out" not in told.err

        before = ledger(tmp_path, "a").read_bytes()
        edited = [question("q0", turns=["Edited?"]), question("q1"), question("q2")]
        write_lines(tmp_path / BANK, edited)
        told = evalkit("report", "--bank", "mine", "--baseline", "a")
        assert "a: 1 of 3 answers are owed." in told.lines
        assert line_with("1 reviews left out", told.err)
        assert "1 owed, 2 kept" in ask(*at(server, "a")).err
    assert [texts(call) for call in server.calls[6:]] == [["Edited?"]]
    assert ledger(tmp_path, "a").read_bytes().startswith(before)
    assert len(rows_of(tmp_path, "a")) == 4


@pytest.mark.parametrize(
    "args",
    [
        ("--limit", "0"),
        ("--limit", "-1"),
        ("--limit", "abc"),
        ("--limit", "1e9"),
        ("--budget", "-1"),
        ("--budget", "nan"),
        ("--budget", "inf"),
        ("--budget", "two"),
        ("--samples", "0"),
        ("--temperature", "-0.1"),
        ("--temperature", "nan"),
        ("--max-tokens", "0"),
        ("--seed", "1.5"),
        ("--concurrency", "0"),
        ("--timeout", "0"),
        ("--timeout", "nan"),
        ("--deadline", "-1"),
    ],
    ids=" ".join,
)
def test_54_a_number_that_means_nothing_is_refused(refused, args):
    with serving() as server:
        told = refused(*at(server), *args)
    assert server.calls == [] and args[0] in told and args[1] in told


def test_54_a_limit_beyond_the_bank_is_the_whole_bank(ask):
    with serving() as server:
        assert ask(*at(server), "--limit", 1_000_000_000).code == 0
    assert len(server.calls) == 3


def test_54_a_budget_of_nothing_buys_nothing_and_what_is_free_is_had_for_it(ask, tmp_path):
    with serving() as server:
        catalogue(tmp_path, "mine", server.url, PRICE)
        ran = ask("--model", "mine", "--budget", 0)
        assert ran.code == 1 and server.calls == [] and "spent $0.00 of $0.00; 3 owed." in ran.err
        assert ask(*at(server), "--budget", 0).code == 0


def test_54_no_model_at_all(refused):
    assert "--model" in refused()
    assert "--model" in refused("--model", " , ")


def test_54_budget_and_concurrency_come_from_the_environment_too(ask, tmp_path, monkeypatch):
    bank(tmp_path, 12)
    monkeypatch.setenv("EVALKIT_BUDGET", "0")
    monkeypatch.setenv("EVALKIT_CONCURRENCY", "2")
    with serving(Behaviour(latency=(0.01, 0.01))) as server:
        catalogue(tmp_path, "mine", server.url, PRICE)
        assert ask("--model", "mine").code == 1 and server.calls == []
        assert ask("--model", "mine", "--budget", 5).code == 0
        assert server.stats()["most_in_flight"] == 2
        ask(*at(server), "--concurrency", 3)
        assert server.stats()["most_in_flight"] == 3


@pytest.mark.parametrize(
    ("variable", "value"),
    [("EVALKIT_CONCURRENCY", "many"), ("EVALKIT_CONCURRENCY", "0"), ("EVALKIT_BUDGET", "nan")],
)
def test_54_what_the_environment_sets_wrongly_is_refused(refused, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    told = refused("--model", f"{NOWHERE}#m")
    assert value in told and variable.removeprefix("EVALKIT_").lower() in told


# -- terminals


ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ODD = {"ASCII": ASCII, "cp1252": {"PYTHONIOENCODING": "cp1252"}, "no home": {"HOME": None}}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_55_odd_surroundings_end_no_run(tmp_path, odd):
    bank(tmp_path, 2, turns=["Was heißt 你好?"])
    env = {name: value for name, value in (os.environ | odd).items() if value is not None}
    with serving() as server, started(tmp_path, server, "-v", env=env, text=False) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and b"Traceback" not in err, err
    assert b"2/2" in out and said_to(tmp_path)["q0"] == ["reply to: Was heißt 你好? (messages: 1)"]


def test_55_a_reader_that_leaves_is_no_fault(tmp_path):
    bank(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    with serving() as server, started(tmp_path, server, stdout=writing) as process:
        os.close(writing)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err and "Exception" not in err
    assert len(rows_of(tmp_path)) == 3


def on_a_terminal(folder, *args, env=None):
    """A run on a terminal of its own, that it has as its own: the other end, and the process."""
    main, side = pty.openpty()
    beside = os.environ | {"TERM": "xterm", "COLUMNS": "100"} | (env or {})
    login = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    login += "os.execv(sys.executable, [sys.executable, '-m', 'evalkit', *sys.argv[1:]])"
    process = subprocess.Popen(
        [sys.executable, "-c", login, "answer", "--bank", "mine", *map(str, args)],
        cwd=folder,
        stdin=side,
        stdout=side,
        stderr=side,
        env={name: value for name, value in beside.items() if value is not None},
        start_new_session=True,
    )
    os.close(side)
    return main, process


@pytest.fixture
def watched(tmp_path, said):
    """Run on a terminal and type; the exit code, and all that was shown."""

    def command(*args, typed="", env=None):
        main, process = on_a_terminal(tmp_path, *args, env=env)
        shown = []

        def read():
            try:
                while data := os.read(main, 65536):
                    shown.append(data)
            except OSError:  # how the end of a terminal is told
                pass

        reader = threading.Thread(target=read)
        reader.start()
        os.write(main, typed.encode())
        code = process.wait(60)
        reader.join(60)
        os.close(main)
        said.append(b"".join(shown).decode("utf-8", "replace"))
        assert "Traceback" not in said[-1]
        return code, said[-1]

    return command


SCREENS = {
    "usual": {},
    "ASCII": ASCII,
    "LANG=C": {"LC_ALL": "", "LANG": "C"},
    "width 20": {"COLUMNS": "20"},
    "dumb": {"TERM": "dumb"},
    "no colour": {"NO_COLOR": "1", "HOME": None},
}


@pytest.mark.parametrize("odd", SCREENS.values(), ids=SCREENS.keys())
def test_55_progress_on_a_terminal(watched, tmp_path, odd):
    bank(tmp_path, 12)
    with serving(Behaviour(latency=(0.02, 0.04))) as server:
        code, shown = watched(*at(server), "--concurrency", 2, env=odd)
    assert code == 0 and "12/12" in shown and len(rows_of(tmp_path)) == 12
    assert ("\x1b[" in shown) == (odd.get("TERM") != "dumb")
    if "PYTHONUTF8" in odd:
        bars = [line for line in shown.splitlines() if "---" in line]
        assert bars and all(line.isascii() for line in bars)


def test_26_push_back_is_shown(watched, tmp_path):
    bank(tmp_path, 60)
    script = [""] * 20 + ["429"] * 12
    with serving(Behaviour(script=script, latency=(0.05, 0.05), wait=0.1)) as server:
        code, shown = watched(*at(server), "--concurrency", 8, env={"COLUMNS": "150"})
    assert code == 0 and "in flight, slowed by 429" in shown


DEAR = "price: {input: 10, output: 1000, date: 2026-11-01}"


@pytest.mark.parametrize(
    ("typed", "code", "calls"), [("n\n", 130, 0), ("\n", 130, 0), ("y\n", 0, 3)]
)
def test_a_person_is_asked_before_a_dollar_or_more_can_be_spent(
    watched, tmp_path, typed, code, calls
):
    bank(tmp_path)
    with serving() as server:
        catalogue(tmp_path, "mine", server.url, DEAR)
        ended, shown = watched("--model", "mine", typed=typed)
    assert "at most $3.07. Go on? [y/N]" in shown
    assert ended == code and len(server.calls) == len(rows_of(tmp_path, "mine")) == calls


@pytest.mark.parametrize(
    "args", [("--yes",), ("--budget", 5), ("--max-tokens", 300), ("--dry-run",)], ids=str
)
def test_nobody_is_asked_who_has_said_it_or_where_it_is_little(watched, tmp_path, args):
    bank(tmp_path)
    with serving() as server:
        catalogue(tmp_path, "mine", server.url, DEAR)
        code, shown = watched("--model", "mine", *args, typed="n\n")
    assert code == 0 and "Go on?" not in shown


def test_nobody_is_asked_where_nobody_watches(ask, tmp_path):
    with serving() as server:
        catalogue(tmp_path, "mine", server.url, DEAR)
        assert ask("--model", "mine").code == 0


@pytest.mark.parametrize(
    "args",
    [("answer", "--help"), ("models",), ("models", "gpt-4o-mini"), ("models", "openai", "--json")],
    ids=" ".join,
)
def test_56_looking_loads_nothing_heavy_and_writes_no_file(tmp_path, args):
    heavy = {"aiohttp", "openai", "pandas", "numpy", "torch", "transformers", "matplotlib", "rich"}
    code = (
        "import sys; from evalkit.cli import run; code = run(sys.argv[1:]);"
        f"print(code, sorted(set(sys.modules) & {heavy!r}), file=sys.stderr)"
    )
    home = tmp_path / "home"
    home.mkdir()
    before = tree(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.splitlines()[-1] == "0 []" and done.stdout
    assert tree(tmp_path) == before


def test_an_answer_that_stopped_half_way_is_owed_in_the_report(evalkit, tmp_path):
    bank(tmp_path, 1, turns=["First?", "Second?"])
    with serving(Behaviour(by_text={"Second": "400"})) as server:
        evalkit("answer", "--model", f"{server.url}#m", "--bank", "mine")
    assert "m: 1 of 1 answers are owed." in evalkit("report", "--bank", "mine").lines


def test_samples_without_temperature_are_warned_of(ask):
    with serving() as server:
        told = [line for line in ask(*at(server), "--samples", 2).lines if "temperature 0" in line]
    assert len(told) == 1


def test_26_a_wait_beyond_the_deadline_ends_at_once(ask):
    with serving(Behaviour(script=["429"] * 9, wait=5000)) as server:
        assert ask(*at(server)).code == 1
    assert len(server.calls) == 1


def test_41_reasoning_is_kept_apart(ask, tmp_path):
    with serving(Behaviour(by_text={"q0": "think", "q1": "reasoning"})) as server:
        assert ask(*at(server)).code == 0
    rows = {row["question"]: row for row in rows_of(tmp_path)}
    for id_ in ("q0", "q1"):
        assert rows[id_]["reasoning"].startswith("Let me think.")
        assert "think" not in rows[id_]["turns"][0].lower()


def test_51_a_file_where_the_folder_belongs_is_told_before_any_call(ask, tmp_path):
    (tmp_path / "answers").write_text("")
    with serving() as server:
        ran = ask(*at(server))
    assert ran.code == 2 and server.calls == [] and "answers/mine" in ran.err


def test_an_imported_answer_counts_until_it_is_asked_for(ask, evalkit, tmp_path):
    write_lines(tmp_path / "answers" / "mine" / "m.jsonl", [answer("q0", "m"), answer("q1", "m")])
    assert "m: 1 of 3 answers are owed." in evalkit("report", "--bank", "mine").lines
    with serving() as server:
        assert "2 answers of other settings will count no more" in ask(*at(server)).err
