"""The Vicuna evaluation's files: question.jsonl, answer/*.jsonl, review/**/*.jsonl.

Source: FastChat's `eval/table/`, spring 2023. A review names its models only through the ids of
the answers it saw. Its score was read from the text by that tool or typed in by hand; here the
score given is kept, the text is read again, and each disagreement is told.

What was sent is not in these files: `asked` is the hash of what makes a row itself there, so that
importing again adds nothing, and a row that was changed there is a new row here.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, Strict

from evalkit import jsonl
from evalkit.errors import BadFile, BadPath, Fault, count
from evalkit.formats import (
    Exported,
    Given,
    Held,
    Imported,
    Theirs,
    Writer,
    as_lines,
    file_name,
    refuse,
)
from evalkit.parsers import Reading, on_scale, pair_scores, scale_flags
from evalkit.records import Answer, Question, Review, Rung, short_hash

BANK: str | None = "vicuna80"
TAKES: Collection[str] = ()
PROMPT = "vicuna-blog"
FAILED = ("#ERROR#", "$ERROR$")  # what the tool wrote when a call had failed
RUBRICS = r"-(generic|default|general|coding|math)$"
FAIREVAL = re.compile(r"review_(.+)_(?:human\.txt|mec([0-9]+)_bpc([01])\.jsonl?)")
"""What FairEval calls its files in review/; the rest of its folder is as here."""

QuestionId = int | Annotated[str, Field(min_length=1)]
TwoScores = Annotated[tuple[float, float], Strict(False)]


class _Row(Theirs):
    text: str
    question_id: QuestionId

    @property
    def question(self) -> str:
        return str(self.question_id)


class _Question(_Row):
    category: str = Field(min_length=1)


class _Answer(_Row):
    answer_id: str
    model_id: str
    metadata: dict[str, Any] = Field(default_factory=dict)


class _Review(_Row):
    review_id: str
    answer1_id: str
    answer2_id: str
    reviewer_id: str | int
    score: TwoScores
    metadata: dict[str, Any] = Field(default_factory=dict)


Row = TypeVar("Row", bound=_Row)
Placed = list[tuple[str, Row]]


@dataclass(frozen=True)
class Asked:
    """question.jsonl and answer/ of a folder: the rows as they stand there."""

    questions: Placed[_Question]
    files: dict[Path, Placed[_Answer]]

    @property
    def answers(self) -> Placed[_Answer]:
        """Of all files."""
        return [row for rows in self.files.values() for row in rows]

    def loose_ends(self) -> list[Fault]:
        """What is wrong with rows that are well-formed each."""
        ids = {row.question for _, row in self.questions}
        faults = [
            Fault(where, f"question {row.question} is empty")
            for where, row in self.questions
            if not row.text.strip()
        ]
        seen: dict[tuple[str, str], str] = {}
        for where, row in self.answers:
            if row.question not in ids:
                faults.append(Fault(where, f"no question {row.question} in question.jsonl"))
            if (key := (row.question, row.model_id)) in seen:
                what = f"{row.model_id} answered question {row.question} at {seen[key]} already"
                faults.append(Fault(where, what))
            seen.setdefault(key, where)
        return faults

    def ours(self, given: Given) -> tuple[dict[str, Question], dict[str, Answer], list[str]]:
        """The questions by their id, the answers by theirs, and what a person should know.

        A model's name is used without its version where that is unambiguous, given the names that
        the bank knows already; two versions of one name stay apart as `name@version`.
        """
        answers = self.answers
        names = _names({row.model_id for _, row in answers}, given.known)
        bank = {row.question: _question(row) for _, row in self.questions}
        said = {
            row.answer_id: _answer(row, names, bank) for _, row in answers if row.text not in FAILED
        }
        failed = len(answers) - len(said)
        why = f"{failed} failed answers left out ({', '.join(FAILED)}); they are owed"
        return bank, said, [why] if failed else []


def recognises(path: Path) -> bool:
    """A folder with question.jsonl and answer/, and without a file of FairEval in review/."""
    return is_laid_out(path) and not of_faireval(path)


def is_laid_out(path: Path) -> bool:
    """Whether question.jsonl and answer/ are there."""
    return (path / "question.jsonl").is_file() and (path / "answer").is_dir()


def of_faireval(path: Path) -> dict[Path, re.Match[str]]:
    """The files in review/ that are called as FairEval's are, by their names' parts."""
    files = sorted(path.glob("review/*"))
    return {file: name for file in files if (name := FAIREVAL.fullmatch(file.name))}


def review_files(path: Path) -> list[Path]:
    """The *.jsonl files in review/ and below it, without FairEval's."""
    theirs = of_faireval(path)
    return [file for file in jsonl.files(path / "review", below=True) if file not in theirs]


def read(path: Path, given: Given) -> Imported:
    """Read a folder. Raises BadFile with every fault found in any of its files."""
    if not path.is_dir():
        raise BadPath(f"{path}: expected a folder with question.jsonl, answer/ and review/")
    faults: list[Fault] = []
    asked = look(path, faults)
    reviews = _read(review_files(path), _Review, faults)
    faults.extend(jsonl.doubled(reviews, "review_id"))
    refuse(path / "question.jsonl", faults, asked.questions)
    if loose := [*asked.loose_ends(), *_loose_ends(reviews, asked)]:
        raise BadFile(loose)

    bank, said, told = asked.ours(given)
    judged = [
        (where, row) for where, row in reviews if {row.answer1_id, row.answer2_id} <= set(said)
    ]
    if lost := len(reviews) - len(judged):
        told.append(f"{lost} reviews of failed answers left out")
    made, about = _reviews(judged, said, bank)
    return Imported(list(bank.values()), [*said.values(), *made], told + about)


def look(path: Path, faults: list[Fault]) -> Asked:
    """Read question.jsonl and answer/; what is wrong goes to `faults`."""
    questions = _read([path / "question.jsonl"], _Question, faults)
    faults.extend(jsonl.doubled(questions, "question"))
    files = {file: _read([file], _Answer, faults) for file in jsonl.files(path / "answer")}
    asked = Asked(questions, files)
    faults.extend(jsonl.doubled(asked.answers, "answer_id"))
    return asked


def _read(files: Iterable[Path], model: type[Row], faults: list[Fault]) -> Placed[Row]:
    """All rows of some files, with where each stands; what is wrong goes to `faults`."""
    rows: Placed[Row] = []
    for file in files:
        found = jsonl.records(file, model)
        faults.extend(found.faults)
        rows.extend(found.rows)
    return rows


def _loose_ends(reviews: Placed[_Review], asked: Asked) -> list[Fault]:
    answered = {row.answer_id: row.question for _, row in asked.answers}
    faults = []
    for where, review in reviews:
        for answer in (review.answer1_id, review.answer2_id):
            if answer not in answered:
                faults.append(Fault(where, f"no answer '{answer}' in answer/"))
            elif answered[answer] != review.question:
                what = f"answer '{answer}' is to question {answered[answer]}, not {review.question}"
                faults.append(Fault(where, what))
    return faults


def _names(versions: set[str], known: Mapping[str, str | None]) -> dict[str, str]:
    """`name:version` -> the model's name here."""
    names = {}
    several = Counter(model.partition(":")[0] for model in versions)
    given = {served: name for name, served in known.items()}
    for model in versions:
        if model in given:
            names[model] = given[model]
            continue
        name, _, version = model.partition(":")
        taken = name in known or several[name] > 1
        names[model] = f"{name}@{version or 'unversioned'}" if taken else name
    return names


def _question(row: _Question) -> Question:
    extra = _besides(row)
    return Question(id=row.question, category=row.category, turns=(row.text,), extra=extra)


def _besides(row: _Row) -> dict[str, Any]:
    """All that a row held but its text, as it was; `write` gives it back."""
    return {"vicuna": row.besides("text")}


def _answer(row: _Answer, names: Mapping[str, str], bank: Mapping[str, Question]) -> Answer:
    sent = [bank[row.question].turns, row.model_id, row.metadata, row.answer_id, row.text]
    return Answer(
        question=row.question,
        model=names[row.model_id],
        served=row.model_id,
        turns=(row.text,),
        asked=short_hash(sent),
        repaired=row.repaired,
        extra=_besides(row),
    )


def _reviews(
    rows: Placed[_Review], said: Mapping[str, Answer], bank: Mapping[str, Question]
) -> tuple[list[Review], list[str]]:
    reviews, differ = [], []
    for where, row in rows:
        shown = said[row.answer1_id], said[row.answer2_id]
        judge = _judge(row.reviewer_id)
        seen = [turn for source in (bank[row.question], *shown) for turn in source.turns]
        reading = pair_scores(row.text, seen)
        review = _review(row, judge, shown, reading)
        reviews.append(review)
        if review.rung == "given" and review.scores:
            given = "{:g} {:g}".format(*review.scores)
            says = "{:g} {:g}".format(*reading.scores) if reading.scores else reading.unreadable
            which = f"{where}: question {row.question}"
            differ.append(f"{which}: given {given}, the text says: {says}; the given one is kept")
    return reviews, [how_read(reviews), *differ] if reviews else []


def _judge(reviewer: str | int) -> str:
    """The judge behind a reviewer: its prompt's rubric is not part of its name.

    Older files number the rubrics only; that tool asked no other judge than gpt-4.
    """
    return re.sub(RUBRICS, "", reviewer) if isinstance(reviewer, str) else "gpt-4"


def _review(row: _Review, judge: str, shown: tuple[Answer, Answer], reading: Reading) -> Review:
    scores: tuple[float, ...] | None = reading.scores
    rung: Rung | None = reading.rung
    flags = reading.flags
    if on_scale(row.score) and row.score != scores:
        scores, rung, flags = row.score, "given", scale_flags(row.score)
    hashes = tuple(answer.hash for answer in shown)
    return Review(
        question=row.question,
        judge=judge,
        prompt=PROMPT,
        shown=tuple(answer.model for answer in shown),
        answers=hashes,
        text=row.text,
        scores=scores,
        rung=rung,
        flags=flags,
        unreadable=None if scores else reading.unreadable,
        asked=short_hash([PROMPT, row.reviewer_id, row.question, hashes, row.review_id, row.text]),
        repaired=row.repaired,
        extra=_besides(row),
    )


def how_read(reviews: Iterable[Review]) -> str:
    """How many scores were read on which rung, in one sentence."""
    rungs = Counter(review.rung for review in reviews)
    text = f"scores read from the text: {rungs['strict']} strictly, {rungs['tolerant']} tolerantly"
    if rungs["given"]:
        text += f"; {rungs['given']} differ from the score given"
    return text + (f"; {rungs[None]} unreadable" if rungs[None] else "")


def write(held: Held) -> Exported:
    """question.jsonl, answer/answer_<model>.jsonl, review/review_<first>_<second>.jsonl.

    That tool knows questions of one turn, and reviews of two answers.
    """
    single, told = held.single, list(held.left_out())
    files: dict[str, list[dict[str, Any]]] = {"question.jsonl": []}
    for question in held.questions:
        if question.id in single:
            row = {"question_id": question.id, "category": question.category}
            files["question.jsonl"].append(_given(question, row, question.turns[0]))
    ids: dict[tuple[str, str, str], str] = {}
    for answer in held.answers:
        if answer.question in single:
            row = _given(answer, _answer_row(answer), answer.turns[0])
            ids[answer.question, answer.model, answer.hash] = row["answer_id"]
            name = f"answer/answer_{file_name(answer.model)}.jsonl"
            files.setdefault(name, []).append(row)
    lost = 0
    for review in held.reviews:
        keys = zip(review.shown, review.answers, strict=True)
        seen = [ids.get((review.question, model, hash_)) for model, hash_ in keys]
        if review.question not in single or len(seen) != 2 or None in seen:
            lost += 1
            continue
        own: dict[str, Any] = {
            "review_id": short_hash(review.key),
            "question_id": review.question,
            "answer1_id": seen[0],
            "answer2_id": seen[1],
            "reviewer_id": review.judge,
            "score": list(review.scores or (-1, -1)),
            "metadata": {},
        }
        name = f"review/review_{'_'.join(map(file_name, review.shown))}.jsonl"
        files.setdefault(name, []).append(_given(review, own, review.text))
    if lost:
        told.append(f"{count(lost, 'review')} left out: not of two answers of one turn that stand")
    return Exported({name: as_lines(rows) for name, rows in files.items()}, told)


def _answer_row(answer: Answer) -> dict[str, Any]:
    return {
        "answer_id": short_hash(answer.key),
        "question_id": answer.question,
        "model_id": answer.served or answer.model,
        "metadata": {},
    }


def _given(row: Question | Answer | Review, own: dict[str, Any], text: str) -> dict[str, Any]:
    """A row of that tool: what came from it, else `own`."""
    return {**row.extra.get("vicuna", own), "text": text}


WRITES: Mapping[str, Writer] = {"vicuna": write}
