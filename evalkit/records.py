"""Question, Answer, Review: the three records that flow through everything.

A Question is written by hand. An Answer and a Review are bought: each is one call to a model,
kept word for word, with the hash of what was asked, so that rows of another question, prompt or
answer can be told apart from it.

These classes check themselves and nothing else. They know no file, no model and no statistic.
"""

import hashlib
import json
import re
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

Texts = Annotated[tuple[str, ...], Strict(False)]  # JSON has lists only
Scores = Annotated[tuple[float, ...], Strict(False)]
Rung = Literal["structured", "strict", "tolerant", "repaired", "given"]
Canary = Literal["order", "foreign", "empty", "twins"]
"""An answer with an order to the judge, one to another question, none at all, the same twice."""

VOTE = "vote"
"""The prompt of a person's vote, which is a review too."""


def human(name: str) -> str:
    """The judge that a person called `name` is."""
    return f"human-{name}"


_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
_of_texts = msgspec.json.Encoder().encode


def short_hash(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of `value` as canonical JSON."""
    if isinstance(value, list | tuple) and set(map(type, value)) == {str}:
        try:
            return hashlib.sha256(_of_texts(value)).hexdigest()[:16]  # the same, much faster
        except UnicodeEncodeError:  # half a surrogate pair
            pass
    text = _canonical(value)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def place(question: str) -> str:
    """Where a question stands in the order of judging: one that nobody chose, from its id alone."""
    return short_hash(["place", question])


class Record(BaseModel):
    """A row: unknown fields are refused, numbers are finite, nothing is converted in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    # What people call a field in other tools -> what it is called here; for error messages.
    KNOWN_AS: ClassVar[dict[str, str]] = {}

    extra: dict[str, Any] = {}
    """What another tool's row held besides, so that an export can give it back."""

    def line(self) -> str:
        """The record as one line of JSON, without its newline; defaults are left out."""
        return json.dumps(self.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)


class Question(Record):
    """One item of a bank: what is asked, turn by turn."""

    KNOWN_AS = {
        "text": "turns",
        "question": "turns",
        "prompt": "turns",
        "instruction": "turns",
        "question_id": "id",
        "uid": "id",
    }

    id: str = Field(min_length=1)
    category: str = Field(min_length=1)
    turns: Texts = Field(min_length=1)
    language: str = Field("en", min_length=1)
    reference: Texts = ()
    """What a right answer must come to, one text a turn; the judge sees it."""
    checklist: Texts = ()
    """Points that a good answer meets."""
    tests: Texts = ()
    """Python that fails where a turn's reference is wrong; see `evalkit.questions.references`."""
    label: Texts = ()
    """Of a text that is to be classified: the right label, or several; none where nobody said."""
    source: str | None = None
    version: str | None = None

    @model_validator(mode="after")
    def _something_is_asked(self) -> "Question":
        if not all(turn.strip() for turn in self.turns):
            raise ValueError(f"question '{self.id}' has an empty turn")
        if re.search("[\ud800-\udfff]", self.line()):
            raise ValueError("half of a character (a lone surrogate, as of an emoji that was cut)")
        return self


class Usage(Record):
    """Tokens of one call, as the service counted them."""

    input: int
    output: int


class Bought(Record):
    """What every call to a model leaves behind, whoever was asked."""

    KEY: ClassVar[tuple[str, ...]]

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes this row this row; a second one with the same key adds nothing."""
        return tuple(getattr(self, name) for name in self.KEY)

    served: str | None = None
    """The model id that the service said it was; None where it did not say."""
    asked: str
    """`short_hash` of exactly what was sent: messages, sampling parameters, model id.

    Of an imported row: of what makes it itself in its own tool."""
    sample: int = 0
    reasoning: str | None = None
    usage: Usage | None = None
    dollars: float | None = None
    latency: float | None = None
    """Seconds from sending to the last byte."""
    finish_reason: str | None = None
    time: str | None = None
    """When the reply came, ISO 8601 in UTC."""
    repaired: int = 0
    """How many half surrogates in the text were replaced by U+FFFD."""
    refusal: str | None = None
    """What a model said instead of an answer, where the service tells the two apart."""
    sampling: dict[str, int | float] | None = None
    """The parameters that were really sent, under the names that the service took."""
    template: str | None = None
    """Hash of the chat template that the messages were put into; None where a service did that."""
    batch: str | None = None
    """The batch that the call was made in, as its service calls it; None: it was made alone."""


class Answer(Bought):
    """What one chatbot said to one question, turn by turn. Empty text is an answer too.

    One row a call: of a question with several turns, each row holds one turn more than the row
    before it, and the last of them is the answer.
    """

    KEY = ("question", "model", "sample", "asked")

    question: str
    model: str
    turns: Texts = Field(min_length=1)
    question_hash: str | None = None
    """`short_hash` of the question's turns; None where the tool it came from did not say."""

    @cached_property
    def hash(self) -> str:
        """`short_hash` of the turns: how a Review says which text its judge saw."""
        return short_hash(self.turns)

    @property
    def characters(self) -> int:
        """Of all turns."""
        return sum(map(len, self.turns))

    @property
    def is_empty(self) -> bool:
        """Whether no turn says anything."""
        return not any(turn.strip() for turn in self.turns)


class Review(Bought):
    """What one judge said of the answers it was shown, in the order in which it saw them."""

    KEY = ("question", "judge", "prompt", "shown", "answers", "sample", "asked")

    question: str
    judge: str
    prompt: str
    shown: Texts = Field(min_length=1)
    """The models' names, first place first."""
    answers: Texts = Field(min_length=1)
    """`Answer.hash` of each answer shown, in the same order."""
    text: str
    scores: Scores | None
    """A score for each answer shown, in the same order; None when the reply cannot be read."""
    first_turns: int | None = Field(None, ge=1)
    """How many turns the judge was shown, where another tool judges a conversation before its end;
    None: all of it."""
    soft: bool = False
    """The scores say how likely each answer is the better one: the outcome is one of them, and not
    1 or 0. Two that add up to 1."""
    order_known: bool = True
    """False where another tool asked, which did not keep in which order it showed the answers."""
    rung: Rung | None = None
    """How the scores were read from the text; `given`: taken from an imported row instead."""
    flags: Texts = ()
    unreadable: str | None = None
    """Why there are no scores."""
    prompt_hash: str | None = None
    """`short_hash` of all that the judge was told and shown; None where another tool asked."""
    manner: str | None = None
    """`short_hash` of how it was asked: model id, parameters, schema, context. Rows that agree in
    this, in `prompt_hash` and in what was shown were asked the same. None: not known."""
    cut: int = 0
    """Characters of the answers that did not fit into the judge's context and were left out."""
    canary: Canary | None = None
    """A call with a known right verdict, which tests the judge; it is in no score."""
    right: int | None = None
    """Of a canary: the place, from 0, of the answer that must win; None where it must be a tie."""

    @property
    def is_vote(self) -> bool:
        """Whether a person says it, and no model."""
        return self.prompt == VOTE

    @model_validator(mode="after")
    def _one_score_for_each_answer(self) -> "Review":
        if len(self.answers) != len(self.shown):
            raise ValueError(f"{len(self.shown)} shown, but {len(self.answers)} answers")
        if self.scores is not None and len(self.scores) != len(self.shown):
            raise ValueError(f"{len(self.shown)} shown, but {len(self.scores)} scores")
        if self.scores is not None and min(self.scores) < 0:
            raise ValueError("a score below 0")
        if self.soft and (len(self.shown) != 2 or abs(sum(self.scores or (1,)) - 1) > 1e-9):
            raise ValueError("soft scores are two that add up to 1")
        return self
