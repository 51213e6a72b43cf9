"""One subset as one HDF5 file, index and assets included, and back into a store.

``docs/store-format.md`` describes the file. Everything in it is covered by a checksum of ours,
since HDF5's own covers only the chunks.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clare.advice import Run
from clare.errors import ClareError, CorruptStoreError, InputError, StoreError
from clare.files import PARTIAL, make_folder, require_free_space, storage_errors, sync_folder
from clare.store.extractor_records import extractor_record
from clare.store.feature_store import FeatureStore, create_store
from clare.store.index import Entry, Row
from clare.store.journal import COMPLETE, FAILED, PENDING
from clare.store.records import checksum, seal, unseal
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from clare.store.zarr_shards import fill_value, storage_dtype

if TYPE_CHECKING:
    from clare.store.feature import Feature

EXPORT_FORMAT = 1


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
    import h5py

    rows = store.rows(subset)
    if digests is None:
        features = store.features(subset)
    else:
        features = [store.feature(subset, name, digest) for name, digest in digests.items()]
    path = Path(out).absolute()
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    make_folder(path.parent)
    with storage_errors(path):
        if path.is_dir():
            raise StoreError(f"{path} is a folder; name a file for the export")
        # Beforehand, because the HDF5 library does not survive a full disk.
        require_free_space(path.parent, _bytes_at_most(features, rows))
        try:
            with h5py.File(temporary, "w", libver=("v110", "v110")) as file:
                _export_all(file, store, subset, rows, features)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _bytes_at_most(features: list[Feature], rows: list[Row]) -> int:
    """Size of an export, with room for HDF5's own bookkeeping."""
    specs = [spec for feature in features for spec in feature.fields.values()]
    files = [path for feature in features for path in feature.layout.assets(feature.key)]
    assets = sum(path.stat().st_size for path in files)
    index = sum(len(seal(Entry(row, turn=0).to_json())) + 64 for row in rows)
    return len(rows) * sum(spec.row_bytes + 128 for spec in specs) + index + assets + 2**20


def _export_all(
    file: Any, store: FeatureStore, subset: str, rows: list[Row], features: list[Feature]
) -> None:
    import h5py

    text = h5py.string_dtype()
    lines = [seal(Entry(row, turn=0).to_json()) for row in rows]
    file.create_dataset("index", data=lines, dtype=text)
    for feature in features:
        group = file.create_group(f"features/{feature.key}")
        states = feature.states()[[row.slot for row in rows]]
        failures = feature.failures()
        reasons = [failures.get(row.slot, "").encode() for row in rows]
        group.create_dataset("state", data=states)
        group.create_dataset("reason", data=reasons, dtype=text)
        fields = feature.fields.values()
        checks = {spec.field: _export_field(group, feature, spec, rows, states) for spec in fields}
        assets = {}
        for path in feature.layout.assets(feature.key):
            data = store.asset(feature.key, path.name).read_bytes()
            group.create_dataset(f"assets/{path.name}", data=np.frombuffer(data, np.uint8))
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
    group: Any, feature: Feature, spec: FeatureSpec, rows: list[Row], states: np.ndarray
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
        places = start + np.flatnonzero(states[start : start + SHARD_ROWS] == COMPLETE)
        values = reader.read([rows[place].slot for place in places])
        for place, row in zip(places, values, strict=True):
            data[place] = row
            checksums[place] = checksum(row)
    group.create_dataset(f"rows_crc32c/{spec.field}", data=checksums)
    return checksums


def import_hdf5(store: FeatureStore | Path | str, path: Path | str) -> str:
    """Bring an exported subset into a store; what the store already has is left alone.

    Rows go through `FeatureStore.assign_rows`, so a sample with other content supersedes the
    store's. Import the same file again to go on after an interruption.

    Args:
        store: an open store, or the folder of one; it is made if it is not there, once the file's
            index has been read.
        path: a file that `export_hdf5` wrote.

    Returns:
        The subset's name.

    Raises:
        InputError: there is no such file, or it is not an export of this format.
        CorruptStoreError: the file is damaged; the shards imported before that was seen are good.
        DiskSpaceError: the disk is full.
    """
    import h5py

    path = Path(path)
    if not path.is_file() or not h5py.is_hdf5(path):
        raise InputError(f"{path} is not an HDF5 file that an export wrote", Run("store.export"))
    try:
        with h5py.File(path, "r") as file:
            if "clare" not in file.attrs:
                raise InputError(f"{path} is not a file that an export wrote", Run("store.export"))
            return _import_all(store, file)
    except ClareError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CorruptStoreError(f"{path} is damaged ({error}); export it once more") from error


def _import_all(store: FeatureStore | Path | str, file: Any) -> str:
    contents = unseal(str(file.attrs["clare"]).encode())
    if contents["format"] != EXPORT_FORMAT:
        raise InputError(f"{file.filename} has the unknown export format {contents['format']}")
    exported = [Entry.from_json(unseal(line)).row for line in file["index"][:]]
    if len(exported) != contents["rows"]:
        raise ValueError("rows of the index are missing")
    subset: str = contents["subset"]
    opened = store if isinstance(store, FeatureStore) else create_store(store)
    rows = opened.assign_rows(subset, exported)
    places = {row.slot: place for place, row in enumerate(rows)}
    for key in contents["features"]:
        _import_feature(opened, subset, key, file[f"features/{key}"], places)
    return subset


def _import_feature(
    store: FeatureStore, subset: str, key: str, group: Any, places: Mapping[int, int]
) -> None:
    record = unseal(str(group.attrs["clare"]).encode())
    fingerprint = Fingerprint(**record["fingerprint"])
    states, reasons = group["state"][:], group["reason"][:]
    checks = {name: group[f"rows_crc32c/{name}"][:] for name in record["rows_crc32c"]}
    _require(fingerprint.key == key, "a fingerprint")
    _require(checksum(states) == record["state_crc32c"], "the list of states")
    _require(checksum(b"\0".join(reasons)) == record["reason_crc32c"], "the list of reasons")
    for name, expected in record["rows_crc32c"].items():
        _require(checksum(checks[name]) == expected, f"the checksums of {name}")

    store.declare(fingerprint, [FeatureSpec.from_json(spec) for spec in record["fields"]])
    assets = {name: group[f"assets/{name}"][:] for name in record["assets"]}
    for name, digest in record["assets"].items():
        _require(hashlib.sha256(assets[name]).hexdigest() == digest, f"the asset {name}")
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
                    s % SHARD_ROWS: reasons[places[s]].decode()
                    for s in given
                    if states[places[s]] == FAILED
                }
                values = {
                    name: _import_rows(group[name], spec, complete, checks[name])
                    for name, spec in feature.fields.items()
                }
                feature.write_shard(shard, values, failed, record["made_with"], list(complete))
            finally:
                feature.release(shard)


def _import_rows(
    data: Any, spec: FeatureSpec, places: Mapping[int, int], checksums: np.ndarray
) -> np.ndarray:
    """One shard's values: row ``places[offset]`` of the file at each offset."""
    values = np.empty((SHARD_ROWS, *spec.shape), spec.dtype)
    for offset, place in places.items():
        values[offset] = data[place]
        _require(checksum(values[offset]) == checksums[place], f"row {place} of {spec.field}")
    return values


def _require(good: bool, what: str) -> None:
    if not good:
        raise ValueError(f"{what} is not what was written")
