"""The stated shape: which columns a table of ours has, and a record as one row of it, and back.

A row is a dict with a value of its own kind in each column: what JSON lines and Parquet hold. CSV
has a column for each item of a list, `turn_1`, `turn_2`, ...; `files` knows that.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from evalkit.csvfile import is_numbered
from evalkit.errors import nearest
from evalkit.records import VOTE, Answer, Question, Record, Review, human

Kind = Literal["text", "whole", "number", "truth", "texts", "numbers", "object"]
VOTER = human("")


@dataclass(frozen=True)
class Column:
    """One column: its name, the record's field, what it holds, and what that means."""

    name: str
    field: str
    kind: Kind
    meaning: str
    numbered: str = ""
    """Of a list: `turn`, where CSV has `turn_1`, `turn_2`, ..."""


@dataclass(frozen=True)
class Shape:
    """A table: `questions`, `answers`, `reviews` or `votes`."""

    name: str
    record: type[Record]
    columns: tuple[Column, ...]
    needed: tuple[tuple[str, ...], ...]
    """The columns without which there is no row; of several, one."""

    def column(self, name: str) -> Column | None:
        """The column that a file calls `name`, or of which it is one of several."""
        for column in self.columns:
            if name == column.name or (column.numbered and is_numbered(name, column.numbered)):
                return column
        return None

    def lacks(self, names: Iterable[str]) -> Iterator[str]:
        """What is wrong with a table of these columns, in sentences."""
        names = list(names)
        there = {column.name for name in names if (column := self.column(name))}
        strange = [name for name in names if not self.column(name)]
        for ways in self.needed:
            if not there & set(ways):
                known = [each for each in strange if self.record.KNOWN_AS.get(each) in ways]
                near = known[0] if known else nearest(ways[0], strange)
                hint = f" Rename '{near}'?" if near else ""
                yield f"no column {' or '.join(map(self._called, ways))}.{hint}"

    def _called(self, name: str) -> str:
        column = self.column(name)
        also = f" (in CSV '{column.numbered}_1', ...)" if column and column.numbered else ""
        return f"'{name}'{also}"

    def in_its_words(self, complaint: str) -> str:
        """What is wrong with a field of the record, told of the column."""
        for column in self.columns:
            for end in "'.":
                if complaint.startswith(start := f"'{column.field}{end}"):
                    return f"'{column.name}{end}{complaint.removeprefix(start)}"
        return complaint

    def row(self, record: Record) -> dict[str, Any]:
        """A record in this shape; what it has not is left out."""
        held = record.model_dump(exclude_defaults=True)
        if usage := held.pop("usage", None):
            held |= {f"{which}_tokens": tokens for which, tokens in usage.items()}
        if self is VOTES and isinstance(record, Review):
            held["judge"] = record.judge.removeprefix(VOTER)
            held["winner"] = _WINNERS[held.pop("scores")]
            held["order_known"] = record.order_known
        found = {column.name: held.get(column.field) for column in self.columns}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
            if value is not None
        }

    def fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as the fields of a record; columns of no such name lie in `extra`.

        Raises ValueError with a sentence where one cannot be read.
        """
        known = {column.name: column for column in self.columns}
        held: dict[str, Any] = {}
        for name in row.keys() & known:
            value = row[name]
            # A number is how some tools name things; True is one to Python only.
            is_name = known[name].kind == "text" and type(value) is int
            held[known[name].field] = str(value) if is_name else value
        strange = {name: value for name, value in row.items() if name not in known}
        if not isinstance(held.get("extra", {}), dict):
            raise ValueError("'extra' should be an object {...}")
        if strange:
            held["extra"] = {**held.get("extra", {}), **strange}
        tokens = {which: held.pop(f"{which}_tokens", None) for which in ("input", "output")}
        if None not in tokens.values():
            held["usage"] = tokens
        if self is VOTES:
            held = {"order_known": False, **held, "prompt": VOTE}
            held["judge"] = human(str(held.get("judge", "")))
        if (winner := held.pop("winner", None)) is not None:
            held["scores"] = _scores(str(winner), held.get("shown"))
        return held


def is_plain_vote(review: Review) -> bool:
    """Whether a person's vote says no more than who won, and so goes into the table of votes."""
    return review.is_vote and review.judge.startswith(VOTER) and review.scores in _WINNERS


_WINNERS: dict[tuple[float, ...], str] = {(1, 0): "1", (0, 1): "2", (0.5, 0.5): "tie"}


def _scores(winner: str, models: Any) -> tuple[float, ...]:
    """What a vote says, as scores."""
    names = [str(name) for name in models] if isinstance(models, list) else []
    by_word = {word: scores for scores, word in _WINNERS.items()}
    if winner in names:
        winner = str(names.index(winner) + 1)
    if winner.lower() not in by_word:
        raise ValueError("'winner' should be 1, 2, tie or the name of one of the two models")
    return by_word[winner.lower()]


_BOUGHT = (
    Column("sample", "sample", "whole", "which of several from the same model, from 0"),
    Column("served", "served", "text", "the model id that the service said it was"),
    Column("asked", "asked", "text", "hash of exactly what was sent"),
    Column("reasoning", "reasoning", "text", "what the model thought before, where it shows that"),
    Column("input_tokens", "input_tokens", "whole", "tokens in, as the service counted them"),
    Column("output_tokens", "output_tokens", "whole", "tokens out"),
    Column("dollars", "dollars", "number", "what the call cost"),
    Column("latency", "latency", "number", "seconds from sending to the last byte"),
    Column("finish_reason", "finish_reason", "text", "why the model stopped"),
    Column("time", "time", "text", "when the reply came, ISO 8601 in UTC"),
    Column("repaired", "repaired", "whole", "half characters that were replaced"),
    Column("refusal", "refusal", "text", "what was said instead, where the service tells it"),
    Column("sampling", "sampling", "object", "the parameters that were sent"),
    Column("template", "template", "text", "hash of the chat template"),
    Column("batch", "batch", "text", "the batch that the call was made in"),
)
_EXTRA = Column("extra", "extra", "object", "what another tool's row held besides")
_MODELS = Column("models", "shown", "texts", "the two models, first place first", "model")
_WINNER = Column("winner", "winner", "text", "1, 2, tie, or the name of one of the two models")
_VERDICT = (
    Column("scores", "scores", "numbers", "a score for each; none: unreadable", "score"),
    Column("soft", "soft", "truth", "whether the scores say how likely each is the better one"),
    Column("order_known", "order_known", "truth", "whether it was kept which came first"),
    Column("first_turns", "first_turns", "whole", "turns that were shown, where not all"),
    Column("rung", "rung", "text", "how the scores were read"),
    Column("flags", "flags", "texts", "what was strange about the reply", "flag"),
    Column("unreadable", "unreadable", "text", "why there are no scores"),
    Column("answer_hashes", "answers", "texts", "hash of each answer shown", "answer_hash"),
    Column("prompt_hash", "prompt_hash", "text", "hash of all that was told and shown"),
    Column("manner", "manner", "text", "hash of how it was asked: model id, parameters"),
    Column("cut", "cut", "whole", "characters of the answers that were left out"),
)

QUESTIONS = Shape(
    "questions",
    Question,
    (
        Column("id", "id", "text", "the question's name"),
        Column("category", "category", "text", "what kind of question it is"),
        Column("turns", "turns", "texts", "what is asked, turn by turn", "turn"),
        Column("language", "language", "text", "en where nothing stands"),
        Column("reference", "reference", "texts", "what is right, one a turn", "reference"),
        Column("checklist", "checklist", "texts", "what a good answer has", "checklist"),
        Column("tests", "tests", "texts", "Python that fails on a wrong reference", "test"),
        Column("label", "label", "texts", "of a text to be classified: what is right", "label"),
        Column("source", "source", "text", "where it comes from"),
        Column("version", "version", "text", "which edition of it"),
        _EXTRA,
    ),
    (("id",), ("category",), ("turns",)),
)
ANSWERS = Shape(
    "answers",
    Answer,
    (
        Column("question", "question", "text", "the id of the question"),
        Column("model", "model", "text", "who answered"),
        Column("answers", "turns", "texts", "what was said, turn by turn", "answer"),
        Column("question_hash", "question_hash", "text", "hash of the question's turns"),
        *_BOUGHT,
        _EXTRA,
    ),
    (("question",), ("model",), ("answers",)),
)
REVIEWS = Shape(
    "reviews",
    Review,
    (
        Column("question", "question", "text", "the id of the question"),
        Column("judge", "judge", "text", "who judged"),
        Column("prompt", "prompt", "text", "what the judge was told; `imported` if left out"),
        _MODELS,
        _WINNER,
        *_VERDICT,
        Column("text", "text", "text", "what the judge said"),
        *_BOUGHT,
        _EXTRA,
    ),
    (("question",), ("judge",), ("models",), ("scores", "winner")),
)
VOTES = Shape(
    "votes",
    Review,
    (
        Column("question", "question", "text", "the id of the question"),
        Column("voter", "judge", "text", "who says so: a person's name"),
        _MODELS,
        _WINNER,
        *_VERDICT,
        Column("text", "text", "text", "a note"),
        *_BOUGHT,
        _EXTRA,
    ),
    (("question",), ("voter",), ("models",), ("winner",)),
)
SHAPES = (QUESTIONS, ANSWERS, REVIEWS, VOTES)


def shape_of(names: Iterable[str]) -> Shape | None:
    """The table that has these columns."""
    names = list(names)
    for shape, mark in ((VOTES, "voter"), (REVIEWS, "models"), (ANSWERS, "answers")):
        if any((column := shape.column(name)) and column.name == mark for name in names):
            return shape
    asks = any((column := QUESTIONS.column(name)) and column.name == "turns" for name in names)
    return QUESTIONS if asks else None
