"""From what a judge said to scores: one function a reply grammar.

A reply is climbed down a ladder: the strict grammar first (what the prompt asked for, on a line of
its own), then a tolerant pass that finds the same scores inside prose. In both the last match
counts, and in both what the judge merely copied from the question or the answers is passed over:
a question that holds the point `(10, 4)` must not become the score.

A parser never guesses: a reply that it cannot read gives no scores and the reason. Nothing here
knows a model, a file or what the scores will be used for.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

LOWEST, LOWEST_ASKED, HIGHEST = 0.0, 1.0, 10.0


@dataclass(frozen=True)
class Reading:
    """What was read from one reply: scores and on which rung, or the reason why not."""

    scores: tuple[float, ...] | None
    rung: Literal["strict", "tolerant"] | None = None
    flags: tuple[str, ...] = ()
    unreadable: str | None = None


Parser = Callable[[str, Iterable[str]], Reading]
Match = tuple[int, str, tuple[float, float]]
"""Where it ends, the text that matched, the two numbers."""

_NUMBER = r"(?<![\w.,-])(\d{1,3}(?:\.\d+)?)(?:\s*/\s*10)?(?![\w/%]|[.,]\d)"
_GAP = r"(?:\s*[,;|&:]\s*|\s+(?:and\s+|vs\.?\s+)?)"
_STRICT = re.compile(rf"^[\s(\[]*{_NUMBER}{_GAP}{_NUMBER}[\s)\].]*$")
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
    if own := [match for match in strict if _squeeze(match[1]) not in seen_lines]:
        return _checked(own[-1], "strict")
    if tolerant := [match for match in _tolerant(text) if _squeeze(match[1]) not in seen_text]:
        return _checked(max(tolerant), "tolerant")
    if strict:  # an answer holds the very line; no other reading is left
        return _checked(strict[-1], "strict")
    return Reading(None, unreadable="no pair of scores found")


PARSERS: dict[str, Parser] = {"pair_scores": pair_scores}
"""The reply grammars by the name that a prompt file gives."""


def _strict(text: str) -> Iterator[Match]:
    end = 0
    for line in text.split("\n"):
        end += len(line) + 1
        if found := _STRICT.match(line):
            yield end, line, (float(found[1]), float(found[2]))


def _tolerant(text: str) -> Iterator[Match]:
    labels = list(_LABEL.finditer(text))
    for one, two in pairwise(labels):
        if one["first"] and not two["first"]:
            yield two.end(), text[one.start() : two.end()], (float(one[2]), float(two[2]))
    for found in _IN_BRACKETS.finditer(text):
        yield found.end(), found[0], (float(found[1]), float(found[2]))


def _checked(match: Match, rung: Literal["strict", "tolerant"]) -> Reading:
    _, _, scores = match
    if max(scores) > HIGHEST or min(scores) < LOWEST:
        return Reading(None, unreadable=f"outside the scale: {scores[0]:g} {scores[1]:g}")
    flags = ("outside_scale",) if min(scores) < LOWEST_ASKED else ()
    return Reading(scores, rung, flags)


def _plain(text: str) -> str:
    """Full-width digits and signs to ASCII, line ends to newlines, emphasis marks away."""
    text = unicodedata.normalize("NFKC", text).replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[*_`#]", "", text)


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
