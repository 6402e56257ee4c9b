"""Files read strictly, lines of JSON above all: every fault with its line and in plain words.

Reads any size as a stream, a row at a time. Splits at the newline byte and nowhere else, so a row
may hold U+2028 or U+0085. It repairs nothing and writes nothing, and does not know what a row
means: the caller gives the record class.
"""

import json
import math
import stat
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, NoReturn, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from evalkit.errors import BadFile, BadPath, Fault, nearest, reason

MAX_ROW = 10_000_000  # bytes
TOO_LONG = f"a row of more than {MAX_ROW // 1_000_000} MB"
MOST_FOUND = 1000  # faults in one file, before reading on tells nothing more
MAX_DEPTH = 100  # levels of lists and objects; more could not be written again
MAX_ARRAY = 200_000_000  # bytes; an array cannot be read as a stream

Row = TypeVar("Row", bound=BaseModel)


class Malformed(ValueError):
    """A text that is not JSON, or not a row; `line` and `column` count from 1, where known."""

    def __init__(self, what: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Line:
    """One non-blank line of a file, as it stands there."""

    number: int
    raw: bytes
    start: int
    """Offset of its first byte in the file."""
    end: int
    """Offset after its last byte, the newline included."""
    ended: bool
    """False when the file stops before a newline."""


@dataclass
class Found(Generic[Row]):
    """What `records` made of a file: rows with where they stand, and everything wrong with it."""

    rows: list[tuple[str, Row]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; raises BadPath that names it and what it is instead."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise BadPath(f"{path}: is a folder, expected a file")
        if not stat.S_ISREG(mode):
            raise BadPath(f"{path}: is not an ordinary file")
        return open(path, "rb")
    except OSError as error:
        raise BadPath(f"{path}: {reason(error)}") from error
    except ValueError as error:  # a NUL in the path
        raise BadPath(f"{str(path)!r}: not a path") from error


def lines(path: Path) -> Iterator[Line]:
    """The non-blank lines of a file, without their line ends and without a byte-order mark."""
    with open_file(path) as stream:
        head = stream.read(4)
        refuse_utf16(path, head)
        start = len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0
        stream.seek(start)
        number = 0
        while True:
            raw = stream.readline(MAX_ROW + 1)
            if not raw:
                return
            number += 1
            if len(raw) > MAX_ROW:
                raise BadFile([Fault(f"{path}:{number}", TOO_LONG)])
            end = start + len(raw)
            if stripped := raw.strip(b" \t\r\n"):
                yield Line(number, stripped, start, end, raw.endswith(b"\n"))
            start = end


def files(folder: Path, *, below: bool = False) -> list[Path]:
    """The *.jsonl files of a folder, sorted, with those `below` it too; [] where there is none.

    Raises BadPath for a folder that may not be looked into: its files are not "none".
    """
    found = []
    try:
        for each in folder.iterdir():
            if each.suffix == ".jsonl":
                found.append(each)
            elif below and each.is_dir() and not each.is_symlink():
                found.extend(files(each, below=True))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadPath(f"{folder}: {reason(error)}") from error
    return sorted(found)


def text(path: Path) -> str:
    """A whole small text file (YAML, CSV) as UTF-8, read as strictly as rows are."""
    with open_file(path) as stream:
        raw = stream.read(MAX_ROW + 1)
    if len(raw) > MAX_ROW:
        raise BadFile([Fault(str(path), f"more than {MAX_ROW // 1_000_000} MB")])
    refuse_utf16(path, raw[:4])
    try:
        return _utf8(raw.removeprefix(BOM_UTF8))
    except Malformed as fault:
        raise BadFile([Fault(f"{path}:{fault.line}", fault.what)]) from fault


def parse(raw: bytes) -> dict[str, Any]:
    """One row's object. Raises Malformed for anything that strict JSON would not allow."""
    value = _decode(raw)
    if not isinstance(value, dict):
        raise Malformed(f"expected an object {{...}}, found {_kind(value)}")
    return value


def records(path: Path, model: type[Row]) -> Found[Row]:
    """Read a file of `model` rows: JSON lines, or one JSON array of objects.

    Never stops at the first fault: `Found.faults` holds the first `MOST_FOUND`. A fault that hides
    where the next row begins (the file's encoding, a row past `MAX_ROW`) is raised as BadFile at
    once.
    """
    found = Found[Row]()
    for where, raw in _rows(path):
        try:
            value = raw if isinstance(raw, dict) else parse(raw)
            found.rows.append((where, model.model_validate(value)))
        except Malformed as fault:
            column = f":{fault.column}" if fault.column else ""
            found.faults.append(Fault(f"{where}{column}", fault.what))
        except ValidationError as error:
            found.faults.extend(Fault(where, what) for what in complaints(error, model))
        if len(found.faults) == 1 and not found.rows and _looks_like_csv(path):
            what = "looks like CSV, expected JSON lines. Try: evalkit import table"
            raise BadFile([Fault(f"{path}:1", f"{what} {path} --bank NAME")])
        if len(found.faults) >= MOST_FOUND:
            break
    return found


def doubled(rows: list[tuple[str, Row]], name: str) -> list[Fault]:
    """A fault for each row whose field `name` stood in an earlier row already."""
    first: dict[Any, str] = {}
    faults = []
    for where, row in rows:
        value = getattr(row, name)
        if value in first:
            faults.append(Fault(where, f"the {name} '{value}' stands at {first[value]} already"))
        first.setdefault(value, where)
    return faults


def complaints(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """What pydantic found wrong with a row, each in one sentence."""
    said = []
    known_as: dict[str, str] = getattr(model, "KNOWN_AS", {})
    for each in error.errors():
        name = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            fields = _fields(model, each["loc"])
            meant = known_as.get(name) or nearest(str(each["loc"][-1]), fields)
            hint = f" Did you mean '{meant}'?" if meant else f" Known: {', '.join(fields)}."
            said.append(f"unknown field '{name}'.{hint}")
        elif each["type"] == "too_short":
            said.append(f"'{name}' is empty")
        elif each["type"] == "missing":
            said.append(f"the field '{name}' is missing")
        elif each["type"] in ("model_type", "dict_type", "model_attributes_type"):
            what = f"'{name}' should be" if name else "expected"
            said.append(f"{what} names with values, found {_kind(each['input'])}")
        elif each["type"] == "value_error":
            said.append(str(each["ctx"]["error"]))
        else:
            words = (each["msg"][0].lower() + each["msg"][1:]).removeprefix("input ")
            wrong_type = each["type"].endswith("_type")
            words = words.replace("a valid tuple", "a list")
            said.append(f"'{name}' {words}" + f", found {_kind(each['input'])}" * wrong_type)
    return said


def _fields(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The names of the fields that there are at a place inside a model."""
    here: Any = model
    for part in place[:-1]:
        if part in here.model_fields:
            here = next(_models(here.model_fields[part].annotation), here)
    return list(here.model_fields)


def _models(annotation: Any) -> Iterator[Any]:
    """The models that an annotation names, itself or somewhere inside."""
    if hasattr(annotation, "model_fields"):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)


def _rows(path: Path) -> Iterator[tuple[str, bytes | dict[str, Any]]]:
    first = True
    for line in lines(path):
        if first and line.raw.startswith(b"["):
            yield from _array(path)
            return
        first = False
        yield f"{path}:{line.number}", line.raw


def _array(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open_file(path) as stream:
        raw = stream.read(MAX_ARRAY + 1)
    if len(raw) > MAX_ARRAY:
        what = f"an array of more than {MAX_ARRAY // 1_000_000} MB; write it as JSON lines"
        raise BadFile([Fault(f"{path}:1", what)])
    try:
        items = _decode(raw.removeprefix(BOM_UTF8))
    except Malformed as fault:
        place = [str(path), *(str(at) for at in (fault.line, fault.column) if at)]
        raise BadFile([Fault(":".join(place), fault.what)]) from fault
    faults = [
        Fault(f"{path}: item {number}", f"expected an object {{...}}, found {_kind(item)}")
        for number, item in enumerate(items, 1)
        if not isinstance(item, dict)
    ]
    if faults:
        raise BadFile(faults)
    for number, item in enumerate(items, 1):
        where = f"{path}: item {number}"
        if len(raw) > MAX_ROW and len(json.dumps(item)) > MAX_ROW:
            raise BadFile([Fault(where, TOO_LONG)])
        yield where, item


def _decode(raw: bytes) -> Any:
    try:
        value = json.loads(
            _utf8(raw),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
        if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _too_deep(value):
            raise RecursionError
        return value
    except json.JSONDecodeError as error:
        what = f"not valid JSON: {error.msg.lower()}"
        raise Malformed(what, error.lineno, error.colno) from error
    except RecursionError as error:
        raise Malformed("not valid JSON here: nested too deeply") from error
    except Malformed:
        raise
    except ValueError as error:  # an integer of more digits than Python reads
        raise Malformed("not valid JSON here: a number of too many digits") from error


def refuse_utf16(path: Path, head: bytes) -> None:
    """Raise BadFile where the first four bytes of a file are UTF-16."""
    marked = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    zeros = "".join("0" if byte == 0 else "x" for byte in head)
    if encoding := "utf-16" if marked else {"x0x0": "utf-16le", "0x0x": "utf-16be"}.get(zeros):
        fix = f"iconv -f {encoding} -t utf-8 {path} > NEW"
        raise BadFile([Fault(f"{path}:1", f"is UTF-16, expected UTF-8. Try: {fix}")])


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inside = (each.values() if isinstance(each, dict) else each for each in level)
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].rpartition(b"\n")[2]
        number = raw[: error.start].count(b"\n") + 1
        column = len(line.decode("utf-8", "replace")) + 1
        what = f"not UTF-8 (byte 0x{raw[error.start]:02x} at column {column})"
        raise Malformed(f"{what}. Try: iconv -f latin1 -t utf-8 FILE > NEW", number) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Malformed(f"the key '{twice}' stands twice in one row")
    return made


def _constant(name: str) -> NoReturn:
    raise Malformed(f"not valid JSON here: {name} is not a number")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Malformed(f"not valid JSON here: {text[:20]} is too large")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    names |= {int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _looks_like_csv(path: Path) -> bool:
    with open_file(path) as stream:
        head = stream.readline(10_000).decode("utf-8-sig", "replace").strip()
    return not head.startswith(("{", "[")) and ("," in head or path.suffix == ".csv")
