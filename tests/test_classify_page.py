"""The page of texts that were labelled: its errors are all there, and nothing in them runs."""

import json
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from chat_server import Behaviour, last_said, serving
from conftest import ROOT, read_lines, spawn, write_lines
from every_part import every_label
from hostile import BEACON, TEXTS
from test_classify import bank_of, both, model, run

from evalkit.report import labels
from evalkit.report.page import page

HTML, NUMBERS = Path("reports/mine.labels.html"), Path("reports/mine.labels.json")


def written(name="mine"):
    """The page and its numbers."""
    file = Path(f"reports/{name}.labels.html")
    return file.read_text("utf-8"), json.loads(file.with_suffix(".json").read_text("utf-8"))


@pytest.fixture
def evalkit(evalkit):
    """Run a command line in a thread of its own: the browser's loop runs in this one."""

    def command(*args):
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(evalkit, *args).result()

    return command


@pytest.fixture
def mine(tmp_path):
    def put(n=20, **more):
        write_lines(tmp_path / "questions" / "mine.jsonl", bank_of(n, **more))
        return tmp_path

    return put


def listed(tab):
    """Each text of the list of errors, by its number, and its marks."""
    return [
        (int(re.search(r"\d+", line.locator("span[dir]").inner_text())[0]), marks.inner_text())
        for line in tab.locator(".errors summary").all()
        for marks in [line.locator(".dots")]
    ]


def opened(tab):
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    return tab


# -- what is on it


def test_the_errors_are_the_wrong_texts_and_no_others_in_the_stated_order(evalkit, mine, show):
    mine()
    ran = both(evalkit, model(wrong={2, 9, 11}), model(wrong={1, 2, 15}, unreadable={5, 11}))
    assert "wrote reports/mine.labels.html, reports/mine.labels.json" in ran.lines
    html, found = written()
    tab = show(html)
    some, nobody = [(1, "✓✗"), (5, "✓?"), (9, "✗✓"), (15, "✓✗")], [(2, "✗✗"), (11, "✗?")]
    assert listed(tab) == [*some, *nobody]
    assert found["labelled"]["wrong"] == 6
    assert "All 6 texts on which a model is wrong" in tab.inner_text("#labels")
    marks = tab.locator(".errors .dots").nth(1)
    assert marks.get_attribute("aria-label") == "gpt, zero-shot: right; open, zero-shot: unreadable"
    assert "truth: about cars" in opened(tab).locator(".errors details").nth(2).inner_text()
    text = tab.locator(".errors details").nth(1)
    assert text.locator(".asked").inner_text() == "text number 5 of the bank"
    assert "truth: about cars" in text.inner_text()
    assert text.locator("h4").all_inner_texts() == [
        "gpt, zero-shot\n✓ about cars",
        "open, zero-shot\n? no label found",
    ]
    assert text.locator(".rendered").all_inner_texts() == [
        "Label: about cars",
        "I could not say.",
    ]


def test_the_verdict_is_the_sentence_of_the_terminal_and_nothing_is_said_of_judges(
    evalkit, mine, show
):
    mine(100)
    ran = both(evalkit, model(), model(wrong=range(12)), "--margin", 5)
    tab = show(written()[0])
    (said,) = tab.locator(".verdict").all_inner_texts()
    assert said.replace("\u00a0", " ") == f"{ran.out.splitlines()[-1]}."
    parts = [each.get_attribute("id") for each in tab.locator("section").all()]
    assert parts == ["verdict", "labels", "method"]
    assert tab.locator(".missing").count() == 0
    assert "100 texts" in tab.inner_text(".strip")
    assert "judge" not in tab.inner_text("body").lower()


def test_at_most_so_many_errors_are_listed_and_the_page_says_so(show, monkeypatch):
    found = every_label()
    wrong = listed(show(page(found)))
    assert len(wrong) == found.results.labelled.wrong > 10
    monkeypatch.setattr(labels, "MOST_READ", 3)
    tab = show(page(found))
    assert listed(tab) == wrong[:3]
    assert f"3 texts of the {len(wrong)} on which a model is wrong" in tab.inner_text("#labels")


def test_no_error_at_all_and_one_model_alone(evalkit, mine, show):
    mine()
    with serving(Behaviour(text=model())) as server:
        run(evalkit, {"gpt": server})
    tab = show(written()[0])
    assert "There are none." in tab.inner_text("#labels")
    (said,) = tab.locator(".verdict").all_inner_texts()
    assert said.startswith("gpt, zero-shot: right on 100.0% [")


def test_what_the_page_says_where_nobody_labelled_or_not_all(evalkit, tmp_path, show):
    bare = [{k: v for k, v in row.items() if k != "label"} for row in bank_of(10)]
    write_lines(tmp_path / "questions" / "mine.jsonl", bare)
    names = ("--labels", "about cars,not about cars")
    both(evalkit, model(wrong={0}), model(wrong={3, 4}), *names)
    tab = show(written()[0])
    assert tab.locator(".caveats li").all_inner_texts() == [
        "No text has a label: what gpt says stands in for the truth."
    ]
    assert listed(tab) == [(0, "✗"), (3, "✗"), (4, "✗")]
    rows = opened(tab).get_by_label("Table of texts to label by hand first").locator("tbody th")
    assert {re.search(r"\d+", row)[0] for row in rows.all_inner_texts()[:3]} == {"0", "3", "4"}
    some = [*bare[:4], *bank_of(10)[4:]]
    write_lines(tmp_path / "questions" / "mine.jsonl", some)
    both(evalkit, model(wrong={0}), model(wrong={3, 4}), *names)
    tab = show(written()[0])
    assert listed(tab) == [(4, "✓✗")]
    said = tab.locator(".missing li").all_inner_texts()
    assert said == ["4 of 10 texts have no label: they are in no score."]


def test_what_is_owed_and_cut_is_said_for_each_model_and_prompt():
    told = every_label().results.missing
    assert "模型乙, 直问: 1 of 44 answers are owed." in told
    assert all(re.match("模型., (直问|推理): |8 of 44 texts", each) for each in told), told


def test_the_chart_needs_two_prices(show):
    found = every_label()
    tab = show(page(found))
    spoken = tab.locator("svg.chart").get_attribute("aria-label")
    priced = [r for r in found.results.labelled.scores if r.dollars_per_thousand is not None]
    assert len(priced) == 5
    for row in priced:
        price = f"${row.dollars_per_thousand:.2f}"
        assert f"{row.model}, {row.prompt} {100 * row.accuracy:.1f}% [" in spoken
        assert price in spoken
    drawn = tab.locator("svg.chart text").all_text_contents()
    assert {f"{row.model}, {row.prompt}" for row in priced} <= set(drawn)
    told = found.results.labelled
    none = [r.model_copy(update={"dollars_per_thousand": None}) for r in told.scores]
    for scores, charts in ((none, 0), ([*none[:-1], told.scores[-1]], 0), (told.scores, 1)):
        fewer = told.model_copy(update={"scores": scores})
        results = found.results.model_copy(update={"labelled": fewer})
        tab = show(page(type(found)(results, found.questions, labelled=found.labelled)))
        assert tab.locator("svg.chart").count() == charts


# -- what is written


def test_the_page_of_the_reviews_stays_and_the_command_makes_this_one_again(evalkit, mine):
    folder = mine()
    (folder / "reports").mkdir()
    (folder / "reports" / "mine.html").write_text("of the reviews")
    with serving(Behaviour(text=model(wrong={3}))) as one, serving(Behaviour(text=model())) as two:
        run(evalkit, {"gpt": one, "open": two}, "--seed", 4, "--limit", 9, "--budget", 5, "--yes")
        before = written()
        command = re.search(r"<code>(evalkit classify .*?)</code>", before[0])[1]
        assert "--budget" not in command and "--yes" not in command
        calls = len(one.calls)
        HTML.unlink()
        assert evalkit(*shlex.split(unescape(command))[1:]).code == 0
        assert written() == before and len(one.calls) == calls
    assert (folder / "reports" / "mine.html").read_text() == "of the reviews"


def test_the_file_has_the_numbers_that_json_prints(evalkit, mine):
    mine()
    ran = both(evalkit, model(wrong={1}), model(unreadable={2}), "--json")
    printed, found = json.loads(ran.out), written()[1]["labelled"]
    for name in ("scores", "by_label", "between", "reasons", "to_label_first", "labels"):
        assert printed[name] == found[name]
    assert printed["files"][:2] == [str(HTML), str(NUMBERS)]
    assert printed["next"] == f"open {HTML}"
    assert found["confusion"][0]["texts"] == [[9, 1, 0], [0, 10, 0]]


def test_it_opens_the_page(mine, monkeypatch):
    folder = mine()
    monkeypatch.chdir(folder)

    def evalkit(*args):  # a process: which browser there is, is looked up once in each
        return spawn(*args, cwd=folder)

    (folder / "browser").write_text(f'#!/bin/sh\necho "$1" >> {folder}/seen\n')
    (folder / "browser").chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{folder}/browser %s")
    both(evalkit, model(), model(), "--open", "--dry-run")
    assert not (folder / "seen").exists()
    both(evalkit, model(), model(), "--open")
    assert (folder / "seen").read_text().split() == [f"{(folder / HTML).as_uri()}"]


# -- in a real browser


def test_the_cars_in_chinese_in_a_browser(evalkit, show):
    bank = {
        row["turns"][0]: row["label"][0] for row in read_lines(ROOT / "questions" / "cars-zh.jsonl")
    }
    names = sorted(set(bank.values()))

    def reply(every, odd):
        def said(body):
            text = re.findall(r"^文本：(.+)$", last_said(body), re.M)[-1]
            n = list(bank).index(text)
            label = names[names.index(bank[text]) ^ (n % every == 0)]
            last = "很难说。" if n % odd == 1 else f"标签：{label}"
            return f"线索：“{text[:4]}”等词。\n推理：**综合来看**，如此。\n{last}"

        return said

    with (
        serving(Behaviour(text=reply(10, 40))) as one,
        serving(Behaviour(text=reply(5, 25))) as two,
    ):
        servers = {"甲": one, "乙": two}
        more = ("--prompt", "zero-shot,carp", "--lang", "zh")
        ran = run(evalkit, servers, *more, bank="cars-zh")
    assert ran.code == 0, ran.err
    html, found = written("cars-zh")
    for width, scheme in ((1440, "light"), (390, "dark")):
        tab = opened(show(html, width, scheme))
        tab.wait_for_timeout(100)
        assert show.heard == []
        assert tab.get_attribute("html", "lang") == "zh"
        grave = [
            f"{each['id']}: {each['nodes'][0]['html'][:200]}"
            for each in Axe().run(tab).response["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert grave == []
        root = "document.documentElement"
        assert tab.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    assert tab.locator(".errors > details").count() == found["labelled"]["wrong"] > 20
    first = tab.locator(".errors > details").first
    assert first.locator("article").count() == 4
    assert first.locator(".rendered strong").first.inner_text() == "综合来看"


def test_nothing_in_a_text_or_a_reply_runs_or_loads(evalkit, tmp_path, show):
    bank = [
        {"id": f"t{n}", "category": "generic", "turns": [f"{text} ⟨{n}⟩"], "label": [label]}
        for n, text in enumerate(TEXTS.values())
        for label in [("<img src=x onerror=alert(1)>", "plain")[n % 2]]
    ]
    write_lines(tmp_path / "questions" / "mine.jsonl", bank)
    texts = list(TEXTS.values())

    def hostile(body):
        return texts[int(re.findall(r"⟨(\d+)⟩", last_said(body))[-1])]

    ran = both(evalkit, hostile, "Label: plain")
    assert ran.code == 0, ran.err
    html, _ = written()
    tab = opened(show(html))
    tab.locator(".errors details").last.scroll_into_view_if_needed()
    tab.wait_for_timeout(200)
    assert show.heard == []
    assert tab.evaluate("document.documentElement.dataset.ran") is None
    assert BEACON in tab.locator(".errors").inner_text()
    assert tab.locator(".errors > details").count() == len(TEXTS)
    allowed = {"script", "style", "img", "iframe", "object", "form", "input", "base", "meta"}
    assert tab.locator(", ".join(f"#labels {each}" for each in sorted(allowed))).count() == 0
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))


def test_a_reply_that_is_very_long_is_shown_as_it_is(evalkit, mine, show):
    mine(4)
    both(evalkit, model(), f"**bold** {'word ' * 5000}")
    tab = opened(show(written()[0]))
    assert tab.locator(".errors pre.words").count() == 4
    assert tab.locator(".errors pre.words").first.inner_text().startswith("**bold** word")
