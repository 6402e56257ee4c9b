"""The benchmark of runs, in its small form: every row is there once, and so is its table."""

import subprocess
import sys

from conftest import ROOT


def test_the_benchmark_of_runs_finds_every_row_once():
    command = [sys.executable, ROOT / "tests" / "bench" / "runner.py", "--small"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    for title in ("speed", "faults", "kills", "limits", "clients"):
        assert f"\n{title}" in done.stdout
