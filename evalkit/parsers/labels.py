"""Which label a reply gives a text: the last one that it says, or why none can be told.

Labels are the caller's. Case, width of characters and quotation marks do not matter; of labels that
hold one another ("about cars" in "not about cars") the longest counts. A word that merely stands in
the text that is to be labelled is never seen here: what is read is the reply alone.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evalkit.parsers.plain import lines, plain, squeeze, whole_object, without_reasoning
from evalkit.parsers.reading import Rung

NONE = ("none", "none of them", "无", "都不是")  # of several labels: not one
_NAMED = re.compile(
    r"^(?:final )?(?:labels?|answer|class|category|标签|类别|答案|分类)[ ]?[:=][ ]?(.+)$", re.I
)
_QUOTES = "\"'“”‘’「」『』《》[](){}.。,，;；!！ "
_DENIED = re.compile(r"\b(?:not|nor|neither|never|unless|hardly|if)\b|n't|不|非|没有|如果|未必")
_APART = re.compile(r"[,，、;；|/]|\band\b|和|以及")


@dataclass(frozen=True)
class Labelling:
    """What was read from one reply: the labels and on which rung, or the reason why not."""

    labels: tuple[str, ...] | None
    rung: Rung | None = None
    unreadable: str | None = None


class Labels:
    """The labels that there are, and what else they may be called."""

    def __init__(
        self,
        names: Iterable[str],
        synonyms: Mapping[str, Iterable[str]] | None = None,
        *,
        several: bool = False,
    ) -> None:
        """`several`: a text may have more than one, or none."""
        self.names = tuple(names)
        self._several = several
        self._known = {_folded(name): name for name in self.names}
        for name, words in (synonyms or {}).items():
            self._known |= {
                _folded(word): name for word in words if _folded(word) not in self._known
            }
        longest = sorted(self._known, key=len, reverse=True)
        self._mention = re.compile("|".join(map(_whole_word, longest)) or r"(?!)")

    def read(self, reply: str) -> Labelling:
        """The last label that a reply gives, on the first rung that finds one."""
        text = without_reasoning(reply)[0]
        if not text.strip():
            return Labelling(None, unreadable="empty reply")
        if (whole := whole_object(text)) is not None:
            return self._of_object(whole)
        said = lines(plain(text))
        named = [found[1] for line in said if (found := _NAMED.match(_bare(line)))]
        last = [*named[-1:], *said[-1:]]
        for candidate in last:
            if (labels := self._exactly(candidate)) is not None:
                return Labelling(labels, "strict")
        for part in map(_folded, (*last, " ".join(said))):
            mentioned = [self._known[found[0]] for found in self._mention.finditer(part)]
            if mentioned and _DENIED.search(self._mention.sub("", part)):
                return Labelling(None, unreadable="a label with a doubt")
            if mentioned:
                return self._mentioned(mentioned)
        return Labelling(None, unreadable="no label found")

    def _of_object(self, whole: Mapping[str, object]) -> Labelling:
        value = whole.get("labels", whole.get("label"))
        parts = value if isinstance(value, list) else [value]
        known = [self._known.get(_folded(str(part))) for part in parts]
        labels = tuple(dict.fromkeys(name for name in known if name is not None))
        if value is None or None in known or not self._fits(labels):
            return Labelling(None, unreadable="no label in the JSON")
        return Labelling(self._in_order(labels), "structured")

    def _exactly(self, text: str) -> tuple[str, ...] | None:
        """The labels that a text is made of, where it says nothing else."""
        if (only := self._known.get(_folded(text))) is not None:
            return (only,)
        if not self._several:
            return None
        if _folded(text) in NONE:
            return ()
        known = [self._known.get(_folded(part)) for part in _APART.split(text) if part.strip()]
        found = [name for name in known if name is not None]
        return self._in_order(found) if found and len(found) == len(known) else None

    def _mentioned(self, names: list[str]) -> Labelling:
        """What a sentence comes to: one label, or where there may be several all of them."""
        labels = self._in_order(names)
        if not self._fits(labels):
            return Labelling(None, unreadable="contradictory")
        return Labelling(labels, "tolerant")

    def _fits(self, labels: tuple[str, ...]) -> bool:
        return self._several or len(labels) == 1

    def _in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in self.names if name in set(names))


def _bare(line: str) -> str:
    return line.strip("-• ").strip()


def _folded(text: str) -> str:
    return squeeze(plain(text)).strip(_QUOTES).casefold()


def _whole_word(word: str) -> str:
    """A pattern for a word that is not a part of another, where the script parts words."""
    first = r"(?<![a-z0-9])" if word[:1].isascii() and word[:1].isalnum() else ""
    last = r"(?![a-z0-9])" if word[-1:].isascii() and word[-1:].isalnum() else ""
    return f"{first}{re.escape(word)}{last}"
