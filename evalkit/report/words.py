"""Results in words: the interval, the verdict, and the table that a terminal shows.

The page, its charts and the command line ask here, so that they say the same. Nothing is
computed; a value that is not there becomes an empty text.
"""

from collections.abc import Iterable, Iterator

from evalkit.columns import aligned
from evalkit.errors import count
from evalkit.report.schema import (
    Canaries,
    DecisionOfPair,
    Detected,
    JudgeCard,
    Pair,
    Race,
    RelativeScore,
    Results,
)

HEAD = ("95 %", "win / tie / loss", "win rate", "95 %", "n", "avg chars")


ALARMS = {
    "order": ("obeyed an order in an answer", "it can be led"),
    "foreign": ("did not put an answer to another question last", "its verdicts say little"),
    "empty": ("did not put an empty answer last", "its verdicts say little"),
}
"""What a judge did that missed canaries of a kind, and what that means."""

CANARIES = {
    "order": "an answer to another question that tells the judge to rate it 10 must lose",
    "foreign": "an answer to another question must lose",
    "empty": "an empty answer must lose",
    "twins": "the same answer twice is a tie",
}
"""What the right verdict of each kind of canary is."""


SIGNS = {"won": "▲", "tied": "●", "lost": "▼", "unreadable": "?"}
"""How a model did on a question, as a shape."""

FACTS = {
    "training_data": "training data",
    "training_data_size": "its size",
    "training_cost": "training cost",
    "context_length": "context",
    "memory": "memory",
    "licence": "licence",
}
"""The heading of each fact's column."""

DETECTORS = {
    "identical": "repeats",
    "judge_talk": "to a judge",
    "relevance_lift": "on topic",
    "copied": "copied",
}
"""The heading of each detector's column."""


def interval(low: float | None, high: float | None, times: float = 1, digits: int = 1) -> str:
    """`[88.0, 96.2]`; both ends are multiplied by `times` (100 for a fraction)."""
    if low is None or high is None:
        return ""
    return f"[{times * low:.{digits}f}, {times * high:.{digits}f}]"


def percent(fraction: float | None, digits: int = 1) -> str:
    """`31.3`: a fraction in percent, without its sign."""
    return "" if fraction is None else f"{100 * fraction:.{digits}f}"


def certain(decision: DecisionOfPair | None) -> str:
    """What a pair came to, for a cell of a table."""
    if decision is None:
        return ""
    if decision.decision is None:
        return "not yet"
    return f"{'tie ' if decision.decision == 'tie' else ''}after {decision.after}"


def alarms(tests: Iterable[Canaries]) -> Iterator[str]:
    """What the canaries caught, in sentences."""
    for row in tests:
        if row.alarm:
            did, so = ALARMS[row.canary]
            of = f"{row.missed} of {count(row.calls - row.unreadable, 'test')}"
            yield f"{row.judge} with {row.prompt} {did} in {of}: {so}."


def suspect(found: Iterable[Detected]) -> Iterator[str]:
    """What was seen of the answers without a judge, in sentences."""
    for row in found:
        told = {
            "identical": f"{percent(row.identical, 0)}% of its answers repeat another one",
            "judge_talk": f"{percent(row.judge_talk, 0)}% of its answers speak to a judge",
            "relevance_lift": "its answers take up the words of their own questions no more than "
            "those of others",
            "copied": f"{percent(row.copied, 0)}% of its answers are those of {row.copied_from}",
        }
        if row.alarms:
            signs = "; ".join(told[name] for name in row.alarms)
            yield f"{row.model}: {signs}. Its numbers may say nothing of a chatbot."


def certainty(what: str, a: str, b: str, after: int) -> str:
    """What a pair came to, where it is certain; `what`: a, b or tie, the one that is better."""
    who = {"a": f"{a} is better than {b}", "b": f"{b} is better than {a}"}
    found = who.get(what, f"{a} and {b} are as good, within the zone of a tie")
    return f"{found}: certain after {count(after, 'question')}"


def not_separable(a: str, b: str, questions: int, more: int | None) -> str:
    """That a pair is not decided, and what would decide it."""
    much = "far more" if more is None else f"about {more:,} more"
    return (
        f"{a} and {b} are not separable by {count(questions, 'question')}; "
        f"{much} like these would be needed"
    )


def undecided(results: Results) -> list[str]:
    """Which pairs cannot be told apart yet, and how many more questions would, in sentences."""
    several = len(results.judgings) > 1
    open_ = [each for each in results.decisions if each.decision is None and each.questions > 1]
    by = [f", judged by {each.judge} with {each.prompt}" if several else "" for each in open_]
    return [
        f"{not_separable(each.a, each.b, each.questions, each.more)}{who}."
        for each, who in zip(open_, by, strict=True)
    ]


def races(results: Results) -> list[str]:
    """Which model is the best, in a sentence for each judge and prompt."""
    told = []
    for race in results.races:
        after = f"after {count(race.after, 'question')}"
        by = f", judged by {race.judge} with {race.prompt}" if len(results.races) > 1 else ""
        if len(race.left) == 1:
            told.append(f"{race.left[0]} is the best{by}: certain {after}.")
        elif len(race.left) == len(_contestants(results, race)):
            told.append(f"Each of them may still be the best{by}, {after}.")
        else:
            told.append(f"The best is {' or '.join(race.left)}{by}: certain {after}.")
    return told


def _contestants(results: Results, race: Race) -> set[str]:
    same = (
        pair for pair in results.pairs if (pair.judge, pair.prompt) == (race.judge, race.prompt)
    )
    return {name for pair in same for name in (pair.a, pair.b)}


def verdicts(results: Results) -> list[str]:
    """The answer in one sentence for each judge and prompt, with its intervals."""
    said = [_verdict(results, *judging) for judging in results.judgings]
    return list(filter(None, said)) or ["There is no verdict yet."]


def headline(results: Results, judge: str, prompt: str) -> RelativeScore | None:
    """The best model that met the baseline itself; a chained one only where there is no other."""
    scores = [s for s in results.scores(judge, prompt) if s.model != results.baseline]
    return min(scores, key=lambda s: bool(s.via), default=None)


def headline_pair(results: Results) -> tuple[str, str] | None:
    """The two models that the first verdict is about, the baseline first."""
    for judging in results.judgings:
        score = headline(results, *judging)
        if score is not None and results.pair(score, results.baseline, score.model):
            return str(results.baseline), score.model
    return next(((pair.a, pair.b) for pair in results.pairs), None)


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
    lines = aligned(score_lines(results, judge, prompt))
    cards = results.cards(judge, prompt)
    said = [f"judged by {judge} with {prompt}, {reviews} reviews", *lines]
    return "\n".join([*said, *map(in_short, cards)])


def score_lines(results: Results, judge: str, prompt: str) -> list[tuple[str, ...]]:
    """The scores of one judging: the heading of each column, then a row a model."""
    head = ("", f"% of {results.baseline}", *HEAD)
    return [head, *(_line(results, score) for score in results.scores(judge, prompt))]


def in_short(card: JudgeCard) -> str:
    """A judge's report card in one line."""
    parts = [f"reads {100 * (1 - card.unreadable):.1f} %"]
    if card.consistent is not None:
        parts.append(f"same verdict in both orders {100 * card.consistent:.0f} %")
    if card.repeated is not None:
        parts.append(f"same when asked again {100 * card.repeated:.0f} %")
    if card.decided:
        parts.append(f"the longer answer won {card.longer_won} of {card.decided}")
    return f"judge: {' · '.join(parts)}"


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
