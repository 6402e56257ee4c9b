"""A text as its words and their n-grams, in a form that comparing is fast in.

A word is a run of letters and digits; case, accents, punctuation, full-width forms and apostrophes
do not count. Where a script puts no blanks between words (Chinese, Japanese, Thai, ...) every
character is a word. Words and n-grams are 64-bit hashes in numpy arrays: a bank and a training
set of any size go through the same code, so they agree on what a word is.

Nothing here knows what a question is, or reads a file.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_BETWEEN, _NOTHING = 0, 1  # what a character is that belongs to no word: an end of words, or air
_UNSPACED = 1 << 31  # marks a character that is a word by itself
_SCRIPTS = [  # without blanks between words
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x312F), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)),
]
_IDEOGRAPHS = 0x20000  # the planes from here on hold ideographs only
_AIR = 0x200B  # the zero-width space: stands where an escape had more characters than its meaning
_LONGEST = 64  # characters; of a longer word they are hashed in turns
_BASE, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)  # odd, otherwise any


@dataclass(frozen=True)
class Words:
    """The words of a text, in order: one hash each, and where in the text each begins."""

    hashes: Hashes
    starts: NDArray[np.intp]
    unspaced: NDArray[np.bool_]
    """Whether a word is one character of a script without blanks."""

    def __len__(self) -> int:
        return len(self.hashes)


def words(text: str, *, escaped: bool = False) -> Words:
    """The words of `text`; `escaped`: it is raw JSON, where a backslash stands for something."""
    raw = text.encode("utf-32-le", "surrogatepass")
    points: NDArray[np.uint32] = np.frombuffer(raw, "<u4").astype(np.uint32, copy=False)
    if escaped:
        points = _unescape(points)
    signs = _signs(points)
    at = np.flatnonzero(signs != _NOTHING)
    signs = signs[at]
    inside = np.flatnonzero(signs != _BETWEEN)
    signs, at = signs[inside], at[inside]
    if not len(signs):
        return Words(np.zeros(0, np.uint64), at, np.zeros(0, np.bool_))
    unspaced = signs >= _UNSPACED
    first = np.ones(len(signs), np.bool_)
    first[1:] = (np.diff(inside) > 1) | unspaced[1:] | unspaced[:-1]
    begins = np.flatnonzero(first)
    lengths = np.diff(begins, append=len(signs))
    within = np.arange(len(signs)) - np.repeat(begins, lengths)
    weighted = signs.astype(np.uint64) * _powers(_BASE, _LONGEST)[within % _LONGEST]
    return Words(_mixed(np.add.reduceat(weighted, begins)), at[begins], unspaced[begins])


def grams(hashes: Hashes, n: int) -> Hashes:
    """The n-grams of words: shape (words,) -> (words - n + 1,), or (0,) where there are fewer."""
    count = max(len(hashes) - n + 1, 0)
    total = np.zeros(count, np.uint64)
    for offset, factor in enumerate(_powers(_STEP, n)):
        total += hashes[offset : offset + count] * factor
    return _mixed(total)


def _unescape(points: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """JSON's escapes resolved in place: the character first, then as much air as it took more."""
    slashes = np.flatnonzero(points == ord("\\"))
    if not len(slashes):
        return points
    breaks = np.flatnonzero(np.diff(slashes, prepend=-2) > 1)  # where a run of them begins
    position = slashes - np.repeat(slashes[breaks], np.diff(breaks, append=len(slashes)))
    opens = slashes[position % 2 == 0]  # the others are escaped themselves
    opens = opens[opens + 1 < len(points)]
    kinds, found = points[opens + 1], points.copy()
    found[opens[np.isin(kinds, [ord(sign) for sign in "nrtbf"])] + 1] = ord(" ")
    coded = opens[(kinds == ord("u")) & (opens + 5 < len(points))]
    digits = _hex()[np.minimum(points[coded[:, None] + np.arange(2, 6)], 127)]
    sound = (digits < 16).all(axis=1)
    coded, digits = coded[sound], digits[sound].astype(np.uint32)
    found[coded[:, None] + np.arange(1, 6)] = _AIR
    values = digits @ np.array([4096, 256, 16, 1], np.uint32)
    found[coded] = values
    high, low = values[:-1] & 0xFC00 == 0xD800, values[1:] & 0xFC00 == 0xDC00
    paired = np.flatnonzero(high & low & (np.diff(coded) == 6))  # two escapes, one character
    found[coded[paired]] = 0x10000 + ((values[paired] & 0x3FF) << 10) + (values[paired + 1] & 0x3FF)
    found[coded[paired + 1]] = _AIR
    return found


def _signs(points: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """What each character counts as: `_BETWEEN`, `_NOTHING`, or the letter that it is."""
    signs = _plane()[np.minimum(points, 0xFFFF)]
    if len(points) and points.max() > 0xFFFF:
        beyond = points >= _IDEOGRAPHS
        signs[beyond] = points[beyond] | np.uint32(_UNSPACED)
    return signs


@cache
def _plane() -> NDArray[np.uint32]:
    """The sign of every character of the basic plane; the last one stands for all beyond it."""
    signs = np.fromiter((_sign(chr(point)) for point in range(0x10000)), np.uint32, 0x10000)
    for low, high in _SCRIPTS:
        script = signs[low : high + 1]
        script[script > _NOTHING] |= np.uint32(_UNSPACED)
    return signs


def _sign(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Cf") or character in "'\u2019":
        return _NOTHING
    plain = unicodedata.normalize("NFKD", character).casefold()
    plain = "".join(each for each in plain if unicodedata.category(each) != "Mn")
    if len(plain) == 1 and plain.isalnum():
        return ord(plain)
    return ord(character) if character.isalnum() else _BETWEEN


@cache
def _hex() -> NDArray[np.uint8]:
    """The value of each ASCII character as a hexadecimal digit; 16 where it is none."""
    values = np.full(128, 16, np.uint8)
    for value, pair in enumerate("00112233445566778899aAbBcCdDeEfF"):
        values[ord(pair)] = value // 2
    return values


@cache
def _powers(base: np.uint64, count: int) -> Hashes:
    return np.multiply.accumulate(np.full(count, base))


def _mixed(values: Hashes) -> Hashes:
    """Spread what differs over all bits (the finalizer of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
