"""What is owed of what a judge is to be shown, and its replies -> Reviews.

A showing is owed until a row was asked exactly it. A reply that cannot be read is a row without
scores; then the judge is asked once more: with more room where it was cut, else for the scores
alone. That is a row of its own, and the last one counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from evalkit.answer import standing as answers_that_stand
from evalkit.chat import Message, Reply, Request, about, bought
from evalkit.judge.filling import Filled, basis, filled, fits
from evalkit.judge.showings import Showing, Texts
from evalkit.parsers import PARSERS, Reading
from evalkit.price import tokens_about
from evalkit.prompts import JudgePrompt
from evalkit.records import Answer, Question, Review, short_hash

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
        self._showings = {(each.about, each.sample): each for each in showings}
        self._bases: dict[str, str] = {}
        self._hashes: dict[Texts, str] = {}
        self._rows: dict[Key, tuple[Review, ...]] = {}
        """Of each showing, in the order in which they came."""
        for row in rows:
            self._add(row)
        self._state = {key: self._given(key, each) for key, each in self._showings.items()}
        """Of each showing its last row, or None while one is owed."""

    @property
    def total(self) -> int:
        """Reviews that all of it takes, canaries included."""
        return len(self._state)

    def complete(self) -> list[Review]:
        """The reviews that are here, those that cannot be read included."""
        return [row for row in self._state.values() if row is not None]

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
        return self._filled(next(iter(self._showings))).request

    def usual(self) -> tuple[float, float]:
        """Tokens of a reply; and tokens that were sent, for one of `price.tokens_about`.

        As rows that are here say, where there are any.
        """
        sent = planned = said = 0.0
        told = ((key, row.usage) for key, row in self._state.items() if row and row.usage)
        counted = 0
        for key, usage in islice(told, ENOUGH):
            request = self._filled(key).request
            if self._state[key] is self._row(request):
                sent += usage.input
                said += usage.output
                planned += tokens_about(request)
                counted += 1
        return (said / counted, sent / planned) if counted and sent else (USUAL, 1.0)

    def record(self, request: Request, reply: Reply, dollars: float | None) -> Review:
        """The row that a reply becomes."""
        showing = self._showings[request.about, request.sample]
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
        key = self._add(row)
        # nothing follows a reply with scores: its prompt need not be filled to know that
        found = self._walk(self._filled(key).request) if row.scores is None else row
        if isinstance(found, Request):
            return found
        self._state[key] = found
        return None

    # -- inside

    def _add(self, row: Review) -> Key:
        key = about(row), row.sample
        self._rows[key] = (*self._rows.get(key, ()), row)
        return key

    def _filled(self, key: Key) -> Filled:
        return filled(
            self._prompt, self._showings[key], structured=self._structured, context=self._context
        )

    def _given(self, key: Key, showing: Showing) -> Review | None:
        """The last row of a showing; None where one is owed."""
        rows = self._rows.get(key)
        if rows is None:
            return None
        told = self._basis(showing.question), tuple(map(self._hash, showing.answers))
        for row in reversed(rows):  # no prompt is filled where a hash tells that it would be this
            same = row.manner == self._manner and (row.prompt_hash, row.answers) == told
            if same and row.scores is not None:
                return row
        found = self._walk(self._filled(key).request)
        return None if isinstance(found, Request) else found

    def _basis(self, question: Question) -> str:
        if question.id not in self._bases:
            self._bases[question.id] = basis(self._prompt, question)
        return self._bases[question.id]

    def _hash(self, answer: Texts) -> str:
        if answer not in self._hashes:
            self._hashes[answer] = short_hash(answer)
        return self._hashes[answer]

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


def standing(
    questions: Iterable[Question],
    answers: Iterable[Answer],
    reviews: Iterable[Review],
    prompts: Mapping[str, JudgePrompt],
) -> tuple[list[Review], list[Review]]:
    """The reviews that count, and those that are stale.

    `answers`: all of them. A review counts while its question, its answers and its prompt are as
    they were, or the first turns of its answers, where it says that it is of those. Of one showing
    the last such row counts, and those before it are neither; of a person on one pair of answers
    the last vote, and none where that was taken back.
    """
    bank = {question.id: question for question in questions}
    answers = list(answers)
    hashes: Hashes = {(a.question, a.model, None): set() for a in answers}
    for answer in answers_that_stand(bank.values(), answers):
        hashes[answer.question, answer.model, None].add(answer.hash)
        for n in range(1, len(answer.turns) + 1):
            first = short_hash(answer.turns[:n])
            hashes.setdefault((answer.question, answer.model, n), set()).add(first)
    known: dict[tuple[Any, ...], bool] = {}
    found: dict[tuple[Any, ...], Review] = {}
    stale = []
    for row in reviews:  # may be a million; few differ in what makes them stale
        told = row.question, row.prompt, row.prompt_hash
        seen = (*told, row.shown, row.answers, row.first_turns, row.canary, row.right)
        stands = known.get(seen)
        if stands is None:
            if told not in known:
                known[told] = _is_told(row, bank, prompts)
            stands = known[seen] = known[told] and _of_answers(row, hashes)
        if not stands:
            stale.append(row)
            continue
        place = row.asked if row.prompt_hash is None else row.answers
        if row.is_vote:
            found[row.question, row.judge, row.prompt, frozenset(row.shown), row.sample] = row
        else:
            whose = row.question, row.judge, row.prompt, row.shown
            found[(*whose, row.canary, row.sample, place)] = row
    return [row for row in found.values() if row.scores or not row.is_vote], stale


Hashes = dict[tuple[str, str, int | None], set[str]]
"""Question, model, and how many turns (None: all) -> hashes of the answers that stand."""


def _is_told(row: Review, bank: Mapping[str, Question], prompts: Mapping[str, JudgePrompt]) -> bool:
    """Whether a judge would be told of a review's question what it was told, as far as is known."""
    question, prompt = bank.get(row.question), prompts.get(row.prompt)
    if question is None or prompt is None or row.prompt_hash is None:
        return question is not None
    return basis(prompt, question) == row.prompt_hash


def _of_answers(row: Review, hashes: Hashes) -> bool:
    """Whether a review saw the answers that stand; of a canary: the one that is right."""
    places = range(len(row.shown)) if row.canary is None else [row.right or 0]
    if row.canary is not None and len(row.shown) == 1:
        return True
    return all(_stands(row, place, hashes) for place in places)


def _stands(row: Review, place: int, hashes: Hashes) -> bool:
    """Whether an answer that was shown stands, or nothing at all is known of its model's."""
    question, model = row.question, row.shown[place]
    if (question, model, None) not in hashes:
        return True
    return row.answers[place] in hashes.get((question, model, row.first_turns), ())


def _is_repair(request: Request) -> bool:
    return any(message.role == "assistant" for message in request.messages)
