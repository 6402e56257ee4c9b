"""Numbers in words: the interval, the verdict, and the table that a terminal shows.

The page, its charts and the command line all say a number the same way because they ask here.
Nothing is computed; a value that is not there becomes an empty text.
"""

from evalkit.report.results import Pair, RelativeScore, Results

HEAD = ("95 %", "win / tie / loss", "win rate", "95 %", "n", "avg chars")


def interval(low: float | None, high: float | None, times: float = 1, digits: int = 1) -> str:
    """`[88.0, 96.2]`; both ends are multiplied by `times` (100 for a fraction)."""
    if low is None or high is None:
        return ""
    return f"[{times * low:.{digits}f}, {times * high:.{digits}f}]"


def headline(results: Results) -> RelativeScore | None:
    """The best model that met the baseline itself; a chained one only where there is no other."""
    scores = [s for s in results.relative_score if s.percent is not None]
    scores = [score for score in scores if score.model != results.baseline]
    return min(scores, key=lambda s: (bool(s.via), -(s.percent or 0)), default=None)


def verdict(results: Results) -> str:
    """The answer in one sentence, with its intervals and how it was judged."""
    score = headline(results)
    if score is None or score.percent is None:
        return "There is no verdict yet."
    text = f"{score.model} reaches {score.percent:.1f}% of {results.baseline}'s score "
    text += interval(score.low, score.high)
    if score.via:
        text = f"{text.rstrip()} by way of {' and '.join(score.via)}"
    pair = results.pair(score, results.baseline, score.model)
    if pair and pair.win_rate_b is not None:
        text = f"{text.rstrip()} and wins {100 * pair.win_rate_b:.0f}% "
        text += interval(pair.win_rate_b_low, pair.win_rate_b_high, 100, 0)
        text = f"{text.rstrip()} of the questions, a tie counted as half"
    return f"{text.rstrip()}; judged by {score.judge} on {score.questions} questions."


def table(results: Results) -> str:
    """The scores as a person reads them in a terminal: one row a model, numbers aligned."""
    judged = ", ".join(f"{row.judge} ({row.reviews} reviews)" for row in results.reviews)
    title = f"{results.bank}, judged by {judged}" if judged else results.bank
    if results.sample:
        title += ": sample data, written by hand; they measure nothing"
    if not results.relative_score:
        return title
    head = ("", f"% of {results.baseline}", *HEAD)
    lines = [head, *(_line(results, score) for score in results.relative_score)]
    first, *others = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [title]
    for name, *values in lines:
        cells = (value.rjust(width) for value, width in zip(values, others, strict=True))
        text.append("  ".join([name.ljust(first), *cells]).rstrip())
    return "\n".join(text)


def _line(results: Results, score: RelativeScore) -> tuple[str, ...]:
    pair = results.pair(score, results.baseline, score.model)
    length = next((a.mean_characters for a in results.answers if a.model == score.model), None)
    return (
        score.model,
        "" if score.percent is None else f"{score.percent:.1f}",
        interval(score.low, score.high),
        *_battles(pair, score),
        str(score.questions or ""),
        "" if length is None else f"{length:,.0f}",
    )


def _battles(pair: Pair | None, score: RelativeScore) -> tuple[str, str, str]:
    if pair is None:
        return (f"via {', '.join(score.via)}" if score.via else "", "", "")
    return (
        f"{pair.wins_b} / {pair.ties} / {pair.wins_a}",
        "" if pair.win_rate_b is None else f"{100 * pair.win_rate_b:.1f} %",
        interval(pair.win_rate_b_low, pair.win_rate_b_high, 100),
    )
