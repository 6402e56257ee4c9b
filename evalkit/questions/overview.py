"""What a bank holds, in numbers: categories, languages, turns, references, lengths.

Reads no file and judges nothing; what is wrong with a bank is `check`'s to say.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from evalkit.columns import aligned
from evalkit.questions.ngrams import Unit, unit, words
from evalkit.records import Question

HEAD = ("questions", "language", "follow-ups", "references", "tests", "length")


@dataclass(frozen=True)
class Overview:
    """Some questions in numbers; `categories` and `languages` in the order of the file."""

    name: str
    questions: int
    languages: dict[str, int]
    categories: dict[str, int]
    follow_ups: int
    """Questions of more than one turn."""
    references: int
    """Questions with a reference, and so on."""
    tests: int
    checklists: int
    shortest: int
    median: float
    longest: int
    """Lengths of a question, all turns, in words; in characters where a script has no blanks."""
    unit: Unit


def overview(name: str, questions: Sequence[Question]) -> Overview:
    """The numbers of at least one question."""
    asked = [words("\n".join(question.turns)) for question in questions]
    lengths = [len(each) for each in asked]
    return Overview(
        name=name,
        questions=len(questions),
        languages=dict(Counter(question.language for question in questions)),
        categories=dict(Counter(question.category for question in questions)),
        follow_ups=sum(len(question.turns) > 1 for question in questions),
        references=sum(bool(question.reference) for question in questions),
        tests=sum(bool(question.tests) for question in questions),
        checklists=sum(bool(question.checklist) for question in questions),
        shortest=min(lengths),
        median=median(lengths),
        longest=max(lengths),
        unit=unit(asked),
    )


def by_category(questions: Sequence[Question]) -> list[Overview]:
    """An overview of each category, in the order of the file."""
    names = dict.fromkeys(question.category for question in questions)
    return [overview(name, [q for q in questions if q.category == name]) for name in names]


def table(rows: Sequence[Overview], what: str) -> list[str]:
    """Overviews as a terminal shows them, a line each; `what` stands over their names."""
    lines = [
        (
            row.name,
            str(row.questions),
            ", ".join(row.languages),
            *(str(number or "") for number in (row.follow_ups, row.references, row.tests)),
            f"{row.median:.0f} {row.unit} ({row.shortest}-{row.longest})",
        )
        for row in rows
    ]
    return aligned([(what, *HEAD), *lines])
