"""A file as it is looked through: a window that slides over it, block by block.

What a window shows can be cut off where `safe_end` says: the rest, read alone, has the same words
and the same escapes. Knows no bank and opens nothing.
"""

import html
import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from functools import lru_cache

from evalkit.questions.ngrams import AIR, Escapes

_OVERLAP = 4096  # characters, more than any n-gram takes
_STRIDE = 400  # characters, among which a text with blanks has one

# Bytes that are no UTF-8, as the decoder keeps them; so many together are another encoding.
_FOREIGN = re.compile("(?:[\udc80-\udcff][^\udc80-\udcff]{0,4}){10,}")
_JSON = re.compile(r'\s*(?:\{\s*"|\[\s*[\[{"\]])')
_NESTED = tuple(f"\\\\{sign}" for sign in "nrtu")
# What a text with HTML holds some of; plain signs, since these are searched for fastest.
_HTML = ("</", "<\\/", "<br", "<BR", "\\u003c", "\\u003C", "\\u0026")
_ENTITY = re.compile(r"&(?:#|[a-zA-Z]{2,8};)")
_SIGNS = re.compile(r"\\u00(?:3[ce]|26)|\\/|&(?:lt|gt|amp);", re.IGNORECASE)
_MARKUP = re.compile(
    rf"<{AIR}*/?{AIR}*[a-zA-Z][a-zA-Z0-9]*(?:[\s/][^<>]{{0,500}})?>|&#?[a-zA-Z0-9]{{1,8}};"
)
_INLINE = {
    *("a", "abbr", "b", "code", "em", "font", "i", "mark"),
    *("s", "small", "span", "strong", "sub", "sup", "tt", "u"),
}


class Window:
    """The part of a file that is being looked at, and where in the file it lies."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.before = 0
        self.foreign = 0
        """How many stretches are in another encoding, of which nothing can be said."""
        self.first_foreign: str | None = None
        """Where the first of them begins."""
        self._is_json = False
        self._line, self._column = 1, 1
        self._decoder = getincrementaldecoder("utf-8-sig")("surrogateescape")

    def take(self, raw: bytes) -> None:
        """Add what was read; b"" is the end."""
        more = self._decoder.decode(raw, final=not raw)
        start = len(self.text)
        self.text += more
        if not self.before:
            self._is_json = _is_json(self.text)
        if not more.isascii():
            for found in _FOREIGN.finditer(self.text, start):
                self.foreign += 1
                self.first_foreign = self.first_foreign or self.where(found.start())

    def where(self, at: int) -> str:
        """FILE:LINE:COLUMN of a place in `text`."""
        start = self.text.rfind("\n", 0, at) + 1
        line = self._line + self.text.count("\n", 0, at)
        return f"{self.name}:{line}:{at - start + (1 if start else self._column)}"

    def pass_over(self, end: int) -> None:
        """Drop `text` up to `end`."""
        start = self.text.rfind("\n", 0, end) + 1
        self._line += self.text.count("\n", 0, end)
        self._column = end - start + (1 if start else self._column)
        self.before += end
        self.text = self.text[end:]

    def readings(self) -> Iterator[tuple[str, Escapes]]:
        """What `text` may mean: itself, JSON, JSON inside JSON, and without its HTML."""
        escaped = "\\" in self.text
        usual: Escapes = "json" if escaped and self._is_json else "none"
        yield self.text, usual
        if escaped and not self._is_json:
            yield self.text, "json"
        if escaped and any(signs in self.text for signs in _NESTED):
            yield self.text, "nested"
        if any(signs in self.text for signs in _HTML) or _ENTITY.search(self.text):
            yield _without_html(self.text), usual

    def safe_end(self) -> int:
        """Up to where `text` can be passed over, when there is more of the file to come."""
        end = len(self.text) - _OVERLAP
        if end < _STRIDE:
            return 0  # rather wait for more
        near = self.text[end - _STRIDE : end]
        if blank := max(near.rfind(blank) for blank in " \n\t") + 1:
            return end - _STRIDE + blank
        return end - (len(near) - len(near.rstrip("\\")))  # of slashes, an even or odd number


def _is_json(text: str) -> bool:
    """Whether a file that begins like this is JSON, or lines of it: a backslash is an escape."""
    if _JSON.match(text):
        return True
    line = text.lstrip().partition("\n")[0]
    if line.startswith('"'):
        try:
            return isinstance(json.loads(line), str)
        except ValueError:
            return False
    return False


def _without_html(text: str) -> str:
    """Text with signs for their entities and without tags, each character where it stood."""
    if any(signs in text for signs in ("&", "\\/", "\\u00")):
        text = _SIGNS.sub(lambda found: _sign(found[0]), text)
    return _MARKUP.sub(lambda found: _meant(found[0]), text)


@lru_cache(1000)
def _meant(piece: str) -> str:
    """What a tag or an entity stands for: nothing, an end of words, or a sign."""
    if piece.startswith("&"):
        return _sign(piece)
    name = re.findall("[a-zA-Z0-9]+", piece)[0].lower()
    return (AIR if name in _INLINE else " ") * len(piece)


@lru_cache(1000)
def _sign(piece: str) -> str:
    """The sign that an entity, or one of JSON's ways to write it, stands for."""
    if piece.startswith("&"):
        sign = html.unescape(piece)
    else:
        sign = "/" if piece == "\\/" else chr(int(piece[2:], 16))
    return sign + AIR * (len(piece) - len(sign)) if len(sign) <= len(piece) else piece
