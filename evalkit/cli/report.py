"""evalkit report: the tables, the charts, the page."""

import webbrowser
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalkit.cli.verb import (
    Everywhere,
    filed,
    in_a_language,
    judge_prompts,
    on_a_workspace,
    on_bought_rows,
    open_catalog,
    open_workspace,
    print_json,
    say,
    tell,
)
from evalkit.errors import BadFile, BadPath, Fault, Missing, reason
from evalkit.escape import visible

if TYPE_CHECKING:
    from evalkit.catalog import Catalog
    from evalkit.report.evidence import Evidence
    from evalkit.report.schema import Results
    from evalkit.workspace import Workspace

SAMPLE = "sample"
HEAVY = 20_000_000  # bytes of a page


@click.command(short_help="Make the tables, the charts and the page.")
@click.option("--bank", help="Which bank; default: the only one that has reviews.")
@click.option("--baseline", help="Whose score is 100%; default: ChatGPT where it takes part.")
@click.option("--against", metavar="JSON", help="Tell what changed since that reports/<bank>.json.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@click.option("--csv", "as_csv", is_flag=True, help="Also write the pairs as CSV.")
@click.option("--raw", is_flag=True, help="CSV cells as they are, also those like formulas.")
@click.option("--md", "as_markdown_file", is_flag=True, help="Also write the tables as Markdown.")
@click.option("--markdown", is_flag=True, help="Print a summary in Markdown, for a CI run.")
@click.option(
    "--fail-under",
    "gates",
    metavar="GATE",
    multiple=True,
    help="Exit 1 unless it holds: 'vicuna-13b>=0.9', 'vicuna-13b.win_rate.low>=0.25', "
    "'coverage>=0.97'.",
)
@click.option("--redact", is_flag=True, help="A page without questions, answers, reviews.")
@in_a_language("Of the page's own words and of the picture's.")
@click.option("--png", is_flag=True, help="Also write the chart as a picture.")
@on_bought_rows
@on_a_workspace
@click.pass_context
def report(
    ctx: click.Context,
    /,
    given: Everywhere,
    bank: str | None,
    baseline: str | None,
    against: str | None,
    open_page: bool,
    as_csv: bool,
    raw: bool,
    as_markdown_file: bool,
    markdown: bool,
    gates: tuple[str, ...],
    redact: bool,
    lang: str,
    png: bool,
    category_default: str | None,
    repair: bool,
) -> None:
    """Write reports/<bank>.html, one page that needs nothing else, and reports/<bank>.json.

    The JSON file holds every number of the page; its schema is `evalkit.report.schema.Results`.
    Without --bank and without reviews of your own it shows the sample that comes with evalkit.
    """
    if raw and not as_csv:
        raise click.UsageError("--raw goes with --csv")
    from evalkit.report.changes import changes, told
    from evalkit.report.gates import Gate, shortfalls
    from evalkit.report.summary import summary

    wanted = [Gate.parse(each) for each in gates]
    then = earlier(Path(against)) if against else None
    workspace = open_workspace(given.folder)
    bank = only_bank(workspace) if bank is None else bank
    if repair:
        workspace.repair(bank)
    catalog = open_catalog(workspace)
    found = found_in(workspace, bank, baseline, category_default, catalog)
    found = replace(found, redacted=redact, language=lang)
    if then is not None:
        since = {"changes": changes(found.results, then), "changed": told(found.results, then)}
        found = replace(found, results=found.results.model_copy(update=since))
    short = shortfalls(found.results, wanted)
    also = {ending for ending, on in ((".csv", as_csv), (".md", as_markdown_file)) if on}
    files = write(workspace, found, also, raw=raw, png=png)
    tell(workspace)
    if given.as_json:
        values = found.results.model_dump(mode="json") | {"gates": list(map(str, short))}
        print_json("report", values, files, f"open {files[0]}", "gate" if short else "done")
    elif markdown:
        click.echo(summary(found.results), nl=False)
    else:
        tell_results(given, found.results)
    say(f"wrote {', '.join(map(str, files))}")
    if (size := files[0].stat().st_size) > HEAVY and not redact:
        say(f"{files[0]} has {size / 1e6:.0f} MB, too much for some mail; --redact makes it small")
    for each in short:
        say(str(each))
    if open_page:
        open_in_browser(files[0])
    elif not short:
        say(f"Next: open {files[0]}, or run this again with --open")
    ctx.exit(1 if short else 0)


def tell_results(given: Everywhere, found: "Results") -> None:
    """The table, the verdict, and what a reader must know of them."""
    from evalkit.report import words

    if not given.as_json:
        click.echo(visible(words.table(found)))
        for sentence in words.verdicts(found):
            click.echo(visible(sentence))
    for sentence in [*found.alarms, *found.missing]:
        say(sentence)


def open_in_browser(file: Path) -> None:
    """Open a page, or say that it has to be opened by hand."""
    if not webbrowser.open(file.resolve().as_uri()):
        say(f"no browser could be started; open {file} yourself")


def found_in(
    workspace: "Workspace",
    bank: str,
    baseline: str | None,
    category_default: str | None,
    catalog: "Catalog | None" = None,
) -> "Evidence":
    """Every number of a bank, with the rows that they come from.

    `catalog`: where the page's table of models has its facts from.
    """
    from evalkit.records import Answer, Review

    questions = filed(workspace, bank, workspace.questions(bank), category_default)
    answers = workspace.skimmed("answers", bank, Answer)
    reviews = workspace.skimmed("reviews", bank, Review)

    from evalkit.report.results import evidence

    return evidence(
        bank,
        questions,
        answers,
        reviews,
        baseline,
        prompts=judge_prompts(workspace),
        stanzas=catalog.stanzas if catalog else {},
        sample=workspace.is_shipped(bank) and bank == SAMPLE,
    )


def with_words(workspace: "Workspace", found: "Evidence") -> "Evidence":
    """What a page can hold of some evidence, with the words that its reviews were read without."""
    from evalkit.records import Review
    from evalkit.report.explorer import chosen, of_size
    from evalkit.rows import Rows

    bank = found.results.bank
    ids = chosen(found)
    whole = {row.key: row for row in workspace.about("reviews", bank, Review, set(ids))}
    rows = Rows.of(found.reviews)
    keys = rows.take(rows.among("question", set(ids))).keys()
    reviews = [whole[key] for key in keys if key in whole]
    if len(ids) < len(found.questions):
        ids = of_size(ids, found.answers, reviews)
    shown = set(ids)
    questions = tuple(each for each in found.questions if each.id in shown)
    return replace(
        found,
        questions=questions,
        left_out=len(found.questions) - len(questions),
        answers=tuple(row for row in found.answers if row.question in shown),
        reviews=tuple(row for row in reviews if row.question in shown),
    )


def earlier(path: Path) -> "Results":
    """The numbers of an earlier run. Raises BadPath, and BadFile for what holds none."""
    from pydantic import ValidationError

    from evalkit.report.schema import Results

    try:
        return Results.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadPath(f"{path}: {reason(error)}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        what = f"no numbers of this evalkit's reports ({where}: {first['msg']})"
        raise BadFile([Fault(str(path), what)]) from error


def write(
    workspace: "Workspace",
    found: "Evidence",
    also: Collection[str] = (),
    *,
    raw: bool = False,
    png: bool = False,
) -> "list[Path]":
    """Write the page, the numbers, and what else is wanted; returns the files, the page first.

    `also`: endings, of .csv and .md; `raw`: cells of the CSV as they are.
    """
    from evalkit.report.page import page
    from evalkit.report.spreadsheet import spreadsheet
    from evalkit.report.summary import tables

    results = found.results
    made: dict[str, str | bytes] = {
        ".html": page(with_words(workspace, found)),
        ".json": results.model_dump_json(indent=1) + "\n",
    }
    if ".md" in also:
        made[".md"] = tables(results)
    if ".csv" in also:
        made[".csv"] = spreadsheet(results, raw=raw)
    if png:
        made |= _pictures(found)
    return [workspace.write_report(results.bank, *content) for content in made.items()]


def _pictures(found: "Evidence") -> dict[str, bytes]:
    """The chart of each judging as PNG, by file ending."""
    from evalkit.report import charts

    pictures = [
        charts.picture(drawing) for drawing in charts.drawings(found.results, found.translation)
    ]
    if not pictures:
        say("nothing to draw: no picture written")
    if not all(picture.complete for picture in pictures):
        say(
            "no font here has all characters of the picture. For Chinese install Noto Sans CJK "
            "(Debian, Ubuntu: apt install fonts-noto-cjk) and make it again."
        )
    endings = [".png", *(f".{number}.png" for number in range(2, len(pictures) + 1))]
    return {ending: each.png for ending, each in zip(endings, pictures, strict=False)}


def only_bank(workspace: "Workspace") -> str:
    """The bank that has reviews, where there is one such. Raises Missing."""
    judged = workspace.judged_banks()
    sample = [bank for bank in judged if bank == SAMPLE and workspace.is_shipped(bank)]
    own = [bank for bank in judged if bank not in sample] or judged
    if len(own) != 1:
        raise Missing(f"which bank? Give --bank, one of: {', '.join(own or workspace.banks())}")
    return own[0]
