"""The page in a real Chromium: nothing in it runs, and everybody can read it."""

import re
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
from conftest import ROOT, answer, question, review

from evalkit.cli.report import found_in
from evalkit.escape import visible
from evalkit.records import Answer, Question, Review
from evalkit.report import words
from evalkit.report.page import page
from evalkit.report.results import evidence
from evalkit.workspace import Workspace

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "{{ 7*7 }}",
    "esc\x1b[31m, override\u202e, no character\uffff",
    "中文模型",
)
PLAIN = tuple(f"model-{letter}" for letter in "abcdefg")
LONG = tuple(letter * 120 for letter in "ABCD")
HEBREW = "עברית"


def scores(n, place):
    """Some of every kind; the first question's reviews cannot be read."""
    return (8, (3 * n + place) % 10) if n else None


@cache
def made(models=PLAIN[:4], judges=("judge",), bank="bank", category="writing", sample=False):
    """Small own rows: the first model against the others, the last one by a detour."""
    categories = (*models[:3], category)
    asked = [
        Question.model_validate(question(f"q{n}", category=categories[n % 4])) for n in range(8)
    ]
    said = [Answer.model_validate(answer(q.id, model)) for q in asked for model in models[:-1]]
    pairs = [(models[0], other) for other in models[1:-1] or models[1:]]
    pairs += [(models[1], models[-1])] if len(models) > 2 else []
    judged = [
        Review.model_validate(review(q.id, shown, scores(n, place), judge=judge))
        for judge in judges
        for n, q in enumerate(asked)
        for place, shown in enumerate(pairs)
    ]
    return evidence(bank, asked, said, judged, models[0], sample=sample)


def measured(*args, **more):
    return made(*args, **more).results


@cache
def written(*args, **more):
    return page(made(*args, **more))


ALL_HOSTILE = (HOSTILE, HOSTILE[:2], HOSTILE[2], "x" * 5000)
ALL_LONG = (LONG, LONG[:1], LONG[1], LONG[2] * 40)


def nothing():
    return page(evidence("bank", [Question.model_validate(question())], [], []))


# -- nothing runs


@pytest.mark.parametrize(
    "make",
    [lambda: written(*ALL_HOSTILE), written, nothing],
    ids=["hostile", "plain", "nothing judged"],
)
def test_a_page_asks_for_nothing_runs_nothing_and_breaks_no_rule_of_its_own(show, make):
    tab = show(make())
    tab.wait_for_timeout(100)  # an onerror or a late request would come now
    assert show.heard == []


def sample():
    return found_in(Workspace(ROOT), "sample", "sample-thorough", None)


def test_the_page_of_the_sample_says_what_it_is_and_how_far_its_judge_can_be_trusted(show):
    tab = show(page(sample()))
    assert show.heard == []
    assert tab.locator(".badge").inner_text() == "sample data"
    assert tab.locator("#judge h2").inner_text() == "The judge"
    rows = tab.locator("#judge table").last.locator("tbody tr").all_inner_texts()
    assert len(rows) == 4 and all("0 of 2" in row and "as it must be" in row for row in rows)
    alarms = sample().results.alarms
    assert tab.locator("[role=alert] li").all_inner_texts() == alarms
    assert len(alarms) == 1 and alarms[0].startswith("sample-null: ")
    marked = tab.locator("#answers tr", has=tab.locator(".alarm"))
    assert [row.split()[0] for row in marked.all_inner_texts()] == ["sample-null"]


def test_an_alarm_stands_above_everything_and_is_text(show):
    alarm = "<b>led</b> obeyed an order in an answer in 2 of 2 tests: it can be led."
    tab = show(
        page(replace(sample(), results=sample().results.model_copy(update={"alarms": [alarm]})))
    )
    assert show.heard == []
    box = tab.locator("[role=alert]")
    assert box.inner_text().strip() == alarm
    assert box.bounding_box()["y"] < tab.locator("#verdict").bounding_box()["y"]


def shape(tab):
    """Each element with its attributes' names, and how often it stands outside of the charts."""
    script = """[...document.querySelectorAll("*")].map(
        each => [each.tagName, !each.closest(".chart"), ...each.getAttributeNames()])"""
    found = Counter(map(tuple, tab.evaluate(script)))
    return {each: outside and times for (each, times) in found.items() for outside in [each[1]]}


def test_hostile_names_make_no_element_and_no_attribute(show):
    plain = written(PLAIN, PLAIN[:2], PLAIN[2], "long")
    assert shape(show(written(*ALL_HOSTILE))) == shape(show(plain))


def test_hostile_names_are_shown_as_they_are_written(show):
    tab = show(written(*ALL_HOSTILE))
    names = tab.locator("#method tbody th").all_inner_texts()
    assert set(names) == set(map(visible, HOSTILE))
    assert "{{ 7*7 }}" in names
    assert tab.title() == f"{HOSTILE[2]}: evalkit"
    assert "esc␛[31m, override<202E>, no character<FFFF>" in tab.inner_text("#pairs")
    assert "alert(1)" not in tab.inner_html("head style")
    categories = tab.locator("#categories tbody th").all_text_contents()
    assert HOSTILE[0] in categories
    assert max(map(len, categories)) < 250
    assert any(text.endswith("(5,000 characters)") for text in categories)


PLANTED = """
<script>document.documentElement.dataset.ran = "script"</script>
<p id="planted" style="color: rgb(1, 2, 3)"></p><style>#planted { color: rgb(1, 2, 3) }</style>
<img src="data:," onerror="document.documentElement.dataset.handled = 'image'">
<iframe srcdoc="<script>parent.document.documentElement.dataset.framed = 'frame'</script>"></iframe>
"""


def what_ran(tab):
    tab.wait_for_timeout(100)
    color = tab.evaluate("getComputedStyle(document.getElementById('planted')).color")
    return {**tab.evaluate("({...document.documentElement.dataset})"), "color": color}


def test_the_policy_stops_what_is_planted_into_the_page(show):
    html = written().replace("</main>", f"{PLANTED}</main>")
    assert what_ran(show(html)) == {"color": "rgb(28, 33, 40)"}
    stopped = {line for line in show.heard if line.startswith("console: violation of ")}
    directives = ("script-src-elem", "script-src-attr", "style-src-attr", "style-src-elem")
    assert {f"console: violation of {each}" for each in directives} <= stopped

    unguarded = html.replace("Content-Security-Policy", "X-Nothing")
    assert what_ran(show(unguarded)) == {
        "ran": "script",
        "handled": "image",
        "framed": "frame",
        "color": "rgb(1, 2, 3)",
    }


def test_charset_and_policy_stand_before_everything_else(show):
    html = written(*ALL_HOSTILE)
    assert 0 < html.encode().index(b'<meta charset="utf-8">') < 200
    tab = show(html)
    metas = tab.evaluate("[...document.head.children].slice(0, 2).map(e => e.outerHTML)")
    assert metas[0] == '<meta charset="utf-8">'
    assert metas[1].startswith('<meta http-equiv="Content-Security-Policy" content="default-src ')
    assert tab.evaluate("document.characterSet") == "UTF-8"


def test_the_page_has_its_style_by_the_hash_in_its_policy(show):
    html = written()
    style = "getComputedStyle(document.querySelector('table')).borderCollapse"
    assert show(html).evaluate(style) == "collapse"
    assert show.heard == []
    assert show(html.replace("<style>", "<style> ")).evaluate(style) == "separate"


# -- everybody can read it

# What leaves the window on either side, apart from what lies in a region that can be scrolled.
OUTSIDE = """
[...document.querySelectorAll("body *")]
  .filter(each => !each.closest(".wide") && !each.closest("defs"))
  .filter(each => {
    const box = each.getBoundingClientRect();
    return box.width && (box.left < -1 || box.right > document.documentElement.clientWidth + 1);
  })
  .map(each => `${each.tagName}: ${each.textContent.slice(0, 60)}`)
"""


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("names", [(), ALL_LONG, ALL_HOSTILE], ids=["plain", "long", "hostile"])
def test_only_tables_scroll_sideways(show, width, names):
    tab = show(written(*names), width)
    assert tab.evaluate(OUTSIDE) == []
    root = "document.documentElement"
    assert tab.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")


def test_the_name_of_a_row_stays_in_sight_when_its_table_scrolls(show):
    tab = show(written(*ALL_LONG), 390)
    table = tab.locator("#pairs .wide")
    table.evaluate("region => { region.scrollLeft = 10000 }")
    assert table.evaluate("region => region.scrollLeft") > 100
    edges = "each => each.getBoundingClientRect().x"
    assert table.locator("tbody th").first.evaluate(edges) == table.evaluate(edges)
    last = table.locator("tbody td").nth(8).bounding_box()
    assert last["x"] > table.locator("tbody th").first.bounding_box()["width"]


def test_on_paper_no_table_is_cut_off(show):
    tab = show(written(), 700)  # A4 without its margins
    tab.emulate_media(media="print")
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    widths = "all => all.map(each => each.scrollWidth - each.clientWidth)"
    names = "all => all.map(each => each.getAttribute('aria-label'))"
    tables = tab.locator(".wide")
    cut = zip(tables.evaluate_all(names), tables.evaluate_all(widths), strict=True)
    assert [(name, width) for name, width in cut if width] == []


# The contrast of an element's text to what lies behind it, after WCAG 2.2.
CONTRAST = """
element => {
  const light = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map(
      part => part / 255 <= 0.04045 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") {
    behind = behind.parentElement;
  }
  const style = getComputedStyle(element);
  const ink = element instanceof SVGElement ? style.fill : style.color;
  const both = [light(ink), light(getComputedStyle(behind).backgroundColor)].sort();
  return (both[1] + 0.05) / (both[0] + 0.05);
}
"""
TEXTS = (
    "body",
    ".verdict",
    ".quiet",
    ".strip span",
    ".badge",
    ".missing li",
    ".caveats li",
    "h2",
    "thead th",
    "tbody th",
    "figcaption",
    ".chart text",
    ".counts .win",
    ".counts .tie",
    ".counts .loss",
    "code",
    "dd",
    "footer p",
)


@pytest.mark.parametrize(
    ("medium", "scheme", "paper"),
    [
        ("screen", "light", "rgb(255, 255, 255)"),
        ("screen", "dark", "rgb(20, 24, 29)"),
        ("print", "dark", "rgb(255, 255, 255)"),
    ],
)
def test_text_stands_out_from_its_paper(show, medium, scheme, paper):
    tab = show(written(sample=True), scheme=scheme)
    tab.emulate_media(media=medium, color_scheme=scheme)
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    contrasts = {each: tab.locator(each).first.evaluate(CONTRAST) for each in TEXTS}
    assert {each: ratio for each, ratio in contrasts.items() if ratio < 4.5} == {}


def test_the_page_says_the_numbers_of_the_results(show):
    found = measured()
    tab = show(written())
    said = [text.replace("\u00a0", " ") for text in tab.locator(".verdict").all_inner_texts()]
    assert said == words.verdicts(found)

    pair = found.pairs[0]
    assert pair.ratio_low is not None and pair.win_rate_b is not None
    row = tab.locator("#pairs tbody tr").first
    assert row.locator("th").inner_text() == f"{pair.b} against {pair.a}"
    said = row.locator("td").all_inner_texts()
    assert said[0].split() == [f"▲{pair.wins_b}", f"●{pair.ties}", f"▼{pair.wins_a}"]
    assert said[1] == str(pair.questions)
    assert said[3] == f"{100 * pair.ratio_b_to_a:.1f}"
    assert said[4] == f"[{100 * pair.ratio_low:.1f}, {100 * pair.ratio_high:.1f}]"
    assert said[6] == f"{100 * pair.win_rate_b:.1f}"

    drawn = " ".join(tab.locator(".chart text").all_text_contents())
    spoken = " ".join(each.get_attribute("aria-label") for each in tab.get_by_role("img").all())
    for score in found.relative_score[1:]:
        value = f"[{score.low:.1f}, {score.high:.1f}]"
        assert value in drawn.replace("  ", " ") and f"{score.model} {score.percent:.1f}" in spoken
        assert value in spoken
    assert f"{pair.b} {100 * pair.win_rate_b:.1f}%" in spoken
    assert f"{found.models[-1]} never met it" in spoken


def test_charts_tables_and_regions_have_names_of_their_own(show):
    tab = show(written(judges=("one", "two")))
    charts = [each.get_attribute("aria-label") for each in tab.locator("svg.chart[role=img]").all()]
    assert len(charts) == len(set(charts)) == tab.locator("svg[role=img]").count() == 4

    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    tables = tab.locator("table").all()
    regions = [each.get_attribute("aria-label") for each in tab.locator("[role=region]").all()]
    assert len(regions) == len(set(regions)) == len(tables) > 4
    for table in tables:
        heads = table.locator("thead th")
        assert heads.count() == table.locator("thead th[scope=col]").count()
        rows = table.locator("tbody tr")
        assert table.locator("tbody tr > th[scope=row]:first-child").count() == rows.count() > 0
        assert table.locator("tbody tr > *").count() == heads.count() * rows.count()

    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))
    assert tab.locator("h1").count() == 1
    assert tab.get_attribute("html", "lang") == "en"


def test_the_page_reads_the_same_without_javascript(show):
    html = written(*ALL_HOSTILE)
    said, listed = [], []
    for javascript in (False, True):
        tab = show(html, javascript=javascript)
        listed.append(tab.locator(".questions a > span[dir]").all_text_contents())
        parts = tab.locator("body > header, section:not(#explorer), footer").all()
        text = "\n".join(part.inner_text() for part in parts if part.is_visible())
        said.append(re.sub("\nCopy(?=\n)| Copy$", "", text, flags=re.MULTILINE))  # needs the script
    without = said[0].replace("\u00a0", " ")
    assert listed[0] == listed[1] == [f"What is q{n}?" for n in range(8)]
    assert without.split() == said[1].replace("\u00a0", " ").split()
    assert all(visible(each) in without for each in words.verdicts(measured(*ALL_HOSTILE)))
    assert all(visible(sentence) in without for sentence in measured(*ALL_HOSTILE).missing)


# The words of an element from left to right and from top to bottom, as they are seen.
SEEN = """
element => {
  const found = [];
  const walk = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    for (const word of walk.currentNode.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(walk.currentNode, word.index);
      range.setEnd(walk.currentNode, word.index + word[0].length);
      const box = range.getBoundingClientRect();
      found.push({ word: word[0], left: box.left, line: Math.round(box.bottom / 8) });
    }
  }
  found.sort((one, two) => one.line - two.line || one.left - two.left);
  return found.map(each => each.word);
}
"""


def test_a_name_from_right_to_left_leaves_the_numbers_in_their_order(show):
    tab = show(written(("base", "other", HEBREW, "far")))
    assert HEBREW in tab.inner_text(".others")
    for element in tab.locator(".verdict, .others li, #pairs tbody th, summary").all():
        latin = [word for word in element.inner_text().split() if word.isascii()]
        assert [word for word in element.evaluate(SEEN) if word.isascii()] == latin


# -- without a mouse

FOCUSED = """
() => {
  const all = [...document.querySelectorAll(".wide, summary, a, button, select, input")];
  return all.indexOf(document.activeElement);
}
"""


def test_tab_reaches_every_table_and_everything_that_can_be_pressed(show):
    tab = show(written())
    expected = tab.evaluate(
        "[...document.querySelectorAll('.wide, summary, a, button, select, input')]"
        ".flatMap((each, place) => each.checkVisibility() ? [place] : [])"
    )
    reached = []
    for _ in range(len(expected)):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate(FOCUSED))
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert tab.evaluate(outline) == "solid"
    assert reached == expected


def test_enter_opens_what_is_folded_and_arrows_scroll_a_table(show):
    tab = show(written(), 390)
    folded = tab.locator("details:not([open])").first.element_handle()
    folded.query_selector("summary").focus()
    tab.keyboard.press("Enter")
    assert folded.evaluate("each => each.open")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "wide"
    tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(300)  # it scrolls smoothly
    assert tab.evaluate("document.activeElement.scrollLeft") > 0
