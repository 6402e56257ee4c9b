"""evalkit vote: a page on this machine where a person is the judge."""

import getpass
import webbrowser
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from socket import gethostname, socket
from typing import TYPE_CHECKING

import click

from evalkit.cli.report import only_bank
from evalkit.cli.verb import (
    Everywhere,
    filed,
    in_a_language,
    judge_prompts,
    on_a_workspace,
    on_bought_rows,
    open_workspace,
    print_json,
    say,
    show,
    tell,
)
from evalkit.errors import BadPath, Missing, count, reason

if TYPE_CHECKING:
    from evalkit.judge.showings import Pair
    from evalkit.records import Answer, Review
    from evalkit.vote.ballot import Session


EVERYWHERE = ("0.0.0.0", "::")


@click.command(short_help="Be the judge: a blind page for people's votes.")
@click.option("--bank", help="Which bank; default: the only one that has reviews.")
@click.option("--pairs", multiple=True, metavar="A:B", help="all, or A:B, several times.")
@click.option("--baseline", metavar="NAME", help="Whom all are compared with; default: as judged.")
@click.option(
    "--n",
    "most",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="Votes of each person.",
)
@click.option(
    "--voter",
    "voters",
    multiple=True,
    metavar="NAME",
    help="Who votes; several: a link each. Default: you.",
)
@click.option(
    "--shared", is_flag=True, help="The same questions for all, to compare people with each other."
)
@click.option(
    "--seed", default=0, show_default=True, help="Of which questions come, and in which order."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen, for a team; with --yes.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any that is free.")
@click.option("--yes", is_flag=True, help="Let other machines reach the page.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@in_a_language("Of the page's own words.")
@on_bought_rows
@on_a_workspace
@click.pass_context
def vote(
    ctx: click.Context,
    /,
    given: Everywhere,
    bank: str | None,
    pairs: tuple[str, ...],
    baseline: str | None,
    most: int,
    voters: tuple[str, ...],
    shared: bool,
    seed: int,
    host: str,
    port: int,
    yes: bool,
    open_page: bool,
    lang: str,
    category_default: str | None,
    repair: bool,
) -> None:
    """Vote on pairs of answers: which is better, without knowing whose they are.

    The page shows a question and two answers in a random order. Keys: 1 the first, 2 the second, 0
    a tie; s leaves it for later, u takes the last vote back, n writes a note. Questions are drawn
    at random, of those that a judge has read where there are any, so that the report can say what
    people would have said of all of them: from 20 votes a pair, or 40 in all. Votes are kept in
    reviews/BANK/human-NAME.vote.jsonl; come back at any time. Needs pip install 'evalkit[web]'.
    """
    _check_host(host, yes=yes)
    from evalkit.answer import standing
    from evalkit.judge.showings import pairs as pairs_of
    from evalkit.judge.standing import standing as standing_reviews
    from evalkit.records import VOTE, human
    from evalkit.vote.ballot import Choice, Session, ballot

    workspace = open_workspace(given.folder)
    bank = only_bank(workspace) if bank is None else bank
    if repair:
        workspace.repair(bank)
    questions = filed(workspace, bank, workspace.questions(bank), category_default)
    answers = workspace.answers(bank)
    stand = standing(questions, answers)
    reviews = workspace.reviews(bank)
    current, _ = standing_reviews(questions, answers, reviews, judge_prompts(workspace))
    names = list(dict.fromkeys(voters or (_login(),)))
    ledgers = workspace.review_ledgers(bank, map(human, names), VOTE)
    tell(workspace)
    judged = _judged(current)
    if judged and not pairs and baseline is None:
        compared = sorted((min(pair), max(pair)) for pair in judged)
    else:
        compared = pairs_of({answer.model for answer in stand}, baseline, pairs)
    if unblinding := _naming(stand, compared):
        say(f"{count(unblinding, 'answer')} may say by name who wrote it; shown as it is")
    choice = Choice(most, shared=shared, seed=seed)
    listening = _listen(host, port)
    with ExitStack() as stack:
        stack.enter_context(listening)
        sessions = [
            Session(
                name,
                ballot(name, questions, stand, compared, judged, choice),
                [row for row in current if row.judge == human(name) and row.is_vote],
                sum(row.judge == human(name) and row.is_vote for row in reviews),
                choice,
                stack.enter_context(ledgers[human(name)].writing()).add,
                lambda: datetime.now(UTC).isoformat(timespec="seconds"),
            )
            for name in names
        ]
        if not any(session.wanted for session in sessions):
            raise Missing("there is no pair of different answers to vote on")
        _serve(sessions, host, listening, lang, open_page=open_page)
    files = [ledgers[human(name)].path for name in names if ledgers[human(name)].path.exists()]
    _end(ctx, given, bank, sessions, files)


def _check_host(host: str, *, yes: bool) -> None:
    try:
        from evalkit.vote.server import LOOPBACK
    except ImportError as error:
        what = "needs starlette and uvicorn: pip install 'evalkit[web]'"
        raise Missing(f"evalkit vote {what}") from error
    if host not in LOOPBACK and not yes:
        what = "lets other machines reach the page, unencrypted; whoever has a link can vote"
        raise Missing(f"--host {host} {what}. If that is meant, add --yes")


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:  # a system without users
        raise Missing("who votes? Give --voter NAME") from error


def _judged(reviews: Iterable["Review"]) -> dict[frozenset[str], set[str]]:
    """The questions of each pair of models that a model has judged, or both alone."""
    found: dict[frozenset[str], set[str]] = defaultdict(set)
    alone: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for row in reviews:
        if row.is_vote or row.canary is not None:
            continue
        if len(row.shown) == 2:
            found[frozenset(row.shown)].add(row.question)
        else:
            alone[row.judge, row.prompt, row.question].add(row.shown[0])
    for (_, _, question), models in alone.items():
        for pair in combinations(sorted(models), 2):
            found[frozenset(pair)].add(question)
    return found


def _naming(answers: Sequence["Answer"], compared: Sequence["Pair"]) -> int:
    """How many answers hold the name of the model that gave them."""
    models = {model for pair in compared for model in pair}
    return sum(
        answer.model.casefold() in " ".join(answer.turns).casefold()
        for answer in answers
        if answer.model in models
    )


def _listen(host: str, port: int) -> socket:
    from evalkit.vote.server import listen

    try:
        return listen(host, port)
    except OSError as error:
        raise BadPath(f"cannot listen at {host}:{port}: {reason(error)}") from error


def _serve(
    sessions: list["Session"], host: str, listening: socket, lang: str, *, open_page: bool
) -> None:
    from evalkit.vote.server import application, links, serve

    port = listening.getsockname()[1]
    paths = links(sessions)
    name = gethostname() if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    for path, session in paths.items():
        address = f"http://{name}:{port}/{path}"
        say(f"{session.voter}, {session.votes} of {session.wanted} votes: {address}")
        if open_page:
            webbrowser.open(address)
    say("Ctrl-C ends; each vote is kept when it is made")
    with suppress(KeyboardInterrupt):
        serve(application(paths, host, port, say, lang), listening)


def _end(
    ctx: click.Context, given: Everywhere, bank: str, sessions: list["Session"], files: list[Path]
) -> None:
    step = given.step("report", "--bank", bank, "--open")
    owed = any(session.votes < session.wanted for session in sessions)
    if given.as_json:
        votes = {session.voter: session.votes for session in sessions}
        print_json("vote", {"bank": bank, "votes": votes}, files, step, "owed" if owed else "done")
    else:
        for session in sessions:
            show(f"{session.voter}: {session.votes} of {session.wanted} votes")
        say(f"Next: {step}")
    ctx.exit(int(owed))
