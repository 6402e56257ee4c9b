"""What the tests share: a guard against the network, the command line, and small own rows."""

import json
import os
import runpy
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OFFLINE = Path(__file__).parent / "offline"
PUBLISHED = Path(os.environ.get("EVALKIT_PUBLISHED", ROOT.parent / "shared" / "data"))

os.environ["OMP_NUM_THREADS"] = "1"  # torch's threads wait by spinning, and tests run side by side
os.environ["HF_HUB_OFFLINE"] = "1"  # a checkpoint of the hub is looked for in its cache alone

REFUSED = Path(tempfile.mkdtemp(prefix="evalkit-tests-")) / "refused"

# The guard against the network, in this process and in every Python that a test starts.
os.environ["REFUSED"] = str(REFUSED)
os.environ["PYTHONPATH"] = f"{OFFLINE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(":")
runpy.run_path(str(OFFLINE / "sitecustomize.py"))


@pytest.fixture(autouse=True)
def loopback_only():
    """A connection beyond loopback fails the test, also where the code swallowed the refusal."""
    REFUSED.unlink(missing_ok=True)
    yield
    assert not REFUSED.exists(), f"left loopback: {REFUSED.read_text()}"


def published(name):
    """A folder of data that others published; they are no part of evalkit."""
    folder = PUBLISHED / name
    if not folder.is_dir():
        pytest.skip(f"the published data are not at {folder}; own rows cover the same code")
    return folder


@pytest.fixture(scope="session")
def vicuna_blog():
    """The published answers and reviews of the Vicuna evaluation."""
    return published("vicuna-blog-eval")


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def lines(self):
        """What was said on stderr, without the program's name."""
        return [line.removeprefix("evalkit: ") for line in self.err.splitlines()]


@pytest.fixture
def evalkit(tmp_path, monkeypatch, capsys):
    """Run a command line in an empty folder, in this process."""
    from evalkit.cli import run

    monkeypatch.chdir(tmp_path)

    def command(*args):
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return command


def spawn(*args, cwd, env=None, **more):
    """Run `python -m evalkit` as a process of its own."""
    command = [sys.executable, "-m", "evalkit", *map(str, args)]
    environment = os.environ | (env or {})
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, **more
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def tree(folder):
    """Every file below a folder with its bytes: what must not change when nothing is written."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def write_lines(path, rows):
    """Write rows as JSON lines, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read_lines(path):
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def question(id="q1", **more):
    """A question row as a bank has it."""
    return {"id": id, "category": "generic", "turns": [f"What is {id}?"], **more}


def answer(question="q1", model="a", text=None, **more):
    """An answer row as a ledger has it."""
    turns = [f"An answer of {model}." if text is None else text]
    return {"question": question, "model": model, "turns": turns, "asked": "0" * 16, **more}


def review(question="q1", shown=("a", "b"), scores=(8, 9), **more):
    """A review row as a ledger has it; of the answers that `answer` makes."""
    from evalkit.records import short_hash

    return {
        "question": question,
        "judge": "judge",
        "prompt": "pair-scores",
        "shown": list(shown),
        "answers": [short_hash((f"An answer of {model}.",)) for model in shown],
        "text": "8 9" if scores is None else " ".join(map(str, scores)),
        "scores": scores and list(map(float, scores)),
        "asked": "0" * 16,
        **more,
    }


def vicuna_folder(folder, questions=("q1", "q2"), models=("a:v1", "b:v1"), score=(8, 9)):
    """A folder in the Vicuna layout: every model's answers, reviews of the first two models."""
    rows = [{"question_id": q, "text": f"What is {q}?", "category": "generic"} for q in questions]
    write_lines(folder / "question.jsonl", rows)
    for model in models:
        said = [
            {
                "answer_id": f"{model} {q}",
                "question_id": q,
                "model_id": model,
                "text": f"{model} says {q}",
                "metadata": {},
            }
            for q in questions
        ]
        write_lines(folder / "answer" / f"answer_{model.replace(':', '_')}.jsonl", said)
    judged = [
        {
            "review_id": f"review {q}",
            "question_id": q,
            "answer1_id": f"{models[0]} {q}",
            "answer2_id": f"{models[1]} {q}",
            "reviewer_id": "gpt-4-0328-generic",
            "text": f"{score[0]} {score[1]}\nThe second answer is better.",
            "score": list(score),
            "metadata": {},
        }
        for q in questions
    ]
    write_lines(folder / "review" / "dir" / "review.jsonl", judged)
    return folder


@pytest.fixture(scope="module")
def browser():
    from chromium import ARGUMENTS, CHROMIUM  # tests without a page do without a browser
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("no chromium or google-chrome on the PATH: the page was seen by NO browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def windows(browser):
    """A window with JavaScript and one without, by that; each with what its page did in `heard`."""
    from chromium import listen

    windows = {}
    for javascript in (True, False):
        tab = browser.new_context(java_script_enabled=javascript).new_page()
        windows[javascript] = tab, listen(tab)
    return windows


@pytest.fixture
def show(windows, tmp_path):
    """Open HTML as a file; what the page did beside being shown is then in `show.heard`."""

    def show(html, width=1280, scheme="light", javascript=True):
        file = tmp_path / "page.html"
        file.write_text(html)
        tab, show.heard = windows[javascript]
        tab.set_viewport_size({"width": width, "height": 800})
        tab.emulate_media(media="screen", color_scheme=scheme)
        show.heard.clear()
        tab.goto(file.as_uri())
        show.heard.remove(f"request: {file.as_uri()}")
        return tab

    return show
