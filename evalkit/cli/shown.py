"""What the user asked of a judge, and what that comes to: which answers it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from evalkit.cli.shard import part_of
from evalkit.cli.verb import judge_prompts
from evalkit.errors import Missing, Unknown

if TYPE_CHECKING:
    from evalkit.catalog import Model
    from evalkit.judge.showings import Orders, Pair, Showing
    from evalkit.prompts import JudgePrompt
    from evalkit.records import Question
    from evalkit.shards import Shard
    from evalkit.stats.battles import Same
    from evalkit.workspace import Workspace

PROMPT = "pair-scores"
CANARIES = 8  # two of each kind


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    bank: str
    judges: "tuple[Model, ...]"
    prompt: str | None = None
    """None: `PROMPT`, in the language of the bank."""
    baseline: str | None = None
    """None: ChatGPT, by any of its names."""
    pairs: tuple[str, ...] = ()
    orders: "Orders | None" = None
    """None: both; with `until`: the other one only for a part."""
    samples: int = 1
    again: bool = False
    canaries: int = CANARIES
    limit: int | None = None
    seed: int = 0
    structured: bool | None = None
    """None: where the catalogue says that the service can."""
    until: "Literal['decided', 'best'] | None" = None
    """None: everything is judged."""
    alpha: float = 0.05
    tie_zone: float = 5.0
    """Points of win rate."""
    shard: "Shard | None" = None
    """None: all questions."""


@dataclass(frozen=True)
class Shown:
    """What every judge of a run is shown."""

    orders: "Orders"

    prompt_name: str
    prompt: "JudgePrompt"
    pairs: "list[Pair]"
    showings: "list[Showing]"
    canaries: int
    identical: int
    ties_by_rule: "list[Same]"
    """Questions on which two of the models gave the same answer."""
    unanswered: dict[str, int]
    buys: int
    """Questions that are compared, by all shards together."""
    part: str
    """Of which shard this is, in words; empty where it is all."""

    @property
    def reviews(self) -> int:
        """Reviews that all of it takes, canaries left out."""
        return sum(each.samples for each in self.showings if each.canary is None)


def shown_of(workspace: "Workspace", wanted: Wanted, questions: "list[Question]") -> Shown:
    """What there is to judge. Raises Missing or Unknown where there is nothing.

    A shard shows its questions just as the whole run would: the draws are of all questions.
    """
    from evalkit import answer
    from evalkit.judge import canaries, showings
    from evalkit.records import Answer

    name, prompt = _prompt(workspace, wanted.prompt, questions)
    for category in sorted({question.category for question in questions} - set(prompt.rubrics)):
        raise Unknown(f"rubric in {name} for the category", category, prompt.rubrics)
    answers = workspace.skimmed("answers", wanted.bank, Answer)
    standing = answer.standing(questions, answers)
    models = {row.model for row in standing}
    compared = showings.pairs(models, wanted.baseline, wanted.pairs)
    chosen = answer.spread(questions, wanted.limit)
    orders = wanted.orders or ("plan" if wanted.until else "both")
    plan = showings.plan(
        chosen,
        standing,
        compared,
        shows=prompt.shows,
        orders=orders,
        samples=wanted.samples,
        again=wanted.again,
        seed=wanted.seed,
    )
    tests = canaries.canaries(
        questions,
        standing,
        compared[0][0],
        wanted.canaries,
        shows=prompt.shows,
        seed=wanted.seed,
    )
    _check_goal(wanted, prompt, compared)
    if not plan.showings and not plan.identical:
        raise Missing("no question was answered by both models of a pair. See: evalkit report")
    tests = tests if plan.showings else []  # a judge that is asked nothing needs none
    ties = showings.identical(standing) if wanted.until else []
    found = ([*tests, *plan.showings], len(tests), plan.identical, ties, plan.unanswered)
    buys = len({each.question.id for each in plan.showings})
    shown = Shown(orders, name, prompt, compared, *found, buys, "")
    return _part(shown, wanted.shard, chosen, questions) if wanted.shard else shown


def _part(
    shown: Shown, shard: "Shard", chosen: "list[Question]", questions: "list[Question]"
) -> Shown:
    """What one shard shows of it; canaries may be of questions beyond the chosen ones."""
    ids = list(dict.fromkeys(question.id for question in (*chosen, *questions)))
    own = set(shard.part(ids))
    showings = [each for each in shown.showings if each.question.id in own]
    canaries = sum(each.canary is not None for each in showings)
    number = len(shard.part(chosen))
    words = part_of(shard, number, len(chosen), "question")
    return replace(shown, showings=showings, canaries=canaries, part=words)


def _check_goal(wanted: Wanted, prompt: "JudgePrompt", compared: "Sequence[Pair]") -> None:
    if wanted.until is None:
        return
    if prompt.shows != 2:
        raise Missing("--until compares two answers, and this prompt shows one at a time")
    from evalkit.stats.sequential import Duels

    if wanted.until == "best" and (lone := Duels(compared).unconnected):
        raise Missing(
            f"--until best: {', '.join(lone)} cannot be compared with each of the others. "
            "Give --pairs all, or one --baseline that all of them meet"
        )


def _prompt(
    workspace: "Workspace", name: str | None, questions: "list[Question]"
) -> "tuple[str, JudgePrompt]":
    prompts = judge_prompts(workspace)
    if name is None:
        languages = {question.language for question in questions}
        own = f"{PROMPT}-{languages.pop()}" if len(languages) == 1 else PROMPT
        name = own if own in prompts else PROMPT
    if name not in prompts:
        raise Unknown("prompt", name, prompts, "A prompt is a file prompts/judge/NAME.yaml")
    return name, prompts[name]
