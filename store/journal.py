"""The journal: one sealed record a shard, written after the shard's bytes are safe on the disk.

A row has a value only if its shard's record says so.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from clare.files import (
    OWNED,
    Fence,
    make_folder,
    owned_partial,
    remove_durably,
    storage_errors,
    sync_folder,
    write_durably,
)
from clare.names import is_plain
from clare.store.layout import Layout
from clare.store.records import canonical, checking, read_sealed, require, seal
from clare.store.spec import SHARD_ROWS, FeatureSpec
from clare.store.zarr_shards import shard_bytes

PENDING, COMPLETE, FAILED = 0, 1, 2
"""States of a row."""

Signature = tuple[int, ...]
"""What tells whether a record's file is still the one that was read."""

_OFFSETS = {str(offset): offset for offset in range(SHARD_ROWS)}
_ALL = frozenset(_OFFSETS.values())


@dataclass(frozen=True)
class ShardRecord:
    """What is known about one written shard of one extractor.

    Args:
        subset: name of the subset.
        key: the extractor's ``<extractor>-<digest>``.
        shard: number of the shard.
        complete: offsets (0 to 63) of the rows that hold values.
        failed: reasons by offset of the rows that could not be extracted.
        identities: (64,) uint32, checksum of each row's identity; 0 at unused offsets.
        checksums: by field, (64,) uint32: CRC-32C of each row's stored bytes, fill included.
        file_bytes: by field, the size of the shard's file.
        made_with: what may decide the last bits: micro-batch, device, dtype, threads.
        thumbnails: whether pictures of the shard's rows were kept.
    """

    subset: str
    key: str
    shard: int
    complete: tuple[int, ...]
    failed: Mapping[int, str]
    identities: np.ndarray
    checksums: Mapping[str, np.ndarray]
    file_bytes: Mapping[str, int]
    made_with: Mapping[str, Any]
    thumbnails: bool

    @cached_property
    def states(self) -> np.ndarray:
        """(64,) uint8, read-only: `PENDING`, `COMPLETE` or `FAILED`."""
        states = np.zeros(SHARD_ROWS, np.uint8)
        states[list(self.complete)] = COMPLETE
        states[list(self.failed)] = FAILED
        states.flags.writeable = False
        return states

    def write(self, layout: Layout, fence: Fence = OWNED) -> None:
        """Publish the record: from here on the shard's rows count as done.

        Raises:
            LostClaimError: another process has taken the shard over.
        """
        record = {
            "subset": self.subset,
            "extractor": self.key,
            "shard": self.shard,
            "complete": list(self.complete),
            "failed": {str(offset): self.failed[offset] for offset in sorted(self.failed)},
            "identities": _pack(self.identities),
            "fields": {
                name: {"bytes": self.file_bytes[name], "rows_crc32c": _pack(self.checksums[name])}
                for name in self.checksums
            },
            "made_with": dict(self.made_with),
            **({"thumbnails": True} if self.thumbnails else {}),
        }
        path = layout.record(self.subset, self.key, self.shard)
        try:
            write_durably(path, seal(record), fence=fence)
            if layout.mirror is not None:
                layout.mirror.unmark(path)
            if fence.partial(path) != owned_partial(path):
                owned_partial(path).unlink(missing_ok=True)  # the mark, which is else the partial
        except BaseException:
            with suppress(OSError):
                mark_shard(path)
            raise


def leave_open(layout: Layout, subset: str, key: str, shard: int) -> None:
    """Say by a file's name that a recorded shard has rows which are still to be extracted.

    Who looks for work in a large store lists names, and reads only the records that are marked so.
    """
    path = layout.record(subset, key, shard)
    mark_shard(path)
    if layout.mirror is not None:
        layout.mirror.mark(path)


def withdraw_record(
    layout: Layout, subset: str, key: str, shard: int, fence: Fence = OWNED
) -> None:
    """Before a shard's files change: take back its record, and say that it is being written.

    What says so is the record's own partial file. Shard files with neither were never written so:
    somebody lost their record.
    """
    path = layout.record(subset, key, shard)
    make_folder(path.parent)
    fence.require()
    with storage_errors(path):
        mark_shard(path)
        sync_folder(path.parent)
        if layout.mirror is not None:
            layout.mirror.withdraw(path, fence)
        remove_durably(path)


def mark_shard(path: Path) -> None:
    """Say that a shard is being written, beside its record or in its place."""
    os.close(os.open(owned_partial(path), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666))


def read_record(
    layout: Layout, subset: str, key: str, shard: int, fields: Mapping[str, FeatureSpec]
) -> ShardRecord:
    """Read one record.

    Args:
        layout: paths of the store.
        subset: name of the subset.
        key: the extractor's ``<extractor>-<digest>``.
        shard: number of the shard.
        fields: of the extractor, which the record must speak of; it may speak of others.

    Raises:
        CorruptStoreError: it is damaged, is another shard's, or says what no record can.
        FileNotFoundError: there is none.
    """
    path = layout.record(subset, key, shard)
    record = read_sealed(path)
    with checking(path):
        return parse_record(record, (subset, key, shard), fields)


def parse_record(
    record: Mapping[str, Any], place: tuple[str, str, int], fields: Mapping[str, FeatureSpec]
) -> ShardRecord:
    """What a record says, wherever it comes from.

    Args:
        record: without its seal.
        place: the subset, the extractor's key and the shard that it has to be of.
        fields: of the extractor; see `read_record`.

    Raises:
        ValueError: it is another shard's, or says what no record can.
        KeyError: a member is missing.
    """
    its_own = record["subset"], record["extractor"], record["shard"]
    at_home = its_own == place and type(record["shard"]) is int
    require(at_home, "it belongs to another shard")
    complete, failed, stored = record["complete"], record["failed"], record["fields"]
    require(type(complete) is list and type(failed) is dict, "its rows are not listed")
    kinds = set(map(type, complete))
    in_order = kinds <= {int} and complete == sorted(_ALL.intersection(complete))
    require(in_order, "its complete rows are not offsets from 0 to 63 in rising order")
    require(_OFFSETS.keys() >= failed.keys(), "its failed rows are not offsets from 0 to 63")
    reasons = {_OFFSETS[offset]: reason for offset, reason in failed.items()}
    require(set(map(type, reasons.values())) <= {str}, "a reason is no text")
    require(reasons.keys().isdisjoint(complete), "a row is both complete and failed")
    require(type(stored) is dict and type(record["made_with"]) is dict, "it lacks a table")
    canonical(record["made_with"])  # refuses numbers that are infinite
    found = ShardRecord(
        subset=place[0],
        key=place[1],
        shard=place[2],
        complete=tuple(complete),
        failed=reasons,
        identities=_unpack(record["identities"]),
        checksums={name: _unpack(field["rows_crc32c"]) for name, field in stored.items()},
        file_bytes={name: field["bytes"] for name, field in stored.items()},
        made_with=record["made_with"],
        thumbnails=record.get("thumbnails", False),
    )
    sizes = {name: shard_bytes(spec) for name, spec in fields.items()}
    require(all(map(is_plain, stored)), "the name of a field leads elsewhere")
    for name, size in found.file_bytes.items():
        fits = type(size) is int and size == sizes.get(name, size) >= 0
        require(fits, f"a shard of {name} has not {size!r:.40} bytes")
    require(found.file_bytes.keys() >= sizes.keys(), "its fields are not the extractor's")
    require(type(found.thumbnails) is bool, "it does not tell whether pictures were kept")
    return found


class Journal:
    """The records of one extractor in one subset, as last read from the disk.

    Args:
        layout: paths of the store.
        subset: name of the subset.
        key: the extractor's ``<extractor>-<digest>``.
        fields: that are read of it; a record must speak of all.
        shards: whose records are read; those of all if left out.
    """

    def __init__(
        self,
        layout: Layout,
        subset: str,
        key: str,
        fields: Mapping[str, FeatureSpec],
        shards: Collection[int] | None = None,
    ) -> None:
        self._shards = shards
        self.layout = layout
        self.subset = subset
        self.key = key
        self.fields = fields
        # A record with its file's signature, in one step: else two threads that read a shard could
        # leave the older record beside the newer signature, and it would never be read again.
        self._known: dict[int, tuple[Signature, ShardRecord]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # What was read stays here: elsewhere another state of the disk may be met.
        return Journal, (self.layout, self.subset, self.key, self.fields, self._shards)

    def record(self, shard: int) -> ShardRecord | None:
        """A shard's record; None where there was none."""
        known = self._known.get(shard)
        return None if known is None else known[1]

    def snapshot(self) -> dict[int, ShardRecord]:
        """A copy by shard, for while another thread of this process records a shard."""
        return {shard: record for shard, (_, record) in self._known.copy().items()}

    def times(self) -> list[float]:
        """When each record was written, as its file says; a copied store may have lost it."""
        entries = self.layout.records(self.subset, self.key)
        return [entry.stat(follow_symlinks=False).st_mtime for _, entry in entries]

    def refresh(self) -> None:
        """Read what other processes wrote or removed since.

        Raises:
            CorruptStoreError: a record is damaged.
        """
        if self._shards is not None:
            self.refresh_shards(self._shards)
            return
        self.layout.renew(self.layout.journal(self.subset, self.key))
        gone = set(self._known.copy())
        for shard, entry in self.layout.records(self.subset, self.key):
            gone.discard(shard)
            self._refresh(shard, partial(entry.stat, follow_symlinks=False))
        for shard in gone:
            self._refresh(shard, self.layout.record(self.subset, self.key, shard).lstat)

    def refresh_shard(self, shard: int) -> ShardRecord | None:
        """Read one shard's record again if its file changed."""
        path = self.layout.record(self.subset, self.key, shard)
        self.layout.renew_file(path)
        self._refresh(shard, path.lstat)
        return self.record(shard)

    def refresh_shards(self, shards: Collection[int]) -> dict[int, ShardRecord]:
        """Read these shards' records again where their files changed; in a bucket one list tells.

        Returns:
            The records that there are.
        """
        paths = {shard: self.layout.record(self.subset, self.key, shard) for shard in shards}
        if paths:
            names = {path.name for path in paths.values()}
            self.layout.renew(self.layout.journal(self.subset, self.key), names.__contains__)
        for shard, path in paths.items():
            self._refresh(shard, path.lstat)
        return {shard: known[1] for shard in shards if (known := self._known.get(shard))}

    def _refresh(self, shard: int, status: Callable[[], os.stat_result]) -> None:
        try:
            # Before the file is read: what changes meanwhile is then read once more.
            signature = _signature(status())
            known = self._known.get(shard)
            if known is None or known[0] != signature:
                record = read_record(self.layout, self.subset, self.key, shard, self.fields)
                self._known[shard] = signature, record
        except FileNotFoundError:
            self._known.pop(shard, None)


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _pack(checksums: np.ndarray) -> str:
    return base64.b64encode(checksums.astype("<u4").tobytes()).decode()


def _unpack(text: object) -> np.ndarray:
    require(type(text) is str, "a list of checksums is no text")
    packed = base64.b64decode(str(text), validate=True)
    require(len(packed) == 4 * SHARD_ROWS, f"a list of checksums has not {SHARD_ROWS}")
    return np.frombuffer(packed, "<u4")
