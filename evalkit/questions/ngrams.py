"""A text as its words and their n-grams, in a form that comparing is fast in.

A word is a run of letters and digits; case, accents, punctuation, ligatures, full-width forms and
apostrophes do not count. Where a script puts no blanks between words (Chinese, Japanese, Thai, ...)
every character is a word. Words and n-grams are 64-bit hashes in numpy arrays: a bank and training
data of any size go through the same code, so they agree on what a word is.

Nothing here knows what a question is, or reads a file.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Escapes = Literal["none", "json", "nested"]
"""What a backslash is: itself; JSON's; or JSON's inside a JSON string, however deep."""

Unit = Literal["words", "characters"]

AIR = "\u200b"
"""The zero-width space: stands where a sign was written with more characters than one."""

_BETWEEN, _NOTHING, _SEVERAL = 0, 1, 2  # no letter: an end of words, air, or several letters
_UNSPACED = 1 << 31  # marks a character that is a word by itself
_SCRIPTS = [  # without blanks between words
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x312F), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)),
]
_IDEOGRAPHS = 0x20000  # the planes from here on hold ideographs only
_LONGEST = 64  # characters, a power of two; of a longer word they are hashed in turns
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


def words(text: str, escapes: Escapes = "none") -> Words:
    """The words of `text`, which may be the raw text of JSON strings."""
    raw = text.encode("utf-32-le", "surrogatepass")
    points: NDArray[np.uint32] = np.frombuffer(raw, "<u4").astype(np.uint32, copy=False)
    if escapes != "none":
        points = _unescape(points, nested=escapes == "nested")
    signs, at = _signs(points)
    letters = np.flatnonzero(signs > _NOTHING)
    if not len(letters):
        return Words(np.zeros(0, np.uint64), letters, np.zeros(0, np.bool_))
    first = np.ones(len(letters), np.bool_)
    ends = np.cumsum(signs == _BETWEEN, dtype=np.uint32)[letters]
    np.not_equal(ends[1:], ends[:-1], out=first[1:])
    signs = signs[letters]
    unspaced = signs >= _UNSPACED
    if unspaced.any():
        first[1:] |= unspaced[1:] | unspaced[:-1]
    begins = np.flatnonzero(first)
    lengths = np.diff(begins, append=len(signs))
    within = np.arange(len(signs)) - np.repeat(begins, lengths)
    weighted = signs * _powers(_BASE, _LONGEST)[within & (_LONGEST - 1)]
    starts = letters[begins] if at is None else at[letters[begins]]
    return Words(_mixed(np.add.reduceat(weighted, begins)), starts, unspaced[begins])


def unit(texts: Sequence[Words]) -> Unit:
    """What the texts are counted in: characters, where most of their words are one."""
    characters = sum(int(text.unspaced.sum()) for text in texts)
    return "characters" if 2 * characters > sum(map(len, texts)) else "words"


def grams(hashes: Hashes, n: int) -> Hashes:
    """The n-grams of words: shape (words,) -> (words - n + 1,), or (0,) where there are fewer."""
    count = max(len(hashes) - n + 1, 0)
    total = np.zeros(count, np.uint64)
    for offset, factor in enumerate(_powers(_STEP, n)):
        total += hashes[offset : offset + count] * factor
    return _mixed(total)


def _unescape(points: NDArray[np.uint32], *, nested: bool) -> NDArray[np.uint32]:
    """JSON's escapes resolved in place: the character first, then as much air as it took more."""
    slashes = np.flatnonzero(points == ord("\\"))
    if not len(slashes):
        return points
    breaks = np.flatnonzero(np.diff(slashes, prepend=-2) > 1)  # where a run of them begins
    lengths = np.diff(breaks, append=len(slashes))
    if nested:
        opens = slashes[breaks + lengths - 1]  # the last one of a run: the others escape it
    else:
        position = slashes - np.repeat(slashes[breaks], lengths)
        opens = slashes[position % 2 == 0]  # the others are escaped themselves
    found = points.copy()
    if nested:
        found[np.setdiff1d(slashes, opens, assume_unique=True)] = ord(AIR)
    opens = opens[opens + 1 < len(points)]
    kinds = points[opens + 1]
    found[opens[np.isin(kinds, [ord(sign) for sign in "nrtbf"])] + 1] = ord(" ")
    coded = opens[(kinds == ord("u")) & (opens + 5 < len(points))]
    digits = _hex()[np.minimum(points[coded[:, None] + np.arange(2, 6)], 127)]
    sound = (digits < 16).all(axis=1)
    coded, digits = coded[sound], digits[sound].astype(np.uint32)
    found[coded[:, None] + np.arange(1, 6)] = ord(AIR)
    values = digits @ np.array([4096, 256, 16, 1], np.uint32)
    found[coded] = values
    high, low = values[:-1] & 0xFC00 == 0xD800, values[1:] & 0xFC00 == 0xDC00
    near = np.diff(coded) <= (6 if not nested else 14)  # up to eight slashes more between them
    paired = np.flatnonzero(high & low & near)  # two escapes, one character
    found[coded[paired]] = 0x10000 + ((values[paired] & 0x3FF) << 10) + (values[paired + 1] & 0x3FF)
    return found


def _signs(points: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.intp] | None]:
    """What each character counts as; and where each stood, if one became several."""
    signs = _plane()[np.minimum(points, 0xFFFF)]
    if not len(points):
        return signs, None
    if points.max() > 0xFFFF:
        beyond = points >= _IDEOGRAPHS
        signs[beyond] = points[beyond] | np.uint32(_UNSPACED)
    several = np.flatnonzero(signs == _SEVERAL)
    if not len(several):
        return signs, None
    spelt = [_letters(chr(point)) for point in points[several]]
    lengths = np.ones(len(points), np.intp)
    lengths[several] = list(map(len, spelt))
    signs = np.repeat(signs, lengths)
    signs[signs == _SEVERAL] = [ord(letter) for letters in spelt for letter in letters]
    return signs, np.repeat(np.arange(len(points)), lengths)


@cache
def _plane() -> NDArray[np.uint32]:
    """The sign of every character of the basic plane; the last one stands for all beyond it."""
    signs = np.fromiter((_sign(chr(point)) for point in range(0x10000)), np.uint32, 0x10000)
    alone = [(signs >= low) & (signs <= high) for low, high in _SCRIPTS]
    signs[np.any(alone, axis=0)] |= np.uint32(_UNSPACED)
    return signs


def _sign(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Cf") or character in "'\u2019":
        return _NOTHING
    plain = _letters(character)
    if plain.isalnum():
        return ord(plain) if len(plain) == 1 else _SEVERAL
    # A vowel sign that takes a place of its own belongs to its word.
    of_word = character.isalnum() or unicodedata.category(character) == "Mc"
    return ord(character) if of_word else _BETWEEN


@cache
def _letters(character: str) -> str:
    """A character without case and accents; several letters for a ligature."""
    if "\uac00" <= character <= "\ud7a3":  # a Hangul syllable is one letter, not its strokes
        return character
    plain = unicodedata.normalize("NFKD", character).casefold()
    return "".join(each for each in plain if unicodedata.category(each) != "Mn")


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
