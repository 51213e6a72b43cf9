"""The room that copies of stores in buckets may take."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clare.errors import InputError
from clare.store.bucket import room
from clare.store.feature_store import open_store
from clare.store.spec import SHARD_ROWS
from clare.store.transfer import push_store
from clare.store.zarr_shards import shard_bytes
from tests.store.conftest import FIELDS

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
    found = cache.glob(f"*/store/arrays/*/*/{FIELDS[0].field}/c/*")
    return sorted(int(path.name) for path in found)


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


@pytest.mark.parametrize("given", ["0", "-1", "much", "inf"])
def test_no_number_of_gib_is_refused(reader, monkeypatch, given):
    monkeypatch.setenv("CLARE_CACHE_GIB", given)
    with pytest.raises(InputError, match="is no number of GiB"):
        read(reader, 0)
