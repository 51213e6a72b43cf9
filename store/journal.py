"""The journal: one sealed record a shard, written after the shard's bytes are safe on the disk.

A row has a value only if its shard's record says so.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clare.files import write_durably
from clare.store.layout import Layout
from clare.store.records import damaged, read_sealed, seal
from clare.store.spec import SHARD_ROWS

PENDING, COMPLETE, FAILED = 0, 1, 2
"""States of a row."""


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

    @property
    def states(self) -> np.ndarray:
        """(64,) uint8: `PENDING`, `COMPLETE` or `FAILED`."""
        states = np.zeros(SHARD_ROWS, np.uint8)
        states[list(self.complete)] = COMPLETE
        states[list(self.failed)] = FAILED
        return states

    def write(self, layout: Layout) -> None:
        """Publish the record: from here on the shard's rows count as done."""
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
        }
        write_durably(layout.record(self.subset, self.key, self.shard), seal(record), owned=True)


def read_record(layout: Layout, subset: str, key: str, shard: int) -> ShardRecord:
    """Read one record.

    Raises:
        CorruptStoreError: it is damaged, or is another shard's.
        FileNotFoundError: there is none.
    """
    path = layout.record(subset, key, shard)
    record = read_sealed(path)
    found = ShardRecord(
        subset=record["subset"],
        key=record["extractor"],
        shard=record["shard"],
        complete=tuple(record["complete"]),
        failed={int(offset): reason for offset, reason in record["failed"].items()},
        identities=_unpack(record["identities"]),
        checksums={name: _unpack(f["rows_crc32c"]) for name, f in record["fields"].items()},
        file_bytes={name: f["bytes"] for name, f in record["fields"].items()},
        made_with=record["made_with"],
    )
    if (found.subset, found.key, found.shard) != (subset, key, shard):
        raise damaged(path, "it belongs to another shard")
    return found


class Journal:
    """The records of one extractor in one subset, as last read from the disk."""

    def __init__(self, layout: Layout, subset: str, key: str) -> None:
        self.layout = layout
        self.subset = subset
        self.key = key
        self.records: dict[int, ShardRecord] = {}
        self._signatures: dict[int, tuple[int, ...]] = {}

    def snapshot(self) -> dict[int, ShardRecord]:
        """A copy by shard, for while another thread of this process records a shard."""
        return dict(self.records)

    def times(self) -> list[float]:
        """When each record was written, as its file says; a copied store may have lost it."""
        shards = self.layout.recorded(self.subset, self.key)
        paths = (self.layout.record(self.subset, self.key, shard) for shard in shards)
        return [path.stat().st_mtime for path in paths]

    def refresh(self) -> None:
        """Read what other processes wrote or removed since.

        Raises:
            CorruptStoreError: a record is damaged.
        """
        for shard in self.layout.recorded(self.subset, self.key) | set(self.snapshot()):
            self.refresh_shard(shard)

    def refresh_shard(self, shard: int) -> ShardRecord | None:
        """Read one shard's record again if its file changed."""
        path = self.layout.record(self.subset, self.key, shard)
        try:
            status = path.stat()
            signature = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._signatures.get(shard) != signature:
                self.records[shard] = read_record(self.layout, self.subset, self.key, shard)
                self._signatures[shard] = signature
        except FileNotFoundError:
            self.records.pop(shard, None)
            self._signatures.pop(shard, None)
        return self.records.get(shard)


def _pack(checksums: np.ndarray) -> str:
    return base64.b64encode(checksums.astype("<u4").tobytes()).decode()


def _unpack(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u4")
