"""Where files lie: the current directory's five folders, and ledgers that only grow.

    questions/<bank>.jsonl                  written by hand
    prompts/judge/<name>.yaml               written by hand
    answers/<bank>/<model>.jsonl            bought
    reviews/<bank>/<judge>.<prompt>.jsonl   bought
    reports/<bank>.html, .json, ...         computed

What a workspace lacks is taken from what the package ships. This is the only module that knows
these paths; it never looks into a row beyond its key, and it prints nothing: what a person should
hear is collected in `Workspace.told`.
"""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from evalkit import jsonl
from evalkit.errors import (
    BadFile,
    BadName,
    BadPath,
    DiskFull,
    EvalkitError,
    Fault,
    Locked,
    Unknown,
    reason,
)
from evalkit.records import Answer, Bought, Question, Review

FSYNC_EVERY = 20  # rows
LONGEST_NAME = 120  # bytes, as a file name without its ending

_PACKAGE = Path(__file__).parent
SHIPPED = next(
    (
        folder
        for folder in (_PACKAGE / "shipped", _PACKAGE.parent)
        if (folder / "questions").is_dir()
    ),
    _PACKAGE,
)
"""What came with evalkit: `evalkit/shipped` in a wheel, the checkout itself in a checkout."""


Row = TypeVar("Row", bound=Bought)


def file_stem(name: str) -> str:
    """The file name, without ending, of the thing called `name`.

    `org/name` becomes `org__name`; characters that some system forbids become %XX. Raises BadName
    for a name that leads out of its folder or that no system would keep.
    """
    why = _no_name(name)
    stem = re.sub(r'[<>:"\\|?*%\x00-\x1f\x7f-\x9f]', _percent, name.replace("/", "__"))
    if len(stem.encode("utf-8", "replace")) > LONGEST_NAME:
        why = f"is longer than {LONGEST_NAME} bytes"
    if not why and (encoding := _unencodable(stem)):
        why = f"cannot be written in {encoding}"
        if encoding != "utf-8":
            why += ", the encoding of file names here; PYTHONUTF8=1 sets UTF-8"
    if why:
        raise BadName(f"{name[:60]!r} cannot be a name: it {why}")
    return stem


def _no_name(name: str) -> str | None:
    parts = re.split(r"[/\\]", name)
    if not name or name != name.strip():
        return "is empty or has blanks at its ends"
    if re.search(r"[\x00\r\n]", name):
        return "holds a NUL or a line break"
    if re.match(r"[/\\~]|[A-Za-z]:[/\\]", name):
        return "is an absolute path"
    if any(part in ("", ".", "..") for part in parts):
        return "leads out of its folder"
    if any(part[0] in ".-" for part in parts):
        return "begins with a dot or a dash"
    if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE):
        return "is reserved on Windows"
    return None


def _unencodable(stem: str) -> str | None:
    """The encoding that has no bytes for `stem`; half a surrogate pair has none anywhere."""
    for encoding in ("utf-8", sys.getfilesystemencoding()):
        try:
            stem.encode(encoding)
        except UnicodeEncodeError:
            return encoding
    return None


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file in one step: the old one stays until the new one is complete on disk."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{os.getpid()}.tmp")  # as short as can be: `path` may be long
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def _refused(path: Path, error: OSError, whole: int | None = None) -> EvalkitError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        what = "disk full" if error.errno == errno.ENOSPC else reason(error)
        kept = "Nothing half-written" if whole is None else f"{whole} new rows are whole"
        return DiskFull(f"{what} at {path}. {kept}. Make room, run it again")
    return BadPath(f"{path}: {reason(error)}")


class Ledger(Generic[Row]):
    """A file of bought rows: it only grows, and every row in it is whole.

    Reading takes no lock. A torn last line (a crash) is moved to `<file>.torn`, unless somebody
    is writing: then it is simply not there yet. A bad line elsewhere is an error, until `repair`
    has moved it to `<file>.bad`.
    """

    def __init__(self, path: Path, model: type[Row], tell: Callable[[str], None]) -> None:
        self.path = path
        self.model: type[Row] = model
        self._tell = tell

    def read(self) -> list[Row]:
        """All rows, in the order in which they came; a doubled key counts once, the last one."""
        rows, bad, torn = self._scan()
        if bad:
            repair = "It was changed by hand or is damaged; --repair moves it aside"
            raise BadFile([Fault(fault.where, f"{fault.what}. {repair}") for _, fault in bad])
        if torn and (owed := self._set_aside(torn)):
            self._tell(owed)
        return rows

    def repair(self) -> None:
        """Move every bad line to `<file>.bad`; the good ones stay as they are, byte for byte."""
        if not self._scan()[1]:
            return
        with self._locked():
            bad = [line for line, _ in self._scan()[1]]
            aside = self._keep(".bad", [line.raw for line in bad])
            good = self.path.read_bytes()
            for line in reversed(bad):
                good = good[: line.start] + good[line.end :]
            write_whole(self.path, good)
            count = f"{len(bad)} bad line{'s' * (len(bad) > 1)}"
            self._tell(f"{self.path}: {count} moved to {aside.name}; what they held is owed")

    @contextmanager
    def writing(self) -> "Iterator[Writer[Row]]":
        """Lock the ledger and append to it; raises Locked when another process has it."""
        with self._locked():
            if self.path.exists():
                _, _, torn = self._scan()
                if torn:
                    self._tell(self._cut(torn))
            writer = Writer[Row](self.path)
            try:
                yield writer
            finally:
                writer.close()

    def _scan(self) -> tuple[list[Row], list[tuple[jsonl.Line, Fault]], jsonl.Line | None]:
        rows: dict[tuple[Any, ...], Row] = {}
        bad: list[tuple[jsonl.Line, Fault]] = []
        for line in jsonl.lines(self.path):
            try:
                row = self.model.model_validate(jsonl.parse(line.raw))
                rows[row.key] = row
            except jsonl.Malformed as error:
                if not line.ended:
                    return list(rows.values()), bad, line
                bad.append((line, Fault(f"{self.path}:{line.number}", error.what)))
            except ValidationError as error:
                what = "; ".join(jsonl.complaints(error, self.model))
                bad.append((line, Fault(f"{self.path}:{line.number}", what)))
        return list(rows.values()), bad, None

    def _set_aside(self, torn: jsonl.Line) -> str | None:
        try:
            with self._locked():
                if self.path.stat().st_size == torn.end:
                    return self._cut(torn)
        except Locked:
            pass  # being written just now
        except (BadPath, DiskFull):
            return self._torn(torn, "left there, since it cannot be moved")
        return None

    def _cut(self, torn: jsonl.Line) -> str:
        aside = self._keep(".torn", [torn.raw])
        os.truncate(self.path, torn.start)
        return self._torn(torn, f"saved as {aside.name}")

    def _torn(self, torn: jsonl.Line, done: str) -> str:
        found = re.search(rb'"question":\s*"([^"]+)"', torn.raw)
        owed = f"question {found[1].decode('utf-8', 'replace')}" if found else "its question"
        return f"{self.path}: last line torn (crash?) -> {done}; {owed} is owed"

    def _keep(self, ending: str, lines: list[bytes]) -> Path:
        """Add lines to the file `<file><ending>`, on disk before this returns."""
        aside = self.path.with_name(self.path.name + ending)
        try:
            with open(aside, "ab") as stream:
                stream.writelines(line + b"\n" for line in lines)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise _refused(aside, error) from error
        return aside

    @contextmanager
    def _locked(self) -> Iterator[None]:
        beside = self.path.with_name(f".{self.path.name}.lock")
        who = ""
        with suppress(OSError):
            who = beside.read_text("utf-8", "replace").strip()
        try:
            beside.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(beside)
            lock.acquire(timeout=0)
        except Timeout as error:
            with suppress(OSError):
                if not beside.stat().st_size:  # filelock before 4 empties it when it asks
                    beside.write_text(who)
            known = f" ({who})" if who else ""
            raise Locked(f"another evalkit{known} is writing {self.path}") from error
        except OSError as error:
            raise _refused(self.path, error) from error
        try:
            with suppress(OSError):
                beside.write_text(f"pid {os.getpid()}, since {datetime.now():%H:%M}")
            yield
        finally:
            lock.release()


class Writer(Generic[Row]):
    """Appends rows; each is with the system when `add` returns, and on disk soon after."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.added = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise _refused(path, error) from error
        self._end = os.lseek(self._file, 0, os.SEEK_END)
        if self._end:
            os.lseek(self._file, self._end - 1, os.SEEK_SET)
            if os.read(self._file, 1) != b"\n":  # a last row that only lacks its line end
                self._write(b"\n")

    def add(self, row: Row) -> None:
        """Append one row: whole, or not at all."""
        self._write(row.line().encode() + b"\n")
        self.added += 1
        if self.added % FSYNC_EVERY == 0:
            self._sync()

    def close(self) -> None:
        """Bring everything to disk."""
        try:
            self._sync()
        finally:
            os.close(self._file)

    def _write(self, data: bytes) -> None:
        try:
            rest = data
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            raise _refused(self.path, error, self.added) from error
        self._end += len(data)

    def _sync(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise _refused(self.path, error, self.added) from error


class Workspace:
    """The folders of one evaluation, laid over what the package ships."""

    def __init__(self, root: Path, shipped: Path = SHIPPED) -> None:
        self.root = root
        self.shipped = shipped
        self.told: list[str] = []

    # -- written by hand

    def banks(self) -> list[str]:
        """The names of all banks that can be used here."""
        files = [file for root in self._roots() for file in jsonl.files(root / "questions")]
        return sorted({file.stem for file in files})

    def questions(self, bank: str) -> list[Question]:
        """A bank's questions, checked whole: every fault of the file is told at once."""
        path = self._found(Path("questions", f"{file_stem(bank)}.jsonl"))
        if path is None:
            raise Unknown("bank", bank, self.banks(), "A bank is a file questions/NAME.jsonl")
        found = jsonl.records(path, Question)
        if faults := found.faults + jsonl.doubled(found.rows, "id"):
            raise BadFile(faults)
        if not found.rows:
            raise BadFile([Fault(str(path), "no questions")])
        return [question for _, question in found.rows]

    def save_questions(self, bank: str, questions: list[Question]) -> Path:
        """Write a new bank; one that stands already must hold the same questions."""
        path = self.root / "questions" / f"{file_stem(bank)}.jsonl"
        for other in self.banks():
            if other.casefold() == path.stem.casefold() and other != path.stem:
                raise BadName(f"'{bank}' and '{other}' would share one file. Give another --bank")
        if path.exists():
            if self.questions(bank) != questions:
                raise BadName(f"{path} stands already, with other questions. Give another --bank")
            return path
        return write_whole(path, "".join(question.line() + "\n" for question in questions))

    def prompts(self, kind: str) -> dict[str, Path]:
        """The prompt files of a kind (`judge`, `chat`) by name."""
        found: dict[str, Path] = {}
        for root in self._roots():
            for file in sorted((root / "prompts" / kind).glob("*.yaml")):
                found.setdefault(file.stem, file)
        return found

    # -- bought

    def answers(self, bank: str) -> list[Answer]:
        """Every answer to a bank."""
        return [row for ledger in self.ledgers("answers", bank, Answer) for row in ledger.read()]

    def reviews(self, bank: str) -> list[Review]:
        """Every review of a bank."""
        return [row for ledger in self.ledgers("reviews", bank, Review) for row in ledger.read()]

    def judged_banks(self) -> list[str]:
        """The banks that have reviews."""
        folders = {
            file.parent
            for root in self._roots()
            for file in jsonl.files(root / "reviews", below=True)
        }
        return sorted({folder.name for folder in folders if folder.parent.name == "reviews"})

    def ledgers(self, kind: str, bank: str, model: type[Row]) -> list[Ledger[Row]]:
        """The ledgers of a bank in the folder `kind`, by file name."""
        folder = self._found(Path(kind, file_stem(bank)))
        files = jsonl.files(folder) if folder else []
        return [Ledger(file, model, self.told.append) for file in files]

    def append(self, bank: str, rows: Iterable[Bought]) -> int:
        """Add the rows that are not there yet, each to its ledger; returns how many were new.

        Every name is checked before the first byte is written.
        """
        rows = list(rows)
        self.check_names(bank, rows)
        homes: dict[Path, list[Bought]] = {}
        for row in rows:
            homes.setdefault(self._home(bank, row)[0], []).append(row)
        return sum(self._append(path, bought) for path, bought in homes.items())

    def check_names(self, bank: str, rows: Iterable[Bought]) -> None:
        """Raise BadName for a name no file may have, and for two names that share one file.

        A file system may fold upper and lower case, so such names are refused everywhere.
        """
        owners: dict[str, set[str]] = {}
        for row in rows:
            path, owner = self._home(bank, row)
            owners.setdefault(str(path).casefold(), set()).add(owner)
        for kind, model in (("answers", Answer), ("reviews", Review)):
            for ledger in self.ledgers(kind, bank, model):
                here = owners.get(str(ledger.path).casefold())
                if here and (first := next(iter(ledger.read()), None)):
                    here.add(self._home(bank, first)[1])
        for names in owners.values():
            if len(names) > 1:
                both = " and ".join(f"'{name}'" for name in sorted(names))
                raise BadName(f"{both} would share one file. Rename one of them")

    def repair(self, bank: str) -> None:
        """Move the bad lines of a bank's ledgers aside, so that the rest can be read."""
        for kind, model in (("answers", Answer), ("reviews", Review)):
            for ledger in self.ledgers(kind, bank, model):
                ledger.repair()

    # -- computed

    def write_report(self, bank: str, ending: str, content: str | bytes) -> Path:
        """Write reports/<bank><ending>, replacing an older one whole."""
        return write_whole(self.root / "reports" / f"{file_stem(bank)}{ending}", content)

    # -- inside

    def _roots(self) -> tuple[Path, ...]:
        return (self.root, self.shipped)

    def _found(self, place: Path) -> Path | None:
        return next((root / place for root in self._roots() if (root / place).exists()), None)

    def _home(self, bank: str, row: Bought) -> tuple[Path, str]:
        match row:
            case Answer(model=model):
                place = Path("answers", file_stem(bank), f"{file_stem(model)}.jsonl")
                return self.root / place, model
            case Review(judge=judge, prompt=prompt):
                name = f"{file_stem(judge)}.{file_stem(prompt)}.jsonl"
                return self.root / "reviews" / file_stem(bank) / name, f"{judge} with {prompt}"
        raise TypeError(f"no ledger for a {type(row).__name__}")

    def _append(self, path: Path, rows: list[Bought]) -> int:
        ledger = Ledger(path, type(rows[0]), self.told.append)
        with ledger.writing() as writer:
            kept = {row.key for row in ledger.read()}
            for row in rows:
                if row.key not in kept:
                    kept.add(row.key)
                    writer.add(row)
        return writer.added
