"""Half characters: surrogates without their other half, which no file can hold as UTF-8.

Services and other tools send them where an emoji was cut. They become U+FFFD and are counted.
"""

import re
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")


def mended(value: Any) -> Any:
    """`value`, and all that a list or dict holds, with each half character replaced by U+FFFD."""
    if isinstance(value, str):
        return value if value.isascii() else _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [mended(item) for item in value]
    if isinstance(value, dict):
        return {mended(key): mended(item) for key, item in value.items()}
    return value


def half_characters(text: str) -> int:
    """How many of them a text holds."""
    return 0 if text.isascii() else len(_HALF.findall(text))
