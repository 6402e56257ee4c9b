"""LLMBar's files: dataset.json with people's labels, and result.json of each evaluator.

Source: princeton-nlp/LLMBar. An item is an instruction with two outputs, of which people preferred
one; an evaluator saw them in both orders. Outputs are of no named models, so they are called
`output_1` and `output_2`. A label becomes a vote of `human-llmbar`, so
that a judge stands beside people.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evalkit import jsonl
from evalkit.errors import BadFile, BadPath, Fault, count
from evalkit.formats import Given, Imported, Theirs, Writer
from evalkit.records import VOTE, Answer, Question, Review, human, short_hash

BANK: str | None = None
TAKES: Collection[str] = ()
WRITES: Mapping[str, Writer] = {}
PROMPT = "llmbar"
PEOPLE = human("llmbar")
CATEGORY = "generic"
MODELS = ("output_1", "output_2")
DATASET, RESULT = "dataset.json", "result.json"
ORDERS = {"swap = False": (0, 1), "swap = True": (1, 0)}
"""What that tool calls the two orders, and which output comes first, which second."""


class _Verdict(BaseModel):
    """One reply; its winner is told by the outputs' own numbers, in both orders."""

    model_config = ConfigDict(extra="allow", strict=True)

    completion: list[Any] | str | None = None
    winner: str | None = None


class _Item(Theirs):
    """A row of either file."""

    input: str
    output_1: str
    output_2: str
    label: Literal[1, 2] | None = None
    results: list[dict[str, _Verdict]] = Field(default_factory=list)

    @property
    def question(self) -> str:
        """An instruction may come twice, with other outputs."""
        return short_hash([self.input, self.output_1, self.output_2])

    @property
    def outputs(self) -> tuple[str, str]:
        return self.output_1, self.output_2


@dataclass(frozen=True)
class _File:
    path: Path
    judge: str | None
    """None: the labels alone."""


def recognises(path: Path) -> bool:
    """A folder with dataset.json, or with result.json in a folder of each evaluator."""
    return path.is_dir() and any(_files(path))


def read(path: Path, given: Given) -> Imported:  # noqa: ARG001
    """Read the folder of one part of the benchmark, such as `FairEval`.

    Raises BadFile with every fault found in any of the files.
    """
    files = list(_files(path)) if path.is_dir() else []
    if not files:
        raise BadPath(f"{path}: expected a folder with {DATASET}, or */{RESULT}")
    faults: list[Fault] = []
    read_ = [(file, jsonl.records(file.path, _Item)) for file in files]
    for _, found in read_:
        faults.extend(found.faults)
    if faults:
        raise BadFile(faults)
    items = {item.question: item for _, found in read_ for _, item in found.rows}
    if not items:
        raise BadFile([Fault(str(path), "no items")])
    questions = [_question(item) for item in items.values() if item.input.strip()]
    bank = {question.id for question in questions}
    rows: list[Answer | Review] = [
        answer for item in items.values() if item.question in bank for answer in _answers(item)
    ]
    labels = {
        item.question: item.label for _, found in read_ for _, item in found.rows if item.label
    }
    rows += [_label(items[id_], label) for id_, label in labels.items() if id_ in bank]
    for file, found in read_:
        if file.judge is not None:
            rows += [
                review
                for _, item in found.rows
                if item.question in bank
                for review in _reviews(item, file.judge)
            ]
    return Imported(questions, rows, list(_told(items, bank, rows)), category=CATEGORY)


def _files(path: Path) -> Iterator[_File]:
    if (path / DATASET).is_file():
        yield _File(path / DATASET, None)
    for file in sorted(path.glob(f"*/{RESULT}")):
        yield _File(file, file.parent.name)


def _question(item: _Item) -> Question:
    return Question(id=item.question, category="llmbar", turns=(item.input,))


def _answers(item: _Item) -> Iterator[Answer]:
    for model, output in zip(MODELS, item.outputs, strict=True):
        yield Answer(
            question=item.question,
            model=model,
            turns=(output,),
            asked=short_hash([item.question, model]),
            repaired=item.repaired,
        )


def _label(item: _Item, label: int) -> Review:
    scores = (1.0, 0.0) if label == 1 else (0.0, 1.0)
    return Review(
        question=item.question,
        judge=PEOPLE,
        prompt=VOTE,
        shown=MODELS,
        answers=_hashes(item),
        text=str(label),
        scores=scores,
        rung="strict",
        order_known=False,
        asked=short_hash([VOTE, item.question]),
    )


def _reviews(item: _Item, judge: str) -> Iterator[Review]:
    for sample, result in enumerate(item.results):
        for order, (first, second) in ORDERS.items():
            if (verdict := result.get(order)) is None:
                continue
            better = {"1": 0, "2": 1}.get(verdict.winner or "")
            scores = None if better is None else (float(better == first), float(better == second))
            reply = verdict.completion
            text = str(reply[0]) if isinstance(reply, list) and reply else reply
            hashes = _hashes(item)
            yield Review(
                question=item.question,
                judge=judge,
                prompt=PROMPT,
                shown=(MODELS[first], MODELS[second]),
                answers=(hashes[first], hashes[second]),
                text=text if isinstance(text, str) else "",
                scores=scores,
                rung="strict" if scores else None,
                unreadable=None if scores else "no winner",
                sample=sample,
                asked=short_hash([PROMPT, judge, item.question, order, sample]),
                extra={"llmbar": verdict.model_dump(mode="json", exclude_unset=True)},
            )


def _hashes(item: _Item) -> tuple[str, ...]:
    return tuple(short_hash((text,)) for text in item.outputs)


def _told(items: dict[str, _Item], bank: set[str], rows: list[Answer | Review]) -> Iterator[str]:
    if empty := len(items) - len(bank):
        yield f"{count(empty, 'item')} left out, without an instruction"
    judges = Counter(row.judge for row in rows if isinstance(row, Review) and row.scores is None)
    for judge, unreadable in sorted(judges.items()):
        yield f"{judge}: {count(unreadable, 'reply', 'replies')} without a winner: unreadable"
    labelled = {row.question for row in rows if isinstance(row, Review) and row.judge == PEOPLE}
    if short := len(bank) - len(labelled):
        yield f"{count(short, 'item')} without people's label"
