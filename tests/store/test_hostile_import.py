"""An export may be anybody's: whatever it holds, importing it ends in one sentence or in the values
that were exported, reads no other file and writes to nothing but the store."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from clare.errors import ClareError, CorruptStoreError
from clare.store.export import export_hdf5, import_hdf5
from clare.store.feature_store import create_store, open_store
from clare.store.hdf5 import ForeignHdf5
from clare.store.maintenance.verify import verify_store
from clare.store.records import seal, unseal
from tests.store.conftest import FINGERPRINT, extract, make_rows
from tests.store.forging import changed

FEATURE = f"features/{FINGERPRINT.key}"
FIELD = f"{FEATURE}/clip_cls"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An export of five rows, one of which failed."""
    folder = tmp_path_factory.mktemp("whole")
    store = create_store(folder / "features.zarr")
    store.assign_rows("faces", make_rows(5))
    extract(store, failed=("sample-0003",))
    export_hdf5(store, "faces", folder / "faces.h5")
    return folder / "faces.h5"


def says(place: str, *member: object, value: object):
    """The sealed line of a place in the file, with another value of a member."""

    def forge(file: h5py.File) -> None:
        attributes = (file[place] if place else file).attrs
        record = changed(unseal(attributes["clare"].encode()), member, value)
        attributes["clare"] = seal(record).decode()

    return forge


def link_to_another_file(file: h5py.File) -> None:
    file.move(FIELD, "aside")
    file[FIELD] = h5py.ExternalLink(elsewhere(Path(file.filename).parent), "x")


def elsewhere(folder: Path) -> str:
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.zeros((5, 4), np.float32)
    return str(folder / "other.h5")


HOSTILE = {
    "an asset above": says(FEATURE, "assets", "../../up", value="0" * 64),
    "an absolute asset": says(FEATURE, "assets", "/tmp/up", value="0" * 64),
    "an asset in the record's place": says(FEATURE, "assets", "record.json", value="0" * 64),
    "a field with a slash": says(FEATURE, "fields", 1, "field", value="a/b"),
    "a subset above": says("", "subset", value="../up"),
    "a feature above": says("", "features", value=["../up"]),
    "rows for many TiB": says("", "rows", value=2**50),
    "a field of many TiB": says(FEATURE, "fields", 1, "shape", value=[2**45]),
    "a link to another file": link_to_another_file,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_export_is_refused_in_one_sentence(whole, tmp_path, what):
    path = tmp_path / "in" / "deep" / "faces.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(whole.read_bytes())
    with h5py.File(path, "r+") as file:
        HOSTILE[what](file)
    before = {*tmp_path.rglob("*")}
    store = tmp_path / "stores" / "deep" / "new.zarr"
    with pytest.raises(CorruptStoreError, match=r"faces\.h5 is damaged") as refused:
        import_hdf5(store, path, patience=20)
    assert "\n" not in str(refused.value)
    outside = {one for one in tmp_path.rglob("*") if store not in one.parents}
    assert outside <= {*before, store, *store.parents}
    if store.exists():
        assert verify_store(store) == []
        for feature in open_store(store).features("faces"):
            assert feature.counts()["complete"] == 0


def test_only_what_lies_in_the_file_is_read(tmp_path):
    """Nor is room made for what a file claims to hold. One process reads all of it."""
    shape = (5, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("external", "soft", "itself", "other"):
            file.create_group(name)
        file["good"] = np.arange(20, dtype=np.float32).reshape(shape)
        file["external/x"] = h5py.ExternalLink(elsewhere(tmp_path), "x")
        file["soft/x"] = h5py.SoftLink("/good")
        file["itself/x"] = h5py.SoftLink("/itself/x")
        file["all"] = h5py.ExternalLink(elsewhere(tmp_path), "/")
        (tmp_path / "secret").write_bytes(bytes(80))
        outside = [(str(tmp_path / "secret"), 0, 80)]
        file.create_dataset("other/external", shape, "f4", external=outside)
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[:] = h5py.VirtualSource(elsewhere(tmp_path), "x", shape)
        file.create_virtual_dataset("other/virtual", layout)
        file.create_group("other/group")
        file.create_dataset("other/huge", (2**45, 4), "f4", chunks=(1, 4))
        file.create_dataset("other/absent", shape, "f4", chunks=(1, 4))
        file.create_dataset("other/packed", shape, "f4", chunks=(1, 4), compression="gzip")
        file.create_dataset("other/type", shape, h5py.string_dtype())
        file.create_dataset("other/texts", (2**45,), h5py.string_dtype(), chunks=(1,))
        file.create_dataset("other/bytes", (2**50,), "u1", chunks=(1 << 20,))
        hostile = [
            *("external/x", "soft/x", "itself/x", "all/x", "good/x", "nowhere", "../good"),
            *(f"other/{name}" for name in file["other"]),
        ]
    with ForeignHdf5(tmp_path / "a.h5", patience=20) as foreign:
        np.testing.assert_array_equal(
            foreign.array("good", shape, np.float32), np.arange(20).reshape(shape)
        )
        for place in hostile:
            with pytest.raises(CorruptStoreError, match=r"a\.h5 is damaged"):
                foreign.array(place, shape, np.float32)
        for refused in (
            lambda: foreign.array("other/huge", (2**45, 4), np.float32),
            lambda: foreign.array("other/bytes", None, np.uint8),
            lambda: foreign.texts("other/texts", 2**45),
            lambda: foreign.require("other/absent", shape, np.float32, 5),
            lambda: foreign.text("all"),
        ):
            with pytest.raises(CorruptStoreError, match=r"a\.h5 is damaged"):
                refused()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_zeroed_bytes_end_in_one_sentence_or_right_values(whole, tmp_path, share):
    raw = bytearray(whole.read_bytes())
    start = int(share * len(raw))
    raw[start : start + 64] = bytes(64)
    (tmp_path / "faces.h5").write_bytes(raw)
    store = create_store(tmp_path / "new.zarr")
    try:
        import_hdf5(store, tmp_path / "faces.h5", patience=10)
    except ClareError as error:
        assert "\n" not in str(error)
    else:
        export_hdf5(store, "faces", tmp_path / "again.h5")
        assert (tmp_path / "again.h5").read_bytes() == whole.read_bytes()
    assert verify_store(store.path) == []


@pytest.fixture
def silent(tmp_path, monkeypatch) -> Path:
    """What reads a file never answers, as HDF5's library does over some; its number is noted."""
    script = tmp_path / "silent"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/number\nexec sleep 60\n")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    return tmp_path / "number"


def is_gone(number: Path) -> bool:
    try:
        os.kill(int(number.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_a_file_that_reading_never_ends_over_is_given_up(whole, tmp_path, silent):
    with pytest.raises(CorruptStoreError, match="gave nothing for"):
        import_hdf5(tmp_path / "new.zarr", whole, patience=0.5)
    assert is_gone(silent)


def test_an_import_can_be_stopped_while_reading_hangs(whole, tmp_path, silent):
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        import_hdf5(tmp_path / "new.zarr", whole)
    interrupt.join()
    assert is_gone(silent)
    assert not (tmp_path / "new.zarr").exists()
