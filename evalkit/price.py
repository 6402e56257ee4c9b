"""What calls cost: before they are made, after, and a budget that no call can pass.

Dollars and tokens only. Knows no model by name; a price that is not known stays unknown.
"""

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, Field

from evalkit.chat import Request
from evalkit.records import Usage

MESSAGE = 16  # tokens, at most, that a service adds to a message for its role and its bounds
CHARACTERS = 4  # to a token, in English
_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")


class Price(BaseModel):
    """Dollars for a million tokens, read somewhere on a day."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    date: datetime.date
    source: str | None = None

    def __str__(self) -> str:
        return f"${self.input:g} in, ${self.output:g} out (of {self.date})"

    def dollars(self, input: float, output: float) -> float:  # noqa: A002
        """What so many tokens cost."""
        return (input * self.input + output * self.output) / 1_000_000

    def times(self, share: float) -> "Price":
        """The price where only a share of it is asked."""
        return self.model_copy(update={"input": share * self.input, "output": share * self.output})


def tokens_at_most(request: Request) -> int:
    """No tokenizer makes more tokens of the messages and the schema than they have bytes."""
    texts = [*(each.text for each in request.messages), request.schema or ""]
    bytes_ = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return bytes_ + MESSAGE * len(request.messages)


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


@dataclass(frozen=True)
class Estimate:
    """What calls will take: tokens, most likely, and dollars where the price is known."""

    input: float = 0.0
    output: float = 0.0
    about: float | None = None
    """Dollars, most likely."""
    most: float | None = None
    """Dollars that they cannot pass."""

    def plus(self, dollars: float) -> "Estimate":
        """The same where so much more may be asked at worst."""
        return replace(self, most=None if self.most is None else self.most + dollars)


def estimate(
    requests: Iterable[tuple[Request, int]],
    price: Price | None,
    usual: float,
    scale: float = 1.0,
) -> Estimate:
    """What calls will take, before one is made.

    Each with how many replies its prompt will hold that nobody has given yet. `usual`: tokens of a
    reply; `scale`: tokens of a prompt for one of `tokens_about`. Raises ValueError where nothing
    limits the length of a reply.
    """
    input_ = output = most = 0.0
    for request, unsaid in requests:
        limit = request.sampling.max_tokens
        if limit is None:
            raise ValueError("a reply of any length has no price")
        likely = min(limit, usual)
        input_ += scale * tokens_about(request) + unsaid * likely
        output += likely
        if price is not None:
            most += price.dollars(tokens_at_most(request) + unsaid * limit, limit)
    if price is None:
        return Estimate(input_, output)
    return Estimate(input_, output, price.dollars(input_, output), most)


def dollars_of(usage: Usage | None, price: Price | None) -> float | None:
    """What a call did cost; None where the price or the usage is not known."""
    return price.dollars(usage.input, usage.output) if usage and price else None


def in_dollars(amount: float) -> str:
    """Dollars in as many digits as they need."""
    if 0 < amount < 0.01:
        return f"${amount:.4f}" if amount >= 0.0001 else "less than $0.0001"
    return f"${amount:,.2f}"


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
