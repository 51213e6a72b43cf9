"""Work on a few shards of a store in a bucket: it asks for no more in a large one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clare.store.bucket.objects import Objects
from clare.store.feature_store import create_store, open_store
from clare.store.index import load_index
from tests.store.conftest import FIELDS, FINGERPRINT, MADE_WITH, make_rows, shard_values

FEW = range(5, 7)
WANTED = np.arange(64 * FEW.start, 64 * FEW.stop)


def make_noted(count):
    return [
        dataclasses.replace(row, columns={**row.columns, "note": "x" * 900}, slot=slot)
        for slot, row in enumerate(make_rows(count))
    ]


def with_rows(url, shards):
    """A store whose index takes a MiB for 16 shards."""
    store = create_store(url)
    store.assign_rows("faces", make_noted(64 * shards))
    store.declare(FINGERPRINT, FIELDS)
    return store


def work(url):
    """Two shards, by a process that knows nothing of the store yet."""
    store = open_store(url)
    assert store.subsets() == ["faces"]
    feature = store.feature("faces", "clip", shards=FEW)
    for shard in np.unique(feature.lacking(WANTED) // 64).tolist():
        assert feature.claim(shard)
        rows = feature.shard_rows(shard)
        feature.write_shard(shard, shard_values(rows), {}, MADE_WITH)
        feature.release(shard)
    assert not len(feature.lacking(WANTED))
    reader = feature.reader("clip_cls")
    return reader.read(WANTED)


def test_ten_times_the_shards_take_the_same_requests_and_bytes(url, requests, monkeypatch, cache):
    found = []
    for shards in (8, 80):
        store = with_rows(f"{url}{shards}", shards)
        for other in set(range(shards)) - set(FEW):  # whoever reads such a record meets damage
            record = store.layout.record("faces", FINGERPRINT.key, other)
            store.layout.mirror.objects.put(store.layout.mirror.key(record), b"")
        monkeypatch.setenv("CLARE_CACHE", str(cache / f"new{shards}"))
        asked = requests()
        values = work(f"{url}{shards}")
        found.append((asked.counts(), values.tolist(), asked.bytes))
    (few, values, some), (many, same, more) = found
    assert many == few
    assert values == same
    assert more <= some + (1 << 18)


@pytest.fixture(scope="module")
def noted(tmp_path_factory):
    """A store of two segments, of 12 and 18 shards."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CLARE_CACHE", str(tmp_path_factory.mktemp("copies")))
        store = with_rows("memory://few/faces.zarr", 12)
        store.assign_rows("faces", make_rows(64 * 18, start=64 * 12))
        return store


@pytest.mark.parametrize("shards", [{0}, {4, 5}, {1, 2, 3}, set(range(30)), {11, 29}, set(), {99}])
def test_rows_of_some_shards_are_those_of_the_whole_index(noted, shards):
    rows = open_store(str(noted.path)).feature("faces", "clip", shards=shards).rows
    expected = load_index(noted.layout, "faces", shards=shards)
    assert rows.read().shards == expected.shards == 30
    assert list(rows.read().rows) == list(expected.rows)


def test_rows_that_were_replaced_meanwhile_are_seen_when_asked_for(url, monkeypatch, cache):
    store = with_rows(url, 12)
    monkeypatch.setenv("CLARE_CACHE", str(cache / "new"))
    feature = open_store(url).feature("faces", "clip", shards={3})
    before = feature.shard_rows(3)
    store.assign_rows("faces", make_rows(64 * 12))
    assert feature.shard_rows(3) == before
    feature.refresh()
    assert [row.columns.get("note") for row in feature.shard_rows(3)] == [None] * 64


def test_a_segment_that_is_replaced_while_it_is_read_is_read_once_more(url, monkeypatch, cache):
    store = with_rows(url, 12)
    monkeypatch.setenv("CLARE_CACHE", str(cache / "new"))
    feature = open_store(url).feature("faces", "clip", shards={3})
    get_part, objects = Objects.get_part, store.layout.mirror.objects
    parts = list[int]()

    def overtaken(self, key, start, end, tag=None):
        parts.append(start)
        if len(parts) == 2:
            objects.put(key, objects.get(key) + b"\n")
        return get_part(self, key, start, end, tag)

    monkeypatch.setattr(Objects, "get_part", overtaken)
    assert feature.shard_rows(3) == make_noted(64 * 12)[64 * 3 : 64 * 4]
    assert len(parts) > 2


def test_a_long_segment_that_is_gone_when_it_is_opened_is_looked_for_once_more(
    url, monkeypatch, cache
):
    store = with_rows(url, 12)
    monkeypatch.setenv("CLARE_CACHE", str(cache / "new"))
    feature = open_store(url).feature("faces", "clip", shards={3})
    get_part, objects = Objects.get_part, store.layout.mirror.objects
    gone = list[str]()

    def overtaken(self, key, start, end, tag=None):
        if gone:
            return get_part(self, key, start, end, tag)
        gone.append(key)
        data = objects.get(key)
        objects.delete(key)
        try:
            return get_part(self, key, start, end, tag)
        finally:
            objects.put(key, data)

    monkeypatch.setattr(Objects, "get_part", overtaken)
    assert feature.shard_rows(3) == make_noted(64 * 12)[64 * 3 : 64 * 4]
    assert gone
