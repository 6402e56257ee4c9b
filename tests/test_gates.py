"""Gates for CI, summaries in Markdown, and pages without words: evalkit report."""

import json
import re

import pytest
from conftest import ROOT, answer, question, review, write_lines
from markdown_it import MarkdownIt

from evalkit.errors import Missing, Unknown
from evalkit.records import Answer, Question, Review
from evalkit.report.gates import Gate, shortfalls
from evalkit.report.results import evidence
from evalkit.report.summary import summary, tables


def results(models=("base", "open-1.5"), unreadable=0, judges=("judge",)):
    """The second model scores 7 to 10 on each of 8 questions, and wins one of them."""
    names = [f"q{n}" for n in range(8)]
    asked = [Question.model_validate(question(q)) for q in names]
    answers = [Answer.model_validate(answer(q, m)) for q in names for m in models]
    given = [(1, 2), *[(10, 7)] * 7]
    reviews = [
        Review.model_validate(review(q, models[:2], None if n < unreadable else s, judge=judge))
        for judge in judges
        for n, (q, s) in enumerate(zip(names, given, strict=True))
    ]
    return evidence("bank", asked, answers, reviews, models[0]).results


def held(text, **more):
    return not shortfalls(results(**more), [Gate.parse(text)])


@pytest.mark.parametrize(
    ("gate", "holds"),
    [
        ("open-1.5>=0.7", True),  # 51 of 71: .718
        ("open-1.5>=72%", False),
        ("open-1.5 >= 70 %", None),
        ("open-1.5=.71", True),
        ("open-1.5.low>=0.5", True),
        ("open-1.5.low>=0.71", False),
        ("open-1.5.win_rate>=0.125", True),
        ("open-1.5.win_rate>=0.126", False),
        ("open-1.5.win_rate.low>=0.005", True),
        ("open-1.5.win_rate.low>=0.125", False),
        ("win_rate>=0.1", True),
        ("win_rate.low>=0.12", False),
        ("low>=0.9", False),
        ("coverage>=1", True),
    ],
)
def test_a_gate_holds_where_its_number_is_as_much(gate, holds):
    if holds is None:
        with pytest.raises(Missing, match="is no gate"):
            Gate.parse(gate)
    else:
        assert held(gate) is holds


def test_coverage_is_the_share_of_replies_that_can_be_read():
    assert held("coverage>=0.75", unreadable=2)
    (short,) = shortfalls(results(unreadable=2), [Gate("coverage", 0.76)])
    assert str(short) == (
        "gate not met: coverage of judge with pair-scores is 0.75; at least 0.76 was asked"
    )


def test_a_gate_holds_with_every_judge():
    short = shortfalls(results(judges=("one", "two")), [Gate("open-1.5", 0.9)])
    assert [each.what for each in short] == [
        "open-1.5 by one with pair-scores",
        "open-1.5 by two with pair-scores",
    ]


def test_a_number_that_is_not_there_is_not_enough():
    none = evidence("bank", [Question.model_validate(question())], [], []).results
    for name in ("coverage", "win_rate"):
        (short,) = shortfalls(none, [Gate(name, 0.0)])
        assert "is not there" in str(short)


def test_a_model_that_takes_no_part_is_a_mistake():
    with pytest.raises(Unknown, match=r"open-1\.4"):
        shortfalls(results(), [Gate.parse("open-1.4.win_rate>=0.5")])


@pytest.mark.parametrize("text", ["", "open", ">=1", "open>1", "open>=x", "open>=-1", "open>=1e9x"])
def test_what_is_no_gate_is_told(text):
    with pytest.raises(Missing, match="is no gate; expected MODEL>="):
        Gate.parse(text)


@pytest.fixture
def workspace(tmp_path):
    names = [f"q{n}" for n in range(4)]
    write_lines(tmp_path / "questions" / "mine.jsonl", [question(q) for q in names])
    for model in ("a", "b"):
        rows = [answer(q, model) for q in names]
        write_lines(tmp_path / "answers" / "mine" / f"{model}.jsonl", rows)
    rows = [review(q, ("a", "b"), (8, 6)) for q in names]
    write_lines(tmp_path / "reviews" / "mine" / "judge.pair-scores.jsonl", rows)
    return tmp_path


def test_a_program_hears_of_a_gate_by_the_exit_code(evalkit, workspace):
    ran = evalkit("report", "--baseline", "a", "--fail-under", "b>=0.7")
    assert ran.code == 0 and "gate" not in ran.err
    ran = evalkit("report", "--baseline", "a", "--fail-under", "b>=0.7", "--fail-under", "b>=0.8")
    assert ran.code == 1
    assert [line for line in ran.lines if "gate" in line] == [
        "gate not met: b by judge with pair-scores is 0.75; at least 0.8 was asked"
    ]
    assert (workspace / "reports" / "mine.html").exists()
    ran = evalkit("report", "--baseline", "a", "--fail-under", "b>=0.8", "--json")
    told = json.loads(ran.out)
    assert ran.code == 1 and told["status"] == "gate" and len(told["gates"]) == 1


def test_a_gate_that_cannot_be_is_told_before_anything_is_written(evalkit, workspace):
    for gate, said in (("b", "is no gate"), ("c>=1", "no model 'c'")):
        ran = evalkit("report", "--baseline", "a", "--fail-under", gate)
        assert ran.code == 2 and said in ran.err
    assert not (workspace / "reports").exists()


def test_the_summary_in_markdown_is_all_of_stdout(evalkit, workspace):
    ran = evalkit("report", "--baseline", "a", "--markdown")
    assert ran.code == 0 and ran.out.startswith("## mine\n\n**b reaches 75.0% of a's score")
    cells = [line.split("|")[1:-1] for line in ran.out.splitlines() if line.startswith("| b ")]
    assert [cell.strip() for cell in cells[0]][:2] == ["b", "75.0"]


def test_the_tables_in_markdown_lie_beside_the_page(evalkit, workspace):
    ran = evalkit("report", "--baseline", "a", "--md")
    assert "reports/mine.md" in ran.err
    text = (workspace / "reports" / "mine.md").read_text()
    rendered = MarkdownIt().enable("table").render(text)
    assert rendered.count("<table>") == 3
    assert "<td>b against a</td>" in rendered


HOSTILE = "<b>x</b>|[y](http://z.z)*`1`"


def test_names_in_markdown_are_text():
    found = results(models=("base", HOSTILE))
    for text in (summary(found), tables(found)):
        rendered = MarkdownIt("commonmark").enable("table").render(text)
        shown = re.sub(r"&lt;", "<", re.sub(r"&gt;", ">", rendered))
        assert "<b>" not in rendered and "<a " not in rendered and "<code>" not in rendered
        assert f"<td>{HOSTILE}</td>" in shown
        rows = [row.count("<td") for row in rendered.split("<tr>") if "<td" in row]
        assert len(set(rows)) <= 3


def test_a_redacted_page_is_made_by_an_option(evalkit, workspace):
    ran = evalkit("report", "--baseline", "a", "--redact")
    page = (workspace / "reports" / "mine.html").read_text()
    assert ran.code == 0
    assert "An answer of" not in page and "What is q" not in page
    assert "75.0%" in page
    assert "--baseline a --redact</code>" in page


def test_the_readme_says_all_gates():
    told = (ROOT / "README.md").read_text()
    assert "--fail-under 'vicuna-13b>=0.9'" in told and "GITHUB_STEP_SUMMARY" in told
