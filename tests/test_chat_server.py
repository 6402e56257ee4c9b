"""The chat service that the other tests talk to does what it says, good and bad."""

import http.client
import json
import random
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, closing, contextmanager

import chat_server
import pytest
from chat_server import Behaviour, Bucket, duration, serving

CHAT = "/v1/chat/completions"


def body(*said, **more):
    return {"model": "m", "messages": [{"role": "user", "content": text} for text in said], **more}


@contextmanager
def client(port):
    """`ask(body)` gives status, headers and text, all over one connection."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as line:

        def ask(sent=None, path=CHAT, method="POST", **headers):
            data = json.dumps(body("Hi") if sent is None else sent)
            line.request(method, path, data, headers)
            reply = line.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read().decode()

        yield ask


def raw(**more):
    """A call as bytes."""
    data = json.dumps(body("Hi", **more)).encode()
    return b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(data), data)


def until(true):
    """Wait for what the server does in its own time."""
    while not true():
        time.sleep(0.005)


def once(sent=None, path=CHAT, headers=None, **behaviour):
    """One call to a server of its own."""
    with serving(Behaviour(**behaviour)) as server, client(server.port) as ask:
        return *ask(sent, path, **(headers or {})), server


def test_a_good_reply_and_its_record():
    status, _, text, server = once(body("Where?", "When?"), headers={"X-Mine": "1"})
    reply = json.loads(text)
    assert (status, reply["model"], reply["usage"]["prompt_tokens"]) == (200, "m-0613", 2)
    assert reply["choices"][0]["message"]["content"] == "reply to: When? (messages: 2)"
    assert reply["choices"][0]["finish_reason"] == "stop"
    [call] = server.calls
    assert (call.path, call.headers["x-mine"], call.fault, call.connection) == (CHAT, "1", "", 1)
    assert call.body == body("Where?", "When?")
    stats = server.stats()
    assert [stats[k] for k in ("calls", "replies", "billed", "in_flight")] == [1, 1, 1, 0]
    assert stats["first_call_at"] == stats["last_call_at"] == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(fault, told[0], told[2]) for fault, told in chat_server.ERRORS.items()]
    + [("429", 429, "rate_limit_exceeded"), ("401", 401, "invalid_api_key")]
    + [("404", 404, "model_not_found")],
)
def test_errors_have_their_status_and_form(fault, status, code):
    assert fault.startswith(str(status)) or fault == "quota"
    got, headers, text, server = once(script=[fault], headers={"Authorization": "Bearer sk-1"})
    assert (got, json.loads(text)["error"]["code"]) == (status, code)
    assert headers.get("retry-after") == ("1" if fault == "429" else None)
    assert ("sk-1" in text) == (fault == "401")
    assert server.stats()["by_fault"] == {fault: 1}
    assert server.stats()["billed"] == 0


MESSAGES = {
    "null-content": lambda m, end: m["content"] is None and m["refusal"] is None,
    "empty": lambda m, end: m["content"] == "",
    "refusal": lambda m, end: m["content"] is None and m["refusal"].startswith("I'm sorry"),
    "length": lambda m, end: m["content"] == "reply to: Hi " and end == "length",
    "content_filter": lambda m, end: end == "content_filter",
    "surrogate": lambda m, end: m["content"].endswith("\ud83d"),
    "nul": lambda m, end: "\0" in m["content"],
    "ansi": lambda m, end: {"\x1b", "\a", "\r"} < set(m["content"]) and "]52;" in m["content"],
    "long": lambda m, end: len(m["content"]) == 200_000,
    "think": lambda m, end: re.match(r"(?s)<think>.+</think>\s+reply to: Hi", m["content"]),
    "reasoning": lambda m, end: m["reasoning_content"] and m["content"].startswith("reply"),
    "echo-key": lambda m, end: m["content"].endswith("sk-1"),
}


@pytest.mark.parametrize("fault", MESSAGES)
def test_messages_are_not_what_was_hoped_for(fault):
    status, _, text, _ = once(script=[fault], headers={"Authorization": "Bearer sk-1"})
    [choice] = json.loads(text)["choices"]
    assert status == 200
    assert MESSAGES[fault](choice["message"], choice["finish_reason"])


def test_replies_are_not_of_the_promised_shape():
    replies = {f: once(script=[f]) for f in ("no-choices", "empty-choices", "wrong-shape")}
    replies |= {f: once(script=[f]) for f in ("no-message", "no-usage", "malformed", "html")}
    assert {(reply[0], reply[3].stats()["replies"]) for reply in replies.values()} == {(200, 0)}
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(replies.pop("malformed")[2])
    assert replies["html"][1]["content-type"].startswith("text/html")
    assert replies.pop("html")[2].startswith("<!DOCTYPE html>")
    parsed = {fault: json.loads(reply[2]) for fault, reply in replies.items()}
    assert "choices" not in parsed["no-choices"]
    assert parsed["empty-choices"]["choices"] == []
    assert parsed["wrong-shape"]["choices"]["0"]["message"]["role"] == "assistant"
    assert "message" not in parsed["no-message"]["choices"][0]
    assert "usage" not in parsed["no-usage"]
    assert "usage" in parsed["no-message"]


@pytest.mark.parametrize("stream", [False, True])
def test_replies_that_break_on_the_way(stream):
    with serving(Behaviour(script=["drop", "slow-drip", "hang", "reset"])) as server:
        with client(server.port) as ask, pytest.raises(http.client.IncompleteRead) as cut:
            ask(body("Hi", stream=stream))
        assert stream or abs(len(cut.value.partial) - cut.value.expected) <= 1  # half is there
        assert b"[DONE]" not in cut.value.partial
        for starts in (b"HTTP/1.1 200 OK", b""):  # slow-drip, hang
            with socket.create_connection(("127.0.0.1", server.port), 0.1) as line:
                line.sendall(raw(stream=stream))
                with pytest.raises(TimeoutError):
                    got = b""
                    while True:
                        got += line.recv(65536) or b"closed"
            assert got[:15] == starts
            assert b"closed" not in got and b"[DONE]" not in got
        with client(server.port) as ask, pytest.raises(ConnectionResetError) as reset:
            ask()
        assert reset.type is ConnectionResetError  # not http.client's RemoteDisconnected
        stats = server.stats()
    assert (stats["calls"], stats["replies"], stats["billed"]) == (4, 0, 2)


def test_a_redirect_is_noticed_when_followed():
    with serving(Behaviour(script=["redirect"])) as server, client(server.port) as ask:
        status, headers, _ = ask()
        assert (status, server.stats()["elsewhere"]) == (307, 0)
        urllib.request.urlopen(headers["location"]).close()
        assert server.stats()["elsewhere"] == 1
    assert server.calls[-1].headers["host"].startswith("127.0.0.2:")


def test_a_bucket_of_60_a_minute_gives_its_burst_then_one_a_second():
    bucket, minute = Bucket(), Behaviour(requests_per_minute=60, burst=3)
    assert [bucket.take(minute, 10.0) for _ in range(4)] == [0, 0, 0, 1]
    assert "remaining-requests: 0\r\nx-ratelimit-reset-requests: 3s" in bucket.headers(minute)
    assert bucket.take(minute, 10.75) == 0.25
    assert [bucket.take(minute, at) for at in (11.0, 11.5, 12.0)] == [0, 0.5, 0]
    assert [bucket.take(minute, 99.0) for _ in range(4)] == [0, 0, 0, 1]
    assert [duration(s) for s in (0, 0.02, 1, 1.5, 363.5)] == ["0s", "20ms", "1s", "1.5s", "6m3.5s"]


def test_a_call_over_the_rate_is_told_when_to_come_back():
    with serving(Behaviour(requests_per_minute=300, burst=1)) as server, client(server.port) as ask:
        good, first, _ = ask()
        refused, headers, _ = ask()
        assert (good, refused, server.stats()["refused"]) == (200, 429, 1)
        assert first["x-ratelimit-limit-requests"] == "300"
        assert first["x-ratelimit-remaining-requests"] == "0"
        assert re.fullmatch(r"\d+ms", headers["x-ratelimit-reset-requests"])
        assert float(headers["retry-after"]) * 1000 == int(headers["retry-after-ms"]) <= 200
        time.sleep(float(headers["retry-after"]))
        assert ask()[0] == 200
        server.behaviour.retry_after = server.behaviour.rate_headers = False
        assert ask()[1].keys() == {"content-type", "content-length"}


def test_what_is_wrong_with_a_call():
    behaviour = Behaviour(
        key="sk-1",
        key_header="api-key",
        models=["m"],
        refuses={"max_tokens": "unsupported_parameter", "temperature": "unsupported_value"},
        context=3,
    )
    with serving(behaviour) as server, client(server.port) as ask:

        def told(sent, path=CHAT, **headers):
            status, _, text = ask(sent, path, **{"api-key": "sk-1"} | headers)
            told = json.loads(text).get("error", {})
            return status, told.get("code"), told.get("message", "")

        assert told(body("Hi", temperature=1)) == (200, None, "")
        assert told(body("Hi"), **{"api-key": "sk-2"})[:2] == (401, "invalid_api_key")
        assert "sk-2" in told(body("Hi"), **{"api-key": "sk-2"})[2]
        assert told(body("Hi") | {"model": "x"})[:2] == (404, "model_not_found")
        assert "'max_completion_tokens'" in told(body("Hi", max_tokens=9))[2]
        assert "does not support 0.7 with" in told(body("Hi", temperature=0.7))[2]
        assert told(body("one two", "three four"))[:2] == (400, "context_length_exceeded")
        assert told([])[0] == 400
        azure = "/openai/deployments/m/chat/completions"
        assert told({"messages": [{"content": "Hi"}]}, f"{azure}?api-version=1")[0] == 200
        assert [told({}, path)[0] for path in (azure, "/v1/engines")] == [404, 404]
        assert "sk-1" in json.dumps(json.loads(ask(path="/calls", method="GET")[2]))
        assert '"id": "m"' in ask(path="/v1/models", method="GET", **{"api-key": "sk-1"})[2]
    assert server.stats()["by_fault"]["key"] == 2


def test_which_fault_a_call_meets():
    behaviour = Behaviour(script=["500", ""], by_text={"ZQX": "empty"}, faults={"503": 1.0})
    with serving(behaviour) as server, client(server.port) as ask:
        for text in ("a ZQX", "b", "c", "d"):
            ask(body(text))
        server.behaviour = Behaviour(faults={"503": 0.2, "500": 0.1}, seed=1)
        for _ in range(300):
            ask()
    met = [call.fault for call in server.calls]
    dice = random.Random("fault 1")
    thrown = [dice.random() for _ in range(300)]
    assert met[:4] == ["empty", "500", "", "503"]
    assert met[4:] == ["503" if t < 0.2 else "500" if t < 0.3 else "" for t in thrown]
    assert {call.connection for call in server.calls} == {1}  # kept alive


def test_streams_and_several_choices():
    sent = body("Hi", n=2, stream=True, stream_options={"include_usage": True})
    texts = iter(["8 9 and why", "7 7"] * 2)
    with serving(Behaviour(text=lambda body: next(texts))) as server, client(server.port) as ask:
        whole = json.loads(ask(body("Hi", n=2))[2])
        _, headers, text = ask(sent)
    assert [c["message"]["content"] for c in whole["choices"]] == ["8 9 and why", "7 7"]
    assert headers["content-type"] == "text/event-stream"
    *events, done, end = text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert (chunks[-1]["usage"], chunks[-1]["choices"]) == (whole["usage"], [])
    streamed = ["", ""]
    for [choice] in (chunk["choices"] for chunk in chunks[:-1]):
        streamed[choice["index"]] += choice["delta"].get("content", "")
    assert streamed == ["8 9 and why", "7 7"]


def test_many_at_once_and_some_that_leave():
    with serving(Behaviour(latency=(0.2, 0.3))) as server, ExitStack() as lines:
        address = ("127.0.0.1", server.port)
        first, *more = (lines.enter_context(socket.create_connection(address)) for _ in range(50))
        for line in (first, *more):
            line.sendall(raw()[:-9])
            line.sendall(raw()[-9:])
        until(lambda: server.stats()["in_flight"] == 50)
        first.close()
        assert all(line.recv(65536).startswith(b"HTTP/1.1 200 OK") for line in more)
        server.behaviour.latency = (0, 0)
        more[0].sendall(raw() * 2)  # two in one piece
        until(lambda: server.stats()["replies"] == 51)
        stats = server.stats()
    assert (stats["most_in_flight"], stats["left"], stats["billed"]) == (50, 1, 52)


def test_leaving_closes_what_is_open():
    with ExitStack() as lines:
        with serving(Behaviour(script=["hang"])) as server:
            line = lines.enter_context(socket.create_connection(("127.0.0.1", server.port), 1))
            line.sendall(raw())
            until(lambda: server.stats()["in_flight"] == 1)
        assert line.recv(1) == b""


def test_a_mistake_of_the_tests_own_is_not_swallowed():
    with pytest.raises(ValueError, match="no fault is called 'flood'"):  # noqa: SIM117
        with serving(Behaviour(script=["flood"])) as server, client(server.port) as ask:
            with pytest.raises(http.client.RemoteDisconnected):
                ask()


def test_a_process_of_its_own_ends_with_its_stdin():
    command = [sys.executable, chat_server.__file__, "--words", "3", "--fault", "500=1"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        url = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/v1\n", process.stdout.readline())
        with client(url[1]) as ask:
            assert ask()[0] == 500
            assert json.loads(ask(path="/stats", method="GET")[2])["by_fault"] == {"500": 1}
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_batch_is_made_of_a_file_and_goes_its_steps():
    lines = [{"custom_id": f"c{n}", "url": CHAT, "body": body(f"Hi {n}")} for n in range(3)]
    form = b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n%s\r\n--x--\r\n'
    form %= b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    steps = {"steps": ["in_progress", "expired"], "batch_done": 2, "by_text": {"Hi 1": "400"}}
    with serving(Behaviour(**steps)) as server, client(server.port) as ask:

        def get(path, sent=None, method="GET"):
            return ask({} if sent is None else sent, f"/v1/{path}", method)[2]

        url = f"http://127.0.0.1:{server.port}/v1/files"
        file = json.load(urllib.request.urlopen(url, form))["id"]
        wanted = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
        made = json.loads(get("batches", wanted | {"metadata": {"a": "b"}}, "POST"))
        assert (made["status"], made["metadata"]) == ("validating", {"a": "b"})
        assert [each["id"] for each in json.loads(get("batches"))["data"]] == [made["id"]]
        seen = [json.loads(get(f"batches/{made['id']}")) for _ in range(3)]
        assert [each["status"] for each in seen] == ["in_progress", "expired", "expired"]
        assert seen[-1]["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
        (good,) = get(f"files/{seen[-1]['output_file_id']}/content").splitlines()
        one, two = get(f"files/{seen[-1]['error_file_id']}/content").splitlines()
        assert json.loads(good)["response"]["body"]["choices"][0]["message"]["content"]
        assert json.loads(one)["response"]["status_code"] == 400
        assert json.loads(two)["error"]["code"] == "batch_expired"
        assert len(server.paid) == 1 and ask({}, "/v1/batches/none", "GET")[0] == 404
