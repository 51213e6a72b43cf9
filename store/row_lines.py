"""Lines of an index as columns: nearly all lines of a segment differ in their values alone.

Such lines are matched with one pattern, which passes over columns that nobody asks for. All others,
with lists or escaped characters say, are parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clare.store.records import parse_all, require, unseal_all
from clare.store.rows import Rows, checked_rows, transposed, wholes
from clare.store.spec import MOST_SHARDS, SHARD_ROWS

_WHOLE = "-?(?:0|[1-9][0-9]{0,18})"
_INSIDE: Mapping[type, str] = {
    str: r'[^"\\\x00-\x1f]*',
    int: _WHOLE,
    float: rf"{_WHOLE}(?:\.[0-9]+(?:e[-+][0-9]+)?|e[-+][0-9]+)",
}
"""What JSON writes of a value of each kind, quotes left out: what its constructor takes."""

_MEMBERS = {"content": str, "sample_id": str, "slot": int, "turn": int, "view": int}
"""Of a row's record beside its columns."""

_MOST_TURNS = (1 << 63) - 1

T = TypeVar("T")

Kinds = tuple[tuple[str, type], ...]
"""The columns of a row, each with the type of its value, by name."""

Values = Mapping[str, Sequence[Any]]
"""Values of all rows by the name of a member, or of a column."""


class LineReader:
    """Makes columns of the lines of an index.

    Texts that many rows have in common are kept once over all that one reader read.

    Args:
        only: the columns of the manifests that are read; what others hold is not looked at. All
            are if it is left out.
    """

    def __init__(self, only: Collection[str] | None = None) -> None:
        self._only = None if only is None else frozenset(only)
        self._known: dict[str, str] = {}

    def read(self, lines: Sequence[bytes]) -> tuple[Rows, NDArray[np.int64]]:
        """The rows of sealed lines, and their turns.

        Raises:
            ValueError: a line is damaged, a member is of another type, or a row's label is not 0
                or 1, its split or ``mask_fake`` is unknown, a path leaves its root, or a value is
                not plain.
            KeyError: a member is missing.
        """
        found = unseal_all(lines)
        own, columns = self._matched(found) or self._parsed(found)
        last = SHARD_ROWS * MOST_SHARDS - 1
        rows = checked_rows(
            own["sample_id"],
            own["view"],
            own["content"],
            columns,
            wholes(own["slot"], last, "a row's slot"),
            self._shared,
        )
        return rows, wholes(own["turn"], _MOST_TURNS, "a row's turn")

    def _matched(self, found: Sequence[bytes]) -> tuple[Values, Values] | None:
        """Members and columns of lines that differ in their values alone; None of others."""
        kinds = _kinds_of(parse_all(found[:1])[0])
        if kinds is None:
            return None
        values = _pattern(kinds, self._only).findall(b"\n".join(found).decode())
        if len(values) != len(found):
            return None
        read = [*_kept(kinds, self._only), *_MEMBERS.items()]
        by_name = [
            (name, _made(kind, texts))
            for (name, kind), texts in zip(read, zip(*values, strict=True), strict=True)
        ]
        return dict(by_name[-len(_MEMBERS) :]), dict(by_name[: -len(_MEMBERS)])

    def _parsed(self, found: Sequence[bytes]) -> tuple[Values, Values]:
        """Members and columns of any lines."""
        records = parse_all(found)
        require({dict}.issuperset(map(type, records)), "a line is no record")
        own = {name: list(map(itemgetter(name), records)) for name in _MEMBERS}
        columns = transposed(own["sample_id"], list(map(itemgetter("columns"), records)))
        return own, dict(_kept(columns.items(), self._only))

    def _shared(self, values: Sequence[str]) -> Iterable[str]:
        if 2 * len(set(values)) > len(values):
            return values  # nearly each has its own
        return map(self._known.setdefault, values, values)


def _kept(columns: Iterable[tuple[str, T]], only: Collection[str] | None) -> list[tuple[str, T]]:
    return [(name, one) for name, one in columns if only is None or name in only]


def _made(kind: type, texts: Sequence[str]) -> Sequence[Any]:
    """Values of what a pattern found."""
    if kind is str:
        return texts
    several = set(texts)
    if 2 * len(several) > len(texts):
        return list(map(kind, texts))
    return list(map({text: kind(text) for text in several}.__getitem__, texts))


def _kinds_of(record: Any) -> Kinds | None:
    """The kinds of a record's columns; None where there is no pattern of them."""
    columns = record.get("columns") if type(record) is dict else None
    if type(columns) is not dict:
        return None
    kinds = tuple((name, type(value)) for name, value in sorted(columns.items()))
    return kinds if all(kind in _INSIDE for _, kind in kinds) else None


@lru_cache(maxsize=64)
def _pattern(kinds: Kinds, only: Collection[str] | None) -> re.Pattern[str]:
    """What a sealed line matches, its seal left out, of a row with these columns and no others."""

    def members(kinds: Iterable[tuple[str, type]], only: Collection[str] | None) -> str:
        found = []
        for name, kind in kinds:
            inside = _INSIDE[kind]
            if only is None or name in only:
                inside = f"({inside})"
            value = f'"{inside}"' if kind is str else inside
            found.append(f"{re.escape(json.dumps(name))}:{value}")
        return ",".join(found)

    line = rf'^\{{"columns":\{{{members(kinds, only)}\}},{members(_MEMBERS.items(), None)}$'
    return re.compile(line, re.MULTILINE)
