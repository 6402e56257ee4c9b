"""What a reference holds that can be held against it: its code, its accepted range, its tests.

A test is Python. It runs after the ```python blocks of its turn's reference, in the same names,
and may use three more: `reference` (the text), `blocks` (fenced code by language) and `accepted`
(the range of a Fermi estimate, or None). It fails by raising.

Tests run in a process of their own, with limits on time and memory. That stops an accident and
no attack: whether a bank's code may run is for the caller to ask.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from evalkit.records import Question

SECONDS = 20

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NUMBER = r"(\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?) *(thousand|million|billion|trillion|万亿|万|亿)?"
_RANGE = re.compile(
    rf"(?:Accepted range:|可接受范围[：:]) *{_NUMBER}\D{{0,20}}?(?:to|到|至) *{_NUMBER}"
)
_TIMES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_TIMES |= {"万": 1e4, "亿": 1e8, "万亿": 1e12}

_RUN = """
import json, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
except (ImportError, ValueError, OSError):
    pass
given = json.loads(sys.stdin.buffer.read())
names = {"__name__": "reference"}
try:
    exec(compile(given["code"], "reference", "exec"), names)
    names.update(reference=given["reference"], blocks=given["blocks"])
    names["accepted"] = given["accepted"] and tuple(given["accepted"])
    exec(compile(given["test"], "test", "exec"), names)
except BaseException as error:
    lines, step = [], error.__traceback__
    while step:
        if step.tb_frame.f_code.co_filename in ("reference", "test"):
            lines.append((step.tb_frame.f_code.co_filename, step.tb_lineno))
        step = step.tb_next
    source, number = lines[0] if lines else ("code", getattr(error, "lineno", None))
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")
    sys.stderr.write(f"{said} (line {number} of the {source})")
    sys.stderr.flush()
    sys.exit(1)
"""


def blocks(reference: str) -> dict[str, str]:
    """The fenced code of a reference, by language; several blocks of one are joined."""
    found: dict[str, str] = {}
    for language, code in _BLOCK.findall(reference):
        found[language] = found.get(language, "") + code
    return found


def accepted_range(reference: str) -> tuple[float, float] | None:
    """Between what and what an estimate is accepted: "Accepted range: 20,000 to 1.5 million"."""
    if not (found := _RANGE.search(reference)):
        return None
    low, low_times, high, high_times = found.groups()
    return (
        float(low.replace(",", "")) * _TIMES.get(low_times, 1),
        float(high.replace(",", "")) * _TIMES.get(high_times, 1),
    )


def failures(questions: Sequence[Question]) -> list[tuple[Question, int, str]]:
    """Run every test: the questions whose reference fails it, the turn (from 1), and how."""
    tests = [
        (question, turn, reference, test)
        for question in questions
        for turn, (reference, test) in enumerate(
            zip(question.reference, question.tests, strict=False), 1
        )
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = pool.map(lambda each: _failure(each[2], each[3]), tests)
        return [
            (question, turn, what)
            for (question, turn, _, _), what in zip(tests, said, strict=True)
            if what
        ]


def _failure(reference: str, test: str) -> str | None:
    """How a reference fails its test; None where it passes."""
    code = blocks(reference)
    given: dict[str, Any] = {"reference": reference, "blocks": code, "test": test}
    given |= {"code": code.get("python", ""), "accepted": accepted_range(reference)}
    command = [sys.executable, "-I", "-X", "utf8", "-c", _RUN]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            process.communicate(json.dumps(given).encode(), timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"still running after {SECONDS} s"
        finally:
            _end(process)
        if not process.returncode:
            return None
        said.seek(0)
        return said.read().decode("utf-8", "replace") or f"ended with code {process.returncode}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a test and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
