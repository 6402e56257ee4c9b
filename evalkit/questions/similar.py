"""Which questions of a bank, or of two banks, are nearly the same.

Two texts are as alike as their words and pairs of neighbouring words are: |A and B| / |A or B|
(Jaccard 1912), or, where one text is inside a longer one, the share of the shorter one that is.
With one word in seven replaced nine of ten questions are still found; two that share a stock
sentence and ask for different things in as many words of their own are not.

Nothing here knows where the questions came from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from evalkit.questions.ngrams import Hashes, grams, words

ALIKE = 0.65
INSIDE = 0.85
SHORTEST = 8  # words; a shorter text is inside others by chance
_AT_ONCE = 500  # texts compared with all others in one step

_NONE: Hashes = np.zeros(0, np.uint64)


@dataclass(frozen=True)
class Twin:
    """A text that is nearly another: both by their indices, and how alike they are, from 0 to 1.

    `inside`: they are not, but this much of the shorter one stands in the longer one. `others`: how
    many more the text is nearly the same as, though less so.
    """

    one: int
    other: int
    likeness: float
    inside: bool
    others: int


def twins(texts: Sequence[str], others: Sequence[str] | None = None) -> Iterator[Twin]:
    """Every text that is nearly one of `others`, or one of `texts` before it, with the nearest."""
    ours = [_features(text) for text in texts]
    theirs = ours if others is None else [_features(text) for text in others]
    seen, index = np.unique(np.concatenate([*ours, *theirs, _NONE]), return_inverse=True)
    left = _matrix(index[: sum(map(len, ours))], ours, len(seen))
    right = _matrix(index[len(index) - sum(map(len, theirs)) :], theirs, len(seen))
    sizes, other_sizes = left.getnnz(axis=1), right.getnnz(axis=1)
    for start in range(0, len(ours), _AT_ONCE):
        common = (left[start : start + _AT_ONCE] @ right.T).tocoo()
        one, other, both = common.row + start, common.col, common.data
        here, there = sizes[one], other_sizes[other]
        alike = both / (here + there - both)
        smaller = np.minimum(here, there)
        held = np.where(smaller >= 2 * SHORTEST - 1, both / smaller, 0)
        inside = (alike < ALIKE) & (held >= INSIDE)
        near = (alike >= ALIKE) | inside
        if others is None:
            near &= other < one
        one, other, inside = one[near], other[near], inside[near]
        likeness = np.where(inside, held[near], alike[near])
        order = np.lexsort((other, -likeness, inside, one))  # the most alike first, text by text
        nearest, counts = np.unique(one[order], return_index=True, return_counts=True)[1:]
        for k, count in zip(order[nearest].tolist(), counts.tolist(), strict=True):
            how = float(likeness[k]), bool(inside[k])
            yield Twin(int(one[k]), int(other[k]), *how, others=count - 1)


def _features(text: str) -> Hashes:
    hashes = words(text).hashes
    return np.unique(np.concatenate([hashes, grams(hashes, 2)]))


def _matrix(columns: NDArray[np.intp], rows: Sequence[Hashes], width: int) -> csr_matrix:
    ends = np.cumsum([0, *map(len, rows)])
    return csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(rows), width))
