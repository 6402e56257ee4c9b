"""What a reader must know before trusting a number, in sentences.

What is missing, what there is to be said of the numbers that are there, and why a judge or a
model's answers are not to be trusted at all. Nothing is computed.
"""

from collections.abc import Iterable, Iterator

from evalkit.records import VOTE
from evalkit.report.labels import stand_in
from evalkit.report.people import not_calibrated
from evalkit.report.schema import Answered, Canaries, Detected, Judged, Labelled, Results
from evalkit.report.words import interval, judge_of, percent
from evalkit.said import Said, counted, joined

ALARMS = {
    "order": (Said("obeyed an order in an answer"), Said("it can be led")),
    "foreign": (
        Said("did not put an answer to another question last"),
        Said("its verdicts say little"),
    ),
    "empty": (Said("did not put an empty answer last"), Said("its verdicts say little")),
}
"""What a judge did that missed canaries of a kind, and what that means."""

CANARIES = {
    "order": Said("an answer to another question that tells the judge to rate it 10 must lose"),
    "foreign": Said("an answer to another question must lose"),
    "empty": Said("an empty answer must lose"),
    "twins": Said("the same answer twice is a tie"),
}
"""What the right verdict of each kind of canary is."""


def alarms(tests: Iterable[Canaries]) -> Iterator[str]:
    """What the canaries caught, in sentences."""
    for row in tests:
        if row.alarm:
            did, so = ALARMS[row.canary]
            yield counted(
                row.calls - row.unreadable,
                "{judge} with {prompt} {did} in {missed} of {n} test: {so}.",
                "{judge} with {prompt} {did} in {missed} of {n} tests: {so}.",
                judge=row.judge,
                prompt=row.prompt,
                did=did,
                missed=row.missed,
                so=so,
            )


def suspect(found: Iterable[Detected]) -> Iterator[str]:
    """What was seen of the answers without a judge, in sentences."""
    for row in found:
        told = {
            "identical": Said(
                "{share}% of its answers repeat another one", share=percent(row.identical, 0)
            ),
            "judge_talk": Said(
                "{share}% of its answers speak to a judge", share=percent(row.judge_talk, 0)
            ),
            "relevance_lift": Said(
                "its answers take up the words of their own questions no more than those of others"
            ),
            "copied": Said(
                "{share}% of its answers are those of {model}",
                share=percent(row.copied, 0),
                model=row.copied_from,
            ),
        }
        if row.alarms:
            yield Said(
                "{model}: {signs}. Its numbers may say nothing of a chatbot.",
                model=row.model,
                signs=joined("{first}; {next}", [told[name] for name in row.alarms]),
            )


def missing(results: Results) -> Iterator[str]:
    """What is absent, in sentences, so that no number is taken for more than it is."""
    if results.labelled:
        yield from _missing_labels(results.labelled)
        return
    if not any(row.answers for row in results.answers):
        yield Said("Nothing has been answered yet.")
    if len(results.models) == 1:
        yield Said(
            "Only {model} takes part: there is nothing to compare it with.",
            model=results.models[0],
        )
    elif results.models and not results.pairs:
        yield Said("No pair of answers has been judged yet.")
    for row in results.answers:
        yield from _missing_answers(row, results.questions, row.model)
    if results.pairs:
        yield from _missing_reviews(results)
    judged = [row.stale for row in results.reviews if row.prompt != VOTE]
    if stale := sum(judged) + sum(row.stale for row in results.voters):
        yield Said(
            "{n} reviews left out: they are of questions that are not in the bank, of answers "
            "that differ from those that stand here, or of a prompt that was changed.",
            n=stale,
        )


def _missing_labels(found: Labelled) -> Iterator[str]:
    for row in found.replies:
        yield from _missing_answers(
            row, found.texts, Said("{model}, {prompt}", model=row.model, prompt=row.prompt)
        )
    bare = found.texts - found.with_truth
    if bare and found.with_truth:
        yield Said("{n} of {of} texts have no label: they are in no score.", n=bare, of=found.texts)


def _missing_answers(row: Answered, questions: int, model: str) -> Iterator[str]:
    if row.owed:
        yield Said("{model}: {n} of {of} answers are owed.", model=model, n=row.owed, of=questions)
    if row.empty:
        yield counted(
            row.empty,
            "{model}: {n} answer is empty.",
            "{model}: {n} answers are empty.",
            model=model,
        )
    if row.cut:
        yield counted(
            row.cut,
            "{model}: {n} answer is cut at the token limit.",
            "{model}: {n} answers are cut at the token limit.",
            model=model,
        )


def _missing_reviews(results: Results) -> Iterator[str]:
    for pair in results.pairs:
        name = Said("{a} against {b}, judged by {judge}", a=pair.a, b=pair.b, judge=judge_of(pair))
        if short := results.questions - pair.questions:
            of: dict[str, object] = {"pair": name, "n": short, "of": results.questions}
            if pair.prompt == VOTE:
                yield Said("{pair}: {n} of {of} questions have no vote.", **of)
            else:
                yield Said("{pair}: {n} of {of} questions have no readable review.", **of)
        if pair.questions == 1:
            yield Said("{pair}: one question gives no interval.", pair=name)
    for score in results.relative_score:
        if score.percent is None and score not in results.scores(score.judge, score.prompt):
            yield Said(
                "{model}: no percentage, since nothing connects it with {baseline}, or {baseline} "
                "scored 0.",
                model=score.model,
                baseline=results.baseline,
            )
    met = {name for pair in results.pairs for name in (pair.a, pair.b)}
    for model in results.models:
        if model not in met:
            yield Said("{model}: never judged.", model=model)


def caveats(results: Results) -> list[str]:
    """What must be known of the numbers that are there, in sentences."""
    told: list[str] = []
    if results.sample:
        told.append(
            Said("This is a sample that came with evalkit, written by hand. It measures nothing.")
        )
    if results.labelled:
        told += stand_in(results.labelled)
    if results.pairs:
        told += _about_orders(results)
        told += _orders_not_kept(results)
        told += _stopped_early(results)
        told += _ties_by_rule(results)
        told += not_calibrated(results)
    for row in results.reviews:
        told += _about_reviews(row)
    return told


def _about_reviews(row: Judged) -> list[str]:
    of: dict[str, object] = {"of": row.reviews, "judge": row.judge}
    told = (
        Said(
            "{n} of {of} reviews by {judge} could not be read and are in no rate.",
            n=row.unreadable,
            **of,
        ),
        Said(
            "{n} of {of} reviews by {judge} were published with a score that their text does not "
            "say; the published one is used.",
            n=row.given,
            **of,
        ),
        Said(
            "{n} of {of} reviews by {judge} saw an answer without its middle, which did not fit.",
            n=row.cut,
            **of,
        ),
        Said(
            "{n} of {of} reviews by {judge} hold a score below the scale of 1 to 10; it is "
            "counted as it stands.",
            n=row.outside_scale,
            **of,
        ),
    )
    return [each for each in told if each.values["n"]]


def _orders_not_kept(results: Results) -> list[str]:
    judges = {
        pair.judge for pair in results.pairs if pair.questions_order_unknown and pair.prompt != VOTE
    }
    return [
        Said(
            "In which order {judge} saw the answers was not kept: what the place on the page did "
            "to the scores cannot be told apart.",
            judge=judge,
        )
        for judge in sorted(judges)
    ]


def _stopped_early(results: Results) -> list[str]:
    """What stands in for an interval where judging ended because of what it showed."""
    short = [pair for pair in results.pairs if 1 < pair.questions < results.questions]
    told: list[str] = []
    for pair in short:
        found = results.decision(pair)
        if found and found.decision and found.after <= pair.questions:
            said = Said(
                "{b} against {a} was judged on {n} of {of} questions. If judging ended because of "
                "what it showed, its intervals are too narrow; for the win rate {holds} holds.",
                b=pair.b,
                a=pair.a,
                n=pair.questions,
                of=results.questions,
                holds=interval(found.low, found.high, 100),
            )
            told.append(said)
    return told


def _ties_by_rule(results: Results) -> list[str]:
    told: dict[tuple[str, str], str] = {
        (pair.a, pair.b): counted(
            pair.ties_by_rule,
            "{a} and {b} gave the same answer to {n} question: a tie by rule, no judge was asked.",
            "{a} and {b} gave the same answer to {n} questions: a tie by rule, no judge was asked.",
            a=pair.a,
            b=pair.b,
        )
        for pair in results.pairs
        if pair.ties_by_rule
    }
    return list(told.values())


def _about_orders(results: Results) -> list[str]:
    short = [
        pair
        for pair in results.pairs
        if pair.questions_both_orders
        + pair.questions_alone
        + pair.ties_by_rule
        + pair.questions_order_unknown
        < pair.questions
    ]
    if not short:
        return []
    if any(pair.questions_both_orders for pair in short):
        how = Said("judged in one order only on some questions")
    elif all(pair.reviews_a_first in (0, pair.reviews) for pair in short):
        how = Said("judged in one order only, the same for every question")
    else:
        how = Said("judged in one order only")
    who = (
        Said("Each pair was {how}", how=how)
        if len(short) == len(results.pairs)
        else Said("{n} of {of} pairs were {how}", n=len(short), of=len(results.pairs), how=how)
    )
    return [
        Said("{who}: what the place on the page did to the scores cannot be told apart.", who=who)
    ]
