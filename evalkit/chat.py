"""What is sent to a model and what comes back: the one shape that every way of reaching one has.

Knows no question, no judge and no service.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from evalkit.records import Usage


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


@dataclass(frozen=True)
class Request:
    """One call to a model."""

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Reply:
    """What came back, word for word; what the service did not say is None."""

    text: str
    served: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None


class Provider(Protocol):
    """A way to reach one model."""

    async def reply(self, request: Request) -> Reply:
        """Make one call."""
        ...
