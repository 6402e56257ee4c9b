"""What a stranger's text becomes before a terminal, a page or a spreadsheet shows it.

Names and texts come from models and from the web. They are data: stored as they are, and made
harmless at the last moment, by the function for the place where they are shown.
"""

import re
from typing import Any

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_NO_ROOM = re.compile("[\u00ad\u200b-\u200d\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str) -> str:
    """`text` with what controls, changes direction or is no character as signs to be seen.

    Newline and tab stay. The C0 controls become their Unicode pictures (ESC is U+241B), the others
    their code in angle brackets.
    """
    return _CONTROLS.sub(lambda found: _sign(ord(found[0])), text)


def one_line(text: str) -> str:
    """`visible`, with line breaks as signs too: a name that holds one must not make two lines."""
    return visible(text).replace("\n", "\u2424")


def spelled(text: str) -> str:
    """`visible`, with characters that take no room as signs too: a text as it really is."""
    return _NO_ROOM.sub(lambda found: _sign(ord(found[0])), visible(text))


def cell(value: Any) -> Any:
    """A value for a CSV cell that no spreadsheet takes for a formula: text gets a leading '."""
    if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA):
        return f"'{value}"
    return value


def from_cell(text: str) -> str:
    """The text that `cell` made this of."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def _sign(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<{code:02X}>"
