"""What is sent to a model and what comes back: the one shape that every way of reaching one has.

A call ends in a Reply or in a Failure; neither is an exception. Knows no question, no judge and
no service.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from evalkit.records import Answer, Review, Usage, short_hash

THOUGHT = "<think>", "</think>"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn; None leaves it to the service."""

    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None

    def parameters(self) -> dict[str, float]:
        """Those that are set, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Request:
    """One call to a model."""

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    about: tuple[str, ...] = ()
    """The question's id, then the models shown, in order, and the kind of a canary: never sent;
    replies can be found by it, however the prompt is worded."""
    sample: int = 0
    schema: str | None = None
    """A JSON schema, as JSON, that the service shall hold the reply to; None: any text."""

    def asked(self, model_id: str) -> str:
        """`short_hash` of exactly what is sent to the model: its id, messages, parameters."""
        messages = [[message.role, message.text] for message in self.messages]
        sent = [model_id, messages, self.sampling.parameters()]
        return short_hash(sent if self.schema is None else [*sent, self.schema])


@dataclass(frozen=True)
class Headroom:
    """What a service says it will still take, of requests or of tokens."""

    unit: Literal["requests", "tokens"]
    limit: float
    remaining: float
    reset: float | None
    """Seconds until all of `limit` is free again."""


@dataclass(frozen=True)
class Reply:
    """What came back, word for word; what the service did not say is None."""

    text: str
    served: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    repaired: int = 0
    """How many half surrogates in the text were replaced by U+FFFD."""
    sampling: Mapping[str, float] | None = None
    """The parameters that were really sent."""
    headroom: tuple[Headroom, ...] = ()
    latency: float | None = None
    """Seconds from sending to the last byte."""
    time: str | None = None
    """When it came, ISO 8601 in UTC."""
    template: str | None = None
    """Hash of the chat template that the messages were put into, where we did that."""
    batch: str | None = None
    """The batch that it came in, as its service calls it."""


def apart(text: str) -> tuple[str, str | None]:
    """What is said, and the reasoning before it, of a model that has no other place for it."""
    begin, end = THOUGHT
    if not text.lstrip().startswith(begin):
        return text, None
    thought, ended, said = text.lstrip().removeprefix(begin).partition(end)
    return said.lstrip() if ended else "", thought.strip()


def bought(request: Request, reply: Reply, model_id: str, dollars: float | None) -> dict[str, Any]:
    """The fields that a call leaves in its row, whoever was asked: those of `records.Bought`."""
    return {
        "asked": request.asked(model_id),
        "sample": request.sample,
        "served": reply.served,
        "reasoning": reply.reasoning,
        "usage": reply.usage,
        "dollars": dollars,
        "latency": reply.latency,
        "finish_reason": reply.finish_reason,
        "time": reply.time,
        "repaired": reply.repaired,
        "refusal": reply.refusal,
        "sampling": None if reply.sampling is None else dict(reply.sampling),
        "template": reply.template,
        "batch": reply.batch,
    }


def about(row: Answer | Review) -> tuple[str, ...]:
    """The `Request.about` of the call that left a row."""
    if isinstance(row, Answer):
        return (row.question,)
    return (row.question, *row.shown, *([row.canary] if row.canary else []))


class Kind(StrEnum):
    """Why a call failed, by what can be done about it."""

    BUSY = "busy"  # too many calls just now: wait
    DOWN = "down"  # server error, no connection, time out: try again
    BAD_REPLY = "bad_reply"  # a reply that is none: try again, but not for long
    TOO_LONG = "too_long"  # this request does not fit the model
    REJECTED = "rejected"  # this request is refused, others may not be
    EXPIRED = "expired"  # a batch ended before it came to this call: ask again
    NOT_RECORDED = "not_recorded"  # a recording holds no reply to this request
    NO_MODEL = "no_model"  # no such model or address: every call to it would fail
    UNLOADABLE = "unloadable"  # a checkpoint on this machine that is none: every call would fail
    KEY = "key"  # the key is refused: every call with it would fail
    QUOTA = "quota"  # the account has no money left


@dataclass(frozen=True)
class Failure:
    """Why there is no reply."""

    kind: Kind
    said: str
    """In one line, for a person; holds no key."""
    wait: float | None = None
    """Seconds after which the service wants to be asked again."""
    headroom: tuple[Headroom, ...] = ()
    billed: bool = False
    """The request went out and the reply broke off: the service may charge for it."""


def unheard(text: str) -> None:
    """Nobody listens: the reply is taken when it is whole."""


class Provider(Protocol):
    """A way to reach one model."""

    shares: str
    """Whose pace this model shares: the address and the name of the key, for people to read."""
    at_once: int | None
    """How many calls it takes at once; None where that must be found out."""
    notes: tuple[str, ...]
    """What its owner should know before the first call, a line each."""

    async def reply(
        self, request: Request, hear: Callable[[str], None] = unheard
    ) -> Reply | Failure:
        """Make one call; `hear` gets the text piece by piece while it comes."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
