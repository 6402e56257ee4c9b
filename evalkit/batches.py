"""Batches: many calls handed to a service in one file, at a lower price and with a day's patience.

What is noted of each batch beside the ledger that its replies go into, which call is which in it,
and how many calls fit into one. A batch is noted before the service is asked to take it, so that
whoever comes back after a crash can look whether it was taken.

Pure: opens no file and no connection. Which question a call asks is not known here.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from evalkit import jsonl
from evalkit.chat import Failure, Reply, Request, about
from evalkit.errors import BadFile, Fault
from evalkit.records import Answer, Review, short_hash

MOST_CALLS = 50_000  # in one batch, as OpenAI takes them
MOST_BYTES = 100_000_000  # in its file; OpenAI takes 200 MB, others half of that

State = Literal["submitting", "running", "collected", "expired", "failed", "cancelled"]
OPEN: frozenset[State] = frozenset({"submitting", "running"})
ENDED: dict[str, State] = {
    "completed": "collected",
    "expired": "expired",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""How the service says that a batch has ended, and what we call it once its replies are kept."""

Names = Annotated[tuple[str, ...], Strict(False)]  # JSON has lists only
Line = TypeVar("Line")


class Spoken(BaseModel):
    """The parameters that the lines of a batch were written with."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_tokens_name: str
    left_out: Names = ()


class Batch(BaseModel):
    """One batch, from before it is sent until its replies are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    token: str
    """Drawn before it is sent, and sent with it: by it the batch is found again."""
    state: State = "submitting"
    id: str | None = None
    """What the service calls it; None until it has said so."""
    status: str | None = None
    """The service's own last word about it."""
    model: str
    """Who is asked, by the name in the rows."""
    model_id: str
    url: str
    key_env: str | None = None
    file: str | None = None
    """What the service calls the file with the calls."""
    began: str
    """When it was first sent, ISO 8601 in UTC."""
    calls: Names = ()
    """The names of its calls, while it is open."""
    size: int = Field(ge=0)
    """How many calls it holds."""
    done: int = 0
    lost: int = 0
    """Calls without a reply, as far as the service has said."""
    at_most: float | None = None
    """Dollars that it cannot pass; None where the price is not known."""
    share: float
    """What its calls cost, as a share of the price."""
    spoken: Spoken
    said: str | None = None
    """Why the service did not take it, or ended it."""

    @property
    def is_open(self) -> bool:
        """Whether its calls may still come to something that is not kept."""
        return self.state in OPEN

    @property
    def shown(self) -> str:
        """What it is called where people read."""
        return self.id or self.token

    def now(self, **changed: Any) -> "Batch":
        """The same batch, as it is now."""
        return self.model_copy(update=changed)


class Log(BaseModel):
    """All batches of one ledger, in the order in which they were sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    batches: Annotated[tuple[Batch, ...], Strict(False)] = ()

    def open(self) -> list[Batch]:
        """Those that are not kept yet."""
        return [batch for batch in self.batches if batch.is_open]

    def holds(self) -> dict[str, Batch]:
        """Each call that is in an open batch, by its name."""
        return {name: batch for batch in self.open() for name in batch.calls}

    def told(self, batch: Batch) -> "Log":
        """With this batch in the place of what was noted of it, or behind all others."""
        others = [each for each in self.batches if each.token != batch.token]
        place = next((n for n, b in enumerate(self.batches) if b.token == batch.token), len(others))
        return Log(batches=(*others[:place], batch, *others[place:]))

    def without(self, batch: Batch) -> "Log":
        """Without a batch that never came to be."""
        return Log(batches=tuple(each for each in self.batches if each.token != batch.token))

    def refused(self) -> Batch | None:
        """The last one that the service did not take: most likely it was too much at once."""
        return next((each for each in reversed(self.batches) if each.state == "failed"), None)

    def text(self) -> str:
        """What stands in its file."""
        return self.model_dump_json(indent=1, exclude_defaults=True) + "\n"


def read(text: str, where: str) -> Log:
    """A file's log. Raises BadFile for one that is none; it is ours, and nobody edits it."""
    try:
        return Log.model_validate_json(text)
    except ValidationError as error:
        what = "; ".join(jsonl.complaints(error, Log))
        raise BadFile([Fault(where, f"no list of batches: {what}")]) from error


def name_of(request: Request, model_id: str) -> str:
    """What a call is called in a batch: the same whenever it is planned again."""
    return short_hash([request.about, request.sample, request.asked(model_id)])


def name_in(row: Answer | Review) -> str:
    """The name of the call that left a row."""
    return short_hash([about(row), row.sample, row.asked])


def parted(
    lines: Iterable[Line],
    bytes_of: Callable[[Line], int],
    most_calls: int = MOST_CALLS,
    most_bytes: int = MOST_BYTES,
) -> Iterator[list[Line]]:
    """Lines in as few batches as hold them; one that alone is too long stands alone.

    Only one batch is held at a time.
    """
    batch: list[Line] = []
    bytes_ = 0
    for line in lines:
        size = bytes_of(line) + 1  # with its line end
        if batch and (len(batch) >= most_calls or bytes_ + size > most_bytes):
            yield batch
            batch, bytes_ = [], 0
        batch.append(line)
        bytes_ += size
    if batch:
        yield batch


@dataclass(frozen=True)
class Status:
    """What a service says of a batch."""

    id: str
    word: str
    token: str | None = None
    file: str | None = None
    files: tuple[str, ...] = ()
    """Those with its replies and with its errors, as far as there are any."""
    created: float | None = None
    """Seconds since 1970."""
    done: int = 0
    lost: int = 0
    said: str | None = None
    """Why it was not taken."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.word in ENDED

    def of(self, batch: Batch) -> Batch:
        """What is noted of a batch, with what the service says now; it is not kept by that."""
        heard = {"id": self.id, "state": "running", "status": self.word, "said": self.said}
        return batch.now(**heard, done=self.done, lost=self.lost)


class Service(Protocol):
    """A service's batches: one call to it each; a failure is no exception."""

    spoken: Spoken
    """How lines are written now."""

    def line(self, name: str, request: Request) -> bytes:
        """A call as a line of a batch's file."""
        ...

    def called(self, line: str) -> str | None:
        """The name of the call that a line of replies is about; None where it has none."""
        ...

    def replied(self, line: str) -> bool:
        """Whether such a line holds a reply, which was paid for."""
        ...

    def came(self, line: str, batch: Batch, request: Request) -> Reply | Failure:
        """What such a line says of the call."""
        ...

    def clean(self, line: str) -> str:
        """The line without keys."""
        ...

    async def upload(self, lines: list[bytes], token: str) -> str | Failure:
        """Hand over a file; what the service calls it."""
        ...

    async def create(self, file: str, token: str) -> Status | Failure:
        """Have the calls of a file made."""
        ...

    async def status(self, batch_id: str) -> Status | Failure:
        """How far it is."""
        ...

    async def since(self, moment: float) -> list[Status] | Failure:
        """All batches that were made since then."""
        ...

    async def cancel(self, batch_id: str) -> Status | Failure:
        """Give it up; what has been done stays."""
        ...

    async def lines(self, file: str, take: Callable[[str], None]) -> Failure | None:
        """Read a file of replies, line by line."""
        ...
