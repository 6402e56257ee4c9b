"""evalkit answer: ask chatbots the questions of a bank."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli import calls, plans
from evalkit.cli.shard import afterwards, on_a_shard, part_of
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
)
from evalkit.errors import Missing, count

if TYPE_CHECKING:
    from evalkit.answer import Settings
    from evalkit.catalog import Catalog, Model
    from evalkit.cli.calls import Limits, Outcome, Way
    from evalkit.cli.plans import Plan
    from evalkit.records import Answer, Question
    from evalkit.shards import Shard
    from evalkit.workspace import Workspace

USUAL = 350  # tokens of an answer: the published Vicuna answers have 1,200 to 1,400 characters


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    bank: str
    models: "tuple[Model, ...]"
    questions: "tuple[Question, ...]"
    settings: "Settings"
    own_settings: "Mapping[str, Settings]" = field(default_factory=dict)
    """Of single models, by name."""
    shard: "Shard | None" = None
    """None: all questions."""

    @property
    def part(self) -> "tuple[Question, ...]":
        """The questions that are asked here."""
        return self.shard.part(self.questions) if self.shard else self.questions


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
    callback=calls.finite,
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
@click.option("--show-prompt", is_flag=True, help="Print the first thing to be asked, and end.")
@on_a_shard
@calls.on_a_way
@calls.in_batches
@calls.on_limits
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
    show_prompt: bool,
    shard: "Shard | None",
    way: "Way",
    limits: "Limits",
    category_default: str | None,
    repair: bool,
    **drawn: Any,
) -> None:
    """Write what each chatbot says into answers/BANK/MODEL.jsonl.

    Goes on where it stopped: nothing is asked or paid for twice. It says whom it asks, with which
    key, and what that costs before it starts. Of a question with several turns each is a call, and
    the model's own earlier answers go with it. Exit 1 while something is owed.
    """
    from evalkit.answer import Settings, spread

    workspace = open_workspace(given.folder)
    catalog = open_catalog(workspace)
    models = calls.models_of(catalog, names, way)
    if repair:
        workspace.repair(bank)
    questions = filed(workspace, bank, workspace.questions(bank), category_default)
    chosen = tuple(spread(questions, limit))
    wanted = Wanted(bank, tuple(models), chosen, Settings(**drawn), shard=shard)
    if show_prompt:
        if not wanted.part:
            raise Missing(f"no question is in {part_of(shard, 0, len(chosen), 'question')}")
        first = [(model, next(_asking(wanted, model)([]).requests())) for model in models]
        calls.show_requests("answer", first, as_json=given.as_json)
        return
    ended = ask(given, workspace, catalog, wanted, limits)
    if given.as_json:
        print_json("answer", ended.values, ended.files, ended.next, ended.status)
    ctx.exit(ended.code)


def ask(
    given: Everywhere,
    workspace: "Workspace",
    catalog: "Catalog",
    wanted: Wanted,
    limits: "Limits",
) -> "Outcome":
    """Ask what is owed, and tell how it went."""
    job = calls.Job(
        planned=plans_of(workspace, wanted),
        preflight=lambda plans: _preflight(wanted, plans),
        counts=_counts,
        summary=lambda models: _summary(wanted, models),
        words=lambda seen: [f"{seen['cut']} cut at max_tokens · {seen['empty']} empty"],
        warnings=lambda _: [],
        following=lambda owed: _next(given, workspace, wanted, owed),
    )
    return calls.carry_out(job, given, workspace, catalog, limits)


def plans_of(
    workspace: "Workspace", wanted: Wanted, usual: float = USUAL
) -> "Callable[[], list[Plan]]":
    """What makes the plan of each model, from the rows that are there then.

    `usual`: tokens of an answer.
    """
    names = [model.name for model in wanted.models]
    ledgers = workspace.answer_ledgers(wanted.bank, names, wanted.shard)

    def planned() -> "list[Plan]":
        return [
            plans.plan(model, ledgers[model.name], _asking(wanted, model), lambda _: (usual, 1.0))
            for model in wanted.models
        ]

    return planned


def _asking(wanted: Wanted, model: "Model") -> Any:
    from evalkit.answer import Asking

    def of(rows: "list[Answer]") -> Asking:
        settings = wanted.own_settings.get(model.name, wanted.settings)
        return Asking(model.name, model.asked_as, wanted.part, rows, settings)

    return of


def _preflight(wanted: Wanted, plans: "list[Plan]") -> None:
    """What is about to happen: who is asked, where, with whose key, for how much."""
    from evalkit.columns import width

    questions, settings = wanted.part, wanted.settings
    categories = len({question.category for question in questions})
    asked = part_of(wanted.shard, len(questions), len(wanted.questions), "question")
    what = f"{asked} · {categories} "
    note(f"bank {wanted.bank} · {what}{'category' if categories == 1 else 'categories'}")
    longest = max(width(plan.model.name) for plan in plans)
    for plan in plans:
        note(owed_by(plan, longest))
        if others := plan.asking.asked_otherwise():  # type: ignore[attr-defined]
            what = f"{count(others, 'answer')} of other settings will count no more"
            note(f"  {' ' * longest}   {what}")
    zero = settings.temperature == 0 or (settings.temperature is None and settings.seed is None)
    if settings.samples > 1 and zero:
        say("samples drawn at temperature 0 are mostly the same; --temperature 0.7 makes them vary")


def owed_by(plan: "Plan", wide: int) -> str:
    """One model in a line: what it owes, where it is asked, the price. `wide`: of its name."""
    from evalkit.cli.running import priced, reached
    from evalkit.columns import padded

    owed = f"{plan.owed} owed" + (f" ({plan.calls} calls)" if plan.calls > plan.owed else "")
    kept = f", {plan.kept} kept" if plan.kept else ""
    parts = [f"  {padded(plan.model.name, wide)}", f"{owed}{kept}", reached(plan.model)]
    if plan.calls:
        parts.append(priced(plan.model, plan.estimate))
    return "   ".join(parts)


def _counts(plan: "Plan") -> dict[str, Any]:
    answers = plan.asking.complete()
    return calls.counts(plan) | {
        "cut": sum(row.finish_reason == "length" for row in answers),
        "empty": sum(not row.turns[-1].strip() for row in answers),
    }


def _summary(wanted: Wanted, models: list[dict[str, Any]]) -> dict[str, Any]:
    sums = {name: sum(each[name] for each in models) for name in ("done", "owed", "calls", "usd")}
    shard = {"shard": str(wanted.shard)} if wanted.shard else {}
    return {"bank": wanted.bank, **shard, **sums, "models": models}


def _next(given: Everywhere, workspace: "Workspace", wanted: Wanted, owed: int) -> str:
    if owed:
        return "the same command goes on where it stopped"
    from evalkit.judge.showings import CHATGPT

    there = workspace.answered(wanted.bank)
    if len(there) == 1:
        step: tuple[str, ...] = ("answer", "--model", "chatgpt", "--bank", wanted.bank)
        return afterwards(given, wanted.shard, *step)
    whom = () if set(CHATGPT) & set(there) else ("--baseline", wanted.models[0].name)
    step = ("judge", "--judge", "gpt-4", "--bank", wanted.bank, *whom)
    return afterwards(given, wanted.shard, *step)
