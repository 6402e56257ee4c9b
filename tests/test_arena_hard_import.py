"""Arena-Hard-Auto's files, in both layouts: five steps, two games, and back."""

import json

import pytest
from conftest import write_lines

BASE, MODEL, JUDGE = "gpt-4-0314", "open", "gpt-4.1"


def old(folder):
    """The layout of 2024."""
    ids = ["a" * 32, "b" * 32]
    asked = [
        {"question_id": i, "category": "arena-hard-v0.1", "cluster": "x",
         "turns": [{"content": f"Do {i}."}]} for i in ids
    ]  # fmt: skip
    write_lines(folder / "question.jsonl", asked)
    for model in (BASE, MODEL):
        rows = [
            {"question_id": i, "answer_id": f"{model}{i}", "model_id": model,
             "choices": [{"index": 0, "turns": [{"content": f"{model} did {i}", "token_len": 3}]}],
             "tstamp": 1711491874.24} for i in ids
        ]  # fmt: skip
        write_lines(folder / "model_answer" / f"{model}.jsonl", rows)
    scores = [("A>>B", "B>A"), ("A=B", None)]
    judged = [
        {"question_id": i, "model": MODEL, "judge": JUDGE, "games": [
            {"user_prompt": "<|User|>", "judgment": f"so [[{score}]]", "score": score}
            for score in own
        ]} for i, own in zip(ids, scores, strict=True)
    ]  # fmt: skip
    write_lines(folder / "model_judgment" / JUDGE / f"{MODEL}.jsonl", judged)
    return folder


def new(folder):
    """The layout of 2025."""
    ids = ["2edbb5f36f5b42be", "0253f09025cc40cd"]
    asked = [
        {"uid": i, "category": "hard_prompt", "subcategory": "coding", "prompt": f"Do {i}."}
        for i in ids
    ]
    write_lines(folder / "question.jsonl", asked)
    for model in ("o3-mini", MODEL):
        rows = [
            {"uid": i, "ans_id": f"{model}{i}", "model": model, "messages": [
                {"role": "user", "content": f"Do {i}."},
                {"role": "assistant", "content": {"answer": f"{model} did {i}", "thought": "hm"}},
            ], "tstamp": 1744155079.1, "metadata": {"token_len": 3}} for i in ids
        ]  # fmt: skip
        write_lines(folder / "model_answer" / f"{model}.jsonl", rows)
    games = [
        [{"score": score, "judgment": {"answer": f"[[{score}]]", "thought": "hm"},
          "prompt": [{"role": "user", "content": "x"}]} for score in ("B>A", "A>>B")],
        [{"score": "A>B", "judgment": {"answer": "[[A>B]]"}, "prompt": []}, None],
    ]  # fmt: skip
    judged = [
        {"uid": i, "category": "hard_prompt", "judge": JUDGE, "model": MODEL,
         "baseline": "o3-mini", "games": own} for i, own in zip(ids, games, strict=True)
    ]  # fmt: skip
    write_lines(folder / "model_judgment" / JUDGE / f"{MODEL}.jsonl", judged)
    return folder


@pytest.fixture(params=[old, new])
def source(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("theirs") / "arena")


def reviews(folder):
    (file,) = (folder / "reviews" / "arena-hard").glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_layout_of_2024(evalkit, tmp_path, tmp_path_factory):
    ran = evalkit("import", old(tmp_path_factory.mktemp("theirs") / "arena"))
    assert ran.out == (
        f"arena-hard: 2 questions, 4 answers ({BASE}, {MODEL}), 4 reviews by {JUDGE}\n"
    )
    assert ran.lines[0] == "these are files of arena_hard"
    assert "the baseline is not in these files; it is taken for gpt-4-0314, that tool's own" in (
        ran.lines
    )
    assert "1 game without a score: unreadable, in no rate" in ran.lines
    said = reviews(tmp_path)
    assert [(row["shown"], row["scores"]) for row in said] == [
        ([BASE, MODEL], [1, 0]), ([MODEL, BASE], [0.25, 0.75]),
        ([BASE, MODEL], [0.5, 0.5]), ([MODEL, BASE], None),
    ]  # fmt: skip
    assert said[0]["text"] == "so [[A>>B]]"


def test_the_layout_of_2025(evalkit, tmp_path, tmp_path_factory):
    ran = evalkit("import", new(tmp_path_factory.mktemp("theirs") / "arena"))
    assert ran.code == 0, ran.err
    assert "taken for" not in ran.err
    said = reviews(tmp_path)
    base = "o3-mini"
    assert [(row["shown"], row["scores"]) for row in said] == [
        ([base, MODEL], [0.25, 0.75]), ([MODEL, base], [1, 0]),
        ([base, MODEL], [0.75, 0.25]), ([MODEL, base], None),
    ]  # fmt: skip
    assert (said[0]["text"], said[0]["reasoning"]) == ("[[B>A]]", "hm")
    assert said[3]["unreadable"] == "no game"
    found = json.loads(evalkit("report", "--json", "--baseline", base).out)
    assert found["pairs"][0]["win_rate_b"] == 0.5


def test_again_adds_nothing_and_back_it_is_as_it_came(evalkit, source, tmp_path):
    evalkit("import", source)
    assert evalkit("import", source).out.endswith("; 8 rows were here already\n")
    ran = evalkit("export", "out", "--to", "arena_hard")
    assert ran.code == 0, ran.err
    files = sorted(file.relative_to(source) for file in source.rglob("*.jsonl"))
    out = tmp_path / "out"
    assert files == sorted(file.relative_to(out) for file in out.rglob("*.jsonl"))
    for file in files:
        one, other = ((folder / file).read_text().splitlines() for folder in (source, out))
        assert list(map(json.loads, one)) == list(map(json.loads, other)), file


def test_own_verdicts_in_its_words(evalkit, tmp_path):
    from conftest import answer, question, review

    asked = [question("q1"), question("q2")]
    write_lines(tmp_path / "questions" / "mine.jsonl", asked)
    for model in ("a", "b"):
        rows = [answer(each["id"], model) for each in asked]
        write_lines(tmp_path / "answers" / "mine" / f"{model}.jsonl", rows)
    judged = [
        review("q1", ("a", "b"), (9, 4)), review("q1", ("b", "a"), (3, 3)),
        review("q2", ("a", "b"), None),
    ]  # fmt: skip
    write_lines(tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl", judged)
    assert evalkit("export", "out", "--to", "arena_hard").code == 0
    file = tmp_path / "out" / "model_judgment" / "judge" / "b.jsonl"
    first, second = map(json.loads, file.read_text().splitlines())
    assert (first["baseline"], first["model"], first["uid"]) == ("a", "b", "q1")
    assert [game["score"] for game in first["games"]] == ["A>B", "A=B"]
    assert [game and game["score"] for game in second["games"]] == [None, None]
    assert evalkit("import", "out", "--bank", "again").code == 0


@pytest.mark.parametrize(
    ("file", "row", "what"),
    [
        ("model_answer/x.jsonl", {"uid": "?", "model": "m"}, "expected an answer in 'messages'"),
        ("question.jsonl", {"uid": "x"}, "expected 'prompt' or 'turns'"),
        (f"model_judgment/{JUDGE}/{MODEL}.jsonl", {"uid": "?", "model": "m"}, "'judge' is missing"),
    ],
)
def test_what_is_no_row_is_refused_and_nothing_is_written(
    evalkit, source, tmp_path, file, row, what
):
    with (source / file).open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    ran = evalkit("import", source)
    assert ran.code == 2
    assert what in ran.err
    assert list(tmp_path.iterdir()) == []
