"""Many calls in one file: OpenAI's `files` and `batches`, and the services that have them too.

One call to the service for each thing that is wanted, over the connections and with the key of the
client; nothing is tried again, and nothing is written down here.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from evalkit.batches import Batch, Spoken, Status
from evalkit.chat import Failure, Kind, Reply, Request
from evalkit.providers.openai_api import bodies
from evalkit.providers.openai_api.client import LONGEST_REPLY, PATH, Provider
from evalkit.providers.openai_api.refusals import Refusal, shortened

ENDPOINT = f"/v1/{PATH}"  # as each line names it, wherever the service itself lies
WINDOW = "24h"
TOKEN = "evalkit"  # the word in a batch's metadata that its token stands behind
A_PAGE = 100  # batches in one list
BATCH_API = "batch API (leave --batch out)"


class Batches:
    """The batches of one model's service."""

    def __init__(self, client: Provider) -> None:
        self._client = client

    @property
    def spoken(self) -> Spoken:
        """The parameters that the model takes, as far as its refusals have told."""
        dialect = self._client.dialect
        return Spoken(
            max_tokens_name=dialect.max_tokens_name, left_out=tuple(sorted(dialect.left_out))
        )

    def line(self, name: str, request: Request) -> bytes:
        """A call as a line of a batch's file."""
        body = bodies.body(self._client.id, request, self._client.dialect, stream=False)
        sent = {"custom_id": name, "method": "POST", "url": ENDPOINT, "body": body}
        return json.dumps(sent).encode()

    def called(self, line: str) -> str | None:
        """The name of the call that a line of replies is about; None where it has none."""
        name = _object(line).get("custom_id")
        return name if isinstance(name, str) else None

    def replied(self, line: str) -> bool:
        """Whether such a line holds a reply, which was paid for."""
        response = _object(line).get("response")
        return isinstance(response, dict) and response.get("status_code") == 200

    def came(self, line: str, batch: Batch, request: Request) -> Reply | Failure:
        """What such a line says of the call."""
        said = _object(line)
        response, error = said.get("response"), said.get("error")
        if not isinstance(response, dict):
            code = error.get("code") if isinstance(error, dict) else None
            kind = Kind.EXPIRED if code == "batch_expired" else Kind.DOWN
            return Failure(kind, f"{self._client.host}: {self._why(error) or 'no reply'}")
        status, body = response.get("status_code"), response.get("body")
        if status != 200:
            text = self._client.scrub(json.dumps(body))
            return self._client.refused(Refusal(status if isinstance(status, int) else 500, text))
        try:
            reply = bodies.reply(body)
        except bodies.NoReply as why:
            return self._client.bad(str(why), json.dumps(body))
        dialect = bodies.Dialect(
            batch.spoken.max_tokens_name, left_out=frozenset(batch.spoken.left_out)
        )
        return replace(
            self._client.clean(reply),
            sampling=dialect.parameters(request),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            batch=batch.id,
        )

    def clean(self, line: str) -> str:
        """The line without keys."""
        return self._client.scrub(line)

    async def upload(self, lines: list[bytes], token: str) -> str | Failure:
        """Hand over a file; what the service calls it."""
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field(
            "file",
            b"\n".join(lines) + b"\n",
            filename=f"{TOKEN}-{token}.jsonl",
            content_type="application/jsonl",
        )
        data = form()
        own = {"content-type": data.headers["Content-Type"]}
        text = await self._client.asked("POST", "files", BATCH_API, data=data, headers=own)
        if isinstance(text, Failure):
            return text
        id_ = _object(text).get("id")
        if not isinstance(id_, str) or not id_:
            return self._client.bad("no file", text)
        return self._client.scrub(id_)

    async def create(self, file: str, token: str) -> Status | Failure:
        """Have the calls of a file made."""
        wanted = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": WINDOW}
        wanted |= {"metadata": {TOKEN: token}}  # type: ignore[dict-item]
        data = json.dumps(wanted).encode()
        return self._status(await self._client.asked("POST", "batches", BATCH_API, data=data))

    async def status(self, batch_id: str) -> Status | Failure:
        """How far it is."""
        path = f"batches/{quote(batch_id, safe='')}"
        return self._status(await self._client.asked("GET", path, "such batch"))

    async def since(self, moment: float) -> list[Status] | Failure:
        """All batches that were made since then (seconds since 1970)."""
        found: list[Status] = []
        after: dict[str, str] = {}
        while True:
            query = {"limit": str(A_PAGE), **after}
            text = await self._client.asked("GET", "batches", BATCH_API, params=query)
            if isinstance(text, Failure):
                return text
            page = _object(text).get("data")
            if not isinstance(page, list):
                return self._client.bad("no list of batches", text)
            some = [status for each in page if (status := self._read(each)) is not None]
            found += some
            more = _object(text).get("has_more") is True and some
            if not more or (some[-1].created or 0.0) < moment or after.get("after") == some[-1].id:
                return found
            after = {"after": some[-1].id}

    async def cancel(self, batch_id: str) -> Status | Failure:
        """Give it up; what has been done stays."""
        path = f"batches/{quote(batch_id, safe='')}/cancel"
        return self._status(await self._client.asked("POST", path, "such batch"))

    async def lines(self, file: str, take: Callable[[str], None]) -> Failure | None:
        """Read a file of replies; `take` gets each line while it comes, the last if it is whole."""
        rest = bytearray()

        def piece(data: bytes) -> None:
            rest.extend(data)
            if b"\n" in data:
                *lines, last = bytes(rest).split(b"\n")
                rest[:] = last
                for line in filter(None, map(bytes.strip, lines)):
                    take(line.decode("utf-8", "surrogateescape"))
            if len(rest) > LONGEST_REPLY:
                raise aiohttp.ClientPayloadError(f"more than {LONGEST_REPLY // 1_000_000} MB")

        path = f"files/{quote(file, safe='')}/content"
        failure = await self._client.heard("GET", path, "such file", piece)
        if failure is None and rest.strip():
            take(rest.strip().decode("utf-8", "surrogateescape"))
        return failure

    # -- inside

    def _status(self, text: str | Failure) -> Status | Failure:
        if isinstance(text, Failure):
            return text
        return self._read(_object(text)) or self._client.bad("no batch", text)

    def _read(self, value: Any) -> Status | None:
        """A batch as the service shows it; None where it shows none."""
        value = value if isinstance(value, dict) else {}
        id_, word = value.get("id"), value.get("status")
        if not isinstance(id_, str) or not id_ or not isinstance(word, str):
            return None
        meta, counts, errors = (
            each if isinstance(each, dict) else {}
            for each in (value.get("metadata"), value.get("request_counts"), value.get("errors"))
        )
        files = (value.get("output_file_id"), value.get("error_file_id"))
        token, file, created = meta.get(TOKEN), value.get("input_file_id"), value.get("created_at")
        whys = errors.get("data")
        return Status(
            id=self._client.scrub(id_),
            word=self._client.scrub(word),
            token=token if isinstance(token, str) else None,
            file=file if isinstance(file, str) else None,
            files=tuple(each for each in files if isinstance(each, str) and each),
            created=float(created) if isinstance(created, int | float) else None,
            done=_whole(counts.get("completed")),
            lost=_whole(counts.get("failed")),
            said=self._why(whys[0]) if isinstance(whys, list) and whys else None,
        )

    def _why(self, error: Any) -> str | None:
        """What the service gives as the reason, in one line."""
        said = error.get("message") or error.get("code") if isinstance(error, dict) else None
        return shortened(self._client.scrub(said)) if isinstance(said, str) else None


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _whole(number: Any) -> int:
    return number if type(number) is int and number >= 0 else 0
