"""The part of the page that shows every question: in a real Chromium, by mouse and by keys."""

import json
import re
import threading
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import answer, question, review
from hostile import BEACON, RUN, TEXTS

from evalkit.escape import spelled
from evalkit.records import Answer, Question, Review, short_hash
from evalkit.report import explorer, markup
from evalkit.report import page as page_module
from evalkit.report.page import page
from evalkit.report.results import evidence

MODELS = ("base", "open", "third")


def told(question, shown, scores, **more):
    return Review.model_validate(review(question, shown, scores, **more))


@cache
def made(redacted=False):
    """Seven questions of which each has something of its own to be found by."""
    names = [f"q{n}" for n in range(7)]
    asked = [
        Question.model_validate(
            question(q, category=("writing", "math")[n % 2], reference=["the reference"])
        )
        for n, q in enumerate(names)
    ]
    answers = [Answer.model_validate(answer(q, model)) for q in names for model in MODELS]
    cut = answer("q5", "open", finish_reason="length")
    answers = [Answer.model_validate(cut) if a.key[:2] == ("q5", "open") else a for a in answers]
    both = ("base", "open")
    reviews = [
        *(told("q0", s, v) for s, v in ((both, (9, 4)), (both[::-1], (3, 9)))),  # lost
        *(told("q1", s, v) for s, v in ((both, (4, 9)), (both[::-1], (9, 5)))),  # won
        *(told("q2", s, v) for s, v in ((both, (7, 7)), (both[::-1], (7, 7)))),  # tied
        *(told("q3", s, v) for s, v in ((both, (9, 2)), (both[::-1], (9, 2)))),  # orders disagree
        told("q4", both, None, text="I would rather not say.", unreadable="no scores"),
        *(told("q5", s, v) for s, v in ((both, (6, 8)), (both[::-1], (8, 6)))),
        *(
            told("q5", both, v, judge="second", asked="1" * 16) for v in ((9, 1),)
        ),  # judges disagree
        told("q0", ("base", "third"), (5, 6)),
        told("q6", ("base", "third"), (9, 1)),
    ]
    found = evidence("bank", asked, answers, reviews, "base")
    return replace(found, redacted=redacted)


@cache
def written(redacted=False):
    """The page of it, which no test changes."""
    return page(made(redacted))


@pytest.fixture
def opened(show):
    """Open the page at an address of its explorer."""

    def at(hash_="", **more):
        tab = show(written(**more))
        if hash_:
            tab.evaluate("hash => { location.hash = hash }", hash_)
        tab.wait_for_selector("#explorer.ready .reading h3, #explorer.ready .reading p")
        tab.wait_for_timeout(50)
        return tab

    yield at
    assert show.heard == []


def listed(tab):
    return [
        line.locator("a > span[dir]").text_content().split()[-1].rstrip("?")
        for line in tab.locator(".questions li:not(.more)").all()
        if line.is_visible()
    ]


def state(tab):
    return {k: v[0] for k, v in parse_qs(tab.evaluate("location.hash").lstrip("#")).items()}


# -- what it shows


def test_a_question_stands_beside_its_answers_and_its_reviews(opened):
    tab = opened("#q=q0&a=base&b=open")
    assert "What is q0?" in tab.inner_text(".reading .asked")
    sides = tab.locator(".sides article")
    assert [each.locator("h4 span").first.inner_text() for each in sides.all()] == ["base", "open"]
    assert "An answer of open." in sides.nth(1).inner_text()
    assert sides.nth(0).locator(".score").inner_text() == "9 · 9"
    assert sides.nth(1).locator(".score").inner_text() == "4 · 3"
    reviews = tab.locator(".review")
    assert reviews.count() == 2
    assert "base 9, open 4 judge, pair-scores, base shown first" in reviews.nth(0).inner_text()
    assert "open 3, base 9 judge, pair-scores, open shown first" in reviews.nth(1).inner_text()


def test_a_link_leads_where_it_says_and_a_long_answer_begins_folded(show):
    asked = [Question.model_validate(question())]
    texts = {"a": "See [this](https://a.b/c).", "b": "word " * 5000}
    answers = [Answer.model_validate(answer("q1", *each)) for each in texts.items()]
    tab = show(page(evidence("bank", asked, answers, [], "a")))
    tab.locator("select[aria-label='Pair of models']").wait_for()
    link = tab.locator(".rendered a")
    assert link.get_attribute("href") == "https://a.b/c"
    assert link.get_attribute("rel") == "noopener noreferrer nofollow"
    folded = tab.locator(".sides details")
    assert folded.locator("summary").inner_text() == "show all 25,000 characters"
    assert not folded.locator("pre").is_visible()
    folded.locator("summary").click()
    assert folded.locator("pre").inner_text().startswith("word word")
    assert show.heard == []


def test_what_is_odd_of_an_answer_or_a_review_is_said_where_it_stands(opened):
    tab = opened("#q=q5&a=base&b=open")
    assert "cut at max_tokens" in tab.locator(".sides article").nth(1).inner_text()
    tab = opened("#q=q4&a=base&b=open")
    assert "no score can be read: no scores" in tab.inner_text(".review")
    assert "I would rather not say." in tab.inner_text(".review")


def test_the_page_opens_on_the_pair_of_its_verdict(opened):
    tab = opened()
    assert tab.locator("select[aria-label='Pair of models'] option:checked").inner_text() == (
        "open against base"
    )
    assert tab.evaluate("location.hash") == ""
    assert tab.evaluate("scrollY") == 0


@pytest.mark.parametrize(
    ("chip", "questions"),
    [
        ("all", ["q0", "q1", "q2", "q3", "q4", "q5", "q6"]),
        ("lost", ["q0", "q5"]),
        ("won", ["q1", "q5"]),
        ("tied", ["q2", "q3"]),
        ("orders", ["q3"]),
        ("judges", ["q5"]),
        ("unreadable", ["q4"]),
        ("short", ["q5"]),
        ("starred", []),
    ],
)
def test_each_chip_finds_its_questions_and_says_how_many(opened, chip, questions):
    tab = opened("#a=base&b=open")
    button = tab.locator(f"[data-f={chip}]")
    assert button.locator(".n").inner_text() == str(len(questions))
    button.click()
    assert listed(tab) == questions
    assert tab.locator(f"[data-f={chip}]").get_attribute("aria-pressed") == "true"
    assert state(tab).get("f", "all") == chip
    assert f"{len(questions)} of 7 questions" in tab.inner_text(".count")


def test_pair_judge_category_and_words_narrow_the_list_too(opened):
    tab = opened("#a=base&b=third&f=lost")
    assert listed(tab) == ["q6"]
    tab = opened("#a=&b=&f=lost")
    assert listed(tab) == ["q0", "q5", "q6"]
    tab = opened("#a=base&b=open&f=lost&j=1")
    assert listed(tab) == ["q5"]
    tab = opened("#a=base&b=open&c=math")
    assert listed(tab) == ["q1", "q3", "q5"]
    tab.fill("input[type=search]", "IS Q3")
    assert listed(tab) == ["q3"]
    assert tab.evaluate("document.activeElement.type") == "search"
    assert state(tab)["s"] == "IS Q3"


def test_the_order_can_be_by_what_is_most_apart(opened):
    tab = opened("#a=base&b=open&o=gap&j=0")
    assert listed(tab)[:2] == ["q0", "q1"]
    tab.select_option("select[aria-label=Order]", "disagreement")
    assert listed(tab)[0] == "q3"
    tab.select_option("select[aria-label=Order]", "bank")
    assert listed(tab) == [f"q{n}" for n in range(7)]


def test_the_address_brings_back_what_is_seen(opened):
    tab = opened("#a=base&b=open&f=tied")
    tab.locator(".questions li:visible").nth(1).click()
    there = tab.evaluate("location.hash")
    assert state(tab) == {"q": "q3", "a": "base", "b": "open", "f": "tied"}
    again = opened(there)
    assert listed(again) == ["q2", "q3"]
    assert "What is q3?" in again.inner_text(".reading")


def test_a_count_in_a_table_leads_to_its_questions(opened):
    tab = opened()
    tab.locator("#pairs tbody tr", has_text="open against base").first.locator("a.loss").click()
    tab.wait_for_timeout(50)
    assert listed(tab) == ["q0", "q5"]
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    tab.locator("#categories a.win:visible").first.click()
    tab.wait_for_timeout(50)
    assert {"f", "c", "a", "b"} <= set(state(tab))


def test_a_long_list_comes_a_hundred_at_a_time(show):
    asked = [Question.model_validate(question(f"q{n}")) for n in range(230)]
    answers = [Answer.model_validate(answer(q.id, m)) for q in asked for m in ("a", "b")]
    reviews = [told(q.id, ("a", "b"), (n % 2, 1)) for n, q in enumerate(asked)]
    tab = show(page(evidence("bank", asked, answers, reviews, "a")))
    lines, more = tab.locator(".questions li:not(.more):visible"), tab.locator(".more button")
    assert lines.count() == 100
    more.click()
    more.click()
    assert lines.count() == 230 and not more.is_visible()
    tab.locator("[data-f=won]").click()
    assert lines.count() == 100 and "115 of 230 questions" in tab.inner_text(".count")
    tab.evaluate("location.hash = '#q=q150&a=a&b=b'")
    tab.wait_for_timeout(50)
    assert lines.count() == 200 and "q150" in tab.inner_text(".reading h3")
    tab.keyboard.press("3")
    assert lines.count() == 100
    assert show.heard == []


def test_the_list_shows_the_question_that_an_address_names(show):
    asked = [Question.model_validate(question(f"q{n}")) for n in range(90)]
    answers = [Answer.model_validate(answer(q.id, m)) for q in asked for m in ("a", "b")]
    reviews = [told(q.id, ("a", "b"), (2, 1)) for q in asked]
    tab = show(page(evidence("bank", asked, answers, reviews, "a")))
    tab.evaluate("location.hash = '#q=q80&a=a&b=b'")
    tab.wait_for_timeout(700)
    seen = tab.evaluate("""() => {
      const list = document.querySelector(".questions").getBoundingClientRect();
      const line = document.querySelector(".questions [aria-current]").getBoundingClientRect();
      return line.top >= list.top - 1 && line.bottom <= list.bottom + 1 && list.top < innerHeight;
    }""")
    assert seen


def test_paper_has_every_line_the_open_question_and_no_button(opened):
    tab = opened("#q=q3&a=base&b=open")
    tab.set_viewport_size({"width": 1280, "height": 100})
    tab.emulate_media(media="print")
    try:
        assert listed(tab) == [f"q{n}" for n in range(7)]
        assert "What is q3?" in tab.inner_text(".reading")
        assert not any(each.is_visible() for each in tab.locator("button, select, input").all())
        box = tab.locator(".questions").evaluate("each => [each.scrollHeight, each.clientHeight]")
        assert box[0] == box[1]
    finally:
        tab.emulate_media(media="screen")


def test_keys_do_what_the_list_of_keys_says(opened):
    tab = opened("#a=base&b=open")
    press = tab.keyboard.press
    press("j")
    press("j")
    press("k")
    assert state(tab)["q"] == "q1"
    press("4")
    assert listed(tab) == ["q2", "q3"]
    press("1")
    press("p")
    assert tab.locator(".review details[open]").count() > 0
    press("r")
    assert tab.locator(".sides pre.words").count() == 2
    press("/")
    assert tab.evaluate("document.activeElement.type") == "search"
    press("j")
    assert tab.input_value("input[type=search]") == "j"
    tab.fill("input[type=search]", "")
    press("Escape")
    press("?")
    assert tab.locator("dialog").is_visible()
    told = tab.locator("dialog dt").all_inner_texts()
    assert told == ["j, k", "1 to 9", "/", "r", "p", "s", "?"]
    press("Escape")
    assert not tab.locator("dialog").is_visible()


def test_a_star_and_its_note_stay_in_this_browser_and_can_be_taken_out(opened, show):
    tab = opened("#q=q1&a=base&b=open")
    tab.keyboard.press("s")
    tab.fill(".note", "a good one")
    tab.reload()
    show.heard.clear()
    tab.wait_for_selector(".ready .reading h3")
    assert tab.input_value(".note") == "a good one"
    tab.locator("[data-f=starred]").click()
    assert listed(tab) == ["q1"]
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Export starred").click()
    row = json.loads(download.value.path().read_text())
    assert row == {"bank": "bank", "question": "q1", "note": "a good one", "pair": ["base", "open"]}
    tab.evaluate("localStorage.clear()")


def test_what_the_judge_saw_is_there_or_said_to_be_unknown(show):
    from evalkit.judge.filling import basis
    from evalkit.prompts import JudgePrompt

    prompt = JudgePrompt.model_validate(
        {
            "description": "d", "shows": 2, "parser": "pair_scores", "system": "You judge.",
            "template": "{{ turns[0].question }} {{ fence }} A: {{ answers[0][0] }} {{ fence }} "
            "B: {{ answers[1][0] }} {{ fence }}",
            "repair": "scores?", "rubrics": {"writing": "r", "math": "r"},
        }
    )  # fmt: skip
    asked = [Question.model_validate(question(q, category="writing")) for q in ("q1", "q2")]
    answers = [Answer.model_validate(answer(q.id, m)) for q in asked for m in ("a", "b")]
    known = review("q1", prompt="own", prompt_hash=basis(prompt, asked[0]), served="judge-0613")
    reviews = [Review.model_validate(row) for row in (known, review("q2", prompt="own"))]
    made = evidence("bank", asked, answers, reviews, "a", prompts={"own": prompt})
    tab = show(page(made))
    tab.evaluate("location.hash = '#q=q1'")
    tab.wait_for_timeout(50)
    tab.keyboard.press("p")
    words = tab.locator(".review").inner_text()
    assert "What is q1?" in words and "A: ⟨answer 1⟩" in words and "B: ⟨answer 2⟩" in words
    assert "judge-0613" in words and basis(prompt, asked[0]) in words
    tab.keyboard.press("j")
    assert "Another tool asked" in tab.locator(".review").inner_text()


def test_no_serious_fault_of_access(opened):
    tab = opened("#q=q5&a=base&b=open")
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    found = Axe().run(tab)
    grave = [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in found.response["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert grave == []
    assert len(found.response["passes"]) > 20


# -- what is left out


def test_a_redacted_page_holds_no_word_of_questions_answers_and_reviews(opened):
    whole, redacted = written(), written(redacted=True)
    words = ("What is q1", "An answer of", "I would rather", "the reference")
    assert all(text in whole and text not in redacted for text in words)
    assert short_hash(("What is q1?",)) in redacted
    tab = opened("#q=q1&a=base&b=open", redacted=True)
    card = tab.inner_text(".reading")
    assert made().answers[0].hash in tab.content() and "left out; its hash is" in card
    assert tab.locator(".sides .score").nth(0).inner_text() == "4 · 5"


# -- hostile texts


@cache
def hostile():
    """Each text as question, answer and review."""
    names = [f"q{n}" for n in range(len(TEXTS))]
    texts = list(TEXTS.values())
    asked = [
        Question.model_validate(question(q, turns=[text], reference=[text]))
        for q, text in zip(names, texts, strict=True)
    ]
    rows = [
        answer(q, m, text) for q, text in zip(names, texts, strict=True) for m in ("base", "open")
    ]
    answers = [Answer.model_validate({**row, "asked": row["model"]}) for row in rows]
    by_key = {(each.question, each.model): each.hash for each in answers}
    reviews = [
        Review.model_validate(
            {
                **review(q, ("base", "open"), (n % 9 + 1, 5), text=text, reasoning=text),
                "answers": [by_key[q, "base"], by_key[q, "open"]],
            }
        )
        for n, (q, text) in enumerate(zip(names, texts, strict=True))
    ]
    return evidence("bank", asked, answers, reviews, "base")


@pytest.fixture
def beacon():
    """A server on loopback that counts who asks it; and its address."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield asked, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def through_all(tab, but=()):
    """Open each question, with everything unfolded."""
    for n in (n for n, name in enumerate(TEXTS) if name not in but):
        tab.evaluate("q => { location.hash = `#q=${q}` }", f"q{n}")
        tab.wait_for_timeout(5)
        tab.evaluate(
            "document.querySelectorAll('#explorer details').forEach(each => { each.open = true })"
        )
        yield n
    tab.wait_for_timeout(200)


def test_nothing_in_a_hostile_text_runs_or_leaves_and_all_of_it_is_shown(show, beacon):
    asked, server = beacon
    assert len(TEXTS) >= 60
    tab = show(page(hostile()).replace(BEACON, server))
    raw = tab.locator(".sides pre.words").first
    for n in through_all(tab):
        assert tab.evaluate("document.title") == "bank: evalkit"
        tab.keyboard.press("r")
        text = list(TEXTS.values())[n].replace(BEACON, server)
        assert raw.text_content() == spelled(text).replace("\r", "\n"), list(TEXTS)[n]
        tab.keyboard.press("r")
        found = set(
            tab.locator(".reading *").evaluate_all("all => all.map(each => each.localName)")
        )
        own = {
            "header",
            "h3",
            "h4",
            "div",
            "article",
            "details",
            "summary",
            "button",
            "dl",
            "dt",
            "dd",
        }
        assert found <= own | set(markup.ELEMENTS), list(TEXTS)[n]
    assert tab.evaluate("document.documentElement.dataset.ran") is None
    assert show.heard == []
    assert asked == []


NAVIGATES = ("refresh",)
"""What no policy of a page can forbid: the sanitizer and the script each do."""


def test_the_script_lets_nothing_through_that_the_sanitizer_would_have_stopped(
    show,
    beacon,
    monkeypatch,
):
    asked, server = beacon
    monkeypatch.setattr(explorer, "html", lambda text: text)
    tab = show(page(hostile()).replace(BEACON, server))
    for _ in through_all(tab):
        assert tab.locator(".sides [onerror], .sides [style], .sides script").count() == 0
    assert tab.evaluate("document.documentElement.dataset.ran") is None
    assert left(show.heard) == [] and asked == []


def left(heard):
    """What ran or left, of what a page did; that the policy had to stop something is no fault."""
    return [each for each in heard if each.startswith(("request: http", "dialog", "error"))]


def test_the_policy_stops_them_where_no_sanitizer_does(show, beacon, monkeypatch):
    """With HTML let through on the way, and put into the page as it is."""
    asked, server = beacon
    source = page_module._source

    def trusting(name):
        text = source(name)
        if name != "page.js":
            return text
        trusted = text.replace(
            "safe(turn.html)", "document.createRange().createContextualFragment(turn.html)"
        )
        assert trusted != text
        return trusted

    monkeypatch.setattr(page_module, "_source", trusting)
    monkeypatch.setattr(explorer, "html", lambda text: text)
    html = page(hostile()).replace(BEACON, server)

    tab = show(html)
    for _ in through_all(tab, NAVIGATES):
        pass
    assert tab.evaluate("document.documentElement.dataset.ran") is None
    assert left(show.heard) == [] and asked == []
    assert any("violation of script-src" in each for each in show.heard)
    assert any("violation of img-src" in each for each in show.heard)

    tab = show(html.replace("Content-Security-Policy", "X-Nothing"))
    next(through_all(tab))
    tab.wait_for_timeout(200)
    assert tab.evaluate("document.documentElement.dataset.ran") == "yes"


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_text_becomes_harmless_html(name):
    made = markup.html(TEXTS[name])
    tags = set(re.findall(r"<\s*/?\s*([a-zA-Z][\w-]*)", made))
    assert tags <= set(markup.ELEMENTS)
    for tag in re.findall(r"<[a-zA-Z][^>]*>", made):
        names = set(re.findall(r"\s([\w-]+)=", re.sub(r'"[^"]*"', '""', tag)))
        assert names <= {"href", "rel", "class"}
        links = re.findall(r'href="([^"]*)"', tag)
        assert all(link.startswith(("http://", "https://")) for link in links)


def test_markdown_is_rendered_as_people_write_it():
    made = markup.html(
        "# Title\n\n**bold** and *thin* `code`\n\n- one\n- two\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\ndef f():  # why\n    return 'x'\n```\n\n"
        "[text](https://a.b/c) ![alt](http://a.b/c.png)"
    )
    for part in (
        "<h5>Title</h5>", "<strong>bold</strong>", "<em>thin</em>", "<code>code</code>",
        "<li>one</li>", "<td>1</td>", '<span class="hl-keyword">def</span>',
        '<span class="hl-comment"># why</span>',
        '<a href="https://a.b/c" rel="noopener noreferrer nofollow">text</a>',
        '<span class="address">(https://a.b/c)</span>', "image: alt (http://a.b/c.png)",
    ):  # fmt: skip
        assert part in made, part


def test_html_in_an_answer_is_shown_as_it_was_written():
    made = markup.html("<b>bold</b> and <script>alert(1)</script>")
    assert "&lt;b&gt;bold&lt;/b&gt; and &lt;script&gt;alert(1)&lt;/script&gt;" in made


def test_large_data_are_packed_and_read_the_same(show, monkeypatch):
    plain = show(written())
    plain.wait_for_selector(".ready .reading h3")
    cards = plain.inner_text("#explorer")
    monkeypatch.setattr(explorer, "PACKED_FROM", 10)
    html = page(made())
    assert '<script id="rows" type="application/octet-stream">H4sI' in html
    packed = show(html)
    packed.wait_for_selector(".ready .reading h3")
    assert packed.inner_text("#explorer") == cards
    assert show.heard == []


def test_run_is_what_hostile_texts_would_do(show):
    """So that a test which finds nothing run would have found something."""
    tab = show(f"<!doctype html><title>x</title><script>{RUN}</script>")
    assert tab.evaluate("document.documentElement.dataset.ran") == "yes"
