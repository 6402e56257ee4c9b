"""evalkit import: other tools' questions, answers and reviews, and answers collected by hand."""

from collections.abc import Iterator
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
from evalkit.errors import BadPath, Missing, count

if TYPE_CHECKING:
    from evalkit.formats import Imported
    from evalkit.records import Question
    from evalkit.workspace import Added, Workspace


@click.command("import", short_help="Bring in other tools' questions, answers and reviews.")
@click.argument("source", nargs=-1, required=True, metavar="[TOOL] PATH")
@click.option("--bank", help="The bank's name; default: the tool's own name for it.")
@click.option("--model", metavar="NAME", help="Whose answers these are; with answers only.")
@click.option(
    "--text-column", metavar="NAME", help="Of labels: where the text stands; default: text."
)
@click.option("--label-column", metavar="NAME", help="Where its label does; default: label.")
@on_bought_rows
@on_a_workspace
def import_(
    given: Everywhere,
    source: tuple[str, ...],
    bank: str | None,
    model: str | None,
    text_column: str | None,
    label_column: str | None,
    category_default: str | None,
    repair: bool,
) -> None:
    """Bring in another tool's files from PATH.

    TOOL is one of: vicuna (a folder with question.jsonl, answer/, review/), alpaca_eval
    (model_outputs.json and annotations.json, of one model or of many in results/), mt_bench
    (question.jsonl, model_answer/, reference_answer/, model_judgment/), arena_hard (the same
    folders, in either layout), llmbar (dataset.json and result.json), faireval (vicuna's folders,
    with review_A_B_human.txt or review_A_B_JUDGE_mecN_bpcN.json in review/), table (questions,
    answers, reviews or votes as CSV, JSON lines or Parquet), answers (what a model said, collected
    by hand), labels (texts to be classified, with their labels). Left out, it is told by the names
    of the files. Nothing is written before everything has been read and checked; importing again
    adds nothing twice.

    A table has the columns id, category, turn_1, turn_2; question, model, answer_1; question,
    judge, model_1, model_2, score_1, score_2; or question, voter, model_1, model_2, winner. It is
    a file, or a folder with questions.csv, answers.csv, reviews.csv, votes.csv.

    Answers by hand are to a --bank that is here already, and by one --model. As text: a line '# ID'
    with a question's id begins each answer, a line '--- turn 2 ---' the one to its second turn. As
    CSV: the columns id and answer, or answer_1, answer_2. As JSON, lines or an array: id, and
    answer or a list of turns. CSV and JSON may name the model themselves.
    """
    from evalkit import formats
    from evalkit.formats import Given

    tool, path = _named(source)
    workspace = open_workspace(given.folder)
    form = formats.load(tool)
    bank = form.BANK if bank is None else bank
    if bank is None:
        raise Missing("what shall the bank be called? Give --bank NAME")
    said = {"--model": model, "--text-column": text_column, "--label-column": label_column}
    for option, value in said.items():
        if value is not None and option not in form.TAKES:
            raise click.UsageError(f"{tool} takes no {option}")
    if repair:
        workspace.repair(bank)
    answers, questions = partial(workspace.answers, bank), partial(workspace.questions, bank)
    found = form.read(path, Given(answers, questions, model, text_column, label_column))
    default = category_default or found.category
    found.questions = filed(workspace, bank, _taken(found.questions), default)
    added = workspace.append(bank, found.rows, found.questions, partial=found.partial)
    tell(workspace)
    for line in found.told:
        say(line)
    written = _written(workspace, bank, found, added)
    step = _next(given, bank, found, added, written)
    if given.as_json:
        counts = {
            "questions": len(found.questions),
            "answers": added.answers.total(),
            "reviews": added.reviews.total(),
            "new_rows": added.new,
        }
        print_json("import", {"bank": bank, **counts, "told": found.told}, written, step)
    else:
        here = f"; {added.again} rows were here already" if added.again else ""
        show(_line(bank, found, added) + here)
    say(f"Next: {step}")


def _named(source: tuple[str, ...]) -> tuple[str, Path]:
    """The tool, by its name or by the names of its files, and where they lie."""
    from evalkit import formats

    if len(source) > 2:
        raise click.UsageError("expected [TOOL] PATH")
    path = Path(source[-1])
    if len(source) == 2:
        return source[0], path
    if not path.exists() and source[0] in formats.names():
        raise click.MissingParameter(param_hint="'PATH'", param_type="argument")
    if not path.exists():
        raise BadPath(f"{path}: no such file or folder")
    tools = formats.recognised(path)
    if len(tools) != 1:
        what = "may be of " + " or ".join(tools) if tools else "is of no tool that evalkit knows"
        raise Missing(f"{path} {what}. Name it: evalkit import TOOL PATH")
    say(f"these are files of {tools[0]}")
    return tools[0], path


def _taken(questions: list["Question"]) -> "Iterator[Question]":
    """Each in turn, and let go of: there may be many, and another is made of each."""
    questions.reverse()
    while questions:
        yield questions.pop()


def _line(bank: str, found: "Imported", added: "Added") -> str:
    """What was read, in one line."""
    parts = []
    if found.questions:
        parts.append(count(len(found.questions), "question"))
    if added.answers:
        models = ", ".join(sorted(added.answers))
        parts.append(f"{count(added.answers.total(), 'answer')} ({models})")
    if added.reviews:
        judges = ", ".join(sorted(added.reviews))
        parts.append(f"{count(added.reviews.total(), 'review')} by {judges}")
    return f"{bank}: {', '.join(parts)}"


def _written(workspace: "Workspace", bank: str, found: "Imported", added: "Added") -> list[Path]:
    """The file to look at: of the bank where it came with the rows, else of each model."""
    if found.questions:
        return [workspace.bank_file(bank)]
    ledgers = sorted(workspace.answer_path(bank, model) for model in added.answers)
    return [path for path in ledgers if path.exists()]


def _next(
    given: Everywhere, bank: str, found: "Imported", added: "Added", written: list[Path]
) -> str:
    if added.reviews:
        return given.step("report", "--bank", bank, "--open")
    if found.questions:
        return f"look at {written[0]}"
    return given.step("report", "--bank", bank)
