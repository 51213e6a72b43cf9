"""The Zarr v3 side of the store: array metadata, and the bytes of one shard file.

A shard is written here, not through zarr-python: the bytes are the same (a test holds the two
against each other), but they reach the disk in one durable write, without an event loop in the
extracting process and several times faster.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from clare.files import OWNED, Fence, write_durably
from clare.store.layout import ZARR
from clare.store.records import checksum
from clare.store.spec import SHARD_ROWS, FeatureSpec

_CHECKSUM_BYTES = 4
INDEX_BYTES = SHARD_ROWS * 16 + _CHECKSUM_BYTES
"""Bytes of the index at the end of a shard: 64 pairs (offset, length), then its checksum."""

GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}


def storage_dtype(spec: FeatureSpec) -> np.dtype[Any]:
    """The stored type, little-endian whatever the machine."""
    return np.dtype(spec.dtype).newbyteorder("<")


def cell_bytes(spec: FeatureSpec) -> int:
    """Bytes of one row in a shard, its checksum included."""
    return spec.row_bytes + _CHECKSUM_BYTES


def shard_bytes(spec: FeatureSpec) -> int:
    """Bytes of a shard file: every one of a field has the same size."""
    return SHARD_ROWS * cell_bytes(spec) + INDEX_BYTES


def fill_value(spec: FeatureSpec) -> float:
    """What a row without a value holds: NaN, or 0 where the type has none."""
    return 0 if spec.dtype == "uint8" else float("nan")


def array_metadata(spec: FeatureSpec, shards: int) -> dict[str, Any]:
    """The parsed ``zarr.json`` of a field's array of ``64 * shards`` rows."""
    endian = {} if spec.dtype == "uint8" else {"configuration": {"endian": "little"}}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [SHARD_ROWS * shards, *spec.shape],
        "data_type": spec.dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [SHARD_ROWS, *spec.shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0 if spec.dtype == "uint8" else "NaN",
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, *spec.shape],
                    "codecs": [{"name": "bytes", **endian}, {"name": "crc32c"}],
                    "index_codecs": [
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {"name": "crc32c"},
                    ],
                    "index_location": "end",
                },
            }
        ],
        "attributes": {},
    }


def metadata_text(metadata: dict[str, Any]) -> bytes:
    """The exact bytes of a ``zarr.json``, so that verification can compare every one of them."""
    return json.dumps(metadata, indent=2, sort_keys=True).encode() + b"\n"


def write_metadata(folder: Path, metadata: dict[str, Any], fence: Fence) -> None:
    """Bring a node's ``zarr.json`` to the given content, atomically and durably.

    The caller holds the claim of the subset's rows, which the fence is of.
    """
    path = folder / ZARR
    text = metadata_text(metadata)
    if not path.is_file() or path.read_bytes() != text:
        write_durably(path, text, fence=fence)


def write_shard_file(path: Path, values: np.ndarray, fence: Fence = OWNED) -> np.ndarray:
    """Write one shard and return the checksums of its rows.

    Args:
        path: the shard's file.
        values: (64, *shape) in the stored type, C-contiguous.
        fence: of the shard's claim.

    Returns:
        (64,) uint32, the CRC-32C of each row's bytes.
    """
    rows = values.reshape(SHARD_ROWS, -1)
    checksums = np.array([checksum(row) for row in rows], "<u4")
    cell = rows.dtype.itemsize * rows.shape[1] + _CHECKSUM_BYTES
    buffers = [part for pair in zip(rows, checksums.reshape(-1, 1), strict=True) for part in pair]
    write_durably(path, *buffers, _index_in_order(cell), fence=fence)
    return checksums


def read_checksums(path: Path, spec: FeatureSpec) -> np.ndarray:
    """(64,) uint32, the checksums that stand behind the rows of a shard file of ours.

    Of a file of another size they are all 0.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    if len(data) != shard_bytes(spec):
        return np.zeros(SHARD_ROWS, np.uint32)
    cells = data[:-INDEX_BYTES].reshape(SHARD_ROWS, -1)
    return np.ascontiguousarray(cells[:, -_CHECKSUM_BYTES:]).view("<u4").reshape(-1)


@lru_cache
def _index_in_order(cell: int) -> bytes:
    """The index of a shard whose rows follow one another."""
    index = np.full((SHARD_ROWS, 2), cell, "<u8")
    index[:, 0] = np.arange(SHARD_ROWS) * cell
    return index.tobytes() + checksum(index).to_bytes(_CHECKSUM_BYTES, "little")


def read_positions(index: bytes, spec: FeatureSpec) -> np.ndarray:
    """Where each row of a shard lies, from the index at the end of its file.

    Another writer may order the rows differently, so the positions are read, not assumed.

    Returns:
        (64,) int64, byte offset of each row.

    Raises:
        ValueError: the index is damaged, or a row is missing from the shard.
    """
    cell = cell_bytes(spec)
    if index == _index_in_order(cell):
        return np.arange(SHARD_ROWS) * cell
    entries, stored = index[:-_CHECKSUM_BYTES], index[-_CHECKSUM_BYTES:]
    if len(index) != INDEX_BYTES or checksum(entries) != int.from_bytes(stored, "little"):
        raise ValueError("the shard's index is damaged")
    offsets, lengths = np.frombuffer(entries, "<u8").reshape(SHARD_ROWS, 2).T
    if (lengths != cell).any() or (np.sort(offsets) != np.arange(SHARD_ROWS) * cell).any():
        raise ValueError("the shard's index does not list all 64 rows")
    return offsets.astype(np.int64)


def damaged_offsets(data: bytes | memoryview, expected: np.ndarray, spec: FeatureSpec) -> list[int]:
    """The rows of a shard file that are not as its record says.

    Args:
        data: the file's bytes, as many as it has to have.
        expected: (64,) uint32, the CRC-32C of each row's bytes.
        spec: the field.

    Returns:
        Offsets of rows whose stored bytes, or the checksum stored after them, are wrong.

    Raises:
        ValueError: the file has another size, or its index is damaged.
    """
    if len(data) != shard_bytes(spec):
        raise ValueError(f"the shard has {len(data)} bytes instead of {shard_bytes(spec)}")
    file = np.frombuffer(data, np.uint8)
    positions = read_positions(file[-INDEX_BYTES:].tobytes(), spec)
    cells = file[:-INDEX_BYTES].reshape(SHARD_ROWS, cell_bytes(spec))
    damaged = []
    for offset, place in enumerate(positions // cell_bytes(spec)):
        row, stored = cells[place, : spec.row_bytes], cells[place, spec.row_bytes :]
        wanted = expected[offset]
        if checksum(row) != wanted or int.from_bytes(stored.tobytes(), "little") != wanted:
            damaged.append(offset)
    return damaged
