"""What the verbs that make calls share: whom to ask, at what price, under which lock, how it ended.

Knows no question and no verb: what is asked and what becomes of a reply stands in a `Plan`.
"""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli.plans import Plan
from evalkit.cli.plans import work as work_of
from evalkit.cli.verb import Everywhere, note, print_json, say, show, tell
from evalkit.errors import BadName, Missing, Unknown

if TYPE_CHECKING:
    from evalkit.catalog import Catalog, Dtype, Model
    from evalkit.chat import Request
    from evalkit.runner import Run
    from evalkit.workspace import Workspace


COLLECT = "the same command collects what is done"


def finite(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """A number that is one; for the `callback` of an option."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number to count with", ctx, option)
    return value


def _cluster(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A cluster as an evaluation file names it; for the `callback` of an option."""
    if value is not None:
        from pydantic import TypeAdapter, ValidationError

        from evalkit.catalog import Cluster

        try:
            TypeAdapter(Cluster).validate_python(value)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise click.BadParameter(said, ctx, option) from error
    return value


@dataclass(frozen=True)
class Way:
    """How the user said that the models are reached."""

    base_url: str | None = None
    key_env: str | None = None
    replay: str | None = None
    timeout: float | None = None
    template: str | None = None
    dtype: "Dtype | None" = None
    on: str | None = None


@dataclass(frozen=True)
class Limits:
    """What the user said of how calls are made."""

    budget: float | None = None
    concurrency: int | None = None
    deadline: float = 600.0
    dry_run: bool = False
    yes: bool = False
    verbose: bool = False
    batch: bool | None = None
    """In batches; None: the verb makes none."""

    def after(self, dollars: float) -> "Limits":
        """What is left of them where so much has been spent."""
        if self.budget is None:
            return self
        return replace(self, budget=max(0.0, self.budget - dollars))


def on_a_way(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of how models are reached; they come to it as one `Way`."""

    @click.option("--base-url", metavar="URL", help="The server to ask, whatever the name.")
    @click.option("--key-env", metavar="VARIABLE", help="The variable that holds the key.")
    @click.option(
        "--replay", metavar="FILE", help="Take the replies from a ledger; no call is made."
    )
    @click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        callback=finite,
        help="Seconds for one call; default: 600.",
    )
    @click.option(
        "--template",
        metavar="NAME",
        help="How to speak to a checkpoint: a file of prompts/chat/; default: its own.",
    )
    @click.option(
        "--dtype",
        type=click.Choice(["float32", "float16", "bfloat16", "8bit", "4bit"]),
        help="What a checkpoint is loaded as; default: its own type on a GPU, else float32.",
    )
    @click.option(
        "--on",
        metavar="CLUSTER",
        callback=_cluster,
        help="Load a checkpoint on all nodes of a Ray cluster: ray, or ray://HOST:PORT.",
    )
    @wraps(verb)
    def command(**own: Any) -> None:
        way = Way(**{name: own.pop(name) for name in Way.__dataclass_fields__})
        verb(way=way, **own)

    return command


def on_limits(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of how calls are made; they come to it as one `Limits`."""

    @click.option(
        "--budget",
        type=click.FloatRange(0),
        callback=finite,
        envvar="EVALKIT_BUDGET",
        metavar="DOLLARS",
        help="No call starts that could pass it.",
    )
    @click.option(
        "--concurrency",
        type=click.IntRange(1),
        envvar="EVALKIT_CONCURRENCY",
        help="Calls at once at a server; default: as many as it takes.",
    )
    @click.option(
        "--deadline",
        type=click.FloatRange(0),
        callback=finite,
        default=600.0,
        show_default=True,
        help="Seconds that a service may be busy without one reply.",
    )
    @click.option("--dry-run", is_flag=True, help="Say what is owed and what it costs, and end.")
    @click.option("--yes", is_flag=True, help="Never ask; with --budget: go on without a price.")
    @click.option("-v", "verbose", is_flag=True, help="Tell each failed call.")
    @wraps(verb)
    def command(**own: Any) -> None:
        given = [name for name in Limits.__dataclass_fields__ if name in own]
        limits = Limits(**{name: own.pop(name) for name in given})
        verb(limits=limits, **own)

    return command


def in_batches(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb with `on_limits` below it the option to make its calls in batches."""
    return click.option(
        "--batch",
        is_flag=True,
        help="Hand the calls over in batches, at a lower price and within a day, and end; the same "
        "command collects what is done. For services with a batch API, as OpenAI's.",
    )(verb)


@dataclass(frozen=True)
class Outcome:
    """How the calls of one verb ended."""

    code: int
    """The exit code."""
    status: str
    """The word that --json promises."""
    values: dict[str, Any]
    """What --json tells."""
    files: list[Path]
    next: str
    dollars: float = 0.0


def models_of(
    catalog: "Catalog", names: Sequence[str], way: Way, option: str = "--model"
) -> "list[Model]":
    """Whom to ask, each once. Raises BadName where two would have one name.

    `option`: the one that names them, for the words of a mistake.
    """
    asked = [part.strip() for name in names for part in name.split(",") if part.strip()]
    found: dict[str, tuple[str, Model]] = {}
    for spec in dict.fromkeys(asked):
        model = _model(catalog, spec, way)
        if model.name in found:
            both = f"'{found[model.name][0]}' and '{spec}'"
            raise BadName(f"{both} would both be called '{model.name}'. Ask them one by one")
        found[model.name] = spec, model
    if not found:
        raise Missing(f"whom to ask? Give {option} NAME. See: evalkit models")
    models = [model for _, model in found.values()]
    for option, said in (("template", way.template), ("dtype", way.dtype), ("on", way.on)):
        if said and not any(model.template for model in models):
            here = "" if option == "on" else " on this machine"
            raise Missing(f"--{option} is for checkpoints{here}, and none is asked")
    return models


def model_of(catalog: "Catalog", name: str, way: Way) -> "Model":
    """The one model that is asked. Raises Missing where several are named."""
    models = models_of(catalog, [name], way)
    if len(models) > 1:
        raise Missing("one model at a time: --model NAME")
    return models[0]


def recorded(name: str, model_id: str, path: str) -> "Model":
    """A model that says what a ledger holds."""
    from evalkit.catalog import Model, Stanza, with_path

    return Model(name, model_id, with_path(Stanza(provider="replay"), path))


def _model(catalog: "Catalog", spec: str, way: Way) -> "Model":
    from evalkit import providers
    from evalkit.catalog import is_path

    if way.replay is not None:
        try:
            model = catalog.find(spec, way.key_env)
        except Unknown:
            return recorded(spec, spec, way.replay)
        return recorded(model.name if is_path(spec) else spec, model.id, way.replay)
    if way.base_url is not None:
        model = catalog.at(spec, way.base_url, way.key_env)
    else:
        model = catalog.find(spec, way.key_env)
    if way.timeout is not None:
        timeouts = model.stanza.timeouts.model_copy(update={"total": way.timeout})
        model = replace(model, stanza=model.stanza.model_copy(update={"timeouts": timeouts}))
    said = {"dtype": way.dtype, "cluster": way.on}
    said = {name: value for name, value in said.items() if value is not None}
    model = replace(model, stanza=model.stanza.model_copy(update=said))
    return providers.prepared(model, catalog.templates, way.template)


def perform(
    plans: list[Plan], planned: Callable[[], list[Plan]], catalog: "Catalog", limits: Limits
) -> "tuple[list[Plan], Run, int]":
    """Make the calls that are owed.

    `planned` makes the plans anew, under the locks, where another run has added rows. Nothing
    is written before every price, key and provider is known to be in order. Returns the plans as
    they ended, the run, and the exit code that a signal asks for.
    """
    from evalkit.cli import batching, running
    from evalkit.price import Budget
    from evalkit.runner import Run

    asked = [plan for plan in plans if plan.owed]
    models = [plan.model for plan in asked]
    most = sum(plan.estimate.most or 0 for plan in asked)
    running.check_price(models, most, limits.budget, limits.yes)
    providers = {model.name: running.providers_of(model, catalog) for model in models}
    for line in dict.fromkeys(line for own in providers.values() for p in own for line in p.notes):
        note(f"  {line}")
    with ExitStack() as held:
        writers = {p.model.name: held.enter_context(p.ledger.writing()) for p in asked}
        if not all(plan.ledger.is_as_skimmed() for plan in asked):
            plans = planned()
        for each in plans:
            if each.owed and each.model.name in writers:
                each.run = work_of(each, providers[each.model.name], writers[each.model.name])
        batching.settle([each for each in plans if each.run], writers, catalog)
        works = [each.run for each in plans if each.run]
        teller = running.Teller(verbose=limits.verbose)
        budget = Budget(limits.budget)
        run = Run(
            works,
            budget,
            teller,
            concurrency=limits.concurrency,
            deadline=limits.deadline,
            turned=teller.turned,
        )
        return plans, run, running.perform(run) if works else 0


def perform_in_batches(
    plans: list[Plan], planned: Callable[[], list[Plan]], catalog: "Catalog", limits: Limits
) -> "tuple[list[Plan], Run, int]":
    """As `perform`, but what is owed is handed over in batches, and what they brought collected."""
    from evalkit.cli import batching, running
    from evalkit.price import Budget

    teller = running.Teller(verbose=limits.verbose)
    budget = Budget(limits.budget)
    return batching.perform(
        plans, planned, catalog, budget, teller, yes=limits.yes, deadline=limits.deadline
    )


@dataclass(frozen=True)
class Job:
    """What a verb does with its calls, from the line before them to the line behind."""

    planned: Callable[[], list[Plan]]
    """Makes the plan of each model, from the rows that are there then."""
    preflight: Callable[[list[Plan]], None]
    """Says what is about to happen."""
    counts: Callable[[Plan], dict[str, Any]]
    """What one model gave, for programs."""
    summary: Callable[[list[dict[str, Any]]], dict[str, Any]]
    """What all of them gave, from their counts."""
    words: Callable[[dict[str, Any]], list[str]]
    """What the line of a model says of its counts."""
    warnings: Callable[[list[dict[str, Any]]], list[str]]
    """What a person must hear of these counts."""
    following: Callable[[int], str]
    """What to type next, given how many rows are owed."""


def carry_out(
    job: Job, given: Everywhere, workspace: "Workspace", catalog: "Catalog", limits: Limits
) -> Outcome:
    """Say what is owed, ask it, and tell how it went."""
    from evalkit.cli import running

    way = perform_in_batches if limits.batch else perform
    planned = _at_the_price_of_batches(job.planned) if limits.batch else job.planned
    plans = planned()
    tell(workspace)
    job.preflight(plans)
    _tell_batches(plans, limits)
    if limits.dry_run:
        note("nothing was sent.")
        seen = [job.counts(plan) for plan in plans]
        return _outcome(job, plans, seen, limits, 0, "dry run", job.following(0))
    plans, run, signalled = way(plans, planned, catalog, limits)
    tell(workspace)
    owed = sum(plan.owed for plan in plans)
    running.tell_end(run, owed)
    seen = [job.counts(plan) for plan in plans]
    if not given.as_json:
        _show(job, plans, seen)
    for warning in job.warnings(seen):
        say(warning)
    following = job.following(owed)
    if limits.batch and (lines := _under_way(plans)):
        following = COLLECT
        for line in lines:
            note(line)
    say(f"Next: {following}")
    status = "owed" if owed else "done"
    if run.stops or run.error or signalled:
        status = "stopped"
    code = running.exit_code(run, owed, signalled)
    return _outcome(job, plans, seen, limits, code, status, following)


def _at_the_price_of_batches(planned: Callable[[], list[Plan]]) -> Callable[[], list[Plan]]:
    from evalkit.cli import batching

    return lambda: [batching.priced(plan) for plan in planned()]


def _tell_batches(plans: list[Plan], limits: Limits) -> None:
    """What is under way in batches, or what they would cost."""
    from evalkit.cli import batching

    if limits.batch:
        for line in (*batching.manner(plans), *batching.under_way(plans)):
            note(line)
    elif limits.batch is not None and (hint := batching.hint(plans)):
        note(hint)


def _under_way(plans: list[Plan]) -> list[str]:
    from evalkit.cli import batching

    return batching.under_way(plans)


def _outcome(
    job: Job,
    plans: list[Plan],
    seen: list[dict[str, Any]],
    limits: Limits,
    code: int,
    status: str,
    following: str,
) -> Outcome:
    files = [plan.ledger.path for plan in plans if plan.ledger.path.exists()]
    spent = sum(plan.run.dollars for plan in plans if plan.run)
    values = job.summary(seen)
    if limits.batch:
        from evalkit.cli import batching

        values["batches"] = batching.open_batches(plans)
    return Outcome(code, status, values, files, following, spent)


def counts(plan: Plan) -> dict[str, Any]:
    """What one model gave, for programs."""
    work, done = plan.run, plan.asking.done
    return {
        "model": plan.model.name,
        "done": done,
        "owed": plan.asking.total - done,
        "failed": {kind.value: n for kind, n in work.failed.items()} if work else {},
        "calls": work.calls if work else 0,
        "usd": round(work.dollars, 6) if work else 0.0,
        "calls_of_unknown_cost": work.unpriced if work else 0,
        "about_usd": _rounded(plan.estimate.about),
        "at_most_usd": _rounded(plan.estimate.most),
    }


def _rounded(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 6)


def _show(job: Job, plans: list[Plan], counted: list[dict[str, Any]]) -> None:
    """A line of the result for each model; `counted`: the counts of each."""
    from evalkit.columns import padded, width
    from evalkit.price import in_dollars

    longest = max(width(plan.model.name) for plan in plans)
    for plan, seen in zip(plans, counted, strict=True):
        kept, new = plan.kept, seen["done"] - plan.kept
        words = [f"{seen['done']}/{plan.asking.total}"]
        if kept:
            words[0] += f" ({kept} kept, {new} new)"
        words += job.words(seen)
        if seen["failed"]:
            whys = ", ".join(f"{number} {kind}" for kind, number in seen["failed"].items())
            words.append(f"not answered: {whys}")
        if seen["usd"]:
            words.append(in_dollars(seen["usd"]))
        if seen["calls_of_unknown_cost"]:
            words.append("cost unknown")
        show("   ".join([padded(plan.model.name, longest), *words]))


def show_requests(verb: str, first: "Sequence[tuple[Model, Request]]", *, as_json: bool) -> None:
    """The first call to each model, word for word; of a checkpoint also the text and the tokens."""
    from evalkit import providers
    from evalkit.escape import visible

    shown = []
    for model, request in first:
        messages = [{"role": each.role, "content": each.text} for each in request.messages]
        sampling = request.sampling.parameters()
        schema = {} if request.schema is None else {"schema": json.loads(request.schema)}
        row = {"model": model.id, "messages": messages, **sampling, **schema}
        if speech := providers.speech(model):
            row["text"], row["tokens"] = speech.spelt(request.messages)
        shown.append(row)
        if not as_json:
            drawn = ", ".join(f"{name} {value:g}" for name, value in sampling.items())
            note(f"{model.name} ({model.id}), question {request.about[0]}, {drawn}:")
            for each in request.messages:
                click.echo(visible(f"[{each.role}]\n{each.text}"))
            if request.schema is not None:
                click.echo(visible(f"[schema]\n{json.dumps(schema['schema'], indent=1)}"))
            if "text" in row:
                click.echo(visible(f"[text]\n{row['text']}"))
                click.echo(f"[{len(row['tokens'])} tokens]\n{' '.join(map(str, row['tokens']))}")
    if as_json:
        print_json(verb, {"prompts": shown}, [], None)
