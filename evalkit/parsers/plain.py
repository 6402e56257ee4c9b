"""A judge's text as all grammars read it: without reasoning, emphasis and odd characters.

Also tells what was copied from the texts that the judge was shown. Finds no score.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

_FULL_WIDTH: dict[int, str] = {0xFF01 + n: chr(0x21 + n) for n in range(94)}
_FULL_WIDTH |= {0x3000: " ", 0x3001: ", ", 0xFF0C: ", "}  # a comma there parts, never a decimal
_HALVES = {"½": ".5", "¼": ".25", "¾": ".75"}
_OPEN = re.compile(r"<(think|thinking|reasoning|thought)>", re.IGNORECASE)
_CLOSE = re.compile(r"</(?:think|thinking|reasoning|thought)>", re.IGNORECASE)


def without_reasoning(text: str) -> tuple[str, str | None]:
    """A reply without the reasoning that stands before it, and that reasoning.

    Reasoning that is never closed is all there is. A closing mark alone ends one that was begun
    before the reply.
    """
    closed = list(_CLOSE.finditer(text))
    if closed:
        end = closed[-1]
        return text[end.end() :].lstrip(), _OPEN.sub("", text[: end.start()]).strip()
    if opened := _OPEN.match(text.lstrip()):
        return "", text.lstrip()[opened.end() :].strip()
    return text, None


def plain(text: str) -> str:
    """Full-width characters to ASCII, line ends to newlines, marks of Markdown and LaTeX away."""
    text = text.translate(_FULL_WIDTH).replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"(?<=\d)[½¼¾]", lambda found: _HALVES[found[0]], text)
    text = re.sub(r"[*_`$\x00-\x08\x0b-\x1f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", "", text)
    text = re.sub(r"(?m)^[ \t]{0,8}(?:#{1,6}|>)[ \t]+", "", text)
    text = re.sub(r"\\(?:boxed|text|mathbf)\{([^{}\n]{0,20})\}", r"\1", text)
    return re.sub(r"[ \t\u00a0]+", " ", text)


def lines(text: str) -> list[str]:
    """The lines that say something."""
    return [line for each in text.split("\n") if (line := each.strip())]


class Shown:
    """The texts that a judge was shown, to tell what is copied from them."""

    def __init__(self, texts: Iterable[str]) -> None:
        seen = [plain(each) for each in texts]
        self._lines = {squeeze(line) for each in seen for line in each.split("\n")}
        self._text = "\n".join(map(squeeze, seen))

    def has_line(self, line: str) -> bool:
        """Whether one of them has just this line."""
        return squeeze(line) in self._lines

    def has(self, piece: str) -> bool:
        """Whether this piece stands in one of them."""
        return squeeze(piece) in self._text


def squeeze(text: str) -> str:
    """Every run of blanks as one."""
    return re.sub(r"\s+", " ", text).strip()


def whole_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a reply is, from its first character to its last."""
    text = text.strip()
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


_MEMBER = re.compile(
    r"[\"']?([A-Za-z][\w .-]{0,40}?)[\"']?\s?:\s?"
    r"(?:\"([^\"\n]{0,12})\"|'([^'\n]{0,12})'|(-?\d[\d.eE+-]{0,12}))\s?(?:[,}\n]|$)"
)


def members(text: str) -> list[tuple[str, str]]:
    """Names and short values of JSON inside a reply, as judges really write it.

    With a preamble, in a code block, with single quotes, a stray one or a trailing comma. Looks
    only behind the last `{` that has a name behind it, so that prose is not taken for JSON.
    """
    begins = [found.start() for found in re.finditer(r"\{\s{0,20}[\"']?[A-Za-z]", text)]
    if not begins:
        return []
    inside = text[begins[-1] : begins[-1] + 20_000]
    return [
        (found[1].strip().lower(), next(value for value in found.groups()[1:] if value is not None))
        for found in _MEMBER.finditer(inside)
    ]
