"""The schema of reports/<bank>.json: every number of the page, row by row.

Rates and ratios are fractions, `percent` and its interval are percent, intervals are 95%. A value
that the data do not give is null. `a` is the baseline in each pair where it takes part.
"""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator

from evalkit import __version__
from evalkit.said import Said


def _kept(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return value if isinstance(value, Said) else check(value)


Sentence = Annotated[str, WrapValidator(_kept)]
"""English in the file; what was said here keeps how it is said in another language."""


class Row(BaseModel):
    """A row of one of the tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OfPair(Row):
    """A row about two models, as one judge with one prompt sees them."""

    judge: str
    prompt: str
    a: str
    b: str

    @property
    def pair(self) -> tuple[str, str, str, str]:
        """What makes it a row about this pair; of its kind there is one, or one a category."""
        return self.judge, self.prompt, self.a, self.b


class Answered(Row):
    """What one chatbot gave."""

    model: str
    served: list[str] = Field(description="model ids that the services said they were")
    answers: int
    owed: int = Field(description="questions without an answer")
    empty: int
    mean_characters: float | None = Field(description="of the answers that count, all turns")
    cut: int = Field(description="ended at the limit of tokens")
    dollars: float | None = Field(description="of all rows; null where none tells its cost")


class Described(Row):
    """What the catalogue says of one model, word for word; null: it does not say."""

    model: str
    training_data: str | None
    training_data_size: str | None
    training_cost: str | None
    context_length: str | None
    licence: str | None
    memory: str | None = Field(description="that it takes, on the GPU or without one")
    price_input: float | None = Field(description="dollars for a million tokens")
    price_output: float | None = Field(description="dollars for a million tokens")
    price_date: str | None = Field(description="when the price was read")
    source: str | None = Field(description="where the facts stand")
    more: dict[str, str] = Field(description="other facts, by name")


class Judged(Row):
    """What one judge gave with one prompt."""

    judge: str
    prompt: str
    prompt_hash: str | None = Field(description="of the prompt's words; null: another tool's")
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


class JudgeCard(Row):
    """How far one judge with one prompt can be trusted, as its own verdicts tell.

    An item is a question of a pair. Shares are fractions.
    """

    judge: str
    prompt: str
    reviews: int = Field(description="current ones, without canaries")
    unreadable: float = Field(description="share of reviews without scores")
    unreadable_low: float
    unreadable_high: float
    refused: int = Field(description="reviews in which the judge would not judge")
    questions: int = Field(description="with a readable verdict in both orders")
    items: int
    consistent: float | None = Field(description="share of items with one verdict in both orders")
    consistent_low: float | None
    consistent_high: float | None
    order_kappa: float | None = Field(description="Cohen's kappa between the two orders")
    order_kappa_low: float | None = Field(description="BCa bootstrap over questions")
    order_kappa_high: float | None
    effect: float | None = Field(description="win rate when shown first minus when shown second")
    effect_low: float | None
    effect_high: float | None
    flips_to_first: int
    flips_to_second: int
    flips_p: float | None = Field(description="exact binomial test of the two; null: no flips")
    asked_again: int = Field(description="showings that were asked more than once")
    repeated: float | None = Field(description="share of pairs of their verdicts that agree")
    repeated_low: float | None
    repeated_high: float | None
    decided: int = Field(description="items with a winner and answers of different length")
    longer_won: int
    longer: float | None = Field(description="longer_won / decided; an association, no cause")
    longer_low: float | None
    longer_high: float | None


class JudgeInCategory(Row):
    """How often one judge says the same in both orders, on the questions of one category."""

    judge: str
    prompt: str
    category: str
    questions: int
    consistent: float = Field(description="shrunken towards the judge's mean (empirical Bayes)")
    low: float | None
    high: float | None


class Agreement(Row):
    """Two judges, or one with two prompts, on the items that both judged."""

    judge: str
    prompt: str
    other_judge: str
    other_prompt: str
    items: int
    questions: int
    agreement: float = Field(description="share of items; a tie against a winner agrees half")
    agreement_low: float | None = Field(description="BCa bootstrap over questions, as all here")
    agreement_high: float | None
    kappa: float | None = Field(description="Cohen's, of a, tie, b; null: chance always agrees")
    kappa_low: float | None
    kappa_high: float | None
    ac1: float | None = Field(description="Gwet's AC1")
    ac1_low: float | None
    ac1_high: float | None


class Panel(Row):
    """All judges together."""

    judges: int = Field(description="judges with their prompts")
    items: int = Field(description="judged by two of them or more")
    questions: int
    alpha: float | None = Field(description="Krippendorff's, of a, tie, b; null: nothing varies")
    alpha_low: float | None
    alpha_high: float | None


class PooledPair(Row):
    """Two models by all their judges, whose outcomes are averaged question by question."""

    a: str
    b: str
    judges: int
    questions: int
    win_rate_b: float
    win_rate_b_se: float | None
    win_rate_b_low: float | None
    win_rate_b_high: float | None


class WithPeople(Row):
    """How far a judge agrees with one person; of the judge `people`, one person with another."""

    judge: str
    prompt: str
    people: int = Field(description="who voted on these items")
    items: int = Field(description="questions of a pair with a vote; of `people`, with several")
    questions: int
    agreement: float = Field(description="a tie against a winner agrees half; every vote counts")
    agreement_low: float | None = Field(description="BCa bootstrap over questions, as all here")
    agreement_high: float | None
    kappa: float | None = Field(description="Cohen's, of a, tie, b; null: chance always agrees")
    kappa_low: float | None
    kappa_high: float | None
    ac1: float | None = Field(description="Gwet's AC1")
    ac1_low: float | None
    ac1_high: float | None


class Voter(Row):
    """A person who voted, by name; the votes are those of judge `human-<name>`."""

    voter: str = Field(description="without the `human-`")
    votes: int = Field(description="current ones; stale ones are not in it")
    stale: int = Field(description="of a question or an answer that does not stand now")


class Detected(Row):
    """What can be seen of one chatbot's answers without a judge."""

    model: str
    answers: int = Field(description="that are not empty")
    identical: float | None = Field(description="1 - different answers / answers; alarm over 0.5")
    judge_talk: float | None = Field(description="share that speaks to a judge; alarm over 0.5")
    relevance_lift: float | None = Field(
        description="share of the question's words in its answer, over other questions'; "
        "alarm under 0.05"
    )
    copied: float | None = Field(description="share that is another model's; alarm over 0.5")
    copied_from: str | None
    alarms: list[str] = Field(description="names of the values above that are beyond their limit")


class LengthControlled(Row):
    """A model's win rate against the baseline, were its answers as long."""

    judge: str
    prompt: str
    model: str
    win_rate: float | None
    se: float | None = Field(description="from the influence function; coefficients count")
    low: float | None
    high: float | None
    length_effect: float | None = Field(
        description="log-odds won by an answer much longer than the baseline's"
    )
    questions: int
    why: Sentence | None = Field(description="why there is none")


class Difference(OfPair):
    """Two models that both met the baseline, on the same questions."""

    questions: int
    win_rate: float = Field(description="b's win rate against the baseline minus a's")
    win_rate_se: float | None
    win_rate_low: float | None
    win_rate_high: float | None


class Race(Row):
    """Which model is the best, by a test that holds however often one looks."""

    judge: str
    prompt: str
    left: list[str] = Field(description="may still be the best; the best drops out in 5% at most")
    after: int = Field(description="questions until one was left, or all that there were")
    questions: int


class Canaries(Row):
    """Calls with a known right verdict, of one kind."""

    judge: str
    prompt: str
    canary: str = Field(description="order, foreign, empty or twins")
    calls: int
    unreadable: int
    missed: int = Field(description="readable verdicts that are not the known one")
    alarm: bool


class DecisionOfPair(OfPair):
    """Which of two models is better, by a test that holds however often one looks."""

    decision: Literal["a", "b", "tie"] | None = Field(
        description="null: not certain yet, at 5% over all pairs (e-BH); "
        "tie: a win rate from 47.5 to 52.5%"
    )
    after: int = Field(description="questions that it took, in an order fixed by their ids")
    questions: int
    low: float = Field(description="of b's win rate; holds however judging was stopped")
    high: float
    more: int | None = Field(
        description="about how many more such questions would decide it; null: decided, or far off"
    )


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


class Comparison(OfPair):
    """Two models on the same questions. Counts are of questions, except where reviews are said."""

    questions: int = Field(description="with at least one readable review")
    questions_both_orders: int
    questions_alone: int = Field(description="each answer graded without the other in sight")
    questions_order_unknown: int = Field(description="asked by a tool that did not keep the order")
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
    win_rate_b_shrunken: float | None = Field(
        description="towards the mean of the categories (empirical Bayes); null: fewer than four"
    )
    win_rate_b_shrunken_low: float | None
    win_rate_b_shrunken_high: float | None
    gap_share: float | None = Field(description="its part of sum_a - sum_b over all categories")


class Calibrated(OfPair):
    """What people said of a pair that a judge has read, and would have said of all its questions.

    A label is a question of the pair with a vote; several votes on it are averaged.
    """

    questions: int
    labels: int = Field(description="questions with a vote, that the judge has read too")
    win_rate_b: float = Field(description="the judge's")
    win_rate_b_calibrated: float = Field(
        description="people's on all questions, from labels and judge (PPI++)"
    )
    win_rate_b_calibrated_se: float | None
    win_rate_b_calibrated_low: float | None = Field(description="t on the log-odds, labels - 1")
    win_rate_b_calibrated_high: float | None
    win_rate_b_people: float = Field(description="people's, of their labels alone")
    win_rate_b_people_low: float | None
    win_rate_b_people_high: float | None
    bias: float = Field(description="the judge's win rate minus people's, where both spoke (t)")
    bias_low: float | None
    bias_high: float | None
    lam: float = Field(description="weight of the judge; 0: people's labels stand alone")
    rho: float | None = Field(
        description="correlation of the judge with people inside a pair, over all its pairs"
    )
    multiplier: float | None = Field(
        description="labels alone that one beside this judge is worth, at most"
    )
    more_labels: int | None = Field(
        description="that would halve the calibrated interval; null: labels on all would not"
    )
    enough: bool = Field(
        description="20 labels of the pair or 40 of all pairs: it may be called human-calibrated"
    )


class Outcomes(OfPair):
    """Who won each question of a pair."""

    outcomes: dict[str, float] = Field(
        description="by question, b's: 1 won, 0.5 tied, 0 lost, between them where orders disagree"
    )


class Change(OfPair):
    """A pair in this run and in an earlier one."""

    ratio_then: float | None = Field(description="sum_b / sum_a")
    ratio_now: float | None = Field(description="sum_b / sum_a")
    win_rate_then: float | None = Field(description="b's")
    win_rate_now: float | None = Field(description="b's")
    questions_then: int = Field(description="with at least one readable review")
    questions_now: int = Field(description="with at least one readable review")
    to_b: list[str] = Field(description="questions whose verdict turned towards b")
    to_a: list[str] = Field(description="questions whose verdict turned towards a")


class OfPrompt(Row):
    """A row about one model with one prompt, which label texts."""

    model: str
    prompt: str


class Replied(Answered):
    """What one chatbot gave when it was asked for labels with one prompt."""

    prompt: str


class LabelScore(OfPrompt):
    """How well one model with one prompt labels texts, on those with a truth."""

    texts: int = Field(description="with a truth and a reply")
    unreadable: int = Field(description="wrong, and never a label")
    accuracy: float | None = Field(description="share of all of them that is right")
    accuracy_low: float | None = Field(description="Wilson, as that of the readable ones")
    accuracy_high: float | None
    accuracy_readable: float | None = Field(description="of those that it could be read on")
    accuracy_readable_low: float | None
    accuracy_readable_high: float | None
    labels: int = Field(description="that stand in a truth or were said; the means are of these")
    macro_precision: float | None = Field(description="mean over the labels that occur")
    macro_recall: float | None = Field(description="mean over the labels that occur")
    macro_f1: float | None = Field(description="mean over the labels that occur")
    macro_f1_low: float | None = Field(description="BCa bootstrap over texts")
    macro_f1_high: float | None
    weighted_precision: float | None = Field(
        description="mean weighted by the texts that have each label"
    )
    weighted_recall: float | None = Field(
        description="mean weighted by the texts that have each label"
    )
    weighted_f1: float | None = Field(description="mean weighted by the texts that have each label")
    kappa: float | None = Field(description="Cohen's, with the truth, on the readable ones")
    dollars_per_thousand: float | None = Field(description="texts; null: no price is known")
    truth: str = Field(description="the bank, or the model whose labels stand in for it")


class OfLabel(OfPrompt):
    """One label of those that one model with one prompt gave."""

    label: str = Field(description="as the bank or --labels has it")
    support: int = Field(description="texts that have it")
    predicted: int = Field(description="texts of which it was said")
    precision: float | None = Field(description="null: the label does not occur at all")
    precision_low: float | None = Field(description="Wilson; null: it was never said")
    precision_high: float | None
    recall: float | None = Field(description="null: the label does not occur at all")
    recall_low: float | None = Field(description="Wilson; null: no text has it")
    recall_high: float | None
    f1: float | None = Field(
        description="2 hits / (support + predicted); null: it does not occur at all"
    )


class Confusion(OfPrompt):
    """What one model with one prompt said of each truth, where a text has exactly one label."""

    labels: list[str] = Field(description="of the rows and of all columns but the last")
    texts: list[list[int]] = Field(
        description="a row for each truth: texts by the label that was said, the last unreadable"
    )


class Labelling(Row):
    """Two models or prompts on the texts that both were asked about."""

    a: str
    prompt_a: str = Field(description="with which a was asked")
    b: str
    prompt_b: str = Field(description="with which b was asked")
    texts: int = Field(description="that both were asked about")
    both_read: int = Field(description="texts on which both can be read")
    agreement: float | None = Field(description="share of these with the same labels")
    kappa: float | None = Field(description="Cohen's, on the same")
    labelled: int = Field(description="texts with a truth; what follows is on them")
    only_a: int = Field(description="texts that only a had right")
    only_b: int = Field(description="texts that only b had right")
    p: float | None = Field(description="McNemar's exact test of these two")
    difference: float | None = Field(description="b's accuracy minus a's")
    difference_low: float | None = Field(description="Tango's score interval")
    difference_high: float | None
    verdict_b: Literal["better", "not worse", "worse", "open"] | None = Field(
        description="b beside a, worse being by more than the margin; null: no text has a label"
    )
    verdict_a: Literal["better", "not worse", "worse", "open"] | None = Field(
        description="a beside b, in the same words"
    )

    def beside(self, reference: str) -> "Beside | None":
        """The other model beside the reference, with the same prompt; None for other pairs."""
        if self.prompt_a != self.prompt_b or (self.a == reference) == (self.b == reference):
            return None
        found = self.difference, self.difference_low, self.difference_high
        if self.a == reference:
            return Beside(self.b, self.verdict_b, *found)
        value, low, high = (None if each is None else 0 - each for each in found)
        return Beside(self.a, self.verdict_a, value, high, low)


class Beside(NamedTuple):
    """A model beside the reference: what is said of it, and its accuracy minus the other's."""

    model: str
    verdict: str | None
    difference: float | None
    low: float | None
    high: float | None


class ToLabel(Row):
    """A text without a label that is best labelled by hand."""

    question: str = Field(description="its id")
    votes: int = Field(description="models and prompts that read it")
    entropy: float = Field(description="bits; 0: all of them agree")


class Unreadable(OfPrompt):
    """Replies that could not be read, for one reason."""

    why: str = Field(description="as the parser says it")
    replies: int = Field(description="of several to a text one counts")


class BreakEven(Row):
    """When a machine of one's own costs no more than a service that labels texts."""

    model: str
    prompt: str
    per_hour: float = Field(description="dollars for each hour that the machine is paid for")
    texts: float = Field(description="an hour, from which it costs no more")


class Labelled(Row):
    """How chatbots label the texts of a bank."""

    reference: str = Field(description="whom the others shall not be worse than")
    margin: float = Field(description="accuracy that may be lost, a fraction")
    labels: list[str] = Field(description="all that there are")
    texts: int = Field(description="that were to be labelled")
    with_truth: int = Field(description="of these, that the bank has a label for")
    set_apart: int = Field(description="texts that examples are taken from; nothing is asked there")
    replies: list[Replied] = Field(description="a row a model and prompt")
    scores: list[LabelScore] = Field(description="a row a model and prompt")
    by_label: list[OfLabel] = Field(description="a row a model, prompt and label")
    confusion: list[Confusion] = Field(description="[] where a text may have several labels")
    between: list[Labelling] = Field(description="a row for every two models or prompts")
    reasons: list[Unreadable] = Field(description="why replies could not be read")
    to_label_first: list[ToLabel] = Field(description="where the models disagree most, first")
    break_even: list[BreakEven] = Field(
        description="of the reference; [] without a machine's price"
    )
    wrong: int = Field(description="texts on which one of them is wrong or cannot be read")

    @property
    def stand_in(self) -> str | None:
        """The model whose labels stand in for the truth; None where the bank has it."""
        return next((row.truth for row in self.scores if row.truth != "the bank"), None)

    @property
    def priced(self) -> list[LabelScore]:
        """The scores whose price is known."""
        return [row for row in self.scores if row.dollars_per_thousand is not None]

    def price(self, model: str, prompt: str) -> float | None:
        """Dollars for 1,000 texts; None where it is not known."""
        same = (row for row in self.scores if (row.model, row.prompt) == (model, prompt))
        return next((row.dollars_per_thousand for row in same), None)


class Results(BaseModel):
    """The file reports/<bank>.json; of texts that were labelled, reports/<bank>.labels.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evalkit: str = __version__
    bank: str
    bank_hash: str = Field(description="of the ids and the texts of its questions")
    baseline: str | None = Field(description="null while nothing is judged and none is named")
    judges: list[str] = Field(description="models; people, as `people`, where they alone judged")
    models: list[str]
    questions: int
    sample: bool = Field(description="true: a sample that came with evalkit, not a measurement")
    dollars: float | None = Field(description="of all calls whose cost is known; null: none is")
    earliest: str | None = Field(description="day of the first call that counts; null: not said")
    latest: str | None = Field(description="day of the last one")
    answers: list[Answered]
    reviews: list[Judged]
    described: list[Described] = Field(description="models that the catalogue knows facts of")
    judge_card: list[JudgeCard]
    judge_by_category: list[JudgeInCategory]
    agreement: list[Agreement] = Field(description="[] with fewer than two judges")
    panel: Panel | None
    with_people: list[WithPeople] = Field([], description="[] where nobody voted")
    voters: list[Voter] = Field([], description="people; they are in no table of judges")
    canaries: list[Canaries]
    detectors: list[Detected]
    alarms: list[Sentence] = Field(
        description="why a judge, or a model's answers, are not to be trusted"
    )
    decisions: list[DecisionOfPair]
    races: list[Race] = Field(description="[] with fewer than 3 models in a judging")
    leaderboard: list[Strength] = Field(description="[] with fewer than 3 models in a judging")
    unranked: list[Sentence] = Field(description="why a judging of 3 models or more has none")
    relative_score: list[RelativeScore]
    length_controlled: list[LengthControlled]
    differences: list[Difference]
    pairs: list[Pair]
    pooled: list[PooledPair] = Field(description="[] with fewer than two judges")
    by_category: list[PairInCategory]
    calibration: list[Calibrated] = Field([], description="pairs with a label; [] without votes")
    outcomes: list[Outcomes]
    changes: list[Change] = Field([], description="since the run that --against named")
    changed: list[Sentence] = Field([], description="what else is not as it was then")
    labelled: Labelled | None = Field(None, description="null: no texts were to be labelled")
    missing: list[Sentence] = Field(description="what the reader should know is not there")

    @property
    def judgings(self) -> list[tuple[str, str]]:
        """Each judge with each of its prompts that gave a score."""
        return list(dict.fromkeys((row.judge, row.prompt) for row in self.relative_score))

    def scores(self, judge: str, prompt: str) -> list[RelativeScore]:
        """The models of one judging, the best first.

        By their percentages; where its judge graded nothing, by their win rates against the
        baseline. Models without either are left out.
        """
        same = [row for row in self.relative_score if (row.judge, row.prompt) == (judge, prompt)]
        graded = [row for row in same if row.percent is not None]
        if len(graded) > 1:
            return graded
        rates = {row.model: self._win_rate(row) for row in same}
        rated = [row for row in same if rates[row.model] is not None]
        return sorted(rated, key=lambda row: -(rates[row.model] or 0)) if len(rated) > 1 else graded

    def _win_rate(self, score: RelativeScore) -> float | None:
        """Against the baseline, which is as good as itself."""
        pair = self.pair(score, self.baseline, score.model)
        if score.model == self.baseline:
            return 0.5
        return pair.win_rate_b if pair else None

    def cards(self, judge: str, prompt: str) -> list[JudgeCard]:
        """The report card of one judging, where there is one."""
        return [row for row in self.judge_card if (row.judge, row.prompt) == (judge, prompt)]

    def decision(self, pair: Comparison) -> DecisionOfPair | None:
        """What a pair came to; None where no verdict on it could be read."""
        return next((each for each in self.decisions if each.pair == pair.pair), None)

    def calibrated(self, pair: Comparison) -> Calibrated | None:
        """What people say of a pair of one judge; None where they have not voted on it."""
        return next((each for each in self.calibration if each.pair == pair.pair), None)

    def pair(
        self, of: RelativeScore | Comparison | LengthControlled | Difference, a: str | None, b: str
    ) -> Pair | None:
        """The pair of two models under the judge and the prompt of the row `of`, if they met."""
        wanted = (of.judge, of.prompt, a, b)
        return next((each for each in self.pairs if each.pair == wanted), None)
