"""What calls cost: before they are made, after, and a budget that no call can pass.

Dollars and tokens only. Knows no model by name; a price that is not known stays unknown.
"""

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from evalkit.chat import Request
from evalkit.records import Usage

MESSAGE = 16  # tokens, at most, that a service adds to a message for its role and its bounds
CHARACTERS = 4  # to a token, in English
_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")


class Price(BaseModel):
    """Dollars for a million tokens, read somewhere on a day."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    date: datetime.date
    source: str | None = None

    def __str__(self) -> str:
        return f"${self.input:g} in, ${self.output:g} out (of {self.date})"

    def dollars(self, input: float, output: float) -> float:  # noqa: A002
        """What so many tokens cost."""
        return (input * self.input + output * self.output) / 1_000_000


def tokens_at_most(request: Request) -> int:
    """No tokenizer makes more tokens of the messages than they have bytes."""
    return sum(len(each.text.encode("utf-8", "replace")) + MESSAGE for each in request.messages)


def tokens_about(request: Request) -> float:
    """What most tokenizers make of the messages: one of four letters, or of one Chinese sign."""
    total = 0.0
    for message in request.messages:
        wide = len(_WIDE.findall(message.text))
        total += wide + (len(message.text) - wide) / CHARACTERS + MESSAGE / 4
    return total


def dollars_at_most(request: Request, price: Price) -> float | None:
    """What a call can cost; None where nothing limits its length."""
    if request.sampling.max_tokens is None:
        return None
    return price.dollars(tokens_at_most(request), request.sampling.max_tokens)


def estimate(
    requests: Iterable[tuple[Request, int]], price: Price, usual: int
) -> tuple[float, float]:
    """Dollars that calls will cost, about and at most.

    Each with how many replies its prompt will hold that nobody has given yet; `usual`: tokens of a
    reply. Raises ValueError where nothing limits the length of one.
    """
    about = most = 0.0
    for request, unsaid in requests:
        limit = request.sampling.max_tokens
        if limit is None:
            raise ValueError("a reply of any length has no price")
        likely = min(limit, usual)
        about += price.dollars(tokens_about(request) + unsaid * likely, likely)
        most += price.dollars(tokens_at_most(request) + unsaid * limit, limit)
    return about, most


def dollars_of(usage: Usage | None, price: Price | None) -> float | None:
    """What a call did cost; None where the price or the usage is not known."""
    return price.dollars(usage.input, usage.output) if usage and price else None


@dataclass
class Budget:
    """Dollars that a run may spend; None is no limit.

    A call's worst case is set aside before it starts and settled when it has ended. What has an
    unknown end, or no usage, counts as its worst case.
    """

    limit: float | None = None
    spent: float = 0.0
    aside: float = 0.0

    def holds(self, worst: float) -> bool:
        """Whether a call that can cost `worst` could start now."""
        return self.limit is None or self.spent + self.aside + worst <= self.limit

    def may_hold(self, worst: float) -> bool:
        """Whether it could start later, if those under way cost nothing."""
        return self.limit is None or self.spent + worst <= self.limit

    def start(self, worst: float) -> None:
        """Set a call's worst case aside."""
        self.aside += worst

    def end(self, worst: float, cost: float) -> None:
        """Settle a call that was set aside."""
        self.aside -= worst
        self.spent += cost
