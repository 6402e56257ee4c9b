"""What the real model server of the tests does, so that other tests may lean on it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import model_server
import pytest

model_url = model_server.model_url  # the fixture

ENDLESS = {"logit_bias": {"2": -100}}  # token 2 ends a reply
VERDICT = {
    "type": "object",
    "properties": {
        "winner": {"enum": ["first", "second", "tie"]},
        "score": {"type": "integer", "minimum": 1, "maximum": 10},
    },
    "required": ["winner", "score"],
    "additionalProperties": False,
}


def post(url, messages="Which is better?", *, key=None, **more):
    """Ask for a chat completion; a text is what the user says."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body = {"model": "random-llama", "messages": messages, "max_tokens": 16} | more
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=30)


def said(url, *args, **more):
    """The choices of a reply, of a call that goes well."""
    reply = post(url, *args, **more)
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"]


def by_schema(schema=VERDICT, **more):
    form = {"name": "verdict", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": form}} | more


def chunks(reply):
    """The events of a stream; the last must say that it is whole."""
    assert reply.headers["content-type"] == "text/event-stream"
    *events, done = [line.removeprefix("data: ") for line in reply.text.split("\n") if line]
    assert done == "[DONE]"
    return [json.loads(event) for event in events]


def test_a_reply_has_text_usage_and_a_reason_why_it_ended(model_url):
    reply = post(model_url, **ENDLESS).json()
    (choice,) = reply["choices"]
    assert choice["message"]["role"] == "assistant"
    assert len(choice["message"]["content"].split()) > 5
    assert choice["finish_reason"] == "length"
    usage = reply["usage"]
    assert usage["completion_tokens"] == 16
    assert usage["prompt_tokens"] > 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + 16


def test_replies_end_by_themselves_most_of_the_time(model_url):
    ends = [said(model_url, seed=seed, max_tokens=200)[0]["finish_reason"] for seed in range(10)]
    assert ends.count("stop") > 7


def test_the_same_request_is_answered_alike_at_temperature_zero_and_with_a_seed(model_url):
    for same in ({"temperature": 0}, {"seed": 5}):
        one, two = (said(model_url, **same)[0]["message"]["content"] for _ in range(2))
        assert one == two
    assert said(model_url, seed=5) != said(model_url, seed=6)
    assert said(model_url, "One?", temperature=0) != said(model_url, "Two?", temperature=0)


def test_several_turns_are_read_to_the_last(model_url):
    turns = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is the sea?"},
        {"role": "assistant", "content": "Water."},
        {"role": "user", "content": "更短一点。"},
    ]
    replies = [post(model_url, turns[:end], temperature=0).json() for end in (2, 4)]
    first, second = [reply["usage"]["prompt_tokens"] for reply in replies]
    # Three more speakers' tokens and ends at least; Chinese is read as bytes, 3 a character.
    assert second > first + 15 + 4


def test_n_is_up_to_the_slots_and_usage_counts_one_of_them(model_url):
    reply = post(model_url, n=3, seed=1, **ENDLESS).json()
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in reply["choices"]}) == 3
    assert reply["usage"]["completion_tokens"] == 16  # not 48: llama.cpp counts the first alone
    refused = post(model_url, n=5)
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        {
            "code": 400,
            "message": "Field 'n': Value must be between 1 <= value <= 4, but got 5",
            "type": "invalid_request_error",
        },
    )


def test_a_stream_says_the_same_and_its_usage_on_demand(model_url):
    same = {"temperature": 0} | ENDLESS
    whole = post(model_url, **same).json()
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    *parts, last = chunks(post(model_url, **same, **asked))
    deltas = [part["choices"][0]["delta"].get("content") or "" for part in parts]
    assert "".join(deltas) == whole["choices"][0]["message"]["content"]
    assert len(deltas) > 10
    assert parts[-1]["choices"][0]["finish_reason"] == "length"
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    assert not any("usage" in part for part in chunks(post(model_url, **same, stream=True)))


def test_a_schema_is_kept_to_where_there_is_room_for_it(model_url):
    for seed in range(8):
        (choice,) = said(model_url, **by_schema(seed=seed, max_tokens=400))
        verdict = json.loads(choice["message"]["content"])
        assert set(verdict) == {"winner", "score"}
        assert verdict["winner"] in ("first", "second", "tie")
        assert verdict["score"] in range(1, 11)
        assert choice["finish_reason"] == "stop"
    (choice,) = said(model_url, **by_schema(seed=0, max_tokens=3))
    assert choice["finish_reason"] == "length"
    with pytest.raises(ValueError):
        json.loads(choice["message"]["content"])


def test_log_probabilities_are_those_of_the_tokens_said(model_url):
    (choice,) = said(model_url, temperature=0, logprobs=True, top_logprobs=3, max_tokens=5)
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    for token in tokens:
        assert token["logprob"] < 0
        assert len(token["top_logprobs"]) == 3
        assert token["top_logprobs"][0]["token"] == token["token"]  # the likeliest, at 0
    refused = post(model_url, top_logprobs=3)
    assert refused.status_code == 400
    assert "requires logprobs" in refused.json()["error"]["message"]


def test_stop_is_cut_off_what_is_said(model_url):
    (choice,) = said(model_url, stop=["e"], max_tokens=200, **ENDLESS)
    assert choice["finish_reason"] == "stop"
    assert "e" not in choice["message"]["content"]


def test_the_model_is_listed_and_answers_to_any_name(model_url):
    listed = httpx.get(f"{model_url}/models").json()
    assert [model["id"] for model in listed["data"]] == ["random-llama"]
    assert post(model_url, model="gpt-4").json()["model"] == "random-llama"


def test_unknown_parameters_pass_and_wrong_types_do_not(model_url):
    said(model_url, no_such_parameter=1, user="me")
    refused = post(model_url, temperature="hot")
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("Field 'temperature'")


def test_a_prompt_that_is_too_long_is_told_with_its_length(model_url):
    for stream in (False, True):
        refused = post(model_url, "x" * 10_000, stream=stream)
        assert refused.status_code == 400
        error = refused.json()["error"]
        tokens = error["n_prompt_tokens"]
        assert tokens > 10_000
        assert error == {
            "code": 400,
            "message": f"request ({tokens} tokens) exceeds the available context size "
            "(8192 tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": tokens,
            "n_ctx": 8192,
        }


def test_a_server_of_another_kind(tmp_path, model_url):
    other = {"name": "other", "slots": 1, "seed": 1, "context": 128, "key": "sesame"}
    with model_server.model_server(tmp_path, **other) as url:
        refused = post(url)
        assert (refused.status_code, refused.json()["error"]) == (
            401,
            {"code": 401, "message": "Invalid API Key", "type": "authentication_error"},
        )
        reply = post(url, key="sesame", temperature=0, max_tokens=1000, **ENDLESS).json()
        assert reply["model"] == "other"
        assert reply["choices"][0]["finish_reason"] == "length"
        assert reply["usage"]["total_tokens"] == 128  # it ends where the context is full
        assert post(url, key="sesame", n=2).status_code == 400
        ours = said(url, key="sesame", temperature=0)[0]["message"]
        assert ours != said(model_url, temperature=0)[0]["message"]
    with pytest.raises(httpx.ConnectError):
        post(url)
    assert "listening on" in (tmp_path / "server.log").read_text()


def test_it_ends_with_the_process_that_started_it(tmp_path, model_url):
    code = (
        "import os, pathlib, signal, model_server\n"
        f"with model_server.model_server(pathlib.Path({str(tmp_path)!r})) as url:\n"
        "    print(url, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{done.stdout.strip()}/models")
        except httpx.TransportError:
            return
        time.sleep(0.02)
    pytest.fail("the server outlived the process that started it")


def test_a_server_that_does_not_start_says_why(tmp_path, model_url):
    with (
        pytest.raises(RuntimeError, match="cannot both be zero"),
        model_server.model_server(tmp_path, context=0),
    ):
        pass
