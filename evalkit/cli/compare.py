"""evalkit compare: two models, every number, in the terminal."""

from typing import Any

import click

from evalkit.cli import report
from evalkit.cli.verb import (
    Everywhere,
    on_a_workspace,
    on_bought_rows,
    open_workspace,
    print_json,
    say,
    tell,
)
from evalkit.errors import Missing, Unknown
from evalkit.escape import visible

TABLES = (
    "pairs", "calibration", "pooled", "decisions", "length_controlled", "differences",
    "by_category", "judge_card", "with_people",
)  # fmt: skip
"""What --json tells, of `evalkit.report.schema.Results`."""


@click.command(short_help="Two models, every number, in the terminal.")
@click.argument("a")
@click.argument("b")
@click.option("--bank", help="Which bank; default: the only one that has reviews.")
@click.option("--baseline", help="Whom two models met that never met; default: ChatGPT.")
@on_bought_rows
@on_a_workspace
def compare(
    given: Everywhere,
    /,
    a: str,
    b: str,
    bank: str | None,
    baseline: str | None,
    category_default: str | None,
    repair: bool,
) -> None:
    """Tell how B did against A: counts, win rate, ratio, each with its interval, by category.

    Two that were never judged together are compared by way of the baseline that both met. Nothing
    is written.
    """
    from evalkit.report.comparison import comparison, through

    workspace = open_workspace(given.folder)
    bank = report.only_bank(workspace) if bank is None else bank
    if repair:
        workspace.repair(bank)
    if a == b:
        raise Missing(f"'{a}' twice: a comparison is of two models")
    found = report.found_in(workspace, bank, a, category_default).results
    if b not in found.models:
        raise Unknown("model", b, found.models)
    said = comparison(found, a, b)
    if not said:
        found = report.found_in(workspace, bank, baseline, category_default).results
        said = through(found, a, b)
    tell(workspace)
    if not said:
        raise Missing(
            f"{a} and {b} were never judged together, and no model met both. "
            f"Have them judged: {given.step('judge', '--judge', 'NAME', '--pairs', f'{a}:{b}')}"
        )
    if given.as_json:
        print_json("compare", {"bank": bank, "a": a, "b": b, **_rows(found, {a, b})}, [], None)
        return
    click.echo(visible(said))
    for alarm in found.alarms:
        say(alarm)


def _rows(found: Any, models: set[str]) -> dict[str, Any]:
    """The rows that tell of these models."""
    told = found.model_dump(mode="json", include=set(TABLES))
    return {name: [row for row in rows if _about(row) <= models] for name, rows in told.items()}


def _about(row: dict[str, Any]) -> set[str]:
    return {row[name] for name in ("a", "b", "model") if name in row}
