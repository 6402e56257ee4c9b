"""One pair of models in the terminal: every number that is known of the two.

Nothing is computed here; a line whose number is not there is left out.
"""

from collections.abc import Iterator

from evalkit.columns import aligned
from evalkit.errors import count
from evalkit.report.schema import Difference, LengthControlled, Pair, Results
from evalkit.report.words import certainty, in_short, interval, not_separable, percent

HEAD = ("", "won / tied / lost", "n", "ratio %", "win rate %", "shrunken %", "95 %")


def comparison(results: Results, a: str, b: str) -> str:
    """Everything about b against a, by each judge; empty where they were never judged together."""
    told = [_of_pair(results, p) for p in results.pairs if {p.a, p.b} == {a, b}]
    return "\n\n".join([*told, *_pooled(results, a, b)]) if told else ""


def through(results: Results, a: str, b: str) -> str:
    """What the baseline tells of two models that only met it; empty where it tells nothing."""
    return "\n\n".join(_through(results, d) for d in results.differences if {d.a, d.b} == {a, b})


def _of_pair(results: Results, pair: Pair) -> str:
    title = f"{pair.b} against {pair.a}, judged by {pair.judge} with {pair.prompt}"
    lines = aligned(list(_numbers(results, pair)))
    said = [title, *(f"  {line}" for line in lines), *_certain(results, pair)]
    categories = [row for row in results.by_category if row.pair == pair.pair]
    rows = [
        (
            row.category,
            f"{row.wins_b} / {row.ties} / {row.wins_a}",
            str(row.questions),
            percent(row.ratio_b_to_a),
            percent(row.win_rate_b),
            percent(row.win_rate_b_shrunken),
            interval(row.win_rate_b_shrunken_low, row.win_rate_b_shrunken_high, 100),
        )
        for row in categories
    ]
    if len(rows) > 1:
        said += [f"  {line}" for line in aligned([HEAD, *rows])]
    said += [f"  {in_short(results, card)}" for card in results.cards(pair.judge, pair.prompt)]
    return "\n".join(said)


def _numbers(results: Results, pair: Pair) -> Iterator[tuple[str, str, str]]:
    both = f"{pair.questions_both_orders} in both orders" if pair.questions_both_orders else ""
    yield "questions", str(pair.questions), both
    unread = f"{pair.unreadable} unreadable" if pair.unreadable else "all readable"
    yield "reviews", str(pair.reviews), unread
    yield "won / tied / lost", f"{pair.wins_b} / {pair.ties} / {pair.wins_a}", ""
    if pair.win_rate_b is not None:
        ends = interval(pair.win_rate_b_low, pair.win_rate_b_high, 100)
        yield "win rate %", percent(pair.win_rate_b), ends
    if (found := results.decision(pair)) is not None:
        yield "  whenever one stops", "", interval(found.low, found.high, 100)
    yield from _by_people(results, pair)
    if pair.unreadable:
        bounds = f"{percent(pair.win_rate_b_worst)} to {percent(pair.win_rate_b_best)}"
        yield "  unreadable lost, won", "", bounds
    if (level := _level(results, pair)) is not None:
        yield "  at equal lengths", percent(level.win_rate), interval(level.low, level.high, 100)
    if pair.ratio_b_to_a is not None:
        yield "total scores", f"{pair.sum_b:g} : {pair.sum_a:g}", ""
        yield "ratio %", percent(pair.ratio_b_to_a), interval(pair.ratio_low, pair.ratio_high, 100)
        within = interval(pair.ratio_low_stratified, pair.ratio_high_stratified, 100)
        yield "  within categories", "", within
        yield "  mean of categories", percent(pair.ratio_by_category), ""


def _by_people(results: Results, pair: Pair) -> Iterator[tuple[str, str, str]]:
    found = results.calibrated(pair)
    if found is None:
        return
    own = interval(found.win_rate_b_people_low, found.win_rate_b_people_high, 100)
    yield f"  {count(found.labels, 'label')} of people", percent(found.win_rate_b_people), own
    if found.enough:
        ends = interval(found.win_rate_b_calibrated_low, found.win_rate_b_calibrated_high, 100)
        yield "  human-calibrated", percent(found.win_rate_b_calibrated), ends


def _level(results: Results, pair: Pair) -> LengthControlled | None:
    same = (
        row
        for row in results.length_controlled
        if (row.judge, row.prompt, row.model) == (pair.judge, pair.prompt, pair.b)
        and results.baseline == pair.a
        and row.win_rate is not None
    )
    return next(same, None)


def _certain(results: Results, pair: Pair) -> list[str]:
    found = results.decision(pair)
    if found is None:
        return []
    if found.decision is None:
        return [f"  {not_separable(found.a, found.b, found.questions, found.more)}"]
    return [f"  {certainty(found.decision, found.a, found.b, found.after)}"]


def _pooled(results: Results, a: str, b: str) -> list[str]:
    return [
        f"all {row.judges} judges together: {row.b} wins {percent(row.win_rate_b)} % "
        f"{interval(row.win_rate_b_low, row.win_rate_b_high, 100)} of "
        f"{count(row.questions, 'question')}"
        for row in results.pooled
        if {row.a, row.b} == {a, b}
    ]


def _through(results: Results, row: Difference) -> str:
    title = (
        f"{row.b} and {row.a}, by way of {results.baseline}, "
        f"judged by {row.judge} with {row.prompt}"
    )
    lines = []
    for model in (row.b, row.a):
        pair = results.pair(row, results.baseline, model)
        if pair is not None:
            ends = interval(pair.win_rate_b_low, pair.win_rate_b_high, 100)
            lines.append((f"win rate of {model} %", percent(pair.win_rate_b), ends))
    ends = interval(row.win_rate_low, row.win_rate_high, 100)
    lines.append(("difference, points", f"{100 * row.win_rate:+.1f}", ends))
    for score in results.scores(row.judge, row.prompt):
        if score.model in (row.a, row.b) and score.percent is not None:
            name = f"% of {results.baseline}, {score.model}"
            lines.append((name, f"{score.percent:.1f}", interval(score.low, score.high)))
    said = f"  on the {count(row.questions, 'question')} that both met it on"
    return "\n".join([title, *(f"  {line}" for line in aligned(lines)), said])
