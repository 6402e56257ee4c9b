"""The front door: one function a verb.

A verb reads the workspace, calls the pure parts, writes what they made and says in one line what
happened and what to type next. The result goes to stdout, words go to stderr. Heavy libraries are
imported inside the verb that needs them. No number is computed here.
"""

import errno
import json
import os
import shlex
import sys
import webbrowser
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalkit import __version__
from evalkit.errors import BadPath, EvalkitError, Missing, Unknown, nearest, reason
from evalkit.escape import visible

if TYPE_CHECKING:
    from evalkit.records import Question
    from evalkit.report.results import Results
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


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "--version", message="evalkit %(version)s")
@click.pass_context
def verbs(ctx: click.Context) -> None:
    """A strong model as the judge between chatbots, with error bars that hold."""
    if ctx.invoked_subcommand is None:
        click.echo(WELCOME.format(version=__version__))


@dataclass(frozen=True)
class _Everywhere:
    """The options that every verb on a workspace takes."""

    folder: str
    category_default: str | None
    repair: bool
    as_json: bool


def _on_a_workspace(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options that all of them take; they reach it as one `_Everywhere`."""

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
    def command(
        folder: str, category_default: str | None, repair: bool, as_json: bool, **own: Any
    ) -> None:
        verb(_Everywhere(folder, category_default, repair, as_json), **own)

    return command


@verbs.command("import", short_help="Bring in other tools' questions, answers and reviews.")
@click.argument("tool")
@click.argument("path")
@click.option("--bank", help="What to call the bank; default: the tool's own name for it.")
@_on_a_workspace
def import_(given: _Everywhere, tool: str, path: str, bank: str | None) -> None:
    """Bring in another tool's files from PATH.

    TOOL is one of: vicuna (a folder with question.jsonl, answer/, review/), table (a CSV file of
    questions). Nothing is written before everything has been read and checked; importing again
    adds nothing twice.
    """
    from evalkit import formats

    workspace = _workspace(given.folder)
    source = formats.load(tool)
    bank = source.BANK if bank is None else bank
    if bank is None:
        raise Missing("what shall the bank be called? Give --bank NAME")
    if given.repair:
        workspace.repair(bank)
    known = {answer.model: answer.served for answer in workspace.answers(bank)}
    found = source.read(Path(path), known)
    found.questions = _filed(workspace, bank, found.questions, given.category_default)
    rows = [*found.answers, *found.reviews]
    new = workspace.append(bank, rows, found.questions)
    _tell(workspace)
    for line in found.told:
        _say(line)
    models = sorted({answer.model for answer in found.answers})
    judges = sorted({review.judge for review in found.reviews})
    what = f"{bank}: {_count(found.questions, 'question')}"
    if models:
        what += f", {_count(found.answers, 'answer')} ({', '.join(models)})"
    if judges:
        what += f", {_count(found.reviews, 'review')} by {', '.join(judges)}"
    again = len(rows) - new
    written = workspace.bank_file(bank)
    page = f"evalkit report --bank {shlex.quote(bank)} --open"
    step = page if judges else f"look at {written}"
    if given.as_json:
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
@_on_a_workspace
def report(
    given: _Everywhere,
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
    if raw and not as_csv:
        raise click.UsageError("--raw goes with --csv")
    workspace = _workspace(given.folder)
    bank = _only_bank(workspace) if bank is None else bank
    if given.repair:
        workspace.repair(bank)
    questions = _filed(workspace, bank, workspace.questions(bank), given.category_default)
    answers, reviews = workspace.answers(bank), workspace.reviews(bank)

    from evalkit.report import words
    from evalkit.report.page import page
    from evalkit.report.results import results
    from evalkit.report.spreadsheet import spreadsheet

    sample = workspace.is_shipped(bank) and bank == SAMPLE
    found = results(bank, questions, answers, reviews, baseline, sample=sample)
    made: dict[str, str | bytes] = {
        ".html": page(found),
        ".json": found.model_dump_json(indent=1) + "\n",
    }
    if as_csv:
        made[".csv"] = spreadsheet(found, raw=raw)
    if png:
        made |= _pictures(found)
    files = [workspace.write_report(bank, *content) for content in made.items()]
    _tell(workspace)
    if given.as_json:
        _print_json("report", found.model_dump(mode="json"), files, f"open {files[0]}")
    else:
        click.echo(visible(words.table(found)))
        for sentence in words.verdicts(found):
            click.echo(visible(sentence))
    for sentence in found.missing:
        _say(sentence)
    _say(f"wrote {', '.join(map(str, files))}")
    if not open_page:
        _say(f"Next: open {files[0]}, or run this again with --open")
    elif not webbrowser.open(files[0].resolve().as_uri()):
        _say(f"no browser could be started; open {files[0]} yourself")


def _pictures(found: "Results") -> dict[str, bytes]:
    """The chart of each judging as PNG, by file ending."""
    from evalkit.report import charts

    pictures = [charts.picture(drawing) for drawing in charts.drawings(found)]
    if not pictures:
        _say("nothing to draw: no picture written")
    if not all(picture.complete for picture in pictures):
        _say("no font here has all characters of the picture; Noto Sans CJK has the Chinese")
    endings = [".png", *(f".{number}.png" for number in range(2, len(pictures) + 1))]
    return {ending: each.png for ending, each in zip(endings, pictures, strict=False)}


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
        _say(_misused(error, args))
        return 2
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return 130
    except SystemExit:  # how click leaves when nobody reads our output any more
        if "_EVALKIT_COMPLETE" in os.environ:
            raise
        _close_stdout()
        return 0
    except OSError as error:  # a file, or a full disk behind our output: not a bug
        if "--debug" in args or (error.filename is None and error.errno != errno.ENOSPC):
            raise
        name = "the output" if error.filename is None else os.fsdecode(error.filename)
        _say(f"{name}: {reason(error)}")
        return 2


def _misused(error: click.ClickException, args: Sequence[str]) -> str:
    verb = next((name for name in args if name in verbs.commands), None)
    help_ = f"evalkit {verb} --help" if verb else "evalkit --help"
    if isinstance(error, click.exceptions.NoSuchOption):
        command = verbs.commands[verb] if verb else verbs
        options = {name for option in command.params for name in option.opts}
        if error.option_name in options:
            return f"'{error.option_name}' goes behind the verb. See: {help_}"
        near = nearest(error.option_name, options)
        meant = f" Did you mean '{near}'?" if near else ""
        return f"no option '{error.option_name}'.{meant} See: {help_}"
    said = error.format_message().rstrip(".")
    return f"{said[0].lower()}{said[1:]}. See: {help_}"


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
    filed, notices = prompts.filed(bank, questions, known, default)
    workspace.told.extend(notices)
    return filed


def _count(rows: Sized, what: str) -> str:
    return f"{len(rows)} {what}{'s' * (len(rows) != 1)}"


def _only_bank(workspace: "Workspace") -> str:
    judged = workspace.judged_banks()
    own = [bank for bank in judged if not workspace.is_shipped(bank)] or judged
    if len(own) != 1:
        raise Missing(f"which bank? Give --bank, one of: {', '.join(own or workspace.banks())}")
    return own[0]


def _say(line: str) -> None:
    one = visible(line).replace("\n", "\u2424")  # a name with a line break must not make two
    click.echo(f"evalkit: {one}", err=True)


def _print_json(verb: str, values: dict[str, Any], files: list[Path], following: str) -> None:
    envelope = {"schema": 1, "verb": verb, "status": "done", "files": [str(f) for f in files]}
    click.echo(json.dumps({**envelope, "next": following, **values}, ensure_ascii=False))


def _close_stdout() -> None:
    """Whoever read our output has left; make sure that nothing more is flushed to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
