"""Every number of the page, computed once: the schema of reports/<bank>.json.

Rates and ratios are fractions, `percent` and its interval are percent, intervals are 95%. A value
that the data do not give is null. `a` is the baseline in each pair where it takes part.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from evalkit import __version__
from evalkit.answer import standing
from evalkit.errors import Missing, Unknown
from evalkit.records import Answer, Question, Review
from evalkit.stats import chains, rates
from evalkit.stats.battles import battles

CHATGPT = ("gpt-3.5-turbo", "chatgpt")


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
        description="of a question or an answer that does not stand now; not counted"
    )


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
    answers: list[Answered]
    reviews: list[Judged]
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
    sample: bool = False,
) -> Results:
    """Compute everything.

    `baseline`: None takes ChatGPT where it takes part, else the model that met the most others,
    and none where nothing is judged. Raises Unknown for a baseline that is not among the models,
    Missing where none stands out. `sample`: these are not measurements, and the page says so.
    """
    counted = standing(questions, answers)
    current, stale = _current(questions, answers, counted, reviews)
    models = sorted({a.model for a in answers} | {name for r in reviews for name in r.shown})
    baseline = _baseline(baseline, models, current)
    categories = {question.id: question.category for question in questions}
    table = battles(current, categories, baseline)
    relative = chains.relative_scores(table, baseline) if baseline else pd.DataFrame()
    found = Results(
        bank=bank,
        baseline=baseline,
        judges=sorted({review.judge for review in current}),
        models=models,
        questions=len(questions),
        sample=sample,
        answers=[_answered(model, counted, categories) for model in models],
        reviews=_judged(current, stale),
        relative_score=_rows(RelativeScore, relative),
        pairs=_rows(Pair, rates.pairs(table)),
        by_category=_rows(PairInCategory, rates.by_category(table)),
        missing=[],
    )
    return found.model_copy(update={"missing": list(_missing(found))})


def _current(
    questions: Sequence[Question],
    answers: Sequence[Answer],
    counted: Sequence[Answer],
    reviews: Sequence[Review],
) -> tuple[list[Review], list[Review]]:
    """Reviews of the bank's questions and of the answers that stand now, and the others.

    `counted`: those of the answers that stand.
    """
    bank = {question.id: question for question in questions}
    hashes: dict[tuple[str, str], set[str]] = {(a.question, a.model): set() for a in answers}
    for answer in counted:
        hashes[answer.question, answer.model].add(answer.hash)
    current: list[Review] = []
    stale: list[Review] = []
    for review in reviews:
        seen = zip(review.shown, review.answers, strict=True)
        same = all(hash_ in hashes.get((review.question, model), {hash_}) for model, hash_ in seen)
        (current if same and review.question in bank else stale).append(review)
    return current, stale


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
    pairs = {frozenset(review.shown) for review in reviews}
    met = Counter(model for pair in pairs if len(pair) == 2 for model in pair).most_common(2)
    if not met:
        return models[0] if len(models) == 1 else None
    if len(met) == 1 or met[0][1] > met[1][1]:
        return met[0][0]
    raise Missing(f"which model is the baseline? Give --baseline, one of: {', '.join(models)}")


def _rows(model: type[Any], table: pd.DataFrame) -> list[Any]:
    objects = table.astype(object).where(table.notna(), None) if len(table) else table
    return [model.model_validate(row) for row in objects.to_dict("records")]


def _answered(model: str, counted: Iterable[Answer], bank: Collection[str]) -> Answered:
    own = [answer for answer in counted if answer.model == model]
    lengths = [sum(map(len, answer.turns)) for answer in own]
    return Answered(
        model=model,
        served=sorted({answer.served for answer in own if answer.served}),
        answers=len(own),
        owed=len(bank) - len({answer.question for answer in own}),
        empty=sum(not any(turn.strip() for turn in answer.turns) for answer in own),
        mean_characters=sum(lengths) / len(lengths) if lengths else None,
    )


def _judged(current: Sequence[Review], stale: Sequence[Review]) -> list[Judged]:
    keys = sorted({(review.judge, review.prompt) for review in [*current, *stale]})
    rows = []
    for key in keys:
        own = [review for review in current if (review.judge, review.prompt) == key]
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
            )
        )
    return rows


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
    if found.pairs:
        yield from _missing_reviews(found)
    if stale := sum(row.stale for row in found.reviews):
        yield (
            f"{stale} reviews left out: they are of questions that are not in the bank, "
            "or of answers that differ from those that stand here."
        )


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
