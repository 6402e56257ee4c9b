"""A bank kept as a spreadsheet: a CSV file with a header, one question a row.

Columns: `id`, `category`, `turn_1`, `turn_2`, ... (or `turns` for a single turn), and, where
there are any, `reference_1`, ..., `language`, `source`. Other columns are kept in `extra`.
Reads questions only.
"""

from pathlib import Path

from pydantic import ValidationError

from evalkit import jsonl
from evalkit.csvfile import Sheet, numbered
from evalkit.errors import BadFile, Fault
from evalkit.formats import Given, Imported
from evalkit.records import Question

BANK: str | None = None
TAKES_MODEL = False


def recognises(path: Path) -> bool:
    """A CSV file that has a turn in its header."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with open(path, "rb") as stream:
        return b"turn" in stream.readline(10_000)


def read(path: Path, given: Given) -> Imported:  # noqa: ARG001
    """Read a CSV file. Raises BadFile with every row that is no question."""
    text = jsonl.text(path)
    if not text.strip():
        raise BadFile([Fault(str(path), "no questions")])
    sheet = Sheet(path, text)
    _check_header(sheet)
    questions: list[tuple[str, Question]] = []
    for where, row in () if sheet.faults else sheet.rows():
        try:
            questions.append((where, _question(row)))
        except ValidationError as error:
            sheet.faults.extend(Fault(where, what) for what in jsonl.complaints(error, Question))
    if faults := sheet.faults + jsonl.doubled(questions, "id"):
        raise BadFile(faults)
    if not questions:
        raise BadFile([Fault(str(path), "no questions")])
    return Imported(questions=[question for _, question in questions])


def _check_header(sheet: Sheet) -> None:
    for name, given in (("id", "id"), ("category", "category"), ("turns", "turn")):
        if not numbered(sheet.columns, given):
            known = (column for column in sheet.columns if Question.KNOWN_AS.get(column) == name)
            sheet.lacks(name, next(known, None))


def _question(row: dict[str, str]) -> Question:
    plain = {name: row[name] for name in ("id", "category", "language", "source") if row.get(name)}
    used = {*plain, *numbered(row, "turn"), *numbered(row, "reference")}
    extra = {name: cell for name, cell in row.items() if name not in used and cell}
    turns = [row[name] for name in numbered(row, "turn") if row[name]]
    reference = [row[name] for name in numbered(row, "reference") if row[name]]
    return Question.model_validate(
        {**plain, "turns": turns, "reference": reference, "extra": extra}
    )
