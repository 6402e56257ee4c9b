"""What a run costs beside what it waits for: time, CPU, memory, calls paid twice, calls refused.

    python tests/bench/runner.py            all of it, about 8 minutes
    python tests/bench/runner.py --small    the same in small, about 20 seconds
    python tests/bench/runner.py speed      one part: speed, faults, kills, limits, clients

Each part runs `evalkit answer` as a process of its own against the chat service of
tests/chat_server.py on loopback, which takes the second core. Ideal times are what the service
alone needs: calls x mean latency / calls at once, or what its token bucket lets through. Exit 1
where a row is missing, stands twice, or cannot be read; times are printed and not judged.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER = Path(__file__).parent.parent / "chat_server.py"
wrong = []


@dataclass
class Ran:
    """One finished process."""

    code: int
    wall: float  # seconds
    cpu: float
    megabytes: float  # at most resident
    err: str


@contextmanager
def service(*options):
    """The chat service in a process of its own; gives a function that asks for its counts."""
    command = [sys.executable, str(SERVER), "--port", "0", "--no-calls", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = process.stdout.readline().strip()

    def stats():
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as reply:
            return json.load(reply)

    try:
        yield url, stats
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def workspace(folder, questions):
    """A bank of so many questions of one turn."""
    bank = Path(folder) / "questions" / "bench.jsonl"
    bank.parent.mkdir()
    rows = [
        {"id": f"q{n}", "category": "generic", "turns": [f"What is {n}, and why is it so?"]}
        for n in range(questions)
    ]
    bank.write_text("".join(json.dumps(row) + "\n" for row in rows))


def command(folder, url, *options):
    args = ["answer", "--model", f"{url}#bench", "--bank", "bench", "-C", str(folder)]
    return [sys.executable, "-m", "evalkit", *args, *map(str, options)]


def run(args):
    """Run to the end, with what it took by itself."""
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begun
        err.seek(0)
        said = err.read()
    peak = used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return Ran(process.returncode, wall, used.ru_utime + used.ru_stime, peak, said)


def ledger(folder):
    return Path(folder) / "answers" / "bench" / "bench.jsonl"


def check(name, folder, expected):
    """Every question has one row, and every line can be read."""
    ids = [json.loads(line)["question"] for line in ledger(folder).read_text().splitlines()]
    if len(ids) != expected or len(set(ids)) != expected:
        wrong.append(f"{name}: {len(ids)} rows, {len(set(ids))} questions, expected {expected}")


def table(title, head, rows):
    print(f"\n{title}")
    cells = [head, *rows]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    for row in cells:
        first, *others = [
            cell.ljust(w) if n == 0 else cell.rjust(w)
            for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join([first, *others]))


def speed(small):
    """Wall time against the ideal, CPU a call, memory, the first request."""
    jobs = [(1120, 0.5, 2.0, 64), (10_000, 1.0, 1.0, 256)]
    if small:
        jobs = [(96, 0.1, 0.4, 16)]
    rows = []
    for calls, low, high, at_once in jobs:
        with service("--latency", low, high) as (url, stats), tempfile.TemporaryDirectory() as home:
            workspace(home, calls)
            started = time.time()
            ran = run(command(home, url, "--concurrency", at_once))
            told = stats()
            check("speed", home, calls)
        ideal = calls * (low + high) / 2 / at_once
        rows.append((
            f"{calls:,} calls of {low:g}-{high:g} s, {at_once} at once",
            f"{ideal:.1f} s", f"{ran.wall:.1f} s", f"{ran.wall / ideal:.3f}",
            f"{1000 * ran.cpu / calls:.2f} ms", f"{ran.megabytes:.0f} MB",
            f"{told['first_call_at'] - started:.2f} s", str(told["connections"]),
        ))  # fmt: skip
    head = ("speed", "ideal", "wall", "ratio", "CPU/call", "memory", "first call", "connections")
    table("A whole run, start-up included", head, rows)


def faults(small):
    """Calls made for each row while the service misbehaves."""
    rows = []
    calls = 80 if small else 2000
    rates = {"429": 0.05, "500": 0.02, "malformed": 0.01, "drop": 0.01}
    options = [part for name, rate in rates.items() for part in ("--fault", f"{name}={rate}")]
    with service("--latency", 0.02, 0.08, *options) as (url, stats):
        with tempfile.TemporaryDirectory() as home:
            workspace(home, calls)
            ran = run(command(home, url))
            check("faults", home, calls)
        told = stats()
    if ran.code:
        wrong.append(f"faults: exit {ran.code}: {ran.err[-300:]}")
    rows.append((
        "5% 429, 2% 500, 1% malformed, 1% dropped", str(calls), str(told["calls"]),
        f"{told['calls'] / calls:.3f}", f"{ran.wall:.1f} s",
    ))  # fmt: skip
    table("A service that fails", ("faults", "rows", "calls", "calls/row", "wall"), rows)


def kills(small):
    """`kill -9` in the middle, again and again."""
    times, calls = (2, 80) if small else (20, 1200)
    dice = random.Random(7)
    in_flight = 0
    with service("--latency", 0.05, 0.3) as (url, stats):
        with tempfile.TemporaryDirectory() as home:
            workspace(home, calls)
            for _ in range(times):
                process = subprocess.Popen(
                    command(home, url), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                until = time.monotonic() + dice.uniform(0.4, 1.6)
                while time.monotonic() < until:
                    rows_in(home)
                    time.sleep(0.02)
                process.send_signal(signal.SIGSTOP)  # what is under way now is what it may lose
                while stats()["in_flight"]:
                    time.sleep(0.02)
                in_flight += stats()["billed"] - rows_in(home) - in_flight
                process.kill()
                process.wait()
            ran = run(command(home, url))
            check("kills", home, calls)
        told = stats()
    paid_twice = told["billed"] - calls
    if ran.code or paid_twice > in_flight:
        wrong.append(f"kills: exit {ran.code}, {paid_twice} paid twice: {ran.err[-300:]}")
    most = str(told["most_in_flight"])
    rows = [(f"{times} kills", str(calls), str(paid_twice), str(in_flight), most)]
    head = ("kills", "rows", "paid twice", "under way at kills", "most at once")
    table("Killed and started again", head, rows)


def rows_in(home):
    """How many rows a ledger holds; each whole line must be one, also while it is written."""
    if not ledger(home).exists():
        return 0
    *whole, _ = ledger(home).read_bytes().split(b"\n")
    return len([json.loads(line) for line in whole])


def limits(small):
    """A hard limit of requests a minute, told in headers."""
    jobs = [(60, 160), (300, 800)] if not small else [(240, 260)]
    rows = []
    for rpm, calls in jobs:
        with service("--latency", 0.2, 0.6, "--rpm", rpm) as (url, stats):
            with tempfile.TemporaryDirectory() as home:
                workspace(home, calls)
                ran = run(command(home, url))
                check("limits", home, calls)
            told = stats()
        ideal = (calls - rpm) * 60 / rpm
        rows.append((
            f"{rpm} requests a minute", str(calls), f"{ideal:.0f} s", f"{ran.wall:.1f} s",
            f"{ran.wall / ideal:.3f}", str(told["refused"]),
        ))  # fmt: skip
    head = ("limits", "calls", "the bucket's time", "wall", "ratio", "refused")
    table("A token bucket with x-ratelimit-* headers", head, rows)


def clients(small):
    """The client that calls go through, beside the openai package's, on the same calls."""
    calls, at_once = (64, 16) if small else (2560, 256)
    rows = []
    ideal = calls * 0.5 / at_once
    with service("--latency", 0.5, 0.5) as (url, _):
        for name, ask in (("evalkit", ours), ("openai", theirs)):
            before = resource.getrusage(resource.RUSAGE_SELF)
            begun = time.monotonic()
            asyncio.run(ask(url, calls, at_once))
            wall = time.monotonic() - begun
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            rows.append((name, f"{wall / ideal:.3f}", f"{1000 * cpu / calls:.2f} ms"))
    head = (f"clients, {at_once} at once", "wall/ideal", "CPU/call")
    table("The client alone, imports included", head, rows)


async def at_once_all(one, calls, at_once):
    todo = iter(range(calls))

    async def worker():
        for n in todo:
            await one(n)

    await asyncio.gather(*(worker() for _ in range(at_once)))


async def ours(url, calls, at_once):
    from evalkit.catalog import Model, Stanza
    from evalkit.chat import Message, Reply, Request, Sampling
    from evalkit.keys import Keys
    from evalkit.providers.openai_api import Provider

    provider = Provider(Model("m", "m", Stanza(provider="openai_api"), url), Keys({}))

    async def one(n):
        sampling = Sampling(temperature=0, max_tokens=64)
        reply = await provider.reply(Request((Message("user", f"question {n}"),), sampling))
        assert isinstance(reply, Reply)

    await at_once_all(one, calls, at_once)
    await provider.close()


async def theirs(url, calls, at_once):
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

    async def one(n):
        messages = [{"role": "user", "content": f"question {n}"}]
        reply = await client.chat.completions.create(
            model="m", messages=messages, temperature=0, max_tokens=64
        )
        assert reply.choices

    await at_once_all(one, calls, at_once)
    await client.close()


PARTS = {each.__name__: each for each in (speed, faults, kills, limits, clients)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    for name in given.parts or PARTS:
        PARTS[name](given.small)
        sys.stdout.flush()
    for line in wrong:
        print(f"WRONG: {line}")
    sys.exit(bool(wrong))


main()
