"""Ledgers: files that only grow, in which every row is whole.

A ledger holds bought rows, one a line. Each is with the system when it was added and on disk soon
after; a crash loses none that was counted. A run may lie in parts (shards) beside each other; of
other files nothing here knows, nor what a row says beyond its key and its time.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from evalkit import jsonl, shards
from evalkit.errors import BadFile, BadPath, DiskFull, Fault, Locked, count, reason
from evalkit.records import Bought, Review
from evalkit.wholefile import sync_folder, write_error, write_whole

FSYNC_EVERY = 20  # rows
FSYNC_AFTER = 1.0  # seconds, where rows come slowly
MUCH = 16_000_000  # bytes that are added before an index is brought up to them
A_MOMENT = 0.5  # seconds: longer than anybody has a lock only to see whether it can be had

Row = TypeVar("Row", bound=Bought)
Kept = TypeVar("Kept")
Key = TypeVar("Key", bound=Hashable)


def _whole(row: Row) -> Row:
    return row


def _nothing(_: Bought) -> None:
    """Of a large ledger its keys are held, and not its rows."""


def _key(row: Bought) -> tuple[Any, ...]:
    return row.key


def _digest(row: Bought) -> bytes:
    return _digest_of(row.key)


def _digest_of(key: tuple[Any, ...]) -> bytes:
    """A row's key in 16 bytes: millions of them are held while a ledger is written."""
    return hashlib.blake2b(repr(key).encode("utf-8", "surrogatepass"), digest_size=16).digest()


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
        self._skimmed: tuple[tuple[int, ...], Sequence[Row]] | None = None
        self._others: dict[Path, Ledger[Row]] = {}

    def read(self) -> list[Row]:
        """All rows, in the order in which they came; of a doubled key the first one counts."""
        rows, torn = self._sound(_whole, _key)
        if torn and (owed := self._set_aside(torn)):
            self._tell(owed)
        return list(rows.values())

    def skim(self) -> Sequence[Row]:
        """As `read`, in a fraction of the time and memory: rows as `evalkit.skim` gives them.

        Where a line is bad it goes the way of `read`. While the file stays as it is, its rows are
        held and given again.
        """
        from evalkit.rows import light  # with numpy, which not every verb waits for

        stamp = self._stamp()
        try:
            rows, torn = self._light()
        except (jsonl.Malformed, ValidationError):
            return light(self.model, self.read())
        self._skimmed = stamp, rows
        if torn and (owed := self._set_aside(torn)):
            self._tell(owed)
        return rows

    def _light(self) -> tuple[Sequence[Row], jsonl.Piece | None]:
        """Rows as `skim` gives them, and the torn last line; raises where another line is bad."""
        from evalkit import index

        torn = jsonl.torn(self.path)
        if self._skimmed and self._skimmed[0] == self._stamp():
            return self._skimmed[1], torn
        return index.skimmed(self.path, self.model, torn.start if torn else None), torn

    def _stamp(self) -> tuple[int, ...]:
        """What is another number after each change of the file."""
        try:
            found = self.path.stat()
        except OSError as error:
            raise BadPath(f"{self.path}: {reason(error)}") from error
        return found.st_ino, found.st_size, found.st_mtime_ns

    def about(self, questions: Set[str]) -> list[Row]:
        """The rows of some questions, without reading the others; what cannot be read is none."""
        from evalkit import skim

        found = []
        for line in jsonl.raw_lines(self.path):
            if skim.question(line) in questions:
                with suppress(jsonl.Malformed, ValidationError):
                    found.append(self.model.model_validate(jsonl.parse(line)))
        return found

    def first(self) -> Row | None:
        """The first row that can be read, without reading the others."""
        for line in jsonl.lines(self.path):
            with suppress(jsonl.Malformed, ValidationError):
                return self.model.model_validate(jsonl.parse(line.raw))
        return None

    def repair(self) -> None:
        """Move every bad line to `<file>.bad`; the good ones stay as they are, byte for byte."""
        if not self._scan(_nothing, _digest)[1]:
            return
        with self._locked():
            bad = [line for line, _ in self._scan(_nothing, _digest)[1]]
            aside = self.keep_aside(".bad", [line.raw for line in bad])
            good = self.path.read_bytes()
            for line in reversed(bad):
                good = good[: line.start] + good[line.end :]
            write_whole(self.path, good)
            what = f"{count(len(bad), 'bad line')} moved to {aside.name}"
            self._tell(f"{self.path}: {what}; what they held is owed")

    def parts(self) -> "list[Ledger[Row]]":
        """The ledgers of its run that are here: of the whole run, and of its shards."""
        files = shards.parts(self.path, jsonl.files(self.path.parent))
        known = {self.path: self, **self._others}
        self._others = {f: known.get(f) or Ledger(f, self.model, self._tell) for f in files}
        return list(self._others.values())

    @contextmanager
    def writing(self) -> "Iterator[Writer[Row]]":
        """Lock the ledger and append what no part of its run holds.

        Raises Locked when another process has it, or a part that could buy the same rows.
        """
        if self.path.exists() and not os.access(self.path, os.W_OK):  # told before a call is paid
            raise BadPath(f"{self.path}: permission denied")
        with self._locked():
            self._refuse_rivals()
            known = None if self.is_as_skimmed() else self._keys()
            writer = Writer[Row](self.path, lambda: known or self._keys(), self._follow)
            try:
                yield writer
            finally:
                writer.close()

    def _follow(self) -> None:
        """Much was added: it need not be read once more."""
        from evalkit import index

        if self.model is Review:
            index.follow(self.path)

    def is_as_skimmed(self) -> bool:
        """Whether no part of its run has changed since it was skimmed, or none is there."""
        return all(
            part._skimmed is not None and part._skimmed[0] == part._stamp() for part in self.parts()
        )

    def _keys(self) -> "_Keys":
        """The keys that its run holds; a torn last line of its own is cut."""
        keys = _Keys()
        for part in self.parts():
            torn: jsonl.Piece | None
            try:
                rows, torn = part._light()
                keys.of(rows)
            except (jsonl.Malformed, ValidationError):
                found, torn = part._sound(_nothing, _digest)
                keys.digests.update(found)
            if torn and part is self:
                self._tell(self._cut(torn))
        return keys

    @contextmanager
    def rewriting(self) -> Iterator[tuple[list[Row], Callable[[Iterable[Row]], None]]]:
        """Lock the ledger and read it; what is yielded with its rows replaces all of them at once.

        For what can be computed again from a row. What was bought must stay in it.
        """
        with self._locked():
            rows, torn = self._sound(_whole, _key)
            if torn:
                self._tell(self._cut(torn))

            def write(new: Iterable[Row]) -> None:
                write_whole(self.path, "".join(row.line() + "\n" for row in new))

            yield list(rows.values()), write

    def _sound(
        self, keep: Callable[[Row], Kept], key: Callable[[Row], Key]
    ) -> tuple[dict[Key, Kept], jsonl.Line | None]:
        """As `_scan`, but raises BadFile when a line other than the last one is bad."""
        rows, bad, torn = self._scan(keep, key)
        if bad:
            way_on = "(mend the line, or --repair moves it aside)"
            raise BadFile([Fault(fault.where, f"{fault.what} {way_on}") for _, fault in bad])
        return rows, torn

    def _scan(
        self, keep: Callable[[Row], Kept], key: Callable[[Row], Key]
    ) -> tuple[dict[Key, Kept], list[tuple[jsonl.Line, Fault]], jsonl.Line | None]:
        """What is kept of each row, by its key; the bad lines; the torn last line."""
        rows: dict[Key, Kept] = {}
        bad: list[tuple[jsonl.Line, Fault]] = []
        for line in jsonl.lines(self.path):
            try:
                row = self.model.model_validate(jsonl.parse(line.raw))
                rows.setdefault(key(row), keep(row))
            except jsonl.Malformed as error:
                if not line.ended:
                    return rows, bad, line
                bad.append((line, Fault(f"{self.path}:{line.number}", error.what)))
            except ValidationError as error:
                what = "; ".join(jsonl.complaints(error, self.model))
                bad.append((line, Fault(f"{self.path}:{line.number}", what)))
        return rows, bad, None

    def _set_aside(self, torn: jsonl.Piece) -> str | None:
        try:
            with self._held(wait=0):
                if self.path.stat().st_size == torn.end:
                    return self._cut(torn)
        except Locked:
            pass  # being written just now
        except (BadPath, DiskFull):
            return self._torn(torn, "left there, since it cannot be moved")
        return None

    def _cut(self, torn: jsonl.Piece) -> str:
        aside = self.keep_aside(".torn", [torn.raw])
        os.truncate(self.path, torn.start)
        return self._torn(torn, f"saved as {aside.name}")

    def _torn(self, torn: jsonl.Piece, done: str) -> str:
        found = re.search(rb'"question":\s*"([^"]+)"', torn.raw)
        owed = f"question {found[1].decode('utf-8', 'replace')}" if found else "its question"
        return f"{self.path}: last line torn (crash?) -> {done}; {owed} is owed"

    def aside(self, ending: str) -> Path:
        """Where lines lie that belong to this ledger and are no rows of it."""
        return self.path.with_name(self.path.name + ending)

    def keep_aside(self, ending: str, lines: list[bytes]) -> Path:
        """Add lines to the file `<file><ending>`, on disk before this returns."""
        aside = self.aside(ending)
        try:
            with open(aside, "a+b") as stream:
                if stream.tell():
                    stream.seek(-1, os.SEEK_END)
                    stream.writelines([b"\n"] * (stream.read(1) != b"\n"))  # cut by a crash
                stream.writelines(line + b"\n" for line in lines)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise write_error(aside, error) from error
        return aside

    def _refuse_rivals(self) -> None:
        """Raise Locked where a part is being written that asks for what this one asks for."""
        locks = [each.name for each in self.path.parent.iterdir() if each.suffix == ".lock"]
        files = [self.path.with_name(name[1 : -len(".lock")]) for name in locks]
        for file in shards.parts(self.path, files):
            if file != self.path and not shards.at_once(file, self.path):
                with Ledger(file, self.model, self._tell)._held():
                    pass

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Have the lock, and say in it who has it."""
        with self._held() as beside:
            with suppress(OSError):
                beside.write_text(f"pid {os.getpid()}, since {datetime.now():%H:%M}")
            yield

    @contextmanager
    def _held(self, wait: float = A_MOMENT) -> Iterator[Path]:
        """Have the lock, whose file is yielded; raises Locked while somebody else has it."""
        beside = self.path.with_name(f".{self.path.name}.lock")
        try:
            beside.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(beside)
            lock.acquire(timeout=wait, poll_interval=0.01)
        except Timeout as error:
            who = ""
            with suppress(OSError):
                who = beside.read_text("utf-8", "replace").strip()
            known = f" ({who})" if who else ""
            raise Locked(f"another evalkit{known} is writing {self.path}") from error
        except OSError as error:
            raise write_error(self.path, error) from error
        try:
            yield beside
        finally:
            lock.release()


def as_one(
    ledgers: Iterable[Ledger[Row]],
    read: Callable[[Ledger[Row]], Sequence[Row]] = Ledger.read,
) -> Sequence[Row]:
    """The rows of ledgers; the parts of a run are one, in which no row stands twice.

    `read`: how one ledger is read, `Ledger.read` or `Ledger.skim`.
    """
    from evalkit.rows import concatenated

    runs: dict[Path, list[Ledger[Row]]] = {}
    for each in ledgers:
        runs.setdefault(shards.whole(each.path), []).append(each)
    return concatenated([_merged([read(each) for each in parts]) for parts in runs.values()])


def _merged(parts: Sequence[Sequence[Row]]) -> Sequence[Row]:
    """The rows as they came, whichever part they came to, since the last ones count."""
    from evalkit.rows import concatenated, pick, undoubled, values_of

    if len(parts) == 1:
        return parts[0]
    rows = concatenated(parts)
    came: list[str] = []
    for part in parts:  # a row without its time came when the one before it did
        came += accumulate((time or "" for time in values_of(part, "time")), max)
    order = sorted(range(len(rows)), key=came.__getitem__)
    return undoubled(pick(rows, order))


class _Keys:
    """The keys of rows. Of a million they are worked out only where one may be among them."""

    def __init__(self) -> None:
        self.digests: set[bytes] = set()
        self._rows: list[Sequence[Any]] = []
        self._asked: set[str] = set()

    def of(self, rows: Sequence[Any]) -> None:
        """Take those of some rows."""
        from evalkit.rows import values_of

        self._rows.append(rows)
        self._asked.update(values_of(rows, "asked"))

    def __contains__(self, row: Bought) -> bool:
        from evalkit.rows import keys_of

        if row.asked in self._asked:  # what was asked is a part of each key
            for rows in self._rows:
                self.digests.update(map(_digest_of, keys_of(rows)))
            self._rows.clear()
        return _digest(row) in self.digests


class Writer(Generic[Row]):
    """Appends rows; each is with the system when `add` returns, and on disk soon after.

    `added` counts the rows that are new; the file is made with the first of them.
    """

    def __init__(self, path: Path, keys: "Callable[[], _Keys]", much: Callable[[], object]) -> None:
        """`keys`: gives those that are there, when the first row is added.

        `much`: called each time when some `MUCH` bytes were added.
        """
        self.path = path
        self.added = 0
        self._there = keys
        self._much = much
        self._since = 0
        self._keys: _Keys | None = None
        self._synced = 0
        self._synced_at = time.monotonic()
        self._file: int | None = None
        self._end = 0

    def add(self, row: Row) -> bool:
        """Append one row, whole or not at all; False where its key is there already."""
        if self._keys is None:
            self._keys = self._there()
        if row in self._keys:
            return False
        data = row.line().encode() + b"\n"
        if len(data) > jsonl.MAX_ROW:
            raise BadFile([Fault(str(self.path), jsonl.TOO_LONG)])
        if self._file is None:
            self._file = self._open()
        self._write(self._file, data)
        self._keys.digests.add(_digest(row))
        self.added += 1
        self._since += len(data)
        if self._since >= MUCH:
            self._since = 0
            self._much()
        waited = time.monotonic() - self._synced_at
        if self.added - self._synced >= FSYNC_EVERY or waited >= FSYNC_AFTER:
            self._sync(self._file)
        return True

    def sync(self) -> None:
        """Bring everything to disk."""
        if self._file is not None:
            self._sync(self._file)

    def close(self) -> None:
        """Bring everything to disk, and be done."""
        if self._file is None:
            return
        try:
            self._sync(self._file)
        finally:
            os.close(self._file)

    def _open(self) -> int:
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise write_error(self.path, error) from error
        self._end = os.lseek(file, 0, os.SEEK_END)
        if not self._end:
            sync_folder(self.path.parent)
        else:
            os.lseek(file, self._end - 1, os.SEEK_SET)
            if os.read(file, 1) != b"\n":  # a last row that only lacks its line end
                self._write(file, b"\n")
        return file

    def _write(self, file: int, data: bytes) -> None:
        try:
            rest = data
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError as error:
            os.ftruncate(file, self._end)
            os.lseek(file, self._end, os.SEEK_SET)
            raise write_error(self.path, error, self.added) from error
        self._end += len(data)

    def _sync(self, file: int) -> None:
        try:
            os.fsync(file)
        except OSError as error:
            raise write_error(self.path, error, self._synced) from error
        self._synced = self.added
        self._synced_at = time.monotonic()
