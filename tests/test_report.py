"""The numbers and the page of a report, from own small rows."""

import csv
import json
import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser

import pytest
from conftest import answer, question, review, spawn, tree, write_lines
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from evalkit.report.fonts import families

QUESTIONS = [question(f"q{n}", category=("math", "writing")[n % 2]) for n in range(6)]
BOTH_ORDERS = [(("a", "b"), (8, 6)), (("b", "a"), (7, 8))]


def lay_out(folder, reviews, models=("a", "b"), bank="mine"):
    """A workspace with a bank, every model's answers and the reviews given."""
    write_lines(folder / "questions" / f"{bank}.jsonl", QUESTIONS)
    for model in models:
        rows = [answer(each["id"], model) for each in QUESTIONS]
        write_lines(folder / "answers" / bank / f"{model}.jsonl", rows)
    if reviews:
        write_lines(folder / "reviews" / bank / "judge.pair-scores.jsonl", reviews)


def judged(pairs=BOTH_ORDERS):
    return [review(each["id"], shown, scores) for each in QUESTIONS for shown, scores in pairs]


class Text(HTMLParser):
    """What a page says, without its markup and styles."""

    def __init__(self, html):
        super().__init__()
        self.said, self.skip = [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.skip = tag == "style"

    def handle_endtag(self, tag):
        self.skip = False

    def handle_data(self, data):
        if not self.skip:
            self.said.append(data)

    def __str__(self):
        return re.sub(r"\s+", " ", " ".join(self.said))


@pytest.fixture
def report(evalkit, tmp_path):
    def make(reviews, *args, models=("a", "b")):
        lay_out(tmp_path, reviews, models)
        ran = evalkit("report", "--bank", "mine", *args)
        assert ran.code == 0, ran.err
        numbers = json.loads((tmp_path / "reports" / "mine.json").read_text())
        return ran, numbers, str(Text((tmp_path / "reports" / "mine.html").read_text()))

    return make


def test_the_json_is_its_documented_schema(report):
    from evalkit.report.schema import Results

    _, numbers, _ = report(judged(), "--baseline", "a")
    assert Results.model_validate(numbers).model_dump(mode="json") == numbers
    undocumented = [
        name
        for name, each in Results.model_json_schema()["$defs"].items()
        if not each.get("description")
    ]
    assert undocumented == []


def test_both_orders_are_one_question(report):
    ran, numbers, page = report(judged(), "--baseline", "a")
    (pair,) = numbers["pairs"]
    assert (pair["questions"], pair["questions_both_orders"], pair["reviews"]) == (6, 6, 12)
    assert (pair["sum_a"], pair["sum_b"]) == (6 * 8, 6 * 6.5)
    assert "b reaches 81.2% of a's score" in page
    assert "81.2" in ran.out
    assert "one order only" not in page


def test_pairs_in_one_order_are_told_from_those_in_both(report):
    rows = judged() + [review(each["id"], ("a", "c"), (8, 7)) for each in QUESTIONS]
    _, _, page = report(rows, "--baseline", "a", models=("a", "b", "c"))
    assert "1 of 2 pairs were judged in one order only, the same for every question" in page
    part = judged()[:-1]
    assert "judged in one order only on some questions" in report(part, "--baseline", "a")[2]


def test_one_order_and_no_calibration_are_said(report):
    _, _, page = report(judged(BOTH_ORDERS[:1]), "--baseline", "a")
    assert "Each pair was judged in one order only, the same for every question" in page
    assert "not calibrated to people" in page


def test_reviews_of_changed_answers_are_stale(report):
    rows = judged(BOTH_ORDERS[:1])
    rows[0]["answers"] = ["f" * 16, rows[0]["answers"][1]]
    rows[1]["question"] = "gone"
    ran, numbers, page = report(rows, "--baseline", "a")
    assert (numbers["reviews"][0]["reviews"], numbers["reviews"][0]["stale"]) == (4, 2)
    assert numbers["pairs"][0]["questions"] == 4
    told = "2 reviews left out: they are of questions that are not in the bank, of answers that"
    assert any(line.startswith(told) for line in ran.lines) and told in page


def test_the_last_answer_to_a_question_is_the_one_that_stands(evalkit, tmp_path):
    lay_out(tmp_path, judged())
    file = tmp_path / "answers" / "mine" / "b.jsonl"
    with open(file, "a") as stream:
        stream.write(json.dumps(answer("q0", "b", "A second try.", asked="1" * 16)) + "\n")
    assert evalkit("report", "--bank", "mine", "--baseline", "a").code == 0
    numbers = json.loads((tmp_path / "reports" / "mine.json").read_text())
    assert (numbers["reviews"][0]["reviews"], numbers["reviews"][0]["stale"]) == (10, 2)
    assert [(row["answers"], row["owed"]) for row in numbers["answers"]] == [(6, 0), (6, 0)]


def test_answers_to_questions_that_left_the_bank_count_nowhere(evalkit, tmp_path):
    lay_out(tmp_path, judged())
    write_lines(tmp_path / "questions" / "mine.jsonl", QUESTIONS[:4])
    assert evalkit("report", "--bank", "mine", "--baseline", "a").code == 0
    numbers = json.loads((tmp_path / "reports" / "mine.json").read_text())
    assert [(row["answers"], row["owed"]) for row in numbers["answers"]] == [(4, 0), (4, 0)]
    assert numbers["reviews"][0]["stale"] == 4


def test_unreadable_replies_are_counted_and_bound_the_rate(report):
    rows = judged(BOTH_ORDERS[:1])
    rows[0] |= {"scores": None, "text": "?", "unreadable": "no pair of scores found"}
    ran, numbers, page = report(rows, "--baseline", "a")
    (pair,) = numbers["pairs"]
    assert (pair["unreadable"], pair["questions"]) == (1, 5)
    assert pair["win_rate_b_best"] == pytest.approx(1 / 6)
    assert "1 of 6 reviews by judge could not be read and are in no rate." in page
    assert any("1 of 6 questions have no readable review" in line for line in ran.lines)


def test_an_owed_answer_is_said(evalkit, tmp_path):
    lay_out(tmp_path, judged())
    file = tmp_path / "answers" / "mine" / "b.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    assert evalkit("report", "--bank", "mine", "--baseline", "a").code == 0
    numbers = json.loads((tmp_path / "reports" / "mine.json").read_text())
    assert "b: 1 of 6 answers are owed." in numbers["missing"]


@pytest.mark.parametrize(
    ("models", "baseline"),
    [(("a", "gpt-3.5-turbo"), "gpt-3.5-turbo"), (("a", "chatgpt"), "chatgpt")],
)
def test_chatgpt_is_the_baseline_where_it_takes_part(report, models, baseline):
    rows = [review(each["id"], models, (8, 6)) for each in QUESTIONS]
    assert report(rows, models=models)[1]["baseline"] == baseline


def test_else_the_model_that_met_the_most_others(report):
    rows = [review(each["id"], ("b", other), (8, 6)) for each in QUESTIONS for other in "ac"]
    assert report(rows, models=("a", "b", "c"))[1]["baseline"] == "b"


def test_where_none_stands_out_the_user_is_asked(evalkit, tmp_path):
    lay_out(tmp_path, judged())
    ran = evalkit("report", "--bank", "mine")
    assert (ran.code, ran.lines) == (
        2,
        ["which model is the baseline? Give --baseline, one of: a, b"],
    )


def test_an_unknown_baseline_is_offered_the_nearest(evalkit, tmp_path):
    lay_out(tmp_path, judged(), models=("vicuna-13b", "b"))
    ran = evalkit("report", "--bank", "mine", "--baseline", "vicuna13b")
    assert ran.code == 2
    assert "no model 'vicuna13b'. Did you mean 'vicuna-13b'?" in ran.err
    assert not (tmp_path / "reports").exists()


def test_a_score_of_zero_is_counted_and_said(report):
    rows = judged(BOTH_ORDERS[:1])
    rows[0] |= {"scores": [0.0, 9.0], "flags": ["outside_scale"]}
    _, numbers, page = report(rows, "--baseline", "a")
    assert numbers["reviews"][0]["outside_scale"] == 1
    assert "1 of 6 reviews by judge hold a score below the scale of 1 to 10" in page


def test_a_model_that_nothing_connects_is_in_no_chart_and_said(report):
    rows = judged() + [review(each["id"], ("c", "d"), (8, 6)) for each in QUESTIONS]
    ran, numbers, page = report(rows, "--baseline", "a", models=tuple("abcd"))
    (score,) = (row for row in numbers["relative_score"] if row["model"] == "c")
    assert score["percent"] is None
    told = "c: no percentage, since nothing connects it with a, or a scored 0."
    assert told in ran.lines and told in page
    assert not any(line.startswith("c ") for line in ran.out.splitlines())


def test_the_verdict_is_of_the_best_model_that_met_the_baseline_itself(report):
    rows = [review(each["id"], ("a", "b"), (8, 6)) for each in QUESTIONS]
    rows += [review(each["id"], ("a", "c"), (8, 7)) for each in QUESTIONS]
    rows += [review(each["id"], ("c", "d"), (5, 9)) for each in QUESTIONS]
    ran, _, page = report(rows, "--baseline", "a", models=tuple("abcd"))
    assert "c reaches 87.5% of a's score" in ran.out
    assert "d 157.5%" in page and "by way of c" in page


def test_columns_stay_aligned_beside_wide_names(report):
    rows = [review(each["id"], ("a", "通义千问"), (8, 6)) for each in QUESTIONS]
    ran, _, _ = report(rows, "--baseline", "a", models=("a", "通义千问"))
    head, base, wide = ran.out.splitlines()[2:5]
    assert base.index("100.0") == head.index("% of a") + 1
    assert wide.index("75.0") == head.index("% of a") + 2 - 4  # four signs of two columns each


def test_shares_of_a_gap_stand_only_where_the_gap_is_sure(report):
    clear = [review(each["id"], ("a", "b"), (8, 5 + n % 2)) for n, each in enumerate(QUESTIONS)]
    assert "share of the gap" in report(clear, "--baseline", "a")[2]
    even = [
        review(each["id"], ("a", "b"), (8, 7 + 2 * (n % 2))) for n, each in enumerate(QUESTIONS)
    ]
    assert "share of the gap" not in report(even, "--baseline", "a")[2]


@pytest.mark.parametrize(("others", "opened"), [("bcd", 3), ("bcde", 0)])
def test_few_tables_of_categories_begin_open(report, tmp_path, others, opened):
    rows = [review(each["id"], ("a", other), (8, 6)) for each in QUESTIONS for other in others]
    report(rows, "--baseline", "a", models=tuple("a" + others))
    html = (tmp_path / "reports" / "mine.html").read_text()
    categories = html.split('<section id="categories"')[1].split("</section>")[0]
    assert categories.count("<details>") + categories.count("<details open>") == len(others)
    assert categories.count("<details open>") == opened


def test_the_baselines_pairs_come_first_and_the_best_of_them_before_the_others(report, tmp_path):
    rows = [review(each["id"], ("x", "b"), (8, 6)) for each in QUESTIONS]
    rows += [review(each["id"], ("x", "c"), (8, 7)) for each in QUESTIONS]
    rows += [review(each["id"], ("b", "c"), (1, 10)) for each in QUESTIONS]
    report(rows, "--baseline", "x", models=("b", "c", "x"))
    html = (tmp_path / "reports" / "mine.html").read_text()
    named = re.findall(r'<th scope="row"><strong>(\w)</strong> against (\w)</th>', html)
    assert named == [("c", "x"), ("b", "x"), ("c", "b")]


def test_two_judges_stand_side_by_side(report):
    rows = judged() + [row | {"judge": "other", "scores": [5, 5]} for row in judged()]
    ran, numbers, page = report(rows, "--baseline", "a")
    assert numbers["judges"] == ["judge", "other"]
    assert [(p["judge"], p["win_rate_b"]) for p in numbers["pairs"]] == [
        ("judge", 0.0),
        ("other", 0.5),
    ]
    assert "judge, pair-scores" in page and "other, pair-scores" in page
    assert "judged by judge with pair-scores, 12 reviews" in ran.out
    assert "judged by other with pair-scores, 12 reviews" in ran.out
    for sentence in ("b reaches 81.2% of a's score", "b reaches 100.0% of a's score"):
        assert sentence in page and sentence in ran.out


def test_the_page_can_be_made_again_byte_for_byte(report, tmp_path):
    report(judged(), "--baseline", "a", "--csv", "--png")
    before = tree(tmp_path)
    report(judged(), "--baseline", "a", "--csv", "--png")
    assert tree(tmp_path) == before


def test_the_page_needs_nothing_from_outside(report, tmp_path):
    report(judged(), "--baseline", "a")
    html = (tmp_path / "reports" / "mine.html").read_text()
    assert html.index("<meta charset") < 200
    assert "default-src 'none'" in unescape(html)
    rest, scripts = re.subn(
        r"<script( id=\"rows\" type=\"[^\"]+\")?>.*?</script>", "", html, flags=re.S
    )
    assert scripts == 2
    assert not re.search(
        r"<script|<link|@import|url\((?!#)|\sstyle=|\son\w+=|(src|href)=\"(?!#)", rest
    )
    assert set(re.findall(r"https?://[\w./]+", html)) <= {"http://www.w3.org/2000/svg"}


def test_csv_holds_the_pairs(report, tmp_path):
    _, numbers, _ = report(judged(), "--baseline", "a", "--csv")
    with open(tmp_path / "reports" / "mine.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    (pair,) = numbers["pairs"]
    assert list(row) == list(pair)
    assert float(row["ratio_b_to_a"]) == pair["ratio_b_to_a"]


def test_png_with_signs_that_no_font_has_says_so(report, tmp_path):
    sign = "\U0001f9ff\ue123"  # the second is nobody's
    rows = [review(each["id"], ("a", sign), (8, 6)) for each in QUESTIONS]
    ran, _, _ = report(rows, "--baseline", "a", "--png", models=("a",))
    assert any(line.startswith("no font here has all characters") for line in ran.lines)
    assert (tmp_path / "reports" / "mine.png").exists()


def chinese_font(file):
    """A font of one family that evalkit looks for, with signs that no other font has."""
    shown = {sign: f"box{n}" for n, sign in enumerate("\ue123\ue124")}
    pen = TTGlyphPen(None)
    for corner in ((100, 0), (100, 700), (900, 700), (900, 0)):
        (pen.lineTo if corner != (100, 0) else pen.moveTo)(corner)
    pen.closePath()
    box = pen.glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", *shown.values()])
    font.setupCharacterMap({ord(sign): name for sign, name in shown.items()})
    font.setupGlyf(dict.fromkeys([".notdef", *shown.values()], box))
    font.setupHorizontalMetrics(dict.fromkeys([".notdef", *shown.values()], (1000, 100)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Noto Sans CJK SC", "styleName": "Regular"})
    font.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    font.setupPost()
    font.save(file)


def test_a_font_that_was_installed_just_now_draws_the_picture(report, tmp_path, monkeypatch):
    """On a machine with matplotlib's own fonts; its list of fonts is older than the new one."""
    own = [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    rows = [review(each["id"], ("a", "\ue123\ue124"), (8, 6)) for each in QUESTIONS]
    chinese_font(tmp_path / "new.ttf")
    pictures, said = [], []
    for found in ([], [str(tmp_path / "new.ttf")]):
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda found=found: found)
        families.cache_clear()
        ran, _, _ = report(rows, "--baseline", "a", "--png", models=("a",))
        said.append([line for line in ran.lines if "fonts-noto-cjk" in line])
        pictures.append((tmp_path / "reports" / "mine.png").read_bytes())
    families.cache_clear()
    assert len(said[0]) == 1 and said[1] == []
    assert pictures[0] != pictures[1]


def test_the_cost_stands_below_the_verdict(report):
    told = {"usage": None, "time": "2026-11-03T10:00:00Z", "served": "judge-0613"}
    rows = [each | {"dollars": 0.25} | told for each in judged()]
    rows[0]["time"] = "2026-11-01T23:59:00Z"
    page = report(rows, "--baseline", "a")[2]
    assert "Answers and reviews cost $3.00, as far as it is known." in page
    assert "judge judge (judge-0613), 12 reviews" in page
    assert "2026-11-01 to 2026-11-03" in page


def test_a_cost_that_nobody_knows_is_not_said(report):
    rows = [each | {"served": "judge"} for each in judged()]
    page = report(rows, "--baseline", "a")[2]
    assert "cost $" not in page
    assert "judge judge, 12 reviews" in page
    assert "0 of 12 reviews" not in page


def test_a_page_that_mail_would_not_take_is_told_of(report, monkeypatch):
    quiet, _, _ = report(judged(), "--baseline", "a")
    assert "too much for some mail" not in quiet.err
    monkeypatch.setattr("evalkit.cli.report.HEAVY", 1000)
    assert "too much for some mail; --redact" in report(judged(), "--baseline", "a")[0].err
    redacted, _, _ = report(judged(), "--baseline", "a", "--redact")
    assert "too much for some mail" not in redacted.err


@pytest.mark.parametrize("name", ["千" * 40, "W" * 100, "Ｗ" * 22, "$" * 30])
def test_a_long_name_never_ends_a_report(report, name):
    rows = [review(each["id"], ("a", name), (8, 6)) for each in QUESTIONS]
    assert report(rows, "--baseline", "a", models=("a",))[0].code == 0


def test_png_is_a_picture_of_the_chart(report, tmp_path):
    report(judged(), "--baseline", "a", "--png")
    assert (tmp_path / "reports" / "mine.png").read_bytes().startswith(b"\x89PNG")


def test_json_on_stdout_is_one_object_with_every_number(report):
    ran, numbers, _ = report(judged(), "--baseline", "a", "--json")
    said = json.loads(ran.out)
    assert {"schema": 1, "verb": "report", "status": "done"}.items() <= said.items()
    assert said["files"] == ["reports/mine.html", "reports/mine.json"]
    assert {name: said[name] for name in numbers} == numbers


def test_an_empty_folder_shows_the_sample_and_calls_it_one(evalkit, tmp_path):
    ran = evalkit("report")
    assert ran.code == 0
    assert (tmp_path / "reports" / "sample.html").exists()
    page = str(Text((tmp_path / "reports" / "sample.html").read_text()))
    assert "sample data" in page and "It measures nothing" in page
    assert "reviews cost" not in page, "what was written by hand has no price"
    assert "gpt-4" not in page.lower()
    numbers = json.loads((tmp_path / "reports" / "sample.json").read_text())
    assert (numbers["sample"], numbers["missing"]) == (True, [])
    assert [(row["reviews"], row["unreadable"]) for row in numbers["reviews"]] == [(96, 1)]
    assert "they measure nothing" in ran.out


def test_a_bank_of_ones_own_called_sample_is_no_sample(evalkit, tmp_path):
    lay_out(tmp_path, judged(), bank="sample")
    assert evalkit("report", "--baseline", "a").code == 0
    numbers = json.loads((tmp_path / "reports" / "sample.json").read_text())
    assert (numbers["sample"], numbers["models"], numbers["questions"]) == (False, ["a", "b"], 6)


def test_reviews_without_their_bank_are_no_reason_to_stop(evalkit, tmp_path):
    lay_out(tmp_path, judged())
    (tmp_path / "questions" / "mine.jsonl").unlink()
    assert evalkit("report").out.startswith("sample: ")


def test_own_reviews_come_before_the_sample(evalkit, tmp_path):
    lay_out(tmp_path, judged())
    assert "mine" in evalkit("report", "--baseline", "a").out
    lay_out(tmp_path, judged(), bank="other")
    ran = evalkit("report", "--baseline", "a")
    assert (ran.code, ran.lines) == (2, ["which bank? Give --bank, one of: mine, other"])


def test_another_folder_by_c(evalkit, tmp_path):
    lay_out(tmp_path / "there", judged())
    assert evalkit("report", "-C", "there", "--baseline", "a").code == 0
    assert (tmp_path / "there" / "reports" / "mine.html").exists()
    assert not (tmp_path / "reports").exists()


def test_an_interrupt_leaves_with_130(tmp_path):
    code = (
        "import evalkit.workspace as w\n"
        "def stop(*a): raise KeyboardInterrupt\n"
        "w.Workspace.questions = stop\n"
        "from evalkit.cli import main; import sys; sys.argv = ['evalkit', 'report']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.strip()) == (130, "evalkit: interrupted")


def test_a_bug_keeps_its_traceback(tmp_path):
    lay_out(tmp_path, judged())
    (tmp_path / "reports").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "jinja2.py").write_text("raise RuntimeError('a bug')")
    path = f"{broken}{os.pathsep}{os.environ['PYTHONPATH']}"
    ran = spawn("report", "--baseline", "a", cwd=tmp_path, env={"PYTHONPATH": path})
    assert ran.code == 1
    assert "Traceback" in ran.err and "RuntimeError: a bug" in ran.err


def test_debug_shows_where_a_users_mistake_was_found(tmp_path):
    ran = spawn("report", "--bank", "nope", "--debug", cwd=tmp_path)
    assert "Traceback" in ran.err
    assert "Traceback" not in spawn("report", "--bank", "nope", cwd=tmp_path).err


PLAIN = {
    "judge", "prompt", "model", "models", "a", "b", "bank", "category", "questions", "items",
    "judges", "answers", "reviews", "served", "empty", "unreadable", "calls", "canary", "alarm",
    "sum_a", "sum_b", "wins_a", "wins_b", "ties", "rank", "se", "low", "high", "evalkit",
    "other_judge", "other_prompt", "copied_from", "longer_won", "panel", "win_rate",
    "training_data", "training_data_size", "training_cost", "context_length", "licence",
    "flips_to_first", "flips_to_second", "questions_both_orders", "reviews_a_first", "win_rate_b",
}  # fmt: skip
"""Names that say all; ends of intervals and standard errors are explained with their value."""


def test_every_value_of_the_json_file_is_explained():
    from evalkit.report import schema

    rows = [each for each in vars(schema).values() if isinstance(each, type)]
    rows = [each for each in rows if issubclass(each, schema.BaseModel) and each.model_fields]
    assert len(rows) > 15
    for row in rows:
        assert row.__doc__, row
        for name, field in row.model_fields.items():
            ends = name.endswith(("_low", "_high", "_se", "_stratified"))
            listed = "list[" in str(field.annotation) and row is schema.Results
            assert field.description or ends or listed or name in PLAIN, f"{row.__name__}.{name}"
