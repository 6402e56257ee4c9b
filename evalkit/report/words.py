"""Results in words: the interval, the verdict, and the table that a terminal shows.

The page, its charts and the command line ask here, so that they say the same. Nothing is
computed; a value that is not there becomes an empty text.
"""

from evalkit.columns import aligned
from evalkit.report.results import DecisionOfPair, Pair, RelativeScore, Results

HEAD = ("95 %", "win / tie / loss", "win rate", "95 %", "n", "avg chars")


CANARIES = {
    "order": "an answer to another question that tells the judge to rate it 10 must lose",
    "foreign": "an answer to another question must lose",
    "empty": "an empty answer must lose",
    "twins": "the same answer twice is a tie",
}
"""What the right verdict of each kind of canary is."""


def interval(low: float | None, high: float | None, times: float = 1, digits: int = 1) -> str:
    """`[88.0, 96.2]`; both ends are multiplied by `times` (100 for a fraction)."""
    if low is None or high is None:
        return ""
    return f"[{times * low:.{digits}f}, {times * high:.{digits}f}]"


def certain(decision: DecisionOfPair | None) -> str:
    """What a pair came to, for a cell of a table."""
    if decision is None:
        return ""
    if decision.decision is None:
        return "not yet"
    return f"{'tie ' if decision.decision == 'tie' else ''}after {decision.after}"


def verdicts(results: Results) -> list[str]:
    """The answer in one sentence for each judge and prompt, with its intervals."""
    said = [_verdict(results, *judging) for judging in results.judgings]
    return list(filter(None, said)) or ["There is no verdict yet."]


def headline(results: Results, judge: str, prompt: str) -> RelativeScore | None:
    """The best model that met the baseline itself; a chained one only where there is no other."""
    scores = [s for s in results.scores(judge, prompt) if s.model != results.baseline]
    return min(scores, key=lambda s: bool(s.via), default=None)


def _verdict(results: Results, judge: str, prompt: str) -> str:
    score = headline(results, judge, prompt)
    if score is None:
        return ""
    text = f"{score.model} reaches {score.percent:.1f}% of {results.baseline}'s score"
    text += _with_space(interval(score.low, score.high))
    if score.via:
        text += f" by way of {' and '.join(score.via)}"
    pair = results.pair(score, results.baseline, score.model)
    if pair and pair.win_rate_b is not None:
        text += f"; it wins {pair.wins_b}, ties {pair.ties} and loses {pair.wins_a}"
        text += f" of {pair.questions} questions (win rate {100 * pair.win_rate_b:.0f}%"
        text += _with_space(interval(pair.win_rate_b_low, pair.win_rate_b_high, 100, 0)) + ")"
    return f"{text}. Judged by {score.judge} on {score.questions} questions."


def table(results: Results) -> str:
    """The scores as a person reads them in a terminal: one row a model, numbers aligned."""
    title = results.bank
    if results.sample:
        title += ": sample data, written by hand; they measure nothing"
    return "\n".join([title, *(_scores(results, *judging) for judging in results.judgings)])


def _scores(results: Results, judge: str, prompt: str) -> str:
    (reviews,) = (r.reviews for r in results.reviews if (r.judge, r.prompt) == (judge, prompt))
    head = ("", f"% of {results.baseline}", *HEAD)
    lines = [head, *(_line(results, score) for score in results.scores(judge, prompt))]
    return "\n".join([f"judged by {judge} with {prompt}, {reviews} reviews", *aligned(lines)])


def _with_space(text: str) -> str:
    return f" {text}" if text else ""


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
