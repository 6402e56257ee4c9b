"""evalkit export: what is held here, as another tool's files."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from evalkit.cli.verb import (
    Everywhere,
    filed,
    judge_prompts,
    on_a_workspace,
    on_bought_rows,
    open_workspace,
    print_json,
    say,
    show,
    tell,
)
from evalkit.errors import BadPath, count, reason


@click.command(short_help="Write what is here as another tool's files.")
@click.argument("into", metavar="FOLDER")
@click.option("--to", "tool", metavar="TOOL", required=True, help="Whose files: see above.")
@click.option("--bank", help="Which bank; default: the only one that has reviews.")
@on_bought_rows
@on_a_workspace
def export(
    given: Everywhere,
    into: str,
    tool: str,
    bank: str | None,
    category_default: str | None,
    repair: bool,
) -> None:
    """Write a bank with its answers and reviews into FOLDER, which must be new or empty.

    TOOL is one of: vicuna (question.jsonl, answer/, review/), alpaca_eval
    (results/MODEL/model_outputs.json, results/MODEL/JUDGE/annotations.json), mt_bench
    (question.jsonl, model_answer/, model_judgment/, as its show_result reads them), arena_hard
    (the same folders, in the layout of 2025); or csv, jsonl, parquet (a table each of questions,
    answers, reviews, votes; import table reads them), hf (a folder for datasets.load_dataset).
    Rows that came from that tool are given back with all
    that they held there. What it has no place for is told.
    """
    from evalkit import formats
    from evalkit.answer import standing
    from evalkit.cli.report import only_bank
    from evalkit.judge.standing import standing as standing_reviews

    write = formats.writer(tool)
    workspace = open_workspace(given.folder)
    bank = only_bank(workspace) if bank is None else bank
    if repair:
        workspace.repair(bank)
    questions = filed(workspace, bank, workspace.questions(bank), category_default)
    answers = workspace.answers(bank)
    reviews, stale = standing_reviews(
        questions, answers, workspace.reviews(bank), judge_prompts(workspace)
    )
    own = [review for review in reviews if review.canary is None]
    made = write(formats.Held(questions, standing(questions, answers), own))
    tell(workspace)
    if stale:
        say(f"{count(len(stale), 'review')} left out: stale")
    for line in made.told:
        say(line)
    files = _write(Path(into), made.files)
    if given.as_json:
        print_json("export", {"bank": bank, "to": tool}, files, f"look into {into}")
    else:
        show(f"{bank}: {count(len(files), 'file')} for {tool} in {into}")


def _write(folder: Path, files: Mapping[str, str | bytes]) -> list[Path]:
    """Write all files or none. Raises BadPath where the folder holds something already."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadPath(f"{folder}: is there already. Name a new folder, or an empty one")
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise BadPath(f"{folder}: {reason(error)}") from error
    try:
        for name, held in files.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).write_bytes(held.encode() if isinstance(held, str) else held)
        beside.chmod(0o755)
        os.replace(beside, folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise BadPath(f"{folder}: {reason(error)}. Nothing half-written") from error
    return [folder / name for name in files]
