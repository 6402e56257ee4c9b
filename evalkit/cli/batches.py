"""evalkit batches: what is under way in batches, and how to give it up."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli.verb import (
    Everywhere,
    Verbs,
    on_a_workspace,
    open_catalog,
    open_workspace,
    print_json,
    say,
    show,
)
from evalkit.errors import EvalkitError, Missing, Unknown, count

if TYPE_CHECKING:
    from evalkit.batches import Batch, Service, Status
    from evalkit.catalog import Catalog, Model
    from evalkit.chat import Provider
    from evalkit.ledger import Ledger
    from evalkit.workspace import Workspace

PATIENCE = 10.0  # seconds for what a service says of a batch
HEAD = ("batch", "bank", "model", "state", "done", "failed", "calls", "at most", "sent")


@dataclass(frozen=True)
class Noted:
    """A batch, and the ledger that its replies go into."""

    batch: "Batch"
    ledger: "Ledger[Any]"

    @property
    def bank(self) -> str:
        """Whose questions are asked in it."""
        from evalkit.workspace import bank_of

        return bank_of(self.ledger.path)

    def values(self) -> dict[str, Any]:
        """What programs get."""
        from evalkit.cli import batching

        return {
            **batching.values(self.batch), "bank": self.bank, "ledger": str(self.ledger.path)
        }  # fmt: skip

    def row(self) -> tuple[str, ...]:
        """What a person gets."""
        from evalkit.price import in_dollars

        batch = self.batch
        state = batch.status if batch.state == "running" and batch.status else batch.state
        most = "" if batch.at_most is None else in_dollars(batch.at_most)
        numbers = map(str, (batch.done, batch.lost, batch.size))
        return (batch.shown, self.bank, batch.model, state, *numbers, most, batch.began)


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    short_help="What is under way in batches; give it up.",
)
@click.option("--bank", help="Only of this bank; default: of all.")
@on_a_workspace
@click.pass_context
def batches(ctx: click.Context, /, given: Everywhere, bank: str | None) -> None:
    """List the batches that `evalkit answer --batch` and `evalkit judge --batch` have handed over.

    Those that are open are looked up at their service, where the key is there; what cannot be
    looked up is shown as it was when it was last seen. Nothing is collected: the command that
    handed a batch over does that.
    """
    if ctx.invoked_subcommand is not None:
        return
    workspace = open_workspace(given.folder)
    found = _looked_up(_noted(workspace, bank), open_catalog(workspace))
    if given.as_json:
        print_json("batches", {"batches": [each.values() for each in found]}, [], None)
        return
    from evalkit.columns import aligned

    for line in aligned([HEAD, *(each.row() for each in found)]) if found else ():
        show(line)
    open_ = sum(each.batch.is_open for each in found)
    if not found:
        say("no batches here. evalkit answer --batch makes them")
    elif open_:
        say(f"Next: the command that sent them, again, collects what is done ({open_} open)")


@batches.command("cancel", short_help="Give up a batch.")
@click.argument("batch_id", metavar="ID")
@click.option(
    "--forget",
    is_flag=True,
    help="Do not ask the service: take its calls as owed. What it brings is lost, if it is paid.",
)
@on_a_workspace
def cancel(given: Everywhere, batch_id: str, forget: bool) -> None:
    """Have a service give up a batch: what it has not done yet is not paid for.

    What it has done is collected by the next run of the command that sent it; the rest is owed
    from then on.
    """
    workspace = open_workspace(given.folder)
    found = [each for each in _noted(workspace, None) if each.batch.is_open]
    one = next((e for e in found if batch_id in (e.batch.id, e.batch.token)), None)
    if one is None:
        known = [each.batch.shown for each in found]
        raise Unknown("open batch", batch_id, known, "See: evalkit batches")
    with one.ledger.writing():
        changed = _forgotten(one) if forget else _cancelled(one, open_catalog(workspace))
    if given.as_json:
        print_json("batches cancel", changed.values(), [], None)
        return
    batch = changed.batch
    if forget:
        show(f"{batch.shown} is forgotten: {count(batch.size, 'call')} of {batch.model} are owed")
    else:
        show(f"{batch.shown}: {batch.status}, {batch.done} of {count(batch.size, 'call')} done")
        say("Next: the command that sent it, again, collects what was done")


def _noted(workspace: "Workspace", bank: str | None) -> list[Noted]:
    from evalkit.workspace import read_batches

    return [
        Noted(batch, ledger)
        for ledger in workspace.batched(bank)
        for batch in read_batches(ledger.path).batches
    ]


def _forgotten(one: Noted) -> Noted:
    return _written(one, one.batch.now(state="cancelled", calls=(), said="forgotten"))


def _cancelled(one: Noted, catalog: "Catalog") -> Noted:
    from evalkit.chat import Failure
    from evalkit.cli import running

    batch = one.batch
    if batch.id is None:
        raise Missing(
            f"whether the service took {batch.token} is not known: the command that sent it, "
            "again, finds out; --forget takes its calls as owed"
        )
    provider, service = _service(batch, catalog)
    with running.looped([provider]) as within:
        came: Status | Failure = within(service.cancel(batch.id))
    if isinstance(came, Failure):
        raise Missing(f"{came.said}. --forget takes its calls as owed without asking")
    return _written(one, came.of(batch))


def _written(one: Noted, batch: "Batch") -> Noted:
    """Note a batch, in a ledger whose lock is held."""
    from evalkit.workspace import read_batches, write_batches

    write_batches(one.ledger.path, read_batches(one.ledger.path).told(batch))
    return replace(one, batch=batch)


def _looked_up(found: list[Noted], catalog: "Catalog") -> list[Noted]:
    """The batches with what their services say of them now, as far as they can be asked."""
    told: set[str] = set()
    return [_seen(each, catalog, told) if each.batch.is_open else each for each in found]


def _seen(one: Noted, catalog: "Catalog", told: set[str]) -> Noted:
    """One batch as its service shows it; `told`: what was said, and addresses not to try again."""
    from evalkit.chat import Failure
    from evalkit.cli import running

    batch = one.batch
    if batch.id is None or batch.url in told:
        return one
    try:
        provider, service = _service(batch, catalog)
    except EvalkitError as error:
        came: Status | Failure | str = str(error)
    else:
        with running.looped([provider]) as within:
            came = within(service.status(batch.id))
    if isinstance(came, str | Failure):
        why = came if isinstance(came, str) else came.said
        say(f"{why}; shown as it was when it was last seen")
        told.add(batch.url)
        return one
    return replace(one, batch=came.of(batch))


def _service(batch: "Batch", catalog: "Catalog") -> "tuple[Provider, Service]":
    """Where a batch is. Raises Missing or BadKey where it cannot be asked about."""
    from evalkit import providers
    from evalkit.cli import running

    model = _model(batch, catalog)
    limits = model.stanza.timeouts.model_copy(update={"total": PATIENCE, "connect": PATIENCE / 2})
    model = replace(model, stanza=model.stanza.model_copy(update={"timeouts": limits}))
    provider = running.providers_of(model, catalog)[0]
    service = providers.batches(model, provider)
    if service is None:
        raise Missing(f"{batch.shown} is at a service that takes no batches")
    return provider, service


def _model(batch: "Batch", catalog: "Catalog") -> "Model":
    """Who is asked in a batch: by name, or else at the address where it was."""
    with suppress(EvalkitError):
        known = catalog.find(batch.model, batch.key_env)
        if known.url == batch.url and known.stanza.batch:
            return known
    found = catalog.at(batch.model_id, batch.url, batch.key_env)
    return replace(found, stanza=found.stanza.model_copy(update={"batch": batch.share}))
