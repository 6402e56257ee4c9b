"""Arena-Hard-Auto's files: question.jsonl, model_answer/, model_judgment/<judge>/<model>.jsonl.

Source: lmarena/arena-hard-auto, in both layouts: that of 2024 (`question_id`, `choices`) and that
of 2025 (`uid`, `messages`), which also old data were rewritten to. A judgment holds two games: in
the first the baseline is A, in the second the model. A verdict in five steps keeps its strength as
shares, from A>>B, all to A, to B>>A; a game that is null was not judged.

The layout of 2024 does not name the baseline; it is the one that tool came with, and that is told.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evalkit import jsonl
from evalkit.errors import BadPath, Fault, count
from evalkit.formats import (
    Exported,
    Given,
    Held,
    Imported,
    Theirs,
    Writer,
    as_lines,
    file_name,
    first_row,
    refuse,
)
from evalkit.parsers.verdicts import FIVE
from evalkit.records import Answer, Question, Review, short_hash

BANK: str | None = "arena-hard"
TAKES: Collection[str] = ()
PROMPT = "arena-hard"
CATEGORY = "generic"
BASELINE = "gpt-4-0314"  # of the layout that does not name it
KEPT = "arena_hard"
"""Where in `extra` the fields are that have no place of their own here."""


class _Part(BaseModel):
    """A part of a row."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Asked(Theirs):
    """A row that is about a question."""

    question_id: str | None = None
    uid: str | None = None

    @property
    def question(self) -> str:
        return self.uid or self.question_id or ""


class _Turn(_Part):
    content: str


class _Question(_Asked):
    category: str = "arena-hard"
    turns: list[_Turn] | None = Field(None, min_length=1)
    prompt: str | None = None

    @model_validator(mode="after")
    def _asks(self) -> "_Question":
        if not (self.uid or self.question_id):
            raise ValueError("expected 'uid' or 'question_id'")
        if not (self.prompt or self.turns):
            raise ValueError("expected 'prompt' or 'turns'")
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.prompt,) if self.prompt else tuple(t.content for t in self.turns or ())


class _Choice(_Part):
    turns: list[_Turn] = Field(min_length=1)


class _Message(_Part):
    role: str
    content: str | dict[str, Any]


class _Answer(_Asked):
    model_id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = Field(None, min_length=1)
    messages: list[_Message] | None = None

    @model_validator(mode="after")
    def _answers(self) -> "_Answer":
        if not (self.uid or self.question_id) or not (self.model or self.model_id):
            raise ValueError("expected 'uid' and 'model', or 'question_id' and 'model_id'")
        if not self.texts:
            raise ValueError("expected an answer in 'messages' or 'choices'")
        return self

    @property
    def who(self) -> str:
        return self.model or self.model_id or ""

    @property
    def texts(self) -> tuple[str, ...]:
        if self.choices:
            return tuple(turn.content for turn in self.choices[0].turns)
        said = (m.content for m in self.messages or () if m.role == "assistant")
        return tuple(str(c.get("answer", "")) if isinstance(c, dict) else c for c in said)


class _Game(_Part):
    score: str | None = None
    judgment: str | dict[str, Any] | None = None

    @property
    def text(self) -> str:
        said = self.judgment.get("answer") if isinstance(self.judgment, dict) else self.judgment
        return said if isinstance(said, str) else ""

    @property
    def thought(self) -> str | None:
        said = self.judgment.get("thought") if isinstance(self.judgment, dict) else None
        return said if isinstance(said, str) else None


class _Judgment(_Asked):
    model: str
    judge: str
    baseline: str = BASELINE
    games: list[_Game | None]


@dataclass
class _Files:
    """All rows of a folder."""

    questions: list[tuple[str, _Question]] = field(default_factory=list)
    answers: list[tuple[str, _Answer]] = field(default_factory=list)
    judgments: list[tuple[str, _Judgment]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def look(self, path: Path) -> None:
        """Read what lies in a folder; what is wrong goes to `faults`."""
        faults = self.faults
        self.questions = list(jsonl.stream(path / "question.jsonl", _Question, faults))
        for file in jsonl.files(path / "model_answer"):
            self.answers += jsonl.stream(file, _Answer, faults)
        for file in jsonl.files(path / "model_judgment", below=True):
            self.judgments += jsonl.stream(file, _Judgment, faults)
        faults += jsonl.doubled(self.questions, "question")
        known = {row.question for _, row in self.questions}
        for where, other in [*self.answers, *self.judgments]:
            if known and other.question not in known:
                faults.append(Fault(where, f"no question {other.question!r} in question.jsonl"))


def recognises(path: Path) -> bool:
    """A folder with model_answer/, and question.jsonl with a `prompt`, or with turns that hold
    their `content`.
    """
    if not (path / "question.jsonl").is_file() or not (path / "model_answer").is_dir():
        return False
    row = first_row(path / "question.jsonl")
    turns = row.get("turns") or [None]
    return ("uid" in row and "prompt" in row) or isinstance(turns[0], dict)


def read(path: Path, given: Given) -> Imported:  # noqa: ARG001
    """Read a folder. Raises BadFile with every fault found in any of its files."""
    if not path.is_dir():
        raise BadPath(f"{path}: expected a folder with question.jsonl and model_answer/")
    files = _Files()
    files.look(path)
    refuse(path / "question.jsonl", files.faults, files.questions)
    answers = [_answer(row) for _, row in files.answers]
    hashes = {(answer.question, answer.model): answer.hash for answer in answers}
    found = [list(_reviews(row, hashes)) for _, row in files.judgments]
    return Imported(
        [_question(row) for _, row in files.questions],
        [*answers, *(review for reviews in found for review in reviews)],
        list(_told(files, sum(not reviews for reviews in found))),
        category=CATEGORY,
    )


def _told(files: _Files, lost: int) -> Iterator[str]:
    if lost:
        yield f"{count(lost, 'judgment')} left out, of answers that are not here"
    if any("baseline" not in row.model_fields_set for _, row in files.judgments):
        yield f"the baseline is not in these files; it is taken for {BASELINE}, that tool's own"
    nulls = sum(game is None or game.score is None for _, r in files.judgments for game in r.games)
    if nulls:
        yield f"{count(nulls, 'game')} without a score: unreadable, in no rate"
    twice = len(files.answers) - len({(row.question, row.who) for _, row in files.answers})
    if twice:
        yield f"{count(twice, 'answer')} twice to one question; the last one counts"


def _kept(row: Theirs) -> dict[str, Any]:
    return {KEPT: row.besides()}


def _question(row: _Question) -> Question:
    return Question(id=row.question, category=row.category, turns=row.texts, extra=_kept(row))


def _answer(row: _Answer) -> Answer:
    return Answer(
        question=row.question,
        model=row.who,
        turns=row.texts,
        asked=short_hash([row.question, row.who, row.texts]),
        repaired=row.repaired,
        extra=_kept(row),
    )


def _reviews(row: _Judgment, hashes: Mapping[tuple[str, str], str]) -> Iterator[Review]:
    """One for each game; nothing where an answer is not here."""
    keys = [(row.question, row.baseline), (row.question, row.model)]
    if not all(key in hashes for key in keys):
        return
    base, own = (hashes[key] for key in keys)
    for number, game in enumerate(row.games[:2]):
        shown, seen = (row.baseline, row.model), (base, own)
        if number == 1:
            shown, seen = shown[::-1], seen[::-1]
        scores = FIVE.get((game.score or "").replace(" ", "")) if game else None
        yield Review(
            question=row.question,
            judge=row.judge,
            prompt=PROMPT,
            shown=shown,
            answers=seen,
            text=game.text if game else "",
            reasoning=game.thought if game else None,
            scores=scores,
            rung="strict" if scores else None,
            unreadable=None if scores else "no score" if game else "no game",
            asked=short_hash([PROMPT, row.judge, row.question, shown, seen]),
            extra=_kept(row) if number == 0 else {},
        )


def write(held: Held) -> Exported:
    """The layout of 2025, but what came in that of 2024 goes back in it.

    That tool knows questions of one turn, and takes the first model shown for the baseline.
    """
    files: dict[str, list[dict[str, Any]]] = {"question.jsonl": []}
    asked = held.single
    for question in held.questions:
        own: dict[str, Any] = {"uid": question.id, "category": question.category}
        own["prompt"] = question.turns[0]
        if question.id in asked or KEPT in question.extra:
            files["question.jsonl"].append(question.extra.get(KEPT, own))
    for answer in held.answers:
        if answer.question in asked or KEPT in answer.extra:
            name = f"model_answer/{file_name(answer.model)}.jsonl"
            files.setdefault(name, []).append(_answer_row(answer, asked))
    pairs: dict[tuple[Any, ...], list[Review]] = defaultdict(list)
    for review in held.reviews:
        if len(set(review.shown)) == 2 and review.question in asked and review.sample == 0:
            pair = tuple(sorted(review.shown))
            pairs[review.question, review.judge, review.prompt, pair].append(review)
    steps = {review.prompt for review in held.reviews if review.scores in STEPS}
    for reviews in pairs.values():
        first = reviews[0]
        name = f"model_judgment/{file_name(first.judge)}/{file_name(first.shown[1])}.jsonl"
        row = first.extra.get(KEPT) or _judgment_row(reviews, asked, five=first.prompt in steps)
        files.setdefault(name, []).append(row)
    lines = {name: as_lines(rows) for name, rows in files.items()}
    return Exported(lines, list(held.left_out()))


STEPS = ((0.75, 0.25), (0.25, 0.75))
"""Scores that only a verdict in five steps gives."""


def _answer_row(answer: Answer, asked: Mapping[str, Question]) -> dict[str, Any]:
    if KEPT in answer.extra:
        kept: dict[str, Any] = answer.extra[KEPT]
        return kept
    return {
        "uid": answer.question,
        "ans_id": short_hash(answer.key),
        "model": answer.model,
        "messages": [
            {"role": "user", "content": asked[answer.question].turns[0]},
            {"role": "assistant", "content": {"answer": answer.turns[0]}},
        ],
    }


def _judgment_row(
    reviews: list[Review], asked: Mapping[str, Question], *, five: bool
) -> dict[str, Any]:
    first = reviews[0]
    other = next((each for each in reviews if each.shown == first.shown[::-1]), None)
    return {
        "uid": first.question,
        "category": asked[first.question].category,
        "judge": first.judge,
        "model": first.shown[1],
        "baseline": first.shown[0],
        "games": [None if each is None else _game(each, five=five) for each in (first, other)],
    }


def _game(review: Review, *, five: bool) -> dict[str, Any]:
    judgment = {"answer": review.text}
    if review.reasoning:
        judgment["thought"] = review.reasoning
    return {"score": _score(review, five=five), "judgment": judgment}


def _score(review: Review, *, five: bool) -> str | None:
    if review.scores is None:
        return None
    a, b = review.scores
    if a == b:
        return "A=B"
    sign = ">>" if five and abs(a - b) == 1 else ">"
    return f"A{sign}B" if a > b else f"B{sign}A"


WRITES: Mapping[str, Writer] = {"arena_hard": write}
