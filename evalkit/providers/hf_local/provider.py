"""The calls to one checkpoint: they come in from the loop, and a thread of their own writes them.

The thread loads the checkpoint when the first call comes. Of several checkpoints in one run one
is in memory at a time: whoever has nothing left to write makes room for the one that waits.
"""

import asyncio
import gc
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evalkit import checkpoint
from evalkit.catalog import Model
from evalkit.chat import Failure, Kind, Reply, Request, apart, unheard
from evalkit.errors import Missing
from evalkit.keys import Keys
from evalkit.prompts import ChatTemplate
from evalkit.providers.hf_local import files, memory
from evalkit.providers.hf_local.speech import Speech
from evalkit.records import Usage

if TYPE_CHECKING:
    from evalkit.providers.hf_local.engine import Engine, Row

AT_ONCE = 256  # calls in flight: what waits is sorted by length
ROWS = {"cpu": 96, "cuda": 256}  # written together at most; memory may allow fewer
IDLE = 0.5  # seconds without a call after which another checkpoint may have the memory
LONGEST = 4096  # tokens of a reply, where neither the call nor the checkpoint sets a limit
HALF = "\ufffd"  # what a character is read as while not all of its bytes are there


class _Turn:
    """One checkpoint in memory at a time."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._taken = False
        self.wanted = 0
        """How many wait."""

    def __enter__(self) -> None:
        with self._free:
            self.wanted += 1
            self._free.wait_for(lambda: not self._taken)
            self.wanted -= 1
            self._taken = True

    def __exit__(self, *_: object) -> None:
        with self._free:
            self._taken = False
            self._free.notify()


_TURN = _Turn()


@dataclass(eq=False)
class _Job:
    """One call, on its way to the thread and back."""

    row: "Row"
    done: "asyncio.Future[str | None]"
    """Why there is no reply, or None: it stands in the row."""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def end(self, why: str | None = None) -> None:
        self._tell(self.done.set_result, why)

    def fail(self, error: BaseException) -> None:
        """A bug surfaces where the call was made."""
        self._tell(self.done.set_exception, error)

    def _tell(self, what: Callable[[Any], None], value: Any) -> None:
        def now() -> None:
            if not self.done.done():  # nobody waits for it any more
                what(value)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(now)


class Provider:
    """One checkpoint."""

    def __init__(self, model: Model, keys: Keys) -> None:  # noqa: ARG002
        """Raises Missing without the extra, or where it does not fit; BadFile for a broken one."""
        files.check_extra(model)
        self._name, self._id = model.name, model.id
        self._folder = files.folder(model)
        found, config = checkpoint.read(self._folder), checkpoint.config(self._folder)
        free = memory.free()
        self._way = memory.placed(found, config, model.stanza.dtype, free)
        self._context = memory.context(config)
        if not self._way.fits:
            ways = memory.fitting(found, config, free)
            raise Missing(memory.refusal(model.name, found, self._way, ways))
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._why_not: str | None = None
        """Why it cannot be loaded, once that was tried in vain."""
        self.where = self._way.where
        """As `memory.Placement.where`."""
        self.shares = f"{self._folder} on this machine"
        self.at_once: int | None = AT_ONCE
        self.notes: tuple[str, ...] = (memory.told_of(model.name, found, self._way),)
        if model.template is None:  # looked at, and not asked
            own = checkpoint.chat_template(self._folder) is not None
            has = "its tokenizer has a chat template" if own else "no chat template of its own"
            self.notes += (f"{model.name}: {has}",)
        self._speech = Speech(self._folder, model.template or ChatTemplate(None, ""))

    async def reply(
        self, request: Request, hear: Callable[[str], None] = unheard
    ) -> Reply | Failure:
        """Have one reply written, beside those that are under way."""
        from jinja2 import TemplateError

        from evalkit.providers.hf_local.engine import Row

        begun = time.monotonic()
        try:
            _, ids = self._speech.spelt(request.messages)
        except TemplateError as error:
            said = f"{self._name}: its chat template refuses this conversation: {error}"
            return Failure(Kind.REJECTED, said)
        if request.schema is not None:
            said = f"{self._name}: a checkpoint that is loaded here holds no reply to a schema"
            return Failure(Kind.REJECTED, said)
        room = (self._context or len(ids) + LONGEST) - len(ids)
        if room < 1:
            said = f"{self._name}: a prompt of {len(ids)} tokens, and it takes {self._context}"
            return Failure(Kind.TOO_LONG, said)
        sampling = request.sampling
        heat = sampling.temperature or 0.0
        most = min(room, sampling.max_tokens or LONGEST)
        job = _Job(
            Row(ids, most, heat, random.Random(sampling.seed)),
            asyncio.get_running_loop().create_future(),
        )
        job.row.ended = self._listening(job, hear)
        self._start(job)
        try:
            why = await job.done
        finally:
            job.row.dropped = True
        if why is not None:
            return Failure(Kind.UNLOADABLE, why)
        if job.row.finish == "memory":
            said = f"{self._name}: {len(ids)} tokens and their reply alone are more than fits"
            return Failure(Kind.TOO_LONG, said)
        text, reasoning = apart(self._speech.text(job.row.said))
        sent = {"temperature": heat, "max_tokens": most, "seed": sampling.seed}
        return Reply(
            text=text,
            served=f"{self._id} ({self._way.dtype})",
            usage=Usage(input=len(ids), output=len(job.row.said)),
            finish_reason=job.row.finish,
            reasoning=reasoning,
            sampling={name: value for name, value in sent.items() if value is not None},
            latency=round(time.monotonic() - begun, 4),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            template=self._speech.template.hash,
        )

    async def close(self) -> None:
        """End the thread; the memory is free then."""
        if self._thread is not None:
            self._inbox.put(None)
            await asyncio.to_thread(self._thread.join)

    def _listening(self, job: _Job, hear: Callable[[str], None]) -> Callable[[list[int]], bool]:
        """What the row asks after each token: is this the end? It tells who listens, too."""
        held = self._speech.longest_stop
        heard = 0

        def ended(said: list[int]) -> bool:
            nonlocal heard
            if hear is not unheard:
                text = self._speech.text(said).rstrip(HALF)
                safe = max(heard, len(text) - held)
                piece, heard = text[heard:safe], safe
                job.loop.call_soon_threadsafe(hear, piece)
            return held > 0 and self._speech.stops(said)

        return ended

    # -- the thread

    def _start(self, job: _Job) -> None:
        self._inbox.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name=self.shares)
            self._thread.start()

    def _work(self) -> None:
        while (job := self._inbox.get()) is not None:
            if self._why_not is not None:
                job.end(self._why_not)
                continue
            with _TURN:
                more = self._write(job)
            gc.collect()
            if not more:
                return

    def _write(self, first: _Job) -> bool:
        """Load the checkpoint and write until there is nothing to do; False: it is over."""
        jobs = {first.row: first}
        try:
            engine = self._loaded()
            engine.waiting.append(first.row)
            while True:
                while (job := self._next(idle=not jobs)) is not None:
                    jobs[job.row] = job
                    engine.waiting.append(job.row)
                for row in engine.step():
                    jobs.pop(row).end()
        except _Over as over:
            return over.more
        except _Unloadable as error:
            self._why_not = str(error)
            first.end(self._why_not)
            return True
        except BaseException as error:
            for job in jobs.values():
                job.fail(error)
            return False

    def _next(self, *, idle: bool) -> _Job | None:
        """The next call that came; None: none is there, and others are under way."""
        while True:
            try:
                job = self._inbox.get(timeout=IDLE) if idle else self._inbox.get_nowait()
            except queue.Empty:
                if not idle:
                    return None
                if _TURN.wanted:
                    raise _Over(more=True) from None
                continue
            if job is None:
                raise _Over(more=False)
            return job

    def _loaded(self) -> "Engine":
        import torch
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig
        from transformers.utils import logging

        from evalkit.providers.hf_local.engine import Engine

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        how: dict[str, Any] = {"dtype": torch.bfloat16}
        if self._way.dtype == "8bit":
            how["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
        elif self._way.dtype == "4bit":
            how["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
            )
        else:
            how["dtype"] = getattr(torch, self._way.dtype)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                self._folder,
                device_map=self._way.where,
                local_files_only=True,
                trust_remote_code=False,
                **how,
            ).eval()
        except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as error:
            said = " ".join(str(error).split())[:300]
            raise _Unloadable(f"{self._name} cannot be loaded: {said}") from error
        kind = "cpu" if self._way.where == "cpu" else "cuda"
        told = model.generation_config.eos_token_id
        ends = {self._speech.end, *(told if isinstance(told, list) else [told])} - {None}
        return Engine(model, [*ends], limit=ROWS[kind], tokens=self._way.tokens)


class _Unloadable(Exception):
    """Why not, in one line."""


class _Over(Exception):
    """Nothing is left to write; `more`: another call may come later."""

    def __init__(self, *, more: bool) -> None:
        self.more = more
