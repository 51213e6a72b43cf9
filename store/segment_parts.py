"""The rows of a few shards from a segment's file, without reading the others."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from io import BufferedReader
from pathlib import Path

import numpy as np

from clare.files import storage_errors
from clare.foreign import RECORD, open_bytes
from clare.store.bucket.objects import Found
from clare.store.layout import Layout
from clare.store.records import checking, require, unseal, whole
from clare.store.segments import Segment, read_header, read_rows
from clare.store.spec import MOST_SHARDS, SHARD_ROWS

_LINE = 1 << 20
_READ_THROUGH = 1 << 14  # bytes within which lines are read one after another
_NEAR = 1 << 16  # bytes around a guess
_MOST_SLOT = SHARD_ROWS * MOST_SHARDS


def read_part(
    layout: Layout, subset: str, path: Path, shards: Collection[int], found: Found | None = None
) -> Segment:
    """A segment with the rows of these shards alone; all its other lines are left unread.

    Its lines stand in the order of their slots, so the first of a shard is found by a guess, since
    most are of much the same length, and by halving.

    Args:
        layout: paths of the store.
        subset: that it is of.
        path: of its file.
        shards: whose rows are read.
        found: where the store is in a bucket, the segment's object.

    Raises:
        CorruptStoreError: a line that was read is damaged.
        StoreError: the object changed meanwhile.
        FileNotFoundError: it is gone.
    """
    with storage_errors(path), checking(path):
        require(not path.is_symlink(), "it is a link; what a store holds lies in it")
        with _opened(layout, path, found) as file:
            segment, _ = read_header(unseal(_line(file)))
            at_home = layout.segment(subset, segment.first_shard) == path
            require(segment.subset == subset and at_home, "it belongs to another place")
            begin, end = file.tell(), file.seek(0, os.SEEK_END)
            inside = sorted(s for s in shards if segment.first_shard <= s < segment.end)
            a_shard = (end - begin) / segment.shards
            lines = [
                line
                for first, last in _runs(inside)
                for line in _lines(
                    file,
                    begin,
                    end,
                    (first, last),
                    begin + int((first - segment.first_shard) * a_shard),
                )
            ]
        rows, turns = read_rows(iter(lines))
        require((np.diff(rows.slots) > 0).all(), "its slots are out of order")
        given = np.isin(rows.slots // SHARD_ROWS, inside)
        require(given.all(), "its slots are out of order")
    return replace(segment, rows=rows, turns=turns)


def read_listed_parts(
    layout: Layout, subset: str, listed: Sequence[Found], shards: Collection[int]
) -> Iterator[Segment]:
    """The segments of a subset in a bucket, as `read_part`; one without any of these shards is
    known by the names alone, but for the last one, whose header tells its end.

    Raises:
        CorruptStoreError: a line that was read is damaged.
        StoreError: an object changed meanwhile.
        FileNotFoundError: one is gone.
    """
    starts = [int(found.name[:6]) for found in listed]
    for found, first, end in zip(listed, starts, [*starts[1:], None], strict=True):
        if end is not None and not any(first <= shard < end for shard in shards):
            yield Segment(subset, first, end - first)
        else:
            yield read_part(layout, subset, layout.segment(subset, first), shards, found)


def _opened(layout: Layout, path: Path, found: Found | None) -> BufferedReader:
    if found is None or layout.mirror is None:
        return open_bytes(path, RECORD)
    require(found.size <= RECORD, "it is too large")
    return layout.mirror.in_parts(found)


def _runs(shards: list[int]) -> Iterator[tuple[int, int]]:
    """Shards that follow one another, each run as its first and the one after its last."""
    first = 0
    for place in range(1, len(shards) + 1):
        if place == len(shards) or shards[place] != shards[place - 1] + 1:
            yield shards[first], shards[place - 1] + 1
            first = place


def _lines(
    file: BufferedReader, low: int, high: int, shards: tuple[int, int], guess: int
) -> Iterator[bytes]:
    """The lines of the rows of some shards.

    Args:
        file: of the segment.
        low: where its rows begin.
        high: where they end.
        shards: the first one, and the one after the last.
        guess: about where the lines begin.
    """
    first, last = shards
    wanted = SHARD_ROWS * first
    guesses = [guess + _NEAR, guess - _NEAR]
    # Every line that begins at or before `low` is of a lower slot, if any is.
    while high - low > _READ_THROUGH:
        middle = guesses.pop() if guesses else (low + high) // 2
        if not low < middle < high:
            continue
        file.seek(middle - 1)
        _line(file)
        at = file.tell()
        if at < high and _slot(_line(file)) < wanted:
            low = at
        else:
            high = middle
    file.seek(low)
    while line := _line(file):
        slot = _slot(line)
        if slot >= SHARD_ROWS * last:
            return
        if slot >= wanted:
            yield line


def _line(file: BufferedReader) -> bytes:
    line = file.readline(_LINE)
    require(len(line) < _LINE, "a line is too long")
    return line


def _slot(line: bytes) -> int:
    return whole(unseal(line)["slot"], _MOST_SLOT, "a slot")
