"""evalkit import: other tools' questions, answers and reviews, and answers collected by hand."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalkit.cli.verb import (
    Everywhere,
    filed,
    on_a_workspace,
    on_bought_rows,
    open_workspace,
    print_json,
    say,
    show,
    tell,
)
from evalkit.errors import Missing, count

if TYPE_CHECKING:
    from evalkit.formats import Format, Imported
    from evalkit.workspace import Workspace


@click.command("import", short_help="Bring in other tools' questions, answers and reviews.")
@click.argument("tool")
@click.argument("path")
@click.option("--bank", help="The bank's name; default: the tool's own name for it.")
@click.option("--model", metavar="NAME", help="Whose answers these are; with answers only.")
@on_bought_rows
@on_a_workspace
def import_(
    given: Everywhere,
    tool: str,
    path: str,
    bank: str | None,
    model: str | None,
    category_default: str | None,
    repair: bool,
) -> None:
    """Bring in another tool's files from PATH.

    TOOL is one of: vicuna (a folder with question.jsonl, answer/, review/), table (a CSV file of
    questions), answers (what a model said, collected by hand). Nothing is written before
    everything has been read and checked; importing again adds nothing twice.

    The answers are to a --bank that is here already, and by one --model. As text: a line '# ID'
    with a question's id begins each answer, a line '--- turn 2 ---' the one to its second turn. As
    CSV: the columns id and answer, or answer_1, answer_2. As JSON, lines or an array: id, and
    answer or a list of turns. CSV and JSON may name the model themselves.
    """
    from evalkit import formats

    workspace = open_workspace(given.folder)
    source = formats.load(tool)
    bank = source.BANK if bank is None else bank
    if bank is None:
        raise Missing("what shall the bank be called? Give --bank NAME")
    if model is not None and not source.TAKES_MODEL:
        raise click.UsageError(f"{tool} takes no --model")
    if repair:
        workspace.repair(bank)
    found = _read(workspace, source, Path(path), bank, model)
    found.questions = filed(workspace, bank, found.questions, category_default)
    rows = [*found.answers, *found.reviews]
    new = workspace.append(bank, rows, found.questions)
    tell(workspace)
    for line in found.told:
        say(line)
    written = _written(workspace, bank, found)
    step = _next(given, bank, found, written)
    if given.as_json:
        counts = {
            "questions": len(found.questions),
            "answers": len(found.answers),
            "reviews": len(found.reviews),
            "new_rows": new,
        }
        print_json("import", {"bank": bank, **counts, "told": found.told}, written, step)
    else:
        again = len(rows) - new
        here = f"; {again} rows were here already" if again else ""
        show(_line(bank, found) + here)
    say(f"Next: {step}")


def _read(
    workspace: "Workspace", source: "Format", path: Path, bank: str, model: str | None
) -> "Imported":
    from evalkit.formats import Given

    questions = partial(workspace.questions, bank)
    return source.read(path, Given(workspace.answers(bank), questions, model))


def _line(bank: str, found: "Imported") -> str:
    """What was read, in one line."""
    models = sorted({answer.model for answer in found.answers})
    judges = sorted({review.judge for review in found.reviews})
    parts = []
    if found.questions:
        parts.append(count(len(found.questions), "question"))
    if models:
        parts.append(f"{count(len(found.answers), 'answer')} ({', '.join(models)})")
    if judges:
        parts.append(f"{count(len(found.reviews), 'review')} by {', '.join(judges)}")
    return f"{bank}: {', '.join(parts)}"


def _written(workspace: "Workspace", bank: str, found: "Imported") -> list[Path]:
    """The file to look at: of the bank where it came with the rows, else of each model."""
    from evalkit.records import Answer
    from evalkit.workspace import file_stem

    if found.questions:
        return [workspace.bank_file(bank)]
    stems = {file_stem(answer.model) for answer in found.answers}
    ledgers = workspace.ledgers("answers", bank, Answer)
    return [ledger.path for ledger in ledgers if ledger.path.stem in stems]


def _next(given: Everywhere, bank: str, found: "Imported", written: list[Path]) -> str:
    if found.reviews:
        return given.step("report", "--bank", bank, "--open")
    if found.questions:
        return f"look at {written[0]}"
    return given.step("report", "--bank", bank)
