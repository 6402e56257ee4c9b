"""How many calls may be under way at one service, and when the next may start.

Two limits, each learnt from what comes back. The window: it opens by one with each reply until the
service pushes back or gets no faster, and halves when it does (additive increase, multiplicative
decrease: Chiu and Jain 1989; the fast start is that of TCP, RFC 5681). The stock: what the service
says it will still take, of requests and of tokens, less what was started since it said so.

Pure: it is told the time and measures none. Times are seconds of one steady clock.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from evalkit.chat import Failure, Headroom, Kind, Reply

PROBE = 1  # calls until the first reply: whatever would go wrong with every call costs one
FIRST = 8  # calls under way after the first reply
MOST = 256
SLOWER = 1.6  # times the best latency: the service queues what we add
FEW = 8  # ends in the shortest epoch
PERIODS = (60.0, 3600.0, 86400.0)  # seconds that a limit can be for
MARGIN = 0.985  # of a service's rate: its clock is not ours

Unit = Literal["requests", "tokens"]


@dataclass(frozen=True)
class Started:
    """One call under way: when it started, and all that was started up to it, itself included."""

    at: float
    requests: float
    tokens: float


@dataclass
class _Stock:
    """What a service will still take of one unit, as a bucket that fills steadily."""

    limit: float
    rate: float
    """What comes back, a second."""
    level: float
    at: float
    upto: float
    """All that had been started, in this unit, up to the call whose reply told."""
    full_at: float
    """When the service said all is free again: a limit of a fixed window jumps then, which one
    call may find out."""

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` is there."""
        self._fill(now)
        lacking = min(cost, self.limit) - self.level
        if lacking <= 1e-9 or now >= self.full_at:
            return 0.0
        return max(1e-3, min(lacking / self.rate, self.full_at - now))

    def take(self, cost: float, now: float) -> None:
        """A call starts."""
        self._fill(now)
        if now >= self.full_at:
            self.level = max(self.level, min(cost, self.limit))
            self.full_at = math.inf
        self.level -= cost

    def _fill(self, now: float) -> None:
        self.level = min(self.limit, self.level + self.rate * (now - self.at))
        self.at = now


@dataclass
class _Epoch:
    """The ends of one window's worth of calls."""

    size: float
    ends: int = 0
    refused: int = 0
    replies: int = 0
    latency: float = 0.0
    """Of the replies, added up: a failure that comes fast tells nothing of them."""


@dataclass
class Pace:
    """The pace at one service.

    `fixed`: as many calls as the user wants under way, from the first on; None finds out.
    """

    fixed: int | None = None
    window: float = field(init=False)
    in_flight: int = field(default=0, init=False)
    cuts: int = field(default=0, init=False)
    """How often the service pushed back hard enough to halve the window."""

    def __post_init__(self) -> None:
        self.window = float(self.fixed or PROBE)
        self._most = float(self.fixed or MOST)
        self._probing = self.fixed is None
        self._cut_at = -math.inf
        self._best: float | None = None
        self._crowded = False
        self._epoch = _Epoch(FEW)
        self._stocks: dict[Unit, _Stock] = {}
        self._held_until = -math.inf
        self._total: dict[Unit, float] = {"requests": 0.0, "tokens": 0.0}

    def delay(self, now: float, tokens: float) -> float:
        """Seconds until a call that may cost so many tokens can start.

        0: it can now; infinity: when another has ended.
        """
        if self.in_flight >= int(self.window):
            return math.inf
        costs: dict[Unit, float] = {"requests": 1.0, "tokens": tokens}
        waits = (s.wait(costs[u], now) for u, s in self._stocks.items())
        return max([self.held(now), *waits])

    def start(self, now: float, tokens: float) -> Started:
        """A call starts."""
        costs: dict[Unit, float] = {"requests": 1.0, "tokens": tokens}
        for unit, stock in self._stocks.items():
            stock.take(costs[unit], now)
        for unit, cost in costs.items():
            self._total[unit] += cost
        self.in_flight += 1
        return Started(now, self._total["requests"], self._total["tokens"])

    def hold(self, until: float) -> None:
        """No call starts before then."""
        self._held_until = max(self._held_until, until)

    def held(self, now: float) -> float:
        """Seconds for which no call starts, whatever the window and the stock."""
        return max(self._held_until - now, 0.0)

    def end(self, now: float, started: Started, came: Reply | Failure | None) -> None:
        """A call has ended; None: it was dropped, and tells nothing."""
        self.in_flight -= 1
        if came is None:
            return
        for room in came.headroom:
            self._learn(now, started, room)
        if started.at < self._cut_at:
            return  # it tells of a window that is no more
        busy = isinstance(came, Failure) and came.kind == Kind.BUSY
        if (
            isinstance(came, Failure) and busy and any(room.remaining < 1 for room in came.headroom)
        ):  # used up: all calls wait
            self.hold(now + (came.wait or 0.0))
            busy = False
        self._epoch.ends += 1
        self._epoch.refused += busy
        if isinstance(came, Reply):
            self._epoch.replies += 1
            self._epoch.latency += now - started.at
        if self._epoch.refused >= max(2, self.window / 10):
            self._cut(now)
        elif isinstance(came, Reply):
            self._grow()
        if self._epoch.ends >= self._epoch.size:
            self._close_epoch()

    def _cut(self, now: float) -> None:
        self.window = max(1.0, self.window / 2)
        self.cuts += 1
        self._cut_at = now
        self._epoch = _Epoch(max(self.window, FEW))

    def _grow(self) -> None:
        if self._probing:
            self._probing = False
            self.window = float(FIRST)
        elif not self._crowded:
            self.window += 1 / self.window if self.cuts else 1
        self.window = min(self.window, self._most)

    def _close_epoch(self) -> None:
        if self._epoch.replies >= FEW / 2:
            mean = self._epoch.latency / self._epoch.replies
            self._best = mean if self._best is None else min(mean, self._best)
            self._crowded = mean > SLOWER * self._best
        self._epoch = _Epoch(max(self.window, FEW))

    def _learn(self, now: float, started: Started, room: Headroom) -> None:
        """Take what a reply says is left, unless one to a call that started later has told."""
        upto = started.requests if room.unit == "requests" else started.tokens
        known = self._stocks.get(room.unit)
        if known and known.upto > upto:
            return
        rate = MARGIN * room.limit / _period(room)
        since = self._total[room.unit] - upto
        level = min(room.limit, room.remaining + rate * (now - started.at)) - since
        full_at = math.inf if room.reset is None else now + room.reset
        self._stocks[room.unit] = _Stock(room.limit, rate, level, now, upto, full_at)


def _period(room: Headroom) -> float:
    """The seconds that a limit is for, as far as its `reset` tells; a minute where it does not."""
    gone = room.limit - room.remaining
    if not room.reset or gone <= 0:
        return PERIODS[0]
    seconds = room.reset * room.limit / gone
    if not seconds:  # a reset of next to nothing tells no period
        return PERIODS[0]
    return min(PERIODS, key=lambda period: abs(math.log(period / seconds)))
