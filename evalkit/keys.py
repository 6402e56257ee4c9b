"""API keys: where each is found, where each may go, and that none is seen anywhere else.

Keys come from environment variables and from nowhere else. A key is never stored, printed or
sent by this module: it hands one out for the one host that it belongs to, and takes every known
key out of any text.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from evalkit.errors import BadKey, Missing

SHORTEST = 8  # characters; anything shorter would be "scrubbed" out of ordinary words
_KEYLIKE_NAME = re.compile(r"(API_?KEY|_KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_KEYLIKE_TEXT = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_[A-Za-z0-9]{16,}|gsk_[A-Za-z0-9]{16,}|AIza[\w-]{20,}"
    # or long and random: a name of that length has no run of both letters and digits in it
    r"|(?=[A-Za-z0-9_-]{32})[A-Za-z0-9_-]*?(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{12,})"
)


class Keys:
    """The keys that this process knows."""

    def __init__(self, environment: Mapping[str, str], named: Iterable[str] = ()) -> None:
        """`named`: the variables that the catalogue names; others are known by their endings."""
        self._environment = environment
        names = {*named, *filter(_KEYLIKE_NAME.search, environment)}
        values = {environment.get(name, "").strip() for name in names}
        self._values = sorted((v for v in values if len(v) >= SHORTEST), key=len, reverse=True)

    def get(self, variable: str, service: str) -> str:
        """The key in `variable`. Raises Missing without one, BadKey for one that cannot be sent."""
        key = self._environment.get(variable, "")
        if not key:
            give = f"set {variable} (export {variable}=...) or give --key-env NAME"
            raise Missing(f"no key for {service}: {give}.")
        for found, what in (
            ("\n", "a line break"),
            ("\r", "a line break"),
            (" ", "a blank"),
            ("\t", "a tab"),
            ('"', "a quote"),
            ("'", "a quote"),
        ):
            if found in key:
                place = " at its end" if key.endswith(found) else ""
                place = " at its beginning" if key.startswith(found) and not place else place
                raise BadKey(f"{variable} has {what}{place or ' in it'}. Set it again without")
        if not (key.isascii() and key.isprintable()):
            raise BadKey(f"{variable} has a character that no key has. Set it again")
        return key

    def scrub(self, text: str) -> str:
        """`text` with every known key as `…` and its last 4 characters."""
        for key in self._values:
            while key in text and key not in tail(key):
                text = text.replace(key, tail(key))
        return text


def tail(key: str) -> str:
    """How a key is shown to its owner: its last 4 characters."""
    return f"…{key[-4:]}"


def looks_like_a_key(text: str) -> bool:
    """Whether a text in a file is more likely a secret than a name."""
    return bool(_KEYLIKE_TEXT.search(text))


def check_home(variable: str, origin: str, homes: Collection[str], way: str | None) -> None:
    """Raise BadKey where the key in `variable` would leave the origins that it belongs to.

    `way`: the variable that can name another address for this key, if any.
    """
    if origin not in homes:
        belongs = sorted(homes) + ([f"the address in {way}"] if way else [])
        raise BadKey(
            f"{variable} goes only to {' or '.join(belongs)}, not to {origin}. "
            "Give that server's key a variable of its own: key_env or --key-env"
        )
