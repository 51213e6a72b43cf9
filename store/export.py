"""One subset as one HDF5 file, index and assets included, and back into a store.

``docs/store-format.md`` describes the file. Everything in it is covered by a checksum of ours,
since HDF5's own covers only the chunks.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clare.advice import Run
from clare.errors import CorruptStoreError, InputError, StoreError
from clare.files import PARTIAL, make_folder, require_free_space, storage_errors, sync_folder
from clare.foreign import open_bytes
from clare.names import is_plain
from clare.store.extractor_records import extractor_record, is_asset_name, parse_extractor
from clare.store.feature_store import FeatureStore, create_store
from clare.store.hdf5 import PATIENCE, ForeignHdf5
from clare.store.hdf5_output import Check, write_hdf5
from clare.store.journal import COMPLETE, FAILED, PENDING
from clare.store.records import (
    DamagedRecordError,
    checking,
    checksum,
    require,
    seal,
    unseal,
    whole,
)
from clare.store.rows import Rows
from clare.store.segments import Entry, read_rows
from clare.store.spec import MOST_SHARDS, SHARD_ROWS, FeatureSpec
from clare.store.zarr_shards import fill_value, storage_dtype
from clare.typed_json import convert

if TYPE_CHECKING:
    from clare.store.feature import Feature

EXPORT_FORMAT = 1
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def export_hdf5(
    store: FeatureStore, subset: str, out: Path | str, digests: Mapping[str, str] | None = None
) -> None:
    """Write the live rows of a subset and their features as one HDF5 file.

    Datasets are chunked by row and carry HDF5's fletcher32; every row is verified as it is read.
    The file appears under its name only when it is whole.

    Args:
        store: an open store.
        subset: the subset.
        out: the file to write; one that exists is replaced.
        digests: fingerprint digest by extractor, of the features to take; all if left out.

    Raises:
        StoreError: there is no such subset or feature, or the file can't be written there.
        CorruptStoreError: a row is damaged.
        DiskSpaceError: the disk is full.
    """
    rows = store.rows(subset)
    if digests is None:
        features = store.features(subset)
    else:
        features = [store.feature(subset, name, digest) for name, digest in digests.items()]
    path = Path(out).absolute()
    make_folder(path.parent)
    with storage_errors(path):
        if path.is_dir():
            raise StoreError(f"{path} is a folder; name a file for the export")
        # Beforehand, rather than after an hour.
        require_free_space(path.parent, _bytes_at_most(features, rows))
        with _written_alone(path) as temporary:
            write_hdf5(temporary, partial(_export_all, store, subset, rows, features))
            temporary.replace(path)
        sync_folder(path.parent)


@contextmanager
def _written_alone(path: Path) -> Iterator[Path]:
    """A partial file, locked while it is written; what killed exports left is removed."""
    for stale in path.parent.glob(f"{glob.escape(path.name)}.*{PARTIAL}"):
        with suppress(OSError), stale.open("rb") as left:  # locked: another export is at it
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stale.unlink()
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    with temporary.open("xb") as held:
        with suppress(OSError):  # file systems without locks
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _bytes_at_most(features: list[Feature], rows: Rows) -> int:
    """Size of an export, with room for HDF5's own bookkeeping."""
    specs = [spec for feature in features for spec in feature.fields.values()]
    files = [path for feature in features for path in feature.layout.assets(feature.key)]
    assets = sum(path.stat().st_size for path in files)
    index = sum(len(seal(Entry(row, turn=0).to_json())) + 64 for row in rows)
    return len(rows) * sum(spec.row_bytes + 128 for spec in specs) + index + assets + 2**20


def _export_all(
    store: FeatureStore,
    subset: str,
    rows: Rows,
    features: list[Feature],
    file: Any,
    check: Check,
) -> None:
    import h5py

    text = h5py.string_dtype()
    lines = [seal(Entry(row, turn=0).to_json()) for row in rows]
    file.create_dataset("index", data=lines, dtype=text)
    check()
    for feature in features:
        group = file.create_group(f"features/{feature.key}")
        states = feature.states()[rows.slots]
        failures = feature.failures()
        reasons = [failures.get(slot, "").encode() for slot in rows.slots.tolist()]
        group.create_dataset("state", data=states)
        group.create_dataset("reason", data=reasons, dtype=text)
        check()
        fields = feature.fields.values()
        checks = {
            spec.field: _export_field(group, feature, spec, rows, states, check) for spec in fields
        }
        assets = {}
        for path in feature.layout.assets(feature.key):
            data = store.asset(feature.key, path.name).read_bytes()
            group.create_dataset(f"assets/{path.name}", data=np.frombuffer(data, np.uint8))
            check()
            assets[path.name] = hashlib.sha256(data).hexdigest()
        record = {
            **extractor_record(feature.fingerprint, list(fields)),
            "made_with": feature.made_with(),
            "assets": assets,
            "state_crc32c": checksum(states),
            "reason_crc32c": checksum(b"\0".join(reasons)),
            "rows_crc32c": {name: checksum(rows_crc) for name, rows_crc in checks.items()},
        }
        group.attrs["clare"] = seal(record).decode()
    contents = {"format": EXPORT_FORMAT, "subset": subset, "rows": len(rows)}
    keys = [feature.key for feature in features]
    file.attrs["clare"] = seal({**contents, "features": keys}).decode()


def _export_field(
    group: Any,
    feature: Feature,
    spec: FeatureSpec,
    rows: Rows,
    states: np.ndarray,
    check: Check,
) -> np.ndarray:
    """Copy a field's rows; returns the (rows,) uint32 checksums that lie beside them."""
    data = group.create_dataset(
        spec.field,
        shape=(len(rows), *spec.shape),
        dtype=storage_dtype(spec),
        chunks=(1, *spec.shape),
        fletcher32=True,
        fillvalue=fill_value(spec),
    )
    reader = feature.reader(spec.field)
    checksums = np.zeros(len(rows), "<u4")
    for start in range(0, len(rows), SHARD_ROWS):
        check()
        places = start + np.flatnonzero(states[start : start + SHARD_ROWS] == COMPLETE)
        values = reader.read(rows.slots[places])
        for place, row in zip(places, values, strict=True):
            data[place] = row
            checksums[place] = checksum(row)
    group.create_dataset(f"rows_crc32c/{spec.field}", data=checksums)
    return checksums


def import_hdf5(
    store: FeatureStore | Path | str, path: Path | str, *, patience: float = PATIENCE
) -> str:
    """Bring an exported subset into a store; what the store already has is left alone.

    Rows go through `FeatureStore.assign_rows`, so a sample with other content supersedes the
    store's. Import the same file again to go on after an interruption.

    Args:
        store: an open store, or the folder of one; it is made if it is not there, once the file's
            index has been read.
        path: a file that `export_hdf5` wrote, or anybody: it is read by a process of its own, and
            what it says is checked as a store's own records are.
        patience: seconds without an answer, each of a few rows, after which the file is held to
            be damaged: HDF5's library may run for ever over one that is.

    Returns:
        The subset's name.

    Raises:
        InputError: there is no such file, or it is not an export of this format.
        CorruptStoreError: the file is damaged; the shards imported before that was seen are good.
        DiskSpaceError: the disk is full.
    """
    path = Path(path)
    try:
        with open_bytes(path) as begun:
            is_hdf5 = begun.read(len(_SIGNATURE)) == _SIGNATURE
    except (OSError, InputError):
        is_hdf5 = False
    if not is_hdf5:
        raise InputError(f"{path} is not an HDF5 file that an export wrote", Run("store.export"))
    with ForeignHdf5(path, patience) as file:
        return _import_all(store, file)


@dataclass(frozen=True)
class _Contents:
    """What the file says of itself."""

    format: int
    subset: str
    rows: int
    features: tuple[str, ...]


@dataclass(frozen=True)
class _Exported:
    """What the file says of a feature; the checksums of its lists too."""

    fingerprint: dict[str, Any]
    fields: tuple[dict[str, Any], ...]
    made_with: dict[str, Any] | None
    assets: dict[str, str]
    state_crc32c: int
    reason_crc32c: int
    rows_crc32c: dict[str, int]


def _import_all(store: FeatureStore | Path | str, file: ForeignHdf5) -> str:
    path = file.path
    text = file.text("")
    if text is None:
        raise InputError(f"{path} is not a file that an export wrote", Run("store.export"))
    with _damage(path):
        record = unseal(text.encode(errors="surrogateescape"))
        known = record["format"] == EXPORT_FORMAT
    if not known:
        raise InputError(
            f"{path} has export format {record['format']!r:.40} and this version reads format "
            f"{EXPORT_FORMAT}",
            "use the version of clare that wrote it",
        )
    with _damage(path):
        contents: _Contents = convert(record, _Contents)
        lines = file.texts("index", whole(contents.rows, SHARD_ROWS * MOST_SHARDS, "its rows"))
        exported, _ = read_rows(iter(lines))
        require(is_plain(contents.subset), f"{contents.subset!r} can't name a subset")
        require(all(map(is_plain, contents.features)), "a feature's name leads elsewhere")
    opened = store if isinstance(store, FeatureStore) else create_store(store)
    rows = opened.assign_rows(contents.subset, exported)
    places = {slot: place for place, slot in enumerate(rows.slots.tolist())}
    for key in contents.features:
        _import_feature(opened, contents.subset, key, file, places)
    return contents.subset


def _import_feature(
    store: FeatureStore, subset: str, key: str, file: ForeignHdf5, places: Mapping[int, int]
) -> None:
    group = f"features/{key}"
    count = len(places)
    with _damage(file.path):
        record = unseal((file.text(group) or "").encode(errors="surrogateescape"))
        found: _Exported = convert(record, _Exported)
        fingerprint, fields = parse_extractor(
            {"fingerprint": found.fingerprint, "fields": found.fields}
        )
        require(fingerprint.key == key, "a fingerprint is not what was written")
        require(found.rows_crc32c.keys() == fields.keys(), "its fields are not the extractor's")
        require(all(map(is_asset_name, found.assets)), "an asset's name leads elsewhere")
        states = file.array(f"{group}/state", (count,), np.uint8)
        reasons = file.texts(f"{group}/reason", count)
        _require_same(checksum(states), found.state_crc32c, "the list of states")
        _require_same(checksum(b"\0".join(reasons)), found.reason_crc32c, "the list of reasons")
        require((states <= FAILED).all(), "a row is in a state that there is none of")
        checks = {}
        for name, spec in fields.items():
            checks[name] = file.array(f"{group}/rows_crc32c/{name}", (count,), "<u4")
            _require_same(checksum(checks[name]), found.rows_crc32c[name], f"the checks of {name}")
            shape, filled = (count, *spec.shape), int((states == COMPLETE).sum())
            file.require(f"{group}/{name}", shape, storage_dtype(spec), filled)
        assets = {}
        for name, digest in found.assets.items():
            assets[name] = file.array(f"{group}/assets/{name}", None, np.uint8)
            _require_same(
                hashlib.sha256(assets[name].tobytes()).hexdigest(), digest, f"the asset {name}"
            )

    store.declare(fingerprint, list(fields.values()))
    store.write_assets(key, assets)
    feature = store.feature(subset, fingerprint.extractor, fingerprint.digest)
    known = feature.states()
    for shard in feature.pending():
        slots = [row.slot for row in feature.shard_rows(shard)]
        given = [
            slot
            for slot in slots
            if not known[slot] and slot in places and states[places[slot]] != PENDING
        ]
        if given and feature.claim(shard):
            try:
                complete = {
                    s % SHARD_ROWS: places[s] for s in given if states[places[s]] == COMPLETE
                }
                failed = {
                    s % SHARD_ROWS: reasons[places[s]].decode(errors="replace")
                    for s in given
                    if states[places[s]] == FAILED
                }
                values = {
                    name: _import_rows(file, f"{group}/{name}", spec, count, complete, checks[name])
                    for name, spec in feature.fields.items()
                }
                made_with = found.made_with or {}
                feature.write_shard(shard, values, failed, made_with, list(complete))
            finally:
                feature.release(shard)


def _import_rows(
    file: ForeignHdf5,
    place: str,
    spec: FeatureSpec,
    count: int,
    places: Mapping[int, int],
    checksums: np.ndarray,
) -> np.ndarray:
    """One shard's values: row ``places[offset]`` of the file at each offset."""
    values = np.empty((SHARD_ROWS, *spec.shape), spec.dtype)
    rows = list(places.values())
    given = file.array(place, (count, *spec.shape), storage_dtype(spec), rows)
    with _damage(file.path):
        for offset, row, value in zip(places, rows, given, strict=True):
            values[offset] = value
            _require_same(checksum(value), checksums[row], f"row {row} of {spec.field}")
    return values


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Say of an export what is wrong with it; no repair of a store mends that."""
    try:
        with checking(path):
            yield
    except DamagedRecordError as error:
        raise CorruptStoreError(f"{path} is damaged ({error.why}); export it once more") from error


def _require_same(found: object, written: object, what: str) -> None:
    require(found == written, f"{what} is not what was written")
