"""The Vicuna evaluation's files become our rows, and nothing is guessed on the way."""

import json

import pytest
from conftest import vicuna_folder, write_lines


def edit(file, number, **fields):
    """Change fields of one line (from 1) of a file; None removes a field."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[number - 1] = {k: v for k, v in (rows[number - 1] | fields).items() if v is not None}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(folder, pattern):
    return [
        json.loads(line)
        for file in sorted(folder.glob(pattern))
        for line in file.read_text().splitlines()
    ]


@pytest.fixture
def source(tmp_path_factory):
    return vicuna_folder(tmp_path_factory.mktemp("source"))


def test_every_row_arrives_with_what_it_held(evalkit, source, tmp_path):
    edit(source / "question.jsonl", 1, difficulty="hard")
    ran = evalkit("import", "vicuna", source)
    assert (ran.code, ran.out) == (
        0,
        "vicuna80: 2 questions, 4 answers (a, b), 2 reviews by gpt-4-0328\n",
    )
    assert ran.lines[-1] == "Next: evalkit report --bank vicuna80 --open"
    first, second = rows(tmp_path, "questions/vicuna80.jsonl")
    assert first == {
        "id": "q1",
        "category": "generic",
        "turns": ["What is q1?"],
        "extra": {"vicuna": {"question_id": "q1", "category": "generic", "difficulty": "hard"}},
    }
    assert second["id"] == "q2"
    said = rows(tmp_path, "answers/vicuna80/a.jsonl")
    assert [(row["model"], row["served"], row["turns"]) for row in said] == [
        ("a", "a:v1", ["a:v1 says q1"]),
        ("a", "a:v1", ["a:v1 says q2"]),
    ]
    assert said[0]["extra"]["vicuna"]["answer_id"] == "a:v1 q1"
    judged = rows(tmp_path, "reviews/vicuna80/gpt-4-0328.vicuna-blog.jsonl")
    assert judged[0]["shown"] == ["a", "b"]
    assert judged[0]["scores"] == [8, 9]
    assert judged[0]["rung"] == "strict"
    assert judged[0]["text"] == "8 9\nThe second answer is better."
    assert judged[0]["extra"]["vicuna"]["review_id"] == "review q1"


def test_two_versions_of_one_model_stay_apart(evalkit, tmp_path_factory, tmp_path):
    source = vicuna_folder(tmp_path_factory.mktemp("two"), models=("a:v1", "a:v2", "b:v1"))
    assert evalkit("import", "vicuna", source).code == 0
    files = sorted(file.name for file in (tmp_path / "answers" / "vicuna80").glob("*.jsonl"))
    assert files == ["a@v1.jsonl", "a@v2.jsonl", "b.jsonl"]
    (review, _) = rows(tmp_path, "reviews/vicuna80/*.jsonl")
    assert review["shown"] == ["a@v1", "a@v2"]


def test_a_version_that_comes_later_stays_apart_too(evalkit, source, tmp_path_factory, tmp_path):
    assert evalkit("import", "vicuna", source).code == 0
    later = vicuna_folder(tmp_path_factory.mktemp("later"), models=("a:v2", "b:v1"))
    assert evalkit("import", "vicuna", later).code == 0
    assert {row["served"] for row in rows(tmp_path, "answers/vicuna80/a.jsonl")} == {"a:v1"}
    assert {row["served"] for row in rows(tmp_path, "answers/vicuna80/a@v2.jsonl")} == {"a:v2"}
    again = evalkit("import", "vicuna", later)
    assert "6 rows were here already" in again.out


@pytest.mark.parametrize(
    ("text", "score", "scores", "rung", "told"),
    [
        ("8 9\nfine", [8, 9], [8, 9], "strict", "1 strictly"),
        ("Assistant 1: 8\nAssistant 2: 9", [8, 9], [8, 9], "tolerant", "1 tolerantly"),
        ("8 9\nfine", [8, 3], [8, 3], "given", "given 8 3, the text says: 8 9"),
        ("well", [8, 3], [8, 3], "given", "given 8 3, the text says: no pair of scores found"),
        ("8 9\nfine", [-1, -1], [8, 9], "strict", "1 strictly"),
        ("well", [-1, -1], None, None, "1 unreadable"),
        ("0 9\nempty", [0, 9], [0, 9], "strict", "1 strictly"),
    ],
)
def test_the_score_given_against_the_text(
    evalkit, source, tmp_path, text, score, scores, rung, told
):
    reviews = source / "review" / "dir" / "review.jsonl"
    edit(reviews, 1, text=text, score=score)
    reviews.write_text(reviews.read_text().splitlines()[0])  # no newline at its end, as some have
    ran = evalkit("import", "vicuna", source)
    assert ran.code == 0
    assert any(told in line for line in ran.lines), ran.err
    (row,) = rows(tmp_path, "reviews/vicuna80/*.jsonl")
    assert (row["scores"], row.get("rung"), row["text"]) == (scores, rung, text)
    assert row["extra"]["vicuna"]["score"] == score
    assert ("unreadable" in row) == (scores is None)
    assert row.get("flags", []) == (["outside_scale"] if scores and 0 in scores else [])


def test_failed_answers_are_owed_and_never_judged(evalkit, source, tmp_path):
    edit(source / "answer" / "answer_b_v1.jsonl", 2, text="#ERROR#")
    ran = evalkit("import", "vicuna", source)
    assert ran.code == 0
    assert "1 failed answers left out (#ERROR#, $ERROR$); they are owed" in ran.lines
    assert "1 reviews of failed answers left out" in ran.lines
    assert len(rows(tmp_path, "answers/vicuna80/b.jsonl")) == 1
    assert len(rows(tmp_path, "reviews/vicuna80/*.jsonl")) == 1


def test_an_empty_answer_is_an_answer(evalkit, source, tmp_path):
    edit(source / "answer" / "answer_b_v1.jsonl", 2, text="")
    assert evalkit("import", "vicuna", source).code == 0
    assert rows(tmp_path, "answers/vicuna80/b.jsonl")[1]["turns"] == [""]


def test_half_a_surrogate_is_replaced_and_counted(evalkit, source, tmp_path):
    edit(source / "answer" / "answer_b_v1.jsonl", 1, text="broken \ud83d here \U0001f600")
    assert evalkit("import", "vicuna", source).code == 0
    row = rows(tmp_path, "answers/vicuna80/b.jsonl")[0]
    assert row["turns"] == ["broken \ufffd here \U0001f600"]
    assert row["repaired"] == 1


@pytest.mark.parametrize(
    ("reviewer", "judge"),
    [("gpt-4-0328-coding", "gpt-4-0328"), ("claude-v1", "claude-v1"), (1, "gpt-4"), (3, "gpt-4")],
)
def test_a_rubric_is_no_part_of_the_judges_name(evalkit, source, tmp_path, reviewer, judge):
    for number in (1, 2):
        edit(source / "review" / "dir" / "review.jsonl", number, reviewer_id=reviewer)
    assert evalkit("import", "vicuna", source).code == 0
    assert {row["judge"] for row in rows(tmp_path, "reviews/vicuna80/*.jsonl")} == {judge}


def test_the_same_pair_judged_twice_is_two_samples(evalkit, source, tmp_path):
    (one, two) = rows(source, "review/dir/review.jsonl")
    again = one | {"review_id": "again", "text": "7 9\nOn another day.", "score": [7, 9]}
    write_lines(source / "review" / "dir" / "review.jsonl", [one, two, again])
    assert evalkit("import", "vicuna", source).code == 0
    judged = rows(tmp_path, "reviews/vicuna80/*.jsonl")
    assert [(row["question"], row["text"][:3]) for row in judged] == [
        ("q1", "8 9"),
        ("q2", "8 9"),
        ("q1", "7 9"),
    ]
    assert "7 rows were here already" in evalkit("import", "vicuna", source).out


def test_two_reviews_that_say_the_same_are_still_two(evalkit, source, tmp_path):
    (one, two) = rows(source, "review/dir/review.jsonl")
    write_lines(source / "review" / "dir" / "review.jsonl", [one, two, one | {"review_id": "2nd"}])
    assert evalkit("import", "vicuna", source).code == 0
    assert len(rows(tmp_path, "reviews/vicuna80/*.jsonl")) == 3


def test_reviews_that_come_later_are_added_whatever_their_file_is(evalkit, source, tmp_path):
    assert evalkit("import", "vicuna", source).code == 0
    (one, _) = rows(source, "review/dir/review.jsonl")
    later = one | {"review_id": "later", "text": "2 9\nLater.", "score": [2, 9]}
    write_lines(source / "review" / "dir" / "a_first_by_name.jsonl", [later])
    assert "6 rows were here already" in evalkit("import", "vicuna", source).out
    said = sorted(row["text"][:3] for row in rows(tmp_path, "reviews/vicuna80/*.jsonl"))
    assert said == ["2 9", "8 9", "8 9"]


def test_an_answer_that_was_changed_is_a_new_row_and_the_one_that_stands(evalkit, source, tmp_path):
    assert evalkit("import", "vicuna", source).code == 0
    edit(source / "answer" / "answer_b_v1.jsonl", 1, text="A better answer.")
    edit(source / "review" / "dir" / "review.jsonl", 1, review_id="new", score=[1, 9], text="1 9")
    assert evalkit("import", "vicuna", source).code == 0
    assert evalkit("report", "--baseline", "a").code == 0
    found = json.loads((tmp_path / "reports" / "vicuna80.json").read_text())
    assert (found["reviews"][0]["reviews"], found["reviews"][0]["stale"]) == (2, 1)
    assert found["pairs"][0]["sum_a"] == 1 + 8


def test_a_name_once_given_stays_whatever_comes_later(evalkit, tmp_path_factory, tmp_path):
    both = vicuna_folder(tmp_path_factory.mktemp("both"), models=("a:v1", "a:v2"))
    one = vicuna_folder(tmp_path_factory.mktemp("one"), models=("a:v1", "b:v1"))
    bare = vicuna_folder(tmp_path_factory.mktemp("bare"), models=("a", "b:v1"))
    for folder in (both, one, bare):
        assert evalkit("import", "vicuna", folder).code == 0
    served = {row["model"]: row["served"] for row in rows(tmp_path, "answers/vicuna80/*.jsonl")}
    assert served == {"a@v1": "a:v1", "a@v2": "a:v2", "b": "b:v1", "a": "a"}


@pytest.mark.parametrize(
    ("file", "fields", "told"),
    [
        ("answer/answer_b_v1.jsonl", {"question_id": "q9"}, "no question q9 in question.jsonl"),
        ("answer/answer_b_v1.jsonl", {"answer_id": "b:v1 q2"}, "stands at"),
        ("answer/answer_b_v1.jsonl", {"question_id": "q2"}, "b:v1 answered question q2 at"),
        ("answer/answer_b_v1.jsonl", {"model_id": None}, "the field 'model_id' is missing"),
        ("review/dir/review.jsonl", {"answer1_id": "gone"}, "no answer 'gone' in answer/"),
        ("review/dir/review.jsonl", {"answer1_id": "a:v1 q2"}, "is to question q2, not q1"),
        ("review/dir/review.jsonl", {"score": [8]}, "score"),
        (
            "review/dir/review.jsonl",
            {"score": "8 9"},
            "'score' should be a list, found text",
        ),
        ("question.jsonl", {"text": "  "}, "question q1 is empty"),
    ],
)
def test_loose_ends_are_refused_with_their_place(evalkit, source, tmp_path, file, fields, told):
    edit(source / file, 1, **fields)
    ran = evalkit("import", "vicuna", source)
    assert ran.code == 2
    assert told in ran.err
    assert f"{source / file}:" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_bank_that_stands_already_is_not_replaced(evalkit, source, tmp_path_factory, tmp_path):
    assert evalkit("import", "vicuna", source).code == 0
    other = vicuna_folder(tmp_path_factory.mktemp("other"), questions=("q1", "q7"))
    ran = evalkit("import", "vicuna", other)
    assert ran.code == 2
    assert "stands already, with other questions. Give another --bank" in ran.err
    assert evalkit("import", "vicuna", other, "--bank", "mine").code == 0
    assert (tmp_path / "answers" / "mine" / "a.jsonl").exists()
