"""evalkit chat: turns over the path of answers, from a pipe and at a real terminal."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from chat_server import Behaviour, serving
from model_server import NEEDS, random_gguf


@pytest.fixture
def talk(evalkit, monkeypatch):
    """`evalkit chat` with a server, given these lines."""

    def command(server, *lines, args=()):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return evalkit("chat", "--model", f"{server.url}#m", *args)

    return command


def sent(server):
    """What each call held: who said what."""
    return [
        [(each["role"], each["content"]) for each in call.body["messages"]] for call in server.calls
    ]


def test_what_was_said_goes_along(talk):
    with serving(Behaviour(text=lambda body: f"No {len(body['messages'])}.")) as server:
        ran = talk(server, "Hi", "", "And?")
    assert (ran.code, ran.out) == (0, "No 1.\nNo 3.\n")
    assert sent(server) == [
        [("user", "Hi")],
        [("user", "Hi"), ("assistant", "No 1."), ("user", "And?")],
    ]
    call = server.calls[0].body
    assert (call["temperature"], call["max_tokens"], call["stream"]) == (0.7, 1024, True)
    assert f"m   {server.url} (no key sent)   free" in ran.err


def test_commands(talk):
    lines = ["/system Be brief.", "Hi", "/reset", "Ho", "/system", "He", "/quit", "never"]
    with serving(Behaviour(text="Yes.")) as server:
        ran = talk(server, *lines, args=["--system", "Be kind.", "--seed", 4])
    assert ran.code == 0
    assert sent(server) == [
        [("system", "Be brief."), ("user", "Hi")],
        [("system", "Be brief."), ("user", "Ho")],
        [("user", "He")],
    ]
    assert server.calls[0].body["seed"] == 4


def test_a_system_message_of_the_command_line_and_a_line_that_goes_on(talk):
    with serving(Behaviour(text="Yes.")) as server:
        talk(server, "one\\", "two", args=["--system", "Be kind."])
    assert sent(server) == [[("system", "Be kind."), ("user", "one\ntwo")]]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/help", "  /reset   forget what was said, but for the system message"),
        ("/rest", "evalkit: no command '/rest'. Did you mean '/reset'? /help lists them"),
    ],
)
def test_a_command_is_not_sent(talk, line, told):
    with serving() as server:
        ran = talk(server, line)
    assert told in ran.err.splitlines() and server.calls == []


def test_a_turn_that_fails_is_forgotten_and_the_next_goes_on(talk):
    with serving(Behaviour(by_text={"long": "400"}, text="Yes.")) as server:
        ran = talk(server, "long", "short")
    assert (ran.code, ran.out) == (1, "Yes.\n")
    assert "(no reply; this turn is forgotten)" in ran.err
    assert sent(server)[-1] == [("user", "short")]


def test_a_call_is_tried_again_as_those_of_answers_are(talk, monkeypatch):
    monkeypatch.setattr("evalkit.runner.LONGEST_WAIT", 0.01)
    with serving(Behaviour(script=["500", ""], text="Yes.")) as server:
        ran = talk(server, "Hi")
    assert (ran.code, ran.out, len(server.calls)) == (0, "Yes.\n", 2)


def test_what_a_model_says_cannot_harm_a_terminal(talk):
    with serving(Behaviour(text="\x1b[31mred\x07 \u202eback")) as server:
        ran = talk(server, "Hi")
    assert ran.out == "␛[31mred␇ <202E>back\n"


def test_a_reply_of_nothing_and_one_that_is_cut(talk):
    with serving(Behaviour(text="")) as server:
        assert "(an empty reply" in talk(server, "Hi").err
    with serving(Behaviour(script=["length"], text="one two three four")) as server:
        ran = talk(server, "Hi")
    assert "cut at max_tokens" in ran.err and ran.out.startswith("one two")


def test_json_is_one_object_with_all_that_was_said(talk):
    with serving(Behaviour(text="Yes.")) as server:
        ran = talk(server, "Hi", args=["--json"])
    told = json.loads(ran.out)
    assert (told["verb"], told["status"], told["failed"]) == ("chat", "done", 0)
    assert told["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes."},
    ]


def test_a_price_is_told_and_what_was_spent(talk, tmp_path):
    with serving(Behaviour(text="Yes.")) as server:
        (tmp_path / "evalkit.yaml").write_text(
            f"catalog:\n  dear:\n    provider: openai_api\n    url: {server.url}\n"
            "    price: {input: 1000, output: 1000, date: 2026-01-01}\n    model: m\n"
        )
        ran = talk(server, "Hi", args=["--model", "dear"])
    assert "$1,000" in ran.err or "1000" in ran.err
    assert re.search(r"\$0\.\d+ so far", ran.err)


def test_two_models_are_refused(talk):
    with serving() as server:
        ran = talk(server, "Hi", args=["--model", f"{server.url}#a,{server.url}#b"])
    assert (ran.code, ran.lines[-1]) == (2, "one model at a time: --model NAME")


# -- at a terminal


class Terminal:
    """`evalkit chat` in a terminal of its own."""

    def __init__(self, folder, *args):
        self.own, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "evalkit", "chat", *map(str, args)],
            stdin=other, stdout=other, stderr=other, cwd=folder, start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(other)
        self.seen = ""

    def until(self, text, seconds=30):
        """Read until this was shown."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} is not in {self.seen!r}"
            if select.select([self.own], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.own, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    break
        assert text in self.seen, self.seen
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text):
        os.write(self.own, text.encode())

    def wait_for_keys(self):
        """Until it has slept for half a second, however busy this machine is."""
        slept, stat = 0, Path("/proc", str(self.process.pid), "stat")
        while slept < 10:
            time.sleep(0.05)
            asleep = not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "S"
            slept = slept + 1 if asleep else 0

    def end(self):
        self.process.wait(timeout=20)
        os.close(self.own)
        return self.process.returncode


def test_at_a_terminal_a_reply_streams_and_ctrl_c_breaks_it_off(tmp_path):
    if missing := [name for name in (*NEEDS, "psutil") if find_spec(name) is None]:
        pytest.skip(f"NO REAL MODEL SERVER: pip install {' '.join(missing)}")
    noise = random_gguf(tmp_path / "noise.gguf", width=256, layers=8, heads=4)
    there = Terminal(tmp_path, "--model", noise, "--max-tokens", 4000, "--temperature", 5)
    there.until("> ")
    there.type("Hi\r")
    there.until("Hi")
    before = len(there.until(" "))
    for _ in range(3):
        there.until(" ")
    there.type("\x03")
    there.until("(no reply; this turn is forgotten)")
    there.until("> ")
    there.type("/help\r")
    there.until("/quit")
    there.until("> ")
    there.type("\x04")
    assert (there.end(), before < 10_000) == (1, True)  # a turn had no reply


def test_ctrl_c_at_the_prompt_ends_it(tmp_path):
    with serving(Behaviour(text="Yes.")) as server:
        there = Terminal(tmp_path, "--model", f"{server.url}#m")
        there.until("> ")
        there.type("Hi\r")
        there.until("Yes.")
        there.until("> ")
        there.wait_for_keys()  # readline shows its prompt a moment before it waits for signals
        os.killpg(there.process.pid, signal.SIGINT)
        there.until("interrupted")
        assert there.end() == 130
