"""What --on ray costs beside the same checkpoint in a plain run, on this machine.

    python tests/bench/ray.py

Both answer the same prompts, with the command line, in processes of their own; Ray starts a
cluster that ends with the run, so one actor with all CPUs. Told are ratios: of a run of 2 calls
(start-up), and of what 300 more calls take beyond that (the way there and back).
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path = [each for each in sys.path if Path(each) != Path(__file__).parent]  # else it is `ray`
sys.path += [str(ROOT), str(ROOT / "tests")]

from checkpoints import checkpoint
from conftest import question, write_lines

FEW, MANY = 2, 302


def seconds(folder, number, *how):
    """Of a run of so many calls."""
    command = [sys.executable, "-m", "evalkit", "answer", "--model", "./tiny", "--bank", "b"]
    command += ["--template", "plain", "--max-tokens", "64", "--limit", str(number), *how]
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("REFUSED", "OMP_NUM_THREADS")
    }
    env |= {"RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
    subprocess.run(["rm", "-rf", "answers"], cwd=folder, check=True)
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return time.perf_counter() - begun


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint(folder / "tiny")
        write_lines(folder / "questions/b.jsonl", [question(f"q{n}") for n in range(MANY)])
        ways = {"plain": (), "ray": ("--on", "ray")}
        seconds(folder, FEW)  # what is read from the disk once
        few = {way: min(seconds(folder, FEW, *how) for _ in range(2)) for way, how in ways.items()}
        many = {way: seconds(folder, MANY, *how) - few[way] for way, how in ways.items()}
    print(f"start-up: {few['ray'] / few['plain']:.1f} x a plain run ({few['plain']:.1f} s)")
    print(f"300 calls: {many['ray'] / many['plain']:.2f} x a plain run ({many['plain']:.1f} s)")


if __name__ == "__main__":
    main()
