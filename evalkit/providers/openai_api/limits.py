"""Headers that say how long to wait and how much more a service will take.

`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as OpenAI, Azure, Groq and others send them,
`anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`, `retry-after` and
`retry-after-ms`. What cannot be read is not there.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from evalkit.chat import Headroom

_UNITS: tuple[Literal["requests", "tokens"], ...] = ("requests", "tokens")
_STEPS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 7 * 86400.0  # seconds; more is a date in another sense


def headroom(headers: Mapping[str, str], now: datetime) -> tuple[Headroom, ...]:
    """What is left of each limit that the headers name. `now`: in UTC."""
    found = []
    for unit in _UNITS:
        for form in (f"x-ratelimit-{{}}-{unit}", f"anthropic-ratelimit-{unit}-{{}}"):
            if form.format("limit") not in headers:
                continue
            limit = _number(headers.get(form.format("limit")))
            remaining = _number(headers.get(form.format("remaining")))
            if limit and remaining is not None:
                reset = seconds(headers.get(form.format("reset")), now)
                found.append(Headroom(unit, limit, min(remaining, limit), reset))
    return tuple(found)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """After how many seconds the service wants to be asked again."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _believed(milliseconds / 1000)
    return seconds(headers.get("retry-after"), now)


def seconds(text: str | None, now: datetime) -> float | None:
    """A span of time: 20, 6m0s, 20ms, or a date (HTTP's or ISO 8601) that lies ahead."""
    text = (text or "").strip()
    plain = _number(text)
    if plain is not None:
        return _believed(plain)
    if re.fullmatch(r"(\d+(\.\d+)?(ms|[smhd]))+", text):
        steps = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd])", text)
        return _believed(sum(float(number) * _STEPS[step] for number, step in steps))
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            date = read(text)
            ahead = (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
        except (ValueError, OverflowError):
            continue
        return _believed(max(0.0, ahead.total_seconds()))
    return None


def _believed(span: float) -> float | None:
    return span if span <= _LONGEST else None


def _number(text: str | None) -> float | None:
    if not text or not re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
