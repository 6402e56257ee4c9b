"""What a large ledger of reviews holds, in columns, beside it: so that it is not read once more.

The file `.<ledger>.index` can be deleted at any time, and is made again where it is missing. It
grows as its ledger does, a segment for each few thousand rows, written by whoever read or wrote
those. A segment says which bytes of the ledger it is of and their hash, and is believed only while
they have it: no ledger that was edited, cut or exchanged is ever taken for the one that was read.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from os import SEEK_END
from pathlib import Path
from struct import Struct
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

from evalkit import jsonl, skim
from evalkit.alike import kind
from evalkit.errors import EvalkitError
from evalkit.records import Bought, Review, short_hash
from evalkit.rows import FIELDS, Column, Rows, concatenated, undoubled

BLOCKS = 4  # of `jsonl.blocks` in a segment
FORMAT = 1  # another one where what stands in an index changed, or what makes a review sound
_HEAD = Struct("<16sQQ32sQ")  # format; begin, end and hash of what it is of; length of the body
_HASH = 32  # bytes of the one behind it, of the head and the body

_TOKENS = tuple[int, int] | None

Row = TypeVar("Row", bound=Bought)


class _Body(msgspec.Struct, array_like=True):
    codes: dict[str, tuple[str, bytes]]
    """Field -> the type of its codes, and the codes."""
    values: msgspec.Raw


@dataclass(frozen=True)
class _Segment:
    begin: int
    """Of the bytes of the ledger that it is of."""
    end: int
    digest: bytes
    """SHA-256 of those bytes."""
    head: memoryview
    hash: memoryview
    body: memoryview

    @property
    def size(self) -> int:
        """How many bytes of the index it is."""
        return len(self.head) + len(self.hash) + len(self.body)

    def is_of(self, ledger: Path) -> bool:
        """Whether the segment is as it was written, and the ledger still has these bytes."""
        if _hash([self.head, self.body]) != self.hash:
            return False
        with open(ledger, "rb") as stream:
            if self.end > stream.seek(0, SEEK_END):
                return False
            stream.seek(self.begin)
            return _hash([stream.read(self.end - self.begin)]) == self.digest


def path_of(ledger: Path) -> Path:
    """Where the index of a ledger lies, or would."""
    return ledger.with_name(f".{ledger.name}.index")


def skimmed(ledger: Path, model: type[Row], stop: int | None = None) -> Sequence[Row]:
    """The rows of a ledger, from its index as far as that goes; the rest is read, and goes there.

    `stop`: the offset of a line that is not to be read, nor what follows it. Raises as `skim.read`
    does, and BadPath.
    """
    if model is not Review:
        return skim.read(model, jsonl.blocks(ledger, 0, stop))
    begin, inode = jsonl.begin(ledger), ledger.stat().st_ino
    known = _known(ledger, begin)
    parts = [rows for _, rows in known]
    parts += _rest(ledger, [segment for segment, _ in known], begin, stop)
    if ledger.stat().st_ino != inode:  # it was exchanged meanwhile
        return skimmed(ledger, model, stop)
    return cast(Sequence[Row], undoubled(concatenated(parts)))


def follow(ledger: Path) -> None:
    """Bring the index of a ledger up to where the ledger is now, but for less than a segment.

    Never raises: who writes a ledger has more to lose than its index.
    """
    with suppress(EvalkitError, OSError, ValueError):
        begin = jsonl.begin(ledger)
        for _ in _rest(ledger, _segments(ledger, begin), begin, None):
            pass


def _rest(ledger: Path, known: Sequence[_Segment], begin: int, stop: int | None) -> Iterator[Rows]:
    """What a ledger holds behind these segments; what is large enough is made one of them."""
    end = known[-1].end if known else begin
    place = sum(each.size for each in known)
    blocks = jsonl.blocks(ledger, end, stop)
    with ThreadPoolExecutor(1) as aside:
        while some := list(islice(blocks, BLOCKS)):
            digest = aside.submit(_hash, some)  # while they are read
            rows = cast(Rows, skim.read(Review, some))
            yield rows
            begin, end = end, end + sum(map(len, some))
            if len(some) == BLOCKS and some[-1].endswith(b"\n"):
                with suppress(OSError, ValueError, OverflowError):  # a full disk, an odd value
                    body = _encoded(rows)
                    head = _HEAD.pack(_format(), begin, end, digest.result(), len(body))
                    place = _write(path_of(ledger), place, head + _hash([head, body]) + body)


def _write(path: Path, place: int, data: bytes) -> int:
    """Put a segment behind those that are good, in the place of what is not."""
    with open(path, "r+b" if path.exists() else "xb") as stream:
        stream.truncate(place)
        stream.seek(place)
        stream.write(data)
    return place + len(data)


def _segments(ledger: Path, begin: int) -> list[_Segment]:
    """The segments in an index, each of what follows the one before it."""
    found: list[_Segment] = []
    try:
        raw = memoryview(path_of(ledger).read_bytes())
    except OSError:
        return found
    while len(raw) >= _HEAD.size:
        made, first, end, digest, length = _HEAD.unpack_from(raw)
        head, own, raw = raw[: _HEAD.size], raw[_HEAD.size :][:_HASH], raw[_HEAD.size + _HASH :]
        body, raw = raw[:length], raw[length:]
        if made != _format() or first != begin or len(body) != length:
            break
        found.append(_Segment(first, end, digest, head, own, body))
        begin = end
    return found


def _known(ledger: Path, begin: int) -> list[tuple[_Segment, Rows]]:
    """The segments that are of a ledger as it is now, and their rows."""
    found: list[tuple[_Segment, Rows]] = []
    segments = _segments(ledger, begin)
    with ThreadPoolExecutor() as cores, suppress(ValueError):  # of msgspec they are ValueErrors
        good = cores.map(lambda segment: segment.is_of(ledger), segments)
        for segment, is_good in zip(segments, good, strict=True):
            if not is_good:
                break
            found.append((segment, _decoded(segment)))
    return found


def _hash(pieces: "Iterable[bytes | memoryview]") -> bytes:
    whole = hashlib.sha256()
    for piece in pieces:
        whole.update(piece)
    return whole.digest()


def _encoded(rows: Rows) -> bytes:
    columns = rows.columns
    codes = {name: (each.codes.dtype.str, each.codes.tobytes()) for name, each in columns.items()}
    values = _values()(**{name: list(columns[name].values) for name in FIELDS})
    pack = msgspec.msgpack.encode
    return pack(_Body(codes, msgspec.Raw(pack(values))))


def _decoded(segment: _Segment) -> Rows:
    body = msgspec.msgpack.decode(segment.body, type=_Body)
    values = msgspec.msgpack.decode(body.values, type=_values())
    columns = {}
    for name in FIELDS:
        codes = np.frombuffer(body.codes[name][1], np.dtype(body.codes[name][0]))
        if codes.max() >= len(getattr(values, name)):
            raise ValueError(f"{name} has values that are not there")
        columns[name] = Column(codes, getattr(values, name))
    return Rows(columns)


@cache
def _format() -> bytes:
    """What an index is made from: a field more or another type of one makes another format."""
    kinds = [[name, str(kind)] for name, kind in _kinds().items()]
    return short_hash([FORMAT, kinds]).encode()


@cache
def _kinds() -> dict[str, Any]:
    kinds = {name: kind(Review.model_fields[name].annotation) for name in FIELDS}
    return kinds | {"usage": _TOKENS}


@cache
def _values() -> Any:
    """The values of each column, typed as its field is."""
    fields: list[Any] = [(name, list[of]) for name, of in _kinds().items()]  # type: ignore[valid-type]
    return msgspec.defstruct("Values", fields, gc=False)
