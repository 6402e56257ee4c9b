"""Texts of our own that can be said in another language.

A Said is English text that remembers the template and the values it was made from. Where it is
shown, it can be said by a translation: a mapping of English templates to others. Knows no language.
"""

from collections.abc import Iterable, Mapping
from functools import reduce


class Said(str):
    """`Said("{n} of {of} are owed", n=3, of=80)`: a text in English, as `str.format` makes it.

    Values are never read as templates; one that is a Said itself is translated with the rest.
    """

    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, /, **values: object) -> "Said":
        """Fill the template. Raises KeyError where a value is not given."""
        made = super().__new__(cls, template.format(**values))
        made.template, made.values = template, values
        return made

    def into(self, translation: Mapping[str, str]) -> str:
        """The text in another language; in English where the translation has no such template."""
        values = {
            name: value.into(translation) if isinstance(value, Said) else value
            for name, value in self.values.items()
        }
        return translation.get(self.template, self.template).format(**values)


def counted(n: int, one: str, several: str, /, **values: object) -> Said:
    """`one` where n is 1, else `several`; both are templates that may hold `{n}`."""
    return Said(one if n == 1 else several, n=n, **values)


def joined(template: str, parts: Iterable[str]) -> str:
    """Parts in one text, two at a time: `template` holds `{first}` and `{next}`."""
    return reduce(lambda first, each: Said(template, first=first, next=each), parts)
