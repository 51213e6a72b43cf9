"""What is left of a damaged index: the intact lines, in a chain of segments without gaps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clare.errors import CorruptStoreError
from clare.store.index import Entry, Segment, read_segment
from clare.store.layout import Layout
from clare.store.records import unseal
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
            segments.append(Segment(subset, end, until - end, ()))
            damage[layout.segment(subset, end)] = "the segment is missing"

    firsts = [int(path.stem) for path in paths]
    last_end = max(least_shards, firsts[-1] + 1) if firsts else 0
    for path, first, end in zip(paths, firsts, [*firsts[1:], last_end], strict=True):
        fill_gap(first)
        try:
            segments.append(read_segment(layout, subset, path))
        except CorruptStoreError:
            segments.append(_intact_lines(path, subset, end))
            damage[path] = "the checksum of a line does not match, or lines are missing"
    fill_gap(least_shards)
    return Salvage(tuple(segments), damage)


def _intact_lines(path: Path, subset: str, end: int) -> Segment:
    """The lines of a damaged segment that are whole; its extent if no header tells it."""
    first, entries = int(path.stem), []
    header: dict[str, Any] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            record = unseal(line)
            if "first_shard" in record:
                header = record
            else:
                entries.append(Entry.from_json(record))
        except (ValueError, KeyError):
            continue
    if header and (header["subset"], header["first_shard"]) != (subset, first):
        return Segment(subset, first, end - first, ())
    last = max((entry.row.slot // SHARD_ROWS for entry in entries), default=first)
    shards = header["shards"] if header else max(end, last + 1) - first
    inside = range(SHARD_ROWS * first, SHARD_ROWS * (first + shards))
    kept = {entry.row.slot: entry for entry in entries if entry.row.slot in inside}
    return Segment(subset, first, shards, tuple(kept[slot] for slot in sorted(kept)))
