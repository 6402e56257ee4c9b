"""What can go wrong, by whose door it came in.

    EvalkitError            one line for a person, an exit code, no traceback
    ├── BadFile             lines of a file that cannot be used, all of them at once
    ├── BadPath             a file or folder that is gone, of the wrong kind, or closed to us
    ├── BadName             a name that no file may have, or that two things would share
    ├── Unknown             no such bank, model, judge or format; the nearest names are offered
    ├── BadKey              a key that cannot be sent, or that would go where it does not belong
    ├── Missing             something must be given or made first; says what to type
    ├── Locked              another evalkit is writing here
    └── DiskFull            what was written so far is whole (exit 1: it can go on)

Anything else is a bug of ours and keeps its traceback, but for an OSError that names a file or
tells of a full disk.
This module prints nothing and ends nothing; the command line does both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

MOST_FAULTS = 20
MOST_NAMES = 30


class EvalkitError(Exception):
    """A mistake of the user's, or something outside that refused."""

    exit_code = 2

    def lines(self) -> list[str]:
        """What to print, a string a line, without the leading 'evalkit: '."""
        return [str(self)]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong at one place: `where` is FILE:LINE or FILE:LINE:COLUMN."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class BadFile(EvalkitError):
    """One or more lines of a file cannot be used; nothing of it was."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = list(faults)

    def lines(self) -> list[str]:
        """One line a fault, the first `MOST_FAULTS` of them."""
        shown = [str(fault) for fault in self.faults[:MOST_FAULTS]]
        if more := len(self.faults) - len(shown):
            shown.append(f"... and {more} more like these")
        return shown


class BadPath(EvalkitError):
    """A path that is gone, of the wrong kind, or may not be read or written."""


class BadName(EvalkitError):
    """A name that cannot become a file's name, or two names that would share one file."""


class BadKey(EvalkitError):
    """A key that cannot be one, or that would leave the host it belongs to."""


class Missing(EvalkitError):
    """Something has to be given, or made, before this can run."""


class Locked(EvalkitError):
    """Another process is writing the same ledger."""


class DiskFull(EvalkitError):
    """No room left; every row that was counted is whole."""

    exit_code = 1


class Unknown(EvalkitError):
    """No such thing, among the known ones, which are listed unless they are many."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        text = f"no {kind} '{name}'.{did_you_mean(name, known)}"
        if not known:
            text += f" There is no {kind} yet."
        elif len(known) <= MOST_NAMES:
            text += f" There is: {', '.join(known)}."
        super().__init__(f"{text}  {hint}".rstrip())


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was most likely meant to be, or None."""
    folded = {each.casefold(): each for each in known}
    found = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'this'?`, to be put behind a sentence; empty where nothing is near."""
    near = nearest(name, known)
    return f" Did you mean '{near}'?" if near else ""


def count(number: int, what: str, several: str | None = None) -> str:
    """`3 questions`, `1 question`; `several`: the plural, where it takes more than an s."""
    return f"{number} {what if number == 1 else several or what + 's'}"


def reason(error: OSError) -> str:
    """The system's own words for an OSError, without its path."""
    return (error.strerror or type(error).__name__).lower()
