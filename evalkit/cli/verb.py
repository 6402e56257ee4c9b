"""What every verb shares: the options on a workspace, and the ways to say something.

The result goes to stdout, words go to stderr. No verb is named here.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evalkit.errors import BadPath, Unknown
from evalkit.escape import one_line

if TYPE_CHECKING:
    from evalkit.catalog import Catalog
    from evalkit.prompts import JudgePrompt
    from evalkit.records import Question
    from evalkit.workspace import Workspace


class Verbs(click.Group):
    """A group that offers the nearest verb to a mistyped one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown verb is an `Unknown` of ours."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise Unknown("verb", args[0], self.commands)
        return super().resolve_command(ctx, args)


@dataclass(frozen=True)
class Everywhere:
    """The options of every verb that works on a workspace."""

    folder: str
    as_json: bool

    def step(self, *command: str) -> str:
        """A command for the same workspace, to be typed as it is."""
        where = () if self.folder == "." else ("-C", self.folder)
        return shlex.join(("evalkit", *command, *where))


def on_any(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options that all of them take; it gets `as_json`."""
    verb = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")(verb)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")(verb)


def on_a_workspace(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of all that work on a workspace, as one `Everywhere`."""

    @click.option("-C", "folder", metavar="DIR", default=".", help="The workspace; default: here.")
    @on_any
    @wraps(verb)
    def command(folder: str, as_json: bool, **own: Any) -> None:
        verb(Everywhere(folder, as_json), **own)

    return command


def on_bought_rows(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb that reads answers and reviews `category_default` and `repair`."""
    filing = "File questions whose category no prompt knows under this one."
    verb = click.option("--category-default", metavar="NAME", help=filing)(verb)
    mending = "Move bad lines of answers/ and reviews/ aside."
    return click.option("--repair", is_flag=True, help=mending)(verb)


def in_a_language(whose: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb `--lang`; `whose`: the help of it."""
    return click.option(
        "--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help=whose
    )


def open_workspace(folder: str) -> "Workspace":
    """The workspace in `folder`; what it has to tell is said however the verb ends."""
    from evalkit.workspace import Workspace

    root = Path(folder)
    if not root.is_dir():
        raise BadPath(f"{folder}: no such folder")
    workspace = Workspace(root)
    click.get_current_context().call_on_close(lambda: tell(workspace))
    return workspace


def tell(workspace: "Workspace") -> None:
    """Say what the workspace has to tell, each line once."""
    for line in dict.fromkeys(workspace.told):
        say(line)
    workspace.told.clear()


def filed(
    workspace: "Workspace", bank: str, questions: Iterable["Question"], default: str | None
) -> list["Question"]:
    """The questions, each in a category that some prompt knows; `default` takes the others."""
    from evalkit import prompts

    known = prompts.categories(workspace.prompts("judge"))
    filed, notices = prompts.filed(bank, questions, known, default)
    workspace.told.extend(notices)
    return filed


def judge_prompts(workspace: "Workspace") -> "dict[str, JudgePrompt]":
    """The judges' prompts that can be used here, by name."""
    from evalkit import yamlfile
    from evalkit.prompts import JudgePrompt

    files = workspace.prompts("judge")
    return {name: yamlfile.load(path, JudgePrompt) for name, path in files.items()}


def say(line: str) -> None:
    """One line of words on stderr."""
    click.echo(f"evalkit: {one_line(line)}", err=True)


def note(line: str) -> None:
    """One line of what a longer work is doing, on stderr."""
    click.echo(one_line(line), err=True)


def show(line: str) -> None:
    """One line of the result on stdout."""
    click.echo(one_line(line))


@contextmanager
def progress(length: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr for work of this many steps, and nothing where no person watches."""
    if sys.stderr.isatty():
        with click.progressbar(length=length, file=sys.stderr, show_eta=True) as bar:
            yield bar.update
    else:
        yield lambda _: None


def print_json(
    verb: str,
    values: dict[str, Any],
    files: list[Path],
    following: str | None,
    status: str = "done",
) -> None:
    """The one object that --json promises: an envelope that all verbs share, and their values."""
    envelope = {"schema": 1, "verb": verb, "status": status, "files": [str(f) for f in files]}
    click.echo(json.dumps({**envelope, "next": following, **values}, ensure_ascii=False))


def open_catalog(workspace: "Workspace") -> "Catalog":
    """The models that can be named in a workspace; what is odd about them is told with it."""
    from evalkit.catalog import Catalog

    catalog = Catalog.load(workspace.config, os.environ, workspace.prompts("chat"))
    workspace.told.extend(catalog.told)
    return catalog
