"""evalkit classify: chatbots give texts their labels, side by side, with the price of 1,000."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli import answer, calls
from evalkit.cli.verb import (
    Everywhere,
    note,
    on_a_workspace,
    open_catalog,
    open_workspace,
    print_json,
    say,
    show,
)
from evalkit.errors import Missing, Unknown, count

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.catalog import Catalog, Model
    from evalkit.classify import Labelled, Texts
    from evalkit.cli.calls import Limits, Outcome, Plan, Way
    from evalkit.prompts import ClassifyPrompt
    from evalkit.records import Question
    from evalkit.workspace import Workspace

USUAL = 60  # tokens of a reply: a label, or clues and reasoning before it


@dataclass(frozen=True)
class Posed:
    """The texts of a bank in the words of one prompt."""

    name: str
    prompt: "ClassifyPrompt"
    bank: str
    """The name under which the answers are kept."""
    questions: "tuple[Question, ...]"


@dataclass(frozen=True)
class Judged:
    """What the labels come to."""

    scores: "list[dict[str, Any]]"
    by_label: "list[dict[str, Any]]"
    between: "list[dict[str, Any]]"
    to_label_first: "list[dict[str, Any]]"
    reasons: "list[dict[str, Any]]"
    """Why replies could not be read."""


@click.command(short_help="Have texts labelled: can it replace ChatGPT at that?")
@click.option("--bank", required=True, help="Texts with labels: see evalkit import labels.")
@click.option(
    "--model",
    "names",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Whom to ask; repeat it, or give a,b.",
)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    default=["zero-shot"],
    show_default=True,
    help="How: zero-shot, few-shot, carp, or a file of your own in prompts/classify/.",
)
@click.option(
    "--labels", metavar="A,B", help="All labels that there are; default: those in the bank."
)
@click.option("--several", is_flag=True, help="A text may have several labels, or none.")
@click.option("--task", metavar="TEXT", help="The question about each text; default: the prompt's.")
@click.option(
    "--reference",
    metavar="NAME",
    help="Whom the others shall not be worse than; default: ChatGPT, else the first.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 100),
    default=2.0,
    show_default=True,
    help="Points of accuracy that may be lost.",
)
@click.option("--limit", type=click.IntRange(1), help="Only so many texts, drawn at random.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Replies to each text; most of them decide.",
)
@click.option("--temperature", type=click.FloatRange(0), callback=calls.finite, help="Default: 0.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="The longest reply.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Of which texts become examples, and of the calls.",
)
@click.option("--show-prompt", is_flag=True, help="Print the first thing to be asked, and end.")
@calls.on_a_way
@calls.on_limits
@on_a_workspace
@click.pass_context
def classify(
    ctx: click.Context,
    /,
    given: Everywhere,
    bank: str,
    names: tuple[str, ...],
    prompts: tuple[str, ...],
    labels: str | None,
    several: bool,
    task: str | None,
    reference: str | None,
    margin: float,
    limit: int | None,
    show_prompt: bool,
    way: "Way",
    limits: "Limits",
    **drawn: Any,
) -> None:
    """Ask chatbots for the label of each text of a bank, and say how often they are right.

    Answers are kept in answers/BANK.PROMPT/MODEL.jsonl; it goes on where it stopped, as evalkit
    answer does. Examples come from a quarter of the texts that is set apart (or from those whose
    `split` is train) and is never asked about. A reply that cannot be read is wrong, counted apart,
    and never a label. Without labels in the bank it says how far the models agree with the
    reference, and which texts to label by hand first.
    """
    from evalkit.answer import Asking, Settings
    from evalkit.classify import texts
    from evalkit.records import place

    workspace = open_workspace(given.folder)
    catalog = open_catalog(workspace)
    models = calls.models_of(catalog, names, way)
    questions = workspace.questions(bank)
    chosen = _prompts(workspace, prompts, questions)
    named = [label.strip() for label in (labels or "").split(",") if label.strip()]
    examples = any(prompt.examples.count for prompt in chosen.values())
    seed = drawn["seed"]
    parted = texts(questions, named, several=several, examples=examples, seed=seed)
    if limit is not None:
        test = sorted(parted.test, key=lambda each: place(each.id))[:limit]
        parted = replace(parted, test=tuple(test))
    posed = [_posed(bank, name, prompt, parted, task, seed) for name, prompt in chosen.items()]
    settings = Settings(**drawn)
    if show_prompt:
        first = [
            (m, next(Asking(m.name, m.asked_as, each.questions, [], settings).requests()))
            for each in posed
            for m in models
        ]
        calls.show_requests("classify", first, as_json=given.as_json)
        return
    ended = [*_ask(given, workspace, catalog, models, posed, parted, settings, limits)]
    code = max(each.code for each in ended)
    values: dict[str, Any] = {"bank": bank, "labels": parted.labels}
    if not limits.dry_run and code < 2:
        by = _reference(reference, [model.name for model in models])
        found = _judged(workspace, models, posed, parted, by, margin / 100)
        if not given.as_json:
            _tell(found, by, margin)
        values |= {"reference": by, "margin": margin / 100, **vars(found)}
    if given.as_json:
        status = next((each.status for each in ended if each.status != "done"), "done")
        asked = {each.name: part.values for each, part in zip(posed, ended, strict=False)}
        files = [file for each in ended for file in each.files]
        print_json("classify", {**values, "asked": asked}, files, ended[-1].next, status)
    ctx.exit(code)


def _prompts(
    workspace: "Workspace", names: Sequence[str], questions: "Sequence[Question]"
) -> "dict[str, ClassifyPrompt]":
    """The prompts by the name that was given, in the language of the texts where it is there."""
    from evalkit import yamlfile
    from evalkit.prompts import ClassifyPrompt

    files = workspace.prompts("classify")
    languages = Counter(question.language for question in questions)
    language = languages.most_common(1)[0][0] if languages else "en"
    found = {}
    for name in (part.strip() for each in names for part in each.split(",")):
        own = f"{name}-{language}"
        if own not in files and name not in files:
            raise Unknown("prompt", name, files, "It is a file prompts/classify/NAME.yaml")
        found[name] = yamlfile.load(files.get(own, files.get(name)), ClassifyPrompt)  # type: ignore[arg-type]
    return found


def _posed(
    bank: str,
    name: str,
    prompt: "ClassifyPrompt",
    parted: "Texts",
    task: str | None,
    seed: int,
) -> Posed:
    from evalkit.classify import posed

    return Posed(name, prompt, f"{bank}.{name}", tuple(posed(parted, prompt, task, seed)))


def _ask(
    given: Everywhere,
    workspace: "Workspace",
    catalog: "Catalog",
    models: "Sequence[Model]",
    posed: Sequence[Posed],
    parted: "Texts",
    settings: Any,
    limits: "Limits",
) -> "list[Outcome]":
    """Ask what is owed, a prompt after the other, until one cannot go on."""
    apart = f", {count(len(parted.train), 'text')} set apart for examples" if parted.train else ""
    note(f"{count(len(parted.test), 'text')} to label{apart} · {', '.join(parted.labels)}")
    ended: list[Outcome] = []
    for each in posed:
        if any(part.code > 1 for part in ended):
            break
        spent = sum(part.dollars for part in ended)
        left = None if limits.budget is None else max(0.0, limits.budget - spent)
        wanted = answer.Wanted(each.bank, tuple(models), each.questions, settings)
        job = calls.Job(
            planned=answer.plans_of(workspace, wanted, USUAL),
            preflight=lambda plans, each=each: _preflight(each, plans),  # type: ignore[misc]
            counts=calls.counts,
            summary=lambda counted: {"models": counted},
            words=lambda _: [],
            warnings=lambda _: [],
            following=lambda owed: (
                "the same command goes on where it stopped"
                if owed
                else "read what they were wrong about, in answers/"
            ),
        )
        ended.append(calls.carry_out(job, given, workspace, catalog, replace(limits, budget=left)))
    return ended


def _preflight(posed: Posed, plans: "list[Plan]") -> None:
    from evalkit.cli.running import priced, reached
    from evalkit.columns import padded, width

    shown = posed.prompt.examples
    how = f"{shown.count} examples, {shown.choice}" if shown.count else "no examples"
    note(f"prompt {posed.name} · {how}")
    longest = max(width(plan.model.name) for plan in plans)
    for plan in plans:
        kept = f", {plan.kept} kept" if plan.kept else ""
        name = f"  {padded(plan.model.name, longest)}"
        parts = [name, f"{plan.owed} owed{kept}", reached(plan.model)]
        if plan.calls:
            parts.append(priced(plan.model, plan.estimate))
        note("   ".join(parts))


def _reference(given: str | None, models: Sequence[str]) -> str:
    from evalkit.judge.showings import CHATGPT

    if given is not None and given not in models:
        raise Unknown("model", given, models, "--reference takes one of these")
    return given or next((name for name in CHATGPT if name in models), models[0])


def _judged(
    workspace: "Workspace",
    models: "Sequence[Model]",
    posed: Sequence[Posed],
    parted: "Texts",
    reference: str,
    margin: float,
) -> Judged:
    """What the answers that are here come to."""
    import pandas as pd

    from evalkit.classify import said
    from evalkit.parsers.labels import Labels
    from evalkit.stats import labels as stats

    truth = {question.id: question.label or None for question in parted.test}
    rows: list[dict[str, Any]] = []
    costs: dict[tuple[str, str], float | None] = {}
    reasons: Counter[tuple[str, str, str]] = Counter()
    for each in posed:
        grammar = Labels(parted.labels, each.prompt.synonyms, several=parted.several)
        answers = workspace.answers(each.bank)
        for model in models:
            own = [row for row in answers if row.model == model.name]
            found = said(each.questions, own, grammar)
            costs[model.name, each.name] = _per_thousand(found)
            for id_, one in found.items():
                rows.append(
                    {
                        "model": model.name, "prompt": each.name, "question": id_,
                        "truth": truth[id_], "said": one.labelling.labels,
                    }
                )  # fmt: skip
                if one.labelling.unreadable:
                    reasons[model.name, each.name, one.labelling.unreadable] += 1
    columns = ["model", "prompt", "question", "truth", "said"]
    table = pd.DataFrame(rows, columns=columns).astype(object)
    known = table if any(truth.values()) else _by_reference(table, posed, reference)
    scores = _rows(stats.scores(known, parted.labels))
    for row in scores:
        row["dollars_per_thousand"] = costs[row["model"], row["prompt"]]
        row["truth"] = "the bank" if any(truth.values()) else reference
    return Judged(
        scores,
        _rows(stats.by_label(known, parted.labels)),
        _rows(stats.between(table, margin)),
        _rows(stats.to_label_first(table, 20)),
        [
            {"model": m, "prompt": p, "why": why, "replies": n}
            for (m, p, why), n in sorted(reasons.items())
        ],
    )


def _by_reference(table: "pd.DataFrame", posed: Sequence[Posed], reference: str) -> "pd.DataFrame":
    """The predictions of the others, the reference's own taken for the truth."""
    from evalkit.stats.labels import against

    return against(table, reference, posed[0].name)


def _per_thousand(found: "Mapping[str, Labelled]") -> float | None:
    from evalkit.stats.labels import cost_per_thousand

    costs = [one.dollars for one in found.values()]
    if not costs or None in costs:
        return None
    return cost_per_thousand(sum(cost for cost in costs if cost is not None), len(costs))


def _rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    objects = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in objects.to_dict("records")]


def _tell(found: Judged, reference: str, margin: float) -> None:
    """The table, and what it says of each model beside the reference."""
    from evalkit.columns import aligned
    from evalkit.report.words import interval, percent

    if not found.scores:
        raise Missing("no text has both a label and an answer yet")
    head = (
        "model, prompt",
        "right %",
        "95 %",
        "macro F1 %",
        "kappa",
        "unreadable",
        "texts",
        "$ per 1,000",
    )
    table = [head]
    for row in found.scores:
        dollars = row["dollars_per_thousand"]
        table.append((
            f"{row['model']}, {row['prompt']}", percent(row["accuracy"]),
            interval(row["accuracy_low"], row["accuracy_high"], 100), percent(row["macro_f1"]),
            "" if row["kappa"] is None else f"{row['kappa']:.2f}", f"{row['unreadable']}",
            f"{row['texts']}", "" if dollars is None else f"{dollars:.2f}",
        ))  # fmt: skip
    if found.scores[0]["truth"] == reference:
        say(f"no text has a label: what {reference} says stands in for the truth")
    for line in aligned(table):
        show(line)
    for row in found.between:
        if (
            reference in (row["a"], row["b"])
            and row["a"] != row["b"]
            and row["prompt_a"] == row["prompt_b"]
        ):
            show(_verdict(row, reference, margin, found.scores))
    for each in found.reasons:
        say(f"{each['model']}, {each['prompt']}: {each['replies']} unreadable ({each['why']})")


SAYS = {
    "better": "is better than {reference}",
    "not worse": "is not worse than {reference} by more than {margin:g} points",
    "worse": "is worse than {reference} by more than {margin:g} points",
    "open": "may be worse than {reference} by more than {margin:g} points; more texts would tell",
}


def _verdict(
    row: dict[str, Any], reference: str, margin: float, scores: list[dict[str, Any]]
) -> str:
    """One model beside the reference, in a sentence."""
    from evalkit.report.words import percent

    turned = row["b"] == reference
    name, prompt = (row["a"] if turned else row["b"]), row["prompt_a"]
    word = row["verdict_a"] if turned else row["verdict_b"]
    if word is None:
        both = f"{percent(row['agreement'])}% of the {row['both_read']} texts that both labelled"
        return f"{name}, {prompt}: agrees with {reference} on {both}"
    ends = (row["difference_low"], row["difference_high"])
    points, (low, high) = row["difference"], ends
    if turned:
        points, low, high = -points, -high, -low
    said = SAYS[word].format(reference=reference, margin=margin)
    difference = f"{100 * points:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    price = {
        each["model"]: each["dollars_per_thousand"] for each in scores if each["prompt"] == prompt
    }
    mine, theirs = price.get(name), price.get(reference)
    at = f", at {mine / theirs:.2g} times the price" if mine is not None and theirs else ""
    return f"{name}, {prompt}: {said} ({difference}, {row['labelled']} texts){at}"
