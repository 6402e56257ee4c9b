"""What the page is made from: the numbers, and the rows that stand behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from evalkit.prompts import JudgePrompt
from evalkit.records import Answer, Question, Review
from evalkit.report.schema import Results
from evalkit.report.translation import translation


@dataclass(frozen=True)
class Reading:
    """What one model with one prompt made of one text."""

    model: str
    prompt: str
    labels: tuple[str, ...] | None
    """None: its reply cannot be read."""
    unreadable: str | None
    """Why not."""
    right: bool
    reply: str
    """Word for word; of several samples the first that says so."""
    samples: int


@dataclass(frozen=True)
class LabelledText:
    """A text with a truth, and what was made of it."""

    question: Question
    truth: tuple[str, ...]
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class Evidence:
    """All that a section may show. Rows that do not count are not in it."""

    results: Results
    questions: tuple[Question, ...] = ()
    answers: tuple[Answer, ...] = ()
    """Those that stand, the first sample of each."""
    reviews: Sequence[Review] = ()
    """Those that stand, canaries included."""
    battles: pd.DataFrame = field(default_factory=pd.DataFrame)
    """As `stats.battles` gives them, people's votes too, but no ties by rule in their names."""
    prompts: Mapping[str, JudgePrompt] = field(default_factory=dict)
    """What the judges are told, by name, as it stands now."""
    labelled: tuple[LabelledText, ...] = ()
    """Texts that were labelled, in the order of the bank."""
    command: str | None = None
    """What makes the page again, where `evalkit report` does not."""
    left_out: int = 0
    """Questions that are in all numbers and not in `questions`: a page has no room for them."""
    redacted: bool = False
    """Leave out what was asked and said: hashes stand in its place."""
    language: str = "en"
    """Of the page's own words, one of `translation.LANGUAGES`."""

    @property
    def translation(self) -> Mapping[str, str]:
        """English templates of the page's own words -> those of its language."""
        return translation(self.language).page
