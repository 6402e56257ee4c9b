"""Questions, answers, reviews and people's votes as plain tables: CSV, JSON lines, Parquet.

    questions   id, category, turns; reference, language, source, ...
    answers     question, model, answers
    reviews     question, judge, models (first place first), scores or winner; text, prompt, ...
    votes       question, voter, models, winner

In CSV a list has a column for each item: `turn_1`, `turn_2`, `model_1`, `score_1`, ... All columns
stand in `shape`; what has no column there is kept in `extra`. What is written can be read again and
gives the same records.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from evalkit import jsonl
from evalkit.answer import standing
from evalkit.errors import BadFile, BadPath, Fault, count, did_you_mean
from evalkit.formats import Again, Exported, Given, Held, Imported, Writer
from evalkit.formats.table import files
from evalkit.formats.table.shape import (
    ANSWERS,
    QUESTIONS,
    REVIEWS,
    SHAPES,
    VOTES,
    Shape,
    is_plain_vote,
    shape_of,
)
from evalkit.records import Answer, Question, Record, Review, short_hash

BANK: str | None = None
TAKES: Collection[str] = ()
PROMPT = "imported"  # of a review that does not say

Row = TypeVar("Row", bound=Record)
Table = tuple[Shape, Path]


def recognises(path: Path) -> bool:
    """A file with columns of ours, or a folder with questions.csv, reviews.jsonl, ..."""
    if path.is_dir():
        return any(_in_folder(path))
    if path.suffix.lower() not in files.ENDINGS or not path.is_file():
        return False
    try:
        return path.suffix.lower() == files.PARQUET or shape_of(files.columns(path)) is not None
    except BadFile:
        return False


def read(path: Path, given: Given) -> Imported:
    """Read a file or a folder of tables. Raises BadFile with every row that is none.

    Answers and reviews are to the questions that come with them, else to those that stand here. A
    review that does not say which texts it is of is of those that came, else of those that stand.
    """
    tables = _tables(path)
    bought = [table for table in tables if table[0] is not QUESTIONS]
    faults: list[Fault] = []
    questions = [
        row
        for table in tables
        for row in _records(table, QUESTIONS, faults, Question.model_validate)
    ]
    faults.extend(jsonl.doubled(questions, "id"))
    bank = {question.id: question for _, question in questions}
    if bought and not bank and not faults:
        bank = {question.id: question for question in given.questions()}
    makers = _Makers(bank)
    here = given.answers if bought else ()
    for answer in standing(bank.values(), here):
        makers.stand(answer)
    survey = _Survey(bank, faults)
    if bank:
        _look(bought, makers, survey)
    if not faults and not (questions or survey.counts):
        faults.append(Fault(str(path), "no rows" if path.is_dir() else _none_of(path)))
    if faults:
        raise BadFile(faults)
    return Imported(
        [question for _, question in questions],
        Again(lambda: _bought(bought, makers)),
        list(survey.told(here)),
    )


def _look(bought: Sequence[Table], makers: "_Makers", survey: "_Survey") -> None:
    """Look through all answers, then through all reviews, which may be of those."""
    for table in bought:
        for where, answer in _records(table, ANSWERS, survey.faults, makers.answer):
            survey.answer(where, answer)
            if answer.question_hash == makers.asked[answer.question]:
                makers.stand(answer)
    for table in bought:
        for where, review in _reviews(table, survey.faults, makers):
            survey.review(where, review)


def _none_of(path: Path) -> str:
    shape = shape_of(files.columns(path))
    return f"no {shape.name}" if shape else "no rows"


# -- which tables there are


def _tables(path: Path) -> list[Table]:
    if path.is_dir():
        found = list(_in_folder(path))
        several = Counter(shape.name for shape, _ in found)
        for shape, file in found:
            if several[shape.name] > 1:
                raise BadFile([Fault(str(file), f"there are two tables of {shape.name}")])
        if not found:
            what = "is a folder, expected a file, or in it questions.csv, answers.jsonl, ..."
            raise BadPath(f"{path}: {what}")
        return found
    columns = files.columns(path)
    if not columns:
        raise BadFile([Fault(str(path), "no rows")])
    return [(shape_of(columns) or QUESTIONS, path)]


def _in_folder(path: Path) -> Iterator[Table]:
    for shape in SHAPES:
        for ending in files.ENDINGS:
            if (file := path / f"{shape.name}{ending}").is_file():
                yield shape, file
        if (file := path / "data" / f"{shape.name}{files.PARQUET}").is_file():
            yield shape, file


# -- rows -> records


@dataclass
class _Makers:
    """What makes a row a record: the bank, and the answers that stand."""

    bank: Mapping[str, Question]
    hashes: dict[tuple[str, str], str] = field(default_factory=dict)
    """Of the answer that stands, by question and model."""

    @cached_property
    def asked(self) -> dict[str, str]:
        """The hash of each question's turns."""
        return {id_: short_hash(question.turns) for id_, question in self.bank.items()}

    def stand(self, answer: Answer) -> None:
        """Take in an answer that stands; of several to one question the first sample counts."""
        if answer.sample == 0:
            self.hashes[answer.question, answer.model] = answer.hash

    def question(self, id_: Any) -> Question:
        """The question of this id; raises ValueError where there is none."""
        if id_ not in self.bank:
            near = did_you_mean(str(id_), self.bank)
            raise ValueError(f"no question '{id_}' in the bank.{near}")
        return self.bank[id_]

    def answer(self, held: dict[str, Any]) -> Answer:
        """An answer; what was asked is computed where the row does not say."""
        question = self.question(held["question"])
        turns, asked = list(held["turns"]), len(question.turns)
        while len(turns) > asked and not turns[-1]:
            turns.pop()  # CSV has as many columns as the longest answer
        if len(turns) != asked:
            said = count(len(turns), "turn")
            raise ValueError(f"{said}, but question {question.id} has {asked}")
        made = {
            "question_hash": self.asked[question.id],
            "asked": short_hash([question.turns, held["model"], turns, "by hand"]),
            **held,
            "turns": turns,
        }
        return Answer.model_validate(made)

    def review(self, held: dict[str, Any]) -> Review:
        """A review; the answers it saw are those that stand where the row does not say."""
        question = self.question(held["question"])
        made = {"prompt": PROMPT, "text": "", "scores": None, "answers": [], **held}
        if not made["answers"]:
            made["answers"] = [self._hash(question.id, model) for model in made["shown"]]
        if made["scores"] is None:
            made.setdefault("unreadable", "no scores")
        else:
            made.setdefault("rung", "given")
        made.setdefault("asked", short_hash(["table", made]))
        return Review.model_validate(made)

    def _hash(self, question: str, model: Any) -> str:
        if (question, model) not in self.hashes:
            raise ValueError(f"no answer of '{model}' to question {question}; import that first")
        return self.hashes[question, model]


def _records(
    table: Table,
    shape: Shape,
    faults: list[Fault],
    make: Callable[[dict[str, Any]], Row],
) -> Iterator[tuple[str, Row]]:
    """The records of a table of this shape, each with its place."""
    if table[0] is not shape:
        return
    for where, row, repaired in files.rows(table[1], shape, faults):
        try:
            held = shape.fields(row)
            if repaired and shape is not QUESTIONS:
                held["repaired"] = held.get("repaired", 0) + repaired
            yield where, make(held)
        except ValidationError as error:
            said = jsonl.complaints(error, shape.record)
            faults.extend(Fault(where, shape.in_its_words(what)) for what in said)
        except ValueError as error:
            faults.append(Fault(where, str(error)))


def _reviews(table: Table, faults: list[Fault], makers: _Makers) -> Iterator[tuple[str, Review]]:
    yield from _records(table, REVIEWS, faults, makers.review)
    yield from _records(table, VOTES, faults, makers.review)


def _bought(tables: Sequence[Table], makers: _Makers) -> Iterator[Answer | Review]:
    for table in tables:
        for _, answer in _records(table, ANSWERS, [], makers.answer):
            yield answer
    for table in tables:
        for _, review in _reviews(table, [], makers):
            yield review


# -- what stands in them


@dataclass
class _Survey:
    """A first look through all rows: what does not fit together, and what should be told."""

    bank: Mapping[str, Question]
    faults: list[Fault]
    counts: Counter[str] = field(default_factory=Counter)
    answered: dict[tuple[str, str, int], str] = field(default_factory=dict)
    """Where a model's answer to a question stands."""
    voted: dict[tuple[Any, ...], str] = field(default_factory=dict)
    """Where a person's vote on a pair stands."""

    def answer(self, where: str, answer: Answer) -> None:
        """Take in an answer; a second one of the same model is a fault."""
        self.counts["answers"] += 1
        self.counts["empty answers"] += answer.is_empty
        key = answer.question, answer.model, answer.sample
        if (first := self.answered.setdefault(key, where)) != where:
            what = f"{answer.model} answered question {answer.question} at {first} already"
            self.faults.append(Fault(where, what))

    def review(self, where: str, review: Review) -> None:
        """Take in a review; a second vote of the same person is a fault."""
        self.counts["reviews"] += 1
        self.counts["unreadable"] += review.scores is None
        if review.is_vote:
            key = review.question, review.judge, frozenset(review.shown), review.sample
            if (first := self.voted.setdefault(key, where)) != where:
                what = f"{review.judge} voted on this pair of question {review.question} at {first}"
                self.faults.append(Fault(where, f"{what} already"))

    def told(self, here: Sequence[Answer]) -> Iterator[str]:
        """What a person should know, in sentences."""
        if empty := self.counts["empty answers"]:
            yield f"{count(empty, 'answer')} with an empty text, kept"
        both: dict[str, set[str]] = {model: set() for _, model, n in self.answered if n == 0}
        before = ((answer.question, answer.model) for answer in here)
        for question, model in chain(before, (key[:2] for key in self.answered)):
            if model in both:
                both[model].add(question)
        for model, answered in sorted(both.items()):
            if owed := len(self.bank.keys() - answered):
                all_ = len(self.bank)
                yield f"{model}: {owed} of {all_} questions have no answer here; they are owed"
        if unreadable := self.counts["unreadable"]:
            yield f"{count(unreadable, 'review')} without scores: unreadable, in no rate"


# -- writing


def _written(held: Held) -> dict[Shape, list[dict[str, Any]]]:
    """The rows of each table that has any."""
    records: dict[Shape, Sequence[Record]] = {
        QUESTIONS: held.questions,
        ANSWERS: held.answers,
        REVIEWS: [review for review in held.reviews if not is_plain_vote(review)],
        VOTES: [review for review in held.reviews if is_plain_vote(review)],
    }
    return {shape: list(map(shape.row, rows)) for shape, rows in records.items() if rows}


def _writer(ending: str, made: Callable[[Shape, Sequence[Mapping[str, Any]]], Any]) -> Writer:
    def write(held: Held) -> Exported:
        tables = _written(held)
        return Exported({f"{shape.name}{ending}": made(shape, tables[shape]) for shape in tables})

    return write


def _hugging_face(held: Held) -> Exported:
    """A folder that `datasets.load_dataset` reads: a configuration a table, and a card."""
    tables = _written(held)
    paths = {shape: f"data/{shape.name}{files.PARQUET}" for shape in tables}
    settings = {
        "configs": [
            {"config_name": shape.name, "data_files": path} for shape, path in paths.items()
        ],
        "tags": ["evalkit", "llm-as-judge"],
    }
    lines = ["---", yaml.safe_dump(settings, sort_keys=False).rstrip(), "---"]
    lines += [
        "",
        "Questions, chatbots' answers and what judges said of them, as evalkit keeps them.",
    ]
    for shape, rows in tables.items():
        there = {name for row in rows for name in row}
        lines += ["", f"## {shape.name}", "", f"{count(len(rows), 'row')}.", ""]
        lines += ["| column | |", "|---|---|"]
        lines += [f"| `{c.name}` | {c.meaning} |" for c in shape.columns if c.name in there]
    card = "\n".join(lines) + "\n"
    data = {path: files.as_parquet(shape, tables[shape]) for shape, path in paths.items()}
    return Exported({"README.md": card, **data})


WRITES: Mapping[str, Writer] = {
    "csv": _writer(".csv", files.as_sheet),
    "jsonl": _writer(".jsonl", files.as_json_lines),
    "parquet": _writer(files.PARQUET, files.as_parquet),
    "hf": _hugging_face,
}
