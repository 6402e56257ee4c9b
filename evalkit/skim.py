"""Answers and reviews by the million, read light: all that is counted of them.

As records they take minutes to read and more memory than most machines have. Their look-alikes
have the same fields under the same names, read only, at a fifth of both; msgspec makes them from
the fields of the record itself. What a judge said is not held, but where it gave no scores. A line
that is not just as evalkit writes it is left to the record, which says what is wrong with it or
what it holds: nothing is let through here that is refused there.
"""

from collections.abc import Callable
from functools import cache, cached_property
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec
from pydantic import BaseModel

from evalkit import jsonl
from evalkit.records import VOTE, Bought, Review

Row = TypeVar("Row", bound=Bought)

_NOTHING: dict[str, Any] = {}


def skimmer(model: type[Row]) -> Callable[[bytes], list[Row]]:
    """What makes look-alikes of rows from a block of their lines; one for each reading.

    A person's vote comes as the record itself. Raises `jsonl.Malformed` and pydantic's
    ValidationError, as reading strictly does.
    """
    light = _reader(model)
    lighten = _lighten_review if model is Review else _lighten
    hold: Callable[[Any, Any], Any] = {}.setdefault

    def skim(block: bytes) -> list[Row]:
        rows = light(block)
        if rows is None:
            lines = [line for line in block.split(b"\n") if line.strip(jsonl.SPACE)]
            if len(lines) == 1:
                return [model.model_validate(jsonl.parse(lines[0].strip(jsonl.SPACE)))]
            return [row for line in lines for row in skim(line)]
        for row in rows:
            lighten(row, hold)
        return cast(list[Row], rows)

    return skim


def _reader(model: type[Row]) -> Callable[[bytes], list[Any] | None]:
    """What reads a block, if there is no doubt about any row of it."""
    decode = msgspec.json.Decoder(_look_alike(model)).decode_lines
    encode = msgspec.json.Encoder().encode_lines
    is_sound = _sound_review if model is Review else _sound_answer

    def light(block: bytes) -> list[Any] | None:
        try:
            rows = decode(block)
        except (ValueError, RecursionError):  # msgspec's own is a ValueError
            return None
        # As many keys as without those that say the usual: then none stands twice.
        same = _keys(block, b'": ') == _keys(encode(rows), b'":')
        return rows if same and all(map(is_sound, rows)) else None

    return light


def _keys(text: bytes, end: bytes) -> int:
    """How many keys JSON has; `end`: what follows a key, and nothing else but a quoted quote."""
    return text.count(end) - text.count(b"\\" + end)


def _lighten(row: Any, hold: Callable[[Any, Any], Any]) -> None:
    """Let go of what nobody counts, and hold once what many rows have in common."""
    row.reasoning = row.sampling = row.template = row.latency = None
    row.extra = _NOTHING
    if row.usage is not None:
        row.usage.extra = _NOTHING
    row.question = hold(row.question, row.question)
    row.served = hold(row.served, row.served)
    row.finish_reason = hold(row.finish_reason, row.finish_reason)
    row.time = hold(row.time, row.time)


def _lighten_review(row: Any, hold: Callable[[Any, Any], Any]) -> None:
    _lighten(row, hold)
    if row.scores is not None:
        row.text = ""
    row.judge = hold(row.judge, row.judge)
    row.prompt = hold(row.prompt, row.prompt)
    row.shown = hold(row.shown, row.shown)
    row.answers = hold(row.answers, row.answers)
    row.scores = hold(row.scores, row.scores)
    row.prompt_hash = hold(row.prompt_hash, row.prompt_hash)
    row.manner = hold(row.manner, row.manner)


class _About(msgspec.Struct):
    question: str


_about = msgspec.json.Decoder(_About).decode


def question(line: bytes) -> str | None:
    """Of which question a row is; None where that cannot be read."""
    try:
        return _about(line).question
    except (ValueError, RecursionError):
        return None


def _sound_answer(row: Any) -> bool:
    """Whether an answer is what its record checks beyond the types of the fields."""
    return len(row.turns) > 0


def _sound_review(row: Any) -> bool:
    """The same of a review; a vote is none here."""
    scores, places = row.scores, len(row.shown)
    if row.prompt == VOTE or not places or len(row.answers) != places:
        return False
    if scores is not None and (len(scores) != places or min(scores) < 0):
        return False
    if row.soft and (places != 2 or abs(sum(scores or (1,)) - 1) > 1e-9):
        return False
    return row.first_turns is None or row.first_turns >= 1


@cache
def _look_alike(model: type[BaseModel]) -> Any:
    """A struct with the fields of a record, its defaults, and what it computes from them."""
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        default = () if field.is_required() else (field.get_default(call_default_factory=True),)
        fields.append((name, _kind(field.annotation), *default))
    own = [vars(cls) for cls in model.__mro__ if cls.__module__ == model.__module__]
    named = {name: value for each in reversed(own) for name, value in each.items()}
    computed = {
        name: property(value.func) if isinstance(value, cached_property) else value
        for name, value in named.items()
        if isinstance(value, property | cached_property) or name == "KEY"
    }
    return msgspec.defstruct(
        model.__name__,
        fields,
        namespace=computed,
        kw_only=True,
        forbid_unknown_fields=True,
        omit_defaults=True,
        gc=False,
    )


def _kind(annotation: Any) -> Any:
    """A field's type, with a struct where it names a record."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _look_alike(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(map(_kind, get_args(annotation)))]  # noqa: UP007
    return annotation
