"""Files that are written whole or not at all, and what a refused write is to a person."""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from evalkit.errors import BadPath, DiskFull, EvalkitError, reason


def write_whole(path: Path, content: str | bytes | Iterable[str]) -> Path:
    """Write a file in one step: the old one stays until the new one is complete on disk.

    A large one may come in pieces, which are not held.
    """
    pieces = [content] if isinstance(content, str | bytes) else content
    temporary = path.with_name(f".{os.getpid()}.tmp")  # as short as can be: `path` may be long
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            for piece in pieces:
                stream.write(piece.encode() if isinstance(piece, str) else piece)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def sync_folder(folder: Path) -> None:
    """Bring a new name in a folder to disk, where the system can."""
    with suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def check_writable(path: Path) -> None:
    """Raise BadPath where `path` could not be made, before anything else is."""
    folder = next(parent for parent in path.parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadPath(f"{path}: permission denied")


def write_error(path: Path, error: OSError, whole: int | None = None) -> EvalkitError:
    """What a refused write is to a person; `whole`: how many new rows are safe in a ledger."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        what = "disk full" if error.errno == errno.ENOSPC else reason(error)
        kept = "Nothing half-written" if whole is None else f"{whole} new rows are whole"
        return DiskFull(f"{what} at {path}. {kept}. Make room, run it again")
    return BadPath(f"{path}: {reason(error)}")
