"""evalkit judge: have a strong model compare the answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from evalkit.cli import calls
from evalkit.cli.plans import plan as plan_of
from evalkit.cli.preflight import preflight, said
from evalkit.cli.shard import afterwards, on_a_shard
from evalkit.cli.shown import CANARIES, Shown, Wanted, shown_of
from evalkit.cli.verb import (
    Everywhere,
    filed,
    judge_prompts,
    on_a_workspace,
    on_bought_rows,
    open_catalog,
    open_workspace,
    print_json,
    say,
    show,
    tell,
)
from evalkit.errors import Missing, count

if TYPE_CHECKING:
    from evalkit.catalog import Catalog, Model
    from evalkit.cli.calls import Limits, Outcome, Way
    from evalkit.cli.plans import Plan
    from evalkit.judge.judging import Judging
    from evalkit.records import Answer, Question, Review
    from evalkit.until import Until
    from evalkit.workspace import Workspace


@click.command(short_help="Have a strong model compare the answers.")
@click.option(
    "--judge",
    "names",
    multiple=True,
    metavar="NAME",
    help="Who judges: as --model of `evalkit answer`; repeat it for a panel.",
)
@click.option("--bank", default="evalkit80", show_default=True, help="Which questions.")
@click.option("--baseline", help="The model that all others are compared with; default: ChatGPT.")
@click.option(
    "--pairs",
    multiple=True,
    metavar="A:B|all",
    help="These pairs instead of each model against the baseline; repeat it.",
)
@click.option("--prompt", help="A file of prompts/judge; default: pair-scores, or pair-scores-zh.")
@click.option(
    "--orders",
    type=click.Choice(["both", "plan", "coin", "fixed"]),
    help="In which orders a pair is shown: both; a coin for each question (coin), and the other "
    "order too for a fifth of them, at least 30 (plan); always as the pair is named (fixed). "
    "Default: both; with --until: plan.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How often each is asked.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Ask a tenth of each pair, at least 30 questions, once more: does the judge say the same?",
)
@click.option(
    "--until",
    type=click.Choice(["decided", "best"]),
    help="Stop each pair as soon as it is certain who is better, or all when the best is known.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    callback=calls.finite,
    default=0.05,
    show_default=True,
    help="Of --until: how often what it says may be wrong.",
)
@click.option(
    "--tie-zone",
    type=click.FloatRange(0, 100, max_open=True),
    callback=calls.finite,
    default=5.0,
    show_default=True,
    help="Of --until decided: win rates that differ by no more points are a tie; 0: nothing is.",
)
@click.option(
    "--canaries",
    type=click.IntRange(0),
    default=CANARIES,
    show_default=True,
    help="Calls with a known right verdict, which test the judge and are in no score.",
)
@click.option("--limit", type=click.IntRange(1), help="Only so many, of all categories in turn.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is random here.")
@click.option(
    "--structured/--no-structured",
    default=None,
    help="Ask for JSON that the service holds to a schema; default: where the service can.",
)
@click.option("--reparse", is_flag=True, help="Read all replies again, without a call, and end.")
@click.option("--show-prompt", is_flag=True, help="Print the first thing to be asked, and end.")
@on_a_shard
@calls.on_a_way
@calls.in_batches
@calls.on_limits
@on_bought_rows
@on_a_workspace
@click.pass_context
def judge(
    ctx: click.Context,
    /,
    given: Everywhere,
    names: tuple[str, ...],
    bank: str,
    reparse: bool,
    show_prompt: bool,
    way: "Way",
    limits: "Limits",
    category_default: str | None,
    repair: bool,
    **asked: Any,
) -> None:
    """Write what a judge says of each pair of answers into reviews/BANK/JUDGE.PROMPT.jsonl.

    Goes on where it stopped: nothing is asked or paid for twice. What was changed since (a prompt,
    a question, an answer) is owed again, and nothing else. A reply that cannot be read stays, is
    counted, and is in no rate; --reparse reads it again for nothing. Exit 1 while something is
    owed.
    """
    workspace = open_workspace(given.folder)
    if repair:
        workspace.repair(bank)
    if reparse:
        _reparse(given, workspace, bank)
        return
    _check_until(ctx, asked, limits)
    catalog = open_catalog(workspace)
    if not names:
        raise Missing("who judges? Give --judge NAME, as in --judge gpt-4. See: evalkit models")
    judges = tuple(calls.models_of(catalog, names, way, "--judge"))
    wanted = Wanted(bank, judges, **asked)
    questions = filed(workspace, bank, workspace.questions(bank), category_default)
    if show_prompt:
        shown = shown_of(workspace, wanted, questions)
        if not shown.showings:
            raise Missing(f"nothing is to be judged in {shown.part or 'this bank'}")
        first = [(model, _asking(wanted, shown, model)([]).first()) for model in judges]
        calls.show_requests("judge", first, as_json=given.as_json)
        return
    ended = ask(given, workspace, catalog, wanted, questions, limits)
    if given.as_json:
        print_json("judge", ended.values, ended.files, ended.next, ended.status)
    ctx.exit(ended.code)


def _check_until(ctx: click.Context, asked: dict[str, Any], limits: "Limits") -> None:
    """Refuse what does not go with an early end, and what goes with nothing else."""
    for name in ("alpha", "tie_zone"):
        if not asked["until"] and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --until")
    if asked["until"] and asked["shard"]:
        raise click.UsageError("--until must see every review, and --shard makes a part of them")
    if asked["until"] and limits.batch:
        raise click.UsageError(
            "--until looks after every reply, and a batch brings all at once: leave one of them out"
        )


def ask(
    given: Everywhere,
    workspace: "Workspace",
    catalog: "Catalog",
    wanted: Wanted,
    questions: "list[Question]",
    limits: "Limits",
) -> "Outcome":
    """Ask what is owed, and tell how it went."""
    shown = shown_of(workspace, wanted, questions)
    job = calls.Job(
        planned=plans_of(workspace, wanted, shown),
        preflight=lambda plans: preflight(catalog, wanted, shown, plans),
        counts=_counts,
        summary=lambda judges: _summary(wanted, judges),
        words=_words,
        warnings=lambda judges: [
            line for each in judges for line in (*each["undecided"], *each["alarms"])
        ],
        following=lambda owed: _next(given, wanted, shown, owed),
    )
    return calls.carry_out(job, given, workspace, catalog, limits)


def plans_of(workspace: "Workspace", wanted: Wanted, shown: "Shown") -> "Callable[[], list[Plan]]":
    """What makes the plan of each judge, from the rows that are there then."""
    judges = [model.name for model in wanted.judges]
    ledgers = workspace.review_ledgers(wanted.bank, judges, shown.prompt_name, wanted.shard)

    def planned() -> "list[Plan]":
        plans: list[Plan] = []
        for model in wanted.judges:
            asking = _asking(wanted, shown, model)
            plan = plan_of(model, ledgers[model.name], asking, lambda each: each.usual())
            plan.until = cast("Until", plan.asking) if wanted.until else None
            plans.append(plan)
        return plans

    return planned


def _asking(
    wanted: Wanted, shown: Shown, model: "Model"
) -> "Callable[[Sequence[Review]], Judging | Until]":
    from evalkit.judge.judging import Judging

    structured = model.stanza.structured if wanted.structured is None else wanted.structured

    def of(rows: "Sequence[Review]") -> "Judging | Until":
        judging = Judging(
            model.name,
            model.asked_as,
            shown.prompt_name,
            shown.prompt,
            shown.showings,
            rows,
            structured=structured,
            context=model.stanza.context,
        )
        if wanted.until is None:
            return judging
        from evalkit.until import Goal, Until

        goal = Goal(wanted.until, wanted.alpha, wanted.tie_zone / 100)
        return Until(
            judging,
            shown.showings,
            shown.ties_by_rule,
            goal,
            lambda news: say(f"{model.name}: {said(news)}"),
        )

    return of


def _words(seen: dict[str, Any]) -> list[str]:
    said = [f"unreadable {seen['unreadable']}"]
    if seen["outside_scale"]:
        said.append(f"outside the scale {seen['outside_scale']}")
    if seen["cut"]:
        said.append(f"answers cut to fit {seen['cut']}")
    if seen["canaries"]:
        said.append(f"canaries {seen['canaries'] - seen['canaries_missed']}/{seen['canaries']}")
    if seen["saved"]:
        said.append(f"saved {count(seen['saved'], 'call')}")
    if seen["beyond"]:
        said.append(f"{seen['beyond']} beyond the stop")
    return [" · ".join(said)]


def _counts(plan: "Plan") -> dict[str, Any]:
    from evalkit.report.caveats import alarms
    from evalkit.report.results import canary_rows, no_canaries
    from evalkit.rows import Rows

    reviews = Rows.of(plan.asking.complete())
    own = no_canaries(reviews)
    tests = canary_rows(reviews)
    return calls.counts(plan) | {
        "reviews": len(own),
        "unreadable": own.how_many("scores", lambda scores: scores is None),
        "outside_scale": own.how_many("flags", lambda flags: "outside_scale" in flags),
        "cut": own.how_many("cut", bool),
        "canaries": sum(row.calls - row.unreadable for row in tests),
        "canaries_missed": sum(row.missed for row in tests),
        "alarms": list(alarms(tests)),
        "saved": plan.until.saved if plan.until else 0,
        "beyond": plan.until.beyond if plan.until else 0,
        "undecided": _undecided(plan),
        "tokens_in": round(plan.estimate.input),
        "tokens_out": round(plan.estimate.output),
    }


def _undecided(plan: "Plan") -> list[str]:
    """Pairs that all that was wanted did not decide, in sentences."""
    from evalkit.report.words import not_separable

    if plan.until is None or plan.owed:
        return []
    if plan.until.contenders:
        names = " or ".join(plan.until.contenders)
        return [f"the best may still be {names}: the questions do not tell."]
    return [not_separable(*each) + "." for each in plan.until.undecided()]


def _summary(wanted: Wanted, judges: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("done", "owed", "unreadable", "calls", "saved", "usd")
    sums = {name: sum(each[name] for each in judges) for name in names}
    alarms = [alarm for each in judges for alarm in each["alarms"]]
    shard = {"shard": str(wanted.shard)} if wanted.shard else {}
    return {"bank": wanted.bank, **shard, **sums, "alarms": alarms, "judges": judges}


def _next(given: Everywhere, wanted: Wanted, shown: Shown, owed: int) -> str:
    from evalkit.judge.showings import CHATGPT

    if owed:
        return "the same command goes on where it stopped"
    firsts = {first for first, _ in shown.pairs}
    whose = () if firsts & set(CHATGPT) else ("--baseline", shown.pairs[0][0])
    return afterwards(given, wanted.shard, "report", "--open", "--bank", wanted.bank, *whose)


def _reparse(given: Everywhere, workspace: "Workspace", bank: str) -> None:
    """Read every reply of a bank again: the scores change, what was said stays."""
    from evalkit.judge.judging import read_again

    prompts, questions = judge_prompts(workspace), workspace.questions(bank)
    answers: list[Answer] = workspace.answers(bank)
    changed: dict[Path, int] = {}
    read: dict[tuple[Any, ...], bool] = {}
    for ledger in workspace.own_reviews(bank):
        with ledger.rewriting() as (rows, write):
            again = read_again(rows, prompts, questions, answers)
            differ = sum(one != other for one, other in zip(rows, again, strict=True))
            if differ:
                write(again)
                changed[ledger.path] = differ
        read |= {row.key: row.scores is None for row in again}
    total, unreadable = len(read), sum(read.values())
    tell(workspace)
    differ = sum(changed.values())
    if given.as_json:
        values = {"bank": bank, "reviews": total, "changed": differ, "unreadable": unreadable}
        print_json("judge", values, list(changed), given.step("report", "--bank", bank))
    else:
        said = f"{count(total, 'review')} read again: {differ} changed, {unreadable} unreadable"
        show(said)
    say(f"Next: {given.step('report', '--bank', bank)}")
