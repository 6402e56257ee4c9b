"""A small, fast chat service on loopback that speaks OpenAI's API and misbehaves on demand.

In a test, in a thread of its own:

    with serving(Behaviour(script=["429", ""])) as server:
        ...  # a client at server.url; then server.calls and server.stats()

For a benchmark, as a process of its own, whose first line is its address:

    python tests/chat_server.py --latency 0.5 2 --fault 500=0.01 --no-calls

It never calls a model, never leaves loopback and never reads a chunked request body.
"""

import argparse
import asyncio
import heapq
import json
import math
import os
import random
import re
import signal
import socket
import stat
import struct
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from http import HTTPStatus

ELSEWHERE = "127.0.0.2"  # another host, on this machine: where the fault "redirect" points

# Fault -> status, type, code and message, in the form and words of the real service.
INVALID, QUOTA, BUSY = "invalid_request_error", "insufficient_quota", "server_error"
COUNTRY = "unsupported_country_region_territory"
ERRORS = {
    "400": (400, INVALID, "invalid_value", "Invalid value: 'messages'."),
    "403": (403, "request_forbidden", COUNTRY, "Country, region, or territory not supported"),
    "408": (408, "timeout", None, "Request timed out."),
    "409": (409, "conflict_error", None, "The resource was changed by another request."),
    "429-no-hint": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "quota": (429, QUOTA, QUOTA, "You exceeded your current quota, please check your plan."),
    "500": (500, BUSY, None, "The server had an error while processing your request. Sorry!"),
    "503": (503, BUSY, None, "The engine is currently overloaded, please try again later."),
}

# Faults of a reply with status 200 whose message is not what was hoped for.
ANSI = "8 9\x1b[2J\x1b[31m\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x1b\\\a10 1\r1 10\x9b2K"
LONG = ("word " * 40_000)[:200_000]
THOUGHT = "Let me think. At first sight I would say 1 10."
MESSAGES = {
    "null-content": {"content": None},
    "empty": {"content": ""},
    "refusal": {"content": None, "refusal": "I'm sorry, I can't assist with that."},
    "surrogate": {"content": "a lone surrogate: \ud83d"},
    "nul": {"content": "before\x00after"},
    "ansi": {"content": ANSI},
    "long": {"content": LONG},
    "reasoning": {"reasoning_content": THOUGHT},
}
SPOILT = {"think", "echo-key", "length", "content_filter", *MESSAGES}
SHAPES = {"no-choices", "empty-choices", "wrong-shape", "no-message", "no-usage", "malformed"}
CUT = {"drop": "close", "slow-drip": "silence"}  # half a reply, and then
OTHER = {"429", "401", "404", "html", "redirect", "hang", "reset"}
FAULTS = frozenset({*ERRORS, *SPOILT, *SHAPES, *CUT, *OTHER})

PLACES = {"upload", "create", "created", "look", "list", "content"}  # "created": after it was
ENDS = {"completed", "expired", "failed", "cancelled"}  # of a batch
REFUSALS = ("unsupported_parameter", "unsupported_value")  # at all; any but the default
DEFAULTS = {"presence_penalty": 0, "frequency_penalty": 0}  # 1 for every other parameter
INSTEAD = {"max_tokens": " Use 'max_completion_tokens' instead."}
DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/chat/completions")


def echo(body):
    """The usual reply: whose last words it answers, and how many messages it was sent."""
    return f"reply to: {last_said(body)[:60]} (messages: {len(body['messages'])})"


@dataclass
class Behaviour:
    """How the service behaves; every field may be changed while it serves.

    What is wrong with a call itself (its key, its rate, its body) is told at once and in that
    order. Everything else takes the latency: good replies and faults alike. Which fault a call
    meets is decided by `by_text`, else by the next of `script`, else by the dice of `faults`. A
    call refused for what is wrong with it takes nothing from the script and throws no dice.
    """

    latency: tuple[float, float] = (0.0, 0.0)  # seconds, uniform
    slots: int | None = None  # calls worked on at a time; the others wait in line
    seed: int = 0  # of latencies and faults, in order of arrival; changed, it starts them anew
    faults: dict[str, float] = field(default_factory=dict)  # name -> probability
    script: list[str] = field(default_factory=list)  # for the next calls; "" is a good reply
    by_text: dict[str, str] = field(default_factory=dict)  # marker in the last user text -> fault
    requests_per_minute: float | None = None
    burst: float | None = None  # what the bucket holds; None: requests_per_minute
    rate_headers: bool = True  # x-ratelimit-*-requests, where there is a bucket
    retry_after: bool = True  # on a 429
    wait: float = 1.0  # seconds that the fault "429" asks for
    key: str | None = None  # what a call must carry
    key_header: str = "Authorization"  # "Bearer KEY"; another header holds the bare key
    models: list[str] | None = None  # None: every name
    refuses: dict[str, str] = field(default_factory=dict)  # parameter -> code, as in REFUSALS
    text: str | Callable[[dict], str] = echo  # of each choice; a function gets the parsed body
    context: int | None = None  # words
    batches: bool = True  # whether it has files and batches at all
    steps: list[str] = field(default_factory=lambda: ["completed"])  # a batch's, one a look
    batch_done: int = 0  # calls done of a batch that expires or is cancelled
    hangs: set[str] = field(default_factory=set)  # at which of PLACES nothing more is heard
    no: str | None = None  # which of "upload" and "create" is refused: the quota is used up
    why_failed: str = "Enqueued token limit reached."  # of a batch that ends as failed


@dataclass(slots=True)
class Call:
    """One call as it came, and the fault that it met.

    `fault` is "" for a good reply, a name of FAULTS, or what was wrong with the call itself:
    "key", "bucket", "body", "model", "refuses", "context", "path"; "elsewhere" is a redirect that
    was followed.
    """

    method: str
    path: str  # with its query
    headers: dict[str, str]  # names in lower case
    body: dict | None  # None: not a JSON object
    at: float  # time.monotonic()
    connection: int  # 1 for the first connection that was opened
    fault: str = ""
    model: str | None = None  # asked for, in the body or in Azure's path
    words: int = 0  # of all messages
    content: bytes = field(default=b"", repr=False)  # of a file that is handed over


@dataclass(slots=True)
class Answer:
    """The bytes to send, and what follows them: "" (next call), "close", "silence" or "reset"."""

    wire: bytes
    then: str = ""
    billed: bool = False
    counted: bool = False  # among those in flight


@dataclass
class Counts:
    """What GET /stats tells."""

    calls: int = 0  # to the chat, refused ones too
    replies: int = 0  # without any fault
    refused: int = 0  # 429 by the bucket
    billed: int = 0  # computed, also where cut on the way or the client had gone
    left: int = 0  # the client closed before its reply was whole
    elsewhere: int = 0  # redirects that were followed
    connections: int = 0  # opened so far
    in_flight: int = 0
    most_in_flight: int = 0
    first_call_at: float | None = None  # seconds since 1970
    last_call_at: float | None = None


def plain(call):
    """A call as JSON can hold it."""
    return {name: value for name, value in asdict(call).items() if name != "content"}


def said(message):
    """The text of a message, also where it comes in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def last_said(body):
    """The last user message, or nothing."""
    users = (said(m) for m in reversed(body["messages"]) if m.get("role") == "user")
    return next(users, "")


def duration(seconds):
    """Seconds as OpenAI's headers write them, rounded up: 0s, 20ms, 1.5s, 6m0s."""
    milliseconds = math.ceil(seconds * 1000 - 1e-6)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"


def http(status, body, headers="", content_type="application/json"):
    """A whole HTTP reply as bytes."""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"content-type: {content_type}\r\n"
        f"{headers}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def shown(value):
    """A value as a good reply."""
    return Answer(http(200, json.dumps(value).encode()))


def error(status, kind, code, message, headers="", param=None):
    """A refusal in OpenAI's form."""
    told = {"message": message, "type": kind, "param": param, "code": code}
    return Answer(http(status, json.dumps({"error": told}).encode(), headers))


def events(reply, with_usage):
    """A reply as the data of its server-sent events, each choice's text in at most 8 pieces."""
    shared = {"id": reply["id"], "object": "chat.completion.chunk"}
    shared |= {name: reply[name] for name in ("created", "model", "system_fingerprint")}
    choices = reply.get("choices")
    whole = isinstance(choices, list) and all("message" in choice for choice in choices)
    if not (whole and choices):
        yield json.dumps(shared | ({} if choices is None else {"choices": choices}))
        return
    if with_usage:
        shared["usage"] = None
    for choice in choices:
        message = choice["message"]
        start = "" if message["content"] is not None else None
        deltas = [({"role": "assistant", "content": start}, None)]
        for name in ("reasoning_content", "refusal", "content"):
            text = message.get(name) or ""
            step = max(4, math.ceil(len(text) / 8))
            deltas += [({name: text[i : i + step]}, None) for i in range(0, len(text), step)]
        deltas.append(({}, choice["finish_reason"]))
        for delta, end in deltas:
            piece = {"index": choice["index"], "delta": delta, "finish_reason": end}
            yield json.dumps(shared | {"choices": [piece]})
    if with_usage and "usage" in reply:
        yield json.dumps(shared | {"choices": [], "usage": reply["usage"]})


def streamed(data, headers, half):
    """Server-sent events as a chunked HTTP reply; the first half of them, if asked."""
    texts = [f"data: {text}\n\n" for text in (*data, "[DONE]")]
    if half:
        texts = texts[: len(texts) // 2]
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{headers}"
    chunks = "".join(f"{len(text):x}\r\n{text}\r\n" for text in texts)  # JSON here is ASCII
    end = "" if half else "0\r\n\r\n"
    return f"{head}transfer-encoding: chunked\r\n\r\n{chunks}{end}".encode()


@lru_cache(256)  # a client's heads are alike, and reading them is a third of a call's work
def read_head(head):
    """Method, path, headers, length of the body, whether to close after it; None: not readable."""
    first, *lines = head.split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "0")
    words = first.split(" ")
    if len(words) != 3 or not length.isdecimal() or "transfer-encoding" in headers:
        return None
    close = headers.get("connection", "").lower() == "close" or words[2] != "HTTP/1.1"
    return words[0], words[1], headers, int(length), close


class Bucket:
    """A limit of requests a minute: tokens that come back steadily. A refusal takes none."""

    def __init__(self):
        self.tokens = None  # full
        self.at = 0.0

    def take(self, behaviour, now):
        """Take one token: 0.0, or the seconds until there is one."""
        rate = behaviour.requests_per_minute / 60
        holds = self.holds(behaviour)
        tokens = holds if self.tokens is None else self.tokens + (now - self.at) * rate
        self.tokens, self.at = min(holds, tokens), now
        if self.tokens < 1 - 1e-9:
            return (1 - self.tokens) / rate
        self.tokens -= 1
        return 0.0

    def headers(self, behaviour):
        """What is left, as of the last call."""
        limit = behaviour.requests_per_minute
        full = (self.holds(behaviour) - self.tokens) * 60 / limit
        return (
            f"x-ratelimit-limit-requests: {int(limit)}\r\n"
            f"x-ratelimit-remaining-requests: {int(max(0.0, self.tokens) + 1e-9)}\r\n"
            f"x-ratelimit-reset-requests: {duration(full)}\r\n"
        )

    def holds(self, behaviour):
        """How many tokens there are at most."""
        return behaviour.requests_per_minute if behaviour.burst is None else behaviour.burst


class Server:
    """The service: what it was asked, what it has told, and its sockets."""

    def __init__(self, behaviour, port=0, keep=True):
        self.behaviour = behaviour
        self.calls: list[Call] = []
        self.keep = keep
        self.counts = Counts()
        self.by_fault: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()  # by the messages as JSON: replies that were computed
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}  # as they are shown
        self.left: dict[str, list[str]] = {}  # the steps that a batch has before it
        self.senders: dict[str, dict[str, str]] = {}  # the headers that a batch came with
        self.bucket = Bucket()
        self.open: set[Connection] = set()
        self.broken: list[BaseException] = []  # mistakes of the server or of a test's own text()
        self.dice_of = None
        self.ends: list[float] = []  # when each slot is free, a heap
        self.sockets = [socket.create_server(("127.0.0.1", port), backlog=2048)]
        self.port = self.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        with suppress(OSError):  # not every system has the whole of 127.0.0.0/8
            self.sockets.append(socket.create_server((ELSEWHERE, self.port)))
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self.failed)
        self.stopping = asyncio.Event()

    def run(self):
        """Serve in this thread until `stop`, then close everything."""
        try:
            self.loop.run_until_complete(self.serve())
        finally:
            self.loop.close()

    def stop(self):
        """End `run`; for any thread."""
        self.loop.call_soon_threadsafe(self.stopping.set)

    async def serve(self):
        """Accept connections until `stop`."""
        servers = [
            await self.loop.create_server(lambda: Connection(self), sock=one, backlog=2048)
            for one in self.sockets
        ]
        await self.stopping.wait()
        for server in servers:
            server.close()
        if accepted := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(accepted)  # what was accepted just now becomes a connection
            await asyncio.sleep(0)
        for connection in list(self.open):
            connection.transport.abort()
        while self.open:
            await asyncio.sleep(0)

    def failed(self, loop, context):
        """Keep a mistake for the end of `serving`, and show it."""
        self.broken.append(context.get("exception") or RuntimeError(context["message"]))
        loop.default_exception_handler(context)

    def stats(self):
        """The counts so far; GET /stats gives the same as JSON."""
        return asdict(self.counts) | {"by_fault": dict(self.by_fault)}

    def answer(self, call):
        """What is answered to a call, and after how many seconds."""
        path = call.path.partition("?")[0]
        if path == "/stats":
            return Answer(http(200, json.dumps(self.stats()).encode())), 0.0
        if path == "/calls":
            return Answer(http(200, json.dumps([plain(each) for each in self.calls]).encode())), 0.0
        if self.behaviour.batches and re.match("/v1/(files|batches)", path):
            return self.batch(call, path), 0.0
        if self.keep:
            self.calls.append(call)
        azure = DEPLOYMENT.fullmatch(path)
        if azure or path in ("/v1/chat/completions", "/openai/v1/chat/completions"):
            answer, delay = self.chat(call, azure)
            answer.counted = True
        else:
            answer, delay = self.aside(call, path), 0.0
        if call.fault:
            self.by_fault[call.fault] += 1
        return answer, delay

    def aside(self, call, path):
        """Everything but the chat: the list of models, the end of a redirect, unknown paths."""
        if path == "/v1/models" and call.method == "GET":
            if refused := self.wrong_key(call):
                call.fault = "key"
                return refused
            models = [{"id": name, "object": "model"} for name in self.behaviour.models or []]
            return Answer(http(200, json.dumps({"object": "list", "data": models}).encode()))
        if path == "/elsewhere":
            call.fault = "elsewhere"
            self.counts.elsewhere += 1
            choice = {"message": {"role": "assistant", "content": "from elsewhere"}}
            return Answer(http(200, json.dumps({"choices": [choice]}).encode()))
        return self.no_path(call)

    def chat(self, call, azure):
        """A chat call: refused for what is wrong with it, or a fault, or a good reply."""
        counts, behaviour = self.counts, self.behaviour
        counts.calls += 1
        counts.last_call_at = time.time()
        counts.first_call_at = counts.first_call_at or counts.last_call_at
        call.model = azure[1] if azure else call.body and call.body.get("model")
        if call.method != "POST" or (azure and "api-version=" not in call.path):
            return self.no_path(call), 0.0
        for name, gate in (
            ("key", self.wrong_key),
            ("bucket", self.over_the_rate),
            ("body", self.unreadable),
            ("model", self.unknown_model),
            ("refuses", self.unsupported),
            ("context", self.too_long),
        ):
            if refused := gate(call):
                call.fault = name
                return refused, 0.0
        if self.dice_of != behaviour.seed:
            self.dice_of = behaviour.seed
            self.fault_dice = random.Random(f"fault {behaviour.seed}")
            self.latency_dice = random.Random(f"latency {behaviour.seed}")
        delay = 0.0
        if behaviour.latency[1] > 0:
            delay = self.in_line(self.latency_dice.uniform(*behaviour.latency))
        call.fault = self.fault_for(call)
        return self.reply(call), delay

    def in_line(self, seconds):
        """How long a call takes that waits for a slot."""
        if self.behaviour.slots is None:
            return seconds
        now = time.monotonic()
        full = len(self.ends) >= self.behaviour.slots
        begin = max(now, heapq.heappop(self.ends)) if full else now
        heapq.heappush(self.ends, begin + seconds)
        return begin + seconds - now

    def fault_for(self, call):
        """The fault that a call meets, by its text, the script or the dice."""
        behaviour = self.behaviour
        if behaviour.by_text:
            last = last_said(call.body)
            for marker, fault in behaviour.by_text.items():
                if marker in last:
                    return fault
        if behaviour.script:
            return behaviour.script.pop(0)
        if behaviour.faults:
            thrown = self.fault_dice.random()
            for fault, rate in behaviour.faults.items():
                thrown -= rate
                if thrown < 0:
                    return fault
        return ""

    # Files and batches, as OpenAI has them. What a batch computes is billed when it ends.

    def batch(self, call, path):
        """What is answered to a call about files and batches."""
        if self.keep:
            self.calls.append(call)
        if refused := self.wrong_key(call):
            call.fault = "key"
            return refused
        match call.method, *path.split("/")[2:]:
            case "POST", "files":
                return self.at("upload") or self.uploaded(call)
            case "GET", "files", name, "content" if name in self.files:
                wire = http(200, self.files[name], content_type="application/jsonl")
                half = Answer(wire[: -len(self.files[name]) // 2], "silence")
                return half if "content" in self.behaviour.hangs else Answer(wire)
            case "POST", "batches":
                return self.at("create") or self.created(call)
            case "GET", "batches":
                return self.at("list") or self.listed(call)
            case "GET", "batches", name if name in self.batches:
                return self.at("look") or self.looked_at(name)
            case "POST", "batches", name, "cancel" if name in self.batches:
                if self.batches[name]["status"] not in ENDS:
                    self.ended(name, "cancelled")
                return shown(self.batches[name])
        return self.no_path(call)

    def at(self, place):
        """Nothing more, or a refusal, where that is the place for it."""
        if place == self.behaviour.no:
            return error(*ERRORS["quota"])
        return Answer(b"", "silence") if place in self.behaviour.hangs else None

    def uploaded(self, call):
        """Take the file out of a form, as it was handed over."""
        part = call.content.partition(b'name="file"')[2].partition(b"\r\n\r\n")[2]
        name = f"file-{len(self.files) + 1}"
        self.files[name] = part[: part.rindex(b"\r\n--")]
        return shown({"id": name, "object": "file", "purpose": "batch"})

    def created(self, call):
        """Make a batch of a file; its lines are looked at when it ends."""
        name, body = f"batch_{len(self.batches) + 1}", call.body
        lines = self.files[body["input_file_id"]].splitlines()
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "completion_window": body["completion_window"],
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(time.time()),
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "metadata": body.get("metadata"),
            "errors": None,
        }
        self.left[name], self.senders[name] = list(self.behaviour.steps), call.headers
        return self.at("created") or shown(self.batches[name])

    def listed(self, call):
        """The newest batches first, a page of them."""
        query = dict(urllib.parse.parse_qsl(call.path.partition("?")[2]))
        found = list(self.batches.values())[::-1]
        ids = [each["id"] for each in found]
        begin = ids.index(query["after"]) + 1 if "after" in query else 0
        end = begin + int(query.get("limit", 20))
        return shown({"object": "list", "data": found[begin:end], "has_more": end < len(found)})

    def looked_at(self, name):
        """A batch, one step further than when it was looked at before."""
        if self.left[name] and self.batches[name]["status"] not in ENDS:
            word = self.left[name].pop(0)
            self.ended(name, word) if word in ENDS else self.batches[name].update(status=word)
        return shown(self.batches[name])

    def ended(self, name, word):
        """Make the calls of a batch, or as many as were made before it ended otherwise."""
        batch = self.batches[name]
        batch["status"] = word
        if word == "failed":
            told = {"code": "token_limit_exceeded", "message": self.behaviour.why_failed}
            batch["errors"] = {"object": "list", "data": [told]}
            return
        lines = [json.loads(each) for each in self.files[batch["input_file_id"]].splitlines()]
        done = len(lines) if word == "completed" else self.behaviour.batch_done
        found = {"output": [], "error": []}
        for line in lines[:done]:
            status, body = self.line(line, self.senders[name])
            response = {"status_code": status, "request_id": "req_x", "body": body}
            told = {"id": "batch_req_x", "custom_id": line["custom_id"], "response": response}
            found["output" if status == 200 else "error"].append({**told, "error": None})
        for line in lines[done:]:
            told = {"code": f"batch_{word}", "message": f"This request was not executed: {word}."}
            told = {"id": "batch_req_x", "custom_id": line["custom_id"], "error": told}
            found["error"].append({**told, "response": None})
        for kind, rows in found.items():
            if rows:
                batch[f"{kind}_file_id"] = f"{name}-{kind}"
                text = "".join(json.dumps(row) + "\n" for row in rows)
                self.files[f"{name}-{kind}"] = text.encode()
        counts = {"completed": len(found["output"]), "failed": len(found["error"])}
        batch["request_counts"] |= counts

    def line(self, line, headers):
        """Status and body of one call of a batch; what cannot be in one reply is an error 500."""
        call = Call("POST", line["url"], headers, line["body"], time.monotonic(), 0)
        call.model = line["body"]["model"]
        gates = (self.unreadable, self.unknown_model, self.unsupported, self.too_long)
        answer = next((refused for gate in gates if (refused := gate(call))), None)
        if answer is None:
            call.fault = self.fault_for(call)
            answer = self.reply(call)
        head, _, body = answer.wire.partition(b"\r\n\r\n")
        try:
            return int(head.split()[1]), json.loads(body)
        except (ValueError, IndexError):
            return 500, {"error": {"message": "nothing came of it", "type": BUSY}}

    # What is wrong with a call itself: an Answer, or None.

    def no_path(self, call):
        call.fault = "path"
        told = f"Invalid URL ({call.method} {call.path})"
        return error(404, INVALID, None, told)

    def wrong_key(self, call):
        if self.behaviour.key in (None, self.key_sent(call)):
            return None
        return self.incorrect_key(call)

    def incorrect_key(self, call):
        """Tells the key that was sent, in full, as careless services do."""
        told = f"Incorrect API key provided: {self.key_sent(call)}."
        return error(401, INVALID, "invalid_api_key", told)

    def key_sent(self, call):
        name = self.behaviour.key_header.lower()
        sent = call.headers.get(name, "")
        return sent.removeprefix("Bearer ") if name == "authorization" else sent

    def over_the_rate(self, call):
        if self.behaviour.requests_per_minute is None:
            return None
        wait = self.bucket.take(self.behaviour, call.at)
        if not wait:
            return None
        self.counts.refused += 1
        return self.too_many(call, wait)

    def too_many(self, call, wait):
        """A 429 with its hints."""
        headers = self.rate_headers()
        if self.behaviour.retry_after:
            milliseconds = math.ceil(wait * 1000)
            headers += f"retry-after: {milliseconds / 1000:.9g}\r\n"
            headers += f"retry-after-ms: {milliseconds}\r\n"
        told = (
            f"Rate limit reached for {call.model} in organization org-x on requests per min "
            f"(RPM). Please try again in {duration(wait)}."
        )
        return error(429, "requests", "rate_limit_exceeded", told, headers)

    def rate_headers(self):
        behaviour = self.behaviour
        if behaviour.requests_per_minute is None or not behaviour.rate_headers:
            return ""
        return self.bucket.headers(behaviour)

    def unreadable(self, call):
        body = call.body
        if body is None:
            told = "We could not parse the JSON body of your request."
        elif not call.model:
            told = "you must provide a model parameter"
        elif not (messages := body.get("messages")) or not isinstance(messages, list):
            told = "Missing required parameter: 'messages'."
        else:
            call.words = sum(len(said(message).split()) for message in messages)
            return None
        return self.bad_request(told, None)

    def unknown_model(self, call):
        if self.behaviour.models is None or call.model in self.behaviour.models:
            return None
        return self.no_model(call)

    def no_model(self, call):
        told = f"The model `{call.model}` does not exist or you do not have access to it."
        return error(404, INVALID, "model_not_found", told, headers=self.rate_headers())

    def unsupported(self, call):
        for name, code in self.behaviour.refuses.items():
            value = call.body.get(name)
            if value is None:
                continue
            told = f"Unsupported parameter: '{name}' is not supported with this model."
            told += INSTEAD.get(name, "")
            if code == REFUSALS[1]:
                default = DEFAULTS.get(name, 1)
                if value == default:
                    continue
                told = (
                    f"Unsupported value: '{name}' does not support {json.dumps(value)} with this "
                    f"model. Only the default ({default}) value is supported."
                )
            return self.bad_request(told, code, name)
        return None

    def too_long(self, call):
        limit = self.behaviour.context
        if limit is None or call.words <= limit:
            return None
        told = (
            f"This model's maximum context length is {limit} tokens. However, your messages "
            f"resulted in {call.words} tokens. Please reduce the length of the messages."
        )
        return self.bad_request(told, "context_length_exceeded", "messages")

    def bad_request(self, told, code, param=None):
        headers = self.rate_headers()
        return error(400, INVALID, code, told, headers, param)

    # What is answered to a call with nothing wrong about it.

    def reply(self, call):
        """A good reply, or the call's fault."""
        fault = call.fault
        if fault in CUT or fault in SHAPES or fault in SPOILT or not fault:
            return self.computed(call)
        if fault not in FAULTS:
            raise ValueError(f"no fault is called {fault!r}")
        if fault in ERRORS:
            headers = "" if fault == "429-no-hint" else self.rate_headers()
            return error(*ERRORS[fault], headers)
        if fault == "html":
            page = b"<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>"
            return Answer(http(200, page, content_type="text/html; charset=utf-8"))
        if fault == "redirect":
            where = f"location: http://{ELSEWHERE}:{self.port}/elsewhere\r\n"
            return Answer(http(307, b"", where))
        if fault in ("hang", "reset"):
            return Answer(b"", "silence" if fault == "hang" else "reset")
        if fault == "429":
            return self.too_many(call, self.behaviour.wait)
        return self.incorrect_key(call) if fault == "401" else self.no_model(call)

    def computed(self, call):
        """A reply that a model has worked for, whatever then becomes of it."""
        fault, body = call.fault, call.body
        self.paid[json.dumps(body["messages"])] += 1
        reply = self.completion(call)
        headers = f"x-request-id: req_{self.counts.calls}\r\n{self.rate_headers()}"
        then = CUT.get(fault, "")
        if body.get("stream"):
            wanted = (body.get("stream_options") or {}).get("include_usage", False)
            data = list(events(reply, wanted))
            if fault == "malformed":
                data[-1] = data[-1][: len(data[-1]) // 2]
            return Answer(streamed(data, headers, half=bool(then)), then, billed=True)
        content = json.dumps(reply).encode()
        if fault == "malformed":
            content = content[: len(content) // 2]
        wire = http(200, content, headers)
        return Answer(wire[: -len(content) // 2] if then else wire, then, billed=True)

    def completion(self, call):
        """The reply as an object, bent where its fault says so."""
        fault = call.fault
        choices = [self.choice(call, index) for index in range(call.body.get("n") or 1)]
        if fault == "no-message":
            del choices[0]["message"]
        bent = {"empty-choices": [], "wrong-shape": dict(enumerate(choices))}
        words = sum(len(said(c["message"]).split()) for c in choices if "message" in c)
        reply = {
            "id": f"chatcmpl-{self.counts.calls}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": f"{call.model}-0613",
            "choices": bent.get(fault, choices),
            "usage": {
                "prompt_tokens": call.words,
                "completion_tokens": words,
                "total_tokens": call.words + words,
            },
            "system_fingerprint": "fp_44709d6fcb",
        }
        reply.pop({"no-choices": "choices", "no-usage": "usage"}.get(fault), None)
        return reply

    def choice(self, call, index):
        """One of the `n` choices of a reply."""
        text = self.behaviour.text
        if callable(text):
            text = text(call.body)
        fault, finish = call.fault, "stop"
        if fault == "think":
            text = f"<think>\n{THOUGHT}\n</think>\n\n{text}"
        elif fault == "echo-key":
            text = f"{text} {self.key_sent(call)}"
        elif fault in ("length", "content_filter"):
            text, finish = text[: len(text) // 2], fault
        message = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        message |= MESSAGES.get(fault, {})
        return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}


class Connection(asyncio.Protocol):
    """One kept-alive connection: its calls are answered one after the other."""

    def __init__(self, server):
        self.server = server
        self.buffer = b""
        self.head = None  # as read_head gives it, of a call whose body is not all here
        self.needed = 0  # bytes in the buffer before it is worth looking
        self.busy = False
        self.answer = None  # not sent yet
        self.call = None
        self.counted = False

    def connection_made(self, transport):
        self.transport = transport
        self.server.counts.connections += 1
        self.number = self.server.counts.connections
        self.server.open.add(self)

    def connection_lost(self, exc):
        self.server.open.discard(self)
        if self.busy:
            counts = self.server.counts
            counts.in_flight -= self.counted
            counts.left += self.counted
            counts.billed += self.answer is not None and self.answer.billed
            self.answer = None

    def data_received(self, data):
        self.buffer += data
        if not self.busy and len(self.buffer) >= self.needed:
            self.read()

    def read(self):
        """Take the next call out of the buffer, once it is all there."""
        if self.head is None:
            head, blank, rest = self.buffer.partition(b"\r\n\r\n")
            if not blank:
                return
            self.head = read_head(head.decode("latin-1"))
            if self.head is None:
                self.transport.write(http(400, b""))
                self.transport.close()
                return
            self.buffer, self.needed = rest, self.head[3]
        if len(self.buffer) < self.needed:
            return
        method, path, headers, length, close = self.head
        content, self.buffer = self.buffer[:length], self.buffer[length:]
        self.head, self.needed = None, 0
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        body = body if isinstance(body, dict) else None
        call = Call(method, path, headers, body, time.monotonic(), self.number)
        call.content = content if body is None else b""
        self.take(call, close)

    def take(self, call, close):
        """Find the answer to a call and send it in its time."""
        answer, delay = self.server.answer(call)
        if close and not answer.then:
            answer.then = "close"
        self.busy, self.answer, self.call, self.counted = True, answer, call, answer.counted
        if self.counted:
            counts = self.server.counts
            counts.in_flight += 1
            counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
        if delay:
            self.server.loop.call_later(delay, self.send)
        else:
            self.send()

    def send(self):
        """Send the answer, and do what comes after it."""
        answer, counts = self.answer, self.server.counts
        if answer is None:  # the client has gone
            return
        self.answer = None
        if answer.billed:
            counts.billed += 1
            counts.replies += not self.call.fault
        if answer.then != "silence":
            self.busy = False
            counts.in_flight -= self.counted
        if answer.then == "reset":
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
            return
        self.transport.write(answer.wire)
        if answer.then == "close":
            self.transport.close()
        elif self.buffer and not self.busy:
            self.read()


@contextmanager
def serving(behaviour=None, port=0, keep=True):
    """A Server in a thread of its own; what broke inside it is raised on leaving."""
    server = Server(behaviour or Behaviour(), port, keep)
    thread = threading.Thread(target=server.run, name="chat server")
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
    if server.broken:
        raise server.broken[0]


def fault_rate(text):
    """`500=0.01` as a pair."""
    name, _, rate = text.partition("=")
    if name not in FAULTS:
        raise argparse.ArgumentTypeError(f"no fault is called {name!r}: {' '.join(sorted(FAULTS))}")
    return name, float(rate)


def main():
    """Serve as a process until SIGTERM, SIGINT or, where stdin is a pipe, its end."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, nargs=2, default=(0, 0), metavar=("LOW", "HIGH"))
    parser.add_argument("--slots", type=int, help="calls worked on at a time")
    parser.add_argument("--fault", type=fault_rate, action="append", default=[], help="NAME=RATE")
    parser.add_argument("--rpm", type=float)
    parser.add_argument("--burst", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--words", type=int, help="length of every reply")
    parser.add_argument("--key")
    parser.add_argument("--no-calls", action="store_true", help="keep none for GET /calls")
    args = parser.parse_args()
    behaviour = Behaviour(
        latency=tuple(args.latency),
        slots=args.slots,
        faults=dict(args.fault),
        requests_per_minute=args.rpm,
        burst=args.burst,
        seed=args.seed,
        key=args.key,
        text=echo if args.words is None else " ".join(["word"] * args.words),
    )
    server = Server(behaviour, args.port, keep=not args.no_calls)
    for one in (signal.SIGTERM, signal.SIGINT):
        server.loop.add_signal_handler(one, server.stopping.set)
    kind = os.fstat(0).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
        server.loop.add_reader(0, lambda: os.read(0, 65536) or server.stop())
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    server.run()


if __name__ == "__main__":
    main()
