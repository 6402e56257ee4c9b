"""A plan: one model, what it is asked, and where its rows go.

Knows no question and no verb, and makes no call.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import click

from evalkit.cli.verb import say
from evalkit.errors import EvalkitError

if TYPE_CHECKING:
    from evalkit.catalog import Model
    from evalkit.chat import Provider, Reply, Request
    from evalkit.ledger import Ledger, Writer
    from evalkit.price import Estimate
    from evalkit.runner import Work
    from evalkit.until import Until


class Asked(Protocol):
    """What one model is asked: `answer.Asking`, `judge.judging.Judging`."""

    @property
    def total(self) -> int:
        """Rows that all of it takes."""
        ...

    @property
    def done(self) -> int:
        """How many rows are here."""
        ...

    def complete(self) -> Sequence[Any]:
        """The rows that are here."""
        ...

    def requests(self) -> "Iterator[Request]":
        """What can be asked now."""
        ...

    def calls(self) -> "Iterator[tuple[Request, int]]":
        """Every call that is owed."""
        ...

    def record(self, request: "Request", reply: "Reply", dollars: float | None) -> Any:
        """The row that a reply becomes."""
        ...

    def take(self, row: Any) -> "Request | None":
        """Count a row that is on disk; returns what follows from it."""
        ...


@dataclass
class Plan:
    """One model, what it is asked, and where its rows go."""

    model: "Model"
    asking: Asked
    ledger: "Ledger[Any]"
    estimate: "Estimate"
    kept: int
    """Rows that were complete when this began."""
    calls: int
    """Owed then."""
    usual: tuple[float, float]
    """What the estimate is made with, as `price.estimate` takes it."""
    run: "Work | None" = field(default=None, repr=False)
    until: "Until | None" = field(default=None, repr=False)
    """`asking`, where it may end before all is asked."""

    @property
    def owed(self) -> int:
        """Rows that are not complete now."""
        return self.asking.total - self.asking.done


def plan(
    model: "Model",
    ledger: "Ledger[Any]",
    asking_of: Callable[[Sequence[Any]], Asked],
    usual_of: Callable[[Any], tuple[float, float]],
) -> Plan:
    """What a model is asked, given the rows of all its ledgers, and what that takes.

    `usual_of`: tokens of a reply, and the scale of a prompt, as `price.estimate` takes them.
    """
    from evalkit import price
    from evalkit.ledger import as_one

    asking = asking_of(as_one(ledger.parts(), type(ledger).skim))
    cost = None if model.is_free else model.stanza.price
    usual = usual_of(asking)
    estimate = price.estimate(asking.calls(), cost, *usual)
    calls = sum(1 for _ in asking.calls())
    return Plan(model, asking, ledger, estimate, asking.done, calls, usual)


def work(plan: Plan, providers: "tuple[Provider, ...]", writer: "Writer[Any]") -> "Work":
    """What is to be done for a plan: its calls, each with its row in the ledger."""
    from evalkit.runner import Work

    def keep(request: "Request", reply: "Reply", dollars: float | None) -> "Request | None":
        row = plan.asking.record(request, reply, dollars)
        try:
            writer.add(row)
        except EvalkitError:
            say("this reply was paid for and cannot be kept; here it is, as its row:")
            click.echo(json.dumps(row.model_dump(mode="json", exclude_defaults=True)), err=True)
            raise
        following = plan.asking.take(row)
        if plan.until and plan.run:
            plan.run.owed = plan.calls - plan.until.spared
        return following

    made = Work(
        name=plan.model.name,
        providers=providers,
        requests=plan.asking.requests(),
        keep=keep,
        owed=plan.calls,
        price=plan.model.stanza.price,
        free=plan.model.is_free,
    )
    if plan.until:
        made.wanted, made.lost = plan.until.wanted, plan.until.lost
    return made
