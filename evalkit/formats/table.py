"""A bank kept as a spreadsheet: a CSV file with a header, one question a row.

Columns: `id`, `category`, `turn_1`, `turn_2`, ... (or `turns` for a single turn), and, where
there are any, `reference_1`, ..., `language`, `source`. Other columns are kept in `extra`.
Reads questions only.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path

from pydantic import ValidationError

from evalkit import jsonl
from evalkit.errors import BadFile, Fault, nearest
from evalkit.formats import Imported
from evalkit.records import Question

BANK: str | None = None
DELIMITERS = ",;\t"  # some spreadsheets write semicolons or tabs


def read(path: Path, known: Mapping[str, str | None]) -> Imported:  # noqa: ARG001
    """Read a CSV file. Raises BadFile with every row that is no question."""
    text = jsonl.text(path)
    if not text.strip():
        raise BadFile([Fault(str(path), "no questions")])
    header = text.strip().partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    rows = csv.DictReader(StringIO(text, newline=""), strict=True, delimiter=delimiter)
    questions: list[tuple[str, Question]] = []
    faults: list[Fault] = []
    try:
        faults += [Fault(f"{path}:1", what) for what in _not_a_header(rows.fieldnames or ())]
        for row in () if faults else rows:
            where = f"{path}:{rows.line_num}"
            if None in row or None in row.values():
                faults.append(Fault(where, "has more or fewer cells than the header"))
                continue
            try:
                questions.append((where, _question(row)))
            except ValidationError as error:
                faults.extend(Fault(where, what) for what in jsonl.complaints(error, Question))
    except csv.Error as error:
        faults.append(Fault(f"{path}:{rows.line_num + 1}", f"not CSV: {error}"))
    if faults := faults + jsonl.doubled(questions, "id"):
        raise BadFile(faults)
    if not questions:
        raise BadFile([Fault(str(path), "no questions")])
    return Imported(questions=[question for _, question in questions])


def _not_a_header(columns: Sequence[str]) -> Iterator[str]:
    for name, count in Counter(columns).items():
        if count > 1:
            yield f"the column '{name}' stands twice"
    for name, given in (("id", "id"), ("category", "category"), ("turns", "turn")):
        if not _numbered(columns, given):
            known = (column for column in columns if Question.KNOWN_AS.get(column) == name)
            near = next(known, None) or nearest(name, columns)
            yield f"no column '{name}'." + (f" Rename '{near}'?" if near else "")


def _question(row: dict[str, str]) -> Question:
    plain = {name: row[name] for name in ("id", "category", "language", "source") if row.get(name)}
    used = {*plain, *_numbered(row, "turn"), *_numbered(row, "reference")}
    extra = {name: cell for name, cell in row.items() if name not in used and cell}
    turns = [row[name] for name in _numbered(row, "turn") if row[name]]
    reference = [row[name] for name in _numbered(row, "reference") if row[name]]
    return Question.model_validate(
        {**plain, "turns": turns, "reference": reference, "extra": extra}
    )


def _numbered(row: Iterable[str], name: str) -> list[str]:
    """`turns`, `turn_1`, `turn_2`, ... in the order of their numbers."""
    columns = [column for column in row if re.fullmatch(rf"{name}(s|_\d+)?", column)]
    return sorted(
        columns, key=lambda column: int(column.rpartition("_")[2] or 0) if "_" in column else 0
    )
