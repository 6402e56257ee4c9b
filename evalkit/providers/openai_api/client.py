"""The connections to one model's server: one call at a time goes out, a Reply or a Failure returns.

One session and kept-alive connections for the whole run, as many as there are calls in flight:
what waits is kept outside. A redirect is never followed. No proxy is used for this machine.
"""

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from evalkit import __version__
from evalkit.catalog import Model, is_loopback
from evalkit.chat import Failure, Kind, Reply, Request, unheard
from evalkit.errors import Missing
from evalkit.keys import Keys, tail
from evalkit.providers.openai_api import bodies, limits
from evalkit.providers.openai_api.refusals import Refusal, shortened

PATH = "chat/completions"
LONGEST_REPLY = 50_000_000  # bytes


class Provider:
    """One model behind a chat API."""

    def __init__(self, model: Model, keys: Keys) -> None:
        stanza = model.stanza
        if model.url is None:
            way = f"set {stanza.url_env}" if stanza.url_env else "it needs a `url`"
            raise Missing(f"no address for '{model.name}': {way}")
        self.id = model.id
        self._keys = keys
        self._stanza = stanza
        self._url = address(model)
        self.host = urlsplit(model.url).netloc
        self._key = (
            keys.get(stanza.key_env, stanza.service or model.name) if stanza.key_env else None
        )
        self._proxy = _proxy(self._url)
        self.dialect = bodies.Dialect(stanza.max_tokens_name)
        self._session: aiohttp.ClientSession | None = None
        self.at_once: int | None = None
        self.notes: tuple[str, ...] = ()
        self.shares = f"{model.url} {stanza.key_env or ''}".strip()

    async def reply(
        self, request: Request, hear: Callable[[str], None] = unheard
    ) -> Reply | Failure:
        """Make one call, and one more for each parameter that the model turns out to refuse."""
        while True:
            dialect = self.dialect
            sent = dialect.parameters(request)
            found = await self._sent(request, dialect, hear)
            if isinstance(found, Reply):
                return replace(found, sampling=sent)
            if isinstance(found, Failure):
                return found
            names = [*sent, bodies.FORMAT] if request.schema is not None else [*sent]
            spoken = found.dialect(names, dialect)
            if spoken is None:
                return self.refused(found)
            if self.dialect == dialect:  # else another call has learnt it meanwhile
                self.dialect = spoken

    async def models(self) -> list[str] | Failure:
        """The ids that the server lists."""
        text = await self.asked("GET", "models", "list of models")
        if isinstance(text, Failure):
            return text
        try:
            return [self.scrub(str(each["id"])) for each in json.loads(text)["data"]]
        except (ValueError, TypeError, KeyError):
            return self.bad("no list of models", text)

    async def asked(self, method: str, path: str, what: str, **sent: Any) -> str | Failure:
        """What the service says at a path beside the chat; `what`: what is wanted there."""
        said = bytearray()

        def take(piece: bytes) -> None:
            said.extend(piece)
            if len(said) > LONGEST_REPLY:
                raise aiohttp.ClientPayloadError(f"more than {LONGEST_REPLY // 1_000_000} MB")

        failure = await self.heard(method, path, what, take, **sent)
        return failure or said.decode("utf-8", "surrogateescape")

    async def heard(
        self, method: str, path: str, what: str, take: Callable[[bytes], None], **sent: Any
    ) -> Failure | None:
        """As `asked`, but `take` gets a good reply piece by piece, however long it is."""
        where = f"{self._url.partition('?')[0].removesuffix(f'/{PATH}')}/{path}"
        try:
            async with self._open().request(method, where, **self._how(), **sent) as response:
                if response.status in (200, 201):
                    async for piece in response.content.iter_any():
                        take(piece)
                    return None
                text = self.scrub(await _text(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._scrubbed(_broken(error, self.host))
        if response.status in (404, 405):
            said = f"{self.host} has no {what} at {where} ({response.status})"
            return self._scrubbed(Failure(Kind.REJECTED, said))
        headers = {name.lower(): value for name, value in response.headers.items()}
        wait = limits.retry_after(headers, datetime.now(UTC))
        return self.refused(Refusal(response.status, text, wait), where)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()

    def refused(self, refusal: Refusal, where: str | None = None) -> Failure:
        """Why there is no reply."""
        key = tail(self._key) if self._key else None
        return self._scrubbed(refusal.failure(self.host, where or self._url, self.id, key))

    def bad(self, why: str, text: str) -> Failure:
        """A reply that is none."""
        began = f": {shortened(self.scrub(text))}" if text.strip() else ""
        return self._scrubbed(Failure(Kind.BAD_REPLY, f"{self.host}: {why}{began}", billed=True))

    def scrub(self, text: str) -> str:
        """`text` without any key."""
        return self._keys.scrub(text)

    def clean(self, reply: Reply) -> Reply:
        """A reply without any key."""
        return replace(
            reply,
            text=self.scrub(reply.text),
            reasoning=self._clean(reply.reasoning),
            refusal=self._clean(reply.refusal),
            served=self._clean(reply.served),
            finish_reason=self._clean(reply.finish_reason),
        )

    async def _sent(
        self, request: Request, dialect: bodies.Dialect, hear: Callable[[str], None]
    ) -> Reply | Failure | Refusal:
        body = bodies.body(self.id, request, dialect, stream=self._stanza.stream)
        begun = time.monotonic()
        try:
            data = json.dumps(body).encode()
            async with self._open().post(self._url, data=data, **self._how()) as response:
                text, found = "", None
                if response.status == 200 and response.content_type == "text/event-stream":
                    events = []
                    async for event in _events(response):
                        events.append(event)
                        if hear is not unheard:
                            hear(self.scrub(bodies.piece(event)))
                    found = bodies.joined(events)
                else:
                    text = await _text(response)
        except bodies.NoReply as error:
            return self.bad(str(error), "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._scrubbed(_broken(error, self.host))
        now = datetime.now(UTC)
        headers = {name.lower(): value for name, value in response.headers.items()}
        room = limits.headroom(headers, now)
        if response.status != 200:
            text = self.scrub(text)  # before it is shortened, which could cut a key in two
            return Refusal(response.status, text, limits.retry_after(headers, now), room)
        try:
            reply = bodies.reply(json.loads(text) if found is None else found)
        except bodies.NoReply as error:
            return self.bad(str(error), text)
        except (ValueError, RecursionError):
            return self.bad("not JSON", text)
        reply = self.clean(reply)
        if found is None:
            hear(reply.text)
        return replace(
            reply,
            headroom=room,
            latency=round(time.monotonic() - begun, 4),
            time=now.isoformat(timespec="seconds"),
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            stanza, limit = self._stanza, self._stanza.timeouts
            headers = {"content-type": "application/json", "user-agent": f"evalkit/{__version__}"}
            headers |= stanza.headers
            if self._key and stanza.key_header:
                headers[stanza.key_header] = self._key
            elif self._key:
                headers["authorization"] = f"Bearer {self._key}"
            # llama.cpp closes a connection after a stream without saying so before.
            kept = {"force_close": True} if stanza.stream else {"keepalive_timeout": 60}
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, **kept),
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=limit.total,
                    sock_connect=limit.connect,
                    sock_read=limit.silence if stanza.stream else None,
                ),
            )
        return self._session

    def _how(self) -> dict[str, Any]:
        return {"allow_redirects": False, "proxy": self._proxy}

    def _clean(self, text: str | None) -> str | None:
        return None if text is None else self.scrub(text)

    def _scrubbed(self, failure: Failure) -> Failure:
        return replace(failure, said=self.scrub(failure.said))


def address(model: Model) -> str:
    """Where the calls to a model go."""
    path = (model.stanza.path or PATH).replace("{model}", quote(model.id, safe=""))
    query = f"?{urlencode(model.stanza.query)}" if model.stanza.query else ""
    return f"{model.url}/{path}{query}"


async def _text(response: aiohttp.ClientResponse) -> str:
    """The whole body. Raises ClientPayloadError for one that is longer than any reply."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > LONGEST_REPLY:
            raise aiohttp.ClientPayloadError(f"more than {LONGEST_REPLY // 1_000_000} MB")
    return b"".join(pieces).decode("utf-8", "surrogateescape")


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """The data of server-sent events, one event after the other."""
    rest, size = b"", 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > LONGEST_REPLY:
            raise aiohttp.ClientPayloadError(f"more than {LONGEST_REPLY // 1_000_000} MB")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", "surrogateescape")


def _broken(error: Exception, host: str) -> Failure:
    """A connection that did not come about, or broke."""
    never_sent = (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.InvalidURL,
        aiohttp.ClientHttpProxyError,
    )
    before = isinstance(error, never_sent)
    if isinstance(error, aiohttp.InvalidURL):  # it may hold a password
        said = f"no connection to {host}: the address of the proxy cannot be used"
    elif isinstance(error, TimeoutError):
        said = f"no connection to {host} in time" if before else f"{host} did not reply in time"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        said = f"no address is known for {host}"
    elif isinstance(error, aiohttp.ClientSSLError):
        said = f"no safe connection to {host}: {error}"
    elif before:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        said = f"no connection to {host}: {why}"
    else:
        said = f"{host} broke off: {str(error) or type(error).__name__}"
    return Failure(Kind.DOWN, shortened(said), billed=not before)


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
