"""What runs on a node of a cluster: the checkpoints of a run, one of them in memory at a time.

Knows nothing of Ray; its methods are called from afar, and what they give travels as plain data.
"""

import asyncio
from dataclasses import dataclass

from evalkit.catalog import Model
from evalkit.chat import Failure, Reply, Request
from evalkit.errors import EvalkitError
from evalkit.keys import Keys
from evalkit.providers import hf_local


@dataclass(frozen=True)
class Taken:
    """Whether a checkpoint can be loaded here."""

    notes: tuple[str, ...] = ()
    why_not: str | None = None
    """In one line; None: it can."""


class Actor:
    """One process on one node, with a GPU of its own or without any."""

    def __init__(self, threads: int | None) -> None:
        """`threads`: that it may compute with; None: it has a GPU."""
        self._threads = threads
        self._loaded: dict[str, hf_local.Provider] = {}

    async def ready(self) -> None:
        """It runs."""

    async def take(self, model: Model) -> Taken:
        """Look at a checkpoint, which is loaded when the first call comes."""
        try:
            provider = await asyncio.to_thread(self._opened, model)
        except EvalkitError as error:
            return Taken(why_not="; ".join(error.lines()))
        if self._threads is None and provider.where != "cuda:0":
            fits = provider.where != "auto"
            lacks = "torch sees no GPU there" if fits else "it does not fit on one GPU"
            return Taken(why_not=f"{lacks}. {provider.notes[0]}")
        self._loaded[model.name] = provider
        return Taken(provider.notes)

    async def reply(self, name: str, request: Request) -> Reply | Failure:
        """Make one call to a checkpoint that was taken."""
        return await self._loaded[name].reply(request)

    def _opened(self, model: Model) -> hf_local.Provider:
        provider = hf_local.Provider(model, Keys({}, set()))
        if self._threads is not None:
            import psutil
            import torch

            torch.set_num_threads(min(self._threads, psutil.cpu_count(logical=False) or 1))
        return provider
