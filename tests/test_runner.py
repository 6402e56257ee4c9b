"""The runner against a real service: all once, again where that can help, within a budget."""

import asyncio
import datetime

import pytest
from chat_server import Behaviour, serving

from evalkit.catalog import Model, Stanza
from evalkit.chat import Kind, Message, Request, Sampling
from evalkit.errors import DiskFull
from evalkit.keys import Keys
from evalkit.price import Budget, Price
from evalkit.providers.openai_api import Provider
from evalkit.runner import Run, Work

PRICE = Price(input=10.0, output=20.0, date=datetime.date(2026, 11, 1))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Tries follow each other at once, where the service does not ask for more."""
    monkeypatch.setattr("evalkit.runner.LONGEST_WAIT", 0.02)


def work(server, number=3, name="m", price=None, keep=None, texts=None):
    """Work of so many requests; what is kept lies in `work.found`."""
    texts = texts or [f"{name} {n}" for n in range(number)]
    sampling = Sampling(max_tokens=50)
    requests = [Request((Message("user", text),), sampling, (text,)) for text in texts]
    found = []

    def kept(request, reply, dollars):
        found.append((request.about[0], reply, dollars))
        return keep(request) if keep else None

    provider = Provider(Model(name, name, Stanza(provider="openai_api"), server.url), Keys({}))
    made = Work(name, provider, iter(requests), kept, len(requests), price, price is None)
    made.found = found
    return made


def finish(*works, budget=None, after=None, **more):
    """Run to the end; `after` is called with the run once it goes. Returns it and what it told."""
    told = []

    async def main():
        run = Run(works, Budget(budget), lambda *each: told.append(each), **more)
        going = asyncio.create_task(run.finish())
        if after:
            await after(run)
        await going
        return run

    return asyncio.run(main()), told


def test_everything_is_kept_once_while_the_service_fails():
    faults = {"429": 0.05, "500": 0.02, "malformed": 0.01, "drop": 0.01}
    with serving(Behaviour(faults=faults, wait=0.02, latency=(0.0, 0.02))) as server:
        asked = work(server, 500)
        run, _ = finish(asked)
        calls = server.stats()["calls"]
    names = [name for name, _, _ in asked.found]
    assert len(names) == len(set(names)) == asked.kept == 500
    assert not run.stops and calls == asked.calls <= 1.12 * 500


@pytest.mark.parametrize(
    ("fault", "kind", "calls"),
    [
        ("500", Kind.DOWN, 6),
        ("malformed", Kind.BAD_REPLY, 3),
        ("400", Kind.REJECTED, 1),
    ],
)
def test_a_call_is_made_again_as_often_as_that_can_help(fault, kind, calls):
    with serving(Behaviour(by_text={"m 1": fault})) as server:
        asked = work(server)
        run, told = finish(asked)
        assert len(server.calls) == 2 + calls
    assert asked.failed == {kind: 1} and asked.kept == 2 and not run.stops
    waits = [wait for _, _, wait in told]
    assert len(waits) == calls and waits[-1] is None and None not in waits[:-1]


@pytest.mark.parametrize(("fault", "kind"), [("401", Kind.KEY), ("quota", Kind.QUOTA)])
def test_what_is_wrong_with_a_service_stops_all_work_on_it(fault, kind):
    with serving(Behaviour(script=[fault] * 99)) as server, serving() as other:
        works = work(server, 20), work(server, 20, "n"), work(other, 20, "o")
        run, _ = finish(*works)
        assert len(server.calls) == 1
    assert [(stop.failure.kind, stop.calls) for stop in run.stops] == [(kind, 1)]
    assert [each.kept for each in works] == [0, 0, 20]


def test_a_follow_up_comes_after_what_it_follows():
    def then(request):
        if request.about[0].endswith("!!"):
            return None
        text = f"{request.about[0]}!"
        return Request((Message("user", text),), request.sampling, (text,))

    with serving(Behaviour(latency=(0.0, 0.01))) as server:
        asked = work(server, 5, keep=then)
        finish(asked)
    names = [name for name, _, _ in asked.found]
    assert len(names) == 15
    for n in range(5):
        assert [name for name in names if name.startswith(f"m {n}")] == [
            f"m {n}", f"m {n}!", f"m {n}!!"
        ]  # fmt: skip


def test_two_models_on_one_service_share_its_pace_and_take_turns():
    with serving(Behaviour(latency=(0.01, 0.01))) as server:
        works = work(server, 20), work(server, 20, "n")
        finish(*works, concurrency=4)
        assert server.stats()["most_in_flight"] == 4
    first = [call.model for call in server.calls[:8]]
    assert sorted(first) == ["m"] * 4 + ["n"] * 4


@pytest.mark.parametrize("fault", ["", "no-usage", "drop"])
def test_a_budget_holds_whatever_a_call_costs(fault):
    with serving(Behaviour(script=["", *[fault] * 999], latency=(0.0, 0.01))) as server:
        asked = work(server, 300, price=PRICE)
        run, _ = finish(asked, budget=0.02)
        billed = server.stats()["billed"]
    worst = (50 * 20 + (4 + 16) * 10) / 1e6  # of one call
    assert run.budget.aside == pytest.approx(0) and run.budget.spent <= 0.02
    if fault != "drop":  # ten in a row may end that one before
        assert run.over_budget and asked.kept < 300
    if fault:
        assert (billed - 1) * worst <= 0.02
    else:
        known = sum(dollars for _, _, dollars in asked.found)
        assert run.budget.spent == pytest.approx(known) == pytest.approx(asked.dollars)


def test_stopping_waits_for_what_is_under_way_and_dropping_does_not():
    async def soon(run):
        while run.in_flight < 4:
            await asyncio.sleep(0.005)
        run.stop()

    with serving(Behaviour(latency=(0.2, 0.2))) as server:
        asked = work(server, 40)
        finish(asked, after=soon, concurrency=4)
        assert asked.kept == len(server.calls) == 4

    async def at_once(run):
        await soon(run)
        run.drop()

    with serving(Behaviour(script=["hang"] * 40)) as server:
        asked = work(server, 40)
        run, _ = finish(asked, after=at_once, concurrency=4, budget=1.0)
        assert asked.kept == run.in_flight == 0 and len(server.calls) == 4


def test_what_cannot_be_kept_ends_the_run_and_the_others_still_come():
    def full(request):
        raise DiskFull("no room")

    with serving(Behaviour(latency=(0.05, 0.05))) as server:
        asked = work(server, 40, keep=full)
        run, _ = finish(asked, concurrency=4)
        assert len(server.calls) == len(asked.found) == 4
    assert str(run.error) == "no room" and asked.kept == 0


def test_a_mistake_of_ours_is_not_hidden():
    def wrong(request):
        raise ZeroDivisionError

    with serving() as server, pytest.raises(ExceptionGroup) as raised:
        finish(work(server, keep=wrong))
    assert raised.group_contains(ZeroDivisionError)
