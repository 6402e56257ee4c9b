"""Reviews by the million, in columns: each value is held once, and of each row which it has.

As objects they take more memory than most machines have, and a loop over them takes longer than
all that is computed from them. `Rows` is a sequence of reviews to whoever wants one; who wants all
of them takes columns. What nobody counts is not held: what a judge said where it gave scores, how
long it took, what another tool's row held besides. Knows no file.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from evalkit.alike import look_alike
from evalkit.records import Bought, Review, Usage

Row = TypeVar("Row", bound=Bought)

Places = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Same(NamedTuple):
    """A column in which all rows have the same."""

    value: Any


Columns = Mapping[str, "Sequence[Any] | Same"]
"""Some rows: of each field what each row has, in order."""

LET_GO = {"extra", "latency", "reasoning", "sampling", "template"}
FIELDS = tuple(name for name in Review.model_fields if name not in LET_GO)
_TOKENS = ("input", "output")  # of a usage, which is held as the tuple of these
_MOST = 2**62  # what still fits where values of several columns are told apart by one number


class _Numbered(dict[Any, int]):
    """Values and their numbers, in the order in which they came."""

    def __missing__(self, value: Any) -> int:
        number = self[value] = len(self)
        return number

    def of(self, values: Sequence[Any]) -> Places:
        """The number of each value."""
        if values and values[0] not in self and values[-1] not in self:  # perhaps all are new
            new = dict(zip(values, range(len(self), len(self) + len(values)), strict=True))
            if len(new) == len(values) and self.keys().isdisjoint(new):
                self.update(new)
                return np.arange(len(self) - len(values), len(self))
        return np.fromiter(map(self.__getitem__, values), np.intp, len(values))


@dataclass(frozen=True)
class Column:
    """One field of all rows: which of `values` each row has."""

    codes: NDArray[Any]
    values: Sequence[Any]

    def used(self) -> Places:
        """Which of the values some row has."""
        return np.flatnonzero(np.bincount(self.codes, minlength=len(self.values)))

    def present(self) -> list[Any]:
        """The values that some row has."""
        return [self.values[number] for number in self.used().tolist()]

    def counts(self) -> list[tuple[Any, int]]:
        """The values that some row has, and how many have it."""
        numbers = np.bincount(self.codes, minlength=len(self.values)).tolist()
        return [(value, n) for value, n in zip(self.values, numbers, strict=True) if n]

    def mapped(self, of: Callable[[Any], Any], kind: Any) -> NDArray[Any]:
        """What a function makes of each row's value; it is called once for each value."""
        used = self.used()
        made = np.zeros(len(self.values), kind)
        made[used] = np.fromiter(map(of, self.present()), kind, len(used))
        return cast(NDArray[Any], made[self.codes])

    def mask(self, holds: Callable[[Any], bool]) -> Mask:
        """Of which rows something holds."""
        return self.mapped(holds, np.bool_)

    def numbered(self, of: Callable[[Any], Any]) -> "Column":
        """What a function makes of each row's value, as a column."""
        numbers = _Numbered()
        return column(self.mapped(lambda value: numbers[of(value)], np.intp), list(numbers))


def numbered(values: Iterable[Any]) -> Column:
    """The column that has these values."""
    numbers = _Numbered()
    codes = numbers.of(list(values))
    return column(codes, list(numbers))


def column(codes: NDArray[Any], values: Sequence[Any]) -> Column:
    """A column whose codes take as little room as they can."""
    return Column(codes.astype(np.min_scalar_type(max(0, len(values) - 1))), values)


class Rows(Sequence[Review]):
    """Reviews, in the order in which they came; each is made when it is asked for."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        """`columns`: one of each of `FIELDS`, all of one length."""
        self.columns = columns
        self._length = len(columns[FIELDS[0]].codes)

    @classmethod
    def of(cls, rows: Iterable[Review]) -> "Rows":
        """Reviews in columns, those that are in columns already as they are."""
        if isinstance(rows, Rows):
            return rows
        rows, gathering = list(rows), Gathering()
        gathering.add(len(rows), columns_of(rows))
        return gathering.rows()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> Review: ...
    @overload
    def __getitem__(self, place: slice) -> "Rows": ...
    def __getitem__(self, place: int | slice) -> "Review | Rows":
        if isinstance(place, slice):
            return self.take(np.arange(self._length)[place])
        return next(iter(self.take(np.array([range(self._length)[place]]))))

    def __iter__(self) -> Iterator[Review]:
        make, usage = look_alike(Review), look_alike(Usage)
        for values in self.tuples(FIELDS):
            row = dict(zip(FIELDS, values, strict=True))
            if row["usage"]:
                row["usage"] = usage(**dict(zip(_TOKENS, row["usage"], strict=True)))
            yield make(**row)

    def keys(self) -> Iterator[tuple[Any, ...]]:
        """`Review.key` of each row."""
        return self.tuples(Review.KEY)

    def values(self, name: str) -> Iterator[Any]:
        """What each row has in one field."""
        return (value for (value,) in self.tuples([name]))

    def how_many(self, name: str, holds: Callable[[Any], bool]) -> int:
        """Of how many rows something holds, that is told by one field."""
        return int(self.mask(name, holds).sum())

    def take(self, places: Sequence[int] | Places | Mask) -> "Rows":
        """Some of the rows."""
        own = np.arange(self._length)[_indices(places)]
        return Rows(
            {name: Column(each.codes[own], each.values) for name, each in self.columns.items()}
        )

    def undoubled(self) -> "Rows":
        """The same rows; of those with one key the first."""
        asked = self.columns["asked"].codes
        if np.bincount(asked, minlength=1).max() <= 1:  # most often so: then none is doubled
            return self
        firsts = np.unique(self.ids(*Review.KEY), return_index=True)[1]
        return self if len(firsts) == self._length else self.take(np.sort(firsts))

    def with_value(self, name: str, where: Mask, value: Any) -> "Rows":
        """The same rows, some of them with another value in a field."""
        old = self.columns[name]
        codes = np.where(where, len(old.values), old.codes)
        return Rows({**self.columns, name: column(codes, [*old.values, value])})

    def mask(self, name: str, holds: Callable[[Any], bool]) -> Mask:
        """Of which rows something holds, that is told by one field."""
        return self.columns[name].mask(holds)

    def among(self, name: str, wanted: Collection[Any]) -> Mask:
        """Which rows have a value that is one of these."""
        return self.mask(name, lambda value: value in wanted)

    def ids(self, *columns: str | Column) -> Places:
        """A number for each row; two rows have the same where they agree in all these columns."""
        ids, size = np.zeros(self._length, np.intp), 1
        for each in columns:
            own = self.columns[each] if isinstance(each, str) else each
            if size * len(own.values) > _MOST:
                ids = np.unique(ids, return_inverse=True)[1]
                size = self._length
            ids = ids * max(1, len(own.values)) + own.codes
            size *= max(1, len(own.values))
        return ids

    def groups(self, *names: str) -> "Groups":
        """The rows that agree in some fields."""
        firsts, of = np.unique(self.ids(*names), return_index=True, return_inverse=True)[1:]
        keys = list(self.take(firsts).tuples(names))
        return Groups(keys, of)

    def by(self, *names: str) -> "dict[tuple[Any, ...], Rows]":
        """The rows that agree in some fields, by the values of those."""
        groups = self.groups(*names)
        return {key: self.take(groups.of == number) for number, key in enumerate(groups.keys)}

    def without(self, name: str, value: Any) -> "Rows":
        """The rows that have another value in a field."""
        return self.take(~self.among(name, {value}))

    def tuples(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """What each row has in some fields."""
        columns = [self.columns[name] for name in names]
        parts = [map(each.values.__getitem__, each.codes.tolist()) for each in columns]
        return zip(*parts, strict=True)


@dataclass(frozen=True)
class Groups:
    """Rows that agree in some fields."""

    keys: list[tuple[Any, ...]]
    """Of each group the values of those fields."""
    of: Places
    """Of each row its group."""

    def mask(self, holds: Callable[..., bool]) -> Mask:
        """Which rows are of a group of which something holds."""
        return np.array([holds(*key) for key in self.keys], np.bool_)[self.of]


def light(model: type[Row], rows: Sequence[Row]) -> Sequence[Row]:
    """Rows as they are counted: reviews in columns, others as they are."""
    return cast(Sequence[Row], Rows.of(cast(Sequence[Review], rows))) if model is Review else rows


def pick(rows: Sequence[Row], places: Sequence[int] | Places | Mask) -> Sequence[Row]:
    """Some of some rows, in columns where those are."""
    if isinstance(rows, Rows):
        return cast(Sequence[Row], rows.take(places))
    return [rows[place] for place in np.arange(len(rows))[_indices(places)].tolist()]


def _indices(places: Sequence[int] | Places | Mask) -> Places | Mask:
    found = np.asarray(places)
    return found if found.dtype == np.bool_ else found.astype(np.intp)  # of an empty list: float


def concatenated(parts: Sequence[Sequence[Row]]) -> Sequence[Row]:
    """Rows behind each other, in columns where all of them are."""
    parts = [part for part in parts if len(part)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    if not parts or not all(isinstance(part, Rows) for part in parts):
        return [row for part in parts for row in part]
    own = [part.columns for part in parts if isinstance(part, Rows)]
    return cast(Sequence[Row], Rows({name: _joined([p[name] for p in own]) for name in FIELDS}))


def _joined(parts: Sequence[Column]) -> Column:
    values = list(chain.from_iterable(part.values for part in parts))
    if len(set(values)) == len(values):  # no two of them have a value in common
        begins = accumulate((len(part.values) for part in parts), initial=0)
        codes = [part.codes + np.intp(begin) for part, begin in zip(parts, begins, strict=False)]
        return column(np.concatenate(codes), values)
    numbers = _Numbered()
    codes = [numbers.of(part.values)[part.codes] for part in parts]
    return column(np.concatenate(codes), list(numbers))


def undoubled(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows, of those with one key the first."""
    if isinstance(rows, Rows):
        return cast(Sequence[Row], rows.undoubled())
    if len({(row.asked, row.sample) for row in rows}) == len(rows):
        return rows
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        found.setdefault(row.key, row)
    return list(found.values())


def keys_of(rows: Sequence[Row]) -> Iterable[tuple[Any, ...]]:
    """The key of each row."""
    return rows.keys() if isinstance(rows, Rows) else (row.key for row in rows)


def values_of(rows: Sequence[Row], name: str) -> Iterable[Any]:
    """What each row has in one field."""
    return rows.values(name) if isinstance(rows, Rows) else (getattr(row, name) for row in rows)


class Gathering:
    """Rows to be: reviews come, and are let go as columns."""

    def __init__(self) -> None:
        self._numbers = {name: _Numbered() for name in FIELDS}
        self._codes: dict[str, list[NDArray[Any]]] = {name: [] for name in FIELDS}

    def add(self, number: int, columns: Columns) -> None:
        """Take so many reviews."""
        if not number:
            return
        for name, values in _counted(number, columns).items():
            numbers = self._numbers[name]
            if isinstance(values, Same):
                codes = np.broadcast_to(np.intp(numbers[values.value]), number)
            else:
                codes = numbers.of(values)
            self._codes[name].append(codes.astype(np.min_scalar_type(max(0, len(numbers) - 1))))

    def rows(self) -> Rows:
        """All that came."""
        columns = {}
        for name in FIELDS:
            codes = np.concatenate([*self._codes.pop(name), np.empty(0, np.uint8)])
            columns[name] = column(codes, list(self._numbers.pop(name)))
        return Rows(columns)


def columns_of(rows: Sequence[Any]) -> Columns:
    """Reviews in columns."""
    return {name: [getattr(row, name) for row in rows] for name in FIELDS}


def each_of(values: Sequence[Any] | Same, number: int) -> Iterable[Any]:
    """A column of so many rows, row by row."""
    return repeat(values.value, number) if isinstance(values, Same) else values


def _counted(number: int, columns: Columns) -> Columns:
    """Each of `FIELDS`, of what a judge said only where scores do not say it all."""
    found = {name: columns[name] for name in FIELDS}
    scores, text, usage = (columns[name] for name in ("scores", "text", "usage"))
    read = zip(each_of(scores, number), each_of(text, number), strict=True)
    found["text"] = ["" if scores is not None else text for scores, text in read]
    tokens = attrgetter(*_TOKENS)
    if isinstance(usage, Same):
        found["usage"] = Same(usage.value and tokens(usage.value))
    else:
        found["usage"] = [each and tokens(each) for each in usage]
    return found
