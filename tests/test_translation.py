"""The page in Chinese: nothing of its own stays English, and nothing else changes."""

import ast
import json
import re
from dataclasses import replace

import jinja2
import pytest
from conftest import ROOT, question, review
from every_part import every_label, every_part
from jinja2.ext import extract_from_ast

from evalkit.cli.report import report
from evalkit.records import Question, Review
from evalkit.report import words
from evalkit.report.changes import changes, told
from evalkit.report.page import page
from evalkit.report.results import evidence
from evalkit.report.sections import SECTIONS
from evalkit.report.translation import LANGUAGES, translation
from evalkit.said import Said, counted, joined

TEMPLATES = ROOT / "evalkit" / "report" / "templates"
MAKERS = {"Said": slice(0, 1), "counted": slice(1, 3), "joined": slice(0, 1)}  # their templates
HOLES = re.compile(r"\{[^}]*\}")
# What is the same in both languages: names of people, of measures, of fields, of evalkit itself.
NAMES = {
    *("Bradley", "Terry", "Waudby", "Smith", "Ramdas", "Student", "Wilson", "Krippendorff"),
    *("kappa", "Kappa", "AC", "delta", "JSON", "max", "tokens", "finish", "reason", "length"),
    *("Cohen", "Tango", "BCa", "classify"),
    *("PPI", "Angelopoulos", "Duchi", "Zrnic"),
    *("evalkit", "report", "vote", "bank", "baseline", "lang", "zh"),
}


def of_python():
    """The English templates that Python code says, by file."""
    for file in sorted((ROOT / "evalkit").rglob("*.py")):
        if file.name == "said.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for text in node.args[MAKERS.get(node.func.id, slice(0))]:
                    assert isinstance(text, ast.Constant), f"{file}:{node.lineno}: say it literally"
                    yield text.value


def of_templates():
    for file in sorted((ROOT / "evalkit").rglob("*.j2")):
        tree = jinja2.Environment().parse(file.read_text("utf-8"))
        for _, _, text in extract_from_ast(tree, ("_", "counted")):
            yield from filter(None, [text] if isinstance(text, str) else text)


def of_script():
    script = (TEMPLATES / "page.js").read_text("utf-8")
    calls = re.findall(r'\bsay\((.)((?:[^"\\]|\\.)*)', script)
    assert {opened for opened, _ in calls} == {'"'}, "the script says it literally"
    return [text for _, text in calls]


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != "en"])
def test_every_text_is_translated_and_nothing_that_is_none(language):
    found = translation(language)
    assert set(found.page) == {*of_python(), *of_templates()}
    assert set(found.script) == set(of_script())
    for english, other in [*found.page.items(), *found.script.items()]:
        assert sorted(HOLES.findall(other)) == sorted(HOLES.findall(english)), english
        assert other.strip(), english


def test_the_languages_of_the_command_are_those_of_the_page():
    (option,) = [each for each in report.params if each.name == "lang"]
    assert tuple(option.type.choices) == LANGUAGES
    files = (ROOT / "evalkit" / "report" / "translations").glob("*.yaml")
    assert {"en", *(each.stem for each in files)} == set(LANGUAGES)


# -- a text that can be said again


def test_a_text_is_said_again_with_all_that_is_in_it():
    inner = counted(2, "{n} day", "{n} days")
    text = Said("{model} took {time}", model="{n} {model}", time=inner)
    assert text == "{n} {model} took 2 days"
    assert text.into({}) == text
    spoken = {"{model} took {time}": "{time}: {model}", "{n} days": "{n} 天"}
    assert text.into(spoken) == "2 天: {n} {model}"


def test_one_and_several_are_told_apart():
    assert [counted(n, "{n} day", "{n} days") for n in (0, 1, 2)] == ["0 days", "1 day", "2 days"]


def test_parts_are_joined_two_at_a_time():
    assert joined("{first} or {next}", ["a", "b", "c"]) == "a or b or c"
    assert joined("{first} or {next}", ["a"]) == "a"
    text = joined("{first} or {next}", ["a", Said("me"), "c"])
    assert text.into({"{first} or {next}": "{first}或{next}", "me": "我"}) == "a或我或c"


# -- the page


def english(text):
    return set(re.findall(r"\b[A-Za-z]{2,}\b", text, re.ASCII)) - NAMES


OWN = """
() => {
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    if (!walk.currentNode.parentElement.closest("script, style")) found.push(walk.currentNode.data);
  }
  for (const each of document.querySelectorAll("body *")) {
    for (const name of ["aria-label", "title", "placeholder", "data-copy"]) {
      if (each.hasAttribute(name)) found.push(each.getAttribute(name));
    }
  }
  return found.join("\\n");
}
"""


def test_nothing_of_the_chinese_page_is_english(show):
    before = every_part(judges=("裁判甲",))
    found = every_part()
    since = before.results.model_copy(update={"models": ["旧模型"], "evalkit": "0.0.1"})
    later = {"changes": changes(found.results, since), "changed": told(found.results, since)}
    found = replace(found, results=found.results.model_copy(update=later), language="zh")
    tab = show(page(found))
    tab.wait_for_selector("#explorer.ready .reading h3")
    assert tab.get_attribute("html", "lang") == "zh"
    seen = []
    for _ in found.questions:
        tab.keyboard.press("j")
        tab.keyboard.press("p")
        seen.append(tab.evaluate(OWN))
    assert tab.locator("section").count() == len(SECTIONS) - 2, "all but facts and labels"
    assert english("\n".join(seen)) == set()
    assert show.heard == []


def test_nothing_of_the_chinese_page_of_labels_is_english(show):
    tab = show(page(replace(every_label(), language="zh", command="evalkit classify --bank 题库")))
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert [each.get_attribute("id") for each in tab.locator("section").all()] == [
        "verdict",
        "labels",
        "method",
    ]
    assert english(tab.evaluate(OWN).replace('"label"', "")) == set()
    assert show.heard == []


def test_an_empty_page_is_chinese_too(show):
    found = evidence("题库", [Question.model_validate(question("题", category="类"))], [], [])
    tab = show(page(replace(found, language="zh")))
    assert english(tab.evaluate(OWN)) == set()
    assert "还没有任何回答" in tab.inner_text("body")


def test_why_there_is_no_leaderboard_is_said_in_chinese():
    asked = [Question.model_validate(question(f"q{n}")) for n in range(3)]
    shown = [("a", "b"), ("a", "c")]
    judged = [Review.model_validate(review(q.id, pair, (9, 1))) for q in asked for pair in shown]
    found = evidence("bank", asked, [], judged, "a")
    assert "won against none of the others" in found.results.unranked[0]
    assert "c 从未赢过其他模型" in page(replace(found, language="zh"))


@pytest.mark.parametrize("make", [every_part, every_label])
def test_the_numbers_are_those_of_the_english_page(show, make):
    found = make()
    numbers = {}
    for language in LANGUAGES:
        tab = show(page(replace(found, language=language)))
        cells = tab.locator("td.n, svg.chart text").all_text_contents()
        numbers[language] = [sorted(re.findall(r"[-+]?\d[.\d]*", cell)) for cell in cells]
    assert numbers["zh"] == numbers["en"]
    assert sum(map(len, numbers["en"])) > 100


def test_the_file_and_the_terminal_stay_english(evalkit, tmp_path):
    english_run = evalkit("report", "--json")
    chinese_run = evalkit("report", "--json", "--lang", "zh")
    assert chinese_run.code == 0
    assert json.loads(chinese_run.out) == json.loads(english_run.out)
    html = (tmp_path / "reports" / "sample.html").read_text("utf-8")
    assert '<html lang="zh">' in html
    assert "evalkit report --bank sample --baseline sample-thorough --lang zh</code>" in html


def test_a_language_that_is_none_is_refused(evalkit, tmp_path):
    ran = evalkit("report", "--lang", "fr")
    assert ran.code == 2
    assert "'en', 'zh'" in ran.err


def test_a_copied_verdict_says_where_it_comes_from(show):
    found = every_part()
    for language in LANGUAGES:
        tab = show(page(replace(found, language=language)))
        tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab.locator("#verdict .copy").click()
        tab.wait_for_timeout(100)
        copied = tab.evaluate("navigator.clipboard.readText()")
        spoken = translation(language).page
        *sentences, source = copied.splitlines()
        assert sentences == [each.into(spoken) for each in words.verdicts(found.results)]
        assert source == Said("{first}, {next}", first="题库", next="evalkit 0.1.0").into(spoken)
