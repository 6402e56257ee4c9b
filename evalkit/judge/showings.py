"""Which answers a judge is shown, in which order, how often. Knows no prompt and no judge.

Every choice is a hash of what it is about and the seed, never a draw: a run that is resumed, or
that is given more questions, makes the same choices again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from math import ceil
from typing import Any, Literal

from evalkit.errors import Missing, Unknown
from evalkit.records import Answer, Canary, Question, place, short_hash

Orders = Literal["both", "plan", "coin", "fixed"]
Pair = tuple[str, str]
Texts = tuple[str, ...]

CHATGPT = ("chatgpt", "gpt-3.5-turbo")  # the baseline, where none is named: the first of these
SECOND_ORDER = 0.2  # of a pair's questions are shown in the other order too, under `plan`
SECOND_ORDER_AT_LEAST = 30  # fewer do not tell what the order does
AGAIN = 0.1  # of a pair's questions are asked once more, where that is wanted
AGAIN_AT_LEAST = 30  # fewer do not tell whether a judge says the same again
_PARTS = {"second order": (SECOND_ORDER, SECOND_ORDER_AT_LEAST), "again": (AGAIN, AGAIN_AT_LEAST)}


@dataclass(frozen=True, slots=True)
class Showing:
    """One thing that a judge is shown, to be scored."""

    question: Question
    shown: tuple[str, ...]
    """The models' names, first place first."""
    answers: tuple[Texts, ...]
    """The text of each turn of each answer, in the same order."""
    samples: int = 1
    """How often it is asked."""
    canary: Canary | None = None
    right: int | None = None
    """Of a canary: the place of the answer that must win; None where it must be a tie."""

    @property
    def about(self) -> tuple[str, ...]:
        """As `chat.about` of the row that it leaves."""
        return (self.question.id, *self.shown, *([self.canary] if self.canary else []))


@dataclass
class Plan:
    """What there is to show, and what there is not."""

    showings: list[Showing] = field(default_factory=list)
    identical: int = 0
    """Questions of a pair on which both gave the same answer: a tie by rule, no call."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """Model -> questions without an answer of its own, which nobody can judge."""


def rank(seed: int, *what: Any) -> str:
    """A place in an order that is random, fixed by the seed, and the same on every machine."""
    return short_hash([seed, *what])


def pairs(models: Iterable[str], baseline: str | None, wanted: Sequence[str]) -> list[Pair]:
    """The pairs to judge, of models that have answers.

    `wanted`: `all`, or A:B, several; empty: each model against the baseline, which comes first.
    `baseline`: None is ChatGPT.
    Raises Unknown for a name that has no answers, Missing where nothing can be compared.
    """
    known = sorted(set(models))
    if not known:
        raise Missing("nothing has been answered yet. First: evalkit answer --model NAME")
    if list(wanted) == ["all"]:
        found = list(combinations(known, 2))
    elif wanted:
        found = [_pair(each, known) for each in wanted]
    else:
        baseline = baseline or next((name for name in CHATGPT if name in known), CHATGPT[0])
        if baseline not in known:
            raise Unknown("answers of", baseline, known, "--baseline takes one of these")
        found = [(baseline, model) for model in known if model != baseline]
    if not found:
        raise Missing(f"only {known[0]} has answers: there is nothing to compare it with")
    return list({frozenset(pair): pair for pair in found}.values())


def _pair(text: str, known: list[str]) -> Pair:
    """A:B, where a name may hold a colon of its own."""
    parts = text.split(":")
    splits = [(":".join(parts[:k]), ":".join(parts[k:])) for k in range(1, len(parts))]
    if not splits:
        raise Missing(f"'{text}' is no pair; expected --pairs all or --pairs A:B")
    for first, second in splits:
        if first in known and second in known and first != second:
            return first, second
    if splits[0][0] == splits[0][1]:
        raise Missing(f"'{text}': a pair is of two different models")
    unknown = next(name for name in splits[0] if name not in known)
    raise Unknown("answers of", unknown, known)


def plan(
    questions: Sequence[Question],
    answers: Iterable[Answer],
    compared: Sequence[Pair],
    *,
    shows: int = 2,
    orders: Orders = "both",
    samples: int = 1,
    again: bool = False,
    seed: int = 0,
) -> Plan:
    """What to show a judge of these questions.

    `answers`: those that stand; of several samples the first is judged. `shows` is 1 where each
    answer is graded alone. `again`: a random tenth of a pair's questions, at least 30, is asked
    once more in its first order, to see whether the judge says the same. Questions come in an
    order that nobody chose, so that a run that ends early has seen a random part of the bank.
    """
    found = Plan()
    first = first_samples(answers)
    texts: dict[str, dict[str, Texts]] = {}
    for (id_, model), answer in first.items():
        texts.setdefault(id_, {})[model] = answer.turns
    ties = {(id_, frozenset(pair)) for id_, *pair in identical(first.values())}
    in_order = sorted(questions, key=lambda question: place(question.id))
    models = list(dict.fromkeys(model for pair in compared for model in pair))
    answered = Counter(chain.from_iterable(texts.get(each.id, ()) for each in in_order))
    for model in models:
        if lacking := len(in_order) - answered[model]:
            found.unanswered[model] = lacking
    twice = {
        pair: _part(in_order, pair, seed, "second order") if orders == "plan" else set()
        for pair in compared
    }
    once_more = {
        pair: _part(in_order, pair, seed, "again") if again else set() for pair in compared
    }
    for question in in_order:
        own = texts.get(question.id, {})
        if shows == 1:
            here: list[tuple[tuple[str, ...], int]] = [
                ((model,), samples + _in_part(question.id, model, once_more))
                for model in models
                if model in own
            ]
        else:
            here = []
            for pair in compared:
                if pair[0] not in own or pair[1] not in own:
                    continue
                if ties and (question.id, frozenset(pair)) in ties:
                    found.identical += 1
                    continue
                one, *other = _orders(question.id, pair, orders, seed, question.id in twice[pair])
                here.append((one, samples + (question.id in once_more.get(pair, ()))))
                here += [(shown, samples) for shown in other]
        found.showings += [
            Showing(question, shown, tuple([own[model] for model in shown]), times)
            for shown, times in here
        ]
    return found


def _in_part(question: str, model: str, parts: Mapping[Pair, set[str]]) -> bool:
    return any(model in pair and question in part for pair, part in parts.items())


def identical(answers: Iterable[Answer]) -> list[tuple[str, str, str]]:
    """Question and two models that gave the same answer to it; `answers`: those that stand."""
    alike: dict[tuple[str, Texts], list[str]] = {}
    for (question, model), answer in first_samples(answers).items():
        alike.setdefault((question, _bare(answer.turns)), []).append(model)
    several = [each for each in alike.items() if len(each[1]) > 1]
    return [
        (question, *pair)
        for (question, _), models in several
        for pair in combinations(sorted(models), 2)
    ]


def _bare(texts: Texts) -> Texts:
    """What two answers have in common between which there is nothing to compare."""
    return tuple([text.strip() for text in texts])


def first_samples(answers: Iterable[Answer]) -> dict[tuple[str, str], Answer]:
    """Of several samples of an answer the first, which is the one that is judged."""
    first: dict[tuple[str, str], Answer] = {}
    for answer in answers:
        standing = first.setdefault((answer.question, answer.model), answer)
        if answer.sample < standing.sample:
            first[answer.question, answer.model] = answer
    return first


def _orders(
    question: str, pair: Pair, orders: Orders, seed: int, twice: bool
) -> list[tuple[str, ...]]:
    if orders == "both":
        return [pair, pair[::-1]]
    if orders == "fixed":
        return [pair]
    heads = int(rank(seed, "coin", question, *sorted(pair)), 16) % 2
    one = tuple(sorted(pair, reverse=bool(heads)))
    return [one, one[::-1]] if orders == "plan" and twice else [one]


def _part(questions: Sequence[Question], pair: Pair, seed: int, what: str) -> set[str]:
    """A random part of a pair's questions, the same on each run: as much as `_PARTS` says."""
    share, least = _PARTS[what]
    ids = sorted(
        (question.id for question in questions),
        key=lambda id_: rank(seed, what, id_, *sorted(pair)),
    )
    return set(ids[: max(least, ceil(share * len(questions)))])
