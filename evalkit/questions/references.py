"""What a reference holds that can be held against it: its code, its accepted range, its tests.

A test is Python. It runs after the ```python blocks of its turn's reference, in the same names,
and may use three more: `reference` (the text), `blocks` (fenced code by language) and `accepted`
(the range of a Fermi estimate, or None). It fails by raising.

Each test runs in a process of its own, with limits on time, memory and the size of files. That
stops an accident and no attack: whether a bank's code may run is for the caller to ask.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from textwrap import dedent
from threading import Lock
from typing import IO, Any, cast

from evalkit.records import Question

SECONDS = 20

_BLOCK = re.compile(
    r"^[ \t]*(```+|~~~+)[ \t]*([\w+#.-]+)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL
)
_SAME = {"py": "python", "python3": "python"}
_NUMBER = (
    r"((?>\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)) *(thousand|million|billion|trillion|万亿|万|亿)?"
    r"(?![a-z千百])"  # 20k, 5 千: rather no number than a wrong one
)
_LOOSE = r"[\s*_~≈$€£¥￥]*(?:about|约)?[\s$€£¥￥]*"
_RANGE = re.compile(
    rf"(?:accepted range|可接受范围)[\s*_]*[:：]{_LOOSE}{_NUMBER}[^\d\n]{{0,20}}?"
    rf"(?:to|到|至|[-–—~～]){_LOOSE}{_NUMBER}",
    re.IGNORECASE,
)
_TIMES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_TIMES |= {"万": 1e4, "亿": 1e8, "万亿": 1e12}

# What it has to say goes to a copy of stderr, so that nothing a test prints can look like it.
_RUN = """
import json, os, sys, types
out = os.dup(2)
nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 1)
os.dup2(nowhere, 2)
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, 64 << 20))
except (ImportError, ValueError, OSError):
    pass
given = json.loads(sys.stdin.buffer.read())
module = sys.modules["reference"] = types.ModuleType("reference")
names = module.__dict__
said = "passed"
try:
    exec(compile(given["code"], "reference", "exec"), names)
    names.update(reference=given["reference"], blocks=given["blocks"])
    names["accepted"] = given["accepted"] and tuple(given["accepted"])
    exec(compile(given["test"], "test", "exec"), names)
except BaseException as error:
    places, step = [], error.__traceback__
    while step:
        places.append((step.tb_frame.f_code.co_filename, step.tb_lineno))
        step = step.tb_next
    if isinstance(error, SyntaxError):
        places, error = [(error.filename, error.lineno)], type(error)(error.msg)
    ours = [place for place in places if place[0] in ("reference", "test")]
    where = " (line %s of the %s)" % ours[0][::-1] if ours else ""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ") + where
os.write(out, said.encode("utf-8", "replace"))
os._exit(0)
"""


def blocks(reference: str) -> dict[str, str]:
    """The fenced code of a reference, by language; several blocks of one are joined."""
    found: dict[str, str] = {}
    for _, language, code in _BLOCK.findall(reference.replace("\r\n", "\n")):
        name = _SAME.get(language.lower(), language.lower())
        found[name] = found.get(name, "") + dedent(code)
    return found


def accepted_range(reference: str) -> tuple[float, float] | None:
    """Between what and what an estimate is accepted: "Accepted range: 20,000 to 1.5 million".

    "2 to 3 million" is from two million.
    """
    if not (found := _RANGE.search(reference)):
        return None
    low, high = (float(number.replace(",", "")) for number in found.group(1, 3))
    times, high_times = (_TIMES.get((word or "").lower(), 1) for word in found.group(2, 4))
    if found[2] is None and low < high:
        times = high_times
    return low * times, high * high_times


def failures(questions: Sequence[Question]) -> list[tuple[Question, int, str]]:
    """Run every test: the questions whose reference fails it, the turn (from 1), and how."""
    tests = [
        (question, turn, reference, test)
        for question in questions
        for turn, (reference, test) in enumerate(
            zip(question.reference, question.tests, strict=False), 1
        )
    ]
    running = _Running()
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        said = list(pool.map(lambda each: _failure(each[2], each[3], running), tests))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        running.end()  # where somebody did not want to wait
    return [
        (question, turn, what)
        for (question, turn, _, _), what in zip(tests, said, strict=True)
        if what
    ]


class _Running:
    """The processes of the tests that run, to be ended all at once.

    One that was just being started then is ended too, or nobody would know of it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._over = False

    def add(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.add(process)
            if self._over:
                _end(process)

    def discard(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.discard(process)

    def end(self) -> None:
        with self._lock:
            self._over = True
            for process in self._processes:
                _end(process)


def _failure(reference: str, test: str, running: _Running) -> str | None:
    """How a reference fails its test; None where it passes."""
    code = blocks(reference)
    given: dict[str, Any] = {"reference": reference, "blocks": code, "test": test}
    given |= {"code": code.get("python", ""), "accepted": accepted_range(reference)}
    command = [sys.executable, "-I", "-X", "utf8", "-c", _RUN]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=told,
            start_new_session=True,
        )
        running.add(process)
        try:
            with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as stdin:
                stdin.write(json.dumps(given).encode())
            in_time = _finished(process)
        finally:
            _end(process)
            running.discard(process)
        told.seek(0)
        said = told.read(1000).decode("utf-8", "replace")
    if said == "passed":
        return None
    if not in_time:
        return f"still running after {SECONDS} s"
    return said or f"ended before it was through (exit code {process.returncode})"


def _finished(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end of a test; False when time is up.

    It is left unreaped where the system allows, so that `_end` cannot meet another's process.
    """
    if not hasattr(os, "waitid"):
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS)
        return process.returncode is not None
    end = time.monotonic() + SECONDS
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while not os.waitid(os.P_PID, process.pid, options):
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a test and what it started, but for what left its session."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
