"""MT-Bench's files: two turns, references, judgments of each turn, in both orders; and back."""

import json
from collections import defaultdict

import pytest
from chat_server import Behaviour, serving
from conftest import published, write_lines

A, B = "alpaca-13b", "vicuna-13b"


def asked(n, **more):
    return {
        "question_id": n, "category": "writing", "turns": [f"Write {n}.", f"Now shorten {n}."],
        **more,
    }  # fmt: skip


def said(n, model, **more):
    turns = [f"{model} wrote {n}.", f"{model} cut {n}."]
    return {
        "question_id": n, "answer_id": f"{model} {n}", "model_id": model,
        "choices": [{"index": 0, "turns": turns}], "tstamp": 1687000000.25 + n, **more,
    }  # fmt: skip


def prompt(name, turn):
    return ["gpt-4", f"{name}-multi-turn" if turn == 2 else name]


def single(n, model, turn, score, **more):
    return {
        "question_id": n, "model": model, "judge": prompt("single-v1", turn),
        "user_prompt": "[Instruction]", "judgment": f"Rating: [[{score}]]", "score": score,
        "turn": turn, "tstamp": 1687000001.5, **more,
    }  # fmt: skip


def pair(n, turn, winners, **more):
    return {
        "question_id": n, "model_1": A, "model_2": B, "g1_winner": winners[0],
        "g2_winner": winners[1], "judge": prompt("pair-v2", turn), "g1_user_prompt": "[User]",
        "g1_judgment": "first [[A]]", "g2_user_prompt": "[User 2]", "g2_judgment": "second [[B]]",
        "turn": turn, "tstamp": 1687000002.0, **more,
    }  # fmt: skip


def lay_out(folder):
    write_lines(folder / "question.jsonl", [asked(81, required_temperature=0.5), asked(82)])
    for model in (A, B):
        rows = [said(n, model, conv_metadata={"n": n}) for n in (81, 82)]
        write_lines(folder / "model_answer" / f"{model}.jsonl", rows)
    write_lines(folder / "reference_answer" / "gpt-4.jsonl", [said(81, "gpt-4")])
    write_lines(
        folder / "model_judgment" / "gpt-4_single.jsonl",
        [single(n, m, t, s) for n, m, t, s in ((81, A, 1, 4), (81, A, 2, 6), (82, B, 1, -1))],
    )
    winners = {
        (81, 1): ("model_2", "model_2"),
        (81, 2): ("model_1", "tie"),
        (82, 1): ("error",) * 2,
    }
    judged = [pair(*at, won) for at, won in winners.items()]
    write_lines(folder / "model_judgment" / "gpt-4_pair.jsonl", judged)
    return folder


@pytest.fixture
def source(tmp_path_factory):
    return lay_out(tmp_path_factory.mktemp("theirs") / "mt_bench")


def rows(folder, kind):
    return [json.loads(line) for line in (folder / f"{kind}.jsonl").read_text().splitlines()]


def test_every_row_arrives_turn_by_turn_and_order_by_order(evalkit, source, tmp_path):
    ran = evalkit("import", source)
    assert (ran.code, ran.out) == (
        0, f"mt-bench: 2 questions, 4 answers ({A}, {B}), 9 reviews by gpt-4\n"
    )  # fmt: skip
    first, second = rows(tmp_path, "questions/mt-bench")
    assert first["turns"] == ["Write 81.", "Now shorten 81."]
    assert first["reference"] == ["gpt-4 wrote 81.", "gpt-4 cut 81."]
    assert "reference" not in second
    grades = rows(tmp_path, "reviews/mt-bench/gpt-4.single-v1")
    assert [(row["shown"], row["scores"]) for row in grades] == [([A], [4]), ([B], None)]
    whole = rows(tmp_path, "reviews/mt-bench/gpt-4.single-v1-multi-turn")
    assert [row["scores"] for row in whole] == [[6]]
    met = rows(tmp_path, "reviews/mt-bench/gpt-4.pair-v2")
    assert [(row["shown"], row["scores"], row["text"]) for row in met[:2]] == [
        ([A, B], [0, 1], "first [[A]]"), ([B, A], [1, 0], "second [[B]]")
    ]  # fmt: skip
    assert [row["scores"] for row in met[2:]] == [None, None]
    assert met[0]["time"] == "2023-06-17T11:06:42+00:00"


def test_judgments_of_a_first_turn_count(evalkit, source):
    evalkit("import", source)
    found = json.loads(evalkit("report", "--json", "--baseline", A).out)
    assert sum(row["stale"] for row in found["reviews"]) == 0
    met = {row["prompt"]: row for row in found["pairs"] if row["prompt"].startswith("pair")}
    assert met["pair-v2"]["win_rate_b"] == 1
    assert met["pair-v2-multi-turn"]["win_rate_b"] == 0.25


def test_a_judgment_of_a_first_turn_is_stale_where_another_answer_stands(evalkit, source):
    evalkit("import", source)
    changed = said(81, A) | {"choices": [{"index": 0, "turns": ["Another text.", "x"]}]}
    write_lines(source / "model_answer" / f"{A}.jsonl", [changed, said(82, A)])
    for file in (source / "model_judgment").iterdir():
        file.unlink()
    evalkit("import", source)
    found = json.loads(evalkit("report", "--json", "--baseline", B).out)
    stale = {row["prompt"]: row["stale"] for row in found["reviews"]}
    assert stale == {
        "pair-v2": 2, "pair-v2-multi-turn": 2, "single-v1": 1, "single-v1-multi-turn": 1
    }  # fmt: skip


def test_again_adds_nothing_and_back_it_is_as_it_came(evalkit, source, tmp_path):
    evalkit("import", source)
    assert evalkit("import", source).out.endswith("; 13 rows were here already\n")
    ran = evalkit("export", "out", "--to", "mt_bench")
    assert ran.code == 0, ran.err
    files = sorted(file.relative_to(source) for file in source.rglob("*.jsonl"))
    assert files == sorted(
        file.relative_to(tmp_path / "out") for file in (tmp_path / "out").rglob("*.jsonl")
    )
    for file in files:
        one, other = (
            sorted(map(json.loads, (folder / file).read_text().splitlines()), key=str)
            for folder in (source, tmp_path / "out")
        )
        sort = [json.dumps(row, sort_keys=True) for row in one]
        assert sorted(sort) == sorted(json.dumps(row, sort_keys=True) for row in other), file


def test_failed_answers_doubled_ones_and_legacy_rows_are_told(evalkit, source, tmp_path):
    failed = said(82, A) | {"choices": [{"index": 0, "turns": ["$ERROR$", "x"]}]}
    write_lines(source / "model_answer" / f"{A}.jsonl", [said(81, A), said(81, A), failed])
    legacy = pair(81, 1, (None, None))
    legacy = {k: v for k, v in legacy.items() if not k.startswith("g")} | {"winner": "tie"}
    write_lines(source / "model_judgment" / "gpt-4_pair.jsonl", [legacy, pair(82, 1, ("tie",) * 2)])
    ran = evalkit("import", source)
    assert "1 answer twice to one question; the last one counts" in ran.lines
    assert "1 failed answer left out ($ERROR$, ERROR); owed" in ran.lines
    assert "1 judgment of a pair with one winner and no order" in ran.lines
    assert "1 judgment left out, of answers that are not here" in ran.lines
    (row,) = rows(tmp_path, "reviews/mt-bench/gpt-4.pair-v2")
    assert (row["scores"], row["order_known"]) == ([0.5, 0.5], False)


@pytest.mark.parametrize(
    ("file", "row", "what"),
    [
        ("model_judgment/gpt-4_pair.jsonl", {"g1_winner": "B"}, "'g1_winner' should be 'model_1'"),
        ("model_judgment/gpt-4_single.jsonl", {"score": "8"}, "'score"),
        ("model_answer/x.jsonl", {"choices": []}, "'choices' is empty"),
        ("model_answer/x.jsonl", {"question_id": 99}, "no question 99 in question.jsonl"),
        ("question.jsonl", {"question_id": 81}, "the question_id '81' stands at"),
    ],
)
def test_what_is_no_row_is_refused_and_nothing_is_written(
    evalkit, source, tmp_path, file, row, what
):
    kinds = {"pair": pair(81, 1, ("tie",) * 2), "single": single(81, A, 1, 5)}
    kind = next((made for name, made in kinds.items() if name in file), None)
    made = kind or (asked(83) if file == "question.jsonl" else said(81, "x"))
    path = source / file
    with path.open("a") as stream:
        stream.write(json.dumps(made | row) + "\n")
    ran = evalkit("import", source)
    assert ran.code == 2
    assert what in ran.err
    assert list(tmp_path.iterdir()) == []


def show_result(folder):
    """The table of FastChat's show_result for single grades, by its documented rule: the mean of
    all scores but -1, for each turn and over both."""
    scores = defaultdict(list)
    for file in (folder / "model_judgment").glob("*_single.jsonl"):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            if row["score"] != -1:
                scores[row["model"], row["turn"]].append(row["score"])
                scores[row["model"], "average"].append(row["score"])
    return {at: sum(own) / len(own) for at, own in scores.items()}


def test_two_turns_with_references_are_judged_and_go_to_what_show_result_reads(
    evalkit, tmp_path, tmp_path_factory
):
    """The published questions and references, made-up answers, a scripted judge."""
    theirs = tmp_path_factory.mktemp("theirs")
    for name in ("question.jsonl", "reference_answer/gpt-4.jsonl"):
        (theirs / name).parent.mkdir(exist_ok=True)
        (theirs / name).write_bytes((published("mt_bench") / name).read_bytes())
    lines = (theirs / "question.jsonl").read_text().splitlines()
    numbers = [json.loads(line)["question_id"] for line in lines]
    for model in (A, B):
        write_lines(theirs / "model_answer" / f"{model}.jsonl", [said(n, model) for n in numbers])
    assert evalkit("import", theirs).code == 0
    seen = []

    def judge(body):
        text = body["messages"][-1]["content"]
        seen.append(text)
        return json.dumps({"reasons": "x", "score": 4 if A in text else 7})

    with serving(Behaviour(text=judge)) as server:
        where = (
            "--judge",
            f"{server.url}#j",
            "--bank",
            "mt-bench",
            "--prompt",
            "grade",
            "--baseline",
            A,
        )
        ran = evalkit("judge", *where, "--yes")
    assert ran.code == 0, ran.err
    assert len(seen) >= 160
    referenced = [text for text in seen if "You are in second place." in text]
    assert referenced, "question 101 has a reference, and the judge was shown it"
    assert all("wrote" in text and "cut" in text for text in referenced)
    assert evalkit("export", "out", "--to", "mt_bench").code == 0
    found = json.loads(evalkit("report", "--json", "--baseline", A).out)
    (met,) = found["pairs"]
    table = show_result(tmp_path / "out")
    assert table == {(A, 2): 4, (A, "average"): 4, (B, 2): 7, (B, "average"): 7}
    assert (met["sum_a"] / 80, met["sum_b"] / 80) == (table[A, 2], table[B, 2])
