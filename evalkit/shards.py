"""A run in parts that are made side by side: which places are whose, what their files are called.

Knows no question and no row, and opens no file.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Thing = TypeVar("Thing")

_ENDING = re.compile(r"\.([1-9][0-9]*)-of-([1-9][0-9]*)")
_ALIKE = re.compile(r"\.([0-9]+-of-[0-9]+)\Z", re.IGNORECASE)  # a file system may fold cases


@dataclass(frozen=True)
class Shard:
    """Part `number`, from 1, of a run in `of` parts."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"shard {self.number} of {self.of}"

    def part(self, things: Sequence[Thing]) -> tuple[Thing, ...]:
        """Its own of what all shards ask: each thing is in one of them, a category is in all."""
        return tuple(things[self.number - 1 :: self.of])


def parse(text: str) -> Shard:
    """`2/8`; raises ValueError where that is no shard."""
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", text.strip())
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.number <= shard.of:
        raise ValueError(f"'{text}' is no shard; expected N/OF with N from 1 to OF, as in 2/8")
    return shard


def harmless(stem: str) -> str:
    """The name of a file, without ending, that no shard of another file has."""
    return _ALIKE.sub(r"%2E\1", stem)


def file_of(whole: Path, shard: Shard | None) -> Path:
    """The file of a shard, beside the one of the whole run."""
    ending = f".{shard.number}-of-{shard.of}" if shard else ""
    return whole.with_name(f"{whole.stem}{ending}{whole.suffix}")


def whole(path: Path) -> Path:
    """The file of the whole run, of which this may be a shard's."""
    return path.with_name(f"{_parted(path)[0]}{path.suffix}")


def parts(path: Path, files: Iterable[Path]) -> list[Path]:
    """Those of the files that hold parts of the same run, this one itself included."""
    return sorted(file for file in files if whole(file) == whole(path))


def at_once(path: Path, other: Path) -> bool:
    """Whether two files of one run may be written at the same time: nobody asks for both."""
    one, another = _parted(path)[1], _parted(other)[1]
    return bool(one and another and one.of == another.of)


def _parted(path: Path) -> tuple[str, Shard | None]:
    stem, dot, last = path.stem.rpartition(".")
    found = _ENDING.fullmatch(dot + last)
    if not (stem and found):
        return path.stem, None
    return stem, Shard(int(found[1]), int(found[2]))
