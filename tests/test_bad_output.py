"""Where output goes, and what a report says when there is little to say.

The number in a test's name is its row in the table of bad inputs.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import answer, question, review, spawn, tree, vicuna_folder, write_lines

from evalkit.escape import cell

EVALKIT = [sys.executable, "-m", "evalkit"]
REPORT = ("report", "--bank", "mine")


def build(folder, ids=("q1", "q2"), models=("a", "b"), judge="judge"):
    write_lines(folder / "questions/mine.jsonl", map(question, ids))
    for number, model in enumerate(models):
        write_lines(folder / f"answers/mine/{number}.jsonl", [answer(q, model) for q in ids])
    judged = [review(q, models, judge=judge) for q in ids]
    return write_lines(folder / "reviews/mine/judge.pair-scores.jsonl", judged)


def computed(folder):
    return json.loads((folder / "reports/mine.json").read_text())


# -- terminals


IMPORT = ("import", "vicuna", "theirs")


@pytest.fixture
def unread():
    """The end for writing of a pipe that nobody reads: what `| head` leaves, without its race."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("args", [("report",), IMPORT, ("--help",), ()], ids=" ".join)
def test_55_nobody_reads_the_output(tmp_path, unread, args):
    vicuna_folder(tmp_path / "theirs")
    command = [*EVALKIT, *args]
    done = subprocess.run(command, cwd=tmp_path, stdout=unread, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert all(line.startswith("evalkit: ") for line in done.stderr.splitlines()), done.stderr


def test_55_nobody_reads_the_words_either(tmp_path, unread):
    vicuna_folder(tmp_path / "theirs")
    done = subprocess.run([*EVALKIT, *IMPORT], cwd=tmp_path, stdout=unread, stderr=unread)
    assert done.returncode == 0
    assert (tmp_path / "reviews/vicuna80/gpt-4-0328.vicuna-blog.jsonl").is_file()


def test_55_head_in_a_shell(tmp_path):
    piped = 'set -o pipefail; "$@" | head -1'
    command = ["bash", "-c", piped, "-", *EVALKIT, "report"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("sample: sample data")
    assert all(line.startswith("evalkit: ") for line in done.stderr.splitlines())


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_55_closed_streams(tmp_path, closed):
    vicuna_folder(tmp_path / "theirs")
    for args, code in (["report", "--bank", "nope"], 2), (IMPORT, 0):
        command = ["bash", "-c", f'"$@" {closed}', "-", *EVALKIT, *args]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code
        assert "Traceback" not in done.stderr
    assert (tmp_path / "questions/vicuna80.jsonl").is_file()


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
POOR = {
    "no locale": {"LANG": "C", "LC_ALL": "C"},
    "only ASCII": ASCII,
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "narrow": {"COLUMNS": "20"},
    "dumb": {"TERM": "dumb"},
    "no home": {"HOME": None},
}


def change(monkeypatch, environment):
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize("environment", POOR.values(), ids=POOR.keys())
def test_55_a_poor_terminal(tmp_path, monkeypatch, environment):
    vicuna_folder(tmp_path / "theirs", models=("模型", "é"))
    before = tree(tmp_path)
    change(monkeypatch, environment)
    ran = spawn(*IMPORT, cwd=tmp_path, errors="replace")
    if environment is ASCII and sys.platform == "linux":  # no file can have such a name there
        assert (ran.code, ran.out, len(ran.lines)) == (2, "", 1), ran.err
        assert "PYTHONUTF8=1" in ran.err
        assert tree(tmp_path) == before
    else:
        assert ran.code == 0, ran.err
        assert ran.out.startswith("vicuna80: 2 questions, 4 answers (")
        assert (tmp_path / "answers/vicuna80/模型.jsonl").is_file()
    wrong = spawn("report", "--bank", "模型", cwd=tmp_path, errors="replace")
    assert (wrong.code, wrong.out, len(wrong.lines)) == (2, "", 1), wrong.err
    assert wrong.err.startswith("evalkit: ")


def test_55_a_report_where_all_of_these_come_together(tmp_path, monkeypatch):
    build(tmp_path, models=("模型", "b\x1b[31m"))
    change(monkeypatch, {**ASCII, "COLUMNS": "20", "TERM": "dumb", "HOME": None})
    ran = spawn(*REPORT, "--baseline", "b\x1b[31m", cwd=tmp_path, encoding="utf-8")
    assert ran.code == 0, ran.err
    assert len(ran.out.splitlines()) == 7
    assert "\x1b" not in ran.out + ran.err
    assert all(line.startswith("evalkit: ") for line in ran.err.splitlines()), ran.err
    assert "模型" in computed(tmp_path)["models"]
    assert "模型" in (tmp_path / "reports/mine.html").read_text(encoding="utf-8")


HEAVY = "torch transformers openai httpx pandas numpy matplotlib pydantic scipy jinja2"
LOADED = """
import sys
from evalkit.cli import run
code = run(sys.argv[2:])
print("loaded:", *sorted(set(sys.argv[1].split()) & set(sys.modules)))
sys.exit(code)
"""


@pytest.mark.parametrize(
    "args",
    [["--help"], ["--version"], [], ["report", "--help"], ["import", "--help"]],
    ids=" ".join,
)
def test_56_help_writes_nothing_and_loads_nothing_heavy(tmp_path, monkeypatch, args):
    for folder in "home", "here":
        (tmp_path / folder).mkdir()
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    done = subprocess.run(
        [sys.executable, "-c", LOADED, HEAVY, *args],
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *said, loaded = done.stdout.splitlines()
    assert any("evalkit" in line for line in said)
    assert loaded == "loaded:"
    assert sorted(tree(tmp_path)) == ["here", "home"]


def test_56_what_is_heavy_is_seen(tmp_path):
    """The check above would notice: a report does load these."""
    command = [sys.executable, "-c", LOADED, HEAVY, "report"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert {"pandas", "numpy", "matplotlib", "pydantic", "scipy", "jinja2"} <= set(loaded)
    assert not {"torch", "transformers", "openai", "httpx"} & set(loaded)


# -- spreadsheets


FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    '=HYPERLINK("http://x", "y")',
    "=a\nb",
]


def cells(folder):
    with open(folder / "reports/mine.csv", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


@pytest.mark.parametrize("name", FORMULAS, ids=repr)
def test_57_a_name_that_a_spreadsheet_would_run(tmp_path, evalkit, name):
    build(tmp_path, models=("b", name), judge=name)
    assert evalkit(*REPORT, "--baseline", "b", "--csv").code == 0
    (row,) = cells(tmp_path)
    assert (row["a"], row["b"], row["judge"]) == ("b", f"'{name}", f"'{name}")
    (pair,) = computed(tmp_path)["pairs"]
    assert (pair["b"], pair["judge"]) == (name, name)

    assert evalkit(*REPORT, "--baseline", "b", "--csv", "--raw").code == 0
    (row,) = cells(tmp_path)
    assert (row["a"], row["b"], row["judge"]) == ("b", name, name)


def test_57_numbers_stay_numbers(tmp_path, evalkit):
    build(tmp_path)
    assert evalkit(*REPORT, "--baseline", "b", "--csv").code == 0
    (row,) = cells(tmp_path)
    (pair,) = computed(tmp_path)["pairs"]
    for name, value in pair.items():
        if isinstance(value, int | float):
            assert float(row[name]) == value
    for number in (-1, -0.5, 2.0, None):
        assert cell(number) is number


# -- reports


def test_58_an_old_report_stays_until_the_new_one_is_whole(tmp_path, evalkit):
    reviews = build(tmp_path)
    assert evalkit(*REPORT, "--baseline", "a").code == 0
    write_lines(reviews, [review("q1", scores=(2, 3))])
    before = tree(tmp_path)
    limited = 'ulimit -f 8; exec "$@"'  # blocks of a file, far fewer than a page has
    command = ["bash", "-c", limited, "-", *EVALKIT, *REPORT, "--baseline", "a"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith("evalkit: file too large at reports/mine.html. Nothing half-written.")
    assert tree(tmp_path) == before

    assert evalkit(*REPORT, "--baseline", "a").code == 0
    assert tree(tmp_path).keys() == before.keys()
    assert tree(tmp_path)["reports/mine.html"] != before["reports/mine.html"]


def test_58_who_still_reads_the_old_report_reads_all_of_it(tmp_path, evalkit):
    reviews = build(tmp_path)
    evalkit(*REPORT, "--baseline", "a", "--csv", "--png")
    files = sorted((tmp_path / "reports").iterdir())
    assert {file.suffix for file in files} == {".html", ".json", ".csv", ".png"}
    old = [file.read_bytes() for file in files]
    streams = [open(file, "rb") for file in files]  # noqa: SIM115
    write_lines(reviews, [review("q1", scores=(2, 3))])
    evalkit(*REPORT, "--baseline", "a", "--csv", "--png")
    assert sorted((tmp_path / "reports").iterdir()) == files
    for file, stream, content in zip(files, streams, old, strict=True):
        with stream:
            assert stream.read() == content != file.read_bytes()


class Page(HTMLParser):
    """A page whose elements all close in order; its text."""

    VOID = frozenset(("meta", "br", "hr", "img", "link", "input", "col", "wbr"))

    def __init__(self, path):
        super().__init__()
        self.text, self.tags, self._open = "", [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open
        assert {"html", "head", "title", "body", "h1"} <= set(self.tags)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, text):
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += text


@pytest.fixture
def reported(tmp_path, evalkit):
    """The report on what there is: its numbers, its page, what the terminal said."""

    def command(*args):
        ran = evalkit(*REPORT, *args)
        assert ran.code == 0, ran.err
        return computed(tmp_path), Page(tmp_path / "reports/mine.html"), ran

    return command


def test_59_nothing_answered(tmp_path, reported):
    write_lines(tmp_path / "questions/mine.jsonl", [question()])
    found, page, ran = reported()
    assert (found["baseline"], found["models"], found["pairs"]) == (None, [], [])
    assert found["missing"] == ["Nothing has been answered yet."]
    assert "Nothing has been answered yet." in page.text
    assert "Nothing has been answered yet." in ran.lines
    assert "There is no verdict yet." in ran.out
    assert "svg" not in page.tags


def test_59_one_model(tmp_path, reported):
    write_lines(tmp_path / "questions/mine.jsonl", [question(), question("q2")])
    write_lines(tmp_path / "answers/mine/a.jsonl", [answer()])
    found, page, _ = reported()
    assert (found["models"], found["pairs"]) == (["a"], [])
    for sentence in (
        "Only a takes part: there is nothing to compare it with.",
        "a: 1 of 2 answers are owed.",
    ):
        assert sentence in found["missing"]
        assert sentence in page.text
    assert "svg" not in page.tags


@pytest.mark.parametrize(
    "args",
    [["--baseline", "a"], []],
    ids=["baseline", "none"],
)
def test_59_nothing_judged(tmp_path, reported, args):
    build(tmp_path)
    shutil.rmtree(tmp_path / "reviews")
    found, page, ran = reported(*args)
    assert found["missing"] == ["No pair of answers has been judged yet."]
    assert "No pair of answers has been judged yet." in page.text
    assert "There is no verdict yet." in ran.out
    assert (found["pairs"], found["judges"]) == ([], [])


def test_59_nothing_that_could_be_read(tmp_path, reported):
    reviews = build(tmp_path)
    write_lines(reviews, [review("q1", scores=None, unreadable="empty reply")])
    found, page, ran = reported("--baseline", "a")
    (pair,) = found["pairs"]
    assert (pair["questions"], pair["unreadable"]) == (0, 1)
    assert pair["win_rate_b"] is pair["ratio_b_to_a"] is pair["win_rate_b_low"] is None
    assert "a against b, judged by judge: 2 of 2 questions have no readable review." in page.text
    assert "There is no verdict yet." in ran.out


@pytest.mark.parametrize("orders", [1, 2])
def test_59_one_question_gives_no_interval(tmp_path, reported, orders):
    reviews = build(tmp_path, ids=["q1"])
    both = [review("q1", ("a", "b")), review("q1", ("b", "a"), (7, 6))]
    write_lines(reviews, both[:orders])
    found, page, ran = reported("--baseline", "a")
    (pair,) = found["pairs"]
    (in_category,) = found["by_category"]
    assert (pair["questions"], pair["reviews"]) == (1, orders)
    assert pair["win_rate_b"] is not None
    spread = [name for name in pair if name.endswith(("_se", "_low", "_high", "_stratified"))]
    assert len(spread) == 9
    assert {pair[name] for name in spread} == {None}
    assert {in_category[name] for name in spread if name in in_category} == {None}
    for score in found["relative_score"]:
        assert score["percent"] is not None
        assert (score["se"], score["low"], score["high"]) == (None, None, None)
    assert "a against b, judged by judge: one question gives no interval." in page.text
    assert "[" not in ran.out
    assert "svg" in page.tags


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
def test_51_a_full_disk_behind_stdout_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "evalkit"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert done.stderr == b"evalkit: the output: no space left on device\n"
