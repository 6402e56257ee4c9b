"""Is a bank in a training set? Finds its questions and references in files of any size.

Every run of 8 words of a bank (13 characters where a script has no blanks: about as much text) is
looked for in the file, whatever its case and punctuation. A backslash is read as itself and as
JSON's, also of JSON inside JSON, and HTML with and without its tags, so it does not matter what
kind of text the file is. Runs of one passage that stand close together are one place; how much of
the passage they cover is the overlap. A question is

    clean          no run of 8 words of it was found
    suspicious     some were, in a place that is not enough for more: stock phrases do this too
    contaminated   a place holds 13 words in a row (21 characters), or all of a shorter passage,
                   and half of the passage or more

13-grams are the unit of Brown et al. (2020, appendix C), 8-grams with a share that of Chowdhery et
al. (2022, section 8). A file is read as a stream: memory does not grow with it. Files are opened
by the caller.
"""

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.columns import aligned
from evalkit.errors import BadFile, Fault, count
from evalkit.questions.corpus import Text
from evalkit.questions.ngrams import Unit, Words, grams, unit, words
from evalkit.questions.window import Window
from evalkit.records import Question

SHORT: dict[Unit, int] = {"words": 8, "characters": 13}
LONG: dict[Unit, int] = {"words": 13, "characters": 21}
SHARE = 0.5
PLACES = 100  # kept of one question, and how many a terminal shows; the others are counted
SHOWN = 3

_READ = 1 << 16  # bytes at a time: arrays of this size stay in the cache
_SIEVE = 1 << 20

Verdict = Literal["clean", "suspicious", "contaminated"]


@dataclass(frozen=True)
class Passage:
    """A turn or a reference of a question, as it is looked for."""

    question: str
    part: str
    words: Words

    @cached_property
    def unit(self) -> Unit:
        """What it is counted in."""
        return unit([self.words])

    @cached_property
    def short(self) -> int:
        """How many words in a row are a hit."""
        return SHORT[self.unit]

    @cached_property
    def long(self) -> int:
        """How many words in a row are too many for chance; no more than there are."""
        return min(LONG[self.unit], len(self.words))

    @cached_property
    def reach(self) -> int:
        """In how many characters of a file all of it would stand, spread or escaped twice."""
        return 200 + 12 * int(self.words.starts[-1])


@dataclass(frozen=True)
class Place:
    """Where a file holds a part of a passage."""

    where: str
    """FILE:LINE:COLUMN"""
    part: str
    overlap: float
    """How much of the passage stands here, from 0 to 1."""
    longest: int
    """The most words in a row."""
    unit: Unit
    contaminated: bool
    """Whether this place alone makes the question so."""

    @property
    def rank(self) -> tuple[bool, float]:
        """Places with more of the question come first."""
        return (not self.contaminated, -self.overlap)


@dataclass
class Result:
    """What was found of one question, the places with the most of it first."""

    question: str
    places: list[Place] = field(default_factory=list)
    count: int = 0
    """Of places, those that are not kept included."""
    too_short: bool = False
    """No passage of it has enough words to be looked for."""

    @property
    def verdict(self) -> Verdict | None:
        """What the places come to; None for a question that was too short to be looked for."""
        if self.too_short:
            return None
        if any(place.contaminated for place in self.places):
            return "contaminated"
        return "suspicious" if self.places else "clean"

    def add(self, place: Place) -> None:
        """Count a place, and keep it if it is among the best."""
        self.count += 1
        if len(self.places) < PLACES or place.rank < self.places[-1].rank:
            insort(self.places, place, key=lambda each: each.rank)
            del self.places[PLACES:]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        places = [asdict(place) for place in self.places]
        named = {"question": self.question, "verdict": self.verdict}
        return {**named, "count": self.count, "places": places}


class Search:
    """Looks for the questions of one bank in any number of files."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._found: dict[str, Result] = {}
        self._passages: list[Passage] = []
        for question in questions:
            texts = [(f"turn {k}", text) for k, text in enumerate(question.turns, 1)]
            texts += [(f"reference {k}", text) for k, text in enumerate(question.reference, 1)]
            passages = [Passage(question.id, part, words(text)) for part, text in texts]
            passages = [each for each in passages if len(each.words) >= each.short]
            self._found[question.id] = Result(question.id, too_short=not passages)
            self._passages += passages
        sizes = sorted({passage.short for passage in self._passages})
        self._tables = [_Table(n, self._passages) for n in sizes]

    def results(self) -> list[Result]:
        """What was found so far, question by question."""
        return list(self._found.values())

    def read(self, name: str, stream: Text) -> Iterator[int]:
        """Look through one file; yields how many bytes it has read, block by block.

        Raises BadFile at the end of a file that is not UTF-8 everywhere; what was found stays so.
        """
        window = Window(name)
        growing: dict[int, _Growing] = {}
        ended = False
        try:
            while not ended:
                raw = stream.read(_READ)
                ended = not raw
                window.take(raw)
                end = len(window.text) if ended else window.safe_end()
                for run in self._runs(window, end):
                    here = growing.get(run.passage)
                    if here is None or not here.takes(run, window.before):
                        self._close(here)
                        thing = self._passages[run.passage]
                        here = _Growing(thing, window.where(run.at), window.before + run.at)
                        growing[run.passage] = here
                        here.takes(run, window.before)
                window.pass_over(end)
                yield len(raw)
        finally:
            for here in growing.values():
                self._close(here)
        if window.first_foreign:
            others = window.foreign - 1
            more = f" and in {count(others, 'more place')}" if others else ""
            what = f"is not UTF-8 here{more}: nothing can be said of that"
            hint = "Try: iconv -f gb18030 -t utf-8 FILE > NEW (or what it is)"
            raise BadFile([Fault(window.first_foreign, f"{what}. {hint}")])

    def _runs(self, window: Window, end: int) -> list["_Run"]:
        """The runs that begin before `end`, in their order; each once, however it was read."""
        runs: dict[tuple[int, int], _Run] = {}
        for text, escapes in window.readings():
            found = words(text, escapes)
            begun = int(np.searchsorted(found.starts, end))
            for table in self._tables:
                for k, passage, positions in table.hits(grams(found.hashes, table.n)[:begun]):
                    at, following = found.starts[k : k + 2].tolist()
                    runs[at, passage] = _Run(at, following, passage, positions)
        return [runs[key] for key in sorted(runs)]

    def _close(self, here: "_Growing | None") -> None:
        if here is not None:
            self._found[here.passage.question].add(here.place())


class _Run(NamedTuple):
    """An n-gram of a passage in a file."""

    at: int
    following: int
    """Where the next word begins, in characters as `at`."""
    passage: int
    positions: Sequence[int]
    """From which words of the passage it may be."""


@dataclass
class _Growing:
    """A place that more runs may still belong to."""

    passage: Passage
    where: str
    start: int
    """Where in the file it begins, in characters."""
    seen: int = 0
    """The runs of the passage that stand here, as bits: bit k is the one from word k on."""
    following: int = -1
    """Where in the file the word after the last run's first begins."""
    lasts: frozenset[int] = frozenset()
    """From which words of the passage the last run may be, after all before it in its row."""
    row: int = 0
    longest: int = 0
    """How many runs overlap by all but a word: now, and at most."""

    def takes(self, run: _Run, before: int) -> bool:
        """Add a run if it belongs here: near, and not standing here already."""
        at = before + run.at
        if at - self.start > self.passage.reach:
            return False
        may_be = {each for each in run.positions if each - 1 in self.lasts}
        if at != self.following or not may_be:
            self._end_row()
            may_be = {each for each in run.positions if not self.seen >> each & 1}
            if not may_be:
                return False
        self.row += 1
        self.longest = max(self.longest, self.row)
        self.lasts, self.following = frozenset(may_be), before + run.following
        return True

    def _end_row(self) -> None:
        if self.row:
            self.seen |= ((1 << self.row) - 1) << (min(self.lasts) - self.row + 1)
        self.row, self.lasts = 0, frozenset()

    def place(self) -> Place:
        """What it came to."""
        self._end_row()
        passage = self.passage
        covered = self.seen
        for _ in range(passage.short - 1):
            covered |= covered << 1
        overlap = covered.bit_count() / len(passage.words)
        longest = self.longest + passage.short - 1
        return Place(
            self.where,
            passage.part,
            overlap,
            longest,
            passage.unit,
            contaminated=longest >= passage.long and overlap >= SHARE,
        )


class _Table:
    """The n-grams of all passages of which n words are a hit, and who has them."""

    def __init__(self, n: int, passages: Sequence[Passage]) -> None:
        self.n = n
        self._owners: dict[int, dict[int, list[int]]] = {}
        for number, passage in enumerate(passages):
            if passage.short == n:
                for position, gram in enumerate(grams(passage.words.hashes, n).tolist()):
                    owners = self._owners.setdefault(gram, {})
                    owners.setdefault(number, []).append(position)
        self._grams = np.array(sorted(self._owners), np.uint64)
        self._sieve = np.zeros(_SIEVE, np.bool_)
        self._sieve[self._grams & np.uint64(_SIEVE - 1)] = True

    def hits(self, stream: NDArray[np.uint64]) -> Iterator[tuple[int, int, Sequence[int]]]:
        """For every n-gram of `stream` that is here: its index, and who has it where."""
        maybe = np.flatnonzero(self._sieve[stream & np.uint64(_SIEVE - 1)])
        place = np.searchsorted(self._grams, stream[maybe]) % len(self._grams)
        for k in maybe[self._grams[place] == stream[maybe]].tolist():
            for passage, positions in self._owners[int(stream[k])].items():
                yield k, passage, positions


def counts(results: Iterable[Result]) -> dict[str, int]:
    """How many questions got which verdict, and how many none."""
    found = {"clean": 0, "suspicious": 0, "contaminated": 0}
    for result in results:
        verdict = result.verdict or "too short to tell"
        found[verdict] = found.get(verdict, 0) + 1
    return found


def table(results: Iterable[Result]) -> list[str]:
    """Every place that is kept, the contaminated questions first, as a terminal shows them."""
    found = [result for result in results if result.places]
    found.sort(key=lambda result: result.verdict != "contaminated")
    shown = [(result, place) for result in found for place in result.places[:SHOWN]]
    rows = [
        (
            str(result.verdict),
            result.question,
            place.part,
            f"{place.overlap:.0%}",
            f"{place.longest} {place.unit}",
        )
        for result, place in shown
    ]
    lines = aligned([("", "question", "part", "overlap", "in a row"), *rows]) if rows else []
    ends = [place.where + _others(result, place) for result, place in shown]
    return [f"{line}  {end}" for line, end in zip(lines, ["place", *ends], strict=False)]


def _others(result: Result, place: Place) -> str:
    last = result.places[:SHOWN][-1]
    return f" and {result.count - SHOWN} more" if place is last and result.count > SHOWN else ""
