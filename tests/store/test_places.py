"""Where a store or an export may stand, and what is said of places where none can."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clare.errors import StoreError
from clare.files import storage_errors
from clare.store.export import export_hdf5, import_hdf5
from clare.store.feature_store import create_store, open_store
from clare.store.maintenance.verify import verify_store

AT_ONCE = """
import multiprocessing, sys, time
from pathlib import Path
from clare.store.feature_store import create_store

store, count = Path(sys.argv[1]), 4
store.mkdir()
fork = multiprocessing.get_context("fork")
barrier = fork.Barrier(count)
list_folder = Path.iterdir

def create(number):
    def list_late(path):
        barrier.wait()  # nobody saw a store so far
        while number and not (store / "store.json").exists():
            time.sleep(0.001)
        return list_folder(path)

    Path.iterdir = list_late
    create_store(store)

processes = [fork.Process(target=create, args=(number,)) for number in range(count)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(any(process.exitcode for process in processes))
"""


def test_processes_may_make_one_store_at_once(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, tmp_path / "s"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert open_store(tmp_path / "s").subsets() == []


@pytest.mark.parametrize("name", ["file/s", "file/a/s", "dangling", "loop", "loop/s", "x" * 300])
def test_a_place_that_can_hold_no_store_is_refused_in_words(tmp_path, name):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for begin in (create_store, open_store, verify_store):
        with pytest.raises(StoreError, match=r"can't be used|no feature store"):
            begin(tmp_path / name)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.EISDIR, errno.EACCES])
def test_the_system_s_refusals_become_sentences(tmp_path, number):
    with (
        pytest.raises(StoreError, match=os.strerror(number)),
        storage_errors(tmp_path),
    ):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("out", ["folder", "file/x.h5", "x" * 300 + ".h5", "x" * 248 + ".h5"])
def test_a_place_that_can_hold_no_export_is_refused_in_words(filled, tmp_path, out):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"can't be used|is a folder"):
        export_hdf5(filled, "faces", tmp_path / out)
    assert not list(tmp_path.glob("**/*.partial"))


def test_a_file_system_without_new_folders_is_refused_in_words(tmp_path, monkeypatch):
    def refuse(path, mode=0o777, parents=False, exist_ok=False):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # as /proc does

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match="its disk takes no folders"):
        create_store(tmp_path / "nowhere/s")


def test_a_folder_of_something_else_is_no_store_to_verify(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(StoreError, match="no feature store"):
        verify_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_an_import_makes_the_store(filled, tmp_path):
    export_hdf5(filled, "faces", tmp_path / "faces.h5")
    assert import_hdf5(tmp_path / "new.zarr", tmp_path / "faces.h5") == "faces"
    assert len(open_store(tmp_path / "new.zarr").rows("faces")) == 100
