"""Questions, answers, reviews and votes as plain tables: what is written is read again as it was,
and strangers' tables are read by the columns that the README states."""

import csv
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime

import pyarrow.parquet
import pytest
from conftest import answer, question, review, write_lines

from evalkit.errors import BadFile
from evalkit.formats import Given, Held, table, writers
from evalkit.formats.table import shape
from evalkit.records import VOTE, Answer, Question, Review, Usage, human

KINDS = ("csv", "jsonl", "parquet", "hf")

# Characters that spreadsheets, CSV readers and splitters of lines stumble over.
SIGNS = "=+-@'\"\t\r\n,;|\u2028\u0085\ufeff\x1b\x00\u00e9\u6f22\U0001f600 a1."


def held(seed):
    """A bank with answers, reviews and votes, drawn at random; every field is used somewhere."""
    draw = random.Random(seed)

    def text(least=1):
        return "".join(draw.choices(SIGNS, k=draw.randint(least, 8)))

    def said():
        return text() + "x"

    def maybe(value):
        return draw.choice([None, value])

    def several(most=2):
        return tuple(said() for _ in range(draw.randint(0, most)))

    def extra():
        return draw.choice([{}, {said(): draw.choice([None, True, text(0), [1, 2.5], {"a": {}}])}])

    def bought():
        return {
            "sample": draw.randint(0, 2), "served": maybe(said()), "asked": said(),
            "reasoning": maybe(said()), "usage": maybe(Usage(input=3, output=draw.randint(0, 9))),
            "dollars": maybe(draw.random()), "latency": maybe(draw.random() * 1e6),
            "finish_reason": maybe(said()), "time": maybe(said()), "refusal": maybe(said()),
            "repaired": draw.randint(0, 2), "sampling": maybe({said(): draw.random(), "n": 1}),
            "template": maybe(said()), "extra": extra(),
        }  # fmt: skip

    bank = [
        Question(
            id=f"q{n}{text(0)}", category=said(), turns=(said(), *several()), source=maybe(said()),
            language=draw.choice(["en", "zh"]), reference=several(), version=maybe(said()),
            checklist=several(), tests=several(), label=several(), extra=extra(),
        )
        for n in range(3)
    ]  # fmt: skip
    answers = [
        Answer(
            question=asked.id, model=model, question_hash=said(), **bought(),
            turns=tuple(text(0) for _ in asked.turns),
        )
        for asked in bank for model in ("=a", "b")
    ]  # fmt: skip
    reviews = []
    for asked in bank:
        scores = maybe((draw.random() * 10, 3.0))
        unreadable = None if scores else said()
        reviews.append(Review(
            question=asked.id, judge="j", prompt="p", shown=("=a", "b"), answers=("1", "2"),
            text=text(0), scores=scores, unreadable=unreadable, flags=several(),
            rung=draw.choice(["strict", "given"]) if scores else None, cut=draw.randint(0, 1),
            first_turns=maybe(1), order_known=draw.random() < 0.5, prompt_hash=maybe(said()),
            **bought(),
        ))  # fmt: skip
        reviews.append(Review(
            question=asked.id, judge=human("-ann"), prompt=VOTE, shown=("b", "=a"),
            answers=("2", "1"), text=text(0), order_known=draw.random() < 0.5, rung="strict",
            scores=draw.choice([(1, 0), (0, 1), (0.5, 0.5), (7, 3)]), **bought(),
        ))  # fmt: skip
        reviews.append(Review(
            question=asked.id, judge="s", prompt="p", shown=("b", "=a"), answers=("2", "1"),
            text="", soft=True, scores=(0.25, 0.75), rung="strict", **bought(),
        ))  # fmt: skip
    return Held(bank, answers, reviews)


def written(folder, kind, made):
    out = writers()[kind](made)
    for name, content in out.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(raw)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_again_as_it_was(kind, tmp_path_factory):
    for seed in range(30):
        made = held(seed)
        folder = written(tmp_path_factory.mktemp("out"), kind, made)
        assert table.recognises(folder)
        found = table.read(folder, Given())
        assert found.questions == made.questions
        assert found.answers == made.answers
        assert sorted(map(Review.line, found.reviews)) == sorted(map(Review.line, made.reviews))


def test_every_field_of_a_record_has_a_column():
    for each in shape.SHAPES:
        there = {column.field for column in each.columns} | {"usage"}
        left = set(each.record.model_fields) - there
        assert left == {
            "questions": set(), "answers": set(), "reviews": {"canary", "right"},
            "votes": {"canary", "right", "prompt"},
        }[each.name]  # fmt: skip


@pytest.fixture
def bank(tmp_path):
    """Two questions, the second of two turns, with answers of a and b."""
    asked = [question("q1"), question("q2", turns=["One?", "Two?"])]
    write_lines(tmp_path / "questions" / "mine.jsonl", asked)
    for model in ("a", "b"):
        rows = [answer("q1", model), answer("q2", model, turns=["one", model])]
        write_lines(tmp_path / "answers" / "mine" / f"{model}.jsonl", rows)
    return tmp_path


def rows(folder, kind):
    return [
        json.loads(line)
        for file in sorted((folder / kind / "mine").glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]


def put(folder, name, text):
    (folder / name).write_bytes(text.encode())
    return folder / name


VOTES = {
    "csv": "question,voter,model_1,model_2,winner,why\nq1,ann,b,a,1,short\nq2,ann,a,b,TIE,\n"
    "q1,bob,a,b,b,\n",
    "jsonl": '{"question":"q1","voter":"ann","models":["b","a"],"winner":1,"why":"short"}\n'
    '{"question":"q2","voter":"ann","models":["a","b"],"winner":"tie"}\n'
    '{"question":"q1","voter":"bob","models":["a","b"],"winner":"b"}\n',
}


@pytest.mark.parametrize("ending", VOTES)
def test_a_strangers_labels_become_votes(evalkit, bank, ending):
    file = put(bank, f"theirs.{ending}", VOTES[ending])
    ran = evalkit("import", file, "--bank", "mine")
    assert (ran.code, ran.lines[0]) == (0, "these are files of table"), ran.err
    assert ran.out == "mine: 3 reviews by human-ann, human-bob\n"
    found = rows(bank, "reviews")
    assert {(row["judge"], row["prompt"], row["question"]): row["scores"] for row in found} == {
        ("human-ann", "vote", "q1"): [1, 0], ("human-ann", "vote", "q2"): [0.5, 0.5],
        ("human-bob", "vote", "q1"): [0, 1],
    }  # fmt: skip
    assert found[0]["shown"] == ["b", "a"]
    assert found[0]["extra"] == {"why": "short"}
    assert all(row["order_known"] is False for row in found)
    stands = {(row["question"], row["model"]): row for row in rows(bank, "answers")}
    seen = Answer.model_validate(stands["q1", "b"]).hash
    assert found[0]["answers"][0] == seen
    again = evalkit("import", file, "--bank", "mine")
    assert again.out.endswith("; 3 rows were here already\n")
    told = json.loads(evalkit("report", "--bank", "mine", "--json", "--baseline", "a").out)
    assert [(row["judge"], row["questions"], row["win_rate_b"]) for row in told["pairs"]] == [
        ("people", 2, 0.75)
    ]
    assert [(row["voter"], row["votes"]) for row in told["voters"]] == [("ann", 2), ("bob", 1)]


def test_a_vote_is_on_the_first_sample_of_an_answer(evalkit, bank):
    text = "question,model,answer_1,sample\nq1,c,first,0\nq1,c,second,1\n"
    put(bank, "said.csv", text)
    assert evalkit("import", "table", bank / "said.csv", "--bank", "mine").code == 0
    put(bank, "votes.csv", "question,voter,model_1,model_2,winner\nq1,ann,a,c,2\n")
    assert evalkit("import", "table", bank / "votes.csv", "--bank", "mine").code == 0
    (vote,) = rows(bank, "reviews")
    assert vote["answers"][1] == Answer(question="", model="", asked="", turns=("first",)).hash


def test_a_strangers_reviews_in_both_orders(evalkit, bank):
    file = put(bank, "r.csv", (
        "question;judge;model_1;model_2;score_1;score_2;text\n"
        "q1;gpt;a;b;8;6.5;because\nq1;gpt;b;a;7;9;\nq2;gpt;a;b;;;who knows\n"
    ))  # fmt: skip
    ran = evalkit("import", "table", file, "--bank", "mine")
    assert ran.code == 0, ran.err
    assert "1 review without scores: unreadable, in no rate" in ran.lines
    found = rows(bank, "reviews")
    assert [(row["shown"], row["scores"]) for row in found] == [
        (["a", "b"], [8, 6.5]), (["b", "a"], [7, 9]), (["a", "b"], None),
    ]  # fmt: skip
    assert [row.get("unreadable") for row in found] == [None, None, "no scores"]
    told = json.loads(evalkit("report", "--bank", "mine", "--json", "--baseline", "a").out)
    (row,) = told["pairs"]
    assert (row["win_rate_b"], row["sum_a"], row["sum_b"]) == (0, 8.5, 6.75)


def test_all_four_tables_in_one_folder(evalkit, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    put(
        theirs,
        "questions.csv",
        "id,category,turn_1,turn_2\nq1,generic,One?,Two?\n7,generic,Why?,\n",
    )
    put(theirs, "answers.jsonl", "".join(
        json.dumps({"question": id_, "model": model, "answers": said}) + "\n"
        for model in "ab" for id_, said in (("q1", ["1", "2"]), (7, ["so"]))
    ))  # fmt: skip
    put(theirs, "reviews.csv", "question,judge,model_1,model_2,winner\n7,gpt,a,b,tie\n")
    put(theirs, "votes.csv", "question,voter,model_1,model_2,winner\n7,ann,a,b,2\n")
    ran = evalkit("import", theirs, "--bank", "mine")
    assert ran.code == 0, ran.err
    assert ran.out == "mine: 2 questions, 4 answers (a, b), 2 reviews by gpt, human-ann\n"
    assert evalkit("import", theirs, "--bank", "mine").out.endswith("6 rows were here already\n")


def test_what_has_no_column_is_kept_beside_what_was_kept_before(evalkit, bank):
    file = put(bank, "said.csv", 'question,model,answer_1,extra,mood\nq1,c,x,"{""a"": 1}",calm\n')
    assert evalkit("import", "table", file, "--bank", "mine").code == 0
    assert [row["extra"] for row in rows(bank, "answers") if "extra" in row] == [
        {"a": 1, "mood": "calm"}
    ]


def test_the_same_answers_by_hand_and_as_a_table_are_the_same_rows(evalkit, bank):
    file = put(bank, "said.csv", "question,model,answer_1,answer_2\nq1,c,x,\nq2,c,y,z\n")
    assert evalkit("import", "table", file, "--bank", "mine").code == 0
    ran = evalkit("import", "answers", file, "--bank", "mine")
    assert ran.out.endswith("; 2 rows were here already\n"), ran.err


LABEL = "question,voter,model_1,model_2,winner\n"
REVIEW = "question,judge,model_1,model_2,score_1,score_2\n"
ANSWER = "question,model,answer_1,dollars,extra\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LABEL + "q9,ann,a,b,1", "2: no question 'q9' in the bank."),
        (LABEL + "q1,ann,a,c,1", "2: no answer of 'c' to question q1; import that first"),
        (LABEL + "q1,ann,a,b,left", "2: 'winner' should be 1, 2, tie or the name of one of the"),
        (LABEL + "q1,ann,a,b,1\nq1,ann,b,a,1", "3: human-ann voted on this pair of question q1 at"),
        ("question,voter,model_1,model_2\nq1,ann,a,b", "1: no column 'winner'."),
        (REVIEW + "q1,j,a,b,8,", "2: 2 shown, but 1 scores"),
        (REVIEW + "q1,j,a,b,8,x", "2: 'scores' should be numbers, found 'x'"),
        (REVIEW + "q1,j,a,b,8,nan", "2: 'scores' should be numbers, found 'nan'"),
        (REVIEW + "q1,j,a,,8,2", "2: 1 shown, but 2 scores"),
        (
            "question,judge,model_1,model_2\nq1,j,a,b",
            "1: no column 'scores' (in CSV 'score_1', ...)",
        ),
        (ANSWER + "q2,c,only,,", "2: 1 turn, but question q2 has 2"),
        (ANSWER + "q1,c,x,,\nq1,c,y,,", "3: c answered question q1 at"),
        (ANSWER + "q1,c,x,cheap,", "2: 'dollars' should be a number, found 'cheap'"),
        (ANSWER + "q1,c,x,,{oops", "2: 'extra' not valid JSON"),
        ("question,answer_1\nq1,x", "1: no column 'model'."),
    ],
)
def test_what_is_no_row_is_refused(evalkit, bank, text, told):
    file = put(bank, "theirs.csv", text)
    ran = evalkit("import", "table", file, "--bank", "mine")
    assert ran.code == 2
    assert f"{file}:{told}" in ran.err
    assert not (bank / "reviews").exists()


def test_the_grade_of_one_answer_alone_is_a_review_too(evalkit, bank):
    file = put(bank, "theirs.csv", "question,judge,model_1,score_1\nq1,j,a,8\n")
    assert evalkit("import", "table", file, "--bank", "mine").code == 0
    assert [(row["shown"], row["scores"]) for row in rows(bank, "reviews")] == [(["a"], [8])]


def test_every_fault_of_all_tables_at_once(evalkit, tmp_path):
    put(tmp_path, "questions.csv", "id,category,turn_1\nq1,generic,\n")
    put(tmp_path, "reviews.jsonl", '{"question": "q1"\n')
    with pytest.raises(BadFile) as told:
        table.read(tmp_path, Given())
    assert [str(fault).partition(":")[2] for fault in told.value.faults] == ["2: 'turns' is empty"]
    put(tmp_path, "questions.jsonl", json.dumps(question("q1")))
    with pytest.raises(BadFile, match="there are two tables of questions"):
        table.read(tmp_path, Given())


@pytest.mark.parametrize("content", [b"PAR1 and nothing else", b"PAR1"])
def test_parquet_that_is_none(evalkit, bank, content):
    (bank / "theirs.parquet").write_bytes(content)
    ran = evalkit("import", "table", bank / "theirs.parquet", "--bank", "mine")
    assert (ran.code, ran.lines[-1]) == (
        2, f"{bank / 'theirs.parquet'}: not Parquet, or not whole"
    )  # fmt: skip


def test_parquet_with_a_column_that_json_has_no_word_for(evalkit, bank):
    when = datetime(2026, 1, 2, tzinfo=UTC)
    rows_ = [{"question": "q1", "model": "c", "answers": ["x"], "when": when}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows_), bank / "said.parquet")
    ran = evalkit("import", "table", bank / "said.parquet", "--bank", "mine")
    assert ran.code == 2
    assert ran.lines[-1].endswith(
        "said.parquet: row 1: 'when' holds what JSON has no word for: datetime"
    )
    with_text = [{**rows_[0], "when": "today"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(with_text), bank / "said.parquet")
    assert evalkit("import", "table", bank / "said.parquet", "--bank", "mine").code == 0
    assert {"when": "today"} in [row.get("extra") for row in rows(bank, "answers")]


def test_an_answer_longer_than_a_cell_of_python(evalkit, bank):
    long = "word " * 100_000
    file = put(bank, "said.csv", f'question,model,answer_1\nq1,c,"{long}"\n')
    assert evalkit("import", "table", file, "--bank", "mine").code == 0
    assert long in [row["turns"][0] for row in rows(bank, "answers")]


def test_a_spreadsheet_takes_no_cell_for_a_formula(evalkit, bank):
    rows_ = [answer("q1", "=cmd()", turns=["-1"]), answer("q2", "=cmd()", turns=["@x", "'=y"])]
    write_lines(bank / "answers" / "mine" / "%3Dcmd().jsonl", rows_)
    assert evalkit("export", "out", "--to", "csv", "--bank", "mine").code == 0
    with (bank / "out" / "answers.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=cmd()" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_datasets_reads_the_folder(evalkit, bank):
    judged = [review("q1", ("a", "b"), (9, 4)), review("q1", ("b", "a"), None)]
    vote = review("q1", ("b", "a"), (1, 0), judge="human-ann", prompt="vote")
    write_lines(bank / "reviews" / "mine" / "judge.pair-scores.jsonl", judged)
    write_lines(bank / "reviews" / "mine" / "human-ann.vote.jsonl", [vote])
    assert evalkit("export", "out", "--to", "hf").code == 0
    code = (
        "import datasets, json, sys\n"
        "found = {name: datasets.load_dataset('out', name, split='train').to_list()\n"
        "         for name in datasets.get_dataset_config_names('out')}\n"
        "json.dump(found, sys.stdout)\n"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(bank / "home")}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=bank, env={**os.environ, **offline},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert sorted(found) == ["answers", "questions", "reviews", "votes"]
    assert [row["turns"] for row in found["questions"]][1] == ["One?", "Two?"]
    assert [row["scores"] for row in found["reviews"]] == [[9, 4], None]
    assert [(row["voter"], row["winner"]) for row in found["votes"]] == [("ann", "1")]
    assert "| `winner` | 1, 2, tie" in (bank / "out" / "README.md").read_text()
