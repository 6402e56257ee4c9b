"""Results in words: the interval, the verdict, and the table that a terminal shows.

The page, its charts and the command line ask here, so that they say the same. Nothing is
computed; a value that is not there becomes an empty text.
"""

from evalkit.columns import aligned
from evalkit.price import in_dollars
from evalkit.records import VOTE
from evalkit.report.schema import (
    Calibrated,
    DecisionOfPair,
    JudgeCard,
    Judged,
    Labelled,
    OfPair,
    Pair,
    Race,
    RelativeScore,
    Results,
)
from evalkit.said import Said, counted, joined

HEAD = ("95 %", "win / tie / loss", "win rate", "95 %", "n", "avg chars")

SIGNS = {"won": "▲", "tied": "●", "lost": "▼", "unreadable": "?"}
"""How a model did on a question, as a shape."""

OUTCOMES = {
    "won": Said("won"),
    "tied": Said("tied"),
    "lost": Said("lost"),
    "unreadable": Said("unreadable"),
}
"""The same in a word."""

FACTS = {
    "training_data": Said("training data"),
    "training_data_size": Said("its size"),
    "training_cost": Said("training cost"),
    "context_length": Said("context"),
    "memory": Said("memory"),
    "licence": Said("licence"),
}
"""The heading of each fact's column."""

DETECTORS = {
    "identical": Said("repeats"),
    "judge_talk": Said("to a judge"),
    "relevance_lift": Said("on topic"),
    "copied": Said("copied"),
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


def per_thousand(dollars: float | None) -> str:
    """A price of 1,000 texts, in two digits where it is below a dollar."""
    if dollars is None:
        return ""
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:.2g}"


def certain(decision: DecisionOfPair | None) -> str:
    """What a pair came to, for a cell of a table."""
    if decision is None:
        return ""
    if decision.decision is None:
        return Said("not yet")
    if decision.decision == "tie":
        return Said("tie after {n}", n=decision.after)
    return Said("after {n}", n=decision.after)


def certainty(what: str, a: str, b: str, after: int) -> str:
    """What a pair came to, where it is certain; `what`: a, b or tie, the one that is better."""
    who = {
        "a": Said("{better} is better than {worse}", better=a, worse=b),
        "b": Said("{better} is better than {worse}", better=b, worse=a),
    }
    tie = Said("{a} and {b} are as good, within the zone of a tie", a=a, b=b)
    return _certain(who.get(what, tie), after)


def _certain(found: str, after: int) -> Said:
    return counted(
        after,
        "{found}: certain after {n} question",
        "{found}: certain after {n} questions",
        found=found,
    )


def _still_open(found: str, after: int) -> Said:
    return counted(
        after, "{found}, after {n} question", "{found}, after {n} questions", found=found
    )


def not_separable(a: str, b: str, questions: int, more: int | None) -> str:
    """That a pair is not decided, and what would decide it."""
    return counted(
        questions,
        "{a} and {b} are not separable by {n} question; {much} like these would be needed",
        "{a} and {b} are not separable by {n} questions; {much} like these would be needed",
        a=a,
        b=b,
        much=Said("far more") if more is None else Said("about {more:,} more", more=more),
    )


def undecided(results: Results) -> list[str]:
    """Which pairs cannot be told apart yet, and how many more questions would, in sentences."""
    several = len(results.judgings) > 1
    open_ = [each for each in results.decisions if each.decision is None and each.questions > 1]
    told = []
    for each in open_:
        found = not_separable(each.a, each.b, each.questions, each.more)
        told.append(_ended(_by(found, each) if several else found))
    return told


def races(results: Results) -> list[str]:
    """Which model is the best, in a sentence for each judge and prompt."""
    told = []
    for race in results.races:
        open_ = len(race.left) == len(_contestants(results, race))
        if open_:
            found = Said("Each of them may still be the best")
        elif len(race.left) == 1:
            found = Said("{model} is the best", model=race.left[0])
        else:
            found = Said("The best is {models}", models=joined("{first} or {next}", race.left))
        if len(results.races) > 1:
            found = _by(found, race)
        tell = _still_open if open_ else _certain
        told.append(_ended(tell(found, race.after)))
    return told


def _ended(sentence: str) -> str:
    return Said("{sentence}.", sentence=sentence)


def _by(found: str, row: DecisionOfPair | Race) -> Said:
    return Said(
        "{found}, judged by {judge} with {prompt}", found=found, judge=row.judge, prompt=row.prompt
    )


def _contestants(results: Results, race: Race) -> set[str]:
    same = (
        pair for pair in results.pairs if (pair.judge, pair.prompt) == (race.judge, race.prompt)
    )
    return {name for pair in same for name in (pair.a, pair.b)}


def verdicts(results: Results) -> list[str]:
    """The answer in one sentence for each judge and prompt, with its intervals."""
    said = [_verdict(results, *judging) for judging in results.judgings]
    return list(filter(None, said)) or [Said("There is no verdict yet.")]


def source(results: Results) -> str:
    """Where the verdicts come from, for somebody who quotes them."""
    told = [results.bank, dates(results), f"evalkit {results.evalkit}"]
    return joined("{first}, {next}", filter(None, told))


def dates(results: Results) -> str:
    """The days of the first and the last call, or the one day."""
    if results.earliest is None or results.latest is None:
        return ""
    if results.earliest == results.latest:
        return results.earliest
    return Said("{first} to {last}", first=results.earliest, last=results.latest)


def cost(results: Results) -> str:
    """What the answers and their reviews cost, as far as it is known."""
    if results.dollars is None or results.sample:
        return ""
    if results.labelled:
        return _cost_of_labels(results.dollars, results.labelled)
    of_each = [row.dollars for row in results.answers] + [row.dollars for row in results.reviews]
    known = None not in of_each
    dollars = in_dollars(results.dollars)
    if known:
        return Said("Answers and reviews cost {dollars}.", dollars=dollars)
    return Said("Answers and reviews cost {dollars}, as far as it is known.", dollars=dollars)


def _cost_of_labels(dollars: float, found: Labelled) -> str:
    told = in_dollars(dollars)
    if all(row.dollars is not None for row in found.replies):
        return Said("The replies cost {dollars}.", dollars=told)
    return Said("The replies cost {dollars}, as far as it is known.", dollars=told)


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
    if score.percent is None:
        return _compared(results, score)
    told: str = Said(
        "{model} reaches {percent:.1f}% of {baseline}'s score",
        model=score.model,
        percent=score.percent,
        baseline=results.baseline,
    )
    told = _with(told, interval(score.low, score.high))
    if score.via:
        told = Said("{found} by way of {models}", found=told, models=by_way(score))
    pair = results.pair(score, results.baseline, score.model)
    if pair and pair.win_rate_b is not None:
        told = Said(
            "{found}; it wins {wins}, ties {ties} and loses {losses} of {n} questions "
            "(win rate {rate})",
            found=told,
            wins=pair.wins_b,
            ties=pair.ties,
            losses=pair.wins_a,
            n=pair.questions,
            rate=_with(
                f"{100 * pair.win_rate_b:.0f}%",
                interval(pair.win_rate_b_low, pair.win_rate_b_high, 100, 0),
            ),
        )
        told = _by_people(told, results.calibrated(pair), 0)
    return counted(
        score.questions or 0,
        "{found}. Judged by {judge} on {n} question.",
        "{found}. Judged by {judge} on {n} questions.",
        found=told,
        judge=judge_of(score),
    )


def _compared(results: Results, score: RelativeScore) -> str:
    """A verdict of comparisons, without grades: by the win rate alone."""
    pair = results.pair(score, results.baseline, score.model)
    assert pair is not None and pair.win_rate_b is not None, "ranked without a win rate"
    rate = f"{100 * pair.win_rate_b:.1f}%"
    told: str = Said(
        "{model} has a win rate of {rate} against {baseline}: it wins {wins}, ties {ties} and "
        "loses {losses} of {n} questions",
        model=score.model,
        rate=_with(rate, interval(pair.win_rate_b_low, pair.win_rate_b_high, 100)),
        baseline=results.baseline,
        wins=pair.wins_b,
        ties=pair.ties,
        losses=pair.wins_a,
        n=pair.questions,
    )
    told = _by_people(told, results.calibrated(pair), 1)
    return Said("{found}. Judged by {judge}.", found=told, judge=judge_of(score))


def _by_people(found: str, row: Calibrated | None, digits: int) -> str:
    """A verdict, with what people would say where enough of them did."""
    if row is None or not row.enough:
        return found
    ends = interval(row.win_rate_b_calibrated_low, row.win_rate_b_calibrated_high, 100, digits)
    return Said(
        "{found}; human-calibrated, its win rate is {rate}, from {n} labels by people",
        found=found,
        rate=_with(f"{percent(row.win_rate_b_calibrated, digits)}%", ends),
        n=row.labels,
    )


def judge_of(row: OfPair | RelativeScore | Judged | JudgeCard) -> str:
    """Who judged, as it is said: people have no name of their own."""
    return Said("people") if row.prompt == VOTE else row.judge


def strip(results: Results) -> list[str]:
    """Who judged, and how much, in a few words each."""
    said = [
        counted(
            row.reviews,
            "judge {judge}, {n} review",
            "judge {judge}, {n} reviews",
            judge=judge_as(row),
        )
        for row in results.reviews
        if row.prompt != VOTE
    ]
    votes = [row.votes for row in results.voters if row.votes]
    people = counted(len(votes), "{n} person", "{n} people")
    told = counted(sum(votes), "{n} vote by {people}", "{n} votes by {people}", people=people)
    return [*said, told] if votes else [*said]


def judge_as(row: Judged) -> str:
    """A judge, and the version that it said it was where that is another name."""
    versions = [name for name in row.served if name != row.judge]
    if not versions:
        return row.judge
    return Said("{judge} ({versions})", judge=row.judge, versions=", ".join(versions))


def by_way(score: RelativeScore) -> str:
    """The models that a percentage was chained through."""
    return joined("{first} and {next}", score.via)


def _with(text: str, bounds: str) -> str:
    return Said("{text} {bounds}", text=text, bounds=bounds) if bounds else text


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
    return "\n".join([*said, *(in_short(results, card) for card in cards)])


def score_lines(results: Results, judge: str, prompt: str) -> list[tuple[str, ...]]:
    """The scores of one judging: the heading of each column, then a row a model."""
    head = ("", f"% of {results.baseline}", *HEAD)
    return [head, *(_line(results, score) for score in results.scores(judge, prompt))]


def in_short(results: Results, card: JudgeCard) -> str:
    """A judge's report card in one line, and how far people agree with it."""
    parts = [f"reads {100 * (1 - card.unreadable):.1f} %"]
    if card.consistent is not None:
        parts.append(f"same verdict in both orders {100 * card.consistent:.0f} %")
    if card.repeated is not None:
        parts.append(f"same when asked again {100 * card.repeated:.0f} %")
    if card.decided:
        parts.append(f"the longer answer won {card.longer_won} of {card.decided}")
    same = (r for r in results.with_people if (r.judge, r.prompt) == (card.judge, card.prompt))
    if (people := next(same, None)) is not None:
        how = "agree with each other" if card.prompt == VOTE else "agrees with people"
        parts.append(f"{how} {100 * people.agreement:.0f} %")
    return f"judge: {' · '.join(parts)}"


def _line(results: Results, score: RelativeScore) -> tuple[str, ...]:
    pair = results.pair(score, results.baseline, score.model)
    length = next((a.mean_characters for a in results.answers if a.model == score.model), None)
    return (
        score.model,
        "" if score.percent is None else f"{score.percent:.1f}",
        interval(score.low, score.high),
        *_battles(pair, score),
        str((pair.questions if pair else score.questions) or ""),
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
