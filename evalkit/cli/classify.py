"""evalkit classify: chatbots give texts their labels, side by side, with the price of 1,000."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli import answer, calls
from evalkit.cli.report import open_in_browser
from evalkit.cli.shard import on_a_shard, part_of
from evalkit.cli.verb import (
    Everywhere,
    in_a_language,
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
    from pathlib import Path

    from evalkit.catalog import Catalog, Model
    from evalkit.classify import Posed, Texts
    from evalkit.cli.calls import Limits, Outcome, Way
    from evalkit.cli.plans import Plan
    from evalkit.prompts import ClassifyPrompt
    from evalkit.records import Question
    from evalkit.report.evidence import Evidence
    from evalkit.report.schema import Labelled
    from evalkit.shards import Shard
    from evalkit.workspace import Workspace

HEAD = (
    "model, prompt", "right %", "95 %", "macro F1 %", "kappa", "unreadable", "texts", "$ per 1,000",
)  # fmt: skip
TOLD = ("scores", "by_label", "between", "to_label_first", "reasons")
"""The tables that --json prints."""
PASSING = (
    "folder", "as_json", "open_page", "lang", "base_url", "key_env", "replay", "timeout", "shard",
)  # fmt: skip
"""Options that say nothing of what is asked; the page's own command does without."""
USUAL = 60  # tokens of a reply: a label, or clues and reasoning before it


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
@click.option(
    "--gpu-hour",
    type=click.FloatRange(0, min_open=True),
    callback=calls.finite,
    metavar="DOLLARS",
    help="What a machine of your own costs an hour: from how many texts on is it cheaper?",
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
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@in_a_language("Of the page's own words.")
@on_a_shard
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
    gpu_hour: float | None,
    limit: int | None,
    show_prompt: bool,
    open_page: bool,
    lang: str,
    shard: "Shard | None",
    way: "Way",
    limits: "Limits",
    **drawn: Any,
) -> None:
    """Ask chatbots for the label of each text of a bank, and say how often they are right.

    Answers are kept in answers/BANK.PROMPT/MODEL.jsonl; it goes on where it stopped, as evalkit
    answer does. Examples come from a quarter of the texts that is set apart (or from those whose
    `split` is train) and is never asked about. A reply that cannot be read is wrong, counted apart,
    and never a label. Without labels in the bank it says how far the models agree with the
    reference, and which texts to label by hand first. It ends with a page that has every error in
    it, reports/BANK.labels.html, and its numbers beside it in .json.
    """
    from evalkit.answer import Asking, Settings
    from evalkit.classify import texts
    from evalkit.records import place
    from evalkit.report.labelled import labelled

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
    ended = _ask(given, workspace, catalog, models, posed, parted, settings, shard, limits)
    code = max(each.code for each in ended)
    values: dict[str, Any] = {"bank": bank, "labels": parted.labels}
    pages: list[Path] = []
    if not limits.dry_run and code < 2:
        by = _reference(reference, [model.name for model in models])
        found = labelled(
            bank,
            questions,
            parted,
            posed,
            {each.bank: workspace.answers(each.bank) for each in posed},
            [model.name for model in models],
            by,
            margin / 100,
            per_hour=gpu_hour,
            stanzas=catalog.stanzas,
        )
        told = found.results.labelled
        assert told is not None, "texts were labelled"
        if told.scores:
            found = replace(found, language=lang, command=_command(ctx))
            pages = _write(workspace, found)
        if not given.as_json:
            _tell(told)
        tables = told.model_dump(mode="json", include=set(TOLD))
        values |= {"reference": by, "margin": margin / 100, **tables}
        if pages:
            say(f"wrote {', '.join(map(str, pages))}")
    if given.as_json:
        status = next((each.status for each in ended if each.status != "done"), "done")
        asked = {each.name: part.values for each, part in zip(posed, ended, strict=False)}
        files = [*pages, *(file for each in ended for file in each.files)]
        following = f"open {pages[0]}" if pages and status == "done" else ended[-1].next
        print_json("classify", {**values, "asked": asked}, files, following, status)
    if open_page and pages:
        open_in_browser(pages[0])
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
) -> "Posed":
    from evalkit.classify import Posed, posed

    return Posed(name, prompt, f"{bank}.{name}", tuple(posed(parted, prompt, task, seed)))


def _ask(
    given: Everywhere,
    workspace: "Workspace",
    catalog: "Catalog",
    models: "Sequence[Model]",
    posed: "Sequence[Posed]",
    parted: "Texts",
    settings: Any,
    shard: "Shard | None",
    limits: "Limits",
) -> "list[Outcome]":
    """Ask what is owed, a prompt after the other, until one cannot go on."""
    apart = f", {count(len(parted.train), 'text')} set apart for examples" if parted.train else ""
    texts = shard.part(parted.test) if shard else parted.test
    asked = part_of(shard, len(texts), len(parted.test), "text")
    note(f"{asked} to label{apart} · {', '.join(parted.labels)}")
    ended: list[Outcome] = []
    for each in posed:
        if any(part.code > 1 for part in ended):
            break
        spent = sum(part.dollars for part in ended)
        wanted = answer.Wanted(each.bank, tuple(models), each.questions, settings, shard=shard)
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
                else "see the table below, and the page"
            ),
        )
        ended.append(calls.carry_out(job, given, workspace, catalog, limits.after(spent)))
    return ended


def _preflight(posed: "Posed", plans: "list[Plan]") -> None:
    from evalkit.columns import width

    shown = posed.prompt.examples
    how = f"{shown.count} examples, {shown.choice}" if shown.count else "no examples"
    note(f"prompt {posed.name} · {how}")
    longest = max(width(plan.model.name) for plan in plans)
    for plan in plans:
        note(answer.owed_by(plan, longest))


def _reference(given: str | None, models: Sequence[str]) -> str:
    from evalkit.judge.showings import CHATGPT

    if given is not None and given not in models:
        raise Unknown("model", given, models, "--reference takes one of these")
    return given or next((name for name in CHATGPT if name in models), models[0])


def _command(ctx: click.Context) -> str:
    """What makes the page again: the options that say what is asked, as they were given."""
    from click.core import ParameterSource

    parts = ["evalkit", "classify"]
    of_a_run = {*calls.Limits.__dataclass_fields__, *PASSING}
    for option in ctx.command.params:
        name = str(option.name)
        given = ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE
        if given and name not in of_a_run:
            value = ctx.params[name]
            for each in value if isinstance(value, tuple) else (value,):
                parts += [option.opts[-1]] if each is True else [option.opts[-1], f"{each}"]
    return shlex.join(parts)


def _write(workspace: "Workspace", found: "Evidence") -> "list[Path]":
    """The page and its numbers, beside those of a bank's reviews; the page first."""
    from evalkit.report.page import page

    numbers = found.results.model_dump_json(indent=1) + "\n"
    made = {".labels.html": page(found), ".labels.json": numbers}
    return [workspace.write_report(found.results.bank, *content) for content in made.items()]


def _tell(found: "Labelled") -> None:
    """The table, and what it says of each model beside the reference."""
    from evalkit.columns import aligned
    from evalkit.report import labels
    from evalkit.report.words import interval, per_thousand, percent

    if not found.scores:
        raise Missing("no text has both a label and an answer yet")
    table = [HEAD]
    for row in found.scores:
        table.append((
            f"{row.model}, {row.prompt}", percent(row.accuracy),
            interval(row.accuracy_low, row.accuracy_high, 100), percent(row.macro_f1),
            "" if row.kappa is None else f"{row.kappa:.2f}", f"{row.unreadable}",
            f"{row.texts}", per_thousand(row.dollars_per_thousand),
        ))  # fmt: skip
    if found.stand_in:
        say(f"no text has a label: what {found.stand_in} says stands in for the truth")
    for line in [*aligned(table), *labels.besides(found)]:
        show(line)
    for sentence in labels.break_even(found):
        show(sentence)
    for sentence in labels.reasons(found):
        say(sentence)
