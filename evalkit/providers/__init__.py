"""Ways to reach a model; one module a way, and the folder is the registry.

A module has a class `Provider(model, keys)`, as `evalkit.chat` describes it. It makes one call at
a time, when it is told to: it never retries, never waits for a better moment, writes nothing.
Where we put the messages into a chat template ourselves, a function `spoken_to` finds it.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Protocol, cast

from evalkit.catalog import Model
from evalkit.chat import Provider
from evalkit.errors import Missing, Unknown
from evalkit.keys import Keys


class Way(Protocol):
    """What a module of this folder offers."""

    def Provider(self, model: Model, keys: Keys) -> Provider:  # noqa: N802
        """Reach one model. Raises Missing without the key that it needs, BadKey for a bad one."""
        ...


def prepared(model: Model, templates: Mapping[str, Path], wanted: str | None) -> Model:
    """A model with the chat template that it is spoken to with, where that is ours to choose.

    `templates`: the files of prompts/chat/; `wanted`: the one that the user named.
    """
    way = load(model.stanza.provider) if model.stanza.provider else None
    spoken_to = getattr(way, "spoken_to", None)
    if spoken_to is None:
        if wanted is not None:
            raise Missing(
                f"{model.name} is no checkpoint that is loaded here: it takes no template"
            )
        return model
    return replace(model, template=spoken_to(model, templates, wanted))


def names() -> list[str]:
    """The ways that there are."""
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Way:
    """The way called `name`; raises Unknown with the nearest one."""
    if name not in names():
        raise Unknown("provider", name, names())
    return cast(Way, import_module(f"{__name__}.{name}"))
