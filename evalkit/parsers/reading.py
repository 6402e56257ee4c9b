"""What a parser gives back, and the scale that scores are on. Reads nothing itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

LOWEST, LOWEST_ASKED, HIGHEST = 0.0, 1.0, 10.0

Rung = Literal["structured", "strict", "tolerant"]


@dataclass(frozen=True)
class Reading:
    """What was read from one reply: scores and on which rung, or the reason why not."""

    scores: tuple[float, ...] | None
    rung: Rung | None = None
    flags: tuple[str, ...] = ()
    unreadable: str | None = None


Parser = Callable[[str, Iterable[str]], Reading]
"""The judge's text, and the texts that it was shown -> what it says."""


def on_scale(scores: Iterable[float]) -> bool:
    """Whether all of these can be scores: 0, which judges give though nobody asked, to 10."""
    return all(LOWEST <= score <= HIGHEST for score in scores)


def scale_flags(scores: Iterable[float]) -> tuple[str, ...]:
    """What a reader should know of scores that are on the scale: `outside_scale` below 1."""
    return ("outside_scale",) if min(scores) < LOWEST_ASKED else ()
