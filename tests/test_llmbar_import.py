"""LLMBar's files become our rows: both orders, and people's labels beside the judge's verdicts."""

import json

import pytest
from conftest import published


def item(n, label=1, **more):
    return {
        "input": f"Do {n}.", "output_1": f"one did {n}", "output_2": f"two did {n}",
        "label": label, **more,
    }  # fmt: skip


def judged(n, winners, label=1):
    results = {
        f"swap = {swap}": {"completion": [f"Output ({winner})", "stop"], "winner": winner}
        for swap, winner in zip((False, True), winners, strict=True)
    }
    return item(n, label, results=[results])


def lay_out(folder, items, verdicts, judge="GPT"):
    (folder / judge).mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(items))
    (folder / judge / "result.json").write_text(json.dumps(verdicts))
    return folder


@pytest.fixture
def source(tmp_path_factory):
    items = [item(0, 1), item(1, 2), item(2, 1)]
    verdicts = [judged(0, "11"), judged(1, "12", 2), judged(2, ["2", None])]
    return lay_out(tmp_path_factory.mktemp("theirs") / "Part", items, verdicts)


def rows(folder, kind):
    (file,) = folder.glob(f"{kind}*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_row_arrives_in_the_order_it_was_shown(evalkit, source, tmp_path):
    ran = evalkit("import", source, "--bank", "part")
    assert (ran.code, ran.out) == (
        0, "part: 3 questions, 6 answers (output_1, output_2), 9 reviews by GPT, human-llmbar\n"
    )  # fmt: skip
    assert "GPT: 1 reply without a winner: unreadable" in ran.lines
    one, two = ["output_1", "output_2"], ["output_2", "output_1"]
    said = rows(tmp_path, "reviews/part/GPT")
    assert [(row["shown"], row["scores"]) for row in said] == [
        (one, [1, 0]), (two, [0, 1]),  # output_1 both times
        (one, [1, 0]), (two, [1, 0]),  # the one that came first
        (one, [0, 1]), (two, None),
    ]  # fmt: skip
    assert said[0]["text"] == "Output (1)"
    labels = rows(tmp_path, "reviews/part/human-llmbar")
    assert [row["scores"] for row in labels] == [[1, 0], [0, 1], [1, 0]]
    assert all(row["order_known"] is False for row in labels)


def test_again_adds_nothing(evalkit, source):
    evalkit("import", source, "--bank", "part")
    assert evalkit("import", source, "--bank", "part").out.endswith("; 15 rows were here already\n")


def test_an_instruction_may_come_twice_with_other_outputs(evalkit, tmp_path, tmp_path_factory):
    items = [item(0), item(0, output_1="another")]
    evalkit("import", lay_out(tmp_path_factory.mktemp("x") / "P", items, []), "--bank", "part")
    assert [row["turns"] for row in rows(tmp_path, "questions/part")] == [["Do 0."], ["Do 0."]]
    assert len(rows(tmp_path, "answers/part/output_1")) == 2


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (item(0, 3), "'label' should be 1 or 2"),
        ({**item(0), "output_2": 5}, "'output_2' should be a valid string, found a number"),
        (judged(0, [1, "2"]), "'results.0.swap = False.winner' should be a valid string"),
    ],
)
def test_what_is_no_item_is_refused(evalkit, tmp_path, tmp_path_factory, row, what):
    theirs = lay_out(tmp_path_factory.mktemp("bad") / "P", [item(1)], [item(1), row])
    ran = evalkit("import", "llmbar", theirs, "--bank", "part")
    assert ran.code == 2
    assert f"result.json: item 2: {what}" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_the_figures_of_its_faireval_part(evalkit):
    folder = published("llmbar") / "FairEval"
    assert evalkit("import", folder, "--bank", "faireval").code == 0
    found = json.loads(evalkit("report", "--json", "--baseline", "output_1").out)
    (card,) = found["judge_card"]
    assert card["items"] == 66
    assert card["consistent"] == pytest.approx(0.697, abs=5e-4)
    assert 0.5 + card["effect"] / 2 == pytest.approx(0.621, abs=5e-4)
    assert (card["flips_to_first"], card["flips_to_second"]) == (18, 2)
    assert card["flips_p"] == pytest.approx(0.0004, abs=5e-5)
    (pair,) = found["pairs"]
    assert (pair["judge"], pair["questions"]) == (card["judge"], 66)
    (row,) = found["calibration"]
    assert (row["judge"], row["labels"], row["enough"]) == (card["judge"], 66, True)
    assert row["win_rate_b_people"] == pytest.approx(0.379, abs=5e-4)
    assert row["win_rate_b_calibrated"] == row["win_rate_b_people"], "people labelled all"
    assert row["win_rate_b"] == pair["win_rate_b"] == pytest.approx(0.485, abs=5e-4)
    assert row["bias"] == pytest.approx(0.106, abs=5e-4)
    (row,) = found["with_people"]
    assert (row["judge"], row["people"], row["items"]) == (card["judge"], 1, 66)
    assert row["agreement"] == pytest.approx(0.727, abs=5e-4)
    assert found["voters"] == [{"voter": "llmbar", "votes": 66, "stale": 0}]
    assert found["agreement"] == []
