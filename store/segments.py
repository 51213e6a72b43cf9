"""Segments of an index: files of sealed lines, a row each, that are only ever written whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.errors import StoreError
from clare.files import Fence, write_durably
from clare.foreign import RECORD
from clare.store.layout import Layout
from clare.store.records import checking, read_file, require, seal, unseal, whole
from clare.store.row import Row
from clare.store.row_lines import LineReader
from clare.store.rows import NO_ROWS, Rows, join_rows, rows_of
from clare.store.spec import MOST_SHARDS, SHARD_ROWS

_LINES = 256
"""Lines that are read at once: what they become stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row as its segment holds it; the highest (turn, slot) of a (sample, view) is live."""

    row: Row
    turn: int

    def to_json(self) -> dict[str, Any]:
        """The record of the row's line."""
        row = self.row
        return {
            "slot": row.slot,
            "sample_id": row.sample_id,
            "view": row.view,
            "content": row.content,
            "turn": self.turn,
            "columns": dict(row.columns),
        }


@dataclass(frozen=True, eq=False)
class Segment:
    """The rows of one file: of an append, or of a part of a long one.

    Args:
        subset: name of the subset.
        first_shard: the shard that its rows begin.
        shards: how many shards it takes, also where repair dropped some of its rows.
        rows: by slot, in rising order.
        turns: (n,) int64 of each row.
    """

    subset: str
    first_shard: int
    shards: int
    rows: Rows = NO_ROWS
    turns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def end(self) -> int:
        """The shard after its last one."""
        return self.first_shard + self.shards

    def entries(self) -> Iterator[Entry]:
        """Its rows, each with its turn."""
        return map(Entry, self.rows, self.turns.tolist())

    def with_entries(self, entries: Sequence[Entry]) -> Segment:
        """The same shards with these rows."""
        turns = np.array([entry.turn for entry in entries], np.int64)
        return replace(self, rows=rows_of([entry.row for entry in entries]), turns=turns)

    def header(self) -> dict[str, Any]:
        """The record of the first line."""
        return {
            "subset": self.subset,
            "first_shard": self.first_shard,
            "shards": self.shards,
            "rows": len(self.rows),
        }

    def write(self, layout: Layout, fence: Fence) -> None:
        """Write or replace the segment's file, atomically and durably.

        Raises:
            StoreError: it would be larger than a reader takes.
        """
        path = layout.segment(self.subset, self.first_shard)
        lines = [seal(self.header()), *(seal(entry.to_json()) for entry in self.entries())]
        if sum(map(len, lines)) > RECORD:
            raise StoreError(
                f"rows of {self.subset} are too long to be read again", "leave out some columns"
            )
        write_durably(path, b"".join(lines), fence=fence)


def read_segment(
    layout: Layout, subset: str, path: Path, only: Collection[str] | None = None
) -> Segment:
    """Read one segment file, of the columns those named `only`, or all.

    Raises:
        CorruptStoreError: a line is damaged or missing.
    """
    lines = BytesIO(read_file(path))
    with checking(path):
        segment, count = read_header(unseal(lines.readline()))
        at_home = layout.segment(subset, segment.first_shard) == path
        require(segment.subset == subset and at_home, "it belongs to another place")
        rows, turns = read_rows(lines, only)
        require(len(rows) == count, f"it has {len(rows)} of its {count} lines")
        first, last = SHARD_ROWS * segment.first_shard, SHARD_ROWS * segment.end - 1
        rise = np.diff(rows.slots, prepend=first - 1, append=last + 1)
        require((rise > 0).all(), "its slots are out of order")
    return replace(segment, rows=rows, turns=turns)


def read_rows(
    lines: Iterator[bytes], only: Collection[str] | None = None
) -> tuple[Rows, NDArray[np.int64]]:
    """The rows of sealed lines, of the columns those named `only`, or all; and their turns.

    Raises:
        ValueError: a line is damaged, or says what no row can.
        KeyError: a member is missing.
    """
    reader = LineReader(only)
    parts, turns = [], [np.zeros(0, np.int64)]
    while some := list(islice(lines, _LINES)):
        rows, turn = reader.read(some)
        parts.append(rows)
        turns.append(turn)
    return join_rows(parts), np.concatenate(turns)


def read_header(header: Mapping[str, Any]) -> tuple[Segment, int]:
    """The segment that a first line announces, still without its rows, and how many it has.

    Raises:
        ValueError: a member is of another type, or says what no segment can.
        KeyError: one is missing.
    """
    require(type(header["subset"]) is str, "it names no subset")
    first = whole(header["first_shard"], MOST_SHARDS - 1, "its first shard")
    shards = whole(header["shards"], MOST_SHARDS - first, "its number of shards")
    require(shards, "it has no shards")
    return Segment(header["subset"], first, shards), header["rows"]
