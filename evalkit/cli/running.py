"""A run of the runner as a person meets it: what it will do, its progress, Ctrl-C, how it ended.

Knows no verb and no question. Holds the one `asyncio.run`.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import click

from evalkit import providers
from evalkit.catalog import Catalog, Model
from evalkit.chat import Failure, Kind, Provider
from evalkit.cli.verb import note, say
from evalkit.errors import Missing, count
from evalkit.escape import one_line
from evalkit.fleet import Turn
from evalkit.keys import Keys, tail
from evalkit.price import Estimate, in_dollars
from evalkit.runner import Run, Stop, Work

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is not on every system
ASK_FROM = 1.0  # dollars; below, nobody is asked whether to go on
PLAIN_SECONDS = 10.0  # between lines, where there is no terminal
PLAIN_SHARE = 0.1  # of all calls
_LOOK = 0.1  # seconds between two looks at a run


def reached(model: Model) -> str:
    """Where the calls to a model go, and with whose key, for its owner to check."""
    stanza = model.stanza
    if model.url is None:
        if stanza.provider == "replay":
            return f"recording {stanza.path}"
        where = stanza.path or f"{model.id} of the hub"
        there = f"{where} on {stanza.cluster or 'this machine'}"
        if model.template is None:
            return there
        return f"{there}, template {model.template.name or 'of its tokenizer'}"
    where = model.url
    if model.others:
        hosts = ", ".join(urlsplit(url).netloc for url in model.urls)
        where = f"{len(model.urls)} servers: {hosts}"
    if stanza.key_env is None:
        return f"{where} (no key sent)"
    key = os.environ.get(stanza.key_env)
    shown = f"key {stanza.key_env} {tail(key)}" if key else f"key {stanza.key_env}, not set"
    return f"{where} ({shown})"


def priced(model: Model, estimate: Estimate) -> str:
    """What the owed calls to a model cost."""
    price = model.stanza.price
    if model.is_free:
        return "free"
    if price is None or estimate.about is None or estimate.most is None:
        return "price unknown"
    about, most = in_dollars(estimate.about), in_dollars(estimate.most)
    return f"about {about}, at most {most} (prices of {price.date})"


def check_price(models: Sequence[Model], most: float, budget: float | None, yes: bool) -> None:
    """Refuse a budget that cannot hold; ask a person before a dollar or more is spent."""
    unknown = [m.name for m in models if m.stanza.price is None and not m.is_free]
    if budget is not None and unknown and not yes:
        raise Missing(
            f"the price of {', '.join(unknown)} is unknown, so no budget can hold. "
            "Give it a `price:` in evalkit.yaml, or --yes to go on without"
        )
    asked = sys.stdin.isatty() and sys.stderr.isatty()
    if asked and not yes and budget is None and most >= ASK_FROM:
        click.confirm(f"at most {in_dollars(most)}. Go on?", abort=True, err=True)


class Teller:
    """Says what goes wrong while it does: the first of each kind, or all of them."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._told: set[tuple[str, Kind, bool]] = set()
        self._left_out: set[str] = set()

    def __call__(self, work: Work, failure: Failure, wait: float | None) -> None:
        """Take a failure, and in how many seconds it is tried again; 0: of another server."""
        key = (work.name, failure.kind, wait is None)
        new = key not in self._told and not (wait == 0 and failure.said in self._left_out)
        if (self._verbose or new) and not _stops(failure):
            then = "left owed" if wait is None else f"trying again in {_seconds(wait)}"
            say(f"{failure.said}; {'asking another server' if wait == 0 else then}")
        if new:
            self._told.add(key)

    def turned(self, turn: Turn) -> None:
        """Take what has become of a server; of one that stays away only the first is said."""
        if turn.failure is None:
            say(f"{turn.name} replies again")
        elif self._verbose or not turn.again:
            said = turn.failure.said
            self._left_out.add(said)
            say(f"{said}; left out, tried again in {_seconds(turn.seconds)}")


def _stops(failure: Failure) -> bool:
    """Whether the end of the run will tell of it anyway."""
    return failure.kind in (Kind.KEY, Kind.QUOTA, Kind.NO_MODEL, Kind.UNLOADABLE)


class Shown(Protocol):
    """A way to show progress."""

    def look(self, run: Run) -> None:
        """Show where the run is."""
        ...


class Plain:
    """A line now and then, where there is no terminal to draw on."""

    def __init__(self) -> None:
        self._begun = self._last = time.monotonic()
        self._shown = 0

    def look(self, run: Run) -> None:
        """Say a line, where it is time for one."""
        now = time.monotonic()
        done, total = sum(work.kept for work in run.works), sum(map(_calls, run.works))
        some = done - self._shown >= max(1, PLAIN_SHARE * total)
        if now - self._last < PLAIN_SECONDS and not (some and now - self._last >= 1):
            return
        self._last, self._shown = now, done
        rate = done / (now - self._begun)
        parts = [f"{done}/{total} calls", f"{rate:.1f}/s", _in_flight(run, run.in_flight)]
        if spent := sum(work.dollars for work in run.works):
            parts.append(in_dollars(spent))
        if rate and done < total:
            parts.append(f"eta {_clock((total - done) / rate)}")
        note("  " + "   ".join(parts))


@contextmanager
def _shown(run: Run) -> Iterator[Shown]:
    """How progress is shown: bars on a terminal, lines elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Plain()
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("  {task.fields[name]}", markup=False),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rest]}", markup=False),
        progress.TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True)
    with progress.Progress(*columns, console=console, refresh_per_second=8) as bars:
        tasks = {
            work.name: bars.add_task("", total=work.owed, name=one_line(work.name), rest="")
            for work in run.works
        }
        yield _Bars(bars, tasks)


class _Bars:
    def __init__(self, bars: Any, tasks: dict[str, Any]) -> None:
        self._bars = bars
        self._tasks = tasks

    def look(self, run: Run) -> None:
        for work in run.works:
            speed = self._bars.tasks[self._tasks[work.name]].speed
            parts = [f"{speed:.1f}/s"] if speed else []
            if work.dollars:
                parts.append(in_dollars(work.dollars))
            if work.kept < work.owed:
                parts.append(_in_flight(run, work.in_flight))
            rest = "  ".join(parts)
            self._bars.update(
                self._tasks[work.name], total=_calls(work), completed=work.kept, rest=rest
            )


def _calls(work: Work) -> int:
    """How many a work takes: those that were owed, or more where a reply needed another one."""
    return max(work.owed, work.kept + work.in_flight)


def _in_flight(run: Run, calls: int) -> str:
    """Calls under way, and whether they are fewer than they were because a service wants it so."""
    return f"{calls} in flight" + (", slowed by 429" if run.cuts else "")


def perform(run: Run) -> int:
    """Make all calls of a run; returns the exit code that a signal asks for, 0 without one."""
    with opened([each for work in run.works for each in work.providers], WORK) as make:
        return make(run)


@dataclass(frozen=True)
class Manner:
    """How a person meets a run."""

    shown: "Callable[[Run], AbstractContextManager[Shown]]"
    """What shows its progress."""
    interrupted: Callable[[Run, list[int], int], None]
    """What a signal does; it is given those that were caught."""


@contextmanager
def opened(asked: Sequence[Provider], manner: Manner) -> Iterator[Callable[[Run], int]]:
    """A loop for runs, one after the other, of providers that are closed at its end.

    Yields what makes all calls of a run and returns as `perform` does.
    """
    with looped(asked) as within:
        yield lambda run: within(made(run, manner))


@contextmanager
def looped(asked: Sequence[Provider]) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """A loop for all that is done over some providers, which are closed at its end."""
    with asyncio.Runner() as runner:
        try:
            yield runner.run
        finally:
            for provider in asked:
                runner.run(provider.close())


async def made(run: Run, manner: Manner) -> int:
    """Make all calls of a run; returns as `perform` does."""
    caught: list[int] = []

    def take(number: int) -> None:
        caught.append(number)
        manner.interrupted(run, caught, number)

    with _interrupts(take), manner.shown(run) as shown:
        watching = asyncio.create_task(_watch(run, shown))
        try:
            await run.finish()
        finally:
            watching.cancel()
            shown.look(run)
    return 128 + caught[0] if caught else 0


async def _watch(run: Run, shown: Shown) -> None:
    while True:
        await asyncio.sleep(_LOOK)
        shown.look(run)


def _interrupted(run: Run, caught: list[int], number: int) -> None:
    if number == getattr(signal, "SIGHUP", None):
        with suppress(OSError):  # the terminal is gone, and with it whoever read our words
            for file in (sys.stdout.fileno(), sys.stderr.fileno()):
                os.dup2(os.open(os.devnull, os.O_WRONLY), file)
    if len(caught) > 1:
        run.drop()
        return
    run.stop()
    if run.in_flight:
        calls = count(run.in_flight, "call")
        say(f"stopping: {calls} in flight, waiting (Ctrl-C again to drop them)")


class _Unseen:
    def look(self, run: Run) -> None:
        """A reply is heard while it comes; there is nothing else to show."""


WORK = Manner(_shown, _interrupted)
"""Many calls: bars or lines, and a signal lets what is under way finish."""
TALK = Manner(lambda _: nullcontext(_Unseen()), lambda run, _, __: run.drop())
"""One call that somebody listens to, until a signal."""


@contextmanager
def _interrupts(take: Callable[[int], None]) -> Iterator[None]:
    """Give signals to the running loop, which is woken by them."""
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {
        each: signal.signal(each, lambda number, _: loop.call_soon_threadsafe(take, number))
        for each in known
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def tell_end(run: Run, owed: int) -> None:
    """Say why a run ended early, where it did, each reason in one line."""
    for stop in run.stops:
        say(_why_it_stopped(run, stop, owed))
    if run.over_budget:
        limit, spent = in_dollars(run.budget.limit or 0), in_dollars(run.budget.spent)
        say(f"the next call could pass the budget: spent {spent} of {limit}; {owed} owed.")
    if run.error:
        for line in run.error.lines():
            say(line)


def _why_it_stopped(run: Run, stop: Stop, owed: int) -> str:
    kept = sum(work.kept for work in run.works)
    spent = f", spent {in_dollars(run.budget.spent)}" if run.budget.spent else ""
    said = stop.failure.said
    match stop.failure.kind:
        case Kind.KEY:
            return f"{said}. Stopped after {count(stop.calls, 'call')}; {owed} owed."
        case Kind.QUOTA:
            return f"{said}. Kept {kept}, owed {owed}{spent}. Add credit, run it again."
        case Kind.NO_MODEL:
            return f"{said}. evalkit models {stop.name} --check lists what is there; {owed} owed."
        case Kind.UNLOADABLE:
            return f"{said}; {owed} owed."
        case Kind.BUSY:
            return f"{said} and took no call for too long. Kept {kept}, owed {owed}. Run it again."
    return f"{said}. Stopped after {count(stop.calls, 'call')}; {owed} owed. Run it again."


def exit_code(run: Run, owed: int, signalled: int) -> int:
    """How a run ends: 0 done, 1 something is owed, 2 a key or a model that is none."""
    if signalled:
        return signalled
    mistakes = (Kind.KEY, Kind.NO_MODEL, Kind.UNLOADABLE)
    if any(stop.failure.kind in mistakes for stop in run.stops):
        return 2
    return 1 if owed else 0


def providers_of(model: Model, catalog: Catalog) -> tuple[Provider, ...]:
    """The ways to a model, with its key. Raises Missing or BadKey where there is no such way."""
    stanza = model.stanza
    if stanza.provider is None:
        by_hand = f"evalkit import answers FILE --model {model.name}"
        raise Missing(f"{model.name} has no API. Import what it said: {by_hand}")
    named = catalog.variables() | ({stanza.key_env} if stanza.key_env else set())
    return providers.servers(model, Keys(os.environ, named))


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
