"""Replies from a recording: found by what was asked, else by what it was about."""

import asyncio
import json

import pytest
from conftest import answer, question, review, write_lines

from evalkit.catalog import Model, Stanza
from evalkit.chat import Failure, Kind, Message, Request, Sampling
from evalkit.errors import BadFile, BadPath
from evalkit.keys import Keys
from evalkit.providers.replay import Provider


def request(*texts, about=("q1",), sample=0, **sampling):
    roles = ("user", "assistant") * len(texts)
    messages = tuple(Message(role, text) for role, text in zip(roles, texts, strict=False))
    return Request(messages, Sampling(**sampling), about, sample)


@pytest.fixture
def recorded(tmp_path):
    def load(*rows):
        path = write_lines(tmp_path / "recording.jsonl", rows)
        stanza = Stanza(provider="replay", path=str(path))
        provider = Provider(Model("m", "m-1", stanza), Keys({}))
        return lambda asked: asyncio.run(provider.reply(asked))

    return load


def test_what_was_asked_goes_before_what_it_is_about(recorded):
    exact = request("What?", temperature=0.5)
    find = recorded(
        answer("q1", text="by what was asked", asked=exact.asked("m-1"), finish_reason="length"),
        answer("q1", text="by what it is about"),
    )
    reply = find(exact)
    assert (reply.text, reply.finish_reason) == ("by what was asked", "length")
    assert find(request("What, reworded?")).text == "by what it is about"


def test_a_sample_and_a_turn_have_their_own_reply(recorded):
    find = recorded(
        answer("q1", text="first"),
        answer("q1", text="another", sample=1),
        answer("q1", asked="1" * 16) | {"turns": ["first", "second"]},
    )
    assert find(request("What?")).text == "first"
    assert find(request("What?", sample=1)).text == "another"
    assert find(request("What?", "first", "And?")).text == "second"


def test_a_review_is_found_by_the_models_in_their_order(recorded):
    find = recorded(review("q1", ("a", "b")), review("q1", ("b", "a"), (1, 2)))
    assert find(request("Judge.", about=("q1", "a", "b"))).text == "8 9"
    assert find(request("Judge.", about=("q1", "b", "a"))).text == "1 2"


@pytest.mark.parametrize("asked", [{"about": ("q2",)}, {"sample": 1}, {"about": ("q1", "a", "b")}])
def test_what_was_not_recorded_is_a_failure(recorded, asked):
    failed = recorded(answer("q1"))(request("What?", **asked))
    assert isinstance(failed, Failure) and failed.kind == Kind.NOT_RECORDED


def test_a_recording_that_cannot_be_read(recorded, tmp_path):
    with pytest.raises(BadFile) as raised:
        recorded(answer("q1"), {"question": "q1"})
    assert raised.value.faults[0].where.endswith("recording.jsonl:2")
    stanza = Stanza(provider="replay", path=str(tmp_path / "gone.jsonl"))
    with pytest.raises(BadPath):
        Provider(Model("m", "m", stanza), Keys({}))


def test_questions_that_begin_alike_keep_their_own_answers(evalkit, tmp_path):

    rows = [question(f"q{n}", turns=["The same?", f"And {n}?"]) for n in range(2)]
    write_lines(tmp_path / "questions" / "mine.jsonl", rows)
    said = [answer(f"q{n}", "m", f"one {n}") for n in range(2)]
    said += [answer(f"q{n}", "m") | {"turns": [f"one {n}", f"two {n}"]} for n in range(2)]
    write_lines(tmp_path / "said.jsonl", said)
    ran = evalkit("answer", "--model", "m", "--bank", "mine", "--replay", "said.jsonl")
    assert ran.code == 0, ran.err
    lines = (tmp_path / "answers" / "mine" / "m.jsonl").read_text().splitlines()
    made = {(row["question"], len(row["turns"])): row["turns"] for row in map(json.loads, lines)}
    assert made["q0", 2] == ["one 0", "two 0"] and made["q1", 2] == ["one 1", "two 1"]


def test_an_answer_typed_in_whole_is_found_turn_by_turn(evalkit, tmp_path):

    write_lines(tmp_path / "questions" / "mine.jsonl", [question(turns=["One?", "Two?"])])
    write_lines(tmp_path / "said.jsonl", [answer(model="m") | {"turns": ["first", "second"]}])
    ran = evalkit("answer", "--model", "m", "--bank", "mine", "--replay", "said.jsonl")
    assert ran.code == 0, ran.err


def test_a_question_under_another_id_is_found_by_its_words(evalkit, tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", [question("q1")])
    write_lines(tmp_path / "said.jsonl", [answer("q1", "m", "said")])
    assert evalkit("answer", "--model", "m", "--bank", "mine", "--replay", "said.jsonl").code == 0
    made = tmp_path / "answers" / "mine" / "m.jsonl"
    write_lines(tmp_path / "questions" / "next.jsonl", [question("other", turns=["What is q1?"])])
    ran = evalkit("answer", "--model", "m", "--bank", "next", "--replay", str(made))
    assert ran.code == 0, ran.err


def test_a_recording_may_have_a_name_that_looks_like_a_key(evalkit, tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", [question("q1")])
    name = "0123456789abcdef0123456789abcdef.jsonl"
    write_lines(tmp_path / name, [answer("q1", "m", "said")])
    ran = evalkit("answer", "--model", "m", "--bank", "mine", "--replay", name)
    assert ran.code == 0, ran.err
