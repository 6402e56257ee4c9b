"""What a chat API sends and says, as values: bodies, refusals, limits; no connection is opened."""

import json
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evalkit.chat import Headroom, Kind, Message, Request, Sampling, bought
from evalkit.providers.openai_api import bodies, limits
from evalkit.providers.openai_api.bodies import Dialect, NoReply
from evalkit.providers.openai_api.refusals import Refusal
from evalkit.records import Answer, Usage

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ASKED = Request((Message("user", "Hi"),), Sampling(0.7, 100, 3), ("q1",))


def came(message, **more):
    """The reply that a body with this message is."""
    return bodies.reply({"choices": [{"message": message}], **more})


def row(reply):
    """A reply as a line of a ledger, as bytes, and read back."""
    fields = bought(ASKED, reply, "m", None)
    line = Answer(question="q1", model="m", turns=(reply.text,), **fields).line()
    return json.loads(line.encode("utf-8"))


# A body -> a Reply


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Hi.", "Hi."),
        ("", ""),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "你"}, {"type": "text", "text": "好😀"}], "你好😀"),
        ([{"type": "image_url", "image_url": {}}, {"text": "seen"}, "odd", {"text": 1}], "seen"),
        ("  kept as it is\n", "  kept as it is\n"),
        ("a\x00b\x1b[2J", "a\x00b\x1b[2J"),
    ],
)
def test_the_content_is_a_text_nothing_or_parts(content, text):
    reply = came({"content": content})
    assert (reply.text, reply.repaired) == (text, 0)


def test_a_message_without_content_is_an_empty_reply():
    assert came({"role": "assistant"}).text == ""


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "42", "reasoning_content": "six times seven"}, "42", "six times seven"),
        ({"content": "42", "reasoning": "six times seven"}, "42", "six times seven"),
        ({"content": "<think>\nsix\n</think>\n\n42"}, "42", "six"),
        ({"content": "\n <think>six</think>42"}, "42", "six"),
        ({"content": "<think></think>42"}, "42", None),
        ({"content": "<think>six times"}, "", "six times"),
        ({"content": "<think>a</think>b</think>c"}, "b</think>c", "a"),
        ({"content": "Say <think>six</think>"}, "Say <think>six</think>", None),
        ({"content": "42", "reasoning_content": None, "reasoning": ""}, "42", None),
        ({"content": "<think>a</think>b", "reasoning_content": "field"}, "b", "field"),
    ],
)
def test_reasoning_is_kept_apart_from_what_is_said(message, text, reasoning):
    reply = came(message)
    assert (reply.text, reply.reasoning) == (text, reasoning)


def test_each_half_character_is_replaced_and_those_of_the_text_are_counted():
    halves = {"content": "\ud83d a \udc00\ud83d", "reasoning": "\ud800", "refusal": "\udfff"}
    reply = came(halves, model="m\ud83d")
    assert (reply.text, reply.repaired) == ("\ufffd a \ufffd\ufffd", 3)
    assert (reply.reasoning, reply.refusal, reply.served) == ("\ufffd", "\ufffd", "m\ufffd")
    assert row(reply)["repaired"] == 3


def test_what_the_service_did_not_say_is_not_there():
    reply = came({"content": "Hi."})
    assert (reply.served, reply.usage, reply.finish_reason) == (None, None, None)
    assert (reply.reasoning, reply.refusal, reply.sampling) == (None, None, None)


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 0}, Usage(input=3, output=0)),
        ({"prompt_tokens": 3}, None),
        ({"prompt_tokens": 3, "completion_tokens": None}, None),
        ({"prompt_tokens": 3, "completion_tokens": -1}, None),
        ({"prompt_tokens": 3, "completion_tokens": 1.5}, None),
        ({"prompt_tokens": True, "completion_tokens": 1}, None),
        ({"prompt_tokens": "3", "completion_tokens": "1"}, None),
        ([3, 1], None),
        (None, None),
    ],
)
def test_usage_is_what_was_counted_or_nothing(usage, read):
    assert came({"content": "Hi."}, usage=usage).usage == read


NONE_AT_ALL = [
    None,
    "Hi",
    [],
    {},
    {"choices": None},
    {"choices": {}},
    {"choices": []},
    {"choices": ["Hi"]},
    {"choices": [None]},
    {"choices": [{}]},
    {"choices": [{"text": "Hi"}]},
    {"choices": [{"message": "Hi"}]},
    {"choices": [{"message": {"content": 5}}]},
    {"choices": [{"message": {"content": {"text": "Hi"}}}]},
]


@pytest.mark.parametrize("value", NONE_AT_ALL, ids=json.dumps)
def test_what_is_no_reply_is_told(value):
    with pytest.raises(NoReply):
        bodies.reply(value)


# Any JSON at all: on its own, and where a reply has its fields.

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
TEXTS |= st.sampled_from(["<think>", "</think>", "<think>\ud83d", "[DONE]", "", "\x00"])
NUMBERS = st.integers() | st.floats() | st.integers(10**30, 10**31)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=8,
)


def with_any(*names, **fields):
    """An object with these fields or without, whose values are right or anything."""
    optional = dict.fromkeys(names, ANY_JSON)
    optional |= {name: each | ANY_JSON for name, each in fields.items()}
    return st.fixed_dictionaries({}, optional=optional)


PARTS = st.lists(with_any("type", text=TEXTS), max_size=3)
SAID = with_any(
    "role",
    content=TEXTS | PARTS | st.none(),
    reasoning_content=TEXTS,
    reasoning=TEXTS,
    refusal=TEXTS,
)
USAGE = with_any(prompt_tokens=st.integers(), completion_tokens=st.integers())
CHOICE = with_any("index", message=SAID, delta=SAID, finish_reason=TEXTS | st.none())
CHOICES = st.lists(CHOICE | ANY_JSON, max_size=2)
BODY = with_any("error", choices=CHOICES, usage=USAGE, model=TEXTS)


@given(ANY_JSON | BODY)
def test_any_json_is_a_reply_that_can_be_written_or_none(value):
    try:
        reply = bodies.reply(value)
    except NoReply as error:
        assert str(error)
    else:
        assert row(reply)["turns"] == [reply.text]


@given(st.lists(TEXTS | (ANY_JSON | BODY).map(json.dumps) | st.just("[DONE]"), max_size=5))
@example(['{"choices": 5}', "[DONE]"])
@example(['{"choices": {"0": {}}}', "[DONE]"])
@example(["[" * 100_000])
@example(["9" * 5000])
def test_any_stream_is_a_reply_that_can_be_written_or_none(data):
    try:
        reply = bodies.reply(bodies.joined(data))
    except NoReply as error:
        assert str(error)
    else:
        assert row(reply)["turns"] == [reply.text]


# The events of a stream -> a body


def event(delta=None, end=None, **more):
    choices = [] if delta is None else [{"delta": delta, "finish_reason": end}]
    return json.dumps({"choices": choices, **more})


WHOLE = [
    event({"role": "assistant", "content": ""}, model="m-1"),
    event({"reasoning_content": "six "}),
    event({"reasoning_content": "times seven", "content": None}),
    event({"content": "4"}, usage=None),
    event({"content": "2"}),
    event({}, "stop"),
    event(usage={"prompt_tokens": 3, "completion_tokens": 1}),
]


@pytest.mark.parametrize("data", [WHOLE, [*WHOLE, "[DONE]", "after the end"]])
def test_the_pieces_of_a_stream_are_put_together(data):
    reply = bodies.reply(bodies.joined(data))
    assert (reply.text, reply.reasoning, reply.served) == ("42", "six times seven", "m-1")
    assert (reply.usage, reply.finish_reason) == (Usage(input=3, output=1), "stop")


def test_a_stream_is_complete_with_its_last_word_or_a_reason_why_it_ended():
    with pytest.raises(NoReply, match="broke off"):
        bodies.joined(WHOLE[:5])
    with pytest.raises(NoReply, match="broke off"):
        bodies.joined([])
    assert bodies.reply(bodies.joined(WHOLE[:6])).finish_reason == "stop"
    assert bodies.reply(bodies.joined([*WHOLE[:5], "[DONE]"])).text == "42"


def test_a_character_cut_in_two_by_the_stream_is_whole_again():
    halves = [event({"content": half}) for half in ("\ud83d", "\ude00")]
    reply = bodies.reply(bodies.joined([*halves, event({}, "stop")]))
    assert (reply.text, reply.repaired) == ("😀", 0)


@pytest.mark.parametrize(
    "bad",
    [
        '{"choices": [{"delta":',
        "5",
        "[]",
        '{"error": {"message": "overloaded"}}',
        '{"choices": ["x"]}',
        '{"choices": [{"text": "x"}]}',
        '{"choices": 5}',
        '{"choices": true}',
    ],
)
def test_an_event_that_cannot_be_read_makes_no_reply(bad):
    with pytest.raises(NoReply):
        bodies.joined([*WHOLE[:5], bad, *WHOLE[5:], "[DONE]"])


# Which parameters are sent, and what a refusal changes


def told(status, message="", code=None, param=None, **more):
    error = {"message": message, "code": code, "param": param, **more}
    return Refusal(status, json.dumps({"error": error}))


def test_parameters_are_sent_under_the_names_that_the_model_takes():
    assert Dialect("max_tokens").parameters(ASKED) == {
        "temperature": 0.7,
        "max_tokens": 100,
        "seed": 3,
    }
    reasoning = Dialect("max_completion_tokens", left_out=frozenset({"temperature", "seed"}))
    assert reasoning.parameters(ASKED) == {"max_completion_tokens": 100}
    assert Dialect("max_tokens").parameters(Request(())) == {}


REFUSED_PARAMETERS = [  # status, message, code, param, what is then sent
    (400, "Unsupported value: 'temperature' does not support 0.7", None, "temperature", "ms"),
    (400, "Unsupported parameter.", "unsupported_parameter", "seed", "mt"),
    (400, "temperature is not supported by this model", None, None, "ms"),
    (422, "seed: Extra inputs are not permitted", None, None, "mt"),
    (400, "Unrecognized request argument supplied: seed", None, None, "mt"),
    (400, "`temperature` is deprecated for this model.", None, None, "ms"),
    (400, "Unknown field max_tokens", None, None, "cst"),
]
SENT = {"m": "max_tokens", "c": "max_completion_tokens", "s": "seed", "t": "temperature"}


@pytest.mark.parametrize(("status", "message", "code", "param", "then"), REFUSED_PARAMETERS)
def test_a_refused_parameter_is_left_out_or_renamed(status, message, code, param, then):
    spoken = Dialect("max_tokens")
    learnt = told(status, message, code, param).dialect(spoken.parameters(ASKED), spoken)
    assert set(learnt.parameters(ASKED)) == {SENT[letter] for letter in then}


@pytest.mark.parametrize(
    ("status", "message", "param"),
    [
        (400, "max_tokens is too large: 99999. This model supports at most 4096.", "max_tokens"),
        (400, "Invalid value for 'temperature': must be at most 2.", "temperature"),
        (400, "Unsupported parameter: 'top_p'", "top_p"),
        (400, "This model does not support images.", "messages"),
        (500, "Unsupported parameter: 'seed'", "seed"),
        (429, "Unsupported parameter: 'seed'", "seed"),
        (404, "seed is not supported", None),
    ],
)
def test_what_is_no_refused_parameter_changes_nothing(status, message, param):
    spoken = Dialect("max_tokens")
    assert told(status, message, None, param).dialect(spoken.parameters(ASKED), spoken) is None


def test_the_limit_of_a_reply_is_renamed_once_and_never_left_out():
    spoken = Dialect("max_tokens")
    for _ in range(3):
        name = spoken.name("max_tokens")
        refusal = told(400, f"Unsupported parameter: '{name}'", None, name)
        learnt = refusal.dialect(spoken.parameters(ASKED), spoken)
        spoken = learnt or spoken
        assert spoken.name("max_tokens") in spoken.parameters(ASKED)
    assert learnt is None
    assert spoken.name("max_tokens") == "max_completion_tokens"


def test_a_parameter_that_was_not_sent_is_not_negotiated():
    refusal = told(400, "Unsupported parameter: 'temperature'", None, "temperature")
    assert refusal.dialect({"seed": 3}, Dialect("max_tokens")) is None


# A refused call -> a Failure


def failed(refusal, key="…7890"):
    return refusal.failure("api.test", "http://api.test/v1/chat/completions", "gpt-x", key)


@pytest.mark.parametrize(
    ("status", "message", "code", "kind"),
    [
        (400, "Invalid value: 'messages'.", "invalid_value", Kind.REJECTED),
        (400, "maximum context length is 8 tokens", "context_length_exceeded", Kind.TOO_LONG),
        (400, "request (9 tokens) exceeds the available context size", None, Kind.TOO_LONG),
        (400, "prompt is too long: 9 tokens > 8 maximum", None, Kind.TOO_LONG),
        (413, "Please reduce the length of the messages.", None, Kind.TOO_LONG),
        (422, "Input is too long for this model", None, Kind.TOO_LONG),
        (422, "no", None, Kind.REJECTED),
        (401, "Incorrect API key", "invalid_api_key", Kind.KEY),
        (403, "Country not supported", None, Kind.KEY),
        (402, "Insufficient Balance", None, Kind.QUOTA),
        (404, "The model does not exist", "model_not_found", Kind.NO_MODEL),
        (405, "Method Not Allowed", None, Kind.NO_MODEL),
        (408, "", None, Kind.DOWN),
        (409, "", None, Kind.DOWN),
        (429, "Rate limit reached", "rate_limit_exceeded", Kind.BUSY),
        (429, "You exceeded your current quota", "insufficient_quota", Kind.QUOTA),
        (429, "Insufficient balance in your account", None, Kind.QUOTA),
        (500, "", None, Kind.DOWN),
        (502, "", None, Kind.DOWN),
        (503, "maximum context", None, Kind.DOWN),
        (529, "Overloaded", "overloaded_error", Kind.DOWN),
        (301, "", None, Kind.NO_MODEL),
        (418, "I'm a teapot", None, Kind.REJECTED),
    ],
)
def test_a_status_and_its_words_say_what_can_be_done(status, message, code, kind):
    failure = failed(told(status, message, code))
    assert failure.kind == kind
    assert "api.test" in failure.said
    assert str(status) in failure.said


@pytest.mark.parametrize(
    "text",
    [
        '{"error": {"message": "out of order", "code": 1}}',
        '{"error": {"message": "out of order", "type": "x", "param": null, "code": null}}',
        '[{"error": {"code": 400, "message": "out of order", "status": "INVALID_ARGUMENT"}}]',
        '{"error": "out of order"}',
        '{"object": "error", "message": "out of order", "code": 40303}',
        '{"detail": "out of order"}',
        "out of order",
        "out \n\n of\torder\n",
    ],
)
def test_the_words_of_a_refusal_are_found_in_every_form(text):
    assert failed(Refusal(400, text)).said == "api.test: out of order (400)"


def test_what_a_refused_key_gets():
    assert failed(told(401, "bad key")).said == "api.test refused the key …7890 (401)"
    assert failed(told(403, "not here")).said == "api.test refused the key …7890 (403): not here"
    without = failed(told(401, "bad key"), key=None)
    assert without.said == "api.test wants a key (401). Give --key-env NAME"


NO_SUCH_MODEL = [
    {"message": "The model `gpt-x` does not exist", "code": "model_not_found"},
    {"message": 'model "gpt-x" not found, try pulling it first', "type": "api_error"},
    {"message": "models/gpt-x is not found for API version v1beta", "code": 404},
    {
        "message": "The API deployment for this resource does not exist.",
        "code": "DeploymentNotFound",
    },
]
NO_SUCH_PATH = [
    '{"detail": "Not Found"}',
    '{"error": {"message": "Invalid URL (POST /chat/completions)", "code": null}}',
    '{"error": {"code": "404", "message": "Resource not found"}}',
    "404 page not found",
    "",
]


@pytest.mark.parametrize("error", NO_SUCH_MODEL, ids=lambda error: error["message"])
def test_a_model_that_is_not_there_is_named(error):
    refusal = Refusal(404, json.dumps({"error": error}))
    assert failed(refusal).said == "no model 'gpt-x' at api.test (404)"


@pytest.mark.parametrize("text", NO_SUCH_PATH)
def test_an_address_that_is_not_there_is_named_and_not_the_model(text):
    said = failed(Refusal(404, text)).said
    assert said == "there is no chat service at http://api.test/v1/chat/completions (404)"


ERRORS = with_any("param", "type", message=TEXTS, code=TEXTS, detail=TEXTS)
REFUSED_WITH = TEXTS | (ANY_JSON | with_any("message", "detail", error=ERRORS)).map(json.dumps)


@given(st.sampled_from([301, 400, 401, 402, 403, 404, 413, 418, 422, 429, 500, 503]), REFUSED_WITH)
@example(429, json.dumps({"error": {"code": "insufficient_quota\n" + "x" * 900}}))
@example(402, json.dumps({"error": {"code": "\ud83d"}}))
@example(400, "[" * 100_000)
@example(404, json.dumps({"error": {"message": "word " * 900}}))
def test_any_refusal_is_told_in_one_short_line(status, text):
    refusal = Refusal(status, text)
    refusal.dialect(Dialect("max_tokens").parameters(ASKED), Dialect("max_tokens"))
    said = failed(refusal).said
    assert len(said) < 350
    assert len(said.splitlines()) == 1
    assert said.encode()


# Headers that tell of limits


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20", 20.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("20ms", 0.02),
        ("6m0s", 360.0),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        ("1m1.5s", 61.5),
        ("2026-03-01T12:00:30Z", 30.0),
        ("2026-03-01T12:00:30", 30.0),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("1772366430", None),  # seconds since 1970: no span
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_a_span_of_time_is_read_in_every_form(text, seconds):
    assert limits.seconds(text, NOW) == (seconds if seconds is None else pytest.approx(seconds))


DATES = st.datetimes().map(format_datetime) | st.datetimes().map(str)
DIGITS = st.text("0123456789.:smhd-+TZ", max_size=30)
ODD_DATES = st.from_regex(r"[A-Z][a-z]{2}, \d{1,12} (Jan|Feb) \d{1,12} \d+:\d+:\d+ [-+]\d{1,12}")


@given(st.text() | DIGITS | DATES | ODD_DATES)
@example("Mon, 01 Jan 99999999999 00:00:00 GMT")
@example("9" * 400)
@example("9" * 400 + "s")
@example("0001-01-01T00:00:00+23:59")
def test_any_text_is_a_span_of_time_or_none(text):
    for read in (
        limits.seconds(text, NOW),
        limits.retry_after({"retry-after": text}, NOW),
        limits.retry_after({"retry-after-ms": text}, NOW),
    ):
        assert read is None or 0 <= read < math.inf


def test_milliseconds_go_before_seconds():
    assert limits.retry_after({"retry-after": "2", "retry-after-ms": "1234"}, NOW) == 1.234
    assert limits.retry_after({"retry-after": "2", "retry-after-ms": "soon"}, NOW) == 2
    assert limits.retry_after({}, NOW) is None
    soon = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert limits.retry_after({"retry-after": soon}, NOW) == 90


def of(unit, limit=None, remaining=None, reset=None, form="x-ratelimit-{}-{}"):
    named = {"limit": limit, "remaining": remaining, "reset": reset}
    return {form.format(name, unit): value for name, value in named.items() if value is not None}


def test_what_is_left_of_each_limit_is_read():
    openai = of("requests", "500", "499", "120ms") | of("tokens", "30000", "0", "6m0s")
    assert limits.headroom(openai, NOW) == (
        Headroom("requests", 500, 499, 0.12),
        Headroom("tokens", 30000, 0, 360),
    )
    anthropic = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-03-01T12:00:02Z",
    }
    assert limits.headroom(anthropic, NOW) == (Headroom("requests", 50, 49, 2),)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, ()),
        (of("requests", "500"), ()),
        (of("requests", remaining="4", reset="1s"), ()),
        (of("requests", "0", "0"), ()),
        (of("requests", "500", "-1"), ()),
        (of("requests", "many", "few"), ()),
        (of("requests", "500", "400"), (Headroom("requests", 500, 400, None),)),
        (of("tokens", "500", "600", "soon"), (Headroom("tokens", 500, 500, None),)),
    ],
)
def test_a_limit_that_cannot_be_read_is_none(headers, found):
    assert limits.headroom(headers, NOW) == found
