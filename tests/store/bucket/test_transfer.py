"""Stores that are carried into a bucket and out of it again."""

import obstore
import pytest

from clare.errors import CorruptStoreError, StoreError
from clare.store.bucket.objects import Objects
from clare.store.feature_store import create_store, open_store
from clare.store.maintenance.verify import verify_store
from clare.store.transfer import pull_store, push_store
from tests.store.conftest import extract, make_rows


def files_of(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: data for name, data in found.items() if not name.startswith("locks")}


@pytest.fixture
def store(tmp_path):
    store = create_store(tmp_path / "store.zarr")
    store.assign_rows("faces", make_rows(200))
    store.write_thumbnails("faces", 0, {0: b"jpeg"})
    store.record_command(("clare", "extract"), ["faces"], [])
    extract(store)
    return store


def test_a_store_comes_back_as_it_went_and_only_once(store, url, tmp_path):
    went = push_store(store.path, url)
    assert (went.shards, went.kept) == (4, 0)
    came = pull_store(url, tmp_path / "again.zarr")
    assert came.shards == 4
    assert files_of(tmp_path / "again.zarr") == files_of(store.path)
    assert verify_store(tmp_path / "again.zarr") == []
    again = push_store(store.path, url), pull_store(url, tmp_path / "again.zarr")
    assert [(one.shards, one.kept, one.bytes) for one in again] == [(0, 4, 0)] * 2


def test_what_a_store_gained_is_carried_after_it(store, url, tmp_path):
    push_store(store.path, url)
    store.assign_rows("faces", make_rows(300))
    extract(store)
    assert push_store(store.path, url).shards == 2
    pull_store(url, tmp_path / "again.zarr")
    assert files_of(tmp_path / "again.zarr") == files_of(store.path)


@pytest.mark.parametrize("after", [1, 9, 13, 19])
def test_a_push_that_broke_off_leaves_a_good_store_and_goes_on(
    store, url, tmp_path, monkeypatch, after
):
    put, puts = obstore.put, list[str]()

    def breaks_off(*args, **how):
        if len(puts) == after:
            raise KeyboardInterrupt
        puts.append(args[1])
        return put(*args, **how)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(obstore, "put", breaks_off)
        push_store(store.path, url)
    pull_store(url, tmp_path / "half.zarr")
    assert verify_store(tmp_path / "half.zarr") == []
    push_store(store.path, url)
    pull_store(url, tmp_path / "half.zarr")
    assert files_of(tmp_path / "half.zarr") == files_of(store.path)
    push_store(store.path, f"file://{tmp_path}/copy.zarr")
    assert files_of(tmp_path / "copy.zarr") == files_of(store.path)
    assert not [found.key for found in Objects(url).list() if found.key.endswith(".partial")]


def test_a_damaged_shard_is_carried_neither_way(store, url, tmp_path):
    push_store(store.path, url)
    objects = Objects(url)
    key = next(found.key for found in objects.list("arrays") if "clip_cls/c/1/" in found.key)
    data = bytearray(objects.get(key))
    data[5] ^= 1
    objects.put(key, bytes(data))
    with pytest.raises(CorruptStoreError, match="clip_cls/c/1/0 is damaged"):
        pull_store(url, tmp_path / "again.zarr")
    assert verify_store(tmp_path / "again.zarr") == []
    again = open_store(tmp_path / "again.zarr").feature("faces", "clip")
    assert again.pending() == [1]
    (store.path / key).write_bytes(data)
    with pytest.raises(CorruptStoreError, match="is damaged"):
        push_store(store.path, f"{url}2")


def test_another_store_is_not_overwritten(store, url, tmp_path):
    other = create_store(tmp_path / "other.zarr")
    other.assign_rows("faces", make_rows(200, start=5))
    push_store(other.path, url)
    with pytest.raises(StoreError, match="holds another store"):
        push_store(store.path, url)
    with pytest.raises(StoreError, match="holds another store"):
        pull_store(url, store.path)
    with pytest.raises(StoreError, match="there is no feature store at"):
        pull_store(f"{url}2", tmp_path / "new.zarr")
    assert not (tmp_path / "new.zarr").exists()
