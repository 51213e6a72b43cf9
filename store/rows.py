"""Many rows as columns: an index holds them by the million, and most work needs a few columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain, repeat
from math import isfinite
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from clare.columns import MASK_FAKE, SPLITS
from clare.names import are_clean, has_control, path_fault
from clare.store.records import require, whole
from clare.store.row import DECIDING, Row, checksum_of

Column = NDArray[Any]
"""(n,) int64, float64 or bool where every row has a value of that kind, else objects."""

_PATHS = ("path", "mask_path", "landmark_path")
_TEXTS = (*DECIDING, "split", "subset", "domain", "video_id", *_PATHS)
_PLAIN = frozenset((str, int, float, bool, type(None)))
_NUMBERS = frozenset((int, float, bool))
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


class Absent(Enum):
    """Stands in a column where a row has no value, not even None."""

    ABSENT = 0

    def __bool__(self) -> bool:
        return False


ABSENT = Absent.ABSENT


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row]):
    """Rows by column; as a sequence, it makes each `Row` when it is asked for.

    Args:
        sample_ids: (n,) texts.
        views: (n,) int64.
        contents: (n,) texts.
        slots: (n,) int64.
        columns: of the manifests, sorted by name.
    """

    sample_ids: Column
    views: NDArray[np.int64]
    contents: Column
    slots: NDArray[np.int64]
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.slots)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Rows: ...
    def __getitem__(self, place: int | slice) -> Row | Rows:
        if isinstance(place, slice):
            return self._each(lambda column: _narrowed(column[place]))
        items = {name: column.item(place) for name, column in self.columns.items()}
        return Row(
            sample_id=self.sample_ids[place],
            view=int(self.views[place]),
            content=self.contents[place],
            columns={name: value for name, value in items.items() if value is not ABSENT},
            slot=int(self.slots[place]),
        )

    def __iter__(self) -> Iterator[Row]:
        own = (self.sample_ids, self.views, self.contents, self.slots)
        names = tuple(self.columns)
        each = zip(*(column.tolist() for column in self.columns.values()), strict=True)
        values: Iterable[tuple[Any, ...]] = each if names else repeat((), len(self))
        plain = (column.tolist() for column in own)
        for sample_id, view, content, slot, row in zip(*plain, values, strict=True):
            columns = {n: v for n, v in zip(names, row, strict=True) if v is not ABSENT}
            yield Row(sample_id=sample_id, view=view, content=content, columns=columns, slot=slot)

    def take(self, places: NDArray[Any]) -> Rows:
        """The rows at these places, or where an array of truth values says so, in their order."""
        return self._each(lambda column: _narrowed(column[places]))

    def column(self, name: str) -> Column:
        """A column of the manifests; None where a row has no value."""
        if name not in self.columns:
            return np.full(len(self), None, object)
        found = self.columns[name]
        if found.dtype == object and (absent := found == ABSENT).any():
            found = found.copy()
            found[absent] = None
        return found

    def names(self) -> list[str]:
        """The columns of the manifests, in the order in which rows first have them."""
        first = {
            name: int(np.argmax(column != ABSENT)) if column.dtype == object else 0
            for name, column in self.columns.items()
        }
        return sorted(self.columns, key=lambda name: (first[name], name))

    def stored(self, name: str) -> Column:
        """A column of the manifests; `ABSENT` where a row has no value."""
        if name in self.columns:
            return self.columns[name]
        return np.full(len(self), ABSENT, object)

    def identity_checksums(self) -> NDArray[np.uint32]:
        """(n,) the `Row.identity_checksum` of each row."""
        deciding = {name: self.columns[name] for name in DECIDING if name in self.columns}
        if deciding:
            each: Iterable[int] = (row.identity_checksum for row in replace(self, columns=deciding))
        else:  # most rows are of whole images
            own = (self.sample_ids.tolist(), self.views.tolist(), self.contents.tolist())
            each = [
                checksum_of(name, view, content) for name, view, content in zip(*own, strict=True)
            ]
        return np.fromiter(each, np.uint32, len(self))

    def _each(self, change: Callable[[Column], Column]) -> Rows:
        return Rows(
            change(self.sample_ids),
            change(self.views),
            change(self.contents),
            change(self.slots),
            {name: change(column) for name, column in self.columns.items()},
        )


NO_ROWS = Rows(
    np.zeros(0, object), np.zeros(0, np.int64), np.zeros(0, object), np.zeros(0, np.int64), {}
)


def join_rows(parts: Sequence[Rows]) -> Rows:
    """The rows of several parts, one part after another."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else NO_ROWS
    names = sorted(set().union(*(part.columns for part in parts)))

    def joined(get: Callable[[Rows], Column]) -> Column:
        own = list(map(get, parts))
        kinds = {column.dtype for column in own}
        return np.concatenate(own if len(kinds) == 1 else [one.astype(object) for one in own])

    return Rows(
        joined(attrgetter("sample_ids")),
        joined(attrgetter("views")),
        joined(attrgetter("contents")),
        joined(attrgetter("slots")),
        {name: joined(methodcaller("stored", name)) for name in names},
    )


def objects(values: Iterable[Any], count: int) -> Column:
    """(count,) objects, lists among them left whole."""
    return np.fromiter(values, object, count)


def _narrowed(column: Column) -> Column:
    """A column as numbers or truth values where all are of one such kind, in whatever it was."""
    if column.dtype != object or not len(column) or type(column[0]) not in _NUMBERS:
        return column
    values = column.tolist()
    return np.array(values) if len(_kinds(values)) == 1 else column


def rows_of(rows: Sequence[Row]) -> Rows:
    """Rows as columns; they may be already.

    Raises:
        ValueError: no reader could use one of them; see `checked_rows`.
    """
    if isinstance(rows, Rows):
        return rows
    sample_ids = [row.sample_id for row in rows]
    return checked_rows(
        sample_ids,
        [row.view for row in rows],
        [row.content for row in rows],
        transposed(sample_ids, [row.columns for row in rows]),
        np.array([row.slot for row in rows], np.int64),
    )


def checked_rows(
    sample_ids: Sequence[Any],
    views: Sequence[Any],
    contents: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
    slots: NDArray[np.int64],
    shared: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> Rows:
    """Rows that are brought or read, their columns by name.

    Args:
        sample_ids: of each row, as are `views`, `contents` and `slots`.
        views: see `sample_ids`.
        contents: see `sample_ids`.
        columns: from `transposed`.
        slots: see `sample_ids`.
        shared: keeps texts that many rows have in common once.

    Raises:
        ValueError: a member is of another type, or a row's label is not 0 or 1, its split or
            ``mask_fake`` is unknown, a path leaves its root, or a value is not plain.
    """
    count = len(sample_ids)
    require(_kinds(sample_ids) <= {str} and all(sample_ids), "a row has no sample_id")
    if has_control("".join(sample_ids)):
        bad = next(filter(has_control, sample_ids))
        raise ValueError(f"the sample_id {bad!r} has control characters")
    check = _Check(sample_ids)
    check.kinds(contents, {str}, "has no hash of its content")
    check.label(columns.get("label", [None] * count))
    made = {name: check.column(name, columns[name], shared) for name in sorted(columns)}
    return Rows(
        objects(sample_ids, count),
        wholes(views, _MOST, "a row's view"),
        objects(contents, count),
        slots,
        made,
    )


def transposed(sample_ids: Sequence[Any], columns: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """The columns of rows by name; `ABSENT` where a row has no value.

    Raises:
        ValueError: a row has none.
    """
    for kind in _kinds(columns):
        if not issubclass(kind, Mapping):
            _Check(sample_ids).kinds(columns, _kinds(columns) - {kind}, "has no columns")
    names = dict.fromkeys(chain.from_iterable(columns[:1]))
    if set(map(len, columns)) == {len(names)}:
        with suppress(KeyError):  # of a row with other columns, but as many
            return {name: list(map(itemgetter(name), columns)) for name in names}
    names = dict.fromkeys(chain.from_iterable(columns))
    return {name: [one.get(name, ABSENT) for one in columns] for name in names}


class _Check:
    """Refuses values that no reader could use, and names the row of the first one.

    Args:
        sample_ids: of the rows.
    """

    def __init__(self, sample_ids: Sequence[str]) -> None:
        self._ids = sample_ids

    def kinds(self, values: Sequence[Any], good: set[type], what: str) -> None:
        if not _kinds(values) <= good:
            self.first(values, lambda value: type(value) not in good, what)

    def first(self, values: Sequence[Any], bad: Callable[[Any], Any], what: str) -> None:
        for sample_id, value in zip(self._ids, values, strict=True):
            if bad(value):
                raise ValueError(f"{sample_id!r} {what}")

    def label(self, values: Sequence[Any]) -> None:
        if not (_kinds(values) <= {int} and set(values) <= {0, 1}):
            for sample_id, value in zip(self._ids, values, strict=True):
                good = type(value) is int and value in (0, 1)
                require(good, f"{sample_id!r} has the label {value or None!r:.40}")

    def column(
        self, name: str, values: Sequence[Any], shared: Callable[[Sequence[str]], Iterable[str]]
    ) -> Column:
        kinds = _kinds(values)
        if name in _TEXTS and not kinds <= {str, type(None), Absent}:
            self._text(name, values)
        if not kinds <= _PLAIN | {Absent}:
            for sample_id, value in zip(self._ids, values, strict=True):
                _require_plain(sample_id, name, value)
        if int in kinds and (len(kinds) > 1 or min(values) < _LEAST or max(values) > _MOST):
            self.first(values, _is_large, "has a number of more than 64 bits")
        if float in kinds:
            self.first(values, _is_infinite, "has no finite number")
        if name in _WORDS:
            self._word(name, values)
        if name in _PATHS:
            self._path(name, values)
        if len(kinds) == 1 and kinds <= _NUMBERS:
            return np.array(values)
        return objects(shared(values) if kinds == {str} else values, len(values))

    def _text(self, name: str, values: Sequence[Any]) -> None:
        for sample_id, value in zip(self._ids, values, strict=True):
            good = value is None or value is ABSENT or type(value) is str
            require(good, f"{name} of {sample_id!r} is no text")

    def _word(self, name: str, values: Sequence[Any]) -> None:
        good = {"", None, ABSENT, *_WORDS[name]}
        if not good.issuperset(values):
            for sample_id, value in zip(self._ids, values, strict=True):
                require(value in good, f"{sample_id!r} has the {name} {value!r:.40}")

    def _path(self, name: str, values: Sequence[Any]) -> None:
        if are_clean(filter(None, values)):
            return
        for sample_id, path in zip(self._ids, values, strict=True):
            if path and (fault := path_fault(path)):
                raise ValueError(f"{name} of {sample_id!r} {fault}")


_WORDS = {"split": SPLITS, "mask_fake": MASK_FAKE}
"""Columns that hold one of these words, or nothing."""


def _require_plain(sample_id: str, name: str, value: Any) -> None:
    """A column is a plain value, or a list or table of some, as a manifest's further columns."""
    inside = value.values() if isinstance(value, Mapping) else value
    good = (
        type(value) in _PLAIN
        or value is ABSENT
        or (isinstance(value, Mapping | list | tuple) and _PLAIN.issuperset(map(type, inside)))
    )
    require(good, f"{name} of {sample_id!r} is no plain value")


def _is_large(value: Any) -> bool:
    return type(value) is int and not _LEAST <= value <= _MOST


def _is_infinite(value: Any) -> bool:
    return type(value) is float and not isfinite(value)


def _kinds(values: Iterable[Any]) -> set[type]:
    return set(map(type, values))


def wholes(values: Sequence[Any], most: int, what: str) -> NDArray[np.int64]:
    """Numbers that count or place something.

    Raises:
        ValueError: one is of another type, or beyond the bounds.
    """
    if not (_kinds(values) <= {int} and (not values or 0 <= min(values) <= max(values) <= most)):
        for value in values:
            whole(value, most, what)
    return np.array(values, np.int64)
