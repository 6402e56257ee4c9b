"""What came from another tool goes back as it was; what did not is given to it in its words."""

import json

import pytest
from conftest import answer, published, question, review, tree, vicuna_folder, write_lines


def read(file):
    text = file.read_text("utf-8")
    if text.startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines()]


def data(folder):
    """All rows below a folder, whatever their files are called."""
    return [row for file in sorted(folder.rglob("*.json*")) for row in read(file)]


def same(one, other):
    return sorted(one, key=repr_) == sorted(other, key=repr_)


def repr_(row):
    """Rows in one order, whichever of 8 and 8.0 they hold."""
    return json.dumps(row, sort_keys=True).replace(".0", "")


@pytest.fixture
def own(evalkit, tmp_path):
    """Three questions, the last of two turns; `a` beats `b` on the first, loses the second."""
    asked = [question("q1"), question("q2"), question("q3", turns=["One?", "Two?"])]
    write_lines(tmp_path / "questions" / "mine.jsonl", asked)
    for model in ("a", "b"):
        rows = [answer(each["id"], model) for each in asked]
        write_lines(tmp_path / "answers" / "mine" / f"{model}.jsonl", rows)
    judged = [
        review("q1", ("a", "b"), (9, 4)), review("q1", ("b", "a"), (3, 8)),
        review("q2", ("a", "b"), (4, 9)), review("q2", ("b", "a"), (6, 6)),
        review("q3", ("a", "b"), (5, 5)), review("q2", ("a", "b"), None, judge="other"),
    ]  # fmt: skip
    write_lines(tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl", judged[:5])
    write_lines(tmp_path / "reviews" / "mine" / "other.pair-scores.jsonl", judged[5:])
    return tmp_path


def test_the_vicuna_evaluation_goes_back_as_it_came(evalkit, tmp_path_factory, tmp_path):
    theirs = vicuna_folder(tmp_path_factory.mktemp("theirs"))
    rows = read(theirs / "question.jsonl")
    write_lines(
        theirs / "question.jsonl", [row | {"difficulty": {"is": [1, None]}} for row in rows]
    )
    evalkit("import", theirs)
    assert evalkit("export", "out", "--to", "vicuna").code == 0
    for kind in ("question.jsonl", "answer", "review"):
        parts = [folder / kind for folder in (theirs, tmp_path / "out")]
        one, other = (read(part) if part.is_file() else data(part) for part in parts)
        assert same(one, other), kind
        assert one


def test_the_published_vicuna_evaluation_goes_back_as_it_came(evalkit, vicuna_blog, tmp_path):
    evalkit("import", vicuna_blog)
    assert evalkit("export", "out", "--to", "vicuna").code == 0
    assert same(read(vicuna_blog / "question.jsonl"), read(tmp_path / "out" / "question.jsonl"))
    for kind, rows in (("answer", 400), ("review", 320)):
        one, other = data(vicuna_blog / kind), data(tmp_path / "out" / kind)
        assert len(one) == rows
        assert same(one, other)


def test_alpaca_eval_goes_back_as_it_came(evalkit, tmp_path):
    theirs = published("alpaca_eval") / "results"
    evalkit("import", theirs)
    assert evalkit("export", "out", "--to", "alpaca_eval").code == 0
    files = sorted(theirs.rglob("*.json"))
    assert len(files) == 8
    for file in files:
        there = tmp_path / "out" / "results" / file.relative_to(theirs)
        assert read(there) == read(file), file


def test_own_rows_in_the_words_of_alpaca_eval(evalkit, own):
    ran = evalkit("export", "out", "--to", "alpaca_eval", "--bank", "mine")
    assert ran.code == 0, ran.err
    assert "1 question of several turns left out" in ran.lines
    assert "1 review left out: not of two answers of one turn that stand" in ran.lines
    run = own / "out" / "results" / "b"
    assert read(run / "model_outputs.json")[0] == {
        "dataset": "generic", "generator": "b", "instruction": "What is q1?",
        "output": "An answer of b.",
    }  # fmt: skip
    rows = read(run / "judge" / "annotations.json")
    assert [row["preference"] for row in rows] == [1.0, 1.75]  # lost twice; won and tied
    assert rows[0] == {
        "dataset": "generic", "generator_1": "a", "generator_2": "b", "annotator": "judge",
        "preference": 1.0, "instruction": "What is q1?", "output_1": "An answer of a.",
        "output_2": "An answer of b.",
    }  # fmt: skip
    (unread,) = read(run / "other" / "annotations.json")
    assert unread["preference"] is None


def test_what_was_exported_is_read_again(evalkit, own):
    for tool in ("vicuna", "alpaca_eval"):
        evalkit("export", tool, "--to", tool, "--bank", "mine")
        ran = evalkit("import", tool, "--bank", f"from {tool}")
        assert ran.code == 0, ran.err
        assert f"these are files of {tool}" in ran.lines


def test_own_rows_in_the_words_of_vicuna(evalkit, own):
    evalkit("export", "out", "--to", "vicuna", "--bank", "mine")
    asked = read(own / "out" / "question.jsonl")
    assert asked[0] == {"question_id": "q1", "category": "generic", "text": "What is q1?"}
    assert len(asked) == 2
    said = {row["answer_id"]: row for row in data(own / "out" / "answer")}
    judged = read(own / "out" / "review" / "review_a_b.jsonl")
    assert [row["score"] for row in judged] == [[9, 4], [4, 9], [-1, -1]]
    assert said[judged[0]["answer1_id"]]["model_id"] == "a"
    assert said[judged[0]["answer2_id"]]["text"] == "An answer of b."


def test_own_rows_in_the_words_of_mt_bench(evalkit, own):
    ran = evalkit("export", "out", "--to", "mt_bench", "--bank", "mine")
    assert ran.code == 0, ran.err
    assert "2 questions of a pair left out: asked in one order" in ran.lines
    rows = read(own / "out" / "model_judgment" / "judge_pair.jsonl")
    met = [(row["question_id"], row["g1_winner"], row["g2_winner"]) for row in rows]
    assert met == [("q1", "model_1", "model_1"), ("q2", "model_2", "tie")]
    assert {(row["model_1"], row["model_2"], row["turn"]) for row in rows} == {("a", "b", 1)}


@pytest.mark.parametrize(
    ("scores", "said"),
    [(((1, 0), (0, 1)), ["A>B", "B>A"]), (((1, 0), (0.25, 0.75)), ["A>>B", "B>A"])],
    ids=["three steps", "five steps"],
)
def test_a_verdict_is_strong_only_where_it_could_be_weak(evalkit, own, scores, said):
    orders = (("a", "b"), ("b", "a"))
    rows = [review("q1", *each) for each in zip(orders, scores, strict=True)]
    write_lines(own / "reviews" / "mine" / "judge.pair-scores.jsonl", rows)
    evalkit("export", "out", "--to", "arena_hard", "--bank", "mine")
    (row,) = read(own / "out" / "model_judgment" / "judge" / "b.jsonl")
    assert [game["score"] for game in row["games"]] == said


@pytest.mark.parametrize("there", ["a file", "a folder with something"])
def test_nothing_is_written_where_something_is(evalkit, own, there):
    out = own / "out"
    if there == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    before = tree(own)
    ran = evalkit("export", "out", "--to", "vicuna", "--bank", "mine")
    assert ran.code == 2
    assert ran.err.endswith("out: is there already. Name a new folder, or an empty one\n")
    assert tree(own) == before


def test_a_write_that_fails_leaves_nothing(evalkit, own, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("evalkit.cli.exports.os.replace", refuse)
    before = tree(own)
    ran = evalkit("export", "out", "--to", "vicuna", "--bank", "mine")
    assert ran.code == 2
    assert "no space left on device. Nothing half-written" in ran.err
    assert tree(own) == before


def test_a_tool_whose_files_cannot_be_written(evalkit, own):
    ran = evalkit("export", "out", "--to", "alpaca-eval", "--bank", "mine")
    assert ran.code == 2
    assert "Did you mean 'alpaca_eval'?" in ran.err
    assert "llmbar" not in ran.err
