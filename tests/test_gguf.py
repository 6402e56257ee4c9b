"""A GGUF file as a model: a real llama.cpp server, which nobody started by hand."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from conftest import question, read_lines, write_lines
from model_server import NEEDS, random_gguf

from evalkit.providers import gguf
from evalkit.providers.hf_local import memory

if missing := [name for name in (*NEEDS, "psutil") if find_spec(name) is None]:
    pytest.skip(f"NO GGUF: pip install {' '.join(missing)}", allow_module_level=True)


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    return random_gguf(tmp_path_factory.mktemp("gguf") / "noise.gguf")


@pytest.fixture
def bank(tmp_path):
    return write_lines(tmp_path / "questions/b.jsonl", [question(f"q{n}") for n in range(4)])


def servers():
    """The processes that serve a GGUF file now."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout
    return {int(line.split()[0]) for line in found.splitlines() if "gguf.server" in line}


def test_a_gguf_file_answers_and_judges_and_its_server_ends(evalkit, tmp_path, noise, bank):
    before = servers()
    for seed in (1, 2):
        other = random_gguf(tmp_path / f"m{seed}.gguf", seed)
        ran = evalkit("answer", "--model", other, "--bank", "b", "--max-tokens", 20)
        assert ran.code == 0, ran.err
    assert f"{other} on this machine, template of its tokenizer   free" in ran.err
    assert "m2: 4 replies of 8,192 tokens: 21" in ran.err or "MB, " in ran.err
    said = read_lines(tmp_path / "answers/b/m1.jsonl")
    assert len(said) == 4
    assert {(row["served"], len(row["template"]), row["dollars"]) for row in said} == {
        ("m1", 16, 0.0)
    }
    assert evalkit("answer", "--model", tmp_path / "m1.gguf", "--bank", "b").code == 0
    ran = evalkit(
        "judge", "--judge", noise, "--bank", "b", "--baseline", "m1", "--limit", 2, "--canaries", 0
    )
    assert ran.code == 0, ran.err
    reviews = read_lines(tmp_path / "reviews/b/noise.pair-scores.jsonl")
    assert len(reviews) == 4
    assert {row["rung"] for row in reviews} == {"structured"}  # noise, held to the schema
    assert servers() <= before


def test_it_ends_with_the_one_that_started_it(tmp_path, noise, bank):
    write_lines(bank, [question(f"q{n}") for n in range(400)])
    before = servers()
    command = [sys.executable, "-m", "evalkit", "answer", "--model", str(noise), "--bank", "b"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 30
    while not servers() - before and time.monotonic() < until:
        time.sleep(0.02)
    own = servers() - before
    assert own
    process.send_signal(signal.SIGKILL)
    process.wait()
    while servers() & own and time.monotonic() < until:
        time.sleep(0.02)
    assert not servers() & own


def test_a_server_that_dies_is_told_and_what_it_did_not_say_is_owed(
    evalkit, tmp_path, noise, bank, monkeypatch
):
    start = gguf.Provider._start

    async def started(self):
        failure = await start(self)
        os.kill(self._server.pid, signal.SIGKILL)
        return failure

    monkeypatch.setattr(gguf.Provider, "_start", started)
    monkeypatch.setattr("evalkit.runner.LONGEST_WAIT", 0.01)
    ran = evalkit("answer", "--model", noise, "--bank", "b")
    assert (ran.code, "4 owed" in ran.err) == (1, True)
    assert "Traceback" not in ran.err


def without_template(path):
    """The same file, with a name for its template that llama.cpp does not know."""
    data = path.read_bytes()
    assert data.count(b"tokenizer.chat_template") == 1
    path.write_bytes(data.replace(b"tokenizer.chat_template", b"tokenizer.chat_tomplate"))


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("nowhere.gguf", [], "nowhere.gguf: no such file"),
        ("text.gguf", [], "text.gguf: not a whole GGUF file"),
        ("cut.gguf", [], "cut.gguf: not a whole GGUF file"),
        ("mute.gguf", [], "mute.gguf holds no chat template. Make it anew from a checkpoint that"),
        ("good.gguf", ["--template", "plain"], "good is a GGUF file, which is spoken to by the"),
        ("good.gguf", ["--dtype", "4bit"], "good is a GGUF file, which is loaded as the type"),
    ],
)
def test_a_file_that_cannot_be_a_model_is_one_line(
    evalkit, tmp_path, noise, bank, name, args, told
):
    data = noise.read_bytes()
    (tmp_path / "text.gguf").write_text("GGUF? no.")
    (tmp_path / "cut.gguf").write_bytes(data[:5000])
    (tmp_path / "good.gguf").write_bytes(data)
    (tmp_path / "mute.gguf").write_bytes(data)
    without_template(tmp_path / "mute.gguf")
    ran = evalkit("answer", "--model", name, "--bank", "b", "--max-tokens", 5, *args)
    assert (ran.code, ran.out) == (2, "")
    assert ran.lines[-1].startswith(told)


def test_what_llama_cpp_cannot_load_is_told_in_its_words(evalkit, tmp_path, noise, bank):
    before, value = noise.read_bytes().split(b"general.architecture", 1)
    value = value.replace(b"llama", b"lxxma", 1)
    (tmp_path / "odd.gguf").write_bytes(before + b"general.architecture" + value)
    ran = evalkit("answer", "--model", "odd.gguf", "--bank", "b")
    assert ran.code == 2 and "Traceback" not in ran.err
    (said,) = [line for line in ran.lines if "cannot be loaded" in line]
    assert said.startswith("odd.gguf cannot be loaded: ") and "lxxma" in said


def test_what_does_not_fit_is_told_before_anything_starts(
    evalkit, tmp_path, noise, bank, monkeypatch
):
    monkeypatch.setattr(memory, "main_memory", lambda: 1_000_000)
    monkeypatch.setattr(gguf.Provider, "_start", lambda _: pytest.fail("it was started"))
    ran = evalkit("answer", "--model", noise, "--bank", "b")
    assert ran.code == 2 and ran.lines[-1].endswith("1.0 MB are free: too big for this machine")


def test_a_small_memory_makes_the_replies_shorter(noise, monkeypatch):
    monkeypatch.setattr(memory, "main_memory", lambda: 4_000_000)
    ran = gguf._fitting(gguf._header(model_of(noise)), noise.stat().st_size)
    assert ran[0] < 8192 and ran[1] < 4_000_000


def model_of(path):
    from evalkit.catalog import Catalog

    return Catalog({}, {}, {}).find(str(path))


@pytest.mark.parametrize("name", ["xllamacpp", "gguf"])
def test_without_the_extra_it_says_what_to_install(evalkit, noise, bank, monkeypatch, name):
    found = gguf.find_spec
    monkeypatch.setattr(gguf, "find_spec", lambda each: None if each == name else found(each))
    ran = evalkit("answer", "--model", noise, "--bank", "b")
    assert (ran.code, ran.lines[-1]) == (
        2,
        "noise is a GGUF file: pip install 'evalkit[gguf]'; or serve it with llama.cpp and point "
        "at it: --model http://localhost:8080/v1#noise",
    )
