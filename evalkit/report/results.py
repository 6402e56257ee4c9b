"""Every number of the page, computed once, as `report.schema` describes them."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations
from math import fsum
from types import MappingProxyType
from typing import Any

import pandas as pd

from evalkit.answer import standing
from evalkit.catalog import Stanza
from evalkit.errors import Missing, Unknown
from evalkit.judge.showings import CHATGPT, first_samples, identical
from evalkit.judge.standing import standing as standing_reviews
from evalkit.prompts import JudgePrompt
from evalkit.records import VOTE, Answer, Question, Review, human, short_hash
from evalkit.report import caveats
from evalkit.report.evidence import Evidence
from evalkit.report.schema import (
    Agreement,
    Answered,
    Calibrated,
    Canaries,
    DecisionOfPair,
    Described,
    Detected,
    Difference,
    JudgeCard,
    Judged,
    JudgeInCategory,
    LengthControlled,
    Outcomes,
    Pair,
    PairInCategory,
    Panel,
    PooledPair,
    Race,
    RelativeScore,
    Results,
    Strength,
    Voter,
    WithPeople,
)
from evalkit.rows import Rows
from evalkit.said import Said
from evalkit.stats import agreement, chains, rates
from evalkit.stats.battles import BY_RULE, PAIR, battles, by_question, groups
from evalkit.stats.bradley_terry import Unranked, leaderboard
from evalkit.stats.calibration import PEOPLE, calibration, of_judges, with_people
from evalkit.stats.canaries import canaries
from evalkit.stats.detectors import detectors
from evalkit.stats.differences import differences
from evalkit.stats.length_control import length_controlled
from evalkit.stats.report_card import consistency_by_category, report_card
from evalkit.stats.sequential import decisions, races

FACTS = (
    "training_data", "training_data_size", "training_cost", "context_length", "licence", "memory",
    "source",
)  # fmt: skip
"""What the field asks of a model, by the name that it has in the catalogue."""

FEWEST_RANKED = 3  # models: of two, their pair says it all


def evidence(
    bank: str,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    reviews: Sequence[Review],
    baseline: str | None = None,
    *,
    prompts: Mapping[str, JudgePrompt] | None = None,
    stanzas: Mapping[str, Stanza] = MappingProxyType({}),
    sample: bool = False,
) -> Evidence:
    """Compute everything, and keep the rows that count with it.

    `baseline`: None takes ChatGPT where it takes part, else the model that met the most others,
    and none where nothing is judged. Raises Unknown for a baseline that is not among the models,
    Missing where none stands out. `prompts`: those that stand now; a review that was asked with
    other words is stale. `stanzas`: what the
    catalogue says, by model. `sample`: these are not measurements, and the page says so.
    People who voted are no judges, unless nobody else judged: then they are one together.
    """
    counted = standing(questions, answers)
    current, stale = standing_reviews(questions, answers, reviews, prompts or {})
    rows = Rows.of(current)
    shown = set(chain.from_iterable(Rows.of(reviews).columns["shown"].present()))
    models = sorted({answer.model for answer in answers} | shown)
    baseline = _baseline(baseline, models, rows)
    categories = {question.id: question.category for question in questions}
    everybody = battles(rows, categories, baseline, identical(counted))
    table = of_judges(everybody)
    alone = VOTE in set(table["prompt"].unique())
    ruled = (everybody["prompt"] == VOTE) & (everybody["order"] == BY_RULE)
    asked, left_out, all_asked = (
        _of_judges(Rows.of(each), alone) for each in (rows, stale, reviews)
    )
    tested = canary_rows(rows)
    ranked, unranked = _leaderboard(table)
    none = pd.DataFrame()
    relative = chains.relative_scores(table, baseline) if baseline else none
    judged = first_samples(counted)
    lengths = {key: answer.characters for key, answer in judged.items()}
    controlled = length_controlled(table, lengths, baseline) if baseline else none
    apart = differences(table, baseline) if baseline else none
    own = no_canaries(asked)
    times = chain((answer.time for answer in counted), own.columns["time"].present())
    days = {time[:10] for time in times if time}
    detected: list[Detected] = rows_of(Detected, detectors(questions, judged.values()))
    found = Results(
        bank=bank,
        bank_hash=short_hash([[question.id, *question.turns] for question in questions]),
        baseline=baseline,
        judges=sorted(asked.columns["judge"].present()),
        models=models,
        questions=len(questions),
        sample=sample,
        dollars=dollars_of(chain((a.dollars for a in answers), _dollars(Rows.of(reviews)))),
        earliest=min(days, default=None),
        latest=max(days, default=None),
        answers=[answered(model, answers, counted, categories) for model in models],
        reviews=_judged(asked, left_out, all_asked, prompts or {}),
        described=[described(m, stanzas[m]) for m in models if m in stanzas],
        judge_card=[JudgeCard.model_validate(row) for row in report_card(table, own, lengths)],
        judge_by_category=rows_of(JudgeInCategory, consistency_by_category(table)),
        agreement=rows_of(Agreement, agreement.agreements(table)),
        panel=next(iter(rows_of(Panel, agreement.panel(table))), None),
        with_people=rows_of(WithPeople, with_people(everybody)),
        voters=_voters(rows, Rows.of(stale)),
        canaries=tested,
        detectors=detected,
        alarms=[],
        decisions=rows_of(DecisionOfPair, decisions(table)),
        races=rows_of(Race, races(table)),
        leaderboard=ranked,
        unranked=unranked,
        relative_score=rows_of(RelativeScore, relative),
        length_controlled=rows_of(LengthControlled, controlled),
        differences=rows_of(Difference, apart),
        pairs=rows_of(Pair, rates.pairs(table)),
        pooled=rows_of(PooledPair, agreement.pooled(table)),
        by_category=rows_of(PairInCategory, rates.by_category(table)),
        calibration=rows_of(Calibrated, calibration(everybody).query("labels > 0")),
        outcomes=_outcomes(table),
        missing=[],
    )
    said = {
        "missing": list(caveats.missing(found)),
        "alarms": [*caveats.alarms(tested), *caveats.suspect(detected)],
    }
    return Evidence(
        found.model_copy(update=said),
        tuple(questions),
        tuple(judged.values()),
        current,
        everybody if alone else everybody[~ruled],
        prompts or {},
    )


def _baseline(given: str | None, models: list[str], reviews: Rows) -> str | None:
    if not models:
        return given
    if given is not None:
        if given not in models:
            raise Unknown("model", given, models, "--baseline takes one of these")
        return given
    for name in CHATGPT:
        if name in models:
            return name
    pairs: set[frozenset[str]] = set(
        map(frozenset, no_canaries(reviews).columns["shown"].present())
    )
    alone = sorted(name for pair in pairs if len(pair) == 1 for name in pair)
    pairs |= {frozenset(pair) for pair in combinations(alone, 2)}
    met = Counter(model for pair in pairs if len(pair) == 2 for model in pair).most_common(2)
    if not met:
        return models[0] if len(models) == 1 else None
    if len(met) == 1 or met[0][1] > met[1][1]:
        return met[0][0]
    raise Missing(f"which model is the baseline? Give --baseline, one of: {', '.join(models)}")


def rows_of(model: type[Any], table: pd.DataFrame) -> list[Any]:
    """The rows of a table as those of the schema; what is not a number is nothing."""
    objects = table.astype(object).where(table.notna(), None) if len(table) else table
    return [model.model_validate(row) for row in objects.to_dict("records")]


def answered(
    model: str, answers: Iterable[Answer], counted: Iterable[Answer], bank: Collection[str]
) -> Answered:
    """What one model gave; `counted`: the answers that stand, `bank`: what was asked."""
    own = [answer for answer in counted if answer.model == model]
    lengths = [answer.characters for answer in own]
    return Answered(
        model=model,
        served=sorted({answer.served for answer in own if answer.served}),
        answers=len(own),
        owed=len(bank) - len({answer.question for answer in own}),
        empty=sum(answer.is_empty for answer in own),
        mean_characters=sum(lengths) / len(lengths) if lengths else None,
        cut=sum(answer.finish_reason == "length" for answer in own),
        dollars=dollars_of(answer.dollars for answer in answers if answer.model == model),
    )


def described(model: str, stanza: Stanza) -> Described:
    """What the catalogue says of one model; the field's own names for facts have a column."""
    facts = {name: str(value) for name, value in stanza.facts.items()}
    own = {name: facts.pop(name, None) for name in FACTS}
    if stanza.context and not own["context_length"]:
        own["context_length"] = f"{stanza.context:,} tokens"
    price = stanza.price
    return Described(
        model=model,
        **own,
        price_input=price and price.input,
        price_output=price and price.output,
        price_date=price and price.date.isoformat(),
        more=facts,
    )


def dollars_of(amounts: Iterable[float | None]) -> float | None:
    """What rows cost as far as it is known; None where nothing is."""
    known = [amount for amount in amounts if amount is not None]
    return round(fsum(known), 6) if known else None


def _dollars(rows: Rows) -> Iterator[float | None]:
    """What all rows with one price cost, price by price."""
    counts = rows.columns["dollars"].counts()
    return (None if price is None else price * number for price, number in counts)


def no_canaries(rows: Rows) -> Rows:
    """The reviews that are in a score."""
    return rows.take(rows.among("canary", {None}))


def _of_judges(rows: Rows, alone: bool) -> Rows:
    """The reviews of models; where people judged `alone`, their votes as those of `PEOPLE` too."""
    votes = rows.among("prompt", {VOTE})
    return rows.with_value("judge", votes, PEOPLE) if alone else rows.take(~votes)


def _voters(current: Rows, stale: Rows) -> list[Voter]:
    old = stale.take(stale.mask("scores", bool))
    votes, gone = (
        Counter(rows.take(rows.among("prompt", {VOTE})).values("judge")) for rows in (current, old)
    )
    return [
        Voter(voter=judge.removeprefix(human("")), votes=votes[judge], stale=gone[judge])
        for judge in sorted({*votes, *gone})
    ]


def _judged(
    current: Rows, stale: Rows, reviews: Rows, prompts: Mapping[str, JudgePrompt]
) -> list[Judged]:
    counted, old, bought = (rows.by("judge", "prompt") for rows in (current, stale, reviews))
    rows = []
    for key in sorted({*counted, *old}):
        same = counted.get(key) or current.take([])
        own = no_canaries(same)
        asked_here = any(own.columns["prompt_hash"].present()) and key[1] in prompts
        rows.append(
            Judged(
                judge=key[0],
                prompt=key[1],
                prompt_hash=prompts[key[1]].hash if asked_here else None,
                served=sorted(filter(None, own.columns["served"].present())),
                reviews=len(own),
                unreadable=own.how_many("scores", lambda scores: scores is None),
                outside_scale=own.how_many("flags", lambda flags: "outside_scale" in flags),
                given=own.without("soft", True).how_many("rung", lambda rung: rung == "given"),
                stale=len(old.get(key, ())),
                cut=own.how_many("cut", bool),
                dollars=dollars_of(_dollars(bought[key])),
            )
        )
    return rows


def _leaderboard(table: pd.DataFrame) -> tuple[list[Strength], list[str]]:
    """The strengths of each judging of three models or more, and why there are none."""
    rows: list[Strength] = []
    unranked: list[str] = []
    for (judge, prompt), group in groups(table, ["judge", "prompt"]):
        if len({*group["a"].unique(), *group["b"].unique()}) < FEWEST_RANKED:
            continue
        try:
            found = leaderboard(group)
        except Unranked as error:
            why = Said(
                "No leaderboard by {judge} with {prompt}: {why}.",
                judge=judge,
                prompt=prompt,
                why=error.why,
            )
            unranked.append(why)
            continue
        rows += rows_of(Strength, found.assign(judge=judge, prompt=prompt))
    return rows, unranked


def _outcomes(table: pd.DataFrame) -> list[Outcomes]:
    rows = []
    for key, group in groups(by_question(table), PAIR):
        outcomes = dict(zip(group["question"], group["outcome"], strict=True))
        rows.append(Outcomes(**dict(zip(PAIR, key, strict=True)), outcomes=outcomes))
    return rows


def canary_rows(reviews: Iterable[Review]) -> list[Canaries]:
    """What the canaries among some reviews say of their judges."""
    return rows_of(Canaries, canaries(Rows.of(reviews).without("canary", None)))
