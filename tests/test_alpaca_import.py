"""AlpacaEval's files become our rows: preferences stay what they are, and nothing is guessed."""

import csv
import json

import pytest
from conftest import published

from evalkit.cli.report import found_in
from evalkit.workspace import Workspace

MODEL, REFERENCE, ANNOTATOR = "open", "gpt4", "weighted"


def output(n, **more):
    return {
        "instruction": f"Do {n}.", "output": f"{MODEL} did {n}", "generator": MODEL,
        "dataset": "koala", **more,
    }  # fmt: skip


def annotation(n, preference, **more):
    return {
        "instruction": f"Do {n}.", "output_1": f"{REFERENCE} did {n}", "generator_1": REFERENCE,
        "output_2": f"{MODEL} did {n}", "generator_2": MODEL, "dataset": "koala",
        "annotator": ANNOTATOR, "preference": preference, **more,
    }  # fmt: skip


def lay_out(folder, outputs, annotations, model=MODEL):
    run = folder / "results" / model
    (run / ANNOTATOR).mkdir(parents=True, exist_ok=True)
    (run / "model_outputs.json").write_text(json.dumps(outputs, indent=1))
    (run / ANNOTATOR / "annotations.json").write_text(json.dumps(annotations))
    return folder


def rows(folder, kind):
    (file,) = folder.glob(f"{kind}*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def source(tmp_path_factory):
    return lay_out(
        tmp_path_factory.mktemp("theirs"),
        [output(n, datasplit="eval") for n in range(3)],
        [annotation(n, 1 + n / 4, price_per_example=0.01, x=n) for n in range(3)],
    )


def test_every_row_arrives_with_what_it_held(evalkit, source, tmp_path):
    ran = evalkit("import", source)
    assert (ran.code, ran.out) == (
        0,
        "alpaca-eval: 3 questions, 6 answers (gpt4, open), 3 reviews by weighted\n",
    )
    assert ran.lines[0] == "these are files of alpaca_eval"
    asked = rows(tmp_path, "questions/alpaca-eval")
    assert [row["turns"] for row in asked] == [["Do 0."], ["Do 1."], ["Do 2."]]
    assert all(row["extra"] == {"category": "koala"} for row in asked)
    said = rows(tmp_path, "answers/alpaca-eval/open")
    assert [row["turns"] for row in said] == [[f"open did {n}"] for n in range(3)]
    assert said[0]["extra"] == {
        "alpaca_eval": {"generator": "open", "dataset": "koala", "datasplit": "eval"}
    }
    judged = rows(tmp_path, "reviews/alpaca-eval/weighted")
    assert [row["scores"] for row in judged] == [[1, 0], [0.75, 0.25], [0.5, 0.5]]
    assert all(row["soft"] and row["order_known"] is False for row in judged)
    assert (judged[1]["shown"], judged[1]["dollars"]) == (["gpt4", "open"], 0.01)
    assert judged[1]["extra"]["alpaca_eval"]["preference"] == 1.25
    assert judged[1]["extra"]["alpaca_eval"]["x"] == 1


def test_again_adds_nothing(evalkit, source, tmp_path):
    evalkit("import", "alpaca_eval", source)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.jsonl")}
    ran = evalkit("import", "alpaca_eval", source / "results" / MODEL)
    assert ran.out.endswith("; 9 rows were here already\n")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.jsonl")} == before


def test_a_preference_is_a_win_rate_and_not_a_winner(evalkit, source, tmp_path):
    evalkit("import", source)
    assert evalkit("report", "--baseline", "gpt4").code == 0
    found = json.loads((tmp_path / "reports" / "alpaca-eval.json").read_text())
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"], pair["win_rate_b"]) == ("gpt4", "open", 0.25)
    assert (pair["wins_a"], pair["ties"], pair["wins_b"]) == (2, 1, 0)
    assert pair["questions_order_unknown"] == 3
    html = (tmp_path / "reports" / "alpaca-eval.html").read_text()
    assert "In which order weighted saw the answers was not kept" in html
    assert "judged in one order only" not in html
    assert "their text does not say" not in html


def test_preferences_have_a_win_rate_and_no_percentage(evalkit, source, tmp_path):
    """Of shares there are no totals: 25 to 75 is no third of a score."""
    evalkit("import", source)
    ran = evalkit("report", "--baseline", "gpt4", "--png")
    verdict = "open has a win rate of 25.0% [1.2, 90.1] against gpt4"
    assert any(line.startswith(verdict) for line in ran.out.splitlines()), ran.out
    found = json.loads((tmp_path / "reports" / "alpaca-eval.json").read_text())
    assert [row["percent"] for row in found["relative_score"] if row["model"] == "open"] == [None]
    assert found["pairs"][0]["ratio_b_to_a"] is None
    html = (tmp_path / "reports" / "alpaca-eval.html").read_text()
    assert "Win rates against gpt4</h2>" in html
    assert "Total score in percent" not in html
    assert (tmp_path / "reports" / "alpaca-eval.png").exists()
    assert "no percentage" not in html


def test_nulls_zeros_and_doubled_rows_are_counted_and_told(evalkit, tmp_path, tmp_path_factory):
    theirs = lay_out(
        tmp_path_factory.mktemp("odd"),
        [output(n) for n in range(4)],
        [annotation(0, None), annotation(1, 0), annotation(2, 1.0), annotation(2, 1.5)],
    )
    ran = evalkit("import", theirs)
    assert "1 preference null: unreadable, in no rate" in ran.lines
    assert "1 preference 0: a tie, as that tool once wrote it" in ran.lines
    assert "1 annotation twice; the first one counts" in ran.lines
    assert "gpt4: 3 of 4 answers; the others are owed" in ran.lines
    judged = rows(tmp_path, "reviews/alpaca-eval/weighted")
    assert [row["scores"] for row in judged] == [None, [0.5, 0.5], [1, 0]]
    assert judged[0]["unreadable"] == "no preference"


def test_another_text_than_the_answer_is_told_and_in_no_number(evalkit, tmp_path_factory):
    theirs = lay_out(
        tmp_path_factory.mktemp("stale"),
        [output(0), output(1, output="another text")],
        [annotation(0, 1.5), annotation(1, 1.5)],
    )
    ran = evalkit("import", theirs)
    told = "1 annotation of another text than the answer that stands; stale, in no number"
    assert told in ran.lines
    found = json.loads(evalkit("report", "--json", "--baseline", "gpt4").out)
    assert (found["pairs"][0]["questions"], found["reviews"][0]["stale"]) == (1, 1)


def test_a_second_model_may_bring_questions_that_the_first_one_lacked(evalkit, source, tmp_path):
    evalkit("import", source)
    lay_out(source, [output(n, generator="other") for n in (1, 7)], [], model="other")
    ran = evalkit("import", source / "results" / "other")
    assert ran.code == 0, ran.err
    asked = rows(tmp_path, "questions/alpaca-eval")
    assert [row["turns"][0] for row in asked] == ["Do 0.", "Do 1.", "Do 2.", "Do 7."]


def test_a_bank_that_holds_a_question_otherwise_is_not_added_to(evalkit, source, tmp_path):
    evalkit("import", source)
    before = (tmp_path / "questions" / "alpaca-eval.jsonl").read_bytes()
    lay_out(source, [output(1, dataset="another"), output(7)], [], model="other")
    ran = evalkit("import", source / "results" / "other")
    assert ran.code == 2
    assert "stands already, with other questions" in ran.err
    assert (tmp_path / "questions" / "alpaca-eval.jsonl").read_bytes() == before


def test_questions_are_never_added_to_a_bank_that_came_with_evalkit(evalkit, source, tmp_path):
    ran = evalkit("import", source, "--bank", "evalkit80")
    assert ran.code == 2
    assert "'evalkit80' came with evalkit, with other questions. Give another --bank" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_called_as_its_folder_in_results_else_as_its_generator(evalkit, tmp_path):
    run = tmp_path / "theirs" / "results" / "NullModel"
    run.mkdir(parents=True)
    (run / "model_outputs.json").write_text(json.dumps([output(0, generator="example")]))
    assert "(NullModel)" in evalkit("import", run, "--bank", "one").out
    alone = tmp_path / "model_outputs.json"
    alone.write_text((run / "model_outputs.json").read_text())
    assert "(example)" in evalkit("import", alone, "--bank", "two").out


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (annotation(0, 3), "'preference' should be less than or equal to 2"),
        (annotation(0, 0.5), "'preference' should be from 1 to 2, or 0 for a tie"),
        (annotation(0, "1.5"), "'preference' should be a valid number, found text"),
        ({**annotation(0, 1.5), "output_2": None}, "'output_2' should be a valid string"),
        (7, "expected an object {...}, found a number"),
    ],
)
def test_what_is_no_annotation_is_refused_and_nothing_is_written(
    evalkit, tmp_path, tmp_path_factory, row, what
):
    theirs = lay_out(tmp_path_factory.mktemp("bad"), [output(0)], [annotation(0, 1.5), row])
    ran = evalkit("import", theirs)
    assert ran.code == 2
    assert f"annotations.json: item 2: {what}" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_what_no_tool_is_known_of_has_to_be_named(evalkit, tmp_path):
    (tmp_path / "things").mkdir()
    ran = evalkit("import", "things")
    assert ran.code == 2
    assert "things is of no tool that evalkit knows. Name it: evalkit import TOOL PATH" in ran.err
    assert evalkit("import", "gone").err.startswith("evalkit: gone: no such file or folder")


def test_the_published_leaderboard(evalkit, tmp_path):
    folder = published("alpaca_eval")
    assert evalkit("import", folder).code == 0
    made = found_in(Workspace(tmp_path), "alpaca-eval", None, None)
    found = made.results.model_dump(mode="json")
    pairs = {pair["b"]: pair for pair in found["pairs"]}
    with (folder / "leaderboard.csv").open() as file:
        board = list(csv.DictReader(file))
    assert len(board) == len(pairs) == 4
    for row in board:
        pair = pairs[row[""]]
        assert 100 * pair["win_rate_b"] == pytest.approx(float(row["win_rate"]), abs=1e-6)
        se = float(row["standard_error"])
        assert 100 * pair["win_rate_b_se"] == pytest.approx(se, abs=1e-6)
        counts = [pair[name] for name in ("wins_b", "wins_a", "ties", "questions")]
        assert counts == [int(row[n]) for n in ("n_wins", "n_wins_base", "n_draws", "n_total")]
    alarmed = [row["model"] for row in found["detectors"] if row["alarms"]]
    assert alarmed == ["NullModel"]
