"""What a refused call means: whether it can pass later, and which parameters to send instead.

Statuses as OpenAI documents them, with the words by which other services tell the same.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from evalkit.chat import Failure, Headroom, Kind
from evalkit.providers.openai_api.bodies import FORMAT, Dialect
from evalkit.surrogates import mended

LONGEST = 200  # characters of what a service said
OTHER_NAME = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
CAN_BE_LEFT_OUT = {
    "temperature",
    "seed",
    FORMAT,
}  # never the limit of a reply's length: it is paid for
_UNSUPPORTED = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|not permitted|not allowed|deprecated"
    r"|extra inputs|unexpected",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size)|maximum context|prompt is too long|too many (input )?tokens"
    r"|input is too long|exceeds? the (available )?context|reduce the length",
    re.IGNORECASE,
)
_QUOTA = re.compile(r"insufficient_quota|insufficient[ _]balance|exceeded your current quota", re.I)


class Refusal:
    """A reply whose status is not 200."""

    def __init__(
        self,
        status: int,
        text: str,
        wait: float | None = None,
        headroom: tuple[Headroom, ...] = (),
    ) -> None:
        self.status = status
        self._wait = wait
        self._headroom = headroom
        error = _error(text)
        self._in_our_language = error is not None
        error = error or {"message": text}
        self.message = shortened(str(error.get("message") or ""))
        self.code = shortened(str(error.get("code") or error.get("type") or ""))
        self.parameter = error.get("param")

    def dialect(self, sent: Iterable[str], spoken: Dialect) -> Dialect | None:
        """What to speak instead, where a parameter was refused; None where that was not it.

        `sent`: the names of those that were sent.
        """
        if self.status not in (400, 422) or not _UNSUPPORTED.search(f"{self.code} {self.message}"):
            return None
        sent = [name for name in sent if name not in spoken.left_out]
        named = [name for name in sent if name == self.parameter]
        words = set(re.findall(r"\w+", self.message))
        for name in named or [name for name in sent if name in words]:
            if name in CAN_BE_LEFT_OUT:
                return replace(spoken, left_out=spoken.left_out | {name})
            if name in OTHER_NAME and not spoken.renamed:
                return replace(spoken, max_tokens_name=OTHER_NAME[name], renamed=True)
        return None

    def failure(self, host: str, url: str, model_id: str, key: str | None) -> Failure:
        """Why there is no reply. `key`: how the key is shown, if one was sent."""
        kind = self._kind()
        status = self.status
        said = f"{host}: {self.message or 'no reason given'} ({status})"
        if kind == Kind.KEY and key is None:
            said = f"{host} wants a key ({status}). Give --key-env NAME"
        elif kind == Kind.KEY:
            why = "" if status == 401 or not self.message else f": {self.message}"
            said = f"{host} refused the key {key} ({status}){why}"
        elif kind == Kind.QUOTA:
            said = f"quota used up at {host} ({status} {self.code})"
        elif kind == Kind.BUSY:
            said = f"{host} is busy ({status})"
        elif 300 <= status < 400:
            said = f"{host} points elsewhere ({status}); not followed"
        elif kind == Kind.NO_MODEL and status == 404 and self._names(model_id):
            said = f"no model '{model_id}' at {host} (404)"
        elif kind == Kind.NO_MODEL:
            said = f"there is no chat service at {url} ({status})"
        return Failure(kind, said, self._wait, self._headroom)

    def _names(self, model_id: str) -> bool:
        """Whether it is the model that is not there, and not the whole address."""
        words = f"{self.code} {self.message}".lower()
        itself = rf"(?<![\w.-]){re.escape(model_id.lower())}(?![\w-]|\.\w)"
        named = re.search(itself, words) or "model" in words or "deployment" in words
        return self._in_our_language and bool(named)

    def _kind(self) -> Kind:
        words = f"{self.code} {self.message}"
        match self.status:
            case 401 | 403:
                return Kind.KEY
            case 402:
                return Kind.QUOTA
            case 404 | 405:
                return Kind.NO_MODEL
            case 429:
                return Kind.QUOTA if _QUOTA.search(words) else Kind.BUSY
            case 408 | 409:
                return Kind.DOWN
            case 400 | 413 | 422 if _TOO_LONG.search(words):
                return Kind.TOO_LONG
            case status if 300 <= status < 400:
                return Kind.NO_MODEL
            case status if status >= 500:
                return Kind.DOWN
        return Kind.REJECTED


def shortened(text: str) -> str:
    """The beginning of what a service said, in one line."""
    one = " ".join(mended(text[: 4 * LONGEST]).split())
    return one if len(one) <= LONGEST else one[: LONGEST - 1] + "…"


def _error(text: str) -> dict[str, Any] | None:
    """The `error` of a body, in any of the forms that services give it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and value:  # Gemini's is in a list
        value = value[0]
    if not isinstance(value, dict):
        return None
    error = value.get("error", value)
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return None
    if "message" not in error and isinstance(error.get("detail"), str):
        return {"message": error["detail"]}
    return error
