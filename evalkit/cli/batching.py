"""Calls in batches, as a verb makes them: what that costs, what a run does, what is under way.

Knows no question and no verb.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from evalkit import providers
from evalkit.batches import Batch, Log, name_of
from evalkit.cli import handing, running
from evalkit.cli.desk import Desk, share_of
from evalkit.cli.verb import say
from evalkit.errors import Missing, count
from evalkit.price import Budget, dollars_at_most, estimate, in_dollars
from evalkit.records import Answer
from evalkit.runner import Run
from evalkit.workspace import read_batches

if TYPE_CHECKING:
    from evalkit.catalog import Catalog
    from evalkit.cli.plans import Plan
    from evalkit.ledger import Writer

HINT_FROM = 0.1  # dollars that batches would save; below, nobody is told of them


def in_words(share: float) -> str:
    """What a call costs, beside one that is made alone."""
    return "half price" if share == 0.5 else f"{share:g} of the price"


def priced(plan: "Plan") -> "Plan":
    """A plan with the price of what is not under way yet: in batches, the first call alone."""
    share = share_of(plan.model)
    full = None if plan.model.is_free else plan.model.stanza.price
    held = read_batches(plan.ledger.path).holds()
    id_ = plan.model.asked_as
    calls = [call for call in plan.asking.calls() if name_of(call[0], id_) not in held]
    found = estimate(calls, full and full.times(share), *plan.usual)
    if full and found.about is not None and found.most is not None:
        alone = max((dollars_at_most(call, full) or 0.0 for call, _ in calls), default=0.0)
        found = found.plus((1 - share) * alone)
    plan.estimate = found
    return plan


def hint(asked: "Sequence[Plan]") -> str | None:
    """What batches would cost, where a service has them and it makes a difference."""
    able = [p for p in asked if p.model.stanza.batch and p.estimate.about and not p.model.is_free]
    about = sum((p.estimate.about or 0.0) * (p.model.stanza.batch or 1.0) for p in able)
    if sum(p.estimate.about or 0.0 for p in able) - about < HINT_FROM:
        return None
    shares = {in_words(p.model.stanza.batch or 1.0) for p in able}
    price = shares.pop() if len(shares) == 1 else "a lower price"
    return f"  --batch: about {in_dollars(about)}, {price}, up to 24 h"


def manner(asked: "Sequence[Plan]") -> list[str]:
    """How the calls are made that are owed and not under way."""
    shares = sorted({share_of(plan.model) for plan in asked if plan.owed})
    price = " or ".join(map(in_words, shares))
    return [f"  in batches: {price}, up to 24 h; one call to each first, alone"] if shares else []


def under_way(asked: "Sequence[Plan]") -> list[str]:
    """A line for each batch that is open, as the disk says."""
    return [
        f"  {plan.model.name}: {told(batch)}"
        for plan in asked
        for batch in read_batches(plan.ledger.path).open()
    ]


def told(batch: Batch) -> str:
    """An open batch in words."""
    what = f"{count(batch.size, 'call')} in {batch.shown}"
    most = "" if batch.at_most is None else f", at most {in_dollars(batch.at_most)}"
    if batch.state == "submitting":
        return f"{what}{most}; whether the service took it is not known yet"
    done = f", {batch.done} done" if batch.done else ""
    return f"{what} ({batch.status}{done}){most}, since {batch.began}"


def values(batch: Batch) -> dict[str, Any]:
    """A batch for programs."""
    return {
        "id": batch.id,
        "token": batch.token,
        "model": batch.model,
        "state": batch.state,
        "status": batch.status,
        "calls": batch.size,
        "done": batch.done,
        "failed": batch.lost,
        "at_most_usd": batch.at_most,
        "submitted": batch.began,
        "said": batch.said,
    }


def open_batches(asked: "Sequence[Plan]") -> list[dict[str, Any]]:
    """Those that are under way, for programs."""
    return [values(batch) for plan in asked for batch in read_batches(plan.ledger.path).open()]


def perform(
    asked: "list[Plan]",
    planned: "Callable[[], list[Plan]]",
    catalog: "Catalog",
    budget: Budget,
    tell: running.Teller,
    *,
    yes: bool,
    deadline: float,
) -> "tuple[list[Plan], Run, int]":
    """Collect what has ended, and hand over what is owed and not under way; as `calls.perform`.

    Before anything is handed over, one call of each model is made alone: a refused key, a wrong
    name and a parameter that the model does not take are known by it.
    """
    ours = [plan for plan in asked if plan.owed or read_batches(plan.ledger.path).open()]
    most = sum(plan.estimate.most or 0 for plan in ours)
    running.check_price([plan.model for plan in ours], most, budget.limit, yes)
    reached = {plan.model.name: running.providers_of(plan.model, catalog) for plan in ours}
    with ExitStack() as held:
        writers = {p.model.name: held.enter_context(p.ledger.writing()) for p in ours}
        asked = planned() if ours else asked
        desks = [
            Desk.of(plan, reached[plan.model.name], writers[plan.model.name], budget, tell)
            for plan in asked
            if plan.model.name in writers
        ]
        works = [desk.work for desk in desks]
        run = Run(works, budget, tell, concurrency=1, deadline=deadline)
        with running.looped([each for own in reached.values() for each in own]) as within:
            for desk in desks:
                desk.stop(run, within(desk.collect()))
            for desk in desks:
                handing.begin(desk)
            if signalled := within(running.made(run, running.WORK)) if desks else 0:
                return asked, run, signalled
            for desk in desks:
                desk.stop(run, within(handing.submit(desk)))
        for desk in desks:
            handing.tell_budget(desk, run)
        run.over_budget = False  # that was just told, with what is under way
        return asked, run, 0


def settle(asked: "Sequence[Plan]", writers: "dict[str, Writer[Any]]", catalog: "Catalog") -> None:
    """Before calls are made alone: collect those of them that a batch has brought.

    Raises Missing where some are still in one: they would be paid for twice.
    """
    for plan in asked:
        log = read_batches(plan.ledger.path)
        if not log.batches:
            continue
        reached = running.providers_of(plan.model, catalog)
        if plan.model.stanza.batch is None or not providers.batches(plan.model, reached[0]):
            _refuse_held(plan, log)
            continue
        budget, tell = Budget(), running.Teller(verbose=False)
        desk = Desk.of(plan, reached, writers[plan.model.name], budget, tell)
        with running.looped(reached) as within:
            failure = within(desk.collect())
        desk.work.failed.clear()  # what a batch did not answer is asked now
        if failure:
            say(failure.said)
        _refuse_held(plan, desk.log)


def _refuse_held(plan: "Plan", log: Log) -> None:
    held, id_ = log.holds(), plan.model.asked_as
    found = [held[name] for each in plan.asking.requests() if (name := name_of(each, id_)) in held]
    if found:
        verb = "answer" if plan.ledger.model is Answer else "judge"
        what = f"{count(len(found), 'call')} of {plan.model.name} that would be made now"
        raise Missing(
            f"{what} {'is' if len(found) == 1 else 'are'} under way in {found[0].shown}. "
            f"evalkit {verb} --batch collects what is done; "
            f"evalkit batches cancel {found[0].shown} gives it up"
        )
