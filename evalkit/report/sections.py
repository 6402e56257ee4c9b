"""The page's parts: each a function Results -> Section or None, in the order of SECTIONS.

A section decides what is said and which rows it takes; its template in templates/ decides how it
looks. A section that has nothing to say is None and leaves no heading behind.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evalkit.report import charts, words
from evalkit.report.results import PairInCategory, Results


@dataclass(frozen=True)
class Section:
    """One part of the page: `name` is its template and its anchor."""

    name: str
    title: str
    values: dict[str, Any] = field(default_factory=dict)


def verdict(results: Results) -> Section:
    """The sentence, and how far it can be trusted."""
    first = words.headline(results)
    others = [
        score
        for score in results.relative_score
        if score is not first and score.percent is not None and score.model != results.baseline
    ]
    values = {"sentence": words.verdict(results), "others": others, "caveats": _caveats(results)}
    return Section("verdict", "The verdict", values)


def chart(results: Results) -> Section | None:
    """The percentages and, beside them, the win rates: the two can tell opposite stories."""
    drawn = [
        {
            "judge": drawing.judge,
            "prompt": drawing.prompt,
            "relative": charts.svg(charts.relative_scores(drawing), _spoken_scores(drawing)),
            "wins": charts.svg(charts.win_rates(drawing), _spoken_win_rates(drawing)),
        }
        for drawing in charts.drawings(results)
    ]
    title = f"% of {results.baseline}, and how often it was beaten"
    return Section("chart", title, {"drawn": drawn}) if drawn else None


def pairs(results: Results) -> Section | None:
    """Win, tie, loss, totals and intervals of each pair."""
    if not results.pairs:
        return None
    ordered = sorted(results.pairs, key=lambda pair: pair.a != results.baseline)
    return Section("pairs", "Pairs", {"pairs": ordered, "judges": _several(results)})


def categories(results: Results) -> Section | None:
    """Each pair by category, where the gap is widest first; the baseline's pairs are open."""
    if not results.by_category:
        return None
    groups: dict[tuple[str, ...], list[PairInCategory]] = {}
    for row in results.by_category:
        groups.setdefault((*_key(row), row.a, row.b), []).append(row)
    tables = [
        (results.pair(rows[0], rows[0].a, rows[0].b), _widest_gap_first(rows))
        for rows in groups.values()
    ]
    tables.sort(key=lambda table: table[1][0].a != results.baseline)
    return Section("categories", "By category", {"tables": tables})


def method(results: Results) -> Section:
    """How it was done, and the command that makes this page again."""
    command = f"evalkit report --bank {shlex.quote(results.bank)}"
    if results.baseline:
        command += f" --baseline {shlex.quote(results.baseline)}"
    return Section("method", "How it was done", {"command": command})


SECTIONS: tuple[Callable[[Results], Section | None], ...] = (
    verdict,
    chart,
    pairs,
    categories,
    method,
)


def _caveats(results: Results) -> list[str]:
    told = []
    if results.sample:
        told.append(
            "This is a sample that came with evalkit, written by hand. It measures nothing."
        )
    one_order = [pair for pair in results.pairs if not pair.questions_both_orders]
    if one_order:
        always = [pair for pair in one_order if pair.reviews_a_first in (0, pair.reviews)]
        text = "Each pair was judged in one order only"
        if len(always) == len(results.pairs):
            text += ", the same for every question"
        told.append(f"{text}: what the place on the page did to the scores cannot be told apart.")
    if results.pairs:
        told.append("The judge's verdicts are not calibrated to people.")
    for row in results.reviews:
        if row.unreadable:
            share = f"{row.unreadable} of {row.reviews} reviews by {row.judge}"
            told.append(f"{share} could not be read and are in no rate.")
        if row.given:
            told.append(
                f"{row.given} of {row.reviews} reviews by {row.judge} were published with a score "
                "that differs from the one their text names; the published one is used."
            )
        if row.outside_scale:
            told.append(
                f"{row.outside_scale} of {row.reviews} reviews by {row.judge} hold a score of 0, "
                "below the scale of 1 to 10; it is counted as it stands."
            )
    return told


def _widest_gap_first(rows: list[PairInCategory]) -> list[PairInCategory]:
    return sorted(rows, key=lambda row: -(row.gap_share or 0))


def _spoken_scores(drawing: charts.Drawing) -> str:
    said = (
        f"{s.model} {s.percent:.1f}% {words.interval(s.low, s.high)}".rstrip()
        for s in drawing.scores
    )
    title = f"Total score in percent of {drawing.baseline}'s"
    return f"{title}, judged by {drawing.judge} with {drawing.prompt}: {'; '.join(said)}."


def _spoken_win_rates(drawing: charts.Drawing) -> str:
    said = []
    for score in drawing.scores:
        pair = drawing.against_baseline(score)
        if pair and pair.win_rate_b is not None:
            interval = words.interval(pair.win_rate_b_low, pair.win_rate_b_high, 100)
            said.append(f"{score.model} {100 * pair.win_rate_b:.1f}% {interval}".rstrip())
        elif score.model != drawing.baseline:
            said.append(f"{score.model} never met it")
    title = f"Win rate against {drawing.baseline}"
    return f"{title}, judged by {drawing.judge} with {drawing.prompt}: {'; '.join(said)}."


def _several(results: Results) -> bool:
    return len({_key(pair) for pair in results.pairs}) > 1


def _key(row: Any) -> tuple[str, str]:
    return row.judge, row.prompt
