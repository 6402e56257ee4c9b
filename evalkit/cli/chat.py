"""evalkit chat: talk to a model, over the very path that answers take."""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import click

from evalkit.cli import calls
from evalkit.cli.verb import (
    Everywhere,
    note,
    on_a_workspace,
    open_catalog,
    open_workspace,
    print_json,
    say,
    tell,
)
from evalkit.errors import count, did_you_mean
from evalkit.escape import visible

if TYPE_CHECKING:
    from evalkit.catalog import Model
    from evalkit.chat import Failure, Message, Provider, Reply, Request, Sampling
    from evalkit.cli.calls import Way
    from evalkit.runner import Run

COMMANDS = {
    "/reset": "forget what was said, but for the system message",
    "/system": "/system TEXT sets the system message, without TEXT takes it away; forgets the rest",
    "/help": "this list",
    "/quit": "the end, as Ctrl-D",
}
MORE = "\\"  # at the end of a line: it goes on in the next


@dataclass
class Conversation:
    """What was said so far, which goes along with each call."""

    system: str | None = None
    messages: "list[Message]" = field(default_factory=list)

    def asked(self, text: str) -> "tuple[Message, ...]":
        """All of it with a next turn, for a request."""
        from evalkit.chat import Message

        first = (Message("system", self.system),) if self.system else ()
        return (*first, *self.messages, Message("user", text))

    def take(self, text: str, reply: str) -> None:
        """A turn and its reply."""
        from evalkit.chat import Message

        self.messages += [Message("user", text), Message("assistant", reply)]


@click.command(short_help="Talk to a model.")
@click.option("--model", "name", required=True, metavar="NAME", help="As evalkit answer names it.")
@click.option("--system", metavar="TEXT", help="The system message.")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    callback=calls.finite,
    default=0.7,
    show_default=True,
    help="0: the likeliest words.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="The longest reply.",
)
@click.option("--seed", type=int, help="Sent with each call.")
@calls.on_a_way
@on_a_workspace
@click.pass_context
def chat(
    ctx: click.Context,
    /,
    given: Everywhere,
    name: str,
    system: str | None,
    way: "Way",
    **drawn: Any,
) -> None:
    """Talk to any model that can be asked, to check it before it answers a bank.

    A call goes the way that those of evalkit answer go: the same template, the same tries. What was
    said before goes along. /help lists the commands, Ctrl-C breaks off a reply, Ctrl-D ends. Takes
    its lines from a pipe too. Nothing is written to the workspace.
    """
    from evalkit.chat import Sampling
    from evalkit.cli import running

    catalog = open_catalog(workspace := open_workspace(given.folder))
    model = calls.model_of(catalog, name, way)
    model = replace(model, stanza=model.stanza.model_copy(update={"stream": True}))
    tell(workspace)
    providers = running.providers_of(model, catalog)
    price = "free" if model.is_free else str(model.stanza.price or "price unknown")
    note(f"{model.name}   {running.reached(model)}   {price}")
    for line in dict.fromkeys(line for each in providers for line in each.notes):
        note(f"  {line}")
    if sys.stdin.isatty():
        note("/help lists the commands, Ctrl-D ends")
    talk = _Talk(model, providers, Conversation(system), Sampling(**drawn), aloud=not given.as_json)
    with running.opened(providers, running.TALK) as make:
        talk.go_on(make)
    if given.as_json:
        said = [{"role": each.role, "content": each.text} for each in talk.talk.messages]
        values = {"model": model.name, "messages": said, "failed": talk.failed, "usd": talk.dollars}
        print_json("chat", values, [], None, "owed" if talk.failed else "done")
    ctx.exit(1 if talk.failed else 0)


class _Talk:
    """One conversation at the terminal."""

    def __init__(
        self,
        model: "Model",
        providers: "tuple[Provider, ...]",
        talk: Conversation,
        sampling: "Sampling",
        *,
        aloud: bool,
    ) -> None:
        self.talk = talk
        self.failed = 0
        """Turns without a reply."""
        self.dollars = 0.0
        self._model = model
        self._providers = tuple(_Heard(each, self._hear) for each in providers)
        self._sampling = sampling
        self._aloud = aloud

    def go_on(self, make: "Callable[[Run], int]") -> None:
        """Take turns until the lines end."""
        for line in _lines():
            if line.startswith("/"):
                if not self._command(line):
                    return
            elif line.strip():
                self._turn(line, make)

    def _command(self, line: str) -> bool:
        """Do what a command says; False: it ends the conversation."""
        name, _, text = line.strip().partition(" ")
        match name:
            case "/quit" | "/exit":
                return False
            case "/reset":
                self.talk = Conversation(self.talk.system)
                note("(a new conversation)")
            case "/system":
                self.talk = Conversation(text.strip() or None)
                note("(a new conversation with this system message)" if text else "(without one)")
            case "/help":
                for each, what in COMMANDS.items():
                    note(f"  {each:<8} {what}")
            case _:
                say(f"no command '{name}'.{did_you_mean(name, COMMANDS)} /help lists them")
        return True

    def _turn(self, text: str, make: "Callable[[Run], int]") -> None:
        from evalkit.chat import Request
        from evalkit.cli.running import Teller
        from evalkit.price import Budget
        from evalkit.runner import Run, Work

        asked = Request(self.talk.asked(text), self._sampling, about=("chat",))
        came: list[tuple[Reply, float | None]] = []
        work = Work(
            name=self._model.name,
            providers=self._providers,
            requests=iter([asked]),
            keep=lambda _, reply, dollars: came.append((reply, dollars)),
            owed=1,
            price=self._model.stanza.price,
            free=self._model.is_free,
        )
        self._heard = ""
        teller = Teller(verbose=False)
        run = Run([work], Budget(), teller, turned=teller.turned)
        make(run)
        for stop in run.stops:
            say(stop.failure.said)
        if not came:
            self.failed += 1
            note("(no reply; this turn is forgotten)")
            return
        reply, dollars = came[0]
        self.dollars += dollars or 0.0
        self.talk.take(text, reply.text)
        self._end(reply)

    def _hear(self, text: str) -> None:
        """Show a piece of a reply as it comes."""
        self._heard += text
        if self._aloud:
            click.echo(visible(text), nl=False)

    def _end(self, reply: "Reply") -> None:
        """Show what of a reply was not heard, and what it was."""
        from evalkit.price import in_dollars

        if self._aloud:
            rest = reply.text.removeprefix(self._heard)
            again = rest == reply.text and self._heard.strip() != ""
            click.echo(visible(f"\n{rest}" if again and reply.text.strip() else rest))
        parts = []
        if reply.usage:
            parts.append(count(reply.usage.output, "token"))
        if reply.latency is not None:
            parts.append(f"{reply.latency:.1f} s")
        if reply.finish_reason == "length":
            parts.append("cut at max_tokens")
        if self.dollars:
            parts.append(f"{in_dollars(self.dollars)} so far")
        if not reply.text.strip():
            parts.insert(0, "an empty reply")
        note(f"  ({', '.join(parts)})" if parts else "")


class _Heard:
    """A provider that is listened to while it replies."""

    def __init__(self, provider: "Provider", hear: Callable[[str], None]) -> None:
        self.shares = provider.shares
        self.at_once = provider.at_once
        self.notes = provider.notes
        self._provider = provider
        self._hear = hear

    async def reply(
        self, request: "Request", hear: Callable[[str], None] | None = None
    ) -> "Reply | Failure":
        """Make one call."""
        return await self._provider.reply(request, hear or self._hear)

    async def close(self) -> None:
        """It stays open for the next turn."""


def _lines() -> Iterator[str]:
    """What the user types, or what comes out of a pipe; a line that ends in a backslash goes on."""
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401  # the keys that edit a line, and those typed before
    begun = ""
    while True:
        try:
            prompt = ("... " if begun else "> ") if sys.stdin.isatty() else ""
            line = input(prompt)
        except EOFError:
            if begun.strip():
                yield begun
            return
        if line.endswith(MORE):
            begun += line.removesuffix(MORE) + "\n"
            continue
        yield begun + line
        begun = ""
