"""What changed since an earlier run: who took part, in which version, and which verdicts turned.

Both sides are Results, so the earlier one may come from a file that was kept. Nothing is tested
here: a verdict that turned may be chance, as the intervals of both runs say.
"""

from collections.abc import Iterable, Iterator

from evalkit.report.schema import Change, Outcomes, Results
from evalkit.said import Said, counted


def changes(now: Results, then: Results) -> list[Change]:
    """The pairs that stand in both runs, with the numbers of both."""
    earlier = {pair.pair: pair for pair in then.pairs}
    verdicts_now = {row.pair: row for row in now.outcomes}
    verdicts_then = {row.pair: row for row in then.outcomes}
    found = []
    for pair in now.pairs:
        before = earlier.get(pair.pair)
        if before is None:
            continue
        turned = _turned(verdicts_now.get(pair.pair), verdicts_then.get(pair.pair))
        found.append(
            Change(
                judge=pair.judge,
                prompt=pair.prompt,
                a=pair.a,
                b=pair.b,
                ratio_then=before.ratio_b_to_a,
                ratio_now=pair.ratio_b_to_a,
                win_rate_then=before.win_rate_b,
                win_rate_now=pair.win_rate_b,
                questions_then=before.questions,
                questions_now=pair.questions,
                to_b=[question for question, by in turned if by > 0],
                to_a=[question for question, by in turned if by < 0],
            )
        )
    return found


def told(now: Results, then: Results) -> list[str]:
    """What else is not as it was, in sentences."""
    return [
        *_came_and_went(now, then),
        *_versions(now, then),
        *_prompts(now, then),
        *_rest(now, then),
    ]


def _came_and_went(now: Results, then: Results) -> Iterator[str]:
    if new := _only(now.models, then.models):
        yield Said("New models: {names}.", names=new)
    if gone := _only(then.models, now.models):
        yield Said("Models that are no longer there: {names}.", names=gone)
    if new := _only(now.judges, then.judges):
        yield Said("New judges: {names}.", names=new)
    if gone := _only(then.judges, now.judges):
        yield Said("Judges that are no longer there: {names}.", names=gone)


def _only(here: Iterable[str], there: Iterable[str]) -> str:
    return ", ".join(sorted(set(here) - set(there)))


def _versions(now: Results, then: Results) -> Iterator[str]:
    served = {row.model: row.served for row in then.answers}
    for row in now.answers:
        if row.model in served and row.served != served[row.model]:
            yield Said(
                "{model} answered as {now}, before as {then}.",
                model=row.model,
                now=_said(row.served),
                then=_said(served[row.model]),
            )
    judged = {(row.judge, row.prompt): row.served for row in then.reviews}
    for each in now.reviews:
        was = judged.get((each.judge, each.prompt))
        if was is not None and each.served != was:
            yield Said(
                "{judge} judged as {now}, before as {then}.",
                judge=each.judge,
                now=_said(each.served),
                then=_said(was),
            )


def _prompts(now: Results, then: Results) -> Iterator[str]:
    before = {(row.judge, row.prompt): row.prompt_hash for row in then.reviews}
    for row in now.reviews:
        old = before.get((row.judge, row.prompt), row.prompt_hash)
        if old != row.prompt_hash:
            yield Said(
                "The prompt {prompt} of {judge} is another one ({then} before).",
                prompt=row.prompt,
                judge=row.judge,
                then=old,
            )


def _rest(now: Results, then: Results) -> Iterator[str]:
    if now.bank != then.bank:
        yield Said("Another bank: {now}, before {then}.", now=now.bank, then=then.bank)
    elif now.questions != then.questions:
        yield counted(
            now.questions,
            "The bank has {n} question, before {then}.",
            "The bank has {n} questions, before {then}.",
            then=then.questions,
        )
    elif now.bank_hash != then.bank_hash:
        yield Said("The bank has other questions ({then} before).", then=then.bank_hash)
    if now.baseline != then.baseline:
        yield Said(
            "Another baseline: {now}, before {then}.",
            now=now.baseline or Said("none"),
            then=then.baseline or Said("none"),
        )
    if now.evalkit != then.evalkit:
        yield Said("Made by evalkit {now}, before by {then}.", now=now.evalkit, then=then.evalkit)


def _said(served: list[str]) -> str:
    return ", ".join(served) or Said("a version that it did not say")


def _turned(now: Outcomes | None, then: Outcomes | None) -> list[tuple[str, int]]:
    """Questions with another verdict, and the way it went: 1 towards b, -1 towards a."""
    if now is None or then is None:
        return []
    found = []
    for question, outcome in now.outcomes.items():
        before = then.outcomes.get(question)
        if before is not None and (by := _sign(outcome) - _sign(before)):
            found.append((question, by))
    return found


def _sign(outcome: float) -> int:
    return (outcome > 0.5) - (outcome < 0.5)
