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
from pathlib import Path
from typing import BinaryIO, cast

from evalkit.errors import BadFile, Fault
from evalkit.jsonl import open_file

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PACKED: dict[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"\x28\xb5\x2f\xfd": zstd.ZstdFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstd.ZstdError)
_OTHERS = {b"PAR1": "Parquet", b"PK\x03\x04": "a ZIP archive", b"ARROW1": "Arrow"}


def size_of(path: Path) -> int:
    """The bytes of a file as it lies there; raises BadPath where it cannot be read."""
    with open_file(path) as file:
        return os.fstat(file.fileno()).st_size


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The text of a file as a stream, and the file itself, which knows how far it was read.

    Raises BadFile for a file that is no text, and for one that cannot be unpacked to its end.
    """
    with open_file(path) as file:
        head = file.read(4096)
        file.seek(0)
        unpack = next((how for magic, how in _PACKED.items() if head.startswith(magic)), None)
        stream = cast(BinaryIO, unpack(file)) if unpack else file
        try:
            _refuse_other(path, head if stream is file else stream.read(4096))
            if stream is not file:
                stream.seek(0)
            yield stream, file
        except _BROKEN as error:
            what = f"cannot be unpacked to its end: {str(error).lower() or type(error).__name__}"
            raise BadFile([Fault(str(path), what)]) from error
        except OSError as error:
            if stream is file or error.filename is not None or error.errno is not None:
                raise
            what = f"cannot be unpacked to its end: {str(error).lower()}"  # how bz2 says it
            raise BadFile([Fault(str(path), what)]) from error


def _refuse_other(path: Path, head: bytes) -> None:
    kind = next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)
    if kind is None and b"\0" in head:
        kind = "binary"
    if kind:
        what = f"is {kind}, expected text, JSON or JSON lines (.gz, .zst, .bz2, .xz as they are)"
        raise BadFile([Fault(str(path), what)])
