"""The index: which row has which slot, in immutable segments of sealed lines.

Each append of rows writes one segment file, which begins a new shard. A segment is rewritten, as
a whole, only to refresh the metadata of its rows. Row ``slot`` lies in shard ``slot // 64``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clare.errors import StoreError
from clare.files import remove_partials, write_durably
from clare.store.layout import Layout
from clare.store.records import checksum, damaged, seal, unseal, unseal_all
from clare.store.spec import SHARD_ROWS

Identity = tuple[str, int, str, str, str]

DECIDING = ("boxes", "mask_content")
"""Columns that are part of a row's identity, because stored values follow from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One (sample, view) of a subset.

    Args:
        sample_id: the sample's id, unique in its subset.
        view: 0 for the plain image, above for its augmentations.
        content: sha256 of the file's bytes, hexadecimal; empty if the file could not be read.
        columns: every column of the manifest, as plain JSON.
        slot: the row's place along the first axis of every array; -1 before it has one.
    """

    sample_id: str
    view: int
    content: str
    columns: Mapping[str, Any]
    slot: int = -1

    @property
    def identity(self) -> Identity:
        """What decides the row's stored values: another identity is another slot."""
        columns = self.columns
        boxes, mask = str(columns.get("boxes") or ""), str(columns.get("mask_content") or "")
        return self.sample_id, self.view, self.content, boxes, mask

    @property
    def identity_checksum(self) -> int:
        """CRC-32C of the identity, which binds a journal record to the rows it speaks of."""
        sample_id, view, content, boxes, mask = self.identity
        text = f"{sample_id}\0{view}\0{content}\0{boxes}\0{mask}"
        return checksum(text.encode(errors="surrogatepass"))


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

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Entry:
        """The entry that `to_json` wrote."""
        row = Row(
            sample_id=record["sample_id"],
            view=record["view"],
            content=record["content"],
            columns=record["columns"],
            slot=record["slot"],
        )
        return cls(row, record["turn"])


@dataclass(frozen=True)
class Segment:
    """The rows of one append.

    Args:
        subset: name of the subset.
        first_shard: the shard that the append began.
        shards: how many shards it takes, also where repair dropped some of its rows.
        entries: its rows by slot, in rising order.
    """

    subset: str
    first_shard: int
    shards: int
    entries: tuple[Entry, ...]

    @property
    def end(self) -> int:
        """The shard after its last one."""
        return self.first_shard + self.shards

    def header(self) -> dict[str, Any]:
        """The record of the first line."""
        return {
            "subset": self.subset,
            "first_shard": self.first_shard,
            "shards": self.shards,
            "rows": len(self.entries),
        }

    def write(self, layout: Layout) -> None:
        """Write or replace the segment's file, atomically and durably."""
        path = layout.segment(self.subset, self.first_shard)
        lines = [seal(self.header()), *(seal(entry.to_json()) for entry in self.entries)]
        write_durably(path, b"".join(lines))


def read_segment(layout: Layout, subset: str, path: Path) -> Segment:
    """Read one segment file.

    Raises:
        CorruptStoreError: a line is damaged or missing.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    try:
        header = unseal(lines[0] if lines else b"")
        entries = tuple(map(Entry.from_json, unseal_all(lines[1:])))
    except (ValueError, KeyError) as error:
        raise damaged(path) from error
    segment = Segment(header["subset"], header["first_shard"], header["shards"], entries)
    if segment.subset != subset or layout.segment(subset, segment.first_shard) != path:
        raise damaged(path, "it belongs to another place")
    if len(entries) != header["rows"]:
        raise damaged(path, f"{header['rows'] - len(entries)} of its lines are missing")
    slots = [SHARD_ROWS * segment.first_shard - 1, *(entry.row.slot for entry in entries)]
    if slots != sorted(set(slots)) or slots[-1] >= SHARD_ROWS * segment.end:
        raise damaged(path, "its slots are out of order")
    return segment


@dataclass(frozen=True)
class SubsetIndex:
    """A snapshot of a subset's index.

    Args:
        segments: all of them, in order.
        live: the rows that stand for their (sample, view), in slot order.
    """

    segments: tuple[Segment, ...]
    live: tuple[Row, ...]
    identity_checksums: np.ndarray = field(repr=False)
    """(64 * shards,) uint32 of each slot's row; meaningless where `has_row` is False."""
    has_row: np.ndarray = field(repr=False)
    is_live: np.ndarray = field(repr=False)

    @property
    def shards(self) -> int:
        """Shards that the subset takes."""
        return _end(self.segments)

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> SubsetIndex:
        """The snapshot that these segments make."""
        slots = SHARD_ROWS * _end(segments)
        checksums, has_row = np.zeros(slots, np.uint32), np.zeros(slots, bool)
        latest = _latest(segments)
        for segment in segments:
            for entry in segment.entries:
                checksums[entry.row.slot] = entry.row.identity_checksum
                has_row[entry.row.slot] = True
        live = sorted((entry.row for entry in latest.values()), key=lambda row: row.slot)
        is_live = np.zeros(slots, bool)
        is_live[[row.slot for row in live]] = True
        return cls(tuple(segments), tuple(live), checksums, has_row, is_live)


def load_index(layout: Layout, subset: str) -> SubsetIndex:
    """Read all segments of a subset; a subset without a folder has none.

    Raises:
        CorruptStoreError: a segment is damaged or missing.
    """
    segments: list[Segment] = []
    for path in layout.segment_files(subset):
        segment = read_segment(layout, subset, path)
        if segment.first_shard != _end(segments):
            raise damaged(path, "the segment before it is missing")
        segments.append(segment)
    return SubsetIndex.of(segments)


class RowIndex:
    """A subset's index as it stands on the disk, read again when it changed there."""

    def __init__(self, layout: Layout, subset: str) -> None:
        self.layout = layout
        self.subset = subset
        self._known: tuple[list[tuple[Path, int, int, int]], SubsetIndex] | None = None

    def read(self) -> SubsetIndex:
        """The index as it now is; empty for an unknown subset.

        Raises:
            CorruptStoreError: a segment is damaged or missing.
        """
        status = [(path, path.stat()) for path in self.layout.segment_files(self.subset)]
        signature = [(path, s.st_ino, s.st_mtime_ns, s.st_size) for path, s in status]
        if self._known is None or self._known[0] != signature:
            self._known = signature, load_index(self.layout, self.subset)
        return self._known[1]


def assign(layout: Layout, subset: str, rows: Sequence[Row]) -> list[Row]:
    """Give each row its slot, durably; see `FeatureStore.assign_rows`.

    The caller holds the subset's exclusive lock.
    """
    _refuse_repeats(rows)
    remove_partials(layout.segments(subset))
    segments = list(load_index(layout, subset).segments)
    latest = _latest(segments)
    known = {entry.row.identity: entry for seg in segments for entry in seg.entries}

    assigned: list[Row] = []
    changed: dict[int, Entry] = {}
    fresh: list[Entry] = []
    next_slot = SHARD_ROWS * _end(segments)
    for row in rows:
        live = latest.get((row.sample_id, row.view))
        same = known.get(row.identity)
        if same is None:
            entry = Entry(replace(row, slot=next_slot), live.turn if live else 0)
            next_slot += 1
            fresh.append(entry)
        else:
            assert live is not None
            # An image that is again what it once was takes its old slot, and its features, back.
            turn = same.turn if live is same else live.turn + 1
            entry = Entry(replace(row, slot=same.row.slot), turn)
            if entry != same:
                changed[entry.row.slot] = entry
        assigned.append(entry.row)

    changed |= _other_views(latest, rows)
    for segment in _with_changes(segments, changed):
        segment.write(layout)
    if fresh:
        shards = -(-len(fresh) // SHARD_ROWS)
        Segment(subset, _end(segments), shards, tuple(fresh)).write(layout)
    return assigned


def _other_views(latest: Mapping[tuple[str, int], Entry], rows: Sequence[Row]) -> dict[int, Entry]:
    """Views that were not asked for, with what is now known of their sample: its split, say."""
    asked = {(row.sample_id, row.view) for row in rows}
    plain = {row.sample_id: row.columns for row in rows if row.view == 0}
    changed = {}
    for key, entry in latest.items():
        if key not in asked and key[0] in plain:
            own = {name: entry.row.columns.get(name) for name in DECIDING}
            columns = {k: v for k, v in {**plain[key[0]], **own}.items() if v is not None}
            if columns != entry.row.columns:
                changed[entry.row.slot] = replace(entry, row=replace(entry.row, columns=columns))
    return changed


def _with_changes(segments: Iterable[Segment], changed: Mapping[int, Entry]) -> list[Segment]:
    rewritten = []
    for segment in segments:
        entries = tuple(changed.get(entry.row.slot, entry) for entry in segment.entries)
        if entries != segment.entries:
            rewritten.append(replace(segment, entries=entries))
    return rewritten


def _latest(segments: Iterable[Segment]) -> dict[tuple[str, int], Entry]:
    latest: dict[tuple[str, int], Entry] = {}
    for segment in segments:
        for entry in segment.entries:
            key = (entry.row.sample_id, entry.row.view)
            other = latest.get(key)
            if other is None or entry.turn >= other.turn:  # slots rise as we go
                latest[key] = entry
    return latest


def _end(segments: Sequence[Segment]) -> int:
    return segments[-1].end if segments else 0


def _refuse_repeats(rows: Iterable[Row]) -> None:
    seen: set[tuple[str, int]] = set()
    for row in rows:
        key = (row.sample_id, row.view)
        if key in seen:
            raise StoreError(
                f"Sample {row.sample_id!r}, view {row.view}, is listed twice; "
                "each (sample, view) of a subset is one row."
            )
        seen.add(key)
