"""A CSV text read strictly: every fault with its line and in plain words.

Takes lines, one at a time, and the path to name in faults; commas, semicolons or tabs, whichever
the header holds most of. It opens no file, repairs nothing, and does not know what a column means.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from evalkit.errors import BadFile, Fault, nearest
from evalkit.jsonl import MAX_ROW

DELIMITERS = ",;\t"  # some spreadsheets write semicolons or tabs

csv.field_size_limit(MAX_ROW)  # Python's own is 128 KB, and answers are longer


class Sheet:
    """A header, and the rows below it one by one; `faults` grows while they are read.

    Raises BadFile where the header itself cannot be read.
    """

    def __init__(self, path: Path, lines: Iterable[str]) -> None:
        self.faults: list[Fault] = []
        self._path = path
        lines = iter(lines)
        above = []
        for line in lines:
            above.append(line)
            if line.strip():
                break
        delimiter = max(DELIMITERS, key="".join(above).count)
        self._rows = csv.DictReader(chain(above, lines), strict=True, delimiter=delimiter)
        try:
            self.columns = list(self._rows.fieldnames or ())
        except csv.Error as error:
            raise BadFile([self._broken(error)]) from error
        for name, count in Counter(self.columns).items():
            if count > 1:
                self.wrong(f"the column '{name}' stands twice")

    def lacks(self, name: str, meant: str | None = None) -> None:
        """Note that a column is missing; `meant`: the one that was meant for it, where known."""
        near = meant or nearest(name, self.columns)
        self.wrong(f"no column '{name}'." + (f" Rename '{near}'?" if near else ""))

    def rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each row with where it ends; one that does not fit the header is a fault instead."""
        try:
            for row in self._rows:
                where = f"{self._path}:{self._rows.line_num}"
                if None in row or None in row.values():
                    self.faults.append(Fault(where, "has more or fewer cells than the header"))
                else:
                    yield where, row
        except csv.Error as error:
            self.faults.append(self._broken(error))

    def wrong(self, what: str) -> None:
        """Note what is wrong with the header."""
        self.faults.append(Fault(f"{self._path}:1", what))

    def _broken(self, error: csv.Error) -> Fault:
        return Fault(f"{self._path}:{self._rows.line_num + 1}", f"not CSV: {error}")


def is_numbered(column: str, name: str) -> bool:
    """Whether a column is `turn_1`, `turn_2`, ... of `turn`."""
    return re.fullmatch(rf"{name}_\d+", column) is not None


def numbered(columns: Iterable[str], name: str) -> list[str]:
    """`turns`, `turn_1`, `turn_2`, ... in the order of their numbers."""
    plain = (name, f"{name}s")
    found = [column for column in columns if column in plain or is_numbered(column, name)]
    return sorted(
        found, key=lambda column: int(column.rpartition("_")[2] or 0) if "_" in column else 0
    )
