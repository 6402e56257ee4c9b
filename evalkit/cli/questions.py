"""evalkit questions: look at a bank, check it, add to it, look for it in training data."""

import re
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalkit.cli import calls
from evalkit.cli.verb import (
    Everywhere,
    Verbs,
    note,
    on_a_workspace,
    open_catalog,
    open_workspace,
    print_json,
    progress,
    say,
    show,
)
from evalkit.errors import BadFile, BadPath, Fault, Missing, Unknown, count

if TYPE_CHECKING:
    from evalkit.catalog import Catalog, Model
    from evalkit.chat import Reply, Request
    from evalkit.questions.check import Bank
    from evalkit.questions.generate import Drafts
    from evalkit.workspace import Workspace

BY_HAND = "--show-prompt prints what to ask any chatbot, --reply FILE takes in what it said"


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    short_help="Look at banks of questions, check them, add to them.",
)
@click.pass_context
def questions(ctx: click.Context) -> None:
    """Look at banks of questions, check them, add to them, look for them in training data.

    A BANK is a name, or a file that ends in .jsonl.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@questions.command("list", short_help="Banks in numbers: categories, turns, references, lengths.")
@click.argument("bank", required=False)
@on_a_workspace
@click.pass_context
def list_(ctx: click.Context, given: Everywhere, bank: str | None) -> None:
    """Show every bank in numbers, or one BANK by category.

    The length of a question is that of all its turns, in words, or in characters where the script
    has no blanks. Exit 1 where a bank could not be read whole.
    """
    from evalkit.questions import overview

    workspace = open_workspace(given.folder)
    names = workspace.banks() if bank is None else [bank]
    read = _bank_if_readable if bank is None else _bank
    banks = {name: read(workspace, name) for name in names}
    told = {name: overview.overview(name, own.questions) for name, own in banks.items() if own.rows}
    step = given.step("questions", "check", *([] if bank is None else [bank]))
    if given.as_json:
        rows = {
            name: asdict(row)
            | {"by_category": list(map(asdict, overview.by_category(banks[name].questions)))}
            for name, row in told.items()
        }
        print_json("questions list", {"banks": rows}, [], step)
    elif bank is None:
        for line in overview.table(list(told.values()), "bank"):
            show(line)
    elif told:
        parts = overview.by_category(banks[bank].questions)
        for line in overview.table([*parts, replace(told[bank], name="all")], "category"):
            show(line)
    broken = {name: own.faults for name, own in banks.items() if own.faults}
    for name, faults in broken.items():
        say(f"{name}: {count(len(faults), 'fault')}, counted without what they are in")
    say(f"Next: {step}")
    ctx.exit(1 if broken else 0)


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

    Malformed rows, duplicate ids, questions that are nearly the same, categories that no prompt
    knows, missing references, references that fail their own test, and, where NAME and NAME-zh
    both are there, questions that one of them lacks. A test is Python from the bank: those that
    came with evalkit are run, others only with --run-tests.
    """
    from evalkit import prompts
    from evalkit.questions import check

    workspace = open_workspace(given.folder)
    names = list(dict.fromkeys(banks or workspace.banks()))
    twins = [name for name in workspace.banks() if check.may_be_one_bank(name, names)]
    every = {name: _bank(workspace, name) for name in names}
    every |= {name: _bank_if_readable(workspace, name) for name in twins if name not in names}
    others = {name: _bank(workspace, name) for name in against}
    same = {(a, b) for a in names for b in against if _same_file(workspace, a, b)}
    if unread := [fault for other in others.values() for fault in other.faults]:
        raise BadFile(unread)
    known = prompts.categories(workspace.prompts("judge"))
    may_run = {name: run_tests or workspace.is_shipped(name) for name in names}
    found = {
        name: check.findings(
            every[name],
            [other for second, other in others.items() if (name, second) not in same],
            known,
            run_tests=may_run[name],
        )
        for name in names
    }
    for bank, translation in check.translations(every):
        home = translation.name if translation.name in found else bank.name
        if home in found:
            found[home] += check.differences(bank, translation)
    _tell_findings(given, {name: every[name] for name in names}, found, may_run)
    ctx.exit(1 if any(found.values()) else 0)


def _tell_findings(
    given: Everywhere,
    banks: dict[str, "Bank"],
    found: dict[str, list[Fault]],
    may_run: dict[str, bool],
) -> None:
    not_run = {
        name: 0 if may_run[name] else sum(len(question.tests) for question in bank.questions)
        for name, bank in banks.items()
    }
    if given.as_json:
        told = {
            name: {
                "questions": len(bank.rows),
                "findings": [asdict(fault) for fault in found[name]],
                "tests_not_run": not_run[name],
            }
            for name, bank in banks.items()
        }
        print_json("questions check", {"banks": told}, [], None)
    else:
        for name, faults in found.items():
            for fault in faults:
                show(str(fault))
            what = count(len(faults), "finding") if faults else "nothing found"
            show(f"{name}: {count(len(banks[name].rows), 'question')}, {what}")
    for name, tests in not_run.items():
        if tests:
            what = f"{count(tests, 'test')} not run, since a test is code"
            say(f"{name}: {what}; --run-tests runs them")


@questions.command(short_help="New questions, by way of any chatbot.")
@click.option("--category", required=True, help="Of which category: fermi, coding, ...")
@click.option(
    "--n",
    "wanted",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many of this category the bank shall have.",
)
@click.option("--language", default="en", show_default=True, help="In which language: en, zh, ...")
@click.option("--bank", help="The bank, new or to be added to; default: new-CATEGORY.")
@click.option(
    "--reply",
    "replies",
    metavar="FILE",
    multiple=True,
    help="What a chatbot said to the prompt, as a text file; can be repeated.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="Whom to ask, or with --reply who said it: stands in `source` of each question.",
)
@click.option("--show-prompt", is_flag=True, help="Print what is to be asked, and end.")
@on_a_workspace
@click.pass_context
def generate(
    ctx: click.Context,
    given: Everywhere,
    category: str,
    wanted: int,
    language: str,
    bank: str | None,
    replies: tuple[str, ...],
    model: str | None,
    show_prompt: bool,
) -> None:
    """Write new questions into a bank, with references, checklists and tests.

    --model asks a model, as evalkit answer does, in several calls if need be. Without it,
    --show-prompt prints what to ask any chatbot and --reply takes in what it said. Questions that
    are malformed, lack what their category needs, or are nearly the same as one of a bank that is
    here, are refused with the reason. Exit 1 while the bank has fewer than --n.
    """
    from evalkit import jsonl

    workspace = open_workspace(given.folder)
    asked = None
    if model and not replies and not show_prompt:
        catalog = open_catalog(workspace)
        asked = calls.model_of(catalog, model, calls.Way())
        model = asked.name
    if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]+)*", language):
        raise Missing(f"'{language}' is no code of a language: en, zh, de, pt-BR, ...")
    new = f"new-{category}" if language == "en" else f"new-{language}-{category}"
    bank = new if bank is None else bank
    drafts = _drafts(workspace, bank, category, wanted, language, model or "generated")
    if show_prompt:
        _show_prompt(given, drafts)
        return
    if not replies and not asked:
        raise Missing(f"who shall write them? Give --model NAME. {BY_HAND}")
    standing = len(drafts.questions)
    failed = _ask(asked, catalog, drafts) if asked else 0
    for name in replies:
        drafts.take(jsonl.text(Path(name)))
    files = []
    if added := drafts.questions[standing:]:
        files = [workspace.add_questions(bank, added)]
    for refused in drafts.refused:
        say(str(refused))
    step = given.step("questions", "check", bank, *(["--run-tests"] if files else []))
    if given.as_json:
        values = {
            "bank": bank,
            "questions": len(drafts.questions),
            "new": len(added),
            "owed": max(drafts.owed, 0),
            "refused": [asdict(refused) for refused in drafts.refused],
        }
        print_json("questions generate", values, files, step if files else None)
    else:
        has = f"{len(drafts.questions)} of {count(wanted, f'{category} question')}"
        show(f"{bank}: {has}, {len(added)} new, {len(drafts.refused)} refused")
    say(f"Next: read them, then {step}" if files else f"Next: {BY_HAND}")
    ctx.exit(failed or (1 if drafts.owed > 0 else 0))


def _ask(model: "Model", catalog: "Catalog", drafts: "Drafts") -> int:
    """Ask a model for all that are owed; returns the exit code where that was cut short, or 0."""
    from evalkit.cli import running
    from evalkit.price import Budget
    from evalkit.questions.generate import AT_ONCE
    from evalkit.runner import Run, Work

    def keep(_: "Request", reply: "Reply", __: float | None) -> "Request | None":
        drafts.take(reply.text)
        return drafts.request()

    first = drafts.request()
    work = Work(
        name=model.name,
        providers=running.providers_of(model, catalog),
        requests=iter([first] if first else []),
        keep=keep,
        owed=-(-drafts.owed // AT_ONCE),
        price=model.stanza.price,
        free=model.is_free,
    )
    price = "free" if model.is_free else f"price per 1M tokens: {model.stanza.price or 'unknown'}"
    note(f"  {model.name}   {running.reached(model)}   {price}")
    teller = running.Teller(verbose=False)
    run = Run([work], Budget(), teller, turned=teller.turned)
    signalled = running.perform(run)
    running.tell_end(run, drafts.owed)
    return running.exit_code(run, 0, signalled)


def _drafts(
    workspace: "Workspace", bank: str, category: str, wanted: int, language: str, source: str
) -> "Drafts":
    """What is to be written, with what stands already: in this bank, and in all others."""
    from evalkit import prompts, yamlfile
    from evalkit.questions.generate import Drafts

    prompt = yamlfile.load(workspace.prompts("generate")["question"], prompts.GeneratePrompt)
    known = prompts.categories(workspace.prompts("judge"))
    if category not in prompt.guidance or category not in known:
        raise Unknown("category", category, set(prompt.guidance) & set(known))
    home = workspace.bank_file(bank)
    own = workspace.questions(bank) if home.exists() else []
    others = [
        question
        for name in workspace.banks()
        if workspace.bank_file(name) != home
        for question in _bank_if_readable(workspace, name).questions
    ]
    drafts = Drafts(prompt, category, wanted, language, source, others, known)
    drafts.questions = [question for question in own if drafts.asks_for(question)]
    drafts.taken = [*others, *(question for question in own if not drafts.asks_for(question))]
    return drafts


def _show_prompt(given: Everywhere, drafts: "Drafts") -> None:
    asked = drafts.request(at_once=drafts.owed)
    texts = [message.text for message in asked.messages] if asked else []
    if given.as_json:
        print_json("questions generate", {"prompt": texts}, [], BY_HAND)
    elif texts:
        click.echo("\n".join(texts))
    else:
        say("nothing to ask: the bank has as many as were wanted")


@questions.command(short_help="Is a bank in a training set? Text, JSON, .gz, .zst, any size.")
@click.option("--bank", default="evalkit80", show_default=True, help="Which bank to look for.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@on_a_workspace
@click.pass_context
def contamination(ctx: click.Context, given: Everywhere, bank: str, files: tuple[str, ...]) -> None:
    """Look for the questions and references of a bank in training data.

    FILE is text, JSON or JSON lines, also packed (.gz, .zst, .bz2, .xz); - is stdin. Every run of
    8 words of the bank (13 characters of Chinese) is looked for, whatever its case and punctuation.
    suspicious: a run was found, which stock phrases do too. contaminated: 13 words in a row (21
    characters), or all of a shorter passage, and half of a question or reference, in one place.
    Exit 1 when a question is contaminated.
    """
    from evalkit.questions import contamination
    from evalkit.questions.corpus import opened, size_of

    workspace = open_workspace(given.folder)
    search = contamination.Search(workspace.questions(bank))
    paths = [Path(name) for name in dict.fromkeys(files)]
    lengths = [size_of(path) for path in paths]  # before hours of reading: can they be read?
    size, whole, unread = 0, 0, list[Fault]()
    with progress(sum(lengths)) as advance:
        for path in paths:
            before = 0
            try:
                with opened(path) as (stream, file):
                    for read in search.read(str(path), stream):
                        size += read
                        with suppress(OSError):  # a pipe does not know where it is
                            now = file.tell()
                            advance(now - before)
                            before = now
                whole += 1
            except BadFile as error:
                unread += error.faults
    if not whole:
        raise BadFile(unread)
    if not size:
        raise Missing(f"nothing to look through: {', '.join(map(str, paths))} is empty")
    found = search.results()
    verdicts = contamination.counts(found)
    if given.as_json:
        rows = [result.as_json() for result in found]
        values = {"bank": bank, "bytes": size, "verdicts": verdicts, "questions": rows}
        values["unread"] = [asdict(fault) for fault in unread]
        print_json("questions contamination", values, [], None)
    else:
        where = count(len(paths), "file") if not unread else f"{whole} of {len(paths)} files"
        where += f" ({_bytes(size)})"
        show(f"{bank} in {where}: {', '.join(f'{n} {v}' for v, n in verdicts.items())}")
        for line in contamination.table(found):
            show(line)
    if unread:
        raise BadFile(unread)
    ctx.exit(1 if verdicts["contaminated"] else 0)


def _bank(workspace: "Workspace", name: str) -> "Bank":
    from evalkit.questions.check import Bank

    found = workspace.bank(name)
    return Bank(name, found.rows, found.faults)


def _bank_if_readable(workspace: "Workspace", name: str) -> "Bank":
    """A bank that is only looked at beside others: what cannot be read of it is its fault."""
    from evalkit.questions.check import Bank

    try:
        return _bank(workspace, name)
    except BadFile as error:
        return Bank(name, [], error.faults)
    except BadPath as error:
        return Bank(name, [], [Fault(name, str(error))])


def _same_file(workspace: "Workspace", bank: str, other: str) -> bool:
    return workspace.bank_path(bank).resolve() == workspace.bank_path(other).resolve()


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
