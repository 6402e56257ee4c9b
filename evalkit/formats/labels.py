"""Texts with labels, to be classified: CSV or JSON, a text and its label a row.

Columns: `text`, `label` (or what the user says they are called); where there are any, `id`,
`language`, `split` (`train` for those that examples are taken from). Several labels of one text: a
list, or in CSV parted by `|`. No label: nobody said which is right. All else is kept in `extra`.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalkit import jsonl
from evalkit.csvfile import Sheet
from evalkit.errors import BadFile, Fault, count
from evalkit.formats import Given, Imported, Writer
from evalkit.formats.table.files import JsonRow, kind
from evalkit.records import Question, short_hash

BANK: str | None = None
TAKES: Collection[str] = ("--text-column", "--label-column")
WRITES: Mapping[str, Writer] = {}
CATEGORY = "generic"
PARTED = "|"
OURS = ("id", "language")


def recognises(path: Path) -> bool:  # noqa: ARG001
    """Nothing: which column holds the text is for the user to say."""
    return False


def read(path: Path, given: Given) -> Imported:
    """Read a file. Raises BadFile with every row that is no text."""
    text, label = given.text_column or "text", given.label_column or "label"
    faults: list[Fault] = []
    questions: list[tuple[str, Question]] = []
    first: dict[str, tuple[str, Question]] = {}
    again = 0
    for where, row in _rows(path, text, faults):
        try:
            question = _question(row, text, label)
            place, other = first.setdefault(question.turns[0], (where, question))
            if other.label != question.label:
                faults.append(Fault(where, f"the same text stands at {place} with another label"))
            if place == where:
                questions.append((where, question))
            else:
                again += 1
        except ValidationError as error:
            faults.extend(Fault(where, what) for what in jsonl.complaints(error, Question))
        except ValueError as error:
            faults.append(Fault(where, str(error)))
    if not questions and not faults:
        faults.append(Fault(str(path), "no texts"))
    if faults := faults + jsonl.doubled(questions, "id"):
        raise BadFile(faults)
    found = [question for _, question in questions]
    bare = sum(not question.label for question in found)
    told = [f"{bare} of {len(found)} texts have no label: nobody said what is right"] * bool(bare)
    told += [f"{count(again, 'text')} that stand there twice are taken once"] * bool(again)
    return Imported(found, told=told)


def _rows(path: Path, text: str, faults: list[Fault]) -> Iterator[tuple[str, dict[str, Any]]]:
    if kind(path) == "json":
        for where, row in jsonl.stream(path, JsonRow, faults):
            yield where, {name: value for name, value in row.besides().items() if value is not None}
        return
    sheet = Sheet(path, jsonl.text_lines(path))
    if text not in sheet.columns:
        sheet.lacks(text)
    if not sheet.faults:
        for where, cells in sheet.rows():
            yield where, {name: cell for name, cell in cells.items() if cell or name == text}
    faults.extend(sheet.faults)


def _question(row: dict[str, Any], text: str, label: str) -> Question:
    if text not in row:
        raise ValueError(f"no '{text}'. Where does the text stand? Give --text-column NAME")
    said = row.pop(text)
    labels = row.pop(label, [])
    if isinstance(labels, str):
        labels = [part.strip() for part in labels.split(PARTED) if part.strip()]
    elif isinstance(labels, bool | int):
        labels = [str(labels).lower()]
    own = {name: row.pop(name) for name in OURS if name in row}
    if type(own.get("id")) is int:
        own["id"] = str(own["id"])
    made = {"id": short_hash(said), **own, "category": CATEGORY, "turns": [said], "label": labels}
    return Question.model_validate({**made, "extra": row})
