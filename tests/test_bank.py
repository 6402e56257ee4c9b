"""The banks that come with evalkit: complete, in both languages, and each reference holds."""

import ast
import json
import re
from collections import Counter

import pytest
from conftest import PUBLISHED, ROOT

from evalkit.questions import references, similar
from evalkit.questions.contamination import Search, counts
from evalkit.records import Question

CATEGORIES = [
    *("fermi", "roleplay", "coding", "math"),
    *("writing", "knowledge", "common-sense", "counterfactual"),
]


def rows(name):
    lines = (ROOT / "questions" / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def questions(name):
    return [Question.model_validate(row) for row in rows(name)]


def test_every_shipped_bank_is_clean(evalkit):
    ran = evalkit("questions", "check")
    assert (ran.code, ran.out.splitlines(), ran.err) == (
        0,
        [
            "cars-en: 128 questions, nothing found",
            "cars-zh: 128 questions, nothing found",
            "evalkit80: 80 questions, nothing found",
            "evalkit80-zh: 80 questions, nothing found",
            "sample: 16 questions, nothing found",
        ],
        "",
    )


@pytest.mark.parametrize("name", ["evalkit80", "evalkit80-zh"])
def test_eighty_questions_ten_in_each_of_eight_categories(name):
    bank = questions(name)
    assert [q.id for q in bank] == [f"{c}-{n:02}" for c in CATEGORIES for n in range(1, 11)]
    assert Counter(q.category for q in bank) == dict.fromkeys(CATEGORIES, 10)
    assert sum(len(q.turns) > 1 for q in bank) >= 16


@pytest.mark.parametrize("name", ["evalkit80", "evalkit80-zh", "sample"])
def test_every_question_is_complete(name):
    for row in rows(name):
        assert set(row) - {"reference", "tests"} == {
            *("id", "category", "language", "turns", "checklist", "source", "version")
        }
        assert 3 <= len(row["checklist"]) <= 6
        assert len(set(row["checklist"])) == len(row["checklist"])
        assert row["source"] == "evalkit"
        texts = [*row["turns"], *row["checklist"], *row.get("reference", [])]
        assert all(text == text.strip() and text for text in texts), row["id"]
        assert not any("�" in text or "TODO" in text for text in texts)
        if row["category"] in ("math", "coding", "fermi"):
            assert len(row["reference"]) == len(row["tests"]) == len(row["turns"])
        if row["category"] == "fermi":
            assert all(references.accepted_range(text) for text in row["reference"])
        if row["category"] == "coding":
            assert all(references.blocks(text) for text in row["reference"])
        if len(row["turns"]) > 1:
            second = "第二轮" if row["language"] == "zh" else "Turn 2"
            assert any(second in point for point in row["checklist"]), row["id"]


def test_the_chinese_bank_is_chinese():
    english = {row["id"]: row for row in rows("evalkit80")}
    for row in rows("evalkit80-zh"):
        assert row["language"] == "zh" and english[row["id"]]["language"] == "en"
        for part in ("turns", "checklist", "reference"):
            for text in row.get(part, []):
                prose = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
                if part != "checklist":  # whose points may be a formula
                    assert len(re.findall(r"[\u4e00-\u9fff]", prose)) > 5, (row["id"], text)
                assert not re.search(r"[\u4e00-\u9fff][,;?!][\u4e00-\u9fff]", prose), row["id"]
        assert not re.search(r"[\u4e00-\u9fff]", "".join(english[row["id"]]["checklist"])) or (
            row["category"] == "coding"  # one about the width of Chinese signs
        )


def test_the_sample_is_two_of_each_category_unchanged():
    bank = {row["id"]: row for row in rows("evalkit80")}
    sample = rows("sample")
    assert Counter(row["category"] for row in sample) == dict.fromkeys(CATEGORIES, 2)
    assert all(row == bank[row["id"]] for row in sample)
    assert sum(len(row["turns"]) > 1 for row in sample) >= 2


def spoiled(question):
    """The same question with each reference made wrong where its test should look."""
    broken = []
    for text in question.reference:
        if question.category == "fermi":
            text = re.sub(r"(range:|范围[：:]).*", r"\1 1e30 to 2e30", text)
        elif question.category == "math":
            text = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), text)
        else:
            text = re.sub(r"(?<=```python\n).*?(?=```)", idle, text, flags=re.DOTALL)
            text = re.sub(r"(?<=```sql\n).*?(?=```)", "SELECT 1;\n", text, flags=re.DOTALL)
        broken.append(text)
    assert all(a != b for a, b in zip(broken, question.reference, strict=True)), question.id
    return question.model_copy(update={"reference": tuple(broken)})


def idle(code):
    """The same functions, none of which does anything."""
    tree = ast.parse(code[0])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Pass()]
    return ast.unparse(tree) + "\n"


@pytest.mark.parametrize("name", ["evalkit80", "evalkit80-zh"])
def test_every_test_of_the_bank_can_fail(name):
    bank = [spoiled(q) for q in questions(name) if q.tests]
    assert len(bank) == 30
    found = {(question.id, turn) for question, turn, _ in references.failures(bank)}
    expected = {(q.id, turn) for q in bank for turn in range(1, len(q.turns) + 1)}
    assert expected - found == set()


def test_nothing_of_it_stands_in_the_published_banks():
    files = [
        PUBLISHED / "mt_bench" / "question.jsonl",
        PUBLISHED / "vicuna-blog-eval" / "question.jsonl",
        PUBLISHED / "alpaca_eval" / "results" / "claude" / "model_outputs.json",
        PUBLISHED / "llmbar" / "FairEval" / "dataset.json",
    ]
    if missing := [str(file) for file in files if not file.exists()]:
        pytest.skip(f"the published banks are not there: {', '.join(missing)}")
    for name in ("evalkit80", "evalkit80-zh"):
        search = Search(questions(name))
        for file in files:
            with open(file, "rb") as stream:
                assert sum(search.read(file.name, stream)) == file.stat().st_size
        assert counts(search.results()) == {"clean": 80, "suspicious": 0, "contaminated": 0}


def test_the_published_banks_share_questions_and_it_shows():
    """What the search finds in real data: MT-Bench has questions of the Vicuna evaluation."""
    file = PUBLISHED / "vicuna-blog-eval" / "question.jsonl"
    if not file.exists():
        pytest.skip(f"the published questions are not at {file}")
    lines = (PUBLISHED / "mt_bench" / "question.jsonl").read_text().splitlines()
    bank = [
        Question(id=str(row["question_id"]), category=row["category"], turns=tuple(row["turns"]))
        for row in map(json.loads, lines)
    ]
    search = Search(bank)
    with open(file, "rb") as stream:
        sum(search.read(file.name, stream))
    verdicts = {result.question: result.verdict for result in search.results()}
    assert [key for key, verdict in verdicts.items() if verdict == "contaminated"] == ["81", "130"]


@pytest.mark.parametrize("name", ["evalkit80", "evalkit80-zh"])
def test_no_two_questions_come_near_the_line(monkeypatch, name):
    monkeypatch.setattr(similar, "ALIKE", 0.35)
    texts = ["\n".join(q.turns) for q in questions(name)]
    assert list(similar.twins(texts)) == []
    monkeypatch.setattr(similar, "ALIKE", 0.05)
    assert list(similar.twins(texts)) != []
