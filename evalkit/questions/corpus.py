"""Training data as they lie on disk: text, as it is or compressed, opened as a stream of bytes.

What a file is, is read from its first bytes, not from its name. It is never unpacked to disk and
never held whole.
"""

import bz2
import gzip
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Protocol, cast

from evalkit.errors import BadFile, Fault
from evalkit.jsonl import open_file, refuse_no_text

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Text(Protocol):
    """What is read of a file: its text as bytes, unpacked where it was packed."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, b"" at the end."""
        ...

    def peek(self, size: int, /) -> bytes:
        """The next bytes, without moving on."""
        ...


def _zstd(stream: BufferedReader) -> zstd.ZstdFile:
    # --long=31 is how large public dumps are packed; the window takes up to 2 GB where it was used.
    return zstd.ZstdFile(stream, options={zstd.DecompressionParameter.window_log_max: 31})


_PACKED: dict[bytes, Callable[[BufferedReader], object]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"\x28\xb5\x2f\xfd": _zstd,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError)
_OTHERS = {
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a ZIP archive",
    b"ARROW1": "Arrow",
    b"\x89PNG": "a picture",
    b"%PDF": "PDF",
}
_EXPECTED = "expected text, JSON or JSON lines (.gz, .zst, .bz2, .xz as they are)"


def size_of(path: Path) -> int:
    """The bytes of a file as it lies there, 0 where only reading tells.

    Raises what opening it would: BadPath, or BadFile for what is no text.
    """
    if _is_pipe(path):
        return 0
    with opened(path) as (_, file):
        return os.fstat(file.fileno()).st_size


@contextmanager
def opened(path: Path) -> Iterator[tuple[Text, BufferedReader]]:
    """The text of a file, and the file itself, which knows how far it was read; - is stdin.

    Raises BadFile for a file that is no text, and for one that cannot be unpacked to its end.
    """
    with _file(path) as file:
        head = file.peek(16)[:16]
        unpack = next((how for magic, how in _PACKED.items() if head.startswith(magic)), None)
        stream = cast(Text, unpack(file)) if unpack else file
        try:
            _refuse_other(path, stream.peek(4096)[:4096] if head else b"", head)
            yield stream, file
        except (*_BROKEN, OSError) as error:
            if isinstance(error, OSError) and (unpack is None or error.errno is not None):
                raise  # not gzip or bz2 speaking of what they read
            what = f"cannot be unpacked to its end: {str(error).lower() or type(error).__name__}"
            raise BadFile([Fault(str(path), what)]) from error


def _is_pipe(path: Path) -> bool:
    return str(path) == "-" or path.is_fifo()


@contextmanager
def _file(path: Path) -> Iterator[BufferedReader]:
    if str(path) == "-":
        yield cast(BufferedReader, sys.stdin.buffer)
        return
    with open(path, "rb") if path.is_fifo() else open_file(path) as file:
        yield cast(BufferedReader, file)


def _refuse_other(path: Path, text: bytes, head: bytes) -> None:
    kind = next((name for magic, name in _OTHERS.items() if text.startswith(magic)), None)
    stump = len(head) > 1 and any(magic.startswith(head) for magic in _PACKED)
    if kind is None and not stump:
        refuse_no_text(path, text[:4])
    if kind or stump or b"\0" in text:
        kind = kind or ("the beginning of a packed file" if stump else "binary")
        raise BadFile([Fault(str(path), f"is {kind}, {_EXPECTED}")])
