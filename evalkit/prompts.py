"""What is said around a text, to a judge, a writer of questions, a checkpoint: prompts/, as data.

A prompt file is YAML that is checked whole before it is used. Nothing in it is code.
This module knows no model and sends nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jinja2
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
)

from evalkit import yamlfile
from evalkit.errors import BadFile, Fault, Missing, Unknown, did_you_mean
from evalkit.parsers import PARSERS
from evalkit.records import Question, Texts, short_hash

_JINJA = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


@cache
def _parsed(source: str) -> nodes.Template:
    return _JINJA.parse(source)


@cache
def _names(source: str) -> frozenset[str]:
    """What a template takes from outside."""
    return frozenset(meta.find_undeclared_variables(_parsed(source)))


def _template(source: str) -> str:
    try:
        tree = _parsed(source)
        _compiled(source)  # knows every filter and test
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno} of the template: {error.message}") from error
    if any(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))):
        raise ValueError("a template cannot take in another file")
    return source


def _uses_only(source: str, names: set[str]) -> str:
    if strange := sorted(_names(source) - names):
        meant = did_you_mean(strange[0], names)
        raise ValueError(f"the template has no value for '{strange[0]}'.{meant}")
    return source


Template = Annotated[str, AfterValidator(_template)]


class Prompt(BaseModel):
    """A prompt file: checked whole, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    NAMES: ClassVar[set[str]]
    """What its template may use."""

    description: str

    @field_validator("template", check_fields=False)
    @classmethod
    def _only_these(cls, source: str) -> str:
        return _uses_only(source, cls.NAMES)


class Drawing(BaseModel):
    """How a judge's reply is drawn, unless the user says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    temperature: float | None = Field(0.0, ge=0)
    """None leaves it to the service."""
    max_tokens: int = Field(1024, ge=1)


class JudgePrompt(Prompt):
    """One way of judging: how many answers are shown, what counts, how the reply is read."""

    NAMES: ClassVar[set[str]] = {"answers", "checklist", "fence", "rubric", "structured", "turns"}
    """What its template may use."""

    shows: int = Field(ge=1, le=2)
    parser: str
    system: Template
    template: Template
    repair: str
    """What is asked of a judge whose reply cannot be read."""
    rubrics: dict[str, str]
    """What a good answer is, by category."""
    sampling: Drawing = Drawing()
    reply_schema: dict[str, Any] | None = Field(None, alias="schema")
    """JSON schema of the reply, where the service holds a model to one."""

    @property
    def hash(self) -> str:
        """`short_hash` of all that a judge is told, but for questions and answers."""
        return short_hash([self.system, self.template, self.rubrics])

    @field_validator("parser")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PARSERS:
            raise ValueError(f"no parser '{name}'; there is: {', '.join(PARSERS)}")
        return name

    @field_validator("system")
    @classmethod
    def _only_these_too(cls, source: str) -> str:
        return _uses_only(source, cls.NAMES)

    @field_validator("template")
    @classmethod
    def _fenced(cls, source: str) -> str:
        if "fence" not in _names(source):
            raise ValueError("put `{{ fence }}` into the lines around each answer")
        return source


class Examples(BaseModel):
    """Which texts with known labels are shown before one that is to be labelled."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    count: int = Field(0, ge=0)
    choice: Literal["random", "nearest"] = "random"


class ClassifyPrompt(Prompt):
    """How a chatbot is asked for the label of a text."""

    NAMES: ClassVar[set[str]] = {"examples", "labels", "several", "task", "text"}
    """What its template may use."""

    template: Template
    task: str
    """The question about the text, unless the user has a better one."""
    examples: Examples = Examples()
    synonyms: dict[str, list[str]] = {}
    """What else a label may be called in a reply."""


class GeneratePrompt(Prompt):
    """How a model is asked for new questions."""

    NAMES: ClassVar[set[str]] = {
        "count",
        "category",
        "guidance",
        "language",
        "needs_reference",
        "taken",
    }
    """What its template may use."""

    system: str
    template: Template
    guidance: dict[str, str]
    """What a question is, by category."""


class ChatPrompt(Prompt):
    """How a checkpoint without a chat template of its own is spoken to.

    The text begins behind the tokenizer's first token, and ends where the next answer begins.
    """

    NAMES: ClassVar[set[str]] = {"messages", "bos_token", "eos_token"}
    """What its template may use."""

    source: str
    """Where it is written down what the model was trained with."""
    system: str = ""
    """What is said first, unless the conversation has a system message of its own."""
    template: Template
    stop: Texts = ()
    """Texts at which an answer is over; they are no part of it."""


@dataclass(frozen=True)
class ChatTemplate:
    """How one checkpoint is spoken to."""

    name: str | None
    """A file of prompts/chat/; None: the one that came with the tokenizer."""
    text: str
    """Jinja, over `messages`."""
    system: str = ""
    stop: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """`short_hash` of all of it."""
        return short_hash([self.text, self.system, list(self.stop)])

    def fill(self, messages: Sequence[Mapping[str, str]], **tokens: str) -> str:
        """The text of a conversation; `tokens`: `bos_token` and `eos_token`.

        For a template of prompts/chat/ only: that of a tokenizer may use more than there is here.
        """
        if self.system and not any(each["role"] == "system" for each in messages):
            messages = [{"role": "system", "content": self.system}, *messages]
        return fill(self.text, messages=messages, **tokens)


def chat_template(
    model: str, files: Mapping[str, Path], *, own: str | None, named: str | None, wanted: str | None
) -> ChatTemplate:
    """How a checkpoint is spoken to; never a guess.

    `wanted`, which the user said, goes before the tokenizer's `own`, and that before `named`, which
    the catalogue says. Raises Unknown for a name that is none, Missing where there is nothing.
    """
    name = wanted or (None if own is not None else named)
    if name is None and own is not None:
        return ChatTemplate(None, own)
    if name is None:
        raise Missing(
            f"how is '{model}' spoken to? Its tokenizer has no chat template. Give --template NAME "
            f"or `template:` in evalkit.yaml; there is: {', '.join(sorted(files))}"
        )
    if name not in files:
        raise Unknown("chat template", name, sorted(files), "It is a file prompts/chat/NAME.yaml")
    found = yamlfile.load(files[name], ChatPrompt)
    return ChatTemplate(name, found.template, found.system, found.stop)


@cache
def _compiled(template: str) -> jinja2.Template:
    return _JINJA.from_string(template)


def fill(template: str, **values: object) -> str:
    """A template with its values, in one pass: a value is text and is never a template itself.

    Raises BadFile for a template that cannot be filled with them.
    """
    try:
        return _compiled(template).render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        what = f"cannot be filled: {' '.join(str(error).split())}"
        raise BadFile([Fault("the template of the prompt", what)]) from error


def categories(files: Mapping[str, Path]) -> list[str]:
    """Every category that some prompt has a rubric for."""
    return sorted(
        {name for path in files.values() for name in yamlfile.load(path, JudgePrompt).rubrics}
    )


def filed(
    bank: str, questions: Iterable[Question], known: Collection[str], default: str | None
) -> tuple[list[Question], list[str]]:
    """The questions, each in a known category, and notices of those that were refiled.

    A question of another category goes under `default`, and what it was stays in `extra`. Raises
    BadFile where there is no default, Unknown for a default that is not known itself.
    """
    if default is not None and default not in known:
        raise Unknown("category", default, known)
    found: list[Question] = []
    strange: dict[str, list[str]] = {}
    for question in questions:
        if question.category in known:
            found.append(question)
            continue
        strange.setdefault(question.category, []).append(question.id)
        extra = question.extra | {"category": question.category}
        found.append(question.model_copy(update={"category": default, "extra": extra}))
    which = {name: _some(ids) for name, ids in strange.items()}
    if which and default is None:
        hint = f"Known: {', '.join(known)}. --category-default NAME takes these questions in"
        what = [
            f"no prompt knows the category '{name}' of {ids}. {hint}" for name, ids in which.items()
        ]
        raise BadFile([Fault(f"bank {bank}", each) for each in what])
    notices = [
        f"{ids} filed under {default}, no prompt knows '{name}'" for name, ids in which.items()
    ]
    return found, notices


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"question{'s' * (len(ids) > 1)} {', '.join(ids[:3])}{more}"
