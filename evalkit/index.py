"""What a large ledger of reviews holds, in columns, beside it: so that it is not read once more.

The file `.<ledger>.index` can be deleted at any time, and is made again where it is missing. It
says which bytes of the ledger it is of and their hash, and it is believed only while they have it:
so no ledger that was edited, cut or exchanged is ever taken for the one that was read. Rows that
came later stand behind those bytes and are read there.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from os import SEEK_END
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

from evalkit import jsonl, skim
from evalkit.alike import kind
from evalkit.errors import EvalkitError
from evalkit.records import Bought, Review, short_hash
from evalkit.rows import FIELDS, Column, Rows
from evalkit.wholefile import write_whole

LEAST = 16_000_000  # bytes of a ledger; a smaller one is read faster than anybody notices
MUCH = 0.1  # of a ledger that its index is not of: then it is made again
FORMAT = 1  # another one where what stands in an index changed, or what makes a review sound
PIECE = 64_000_000  # bytes of a ledger that one thread hashes
_READ = 4_000_000  # of them at once

_TOKENS = tuple[int, int] | None

Row = TypeVar("Row", bound=Bought)


@dataclass
class Index:
    """The reviews in the first bytes of a ledger."""

    rows: Rows
    digest: "Digest"
    """Of those bytes."""


class Digest:
    """What the first bytes of a file are known by: the SHA-256 of those of its pieces.

    So all cores can work it out together.
    """

    def __init__(self, pieces: "Iterable[hashlib._Hash]" = (), end: int = 0) -> None:
        self._pieces = list(pieces)
        self.end = end
        """How many bytes."""

    def update(self, data: bytes) -> None:
        """Take the bytes that follow."""
        rest = memoryview(data)
        while rest:
            if self.end % PIECE == 0:
                self._pieces.append(hashlib.sha256())
            now = rest[: PIECE - self.end % PIECE]
            self._pieces[-1].update(now)
            self.end += len(now)
            rest = rest[len(now) :]

    def value(self) -> bytes:
        """What tells whether two are of the same bytes."""
        return hashlib.sha256(b"".join(piece.digest() for piece in self._pieces)).digest()


def skimmed(ledger: Path, model: type[Row], stop: int | None = None) -> Sequence[Row]:
    """The rows of a ledger, from its index as far as that goes; one is made where it is worth it.

    `stop`: the offset of a line that is not to be read, nor what follows it. Raises as `skim.read`
    does, and BadPath.
    """
    with jsonl.open_file(ledger) as stream:
        size = stream.seek(0, SEEK_END)
    if model is not Review or size < LEAST:
        return skim.read(model, jsonl.blocks(ledger, 0, stop))
    inode = ledger.stat().st_ino
    index = read(ledger)
    digest = index.digest if index else hashed(ledger, jsonl.begin(ledger))
    start, whole = digest.end, True

    with ThreadPoolExecutor(1) as aside:

        def blocks() -> Iterator[bytes]:
            nonlocal whole
            for block in jsonl.blocks(ledger, start, stop):
                aside.submit(digest.update, block)  # while the block is read
                whole = block.endswith(b"\n")
                yield block

        rows = skim.read(model, blocks(), index.rows if index else None)
    if ledger.stat().st_ino != inode:  # it was exchanged meanwhile
        return skimmed(ledger, model, stop)
    if whole and digest.end - start > MUCH * start:
        with suppress(EvalkitError, ValueError):  # a full disk, half a surrogate pair
            write_whole(path_of(ledger), encode(Index(cast(Rows, rows), digest)))
    return rows


class _File(msgspec.Struct, array_like=True):
    format: str
    end: int
    digest: bytes
    codes: dict[str, tuple[str, bytes]]
    """Field -> the type of its codes, and the codes."""
    values: msgspec.Raw


def path_of(ledger: Path) -> Path:
    """Where the index of a ledger lies, or would."""
    return ledger.with_name(f".{ledger.name}.index")


def encode(index: Index) -> bytes:
    """An index as a file holds it: a hash of the rest, and the rest."""
    columns = index.rows.columns
    codes = {name: (each.codes.dtype.str, each.codes.tobytes()) for name, each in columns.items()}
    values = _values()(**{name: list(columns[name].values) for name in FIELDS})
    pack = msgspec.msgpack.encode
    held = msgspec.Raw(pack(values))
    body = pack(_File(_format(), index.digest.end, index.digest.value(), codes, held))
    return hashlib.sha256(body).digest() + body


def read(ledger: Path) -> Index | None:
    """The index of a ledger, where there is one and the ledger is as it was."""
    with suppress(OSError, ValueError, KeyError):  # of msgspec they are ValueErrors
        raw = path_of(ledger).read_bytes()
        head, body = raw[:32], memoryview(raw)[32:]
        if hashlib.sha256(body).digest() == head:
            file = msgspec.msgpack.decode(body, type=_File)
            if file.format == _format():
                with ThreadPoolExecutor(1) as aside:
                    digest = aside.submit(hashed, ledger, file.end)
                    rows = _decoded(file)
                if digest.result().value() == file.digest:
                    return Index(rows, digest.result())
    return None


def hashed(ledger: Path, end: int) -> Digest:
    """The digest of the first bytes of a ledger."""
    with ThreadPoolExecutor() as cores:
        pieces = cores.map(partial(_piece, ledger, end), range(0, end, PIECE))
        return Digest(pieces, end)


def _piece(ledger: Path, end: int, start: int) -> "hashlib._Hash":
    piece = hashlib.sha256()
    with open(ledger, "rb") as stream:
        stream.seek(start)
        left = min(PIECE, end - start)
        while left and (data := stream.read(min(_READ, left))):
            piece.update(data)
            left -= len(data)
    return piece


def _decoded(file: _File) -> Rows:
    values = msgspec.msgpack.decode(file.values, type=_values())
    columns = {}
    for name in FIELDS:
        codes = np.frombuffer(file.codes[name][1], np.dtype(file.codes[name][0]))
        if len(codes) and codes.max() >= len(getattr(values, name)):
            raise ValueError(f"{name} has values that are not there")
        columns[name] = Column(codes, getattr(values, name))
    return Rows(columns)


def _format() -> str:
    """What an index is made from: a field more or another type of one makes another format."""
    return short_hash([FORMAT, [[name, str(kind)] for name, kind in _kinds().items()]])


@cache
def _kinds() -> dict[str, Any]:
    kinds = {name: kind(Review.model_fields[name].annotation) for name in FIELDS}
    return kinds | {"usage": _TOKENS}


@cache
def _values() -> Any:
    """The values of each column, typed as its field is."""
    fields: list[Any] = [(name, list[of]) for name, of in _kinds().items()]  # type: ignore[valid-type]
    return msgspec.defstruct("Values", fields, gc=False)
