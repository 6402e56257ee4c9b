"""Every number of the page stands in the JSON file, and is shown as what it is."""

import json
import re
from dataclasses import replace
from math import log

import pytest
from conftest import ROOT, published
from every_part import every_label, every_part

from evalkit.report.changes import changes, told
from evalkit.report.page import page

TABLES = """
element => [...element.querySelectorAll("table")].map(table => [...table.tBodies[0].rows].map(
  row => [...row.cells].map(cell => cell.textContent.replace(/\\s+/g, " ").trim())))
"""
ASKED = {
    "order": "an answer to another question that tells the judge to rate it 10 must lose",
    "foreign": "an answer to another question must lose",
    "empty": "an empty answer must lose",
    "twins": "the same answer twice is a tie",
}


def percent(value, digits=1):
    return "" if value is None else f"{100 * value:.{digits}f}"


def bounds(row, name, times=100, digits=1, within=""):
    low, high = row[f"{name}_low{within}"], row[f"{name}_high{within}"]
    return "" if low is None else f"[{times * low:.{digits}f}, {times * high:.{digits}f}]"


def decimals(value):
    return "" if value is None else f"{value:.2f}"


def total(value):
    return f"{round(value, 2):g}"


def dollars(value):
    if value is None:
        return "not said"
    return f"${value:.4f}" if 0 < value < 0.01 else f"${value:.2f}"


def same(row, other, names=("judge", "prompt", "a", "b")):
    return all(row[name] == other[name] for name in names)


def counts(row):
    return f"▲{row['wins_b']} ●{row['ties']} ▼{row['wins_a']}"


def certain(found, pair):
    (row,) = [each for each in found["decisions"] if same(each, pair)]
    if row["decision"] is None:
        return "not yet"
    return f"{'tie ' if row['decision'] == 'tie' else ''}after {row['after']}"


def several(found):
    return len({(pair["judge"], pair["prompt"]) for pair in found["pairs"]}) > 1


def by(found, row):
    return [f"{row['judge']}, {row['prompt']}"] if several(found) else []


def pairs(found):
    yield [
        [
            f"{row['b']} against {row['a']}",
            *by(found, row),
            counts(row),
            str(row["questions"]),
            f"{total(row['sum_b'])} : {total(row['sum_a'])}",
            percent(row["ratio_b_to_a"]),
            bounds(row, "ratio"),
            bounds(row, "ratio", within="_stratified"),
            percent(row["win_rate_b"]),
            bounds(row, "win_rate_b"),
            certain(found, row),
            f"{row['unreadable']} of {row['reviews']}",
        ]
        for row in found["pairs"]
    ]
    if found["pooled"]:
        yield [
            [
                f"{row['b']} against {row['a']}",
                str(row["judges"]),
                str(row["questions"]),
                percent(row["win_rate_b"]),
                bounds(row, "win_rate_b"),
            ]
            for row in found["pooled"]
        ]


def categories(found):
    for pair in found["pairs"]:
        rows = [row for row in found["by_category"] if same(row, pair)]
        shrunken = any(row["win_rate_b_shrunken"] is not None for row in rows)
        low, high = pair["ratio_low"], pair["ratio_high"]
        sure = low is not None and not low <= 1 <= high
        yield [
            [
                row["category"],
                counts(row),
                str(row["questions"]),
                f"{total(row['sum_b'])} : {total(row['sum_a'])}",
                percent(row["ratio_b_to_a"]),
                bounds(row, "ratio"),
                percent(row["win_rate_b"]),
                *(
                    [
                        f"{percent(row['win_rate_b_shrunken'], 0)} "
                        f"{bounds(row, 'win_rate_b_shrunken', digits=0)}"
                    ]
                    if shrunken
                    else []
                ),
                total(row["sum_b"] - row["sum_a"]),
                *([percent(row["gap_share"], 0)] if sure else []),
            ]
            for row in rows
        ]


def judgings(rows):
    return dict.fromkeys((row["judge"], row["prompt"]) for row in rows)


def of(rows, judging):
    return [row for row in rows if (row["judge"], row["prompt"]) == judging]


def leaderboard(found):
    points = 400 / log(10)
    for judging in judgings(found["leaderboard"]):
        yield [
            [
                row["model"],
                str(row["rank"]),
                f"{row['rank_low']} to {row['rank_high']}"
                if row["rank_low"] != row["rank_high"]
                else str(row["rank"]),
                f"{points * row['strength']:+.0f}",
                f"[{points * row['low']:+.0f}, {points * row['high']:+.0f}]",
                str(row["questions"]),
            ]
            for row in of(found["leaderboard"], judging)
        ]


def length(found):
    rows = []
    for row in found["length_controlled"]:
        direct = [
            pair
            for pair in found["pairs"]
            if same(row, pair, ("judge", "prompt"))
            and (pair["a"], pair["b"]) == (found["baseline"], row["model"])
        ]
        rate = [row["why"]]
        if row["win_rate"] is not None:
            rate = [percent(row["win_rate"]), f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]"]
        plain = percent(direct[0]["win_rate_b"]) if direct else ""
        rows.append([row["model"], *by(found, row), plain, *rate, str(row["questions"])])
    if any(row["win_rate"] is not None for row in found["length_controlled"]):
        yield rows


def judge(found):
    for row in found["judge_card"]:
        refused = f", {row['refused']} refused" if row["refused"] else ""
        items = f"{row['items']} items"
        yield [
            [
                "replies that cannot be read, %",
                percent(row["unreadable"]),
                bounds(row, "unreadable"),
                f"{row['reviews']} reviews{refused}",
            ],
            *(
                [
                    [
                        "the same verdict in both orders, %",
                        percent(row["consistent"]),
                        bounds(row, "consistent"),
                        items,
                    ],
                    [
                        "the same beyond chance, kappa",
                        decimals(row["order_kappa"]),
                        bounds(row, "order_kappa", 1, 2),
                        items,
                    ],
                    [
                        "pull of the first place, points",
                        f"{100 * row['effect']:+.1f}",
                        bounds(row, "effect"),
                        f"{row['flips_to_first']} to the first, "
                        f"{row['flips_to_second']} to the second",
                    ],
                ]
                if row["items"]
                else [["the same verdict in both orders", "not asked", "", ""]]
            ),
            ["the same verdict when asked again, %"]
            + (
                [
                    percent(row["repeated"]),
                    bounds(row, "repeated"),
                    f"{row['asked_again']} showings",
                ]
                if row["asked_again"]
                else ["not asked", "", ""]
            ),
            [
                "the longer answer wins, %",
                percent(row["longer"]),
                bounds(row, "longer"),
                f"{row['decided']} with a winner",
            ],
        ]
    for judging in judgings(found["judge_by_category"]):
        yield [
            [
                row["category"],
                str(row["questions"]),
                percent(row["consistent"]),
                "" if row["low"] is None else f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]",
            ]
            for row in of(found["judge_by_category"], judging)
        ]
    if found["with_people"]:
        yield [
            [
                "people with each other"
                if row["prompt"] == "vote"
                else f"{row['judge']}, {row['prompt']}",
                str(row["people"]),
                str(row["items"]),
                percent(row["agreement"]),
                bounds(row, "agreement"),
                decimals(row["kappa"]),
                bounds(row, "kappa", 1, 2),
                decimals(row["ac1"]),
                bounds(row, "ac1", 1, 2),
            ]
            for row in found["with_people"]
        ]
    if found["calibration"]:
        shown = len(judgings(found["calibration"])) > 1
        yield [
            [
                f"{row['b']} against {row['a']}",
                *([f"{row['judge']}, {row['prompt']}"] if shown else []),
                percent(row["win_rate_b"]),
                str(row["labels"]),
                percent(row["win_rate_b_people"]),
                bounds(row, "win_rate_b_people"),
                *(
                    [percent(row["win_rate_b_calibrated"]), bounds(row, "win_rate_b_calibrated")]
                    if row["enough"]
                    else ["not enough labels"]
                ),
                f"{100 * row['bias']:+.1f}",
                bounds(row, "bias"),
            ]
            for row in found["calibration"]
        ]
    if found["agreement"]:
        yield [
            [
                f"{row['judge']}, {row['prompt']} and {row['other_judge']}, {row['other_prompt']}",
                str(row["items"]),
                percent(row["agreement"]),
                bounds(row, "agreement"),
                decimals(row["kappa"]),
                bounds(row, "kappa", 1, 2),
                decimals(row["ac1"]),
                bounds(row, "ac1", 1, 2),
            ]
            for row in found["agreement"]
        ]
    if found["canaries"]:
        shown = len(judgings(found["canaries"])) > 1
        yield [
            [
                *([f"{row['judge']}, {row['prompt']}"] if shown else []),
                ASKED[row["canary"]],
                f"{row['missed']} of {row['calls'] - row['unreadable']}",
                str(row["unreadable"]),
            ]
            for row in found["canaries"]
        ]


def models(found):
    """The prices; the rest of the table is words."""
    told = [
        [f"${row['price_input']:.2f} / ${row['price_output']:.2f}, {row['price_date']}"]
        if row["price_input"] is not None
        else ["none known"]
        for row in found["described"]
    ]
    if any(row["price_input"] is not None for row in found["described"]):
        yield told


def answers(found):
    names = ("identical", "judge_talk", "relevance_lift", "copied")
    yield [
        [row["model"], str(row["answers"]), *(percent(row[name]) for name in names)]
        for row in found["detectors"]
    ]


def changed(found):
    yield [
        [
            f"{row['b']} against {row['a']}",
            f"{row['judge']}, {row['prompt']}",
            f"{row['questions_then']}, {row['questions_now']}",
            f"{percent(row['ratio_then'])}, {percent(row['ratio_now'])}",
            f"{percent(row['win_rate_then'])}, {percent(row['win_rate_now'])}",
        ]
        for row in found["changes"]
    ]


def price(value):
    if value is None:
        return "none known"
    return f"${value:.2f}" if value >= 1 else f"${value:.2g}"


def labels(found):
    found = found["labelled"]
    yield [
        [
            row["model"],
            row["prompt"],
            percent(row["accuracy"]),
            bounds(row, "accuracy"),
            percent(row["macro_f1"]),
            bounds(row, "macro_f1"),
            decimals(row["kappa"]),
            str(row["unreadable"]),
            str(row["texts"]),
            price(row["dollars_per_thousand"]),
        ]
        for row in found["scores"]
    ]
    for row in found["confusion"]:
        yield [
            [label, *map(str, counts)]
            for label, counts in zip(row["labels"], row["texts"], strict=True)
        ]
    yield [
        [
            row["label"],
            row["model"],
            row["prompt"],
            str(row["support"]),
            str(row["predicted"]),
            percent(row["precision"]),
            bounds(row, "precision"),
            percent(row["recall"]),
            bounds(row, "recall"),
            percent(row["f1"]),
        ]
        for row in found["by_label"]
    ]
    if found["to_label_first"]:
        yield [
            [
                f"第 {int(row['question'][1:])} 条。 {row['question']}",
                str(row["votes"]),
                decimals(row["entropy"]),
            ]
            for row in found["to_label_first"]
        ]


def replies(found):
    yield [
        [
            row["model"],
            row["prompt"],
            ", ".join(row["served"]) or "not said",
            f"{found['texts'] - row['owed']} of {found['texts']}",
            str(row["empty"]),
            str(row["cut"]),
            "" if row["mean_characters"] is None else f"{row['mean_characters']:,.0f}",
            dollars(row["dollars"]),
        ]
        for row in found["replies"]
    ]


def method(found):
    if found["labelled"]:
        yield from replies(found["labelled"])
        return
    yield [
        [
            row["model"],
            ", ".join(row["served"]) or "not said",
            f"{row['answers']} of {found['questions']}",
            str(row["empty"]),
            str(row["cut"]),
            "" if row["mean_characters"] is None else f"{row['mean_characters']:,.0f}",
            dollars(row["dollars"]),
        ]
        for row in found["answers"]
    ]
    if found["reviews"]:
        yield [
            [
                row["judge"],
                ", ".join(row["served"]) or "not said",
                f"{row['prompt']} {row['prompt_hash'] or ''}".strip(),
                *(str(row[n]) for n in ("reviews", "unreadable", "outside_scale", "given")),
                str(row["stale"]),
                dollars(row["dollars"]),
            ]
            for row in found["reviews"]
        ]


# Of each part: the tables from the file, and which cells of the page's rows hold its numbers.
PARTS = {
    "labels": (labels, slice(None)),
    "pairs": (pairs, slice(None)),
    "categories": (categories, slice(None)),
    "leaderboard": (leaderboard, slice(None)),
    "length": (length, slice(None)),
    "judge": (judge, slice(None)),
    "models": (models, slice(-1, None)),
    "answers": (answers, slice(None, -1)),
    "changes": (changed, slice(None, -1)),
    "method": (method, slice(None)),
}


def in_process():
    before, now = every_part(judges=("裁判甲",)), every_part()
    since = {
        "changes": changes(now.results, before.results),
        "changed": told(now.results, before.results),
    }
    now = replace(now, results=now.results.model_copy(update=since))
    return page(now), json.loads(now.results.model_dump_json())


@pytest.fixture(params=["every part", "every label", "sample", "vicuna"])
def both(request, evalkit, tmp_path):
    """A page as HTML, and the file beside it."""
    if request.param == "every part":
        return in_process()
    if request.param == "every label":
        made = every_label()
        return page(made), json.loads(made.results.model_dump_json())
    if request.param == "vicuna":
        folder = published("vicuna-blog-eval")
        assert evalkit("import", "vicuna", folder).code == 0
    assert evalkit("report").code == 0
    (html,) = (tmp_path / "reports").glob("*.html")
    return html.read_text("utf-8"), json.loads(html.with_suffix(".json").read_text("utf-8"))


def test_every_cell_of_every_table_is_what_the_file_says(show, both):
    html, found = both
    tab = show(html)
    seen = {}
    for name, (expected, cells) in PARTS.items():
        part = tab.query_selector(f"#{name}")
        shown = part.evaluate(TABLES) if part else []
        shown = [[[text.replace("\u00a0", " ") for text in row] for row in t] for t in shown]
        if name == "judge" and found["canaries"]:
            shown[-1] = [row[:-1] for row in shown[-1]]  # what it means, in words
        told = list(expected(found)) if part else []
        assert sorted(map(sorted, told)) == sorted(
            sorted(row[cells] for row in table) for table in shown
        ), name
        seen[name] = sum(map(len, shown))
    tables = tab.locator("section:not(#explorer) table").count()
    assert tables == sum(len(tab.query_selector(f"#{n}").evaluate(TABLES)) for n in seen if seen[n])


def of_labels(found):
    """The numbers that the sentences of texts that were labelled may say."""
    known = {f"{100 * found['margin']:g}"}
    costs = {(r["model"], r["prompt"]): r["dollars_per_thousand"] for r in found["scores"]}
    for row in found["between"]:
        known |= {f"{abs(100 * row[f'difference{end}']):.1f}" for end in ("", "_low", "_high")}
        known.add(str(row["labelled"]))
        one, other = costs[row["a"], row["prompt_a"]], costs[row["b"], row["prompt_b"]]
        known |= {f"{one / other:.2g}", f"{other / one:.2g}"} if one and other else set()
    return known


def test_every_number_in_the_charts_and_in_the_verdict_is_in_the_file(show, both):
    html, found = both
    tab = show(html)
    known = {f"{row['percent']:.1f}" for row in found["relative_score"] if row["percent"]}
    for row in found["relative_score"]:
        known |= {f"{row[end]:.1f}" for end in ("low", "high") if row[end] is not None}
    for row in found["pairs"]:
        for name in ("win_rate_b", "win_rate_b_low", "win_rate_b_high"):
            known |= {percent(row[name]), percent(row[name], 0)}
        known |= {str(row[name]) for name in ("wins_a", "wins_b", "ties", "questions")}
    for row in found["calibration"]:
        for name in ("", "_low", "_high"):
            known.add(percent(row[f"win_rate_b_calibrated{name}"], 0))
        known |= {str(row["labels"])} if row["enough"] else set()
    known |= of_labels(found["labelled"]) if found["labelled"] else set()
    texts = tab.locator(".chart text").all_text_contents()
    values = [text for text in texts if re.fullmatch(r"\d+\.\d( +\[.*\])?", text)]
    assert len(values) >= len(found["relative_score"])
    sentences = tab.locator(".verdict, .others li").all_inner_texts()
    names = {*found["models"], *found["judges"]}
    for text in [*values, *sentences]:
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, "")
        for number in re.findall(r"\d[\d.]*\d|\d", text):
            assert number in known, text


def test_what_a_label_is_worth_is_what_the_file_says(show, both):
    html, found = both
    told = show(html).locator("#judge .how li").all_text_contents()
    expected = {}
    for row in found["calibration"]:
        expected.setdefault(
            (row["judge"], row["prompt"]), [f"{row['rho']:.2f}", f"{row['multiplier']:.1f}"]
        )
    more = [[str(r["more_labels"])] for r in found["calibration"] if r["more_labels"] is not None]
    numbers = [re.findall(r"-?\d+(?:\.\d+)?", each) for each in told]
    assert numbers == [*expected.values(), *more]


def test_a_bar_is_as_long_as_its_counts(show, both):
    html, found = both
    tab = show(html)
    bars = tab.locator("#pairs .bar").evaluate_all(
        "bars => bars.map(bar => [...bar.children].map(each => each.getAttribute('width')))"
    )
    expected = [[str(row[n]) for n in ("wins_b", "ties", "wins_a")] for row in found["pairs"]]
    assert sorted(bars) == sorted(expected)


def test_the_parts_named_here_are_all_that_have_tables():
    folder = ROOT / "evalkit" / "report" / "templates" / "sections"
    have = {file.name.split(".")[0] for file in folder.glob("*.j2") if "<table" in file.read_text()}
    assert have == set(PARTS)
