"""The room that copies of stores in buckets may take."""

from __future__ import annotations

import fcntl
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clare.errors import InputError
from clare.store.bucket import room
from clare.store.bucket.fence import BucketFence
from clare.store.bucket.mirror import Mirror
from clare.store.feature_store import create_store, open_store
from clare.store.spec import SHARD_ROWS
from clare.store.transfer import push_store
from clare.store.zarr_shards import shard_bytes
from tests.store.conftest import FIELDS, contents, extract, make_rows

ONE = shard_bytes(FIELDS[0])


@pytest.fixture
def reader(local, url, monkeypatch):
    """Of a store of four shards, of which copies may hold two and a half."""
    push_store(local.path, url)
    monkeypatch.setenv("CLARE_CACHE_GIB", str(2.5 * ONE / (1 << 30)))
    monkeypatch.setattr(room, "_LEAVE", 1.0)
    monkeypatch.setattr(room, "_NOTED", 0.0)
    return open_store(url).feature("faces", "clip").reader(FIELDS[0].field)


def shards(cache):
    found = cache.glob(f"*/store/arrays/*/*/{FIELDS[0].field}/c/*/0/0")
    return sorted(int(path.parts[-3]) for path in found)


def read(reader, *numbers):
    for shard in numbers:
        reader.read([SHARD_ROWS * shard])


def test_the_shards_that_were_used_least_recently_go(reader, cache, requests):
    read(reader, 0, 1, 0, 2)
    assert shards(cache) == [0, 2]
    asked = requests()
    read(reader, 0, 2)
    assert asked.counts()["get"] == 0
    read(reader, 1)
    assert asked.counts()["get"] == 1
    assert shards(cache) == [1, 2]


def test_all_rows_are_right_however_little_room_there_is(reader, local, monkeypatch):
    monkeypatch.setenv("CLARE_CACHE_GIB", "1e-9")
    slots = np.random.default_rng(0).permutation(200)
    expected = local.feature("faces", "clip").reader(FIELDS[0].field).read(slots)
    assert np.array_equal(reader.read(slots), expected)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(reader.read, [slots] * 4):
            assert np.array_equal(found, expected)


def test_what_another_process_reads_stays(reader, cache):
    read(reader, 0, 1)
    (path,) = cache.glob(f"*/store/arrays/*/*/{FIELDS[0].field}/c/0/0/0")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        read(reader, 2)
        assert shards(cache) == [0, 2]
    finally:
        os.close(descriptor)
    read(reader, 3)
    assert shards(cache) == [2, 3]


def test_what_a_killed_process_left_or_miscounted_is_counted_and_goes(reader, cache):
    read(reader, 0, 1)
    (path,) = cache.glob(f"*/store/arrays/*/*/{FIELDS[0].field}/c/0/0/0")
    rubbish = path.with_name("0.7-abcd.partial")
    rubbish.write_bytes(bytes(ONE))
    os.utime(rubbish, (1, 1))
    (cache / "room.txt").write_text("12x")
    read(reader, 2)
    assert not rubbish.exists()
    assert shards(cache) == [1, 2]


def test_what_was_fetched_is_read_where_the_count_can_t_be_noted(reader, cache):
    (cache / "room.txt").mkdir(parents=True)
    read(reader, 0, 1, 2)
    assert shards(cache) == [1, 2], "it is counted anew each time"


def test_a_store_beside_the_copies_stays_whole(reader, local, cache):
    mine = shutil.copytree(local.path, cache / "mine" / "store")
    for path in mine.rglob("c/*/0"):
        os.utime(path, (1, 1))
    read(reader, 0, 1, 2)
    assert contents(mine) == contents(local.path)
    shutil.rmtree(cache / "mine")
    assert shards(cache) == [1, 2], "it took no room either"


def test_what_is_being_written_on_this_machine_stays_until_it_has_its_name(
    local, url, cache, monkeypatch
):
    def crowded(work):
        def crowding(*given):
            found = work(*given)
            room.Room(cache).fetched(0, 0)
            return found

        return crowding

    store = create_store(url)
    store.assign_rows("faces", make_rows(64))
    for owner, name in ((BucketFence, "put"), (Mirror, "came")):
        monkeypatch.setattr(owner, name, crowded(getattr(owner, name)))
    assert extract(store) == 1


@pytest.mark.parametrize("given", ["0", "-1", "much", "inf"])
def test_no_number_of_gib_is_refused_before_anything_is_fetched(
    reader, url, requests, monkeypatch, given
):
    monkeypatch.setenv("CLARE_CACHE_GIB", given)
    asked = requests()
    for ask in (lambda: open_store(url), lambda: read(reader, 0)):
        with pytest.raises(InputError, match="is no number of GiB"):
            ask()
    assert not asked.keys["get"]
