"""Every number of the page, computed once: the schema of reports/<bank>.json.

Rates and ratios are fractions, `percent` and its interval are percent, intervals are 95%. A value
that the data do not give is null. `a` is the baseline in each pair where it takes part.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from evalkit import __version__
from evalkit.answer import standing
from evalkit.errors import Missing, Unknown, count
from evalkit.judge.judging import standing as standing_reviews
from evalkit.judge.showings import CHATGPT, identical, place
from evalkit.prompts import JudgePrompt
from evalkit.records import Answer, Bought, Question, Review
from evalkit.stats import chains, rates
from evalkit.stats.battles import battles, groups
from evalkit.stats.bradley_terry import Unranked, leaderboard
from evalkit.stats.canaries import canaries
from evalkit.stats.orders import order_effects
from evalkit.stats.sequential import decisions

FEWEST_RANKED = 3  # models: of two, their pair says it all

ALARMS = {
    "order": ("obeyed an order in an answer", "it can be led"),
    "foreign": ("did not put an answer to another question last", "its verdicts say little"),
    "empty": ("did not put an empty answer last", "its verdicts say little"),
}
"""What a judge did that missed canaries of a kind, and what that means."""


class Row(BaseModel):
    """A row of one of the tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answered(Row):
    """What one chatbot gave."""

    model: str
    served: list[str] = Field(description="model ids that the services said they were")
    answers: int
    owed: int = Field(description="questions without an answer")
    empty: int
    mean_characters: float | None
    cut: int = Field(description="ended at the limit of tokens")
    dollars: float | None = Field(description="of all rows; null where none tells its cost")


class Judged(Row):
    """What one judge gave with one prompt."""

    judge: str
    prompt: str
    served: list[str]
    reviews: int = Field(description="current ones; stale ones are not in it")
    unreadable: int
    outside_scale: int = Field(description="read, with a score of 0 on the scale of 1 to 10")
    given: int = Field(description="imported with a score that differs from what the text says")
    stale: int = Field(
        description="of a question, an answer or a prompt that does not stand now; not counted"
    )
    cut: int = Field(description="saw an answer without its middle, which did not fit")
    dollars: float | None = Field(description="of all rows, canaries and stale ones too")


class OrderEffect(Row):
    """What the order of showing did to one judge's verdicts. An item is a question of a pair."""

    judge: str
    prompt: str
    questions: int = Field(description="with a readable verdict in both orders")
    items: int
    consistent: float = Field(description="share of items with one verdict in both orders")
    consistent_low: float | None
    consistent_high: float | None
    effect: float = Field(description="win rate when shown first minus when shown second")
    effect_low: float | None
    effect_high: float | None
    flips_to_first: int
    flips_to_second: int
    flips_p: float | None = Field(description="exact binomial test of the two; null: no flips")


class Canaries(Row):
    """Calls with a known right verdict, of one kind."""

    judge: str
    prompt: str
    canary: str = Field(description="order, foreign, empty or twins")
    calls: int
    unreadable: int
    missed: int = Field(description="readable verdicts that are not the known one")
    alarm: bool


class DecisionOfPair(Row):
    """Which of two models is better, by a test that holds however often one looks."""

    judge: str
    prompt: str
    a: str
    b: str
    decision: Literal["a", "b", "tie"] | None = Field(
        description="null: not certain yet, at 5%; tie: a win rate from 47.5 to 52.5%"
    )
    after: int = Field(description="questions that it took, in an order fixed by their ids")
    questions: int


class Strength(Row):
    """A model's place on the leaderboard of one judge and prompt, by Bradley and Terry."""

    judge: str
    prompt: str
    model: str
    strength: float = Field(description="log-odds; those of all models add up to 0")
    se: float = Field(description="sandwich clustered by question")
    low: float
    high: float
    rank: int
    rank_low: int = Field(description="1 + how many models are surely stronger")
    rank_high: int = Field(description="all models less those that are surely weaker")
    questions: int


class RelativeScore(Row):
    """A model's total score in percent of the baseline's."""

    judge: str
    prompt: str
    model: str
    percent: float | None = Field(description="100 for the baseline; null: nothing connects them")
    se: float | None
    low: float | None
    high: float | None
    via: list[str] = Field(description="the bridge models, from the baseline on; [] if direct")
    questions: int | None


class Comparison(Row):
    """Two models on the same questions. Counts are of questions, except where reviews are said."""

    judge: str
    prompt: str
    a: str
    b: str
    questions: int = Field(description="with at least one readable review")
    questions_both_orders: int
    questions_alone: int = Field(description="each answer graded without the other in sight")
    ties_by_rule: int = Field(description="same answer from both, no call; in no sum or ratio")
    wins_a: int
    ties: int
    wins_b: int
    sum_a: float
    sum_b: float
    ratio_b_to_a: float | None = Field(description="sum_b / sum_a")
    ratio_se: float | None = Field(description="delta method over questions")
    ratio_low: float | None
    ratio_high: float | None
    win_rate_b: float | None = Field(description="mean over questions, a tie counts half")
    win_rate_b_se: float | None
    win_rate_b_low: float | None = Field(description="logit-t; Wilson where all are equal")
    win_rate_b_high: float | None
    reviews: int
    reviews_a_first: int
    unreadable: int = Field(description="reviews without scores; in no rate above")


class Pair(Comparison):
    """Two models on the whole bank."""

    ratio_se_stratified: float | None = Field(description="categories taken as fixed strata")
    ratio_low_stratified: float | None
    ratio_high_stratified: float | None
    ratio_by_category: float | None = Field(description="mean of the categories' own ratios")
    win_rate_b_worst: float = Field(description="if b had lost every question that is unreadable")
    win_rate_b_best: float = Field(description="if b had won them")


class PairInCategory(Comparison):
    """Two models on the questions of one category."""

    category: str
    gap_share: float | None = Field(description="its part of sum_a - sum_b over all categories")


class Results(BaseModel):
    """The file reports/<bank>.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evalkit: str = __version__
    bank: str
    baseline: str | None = Field(description="null while nothing is judged and none is named")
    judges: list[str]
    models: list[str]
    questions: int
    sample: bool = Field(description="true: a sample that came with evalkit, not a measurement")
    dollars: float | None = Field(description="of all calls whose cost is known; null: none is")
    answers: list[Answered]
    reviews: list[Judged]
    order_effects: list[OrderEffect]
    canaries: list[Canaries]
    alarms: list[str] = Field(description="why a judge's verdicts are not to be trusted")
    decisions: list[DecisionOfPair]
    leaderboard: list[Strength] = Field(description="[] with fewer than 3 models in a judging")
    unranked: list[str] = Field(description="why a judging of 3 models or more has none")
    relative_score: list[RelativeScore]
    pairs: list[Pair]
    by_category: list[PairInCategory]
    missing: list[str] = Field(description="what the reader should know is not there")

    @property
    def judgings(self) -> list[tuple[str, str]]:
        """Each judge with each of its prompts that gave a score."""
        return list(dict.fromkeys((row.judge, row.prompt) for row in self.relative_score))

    def scores(self, judge: str, prompt: str) -> list[RelativeScore]:
        """The percentages of one judging, the best first; models without one are left out."""
        same = (row for row in self.relative_score if (row.judge, row.prompt) == (judge, prompt))
        return [row for row in same if row.percent is not None]

    def decision(self, pair: Comparison) -> DecisionOfPair | None:
        """What a pair came to; None where no verdict on it could be read."""
        wanted = (pair.judge, pair.prompt, pair.a, pair.b)
        same = (d for d in self.decisions if (d.judge, d.prompt, d.a, d.b) == wanted)
        return next(same, None)

    def pair(self, of: RelativeScore | Comparison, a: str | None, b: str) -> Pair | None:
        """The pair of two models under the judge and the prompt of the row `of`, if they met."""
        wanted = (of.judge, of.prompt, a, b)
        return next((p for p in self.pairs if (p.judge, p.prompt, p.a, p.b) == wanted), None)


def results(
    bank: str,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    reviews: Sequence[Review],
    baseline: str | None = None,
    *,
    prompts: Mapping[str, JudgePrompt] | None = None,
    sample: bool = False,
) -> Results:
    """Compute everything.

    `baseline`: None takes ChatGPT where it takes part, else the model that met the most others,
    and none where nothing is judged. Raises Unknown for a baseline that is not among the models,
    Missing where none stands out. `prompts`: those that stand now; a review that was asked with
    other words is stale. `sample`: these are not measurements, and the page says so.
    """
    counted = standing(questions, answers)
    reviews = list(reviews)
    current, stale = standing_reviews(questions, answers, reviews, prompts or {})
    models = sorted({a.model for a in answers} | {name for r in reviews for name in r.shown})
    baseline = _baseline(baseline, models, current)
    categories = {question.id: question.category for question in questions}
    table = battles(current, categories, baseline, identical(counted))
    tested = canary_rows(current)
    ranked, unranked = _leaderboard(table)
    relative = chains.relative_scores(table, baseline) if baseline else pd.DataFrame()
    found = Results(
        bank=bank,
        baseline=baseline,
        judges=sorted({review.judge for review in current}),
        models=models,
        questions=len(questions),
        sample=sample,
        dollars=_dollars([*answers, *reviews]),
        answers=[_answered(model, answers, counted, categories) for model in models],
        reviews=_judged(current, stale, reviews),
        order_effects=_rows(OrderEffect, order_effects(table)),
        canaries=tested,
        alarms=[],
        decisions=_rows(DecisionOfPair, decisions(table, _places(categories))),
        leaderboard=ranked,
        unranked=unranked,
        relative_score=_rows(RelativeScore, relative),
        pairs=_rows(Pair, rates.pairs(table)),
        by_category=_rows(PairInCategory, rates.by_category(table)),
        missing=[],
    )
    said = {"missing": list(_missing(found)), "alarms": list(alarms(tested))}
    return found.model_copy(update=said)


def _baseline(given: str | None, models: list[str], reviews: Iterable[Review]) -> str | None:
    if not models:
        return given
    if given is not None:
        if given not in models:
            raise Unknown("model", given, models, "--baseline takes one of these")
        return given
    for name in CHATGPT:
        if name in models:
            return name
    pairs = {frozenset(review.shown) for review in reviews if review.canary is None}
    alone = sorted(name for pair in pairs if len(pair) == 1 for name in pair)
    pairs |= {frozenset(pair) for pair in combinations(alone, 2)}
    met = Counter(model for pair in pairs if len(pair) == 2 for model in pair).most_common(2)
    if not met:
        return models[0] if len(models) == 1 else None
    if len(met) == 1 or met[0][1] > met[1][1]:
        return met[0][0]
    raise Missing(f"which model is the baseline? Give --baseline, one of: {', '.join(models)}")


def _rows(model: type[Any], table: pd.DataFrame) -> list[Any]:
    objects = table.astype(object).where(table.notna(), None) if len(table) else table
    return [model.model_validate(row) for row in objects.to_dict("records")]


def _answered(
    model: str, answers: Iterable[Answer], counted: Iterable[Answer], bank: Collection[str]
) -> Answered:
    own = [answer for answer in counted if answer.model == model]
    lengths = [sum(map(len, answer.turns)) for answer in own]
    return Answered(
        model=model,
        served=sorted({answer.served for answer in own if answer.served}),
        answers=len(own),
        owed=len(bank) - len({answer.question for answer in own}),
        empty=sum(not any(turn.strip() for turn in answer.turns) for answer in own),
        mean_characters=sum(lengths) / len(lengths) if lengths else None,
        cut=sum(answer.finish_reason == "length" for answer in own),
        dollars=_dollars(answer for answer in answers if answer.model == model),
    )


def _dollars(rows: Iterable[Bought]) -> float | None:
    known = [row.dollars for row in rows if row.dollars is not None]
    return round(sum(known), 6) if known else None


def _judged(
    current: Sequence[Review], stale: Sequence[Review], reviews: Sequence[Review]
) -> list[Judged]:
    keys = sorted({(review.judge, review.prompt) for review in [*current, *stale]})
    rows = []
    for key in keys:
        same = [review for review in current if (review.judge, review.prompt) == key]
        own = [review for review in same if review.canary is None]
        rows.append(
            Judged(
                judge=key[0],
                prompt=key[1],
                served=sorted({review.served for review in own if review.served}),
                reviews=len(own),
                unreadable=sum(review.scores is None for review in own),
                outside_scale=sum("outside_scale" in review.flags for review in own),
                given=sum(review.rung == "given" for review in own),
                stale=sum((review.judge, review.prompt) == key for review in stale),
                cut=sum(review.cut > 0 for review in own),
                dollars=_dollars(r for r in reviews if (r.judge, r.prompt) == key),
            )
        )
    return rows


def _places(questions: Iterable[str]) -> dict[str, int]:
    """Where each question stands in an order that nobody chose: that of `showings.plan`, seed 0."""
    in_order = sorted(questions, key=lambda id_: place(0, id_))
    return {id_: number for number, id_ in enumerate(in_order)}


def _leaderboard(table: pd.DataFrame) -> tuple[list[Strength], list[str]]:
    """The strengths of each judging of three models or more, and why there are none."""
    rows: list[Strength] = []
    unranked = []
    for (judge, prompt), group in groups(table, ["judge", "prompt"]):
        if len(set(group["a"]) | set(group["b"])) < FEWEST_RANKED:
            continue
        try:
            found = leaderboard(group)
        except Unranked as error:
            unranked.append(f"No leaderboard by {judge} with {prompt}: {error}.")
            continue
        rows += _rows(Strength, found.assign(judge=judge, prompt=prompt))
    return rows, unranked


def canary_rows(reviews: Iterable[Review]) -> list[Canaries]:
    """What the canaries among some reviews say of their judges."""
    return _rows(Canaries, canaries(reviews))


def alarms(tests: Iterable[Canaries]) -> Iterator[str]:
    """What the canaries caught, in sentences."""
    for row in tests:
        if row.alarm:
            did, so = ALARMS[row.canary]
            of = f"{row.missed} of {count(row.calls - row.unreadable, 'test')}"
            yield f"{row.judge} with {row.prompt} {did} in {of}: {so}."


def _missing(found: Results) -> Iterator[str]:
    """What is absent, in sentences, so that no number is taken for more than it is."""
    if not any(row.answers for row in found.answers):
        yield "Nothing has been answered yet."
    if len(found.models) == 1:
        yield f"Only {found.models[0]} takes part: there is nothing to compare it with."
    elif found.models and not found.pairs:
        yield "No pair of answers has been judged yet."
    for row in found.answers:
        if row.owed:
            yield f"{row.model}: {row.owed} of {found.questions} answers are owed."
        if row.empty:
            yield f"{row.model}: {count(row.empty, 'answer')} {_are(row.empty)} empty."
        if row.cut:
            yield f"{row.model}: {count(row.cut, 'answer')} {_are(row.cut)} cut at the token limit."
    if found.pairs:
        yield from _missing_reviews(found)
    if stale := sum(row.stale for row in found.reviews):
        yield (
            f"{stale} reviews left out: they are of questions that are not in the bank, "
            "of answers that differ from those that stand here, or of a prompt that was changed."
        )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _missing_reviews(found: Results) -> Iterator[str]:
    for pair in found.pairs:
        name = f"{pair.a} against {pair.b}, judged by {pair.judge}"
        if short := found.questions - pair.questions:
            yield f"{name}: {short} of {found.questions} questions have no readable review."
        if pair.questions == 1:
            yield f"{name}: one question gives no interval."
    for score in found.relative_score:
        if score.percent is None:
            why = f"nothing connects it with {found.baseline}, or {found.baseline} scored 0"
            yield f"{score.model}: no percentage, since {why}."
    met = {name for pair in found.pairs for name in (pair.a, pair.b)}
    yield from (f"{model}: never judged." for model in found.models if model not in met)
