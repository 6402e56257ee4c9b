"""evalkit questions: look at a bank, check it, add to it, look for it in training data."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalkit.cli.verb import (
    Everywhere,
    Verbs,
    count,
    on_a_workspace,
    open_workspace,
    print_json,
    progress,
    say,
)
from evalkit.errors import Missing, Unknown
from evalkit.escape import visible

if TYPE_CHECKING:
    from evalkit.questions.check import Bank
    from evalkit.workspace import Workspace


BY_HAND = "--show-prompt prints what to ask any chatbot, --reply FILE takes in what it said"


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    short_help="Look at banks of questions, check them, add to them.",
)
@click.pass_context
def questions(ctx: click.Context) -> None:
    """Look at banks of questions, check them, add to them, look for them in training data."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@questions.command("list", short_help="Banks in numbers: categories, turns, references, lengths.")
@click.argument("bank", required=False)
@on_a_workspace
def list_(given: Everywhere, bank: str | None) -> None:
    """Show every bank in numbers, or one BANK by category.

    The length of a question is that of all its turns, in words, or in characters where the script
    has no blanks.
    """
    from evalkit.questions import overview

    workspace = open_workspace(given.folder)
    names = workspace.banks() if bank is None else [bank]
    banks = {name: workspace.questions(name) for name in names}
    whole = [overview.overview(name, found) for name, found in banks.items()]
    step = f"evalkit questions check{f' {bank}' if bank else ''}"
    if given.as_json:
        parts = {name: overview.by_category(found) for name, found in banks.items()}
        rows = {
            row.name: asdict(row) | {"by_category": [asdict(part) for part in parts[row.name]]}
            for row in whole
        }
        print_json("questions list", {"banks": rows}, [], step)
    elif bank is None:
        click.echo(visible(overview.table(whole, "bank")))
    else:
        shown = [*overview.by_category(banks[bank]), overview.overview("all", banks[bank])]
        click.echo(visible(overview.table(shown, "category")))
    say(f"Next: {step}")


@questions.command(short_help="Find what is wrong with a bank; exit 1 when there is anything.")
@click.argument("banks", nargs=-1, metavar="[BANK]...")
@click.option("--against", metavar="BANK", multiple=True, help="A second bank: what do both have?")
@click.option("--run-tests", is_flag=True, help="Run the tests in banks of your own: Python code.")
@on_a_workspace
@click.pass_context
def check(
    ctx: click.Context,
    given: Everywhere,
    banks: tuple[str, ...],
    against: tuple[str, ...],
    run_tests: bool,
) -> None:
    """Find what is wrong with each BANK, or with all of them.

    A BANK is a name, or a file that ends in .jsonl. What is found: malformed rows, duplicate ids,
    questions that are nearly the same, categories that no prompt knows, missing references,
    references that fail their own test, and, where NAME and NAME-zh both are there, questions that
    one of them lacks. A test is Python from the bank: those that came with evalkit are run, others
    only with --run-tests.
    """
    from evalkit import prompts
    from evalkit.questions import check

    workspace = open_workspace(given.folder)
    names = list(dict.fromkeys(banks or workspace.banks()))
    twins = [name for name in workspace.banks() if check.may_be_one_bank(name, names)]
    every = {name: _bank(workspace, name) for name in (*names, *twins)}
    others = [_bank(workspace, name) for name in against]
    known = prompts.categories(workspace.prompts("judge"))
    found = {name: check.faults(every[name], known) for name in names}
    for name, faults in found.items():
        bank = every[name]
        faults += [fault for other in others for fault in check.shared(bank, other)]
        if run_tests or workspace.is_shipped(name):
            faults += check.failures(bank)
        elif tests := sum(len(question.tests) for question in bank.questions):
            what = "1 test" if tests == 1 else f"{tests} tests"
            say(f"{name}: {what} not run, since a test is code; --run-tests runs them")
    for bank, translation in check.translations(every):
        home = translation.name if translation.name in found else bank.name
        if home in found:
            found[home] += check.differences(bank, translation)
    rows = {name: len(every[name].rows) for name in names}
    if given.as_json:
        told = {
            name: {"questions": rows[name], "findings": [asdict(fault) for fault in faults]}
            for name, faults in found.items()
        }
        print_json("questions check", {"banks": told}, [], "")
    for name, faults in () if given.as_json else found.items():
        for fault in faults:
            click.echo(visible(str(fault)))
        what = count(faults, "finding") if faults else "nothing found"
        click.echo(visible(f"{name}: {count(range(rows[name]), 'question')}, {what}"))
    ctx.exit(1 if any(found.values()) else 0)


def _bank(workspace: "Workspace", name: str) -> "Bank":
    from evalkit.questions.check import Bank
    from evalkit.workspace import read_bank

    return Bank.of(name, read_bank(Path(name)) if name.endswith(".jsonl") else workspace.bank(name))


@questions.command(short_help="New questions from a model, or from what a chatbot said.")
@click.option("--category", required=True, help="Of which category: fermi, coding, ...")
@click.option(
    "--n", "wanted", type=click.IntRange(min=1), default=10, show_default=True, help="How many."
)
@click.option("--language", default="en", show_default=True, help="In which language: en, zh, ...")
@click.option("--bank", help="What to call the new bank; default: CATEGORY-new.")
@click.option("--model", metavar="NAME", help="Which model to ask.")
@click.option(
    "--reply",
    "replies",
    metavar="FILE",
    multiple=True,
    help="What a chatbot said to the prompt, as a text file; can be repeated.",
)
@click.option("--show-prompt", is_flag=True, help="Print what is asked, ask nobody.")
@on_a_workspace
@click.pass_context
def generate(
    ctx: click.Context,
    given: Everywhere,
    category: str,
    wanted: int,
    language: str,
    bank: str | None,
    model: str | None,
    replies: tuple[str, ...],
    show_prompt: bool,
) -> None:
    """Write a bank of new questions, with references, checklists and tests.

    Without a key: --show-prompt prints what to ask any chatbot, --reply takes in what it said.
    Questions that are malformed, lack what their category needs, or are nearly the same as one of
    a bank that is here, are refused with the reason. Exit 1 when fewer than --n could be taken.
    """
    from evalkit import jsonl, prompts
    from evalkit.questions.generate import Drafts

    workspace = open_workspace(given.folder)
    prompt = prompts.load(workspace.prompts("generate")["question"], prompts.GeneratePrompt)
    if category not in prompt.guidance:
        raise Unknown("category", category, prompt.guidance)
    bank = f"{category}-new" if bank is None else bank
    workspace.bank_file(bank)
    taken = [question for name in workspace.banks() for question in workspace.questions(name)]
    drafts = Drafts(prompt, category, wanted, language, model or "generated", taken)
    if show_prompt:
        asked = drafts.request()
        for message in asked.messages if asked else ():
            click.echo(visible(message.text))
        return
    if model is not None:
        raise Missing(f"no model can be reached from here yet, '{model}' neither. {BY_HAND}")
    if not replies:
        raise Missing(f"who shall write them? {BY_HAND}")
    for name in replies:
        drafts.take(jsonl.text(Path(name)))
    for refused in drafts.refused:
        say(str(refused))
    files = []
    if drafts.questions:
        workspace.append(bank, [], drafts.questions)
        files = [workspace.bank_file(bank)]
    step = f"evalkit questions check {shlex.quote(bank)}"
    what = f"{bank}: {count(drafts.questions, 'question')} of {wanted}"
    if given.as_json:
        values = {
            "bank": bank,
            "questions": len(drafts.questions),
            "owed": drafts.owed,
            "refused": [asdict(refused) for refused in drafts.refused],
        }
        print_json("questions generate", values, files, step)
    else:
        click.echo(visible(f"{what}, {len(drafts.refused)} refused"))
    say(f"Next: {step if files else BY_HAND}")
    ctx.exit(1 if drafts.owed else 0)


@questions.command(short_help="Is a bank in a training set? Text, JSON, .gz, .zst, any size.")
@click.option("--bank", default="evalkit80", show_default=True, help="Which bank to look for.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@on_a_workspace
@click.pass_context
def contamination(ctx: click.Context, given: Everywhere, bank: str, files: tuple[str, ...]) -> None:
    """Look for the questions and references of a bank in training data.

    FILE is text, JSON or JSON lines, also packed (.gz, .zst, .bz2, .xz). Every run of 8 words of
    the bank (13 characters of Chinese) is looked for, whatever its case and punctuation.
    suspicious: a run was found, which stock phrases do too. contaminated: 13 words in a row (21
    characters) and half of a question or reference, in one place. Exit 1 when a question is
    contaminated.
    """
    from evalkit.questions import contamination
    from evalkit.questions.corpus import opened, size_of

    workspace = open_workspace(given.folder)
    search = contamination.Search(workspace.questions(bank))
    size = 0
    paths = [Path(name) for name in dict.fromkeys(files)]
    with progress(sum(map(size_of, paths))) as advance:
        for path in paths:
            with opened(path) as (stream, file):
                before = 0
                for read in search.read(str(path), stream):
                    size += read
                    advance(file.tell() - before)
                    before = file.tell()
    found = search.results()
    verdicts = contamination.counts(found)
    where = count(paths, "file") + f" ({size / 1e6:,.1f} MB)"
    if given.as_json:
        rows = [result.as_json() for result in found]
        values = {"bank": bank, "bytes": size, "verdicts": verdicts, "questions": rows}
        print_json("questions contamination", values, [], "")
    else:
        said = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
        click.echo(visible(f"{bank} in {where}: {said}"))
        for line in contamination.table(found):
            click.echo(visible(line))
    ctx.exit(1 if verdicts["contaminated"] else 0)
