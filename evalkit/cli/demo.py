"""evalkit demo: a small evaluation from answers to page, offline and free.

The true way, but for one thing: replies come from the recordings that evalkit ships.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalkit.cli import answer, calls, judge, report
from evalkit.cli.shown import Wanted, shown_of
from evalkit.cli.verb import (
    Everywhere,
    note,
    on_a_workspace,
    open_catalog,
    open_workspace,
    print_json,
    say,
    show,
    tell,
)
from evalkit.errors import BadPath, reason

if TYPE_CHECKING:
    from evalkit.catalog import Model
    from evalkit.cli.plans import Plan

BASELINE = "sample-thorough"
NEXT = (
    "evalkit answer --model ollama/llama3 --model chatgpt",
    "evalkit judge --judge gpt-4",
    "evalkit report --open",
)


@click.command(short_help="A small evaluation, offline and free.")
@click.argument("place", default="demo", metavar="[FOLDER]")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@on_a_workspace
def demo(given: Everywhere, place: str, open_page: bool) -> None:
    """Answer, judge and report 16 sample questions in FOLDER (default: demo).

    Nothing leaves this machine and nothing is paid: the answers of four sample chatbots (one of
    which says nothing) and the replies of a scripted judge were written by hand. It shows what
    evalkit does; it measures no model.
    """
    import time

    from evalkit.answer import Settings
    from evalkit.report import words

    begun = time.monotonic()
    root = Path(given.folder, place)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadPath(f"{root}: {reason(error)}") from error
    workspace = open_workspace(str(root))
    catalog = open_catalog(workspace)
    questions = workspace.questions(report.SAMPLE)
    chatbots = tuple(_recorded(workspace.shipped / "answers" / report.SAMPLE))
    note(
        f"evalkit demo: {len(questions)} sample questions, {len(chatbots)} sample chatbots, "
        "a scripted judge (not GPT-4). Offline, free."
    )
    asked = answer.Wanted(report.SAMPLE, chatbots, tuple(questions), Settings())
    limits = calls.Limits()
    planned = answer.plans_of(workspace, asked)
    answered, _, stopped = calls.perform(planned(), planned, catalog, limits)
    note(f"  answers  {_done(answered)}   answers/{report.SAMPLE}/")
    judges = tuple(_recorded(workspace.shipped / "reviews" / report.SAMPLE))
    wanted = Wanted(report.SAMPLE, judges, baseline=BASELINE)
    shown = shown_of(workspace, wanted, questions)
    planned = judge.plans_of(workspace, wanted, shown)
    reviewed, run, stopped_too = calls.perform(planned(), planned, catalog, limits)
    if stopped or stopped_too or run.error:
        click.get_current_context().exit(stopped or stopped_too or 1)
    note(f"  reviews  {_done(reviewed)}   reviews/{report.SAMPLE}/")
    found = report.found_in(workspace, report.SAMPLE, BASELINE, None, catalog)
    files = report.write(workspace, found)
    tell(workspace)
    following = f"evalkit report --open --bank {report.SAMPLE} -C {root}"
    if given.as_json:
        print_json("demo", found.results.model_dump(mode="json"), files, following)
    else:
        show("")
        for line in words.table(found.results).splitlines():
            show(line)
    say(f"wrote {files[0]} in {time.monotonic() - begun:.1f} s. Open it:  {following}")
    say("Next, with models of your own:")
    for command in NEXT:
        note(f"  {command}")
    if open_page:
        report.open_in_browser(files[0])


def _recorded(folder: Path) -> "list[Model]":
    """A model for each ledger that lies in a folder, which says what stands there."""
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        name = path.name.partition(".")[0]
        found.append(calls.recorded(name, name, str(path)))
    return found


def _done(plans: "list[Plan]") -> str:
    done, total = sum(p.asking.total - p.owed for p in plans), sum(p.asking.total for p in plans)
    return f"{done}/{total}"
