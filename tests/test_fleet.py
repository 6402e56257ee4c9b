"""Several servers of one model: real ones that die, come back, are slow or busy, and one made of a
clock for what takes time."""

import asyncio
import heapq
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from chat_server import Behaviour, serving
from conftest import question, read_lines, write_lines
from model_server import NEEDS, model_server

from evalkit import fleet, providers, runner
from evalkit.catalog import Catalog, Model, Stanza
from evalkit.chat import Failure, Kind, Message, Reply, Request, Sampling
from evalkit.errors import BadFile, BadKey
from evalkit.fleet import Fleet, Server
from evalkit.keys import Keys
from evalkit.pace import Pace
from evalkit.price import Budget
from evalkit.runner import Run, Work

CHAT_SERVER = Path(__file__).with_name("chat_server.py")
NOBODY = "http://127.0.0.1:9/v1"
DOWN = Failure(Kind.DOWN, "no connection")


def fleet_of(*urls, **more):
    """One model on all these servers, each given by itself or by its address."""
    addresses = tuple(getattr(each, "url", each) for each in urls)
    stanza = Stanza(provider="openai_api", url=addresses, **more)
    return Model("m", "m", stanza, addresses[0], addresses[1:])


def asking(model, number, after=lambda kept: None, name="m"):
    """So many requests to a model; `work.rows` counts the replies to each."""

    def keep(request, reply, dollars):
        work.rows[request.about[0]] += 1
        after(work.rows.total())

    requests = [
        Request((Message("user", f"q{n} and no more"),), Sampling(max_tokens=10), (f"q{n}",))
        for n in range(number)
    ]
    asked = providers.servers(model, Keys({"A_KEY": "sk-0123456789abc"}))
    work = Work(name, asked, iter(requests), keep, number)
    work.rows = Counter()
    return work


def perform(*works, **how):
    """Make all calls; what was told is in `run.told` and `run.turns`."""
    told, turns = [], []

    async def made():
        run = Run(works, Budget(), lambda _, *what: told.append(what), turned=turns.append, **how)
        try:
            await asyncio.wait_for(run.finish(), 30)
        finally:
            for provider in (each for work in works for each in work.providers):
                await provider.close()
        return run

    run = asyncio.run(made())
    run.told, run.turns = told, turns
    assert run.in_flight == 0
    return run


def once_each(work, number):
    return work.rows == dict.fromkeys((f"q{n}" for n in range(number)), 1)


@pytest.fixture
def no_waits(monkeypatch):
    """Tries follow one another at once, whatever wait is told."""
    nap = runner._nap
    monkeypatch.setattr(runner, "_nap", lambda lane, seconds: nap(lane, min(seconds, 0.005)))


@pytest.fixture
def short_rests(monkeypatch):
    """Who is left out is tried again soon."""
    monkeypatch.setattr(fleet, "SHORTEST_REST", 0.05)


@contextmanager
def child(*options, port=0):
    """The chat service as a process of its own: its address, its counts, its death."""
    command = [sys.executable, CHAT_SERVER, "--port", port, *options]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([str(each) for each in command], text=True, **pipes)

    def stats():
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:
            return json.load(reply)

    def kill():
        process.kill()
        process.wait()

    with process:
        url = process.stdout.readline().strip()
        try:
            yield SimpleNamespace(url=url, stats=stats, kill=kill, port=int(url[17:-3]))
        finally:
            kill()


# -- who takes the next call, with servers made of a clock


def simulated(specs, calls, concurrency, seed):
    """Seconds that calls take at servers of (slots, shortest, longest call), in a time of its own.

    And how many calls each had.
    """
    dice = random.Random(seed)
    servers = [Server(f"s{n}", Pace(concurrency)) for n in range(len(specs))]
    all_, now, left, ends, number = Fleet(servers), 0.0, calls, [], 0
    free, had = {s: [0.0] * spec[0] for s, spec in zip(servers, specs, strict=True)}, Counter()
    while left or ends:
        server, delay = all_.choose(now, 100, left + len(ends), ()) if left else (None, math.inf)
        if server:
            spec = specs[servers.index(server)]
            end = max(now, heapq.heappop(free[server])) + dice.uniform(*spec[1:])
            heapq.heappush(free[server], end)
            heapq.heappush(ends, (end, number, server, server.start(now, 100)))
            had[server.name] += 1
            left, number = left - 1, number + 1
        elif ends and ends[0][0] <= now + delay:
            now, _, server, started = heapq.heappop(ends)
            all_.end(server, now, started, Reply(""))
        else:
            assert 0 < delay < math.inf, "nothing would ever start"
            now += delay
    return now, had


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("lengths", [(1, 1), (0.2, 1.8)])
@pytest.mark.parametrize(("concurrency", "calls"), [(None, 120), (4, 120), (16, 120), (None, 400)])
def test_two_servers_give_nearly_what_both_give_alone(times, lengths, concurrency, calls):
    low, high = lengths
    fast, slow = (4, low, high), (4, times * low, times * high)
    ratios = []
    for seed in range(5):
        alone = [simulated([each], calls, concurrency, seed)[0] for each in (fast, slow)]
        both, had = simulated([fast, slow], calls, concurrency, seed + 1)
        assert had.total() == calls
        ratios.append(1 / sum(1 / each for each in alone) / both)
    hard = times == 5 and concurrency == 16  # 16 calls are with the slow one before it is known
    assert sum(ratios) / len(ratios) > (0.8 if hard else 0.9)


def test_three_servers_give_nearly_what_all_give():
    specs = [(8, 0.2, 1.8), (4, 0.2, 1.8), (2, 0.4, 3.6)]
    ratios = []
    for seed in range(6):
        alone = [simulated([each], 600, None, seed)[0] for each in specs]
        ratios.append(
            1 / sum(1 / each for each in alone) / simulated(specs, 600, None, seed + 1)[0]
        )
    assert sum(ratios) / len(ratios) > 0.9


def left_out(number=2):
    """A fleet whose first server has just failed, at the time 0, with much to do."""
    servers = [Server(f"s{n}", Pace(4)) for n in range(number)]
    return servers[0], Fleet(servers), lambda now, came=DOWN: came_back(servers, now, came)


def came_back(servers, now, came):
    started = servers[0].start(now, 1)
    return Fleet(servers).end(servers[0], now, started, came)


def test_a_dead_server_is_tried_again_after_a_wait_that_doubles_up_to_a_minute():
    dead, all_, tried = left_out()
    now, rests = 0.0, []
    for _ in range(9):
        turn = tried(now)
        rests.append(turn.seconds)
        assert all_.choose(now + turn.seconds - 0.01, 1, 99, ())[0] is not dead
        now += turn.seconds
        assert all_.choose(now, 1, 99, ())[0] is dead
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    tried(now, Reply(""))
    assert tried(now + 1).seconds == 1


def test_a_dead_server_is_tried_with_one_call_and_only_where_it_could_help():
    dead, all_, tried = left_out()
    tried(0.0)
    assert all_.choose(5.0, 1, 4, ())[0] is not dead  # the other has room for all 4
    assert all_.choose(5.0, 1, 5, ())[0] is dead
    dead.start(5.0, 1)
    assert all_.choose(5.0, 1, 99, ())[0] is not dead


def test_a_call_does_not_go_where_it_has_failed_while_another_may_take_it():
    server, all_, _ = left_out()
    assert all_.choose(0.0, 1, 99, ())[0] is server
    assert all_.choose(0.0, 1, 99, {server})[0] is all_.servers[1]
    all_.servers[1].pace.hold(5.0)
    assert all_.choose(0.0, 1, 99, {server})[0] is server


def test_where_all_are_left_out_they_are_asked_in_turn():
    one, all_, _ = left_out()
    two = all_.servers[1]
    for now, server in enumerate((one, two, one, two)):
        all_.end(server, now, server.start(now, 1), DOWN)
        assert all_.choose(now + 0.5, 1, 99, ())[0] is (two if server is one else one)


def test_one_that_replies_to_others_is_not_left_out_for_one_failure():
    server, _, _ = left_out()
    first, second = server.start(0, 1), server.start(0, 1)
    assert not server.end(1, first, Reply(""))
    assert not server.end(2, second, DOWN) and not server.left_out
    assert server.end(4, server.start(3, 1), DOWN) and server.left_out


@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_something_can_always_start(seed):
    """Nothing under way and nothing to wait for, with a call that is owed, would be the end."""
    dice, now, under_way = random.Random(seed), 0.0, []
    servers = [Server(f"s{n}", Pace(dice.choice([None, 1, 3]))) for n in range(dice.choice([2, 3]))]
    all_, started = Fleet(servers), 0
    for _ in range(1000):
        tried = [each for each in servers if dice.random() < 0.3]
        owed = dice.choice([1, 1, 2, 50]) + len(under_way)
        server, delay = all_.choose(now, 1, owed, tried)
        if server and (dice.random() < 0.7 or not under_way):
            under_way.append((server, server.start(now, 1)))
            started += 1
        elif under_way:
            server, call = under_way.pop(dice.randrange(len(under_way)))
            now += dice.random()
            wait = dice.choice([None, 0.0, 0.5, 90.0])
            failures = [Failure(kind, "", wait) for kind in (Kind.BUSY, Kind.DOWN, Kind.BAD_REPLY)]
            all_.end(server, now, call, dice.choice([Reply(""), Reply(""), None, DOWN, *failures]))
        else:
            assert 0 < delay < math.inf
            now += delay
    assert started > 200


# -- real servers


def test_one_that_is_killed_loses_nothing_and_is_told_in_one_line(evalkit, tmp_path):
    number = 60
    write_lines(tmp_path / "questions/b.jsonl", [question(f"q{n}") for n in range(number)])
    with (
        child("--latency", 0.02, 0.02, "--slots", 4) as one,
        child("--latency", 0.04, 0.04, "--slots", 4) as two,
    ):
        yaml = "catalog:\n  pair:\n    provider: openai_api\n    model: m\n    url:\n"
        (tmp_path / "evalkit.yaml").write_text(f"{yaml}      - {one.url}\n      - {two.url}\n")

        def kill():
            while one.stats()["replies"] < 12:
                time.sleep(0.005)
            killed.append(one.stats()["replies"])
            one.kill()

        killed = []
        killer = threading.Thread(target=kill)
        killer.start()
        ran = evalkit("answer", "--model", "pair", "--bank", "b", "--concurrency", 4)
        killer.join()
        assert ran.code == 0, ran.err
        assert two.stats()["replies"] >= number - killed[0] - 20
    rows = read_lines(tmp_path / "answers/b/pair.jsonl")
    assert sorted(row["question"] for row in rows) == sorted(f"q{n}" for n in range(number))
    hosts = f"127.0.0.1:{one.port}, 127.0.0.1:{two.port}"
    assert f"2 servers: {hosts} (no key sent)" in ran.err
    told = [line for line in ran.lines if "left out" in line]
    assert len(told) == 1 and f"127.0.0.1:{one.port}" in told[0] and "again in 1.0 s" in told[0]


@pytest.mark.skipif(any(find_spec(name) is None for name in NEEDS), reason="NO REAL MODEL SERVER")
def test_two_model_servers_of_which_one_is_killed(tmp_path):
    with (
        model_server(tmp_path / "one") as one,
        model_server(tmp_path / "two") as two,
    ):

        def after(kept):
            if kept == 20:
                ps = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True)
                (line,) = [each for each in ps.stdout.splitlines() if str(tmp_path / "one") in each]
                os.kill(int(line.split()[0]), signal.SIGKILL)

        work = asking(fleet_of(one, two), 60, after)
        run = perform(work, concurrency=4)
    assert once_each(work, 60) and not work.failed and not run.stops
    assert [turn.name for turn in run.turns if turn.failure] == [one]


@pytest.mark.usefixtures("short_rests")
def test_one_that_dies_and_comes_back_is_taken_in_again():
    options = ("--latency", 0.02, 0.02)
    with ExitStack() as stack, child(*options) as other:
        first = stack.enter_context(child(*options))
        again = []

        def after(kept):
            if kept == 20:
                first.kill()
            elif kept == 40:
                again.append(stack.enter_context(child(*options, port=first.port)))

        work = asking(fleet_of(first, other), 160, after)
        run = perform(work, concurrency=4)
        assert once_each(work, 160) and not work.failed
        assert again[0].stats()["replies"] > 20
    first_told = [turn for turn in run.turns if not turn.again]
    assert [(t.name, t.failure is None) for t in first_told] == [
        (first.url, False),
        (first.url, True),
    ]


@pytest.mark.usefixtures("short_rests")
def test_one_is_tried_again_in_time_while_calls_at_the_other_take_long():
    script = Behaviour(script=["reset"], latency=(0.01, 0.01))
    with serving(script) as one, serving(Behaviour(latency=(1, 1))) as slow:
        work = asking(fleet_of(one, slow), 20)
        perform(work, concurrency=1)
        assert len([call for call in one.calls if call.at < slow.calls[0].at + 1]) > 2
    assert once_each(work, 20)


def test_a_dead_one_costs_no_call_its_tries_and_no_wait():
    with serving(Behaviour(latency=(0.01, 0.01))) as server:
        work = asking(fleet_of(NOBODY, server), 40)
        run = perform(work, concurrency=8)
        assert len(server.calls) == 40
    assert once_each(work, 40) and not work.failed
    assert {wait for _, wait in run.told} == {0.0}


@pytest.mark.usefixtures("no_waits")
def test_where_all_are_dead_it_ends_as_with_one():
    with serving() as gone:
        other = gone.url
    work = asking(fleet_of(NOBODY, other), 20)
    run = perform(work)
    assert [(stop.failure.kind, stop.name) for stop in run.stops] == [(Kind.DOWN, "m")]
    assert work.failed[Kind.DOWN] <= 2 and work.kept == 0
    assert sum(turn.failure is not None for turn in run.turns) <= 1
    assert work.calls <= 2 * (1 + runner.TRIES[Kind.DOWN])


@pytest.mark.usefixtures("no_waits")
def test_where_all_die_on_the_way_the_rest_is_owed():
    with child() as one, child() as two:

        def after(kept):
            if kept == 20:
                one.kill()
                two.kill()

        work = asking(fleet_of(one, two), 200, after)
        run = perform(work, concurrency=4)
    assert [stop.failure.kind for stop in run.stops] == [Kind.DOWN]
    assert 20 <= work.kept < 40 and set(work.rows.values()) == {1}


def test_one_that_is_busy_holds_neither_the_call_nor_the_other():
    with (
        serving(Behaviour(faults={"429": 1.0}, wait=3600)) as busy,
        serving(Behaviour(latency=(0.01, 0.01))) as free,
    ):
        work = asking(fleet_of(busy, free), 40)
        run = perform(work)
        assert len(busy.calls) == 1
    assert once_each(work, 40) and not run.stops


def test_one_that_is_busy_and_does_not_say_how_long_is_not_asked_all_the_time():
    with (
        serving(Behaviour(faults={"429-no-hint": 1.0})) as busy,
        serving(Behaviour(latency=(0.01, 0.01))) as free,
    ):
        work = asking(fleet_of(busy, free), 80)
        perform(work, concurrency=4)
        assert len(busy.calls) <= 8
    assert once_each(work, 80)


def test_where_all_are_busy_for_too_long_it_stops():
    with (
        serving(Behaviour(faults={"429": 1.0}, wait=3600)) as one,
        serving(Behaviour(faults={"429": 1.0}, wait=3600)) as two,
    ):
        work = asking(fleet_of(one, two), 5)
        run = perform(work, deadline=60)
    assert [stop.failure.kind for stop in run.stops] == [Kind.BUSY]


def test_one_that_talks_nonsense_is_left_out_too():
    with serving(Behaviour(faults={"html": 1.0})) as odd, serving() as server:
        work = asking(fleet_of(odd, server), 60)
        perform(work, concurrency=4)
        assert len(odd.calls) <= 10
    assert once_each(work, 60) and not work.failed


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_request_that_breaks_every_server_is_given_up(concurrency):
    slow = {"latency": (0.005, 0.005), "by_text": {"q3 ": "500"}}
    with serving(Behaviour(**slow)) as one, serving(Behaviour(**slow)) as two:
        work = asking(fleet_of(one, two), 40)
        run = perform(work, concurrency=concurrency)
        calls = len(one.calls) + len(two.calls)
    assert work.failed == {Kind.DOWN: 1} and not run.stops
    assert work.kept == 39 and calls <= 39 + 2 * runner.TRIES[Kind.DOWN]


@pytest.mark.parametrize(("fault", "kind"), [("401", Kind.KEY), ("404", Kind.NO_MODEL)])
def test_a_key_or_a_model_that_one_refuses_stops_the_run_and_names_the_host(fault, kind):
    with serving(Behaviour(faults={fault: 1.0})) as bad, serving() as good:
        work = asking(fleet_of(bad, good, key_env="A_KEY"), 40)
        run = perform(work)
        assert len(bad.calls) == 1
    assert [stop.failure.kind for stop in run.stops] == [kind]
    assert f"127.0.0.1:{bad.port}" in run.stops[0].failure.said


def test_models_on_some_of_the_same_servers_share_the_pace_of_each():
    slow = Behaviour(latency=(0.02, 0.02))
    with serving(slow) as one, serving(slow) as two:
        works = [asking(fleet_of(one, two), 30), asking(fleet_of(two), 15, name="other")]
        perform(*works, concurrency=3)
        assert [each.stats()["most_in_flight"] for each in (one, two)] == [3, 3]
    assert once_each(works[0], 30) and once_each(works[1], 15)


def test_a_way_may_have_a_pool_of_its_own(monkeypatch):
    pool = ("one", "two")
    way = SimpleNamespace(pool=lambda model, keys: pool)
    monkeypatch.setattr(providers, "load", lambda name: way)
    assert providers.servers(fleet_of("http://h/v1"), Keys({})) == pool


def test_chat_asks_whoever_is_there(evalkit, tmp_path, monkeypatch):
    with serving() as server:
        yaml = (
            f"catalog:\n  pair: {{provider: openai_api, model: m, url: [{NOBODY}, {server.url}]}}\n"
        )
        (tmp_path / "evalkit.yaml").write_text(yaml)
        lines = iter(["hello"])
        monkeypatch.setattr("builtins.input", lambda prompt: next(lines, None) or eof())
        ran = evalkit("chat", "--model", "pair")
    assert ran.code == 0 and "reply to: hello" in ran.out


def eof():
    raise EOFError


# -- what stands in a file


@pytest.mark.parametrize(
    ("urls", "line", "told"),
    [
        ("[]", 4, "'url' is empty"),
        ("[http://h/v1, http://h/v1/]", 4, "http://h/v1 stands twice"),
        ("[http://h:80/v1, 'http://h/v1']", 4, "stands twice"),
        ("\n      - http://h/v1\n      - nonsense", 6, "'nonsense' is no address"),
        ("[http://h/v1, 5]", 4, "'catalog.m.url.1' should be a valid string, found a number"),
        ("[http://h/v1, 'http://u:p@g/v1']", 4, "an address with a password in it"),
        ("[http://h/v1, http://h/sk-0123456789abcdefx9Qd]", 4, "'url' holds what looks like a key"),
        ("{a: http://h/v1}", 4, "should be a valid string"),
    ],
)
def test_a_list_of_addresses_that_is_none_is_refused_with_its_line(tmp_path, urls, line, told):
    own = tmp_path / "evalkit.yaml"
    own.write_text(f"catalog:\n  m:\n    provider: openai_api\n    url: {urls}\n")
    with pytest.raises(BadFile) as fault:
        Catalog.load(own, {})
    (said,) = fault.value.lines()
    assert said.startswith(f"{own}:{line}: ") or "looks like a key" in said
    assert told in said and "x9Qd" not in said


def test_a_key_leaves_its_home_by_no_entry_of_a_list(tmp_path):
    own = tmp_path / "evalkit.yaml"
    own.write_text(
        "catalog:\n  m:\n    provider: openai_api\n    model: m\n    key_env: OPENAI_API_KEY\n"
        "    url: [https://api.openai.com/v1, http://elsewhere.example/v1]\n"
    )
    with pytest.raises(BadKey, match=r"not to http://elsewhere\.example:80"):
        Catalog.load(own, {}).find("m")


def test_it_is_free_only_where_all_are_on_this_machine(tmp_path):
    own = tmp_path / "evalkit.yaml"
    here, there = "http://localhost:1/v1", "http://far.example/v1"
    own.write_text(
        "catalog:\n"
        f"  near: {{provider: openai_api, model: m, url: [{here}, 'http://127.0.0.1:2/v1']}}\n"
        f"  far: {{provider: openai_api, model: m, url: [{here}, {there}]}}\n"
    )
    catalog = Catalog.load(own, {})
    assert catalog.find("near").is_free and not catalog.find("far").is_free


def test_models_shows_all_and_check_asks_each(evalkit, tmp_path):
    with serving(Behaviour(models=["m"])) as one, serving(Behaviour(models=["n"])) as two:
        (tmp_path / "evalkit.yaml").write_text(
            "catalog:\n"
            f"  pair: {{provider: openai_api, model: m, url: [{one.url}, {two.url}]}}\n"
            f"  half: {{provider: openai_api, model: m, url: [{one.url}, {NOBODY}]}}\n"
        )
        assert f"url: {one.url}, {two.url}" in evalkit("models", "pair").out
        ran = evalkit("models", "pair", "--check")
        assert ran.code == 1
        assert ran.out.splitlines()[0] == f"{one.url} has m"
        assert ran.out.splitlines()[1].startswith(f"{two.url} does not list m")
        told = json.loads(evalkit("models", "pair", "--check", "--json").out)
        assert [each["there"] for each in told["servers"]] == [True, False]
        ran = evalkit("models", "half", "--check")
        assert (ran.code, ran.out) == (1, f"{one.url} has m\n")
        assert "no connection to 127.0.0.1:9" in ran.err


def test_an_evaluation_file_takes_a_list_too(evalkit, tmp_path):
    write_lines(tmp_path / "questions/b.jsonl", [question(f"q{n}") for n in range(4)])
    with serving() as one, serving() as two:
        (tmp_path / "e.yaml").write_text(
            f"bank: b\nmodels:\n  - {{name: a, url: [{one.url}, {two.url}]}}\n"
            f"  - {{name: c, url: {one.url}}}\nbaseline: c\njudges: [gpt-4]\n"
        )
        ran = evalkit("run", "e.yaml", "--dry-run")
    assert f"a at {one.url}, {two.url}" in ran.err
