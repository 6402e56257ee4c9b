"""From what a judge said to scores: one function a reply grammar.

A reply is climbed down a ladder: the strict grammar first (what the prompt asked for, on a line of
its own), then a tolerant pass that finds the same scores inside prose. In both the last match
counts, and what the judge merely copied from the question or the answers is passed over:
a question that holds the point `(10, 4)` must not become the score. Two numbers of which one is
not on the scale are no scores.

A parser never guesses: a reply that it cannot read gives no scores and the reason. Nothing here
knows a model, a file or what the scores will be used for.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

LOWEST, LOWEST_ASKED, HIGHEST = 0.0, 1.0, 10.0

_FULL_WIDTH = {0xFF01 + n: 0x21 + n for n in range(94)} | {0x3000: 0x20}


@dataclass(frozen=True)
class Reading:
    """What was read from one reply: scores and on which rung, or the reason why not."""

    scores: tuple[float, ...] | None
    rung: Literal["strict", "tolerant"] | None = None
    flags: tuple[str, ...] = ()
    unreadable: str | None = None


Parser = Callable[[str, Iterable[str]], Reading]
Match = tuple[str, tuple[float, float]]
"""The text that matched, and its two numbers."""

_NUMBER = r"(?<![\w.,-])(\d{1,3}(?:\.\d+)?)(?:\s*/\s*10)?(?![\w/%]|[.,]\d)"
_GAP = r"(?:\s*[,;|&:]\s*|\s+(?:and\s+|vs\.?\s+)?)"
_STRICT = re.compile(rf"^[\s(\[]*{_NUMBER}{_GAP}{_NUMBER}[\s)\].]*$")
_NAMED_PAIR = re.compile(
    rf"\b(?:scores?|ratings?|评分|得分)\s*[:=]\s*{_NUMBER}{_GAP}{_NUMBER}", re.IGNORECASE
)
_IN_BRACKETS = re.compile(rf"[(\[]\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[)\]]")


_LABEL = re.compile(
    r"\b(?:assistant|answer|response|model|chatbot|助手|回答|模型)\s*"
    r"(?:(?P<first>1|A|one|一)|(?:2|B|two|二))(?:'s)?"
    rf"(?:\s*(?:score|rating|得分|评分))?\s*[:=]\s*{_NUMBER}",
    re.IGNORECASE,
)


def pair_scores(reply: str, shown: Iterable[str] = ()) -> Reading:
    """Two scores on a 1-10 scale, first place first.

    `reply` is the judge's text; `shown` the texts that the judge was shown (question, answers),
    whose own literals are never a score. 0 is read and flagged `outside_scale`, since judges give
    it to empty answers; anything above 10 or below 0 is not a score.
    """
    text = _plain(reply)
    if not text.strip():
        return Reading(None, unreadable="empty reply")
    seen = [_plain(each) for each in shown]
    seen_lines = {_squeeze(line) for each in seen for line in each.split("\n")}
    seen_text = "\n".join(map(_squeeze, seen))
    strict = list(_strict(text))
    own = [match for match in strict if _squeeze(match[0]) not in seen_lines]
    ladder: list[tuple[Literal["strict", "tolerant"], list[Match]]] = [("strict", own)]
    for grammar in _IN_PROSE:
        prose = [match for match in grammar(text) if _squeeze(match[0]) not in seen_text]
        ladder.append(("tolerant", prose))
    ladder.append(("strict", strict))  # an answer holds the very line; no other reading is left
    for rung, matches in ladder:
        if found := [numbers for _, numbers in matches if on_scale(numbers)]:
            return _read(found, rung)
    if outside := [numbers for _, matches in ladder for _, numbers in matches]:
        return Reading(None, unreadable="outside the scale: {:g} {:g}".format(*outside[-1]))
    return Reading(None, unreadable="no pair of scores found")


def on_scale(scores: Iterable[float]) -> bool:
    """Whether all of these can be scores: 0, which judges give though nobody asked, to 10."""
    return all(LOWEST <= score <= HIGHEST for score in scores)


def scale_flags(scores: Iterable[float]) -> tuple[str, ...]:
    """What a reader should know of scores that are on the scale: `outside_scale` below 1."""
    return ("outside_scale",) if min(scores) < LOWEST_ASKED else ()


PARSERS: dict[str, Parser] = {"pair_scores": pair_scores}
"""The reply grammars by the name that a prompt file gives."""


def _strict(text: str) -> Iterator[Match]:
    for line in text.split("\n"):
        if found := _STRICT.match(line):
            yield line, (float(found[1]), float(found[2]))


def _labelled(text: str) -> Iterator[Match]:
    labels = list(_LABEL.finditer(text))
    for one, two in pairwise(labels):
        if one["first"] and not two["first"]:
            yield text[one.start() : two.end()], (float(one[2]), float(two[2]))


def _together(text: str) -> Iterator[Match]:
    for found in _NAMED_PAIR.finditer(text):
        yield found[0], (float(found[1]), float(found[2]))


def _in_brackets(text: str) -> Iterator[Match]:
    for found in _IN_BRACKETS.finditer(text):
        yield found[0], (float(found[1]), float(found[2]))


_IN_PROSE = (_labelled, _together, _in_brackets)
"""The tolerant grammars, the surest first."""


def _read(verdicts: list[tuple[float, float]], rung: Literal["strict", "tolerant"]) -> Reading:
    """The last verdict; more than one that differ are flagged."""
    several = ("several_verdicts",) if len(set(verdicts)) > 1 else ()
    return Reading(verdicts[-1], rung, scale_flags(verdicts[-1]) + several)


def _plain(text: str) -> str:
    """Full-width characters to ASCII, line ends to newlines, emphasis and heading marks away."""
    text = text.translate(_FULL_WIDTH).replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[*_`]|(?m:^#+\s)", "", text)


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


PARSERS |= dict.fromkeys(["pair_verdict", "pair_verdict_5", "grade"], pair_scores)  # TEMPORARY
