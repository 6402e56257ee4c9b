"""The group of all verbs, and how a run ends: exit codes, one line an error."""

import errno
import gc
import os
import sys
from collections.abc import Sequence

import click

from evalkit import __version__
from evalkit.cli.answer import answer
from evalkit.cli.batches import batches
from evalkit.cli.chat import chat
from evalkit.cli.classify import classify
from evalkit.cli.compare import compare
from evalkit.cli.demo import demo
from evalkit.cli.evaluation import run as run_
from evalkit.cli.exports import export
from evalkit.cli.imports import import_
from evalkit.cli.judge import judge
from evalkit.cli.models import models
from evalkit.cli.questions import questions
from evalkit.cli.report import report
from evalkit.cli.verb import Verbs, say
from evalkit.cli.vote import vote
from evalkit.cli.weights import weights
from evalkit.errors import EvalkitError, did_you_mean, reason

WELCOME = """\
evalkit {version}: a strong model as the judge between chatbots, with error bars that hold

     evalkit demo                                   begin here: a small one, offline and free
  1  evalkit answer --model ollama/llama3,chatgpt   ask a model that you serve, and ChatGPT
  2  evalkit judge --judge gpt-4                    GPT-4 compares their answers
  3  evalkit report --open                          one page with the verdict

  questions  80 of our own; check, generate, ...    models  whom it can ask; does it fit
  answer     ask chatbots; chat  with one of them   import  other tools' data; export  to them
  judge      compare answers; price first, resumes  run     all from one file; batches  what is sent
  report     tables, charts, one page               compare two models; classify texts with labels
  vote       you judge, blind: is the judge right?  weights base + delta = checkpoint
Files lie in the current folder, or where -C says. evalkit VERB --help: what a verb takes."""


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "--version", message="evalkit %(version)s")
@click.pass_context
def verbs(ctx: click.Context) -> None:
    """A strong model as the judge between chatbots, with error bars that hold."""
    if ctx.invoked_subcommand is None:
        click.echo(WELCOME.format(version=__version__))


for each in (
    answer, batches, chat, classify, compare, demo, export, import_, judge, models, questions,
    report, run_, vote, weights,
):  # fmt: skip
    verbs.add_command(each)


def main() -> None:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    gc.set_threshold(200_000, 50, 100)  # of a million rows none is garbage, and looking takes time
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
            say(line)
        return error.exit_code
    except click.ClickException as error:
        say(_misused(error, args))
        return 2
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
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
        say(f"{name}: {reason(error)}")
        return 1 if error.errno == errno.ENOSPC else 2


def _misused(error: click.ClickException, args: Sequence[str]) -> str:
    command: click.Command = verbs
    path = "evalkit"
    for name in args:
        if isinstance(command, click.Group) and name in command.commands:
            command = command.commands[name]
            path += f" {name}"
    help_ = f"{path} --help"
    if isinstance(error, click.exceptions.NoSuchOption):
        options = {name for option in command.params for name in option.opts}
        if error.option_name in options:
            return f"'{error.option_name}' goes behind the verb. See: {help_}"
        meant = did_you_mean(error.option_name, options)
        return f"no option '{error.option_name}'.{meant} See: {help_}"
    said = error.format_message().rstrip(".")
    return f"{said[0].lower()}{said[1:]}. See: {help_}"


def _close_stdout() -> None:
    """Whoever read our output has left; make sure that nothing more is flushed to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
