"""The front door: one function a verb.

A verb reads the workspace, calls the pure parts, writes what they made and says in one line what
happened and what to type next. The result goes to stdout, words go to stderr. Heavy libraries are
imported inside the verb that needs them. No number is computed here.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalkit import __version__
from evalkit.errors import BadFile, BadPath, EvalkitError, Fault, Missing, Unknown, nearest, reason
from evalkit.escape import visible

if TYPE_CHECKING:
    from evalkit.records import Question
    from evalkit.workspace import Workspace

SAMPLE = "sample"
WELCOME = """\
evalkit {version}: a strong model as the judge between chatbots, with error bars that hold

  1  evalkit report --open                   the page of a small sample, written by hand
  2  evalkit import vicuna FOLDER            bring in published answers and reviews
  3  evalkit report --bank vicuna80 --open   their page: "% of ChatGPT" with intervals

  data     import    other tools' questions, answers and reviews
  results  report    tables, charts, one page

All files lie in the current folder, or in the one that -C names.
evalkit VERB --help says what a verb takes."""


class _Verbs(click.Group):
    """A group that offers the nearest verb to a mistyped one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise Unknown("verb", args[0], self.commands)
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, invoke_without_command=True)
@click.version_option(__version__, "--version", message="evalkit %(version)s")
@click.pass_context
def verbs(ctx: click.Context) -> None:
    """A strong model as the judge between chatbots, with error bars that hold."""
    if ctx.invoked_subcommand is None:
        click.echo(WELCOME.format(version=__version__))


@dataclass(frozen=True)
class _Common:
    """What every verb on a workspace is told besides its own options."""

    folder: str
    category_default: str | None
    repair: bool
    as_json: bool


def _common(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options that all of them take; they reach it as one `_Common`."""

    @click.option("-C", "folder", metavar="DIR", default=".", help="The workspace; default: here.")
    @click.option(
        "--category-default",
        metavar="NAME",
        help="File questions whose category no prompt knows under this one.",
    )
    @click.option("--repair", is_flag=True, help="Move bad lines of answers/ and reviews/ aside.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
    @click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
    @wraps(verb)
    def told(
        folder: str, category_default: str | None, repair: bool, as_json: bool, **own: Any
    ) -> None:
        verb(_Common(folder, category_default, repair, as_json), **own)

    return told


@verbs.command("import", short_help="Bring in other tools' questions, answers and reviews.")
@click.argument("tool")
@click.argument("path")
@click.option("--bank", help="What to call the bank; default: the tool's own name for it.")
@_common
def import_(common: _Common, tool: str, path: str, bank: str | None) -> None:
    """Bring in another tool's files from PATH.

    TOOL is one of: vicuna (a folder with question.jsonl, answer/, review/), table (a CSV file of
    questions). Nothing is written before everything has been read and checked; importing again
    adds nothing twice.
    """
    from evalkit import formats

    workspace = _workspace(common.folder)
    source = formats.load(tool)
    bank = source.BANK if bank is None else bank
    if bank is None:
        raise Missing("what shall the bank be called? Give --bank NAME")
    if common.repair:
        workspace.repair(bank)
    known = {answer.model: answer.served for answer in workspace.answers(bank)}
    found = source.read(Path(path), known)
    found.questions = _filed(workspace, bank, found.questions, common.category_default)
    rows = [*found.answers, *found.reviews]
    new = workspace.append(bank, rows, found.questions)
    _tell(workspace)
    for line in found.told:
        _say(line)
    models = sorted({answer.model for answer in found.answers})
    judges = sorted({review.judge for review in found.reviews})
    what = f"{bank}: {len(found.questions)} questions"
    if models:
        what += f", {len(found.answers)} answers ({', '.join(models)})"
    if judges:
        what += f", {len(found.reviews)} reviews by {', '.join(judges)}"
    again = len(rows) - new
    written = workspace.bank_file(bank)
    page = f"evalkit report --bank {shlex.quote(bank)} --open"
    step = page if judges else f"look at {written}"
    if common.as_json:
        counts = {
            "questions": len(found.questions),
            "answers": len(found.answers),
            "reviews": len(found.reviews),
            "new_rows": new,
        }
        _print_json("import", {"bank": bank, **counts, "told": found.told}, [written], step)
    else:
        click.echo(visible(what + (f"; {again} rows were here already" if again else "")))
    _say(f"Next: {step}")


@verbs.command(short_help="Make the tables, the charts and the page.")
@click.option("--bank", help="Which bank; default: the only one that has reviews.")
@click.option("--baseline", help="Whose score is 100%; default: ChatGPT where it takes part.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@click.option("--csv", "as_csv", is_flag=True, help="Also write the pairs as CSV.")
@click.option("--raw", is_flag=True, help="CSV cells as they are, also those like formulas.")
@click.option("--png", is_flag=True, help="Also write the chart as a picture.")
@_common
def report(
    common: _Common,
    bank: str | None,
    baseline: str | None,
    open_page: bool,
    as_csv: bool,
    raw: bool,
    png: bool,
) -> None:
    """Write reports/<bank>.html, one page that needs nothing else, and reports/<bank>.json.

    The JSON file holds every number of the page; its schema is `evalkit.report.results.Results`.
    Without --bank and without reviews of your own it shows the sample that comes with evalkit.
    """
    workspace = _workspace(common.folder)
    bank = _only_bank(workspace) if bank is None else bank
    if common.repair:
        workspace.repair(bank)
    questions = _filed(workspace, bank, workspace.questions(bank), common.category_default)
    answers, reviews = workspace.answers(bank), workspace.reviews(bank)

    from evalkit.report import charts, words
    from evalkit.report.page import page
    from evalkit.report.results import results
    from evalkit.report.spreadsheet import spreadsheet

    found = results(bank, questions, answers, reviews, baseline)
    made: dict[str, str | bytes] = {
        ".html": page(found),
        ".json": found.model_dump_json(indent=1) + "\n",
    }
    if as_csv:
        made[".csv"] = spreadsheet(found, raw=raw)
    if png and (drawn := charts.drawings(found)):
        made[".png"] = charts.png(charts.relative_scores(drawn[0]))
    files = [workspace.write_report(bank, *content) for content in made.items()]
    _tell(workspace)
    if common.as_json:
        _print_json("report", found.model_dump(mode="json"), files, f"open {files[0]}")
    else:
        click.echo(visible(words.table(found)))
        click.echo(visible(words.verdict(found)))
    for sentence in found.missing:
        _say(sentence)
    _say(f"wrote {', '.join(map(str, files))}")
    if not open_page:
        _say(f"Next: open {files[0]}, or run this again with --open")
    elif click.launch(files[0].resolve().as_uri()) != 0:
        _say(f"no browser could be started; open {files[0]} yourself")


def main() -> None:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    code = run(sys.argv[1:])
    try:
        if sys.stdout is not None:  # it is None where it was closed before we began
            sys.stdout.flush()
    except OSError:  # a reader that left, or a full disk that `run` has told of
        _close_stdout()
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Run one command line; returns the exit code. A bug is not caught and keeps its traceback."""
    try:
        return verbs.main(list(args), prog_name="evalkit", standalone_mode=False) or 0
    except EvalkitError as error:
        if "--debug" in args:
            raise
        for line in error.lines():
            _say(line)
        return error.exit_code
    except click.ClickException as error:
        _say(_misused(error))
        return 2
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return 130
    except SystemExit:  # how click leaves when nobody reads our output any more
        if "_EVALKIT_COMPLETE" in os.environ:
            raise
        _close_stdout()
        return 0
    except OSError as error:  # a file or our output: the outside, not a bug
        if "--debug" in args:
            raise
        name = "the output" if error.filename is None else os.fsdecode(error.filename)
        _say(f"{name}: {reason(error)}")
        return 2


def _misused(error: click.ClickException) -> str:
    ctx: click.Context | None = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoSuchOption):
        options = [name for each in _parameters(ctx) for name in each]
        near = nearest(error.option_name, options)
        return f"no option '{error.option_name}'." + (f" Did you mean '{near}'?" if near else "")
    command = ctx.command_path if ctx else "evalkit"
    return f"{error.format_message().rstrip('.').lower()}. See: {command} --help"


def _workspace(folder: str) -> "Workspace":
    from evalkit.workspace import Workspace

    root = Path(folder)
    if not root.is_dir():
        raise BadPath(f"{folder}: no such folder")
    workspace = Workspace(root)
    # What was mended is said also where the verb ends early.
    click.get_current_context().call_on_close(lambda: _tell(workspace))
    return workspace


def _tell(workspace: "Workspace") -> None:
    for line in dict.fromkeys(workspace.told):
        _say(line)
    workspace.told.clear()


def _filed(
    workspace: "Workspace", bank: str, questions: Iterable["Question"], default: str | None
) -> list["Question"]:
    """The questions, each in a category that some prompt knows; `default` takes the others."""
    from evalkit import prompts

    known = prompts.categories(workspace.prompts("judge"))
    if default is not None and default not in known:
        raise Unknown("category", default, known)
    filed: list[Question] = []
    strange: dict[str, list[str]] = {}
    for question in questions:
        if question.category not in known:
            strange.setdefault(question.category, []).append(question.id)
            question = question.model_copy(update={"category": default or question.category})
        filed.append(question)
    if strange and default is None:
        hint = f"Known: {', '.join(known)}. --category-default NAME takes these questions in"
        raise BadFile(
            [
                Fault(
                    f"bank {bank}", f"no prompt knows the category '{name}' of {_some(ids)}. {hint}"
                )
                for name, ids in strange.items()
            ]
        )
    return filed


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"question {', '.join(ids[:3])}{more}"


def _only_bank(workspace: "Workspace") -> str:
    judged = workspace.judged_banks()
    own = [bank for bank in judged if bank != SAMPLE] or judged
    if len(own) != 1:
        raise Missing(f"which bank? Give --bank, one of: {', '.join(own or workspace.banks())}")
    return own[0]


def _say(line: str) -> None:
    one = visible(line).replace("\n", "\u2424")  # a name with a line break must not make two
    click.echo(f"evalkit: {one}", err=True)


def _print_json(verb: str, values: dict[str, Any], files: list[Path], following: str) -> None:
    envelope = {"schema": 1, "verb": verb, "status": "done", "files": [str(f) for f in files]}
    click.echo(json.dumps({**envelope, "next": following, **values}, ensure_ascii=False))


def _parameters(ctx: click.Context | None) -> list[list[str]]:
    return [each.opts for each in ctx.command.params] if ctx else []


def _close_stdout() -> None:
    """Whoever read our output has left; make sure that nothing more is flushed to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
