"""Is a bank in a training set? Finds its questions and references in files of any size.

Every run of 8 words of a bank (13 characters where a script has no blanks: about as much text) is
looked for in the file, whatever its case and punctuation, in plain text or inside JSON strings.
Runs of one passage that stand close together are one place; how much of the passage they cover is
the overlap. A question is

    clean          no run of 8 words of it was found
    suspicious     some were, in a place that is not enough for more: stock phrases do this too
    contaminated   a place holds 13 words in a row (21 characters) and half of a passage, or more

13-grams are the unit of Brown et al. (2020, appendix C), 8-grams with a share that of Chowdhery et
al. (2022, section 8). A file is read as a stream: memory does not grow with it. Files are opened
by the caller.
"""

from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from evalkit.columns import aligned
from evalkit.questions.ngrams import Words, grams, words
from evalkit.records import Question

SHORT, LONG = 8, 13
SHORT_UNSPACED, LONG_UNSPACED = 13, 21
SHARE = 0.5
PLACES = 100  # kept of one question, and how many a terminal shows; the others are counted
SHOWN = 3

_READ = 1 << 17  # bytes at a time: arrays of this size stay in the cache
_OVERLAP = 4096  # characters, more than any n-gram takes
_STRIDE = 400  # characters, among which a text with blanks has one
_SIEVE = 1 << 20

Verdict = Literal["clean", "suspicious", "contaminated"]


@dataclass(frozen=True)
class Passage:
    """A turn or a reference of a question, as it is looked for."""

    question: str
    part: str
    words: Words

    @cached_property
    def unspaced(self) -> bool:
        """Whether it is counted in characters."""
        return 2 * int(self.words.unspaced.sum()) > len(self.words)

    @cached_property
    def short(self) -> int:
        """How many words in a row are a hit."""
        return SHORT_UNSPACED if self.unspaced else SHORT

    @cached_property
    def long(self) -> int:
        """How many words in a row are too many for chance; no more than there are."""
        return min(LONG_UNSPACED if self.unspaced else LONG, len(self.words))

    @cached_property
    def reach(self) -> int:
        """In how many characters of a file all of it would stand, spread or escaped (six each)."""
        return 200 + 6 * int(self.words.starts[-1])


@dataclass
class Place:
    """Where a file holds a part of a passage: `where` is FILE:LINE:COLUMN."""

    where: str
    passage: Passage
    start: int
    """Where in the file it begins, in characters."""
    covered: int = 0
    """The words of the passage that stand here, as bits."""

    def add(self, position: int) -> None:
        """A run that begins with this word of the passage stands here."""
        self.covered |= ((1 << self.passage.short) - 1) << position

    @property
    def share(self) -> float:
        """How much of the passage stands here, from 0 to 1."""
        return self.covered.bit_count() / len(self.passage.words)

    @property
    def longest(self) -> int:
        """The most words in a row."""
        return max(map(len, f"{self.covered:b}".split("0")))

    @property
    def damning(self) -> bool:
        """Whether this place alone makes the question contaminated."""
        return self.longest >= self.passage.long and self.share >= SHARE


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
        if any(place.damning for place in self.places):
            return "contaminated"
        return "suspicious" if self.places else "clean"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        places = [
            {
                "where": place.where,
                "part": place.passage.part,
                "overlap": place.share,
                "longest": place.longest,
            }
            for place in self.places
        ]
        return {
            "question": self.question,
            "verdict": self.verdict,
            "count": self.count,
            "places": places,
        }


class Search:
    """Looks for the questions of one bank in any number of files."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self.passages: list[Passage] = []
        self._found: dict[str, Result] = {}
        for question in questions:
            texts = [(f"turn {k}", text) for k, text in enumerate(question.turns, 1)]
            texts += [(f"reference {k}", text) for k, text in enumerate(question.reference, 1)]
            passages = [Passage(question.id, part, words(text)) for part, text in texts]
            passages = [each for each in passages if len(each.words) >= each.short]
            self._found[question.id] = Result(question.id, too_short=not passages)
            self.passages += passages
        sizes = sorted({passage.short for passage in self.passages})
        self._tables = [_Table(n, self.passages) for n in sizes]

    def results(self) -> list[Result]:
        """What was found so far, question by question."""
        return list(self._found.values())

    def read(self, name: str, stream: BinaryIO) -> Iterator[int]:
        """Look through one file; yields how many bytes it has read, block by block."""
        decoder = getincrementaldecoder("utf-8")("replace")
        places: dict[int, Place] = {}
        block, before, lines, column = "", 0, 1, 1
        escaped: bool | None = None
        while True:
            raw = stream.read(_READ)
            block += decoder.decode(raw, final=not raw)
            if escaped is None and block.strip():
                escaped = block.lstrip("\ufeff \t\r\n")[:1] in ("{", "[")
            end = _cut(block) if raw else len(block)
            for at, passage, position in self._runs(block, end, bool(escaped)):
                place = places.get(passage)
                if place is None or before + at - place.start > place.passage.reach:
                    self._close(place)
                    line = lines + block.count("\n", 0, at)
                    start = block.rfind("\n", 0, at) + 1
                    where = f"{name}:{line}:{at - start + (1 if start else column)}"
                    place = Place(where, self.passages[passage], before + at)
                    places[passage] = place
                place.add(position)
            yield len(raw)
            if not raw:
                break
            start = block.rfind("\n", 0, end) + 1
            lines += block.count("\n", 0, end)
            column = end - start + (1 if start else column)
            before += end
            block = block[end:]
        for place in places.values():
            self._close(place)

    def _runs(self, block: str, end: int, escaped: bool) -> Iterator[tuple[int, int, int]]:
        """Each run in `block` that begins before `end`: where, which passage, from which word."""
        found = words(block, escaped=escaped)
        begun = int(np.searchsorted(found.starts, end))
        hits = [
            (int(found.starts[k]), passage, position)
            for table in self._tables
            for k, passage, position in table.hits(grams(found.hashes, table.n)[:begun])
        ]
        yield from sorted(hits)

    def _close(self, place: Place | None) -> None:
        if place is None:
            return
        result = self._found[place.passage.question]
        result.count += 1
        result.places.append(place)
        result.places.sort(key=lambda each: (not each.damning, -each.share))
        del result.places[PLACES:]


class _Table:
    """The n-grams of all passages of which n words are a hit, and who has them."""

    def __init__(self, n: int, passages: Sequence[Passage]) -> None:
        self.n = n
        mine = [k for k, passage in enumerate(passages) if passage.short == n]
        found = [grams(passages[k].words.hashes, n) for k in mine]
        every = np.concatenate(found)
        order = np.argsort(every, kind="stable")
        self._grams = every[order]
        self._owner = np.repeat(mine, [len(each) for each in found])[order]
        self._position = np.concatenate([np.arange(len(each)) for each in found])[order]
        self._sieve = np.zeros(_SIEVE, np.bool_)
        self._sieve[self._grams % np.uint64(_SIEVE)] = True

    def hits(self, stream: NDArray[np.uint64]) -> Iterator[tuple[int, int, int]]:
        """For every n-gram of `stream` that is here: its index, and the passages that hold it."""
        maybe = np.flatnonzero(self._sieve[stream & np.uint64(_SIEVE - 1)])
        first = np.searchsorted(self._grams, stream[maybe], "left")
        last = np.searchsorted(self._grams, stream[maybe], "right")
        for k in np.flatnonzero(last > first):
            for entry in range(first[k], last[k]):
                yield int(maybe[k]), int(self._owner[entry]), int(self._position[entry])


def _cut(block: str) -> int:
    """Where a block can be divided so that the rest, read alone, has the same words and escapes."""
    end = len(block) - _OVERLAP
    if end < _STRIDE:
        return 0  # rather wait for more
    if blank := max(block.rfind(blank, end - _STRIDE, end) for blank in " \n\t") + 1:
        return blank
    slash = block.rfind("\\", end - 12, end)  # an escape takes six, two of them twelve
    if slash < 0:
        return end
    run = block[end - _STRIDE : slash]
    return slash - (len(run) - len(run.rstrip("\\")))


def counts(results: Iterable[Result]) -> dict[str, int]:
    """How many questions got which verdict, and how many none."""
    found = {"clean": 0, "suspicious": 0, "contaminated": 0}
    for result in results:
        verdict = result.verdict or "too short to tell"
        found[verdict] = found.get(verdict, 0) + 1
    return found


def table(results: Iterable[Result]) -> list[str]:
    """Every place that is kept, the contaminated questions first, as a terminal shows them."""
    head = ("", "question", "part", "overlap", "in a row")
    found = [result for result in results if result.places]
    found.sort(key=lambda result: result.verdict != "contaminated")
    shown = [(result, place) for result in found for place in result.places[:SHOWN]]
    rows = [
        (
            str(result.verdict),
            result.question,
            place.passage.part,
            f"{place.share:.0%}",
            _run(place),
        )
        for result, place in shown
    ]
    ends = [place.where + _others(result, place) for result, place in shown]
    lines = aligned([head, *rows]) if rows else []
    return [f"{line}  {end}" for line, end in zip(lines, ["place", *ends], strict=False)]


def _run(place: Place) -> str:
    return f"{place.longest} {'characters' if place.passage.unspaced else 'words'}"


def _others(result: Result, place: Place) -> str:
    last = result.places[:SHOWN][-1]
    return f" and {result.count - SHOWN} more" if place is last and result.count > SHOWN else ""
