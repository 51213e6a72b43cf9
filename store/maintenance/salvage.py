"""What is left of a damaged index: the intact lines, in a chain of segments without gaps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clare.errors import CorruptStoreError
from clare.store.index import Entry, Segment, read_segment, segment_files
from clare.store.records import unseal
from clare.store.spec import SHARD_ROWS


@dataclass(frozen=True)
class Salvage:
    """An index as good as it gets.

    Args:
        segments: all segments; those named in ``damage`` without the lines that were lost.
        damage: by segment file name, what is wrong with the file.
    """

    segments: tuple[Segment, ...]
    damage: dict[str, str]


def salvage_index(folder: Path, subset: str, least_shards: int = 0) -> Salvage:
    """Read a subset's index as far as it can be read; an intact one has no ``damage``.

    Args:
        folder: the subset's folder of segments.
        subset: name of the subset.
        least_shards: shards that were certainly given out, because the journal speaks of them.
    """
    paths = segment_files(folder)
    segments: list[Segment] = []
    damage: dict[str, str] = {}

    def fill_gap(until: int) -> None:
        end = segments[-1].end if segments else 0
        if until > end:  # slots are never given twice, so lost ones stay taken
            segments.append(Segment(subset, end, until - end, ()))
            damage[segments[-1].name] = "the segment is missing"

    firsts = [int(path.stem) for path in paths]
    last_end = max(least_shards, firsts[-1] + 1) if firsts else 0
    for path, first, end in zip(paths, firsts, [*firsts[1:], last_end], strict=True):
        fill_gap(first)
        try:
            segments.append(read_segment(path, subset))
        except CorruptStoreError:
            segments.append(_intact_lines(path, subset, end))
            damage[path.name] = "the checksum of a line does not match, or lines are missing"
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
