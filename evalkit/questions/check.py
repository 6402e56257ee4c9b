"""What is wrong with a bank: everything at once, each with where it stands.

The rules are here; files, and whether a bank's code may run, are the caller's business.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os.path import normpath

from evalkit.errors import Fault, count
from evalkit.questions import references, similar
from evalkit.questions.ngrams import words
from evalkit.records import Question

# What LaTeX (frac, beta, times, rho) becomes where its backslash was taken for JSON's.
_SPOILT = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f][a-z]{0,8}|\t(?:imes|heta|au|ext)\b|\r(?!\n)[a-z]{0,8}"
)

WITH_REFERENCE = ("coding", "fermi", "math")
"""Categories whose every turn has one right result, which a judge must be shown."""


@dataclass(frozen=True)
class Bank:
    """A bank as it was read: its name, its questions with where they stand, what could not be."""

    name: str
    rows: list[tuple[str, Question]]
    faults: list[Fault]

    @property
    def questions(self) -> list[Question]:
        """Its questions, in the order of the file."""
        return [question for _, question in self.rows]


def faults(bank: Bank, categories: Collection[str]) -> list[Fault]:
    """What is wrong with a bank by itself; `categories`: those that some prompt knows."""
    found = list(bank.faults)
    for where, question in bank.rows:
        found += [Fault(where, f"{question.id}: {what}") for what in unmet(question, categories)]
    for twin in similar.twins([_asked(question) for question in bank.questions]):
        found.append(_alike(bank, twin, bank))
    return found


def shared(bank: Bank, other: Bank) -> list[Fault]:
    """The questions of `bank` that `other` has too, or nearly."""
    ours, theirs = ([_asked(question) for question in each.questions] for each in (bank, other))
    return [_alike(bank, twin, other) for twin in similar.twins(ours, theirs)]


def nearest_twin(question: Question, others: Sequence[Question]) -> str | None:
    """The one of `others` that a question is nearly the same as, in words; None where none is."""
    near = similar.twins([_asked(question)], [_asked(other) for other in others])
    return next((_how(twin, others[twin.other].id) for twin in near), None)


def may_be_one_bank(name: str, names: Iterable[str]) -> bool:
    """Whether a bank may be one of `names` in another language, going by what it is called."""
    name = _stem(name)
    stems = [_stem(other) for other in names]
    return any(name.startswith(f"{other}-") or other.startswith(f"{name}-") for other in stems)


def translations(banks: Mapping[str, Bank]) -> Iterator[tuple[Bank, Bank]]:
    """The banks that are one in two languages: NAME, and NAME-zh with Chinese questions."""
    by_stem = {_stem(name): bank for name, bank in banks.items()}
    for name, translation in by_stem.items():
        languages = Counter(question.language for question in translation.questions)
        for stem, bank in by_stem.items():
            if languages and name == f"{stem}-{languages.most_common(1)[0][0]}":
                yield bank, translation


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
            what = f"has {count(len(twin.turns), 'turn')}, but {len(question.turns)} at {there}"
            found.append(Fault(where, f"{key}: {what}"))
        if twin.language == question.language:
            found.append(Fault(where, f"{key}: its language is '{twin.language}' in both banks"))
    return found


def findings(
    bank: Bank, others: Iterable[Bank], categories: Collection[str], *, run_tests: bool
) -> list[Fault]:
    """All of the above and, where the code of the bank may run, the tests that fail."""
    found = faults(bank, categories)
    for other in others:
        found += shared(bank, other)
    return _in_order([*found, *(failures(bank) if run_tests else ())])


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
    for turn, text in enumerate(question.turns, 1):
        if not len(words(text)):
            yield f"turn {turn} has no words"
    texts = (*question.turns, *question.reference, *question.checklist)
    if strange := next(filter(None, map(_SPOILT.search, texts)), None):
        begins = strange[0].encode("unicode_escape").decode()
        yield f"{begins!r} in a text: in JSON a backslash is written twice"
    if not all(point.strip() for point in question.checklist):
        yield "a point of the checklist is empty"
    yield from _unmet_by_references(question)


def _unmet_by_references(question: Question) -> Iterator[str]:
    turns, given = len(question.turns), len(question.reference)
    if question.category in WITH_REFERENCE and not given:
        yield f"no reference, which {question.category} needs for each turn"
    elif given not in (0, turns):
        yield f"{count(given, 'reference')} for {count(turns, 'turn')}"
    if question.tests and len(question.tests) != given:
        yield f"{count(len(question.tests), 'test')} for {count(given, 'reference')}"
    for turn, reference in enumerate(question.reference, 1):
        if not reference.strip():
            yield f"the reference of turn {turn} is empty"
        elif question.category == "fermi":
            yield from _unmet_by_range(turn, references.accepted_range(reference))


def _unmet_by_range(turn: int, accepted: tuple[float, float] | None) -> Iterator[str]:
    if accepted is None:
        line = "Accepted range: 300 to 5,000"
        yield f"the reference of turn {turn} has no range that can be read, as in '{line}'"
    elif not 0 <= accepted[0] < accepted[1]:
        yield f"the accepted range of turn {turn} goes from {accepted[0]:g} to {accepted[1]:g}"


def _in_order(found: Iterable[Fault]) -> list[Fault]:
    """Faults in the order of the file's lines."""
    return sorted(found, key=lambda fault: [int(n) for n in re.findall(r"\d+", _line(fault))])


def _line(fault: Fault) -> str:
    return fault.where.rpartition(".jsonl")[2]


def _stem(name: str) -> str:
    return normpath(name).removesuffix(".jsonl")


def _asked(question: Question) -> str:
    return "\n".join(question.turns)


def _alike(bank: Bank, twin: similar.Twin, home: Bank) -> Fault:
    where, question = bank.rows[twin.one]
    there, other = home.rows[twin.other]
    return Fault(where, f"{question.id}: {_how(twin, f'{other.id} at {there}')}")


def _how(twin: similar.Twin, other: str) -> str:
    if twin.inside:
        what = f"shares {twin.likeness:.0%} of the shorter text with {other}"
    elif twin.likeness > 0.995:
        what = f"the same as {other}"
    else:
        what = f"{twin.likeness:.0%} like {other}"
    return f"{what}, and like {twin.others} more" if twin.others else what
