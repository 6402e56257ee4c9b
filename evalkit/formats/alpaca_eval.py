"""AlpacaEval's files: results/<model>/model_outputs.json and .../<annotator>/annotations.json.

Source: tatsu-lab/alpaca_eval, versions 1 and 2. A preference is a number from 1 to 2, how likely
the second answer is the better one; here it stays one (`Review.soft`). 0 was a tie once, and null
is a reply that could not be read. That tool shuffles the two answers and does not say how.

Rows are joined by their instruction, never by where they stand: many published files lack some. A
question's id is a hash of its instruction, so that it is the same whichever file came first.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from evalkit import jsonl
from evalkit.errors import BadFile, BadPath, Fault, count
from evalkit.formats import Again, Exported, Given, Held, Imported, Theirs, Writer, file_name
from evalkit.records import Answer, Question, Review, short_hash

BANK: str | None = "alpaca-eval"
TAKES: Collection[str] = ()
PROMPT = "alpaca-eval"
CATEGORY = "generic"  # a dataset is no kind of task
OUTPUTS, ANNOTATIONS = "model_outputs.json", "annotations.json"
NEW = "preference_"  # what newer versions write before the name of a field


class _Row(Theirs):
    instruction: str
    dataset: str | None = None

    @cached_property
    def question(self) -> str:
        """What an instruction is called here; asked for several times a row."""
        return short_hash(self.instruction)


class _Output(_Row):
    output: str
    generator: str


class _Annotation(_Row):
    output_1: str
    generator_1: str
    output_2: str
    generator_2: str
    annotator: str | None = None
    preference: Annotated[float, Field(ge=0, le=2)] | None

    @model_validator(mode="after")
    def _one_to_two(self) -> "_Annotation":
        if self.preference is not None and 0 < self.preference < 1:
            raise ValueError("'preference' should be from 1 to 2, or 0 for a tie")
        return self


@dataclass
class _Run:
    """The files of one model."""

    name: str | None
    """The model's, where its folder says it."""
    outputs: list[Path] = field(default_factory=list)
    annotations: list[Path] = field(default_factory=list)


def recognises(path: Path) -> bool:
    """A file, or a folder with files, called model_outputs.json or annotations.json."""
    return any(_runs(path))


def read(path: Path, given: Given) -> Imported:  # noqa: ARG001
    """Read a model's folder, or one of such folders, or a single file of either kind.

    A model is called as its folder in results/, else as its generator. Raises BadFile with every
    fault found in any of the files.
    """
    if not path.exists():
        raise BadPath(f"{path}: no such file or folder")
    runs = list(_runs(path))
    if not runs:
        raise BadPath(f"{path}: expected {OUTPUTS} or {ANNOTATIONS}, or folders with them")
    survey = _Survey()
    for run in runs:
        survey.outputs(run)
    for run in runs:
        survey.annotations(run)
    if survey.faults:
        raise BadFile(survey.faults)
    if not survey.questions:
        raise BadFile([Fault(str(path), "no rows")])
    return Imported(
        list(survey.questions.values()),
        Again(lambda: _records(runs)),
        list(survey.told()),
        partial=True,
        category=CATEGORY,
    )


def _runs(path: Path) -> Iterator[_Run]:
    """The files at `path`, model by model."""
    if path.is_file():
        if path.name == OUTPUTS:
            yield _Run(_named(path.parent), [path])
        elif path.suffix == ".json" and path.name.startswith("annotations"):
            yield _Run(_named(path.parent.parent), [], [path])
        return
    if not path.is_dir():
        return
    own, deeper = path / OUTPUTS, sorted(path.glob(f"*/{ANNOTATIONS}"))
    here = [path / ANNOTATIONS] if (path / ANNOTATIONS).is_file() else []
    if own.is_file() or (deeper and not list(path.glob(f"*/{OUTPUTS}"))) or here:
        yield _Run(_named(path), [own] if own.is_file() else [], here + deeper)
        return
    for folder in sorted(each for each in path.iterdir() if each.is_dir()):
        if folder.name == "results" or (folder / OUTPUTS).is_file() or _judged(folder):
            yield from _runs(folder)


def _judged(folder: Path) -> bool:
    return any(folder.glob(f"*/{ANNOTATIONS}"))


def _named(folder: Path) -> str | None:
    return folder.name if folder.resolve().parent.name == "results" else None


@dataclass
class _Survey:
    """A first look through all files: faults, questions, and what does not fit together."""

    faults: list[Fault] = field(default_factory=list)
    questions: dict[str, Question] = field(default_factory=dict)
    texts: dict[str, dict[int, int]] = field(default_factory=dict)
    """Model -> question -> the answer that stands; as numbers, since there may be millions."""
    counts: Counter[str] = field(default_factory=Counter)

    def outputs(self, run: _Run) -> None:
        """Look through one model's answers; of doubled ones the last counts."""
        for file in run.outputs:
            for _, row in jsonl.stream(file, _Output, self.faults):
                self._question(row)
                own = self.texts.setdefault(run.name or row.generator, {})
                self.counts["doubled"] += _short(row.question) in own
                own[_short(row.question)] = _short(_hash(row.output))

    def annotations(self, run: _Run) -> None:
        """Look through the judgments of one model; of doubled ones the first counts."""
        for file in run.annotations:
            seen: dict[str, set[int]] = {}
            for _, row in jsonl.stream(file, _Annotation, self.faults):
                model, question = run.name or row.generator_2, _short(row.question)
                self._question(row)
                texts = {row.generator_1: row.output_1, model: row.output_2}
                another = [self._is_another(who, question, said) for who, said in texts.items()]
                self.counts["other texts"] += any(another)
                of_model = seen.setdefault(model, set())
                self.counts["doubled reviews"] += question in of_model
                of_model.add(question)
                self.counts["nulls"] += row.preference is None
                self.counts["zeros"] += row.preference == 0

    def _is_another(self, model: str, question: int, text: str) -> bool:
        """Whether a judge saw another text than the answer that stands."""
        said = _short(_hash(text))
        return self.texts.setdefault(model, {}).setdefault(question, said) != said

    def _question(self, row: _Row) -> None:
        if not row.instruction.strip():
            self.counts["empty"] += 1
        elif row.question not in self.questions:
            category = row.dataset or "alpaca_eval"
            self.questions[row.question] = Question(
                id=row.question, category=category, turns=(row.instruction,)
            )

    def told(self) -> Iterator[str]:
        """What a person should know, in sentences."""
        n = self.counts
        for model, own in sorted(self.texts.items()):
            if len(own) < len(self.questions):
                yield f"{model}: {len(own)} of {len(self.questions)} answers; the others are owed"
        if n["doubled"]:
            yield f"{count(n['doubled'], 'answer')} twice to one instruction; the last one counts"
        if n["doubled reviews"]:
            yield f"{count(n['doubled reviews'], 'annotation')} twice; the first one counts"
        if n["other texts"]:
            what = count(n["other texts"], "annotation")
            yield f"{what} of another text than the answer that stands; stale, in no number"
        if n["nulls"]:
            yield f"{count(n['nulls'], 'preference')} null: unreadable, in no rate"
        if n["zeros"]:
            yield f"{count(n['zeros'], 'preference')} 0: a tie, as that tool once wrote it"
        if n["empty"]:
            yield f"{count(n['empty'], 'row')} left out, without an instruction"


def _records(runs: list[_Run]) -> Iterator[Answer | Review]:
    """All rows; of annotations also the answers that no file of outputs brings."""
    here: dict[str, set[int]] = {}
    for run in runs:
        for file in run.outputs:
            for answer in _of_outputs(file, run):
                here.setdefault(answer.model, set()).add(_short(answer.question))
                yield answer
    for run in runs:
        for file in run.annotations:
            for row in _of_annotations(file, run):
                if isinstance(row, Review):
                    yield row
                elif _short(row.question) not in here.setdefault(row.model, set()):
                    here[row.model].add(_short(row.question))
                    yield row


def _of_outputs(file: Path, run: _Run) -> Iterator[Answer]:
    for _, row in jsonl.stream(file, _Output, []):
        if row.instruction.strip():
            model = run.name or row.generator
            yield _answer(model, row, row.output, row.besides("instruction", "output"))


def _of_annotations(file: Path, run: _Run) -> Iterator[Answer | Review]:
    """Each review with the two answers that it is of."""
    judge = "alpaca_eval" if file.parent.name == run.name else file.parent.name
    for _, row in jsonl.stream(file, _Annotation, []):
        if row.instruction.strip():
            model = run.name or row.generator_2
            yield _answer(row.generator_1, row, row.output_1, {})
            yield _answer(model, row, row.output_2, {})
            yield _review(row, row.annotator or judge, model)


def _answer(model: str, row: _Row, text: str, extra: dict[str, Any]) -> Answer:
    return Answer(
        question=row.question,
        model=model,
        turns=(text,),
        asked=short_hash([row.instruction, model, text]),
        repaired=row.repaired,
        extra={"alpaca_eval": extra} if extra else {},
    )


def _review(row: _Annotation, judge: str, model: str) -> Review:
    extra = row.besides("instruction", "output_1", "output_2")
    shown, hashes = (row.generator_1, model), (_hash(row.output_1), _hash(row.output_2))
    share = 0.5 if row.preference == 0 else (row.preference or 1) - 1
    price, seconds = (_number(extra, name) for name in ("price_per_example", "time_per_example"))
    return Review(
        question=row.question,
        judge=judge,
        prompt=PROMPT,
        shown=shown,
        answers=hashes,
        text=_said(extra),
        scores=None if row.preference is None else (1 - share, share),
        soft=row.preference is not None,
        order_known=False,
        rung=None if row.preference is None else "given",
        unreadable="no preference" if row.preference is None else None,
        asked=short_hash([PROMPT, judge, row.question, hashes]),
        dollars=price,
        latency=seconds,
        repaired=row.repaired,
        extra={"alpaca_eval": extra},
    )


def _hash(text: str) -> str:
    return short_hash((text,))


def _short(hash_: str) -> int:
    return int(hash_, 16)


def _number(extra: dict[str, Any], name: str) -> float | None:
    value = extra.get(name, extra.get(NEW + name))
    return float(value) if isinstance(value, int | float) and value >= 0 else None


def _said(extra: dict[str, Any]) -> str:
    """What the judge replied, as far as it was kept."""
    reply = extra.get("raw_completion", extra.get(f"{NEW}raw_completion"))
    if isinstance(reply, dict):
        reply = reply.get("text") or (reply.get("message") or {}).get("content")
    return reply if isinstance(reply, str) else ""


def write(held: Held) -> Exported:
    """results/<model>/model_outputs.json, and .../<judge>/annotations.json of each pair.

    That tool knows questions of one turn. Of verdicts that did not come from it, a row is the mean
    of all that one judge gave on a question of a pair; the model that came first in the first of
    them is the reference.
    """
    asked, told = held.single, list(held.left_out())
    files: dict[str, list[dict[str, Any]]] = {}
    for answer in held.answers:
        if question := asked.get(answer.question):
            own = {"dataset": question.category, "generator": answer.model}
            row = answer.extra.get("alpaca_eval", own)
            texts = {"instruction": question.turns[0], "output": answer.turns[0]}
            files.setdefault(_folder(answer.model) + OUTPUTS, []).append(row | texts)
    compared, lost = _compared(held, asked)
    for (_, judge, *_), (model, row) in compared.items():
        name = f"{_folder(model)}{file_name(judge)}/{ANNOTATIONS}"
        files.setdefault(name, []).append(row)
    if lost:
        told.append(f"{count(lost, 'review')} left out: not of two answers of one turn that stand")
    return Exported({name: json.dumps(rows, indent=2) for name, rows in files.items()}, told)


def _folder(model: str) -> str:
    return f"results/{file_name(model)}/"


Compared = dict[tuple[str, ...], tuple[str, dict[str, Any]]]


def _compared(held: Held, asked: Mapping[str, Question]) -> tuple[Compared, int]:
    """A row for each question of a pair by one judge, with its model; and the reviews of none."""
    groups: dict[tuple[str, ...], list[Review]] = {}
    lost = 0
    for review in held.reviews:
        if review.question in asked and len(set(review.shown)) == 2:
            key = (review.question, review.judge, review.prompt, *sorted(review.shown))
            groups.setdefault(key, []).append(review)
        else:
            lost += 1
    found: Compared = {}
    for key, reviews in groups.items():
        first = reviews[0]
        texts = [
            held.text(first.question, model, hash_)
            for model, hash_ in zip(first.shown, first.answers, strict=True)
        ]
        if None in texts:
            lost += len(reviews)
            continue
        own = {
            "dataset": asked[first.question].category,
            "generator_1": first.shown[0],
            "generator_2": first.shown[1],
            "annotator": first.judge,
            "preference": _preference(reviews),
        }
        row = first.extra.get("alpaca_eval", own) | {
            "instruction": asked[first.question].turns[0],
            "output_1": texts[0],
            "output_2": texts[1],
        }
        found[key] = first.shown[1], row
    return found, lost


def _preference(reviews: list[Review]) -> float | None:
    """From 1 to 2: how often the answer of the second model in the first review was better."""
    model = reviews[0].shown[1]
    shares = []
    for review in reviews:
        if review.scores is not None:
            own = review.scores[review.shown.index(model)]
            other = review.scores[1 - review.shown.index(model)]
            shares.append(own if review.soft else (own > other) + (own == other) / 2)
    return 1 + sum(shares) / len(shares) if shares else None


WRITES: Mapping[str, Writer] = {"alpaca_eval": write}
