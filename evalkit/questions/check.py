"""What is wrong with a bank: everything at once, each with where it stands.

The rules are here; files, and whether a bank's code may run, are the caller's business.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from evalkit.errors import Fault
from evalkit.jsonl import Found
from evalkit.questions import references, similar
from evalkit.records import Question

WITH_REFERENCE = ("coding", "fermi", "math")
"""Categories whose every turn has one right result, which a judge must be shown."""


@dataclass(frozen=True)
class Bank:
    """A bank as it was read: its name, its questions with where they stand, what could not be."""

    name: str
    rows: list[tuple[str, Question]]
    faults: list[Fault]

    @classmethod
    def of(cls, name: str, found: Found[Question]) -> "Bank":
        """The bank called `name`, from what reading its file gave."""
        return cls(name, found.rows, found.faults)

    @property
    def questions(self) -> list[Question]:
        """Its questions, in the order of the file."""
        return [question for _, question in self.rows]


def faults(bank: Bank, categories: Collection[str]) -> list[Fault]:
    """What is wrong with a bank by itself; `categories`: those that some prompt knows."""
    found = list(bank.faults)
    for where, question in bank.rows:
        found += [Fault(where, f"{question.id}: {what}") for what in unmet(question, categories)]
    for pair in similar.pairs([_asked(question) for question in bank.questions]):
        where, question = bank.rows[pair.one]
        there, other = bank.rows[pair.other]
        found.append(_alike(where, question, f"{other.id} at {there}", pair))
    return found


def shared(bank: Bank, other: Bank) -> list[Fault]:
    """The questions of `bank` that `other` has too, or nearly."""
    ours, theirs = ([_asked(question) for question in each.questions] for each in (bank, other))
    found = []
    for pair in similar.pairs(ours, theirs):
        where, question = bank.rows[pair.one]
        there, twin = other.rows[pair.other]
        found.append(_alike(where, question, f"{twin.id} at {there}", pair))
    return found


def nearest_twin(question: Question, others: Sequence[Question]) -> str | None:
    """The one of `others` that a question is nearly the same as, in words; None where none is."""
    near = similar.pairs([_asked(question)], [_asked(other) for other in others])
    best = max(near, key=lambda pair: pair.likeness, default=None)
    return None if best is None else _how(best, others[best.other].id)


def may_be_one_bank(name: str, names: Iterable[str]) -> bool:
    """Whether a bank may be one of `names` in another language, going by what it is called."""
    return any(name.startswith(f"{other}-") or other.startswith(f"{name}-") for other in names)


def translations(banks: Mapping[str, Bank]) -> Iterator[tuple[Bank, Bank]]:
    """The banks that are one in two languages: NAME, and NAME-zh with Chinese questions only."""
    for name, bank in banks.items():
        stem, _, language = name.rpartition("-")
        languages = {question.language for question in bank.questions}
        if stem in banks and languages == {language}:
            yield banks[stem], bank


def differences(bank: Bank, translation: Bank) -> list[Fault]:
    """Where two languages of one bank do not have the same questions in the same form."""
    found = []
    ours, theirs = ({q.id: (at, q) for at, q in each.rows} for each in (bank, translation))
    for rows, others, other in ((ours, theirs, translation), (theirs, ours, bank)):
        missing = f"stands in no row of {other.name}"
        found += [Fault(rows[key][0], f"{key}: {missing}") for key in rows if key not in others]
    for key in (key for key in ours if key in theirs):
        (there, question), (where, twin) = ours[key], theirs[key]
        for name in ("category", "version"):
            if (here := getattr(twin, name)) != (is_there := getattr(question, name)):
                what = f"its {name} is '{here}', but '{is_there}' at {there}"
                found.append(Fault(where, f"{key}: {what}"))
        if len(question.turns) != len(twin.turns):
            what = f"has {len(twin.turns)} turns, but {len(question.turns)} at {there}"
            found.append(Fault(where, f"{key}: {what}"))
    return found


def failures(bank: Bank) -> list[Fault]:
    """The references that fail their own test. Runs code that stands in the bank."""
    places = {question.id: where for where, question in bank.rows}
    return [
        Fault(places[question.id], f"{question.id}: the reference of turn {turn} fails: {what}")
        for question, turn, what in references.failures(bank.questions)
    ]


def unmet(question: Question, categories: Collection[str]) -> Iterator[str]:
    """What a question lacks by itself."""
    if question.category not in categories:
        yield f"no prompt knows the category '{question.category}'"
    turns, given = len(question.turns), len(question.reference)
    if question.category in WITH_REFERENCE and not given:
        yield f"no reference, which {question.category} needs for each turn"
    elif given not in (0, turns):
        yield f"{given} references for {turns} turns"
    if question.tests and len(question.tests) != given:
        yield f"{len(question.tests)} tests for {given} references"
    for turn, reference in enumerate(question.reference, 1):
        if not reference.strip():
            yield f"the reference of turn {turn} is empty"
        elif question.category == "fermi":
            accepted = references.accepted_range(reference)
            if accepted is None:
                yield f"the reference of turn {turn} has no line 'Accepted range: X to Y'"
            elif not 0 <= accepted[0] < accepted[1]:
                limits = f"{accepted[0]:g} to {accepted[1]:g}"
                yield f"the accepted range of turn {turn} goes from {limits}"


def _asked(question: Question) -> str:
    return "\n".join(question.turns)


def _alike(where: str, question: Question, other: str, pair: similar.Pair) -> Fault:
    return Fault(where, f"{question.id}: {_how(pair, other)}")


def _how(pair: similar.Pair, other: str) -> str:
    if pair.inside:
        return f"shares {pair.likeness:.0%} of the shorter text with {other}"
    return f"the same as {other}" if pair.likeness > 0.995 else f"{pair.likeness:.0%} like {other}"
