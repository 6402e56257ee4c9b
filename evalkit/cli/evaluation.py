"""evalkit run: a whole evaluation from one file, answers to page."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalkit.cli import answer, calls, judge, report
from evalkit.cli.shown import Wanted
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
    tell,
)
from evalkit.errors import Missing, Unknown

if TYPE_CHECKING:
    from evalkit.catalog import Catalog
    from evalkit.cli.calls import Limits, Outcome
    from evalkit.evaluation import Evaluation
    from evalkit.records import Question
    from evalkit.workspace import Workspace


@click.command("run", short_help="A whole evaluation from one file.")
@click.argument("file", metavar="FILE")
@calls.on_limits
@on_bought_rows
@on_a_workspace
@click.pass_context
def run(
    ctx: click.Context,
    /,
    given: Everywhere,
    file: str,
    limits: "Limits",
    category_default: str | None,
    repair: bool,
) -> None:
    """Ask, judge and report what FILE says: bank, models, baseline, judges, budget_usd, outputs.

    It goes on where it stopped, and a second run pays for nothing. --budget goes before the file's
    budget_usd; either is of answers and reviews together. --dry-run prints every setting with where
    it comes from. Exit 1 while something is owed, or where its `gate` is not met.
    """
    from evalkit.evaluation import load, told
    from evalkit.report.gates import Gate, shortfalls

    path = Path(file)
    evaluation = load(path)
    workspace = open_workspace(given.folder)
    catalog = open_catalog(workspace)
    evaluation.laid_over(catalog)
    if limits.budget is None:
        limits = replace(limits, budget=evaluation.budget_usd)
    if limits.dry_run:
        settings = told(path, evaluation)
        widths = [max(len(row[n]) for row in settings) for n in (0, 1)]
        for name, value, where in settings:
            if name == "budget_usd" and limits.budget != evaluation.budget_usd:
                value, where = f"{limits.budget:g}", "--budget or EVALKIT_BUDGET"
            note(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {where}")
    if repair:
        workspace.repair(evaluation.bank)
    questions = workspace.questions(evaluation.bank)
    questions = filed(workspace, evaluation.bank, questions, category_default)
    asked = _asked(evaluation, catalog, questions)
    gates = [Gate(name, least) for name, least in evaluation.gate.items()]
    for gate in gates:
        gate.check([model.name for model in asked.models])
    made = _parts(given, workspace, catalog, evaluation, questions, asked, limits)
    files = [file for part in made.values() for file in part.files]
    code = max((part.code for part in made.values()), default=0)
    if not limits.dry_run and code < 2:
        found = report.found_in(
            workspace, evaluation.bank, evaluation.baseline, category_default, catalog
        )
        also = {f".{each}" for each in evaluation.outputs if each != "png"}
        pages = report.write(workspace, found, also, png="png" in evaluation.outputs)
        files += pages
        report.tell_results(given, found.results)
        say(f"wrote {', '.join(map(str, pages))}")
        short = shortfalls(found.results, gates)
        code = max(code, 1) if short else code
        for each in short:
            say(str(each))
    tell(workspace)
    if given.as_json:
        parts = {verb: {"status": p.status, **p.values} for verb, p in made.items()}
        values = {**parts, "usd": sum(part.dollars for part in made.values())}
        status = next((p.status for p in made.values() if p.status != "done"), "done")
        print_json("run", values, files, given.step("report", "--bank", evaluation.bank), status)
    ctx.exit(code)


def _parts(
    given: Everywhere,
    workspace: "Workspace",
    catalog: "Catalog",
    evaluation: "Evaluation",
    questions: "list[Question]",
    asked: answer.Wanted,
    limits: "Limits",
) -> "dict[str, Outcome]":
    """Answers, then the reviews of each judge, until one of them cannot go on."""
    made = {"answer": answer.ask(given, workspace, catalog, asked, limits)}
    for number, each in enumerate(evaluation.judges, 1):
        spent = sum(part.dollars for part in made.values())
        if max(part.code for part in made.values()) > 1:
            break
        wanted = Wanted(
            evaluation.bank,
            tuple(calls.models_of(catalog, [each.model], calls.Way(), "--judge")),
            prompt=each.prompt,
            baseline=evaluation.baseline,
            orders=each.orders,
            samples=each.samples,
            again=each.again,
            until=each.until,
            alpha=each.alpha,
            tie_zone=each.tie_zone,
            canaries=each.canaries,
            limit=evaluation.limit,
            seed=evaluation.seed,
        )
        name = "judge" if len(evaluation.judges) == 1 else f"judge {number}"
        try:
            made[name] = judge.ask(
                given, workspace, catalog, wanted, questions, limits.after(spent)
            )
        except (Missing, Unknown) as error:
            if not limits.dry_run:
                raise
            note(f"{each.model}: {error}")
    return made


def _asked(
    evaluation: "Evaluation", catalog: "Catalog", questions: "list[Question]"
) -> answer.Wanted:
    from evalkit.answer import Settings, spread

    own = {}
    for model in evaluation.models:
        drawn = model.sampling.model_dump(exclude_none=True)
        own[model.name] = Settings(samples=evaluation.samples, **drawn)
    names = [model.name for model in evaluation.models]
    models = calls.models_of(catalog, names, calls.Way())
    return answer.Wanted(
        evaluation.bank,
        tuple(models),
        tuple(spread(questions, evaluation.limit)),
        Settings(samples=evaluation.samples),
        {model.name: own[name] for model, name in zip(models, names, strict=True)},
    )
