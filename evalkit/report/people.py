"""What is said of people's votes: who voted, what is not calibrated by them, what a label is worth.

Nothing is computed. The verdict with people's labels in it is among the others, in `words`.
"""

import shlex

from evalkit.records import VOTE
from evalkit.report.schema import OfPair, Pair, Results
from evalkit.said import Said, counted, joined
from evalkit.stats.calibration import LABELS_A_PAIR

MOST_NAMED = 3  # pairs in a sentence


def voters(results: Results) -> str:
    """Who voted, and how often."""
    said = [
        counted(row.votes, "{name} ({n} vote)", "{name} ({n} votes)", name=row.voter)
        for row in results.voters
        if row.votes
    ]
    return joined("{first}, {next}", said) if said else ""


def not_calibrated(results: Results) -> list[str]:
    """Which win rates are the judge's alone, and what is to be done."""
    judged = [pair for pair in results.pairs if pair.prompt != VOTE]
    bare = [pair for pair in judged if not ((row := results.calibrated(pair)) and row.enough)]
    if not bare:
        return []
    if len(bare) < len(judged):
        bare.sort(key=lambda pair: pair.a != results.baseline)
        found = list(dict.fromkeys(_labelled(results, pair) for pair in bare))
        named = found[:MOST_NAMED]
        if more := len(found) - len(named):
            named.append(Said("and {n} more", n=more))
        return [Said("Not calibrated to people: {pairs}.", pairs=joined("{first}; {next}", named))]
    command = f"evalkit vote --bank {shlex.quote(results.bank)}"
    if not results.calibration:
        return [
            Said(
                "The judge's win rates are not calibrated to people. To vote: {command}",
                command=command,
            )
        ]
    most = max(row.labels for row in results.calibration)
    return [
        counted(
            most,
            "The judge's win rates are not calibrated to people: {n} label of {of} for a pair. "
            "To vote: {command}",
            "The judge's win rates are not calibrated to people: {n} labels of {of} for a pair. "
            "To vote: {command}",
            of=LABELS_A_PAIR,
            command=command,
        )
    ]


def worth(results: Results) -> list[str]:
    """What a label is worth beside each judge, and how many more would do, in sentences."""
    judgings = {(row.judge, row.prompt): row for row in results.calibration}
    told: list[str] = [
        Said(
            "The verdicts of {judge} with {prompt} and of people correlate by {rho:.2f} inside a "
            "pair: a label beside them is worth up to {multiplier:.1f} labels alone.",
            judge=row.judge,
            prompt=row.prompt,
            rho=row.rho,
            multiplier=row.multiplier,
        )
        for row in judgings.values()
        if row.rho is not None and row.multiplier is not None
    ]
    for row in results.calibration:
        if row.more_labels is not None:
            pair = Said("{b} against {a}", a=row.a, b=row.b)
            more = counted(
                row.more_labels,
                "{pair}: about {n} more label would halve the interval.",
                "{pair}: about {n} more labels would halve the interval.",
                pair=_judged_by(pair, row) if len(judgings) > 1 else pair,
            )
            told.append(more)
    return told


def _labelled(results: Results, pair: Pair) -> Said:
    """A pair and its labels; with the judge where they are enough for another one."""
    row = results.calibrated(pair)
    name = Said("{b} against {a}", a=pair.a, b=pair.b)
    if any(each.enough and (each.a, each.b) == (pair.a, pair.b) for each in results.calibration):
        name = _judged_by(name, pair)
    labels = row.labels if row else 0
    return Said("{pair} ({n} labels of {of})", pair=name, n=labels, of=LABELS_A_PAIR)


def _judged_by(found: str, row: OfPair) -> Said:
    return Said(
        "{found}, judged by {judge} with {prompt}", found=found, judge=row.judge, prompt=row.prompt
    )
