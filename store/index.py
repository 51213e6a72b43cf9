"""The index: which row has which slot, in immutable segments of sealed lines.

Each append of rows writes one segment file, which begins a new shard. A segment is rewritten, as
a whole, only to refresh the metadata of its rows. Row ``slot`` lies in shard ``slot // 64``.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.errors import StoreError
from clare.files import Fence, remove_partials
from clare.store.journal import leave_open
from clare.store.layout import Layout
from clare.store.records import damaged
from clare.store.row import DECIDING, Row
from clare.store.rows import Rows, join_rows, rows_of
from clare.store.segment_parts import read_listed_parts, read_part
from clare.store.segments import Entry, Segment, read_segment
from clare.store.spec import MOST_SHARDS, SHARD_ROWS

ROWS_A_SEGMENT = 4096 * SHARD_ROWS
"""Most rows of a segment: it can be read again while they have 4 KiB each, and most have 0.4."""


@dataclass(frozen=True, eq=False)
class SubsetIndex:
    """A snapshot of a subset's index.

    Args:
        segments: all of them, in order.
        rows: of all segments, in slot order.
        turns: (n,) int64 of each row.
        live: the rows that stand for their (sample, view), in slot order.
    """

    segments: tuple[Segment, ...]
    rows: Rows
    turns: NDArray[np.int64]
    live: Rows

    @property
    def shards(self) -> int:
        """Shards that the subset takes."""
        return _end(self.segments)

    @cached_property
    def has_row(self) -> NDArray[np.bool_]:
        """(64 * shards,) whether a slot has a row."""
        return self._by_slot(self.rows)

    @cached_property
    def is_live(self) -> NDArray[np.bool_]:
        """(64 * shards,) whether a slot has a row that stands for its (sample, view)."""
        return self._by_slot(self.live)

    @cached_property
    def identity_checksums(self) -> NDArray[np.uint32]:
        """(64 * shards,) of each slot's row; meaningless where `has_row` is False."""
        checksums = np.zeros(SHARD_ROWS * self.shards, np.uint32)
        checksums[self.rows.slots] = self.rows.identity_checksums()
        return checksums

    def _by_slot(self, rows: Rows) -> NDArray[np.bool_]:
        there = np.zeros(SHARD_ROWS * self.shards, bool)
        there[rows.slots] = True
        return there

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> SubsetIndex:
        """The snapshot that these segments make."""
        rows = join_rows([segment.rows for segment in segments])
        turns = np.concatenate([np.zeros(0, np.int64), *(segment.turns for segment in segments)])
        if not rows.views.any() and len(set(rows.sample_ids.tolist())) == len(rows):
            return cls(tuple(segments), rows, turns, rows)
        places = np.sort(list(_latest(rows, turns).values()))
        return cls(tuple(segments), rows, turns, rows.take(places))


def load_index(
    layout: Layout,
    subset: str,
    only: Collection[str] | None = None,
    shards: Collection[int] | None = None,
) -> SubsetIndex:
    """Read all segments of a subset; a subset without a folder has none.

    Args:
        layout: paths of the store.
        subset: its name.
        only: columns of the rows that are read; all if left out.
        shards: whose rows are read; those of all if left out.

    Raises:
        CorruptStoreError: a segment is damaged or missing.
    """
    paths = layout.segment_files(subset)
    if shards is None:
        read: Iterable[Segment] = (read_segment(layout, subset, path, only) for path in paths)
    else:
        read = (read_part(layout, subset, path, shards) for path in paths)
    return SubsetIndex.of(_in_line(layout, read))


def _in_line(layout: Layout, read: Iterable[Segment]) -> list[Segment]:
    """Segments, of which none is missing."""
    segments: list[Segment] = []
    for segment in read:
        if segment.first_shard != _end(segments):
            path = layout.segment(segment.subset, segment.first_shard)
            raise damaged(path, "the segment before it is missing")
        segments.append(segment)
    return segments


class RowIndex:
    """A subset's index as it stands on the disk, read again when it changed there.

    Args:
        layout: paths of the store.
        subset: its name.
        only: columns of the rows that are read; all if left out.
        shards: whose rows are read; those of all if left out.
    """

    def __init__(
        self,
        layout: Layout,
        subset: str,
        only: Collection[str] | None = None,
        shards: Iterable[int] | None = None,
    ) -> None:
        self._shards = None if shards is None else frozenset(shards)
        self.layout = layout
        self.subset = subset
        self._only = only
        self._known: tuple[list[Any], SubsetIndex] | None = None

    def renew(self) -> None:
        """Bring the copy of a store in a bucket to what the bucket holds, of rows that are read."""
        if self._in_bucket:
            self._known = self._read_from_bucket()
        else:
            self.layout.renew(self.layout.segments(self.subset))

    def read(self) -> SubsetIndex:
        """The index as it now is; empty for an unknown subset.

        Raises:
            CorruptStoreError: a segment is damaged or missing.
        """
        if self._in_bucket:  # nothing is asked for but when it is to be renewed
            self._known = self._known or self._read_from_bucket()
            return self._known[1]
        entries = self.layout.segment_entries(self.subset)
        status = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        signature = [(name, s.st_ino, s.st_mtime_ns, s.st_size) for name, s in status]
        if self._known is None or self._known[0] != signature:
            self._known = signature, load_index(self.layout, self.subset, self._only, self._shards)
        return self._known[1]

    @property
    def _in_bucket(self) -> bool:
        """Whether parts of files are read from a bucket."""
        return self.layout.mirror is not None and self._shards is not None

    def _read_from_bucket(self) -> tuple[list[Any], SubsetIndex]:
        for last in (False, False, True):
            listed = self.layout.listed_segments(self.subset)
            signature = [(found.key, found.tag) for found in listed]
            if self._known is not None and self._known[0] == signature:
                return self._known
            try:
                segments = read_listed_parts(self.layout, self.subset, listed, self._shards or ())
                return signature, SubsetIndex.of(_in_line(self.layout, segments))
            except (StoreError, FileNotFoundError) as error:
                changed = error if isinstance(error, OSError) else error.__cause__
                gone = isinstance(changed, FileNotFoundError)  # the server's has no number
                if last or not (gone or getattr(changed, "errno", 0) == errno.ESTALE):
                    raise
        raise AssertionError


def assign(
    layout: Layout, subset: str, index: SubsetIndex, rows: Sequence[Row], fence: Fence
) -> Rows:
    """Give each row its slot, durably; see `FeatureStore.assign_rows`.

    The caller holds the claim of the subset's rows, which the fence is of, and read the index while
    holding it.
    """
    given = _usable(rows)
    _refuse_repeats(given)
    remove_partials(layout.segments(subset))
    slots = _unchanged(given, index.live)
    new = np.flatnonzero(slots < 0).tolist()
    # All rows, live or not, of the samples that something is new about.
    samples = {given.sample_ids[place] for place in new}
    before = _entries_of(index, samples)
    known = {entry.row.identity: entry for entry in before}
    latest: dict[tuple[str, int], Entry] = {}
    for entry in sorted(before, key=lambda entry: entry.turn):  # of one turn, slots rise
        latest[entry.row.sample_id, entry.row.view] = entry

    changed: dict[int, Entry] = {}
    revived: set[int] = set()
    fresh: list[Entry] = []
    next_slot = SHARD_ROWS * index.shards
    for place in new:
        row = rows[place]
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
            if live is not same:
                revived.add(same.row.slot // SHARD_ROWS)
            entry = Entry(replace(row, slot=same.row.slot), turn)
            if entry != same:
                changed[entry.row.slot] = entry
        slots[place] = entry.row.slot

    changed |= _other_views(index, given)
    for segment in _with_changes(index.segments, changed):
        segment.write(layout, fence)
    for key in layout.keys_of(subset) if revived else ():
        # A record may lack a row again that it did not need to have meanwhile.
        for shard in revived & layout.recorded(subset, key):
            leave_open(layout, subset, key, shard)
    if fresh:
        shards = -(-len(fresh) // SHARD_ROWS)
        if index.shards + shards > MOST_SHARDS:
            raise StoreError(f"{subset} would have more than {MOST_SHARDS * SHARD_ROWS:,} rows")
        for start in range(0, len(fresh), ROWS_A_SEGMENT):
            part = fresh[start : start + ROWS_A_SEGMENT]
            first = index.shards + start // SHARD_ROWS
            segment = Segment(subset, first, -(-len(part) // SHARD_ROWS))
            segment.with_entries(part).write(layout, fence)
    return replace(given, slots=slots)


def _unchanged(given: Rows, live: Rows) -> NDArray[np.int64]:
    """(n,) the slots of given rows that stand in the index as they are; -1 for the others."""
    place = dict(zip(_keys(live), range(len(live)), strict=True))
    places = np.fromiter(map(place.get, _keys(given), repeat(-1)), np.int64, len(given))
    slots = np.full(len(given), -1, np.int64)
    known = np.flatnonzero(places >= 0)
    mine, stored = given.take(known), live.take(places[known])
    same = mine.contents == stored.contents
    for name in mine.columns.keys() | stored.columns.keys():
        same &= mine.stored(name) == stored.stored(name)
    slots[known[same]] = stored.slots[same]
    return slots


def _other_views(index: SubsetIndex, given: Rows) -> dict[int, Entry]:
    """Views that were not asked for, with what is now known of their sample: its split, say."""
    if not index.live.views.any():
        return {}
    asked = set(_keys(given))
    plain = {sample_id: place for place, (sample_id, view) in enumerate(_keys(given)) if not view}
    others = {
        sample_id
        for sample_id, view in _keys(index.live)
        if sample_id in plain and (sample_id, view) not in asked
    }
    changed = {}
    for entry in _entries_of(index, others):
        row = entry.row
        if (row.sample_id, row.view) in asked or not index.is_live[row.slot]:
            continue
        own = {name: row.columns.get(name) for name in DECIDING}
        known = given[plain[row.sample_id]].columns
        columns = {k: v for k, v in {**known, **own}.items() if v is not None}
        if columns != row.columns:
            changed[row.slot] = replace(entry, row=replace(row, columns=columns))
    return changed


def _entries_of(index: SubsetIndex, sample_ids: set[str]) -> list[Entry]:
    """All rows of these samples, superseded ones too, in slot order."""
    if not sample_ids:
        return []
    wanted = np.fromiter(map(sample_ids.__contains__, index.rows.sample_ids), bool, len(index.rows))
    return list(map(Entry, index.rows.take(wanted), index.turns[wanted].tolist()))


def _with_changes(segments: Iterable[Segment], changed: dict[int, Entry]) -> list[Segment]:
    slots = np.array(sorted(changed), np.int64)
    return [
        segment.with_entries([changed.get(one.row.slot, one) for one in segment.entries()])
        for segment in segments
        if np.isin(slots, segment.rows.slots).any()
    ]


def _latest(rows: Rows, turns: NDArray[np.int64]) -> dict[tuple[str, int], int]:
    """The place of the row that stands for each (sample, view): the highest turn, then slot."""
    order = np.argsort(turns, kind="stable")
    ordered = rows if not turns.any() else rows.take(order)
    return dict(zip(_keys(ordered), order.tolist(), strict=True))


def _keys(rows: Rows) -> Iterable[tuple[str, int]]:
    return zip(rows.sample_ids.tolist(), rows.views.tolist(), strict=True)


def _end(segments: Sequence[Segment]) -> int:
    return segments[-1].end if segments else 0


def _refuse_repeats(rows: Rows) -> None:
    for (sample_id, view), count in Counter(_keys(rows)).items():
        if count > 1:
            raise StoreError(
                f"Sample {sample_id!r}, view {view}, is listed twice; "
                "each (sample, view) of a subset is one row."
            )


def _usable(rows: Sequence[Row]) -> Rows:
    try:
        return rows_of(rows)
    except ValueError as error:
        raise StoreError(f"a row can't be stored: {error}") from error
