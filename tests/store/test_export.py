"""A subset leaves as one HDF5 file and comes back bit by bit."""

from __future__ import annotations

import json
import resource
import shutil
import signal

import h5py
import numpy as np
import pytest

from clare.errors import (
    CorruptStoreError,
    DiskSpaceError,
    InputError,
    RowUnavailableError,
    StoreError,
)
from clare.store.export import export_hdf5, import_hdf5
from clare.store.feature_store import create_store, open_store
from clare.store.hdf5_output import write_hdf5
from clare.store.maintenance.verify import verify_store
from tests.store.conftest import FIELDS, FINGERPRINT, contents, extract, make_rows


@pytest.fixture
def exported(filled, tmp_path):
    path = tmp_path / "out" / "faces.h5"
    export_hdf5(filled, "faces", path)
    return path


def everything(store):
    feature = store.feature("faces", "clip")
    rows = [row for row in store.rows("faces") if row.slot not in feature.failures()]
    slots = [row.slot for row in rows]
    values = {name: feature.reader(name).read(slots).tobytes() for name in feature.fields}
    return [row.identity for row in store.rows("faces")], values, feature.failures()


def test_import_into_a_fresh_store_equals_the_original(filled, exported, tmp_path):
    fresh = create_store(tmp_path / "fresh.zarr")
    assert import_hdf5(fresh, exported) == "faces"
    assert everything(fresh) == everything(filled)
    assert fresh.asset(FINGERPRINT.key, "text_tower.safetensors").read_bytes() == b"tower" * 20
    assert contents(fresh.path) == contents(filled.path)
    assert verify_store(fresh.path) == []
    before = contents(fresh.path)
    import_hdf5(fresh, exported)
    assert contents(fresh.path) == before


def test_the_file_is_readable_row_by_row_by_a_stranger(filled, exported):
    with h5py.File(exported) as file:
        record = json.loads(file[f"features/{FINGERPRINT.key}"].attrs["clare"])
        assert record["fingerprint"]["settings"]["model"] == "tiny"
        tokens = file[f"features/{FINGERPRINT.key}/clip_tokens"]
        assert tokens.chunks == (1, 3, 4) and tokens.fletcher32
        row = json.loads(file["index"][5])
        np.testing.assert_array_equal(
            tokens[5], filled.feature("faces", "clip").reader("clip_tokens").read([row["slot"]])[0]
        )
        assert file[f"features/{FINGERPRINT.key}/state"][3] == 2
        assert np.isnan(tokens[3]).all()


def test_superseded_rows_stay_behind_and_pending_rows_stay_pending(store, tmp_path):
    store.assign_rows("faces", make_rows(70))
    extract(store)
    store.assign_rows("faces", make_rows(10, start=70))
    export_hdf5(store, "faces", tmp_path / "faces.h5")
    fresh = create_store(tmp_path / "fresh.zarr")
    import_hdf5(fresh, tmp_path / "faces.h5")
    feature = fresh.feature("faces", "clip")
    assert feature.counts()["complete"] == 70 and feature.pending() == [1]
    with pytest.raises(RowUnavailableError):
        feature.reader("clip_cls").read([75])
    extract(open_store(fresh.path))
    assert feature.pending() == [1], "before a refresh"
    feature.refresh()
    assert feature.pending() == []
    assert everything(fresh)[1].keys() == {spec.field for spec in FIELDS}
    assert verify_store(fresh.path) == []


def test_only_the_features_asked_for(filled, tmp_path):
    export_hdf5(filled, "faces", tmp_path / "a.h5", digests={"clip": FINGERPRINT.digest[:5]})
    with pytest.raises(StoreError, match="no features clip=ffff"):
        export_hdf5(filled, "faces", tmp_path / "b.h5", digests={"clip": "ffff"})
    assert sorted(path.name for path in tmp_path.glob("*.h5*")) == ["a.h5"]


def test_a_disk_too_small_is_refused_before_anything_is_written(filled, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(DiskSpaceError, match=r"needed at .* and 1000 B are free; make room"):
        export_hdf5(filled, "faces", tmp_path / "faces.h5")
    assert not list(tmp_path.glob("faces*"))


@pytest.mark.parametrize("most", [0, 100, 5000, 40_000])
def test_a_disk_that_refuses_while_it_is_written_is_told_in_a_sentence(filled, exported, most):
    before = exported.read_bytes()
    assert len(before) > most
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises(StoreError, match="File too large"):
            export_hdf5(filled, "faces", exported)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert exported.read_bytes() == before
    assert list(exported.parent.iterdir()) == [exported]
    export_hdf5(filled, "faces", exported)
    assert exported.read_bytes() == before


def test_an_export_that_is_stopped_leaves_nothing(filled, tmp_path, monkeypatch):
    def stop(data):
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr("clare.store.export.checksum", stop)
    with pytest.raises(KeyboardInterrupt):
        export_hdf5(filled, "faces", tmp_path / "faces.h5")
    assert not list(tmp_path.glob("faces.h5*"))


def test_what_is_no_export_is_refused(store, tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = 1
    for name in ("a.h5", "b.h5", "c.h5"):
        with pytest.raises(InputError, match="export"):
            import_hdf5(store, tmp_path / name)


def test_a_damaged_file_is_refused_or_gives_the_same_values(filled, exported, tmp_path):
    whole = exported.read_bytes()
    chance = np.random.default_rng(0)
    refused = 0
    for n in range(8):
        raw = bytearray(whole)
        raw[chance.integers(len(raw))] ^= 1 << chance.integers(8)
        exported.write_bytes(raw)
        fresh = create_store(tmp_path / f"fresh-{n}.zarr")
        try:
            import_hdf5(fresh, exported)
        except (CorruptStoreError, InputError):
            refused += 1
        else:
            assert everything(fresh) == everything(filled)
        assert verify_store(fresh.path) == []
    assert refused > 2
    exported.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptStoreError, match="damaged"):
        import_hdf5(create_store(tmp_path / "cut.zarr"), exported)


def test_what_the_disk_refused_is_read_back_and_told(tmp_path):
    """HDF5 reads what it wrote: garbage in its place would end the process."""
    path = tmp_path / "file"
    path.touch()
    read: list[object] = []

    def fill(file, check):
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            for number in range(40):
                file.create_dataset(f"values-{number}", data=np.full(200, number))
            file.flush()
            # What fails in here gives way to the refusal, so it is looked at below.
            read.extend(file[f"values-{n}"][:] for n in range(40))
            check()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match="File too large"):
        write_hdf5(path, fill)
    np.testing.assert_array_equal(read, np.repeat(np.arange(40)[:, None], 200, axis=1))
