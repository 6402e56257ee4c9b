"""Runs against chat services on loopback that misbehave: what is called, kept, given up, spent."""

import asyncio
import datetime
import gc
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from chat_server import Behaviour, last_said, serving

from evalkit import runner
from evalkit.catalog import Model, Stanza, Timeouts
from evalkit.chat import Kind, Message, Request, Sampling
from evalkit.errors import EvalkitError, Missing
from evalkit.keys import Keys
from evalkit.price import Budget, Price
from evalkit.providers.openai_api import Provider
from evalkit.runner import Run, Work

TRIES = {Kind.DOWN: 6, Kind.BAD_REPLY: 3}  # of one call
IN_A_ROW = 10  # given up: the service is
WORDS = 10  # the longest reply
DOLLAR = Price(input=0, output=1_000_000 / WORDS, date=datetime.date(2026, 1, 1))  # the longest: $1
LONG = " ".join(["word"] * WORDS)
HALF = " ".join(["word"] * (WORDS // 2))
KEYS = {"ONE_KEY": "sk-one-0123456789", "OTHER_KEY": "sk-other-0123456789"}


@dataclass
class Kept:
    """A reply as its work was given it."""

    request: Request
    reply: object
    dollars: float | None

    @property
    def about(self):
        return self.request.about[0]


def request(text, about):
    return Request((Message("user", text),), Sampling(max_tokens=WORDS), (about,))


def requests(number):
    """As many requests; the text of number 3 begins with 'q3 '."""
    return [request(f"q{n} and no more", f"q{n}") for n in range(number)]


def then(turns):
    """What follows a reply, until so many turns of a request have been asked."""

    def following(asked, reply):
        if len(asked.messages) // 2 + 1 == turns:
            return None
        more = Message("assistant", reply.text), Message("user", f"{asked.about[0]} and more")
        return replace(asked, messages=(*asked.messages, *more))

    return following


def work(server, number=5, kept=None, name="m", after=None, price=None, free=False, **more):
    """Requests to a model at a server or an address; each reply that is kept goes to `kept`.

    `after` is called with each request and its reply, and gives what follows.
    """
    url = getattr(server, "url", server)
    stanza = Stanza(provider="openai_api", model=name, url=url, **more)
    kept = [] if kept is None else kept

    def keep(asked, reply, dollars):
        kept.append(Kept(asked, reply, dollars))
        return after(asked, reply) if after else None

    asked = requests(number) if isinstance(number, int) else number
    provider = Provider(Model(name, name, stanza, url), Keys(KEYS))
    return Work(name, (provider,), iter(asked), keep, len(asked), price, free)


@dataclass
class Told:
    name: str
    kind: Kind
    wait: float | None


@pytest.fixture
def perform():
    """Make all calls of a run; what was told meanwhile is in `run.told`."""

    def finish(*works, budget=None, before=None, **how):
        def tell(one, failure, wait):
            run.told.append(Told(one.name, failure.kind, wait))

        run = Run(works, Budget(budget), tell, **how)
        run.told = []
        if before:
            before(run)

        async def made():
            try:
                await asyncio.wait_for(run.finish(), 30)
            finally:
                for each in works:
                    for provider in each.providers:
                        await provider.close()

        asyncio.run(made())
        assert run.in_flight == 0
        assert run.budget.aside == pytest.approx(0)
        return run

    return finish


@pytest.fixture
def no_waits(monkeypatch):
    """Tries follow one another at once, whatever wait is told."""
    nap = runner._nap
    monkeypatch.setattr(runner, "_nap", lambda lane, seconds: nap(lane, min(seconds, 0.005)))


def abouts(kept):
    return [each.about for each in kept]


def names(number):
    return [f"q{n}" for n in range(number)]


def calls_of(server, about):
    return [call for call in server.calls if last_said(call.body).startswith(f"{about} ")]


def until(true):
    """Wait for what the server does in its own time."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def nobody():
    """An address where nothing listens."""
    with serving() as server:
        return server.url


# -- everything once


@pytest.mark.parametrize("seed", [2, 3, 4])  # dice that are neither kind nor cruel
@pytest.mark.parametrize("concurrency", [None, 16])
def test_every_request_is_kept_once_whatever_goes_wrong(perform, seed, concurrency):
    faults = {"429": 0.05, "500": 0.02, "malformed": 0.01, "drop": 0.01}
    kept, number = [], 400
    with serving(Behaviour(faults=faults, seed=seed, wait=0.02)) as server:
        one = work(server, number, kept)
        run = perform(one, concurrency=concurrency)
    assert sorted(abouts(kept)) == sorted(names(number))
    assert (one.kept, one.calls, run.stops, one.failed) == (number, len(server.calls), [], {})
    assert sum(server.stats()["by_fault"].values()) == len(run.told) == one.calls - number
    assert number < one.calls <= 1.12 * number
    assert all(each.reply.text.startswith(f"reply to: {each.about} ") for each in kept)


def test_what_follows_from_a_reply_is_asked_after_it(perform):
    kept = []
    with serving(Behaviour(script=["", "429", "", "500"], wait=0.01)) as server:
        one = work(server, 6, kept, after=then(3))
        perform(one)
    assert one.kept == 18
    for about in names(6):
        own = [each for each in kept if each.about == about]
        assert [len(each.request.messages) for each in own] == [1, 3, 5]
        for before, after in pairwise(own):
            assert after.request.messages[:-1] == (
                *before.request.messages,
                Message("assistant", before.reply.text),
            )


def test_what_is_not_wanted_any_more_is_not_called_and_what_is_under_way_is_kept(perform):
    with serving(Behaviour(latency=(0.05, 0.05))) as server:
        one = work(server, 40, kept := [])
        one.wanted = lambda request: len(kept) < 10 or request.about[0] == "q39"
        run = perform(one, concurrency=8)
        assert len(server.calls) == len(kept) == one.calls
    assert 10 <= len(kept) <= 10 + 8
    assert "q39" in abouts(kept) and not run.stops and not one.failed


def test_a_call_that_is_not_wanted_any_more_is_not_tried_again(perform):
    with serving(Behaviour(script=["500", "500", "500"])) as server:
        one = work(server, 1)
        one.wanted = lambda _: len(server.calls) < 2
        perform(one)
        assert len(server.calls) == 2 and not one.failed


def test_a_request_that_is_given_up_is_heard_of(perform):
    with serving(Behaviour(by_text={"q1 ": "400"})) as server:
        one = work(server, 3)
        lost = []
        one.lost = lambda request: lost.append(request.about)
        perform(one)
    assert lost == [("q1",)] and one.kept == 2


def test_nothing_to_ask_is_no_call(perform):
    with serving() as server:
        run = perform(work(server, 0))
    assert (server.calls, run.stops, run.over_budget) == ([], [], False)


# -- again, where that can help


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(
    ("fault", "kind"),
    [(fault, Kind.DOWN) for fault in ("500", "503", "408", "409", "reset", "drop", "hang")]
    + [
        (fault, Kind.BAD_REPLY)
        for fault in ("html", "malformed", "no-choices", "empty-choices", "no-message")
    ],
)
def test_a_call_that_keeps_failing_is_tried_so_often_and_left_owed(perform, fault, kind):
    kept = []
    with serving(Behaviour(by_text={"q1 ": fault})) as server:
        one = work(server, 4, kept, timeouts=Timeouts(total=0.1 if fault == "hang" else 10))
        run = perform(one)
    assert sorted(abouts(kept)) == ["q0", "q2", "q3"]
    assert len(calls_of(server, "q1")) == TRIES[kind]
    assert (one.failed, run.stops) == ({kind: 1}, [])
    assert [each.kind for each in run.told] == [kind] * TRIES[kind]
    assert [each.wait is None for each in run.told] == [False] * (TRIES[kind] - 1) + [True]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", Kind.REJECTED),
        ("redirect", Kind.NO_MODEL),
        ("404", Kind.NO_MODEL),
        ("401", Kind.KEY),
        ("403", Kind.KEY),
        ("quota", Kind.QUOTA),
    ],
)
def test_what_cannot_pass_is_not_tried_again(perform, fault, kind):
    kept = []
    with serving(Behaviour(by_text={"q1 ": fault})) as server:
        one = work(server, 4, kept)
        run = perform(one)
    assert len(calls_of(server, "q1")) == 1
    assert one.failed == {kind: 1}
    assert [(each.kind, each.wait) for each in run.told] == [(kind, None)]
    assert "q1" not in abouts(kept)


def test_each_failure_is_told_with_the_seconds_until_it_is_tried_again(perform):
    with serving(Behaviour(script=["500", "429", ""], wait=0.1)) as server:
        run = perform(work(server, 1))
    assert [each.kind for each in run.told] == [Kind.DOWN, Kind.BUSY]
    waits = [each.wait for each in run.told]
    assert 0.25 <= waits[0] <= 0.5
    assert 0.1 <= waits[1] <= 0.1 + 0.05 + 0.1
    gaps = [after.at - before.at for before, after in pairwise(server.calls)]
    assert all(gap >= wait - 0.01 for gap, wait in zip(gaps, waits, strict=True))


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(("fault", "first"), [("500", 0.5), ("429-no-hint", 1.0)])
def test_waits_double_up_to_a_minute(perform, fault, first):
    with serving(Behaviour(faults={fault: 1.0})) as server:
        run = perform(work(server, 1), deadline=0.3)
    waits = [each.wait for each in run.told if each.wait is not None]
    assert len(waits) >= 5
    for n, wait in enumerate(waits):
        longest = min(60.0, first * 2**n)
        assert longest / 2 <= wait <= longest


@pytest.mark.parametrize("fault", ["429", "429-no-hint"])
@pytest.mark.usefixtures("no_waits")
def test_a_busy_service_is_asked_again_until_the_deadline(perform, fault):
    with serving(Behaviour(faults={fault: 1.0}, wait=0.01)) as server:
        one = work(server, 5)
        run = perform(one, deadline=0.4)
    assert len(server.calls) > TRIES[Kind.DOWN]
    assert server.calls[-1].at - server.calls[0].at > 0.2
    assert [stop.failure.kind for stop in run.stops] == [Kind.BUSY]
    assert (one.kept, one.stopped) == (0, True)


def test_a_service_that_replies_to_others_is_not_busy_too_long(perform):
    kept = []
    behaviour = Behaviour(by_text={"q0 ": "429"}, wait=0.05, latency=(0.03, 0.03))

    def after(asked, reply):
        if len(kept) == 270:
            behaviour.by_text = {}

    with serving(behaviour) as server:
        run = perform(work(server, 300, kept, after=after), concurrency=8, deadline=0.8)
    assert (sorted(abouts(kept)), run.stops) == (sorted(names(300)), [])
    times = [call.at for call in calls_of(server, "q0")]
    assert times[-1] - times[0] > 0.8


def test_a_service_that_wants_more_time_than_the_deadline_stops_at_once(perform):
    with serving(Behaviour(faults={"429": 1.0}, wait=100)) as server:
        one = work(server, 5)
        run = perform(one, deadline=5)
    assert len(server.calls) == 1
    assert [(each.failure.kind, each.calls) for each in run.stops] == [(Kind.BUSY, 1)]
    assert [each.wait for each in run.told] == [None]


# -- what ends a run early


@pytest.mark.parametrize(
    ("fault", "kind"), [("401", Kind.KEY), ("403", Kind.KEY), ("quota", Kind.QUOTA)]
)
def test_a_refused_key_stops_all_work_on_its_service_at_the_first_call(perform, fault, kind):
    kept = []
    with serving(Behaviour(faults={fault: 1.0})) as server, serving() as elsewhere:
        one, other = work(server, 20, name="one"), work(server, 20, name="other")
        third = work(elsewhere, 5, kept)
        run = perform(one, other, third)
    assert len(server.calls) == 1
    assert [(s.failure.kind, s.name, s.calls) for s in run.stops] == [(kind, "one", 1)]
    assert (one.stopped, other.stopped, third.stopped) == (True, True, False)
    assert sorted(abouts(kept)) == names(5)


def test_one_stop_is_told_however_many_calls_met_it(perform):
    with serving(Behaviour(faults={"401": 1.0}, latency=(0.02, 0.02))) as server:
        run = perform(work(server, 20), work(server, 20, name="other"), concurrency=8)
    assert len(server.calls) == 8
    assert len(run.stops) == 1


def test_a_quota_that_ends_on_the_way_lets_what_is_under_way_finish(perform):
    kept = []
    script = [""] * 12 + ["quota"]
    with serving(Behaviour(script=script, latency=(0.01, 0.05))) as server:
        one = work(server, 40, kept)
        run = perform(one, concurrency=4)
    assert len(kept) == one.kept == server.stats()["replies"] >= 12
    assert one.calls == len(server.calls) == one.kept + 1 <= 17
    assert [stop.failure.kind for stop in run.stops] == [Kind.QUOTA]


def test_a_model_that_is_not_there_stops_and_another_on_its_server_goes_on(perform):
    kept = []
    with serving(Behaviour(models=["good"])) as server:
        bad, good = work(server, 20, name="bad"), work(server, 20, kept, name="good")
        run = perform(bad, good)
    assert sorted(abouts(kept)) == sorted(names(20))
    assert (bad.calls, bad.kept, bad.failed) == (1, 0, {Kind.NO_MODEL: 1})
    assert (bad.stopped, good.stopped) == (True, False)
    assert [(stop.failure.kind, stop.name) for stop in run.stops] == [(Kind.NO_MODEL, "bad")]


@pytest.mark.parametrize("concurrency", [1, None])
def test_ten_given_up_in_a_row_stop(perform, concurrency):
    with serving(Behaviour(by_text={"q0 ": "", "q": "400"})) as server:
        one = work(server, 60)
        run = perform(one, concurrency=concurrency)
    assert one.kept == 1
    assert IN_A_ROW <= one.failed[Kind.REJECTED] < 60
    assert concurrency is None or len(server.calls) == 1 + IN_A_ROW
    assert [stop.failure.kind for stop in run.stops] == [Kind.REJECTED]


def test_ten_given_up_with_a_reply_between_them_do_not_stop(perform):
    with serving(Behaviour(by_text={"q9 ": "", "q19 ": "", "q": "400"})) as server:
        one = work(server, 28)
        run = perform(one, concurrency=1)
    assert (one.kept, one.failed, run.stops) == (2, {Kind.REJECTED: 26}, [])
    assert len(server.calls) == 28


def test_requests_too_long_for_the_model_stop_nothing(perform):
    kept = []
    asked = [request("word " * 50, f"long{n}") for n in range(3 * IN_A_ROW)] + requests(3)
    with serving(Behaviour(context=20)) as server:
        one = work(server, asked, kept)
        run = perform(one, concurrency=1)
    assert (abouts(kept), run.stops) == (names(3), [])
    assert one.failed == {Kind.TOO_LONG: 3 * IN_A_ROW}
    assert len(server.calls) == len(asked)


@pytest.mark.usefixtures("no_waits")
def test_a_service_that_cannot_be_reached_is_given_up_after_the_tries_of_one_call(perform):
    one = work(nobody(), 20)
    run = perform(one)
    assert (one.calls, one.kept, one.failed) == (TRIES[Kind.DOWN], 0, {Kind.DOWN: 1})
    assert [(each.failure.kind, each.calls) for each in run.stops] == [(Kind.DOWN, 6)]


@pytest.mark.usefixtures("no_waits")
def test_a_service_that_breaks_every_call_is_too(perform):
    with serving(Behaviour(faults={"reset": 1.0})) as server:
        run = perform(work(server, 20))
    assert len(server.calls) == TRIES[Kind.DOWN]
    assert [stop.failure.kind for stop in run.stops] == [Kind.DOWN]


@pytest.mark.usefixtures("no_waits")
def test_a_service_that_cannot_be_reached_keeps_no_other_waiting(perform):
    kept = []
    with serving() as server:
        lost, one = work(nobody(), 5, name="lost"), work(server, 20, kept)
        run = perform(lost, one)
    assert sorted(abouts(kept)) == sorted(names(20))
    assert [stop.name for stop in run.stops] == ["lost"]


# -- a budget


@pytest.mark.parametrize("concurrency", [None, 1, 16])
@pytest.mark.parametrize(("text", "calls"), [(LONG, 4), (HALF, 7)])
def test_no_call_passes_the_budget_and_what_is_left_is_used(perform, text, calls, concurrency):
    kept = []
    with serving(Behaviour(text=text, latency=(0.0, 0.01))) as server:
        one = work(server, 40, kept, price=DOLLAR)
        run = perform(one, budget=4, concurrency=concurrency)
    assert len(server.calls) == len(kept) == calls
    spent = calls * len(text.split()) / WORDS
    assert run.budget.spent == one.dollars == pytest.approx(spent)
    assert run.over_budget
    assert run.stops == []


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("seed", range(4))
def test_no_call_passes_the_budget_whatever_goes_wrong(perform, seed):
    """Counted by the server: all that it has billed, also what never arrived whole."""
    dice, billed = random.Random(seed), []

    def text(body):
        billed.append(dice.randint(0, WORDS))
        return " ".join(["word"] * billed[-1])

    faults = {"drop": 0.1, "no-usage": 0.1, "malformed": 0.05, "500": 0.1, "429": 0.05}
    behaviour = Behaviour(text=text, faults=faults, seed=seed, wait=0.005, latency=(0, 0.01))
    with serving(behaviour) as server:
        works = [
            work(server, 60, name=name, price=DOLLAR, after=then(3)) for name in ("one", "other")
        ]
        run = perform(*works, budget=30.25)
    assert sum(billed) / WORDS <= run.budget.spent + 1e-9
    assert 29.25 < run.budget.spent <= 30.25
    assert run.over_budget


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("fault", ["no-usage", "drop", "malformed"])
def test_a_call_of_unknown_cost_counts_as_the_dearest(perform, fault):
    with serving(Behaviour(faults={fault: 1.0})) as server:
        one = work(server, 20, price=DOLLAR)
        run = perform(one, budget=2.5, concurrency=1)
    assert len(server.calls) == 2
    assert (run.budget.spent, run.over_budget) == (2, True)
    assert (one.dollars, one.unpriced) == (0, 2 if fault == "no-usage" else 0)


@pytest.mark.parametrize("shared", [True, False])
def test_what_is_free_goes_on_when_the_budget_is_spent(perform, shared):
    slow = Behaviour(latency=(0.02, 0.03))
    with serving(Behaviour(text=LONG, latency=(0.0, 0.01))) as server, serving(slow) as other:
        dear = work(server, 20, price=DOLLAR)
        free = work(server if shared else other, 60, name="free", free=True)
        run = perform(dear, free, budget=2, concurrency=4)
    assert (dear.kept, free.kept, run.over_budget, run.stops) == (2, 60, True, [])


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("fault", ["500", "429", "400"])
def test_a_refused_call_costs_nothing(perform, fault):
    kept = []
    with serving(Behaviour(script=["", fault, fault], text=LONG, wait=0.01)) as server:
        one = work(server, 4, kept, price=DOLLAR)
        run = perform(one, budget=4, concurrency=1)
    assert run.budget.spent == len(kept) == 4 - one.failed.total()
    assert not run.over_budget


def test_what_follows_from_a_reply_is_held_against_the_budget_too(perform):
    kept = []
    with serving(Behaviour(text=LONG)) as server:
        run = perform(work(server, 4, kept, after=then(5), price=DOLLAR), budget=7.9)
    assert len(server.calls) == len(kept) == run.budget.spent == 7
    assert run.over_budget


def test_a_budget_that_is_just_enough_is_enough(perform):
    with serving(Behaviour(text=LONG)) as server:
        run = perform(work(server, 8, price=DOLLAR), budget=8)
    assert (len(server.calls), run.budget.spent, run.over_budget) == (8, 8, False)


def test_a_budget_is_one_for_all_services(perform):
    with serving(Behaviour(text=LONG)) as server, serving(Behaviour(text=LONG)) as elsewhere:
        works = [work(server, 9, price=DOLLAR), work(elsewhere, 9, price=DOLLAR)]
        run = perform(*works, budget=5)
    assert len(server.calls) + len(elsewhere.calls) == run.budget.spent == 5


def test_with_no_budget_left_nothing_is_called(perform):
    with serving() as server:
        run = perform(work(server, price=DOLLAR), budget=0)
    assert (server.calls, run.over_budget) == ([], True)


@pytest.mark.parametrize("price", [None, DOLLAR])
def test_what_is_free_needs_no_budget(perform, price):
    kept = []
    with serving() as server:
        run = perform(work(server, 5, kept, price=price, free=True), budget=0)
    assert sorted(abouts(kept)) == names(5)
    assert [each.dollars for each in kept] == [0.0] * 5
    assert (run.budget.spent, run.over_budget) == (0, False)


def test_a_reply_without_a_price_has_unknown_dollars(perform):
    kept = []
    with serving() as server:
        one = work(server, 3, kept)
        perform(one)
    assert [each.dollars for each in kept] == [None] * 3
    assert (one.unpriced, one.dollars) == (3, 0)


# -- how many at once


@pytest.mark.parametrize("concurrency", [1, 3, 20])
def test_a_number_of_calls_at_once_is_obeyed_and_used(perform, concurrency):
    with serving(Behaviour(latency=(0.02, 0.02))) as server:
        perform(work(server, 4 * concurrency, after=then(2)), concurrency=concurrency)
    assert server.stats()["most_in_flight"] == concurrency


def test_without_a_number_one_call_goes_first(perform):
    with serving(Behaviour(latency=(0.05, 0.05))) as server:
        perform(work(server, 12))
    first, second, *_ = server.calls
    assert second.at - first.at >= 0.05
    assert server.stats()["most_in_flight"] > 1


def test_models_on_one_service_share_its_pace_and_are_served_in_turn(perform):
    with serving(Behaviour(latency=(0.01, 0.01))) as server:
        works = [work(server, number, name=name) for name, number in (("a", 9), ("b", 6), ("c", 2))]
        perform(*works, concurrency=3)
    assert server.stats()["most_in_flight"] == 3
    asked = [call.model for call in server.calls]
    assert Counter(asked[:6]) == {"a": 2, "b": 2, "c": 2}
    assert Counter(asked[6:14]) == {"a": 4, "b": 4}
    assert asked[14:] == ["a"] * 3


def test_two_keys_at_one_service_have_a_pace_each(perform):
    with serving(Behaviour(script=["429"], wait=3600)) as server:
        works = [work(server, 5, name=key, key_env=key) for key in KEYS]
        run = perform(*works, deadline=60)
    assert sorted(each.kept for each in works) == [0, 5]
    assert len(run.stops) == 1


def test_two_services_do_not_wait_for_each_other(perform):
    done = threading.Event()
    kept, later = [], []

    def after(asked, reply):
        if len(kept) == 30:
            done.set()

    slow = Behaviour(text=lambda body: "late" if done.wait(10) else "too late")
    with serving(slow) as first, serving() as second:
        perform(work(first, 3, later), work(second, 30, kept, after=after))
    assert [each.reply.text for each in later] == ["late"] * 3


def test_a_limit_that_the_service_tells_is_kept(perform):
    with serving(Behaviour(requests_per_minute=1200, burst=5)) as server:
        one = work(server, 25)
        perform(one)
    assert one.kept == 25
    assert server.stats()["refused"] <= 3


# -- stopping


def test_stop_lets_what_is_under_way_finish_and_starts_nothing(perform):
    kept, at_stop = [], []

    def before(run):
        def after(asked, reply):
            if len(kept) == 5:
                at_stop.append(len(kept) + run.in_flight)
                run.stop()
            return then(2)(asked, reply)

        one.keep = work(server, 0, kept, after=after).keep

    with serving(Behaviour(latency=(0.02, 0.1))) as server:
        one = work(server, 50)
        run = perform(one, before=before, concurrency=4)
    assert len(server.calls) == len(kept) == one.kept == at_stop[0]
    assert 5 < at_stop[0] <= 8
    assert (run.stops, run.over_budget, run.error) == ([], False, None)


@pytest.mark.parametrize("end", ["stop", "drop"])
def test_nothing_is_waited_for_that_would_only_be_tried_again(perform, end):
    def before(run):
        heard = run._tell

        def tell(*args):
            heard(*args)
            asyncio.get_running_loop().call_soon(getattr(run, end))

        run._tell = tell

    with serving(Behaviour(faults={"429": 1.0}, wait=300)) as server:
        one = work(server, 5)
        run = perform(one, before=before)
    assert (len(server.calls), one.kept, run.stops) == (1, 0, [])


def test_drop_waits_for_nothing(perform):
    kept = []

    def before(run):
        def after(asked, reply):
            run.stop()
            asyncio.get_running_loop().call_soon(run.drop)

        one.keep = work(server, 0, kept, after=after).keep

    with serving(Behaviour(by_text={"q3 ": "", "q": "hang"})) as server:
        one = work(server, 20)
        perform(one, before=before, concurrency=4)
        assert abouts(kept) == ["q3"]
        assert len(server.calls) == 4
        until(lambda: not server.open)


def test_what_cannot_be_kept_stops_the_run_and_replies_under_way_still_arrive(perform):
    kept = []

    def after(asked, reply):
        if len(kept) >= 5:
            raise Missing(f"no room for {len(kept)}")

    with serving(Behaviour(latency=(0.02, 0.1))) as server, serving() as elsewhere:
        one, other = work(server, 50, kept, after=after), work(elsewhere, 0)
        run = perform(one, other, concurrency=4)
    assert isinstance(run.error, EvalkitError)
    assert str(run.error) == "no room for 5"
    assert 5 < len(kept) == len(server.calls) <= 8
    assert one.kept == 4


def test_a_mistake_in_the_program_surfaces_as_itself(perform):
    def after(asked, reply):
        raise ValueError("a mistake")

    with serving(Behaviour(latency=(0.01, 0.01))) as server:
        with pytest.raises(ValueError, match="a mistake"):
            perform(work(server, 50, after=after), concurrency=4)
        until(lambda: not server.open)


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("fault", ["", "401", "404", "400", "no-usage", "drop"])
def test_every_connection_is_closed_however_a_run_ends(perform, fault):
    with serving(Behaviour(script=[""] * 3, faults={fault: 1.0} if fault else {})) as server:
        works = [work(server, 12, name=name, price=DOLLAR) for name in ("one", "other")]
        perform(*works, budget=8, concurrency=4)
        until(lambda: not server.open)
    gc.collect()  # a session that was left open would warn here
