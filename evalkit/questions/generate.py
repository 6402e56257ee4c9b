"""New questions from a model: what to ask it, and which of those that it wrote are any good.

A question is taken when `check` would find nothing wrong with it and it is like no other; else it
is refused, with the reason. The code in a reference is not run: it is a stranger's.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from evalkit import jsonl
from evalkit.chat import Message, Provider, Request, Sampling
from evalkit.prompts import GeneratePrompt, fill
from evalkit.questions import check
from evalkit.records import Question, short_hash

AT_ONCE = 5  # questions in one request; of more, models write worse ones
ROUNDS = 3  # times as many requests as would do if every question were good

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
    """New questions of one category as they come in; `taken`: those that exist already."""

    prompt: GeneratePrompt
    category: str
    wanted: int
    language: str
    source: str
    taken: Sequence[Question]
    questions: list[Question] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    replies: int = 0

    @property
    def owed(self) -> int:
        """How many questions are still to be written."""
        return self.wanted - len(self.questions)

    def request(self) -> Request | None:
        """What to ask next; None when all are there, or when asking on would lead nowhere."""
        if self.owed <= 0 or self.replies >= ROUNDS * -(-self.wanted // AT_ONCE):
            return None
        same = [q for q in self.taken if (q.category, q.language) == (self.category, self.language)]
        text = fill(
            self.prompt.template,
            count=min(self.owed, AT_ONCE),
            category=self.category,
            guidance=self.prompt.guidance[self.category],
            language=LANGUAGES.get(self.language, self.language),
            needs_reference=self.category in check.WITH_REFERENCE,
            taken=[_begins(question.turns[0]) for question in (*same, *self.questions)],
        )
        return Request(
            (Message("system", self.prompt.system), Message("user", text)),
            Sampling(temperature=1.0),
        )

    def take(self, reply: str) -> None:
        """Take what is good from a reply, up to what is owed, and remember what is not."""
        self.replies += 1
        any_found = False
        for value in _objects(reply):
            any_found = True
            if self.owed > 0:
                self._take(value)
        if not any_found:
            self.refused.append(Refused(_begins(reply), "no JSON object with turns in the reply"))

    def _take(self, value: dict[str, Any]) -> None:
        turns = value.get("turns")
        begins = _begins(str(turns[0])) if isinstance(turns, list) and turns else ""
        written = {name: value[name] for name in _WRITTEN if name in value}
        ours = {
            "id": f"{self.category}-{short_hash(turns)[:6]}",
            "category": self.category,
            "language": self.language,
            "source": self.source,
            "version": "1",
        }
        try:
            question = Question.model_validate({**ours, **written})
        except ValidationError as error:
            whys = jsonl.complaints(error, Question)
        else:
            whys = list(check.unmet(question, [self.category]))
            if not question.checklist:
                whys.append("no checklist")
            near = check.nearest_twin(question, (*self.taken, *self.questions))
            if near:
                whys.append(near)
            if not whys:
                self.questions.append(question)
        if whys:
            self.refused.append(Refused(begins, "; ".join(whys)))


async def ask(provider: Provider, drafts: Drafts) -> None:
    """Ask a model until all questions are there, or asking on would lead nowhere."""
    while request := drafts.request():
        drafts.take((await provider.reply(request)).text)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object with turns in a reply, also of an array that was cut short."""
    decoder = json.JSONDecoder(strict=False)  # models break lines inside strings
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if "turns" in value:
            yield value
        at = text.find("{", end if "turns" in value else at + 1)


def _begins(text: str, longest: int = 100) -> str:
    one = " ".join(text.split())
    return one if len(one) <= longest else one[: longest - 1] + "…"
