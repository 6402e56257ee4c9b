"""Which reviews count: those of the questions, answers and prompts as they are, and the last ones.

May meet a million rows: what is asked of each is asked once of those that agree in all it depends
on, and no row is looked at as an object.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from evalkit.answer import standing as answers_that_stand
from evalkit.judge.filling import basis
from evalkit.prompts import JudgePrompt
from evalkit.records import VOTE, Answer, Canary, Question, Review, short_hash
from evalkit.rows import Column, Mask, Places, Rows, pick

Hashes = dict[tuple[str, str, int | None], set[str]]
"""Question, model, and how many turns (None: all) -> hashes of the answers that stand."""


def standing(
    questions: Iterable[Question],
    answers: Iterable[Answer],
    reviews: Iterable[Review],
    prompts: Mapping[str, JudgePrompt],
) -> tuple[Sequence[Review], Sequence[Review]]:
    """The reviews that count, and those that are stale; in columns where `reviews` are.

    `answers`: all of them. A review counts while its question, its answers and its prompt are as
    they were, or the first turns of its answers, where it says that it is of those. Of one showing
    the last such row counts, and those before it are neither; of a person on one pair of answers
    the last vote, and none where that was taken back.
    """
    bank = {question.id: question for question in questions}
    hashes = _hashes(bank, list(answers))
    reviews = reviews if isinstance(reviews, Sequence) else list(reviews)
    rows = Rows.of(reviews)
    told = rows.groups("question", "prompt", "prompt_hash")
    seen = rows.groups("question", "shown", "answers", "first_turns", "canary", "right")
    fresh = told.mask(partial(_is_told, bank, prompts)) & seen.mask(partial(_of_answers, hashes))
    return pick(reviews, _last(rows, fresh)), pick(reviews, ~fresh)


def _hashes(bank: Mapping[str, Question], answers: Sequence[Answer]) -> Hashes:
    hashes: Hashes = {(a.question, a.model, None): set() for a in answers}
    for answer in answers_that_stand(bank.values(), answers):
        own = answer.hash
        hashes[answer.question, answer.model, None].add(own)
        for n in range(1, len(answer.turns) + 1):
            first = own if n == len(answer.turns) else short_hash(answer.turns[:n])
            hashes.setdefault((answer.question, answer.model, n), set()).add(first)
    return hashes


def _last(rows: Rows, fresh: Mask) -> Places:
    """Of each showing the last of its rows that are `fresh`, in the order of the first ones."""
    votes, told = rows.among("prompt", {VOTE}), ~rows.among("prompt_hash", {None})
    showing = ("question", "judge", "prompt", "shown", "canary", "sample")
    either = rows.columns["shown"].numbered(frozenset)
    parts: list[tuple[Mask, tuple[str | Column, ...]]] = [
        (fresh & ~votes & told, (*showing, "answers")),
        (fresh & ~votes & ~told, (*showing, "asked")),
        (fresh & votes, ("question", "judge", either, "sample")),
    ]
    firsts, lasts = [], []
    for part, same in parts:
        places = np.flatnonzero(part)
        first, of = np.unique(rows.ids(*same)[places], return_index=True, return_inverse=True)[1:]
        last = np.zeros(len(first), np.intp)
        np.maximum.at(last, of, np.arange(len(places)))
        firsts.append(places[first])
        lasts.append(places[last])
    found = np.concatenate(lasts)[np.argsort(np.concatenate(firsts))]
    taken_back = votes & ~rows.mask("scores", bool)
    return found[~taken_back[found]]


def _is_told(
    bank: Mapping[str, Question],
    prompts: Mapping[str, JudgePrompt],
    question: str,
    prompt: str,
    told: str | None,
) -> bool:
    """Whether a judge would be told of a question what it was told, as far as that is known."""
    asked, by = bank.get(question), prompts.get(prompt)
    if asked is None or by is None or told is None:
        return asked is not None
    return basis(by, asked) == told


def _of_answers(
    hashes: Hashes,
    question: str,
    shown: tuple[str, ...],
    answers: tuple[str, ...],
    turns: int | None,
    canary: Canary | None,
    right: int | None,
) -> bool:
    """Whether a judge saw the answers that stand, where anything is known of their model's.

    Of a canary: the one that is right.
    """
    if canary is not None and len(shown) == 1:
        return True
    for place in range(len(shown)) if canary is None else [right or 0]:
        model = shown[place]
        known = (question, model, None) in hashes
        if known and answers[place] not in hashes.get((question, model, turns), ()):
            return False
    return True
