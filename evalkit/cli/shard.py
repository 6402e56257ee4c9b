"""--shard 2/8: a verb asks a part of what is wanted, and other runs, side by side, ask the rest."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from evalkit.errors import count
from evalkit.shards import Shard, parse

if TYPE_CHECKING:
    from evalkit.cli.verb import Everywhere


def _parsed(ctx: click.Context, option: click.Parameter, value: str | None) -> Shard | None:
    try:
        return None if value is None else parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, option) from error


def on_a_shard(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb `--shard`; it gets `shard`."""
    return click.option(
        "--shard",
        callback=_parsed,
        envvar="EVALKIT_SHARD",
        metavar="N/OF",
        help="Only the Nth of OF equal parts, in a file of its own that is read as one with the "
        "others: run all of them, at once or not. --budget is for each.",
    )(verb)


def part_of(shard: Shard | None, own: int, whole: int, what: str) -> str:
    """`shard 2 of 8: 10 of 80 questions`, or how many there are of it."""
    return f"{shard.name}: {own} of {count(whole, what)}" if shard else count(whole, what)


def afterwards(given: "Everywhere", shard: Shard | None, *command: str) -> str:
    """What to type next, which waits for all shards."""
    step = given.step(*command)
    return f"when all {count(shard.of, 'shard')} are done: {step}" if shard else step
