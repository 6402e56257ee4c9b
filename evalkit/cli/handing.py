"""What is owed and in no batch, handed over in new ones: one call alone, then the rest.

Knows no question and no verb. The ledger is locked by this process.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from evalkit import batches
from evalkit.batches import Batch
from evalkit.chat import Failure, Kind, Request
from evalkit.cli.desk import Desk, again
from evalkit.cli.verb import say
from evalkit.errors import count
from evalkit.price import dollars_at_most, in_dollars
from evalkit.runner import Run


@dataclass(frozen=True)
class Line:
    """One call as it goes into a batch's file."""

    name: str
    data: bytes
    worst: float
    """Dollars that it cannot pass."""


def begin(desk: Desk) -> None:
    """Let the work make one call, the first that gets a reply, and no other."""
    desk.begun = [] if desk.work.stopped else desk.waiting()
    desk.kept_before = before = desk.work.kept
    only = len(desk.begun) == 1  # then what follows from it goes the same way

    def none_yet(_: Request | None = None) -> bool:
        return only or desk.work.kept == before

    desk.work.requests = takewhile(none_yet, desk.begun)
    desk.work.wanted = none_yet
    desk.work.owed = before + bool(desk.begun)


async def submit(desk: Desk) -> Failure | None:
    """Hand over what is owed and in no batch; why that could not be done, if so."""
    if desk.work.stopped or desk.work.kept == desk.kept_before:
        return None  # nobody knows whether any call of it would be taken
    lines = _affordable(desk, _in_turn(desk, desk.waiting()))
    for group in batches.parted(
        lines, lambda line: len(line.data), batches.MOST_CALLS, batches.MOST_BYTES
    ):
        if failure := await _hand_over(desk, group):
            return failure
    return None


def _in_turn(desk: Desk, waiting: list[Request]) -> list[Request]:
    """Half as many as in a batch that was not taken, with those under way; else all."""
    refused = desk.log.refused()
    if refused is None:
        return waiting
    most = max(1, refused.size // 2)
    taken = waiting[: max(0, most - len(desk.log.holds()))]
    if rest := len(waiting) - len(taken):
        what = f"at most {count(most, 'call')} at a time, since {refused.shown} was not taken"
        say(f"{desk.plan.model.name}: {what}; {count(rest, 'call')} must wait")
    return taken


def _affordable(desk: Desk, waiting: list[Request]) -> "Iterator[Line]":
    """The lines of as many calls as the budget holds; their worst case is set aside."""
    price = desk.price(desk.share)
    for number, request in enumerate(waiting):
        worst = (dollars_at_most(request, price) or 0.0) if price else 0.0
        if not desk.budget.holds(worst):
            desk.short = len(waiting) - number
            return
        desk.budget.spent += worst
        name = desk.name(request)
        yield Line(name, desk.service.line(name, request), worst)


async def _hand_over(desk: Desk, group: "list[Line]") -> Failure | None:
    token = secrets.token_hex(8)
    data = [line.data for line in group]
    file = await again(lambda: desk.service.upload(data, token))
    worst = sum(line.worst for line in group)
    if isinstance(file, Failure):
        desk.budget.spent -= worst
        return file
    model = desk.plan.model
    batch = Batch(
        token=token,
        model=model.name,
        model_id=model.id,
        url=model.url or "",
        key_env=model.stanza.key_env,
        file=file,
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        calls=tuple(line.name for line in group),
        size=len(group),
        at_most=worst if model.is_free or model.stanza.price else None,
        share=desk.share,
        spoken=desk.service.spoken,
    )
    desk.note(batch)
    status = await desk.service.create(file, token)
    if isinstance(status, Failure):
        if status.kind not in (Kind.DOWN, Kind.BAD_REPLY):  # else it may have been taken
            desk.drop(batch)
        return status
    desk.note(status.of(batch))
    return None


def tell_budget(desk: Desk, run: Run) -> None:
    """Say what waits because of the budget."""
    if run.over_budget and desk.work.kept == desk.kept_before:
        desk.short = len(desk.begun)
    if desk.short:
        held = in_dollars(desk.budget.spent)
        limit = in_dollars(desk.budget.limit or 0.0)
        what = f"{held} of {limit} are spent or set aside for what is under way"
        say(f"{what}; {count(desk.short, 'call')} of {desk.plan.model.name} must wait")
