"""What is sent to a chat API and what comes back, as values: a Request -> JSON -> a Reply.

Opens no connection and knows no status code.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from evalkit.chat import Reply, Request, apart
from evalkit.records import Usage
from evalkit.surrogates import half_characters, mended

FORMAT = "response_format"


@dataclass(frozen=True)
class Dialect:
    """The parameters that one model takes, as far as its refusals have told."""

    max_tokens_name: str
    renamed: bool = False
    left_out: frozenset[str] = frozenset()

    def parameters(self, request: Request) -> dict[str, float]:
        """The sampling parameters to send, by the names to send them under."""
        planned = request.sampling.parameters()
        named = {self.name(name): value for name, value in planned.items()}
        return {name: value for name, value in named.items() if name not in self.left_out}

    def name(self, name: str) -> str:
        """What this model calls a parameter."""
        return self.max_tokens_name if name == "max_tokens" else name


class NoReply(ValueError):
    """A body with status 200 that holds no reply; says why."""


def body(model_id: str, request: Request, dialect: Dialect, *, stream: bool) -> dict[str, Any]:
    """What is sent."""
    sent: dict[str, Any] = {
        "model": model_id,
        "messages": [{"role": each.role, "content": each.text} for each in request.messages],
        **dialect.parameters(request),
    }
    if request.schema is not None and FORMAT not in dialect.left_out:
        form = {"name": "reply", "strict": True, "schema": json.loads(request.schema)}
        sent[FORMAT] = {"type": "json_schema", "json_schema": form}
    if stream:
        sent |= {"stream": True, "stream_options": {"include_usage": True}}
    return sent


def reply(value: Any) -> Reply:
    """What came back. Raises NoReply for what is none."""
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list):
        raise NoReply("no 'choices'")
    message = choices[0].get("message") if choices and isinstance(choices[0], dict) else None
    if not isinstance(message, dict):
        raise NoReply("no message in 'choices'")
    said, thought = apart(_text(message.get("content")))
    thought = message.get("reasoning_content") or message.get("reasoning") or thought
    text = mended(said)
    return Reply(
        text=text,
        served=_string(value.get("model")),
        usage=_usage(value.get("usage")),
        finish_reason=_string(choices[0].get("finish_reason")),
        reasoning=_string(thought),
        refusal=_string(message.get("refusal")),
        repaired=half_characters(said),
    )


def joined(data: Iterable[str]) -> dict[str, Any]:
    """The events of a streamed reply as the body that it would have been in one piece.

    Raises NoReply for an event that is no JSON, and where the stream ended before its reply did.
    """
    whole: dict[str, Any] = {}
    message: dict[str, Any] = {}
    end = None
    begun = complete = False
    for text in data:
        if text == "[DONE]":
            complete = True
            break
        event = _event(text)
        whole |= {name: event[name] for name in ("model", "usage") if event.get(name)}
        choices = event.get("choices") or []
        if not isinstance(choices, list):
            raise NoReply("no list of 'choices'")
        for choice in choices:
            if not isinstance(choice, dict) or not isinstance(choice.get("delta"), dict):
                raise NoReply("no delta in 'choices'")
            begun = True
            end = choice.get("finish_reason") or end
            for name, piece in choice["delta"].items():
                if isinstance(piece, str) and name != "role":
                    message[name] = message.get(name, "") + piece
    if not complete and end is None:
        raise NoReply("the stream broke off")
    if not begun:
        raise NoReply("a stream without 'choices'")
    said = {name: _paired(text) for name, text in message.items()}
    return {**whole, "choices": [{"message": said, "finish_reason": end}]}


def piece(text: str) -> str:
    """What one event of a stream adds to the text of the reply."""
    try:
        said = json.loads(text)["choices"][0]["delta"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""


def _paired(text: str) -> str:
    """`text` with the halves of a character that came in two pieces put together."""
    if not half_characters(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _event(text: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoReply("an event that is not JSON") from error
    if not isinstance(event, dict):
        raise NoReply("an event that is no object")
    if event.get("error"):
        raise NoReply("an error in the middle of the stream")
    return event


def _text(content: Any) -> str:
    """A message's content: a text, nothing, or a list of parts."""
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            parts = [part.get("text") for part in content if isinstance(part, dict)]
            return "".join(part for part in parts if isinstance(part, str))
    raise NoReply("content that is no text")


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    counts = [value.get("prompt_tokens"), value.get("completion_tokens")]
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    return Usage(input=counts[0], output=counts[1])  # type: ignore[arg-type]


def _string(value: Any) -> str | None:
    return mended(value) if isinstance(value, str) and value else None
