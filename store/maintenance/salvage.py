"""What is left of a damaged index: the intact lines, in a chain of segments without gaps."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from clare.store.layout import Layout
from clare.store.records import DamagedRecordError, checking, damaged, read_file, unseal
from clare.store.row_lines import LineReader
from clare.store.segments import Entry, Segment, read_header, read_segment
from clare.store.spec import SHARD_ROWS


@dataclass(frozen=True)
class Salvage:
    """An index as good as it gets.

    Args:
        segments: all of them; one whose file stands in ``damage`` lacks the lines that were lost.
        damage: what is wrong, by segment file.
    """

    segments: tuple[Segment, ...]
    damage: dict[Path, str]


def salvage_index(layout: Layout, subset: str, least_shards: int = 0) -> Salvage:
    """Read a subset's index as far as it can be read; an intact one has no ``damage``.

    Args:
        layout: paths of the store.
        subset: name of the subset.
        least_shards: shards that were certainly given out, because the journal speaks of them.
    """
    paths = layout.segment_files(subset)
    segments: list[Segment] = []
    damage: dict[Path, str] = {}

    def fill_gap(until: int) -> None:
        end = segments[-1].end if segments else 0
        if until > end:  # slots are never given twice, so lost ones stay taken
            segments.append(Segment(subset, end, until - end))
            damage[layout.segment(subset, end)] = "the segment is missing"

    firsts = [int(path.stem) for path in paths]
    for path, first, following in zip_longest(paths, firsts, firsts[1:]):
        fill_gap(first)
        try:
            segment = read_segment(layout, subset, path)
            if following is not None and segment.end > following:
                raise damaged(path, "it reaches into the segment after it")
        except DamagedRecordError as error:
            segment = _intact_lines(path, subset, following, max(least_shards, first + 1))
            damage[path] = error.why
        segments.append(segment)
    fill_gap(least_shards)
    return Salvage(tuple(segments), damage)


def _intact_lines(path: Path, subset: str, following: int | None, least_end: int) -> Segment:
    """The lines of a damaged segment that are whole; its extent if no header tells it.

    Args:
        path: the segment's file.
        subset: name of the subset.
        following: the shard with which the next segment begins, if there is one.
        least_end: the shard that it reaches to at least, if there is none.
    """
    first, reader = int(path.stem), LineReader()
    entries: list[Entry] = []
    header: Segment | None = None
    lines: list[bytes] = []
    with suppress(DamagedRecordError):
        lines = read_file(path).splitlines(keepends=True)
    for line in lines:
        with suppress(DamagedRecordError), checking(path):
            record = unseal(line)
            if "first_shard" in record:
                header, _ = read_header(record)
            else:
                rows, turns = reader.read([line])
                entries.append(Entry(rows[0], int(turns[0])))
    shards = (following or least_end) - first
    if header is not None:
        if (header.subset, header.first_shard) != (subset, first):
            return Segment(subset, first, shards)
        shards = header.shards if following is None else min(header.shards, shards)
    elif following is None:
        last = max((entry.row.slot // SHARD_ROWS for entry in entries), default=first)
        shards = max(shards, last + 1 - first)
    inside = range(SHARD_ROWS * first, SHARD_ROWS * (first + shards))
    kept = {entry.row.slot: entry for entry in entries if entry.row.slot in inside}
    return Segment(subset, first, shards).with_entries([kept[slot] for slot in sorted(kept)])
