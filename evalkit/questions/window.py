"""A file as it is looked through: a window that slides over it, block by block.

What a window shows can be cut off where `safe_end` says: the rest, read alone, has the same words
and the same escapes. Knows no bank and opens nothing.
"""

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator

from evalkit.errors import BadFile, Fault
from evalkit.questions.ngrams import Escapes

_OVERLAP = 4096  # characters, more than any n-gram takes
_STRIDE = 400  # characters, among which a text with blanks has one
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|&(?:[a-zA-Z]{2,8}|#[0-9]{2,5});")


class Window:
    """The part of a file that is being looked at, and where in the file it lies."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = ""
        self.before = 0
        self._is_json = False
        self._line, self._column = 1, 1
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._strange = 0

    def take(self, raw: bytes) -> None:
        """Add what was read; b"" is the end. Raises BadFile where it is not UTF-8."""
        more = self._decoder.decode(raw, final=not raw)
        self.text += more
        if not self.before:
            self._is_json = self.text.lstrip("\ufeff \t\r\n")[:1] in tuple('{["')
        self._strange += max(more.count("\ufffd") - raw.count(b"\xef\xbf\xbd"), 0)
        if self._strange > max(0.001 * (self.before + len(self.text)), 20):
            what = "is not UTF-8, so nothing can be said of it. Try: iconv -f gb18030 -t utf-8"
            raise BadFile([Fault(self.name, f"{what} (or what it is) FILE > NEW")])

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
        """What `text` may mean: itself, JSON, JSON inside JSON, and without its HTML tags."""
        text = self.text
        escaped = "\\" in text
        usual: Escapes = "json" if escaped and self._is_json else "none"
        yield text, usual
        if escaped and not self._is_json:
            yield text, "json"
        if "\\\\n" in text or "\\\\u" in text:
            yield text, "nested"
        if "</" in text or "&nbsp;" in text:
            yield _MARKUP.sub(lambda found: " " * len(found[0]), text), usual

    def safe_end(self) -> int:
        """Up to where `text` can be passed over, when there is more of the file to come."""
        end = len(self.text) - _OVERLAP
        if end < _STRIDE:
            return 0  # rather wait for more
        near = self.text[end - _STRIDE : end]
        if blank := max(near.rfind(blank) for blank in " \n\t") + 1:
            return end - _STRIDE + blank
        return end - (len(near) - len(near.rstrip("\\")))  # of slashes, an even or odd number
