"""A judging that ends where it is certain: which calls to a judge could still matter.

Between what a judge is asked (`judge.judging`) and the tests that may be looked at all the time
(`stats.sequential`). Outcomes are taken question by question, in the order of `records.place`,
whatever comes first: so a run that was interrupted decides as one that was not. Calls that were
under way when a pair was decided are kept and counted; the decision does not use them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.chat import Reply, Request
from evalkit.judge.judging import Judging
from evalkit.judge.showings import Pair, Showing
from evalkit.records import Review, place
from evalkit.stats.battles import Same, battles, by_question
from evalkit.stats.intervals import Floats
from evalkit.stats.sequential import (
    ALPHA,
    NAMES,
    TIE,
    Comparisons,
    Duels,
    Race,
    more_questions,
)


@dataclass(frozen=True)
class Goal:
    """When a judging may end."""

    what: Literal["decided", "best"]
    """Each pair is decided, or it is known which model is the best."""
    alpha: float = ALPHA
    tie_zone: float = TIE
    """Half the width of what is called a tie, in units of the mean outcome; 0: nothing is."""


@dataclass(frozen=True)
class News:
    """What became certain."""

    what: str
    """One of `NAMES`: a or b of a pair is better, or they tie; or what model a is: `WORSE` than
    the best, or the `BEST`."""
    a: str
    b: str | None
    after: int
    """Questions that it took."""
    left: int
    """Pairs that are not decided, or models that may still be the best."""
    saved: int
    """Calls that this makes needless."""


WORSE, BEST = "worse", "best"
Cell = tuple[str, Pair]
"""A question, and two models in alphabetical order."""


class Until:
    """What a judge is asked, as `Judging`, for as long as it is not certain."""

    def __init__(
        self,
        judging: Judging,
        showings: Sequence[Showing],
        identical: Iterable[Same],
        goal: Goal,
        told: Callable[[News], None] = lambda _: None,
    ) -> None:
        """`showings`: those of `judging`; `identical`: ties by rule; `told`: hears what is new."""
        self._judging = judging
        self._goal = goal
        self._told = told
        self._open: dict[Cell, set[tuple[tuple[str, ...], int]]] = {}
        """What a question of a pair still takes."""
        self._reviews: dict[Cell, list[Review]] = {}
        for each in showings:
            if each.canary is None:
                keys = ((each.about, sample) for sample in range(each.samples))
                self._open.setdefault(_cell(each), set()).update(keys)
        self._cells = {about: cell for cell, owed in self._open.items() for about, _ in owed}
        pairs = sorted({pair for _, pair in self._open})
        self._duels = Duels(pairs)
        self._at = {pair: number for number, pair in enumerate(pairs)}
        ties = [(id_, (min(models), max(models))) for id_, *models in identical]
        ties = [(id_, pair) for id_, pair in ties if pair in self._at]
        self._questions = sorted({id_ for id_, _ in (*self._open, *ties)}, key=place)
        self._row = {id_: number for number, id_ in enumerate(self._questions)}
        self._outcomes = np.full((len(self._questions), len(pairs)), np.nan)
        self._pending = np.zeros(self._outcomes.shape, dtype=np.bool_)
        for id_, pair in self._open:
            self._pending[self._row[id_], self._at[pair]] = True
        for id_, pair in ties:
            self._outcomes[self._row[id_], self._at[pair]] = 0.0
        self._next = 0
        self._comparisons = Comparisons(len(pairs), goal.alpha, goal.tie_zone)
        self._race = Race(len(self._duels.models), goal.alpha)
        self._ended: dict[int, int] = {}
        """Pair that is not wanted any more -> questions that were taken then."""
        for review in judging.complete():
            self._came(review)
        self._saved_before = 0
        self.known: list[News] = []
        """What was certain before a call was made."""
        self._settle([cell for cell, owed in self._open.items() if not owed])
        self._advance(self.known.append)
        self._saved_before = self.saved
        self.spared = 0
        """Reviews that turned out not to be wanted since this began."""

    # -- as Judging

    @property
    def total(self) -> int:
        """Reviews that all of it takes: those that are here, and those that are still wanted."""
        owed = sum(self._matters(about) for about, _ in self._judging.owed())
        return self.done + owed

    @property
    def done(self) -> int:
        """As `Judging.done`."""
        return self._judging.done

    @property
    def saved(self) -> int:
        """Reviews that have not come and need not come."""
        return sum(
            len(owed) for (_, pair), owed in self._open.items() if self._at[pair] in self._ended
        )

    @property
    def beyond(self) -> int:
        """Reviews that were under way when it was certain: kept, and not used to decide."""
        return sum(
            len(reviews)
            for (id_, pair), reviews in self._reviews.items()
            if self._row[id_] >= self._ended.get(self._at[pair], len(self._questions))
        )

    def complete(self) -> Sequence[Review]:
        """The reviews that are here."""
        return self._judging.complete()

    def requests(self) -> Iterator[Request]:
        """What each owed review takes next, while it is wanted."""
        owed = self._judging.owed()
        return (self._judging.request(key) for key in owed if self._matters(key[0]))

    def calls(self) -> Iterator[tuple[Request, int]]:
        """Every call that may be made."""
        return ((request, 0) for request in self.requests())

    def first(self) -> Request:
        """As `Judging.first`."""
        return self._judging.first()

    def usual(self) -> tuple[float, float]:
        """As `Judging.usual`."""
        return self._judging.usual()

    def record(self, request: Request, reply: Reply, dollars: float | None) -> Review:
        """As `Judging.record`."""
        return self._judging.record(request, reply, dollars)

    def take(self, row: Review) -> Request | None:
        """As `Judging.take`; and see whether something is certain now."""
        following = self._judging.take(row)
        if following is None and row.canary is None:
            cell = self._came(row)
            if cell is not None and not self._open[cell]:
                self._settle([cell])
                self._advance(self._told)
        return following

    # -- what is certain

    def wanted(self, request: Request) -> bool:
        """Whether a reply could still matter. Canaries always do."""
        return self._matters(request.about)

    def _matters(self, about: tuple[str, ...]) -> bool:
        cell = self._cells.get(about)
        return cell is None or self._at[cell[1]] not in self._ended

    def lost(self, request: Request) -> None:
        """A request was given up: its question is passed over for now, and stays owed."""
        cell = self._cells.get(request.about)
        if cell is not None:
            self._settled(cell, np.nan)
            self._advance(self._told)

    @property
    def contenders(self) -> list[str]:
        """Where the best is wanted and not known: the models that may be it."""
        if self._goal.what != "best" or len(self._race.left) == 1:
            return []
        return [self._duels.models[k] for k in self._race.left]

    def undecided(self) -> list[tuple[str, str, int, int | None]]:
        """Each pair that is not decided: its models, its outcomes, about how many more it takes."""
        found = []
        for number in self._needed:
            taken = self._outcomes[: self._next, number]
            n = int((~np.isnan(taken)).sum())
            more = more_questions(taken, self._goal.alpha, self._goal.tie_zone)
            found.append((*self._duels.pairs[number], n, more))
        return found

    # -- inside

    def _came(self, review: Review) -> Cell | None:
        """Count a review; returns the question and pair that it is of."""
        about = (review.question, *review.shown)
        cell = self._cells.get(about)
        if cell is None or review.canary is not None:
            return None
        self._reviews.setdefault(cell, []).append(review)
        self._open[cell].discard((about, review.sample))
        return cell

    def _settle(self, cells: Iterable[Cell]) -> None:
        """Work out the outcomes of questions that are complete, as every table does."""
        done = list(cells)
        if not done:
            return
        reviews = [review for cell in done for review in self._reviews[cell]]
        table = by_question(battles(reviews, dict.fromkeys(self._questions, "")))
        keys = zip(table["question"], table["a"], table["b"], strict=True)
        outcomes = 1 - 2 * table["outcome"].to_numpy(np.float64)
        read = {(id_, (a, b)): d for (id_, a, b), d in zip(keys, outcomes, strict=True)}
        for cell in done:
            self._settled(cell, float(read.get(cell, np.nan)))

    def _settled(self, cell: Cell, outcome: float) -> None:
        at = self._row[cell[0]], self._at[cell[1]]
        self._outcomes[at], self._pending[at] = outcome, False

    def _advance(self, told: Callable[[News], None]) -> None:
        """Take each question that is complete for all pairs that are still wanted, in order."""
        while self._needed and self._next < len(self._questions):
            if self._pending[self._next, self._needed].any():
                return
            outcomes = self._outcomes[self._next]
            self._next += 1
            news = self._decide(outcomes) if self._goal.what == "decided" else self._drop(outcomes)
            for each in news:
                told(each)

    def _decide(self, outcomes: Floats) -> list[News]:
        new = self._comparisons.take(outcomes)
        if new:
            self._want(set(self._comparisons.open))
        news = []
        for number in new:
            found = self._comparisons.found[number]
            assert found is not None, "a decided pair without its decision"
            what = NAMES[found.decision]
            a, b = self._duels.pairs[number]
            news.append(News(what, a, b, found.after, len(self._needed), self.saved))
        return news

    def _drop(self, outcomes: Floats) -> list[News]:
        out = self._race.take(self._duels.outcomes(outcomes))
        left = self._race.left
        if out:
            self._want(self._duels.needed(left) if len(left) > 1 else set())
        names = [(WORSE, self._duels.models[k]) for k in out]
        if out and len(left) == 1:
            names.append((BEST, self._duels.models[left[0]]))
        return [News(w, a, None, self._next, len(left), self.saved) for w, a in names]

    @property
    def _needed(self) -> list[int]:
        """Pairs that are wanted."""
        return [pair for pair in range(len(self._duels.pairs)) if pair not in self._ended]

    def _want(self, needed: set[int]) -> None:
        """End all pairs but these."""
        self._ended |= {pair: self._next for pair in self._needed if pair not in needed}
        self.spared = self.saved - self._saved_before


def _cell(showing: Showing) -> Cell:
    one, other = sorted(showing.shown)
    return showing.question.id, (one, other)
