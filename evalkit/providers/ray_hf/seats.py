"""Who can be asked for a checkpoint on a cluster: one Provider an actor, each on its own place.

The actors of a run are shared by all its checkpoints and end with the last of their Providers. One
that has ended is started anew when it is asked again, where its node is there or another has room.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

from evalkit.catalog import Model, Stanza, with_path
from evalkit.chat import Failure, Kind, Reply, Request, unheard
from evalkit.errors import Missing, count
from evalkit.keys import Keys
from evalkit.providers.hf_local.provider import AT_ONCE
from evalkit.providers.ray_hf import cluster
from evalkit.providers.ray_hf.actor import Actor, Taken
from evalkit.providers.ray_hf.cluster import Place


@dataclass(eq=False)
class _Seat:
    """An actor, and where it runs; another one takes its seat when it has ended."""

    place: Place
    models: dict[str, Model] = field(default_factory=dict)
    actor: Any = None
    """None: it has ended."""
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def start(self) -> Any:
        """Start the actor; returns what is there when it runs."""
        import ray

        has: dict[str, Any] = {"num_cpus": self.place.cpus}
        if self.place.cpus is None:
            has = {"num_cpus": 0, "num_gpus": 1}
        made = ray.remote(Actor).options(max_restarts=0, **has, **cluster.at(self.place))
        self.actor = made.remote(self.place.cpus)
        return self.actor.ready.remote()

    def end(self) -> None:
        """End the actor."""
        import ray

        if self.actor is not None:
            ray.kill(self.actor)
        self.actor = None


class _Run:
    """The seats of this process on the one cluster that it is connected to."""

    now: "_Run | None" = None

    def __init__(self, on: str, keys: Keys) -> None:
        """Raises Missing where no cluster is, or no place on it."""
        cluster.connect(on, keys)
        self.on = on
        self.left_out: dict[Place, str] = {}
        self.seats: list[_Seat] = []
        self.providers: WeakSet[Provider] = WeakSet()

    def fill(self) -> None:
        """Start an actor on every place. Raises Missing where none starts."""
        import ray

        found = cluster.places()
        if not found:
            raise Missing("the Ray cluster has neither a GPU nor a CPU to give")
        self.left_out = cluster.unfit(found)
        self.seats = [_Seat(place) for place in found if place not in self.left_out]
        begun = {seat: seat.start() for seat in self.seats}
        ray.wait([*begun.values()], num_returns=max(1, len(begun)), timeout=cluster.START)
        for seat, ref in begun.items():
            try:
                ray.get(ref, timeout=0)
            except ray.exceptions.RayError as error:
                self._leave_out(seat, cluster.told(error))
        if not self.seats:
            raise Missing(f"no engine starts on the Ray cluster. {_why(self.left_out)}")

    def take(self, model: Model) -> dict[_Seat, Taken]:
        """Who can load a checkpoint."""
        import ray

        asked = {seat: seat.actor.take.remote(model) for seat in self.seats if seat.actor}
        found = {}
        for seat, ref in asked.items():
            try:
                found[seat] = ray.get(ref)
            except (ray.exceptions.RayTaskError, KeyboardInterrupt):
                raise
            except ray.exceptions.RayError as error:
                found[seat] = Taken(why_not=cluster.told(error))
        return found

    def spare(self, seat: _Seat) -> Place | None:
        """Where a seat can be from now on: where it was, or a place that nobody has."""
        taken = {each.place for each in self.seats if each is not seat}
        free = [place for place in cluster.places() if place not in taken | set(self.left_out)]
        return next((place for place in free if place == seat.place), next(iter(free), None))

    def close(self, provider: "Provider | None" = None) -> None:
        """Let go of a Provider; with the last of them all actors end, and the connection."""
        if provider is not None:
            self.providers.discard(provider)
        if self.providers or _Run.now is not self:
            return
        _Run.now = None
        try:
            for seat in self.seats:
                seat.end()
        finally:
            cluster.disconnect()

    def _leave_out(self, seat: _Seat, why: str) -> None:
        seat.end()
        self.seats.remove(seat)
        self.left_out[seat.place] = why


@dataclass
class _Pool:
    """What the Providers of one checkpoint know together."""

    size: int
    unable: dict["Provider", str] = field(default_factory=dict)
    """Those that cannot load it, and why."""


class Provider:
    """One checkpoint on one actor."""

    def __init__(self, model: Model, run: _Run, seat: _Seat, pool: _Pool) -> None:
        self._model = model
        self._run = run
        self._seat = seat
        self._pool = pool
        self.shares = f"{model.name} on {seat.place}"
        self.at_once: int | None = AT_ONCE
        self.notes: tuple[str, ...] = ()
        run.providers.add(self)

    async def reply(
        self, request: Request, hear: Callable[[str], None] = unheard
    ) -> Reply | Failure:
        """Make one call; starts the actor where it has ended. `hear` gets the text as a whole."""
        from ray.exceptions import RayError, RayTaskError

        seat = self._seat
        actor = None
        try:
            async with seat.starting:
                why = None if seat.actor else await self._start()
            if why is not None:
                return self._down(why)
            actor = seat.actor
            came: Reply | Failure = await _there(actor.reply.remote(self._model.name, request))
        except RayTaskError:  # a mistake of ours, over there
            raise
        except (RayError, ConnectionError, TimeoutError) as error:
            if seat.actor is actor:
                seat.actor = None
            return self._down(cluster.told(error))
        if isinstance(came, Failure):
            return self._unable(came) if came.kind == Kind.UNLOADABLE else came
        if came.text:
            hear(came.text)
        return came

    async def close(self) -> None:
        """Let go of the actor, which ends when nobody needs it."""
        self._run.close(self)

    async def _start(self) -> str | None:
        """Start the actor again, with all that it had taken; returns why that cannot be."""
        place = await asyncio.to_thread(self._run.spare, self._seat)
        if place is None:
            return "its node is gone"
        self._seat.place = place
        begun = self._seat.start()
        try:
            async with asyncio.timeout(cluster.START):
                await begun
        except BaseException:
            self._seat.end()
            raise
        for model in self._seat.models.values():
            taken: Taken = await self._seat.actor.take.remote(model)
            if taken.why_not is not None:
                self._seat.end()
                return taken.why_not
        return None

    def _down(self, why: str) -> Failure:
        return Failure(Kind.DOWN, f"{self._model.name} on {self._seat.place}: {why}")

    def _unable(self, came: Failure) -> Failure:
        """It cannot be loaded there; only where nobody can is there no sense in asking on."""
        self._pool.unable[self] = came.said
        if len(self._pool.unable) < self._pool.size:
            return self._down(came.said)
        return replace(came, said=f"{came.said} (on {self._seat.place})")


def pool(model: Model, keys: Keys) -> tuple[Provider, ...]:
    """Whom to ask for a checkpoint. Raises Missing where it can be loaded nowhere."""
    on = model.stanza.cluster or "ray"
    run = _Run.now
    if run is not None and run.on != on and run.providers:
        raise Missing(f"one Ray cluster at a time: {model.name} is on {on}, others on {run.on}")
    if run is not None and run.on != on:
        run.close()
        run = None
    if run is None:
        run = _Run.now = _Run(on, keys)
    try:
        if not run.seats:
            run.fill()
        sent = _sent(model)
        found = run.take(sent)
        refused = {seat.place: took.why_not for seat, took in found.items() if took.why_not}
        able = {seat: took for seat, took in found.items() if took.why_not is None}
        if not able:
            raise Missing(f"{model.name} can be loaded on no node. {_why(refused)}")
        known = _Pool(len(able))
        for seat in able:
            seat.models[model.name] = sent
        made = tuple(Provider(sent, run, seat, known) for seat in able)
    except BaseException:
        run.close()
        raise
    left_out = {**run.left_out, **refused}
    made[0].notes = tuple(_notes(sent, able, left_out))
    return made


def _sent(model: Model) -> Model:
    """What a node is told of a model: no more than it takes to load it and to speak to it."""
    stanza = Stanza(provider="hf_local", dtype=model.stanza.dtype)
    if model.stanza.path is not None:
        stanza = with_path(stanza, Path(model.stanza.path).absolute())
    return Model(model.name, model.id, stanza, template=model.template)


def _notes(model: Model, able: dict[_Seat, Taken], left_out: dict[Place, str]) -> Iterable[str]:
    """Who writes, what one of them needs, and who does not write, and why."""
    places = [seat.place for seat in able]
    nodes = len({place.node for place in places})
    gpus = places[0].cpus is None
    has = count(len(places), "GPU") if gpus else count(sum(p.cpus or 0 for p in places), "CPU")
    actors = count(len(places), "actor")
    yield f"{model.name}: {actors} on {count(nodes, 'node')} of a Ray cluster ({has})"
    yield from next(iter(able.values())).notes
    for place, why in left_out.items():
        yield f"left out: {place}: {why}"


def _why(left_out: dict[Place, str]) -> str:
    """Why nobody can, each reason with the place that gave it first."""
    whys: dict[str, Place] = {}
    for place, why in left_out.items():
        whys.setdefault(why, place)
    return "; ".join(f"{place}: {why}" for why, place in whys.items())


async def _there(ref: Any) -> Any:
    """What a call gives; nobody writes on where nobody waits."""
    import ray

    try:
        return await ref
    except asyncio.CancelledError:
        ray.cancel(ref)
        raise
