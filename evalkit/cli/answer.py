"""evalkit answer: ask chatbots the questions of a bank."""

import json
import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli.verb import (
    Everywhere,
    filed,
    note,
    on_a_workspace,
    on_bought_rows,
    open_catalog,
    open_workspace,
    print_json,
    say,
    show,
    tell,
)
from evalkit.errors import BadName, EvalkitError, Missing, Unknown, count

if TYPE_CHECKING:
    from evalkit.answer import Asking, Settings
    from evalkit.catalog import Catalog, Model
    from evalkit.chat import Reply, Request
    from evalkit.ledger import Writer
    from evalkit.records import Answer, Question
    from evalkit.runner import Run, Work

USUAL = 350  # tokens of an answer: the published Vicuna answers have 1,200 to 1,400 characters


def _finite(ctx: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number to count with", ctx, option)
    return value


@dataclass(frozen=True)
class Way:
    """How the user said that the models are reached."""

    base_url: str | None
    key_env: str | None
    replay: str | None
    timeout: float | None


@dataclass
class _Plan:
    """One chatbot, and what it is asked."""

    model: "Model"
    asking: "Asking"
    path: Path
    """Of its ledger."""
    kept: int = 0
    """Answers that were complete when this began."""
    calls: int = 0
    """Owed then."""
    about: float = 0.0
    """Dollars."""
    most: float = 0.0

    @property
    def owed(self) -> int:
        """Answers that are not complete now."""
        return self.asking.total - len(self.asking.complete())


@click.command(short_help="Ask chatbots the questions of a bank.")
@click.option(
    "--model",
    "names",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Whom to ask: a name of `evalkit models`, SERVICE/MODEL, or http://HOST/v1#MODEL; "
    "repeat it, or give a,b.",
)
@click.option("--bank", default="evalkit80", show_default=True, help="Which questions.")
@click.option("--limit", type=click.IntRange(1), help="Only so many, of all categories in turn.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Answers to each question.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    callback=_finite,
    help="Default: 0.7 for writing and roleplay, 0 for the others.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="The longest answer to one turn.",
)
@click.option("--seed", type=int, help="Sent with each call; sample k gets seed + k.")
@click.option("--base-url", metavar="URL", help="The server to ask, whatever the name.")
@click.option("--key-env", metavar="VARIABLE", help="The variable that holds the key.")
@click.option("--replay", metavar="FILE", help="Take the answers from a ledger; no call is made.")
@click.option(
    "--budget",
    type=click.FloatRange(0),
    callback=_finite,
    envvar="EVALKIT_BUDGET",
    metavar="DOLLARS",
    help="No call starts that could pass it.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    envvar="EVALKIT_CONCURRENCY",
    help="Calls at once; default: as many as the service takes.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    callback=_finite,
    help="Seconds for one call; default: 600.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0),
    callback=_finite,
    default=600.0,
    show_default=True,
    help="Seconds that a service may be busy without one reply.",
)
@click.option("--show-prompt", is_flag=True, help="Print the first thing to be asked, and end.")
@click.option("--dry-run", is_flag=True, help="Say what is owed and what it costs, and end.")
@click.option("--yes", is_flag=True, help="Never ask; with --budget: go on without a price.")
@click.option("-v", "verbose", is_flag=True, help="Tell each failed call.")
@on_bought_rows
@on_a_workspace
@click.pass_context
def answer(
    ctx: click.Context,
    /,
    given: Everywhere,
    names: tuple[str, ...],
    bank: str,
    limit: int | None,
    category_default: str | None,
    repair: bool,
    **options: Any,
) -> None:
    """Write what each chatbot says into answers/BANK/MODEL.jsonl.

    Goes on where it stopped: nothing is asked or paid for twice. It says whom it asks, with which
    key, and what that costs before it starts. Of a question with several turns each is a call, and
    the model's own earlier answers go with it. Exit 1 while something is owed.
    """
    from evalkit.answer import Settings, spread

    workspace = open_workspace(given.folder)
    way = Way(*(options.pop(name) for name in ("base_url", "key_env", "replay", "timeout")))
    catalog = open_catalog(workspace)
    models = _models(catalog, names, way)
    if repair:
        workspace.repair(bank)
    questions = filed(workspace, bank, workspace.questions(bank), category_default)
    chosen = spread(questions, limit)
    drawn = ("samples", "temperature", "max_tokens", "seed")
    settings = Settings(**{name: options.pop(name) for name in drawn})
    if options["show_prompt"]:
        _show_prompts(given, models, chosen, settings)
        return
    with ExitStack() as held:
        ledgers = workspace.answer_ledgers(bank, [model.name for model in models])
        writers = {}
        if not options["dry_run"]:
            writers = {n: held.enter_context(ledger.writing()) for n, ledger in ledgers.items()}
        plans = []
        for model in models:
            ledger = ledgers[model.name]
            rows = ledger.read() if ledger.path.exists() else []
            plans.append(_plan(model, chosen, rows, settings, ledger.path))
        tell(workspace)
        _preflight(bank, chosen, plans, settings)
        if options["dry_run"]:
            note("nothing was sent.")
            if given.as_json:
                _print_json(given, bank, plans, None, "dry run")
            return
        code = _ask(given, bank, catalog, plans, writers, **options)
    ctx.exit(code)


def _models(catalog: "Catalog", names: tuple[str, ...], way: Way) -> "list[Model]":
    """Whom to ask, each once. Raises BadName where two would have one name."""
    asked = [part.strip() for name in names for part in name.split(",") if part.strip()]
    found: dict[str, tuple[str, Model]] = {}
    for spec in dict.fromkeys(asked):
        model = _model(catalog, spec, way)
        if model.name in found:
            both = f"'{found[model.name][0]}' and '{spec}'"
            raise BadName(f"{both} would both be called '{model.name}'. Ask them one by one")
        found[model.name] = spec, model
    if not found:
        raise Missing("whom to ask? Give --model NAME. See: evalkit models")
    return [model for _, model in found.values()]


def _model(catalog: "Catalog", spec: str, way: Way) -> "Model":
    from evalkit.catalog import Model, Stanza

    if way.replay is not None:
        try:
            id_ = catalog.find(spec, way.key_env).id
        except Unknown:
            id_ = spec
        return Model(spec, id_, Stanza(provider="replay", path=way.replay))
    if way.base_url is not None:
        model = catalog.at(spec, way.base_url, way.key_env)
    else:
        model = catalog.find(spec, way.key_env)
    if way.timeout is not None:
        timeouts = model.stanza.timeouts.model_copy(update={"total": way.timeout})
        model = replace(model, stanza=model.stanza.model_copy(update={"timeouts": timeouts}))
    return model


def _plan(
    model: "Model",
    questions: "list[Question]",
    rows: "list[Answer]",
    settings: "Settings",
    path: Path,
) -> _Plan:
    from evalkit import price
    from evalkit.answer import Asking

    asking = Asking(model.name, model.id, questions, rows, settings)
    plan = _Plan(model, asking, path, len(asking.complete()), sum(1 for _ in asking.calls()))
    if model.stanza.price and not model.is_free:
        calls = plan.asking.calls()
        plan.about, plan.most = price.estimate(calls, model.stanza.price, USUAL)
    return plan


def _preflight(
    bank: str, questions: "list[Question]", plans: list[_Plan], settings: "Settings"
) -> None:
    """What is about to happen: who is asked, where, with whose key, for how much."""
    from evalkit.cli.running import priced, reached
    from evalkit.columns import padded, width

    categories = len({question.category for question in questions})
    what = f"{count(len(questions), 'question')} · {categories} "
    note(f"bank {bank} · {what}{'categories' if categories > 1 else 'category'}")
    longest = max(width(plan.model.name) for plan in plans)
    for plan in plans:
        owed = f"{plan.owed} owed" + (f" ({plan.calls} calls)" if plan.calls > plan.owed else "")
        kept = f", {plan.kept} kept" if plan.kept else ""
        name = f"  {padded(plan.model.name, longest)}"
        parts = [name, f"{owed}{kept}", reached(plan.model)]
        if plan.calls:
            parts.append(priced(plan.model, plan.about, plan.most))
        note("   ".join(parts))
        if others := plan.asking.asked_otherwise():
            what = f"{count(others, 'answer')} of other settings will count no more"
            note(f"  {' ' * longest}   {what}")
    zero = settings.temperature == 0 or (settings.temperature is None and settings.seed is None)
    if settings.samples > 1 and zero:
        say("samples drawn at temperature 0 are mostly the same; --temperature 0.7 makes them vary")


def _ask(
    given: Everywhere,
    bank: str,
    catalog: "Catalog",
    plans: list[_Plan],
    writers: "dict[str, Writer[Answer]]",
    *,
    budget: float | None,
    concurrency: int | None,
    deadline: float,
    yes: bool,
    verbose: bool,
    **_: Any,
) -> int:
    from evalkit.cli import running
    from evalkit.price import Budget
    from evalkit.runner import Run

    asked = [plan for plan in plans if plan.owed]
    works = [_work(plan, writers[plan.model.name], catalog) for plan in asked]
    models = [plan.model for plan in asked]
    running.check_price(models, sum(plan.most for plan in asked), budget, yes=yes)
    teller = running.Teller(verbose=verbose)
    run = Run(works, Budget(budget), teller, concurrency=concurrency, deadline=deadline)
    signalled = running.perform(run) if works else 0
    owed = _finished(given, bank, plans, run, signalled)
    return running.exit_code(run, owed, signalled)


def _work(plan: _Plan, writer: "Writer[Answer]", catalog: "Catalog") -> "Work":
    from evalkit.cli.running import provider_of
    from evalkit.runner import Work

    def keep(request: "Request", reply: "Reply", dollars: float | None) -> "Request | None":
        row = plan.asking.record(request, reply, dollars)
        try:
            writer.add(row)
        except EvalkitError:
            say("this reply was paid for and cannot be kept; here it is, as its row:")
            click.echo(json.dumps(row.model_dump(mode="json", exclude_defaults=True)), err=True)
            raise
        return plan.asking.take(row)

    return Work(
        name=plan.model.name,
        provider=provider_of(plan.model, catalog),
        requests=plan.asking.requests(),
        keep=keep,
        owed=plan.calls,
        price=plan.model.stanza.price,
        free=plan.model.is_free,
    )


def _finished(given: Everywhere, bank: str, plans: list[_Plan], run: "Run", signalled: int) -> int:
    """Say how it ended; returns how many answers are owed."""
    from evalkit.cli import running
    from evalkit.columns import width

    owed = sum(plan.owed for plan in plans)
    running.tell_end(run, owed)
    status = "stopped" if run.stops or run.error or signalled else "owed" if owed else "done"
    if given.as_json:
        _print_json(given, bank, plans, run, status)
    else:
        longest = max(width(plan.model.name) for plan in plans)
        for plan in plans:
            show(_line(plan, run, longest))
    say(f"Next: {_next(given, bank, owed)}")
    return owed


def _line(plan: _Plan, run: "Run", longest: int) -> str:
    """What one chatbot gave, in one line."""
    from evalkit.cli.running import dollars
    from evalkit.columns import padded

    seen = _counts(plan, run)
    kept, new = plan.kept, seen["done"] - plan.kept
    parts = [f"{seen['done']}/{plan.asking.total}" + (f" ({kept} kept, {new} new)" if kept else "")]
    parts.append(f"{seen['cut']} cut at max_tokens · {seen['empty']} empty")
    if seen["failed"]:
        whys = ", ".join(f"{number} {kind}" for kind, number in seen["failed"].items())
        parts.append(f"not answered: {whys}")
    if seen["usd"]:
        parts.append(dollars(seen["usd"]))
    if seen["calls_of_unknown_cost"]:
        parts.append("cost unknown")
    return "   ".join([padded(plan.model.name, longest), *parts])


def _counts(plan: _Plan, run: "Run | None") -> dict[str, Any]:
    """The same for programs."""
    answers = plan.asking.complete()
    work = next((w for w in run.works if w.name == plan.model.name), None) if run else None
    return {
        "model": plan.model.name,
        "done": len(answers),
        "owed": plan.asking.total - len(answers),
        "cut": sum(row.finish_reason == "length" for row in answers),
        "empty": sum(not row.turns[-1].strip() for row in answers),
        "failed": {kind.value: n for kind, n in work.failed.items()} if work else {},
        "calls": work.calls if work else 0,
        "usd": round(work.dollars, 6) if work else 0.0,
        "calls_of_unknown_cost": work.unpriced if work else 0,
        "about_usd": round(plan.about, 6),
        "at_most_usd": round(plan.most, 6),
    }


def _print_json(
    given: Everywhere, bank: str, plans: list[_Plan], run: "Run | None", status: str
) -> None:
    models = [_counts(plan, run) for plan in plans]
    sums = {name: sum(each[name] for each in models) for name in ("done", "owed", "calls", "usd")}
    files = [plan.path for plan in plans if plan.path.exists()]
    values = {"bank": bank, **sums, "models": models}
    print_json("answer", values, files, _next(given, bank, sums["owed"]), status)


def _next(given: Everywhere, bank: str, owed: int) -> str:
    if owed:
        return "the same command goes on where it stopped"
    return given.step("report", "--bank", bank)


def _show_prompts(
    given: Everywhere, models: "list[Model]", questions: "list[Question]", settings: "Settings"
) -> None:
    """The first call to each model, word for word."""
    from evalkit.answer import Asking
    from evalkit.escape import visible

    shown = []
    for model in models:
        request = next(Asking(model.name, model.id, questions, [], settings).requests())
        messages = [{"role": each.role, "content": each.text} for each in request.messages]
        sampling = request.sampling.parameters()
        shown.append({"model": model.id, "messages": messages, **sampling})
        if not given.as_json:
            drawn = ", ".join(f"{name} {value:g}" for name, value in sampling.items())
            note(f"{model.name} ({model.id}), question {request.about[0]}, {drawn}:")
            for each in request.messages:
                click.echo(visible(f"[{each.role}]\n{each.text}"))
    if given.as_json:
        print_json("answer", {"prompts": shown}, [], None)
