"""evalkit demo: the whole way on the sample, offline, and its page in a browser."""

import json
import shutil

import pytest
from conftest import ROOT, spawn, tree


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where a demo was run; no test writes there."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def shown(home):
    """It, as a process without a key, a network or a terminal."""
    return spawn("demo", cwd=home, env={"OPENAI_API_KEY": "", "HOME": str(home / "none")})


def test_it_answers_judges_and_reports_and_says_where_the_page_is(shown, home):
    assert shown.code == 0, shown.err
    assert "16 sample questions, 4 sample chatbots, a scripted judge (not GPT-4)" in shown.lines[0]
    assert "evalkit report --open --bank sample -C demo" in shown.err
    assert [line.strip() for line in shown.lines[-3:]] == [
        "evalkit answer --model ollama/llama3 --model chatgpt",
        "evalkit judge --judge gpt-4",
        "evalkit report --open",
    ]
    for made in ("reports/sample.html", "reports/sample.json"):
        assert (home / "demo" / made).exists()
    assert len(list((home / "demo" / "answers" / "sample").glob("*.jsonl"))) == 4


def test_its_rows_are_those_that_were_recorded(shown, home):
    for kind in ("answers", "reviews"):
        for recorded in (ROOT / kind / "sample").glob("*.jsonl"):
            made = home / "demo" / kind / "sample" / recorded.name
            one, other = (
                sorted(line for line in file.read_text().splitlines()) for file in (recorded, made)
            )
            assert one == other, recorded.name


def test_nothing_is_owed_and_the_numbers_are_those_of_a_clear_order(shown, home):
    found = json.loads((home / "demo" / "reports" / "sample.json").read_text())
    assert found["sample"] and found["baseline"] == "sample-thorough"
    assert [line.split(":")[0] for line in found["alarms"]] == ["sample-null"]
    assert not any("owed" in line for line in found["missing"])
    order = [row["model"] for row in found["relative_score"]]
    assert order == ["sample-thorough", "sample-brief", "sample-vague", "sample-null"]
    (judged,) = found["reviews"]
    assert (judged["reviews"], judged["unreadable"]) == (96, 1)
    canaries = {row["canary"]: (row["calls"], row["missed"]) for row in found["canaries"]}
    assert canaries == dict.fromkeys(("order", "foreign", "empty", "twins"), (2, 0))


def test_the_page_says_that_these_are_samples(shown, home):
    page = (home / "demo" / "reports" / "sample.html").read_text()
    assert "sample data" in page and "It measures nothing" in page


def test_a_second_run_adds_nothing(shown, home, evalkit, tmp_path):
    shutil.copytree(home / "demo", tmp_path / "demo")
    before = {k: v for k, v in tree(tmp_path / "demo").items() if not k.startswith("reports")}
    assert evalkit("demo").code == 0
    after = {k: v for k, v in tree(tmp_path / "demo").items() if not k.startswith("reports")}
    assert before == after


def test_programs_get_one_object(evalkit, tmp_path):
    told = json.loads(evalkit("demo", "elsewhere", "--json").out)
    assert (told["verb"], told["status"], told["bank"]) == ("demo", "done", "sample")
    assert told["files"] == ["elsewhere/reports/sample.html", "elsewhere/reports/sample.json"]


def test_a_place_that_cannot_be_is_told(evalkit, tmp_path):
    (tmp_path / "demo").write_text("a file")
    ran = evalkit("demo")
    assert ran.code == 2 and ran.lines == ["demo: file exists"]
