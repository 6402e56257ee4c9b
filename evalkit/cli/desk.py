"""The batches of one model in one run: what is noted of them, and what they have brought.

Whatever a batch holds is noted on disk before the service is asked to take it, and noted as kept
after its rows are on disk: whoever comes back after a crash, at any moment, pays for nothing twice
and loses nothing. Knows no question and no verb. The ledger is locked by this process.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from evalkit import batches, providers
from evalkit.batches import Batch, Log, Service, Status, name_of
from evalkit.chat import Failure, Kind, Request
from evalkit.cli import plans, running
from evalkit.cli.verb import note, say
from evalkit.errors import Missing, count
from evalkit.price import Budget, Price, dollars_at_most, in_dollars
from evalkit.runner import Run, Stop
from evalkit.workspace import read_batches, write_batches

if TYPE_CHECKING:
    from evalkit.catalog import Model
    from evalkit.chat import Provider
    from evalkit.cli.plans import Plan
    from evalkit.ledger import Writer

TRIES = 3  # of a call to the service that changes nothing there
LONGEST_WAIT = 10.0  # seconds between two of them
SETTLES = 60.0  # seconds after which a batch that is in no list was not taken
UNPLANNED = ".unplanned"
"""Ends the name of the file, beside a ledger, with replies that no plan asked for when they came;
they are taken from there when one does."""

Came = TypeVar("Came")


def share_of(model: "Model") -> float:
    """What a call to a model costs in a batch. Raises Missing where no batches are known."""
    if model.stanza.batch is None:
        raise Missing(
            f"no batch API is known for {model.name}. Where its service has one, say in its stanza "
            "in evalkit.yaml what a call costs there, as in `batch: 0.5`; else leave --batch out"
        )
    return model.stanza.batch


@dataclass
class Desk:
    """The batches of one model in one run."""

    plan: "Plan"
    work: Any
    service: Service
    writer: "Writer[Any]"
    budget: Budget
    """What is under way counts in it as spent, at its worst."""
    tell: running.Teller
    log: Log
    share: float
    begun: list[Request] = field(default_factory=list)
    """What was owed and in no batch when the first call was made."""
    kept_before: int = 0
    """Rows that had come until then."""
    refused: set[str] = field(default_factory=set)
    """Calls that this run has seen refused: another run may try them again."""
    short: int = 0
    """Calls that the budget does not hold."""

    @classmethod
    def of(
        cls,
        plan: "Plan",
        reached: "tuple[Provider, ...]",
        writer: "Writer[Any]",
        budget: Budget,
        tell: running.Teller,
    ) -> "Desk":
        """The desk of a plan, at the first of its servers.

        Raises Missing where its service takes no batches.
        """
        share, service = share_of(plan.model), providers.batches(plan.model, reached[0])
        if service is None:
            raise Missing(f"{plan.model.name} cannot be asked in batches. Leave --batch out")
        work = plan.run = plan.run or plans.work(plan, reached, writer)
        log = read_batches(plan.ledger.path)
        budget.spent += sum(batch.at_most or 0.0 for batch in log.open())
        return cls(plan, work, service, writer, budget, tell, log, share)

    # -- what comes in

    async def collect(self) -> Failure | None:
        """Take the replies of every batch that has ended; why that could not be done, if so."""
        self._recall()
        failure: Failure | None = None
        for batch in self.log.open():
            if batch.url != self.plan.model.url:
                here = f"and {self.plan.model.name} is now asked at {self.plan.model.url}"
                say(f"{batch.shown} is at {batch.url}, {here}: it is left alone")
                continue
            came = await self._look(batch)
            failure = failure or came
        return failure

    def _recall(self) -> None:
        """Take the replies that no plan asked for when they came, and this one does."""
        kept = self._unplanned()
        by_token = {batch.token: batch for batch in self.log.batches}
        before, spent = self.work.kept, self.budget.spent
        for first in list(self.plan.asking.requests()) if kept else ():
            request: Request | None = first
            while request is not None:
                token, line = kept.pop(self.name(request), ("", ""))
                batch = by_token.get(token)
                request = self._came(batch, request, line) if batch else None
        self.budget.spent = spent  # another run has paid for them
        if taken := self.work.kept - before:
            self.writer.sync()
            what = count(taken, "reply", "replies")
            say(f"{self.plan.model.name}: {what} of an earlier batch, asked for again")

    async def _look(self, batch: Batch) -> Failure | None:
        """See how far a batch is, and keep what came of it when it has ended."""
        if batch.id is None:
            found = await self._adopted(batch)
        else:
            found = await again(lambda: self.service.status(batch.id or ""))
        if isinstance(found, Failure) and found.kind == Kind.REJECTED:
            say(f"evalkit batches cancel {batch.shown} --forget takes its calls as owed")
        if found is None or isinstance(found, Failure):
            return found
        batch = self.note(found.of(batch))
        return await self._keep(batch, found) if found.has_ended else None

    async def _adopted(self, batch: Batch) -> Status | Failure | None:
        """Find out whether a batch was taken of which that is not known; None: not, or not yet."""
        began = datetime.fromisoformat(batch.began)
        found = await again(lambda: self.service.since(began.timestamp() - 3600))
        if isinstance(found, Failure):
            return found
        for status in found:
            if status.token == batch.token or (batch.file and status.file == batch.file):
                return status
        if (datetime.now(UTC) - began).total_seconds() < SETTLES:
            what = f"whether the service of {batch.model} took {batch.token}"
            say(f"{what} is not known yet; wait a minute")
            return None
        self.drop(batch)
        return None

    async def _keep(self, batch: Batch, status: Status) -> Failure | None:
        """The rows of a batch that has ended, on disk; then it is noted that they are."""
        owed = {self.name(request): request for request in self.plan.asking.requests()}
        ledger = self.plan.ledger
        here = {batches.name_in(row) for row in ledger.read()} if ledger.path.exists() else set()
        mine, heard, spent = set(batch.calls), set[str](), self.budget.spent
        strays: list[tuple[str, str]] = []
        cancelled = status.word == "cancelled"

        def take(line: str) -> None:
            name = self.service.called(line)
            if name not in mine or name in heard:
                return
            heard.add(name)
            request = owed.pop(name, None)
            if request is not None:
                self._came(batch, request, line, cancelled=cancelled)
            elif name not in here and self.service.replied(line):
                strays.append((name, line))

        before = self.work.kept
        for file in status.files:
            failure = await again(lambda file=file: self.service.lines(file, take))  # type: ignore[misc]
            if failure:
                return failure
        self._lay_aside(batch, strays)
        self.writer.sync()
        for name in () if cancelled else mine - heard:
            if name in owed:
                self._failed(name, _unheard(status))
        self.note(batch.now(state=batches.ENDED[status.word], calls=()))
        new = self.work.kept - before
        cost = in_dollars(self.budget.spent - spent)
        self.budget.spent -= batch.at_most or 0.0
        why = f": {status.said.rstrip('.')}" if status.said else ""
        say(f"{batch.shown} {status.word}{why}; {count(new, 'reply', 'replies')} kept, {cost}")
        return None

    def _came(
        self, batch: Batch, request: Request, line: str, *, cancelled: bool = False
    ) -> Request | None:
        """Count what a line says of a call, with its row where it is a reply."""
        came = self.service.came(line, batch, request)
        work, price = self.work, self.price(batch.share)
        if isinstance(came, Failure):
            if not (cancelled and came.kind == Kind.DOWN):
                self._failed(self.name(request), came)
            return None
        known = came.usage and price and price.dollars(came.usage.input, came.usage.output)
        dollars = 0.0 if work.free else known
        following: Request | None = work.keep(request, came, dollars)
        work.calls += 1
        work.kept += 1
        work.unpriced += dollars is None
        work.dollars += dollars or 0.0
        worst = price and dollars_at_most(request, price)
        self.budget.spent += (dollars if dollars is not None else worst) or 0.0
        return following

    def _failed(self, name: str, failure: Failure) -> None:
        if failure.kind in (Kind.REJECTED, Kind.TOO_LONG):
            self.refused.add(name)
        self.work.calls += 1
        self.work.failed[failure.kind] += 1
        self.tell(self.work, failure, None)

    def _lay_aside(self, batch: Batch, strays: list[tuple[str, str]]) -> None:
        """Keep replies to calls that are planned no more, word for word; each once."""
        if not strays:
            return
        ledger, there = self.plan.ledger, self._unplanned()
        lines = [
            json.dumps({"batch": batch.token, "call": name, "line": self.service.clean(line)})
            for name, line in strays
            if name not in there
        ]
        if lines:
            aside = ledger.keep_aside(UNPLANNED, [line.encode() for line in lines])
            what = f"{count(len(lines), 'reply', 'replies')} to what is asked no more or otherwise"
            say(f"{what}, kept in {aside}; asked so again, they count")

    def _unplanned(self) -> dict[str, tuple[str, str]]:
        """The replies that were laid aside, by the name of their call: the batch and the line."""
        path = self.plan.ledger.aside(UNPLANNED)
        found: dict[str, tuple[str, str]] = {}
        for raw in path.read_bytes().splitlines() if path.exists() else ():
            try:
                value = json.loads(raw)
                found.setdefault(value["call"], (value["batch"], value["line"]))
            except (ValueError, LookupError, TypeError):
                continue  # cut by a crash: the batch is not noted as kept, and brings it again
        return found

    # -- what is noted

    def waiting(self) -> list[Request]:
        """What is owed, in no batch, and not refused just now."""
        held = {*self.log.holds(), *self.refused}
        return [each for each in self.plan.asking.requests() if self.name(each) not in held]

    def stop(self, run: Run, failure: Failure | None) -> None:
        """Take it that the service cannot be reached, or refuses."""
        if failure is not None and not self.work.stopped:
            self.work.stopped = True
            run.stops.append(Stop(failure, self.work.name, self.work.calls))

    def price(self, share: float) -> Price | None:
        """Of a call that costs a share of it; None where nothing is known or asked."""
        price = self.plan.model.stanza.price
        return None if price is None or self.work.free else price.times(share)

    def name(self, request: Request) -> str:
        """What a call is called in a batch."""
        return name_of(request, self.plan.model.asked_as)

    def note(self, batch: Batch) -> Batch:
        """Bring to disk what is known of a batch."""
        known = next((each for each in self.log.batches if each.token == batch.token), None)
        if known != batch:
            self.log = self.log.told(batch)
            write_batches(self.plan.ledger.path, self.log)
        return batch

    def drop(self, batch: Batch) -> None:
        """Note that a batch was not taken: its calls are owed."""
        self.log = self.log.without(batch)
        write_batches(self.plan.ledger.path, self.log)
        self.budget.spent -= batch.at_most or 0.0


def _unheard(status: Status) -> Failure:
    """Why there is not a word of a call in what a batch brought."""
    if status.word == "expired":
        return Failure(Kind.EXPIRED, f"{status.id} expired before all its calls were made")
    if status.word == "failed":
        return Failure(
            Kind.REJECTED, f"{status.id} was not taken: {status.said or 'no reason given'}"
        )
    return Failure(Kind.BAD_REPLY, f"{status.id} holds nothing about some of its calls")


async def again(make: Callable[[], Awaitable[Came]]) -> Came:
    """Call, and again where that can help: for what does not matter if it is done twice."""
    tried = 1
    while True:
        came = await make()
        if not isinstance(came, Failure) or came.kind not in (Kind.DOWN, Kind.BUSY):
            return came
        if tried == TRIES:
            return came
        note(f"  {came.said}; trying again")
        await asyncio.sleep(min(LONGEST_WAIT, tried if came.wait is None else came.wait))
        tried += 1
