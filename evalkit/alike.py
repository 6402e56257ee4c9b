"""Look-alikes of records: the same fields under the same names, read only, at a fifth of the cost.

msgspec makes them from the fields of the record itself, with its defaults and with what it computes
from them; what a record checks beyond the types of its fields is not checked. Knows no record.
"""

from functools import cache, cached_property
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel


@cache
def look_alike(model: type[BaseModel]) -> Any:
    """A struct with the fields of a record, its defaults, and what it computes from them."""
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        default = () if field.is_required() else (field.get_default(call_default_factory=True),)
        fields.append((name, kind(field.annotation), *default))
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


def kind(annotation: Any) -> Any:
    """A field's type, with a look-alike where it names a record."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return look_alike(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(map(kind, get_args(annotation)))]  # noqa: UP007
    return annotation
