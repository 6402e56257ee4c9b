"""Two servers of one model: how near a run comes to what both give together.

    python tests/bench/fleet.py            about 12 minutes
    python tests/bench/fleet.py --small    about a minute

Two chat services of tests/chat_server.py, each a process of its own that works on 4 calls at a
time, one of them slower. The same calls go to each alone, then to both as one fleet, then half to
each, which is what one would do by hand. Ratios are to the sum of what each gave alone. Exit 1
where a reply is missing or stands twice; times are printed and not judged.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from evalkit.catalog import Model, Stanza
from evalkit.chat import Message, Request, Sampling
from evalkit.keys import Keys
from evalkit.price import Budget
from evalkit.providers import servers
from evalkit.runner import Run, Work

SERVER = Path(__file__).parent.parent / "chat_server.py"
SLOTS = 4
wrong = []


@contextmanager
def service(latency, seed):
    """A chat service in a process of its own; gives its address."""
    command = [sys.executable, str(SERVER), "--no-calls", "--slots", str(SLOTS)]
    command += ["--latency", str(latency[0]), str(latency[1]), "--seed", str(seed)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def seconds(fleets, concurrency):
    """How long runs take side by side: (addresses, numbers of the calls) each."""
    kept = Counter()

    def work(urls, calls):
        def keep(request, reply, dollars):
            kept[request.about[0]] += 1

        model = Model("m", "m", Stanza(provider="openai_api", url=urls), urls[0], urls[1:])
        requests = [
            Request((Message("user", f"question {n}"),), Sampling(0, 64), (str(n),)) for n in calls
        ]
        return Work(str(urls), servers(model, Keys({})), iter(requests), keep, len(requests))

    async def made():
        works = [work(*each) for each in fleets]
        run = Run(works, Budget(), lambda *_: None, concurrency=concurrency)
        begun = time.monotonic()
        await run.finish()
        took = time.monotonic() - begun
        for provider in (each for one in works for each in one.providers):
            await provider.close()
        return took

    took = asyncio.run(made())
    expected = sum(len(calls) for _, calls in fleets)
    if len(kept) != expected or set(kept.values()) != {1}:
        wrong.append(f"{len(kept)} of {expected} replies, {kept.total()} in all")
    return took


def ratio(calls, fast, slow, concurrency, seed):
    """What both give at once, and half to each, in parts of what they give alone."""
    with service(fast, seed) as one, service(slow, seed + 1) as other:
        alone = [seconds([((url,), range(calls))], concurrency) for url in (one, other)]
        both = seconds([((one, other), range(calls))], concurrency)
        half = calls // 2
        halves = [((one,), range(half)), ((other,), range(half, calls))]
        by_hand = seconds(halves, concurrency)
    ideal = 1 / sum(1 / each for each in alone)
    return alone, ideal / both, ideal / by_hand


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    print(f"{'calls':>6} {'slower by':>9} {'lengths':>8} {'at once':>8} {'alone':>15}", end=" ")
    print(f"{'fleet':>6} {'by hand':>8}")
    for calls in (120,) if small else (120, 600):
        for times in (2,) if small else (1, 2, 5):
            for name, low, high in (("equal", 0.1, 0.1), ("various", 0.02, 0.18)):
                for concurrency in (None, 16):
                    slow = (low * times, high * times)
                    alone, fleet, hand = ratio(calls, (low, high), slow, concurrency, calls)
                    shown = ", ".join(f"{each:.1f} s" for each in alone)
                    print(f"{calls:>6} {times:>9} {name:>8} {concurrency or 'auto':>8}", end=" ")
                    print(f"{shown:>15} {fleet:>6.3f} {hand:>8.3f}", flush=True)
    for line in wrong:
        print(f"WRONG: {line}")
    sys.exit(bool(wrong))


main()
