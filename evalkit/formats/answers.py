"""Answers that a person collected by hand, to the questions of a bank that stands already.

Text: a line `# ID` (or `## ID`, ...) with the id of a question begins the answer to it. All up to
the next such line is the answer, without the blank lines at its ends; any other heading is part of
it. A line `--- turn 2 ---` begins the answer to the question's second turn.

CSV (`.csv`, `.tsv`): the columns `id` (or `question_id`, `question`) and `answer` (or `text`,
`output`, `turns`), or `answer_1`, `answer_2`, ...

JSON, lines or one array: the same fields; an answer is a text, or a list with a text for each turn.

CSV and JSON may have `model`; what else they hold is kept in `extra`. Whose the answers are, the
rows or the user must say: it is never guessed. Nor is an answer ever put under the question that it
was probably meant for.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evalkit import jsonl
from evalkit.csvfile import Sheet, numbered
from evalkit.errors import BadFile, Fault, Missing, count, did_you_mean
from evalkit.formats import Given, Imported, Writer
from evalkit.records import Answer, Question, short_hash
from evalkit.surrogates import half_characters, mended

BANK: str | None = None
TAKES: Collection[str] = ("--model",)
WRITES: Mapping[str, Writer] = {}

IDS = ("id", "question_id", "question")  # the first that is there counts
TEXTS = ("answer", "text", "output", "turns")
HEADING = re.compile(r"#{1,6}\s+(.*\S)\s*")
TURN = re.compile(r"\s*-{2,}\s*turn\s*(\d{1,4})\s*-{2,}\s*", re.IGNORECASE)
SLIP = 0.85  # likeness of a heading to an id that is not an answer's own heading any more
MOST_NAMED = 5

Bank = Mapping[str, Question]


class _Row(BaseModel):
    """An answer as a file has it, under our names for its fields."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: str = Field(min_length=1)
    answer: list[str] = Field(min_length=1)
    model: str | None = Field(None, min_length=1)
    extra: dict[str, Any] = {}
    repaired: int = 0

    @model_validator(mode="before")
    @classmethod
    def _named(cls, row: Any) -> Any:
        rest = dict(row)
        made = {"model": rest.pop("model", None)}
        if name := next((name for name in IDS if name in rest), None):
            value = rest.pop(name)
            # A number is how some tools count questions; True is one to Python only.
            made["id"] = str(value) if type(value) is int else value
        if columns := numbered(rest, "answer"):
            cells = [rest.pop(name) for name in columns]
            made["answer"] = cells if len(cells) > 1 else _listed(cells[0])
        elif name := next((name for name in TEXTS if name in rest), None):
            made["answer"] = _listed(rest.pop(name))
        turns = made.get("answer")
        texts = [turn for turn in turns if isinstance(turn, str)] if isinstance(turns, list) else []
        repaired = sum(map(half_characters, texts))
        return {**mended({**made, "extra": rest}), "repaired": repaired}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Rows = jsonl.Found[_Row]


@dataclass(frozen=True)
class _Form:
    """One of the ways in which answers may be written down."""

    read: Callable[[Path, Bank], Rows]
    has_turn: str
    """Where the answer to turn {n} stands."""


def recognises(path: Path) -> bool:  # noqa: ARG001
    """Nothing: whose answers to which bank these are, only a person knows."""
    return False


def read(path: Path, given: Given) -> Imported:
    """Read a file of answers. Raises BadFile with every fault, Missing where no model is named."""
    bank = {question.id: question for question in given.questions()}
    form = _form(path)
    found = form.read(path, bank)
    if found.rows and given.model is None and not any(row.model for _, row in found.rows):
        raise Missing("whose answers are these? Give --model NAME")
    faults = [*found.faults, *_misplaced(found.rows, bank, given.model, form)]
    if not found.rows and not faults:
        faults.append(Fault(str(path), "no answers"))
    if faults:
        raise BadFile(faults)
    answers = [
        _answer(row, bank[row.id], model)
        for _, row in found.rows
        if (model := row.model or given.model) is not None
    ]
    return Imported(rows=answers, told=list(_told(answers, bank, given.answers)))


def _form(path: Path) -> _Form:
    first = next(jsonl.lines(path), None)
    if first is None:
        raise BadFile([Fault(str(path), "no answers")])
    ending = path.suffix.lower()
    if first.raw.startswith((b"{", b"[")):
        return JSON
    if ending in (".json", ".jsonl", ".ndjson"):
        what = "expected an object {...} on each line, or one array of them"
        raise BadFile([Fault(f"{path}:{first.number}", what)])
    return CSV if ending in (".csv", ".tsv") else TEXT


def _text(path: Path) -> str:
    """A file's text; its line ends are those of the system it was saved on, not the answers'."""
    return _unix(jsonl.text(path))


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


# -- text


@dataclass
class _Section:
    """What stands below the heading of one question, each line with its place."""

    where: str
    id: str
    lines: list[tuple[str, str]]


def _from_text(path: Path, bank: Bank) -> Rows:
    found = Rows()
    sections: list[_Section] = []
    others: list[tuple[str, str]] = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        where = f"{path}:{number}"
        heading = HEADING.fullmatch(line)
        if heading and heading[1] in bank:
            sections.append(_Section(where, heading[1], []))
            continue
        if sections:
            sections[-1].lines.append((where, line))
            if heading:
                others.append((where, heading[1]))
        elif heading:
            found.faults.append(_unknown(where, heading[1], bank))
        elif line.strip() and not found.faults:
            what = "stands above the first answer, which begins with a line '# ID' of its question"
            found.faults.append(Fault(where, what))
    found.faults += _slips(others, set(bank) - {section.id for section in sections}, bank)
    for section in sections:
        turns = _split(section, found.faults)
        found.rows.append((section.where, _Row(id=section.id, answer=turns)))
    return found


def _slips(headings: Sequence[tuple[str, str]], left: set[str], bank: Bank) -> Iterator[Fault]:
    """A fault for each heading that is nearly the id of a question without an answer.

    Else a slip of the pen would hide one answer in another.
    """
    folded = [id_.casefold() for id_ in left]
    for where, heading in headings:
        if get_close_matches(heading.casefold(), folded, n=1, cutoff=SLIP):
            yield _unknown(where, heading, bank)


def _split(section: _Section, faults: list[Fault]) -> list[str]:
    """The answers to a question's turns; a turn that is out of order goes to `faults`."""
    turns: list[list[str]] = [[]]
    for where, line in section.lines:
        marker = TURN.fullmatch(line)
        if not marker:
            turns[-1].append(line)
            continue
        number, due = int(marker[1]), len(turns) + 1
        if number == 1 and due == 2 and not any(line.strip() for line in turns[0]):
            continue  # who counts from 1 marks the first turn too
        if number != due:
            faults.append(Fault(where, f"turn {number} of question {section.id}, expected {due}"))
        turns.append([])
    return [_without_blank_ends(lines) for lines in turns]


def _without_blank_ends(lines: Sequence[str]) -> str:
    said = [number for number, line in enumerate(lines) if line.strip()]
    return "\n".join(lines[said[0] : said[-1] + 1]) if said else ""


# -- CSV and JSON


def _from_csv(path: Path, bank: Bank) -> Rows:
    sheet = Sheet(path, map(_unix, jsonl.text_lines(path)))
    if not set(IDS) & set(sheet.columns):
        sheet.lacks("id")
    if not set(TEXTS) & set(sheet.columns) and not numbered(sheet.columns, "answer"):
        sheet.lacks("answer")
    rows: list[tuple[str, _Row]] = []
    for where, cells in () if sheet.faults else sheet.rows():
        # An empty cell is an answer, but no id and no model's name.
        for name in ("model", *IDS):
            if not cells.get(name):
                cells.pop(name, None)
        try:
            row = _Row.model_validate(cells)
        except ValidationError as error:
            sheet.faults.extend(Fault(where, what) for what in jsonl.complaints(error, _Row))
            continue
        rows.append((where, _without_unasked(row, bank)))
    return Rows(rows, sheet.faults)


def _without_unasked(row: _Row, bank: Bank) -> _Row:
    """The row without the empty cells of columns that are there for other questions' turns."""
    turns = list(row.answer)
    asked = len(bank[row.id].turns) if row.id in bank else 1
    while len(turns) > asked and not turns[-1]:
        turns.pop()
    return row.model_copy(update={"answer": turns})


def _from_json(path: Path, _: Bank) -> Rows:
    return jsonl.records(path, _Row)


TEXT = _Form(_from_text, "a line '--- turn {n} ---' begins it")
CSV = _Form(_from_csv, "the column 'answer_{n}' holds it")
JSON = _Form(_from_json, "'turns' is a list with a text for each")


# -- all of them


def _unknown(where: str, name: str, bank: Bank) -> Fault:
    return Fault(where, f"no question '{name}' in the bank.{did_you_mean(name, bank)}")


def _misplaced(
    rows: Sequence[tuple[str, _Row]], bank: Bank, given: str | None, form: _Form
) -> Iterator[Fault]:
    """What is wrong with rows that are sound in themselves."""
    first: dict[tuple[str, str], str] = {}
    for where, row in rows:
        if row.id in bank:
            yield from _other_turns(where, row, len(bank[row.id].turns), form)
        else:
            yield _unknown(where, row.id, bank)
        model = row.model or given
        if model is None:
            yield Fault(where, "names no model, as other rows do")
            continue
        if given not in (None, model):
            yield Fault(where, f"an answer of '{model}', but --model says '{given}'")
        if (row.id, model) in first:
            what = f"{model} answered question {row.id} at {first[row.id, model]} already"
            yield Fault(where, what)
        first.setdefault((row.id, model), where)


def _other_turns(where: str, row: _Row, asked: int, form: _Form) -> Iterator[Fault]:
    said = len(row.answer)
    if said > asked:
        yield Fault(where, f"{count(said, 'turn')}, but question {row.id} has {asked}")
    for number in range(said + 1, asked + 1):
        place = form.has_turn.format(n=number)
        yield Fault(where, f"turn {number} of question {row.id} is missing; {place}")


def _answer(row: _Row, question: Question, model: str) -> Answer:
    turns = tuple(row.answer)
    return Answer(
        question=question.id,
        model=model,
        turns=turns,
        asked=short_hash([question.turns, model, turns, "by hand"]),
        question_hash=short_hash(question.turns),
        repaired=row.repaired,
        extra=row.extra,
    )


def _told(answers: Sequence[Answer], bank: Bank, here: Sequence[Answer]) -> Iterator[str]:
    for model in sorted({answer.model for answer in answers}):
        own = [answer for answer in answers if answer.model == model]
        empty = [each.question for each in own if not all(turn.strip() for turn in each.turns)]
        if empty:
            which = ", ".join(empty[:MOST_NAMED]) + ", ..." * (len(empty) > MOST_NAMED)
            yield f"{model}: {count(len(empty), 'answer')} with an empty text ({which}), kept"
        answered = {each.question for each in (*own, *here) if each.model == model}
        if owed := len(set(bank) - answered):
            yield f"{model}: {owed} of {len(bank)} questions have no answer here; they are owed"
