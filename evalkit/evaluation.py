"""One file for an evaluation: who is asked, who judges, and what it may cost, to be committed.

Checked whole before anything is asked. It names variables and no key; it reaches nothing.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from evalkit import yamlfile
from evalkit.catalog import Catalog, Stanza
from evalkit.errors import BadFile, Fault


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Drawn(_Strict):
    """How the answers of one model are drawn; what is left out is as `evalkit answer` has it."""

    temperature: float | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = None


class Chatbot(Stanza):
    """A model to ask: a name that the catalogue knows, or a stanza of its own under that name."""

    name: str
    sampling: Drawn = Drawn()

    @property
    def stanza(self) -> Stanza | None:
        """What stands here of how it is reached; None where the catalogue says all."""
        said = {n: getattr(self, n) for n in self.model_fields_set - {"name", "sampling"}}
        if not said:
            return None
        own = {"provider": "openai_api", "model": self.name} if self.url else {}
        return Stanza(**{**own, **said})


class Judge(_Strict):
    """A judge, and how it is asked; the defaults are those of `evalkit judge`."""

    model: str
    prompt: str | None = None
    orders: Literal["both", "plan", "coin", "fixed"] | None = None
    samples: int = Field(1, ge=1)
    again: bool = False
    until: Literal["decided", "best"] | None = None
    alpha: float = Field(0.05, gt=0, lt=1)
    tie_zone: float = Field(5.0, ge=0, lt=100)
    canaries: int = Field(8, ge=0)


def _named(field: str) -> BeforeValidator:
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str) else value)


class Evaluation(_Strict):
    """What stands in an evaluation file."""

    bank: str = "evalkit80"
    models: list[Annotated[Chatbot, _named("name")]] = Field(min_length=1)
    baseline: str | None = None
    judges: list[Annotated[Judge, _named("model")]] = Field(min_length=1)
    limit: int | None = Field(None, ge=1)
    samples: int = Field(1, ge=1)
    """Answers to each question."""
    seed: int = 0
    """Of the orders and the canaries."""
    budget_usd: float | None = Field(None, ge=0)
    """Of answers and reviews together."""
    gate: dict[str, float] = {}
    """Numbers that the results must come to, as `evalkit report --fail-under` takes them."""
    outputs: list[Literal["csv", "md", "png"]] = []
    """Besides the page and its numbers."""

    @field_validator("models")
    @classmethod
    def _once(cls, models: list[Chatbot]) -> list[Chatbot]:
        names = [model.name for model in models]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"'{twice}' stands twice")
        return models

    def laid_over(self, catalog: Catalog) -> None:
        """Make the models that have a stanza here known to the catalogue."""
        for model in self.models:
            if (stanza := model.stanza) is not None:
                catalog.add(model.name, stanza)


def load(path: Path) -> Evaluation:
    """Read an evaluation file. Raises BadFile with every fault of it, each with its line."""
    if not path.exists():
        raise BadFile([Fault(str(path), "no such file")])
    return yamlfile.load(path, Evaluation)


def told(path: Path, evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Each setting, its value, and where it comes from: the file and line, or the default."""
    lines = yamlfile.key_lines(path)
    found = []
    for name in Evaluation.model_fields:
        where = f"{path}:{lines[name,]}" if (name,) in lines else "default"
        found.append((name, _worded(getattr(evaluation, name)), where))
    return found


def _worded(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(_worded, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}>={least:g}" for name, least in value.items()) or "none"
    if isinstance(value, Chatbot):
        return value.name + (f" at {', '.join(value.url)}" if value.url else "")
    if isinstance(value, Judge):
        until = f", until {value.until}" if value.until else ""
        orders = value.orders or ("plan" if value.until else "both")
        return f"{value.model} ({value.prompt or 'pair-scores'}, orders: {orders}{until})"
    return str(value)
