"""Answers and reviews by the million, read light: all that is counted of them.

As records they take minutes to read and more memory than most machines have. Their look-alikes
have the same fields under the same names, read only, at a fifth of both; msgspec makes them from
the fields of the record itself. What a judge said is not held, but where it gave no scores. A line
that is not just as evalkit writes it is left to the record, which says what is wrong with it or
what it holds: nothing is let through here that is refused there.
"""

from collections.abc import Callable
from functools import cache, cached_property
from operator import ne
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec
from pydantic import BaseModel

from evalkit import jsonl
from evalkit.records import VOTE, Bought, Review

Row = TypeVar("Row", bound=Bought)

_SHARED = (
    "question", "model", "judge", "prompt", "shown", "answers", "scores", "flags", "served",
    "finish_reason", "time", "prompt_hash", "question_hash", "manner", "batch",
)  # fmt: skip
"""What many rows have in common, and is held once."""
_NOTHING: dict[str, Any] = {}


def skimmer(model: type[Row]) -> Callable[[bytes], Row]:
    """What makes a look-alike of a row from its line; one for each reading.

    A person's vote comes as the record itself. Raises `jsonl.Malformed` and pydantic's
    ValidationError, as reading strictly does.
    """
    decode = msgspec.json.Decoder(_look_alike(model)).decode
    is_sound = _sound_review if model is Review else _sound_answer
    fields = model.model_fields.values()
    usual = tuple(field.get_default(call_default_factory=True) for field in fields)
    shared = [name for name in _SHARED if name in model.model_fields]
    hold: Callable[[Any, Any], Any] = {}.setdefault

    def skim(line: bytes) -> Row:
        try:
            row = decode(line)
        except (ValueError, RecursionError):  # msgspec's own is a ValueError
            row = None
        if row is None or not _is_whole(line, row, usual) or not is_sound(row):
            return model.model_validate(jsonl.parse(line))
        for name in shared:
            value = getattr(row, name)
            if value is not None:
                setattr(row, name, hold(value, value))
        row.reasoning = row.sampling = row.template = row.latency = None
        row.extra = _NOTHING
        if row.usage is not None:
            row.usage.extra = _NOTHING
        if model is Review and row.scores is not None:
            row.text = ""
        return cast(Row, row)

    return skim


class _About(msgspec.Struct):
    question: str


_about = msgspec.json.Decoder(_About).decode


def question(line: bytes) -> str | None:
    """Of which question a row is; None where that cannot be read."""
    try:
        return _about(line).question
    except (ValueError, RecursionError):
        return None


def _is_whole(line: bytes, row: Any, usual: tuple[Any, ...]) -> bool:
    """Whether a row came from as many keys as its line has: a key that stands twice is a fault."""
    keys = line.count(b'": ') - line.count(b'\\": ')
    keys -= sum(map(ne, msgspec.structs.astuple(row), usual))
    if row.usage is not None:
        keys -= 2
    if row.sampling is not None:
        keys -= len(row.sampling)
    if row.extra:
        keys -= _keys(row.extra)
    return not keys


def _keys(value: Any) -> int:
    """How many keys all objects in a value have."""
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    return sum(map(_keys, value)) if isinstance(value, list) else 0


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
        gc=False,
    )


def _kind(annotation: Any) -> Any:
    """A field's type, with a struct where it names a record."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _look_alike(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(map(_kind, get_args(annotation)))]  # noqa: UP007
    return annotation
