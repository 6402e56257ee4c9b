"""Other tools' files, in and out; one module a tool, and the folder is the registry.

A module has `read(path, given) -> Imported`. It reads and checks everything before it returns,
and writes nothing: where the rows go is the workspace's business. Rows of a large file are read
once more when they are asked for, and never held.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Generic, Protocol, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)

from evalkit import jsonl
from evalkit.errors import BadFile, Fault, Unknown, count
from evalkit.records import Answer, Question, Review
from evalkit.surrogates import half_characters, mended


class Theirs(BaseModel):
    """A row of another tool: unknown fields are kept, half surrogates in it are replaced."""

    model_config = ConfigDict(
        extra="allow", strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    _halves: int = PrivateAttr(0)

    @model_validator(mode="wrap")
    @classmethod
    def _mend(cls, row: Any, read: ModelWrapValidatorHandler["Theirs"]) -> "Theirs":
        made = read(mended(row))
        made._halves = _halves(row)
        return made

    @property
    def repaired(self) -> int:
        """How many half surrogates were replaced."""
        return self._halves

    def besides(self, *fields: str) -> dict[str, Any]:
        """What the row held, as it was, without some fields."""
        return self.model_dump(mode="json", exclude=set(fields), exclude_unset=True)


def _halves(value: Any) -> int:
    if isinstance(value, str):
        return half_characters(value)
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_halves, inside))


@dataclass(frozen=True)
class Given:
    """What a format may know besides the file: the bank as it stands here, and what a user said."""

    bought: Callable[[], Sequence[Answer]] = tuple
    """Reads the answers that the bank has already. Only a format that must know them calls it."""
    questions: Callable[[], Sequence[Question]] = tuple
    """Reads the bank, checked whole; raises Unknown where there is none. Only a format whose files
    do not bring the questions calls it."""
    model: str | None = None
    """Whose answers these are, where the user said so; None otherwise."""
    text_column: str | None = None
    """Where a text to be labelled stands, where the user said so."""
    label_column: str | None = None
    """Where its label does."""

    @cached_property
    def answers(self) -> Sequence[Answer]:
        """Those that the bank has already."""
        return self.bought()

    @property
    def known(self) -> dict[str, str | None]:
        """The models that the bank has answers of, and which version of each."""
        return {answer.model: answer.served for answer in self.answers}


Row = TypeVar("Row")


@dataclass(frozen=True)
class Again(Generic[Row]):
    """Rows that are read from their files each time that somebody asks for them."""

    read: Callable[[], Iterator[Row]]

    def __iter__(self) -> Iterator[Row]:
        return self.read()


@dataclass(frozen=True)
class Held:
    """What is held of a bank here, for another tool's files."""

    questions: Sequence[Question]
    answers: Sequence[Answer]
    """Those that stand."""
    reviews: Sequence[Review]
    """Those that stand, without canaries."""

    @cached_property
    def single(self) -> dict[str, Question]:
        """The questions of one turn, by id: most tools know no others."""
        return {question.id: question for question in self.questions if len(question.turns) == 1}

    def left_out(self) -> Iterator[str]:
        """That those of several turns are left out, where there are any."""
        if long := len(self.questions) - len(self.single):
            yield f"{count(long, 'question')} of several turns left out"

    def text(self, question: str, model: str, hash_: str) -> str | None:
        """The answer that a review saw, where it stands: its only turn."""
        return self._texts.get((question, model, hash_))

    @cached_property
    def _texts(self) -> dict[tuple[str, str, str], str]:
        return {(a.question, a.model, a.hash): a.turns[0] for a in self.answers}


@dataclass(frozen=True)
class Exported:
    """Another tool's files: where each lies, below one folder, and its rows."""

    files: Mapping[str, str | bytes] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)


@dataclass
class Imported:
    """What another tool's files hold, as our records, and what a person should know about it."""

    questions: list[Question] = field(default_factory=list)
    rows: Iterable[Answer | Review] = ()
    """May be asked for more than once."""
    told: list[str] = field(default_factory=list)
    partial: bool = False
    """The files may hold a part of the bank's questions; others of it may be here already."""
    category: str | None = None
    """Where questions go whose category no prompt knows, unless the user says otherwise."""

    @property
    def answers(self) -> list[Answer]:
        """All of `rows` that are answers."""
        return [row for row in self.rows if isinstance(row, Answer)]

    @property
    def reviews(self) -> list[Review]:
        """All of `rows` that are reviews."""
        return [row for row in self.rows if isinstance(row, Review)]


Writer = Callable[[Held], Exported]
"""Our rows as a tool's files; fields that came from that tool are given back."""


class Format(Protocol):
    """What a module of this folder offers."""

    BANK: str | None
    """The bank's name when the user gives none; None where only the user can know it."""
    TAKES: Collection[str]
    """The options by which a user may say what the files do not."""
    WRITES: Mapping[str, Writer]
    """What can be written too, by the name that the user gives; empty where nothing can."""

    def recognises(self, path: Path) -> bool:
        """Whether what lies at `path` has the names that this tool gives its files."""
        ...

    def read(self, path: Path, given: Given) -> Imported:
        """Read `path`. Raises BadFile with every fault found in it."""
        ...


def refuse(bank: Path, faults: Sequence[Fault], questions: Collection[Any]) -> None:
    """Raise BadFile with what is wrong in a tool's files, or where `bank` holds no questions."""
    if faults:
        raise BadFile(faults)
    if not questions:
        raise BadFile([Fault(str(bank), "no questions")])


def first_row(file: Path) -> dict[str, Any]:
    """The first row of a file, to know a tool by; empty where there is none that can be read."""
    try:
        with closing(jsonl.lines(file)) as lines:
            first = next(lines, None)
        return jsonl.parse(first.raw) if first else {}
    except (jsonl.Malformed, BadFile):
        return {}


def as_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def file_name(name: str) -> str:
    """A model's name as a part of a file's name."""
    return re.sub(r"[^\w.@-]", "_", name)[:100]


def names() -> list[str]:
    """The tools whose files can be read."""
    return sorted(module.name for module in iter_modules(__path__))


def writers() -> dict[str, Writer]:
    """How files are written, by the name that the user gives: a tool, or a kind of file."""
    return {name: write for each in names() for name, write in load(each).WRITES.items()}


def writer(name: str) -> Writer:
    """How files of `name` are written; raises Unknown with the nearest name."""
    known = writers()
    if name not in known:
        raise Unknown("format", name, known, "These can be written")
    return known[name]


def recognised(path: Path) -> list[str]:
    """The tools whose files these seem to be."""
    return [name for name in names() if load(name).recognises(path)]


def load(name: str) -> Format:
    """The format called `name`; raises Unknown with the nearest one."""
    if name not in names():
        raise Unknown("format", name, names())
    return cast(Format, import_module(f"{__name__}.{name}"))
