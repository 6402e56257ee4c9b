"""evalkit import: other tools' questions, answers and reviews."""

from pathlib import Path

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


@click.command("import", short_help="Bring in other tools' questions, answers and reviews.")
@click.argument("tool")
@click.argument("path")
@click.option("--bank", help="What to call the bank; default: the tool's own name for it.")
@on_bought_rows
@on_a_workspace
def import_(
    given: Everywhere,
    tool: str,
    path: str,
    bank: str | None,
    category_default: str | None,
    repair: bool,
) -> None:
    """Bring in another tool's files from PATH.

    TOOL is one of: vicuna (a folder with question.jsonl, answer/, review/), table (a CSV file of
    questions). Nothing is written before everything has been read and checked; importing again
    adds nothing twice.
    """
    from evalkit import formats

    workspace = open_workspace(given.folder)
    source = formats.load(tool)
    bank = source.BANK if bank is None else bank
    if bank is None:
        raise Missing("what shall the bank be called? Give --bank NAME")
    if repair:
        workspace.repair(bank)
    known = {answer.model: answer.served for answer in workspace.answers(bank)}
    found = source.read(Path(path), known)
    found.questions = filed(workspace, bank, found.questions, category_default)
    rows = [*found.answers, *found.reviews]
    new = workspace.append(bank, rows, found.questions)
    tell(workspace)
    for line in found.told:
        say(line)
    models = sorted({answer.model for answer in found.answers})
    judges = sorted({review.judge for review in found.reviews})
    what = f"{bank}: {count(len(found.questions), 'question')}"
    if models:
        what += f", {count(len(found.answers), 'answer')} ({', '.join(models)})"
    if judges:
        what += f", {count(len(found.reviews), 'review')} by {', '.join(judges)}"
    again = len(rows) - new
    written = workspace.bank_file(bank)
    page = given.step("report", "--bank", bank, "--open")
    step = page if judges else f"look at {written}"
    if given.as_json:
        counts = {
            "questions": len(found.questions),
            "answers": len(found.answers),
            "reviews": len(found.reviews),
            "new_rows": new,
        }
        print_json("import", {"bank": bank, **counts, "told": found.told}, [written], step)
    else:
        show(what + (f"; {again} rows were here already" if again else ""))
    say(f"Next: {step}")
