"""Files that no shard has, carried between stores: assets, and the index."""

from __future__ import annotations

import json
import shutil
import tracemalloc

import pytest

from clare.store import carried_files
from clare.store.feature_store import create_store, open_store
from clare.store.layout import Layout
from clare.store.maintenance.verify import verify_store
from clare.store.sides import FolderSide
from clare.store.transfer import pull_store, push_store
from tests.store.conftest import ASSETS, FIELDS, FINGERPRINT, contents, make_rows

KEY = FINGERPRINT.key
TOWER = "text_tower.safetensors"


@pytest.fixture
def declared(store):
    """A store whose extractor has no assets yet."""
    store.declare(FINGERPRINT, FIELDS)
    return store


def test_assets_that_are_whole_over_there_stay_so(declared, url, tmp_path):
    whole = open_store(shutil.copytree(declared.path, tmp_path / "whole.zarr"))
    whole.write_assets(KEY, ASSETS)
    push_store(whole.path, url)
    push_store(declared.path, url)
    assert open_store(url).asset(KEY, TOWER).read_bytes() == ASSETS[TOWER]
    push_store(declared.path, f"{url}2")
    pull_store(f"{url}2", whole.path)
    assert open_store(whole.path).has_assets(KEY)
    assert verify_store(whole.path) == verify_store(url) == []


def test_assets_that_are_whole_here_alone_are_carried(declared, url):
    push_store(declared.path, url)
    declared.write_assets(KEY, ASSETS)
    push_store(declared.path, url)
    assert open_store(url).asset(KEY, TOWER).read_bytes() == ASSETS[TOWER]


@pytest.mark.parametrize("file", [TOWER, "assets.json", "record.json"])
def test_a_push_that_broke_off_before_a_file_of_an_extractor_leaves_a_good_store(
    declared, tmp_path, monkeypatch, file
):
    declared.write_assets(KEY, ASSETS)
    write = FolderSide.write

    def breaks_off(side, key, data, fence):
        if key.endswith(file):
            raise KeyboardInterrupt
        write(side, key, data, fence)

    copy = tmp_path / "copy.zarr"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(FolderSide, "write", breaks_off)
        push_store(declared.path, str(copy))
    assert verify_store(copy) == []
    push_store(declared.path, str(copy))
    assert contents(copy) == contents(declared.path)


def test_a_file_without_a_byte_is_carried(declared, url, tmp_path):
    declared.write_assets(KEY, {"merges.txt": b""})
    push_store(declared.path, url)
    pull_store(url, tmp_path / "again.zarr")
    assert contents(tmp_path / "again.zarr") == contents(declared.path)
    assert push_store(declared.path, url).bytes == 0


@pytest.mark.parametrize("shape", [[], {}, 3, [None]])
def test_an_array_that_says_no_length_over_there_is_replaced(filled, url, objects, shape):
    push_store(filled.path, url)
    key = f"{filled.layout.array('faces', KEY, 'pixels').relative_to(filled.path)}/zarr.json"
    whole = objects.get(key)
    objects.put(key, json.dumps({**json.loads(whole), "shape": shape}).encode())
    push_store(filled.path, url)
    assert objects.get(key) == whole


def test_large_files_are_in_memory_one_at_a_time(declared, tmp_path, monkeypatch):
    monkeypatch.setattr(carried_files, "_LARGE", 1 << 19)
    declared.write_assets(KEY, {f"tower{n}": bytes(1 << 20) for n in range(8)})
    tracemalloc.start()
    try:
        push_store(declared.path, f"file://{tmp_path}/copy.zarr")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert contents(tmp_path / "copy.zarr") == contents(declared.path)


def test_rows_are_not_overwritten_where_those_here_go_while_they_are_compared(
    store, tmp_path, monkeypatch
):
    store.assign_rows("faces", make_rows(100))
    other = create_store(tmp_path / "other.zarr")
    segment = Layout(other.path).segment("faces", 0)
    key = segment.relative_to(other.path).as_posix()
    sizes, read, reads = FolderSide.sizes, FolderSide.read, list[str]()

    def rows_come(side):
        found = sizes(side)
        if side.root == other.path:
            other.assign_rows("faces", make_rows(100, start=50))
        return found

    def rows_go(side, name):
        if side.root == store.path and name == key:
            reads.append(name)
            if len(reads) == 2:
                (store.path / key).unlink()
        return read(side, name)

    monkeypatch.setattr(FolderSide, "sizes", rows_come)
    monkeypatch.setattr(FolderSide, "read", rows_go)
    with pytest.raises(FileNotFoundError):
        push_store(store.path, str(other.path))
    first, *_ = open_store(other.path).rows("faces")
    assert first.sample_id == "sample-0050"
