"""The vote page on this machine: one address a person, which nobody can guess.

Every vote is on its way to the disk before its answer leaves. A page that is older than the last
vote (a second tab, a double click, the back button) is not heard: it gets what stands now instead.
"""

import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import get_args
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from evalkit.errors import EvalkitError
from evalkit.escape import visible
from evalkit.vote.ballot import LONGEST_NOTE, Session, Winner
from evalkit.vote.page import page, policy

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LONGEST_BODY = 10 * LONGEST_NOTE + 1000  # bytes, percent-encoded

Handler = Callable[[Request], Awaitable[Response]]


def links(sessions: list[Session]) -> dict[str, Session]:
    """A secret path for each person."""
    return {secrets.token_urlsafe(16): session for session in sessions}


def listen(host: str, port: int) -> socket.socket:
    """A socket that a server can be given; port 0 takes any that is free. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answer until Ctrl-C."""
    settings = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="off"
    )
    uvicorn.Server(settings).run([listening])


def application(
    paths: Mapping[str, Session],
    host: str,
    port: int,
    say: Callable[[str], None],
    language: str = "en",
) -> Starlette:
    """The app; `say` hears what went wrong."""

    async def show(request: Request) -> Response:
        session = paths.get(request.path_params["path"])
        if session is None:
            what = "There is no vote at this address. A new evalkit vote has new ones.\n"
            return PlainTextResponse(what, 404)
        if request.method == "GET":
            return HTMLResponse(page(session, language))
        return await heard(request, session)

    async def heard(request: Request, session: Session) -> Response:
        raw = b""
        async for part in request.stream():
            raw += part
            if len(raw) > LONGEST_BODY:
                return PlainTextResponse("Too long.\n", 413)
        fields = {
            name: values[0] for name, values in parse_qs(raw.decode("utf-8", "replace")).items()
        }
        if fields.get("turn") == str(session.turn):
            try:
                if not _do(session, fields):
                    return PlainTextResponse("Expected vote=1, 2 or 0, or do=skip or undo.\n", 400)
            except (EvalkitError, OSError) as error:
                say(f"{session.voter}: a vote was not kept. {error}")
                return PlainTextResponse(f"This vote was not kept: {visible(str(error))}\n", 507)
        return RedirectResponse(request.url.path, 303)

    guarded = _guarded(show, host, port)
    return Starlette(routes=[Route("/{path}", guarded, methods=["GET", "POST"])])


def _do(session: Session, fields: Mapping[str, str]) -> bool:
    """Do what a form says; False where it says nothing that can be done."""
    vote, what = fields.get("vote"), fields.get("do")
    for winner in get_args(Winner):
        if vote == winner:
            session.vote(winner, fields.get("note", "")[:LONGEST_NOTE].strip())
            return True
    if what == "skip":
        session.skip()
    elif what == "undo":
        session.undo()
    return what in ("skip", "undo")


def _guarded(handler: Handler, host: str, port: int) -> Handler:
    """Only this page's own requests; and what every reply says of itself."""
    own = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}

    async def guard(request: Request) -> Response:
        asked = request.headers.get("host", "")
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if host in LOOPBACK and asked not in own:  # a name that was made to lead here
            reply: Response = PlainTextResponse("Not this host.\n", 421)
        elif request.method == "POST" and (
            origin not in (None, f"http://{asked}") or site != "same-origin"
        ):
            reply = PlainTextResponse("Not from another page.\n", 403)
        else:
            reply = await handler(request)
        reply.headers.update(
            {
                "Content-Security-Policy": policy(),
                "Cache-Control": "no-store",
                "Referrer-Policy": "same-origin",
                "X-Content-Type-Options": "nosniff",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Cross-Origin-Opener-Policy": "same-origin",
            }
        )
        return reply

    return guard
