"""Ways to reach a model; one module a way, and the folder is the registry.

A module has a class `Provider(model, keys)`, as `evalkit.chat` describes it. It makes one call at
a time, when it is told to: it never retries, never waits for a better moment, writes nothing.
Where several can be asked for one model, a function `pool(model, keys)` gives them all, each with
its own `shares`; without one, each address of the model is reached by a Provider.
Where we put the messages into a chat template ourselves, a function `spoken_to` finds it, and
`speech` shows what comes of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol, cast

from evalkit.batches import Service
from evalkit.catalog import Model
from evalkit.chat import Provider
from evalkit.errors import Unknown
from evalkit.keys import Keys


class Way(Protocol):
    """What a module of this folder offers."""

    def Provider(self, model: Model, keys: Keys) -> Provider:  # noqa: N802
        """Reach one model. Raises Missing without the key that it needs, BadKey for a bad one."""
        ...


def servers(model: Model, keys: Keys) -> tuple[Provider, ...]:
    """Whom to ask for a model: any of them. Raises as `Provider` does."""
    pool = _offered(model, "pool")
    if pool is not None:
        found: tuple[Provider, ...] = pool(model, keys)
        return found
    way = load(str(model.way))
    return tuple(way.Provider(each, keys) for each in model.apart())


def prepared(model: Model, templates: Mapping[str, Path], wanted: str | None) -> Model:
    """A model with the chat template that it is spoken to with, where that is ours to choose.

    `templates`: the files of prompts/chat/; `wanted`: the one that the user named.
    """
    spoken_to = _offered(model, "spoken_to")
    return replace(model, template=spoken_to(model, templates, wanted)) if spoken_to else model


def speech(model: Model) -> Any:
    """What spells a conversation as the text and the tokens of a model, where that is ours to do.

    None elsewhere; else its `spelt(messages)` gives both.
    """
    speech_of = _offered(model, "speech")
    return speech_of(model) if speech_of else None


def batches(model: Model, provider: Provider) -> Service | None:
    """How the calls to a model are made in batches; None where they are not, as far as we know."""
    offered = _offered(model, "Batches") if model.stanza.batch else None
    return cast(Service, offered(provider)) if offered else None


def _offered(model: Model, what: str) -> Any:
    """A function that only some ways have."""
    return getattr(load(model.way), what, None) if model.way else None


def names() -> list[str]:
    """The ways that there are."""
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Way:
    """The way called `name`; raises Unknown with the nearest one."""
    if name not in names():
        raise Unknown("provider", name, names())
    return cast(Way, import_module(f"{__name__}.{name}"))
