"""What strict reading costs: a ledger of 20,000 reviews against json.loads on each line.

    python tests/bench/ledger.py

Prints seconds and ratios of one run; the naive way checks nothing. Nothing is asserted.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from conftest import review

from evalkit.records import Review
from evalkit.stats.battles import battles
from evalkit.stats.rates import pairs
from evalkit.workspace import Workspace

ROWS = 20_000


def timed(work):
    start = time.perf_counter()
    made = work()
    return made, time.perf_counter() - start


def main():
    rows = [
        review(f"q{n % 2000}", (f"m{n // 2000}", "base"), text="8 9 " * 100) for n in range(ROWS)
    ]
    reviews = [Review.model_validate(row) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        _, written = timed(lambda: workspace.append("bench", reviews))
        (file,) = Path(folder).rglob("*.jsonl")
        _, naive = timed(lambda: [json.loads(line) for line in file.open()])
        read, strict = timed(lambda: workspace.reviews("bench"))
        assert len(read) == ROWS
        categories = {row["question"]: "generic" for row in rows}
        _, tables = timed(lambda: pairs(battles(read, categories, "base")))
    for name, seconds in {
        "json.loads": naive,
        "read": strict,
        "append": written,
        "tables": tables,
    }.items():
        print(f"{name:10} {seconds:6.2f} s   {seconds / naive:6.1f} x json.loads on each line")


main()
