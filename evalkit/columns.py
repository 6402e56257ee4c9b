"""Rows of text in aligned columns, as a terminal shows them."""

from collections.abc import Sequence
from unicodedata import east_asian_width


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line a row: the first column to the left, the others to the right, two blanks between."""
    first, *others = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                padded(name, first),
                *(" " * (w - width(cell)) + cell for cell, w in zip(cells, others, strict=True)),
            ]
        ).rstrip()
        for name, *cells in rows
    ]


def padded(text: str, wide: int) -> str:
    """`text` with blanks behind it, up to so many columns."""
    return text + " " * (wide - width(text))


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
