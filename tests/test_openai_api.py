"""Calls to a chat API over real connections: what is sent, what comes back, and what goes wrong."""

import asyncio
import gzip
import json
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import chat_server
import model_server
import openai
import pytest
from chat_server import FAULTS, LONG, THOUGHT, serving

from evalkit.catalog import Catalog, Stanza, Timeouts
from evalkit.chat import Failure, Headroom, Kind, Message, Reply, Request, Sampling
from evalkit.errors import BadKey, Missing
from evalkit.keys import Keys
from evalkit.providers.openai_api import Provider
from evalkit.records import Usage

model_url = model_server.model_url  # the fixture

KEY = "sk-Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8"
OTHER_KEY = "9f8e7d6c5b4a39281706"
CHAT = "/v1/chat/completions"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def saying(*texts, **sampling):
    """A request whose messages are these texts, of the user and the model in turn."""
    roles = ("user", "assistant") * len(texts)
    messages = (Message(role, text) for role, text in zip(roles, texts, strict=False))
    return Request(tuple(messages), Sampling(**sampling))


HI = saying("Hi")
SAMPLED = saying("Hi", temperature=0.7, max_tokens=50, seed=3)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def service():
    with serving() as server:
        yield server


@contextmanager
def reached(url, environment=None, **stanza):
    """A Provider of the model `m` at an address, in a loop of its own: `ask`, `at_once`."""
    environment = environment or {}
    own = {"m": Stanza(**{"provider": "openai_api", "model": "m", "url": url} | stanza)}
    with opened(Catalog({}, own, environment).find("m"), environment) as provider:
        yield provider


@contextmanager
def opened(model, environment):
    provider = Provider(model, Keys(environment))

    async def all_of(requests):
        return await asyncio.gather(*map(provider.reply, requests))

    with asyncio.Runner() as runner:
        try:
            yield SimpleNamespace(
                ask=lambda request=HI: runner.run(provider.reply(request)),
                at_once=lambda *requests: runner.run(all_of(requests)),
                models=lambda: runner.run(provider.models()),
                shares=provider.shares,
            )
        finally:
            runner.run(provider.close())


def once(url, request=HI, key=None, **stanza):
    """One call, with a key or without."""
    named = {"key_env": "A_KEY"} if key else {}
    with reached(url, {"A_KEY": key} if key else {}, **named, **stanza) as model:
        return model.ask(request)


@contextmanager
def answering(*answers):
    """A server that gives these answers, then the last one for good: (status, body, headers)."""
    waiting, calls = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            content = self.rfile.read(int(headers.get("content-length", 0)))
            calls.append(SimpleNamespace(path=self.path, headers=headers, body=content))
            status, body, *more = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            told = {"content-type": "application/json"} | (more[0] if more else {})
            self.send_response(status)
            for name, value in told.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            port = server.server_port
            yield SimpleNamespace(url=f"http://127.0.0.1:{port}/v1", port=port, calls=calls)
        finally:
            server.shutdown()
            thread.join()


def completion(text="Hello.", **message):
    return {"choices": [{"message": {"content": text, **message}, "finish_reason": "stop"}]}


def told(message, **more):
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


def until(true):
    """Wait for what a server does in its own time."""
    while not true():
        time.sleep(0.005)


def timeless(reply):
    return replace(reply, time=None, latency=None)


def harmless(failure, *keys):
    """A failure's words are one short line without a key."""
    assert isinstance(failure, Failure)
    assert 0 < len(failure.said) < 350
    assert len(failure.said.splitlines()) == 1
    assert not [key for key in (KEY, *keys) if key in failure.said]
    return failure


# What is sent: as the `openai` package sends it

REQUESTS = {
    "plain": HI,
    "sampled": SAMPLED,
    "at zero": saying("Hi", temperature=0.0, max_tokens=1, seed=0),
    "several turns": saying("What is the sea?", "Water.", "Shorter!\n", temperature=1.0),
    "not English": saying("你好，世界 😀👩‍🚀", "é\u2028\x00\x1b[0m", '"\\', max_tokens=9),
    "with a system": Request((Message("system", "Be short."), Message("user", "Hi"))),
}
SERVICES = {
    "openai": ("openai/gpt-4o", "max_completion_tokens"),
    "local": ("{url}#my-org/my-model", "max_tokens"),
    "local with a key": ("{url}#my-org/my-model", "max_tokens"),
    "azure": ("azure/gpt 4o-中", "max_tokens"),
}


def by_the_package(service, server, request, model_id, limit_name, stream):
    """The same call, made by the `openai` package."""
    sampling = request.sampling.parameters()
    if "max_tokens" in sampling:
        sampling[limit_name] = sampling.pop("max_tokens")
    if stream:
        sampling |= {"stream": True, "stream_options": {"include_usage": True}}
    if service == "local":
        sampling["extra_headers"] = {"Authorization": openai.Omit()}

    def client():
        if service == "azure":
            root = server.url.removesuffix("/v1")
            return openai.AsyncAzureOpenAI(
                azure_endpoint=root, api_key=KEY, api_version="2024-10-21", max_retries=0
            )
        return openai.AsyncOpenAI(base_url=server.url, api_key=KEY, max_retries=0)

    async def call():
        messages = [{"role": each.role, "content": each.text} for each in request.messages]
        async with client() as package:
            found = await package.chat.completions.create(
                model=model_id, messages=messages, **sampling
            )
            if stream:
                return [chunk async for chunk in found]
            return found

    return asyncio.run(call())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("at", SERVICES)
def test_what_is_sent_is_what_the_openai_package_sends(service, tmp_path, at, request_, stream):
    name, limit_name = SERVICES[at]
    environment = {
        "OPENAI_BASE_URL": service.url,
        "OPENAI_API_KEY": KEY,
        "AZURE_OPENAI_ENDPOINT": service.url.removesuffix("/v1"),
        "AZURE_OPENAI_API_KEY": KEY,
        "LOCAL_KEY": KEY,
    }
    catalog = Catalog.load(tmp_path / "none.yaml", environment)
    key_env = "LOCAL_KEY" if at == "local with a key" else None
    model = catalog.find(name.format(url=service.url), key_env)
    model = replace(model, stanza=model.stanza.model_copy(update={"stream": stream}))
    with opened(model, environment) as ours:
        reply = ours.ask(request_)
    theirs = by_the_package(at, service, request_, model.id, limit_name, stream)

    assert isinstance(reply, Reply)
    one, two = service.calls
    assert (one.method, one.path, one.body) == (two.method, two.path, two.body)
    for header in ("authorization", "api-key", "content-type"):
        assert one.headers.get(header) == two.headers.get(header), header
    assert ("authorization" in one.headers or "api-key" in one.headers) == (at != "local")
    if not stream:
        assert reply.text == theirs.choices[0].message.content
        assert reply.usage.input == theirs.usage.prompt_tokens


def test_headers_path_and_query_of_the_catalogue_are_sent(service):
    service.behaviour.key, service.behaviour.key_header = KEY, "x-key"
    more = {"headers": {"x-team": "blue"}, "key_header": "X-Key", "query": {"a": "1 2", "b": "&"}}
    assert isinstance(once(service.url, key=KEY, **more), Reply)
    assert service.calls[0].path == f"{CHAT}?a=1+2&b=%26"
    assert service.calls[0].headers["x-team"] == "blue"
    assert "authorization" not in service.calls[0].headers
    root = service.url.removesuffix("/v1")
    assert isinstance(once(root, key=KEY, **more, path="openai/v1/chat/completions"), Reply)


def test_a_model_in_the_path_is_one_step_of_it(service):
    once(service.url, path="x/{model}/y", model="a/b?c#d")
    assert service.calls[0].path == "/v1/x/a%2Fb%3Fc%23d/y"
    assert service.calls[0].body["model"] == "a/b?c#d"


# What comes back

REPLY = "reply to: Hi (messages: 1)"
REPLIES = {  # fault -> what differs from a good reply
    "": {},
    "null-content": {"text": ""},
    "empty": {"text": ""},
    "refusal": {"text": "", "refusal": "I'm sorry, I can't assist with that."},
    "surrogate": {"text": "a lone surrogate: \ufffd", "repaired": 1},
    "nul": {"text": "before\x00after"},
    "ansi": {"text": chat_server.ANSI},
    "long": {"text": LONG},
    "reasoning": {"reasoning": THOUGHT},
    "think": {"reasoning": THOUGHT},
    "length": {"text": REPLY[: len(REPLY) // 2], "finish_reason": "length"},
    "content_filter": {"text": REPLY[: len(REPLY) // 2], "finish_reason": "content_filter"},
    "no-usage": {"usage": None},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", REPLIES)
def test_a_reply_is_kept_as_it_came(service, fault, stream):
    service.behaviour.script = [fault]
    reply = once(service.url, SAMPLED, stream=stream)
    good = Reply(
        text=REPLY,
        served="m-0613",
        usage=Usage(input=1, output=len(REPLIES[fault].get("text", REPLY).split())),
        finish_reason="stop",
        sampling={"temperature": 0.7, "max_tokens": 50, "seed": 3},
    )
    if fault == "think":  # its server counts the reasoning
        good = replace(good, usage=Usage(input=1, output=len(f"< {THOUGHT} > {REPLY}".split())))
    if fault == "surrogate":
        good = replace(good, usage=Usage(input=1, output=4))
    assert timeless(reply) == replace(good, **REPLIES[fault])
    assert reply.latency >= 0
    assert abs(datetime.now(UTC) - datetime.fromisoformat(reply.time)) < timedelta(minutes=5)


def test_content_in_parts_and_raw_bytes_are_read():
    parts = [{"type": "text", "text": "你"}, {"type": "text", "text": "好"}]
    broken = json.dumps(completion("a?b")).encode().replace(b"?", b"\xff\xfe")
    with answering((200, completion(parts)), (200, broken)) as server, reached(server.url) as model:
        assert model.ask().text == "你好"
        reply = model.ask()
        assert (reply.text, reply.repaired) == ("a\ufffd\ufffdb", 2)


def test_what_a_service_will_still_take_is_told_with_each_reply(service):
    service.behaviour.requests_per_minute, service.behaviour.burst = 60, 2
    with reached(service.url) as model:
        rooms = [model.ask().headroom for _ in range(3)]
        refused = model.ask()
    assert [room[0].remaining for room in rooms[:2]] == [1, 0]
    assert rooms[0][0].unit == "requests"
    assert rooms[0][0].limit == 60
    assert 0 < rooms[0][0].reset <= 1
    assert isinstance(refused, Failure)
    assert refused.headroom == (Headroom("requests", 60, 0, refused.headroom[0].reset),)


# What goes wrong

FAILURES = {  # fault -> kind, whether it may be billed, words
    "400": (Kind.REJECTED, False, "Invalid value: 'messages'. (400)"),
    "401": (Kind.KEY, False, "refused the key …7Op8 (401)"),
    "403": (Kind.KEY, False, "(403): Country, region, or territory not supported"),
    "404": (Kind.NO_MODEL, False, "no model 'm' at "),
    "408": (Kind.DOWN, False, "Request timed out. (408)"),
    "409": (Kind.DOWN, False, "(409)"),
    "429": (Kind.BUSY, False, "is busy (429)"),
    "429-no-hint": (Kind.BUSY, False, "is busy (429)"),
    "quota": (Kind.QUOTA, False, "quota used up at "),
    "500": (Kind.DOWN, False, "(500)"),
    "503": (Kind.DOWN, False, "currently overloaded, please try again later. (503)"),
    "redirect": (Kind.NO_MODEL, False, "points elsewhere (307); not followed"),
    "html": (Kind.BAD_REPLY, True, "not JSON: <!DOCTYPE html>"),
    "malformed": (Kind.BAD_REPLY, True, "not JSON"),
    "no-choices": (Kind.BAD_REPLY, True, "choices"),
    "empty-choices": (Kind.BAD_REPLY, True, "choices"),
    "wrong-shape": (Kind.BAD_REPLY, True, "choices"),
    "no-message": (Kind.BAD_REPLY, True, "choices"),
    "drop": (Kind.DOWN, True, "broke off"),
    "reset": (Kind.DOWN, True, "broke off"),
    "hang": (Kind.DOWN, True, "did not reply in time"),
    "slow-drip": (Kind.DOWN, True, "did not reply in time"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", FAILURES)
def test_a_fault_is_told_by_what_can_be_done_about_it(service, fault, stream):
    service.behaviour.script, service.behaviour.wait = [fault], 0.25
    slow = fault in ("hang", "slow-drip")
    times = {"timeouts": Timeouts(total=0.2)} if slow else {}
    failure = harmless(once(service.url, key=KEY, stream=stream, **times))
    kind, billed, words = FAILURES[fault]
    assert (failure.kind, failure.billed) == (kind, billed), failure
    assert words in failure.said
    assert f"127.0.0.1:{service.port}" in failure.said
    assert failure.wait == (0.25 if fault == "429" else None)
    assert failure.headroom == ()
    assert (service.counts.calls, service.counts.elsewhere) == (1, 0)


def test_each_fault_of_the_service_has_its_test():
    assert set(REPLIES) | set(FAILURES) | {"echo-key"} == FAULTS | {""}


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"retry-after": "7"}, 7, 7),
        ({"retry-after-ms": "1234", "retry-after": "2"}, 1.234, 1.234),
        ({"Retry-After": "in 90 seconds"}, 80, 90),
        ({"retry-after": "soon"}, None, None),
        ({"x-ratelimit-reset-requests": "5s"}, None, None),
    ],
)
@pytest.mark.parametrize(("status", "kind"), [(429, Kind.BUSY), (503, Kind.DOWN)])
def test_when_to_ask_again_is_read_in_every_form(headers, low, high, status, kind):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    sent = {n: date if value.startswith("in") else value for n, value in headers.items()}
    with answering((status, told("Later."), sent)) as server:
        failure = once(server.url)
    assert failure.kind == kind
    assert failure.wait is None if low is None else low <= failure.wait <= high


def test_a_service_that_wants_money_or_a_key_says_so():
    answers = [(402, told("Insufficient Balance")), (401, told("Give a key."))]
    with answering(*answers) as server, reached(server.url) as model:
        failure = model.ask()
        assert (failure.kind, "402" in failure.said) == (Kind.QUOTA, True)
        failure = model.ask()
        assert failure.kind == Kind.KEY
        assert failure.said == f"127.0.0.1:{server.port} wants a key (401). Give --key-env NAME"


def test_a_prompt_that_is_too_long_is_its_own_fault(service):
    service.behaviour.context = 3
    with reached(service.url) as model:
        assert model.ask(saying("one two three four")).kind == Kind.TOO_LONG
        assert isinstance(model.ask(saying("one two")), Reply)


def test_a_wrong_address_is_told_as_one(service):
    root = service.url.removesuffix("/v1")
    failure = harmless(once(root, model="llama-3"))
    assert failure.kind == Kind.NO_MODEL
    assert f"no chat service at {root}/chat/completions" in failure.said


def test_a_server_that_is_not_there_was_not_asked():
    with serving() as server:
        pass
    failure = harmless(once(server.url))
    assert (failure.kind, failure.billed) == (Kind.DOWN, False)
    assert failure.said.startswith(f"no connection to 127.0.0.1:{server.port}: ")


def test_a_server_that_goes_away_is_down_and_found_again():
    with ExitStack() as until_now:
        server = until_now.enter_context(serving())
        with reached(server.url) as model:
            assert isinstance(model.ask(), Reply)
            until_now.close()
            assert harmless(model.ask()).kind == Kind.DOWN
            with serving(port=server.port):
                assert isinstance(model.ask(), Reply)


def test_a_reply_without_end_is_broken_off():
    bomb = gzip.compress(b" " * 50_000_001, 1)
    with answering((200, bomb, {"content-encoding": "gzip"})) as server:
        failure = harmless(once(server.url))
    assert (failure.kind, failure.billed) == (Kind.DOWN, True)
    assert "more than 50 MB" in failure.said


def test_a_model_without_an_address_cannot_be_asked(tmp_path):
    catalog = Catalog.load(tmp_path / "none.yaml", {})
    with pytest.raises(Missing, match="set AZURE_OPENAI_ENDPOINT"):
        Provider(catalog.find("azure/mine"), Keys({"AZURE_OPENAI_API_KEY": KEY}))


# Parameters that a model refuses

NEGOTIATED = [  # the stanza's name for the limit, what is refused, what is then sent
    ("max_tokens", {"temperature": "unsupported_value"}, {"max_tokens": 50, "seed": 3}),
    ("max_tokens", {"seed": "unsupported_parameter"}, {"temperature": 0.7, "max_tokens": 50}),
    (
        "max_tokens",
        {"max_tokens": "unsupported_parameter"},
        {"temperature": 0.7, "max_completion_tokens": 50, "seed": 3},
    ),
    (
        "max_completion_tokens",
        {"max_completion_tokens": "unsupported_parameter"},
        {"temperature": 0.7, "max_tokens": 50, "seed": 3},
    ),
    (
        "max_tokens",
        dict.fromkeys(("temperature", "seed", "max_tokens"), "unsupported_parameter"),
        {"max_completion_tokens": 50},
    ),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("name", "refuses", "sent"), NEGOTIATED)
def test_a_refused_parameter_is_learnt_once(service, name, refuses, sent, stream):
    service.behaviour.refuses = refuses
    with reached(service.url, max_tokens_name=name, stream=stream) as model:
        replies = [model.ask(SAMPLED) for _ in range(3)]
    assert [dict(reply.sampling) for reply in replies] == [sent] * 3
    assert service.counts.calls == 3 + len(refuses)
    parameters = {"temperature", "seed", "max_tokens", "max_completion_tokens"}
    for call in service.calls:
        assert ("max_tokens" in call.body) != ("max_completion_tokens" in call.body)
    for call in service.calls[len(refuses) :]:
        assert {n: value for n, value in call.body.items() if n in parameters} == sent


def test_calls_at_once_learn_the_same(service):
    service.behaviour.refuses = dict.fromkeys(("temperature", "max_tokens"), "unsupported_value")
    with reached(service.url) as model:
        replies = model.at_once(*[SAMPLED] * 6)
        learnt = service.counts.calls
        model.at_once(*[SAMPLED] * 6)
    expected = {"max_completion_tokens": 50, "seed": 3}
    assert [dict(reply.sampling) for reply in replies] == [expected] * 6
    assert learnt <= 6 * 3
    assert service.counts.calls == learnt + 6


def test_a_limit_under_no_name_is_a_refusal(service):
    names = ("max_tokens", "max_completion_tokens")
    service.behaviour.refuses = dict.fromkeys(names, "unsupported_parameter")
    failure = once(service.url, SAMPLED)
    assert failure.kind == Kind.REJECTED
    assert [[name for name in names if name in call.body] for call in service.calls] == [
        ["max_tokens"],
        ["max_completion_tokens"],
    ]


def test_a_limit_that_is_too_high_is_not_negotiated():
    words = "max_tokens is too large: 50. This model supports at most 8 completion tokens."
    with answering((400, told(words, param="max_tokens", code="invalid_value"))) as server:
        failure = once(server.url, SAMPLED)
        assert len(server.calls) == 1
    assert (failure.kind, words in failure.said) == (Kind.REJECTED, True)


# Streams


def events(*values, end=b"\n\n"):
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return b"".join(b"data: " + text.encode() + end for text in texts)


def piece(text, end=None, **more):
    return {"choices": [{"delta": {"content": text, **more}, "finish_reason": end}]}


EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


@pytest.mark.parametrize(
    "body",
    [
        events(piece("Hel"), piece("lo."), piece("", "stop"), "[DONE]"),
        events(piece("Hel"), piece("lo.", "stop")),
        events(piece("Hel"), piece("lo.", "stop"), "[DONE]", end=b"\r\n\r\n"),
        b": keep-alive\n\nevent: x\nid: 1\n" + events(piece("Hello.", "stop"), "[DONE]")[:-2],
        events(piece("Hello.", "stop"), "[DONE]").replace(b"data: ", b"data:"),
    ],
)
def test_events_are_read_in_every_form(body):
    with answering((200, body, EVENTS)) as server:
        for stream in (True, False):  # some servers stream whatever was asked
            reply = once(server.url, stream=stream)
            assert (reply.text, reply.finish_reason) == ("Hello.", "stop")


def test_a_whole_reply_to_a_call_for_a_stream_is_read():
    with answering((200, completion())) as server:
        assert once(server.url, stream=True).text == "Hello."


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (events(piece("Hel")), "broke off"),
        (b"", "broke off"),
        (events("[DONE]"), ""),
        (events(piece("Hel"), {"error": {"message": f"overloaded {KEY}"}}, "[DONE]"), "error"),
        (events(piece("Hel"), '{"choices": [', "[DONE]"), "not JSON"),
        (events({"choices": 5}, "[DONE]"), "choices"),
    ],
)
def test_a_stream_that_breaks_is_no_reply(body, words):
    with answering((200, body, EVENTS)) as server:
        failure = harmless(once(server.url, key=KEY, stream=True))
    assert (failure.kind, failure.billed) == (Kind.BAD_REPLY, True)
    assert words in failure.said


def test_a_stream_may_be_silent_only_so_long_and_a_whole_reply_longer(service):
    short = {"timeouts": Timeouts(silence=0.15)}
    service.behaviour.script = ["slow-drip"]
    failure = harmless(once(service.url, stream=True, **short))
    assert (failure.kind, failure.billed) == (Kind.DOWN, True)
    assert "did not reply in time" in failure.said
    service.behaviour.latency = (0.3, 0.3)
    assert isinstance(once(service.url, **short), Reply)


# Keys


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_echoed_key_is_taken_out_of_a_reply(service, stream):
    service.behaviour.script = ["echo-key"]
    assert once(service.url, key=KEY, stream=stream).text == f"{REPLY} …7Op8"


def test_every_known_key_is_taken_out_of_everything_that_is_said():
    both = f"my keys are {KEY} and {OTHER_KEY}."
    message = {"content": both, "reasoning_content": both, "refusal": both}
    body = {"model": both, "choices": [{"message": message, "finish_reason": both}]}
    environment = {"A_KEY": KEY, "OTHER_SERVICE_API_KEY": OTHER_KEY}
    with (
        answering((200, body)) as server,
        reached(server.url, environment, key_env="A_KEY") as model,
    ):
        reply = model.ask()
        assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"
    hidden = "my keys are …7Op8 and …1706."
    said = (reply.text, reply.reasoning, reply.refusal, reply.served, reply.finish_reason)
    assert said == (hidden,) * 5


BOTH = f"{KEY} {OTHER_KEY}"


@pytest.mark.parametrize(
    "answer",
    [
        (400, told(BOTH)),
        (400, BOTH.encode()),
        (401, told(BOTH)),
        (403, told(BOTH)),
        (404, told(BOTH, code=BOTH)),
        (429, told(BOTH, code=f"insufficient_quota {BOTH}")),
        (500, told(BOTH)),
        (200, BOTH.encode(), {"content-type": "text/html"}),
        (200, {"message": BOTH}),
    ],
)
def test_every_known_key_is_taken_out_of_a_failure(answer):
    environment = {"A_KEY": KEY, "OTHER_SERVICE_API_KEY": OTHER_KEY}
    with answering(answer) as server, reached(server.url, environment, key_env="A_KEY") as model:
        harmless(model.ask(), OTHER_KEY)


@pytest.mark.parametrize("status", [400, 403, 200])
def test_no_part_of_a_key_is_left_where_the_words_are_cut(status):
    padded = [told("x " * 60 + "y" * length + KEY) for length in range(90)]
    answers = [(status, {**body, "choices": 5}) for body in padded]
    pieces = {KEY[start : start + 8] for start in range(len(KEY) - 7)}
    with answering(*answers) as server, reached(server.url, {"A_KEY": KEY}, key_env="A_KEY") as m:
        for _ in answers:
            said = harmless(m.ask()).said
            assert not [part for part in pieces if part in said], said


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (KEY + "\n", "a line break at its end"),
        (KEY + "\r\n", "a line break"),
        (KEY + "\r", "a line break at its end"),
        (" " + KEY, "a blank at its beginning"),
        (f"{KEY[:9]} {KEY[9:]}", "a blank in it"),
        (KEY + "\t", "a tab at its end"),
        (f'"{KEY}"', "a quote"),
        (f"'{KEY}", "a quote at its beginning"),
        (KEY + "é", "a character that no key has"),
        (KEY + "\x00", "a character that no key has"),
    ],
)
def test_a_key_that_cannot_be_sent_is_refused_before_any_call(service, key, words):
    with pytest.raises(BadKey, match=words) as refused:
        once(service.url, key=key)
    assert KEY not in str(refused.value)
    assert service.calls == []


def test_a_missing_key_is_told_with_the_line_to_paste(service):
    with (
        pytest.raises(Missing, match=r"export A_KEY=\.\.\."),
        reached(service.url, key_env="A_KEY"),
    ):
        pass


def test_a_key_goes_to_its_home_only(service, tmp_path):
    environment = {"OPENAI_API_KEY": KEY}
    stranger = f"{service.url}#m"
    catalog = Catalog.load(tmp_path / "none.yaml", environment)
    with pytest.raises(BadKey, match=r"OPENAI_API_KEY goes only to https://api\.openai\.com"):
        catalog.find(stranger, "OPENAI_API_KEY")
    with opened(catalog.find(stranger), environment) as model:
        assert isinstance(model.ask(), Reply)
    assert not [name for name, value in service.calls[0].headers.items() if KEY in value]

    environment["OPENAI_BASE_URL"] = service.url
    catalog = Catalog.load(tmp_path / "none.yaml", environment)
    with opened(catalog.find(stranger, "OPENAI_API_KEY"), environment) as model:
        assert model.shares == f"{service.url} OPENAI_API_KEY"
        assert isinstance(model.ask(), Reply)
    assert service.calls[1].headers["authorization"] == f"Bearer {KEY}"


def test_a_redirect_to_another_path_is_not_followed_either():
    with answering((308, b"", {"location": "/v1/other"})) as server:
        failure = harmless(once(server.url, key=KEY))
        assert (failure.kind, len(server.calls)) == (Kind.NO_MODEL, 1)


# Proxies


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_is_used_for_this_machine(service, monkeypatch, variable, host):
    with answering((200, completion("from the proxy"))) as proxy:
        monkeypatch.setenv(variable, proxy.url.removesuffix("/v1"))
        assert once(service.url.replace("127.0.0.1", host)).text == REPLY
        assert proxy.calls == []


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_is_used_for_other_machines(monkeypatch, variable):
    with answering((200, completion("from the proxy"))) as proxy:
        monkeypatch.setenv(variable, f"http://me:pass@127.0.0.1:{proxy.port}")
        assert once("http://example.invalid/v1", key=KEY).text == "from the proxy"
    (call,) = proxy.calls
    assert call.path == f"http://example.invalid{CHAT}"
    assert call.headers["host"] == "example.invalid"
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.headers["proxy-authorization"].startswith("Basic ")
    assert json.loads(call.body)["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_proxy_for_the_other_scheme_is_not_used(service, monkeypatch):
    with answering((200, completion("from the proxy"))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("NO_PROXY", "example.invalid")
        assert once(service.url).text == REPLY
        assert proxy.calls == []


@pytest.mark.parametrize("at", ["127.0.0.1:{port}", "127.0.0.1:99999"])
@pytest.mark.parametrize("before", ["http://", "http://me:proxy-password@", ""])
def test_through_a_proxy_that_is_not_there_nothing_was_asked(monkeypatch, before, at):
    with serving() as gone:
        pass
    monkeypatch.setenv("HTTP_PROXY", before + at.format(port=gone.port))
    failure = harmless(once("http://example.invalid/v1", key=KEY), "proxy-password")
    assert (failure.kind, failure.billed) == (Kind.DOWN, False)


# Connections


def test_calls_one_after_the_other_share_one_connection(service):
    service.behaviour.script = ["", "500", "429", "404", "html", "no-choices", "long"]
    with reached(service.url) as model:
        for _ in range(20):
            model.ask()
    assert (service.counts.calls, service.counts.connections) == (20, 1)


def test_a_streamed_call_has_a_connection_of_its_own(service):
    with reached(service.url, stream=True) as model:
        assert all(isinstance(model.ask(), Reply) for _ in range(5))
        until(lambda: not service.open)
    assert service.counts.connections == 5


def test_calls_at_once_open_no_more_connections_than_they_are(service):
    service.behaviour.latency = (0.0, 0.02)
    with reached(service.url) as model:
        for _ in range(4):
            assert all(isinstance(reply, Reply) for reply in model.at_once(*[HI] * 12))
        model.ask()
    assert service.counts.calls == 49
    assert service.counts.connections <= 12
    assert service.counts.most_in_flight > 6


def test_many_calls_at_once_are_all_under_way(service):
    service.behaviour.latency = (0.3, 0.3)
    with reached(service.url) as model:
        model.at_once(*[HI] * 150)  # more than the 100 that aiohttp allows by itself
    assert service.counts.most_in_flight > 120


def test_all_connections_are_closed_at_the_end(service):
    with reached(service.url) as model:
        model.at_once(*[HI] * 5)
    until(lambda: not service.open)


# The list of models


def test_the_models_of_a_server_are_listed(service):
    service.behaviour.models, service.behaviour.key = ["m", "n", f"mine-{KEY}"], KEY
    with reached(service.url, {"A_KEY": KEY}, key_env="A_KEY") as model:
        assert model.models() == ["m", "n", "mine-…7Op8"]
    with reached(service.url) as model:
        assert harmless(model.models()).kind == Kind.KEY


@pytest.mark.parametrize("body", [b"<html>", {"data": 5}, {"data": [{}]}, [], {"models": []}, None])
def test_a_list_of_models_that_is_none_is_told(body):
    with answering((200, body)) as server, reached(server.url) as model:
        assert harmless(model.models()).kind == Kind.BAD_REPLY


# A real server


def test_a_real_model_server_is_asked_whole_and_streamed(model_url):
    turns = saying("What is the sea?", "Water.", "更短一点。", temperature=0.0, max_tokens=12)
    with reached(model_url) as whole, reached(model_url, stream=True) as streamed:
        for request in (saying("What is the sea?", temperature=0.0, max_tokens=12), turns):
            one, two = whole.ask(request), streamed.ask(request)
            assert timeless(one) == timeless(two)
            assert one.text
            assert one.served == "random-llama"
            assert one.finish_reason in ("stop", "length")
            assert 0 < one.usage.output <= 12
            assert one.sampling == {"temperature": 0.0, "max_tokens": 12}
        assert one.usage.input > 15
        seeded = saying("Hi", temperature=1.0, max_tokens=30, seed=5)
        assert len({reply.text for reply in whole.at_once(*[seeded] * 3)}) == 1


def test_a_real_model_server_refuses_in_words(model_url):
    with reached(model_url) as model:
        failure = harmless(model.ask(saying("x" * 10_000, max_tokens=5)))
        assert failure.kind == Kind.TOO_LONG
        assert model.models() == ["random-llama"]
