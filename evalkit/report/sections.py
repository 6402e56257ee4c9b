"""The page's parts: each a function Evidence -> Section or None, in the order of SECTIONS.

A section decides what is said and which rows it takes; its template in templates/ decides how it
looks. A section that has nothing to say is None and leaves no heading behind.
"""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import log
from typing import Any, TypeVar

from evalkit.escape import visible
from evalkit.records import VOTE, Question
from evalkit.report import charts, people, words
from evalkit.report import labels as labels_told
from evalkit.report.caveats import ALARMS, CANARIES, caveats
from evalkit.report.evidence import Evidence, LabelledText
from evalkit.report.explorer import Explorer, address, embedded, first_line
from evalkit.report.schema import (
    Canaries,
    JudgeInCategory,
    Labelled,
    Pair,
    PairInCategory,
    Results,
    Strength,
)
from evalkit.said import Said, joined
from evalkit.stats.calibration import LABELS_A_PAIR, LABELS_POOLED

POINTS = 400 / log(10)  # of Elo, for one of log-odds: 400 points are ten wins to one
_OfJudging = TypeVar("_OfJudging", Canaries, JudgeInCategory, Strength)
MOST_MATRICES = 2  # tables of what was said of each truth; more of them begin folded
MOST_OPEN = 3  # tables of categories; more of them begin folded


@dataclass(frozen=True)
class Section:
    """One part of the page: `name` is its template and its anchor."""

    name: str
    title: str
    values: dict[str, Any] = field(default_factory=dict)


def verdict(evidence: Evidence) -> Section:
    """The sentence, the other models, and how far all of it can be trusted."""
    results = evidence.results
    found = results.labelled
    sentences = labels_told.verdicts(found) if found else words.verdicts(results)
    others = []
    for judge, prompt in results.judgings:
        first = words.headline(results, judge, prompt)
        rest = [score for score in results.scores(judge, prompt) if score is not first]
        others.append(
            (
                judge,
                [
                    (score, results.pair(score, results.baseline, score.model))
                    for score in rest
                    if score.model != results.baseline
                ],
            )
        )
    values = {
        "sentences": sentences,
        "cost": words.cost(results),
        "copied": joined("{first}\n{next}", [*sentences, words.source(results)]),
        "others": others,
        "caveats": caveats(results),
    }
    return Section("verdict", Said("The verdict"), values)


def labels(evidence: Evidence) -> Section | None:
    """How well texts were labelled, at which price, and the errors to be read side by side."""
    found = evidence.results.labelled
    if found is None:
        return None
    wrong = labels_told.errors(evidence.labelled)
    texts = {question.id: first_line(question.turns[0]) for question in evidence.questions}
    drawn = charts.prices(found, evidence.translation)
    values = {
        "found": found,
        "chart": drawn and charts.svg(drawn, _spoken_prices(found).into(evidence.translation)),
        "open": len(found.confusion) <= MOST_MATRICES,
        "told": [*labels_told.reasons(found), *labels_told.break_even(found)],
        "by_label": sorted(found.by_label, key=lambda row: found.labels.index(row.label)),
        "errors": [_Error.of(text) for text in wrong[: labels_told.MOST_READ]],
        "texts": texts,
    }
    return Section("labels", Said("How they label"), values)


@dataclass(frozen=True)
class _Error:
    """A text with an error, as the list names it and as it is read."""

    line: str
    text: LabelledText
    marks: list[str]
    """Of each reading: `won`, `lost` or `unreadable`, as page.css colours them."""
    said: list[Said]
    """The same in words."""

    @classmethod
    def of(cls, text: LabelledText) -> "_Error":
        marks = [
            "won" if each.right else "lost" if each.labels is not None else "unreadable"
            for each in text.readings
        ]
        said = [labels_told.mark(each) for each in text.readings]
        return cls(first_line(text.question.turns[0]), text, marks, said)

    @property
    def spoken(self) -> str:
        """All marks, for those who hear the page."""
        return joined("{first}; {next}", self.said)


def chart(evidence: Evidence) -> Section | None:
    """The percentages and, beside them, the win rates: the two can tell opposite stories."""
    results = evidence.results
    drawn = [
        {
            "judge": drawing.judge,
            "prompt": drawing.prompt,
            "relative": charts.svg(
                charts.relative_scores(drawing), drawing.say(_spoken_scores(drawing))
            )
            if drawing.graded
            else None,
            "wins": charts.svg(charts.win_rates(drawing), drawing.say(_spoken_win_rates(drawing))),
        }
        for drawing in charts.drawings(results, evidence.translation)
    ]
    title = Said("Win rates against {baseline}", baseline=results.baseline)
    if any(each["relative"] for each in drawn):
        title = Said("% of {baseline}, and win rates", baseline=results.baseline)
    return Section("chart", title, {"drawn": drawn}) if drawn else None


def pairs(evidence: Evidence) -> Section | None:
    """Win, tie, loss, totals and intervals of each pair."""
    results = evidence.results
    if not results.pairs:
        return None
    ordered = sorted(
        results.pairs, key=lambda pair: (pair.a != results.baseline, -(pair.ratio_b_to_a or 0))
    )
    values = {
        "pairs": ordered,
        "judges": _several(results),
        "undecided": words.undecided(results),
        "pooled": results.pooled,
    }
    return Section("pairs", Said("Pairs"), values)


def categories(evidence: Evidence) -> Section | None:
    """Each pair by category, where the gap is widest first; few tables with the baseline open."""
    results = evidence.results
    if not results.by_category:
        return None
    groups: dict[tuple[str, ...], list[PairInCategory]] = {}
    for row in results.by_category:
        groups.setdefault(row.pair, []).append(row)
    tables = [_by_gap(results, rows) for rows in groups.values()]
    tables.sort(key=lambda table: table.pair.a != results.baseline)
    with_baseline = sum(table.pair.a == results.baseline for table in tables)
    values = {"tables": tables, "open": with_baseline <= MOST_OPEN}
    return Section("categories", Said("By category"), values)


@dataclass(frozen=True)
class _ByGap:
    """A pair and its categories, the widest gap first."""

    pair: Pair
    rows: list[PairInCategory]
    sure: bool
    """Whether there is a gap at all: only then do shares of it mean something."""

    @property
    def shrunken(self) -> bool:
        """Whether the win rates could be drawn together."""
        return any(row.win_rate_b_shrunken is not None for row in self.rows)


def _by_gap(results: Results, rows: list[PairInCategory]) -> _ByGap:
    pair = results.pair(rows[0], rows[0].a, rows[0].b)
    assert pair is not None, "a category without its pair"
    low, high = pair.ratio_low, pair.ratio_high
    sure = low is not None and high is not None and not low <= 1 <= high
    ahead = 1 if pair.sum_a >= pair.sum_b else -1
    return _ByGap(pair, sorted(rows, key=lambda row: ahead * (row.sum_b - row.sum_a)), sure)


def leaderboard(evidence: Evidence) -> Section | None:
    """All models in one order, with how far each place is sure."""
    results = evidence.results
    if not results.leaderboard and not results.unranked:
        return None
    values = {
        "tables": _by_judging(results.leaderboard),
        "points": POINTS,
        "races": words.races(results),
    }
    return Section("leaderboard", Said("Leaderboard"), values)


def length(evidence: Evidence) -> Section | None:
    """The win rates at equal lengths, beside the plain ones."""
    results = evidence.results
    if not any(row.win_rate is not None for row in results.length_controlled):
        return None
    rows = [
        (row, results.pair(row, results.baseline, row.model)) for row in results.length_controlled
    ]
    return Section("length", Said("At equal lengths"), {"rows": rows, "judges": _several(results)})


def judge(evidence: Evidence) -> Section | None:
    """How far the judge itself can be trusted: its report card, people, its peers, canaries."""
    results = evidence.results
    if not results.judge_card:
        return None
    calibrated = sorted(results.calibration, key=lambda row: row.a != results.baseline)
    with_people = [
        (
            Said("people with each other") if row.prompt == VOTE else f"{row.judge}, {row.prompt}",
            row,
        )
        for row in sorted(results.with_people, key=lambda row: row.prompt == VOTE)
    ]
    values = {
        "with_people": with_people,
        "calibrated": calibrated,
        "judges": len({_key(row) for row in calibrated}) > 1,
        "worth": people.worth(results),
        "needed": LABELS_A_PAIR,
        "pooled": LABELS_POOLED,
        "tests": _by_judging(results.canaries),
        "asked": CANARIES,
        "alarms": ALARMS,
        "categories": _by_judging(results.judge_by_category),
    }
    return Section("judge", Said("The judge"), values)


def models(evidence: Evidence) -> Section | None:
    """What the models are, as far as the catalogue says: data, cost, licence, context, memory."""
    described = evidence.results.described
    columns = [name for name in words.FACTS if any(getattr(row, name) for row in described)]
    priced = any(row.price_input is not None for row in described)
    if not columns and not priced:
        return None
    values = {"columns": columns, "words": words.FACTS, "priced": priced}
    return Section("models", Said("What the models are"), values)


def changes(evidence: Evidence) -> Section | None:
    """What changed since an earlier run, where one was named."""
    if not evidence.results.changes and not evidence.results.changed:
        return None
    return Section("changes", Said("Since the earlier run"))


def explorer(evidence: Evidence) -> Section | None:
    """Every question with its answers and reviews, listed here, opened by the page's script."""
    if not evidence.answers and not evidence.reviews:
        return None
    rows = Explorer(evidence)
    lines = [_Line.of(rows, question) for question in evidence.questions]
    pair = words.headline_pair(evidence.results)
    data = {**rows.data(), "pair": pair and list(map(visible, pair))}
    values = {
        "lines": lines,
        "rows": embedded(data),
        "redacted": evidence.redacted,
        "signs": words.SIGNS,
        "left_out": evidence.left_out,
    }
    return Section("explorer", Said("Every question"), values)


@dataclass(frozen=True)
class _Line:
    """A question as the list names it."""

    address: str
    text: str
    category: str
    words: list[str]
    spoken: str

    @classmethod
    def of(cls, rows: Explorer, question: Question) -> "_Line":
        outcomes = [met.word for met in rows.met.get(question.id, ())]
        said = [
            Said("{outcome} {n}", outcome=words.OUTCOMES[word], n=outcomes.count(word))
            for word in dict.fromkeys(outcomes)
        ]
        return cls(
            address(q=question.id),
            rows.first_line(question),
            question.category,
            outcomes,
            joined("{first}, {next}", said) if said else Said("not judged"),
        )


def answers(evidence: Evidence) -> Section | None:
    """What can be seen of the answers without a judge."""
    results = evidence.results
    if not results.detectors:
        return None
    return Section("answers", Said("The answers"), {"limits": words.DETECTORS})


def method(evidence: Evidence) -> Section:
    """How it was done, and the command that makes this page again."""
    results = evidence.results
    command = evidence.command or f"evalkit report --bank {shlex.quote(results.bank)}"
    if results.baseline:
        command += f" --baseline {shlex.quote(results.baseline)}"
    if evidence.language != "en":
        command += f" --lang {evidence.language}"
    if evidence.redacted:
        command += " --redact"
    return Section("method", Said("How it was done"), {"command": command})


SECTIONS: tuple[Callable[[Evidence], Section | None], ...] = (
    verdict,
    changes,
    labels,
    chart,
    pairs,
    categories,
    leaderboard,
    length,
    judge,
    models,
    answers,
    explorer,
    method,
)


def _spoken_scores(drawing: charts.Drawing) -> Said:
    said = [
        f"{s.model} {s.percent:.1f}% {words.interval(s.low, s.high)}".rstrip()
        for s in drawing.scores
    ]
    return Said(
        "Total score in percent of {baseline}'s, judged by {judge} with {prompt}: {scores}.",
        baseline=drawing.baseline,
        judge=drawing.judge,
        prompt=drawing.prompt,
        scores=joined("{first}; {next}", said),
    )


def _spoken_win_rates(drawing: charts.Drawing) -> Said:
    said: list[str] = []
    for score in drawing.scores:
        pair = drawing.against_baseline(score)
        if pair and pair.win_rate_b is not None:
            interval = words.interval(pair.win_rate_b_low, pair.win_rate_b_high, 100)
            said.append(f"{score.model} {100 * pair.win_rate_b:.1f}% {interval}".rstrip())
        elif score.model != drawing.baseline:
            said.append(Said("{model} never met it", model=score.model))
    return Said(
        "Win rate against {baseline}, judged by {judge} with {prompt}: {rates}.",
        baseline=drawing.baseline,
        judge=drawing.judge,
        prompt=drawing.prompt,
        rates=joined("{first}; {next}", said),
    )


def _spoken_prices(found: Labelled) -> Said:
    said = [
        Said(
            "{who} {share}% {bounds} at {price}",
            who=f"{row.model}, {row.prompt}",
            share=words.percent(row.accuracy),
            bounds=words.interval(row.accuracy_low, row.accuracy_high, 100),
            price=words.per_thousand(row.dollars_per_thousand),
        )
        for row in found.priced
    ]
    return Said(
        "Texts labelled right, and the price of 1,000: {prices}.",
        prices=joined("{first}; {next}", said),
    )


def _several(results: Results) -> bool:
    return len({_key(pair) for pair in results.pairs}) > 1


def _by_judging(rows: Iterable[_OfJudging]) -> list[list[_OfJudging]]:
    """The rows of each judge with each prompt."""
    found: dict[tuple[str, str], list[_OfJudging]] = {}
    for row in rows:
        found.setdefault(_key(row), []).append(row)
    return list(found.values())


def _key(row: Any) -> tuple[str, str]:
    return row.judge, row.prompt
