"""Several servers of one model: which of them takes the next call, and which is left out for now.

Each has its own pace. The next call goes where it would be done first, by how many calls a second
a server has been replying to and how many are under way there. No other server takes it unless it
would be done before the rest of the run is, so that no run ends in a queue at the slowest. A server
that fails and replies to nobody is left out for a second, then twice as long each time, and tried
again with one call.

Pure: it is told the time and measures none. It knows no address and makes no call.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from evalkit.chat import Failure, Kind, Reply
from evalkit.pace import Pace, Started

AWAY = {Kind.DOWN, Kind.BAD_REPLY}  # where another server may do better
SHORTEST_REST = 1.0  # seconds
LONGEST_REST = 60.0
HOLD = 0.5  # seconds for a busy server that does not say how long; doubles
KEPT = 0.95  # what counts of what was known of a server's speed, after each reply


@dataclass
class Speed:
    """How fast a server replies, by its last replies and the time that it had calls to do."""

    _replies: float = 0.0
    _seconds: float = 0.0
    _passed_at: float | None = None
    _latency: float | None = None
    _alone: float = math.inf
    """Seconds that a reply takes where nothing waits: the least that it took on average."""

    def pass_(self, now: float, *, busy: bool) -> None:
        """Time has passed; busy: with calls under way."""
        if busy and self._passed_at is not None:
            self._seconds += now - self._passed_at
        self._passed_at = now

    def take(self, seconds: float) -> None:
        """A reply has come, after so long."""
        self._replies = KEPT * self._replies + 1
        self._seconds *= KEPT
        latency = self._latency
        self._latency = seconds if latency is None else KEPT * latency + (1 - KEPT) * seconds
        self._alone = min(self._alone, self._latency)

    @property
    def calls_a_second(self) -> float | None:
        """None before the first reply."""
        return self._replies / max(self._seconds, 1e-9) if self._replies else None

    def finish(self, in_flight: int, usual: float) -> float:
        """Seconds until the last of so many calls is done; `usual`: calls a second, if unknown."""
        if self._latency is None:
            return in_flight / usual
        return max(self._alone, in_flight / (self.calls_a_second or usual))


@dataclass(eq=False)
class Server:
    """One that can be asked, by all models on it."""

    name: str
    pace: Pace
    left_out: bool = field(default=False, init=False)
    speed: Speed = field(default_factory=Speed, init=False)
    _replied_at: float = field(default=-math.inf, init=False)
    _rested_at: float = field(default=-math.inf, init=False)
    _back_at: float = field(default=-math.inf, init=False)
    _rests: int = field(default=0, init=False)
    """Since the last reply."""
    _probe: Started | None = field(default=None, init=False)
    _holds: int = field(default=0, init=False)
    _held_at: float = field(default=-math.inf, init=False)

    def start(self, now: float, tokens: float) -> Started:
        """A call starts."""
        self.speed.pass_(now, busy=self.pace.in_flight > 0)
        started = self.pace.start(now, tokens)
        if self.left_out:
            self._probe = started
        return started

    def end(self, now: float, started: Started, came: Reply | Failure | None) -> bool:
        """A call has ended; None: it was dropped, and tells nothing.

        Returns whether the server is left out from now on, or again after it was tried.
        """
        self.speed.pass_(now, busy=True)
        self.pace.end(now, started, came)
        if self._probe is started:
            self._probe = None
        if isinstance(came, Reply):
            self.speed.take(now - started.at)
            self._holds = 0
        if isinstance(came, Failure) and came.kind in AWAY:
            # else it has replied to others meanwhile, or its failure is known
            news = started.at >= max(self._replied_at, self._rested_at)
            if news:
                self._rest(now)
            return news
        if came is not None:
            self._replied_at, self._rests, self.left_out = now, 0, False
        return False

    def hold(self, now: float, started: Started, wait: float | None) -> None:
        """It was busy: no call starts for so long as it says, else for longer each time."""
        if wait is None:
            if started.at < self._held_at:
                return
            wait = min(LONGEST_REST, HOLD * 2.0 ** min(self._holds, 10))
            self._holds += 1
        self._held_at = now
        self.pace.hold(now + wait)

    def back_in(self, now: float) -> float:
        """Seconds until it is tried again, where it is left out; infinity: it is being tried."""
        return math.inf if self._probe else max(0.0, self._back_at - now)

    def turn(self) -> tuple[int, float]:
        """Sorts those that are all left out by when to ask them: no call there, longest ago."""
        return self.pace.in_flight, self._rested_at

    def _rest(self, now: float) -> None:
        rest = min(LONGEST_REST, SHORTEST_REST * 2.0 ** min(self._rests, 10))
        self._rests += 1
        self.left_out, self._rested_at, self._back_at = True, now, now + rest


@dataclass(frozen=True)
class Turn:
    """A server is left out, or taken in again."""

    name: str
    failure: Failure | None
    """Why it is left out; None: it replies again."""
    again: bool = False
    """It was left out before, and failed when it was tried."""
    seconds: float = 0.0
    """Until it is tried again."""


@dataclass
class Fleet:
    """The servers of one model. Where all are left out, all are asked, as one alone is."""

    servers: Sequence[Server]
    _told: set[Server] = field(default_factory=set, init=False)
    """Whom `end` has said to be left out."""

    def window(self, now: float, outstanding: int) -> int:
        """How many calls may be under way at all of them."""
        open_to_all = sum(int(each.pace.window) for each in self._live())
        return open_to_all + len(self._due(now, outstanding))

    def back_in(self, now: float) -> float:
        """Seconds until another one is tried again; infinity: nothing will change by itself."""
        waits = [each.back_in(now) for each in self.servers if each.left_out]
        return min((wait for wait in waits if wait), default=math.inf)

    def choose(
        self, now: float, tokens: float, outstanding: int, tried: Collection[Server]
    ) -> tuple[Server | None, float]:
        """The server that a call shall go to now, or None and the seconds until one may take it.

        Infinity: when another call has ended. `outstanding`: calls that are owed, those under way
        included; `tried`: servers that the call has failed at.
        """
        if due := self._due(now, outstanding):
            return due[0], 0.0
        live = self._live()
        free = [each for each in live if not each.pace.held(now)]
        asked = [each for each in free if each not in tried] or free
        finish, end = self._finish(free), self._end(free, outstanding)
        latest = max(end, min((finish[each] for each in asked), default=end))
        waits = [each.pace.held(now) for each in live if each not in free]
        waits += [self.back_in(now), *(each.pace.delay(now, tokens) for each in asked)]
        takers = [
            each for each in asked if not each.pace.delay(now, tokens) and finish[each] <= latest
        ]
        if not takers:
            return None, min((wait for wait in waits if wait), default=math.inf)
        if takers[0].left_out:
            return min(takers, key=Server.turn), 0.0
        return min(takers, key=lambda each: finish[each]), 0.0

    def elsewhere(self, now: float, tried: Collection[Server]) -> float | None:
        """Seconds until a server that a call has not failed at takes calls; None: there is none."""
        others = (s for s in self.servers if not s.left_out and s not in tried)
        return min((each.pace.held(now) for each in others), default=None)

    def end(
        self, server: Server, now: float, started: Started, came: Reply | Failure | None
    ) -> Turn | None:
        """A call has ended. Returns what has become of its server, where that is worth telling."""
        left_out = server.end(now, started, came)
        if len(self.servers) == 1:
            return None
        if isinstance(came, Failure) and came.kind == Kind.BUSY:
            server.hold(now, started, came.wait)
        known = server in self._told
        if not server.left_out and known:
            self._told.remove(server)
            return Turn(server.name, None)
        others = any(not each.left_out for each in self.servers)
        if not (left_out and others and isinstance(came, Failure)):
            return None
        self._told.add(server)
        return Turn(server.name, came, known, server.back_in(now))

    def _live(self) -> Sequence[Server]:
        return [each for each in self.servers if not each.left_out] or self.servers

    def _due(self, now: float, outstanding: int) -> list[Server]:
        """Those to be tried again, where they could take something off the others."""
        live = [each for each in self.servers if not each.left_out]
        if not live or outstanding <= sum(int(each.pace.window) for each in live):
            return []
        return [each for each in self.servers if each.left_out and not each.back_in(now)]

    def _finish(self, servers: Sequence[Server]) -> dict[Server, float]:
        """Seconds until each would be done with one call more."""
        usual = self._usual(servers)
        return {each: each.speed.finish(each.pace.in_flight + 1, usual) for each in servers}

    def _end(self, servers: Sequence[Server], outstanding: int) -> float:
        """Seconds until all is done, if all of them are used to the end."""
        usual = self._usual(servers)
        together = sum(each.speed.calls_a_second or usual for each in servers)
        return outstanding / together if servers else math.inf

    def _usual(self, servers: Sequence[Server]) -> float:
        """Calls a second: of one that is not known, as of the others on average."""
        known = [speed for each in servers if (speed := each.speed.calls_a_second)]
        return sum(known) / len(known) if known else 1.0
