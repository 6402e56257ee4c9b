"""How many calls are under way at one service, and when: against services made of a clock alone."""

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.chat import Failure, Headroom, Kind, Reply
from evalkit.pace import FIRST, MOST, Pace

TOKENS = 100.0
GOOD = Reply("fine")
BUSY = Failure(Kind.BUSY, "too many")
DOWN = Failure(Kind.DOWN, "broken")


def starts(pace, now, tokens=TOKENS, most=MOST):
    """Start what may start now."""
    started = []
    while len(started) < most and pace.delay(now, tokens) == 0:
        started.append(pace.start(now, tokens))
    return started


def ends(pace, now, started, came=GOOD):
    for each in started:
        pace.end(now, each, came)


def opened(window):
    """A pace whose window has grown to this, with as many calls under way since 0.0."""
    pace, now = Pace(), -10.0
    while pace.window < window:
        ends(pace, now + 1, starts(pace, now))
        now += 1
    assert now <= 0
    assert pace.window == window
    return pace, starts(pace, 0.0)


def told(remaining, limit=60.0, reset=None, unit="requests"):
    return (Headroom(unit, limit, remaining, reset),)


# -- services made of a clock: each tells of a call how long it takes and what comes back


@dataclass
class Bucket:
    """What is free comes back steadily; a call that finds nothing is refused."""

    limit: float
    burst: float
    latency: tuple[float, float]
    period: float = 60.0
    unit: str = "requests"
    grain: float = 0.001  # to how many seconds the header `reset` is rounded up
    refused: int = 0
    level: float = field(init=False)
    at: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(7))

    def __post_init__(self):
        self.level = self.burst

    def call(self, now, tokens):
        cost = 1.0 if self.unit == "requests" else tokens
        self.fill(now)
        lacking = cost - self.level
        if lacking > 1e-9:
            self.refused += 1
            wait = self.ready(lacking, now)
            return 0.001, Failure(Kind.BUSY, "", wait=wait, headroom=self.says(now))
        self.level -= cost
        return self.dice.uniform(*self.latency), Reply("", headroom=self.says(now))

    def says(self, now):
        left = int(max(0.0, self.level) + 1e-9)
        return told(left, self.limit, self.full(now), self.unit)

    def fill(self, now):
        rate = self.limit / self.period
        self.level = min(self.burst, self.level + rate * (now - self.at))
        self.at = now

    def ready(self, lacking, now):
        return lacking * self.period / self.limit

    def full(self, now):
        """Seconds until all is free again."""
        seconds = (self.burst - self.level) * self.period / self.limit
        return math.ceil(seconds / self.grain - 1e-9) * self.grain


class FixedWindow(Bucket):
    """All of the limit comes back at once, each period."""

    def fill(self, now):
        if now // self.period > self.at // self.period:
            self.level = self.burst
        self.at = now

    def full(self, now):
        return self.period - now % self.period

    def ready(self, lacking, now):
        return self.full(now)


@dataclass
class Slots:
    """So many calls are worked on at once and the rest are queued; nothing is refused."""

    slots: int
    latency: tuple[float, float] = (1.0, 1.0)
    free: list = field(default_factory=list)
    dice: random.Random = field(default_factory=lambda: random.Random(7))

    def call(self, now, tokens):
        begins = now
        if len(self.free) == self.slots:
            begins = max(now, heapq.heappop(self.free))
        end = begins + self.dice.uniform(*self.latency)
        heapq.heappush(self.free, end)
        return end - now, GOOD


def serve(pace, service, calls, tokens=TOKENS):
    """Make all calls, refused ones again when they asked for it; the seconds that it took."""
    now, done, ready = 0.0, 0, calls
    coming = []  # (when, number of the call, the call or None: it is to be made again, what came)
    number = itertools.count()
    while done < calls:
        delay = math.inf
        while ready and (delay := pace.delay(now, tokens)) == 0:
            started = pace.start(now, tokens)
            seconds, came = service.call(now, tokens)
            heapq.heappush(coming, (now + seconds, next(number), started, came))
            ready -= 1
        now = min(now + delay, coming[0][0]) if coming else now + delay
        while coming and coming[0][0] <= now:
            _, _, started, came = heapq.heappop(coming)
            if started is None:
                ready += 1
                continue
            pace.end(now, started, came)
            done += isinstance(came, Reply)
            if isinstance(came, Failure):
                heapq.heappush(coming, (now + came.wait, next(number), None, None))
    return now


# -- how many at once


def test_one_call_goes_first_then_a_few_then_one_more_with_each_reply():
    pace = Pace()
    under_way = starts(pace, 0.0)
    assert len(under_way) == 1
    ends(pace, 1.0, under_way)
    under_way = starts(pace, 1.0)
    assert len(under_way) == FIRST
    for more in range(1, FIRST + 1):
        ends(pace, 2.0, [under_way.pop(0)])
        assert int(pace.window) == FIRST + more


def test_a_first_call_that_fails_is_followed_by_one_call():
    pace = Pace()
    for _ in range(3):
        under_way = starts(pace, 0.0)
        assert len(under_way) == 1
        ends(pace, 0.0, under_way, DOWN)


def test_the_window_never_passes_the_most():
    pace, under_way = opened(MOST)
    ends(pace, 1.0, under_way)
    assert len(starts(pace, 1.0, most=2 * MOST)) == MOST


@pytest.mark.parametrize("calls", [1, 3, 64])
def test_a_number_that_the_user_gives_holds_from_the_first_call_on(calls):
    pace = Pace(calls)
    for now in range(10):
        under_way = starts(pace, float(now))
        assert len(under_way) == calls
        ends(pace, now + 0.5, under_way)


def test_a_number_that_the_user_gives_halves_at_push_back_and_comes_back():
    pace = Pace(8)
    ends(pace, 1.0, starts(pace, 0.0), BUSY)
    assert pace.window == 4
    for now in range(1, 30):
        ends(pace, now + 0.5, starts(pace, float(now)))
    assert pace.window == 8


def test_push_back_halves_the_window_once_however_many_calls_were_refused():
    pace, under_way = opened(32)
    window = pace.window
    ends(pace, 1.0, under_way, BUSY)
    assert (pace.window, pace.cuts) == (window / 2, 1)
    ends(pace, 2.0, starts(pace, 1.5), BUSY)
    assert (pace.window, pace.cuts) == (window / 4, 2)


def test_one_refusal_among_many_replies_does_not_halve():
    pace, under_way = opened(32)
    ends(pace, 1.0, under_way[:1], BUSY)
    ends(pace, 1.0, under_way[1:])
    assert pace.cuts == 0


def test_replies_to_calls_from_before_a_cut_open_nothing():
    pace, under_way = opened(32)
    ends(pace, 1.0, under_way[:8], BUSY)
    window = pace.window
    assert pace.cuts == 1
    ends(pace, 2.0, under_way[8:])
    assert pace.window == window


def test_nothing_starts_after_a_cut_until_as_many_have_ended():
    pace, under_way = opened(32)
    ends(pace, 1.0, under_way[:8], BUSY)
    over = under_way[8:]
    while len(over) >= int(pace.window):
        assert pace.delay(2.0, TOKENS) == math.inf
        ends(pace, 2.0, [over.pop()])
    assert pace.delay(2.0, TOKENS) == 0


def test_the_window_never_closes():
    pace = Pace()
    for now in range(100):
        ends(pace, now + 0.5, starts(pace, float(now)), BUSY)
    assert len(starts(pace, 100.0)) == 1


def test_after_a_cut_a_windows_worth_of_replies_opens_it_by_one():
    pace, under_way = opened(32)
    ends(pace, 1.0, under_way, BUSY)
    for now in range(2, 12):
        window = pace.window
        ends(pace, now + 0.5, starts(pace, float(now)))
        assert window + 0.8 < pace.window <= window + 1


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind != Kind.BUSY])
def test_other_failures_neither_halve_nor_open(kind):
    pace, under_way = opened(16)
    window = pace.window
    ends(pace, 1.0, under_way, Failure(kind, "broken"))
    assert (pace.window, pace.cuts, pace.in_flight) == (window, 0, 0)


def test_a_dropped_call_makes_room_and_tells_nothing():
    pace = Pace()
    ends(pace, 1.0, starts(pace, 0.0), None)
    assert (pace.window, pace.in_flight, len(starts(pace, 1.0))) == (1, 0, 1)


@pytest.mark.parametrize("slots", [1, 2, 4, 8, 16, 25])
def test_growth_stops_where_a_service_queues_what_is_added(slots):
    pace, service = Pace(), Slots(slots)
    calls = 60 * slots
    assert serve(pace, service, calls) <= 60 + 6  # as long as its slots take, and a slow start
    assert pace.window <= max(32, 8 * slots)


def test_a_service_whose_replies_differ_in_length_is_not_taken_for_one_that_queues():
    pace = Pace()
    serve(pace, Slots(10_000, (0.5, 2.0)), 2000)
    assert pace.window >= MOST / 2


@pytest.mark.parametrize("came", [DOWN, Failure(Kind.BUSY, "", headroom=told(0, reset=0.001))])
def test_failures_that_come_fast_are_not_the_best_latency_of_a_service(came):
    pace = Pace()
    for n in range(5):
        ends(pace, n + 0.001, starts(pace, float(n)), came)
    now = 100.0
    for _ in range(10):
        ends(pace, now + 1, starts(pace, now))
        now += 100
    assert pace.window >= MOST / 2


# -- what a service says it will still take


def test_a_refusal_that_says_nothing_is_left_does_not_halve():
    pace, under_way = opened(32)
    window = pace.window
    ends(pace, 1.0, under_way, Failure(Kind.BUSY, "", headroom=told(0, reset=60.0)))
    assert (pace.window, pace.cuts) == (window, 0)
    assert 0 < pace.delay(1.0, TOKENS) < math.inf


def test_a_refusal_that_says_much_is_left_halves():
    pace, under_way = opened(32)
    ends(pace, 1.0, under_way, Failure(Kind.BUSY, "", headroom=told(50, reset=10.0)))
    assert pace.cuts == 1


@pytest.mark.parametrize("unit", ["requests", "tokens"])
@pytest.mark.parametrize("grain", [0.001, 1.0])
@pytest.mark.parametrize("latency", [(0.01, 0.01), (0.01, 0.02), (0.1, 0.5), (0.5, 2.0), (2, 2)])
@pytest.mark.parametrize(("a_minute", "calls"), [(60, 160), (300, 800)])
@pytest.mark.parametrize("fixed", [None, 64])
def test_a_bucket_is_served_as_fast_as_it_fills_and_is_not_overdrawn(
    a_minute, calls, latency, unit, grain, fixed
):
    each = 1 if unit == "requests" else TOKENS
    service = Bucket(a_minute * each, a_minute * each, latency, unit=unit, grain=grain)
    took = serve(Pace(fixed), service, calls)
    assert took <= 1.05 * (calls - a_minute) * 60 / a_minute
    # whoever starts with many calls learns of a limit after the first of them have ended
    assert service.refused <= 0.01 * calls + (0 if fixed is None else max(0, fixed - a_minute))


@pytest.mark.parametrize("latency", [(0.01, 0.01), (0.1, 0.5), (0.5, 2.0), (2, 2)])
@pytest.mark.parametrize(("a_minute", "calls"), [(60, 160), (300, 800)])
def test_a_bucket_that_holds_few_is_served_as_fast_as_it_fills(a_minute, calls, latency):
    service = Bucket(a_minute, 5, latency)
    assert serve(Pace(), service, calls) <= 1.05 * (calls - 5) * 60 / a_minute
    assert service.refused <= 0.03 * calls


@pytest.mark.parametrize("latency", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("unit", ["requests", "tokens"])
def test_a_limit_that_comes_back_all_at_once_costs_a_latency_a_window_at_most(latency, unit):
    each = 1 if unit == "requests" else TOKENS
    service = FixedWindow(60 * each, 60 * each, (latency, latency), unit=unit)
    took = serve(Pace(), service, 150)
    assert 120 < took <= 120 + 3 * (latency + 0.01)


def test_one_call_finds_out_whether_a_limit_has_come_back_all_at_once():
    pace = Pace(4)
    ends(pace, 0.0, starts(pace, 0.0, most=1), Reply("", headroom=told(0, reset=0.5)))
    assert pace.delay(0.0, TOKENS) == pytest.approx(0.5)
    finding_out = starts(pace, 0.5)
    assert len(finding_out) == 1
    ends(pace, 0.6, finding_out, Reply("", headroom=told(59, reset=59.9)))
    assert len(starts(pace, 0.6)) == 4


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "period"),
    [
        (60, 59, 1.0, 60),
        (60, 0, 60.0, 60),
        (10_000, 9_999, 0.006, 60),
        (10_000, 1_234, 52.6, 60),
        (60, 30, None, 60),  # a limit is for a minute where nothing says otherwise
        (60, 30, 0.0, 60),
        (100, 20, 2880.0, 3600),
        (14_400, 14_370, 179.56, 86_400),  # Groq: 14,400 a day, 2m59.56s for 30 of them
        (14_400, 0, 86_400.0, 86_400),
        (200, 199, 432.0, 86_400),  # OpenAI's lowest tier: 7m12s for one
    ],
)
@pytest.mark.parametrize("unit", ["requests", "tokens"])
def test_what_a_limit_is_for_is_found_from_its_reset(limit, remaining, reset, period, unit):
    pace = Pace(1)
    cost = 1.0 if unit == "requests" else TOKENS
    scale = cost
    came = Reply("", headroom=told(remaining * scale, limit * scale, reset, unit))
    ends(pace, 0.0, starts(pace, 0.0), came)
    for _ in range(int(remaining)):
        ends(pace, 0.0, starts(pace, 0.0))
    wait = pace.delay(0.0, TOKENS)
    if reset and wait == pytest.approx(reset):
        assert period / limit >= reset  # all is back before one would be
    else:
        assert wait == pytest.approx(period / limit, rel=0.03)


def test_what_is_left_is_less_what_was_started_since():
    pace = Pace(16)
    under_way = starts(pace, 0.0)
    ends(pace, 0.0, under_way[:1], Reply("", headroom=told(20, reset=40.0)))
    # 20 were left after the first of 16: 15 of them are gone, and one place is free
    for left in (5, 4, 3, 2, 1):
        assert pace.delay(0.0, TOKENS) == 0, left
        ends(pace, 0.0, starts(pace, 0.0))
    assert pace.delay(0.0, TOKENS) == pytest.approx(1, rel=0.03)


def test_an_older_call_that_ends_later_does_not_tell_what_is_left():
    pace = Pace(16)
    older, newer, *_ = starts(pace, 0.0, most=2)
    ends(pace, 0.0, [newer], Reply("", headroom=told(0, reset=60.0)))
    wait = pace.delay(0.0, TOKENS)
    ends(pace, 0.0, [older], Reply("", headroom=told(50, reset=10.0)))
    assert pace.delay(0.0, TOKENS) == wait > 0


def test_a_newer_call_that_ends_later_does():
    pace = Pace(16)
    older, newer, *_ = starts(pace, 0.0, most=2)
    ends(pace, 0.0, [older], Reply("", headroom=told(0, reset=60.0)))
    assert pace.delay(0.0, TOKENS) > 0
    ends(pace, 0.0, [newer], Reply("", headroom=told(50, reset=10.0)))
    assert pace.delay(0.0, TOKENS) == 0


def test_a_call_waits_for_the_scarcer_of_requests_and_tokens():
    pace = Pace(4)
    room = told(30, reset=30.0) + told(50, limit=6000, reset=59.5, unit="tokens")
    ends(pace, 0.0, starts(pace, 0.0, most=1), Reply("", headroom=room))
    assert pace.delay(0.0, 50) == 0
    assert pace.delay(0.0, 250) == pytest.approx(2, rel=0.03)
    assert pace.delay(1.0, 250) == pytest.approx(1, rel=0.06)


def test_a_request_bigger_than_the_whole_limit_goes_when_all_is_free():
    pace = Pace(4)
    room = told(500, limit=1000, reset=30.0, unit="tokens")
    ends(pace, 0.0, starts(pace, 0.0, most=1), Reply("", headroom=room))
    wait = pace.delay(0.0, 5000)
    assert 29 <= wait <= 31
    assert pace.delay(wait, 5000) == 0


# -- whatever comes

rooms = st.builds(
    lambda unit, limit, left, reset: Headroom(unit, limit, left * limit, reset),
    st.sampled_from(["requests", "tokens"]),
    st.floats(1e-3, 1e12),
    st.floats(0, 1),
    st.none() | st.floats(0, 1e6),
)
ends_ = st.none() | st.builds(
    lambda came, room: came(headroom=tuple(room)),
    st.sampled_from(
        [
            lambda headroom: Reply("", headroom=headroom),
            lambda headroom: Failure(Kind.BUSY, "", headroom=headroom),
            lambda headroom: Failure(Kind.DOWN, "", headroom=headroom),
        ]
    ),
    st.lists(rooms, max_size=2),
)
steps = st.tuples(
    st.floats(0, 1e4),  # seconds that pass
    st.floats(0.25, 1e6),  # tokens of the next call
    st.integers(0, 40),  # calls to start, as far as they may
    st.lists(st.tuples(st.integers(0, 400), ends_), max_size=20),  # which of them end, and how
)


@settings(max_examples=200, deadline=None)
@given(st.none() | st.integers(1, 64), st.lists(steps, max_size=20))
def test_whatever_comes_no_wait_is_nonsense_and_nothing_waits_for_ever(fixed, course):
    pace, now, under_way = Pace(fixed), 0.0, []
    for seconds, tokens, wanted, ended in course:
        now += seconds
        for _ in range(wanted):
            if pace.delay(now, tokens) == 0:
                under_way.append(pace.start(now, tokens))
                assert pace.in_flight <= int(pace.window)
        for which, came in ended:
            if under_way:
                pace.end(now, under_way.pop(which % len(under_way)), came)
            assert pace.in_flight == len(under_way)
            assert 1 <= pace.window <= (fixed or MOST)
            delay = pace.delay(now, tokens)
            assert delay >= 0  # and so a number
            assert delay < math.inf or pace.in_flight >= int(pace.window)
    ends(pace, now, under_way)
    for _ in range(8):
        delay = pace.delay(now, 1000.0)
        now += delay
    assert delay == 0


def test_a_reset_of_next_to_nothing_tells_no_period():
    pace = Pace()
    for limit, remaining in ((0.5, 0.0), (60.0, 59.0)):
        room = (Headroom("requests", limit, remaining, 5e-324),)
        ends(pace, 0.0, starts(pace, 0.0, most=1), Reply("", headroom=room))
        assert pace.delay(0.0, TOKENS) >= 0


def test_a_limit_that_is_used_up_holds_all_calls_until_the_service_says():
    pace = Pace(8)
    used_up = (Headroom("requests", 60.0, 0.0, 40.0),)
    refusal = Failure(Kind.BUSY, "busy", wait=30.0, headroom=used_up)
    ends(pace, 0.0, starts(pace, 0.0, most=1), refusal)
    assert pace.delay(10.0, TOKENS) >= 20
    assert pace.delay(30.0, TOKENS) < 30
