"""Makes calls: as many at once as a service takes, again where that can help, within a budget.

The only window to the world. It never knows what a request is about and writes nothing itself:
every reply goes to its work's `keep`, which has it on disk before it is counted. What fails for
good is counted by its kind and leaves nothing: it is owed.
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from evalkit.chat import Failure, Kind, Provider, Reply, Request
from evalkit.errors import EvalkitError
from evalkit.fleet import Fleet, Server, Turn
from evalkit.pace import Pace, Started
from evalkit.price import Budget, Price, dollars_at_most, dollars_of, tokens_about

TRIES = {Kind.DOWN: 6, Kind.BAD_REPLY: 3}  # of one call; while a service is busy: to the deadline
DEADLINE = 600.0  # seconds that a service may be busy without one reply
IN_A_ROW = 10  # calls given up without a reply between them: the others would fare alike
LONGEST_WAIT = 60.0  # seconds between two tries, where the service does not say
_OF_THE_REQUEST = {Kind.TOO_LONG, Kind.NOT_RECORDED}  # tells nothing of the next one
_OF_THE_SERVICE = {Kind.KEY, Kind.QUOTA}
_clock = time.monotonic


@dataclass
class Work:
    """What one model is to be asked, and what has come of it."""

    name: str
    providers: tuple[Provider, ...]
    """Any of them may be asked; where they are several, each has a `shares` of its own."""
    requests: Iterator[Request]
    keep: Callable[[Request, Reply, float | None], Request | None]
    """Takes a reply and its dollars, and returns what follows from it: the next turn, or None."""
    owed: int
    """How many calls it takes, follow-ups included."""
    price: Price | None = None
    free: bool = False
    wanted: Callable[[Request], bool] = lambda _: True
    """Asked before each start: whether the reply could still matter."""
    lost: Callable[[Request], None] = lambda _: None
    """Hears of each request that is given up."""
    kept: int = 0
    calls: int = 0
    """Made, those that failed included."""
    in_flight: int = 0
    dollars: float = 0.0
    """Of those whose cost is known."""
    unpriced: int = 0
    """Replies whose cost is not known."""
    failed: Counter[Kind] = field(default_factory=Counter)
    """Requests given up."""
    stopped: bool = False

    def at(self, server: Server) -> Provider:
        """The way to this model on a server."""
        return next(each for each in self.providers if each.shares == server.name)

    def cost(self, reply: Reply) -> float | None:
        """Dollars; None where they are not known."""
        return 0.0 if self.free else dollars_of(reply.usage, self.price)


@dataclass(frozen=True)
class Stop:
    """Why calls to a service, or to one of its models, ended early."""

    failure: Failure
    name: str
    """Of the work that met it."""
    calls: int
    """Made on the same service until then."""


@dataclass
class _Lane:
    """All work that the same servers can take."""

    works: list[Work]
    fleet: Fleet
    turnstile: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One call after the other passes, in the order in which they came."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    halt: asyncio.Event = field(default_factory=asyncio.Event)
    opened: int = 0
    """Requests taken up and not yet done with; some wait for another try."""
    in_a_row: int = 0
    replied: bool = False
    alive_at: float = field(default_factory=_clock)

    def turns(self) -> Iterator[tuple[Work, Request]]:
        """The requests of all its work, in turn."""
        waiting = list(self.works)
        while waiting:
            for work in list(waiting):
                request = None if work.stopped else next(work.requests, None)
                if request is None:
                    waiting.remove(work)
                else:
                    yield work, request

    @property
    def outstanding(self) -> int:
        """Calls that are owed, or under way at its servers for whomever."""
        here = sum(work.in_flight for work in self.works)
        there = sum(server.pace.in_flight for server in self.fleet.servers)
        owed = [w.owed - w.kept - w.failed.total() for w in self.works if not w.stopped]
        return there - here + max(here + 1, sum(owed))

    async def change(self, seconds: float) -> None:
        """Wait until something has ended, or so long."""
        self.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds if seconds < math.inf else None):
                await self.changed.wait()


class Run:
    """One run: every request of every work once, until all is kept or owed for a reason."""

    def __init__(
        self,
        works: Sequence[Work],
        budget: Budget,
        tell: Callable[[Work, Failure, float | None], None],
        *,
        concurrency: int | None = None,
        deadline: float = DEADLINE,
        turned: Callable[[Turn], None] = lambda _: None,
    ) -> None:
        """`tell` hears of each failure: of what, and in how many seconds it is tried again.

        0 seconds: of another server. `turned` hears of servers that are left out or taken in.
        """
        self.works = works
        self.budget = budget
        self.stops: list[Stop] = []
        self.error: EvalkitError | None = None
        """Why nothing more could be kept."""
        self.over_budget = False
        self._tell = tell
        self._turned = turned
        self._deadline = deadline
        self._halted = False
        self._tasks: set[asyncio.Task[None]] = set()
        servers: dict[str, Server] = {}
        lanes: dict[frozenset[str], list[Work]] = {}
        for work in works:
            for each in work.providers:
                if each.shares not in servers:
                    servers[each.shares] = Server(each.shares, Pace(concurrency or each.at_once))
            lanes.setdefault(frozenset(each.shares for each in work.providers), []).append(work)
        self._servers = list(servers.values())
        self._lanes = [
            _Lane(own, Fleet([servers[each.shares] for each in own[0].providers]))
            for own in lanes.values()
        ]

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return sum(work.in_flight for work in self.works)

    @property
    def cuts(self) -> int:
        """How often a service pushed back so hard that fewer calls were made at once."""
        return sum(server.pace.cuts for server in self._servers)

    async def finish(self) -> None:
        """Make all calls. What went wrong is found in `stops`, `error` and each work's `failed`.

        A bug surfaces as itself, not as one of a group. Providers are closed by who opened them.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for lane in self._lanes:
                    group.create_task(self._run(lane, group))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    def stop(self) -> None:
        """Start nothing more; what is under way finishes."""
        self._halted = True
        for lane in self._lanes:
            lane.halt.set()
            lane.changed.set()

    def drop(self) -> None:
        """Start nothing more and wait for nothing."""
        self.stop()
        for task in self._tasks:
            task.cancel()

    # -- the same servers

    async def _run(self, lane: _Lane, group: asyncio.TaskGroup) -> None:
        for work, request in lane.turns():
            while not self._over(lane, work):
                if lane.opened < lane.fleet.window(_clock(), lane.outstanding):
                    break
                await lane.change(lane.fleet.back_in(_clock()))
            if lane.halt.is_set():
                return
            lane.opened += 1
            task = group.create_task(self._chain(lane, work, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _chain(self, lane: _Lane, work: Work, first: Request) -> None:
        """A request and all that follows from it, one after the other."""
        request: Request | None = first
        try:
            while request is not None:
                came = await self._call(lane, work, request)
                if isinstance(came, Reply):
                    lane.in_a_row, lane.replied, lane.alive_at = 0, True, _clock()
                    request = self._kept(work, request, came)
                    continue
                if came is not None:
                    work.lost(request)
                    self._given_up(lane, work, came)
                return
        finally:
            lane.opened -= 1
            lane.changed.set()

    def _kept(self, work: Work, request: Request, reply: Reply) -> Request | None:
        dollars = work.cost(reply)
        try:
            following = work.keep(request, reply, dollars)
        except EvalkitError as error:
            self.error = self.error or error
            self.stop()
            return None
        work.kept += 1
        work.dollars += dollars or 0.0
        work.unpriced += dollars is None
        return following

    # -- one call

    async def _call(self, lane: _Lane, work: Work, request: Request) -> Reply | Failure | None:
        """Call until there is a reply or no more sense in trying; None: not called to the end."""
        tries = _Tries(lane, self._deadline)
        retrying = AsyncRetrying(
            retry=retry_if_result(tries.can_pass),
            wait=tries.wait,
            stop=tries.spent,
            before_sleep=lambda state: self._tell(work, _outcome(state), state.upcoming_sleep),
            sleep=lambda seconds: _nap(lane, seconds),
            retry_error_callback=_outcome,
        )
        return await retrying(self._attempt, lane, work, request, tries)

    async def _attempt(
        self, lane: _Lane, work: Work, request: Request, tries: "_Tries"
    ) -> Reply | Failure | None:
        worst = 0.0
        if work.price and not work.free:
            worst = dollars_at_most(request, work.price) or 0.0
        entered = await self._enter(lane, work, request, worst, tries.tried)
        if entered is None:
            return None
        server, started = entered
        tries.at = server
        came: Reply | Failure | None = None
        cost = worst
        try:
            came = await work.at(server).reply(request)
            if isinstance(came, Reply):
                known = work.cost(came)
                cost = worst if known is None else known
            elif not came.billed:
                cost = 0.0
        finally:
            work.in_flight -= 1
            turn = lane.fleet.end(server, _clock(), started, came)
            self.budget.end(worst, cost)
            for each in self._lanes:
                each.changed.set()
        if turn is not None:
            self._turned(turn)
        return came

    async def _enter(
        self, lane: _Lane, work: Work, request: Request, worst: float, tried: set[Server]
    ) -> tuple[Server, Started] | None:
        """Wait until the call can start, and start it; None: it shall not."""
        tokens = tokens_about(request) + (request.sampling.max_tokens or 0)
        async with lane.turnstile:
            while work.wanted(request) and not self._over(lane, work):
                if not self.budget.may_hold(worst):
                    self._end_what_costs()
                    return None
                server, delay = lane.fleet.choose(_clock(), tokens, lane.outstanding, tried)
                if server and self.budget.holds(worst):
                    self.budget.start(worst)
                    work.calls += 1
                    work.in_flight += 1
                    return server, server.start(_clock(), tokens)
                await lane.change(delay or math.inf)
        return None

    def _end_what_costs(self) -> None:
        """The budget is spent; what is free goes on."""
        self.over_budget = True
        for work in self.works:
            work.stopped = work.stopped or bool(work.price and not work.free)
        for lane in self._lanes:
            if all(work.stopped for work in lane.works):
                lane.halt.set()
            lane.changed.set()

    def _over(self, lane: _Lane, work: Work) -> bool:
        return self._halted or work.stopped or lane.halt.is_set()

    def _given_up(self, lane: _Lane, work: Work, failure: Failure) -> None:
        work.failed[failure.kind] += 1
        self._tell(work, failure, None)
        lane.in_a_row += failure.kind not in _OF_THE_REQUEST
        unreached = failure.kind == Kind.DOWN and not lane.replied
        of_all = {*_OF_THE_SERVICE, Kind.BUSY}
        if failure.kind in of_all or unreached or lane.in_a_row >= IN_A_ROW:
            stopped = lane.works
            lane.halt.set()
        elif failure.kind in (Kind.NO_MODEL, Kind.UNLOADABLE):
            stopped = [work]
        else:
            return
        if not work.stopped:
            calls = sum(each.calls for each in lane.works)
            self.stops.append(Stop(failure, work.name, calls))
        for each in stopped:
            each.stopped = True
        lane.changed.set()


class _Tries:
    """How often one call has failed, and whether and when to try it again."""

    def __init__(self, lane: _Lane, deadline: float) -> None:
        self._lane = lane
        self._deadline = deadline
        self._failed: Counter[Kind] = Counter()
        self.at: Server | None = None
        """Where it was tried last."""
        self.tried: set[Server] = set()
        """Where it has failed since it last waited; another one is asked before it waits again."""
        self._moves = False

    @staticmethod
    def can_pass(came: Reply | Failure | None) -> bool:
        """Whether another try can help."""
        return isinstance(came, Failure) and (came.kind in TRIES or came.kind == Kind.BUSY)

    def wait(self, state: RetryCallState) -> float:
        """Seconds until the next try: what the service asks for, else more each time."""
        failure = _outcome(state)
        own = self._own_wait(failure, self._failed[failure.kind])
        elsewhere = self._elsewhere()
        self._moves = elsewhere is not None and elsewhere <= min(own, self._deadline)
        if elsewhere is not None and self._moves:
            return elsewhere
        self.tried.clear()
        self._failed[failure.kind] += 1
        return own

    def spent(self, state: RetryCallState) -> bool:
        """Whether this was the last try."""
        failure = _outcome(state)
        if self._moves:
            return False
        if (failure.wait or 0.0) > self._deadline:
            return True
        if failure.kind in TRIES:
            return self._failed[failure.kind] >= TRIES[failure.kind]
        return _clock() - self._lane.alive_at > self._deadline

    def _own_wait(self, failure: Failure, before: int) -> float:
        """What it would wait for the server that failed, after so many such failures."""
        steps = 2.0 ** min(before, 10)
        own = min(LONGEST_WAIT, steps * (1.0 if failure.kind == Kind.BUSY else 0.5))
        if failure.wait is None:
            return own * random.uniform(0.5, 1.0)
        return failure.wait + random.uniform(0.0, 0.05 + failure.wait / 20)

    def _elsewhere(self) -> float | None:
        """Seconds until a server takes calls where this one has not failed; None: nowhere."""
        assert self.at is not None  # a call that failed was somewhere
        self.tried.add(self.at)
        return self._lane.fleet.elsewhere(_clock(), self.tried)


async def _nap(lane: _Lane, seconds: float) -> None:
    """Sleep, unless the calls of this service are ended."""
    with suppress(TimeoutError):
        await asyncio.wait_for(lane.halt.wait(), seconds)


def _outcome(state: RetryCallState) -> Failure:
    failure = state.outcome.result() if state.outcome else None
    assert isinstance(failure, Failure)  # what `can_pass` let through
    return failure
