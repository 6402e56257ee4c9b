"""What a large file of another tool costs: AlpacaEval's annotations.json, one array of 1 GB.

    python tests/bench/imports.py [MEGABYTES] [CASE ...]

Makes a file of MEGABYTES (default 1000) in a temporary folder and imports it twice with the command
line, the second time to add nothing. A CASE: `few` (805 instructions, many models) or `all` (every
instruction another one); default: both. json.load of the whole file, which checks and writes
nothing, stands beside it. Needs twice the bytes of the file on disk. Prints seconds, peak memory
and ratios of one run; nothing is asserted.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEGABYTES = float(sys.argv[1]) if len(sys.argv) > 1 else 1000
INSTRUCTIONS = 805  # of AlpacaEval's own set
CASES = {"few": "805 instructions, many models", "all": "every instruction another one"}
WORDS = [f"w{n:03}ord" for n in range(1000)]
NAIVE = "import json, sys; json.load(open(sys.argv[1], encoding='utf-8'))"


def said(dice, words):
    return " ".join(dice.choices(WORDS, k=words))


def reply(dice):
    """What version 2 of that tool keeps of a judge: a token, and how likely others were."""
    tokens = [{"token": t, "bytes": [*t.encode()], "logprob": -dice.random()} for t in "mMTB"]
    first = tokens[0] | {"top_logprobs": tokens}
    message = {"content": "m", "role": "assistant", "function_call": None, "tool_calls": None}
    return {"index": 0, "logprobs": {"content": [first]}, "message": message, "text": "m"}


def row(n, case):
    """The annotation number `n`, of some 5 KB."""
    which, model = (n % INSTRUCTIONS, n // INSTRUCTIONS) if case == "few" else (n, 0)
    asked, dice = random.Random(which), random.Random(n + 0.5)
    return {
        "instruction": f"Do {which}: {said(asked, 25)}",
        "output_1": said(asked, 190),
        "generator_1": "base",
        "output_2": said(dice, 190),
        "generator_2": f"model-{model}",
        "dataset": "koala",
        "annotator": "weighted",
        "preference": 1 + dice.random(),
        "price_per_example": 0.01,
        "time_per_example": 0.2,
        "raw_completion": reply(dice),
    }


def made(file, case):
    """Write the file a row at a time; how many rows it holds."""
    rows = 0
    with open(file, "w", encoding="utf-8") as stream:
        while stream.tell() < MEGABYTES * 1e6:
            stream.write(("," if rows else "[") + "\n" + json.dumps(row(rows, case), indent=2))
            rows += 1
        stream.write("\n]\n")
    return rows


def child(*command):
    """Seconds, peak megabytes and last line of another Python."""
    start = time.perf_counter()
    words = [sys.executable, *map(str, command)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen(words, text=True, **pipes)
    printed = run.stdout.read()
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 0, command
    return time.perf_counter() - start, used.ru_maxrss / 1024, printed.rpartition("; ")[2].strip()


def main():
    print(f"{'':36}{'seconds':>9}{'MB/s':>7}{'peak MB':>9}")
    for case in sys.argv[2:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "theirs", "annotations.json")
            workspace = Path(folder, "workspace")
            file.parent.mkdir()
            workspace.mkdir()
            rows, size = made(file, case), file.stat().st_size / 1e6
            print(f"{size:.0f} MB, {rows} rows; {CASES[case]}")
            ours = ["-m", "evalkit", "import", "alpaca_eval", file.parent, "--bank", "big"]
            ours += ["-C", workspace]
            naive, whole, _ = child("-c", NAIVE, file)
            print(f"{'json.load of the whole file':36}{naive:9.1f}{size / naive:7.1f}{whole:9.0f}")
            for name in ("evalkit import", "again"):
                seconds, peak, last = child(*ours)
                what = f"{name}: {last}" if name == "again" else name
                ratios = f"   {seconds / naive:.1f} x its time, {peak / whole:.2f} x its memory"
                print(f"{what:36}{seconds:9.1f}{size / seconds:7.1f}{peak:9.0f}{ratios}")


main()
