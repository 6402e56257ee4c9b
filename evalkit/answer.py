"""Questions -> what to ask a chatbot, turn by turn, and its replies -> Answers.

Pure: meets no model, no file and no clock. A turn is owed until a row was asked exactly it: the
same words before it, the same parameters, the same model.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.chat import Message, Reply, Request, Sampling, bought
from evalkit.records import Answer, Question, short_hash

TEMPERATURES = {"writing": 0.7, "roleplay": 0.7}  # by category: where there is no one right answer
TEMPERATURE = 0.0  # of all other categories
MAX_TOKENS = 1024  # the published Vicuna answers had the same limit


@dataclass(frozen=True)
class Settings:
    """How the answers are drawn, where the user said it."""

    samples: int = 1
    temperature: float | None = None
    """None: the category's own, from `TEMPERATURES`."""
    max_tokens: int = MAX_TOKENS
    seed: int | None = None
    """Of sample 0; each further sample adds one to it."""

    def sampling(self, category: str, sample: int) -> Sampling:
        """What is sent with a question of a category."""
        temperature = self.temperature
        if temperature is None:
            temperature = TEMPERATURES.get(category, TEMPERATURE)
        seed = None if self.seed is None else self.seed + sample
        return Sampling(temperature, self.max_tokens, seed)


class Asking:
    """What one chatbot is asked of a bank, with the rows that are there already."""

    def __init__(
        self,
        model: str,
        model_id: str,
        questions: Sequence[Question],
        rows: Iterable[Answer],
        settings: Settings,
    ) -> None:
        """`model`: its name in its rows; `model_id`: what its service calls it."""
        self._model = model
        self._id = model_id
        self._questions = {question.id: question for question in questions}
        self._settings = settings
        self._rows = {(row.question, row.sample, row.asked): row for row in rows}
        self._state = {
            (question.id, sample): self._walk(question, sample)
            for sample in range(settings.samples)
            for question in questions
        }
        """Of each answer: the turn that is owed, or its last row."""

    @property
    def total(self) -> int:
        """Answers that the whole bank takes, samples included."""
        return len(self._state)

    @property
    def done(self) -> int:
        """How many answers are here."""
        return len(self.complete())

    def complete(self) -> list[Answer]:
        """The answers that are here, asked just so and to their last turn."""
        return [found for found in self._state.values() if not isinstance(found, Request)]

    def requests(self) -> Iterator[Request]:
        """The first owed turn of each answer that is not complete."""
        return (found for found in self._state.values() if isinstance(found, Request))

    def calls(self) -> Iterator[tuple[Request, int]]:
        """Every call that is owed, to put a price on: as far as its words are known, and how many
        replies it will hold that the model has not given yet.
        """
        for first in self.requests():
            request, unsaid = first, 0
            yield request, unsaid
            for turn in self._questions[first.about[0]].turns[_turn(first) :]:
                unsaid += 1
                request = replace(request, messages=(*request.messages, Message("user", turn)))
                yield request, unsaid

    def asked_otherwise(self) -> int:
        """Answers that count now and will not once those that are owed have come."""
        if not self._rows:
            return 0
        owed = {(request.about[0], request.sample) for request in self.requests()}
        counted = standing(self._questions.values(), self._rows.values())
        return sum((row.question, row.sample) in owed for row in counted)

    def record(self, request: Request, reply: Reply, dollars: float | None) -> Answer:
        """The row that a reply becomes."""
        before = (message.text for message in request.messages if message.role == "assistant")
        return Answer(
            question=request.about[0],
            model=self._model,
            turns=(*before, reply.text),
            question_hash=short_hash(self._questions[request.about[0]].turns),
            **bought(request, reply, self._id, dollars),
        )

    def take(self, row: Answer) -> Request | None:
        """A row is on disk: returns the next turn of its question, or None after the last."""
        self._rows[row.question, row.sample, row.asked] = row
        found = self._walk(self._questions[row.question], row.sample)
        self._state[row.question, row.sample] = found
        return found if isinstance(found, Request) else None

    def _walk(self, question: Question, sample: int) -> Answer | Request:
        """The first turn of a question that is owed, or its answer where every turn has its row."""
        request = Request(
            messages=(Message("user", question.turns[0]),),
            sampling=self._settings.sampling(question.category, sample),
            about=(question.id,),
            sample=sample,
        )
        while True:
            row = self._rows.get((question.id, sample, request.asked(self._id)))
            if row is None:
                return request
            turn = _turn(request)
            if turn == len(question.turns):
                return row
            more = (Message("assistant", row.turns[-1]), Message("user", question.turns[turn]))
            request = replace(request, messages=(*request.messages, *more))


def standing(questions: Iterable[Question], answers: Iterable[Answer]) -> list[Answer]:
    """The answers that count.

    Of each question as it stands now, each model and each sample: the last one that is complete.
    """
    bank = {question.id: question for question in questions}
    hashes = {id_: short_hash(question.turns) for id_, question in bank.items()}
    found: dict[tuple[str, str, int], Answer] = {}
    for row in answers:
        question = bank.get(row.question)
        if question is None or row.question_hash not in (None, hashes[row.question]):
            continue
        if row.question_hash is None or len(row.turns) == len(question.turns):
            found[row.question, row.model, row.sample] = row
    return list(found.values())


def spread(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """The first `limit` questions, one of each category in turn, in the order of the bank."""
    if limit is None or limit >= len(questions):
        return list(questions)
    by_category: Mapping[str, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        by_category[question.category].append(place)
    rounds = max(map(len, by_category.values()))
    in_turn = [own[n] for n in range(rounds) for own in by_category.values() if n < len(own)]
    return [questions[place] for place in sorted(in_turn[:limit])]


def _turn(request: Request) -> int:
    """Which turn of its question a request asks, from 1."""
    return sum(message.role == "user" for message in request.messages)
