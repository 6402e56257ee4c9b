"""What is owed of what a judge is to be shown, and its replies -> Reviews.

A showing is owed until a row was asked exactly it. A reply that cannot be read is a row without
scores; then the judge is asked once more: with more room where it was cut, else for the scores
alone. That is a row of its own, and the last one counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np

from evalkit.chat import Message, Reply, Request, about, bought
from evalkit.judge.filling import Filled, basis, filled, fits
from evalkit.judge.showings import Showing, Texts
from evalkit.parsers import PARSERS, Reading
from evalkit.price import tokens_about
from evalkit.prompts import JudgePrompt
from evalkit.records import Answer, Question, Review, short_hash
from evalkit.rows import Places, Rows, concatenated, pick

MORE_ROOM = 2  # times as many tokens, where a reply was cut
USUAL = 200  # tokens of a reply, while this judge has given none
ENOUGH = 1000  # replies that tell what is usual

Key = tuple[tuple[str, ...], int]
"""`Showing.about`, and which sample of it."""


class Judging:
    """What one judge is shown with one prompt, with the rows that are there already."""

    def __init__(
        self,
        judge: str,
        model_id: str,
        prompt_name: str,
        prompt: JudgePrompt,
        showings: Sequence[Showing],
        rows: Iterable[Review],
        *,
        structured: bool = False,
        context: int | None = None,
    ) -> None:
        """`judge`: its name in its rows; `model_id`: what its service calls it.

        `structured`, `context`: as `filling.filled` takes them.
        """
        self._judge = judge
        self._id = model_id
        self._prompt_name = prompt_name
        self._prompt = prompt
        self._structured = structured
        self._context = context
        drawn = prompt.sampling.model_dump()
        self._manner = short_hash([model_id, drawn, structured and prompt.reply_schema, context])
        self._showings = {each.about: each for each in showings}
        self._bases: dict[str, str] = {}
        self._hashes = _Hashes()
        self._before = rows if isinstance(rows, Sequence) else list(rows)
        columns = Rows.of(self._before)
        self._kept, owed = self._matched(columns)
        """Places in `_before` of the rows that are known to be of a showing by their hashes."""
        self._rows: dict[Key, tuple[Review, ...]] = {}
        """Of each other showing, in the order in which they came."""
        for row in self._others(columns, owed):
            self._add(row)
        self._state = {key: self._given(key) for key in owed}
        """Of each other showing its last row, or None while one is owed."""
        self._came = sum(row is not None for row in self._state.values())

    @property
    def total(self) -> int:
        """Reviews that all of it takes, canaries included."""
        return len(self._kept) + len(self._state)

    @property
    def done(self) -> int:
        """How many reviews are here, those that cannot be read included."""
        return len(self._kept) + self._came

    def complete(self) -> Sequence[Review]:
        """The reviews that are here; in columns where they were given so."""
        came = [row for row in self._state.values() if row is not None]
        kept = pick(self._before, self._kept)
        return concatenated([kept, Rows.of(came) if isinstance(kept, Rows) else came])

    def owed(self) -> Iterator[Key]:
        """`Showing.about` and sample of each review that is owed."""
        return (key for key, row in self._state.items() if row is None)

    def request(self, key: Key) -> Request:
        """What an owed review takes next."""
        found = self._walk(self._filled(key).request)
        assert isinstance(found, Request)
        return found

    def requests(self) -> Iterator[Request]:
        """What each owed review takes next; each is made when it is asked for."""
        return map(self.request, self.owed())

    def calls(self) -> Iterator[tuple[Request, int]]:
        """Every call that is owed, as `answer.Asking.calls` tells them: none waits for another."""
        return ((request, 0) for request in self.requests())

    def first(self) -> Request:
        """The first thing that is shown, whether it is owed or not."""
        return self._filled((next(iter(self._showings)), 0)).request

    def usual(self) -> tuple[float, float]:
        """Tokens of a reply; and tokens that were sent, for one of `price.tokens_about`.

        As rows that are here say, where there are any.
        """
        sent = planned = said = 0.0
        counted = 0
        for row in self._some():
            key = about(row), row.sample
            request = self._filled(key).request
            if row.usage and row.asked == request.asked(self._id):
                sent += row.usage.input
                said += row.usage.output
                planned += tokens_about(request)
                counted += 1
        return (said / counted, sent / planned) if counted and sent else (USUAL, 1.0)

    def record(self, request: Request, reply: Reply, dollars: float | None) -> Review:
        """The row that a reply becomes."""
        showing = self._showings[request.about]
        reading = read(self._prompt, showing.question, showing.answers, reply.text)
        why = reading.unreadable
        if reading.scores is None and reply.refusal:
            why = "refused"
        elif reading.scores is None and reply.finish_reason == "length":
            why = "cut"
        rung: Any = reading.rung
        if rung is not None and _is_repair(request):
            rung = "repaired"
        return Review(
            **bought(request, reply, self._id, dollars),
            question=showing.question.id,
            judge=self._judge,
            prompt=self._prompt_name,
            shown=showing.shown,
            answers=tuple(map(short_hash, showing.answers)),
            text=reply.text,
            scores=reading.scores,
            rung=rung,
            flags=reading.flags,
            unreadable=why,
            prompt_hash=self._basis(showing.question),
            manner=self._manner,
            cut=self._filled((request.about, request.sample)).cut if self._context else 0,
            canary=showing.canary,
            right=showing.right,
        )

    def take(self, row: Review) -> Request | None:
        """Count a row that is on disk; returns what follows from it, if anything."""
        key = about(row), row.sample
        if key not in self._state:  # it was here already
            return None
        self._add(row)
        # nothing follows a reply with scores: its prompt need not be filled to know that
        found = self._walk(self._filled(key).request) if row.scores is None else row
        if isinstance(found, Request):
            return found
        self._came += self._state[key] is None
        self._state[key] = found
        return None

    # -- inside

    def _matched(self, rows: Rows) -> tuple[Places, list[Key]]:
        """Places of the rows that were asked what a showing asks, the last of each; and the rest.

        No prompt is filled for them, and no row is looked at: there may be a million.
        """
        samples = np.array([each.samples for each in self._showings.values()], np.intp)
        most = int(samples.max(initial=0))
        sample = rows.columns["sample"].mapped(lambda n: n if 0 <= n < most else most, np.intp)
        so = rows.among("manner", {self._manner}) & ~rows.among("scores", {None}) & (sample < most)
        places = np.flatnonzero(so)
        groups = rows.take(places).groups(*_WHAT, "answers", "prompt_hash")
        place = np.zeros((len(groups.keys) + 1, most), np.intp)  # the last one is of no group
        there = np.zeros(place.shape, np.bool_)
        np.maximum.at(place, (groups.of, sample[places]), places)  # of several rows the last one
        there[groups.of, sample[places]] = True
        number = {key: n for n, key in enumerate(groups.keys)}
        of = [number.get(key, -1) for key in map(self._known_by, self._showings.values())]
        wanted = np.arange(most) < samples[:, None]
        here = wanted & there[of]
        abouts = list(self._showings)
        owed = [(abouts[n], time) for n, time in np.argwhere(wanted & ~here).tolist()]
        return place[of][here], owed

    def _known_by(self, showing: Showing) -> tuple[Any, ...]:
        """What a row of it says of what it was shown."""
        asked, hashes = showing.question, self._hashes
        answers = tuple([hashes[answer] for answer in showing.answers])
        return asked.id, showing.shown, showing.canary, answers, self._basis(asked)

    def _others(self, rows: Rows, owed: Iterable[Key]) -> Sequence[Review]:
        """The rows of some showings that are not known by their hashes."""
        wanted = {_what(self._showings[about]) for about, _ in owed}
        if not wanted:
            return []
        of = rows.groups(*_WHAT).mask(lambda *what: what in wanted)
        of[self._kept] = False
        return pick(self._before, of)

    def _some(self) -> Iterator[Review]:
        """Rows that are here, as many as tell what is usual."""
        told = ~Rows.of(self._before).among("usage", {None})
        kept = pick(self._before, self._kept[told[self._kept]][:ENOUGH])
        came = (row for row in self._state.values() if row and row.usage)
        return islice(chain(kept, came), ENOUGH)

    def _add(self, row: Review) -> None:
        key = about(row), row.sample
        self._rows[key] = (*self._rows.get(key, ()), row)

    def _filled(self, key: Key) -> Filled:
        showing, sample = self._showings[key[0]], key[1]
        how: Any = {"structured": self._structured, "context": self._context}
        return filled(self._prompt, showing, sample, **how)

    def _given(self, key: Key) -> Review | None:
        """The last row of a showing; None where one is owed."""
        if key not in self._rows:
            return None
        found = self._walk(self._filled(key).request)
        return None if isinstance(found, Request) else found

    def _basis(self, question: Question) -> str:
        if question.id not in self._bases:
            self._bases[question.id] = basis(self._prompt, question)
        return self._bases[question.id]

    def _row(self, request: Request) -> Review | None:
        """The last row that was asked just so."""
        asked = request.asked(self._id)
        rows = self._rows.get((request.about, request.sample), ())
        return next((row for row in reversed(rows) if row.asked == asked), None)

    def _walk(self, request: Request) -> Request | Review:
        while True:
            row = self._row(request)
            if row is None:
                return request
            following = self._again(request, row)
            if following is None:
                return row
            request = following

    def _again(self, request: Request, row: Review) -> Request | None:
        """What to ask after a reply that cannot be read; None where nothing would help or fit."""
        if row.scores is not None or _is_repair(request) or row.refusal:
            return None
        room = self._prompt.sampling.max_tokens
        more: list[Request] = []
        if row.finish_reason == "length" and request.sampling.max_tokens == room:
            longer = replace(request.sampling, max_tokens=MORE_ROOM * room)
            more.append(replace(request, sampling=longer))
        if row.text.strip():
            said = Message("assistant", row.text), Message("user", self._prompt.repair)
            again = replace(request, messages=(*request.messages, *said), schema=None)
            more.append(again)
        return next((each for each in more if fits(each, self._context)), None)


class _Hashes(dict[Texts, str]):
    """Answers and their hashes, each worked out once."""

    def __missing__(self, answer: Texts) -> str:
        made = self[answer] = short_hash(answer)
        return made


_WHAT = ("question", "shown", "canary")


def _what(showing: Showing) -> tuple[Any, ...]:
    """What a row of a showing has in `_WHAT`."""
    return showing.question.id, showing.shown, showing.canary


def read(
    prompt: JudgePrompt, question: Question | None, answers: Iterable[Iterable[str]], text: str
) -> Reading:
    """The scores in a judge's text; what it was shown is never taken for them."""
    asked = [*question.turns, *question.reference] if question else []
    return PARSERS[prompt.parser](text, [*asked, *(each for own in answers for each in own)])


def read_again(
    rows: Iterable[Review],
    prompts: Mapping[str, JudgePrompt],
    questions: Iterable[Question],
    answers: Iterable[Answer],
) -> list[Review]:
    """The rows with the scores that the parsers of today find in their texts.

    Rows of an unknown prompt, and scores that came from another tool (`given`), stay as they are.
    """
    bank = {question.id: question for question in questions}
    texts = {answer.hash: answer.turns for answer in answers}
    found = []
    for row in rows:
        prompt = prompts.get(row.prompt)
        if prompt is None or row.rung == "given":
            found.append(row)
            continue
        shown = [texts.get(each, ()) for each in row.answers]
        reading = read(prompt, bank.get(row.question), shown, row.text)
        if reading.scores is None and row.scores is None:
            found.append(row)
            continue
        rung = "repaired" if reading.rung and row.rung == "repaired" else reading.rung
        new = {"scores": reading.scores, "rung": rung, "flags": reading.flags}
        found.append(row.model_copy(update={**new, "unreadable": reading.unreadable}))
    return found


def _is_repair(request: Request) -> bool:
    return any(message.role == "assistant" for message in request.messages)
