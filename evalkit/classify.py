"""Texts with labels -> what a chatbot is asked about each, and its answers -> the labels it gave.

A text in a prompt is a Question like any other: it is asked, kept and paid for as any other, under
the name `BANK.PROMPT`. Pure: meets no model and no file.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evalkit.answer import standing
from evalkit.errors import Missing, Unknown
from evalkit.parsers.labels import Labelling, Labels
from evalkit.prompts import ClassifyPrompt, fill
from evalkit.records import Answer, Question, short_hash

TRAIN = 0.25
"""The share of the texts that examples are taken from, where none are marked `split: train`."""

AT_ONCE = 500  # texts that are compared with all of the train part at once


@dataclass(frozen=True)
class Texts:
    """A labelled bank in two parts that share no text."""

    train: tuple[Question, ...]
    """What examples are taken from; nothing is asked about them."""
    test: tuple[Question, ...]
    labels: tuple[str, ...]
    several: bool
    """Whether a text may have more than one label, or none."""


@dataclass(frozen=True)
class Posed:
    """The texts of a bank in the words of one prompt."""

    name: str
    prompt: ClassifyPrompt
    bank: str
    """The name under which the answers are kept."""
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Labelled:
    """What one chatbot made of one text."""

    labelling: Labelling
    """Of several samples: the label of most, and of as many the one that came first."""
    answer: Answer
    """The first that says so."""
    dollars: float | None
    answers: tuple[Answer, ...]


def texts(
    questions: Sequence[Question],
    labels: Sequence[str],
    *,
    several: bool,
    examples: bool,
    seed: int,
) -> Texts:
    """Part a bank. `labels`: those the user named; empty: all that stand in the bank.

    `examples`: whether any are wanted; without, nothing is set apart. Texts that the bank marks
    with `split` in `extra` stay where it says. Raises Missing where a text has no words or labels
    are lacking, Unknown for a label of the bank that is not among those named.
    """
    if long := [each.id for each in questions if len(each.turns) > 1]:
        raise Missing(f"text {long[0]} has several turns; a text to be labelled has one")
    found = sorted({label for question in questions for label in question.label})
    for label in found if labels else ():
        if label not in labels:
            raise Unknown("label", label, labels, "--labels names all there are")
    names = tuple(labels or found)
    if len(names) < 2:
        raise Missing("which labels are there? The bank names fewer than two; give --labels A,B")
    several = several or any(len(question.label) > 1 for question in questions)
    train = _train(questions, seed) if examples else []
    held = {_same(question) for question in train}
    test = [question for question in questions if _same(question) not in held]
    if examples and not train:
        raise Missing("no text has a label that it could be an example for; take another --prompt")
    return Texts(tuple(train), tuple(test), names, several)


def _same(question: Question) -> str:
    """What two texts share that are one."""
    return question.turns[0].strip().casefold()


def _train(questions: Sequence[Question], seed: int) -> list[Question]:
    """The texts of the train part: those marked, else a quarter of those with a label, by hash."""
    labelled = [each for each in questions if each.label]
    if any("split" in each.extra for each in questions):
        return [each for each in labelled if each.extra.get("split") == "train"]
    drawn = sorted(labelled, key=lambda each: short_hash([seed, "train", each.id]))
    chosen = {each.id for each in drawn[: round(TRAIN * len(labelled))]}
    return [each for each in labelled if each.id in chosen]


def posed(parted: Texts, prompt: ClassifyPrompt, task: str | None, seed: int) -> list[Question]:
    """The test part, each text in the words of a prompt with its examples before it."""
    chosen = _examples(parted, prompt, seed)
    return [
        Question(
            id=question.id,
            category=question.category,
            language=question.language,
            turns=(
                fill(
                    prompt.template,
                    text=question.turns[0],
                    labels=parted.labels,
                    several=parted.several,
                    task=task or prompt.task,
                    examples=[{"text": e.turns[0], "label": e.label} for e in chosen[question.id]],
                ).strip(),
            ),
        )
        for question in parted.test
    ]


def _examples(parted: Texts, prompt: ClassifyPrompt, seed: int) -> Mapping[str, list[Question]]:
    count, train = prompt.examples.count, parted.train
    if not count:
        return {question.id: [] for question in parted.test}
    if prompt.examples.choice == "nearest":
        return nearest(train, parted.test, count)
    return {
        question.id: sorted(train, key=lambda e: short_hash([seed, "example", question.id, e.id]))[
            :count
        ]
        for question in parted.test
    }


def nearest(
    train: Sequence[Question], test: Sequence[Question], count: int
) -> dict[str, list[Question]]:
    """For each text the `count` most similar ones of the train part, the most similar one last.

    Similar: the cosine of TF-IDF weights of runs of 1 to 3 characters, which serve every script.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise Missing(
            "similar examples need scikit-learn: pip install 'evalkit[classify]'"
        ) from error
    weights = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    known = weights.fit_transform([each.turns[0] for each in train])
    found: dict[str, list[Question]] = {}
    for first in range(0, len(test), AT_ONCE):
        some = test[first : first + AT_ONCE]
        likeness = (weights.transform([each.turns[0] for each in some]) @ known.T).toarray()
        order = (-likeness).argsort(axis=1, kind="stable")[:, :count]
        for question, places in zip(some, order, strict=True):
            found[question.id] = [train[n] for n in reversed(places)]
    return found


def said(
    asked: Sequence[Question], answers: Iterable[Answer], labels: Labels
) -> dict[str, Labelled]:
    """By text: what the answers that stand say. A text without an answer is not in it."""
    own: dict[str, list[Answer]] = {}
    for answer in sorted(standing(asked, answers), key=lambda each: each.sample):
        own.setdefault(answer.question, []).append(answer)
    return {id_: _voted(rows, labels) for id_, rows in own.items()}


def _voted(rows: Sequence[Answer], labels: Labels) -> Labelled:
    read = [_read(row, labels) for row in rows]
    votes = Counter(each.labels for each in read if each.labels is not None)
    winner = votes.most_common(1)[0][0] if votes else None
    chosen, first = next(pair for pair in zip(read, rows, strict=True) if pair[0].labels == winner)
    costs = [row.dollars for row in rows if row.dollars is not None]
    return Labelled(chosen, first, sum(costs) if costs else None, tuple(rows))


def _read(row: Answer, labels: Labels) -> Labelling:
    if row.refusal and not row.turns[-1].strip():
        return Labelling(None, unreadable="refused")
    return labels.read(row.turns[-1])
