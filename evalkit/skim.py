"""Ledgers by the million, read light: all that is counted of their rows.

As records they take minutes to read and more memory than most machines have. Answers come as
look-alikes of the records (`alike`), reviews in columns (`rows`). A line that is not just as
evalkit writes it is left to the record, which says what is wrong with it or what it holds: nothing
is let through here that is refused there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, starmap
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
from msgspec.structs import astuple

from evalkit import jsonl
from evalkit.alike import look_alike
from evalkit.records import VOTE, Bought, Review
from evalkit.rows import Columns, Gathering, Same, columns_of, each_of, undoubled

Row = TypeVar("Row", bound=Bought)

Part = tuple[list[Any], Columns]
"""Rows, and the same in columns."""

_NOTHING: dict[str, Any] = {}


def read(model: type[Row], blocks: Iterable[bytes]) -> Sequence[Row]:
    """The rows in blocks of lines; of those with one key the first.

    Raises `jsonl.Malformed` and pydantic's ValidationError, as reading strictly does.
    """
    parts = chain.from_iterable(map(skimmer(model), blocks))
    if model is not Review:
        hold: Callable[[Any, Any], Any] = {}.setdefault
        return undoubled([_lightened(row, hold) for rows, _ in parts for row in rows])
    gathering = Gathering()
    for rows, columns in parts:
        gathering.add(len(rows), columns)
    return undoubled(cast(Sequence[Row], gathering.rows()))


def skimmer(model: type[Row]) -> Callable[[bytes], Iterator[Part]]:
    """What makes rows and their columns from a block of lines: look-alikes, or a single record.

    A person's vote comes as the record itself.
    """
    decode = msgspec.json.Decoder(look_alike(model)).decode_lines
    are_sound = _sound_reviews if model is Review else _sound_answers

    def skim(block: bytes) -> Iterator[Part]:
        try:
            rows: list[Any] = decode(block)
            keys, columns = _in_columns(rows)
            # As many keys as without those that say the usual: then none stands twice.
            light = _keys(block, b'": ') == keys and _one_a_line(block, len(rows))
            light = light and are_sound(len(rows), columns)
        except (ValueError, RecursionError):  # msgspec's own is a ValueError
            light = False
        lines = [] if light else [line for line in block.split(b"\n") if line.strip(jsonl.SPACE)]
        if light:
            yield rows, columns
        elif len(lines) == 1:
            record = model.model_validate(jsonl.parse(lines[0].strip(jsonl.SPACE)))
            yield [record], columns_of([record]) if model is Review else {}
        else:
            for line in lines:
                yield from skim(line)

    return skim


def _in_columns(rows: Sequence[Any]) -> tuple[int, Columns]:
    """The columns of look-alikes, and how many keys they have when they are written.

    Those that have their default are left out then.
    """
    keys, columns = 0, dict[str, Any]()
    fields = _defaults(rows[0].__class__) if rows else {}
    values: tuple[Any, ...]
    for (name, default), values in zip(
        fields.items(), zip(*map(astuple, rows), strict=True), strict=True
    ):
        first, number = values[0], len(values)
        alike = values.count(first) if values[-1] == first else 0
        columns[name] = Same(first) if alike == number else values
        if first == default:
            usual = alike or values.count(default)
        else:
            usual = 0 if alike == number or default is msgspec.NODEFAULT else values.count(default)
        keys += number - usual
        if usual < number:
            some = next(value for value in values if value != default)
            if isinstance(some, msgspec.Struct):
                keys += _in_columns([value for value in values if value != default])[0]
            elif isinstance(some, dict):
                keys += _keys(msgspec.json.Encoder().encode_lines(values), b'":')
    return keys, columns


@cache
def _defaults(struct: Any) -> dict[str, Any]:
    fields = msgspec.structs.fields(struct)
    return {each.name: {} if each.default_factory is dict else each.default for each in fields}


def _one_a_line(block: bytes, values: int) -> bool:
    """Whether so many JSON objects stand in a block one a line, which msgspec does not ask."""
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    inner = ends[:-1] if block.endswith(b"\n") else ends
    between = (text[inner - 1] == ord("}")) & (text[inner + 1] == ord("{"))
    return bool(between.all()) and values == len(inner) + bool(len(text))


def _keys(text: bytes, end: bytes) -> int:
    """How many keys JSON has; `end`: what follows a key, and nothing else but a quoted quote."""
    bytes_ = np.frombuffer(text, np.uint8)
    last = len(bytes_) - len(end) + 1
    found = np.ones(max(0, last), np.bool_)
    for place, byte in enumerate(end):
        found &= bytes_[place : last + place] == byte
    places = np.flatnonzero(found)
    return int((bytes_[places - 1] != ord(b"\\")).sum())


def _lightened(row: Any, hold: Callable[[Any, Any], Any]) -> Any:
    """A look-alike without what nobody counts; what many have in common is held once."""
    if isinstance(row, Bought):
        return row
    row.reasoning = row.sampling = row.template = row.latency = None
    row.extra = _NOTHING
    if row.usage is not None:
        row.usage.extra = _NOTHING
    row.question = hold(row.question, row.question)
    row.served = hold(row.served, row.served)
    row.finish_reason = hold(row.finish_reason, row.finish_reason)
    row.time = hold(row.time, row.time)
    return row


class _About(msgspec.Struct):
    question: str


_about = msgspec.json.Decoder(_About).decode


def question(line: bytes) -> str | None:
    """Of which question a row is; None where that cannot be read."""
    try:
        return _about(line).question
    except (ValueError, RecursionError):
        return None


def _sound_answers(number: int, columns: Columns) -> bool:
    """Whether answers are what their record checks beyond the types of the fields."""
    return not number or all(each_of(columns["turns"], number))


def _sound_reviews(number: int, columns: Columns) -> bool:
    """The same of reviews; a vote is none here. What many agree in is looked at once."""
    if not number:
        return True
    shown, answers = (each_of(columns[name], number) for name in ("shown", "answers"))
    if list(map(len, shown)) != list(map(len, answers)):
        return False
    names = ("prompt", "shown", "scores", "soft", "first_turns")
    seen = zip(*(each_of(columns[name], number) for name in names), strict=True)
    return all(starmap(_sound, set(seen)))


def _sound(
    prompt: str,
    shown: tuple[str, ...],
    scores: tuple[float, ...] | None,
    soft: bool,
    first_turns: int | None,
) -> bool:
    if prompt == VOTE or not shown:
        return False
    if scores is not None and (len(scores) != len(shown) or min(scores) < 0):
        return False
    if soft and (len(shown) != 2 or abs(sum(scores or (1,)) - 1) > 1e-9):
        return False
    return first_turns is None or first_turns >= 1
