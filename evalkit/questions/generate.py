"""New questions from a model: what to ask it, and which of those that it wrote are any good.

A question is taken when `check` would find nothing wrong with it and it is like no other; else it
is refused, with the reason. The code in a reference is not run: it is a stranger's.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from evalkit import jsonl
from evalkit.chat import Message, Request, Sampling
from evalkit.prompts import GeneratePrompt, fill
from evalkit.questions import check
from evalkit.records import Question, short_hash

AT_ONCE = 5  # questions in one request; of more, models write worse ones
ROUNDS = 3  # times as many requests as would do if every question were good
POINTS = 3  # of a checklist, at least
SHOWN = 100  # of the questions that exist, the newest: a prompt must end somewhere

LANGUAGES = {"en": "English", "zh": "Chinese"}
_WRITTEN = ("turns", "reference", "checklist", "tests")  # by the model; the other fields are ours


@dataclass(frozen=True)
class Refused:
    """A question that was not taken: how it begins, and why not."""

    begins: str
    why: str

    def __str__(self) -> str:
        return f"refused: {self.why} ({self.begins!r})" if self.begins else f"refused: {self.why}"


@dataclass
class Drafts:
    """New questions of one category as they come in."""

    prompt: GeneratePrompt
    category: str
    wanted: int
    language: str
    source: str
    taken: Sequence[Question]
    """Those that exist already."""
    known: Collection[str]
    """The categories that some judge's prompt knows."""
    questions: list[Question] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    replies: int = 0

    @property
    def owed(self) -> int:
        """How many questions are still to be written."""
        return self.wanted - len(self.questions)

    def asks_for(self, question: Question) -> bool:
        """Whether a question is of the category and language that are wanted."""
        return (question.category, question.language) == (self.category, self.language)

    def request(self, at_once: int = AT_ONCE) -> Request | None:
        """What to ask next; None when all are there, or when asking on would lead nowhere."""
        if self.owed <= 0 or self.replies >= ROUNDS * -(-self.wanted // AT_ONCE):
            return None
        same = (*filter(self.asks_for, self.taken), *self.questions)
        begin = dict.fromkeys(_begins(question.turns[0]) for question in same)
        text = fill(
            self.prompt.template,
            count=min(self.owed, at_once),
            category=self.category,
            guidance=self.prompt.guidance[self.category],
            language=LANGUAGES.get(self.language, self.language),
            needs_reference=self.category in check.WITH_REFERENCE,
            taken=list(begin)[-SHOWN:],
        )
        return Request(
            (Message("system", self.prompt.system), Message("user", text)),
            Sampling(temperature=1.0),
        )

    def take(self, reply: str) -> None:
        """Take what is good from a reply, up to what is owed, and remember what is not."""
        self.replies += 1
        # A comma too many and a lone backslash (LaTeX) are what models get wrong most often.
        doubled = re.sub(r"\\(.)", _doubled, reply, flags=re.DOTALL)
        mended = re.sub(r",(\s*[}\]])", r"\1", doubled)
        found = max((list(_objects(text)) for text in (reply, mended)), key=_whole)
        for value in found:
            if isinstance(value, Refused):
                self.refused.append(value)
            elif self.owed > 0:
                self._take(value)
            else:
                self.refused.append(Refused(_first(value), "there are as many as were wanted"))
        if not found:
            self.refused.append(Refused(_begins(reply), "no JSON object with turns in the reply"))

    def _take(self, value: dict[str, Any]) -> None:
        written = {name: value[name] for name in _WRITTEN if name in value}
        ours = {
            "id": f"{self.category}-{short_hash(value['turns'])[:6]}",
            "category": self.category,
            "language": self.language,
            "source": self.source,
            "version": "1",
        }
        standing = (*self.taken, *self.questions)
        try:
            question = Question.model_validate({**ours, **written})
        except ValidationError as error:
            whys = jsonl.complaints(error, Question)
        else:
            whys = list(check.unmet(question, self.known))
            if len(question.checklist) < POINTS:
                whys.append(f"{len(question.checklist)} points in its checklist, at least {POINTS}")
            if near := check.nearest_twin(question, standing):
                whys.append(near)
            elif any(question.id == other.id for other in standing):
                whys.append(f"the id {question.id} is there already")
        if whys:
            self.refused.append(Refused(_first(value), "; ".join(whys)))
        else:
            self.questions.append(question)


def _objects(text: str) -> Iterator[dict[str, Any] | Refused]:
    """Every JSON object with turns in a reply; of one that is broken or cut short, why not."""
    decoder = json.JSONDecoder(strict=False)  # models break lines inside strings
    at = text.find("{")
    while at >= 0:
        following = at + 1
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            if begun := re.match(r'\{\s*["\'“]turns\b', text[at : at + 100]):
                what = str(error) if isinstance(error, ValueError) else "nested too deeply"
                begins = _begins(text[at + begun.end() :].lstrip("\"'”: \n["), 60)
                yield Refused(begins, f"not valid JSON: {what.lower()}")
        else:
            if "turns" in value:
                yield value
                following = end
        at = text.find("{", following)


def _doubled(found: re.Match[str]) -> str:
    """A backslash and the sign behind it, as JSON has them."""
    return found[0] if found[1] in '\\"/bfnrtu' else f"\\{found[0]}"


def _whole(found: Sequence[dict[str, Any] | Refused]) -> int:
    return sum(not isinstance(value, Refused) for value in found)


def _first(value: dict[str, Any]) -> str:
    turns = value["turns"]
    return _begins(str(turns[0])) if isinstance(turns, list) and turns else ""


def _begins(text: str, longest: int = 100) -> str:
    one = " ".join(text.split())
    return one if len(one) <= longest else one[: longest - 1] + "…"
