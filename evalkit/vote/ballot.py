"""What a person votes on, in which order, and what a vote becomes: a Review.

Which questions come is chance alone: only then does what they say of a judge hold for all of them.
Chance is a hash, so that who comes back goes on where they stopped. Knows no page and no file: what
keeps a row, and what tells the time, is given.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Literal

from evalkit.judge.showings import Pair, Showing, plan, rank
from evalkit.records import VOTE, Answer, Question, Review, human, short_hash

Winner = Literal["1", "2", "0"]
SCORES: Mapping[Winner, tuple[float, float]] = {"1": (1, 0), "2": (0, 1), "0": (0.5, 0.5)}
"""What a vote for the first, for the second and for a tie comes to."""
TAKEN_BACK = "taken back"
LONGEST_NOTE = 2000  # characters


@dataclass(frozen=True)
class Choice:
    """How the questions of a ballot are drawn."""

    most: int
    """Votes that are wanted of each person."""
    shared: bool = False
    """All people get the same questions, so that they can be compared with each other."""
    seed: int = 0


def ballot(
    voter: str,
    questions: Sequence[Question],
    answers: Iterable[Answer],
    compared: Sequence[Pair],
    judged: Mapping[frozenset[str], set[str]],
    choice: Choice,
) -> list[Showing]:
    """All that a person may be shown, in their order; the first `choice.most` are wanted.

    `answers`: those that stand. `judged`: the questions of a pair that a model has judged; of a
    pair with any, no others are drawn, since a vote corrects a verdict. Questions to which both
    gave the same answer are left out. Each pair has an order of its own; pairs take turns. Who
    comes first is a coin for each person and question.
    """
    coins = int(short_hash([choice.seed, "coins", voter]), 16)
    whose = "" if choice.shared else voter
    by_pair: list[list[Showing]] = []
    for pair in compared:
        only = judged.get(frozenset(pair))
        asked = [each for each in questions if only is None or each.id in only]
        shown = plan(asked, answers, [pair], orders="coin", seed=coins).showings
        shown.sort(key=lambda each: rank(choice.seed, "vote", whose, *_named(each)))
        by_pair.append(shown)
    in_turn = chain.from_iterable(zip_longest(*by_pair))
    return [showing for showing in in_turn if showing is not None]


def _named(showing: Showing) -> list[str]:
    return [showing.question.id, *sorted(showing.shown)]


def place(row: Review | Showing) -> "Place":
    """What a vote is on: a question and two models, whoever came first."""
    question = row.question if isinstance(row, Review) else row.question.id
    return question, frozenset(row.shown)


Place = tuple[str, frozenset[str]]


class Session:
    """One person's votes as they stand, and what comes next."""

    def __init__(
        self,
        voter: str,
        showings: Sequence[Showing],
        votes: Iterable[Review],
        rows: int,
        choice: Choice,
        keep: Callable[[Review], object],
        clock: Callable[[], str],
    ) -> None:
        """`votes`: this person's that stand, the last one last; `rows`: all that there are of them,
        taken back or not. `keep` writes one more; `clock` gives ISO 8601 in UTC.
        """
        self.voter = voter
        self._keep = keep
        self._clock = clock
        self._rows = rows
        self._votes = {place(vote): vote for vote in votes}
        known = {place(showing): showing for showing in showings}
        voted = [each for each in self._votes if each in known]
        in_order = [*voted, *(each for each in known if each not in self._votes)]
        self._wanted = {each: known[each] for each in in_order[: choice.most]}
        self._skipped: list[Place] = []

    @property
    def turn(self) -> int:
        """How much has happened: a page that was made before the last of it is not heard."""
        return self._rows + len(self._skipped)

    @property
    def votes(self) -> int:
        """How many of the wanted votes stand."""
        return sum(each in self._votes for each in self._wanted)

    @property
    def wanted(self) -> int:
        """How many votes there shall be."""
        return len(self._wanted)

    @property
    def put_off(self) -> int:
        """How many were skipped and have no vote yet."""
        return len(set(self._skipped) - set(self._votes))

    @property
    def can_undo(self) -> bool:
        """Whether there is a vote to take back."""
        return bool(self._votes)

    @property
    def next(self) -> Showing | None:
        """What to show now; what was skipped comes again at the end. None: all is done."""
        open_ = [each for each in self._wanted if each not in self._votes]
        last = {each: number for number, each in enumerate(self._skipped)}
        now = min(open_, key=lambda each: last.get(each, -1), default=None)
        return None if now is None else self._wanted[now]

    def vote(self, winner: Winner, note: str) -> None:
        """Keep a vote on what is shown now."""
        if (showing := self.next) is not None:
            self._add(
                Review(
                    question=showing.question.id,
                    judge=human(self.voter),
                    prompt=VOTE,
                    shown=showing.shown,
                    answers=tuple(map(short_hash, showing.answers)),
                    text=note,
                    scores=SCORES[winner],
                    rung="strict",
                    asked=self._asked(showing.question.id, showing.shown, winner),
                    time=self._clock(),
                )
            )

    def skip(self) -> None:
        """Leave what is shown now for later."""
        if (showing := self.next) is not None:
            self._skipped.append(place(showing))

    def undo(self) -> None:
        """Take the last vote back; what it was on is shown again."""
        if not self._votes:
            return
        last = next(reversed(self._votes.values()))
        asked = self._asked(last.question, last.shown, TAKEN_BACK)
        nothing = {"scores": None, "rung": None, "unreadable": TAKEN_BACK, "text": ""}
        self._add(last.model_copy(update={**nothing, "asked": asked, "time": self._clock()}))

    def _asked(self, question: str, shown: tuple[str, ...], what: str) -> str:
        """What makes a row another one than all before it."""
        return short_hash([VOTE, question, shown, what, self._rows])

    def _add(self, row: Review) -> None:
        self._keep(row)
        self._rows += 1
        self._votes.pop(place(row), None)
        if row.scores is not None:
            self._votes[place(row)] = row
