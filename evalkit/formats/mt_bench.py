"""MT-Bench's files, as FastChat's llm_judge keeps them: question.jsonl, model_answer/,
reference_answer/, model_judgment/.

Source: lm-sys/FastChat, `fastchat/llm_judge`. A judgment is of one turn: of the first, the judge
saw the first turn alone; of the second, the whole conversation. Of a pair it was asked in both
orders, which become two reviews here. A file's name is the model's.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

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
from evalkit.records import Answer, Question, Review, short_hash

BANK: str | None = "mt-bench"
TAKES: Collection[str] = ()
CATEGORY = "generic"  # of those that no prompt knows: reasoning, extraction, stem, humanities
FAILED = ("$ERROR$", "ERROR")  # what the tool wrote when a call had failed
KEPT = "mt_bench"
"""Where in `extra` the fields are that have no place of their own here."""

Winner = Literal["model_1", "model_2", "tie", "error"]


class _Row(Theirs):
    question_id: int | str

    @property
    def question(self) -> str:
        return str(self.question_id)


class _Question(_Row):
    category: str = Field(min_length=1)
    turns: list[str] = Field(min_length=1)
    reference: list[str] | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    index: int = 0
    turns: list[str] = Field(min_length=1)


class _Answer(_Row):
    model_id: str = Field(min_length=1)
    choices: list[_Choice] = Field(min_length=1)
    tstamp: float | int | None = None


class _Judgment(_Row):
    judge: tuple[str, str] = Field(strict=False)
    turn: Literal[1, 2] | None = None
    tstamp: float | int | None = None

    @property
    def name(self) -> str:
        """The model that judged."""
        return self.judge[0]

    @property
    def prompt(self) -> str:
        """What it was asked with."""
        return self.judge[1]

    @property
    def turns(self) -> int:
        """How many turns the judge saw. Older rows tell it by their prompt's name alone."""
        return self.turn or (2 if self.prompt.endswith("-multi-turn") else 1)


class _Single(_Judgment):
    model: str
    judgment: str = ""
    score: float | int


class _Pair(_Judgment):
    model_1: str
    model_2: str
    g1_winner: Winner | None = None
    g2_winner: Winner | None = None
    winner: Winner | None = None
    g1_judgment: str = ""
    g2_judgment: str = ""

    @model_validator(mode="after")
    def _says_who_won(self) -> "_Pair":
        if self.winner is None and (self.g1_winner is None or self.g2_winner is None):
            raise ValueError("expected 'g1_winner' and 'g2_winner', or 'winner'")
        return self


Row = TypeVar("Row", bound=_Row)
Texts = tuple[str, ...]
Said = Mapping[tuple[str, str], Texts]
"""(question, model) -> the turns of the answer that stands."""


def recognises(path: Path) -> bool:
    """A folder with question.jsonl, whose turns are texts, and model_answer/."""
    if not (path / "question.jsonl").is_file() or not (path / "model_answer").is_dir():
        return False
    turns = first_row(path / "question.jsonl").get("turns")
    return isinstance(turns, list) and all(isinstance(turn, str) for turn in turns)


def read(path: Path, given: Given) -> Imported:  # noqa: ARG001
    """Read a folder. Raises BadFile with every fault found in any of its files."""
    if not path.is_dir():
        raise BadPath(f"{path}: expected a folder with question.jsonl and model_answer/")
    files = _Files()
    files.look(path)
    refuse(path / "question.jsonl", files.faults, files.questions)
    said: dict[tuple[str, str], Texts] = {}
    answers: list[Answer] = []
    for _, row in files.answers:
        for choice in row.choices:
            if any(turn in FAILED for turn in choice.turns):
                files.failed += 1
                continue
            answer = _answer(row, choice)
            answers.append(answer)
            if choice.index == 0:
                said[answer.question, answer.model] = answer.turns
    reviews = [_single(row, said) for _, row in files.singles]
    reviews += [review for _, row in files.pairs for review in _pair(row, said)]
    return Imported(
        [_question(row, files.references) for _, row in files.questions],
        [*answers, *(review for review in reviews if review is not None)],
        list(files.told(sum(review is None for review in reviews))),
        category=CATEGORY,
    )


@dataclass
class _Files:
    """All rows of a folder."""

    faults: list[Fault] = field(default_factory=list)
    questions: list[tuple[str, _Question]] = field(default_factory=list)
    answers: list[tuple[str, _Answer]] = field(default_factory=list)
    references: dict[str, dict[str, _Answer]] = field(default_factory=dict)
    """Question -> model -> its reference answer."""
    singles: list[tuple[str, _Single]] = field(default_factory=list)
    pairs: list[tuple[str, _Pair]] = field(default_factory=list)
    failed: int = 0

    def look(self, path: Path) -> None:
        """Read what lies in a folder; what is wrong goes to `faults`."""
        self.questions = self._rows([path / "question.jsonl"], _Question)
        self.faults += jsonl.doubled(self.questions, "question_id")
        self.answers = self._rows(jsonl.files(path / "model_answer"), _Answer)
        for _, row in self._rows(jsonl.files(path / "reference_answer"), _Answer):
            self.references.setdefault(row.question, {})[row.model_id] = row
        judged = jsonl.files(path / "model_judgment")
        self.singles = self._rows((f for f in judged if f.stem.endswith("_single")), _Single)
        self.pairs = self._rows((f for f in judged if f.stem.endswith("_pair")), _Pair)
        known = {row.question for _, row in self.questions}
        for where, other in [*self.answers, *self.singles, *self.pairs]:
            if known and other.question not in known:
                what = f"no question {other.question} in question.jsonl"
                self.faults.append(Fault(where, what))

    def _rows(self, files: Iterable[Path], model: type[Row]) -> list[tuple[str, Row]]:
        found: list[tuple[str, Row]] = []
        for file in files:
            found += jsonl.stream(file, model, self.faults)
        return found

    def told(self, lost: int) -> Iterator[str]:
        """What a person should know, in sentences."""
        twice = len(self.answers) - len({(r.question, r.model_id) for _, r in self.answers})
        if twice:
            yield f"{count(twice, 'answer')} twice to one question; the last one counts"
        if self.failed:
            yield f"{count(self.failed, 'failed answer')} left out ({', '.join(FAILED)}); owed"
        if lost:
            yield f"{count(lost, 'judgment')} left out, of answers that are not here"
        legacy = sum(row.g1_winner is None for _, row in self.pairs)
        if legacy:
            yield f"{count(legacy, 'judgment')} of a pair with one winner and no order"


def _besides(row: Theirs, *fields: str) -> dict[str, Any]:
    return {KEPT: row.besides(*fields)}


def _question(row: _Question, references: Mapping[str, Mapping[str, _Answer]]) -> Question:
    theirs = references.get(row.question, {})
    model = next(iter(theirs.values()), None)
    reference = row.reference or (model.choices[0].turns if model else [])
    extra = _besides(row, "turns")
    if theirs:
        extra[KEPT]["reference_answer"] = {name: each.besides() for name, each in theirs.items()}
    return Question(
        id=row.question,
        category=row.category,
        turns=tuple(row.turns),
        reference=tuple(reference),
        extra=extra,
    )


def _answer(row: _Answer, choice: _Choice) -> Answer:
    turns = tuple(choice.turns)
    others = [each for each in row.choices if each is not choice]
    extra = _besides(row, "choices") if choice is row.choices[0] else {}
    if extra:
        own = choice.model_dump(mode="json", exclude={"turns"}, exclude_unset=True)
        extra[KEPT] |= {"choice": own, "other_choices": [each.model_dump() for each in others]}
    return Answer(
        question=row.question,
        model=row.model_id,
        turns=turns,
        sample=choice.index,
        asked=short_hash([row.question, row.model_id, choice.index, turns]),
        time=_time(row.tstamp),
        repaired=row.repaired,
        extra=extra,
    )


def _time(stamp: float | None) -> str | None:
    return None if stamp is None else datetime.fromtimestamp(stamp, UTC).isoformat()


def _seen(row: _Judgment, model: str, said: Said) -> str | None:
    """The hash of what the judge saw of a model's answer."""
    turns = said.get((row.question, model))
    return None if turns is None else short_hash(turns[: row.turns])


def _single(row: _Single, said: Said) -> Review | None:
    hash_ = _seen(row, row.model, said)
    if hash_ is None:
        return None
    return Review(
        question=row.question,
        judge=row.name,
        prompt=row.prompt,
        shown=(row.model,),
        answers=(hash_,),
        first_turns=row.turns,
        text=row.judgment,
        scores=(float(row.score),) if row.score >= 0 else None,
        rung="strict" if row.score >= 0 else None,
        unreadable=None if row.score >= 0 else "no rating",
        asked=short_hash([row.judge, row.question, row.model, hash_]),
        time=_time(row.tstamp),
        extra=_besides(row, "judgment"),
    )


def _pair(row: _Pair, said: Said) -> list[Review | None]:
    """A review for each order that was asked in; one where only a winner is told."""
    models = row.model_1, row.model_2
    hashes = [_seen(row, model, said) for model in models]
    first, second = hashes
    if first is None or second is None:
        return [None]
    games = [(row.g1_winner, row.g1_judgment, False), (row.g2_winner, row.g2_judgment, True)]
    if row.g1_winner is None:
        games = [(row.winner, row.g1_judgment, False)]
    reviews: list[Review | None] = []
    for number, (winner, text, swapped) in enumerate(games, 1):
        share = {"model_1": (1.0, 0.0), "model_2": (0.0, 1.0), "tie": (0.5, 0.5)}.get(winner or "")
        step = -1 if swapped else 1
        reviews.append(
            Review(
                question=row.question,
                judge=row.name,
                prompt=row.prompt,
                shown=models[::step],
                answers=(first, second)[::step],
                first_turns=row.turns,
                text=text,
                scores=share and share[::step],
                rung="strict" if share else None,
                unreadable=None if share else "error",
                order_known=row.g1_winner is not None,
                asked=short_hash([row.judge, row.question, models, hashes, number]),
                time=_time(row.tstamp),
                extra=_besides(row, "g1_judgment", "g2_judgment") if not swapped else {},
            )
        )
    return reviews


def write(held: Held) -> Exported:
    """question.jsonl, model_answer/<model>.jsonl, model_judgment/<judge>_single and _pair.jsonl.

    A grade of the whole conversation is a judgment of its last turn. A pair takes both orders.
    """
    files: dict[str, list[dict[str, Any]]] = {"question.jsonl": []}
    for question in held.questions:
        _write_question(question, files)
    for answer in held.answers:
        if answer.sample == 0:
            files.setdefault(f"model_answer/{file_name(answer.model)}.jsonl", []).append(
                _answer_row(answer)
            )
    bank = {question.id: question for question in held.questions}
    pairs: dict[tuple[Any, ...], list[Review]] = defaultdict(list)
    for review in held.reviews:
        if len(review.shown) == 1:
            name = f"model_judgment/{file_name(review.judge)}_single.jsonl"
            files.setdefault(name, []).append(_single_row(review, bank))
        elif review.sample == 0:
            answers = tuple(sorted(zip(review.shown, review.answers, strict=True)))
            pairs[review.question, review.judge, review.prompt, answers].append(review)
    alone = 0
    for (_, judge, *_), reviews in pairs.items():
        row = _pair_row(reviews, bank)
        alone += row is None
        if row is not None:
            files.setdefault(f"model_judgment/{file_name(judge)}_pair.jsonl", []).append(row)
    told = [f"{count(alone, 'question')} of a pair left out: asked in one order"] if alone else []
    return Exported({name: as_lines(rows) for name, rows in files.items()}, told)


def _number(id_: str) -> int | str:
    """That tool's ids are numbers."""
    return int(id_) if id_.isascii() and id_.isdigit() and str(int(id_)) == id_ else id_


def _write_question(question: Question, files: dict[str, list[dict[str, Any]]]) -> None:
    own: dict[str, Any] = {"question_id": _number(question.id), "category": question.category}
    if question.reference:
        own["reference"] = list(question.reference)
    row = dict(question.extra.get(KEPT, own))
    for model, answer in row.pop("reference_answer", {}).items():
        files.setdefault(f"reference_answer/{file_name(model)}.jsonl", []).append(answer)
    files["question.jsonl"].append(row | {"turns": list(question.turns)})


def _answer_row(answer: Answer) -> dict[str, Any]:
    own = {
        "question_id": _number(answer.question),
        "answer_id": short_hash(answer.key),
        "model_id": answer.model,
        "tstamp": _stamp(answer.time),
    }
    row = dict(answer.extra.get(KEPT, own))
    first = {**row.pop("choice", {"index": 0}), "turns": list(answer.turns)}
    return row | {"choices": [first, *row.pop("other_choices", [])]}


def _stamp(time: str | None) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def _judged(review: Review, bank: Mapping[str, Question]) -> dict[str, Any]:
    return {
        "question_id": _number(review.question),
        "judge": [review.judge, review.prompt],
        "turn": min(len(bank[review.question].turns), 2),
        "tstamp": _stamp(review.time),
    }


def _single_row(review: Review, bank: Mapping[str, Question]) -> dict[str, Any]:
    score = review.scores[0] if review.scores else -1
    own = {**_judged(review, bank), "model": review.shown[0], "user_prompt": "", "score": score}
    theirs: dict[str, Any] | None = review.extra.get(KEPT)
    if theirs is not None and not review.text:
        return theirs
    return {**(theirs or own), "judgment": review.text}


def _pair_row(reviews: list[Review], bank: Mapping[str, Question]) -> dict[str, Any] | None:
    first = reviews[0]
    other = next((each for each in reviews if each.shown == first.shown[::-1]), None)
    theirs: dict[str, Any] | None = first.extra.get(KEPT)
    if theirs is not None:
        texts = {"g1_judgment": first.text, "g2_judgment": other.text if other else ""}
        return theirs | {name: text for name, text in texts.items() if text}
    if other is None:
        return None
    return {
        **_judged(first, bank),
        "model_1": first.shown[0],
        "model_2": first.shown[1],
        "g1_winner": _winner(first, first.shown[0]),
        "g2_winner": _winner(other, first.shown[0]),
        "g1_user_prompt": "",
        "g1_judgment": first.text,
        "g2_user_prompt": "",
        "g2_judgment": other.text,
    }


def _winner(review: Review, model_1: str) -> str:
    if review.scores is None:
        return "error"
    one, other = review.scores if review.shown[0] == model_1 else review.scores[::-1]
    return "tie" if one == other else "model_1" if one > other else "model_2"


WRITES: Mapping[str, Writer] = {"mt_bench": write}
