"""The index: which row has which slot, in immutable segments of sealed lines.

Each append of rows writes one segment file, which begins a new shard. A segment is rewritten, as
a whole, only to refresh the metadata of its rows. Row ``slot`` lies in shard ``slot // 64``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from clare.columns import MASK_FAKE, SPLITS
from clare.errors import StoreError
from clare.files import remove_partials, write_durably
from clare.foreign import RECORD
from clare.groups import aligned_pair
from clare.names import has_control, path_fault
from clare.store.layout import Layout
from clare.store.records import (
    checking,
    checksum,
    damaged,
    read_file,
    require,
    seal,
    unseal,
    unseal_all,
    whole,
)
from clare.store.spec import MOST_SHARDS, SHARD_ROWS

Identity = tuple[str, int, str, str, str]

DECIDING = (
    *("boxes", "face_points", "face_detector", "mask_content", "mask_fake"),
    *("pair_id", "pair_kind"),
)
"""Columns that are part of a row's identity, because stored values follow from them."""

ROWS_A_SEGMENT = 4096 * SHARD_ROWS
"""Most rows of a segment: it can be read again while they have 4 KiB each, and most have 0.4."""

_PATHS = ("path", "mask_path", "landmark_path")
_TEXTS = (*DECIDING, "split", "subset", "domain", "video_id", *_PATHS)
_PLAIN = frozenset((str, int, float, bool, type(None)))
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


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
        return self.sample_id, self.view, self.content, self.face + self.drawn, self.mask

    @property
    def face(self) -> str:
        """What decides which part of the image is looked at: the face's box, and its points."""
        boxes, points, detector = (
            str(self.columns.get(name) or "") for name in ("boxes", "face_points", "face_detector")
        )
        return f"{boxes} {points} {detector}" if points else boxes

    @property
    def drawn(self) -> str:
        """What decides an augmented view beside the content: the pair that shares it, if any."""
        pair = aligned_pair(self.columns) if self.view else ""
        return f" pair {pair}" if pair else ""

    @property
    def mask(self) -> str:
        """What decides its mask: the hash of the file, and whether black is fake in it."""
        content = str(self.columns.get("mask_content") or "")
        is_black = content and self.columns.get("mask_fake") == "black"
        return f"{content} black" if is_black else content

    @property
    def identity_checksum(self) -> int:
        """CRC-32C of the identity, which binds a journal record to the rows it speaks of."""
        sample_id, view, content, face, mask = self.identity
        text = f"{sample_id}\0{view}\0{content}\0{face}\0{mask}"
        return checksum(text.encode(errors="surrogatepass"))


def check_row(row: Row) -> None:
    """Refuse a row that no reader could use, whether it is brought or read.

    Raises:
        ValueError: its label is not 0 or 1, its split or ``mask_fake`` is unknown, a path leaves
            its root, or a value is not plain.
    """
    sample_id, columns = row.sample_id, row.columns
    require(type(sample_id) is str and sample_id, "a row has no sample_id")
    require(not has_control(sample_id), f"the sample_id {sample_id!r} has control characters")
    require(type(row.content) is str, f"{sample_id!r} has no hash of its content")
    require(isinstance(columns, Mapping), f"{sample_id!r} has no columns")
    if not _PLAIN.issuperset(map(type, columns.values())):
        for name, value in columns.items():
            _require_plain(sample_id, name, value)
    label = columns.get("label")
    require(type(label) is int and label in (0, 1), f"{sample_id!r} has the label {label!r:.40}")
    for value in columns.values():
        if type(value) is int and not _LEAST <= value <= _MOST:
            raise ValueError(f"{sample_id!r} has a number of more than 64 bits")
        require(type(value) is not float or isfinite(value), f"{sample_id!r} has no finite number")
    for name in _TEXTS:
        text = columns.get(name)
        require(text is None or type(text) is str, f"{name} of {sample_id!r} is no text")
    split = columns.get("split") or ""
    require(split in ("", *SPLITS), f"{sample_id!r} has the split {split!r:.40}")
    fake = columns.get("mask_fake") or ""
    require(fake in ("", *MASK_FAKE), f"{sample_id!r} has the mask_fake {fake!r:.40}")
    for name in _PATHS:
        path = columns.get(name)
        if path and (fault := path_fault(path)):
            raise ValueError(f"{name} of {sample_id!r} {fault}")


def _require_plain(sample_id: str, name: str, value: Any) -> None:
    """A column is a plain value, or a list or table of some, as a manifest's further columns."""
    inside = value.values() if isinstance(value, Mapping) else value
    good = type(value) in _PLAIN or (
        isinstance(value, Mapping | list | tuple) and _PLAIN.issuperset(map(type, inside))
    )
    require(good, f"{name} of {sample_id!r} is no plain value")


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
        """The entry that `to_json` wrote.

        Raises:
            ValueError: a member is of another type, or says what no row can.
            KeyError: one is missing.
        """
        require(type(record) is dict, "a line is no record")
        row = Row(
            sample_id=record["sample_id"],
            view=whole(record["view"], _MOST, "a row's view"),
            content=record["content"],
            columns=record["columns"],
            slot=whole(record["slot"], SHARD_ROWS * MOST_SHARDS - 1, "a row's slot"),
        )
        check_row(row)
        return cls(row, whole(record["turn"], _MOST, "a row's turn"))


@dataclass(frozen=True)
class Segment:
    """The rows of one file: of an append, or of a part of a long one.

    Args:
        subset: name of the subset.
        first_shard: the shard that its rows begin.
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
        """Write or replace the segment's file, atomically and durably.

        Raises:
            StoreError: it would be larger than a reader takes.
        """
        path = layout.segment(self.subset, self.first_shard)
        lines = [seal(self.header()), *(seal(entry.to_json()) for entry in self.entries)]
        if sum(map(len, lines)) > RECORD:
            raise StoreError(
                f"rows of {self.subset} are too long to be read again", "leave out some columns"
            )
        write_durably(path, b"".join(lines))


def read_segment(layout: Layout, subset: str, path: Path) -> Segment:
    """Read one segment file.

    Raises:
        CorruptStoreError: a line is damaged or missing.
    """
    lines = read_file(path).splitlines(keepends=True)
    with checking(path):
        segment, rows = read_header(unseal(lines[0] if lines else b""))
        at_home = layout.segment(subset, segment.first_shard) == path
        require(segment.subset == subset and at_home, "it belongs to another place")
        entries = tuple(map(Entry.from_json, unseal_all(lines[1:])))
        require(len(entries) == rows, f"it has {len(entries)} of its {rows} lines")
        slots = [SHARD_ROWS * segment.first_shard - 1, *(entry.row.slot for entry in entries)]
        in_order = all(one < other for one, other in pairwise(slots))
        require(in_order and slots[-1] < SHARD_ROWS * segment.end, "its slots are out of order")
    return replace(segment, entries=entries)


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
    return Segment(header["subset"], first, shards, ()), header["rows"]


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
        status = [(path, path.lstat()) for path in self.layout.segment_files(self.subset)]
        signature = [(path, s.st_ino, s.st_mtime_ns, s.st_size) for path, s in status]
        if self._known is None or self._known[0] != signature:
            self._known = signature, load_index(self.layout, self.subset)
        return self._known[1]


def assign(layout: Layout, subset: str, rows: Sequence[Row]) -> list[Row]:
    """Give each row its slot, durably; see `FeatureStore.assign_rows`.

    The caller holds the subset's exclusive lock.
    """
    _refuse_repeats(rows)
    _refuse_unusable(rows)
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
        if _end(segments) + shards > MOST_SHARDS:
            raise StoreError(f"{subset} would have more than {MOST_SHARDS * SHARD_ROWS:,} rows")
        for start in range(0, len(fresh), ROWS_A_SEGMENT):
            part = tuple(fresh[start : start + ROWS_A_SEGMENT])
            first = _end(segments) + start // SHARD_ROWS
            Segment(subset, first, -(-len(part) // SHARD_ROWS), part).write(layout)
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


def _refuse_unusable(rows: Iterable[Row]) -> None:
    for row in rows:
        try:
            check_row(row)
            whole(row.view, _MOST, "a row's view")
        except ValueError as error:
            raise StoreError(f"a row can't be stored: {error}") from error
