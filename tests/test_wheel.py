"""What a user installs works in an empty folder: banks, prompts and templates travel along."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import OFFLINE, ROOT, question, review, write_lines


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the contents of the wheel, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed, folder, *args):
    path = f"{installed}{os.pathsep}{OFFLINE}"
    where = "import evalkit, sys; print(evalkit.__file__, file=sys.stderr); "
    return subprocess.run(
        [sys.executable, "-c", where + "from evalkit.cli import main; main()", *args],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_sample_page_from_an_empty_folder(installed, tmp_path):
    done = run(installed, tmp_path, "report")
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stderr.splitlines()[0]
    assert json.loads((tmp_path / "reports" / "sample.json").read_text())["questions"] == 16
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
    done = run(installed, tmp_path, "report", "--lang", "zh")
    assert done.returncode == 0, done.stderr
    assert "样例数据" in (tmp_path / "reports" / "sample.html").read_text("utf-8")


def test_in_a_checkout_the_sample_is_still_the_sample(installed, tmp_path):
    """A wheel is installed, but the current folder is a checkout with the very same sample."""
    for kind in ("questions", "answers", "reviews"):
        shutil.copytree(installed / "evalkit" / "shipped" / kind, tmp_path / kind)
    done = run(installed, tmp_path, "report")
    assert (done.returncode, done.stdout[:20]) == (0, "sample: sample data,")
    write_lines(tmp_path / "questions" / "mine.jsonl", [question()])
    mine = review(shown=("a", "gpt-3.5-turbo"))
    write_lines(tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl", [mine])
    done = run(installed, tmp_path, "report")
    assert (done.returncode, done.stdout[:4]) == (0, "mine")


def test_a_bank_of_ones_own_is_checked_against_the_shipped_prompts(installed, tmp_path):
    write_lines(tmp_path / "questions" / "mine.jsonl", [question(category="sorcery")])
    done = run(installed, tmp_path, "report", "--bank", "mine")
    assert done.returncode == 2
    assert "no prompt knows the category 'sorcery'" in done.stderr
    assert "fermi" in done.stderr


def test_the_banks_and_their_tools_from_an_empty_folder(installed, tmp_path):
    done = run(installed, tmp_path, "questions", "check")
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "cars-en: 128 questions, nothing found",
            "cars-zh: 128 questions, nothing found",
            "evalkit80: 80 questions, nothing found",
            "evalkit80-zh: 80 questions, nothing found",
            "sample: 16 questions, nothing found",
        ],
    )
    done = run(installed, tmp_path, "questions", "generate", "--category", "fermi", "--show-prompt")
    assert (done.returncode, "Write 10 new questions" in done.stdout) == (0, True)
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_holds_no_tests_and_no_results(installed):
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    shipped = {name for name in names if name.startswith("evalkit/shipped/")}
    assert {"evalkit/shipped/questions/sample.jsonl", "evalkit/py.typed"} <= names
    assert all(name.startswith(("evalkit/", "evalkit-")) for name in names)
    assert not any("report" in name or "vicuna80" in name for name in shipped)
