"""Files read strictly, lines of JSON above all: every fault with its line and in plain words.

Reads any size as a stream, a row at a time. Splits at the newline byte and nowhere else, so a row
may hold U+2028 or U+0085. It repairs nothing and writes nothing, and does not know what a row
means: the caller gives the record class.
"""

import json
import math
import stat
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from itertools import count
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO, Generic, NoReturn, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from evalkit.errors import BadFile, BadPath, Fault, nearest, reason

MAX_ROW = 10_000_000  # bytes
GZIP = b"\x1f\x8b"
SPACE = b" \t\r\n"
TOO_MANY_DIGITS = "not valid JSON here: a number of too many digits"
TOO_LONG = f"a row of more than {MAX_ROW // 1_000_000} MB"
MOST_FOUND = 1000  # faults in one file, before reading on tells nothing more
MAX_DEPTH = 100  # levels of lists and objects; more could not be written again
BLOCK = 4_000_000  # bytes of lines that are read at once
CHUNK = 1_000_000  # bytes of an array that are read at once

Row = TypeVar("Row", bound=BaseModel)


class Malformed(ValueError):
    """A text that is not JSON, or not a row; `line` and `column` count from 1, where known."""

    def __init__(self, what: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Piece:
    """A part of a file, as it stands there."""

    raw: bytes
    start: int
    """Offset of its first byte in the file."""
    end: int
    """Offset after its last byte, the newline included."""


@dataclass(frozen=True)
class Line(Piece):
    """One non-blank line of a file."""

    number: int
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


def lines(path: Path) -> Generator[Line, None, None]:
    """The non-blank lines of a file, without their line ends and without a byte-order mark."""
    with _begun(path) as stream:
        start = stream.tell()
        for number, raw in enumerate(_raw(path, stream), 1):
            end = start + len(raw)
            if stripped := raw.strip(SPACE):
                yield Line(stripped, start, end, number, raw.endswith(b"\n"))
            start = end


def begin(path: Path) -> int:
    """The offset of the first line of a text file: behind its byte-order mark, if it has one."""
    with _begun(path) as stream:
        return stream.tell()


def blocks(path: Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The file in blocks of whole lines, which take a fraction of the time of its single lines.

    `start`: the offset of a line to begin at; `end`: of the line to stop before. Raises Malformed
    where a line is too long to be one; `lines` tells where.
    """
    with _begun(path) as stream:
        stream.seek(max(start, stream.tell()))
        rest = b""
        while piece := stream.read(
            BLOCK if end is None else max(0, min(BLOCK, end - stream.tell()))
        ):
            block, newline, after = piece.rpartition(b"\n")
            if newline:
                yield rest + block + newline
            rest = after if newline else rest + piece
            if len(rest) > MAX_ROW:
                raise Malformed(TOO_LONG)
        if rest:
            yield rest


def torn(path: Path) -> Piece | None:
    """The last line, where the file stops in the middle of it, without reading the others."""
    with _begun(path) as stream:
        begin, size = stream.tell(), stream.seek(0, SEEK_END)
        tail = b""
        for length in (1, MAX_ROW):  # most files end with a line end, which is seen at once
            stream.seek(max(begin, size - length))
            tail = stream.read(size - stream.tell())
            if tail[-1:] in (b"", b"\n"):
                return None
    start = size - len(tail) + tail.rfind(b"\n") + 1
    raw = tail[tail.rfind(b"\n") + 1 :].strip(SPACE)
    if not raw or (b"\n" not in tail and start > begin):  # longer than any row
        return None
    try:
        parse(raw)
        return None
    except Malformed:
        return Piece(raw, start, size)


def raw_lines(path: Path) -> Generator[bytes, None, None]:
    """As `lines`, the bytes alone: of a million lines their places take as long as reading."""
    with _begun(path) as stream:
        for raw in _raw(path, stream):
            if stripped := raw.strip(SPACE):
                yield stripped


def _begun(path: Path) -> BinaryIO:
    """A text file, open behind its byte-order mark."""
    stream = open_file(path)
    head = stream.read(4)
    try:
        refuse_no_text(path, head)
    except BadFile:
        stream.close()
        raise
    stream.seek(len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0)
    return stream


def _raw(path: Path, stream: BinaryIO) -> Iterator[bytes]:
    for number in count(1):
        raw = stream.readline(MAX_ROW + 1)
        if not raw:
            return
        if len(raw) > MAX_ROW:
            raise BadFile([Fault(f"{path}:{number}", TOO_LONG)])
        yield raw


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
    """A whole small text file (YAML) as UTF-8, read as strictly as rows are."""
    with open_file(path) as stream:
        raw = stream.read(MAX_ROW + 1)
    if len(raw) > MAX_ROW:
        raise BadFile([Fault(str(path), f"more than {MAX_ROW // 1_000_000} MB")])
    refuse_no_text(path, raw[:4])
    return _decoded(path, 1, raw.removeprefix(BOM_UTF8))


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a text file of any size, with their line ends, one at a time."""
    with open_file(path) as stream:
        refuse_no_text(path, stream.read(4))
        stream.seek(0)
        for number, raw in enumerate(_raw(path, stream), 1):
            yield _decoded(path, number, raw.removeprefix(BOM_UTF8) if number == 1 else raw)


def _decoded(path: Path, number: int, raw: bytes) -> str:
    """Bytes that begin at a line of a file, as text."""
    try:
        return _utf8(raw)
    except Malformed as fault:
        line = number - 1 + (fault.line or 1)
        raise BadFile([Fault(f"{path}:{line}", fault.what)]) from fault


def parse(raw: bytes) -> dict[str, Any]:
    """One row's object. Raises Malformed for anything that strict JSON would not allow."""
    return _row(_decode(raw))


def records(path: Path, model: type[Row]) -> Found[Row]:
    """Read a file of `model` rows: JSON lines, or one JSON array of objects.

    Never stops at the first fault: `Found.faults` holds the first `MOST_FOUND`. A fault that hides
    where the next row begins (the file's encoding, a row past `MAX_ROW`) is raised as BadFile at
    once.
    """
    found = Found[Row]()
    found.rows.extend(stream(path, model, found.faults))
    return found


def stream(path: Path, model: type[Row], faults: list[Fault]) -> Iterator[tuple[str, Row]]:
    """As `records`, a row at a time: one is forgotten when the next one comes."""
    begun, before = False, len(faults)
    for where, raw in _rows(path):
        try:
            value = parse(raw) if isinstance(raw, bytes) else _row(raw)
            yield where, model.model_validate(value)
            begun = True
        except Malformed as fault:
            column = f":{fault.column}" if fault.column else ""
            faults.append(Fault(f"{where}{column}", fault.what))
        except ValidationError as error:
            faults.extend(Fault(where, what) for what in complaints(error, model))
        if not begun and len(faults) == before + 1 and _looks_like_csv(path):
            what = "looks like CSV, expected JSON lines. Try: evalkit import table"
            raise BadFile([Fault(f"{path}:1", f"{what} {path} --bank NAME")])
        if len(faults) >= before + MOST_FOUND:
            break


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


def _row(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"expected an object {{...}}, found {_kind(value)}")
    return value


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Where each row stands, and the row: bytes of a line, or what an item of an array holds."""
    if _is_array(path):
        with open_file(path) as stream:
            items = _Array(path, stream)
            for number, item in enumerate(items, 1):
                yield f"{path}: item {number}", item
        return
    for line in lines(path):
        yield f"{path}:{line.number}", line.raw


def _is_array(path: Path) -> bool:
    with open_file(path) as stream:
        head = stream.read(4)
        refuse_no_text(path, head)
        text = head.removeprefix(BOM_UTF8)
        while text and not text.strip(SPACE):
            text = stream.read(CHUNK)
    return text.lstrip(SPACE).startswith(b"[")


class _Array:
    """The items of a JSON array, decoded one after the other from a stream.

    A text that is no JSON ends it with BadFile, since nobody knows where the next item begins.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path = path
        self._stream = stream
        self._utf8 = getincrementaldecoder("utf-8-sig")()
        self._decoder = json.JSONDecoder(**HOOKS)
        self._text = ""
        self._at = 0
        self._ended = False
        self._number = 0
        self._lines = 0  # before `_text`
        self._column = 0  # characters before `_text`, in its first line

    def __iter__(self) -> Iterator[Any]:
        self._expect("[")
        if self._next() == "]":
            self._at += 1
        else:
            yield self._item()
            while self._expect(",]") == ",":
                self._next()
                yield self._item()
        if self._next():
            self._refuse("not valid JSON: extra data")

    def _next(self) -> str:
        """The sign that stands next, after white space; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._read(CHUNK)

    def _expect(self, signs: str) -> str:
        found = self._next()
        if not found or found not in signs:
            self._refuse(f"not valid JSON: expecting {' or '.join(map(repr, signs))}")
        self._at += 1
        return found

    def _item(self) -> Any:
        self._number += 1
        wanted = CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended:
                    self._at = error.pos
                    self._refuse(f"not valid JSON: {error.msg.lower()}")
                if len(self._text) - self._at > MAX_ROW:
                    self._refuse(TOO_LONG)
                self._read(wanted)
                wanted *= 2
                continue
            except RecursionError:
                self._refuse("not valid JSON here: nested too deeply")
            except Malformed as fault:
                self._refuse(fault.what)
            except ValueError:
                self._refuse(TOO_MANY_DIGITS)
            text = self._text[self._at : end]
            if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value):
                self._refuse("not valid JSON here: nested too deeply")
            if len(text) > MAX_ROW // 4 and len(text.encode("utf-8", "surrogatepass")) > MAX_ROW:
                self._refuse(TOO_LONG)
            self._at = end
            return value

    def _read(self, size: int) -> None:
        """Add to the text, and let go of what was decoded."""
        self._lines, self._column = self._place(self._at)
        self._text, self._at = self._text[self._at :], 0
        raw = self._stream.read(size)
        self._ended = not raw
        try:
            self._text += self._utf8.decode(raw, final=self._ended)
        except UnicodeDecodeError as error:
            read: bytes = error.object
            before = read[: error.start].decode("utf-8", "replace")
            self._text += before
            line, column = self._place(len(self._text))
            what = _not_utf8(read[error.start], column + 1)
            raise BadFile([Fault(f"{self._path}:{line + 1}", what)]) from error

    def _place(self, at: int) -> tuple[int, int]:
        """How many lines, and then characters, stand before a place of the text."""
        lines = self._text.count("\n", 0, at)
        if not lines:
            return self._lines, self._column + at
        return self._lines + lines, at - self._text.rindex("\n", 0, at) - 1

    def _refuse(self, what: str) -> NoReturn:
        line, column = self._place(self._at)
        raise BadFile([Fault(f"{self._path}:{line + 1}:{column + 1}", what)])


def _decode(raw: bytes) -> Any:
    try:
        value = json.loads(_utf8(raw), **HOOKS)
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
        raise Malformed(TOO_MANY_DIGITS) from error


def refuse_no_text(path: Path, head: bytes) -> None:
    """Raise BadFile where the first four bytes of a file are of gzip, or of UTF-16."""
    if head.startswith(GZIP):
        raise BadFile(
            [Fault(str(path), f"is packed by gzip: unpack it first. Try: gunzip -k {path}")]
        )
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
        raise Malformed(_not_utf8(raw[error.start], column), number) from error


def _not_utf8(byte: int, column: int) -> str:
    what = f"not UTF-8 (byte 0x{byte:02x} at column {column})"
    return f"{what}. Try: iconv -f latin1 -t utf-8 FILE > NEW"


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


HOOKS: Any = {
    "object_pairs_hook": _object,
    "parse_constant": _constant,
    "parse_float": _float,
}
"""What makes Python's JSON strict."""


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    names |= {int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _looks_like_csv(path: Path) -> bool:
    with open_file(path) as stream:
        head = stream.readline(10_000).decode("utf-8-sig", "replace").strip()
    return not head.startswith(("{", "[")) and ("," in head or path.suffix == ".csv")
