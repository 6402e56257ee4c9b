"""A GGUF file as a model: llama.cpp's server on a port of this machine, for as long as it is asked.

The server (of xllamacpp) is a process of its own, which ends with this one; it starts when the
first call comes. It is then asked as any server is, and holds replies to a schema.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from evalkit import prompts
from evalkit.catalog import Model, Stanza
from evalkit.chat import Failure, Kind, Reply, Request, unheard
from evalkit.errors import BadFile, BadPath, Fault, Missing
from evalkit.keys import Keys
from evalkit.prompts import ChatTemplate
from evalkit.providers import openai_api
from evalkit.providers.hf_local import memory

NEEDS = ("xllamacpp", "gguf", "psutil")
SLOTS = 4  # replies written at once
CONTEXTS = (8192, 4096, 2048)  # tokens of a prompt and its reply: the most that fits
START = 600.0  # seconds until a server is given up that says nothing


def spoken_to(model: Model, _: Mapping[str, Path], wanted: str | None) -> ChatTemplate:
    """The chat template in the file. Raises Missing where there is none: llama.cpp would guess."""
    if wanted is not None:
        raise Missing(f"{model.name} is a GGUF file, which is spoken to by the template in it")
    if model.stanza.dtype is not None:
        raise Missing(f"{model.name} is a GGUF file, which is loaded as the type that it has")
    if model.stanza.cluster is not None:
        raise Missing(f"{model.name} is a GGUF file, which is loaded on this machine")
    own = _header(model).get("tokenizer.chat_template")
    if not isinstance(own, str):
        raise Missing(
            f"{model.stanza.path} holds no chat template. Make it anew from a checkpoint that has "
            "one, or serve it: llama-server --chat-template ..."
        )
    return prompts.ChatTemplate(None, own)


class Provider:
    """One GGUF file."""

    def __init__(self, model: Model, _: Keys) -> None:
        """Raises Missing without the extra, or where it does not fit into the memory."""
        header = _header(model)
        self._model = model
        self._path = Path(str(model.stanza.path))
        self._context, needs, free = _fitting(header, self._path.stat().st_size)
        told = f"{model.name}: {SLOTS} replies of {self._context:,} tokens: {memory.size(needs)}"
        self.notes: tuple[str, ...] = (f"{told}, {memory.size(free)} are free",)
        if needs > free:
            raise Missing(f"{self.notes[0]}: too big for this machine")
        self.shares = f"{self._path} on this machine"
        self.at_once: int | None = SLOTS
        self._begun = asyncio.Lock()
        self._server: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] | None = None
        self._asked: openai_api.Provider | None = None
        self._failure: Failure | None = None
        """Why the server did not start, once that was tried in vain."""

    async def reply(
        self, request: Request, hear: Callable[[str], None] = unheard
    ) -> Reply | Failure:
        """Make one call; the first one starts the server."""
        async with self._begun:
            if self._asked is None and self._failure is None:
                self._failure = await self._start()
        if self._asked is None:
            assert self._failure is not None
            return self._failure
        came = await self._asked.reply(request, hear)
        template = self._model.template
        if isinstance(came, Failure) or template is None:
            return came
        return replace(came, template=template.hash)

    async def close(self) -> None:
        """End the server."""
        if self._asked is not None:
            await self._asked.close()
        if self._server is not None:
            if self._server.returncode is None:
                self._server.kill()
            await self._server.wait()
        if self._log is not None:
            self._log.close()

    async def _start(self) -> Failure | None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"{__name__}.server", str(self._path)),
            *(self._model.name, str(SLOTS), str(self._context)),
            stdin=asyncio.subprocess.PIPE,  # it ends by itself where this process dies
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # a Ctrl-C is ours to deal with
        )
        assert self._server.stdout is not None
        line = b""
        try:
            async with asyncio.timeout(START):
                line = await self._server.stdout.readline()
        except TimeoutError:
            self._server.kill()
        url = line.decode(errors="replace").strip()
        if not url.startswith("http://"):
            await self._server.wait()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip().splitlines()
            why = next((each for each in said if "error" in each.lower()), "")
            return Failure(
                Kind.UNLOADABLE, f"{self._path} cannot be loaded: {why[-300:] or 'no word'}"
            )
        stanza = Stanza(provider="openai_api", url=(url,), stream=self._model.stanza.stream)
        there = replace(self._model, url=url, stanza=stanza)
        self._asked = openai_api.Provider(there, Keys({}, set()))
        return None


def _header(model: Model) -> dict[str, Any]:
    """What the file says of itself. Raises Missing without the extra, BadPath, BadFile."""
    if any(find_spec(name) is None for name in NEEDS):
        raise Missing(
            f"{model.name} is a GGUF file: pip install 'evalkit[gguf]'; or serve it with llama.cpp "
            f"and point at it: --model http://localhost:8080/v1#{model.name}"
        )
    path = Path(str(model.stanza.path))
    if not path.is_file():
        raise BadPath(f"{path}: no such file")
    try:
        return _fields(path.resolve())
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise BadFile([Fault(str(path), "not a whole GGUF file")]) from error


@cache
def _fields(path: Path) -> dict[str, Any]:
    """What stands in a header but for the vocabulary; read once, which takes a second or two."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    wanted = [name for name in fields if not name.startswith("tokenizer.ggml.")]
    return {name: fields[name].contents() for name in wanted}


def _fitting(header: dict[str, Any], weights: int) -> tuple[int, int, int]:
    """Tokens for each reply, the bytes that this needs, and the bytes that are free."""
    kind = header.get("general.architecture", "")
    heads = header.get(f"{kind}.attention.head_count") or 1
    config = {
        "num_attention_heads": heads,
        "num_key_value_heads": header.get(f"{kind}.attention.head_count_kv") or heads,
        "hidden_size": header.get(f"{kind}.embedding_length"),
        "head_dim": header.get(f"{kind}.attention.key_length"),
        "num_hidden_layers": header.get(f"{kind}.block_count"),
    }
    whole = {name: value for name, value in config.items() if isinstance(value, int)}
    each = memory.per_token(whole, 2)
    trained = header.get(f"{kind}.context_length") or CONTEXTS[0]
    free = memory.main_memory()
    sizes = [min(context, trained) for context in CONTEXTS]
    needs = [weights + each * context * SLOTS for context in sizes]
    ways = list(zip(sizes, needs, strict=True))
    context, need = next((way for way in ways if way[1] <= free * memory.SPARE), ways[-1])
    return context, need, free
