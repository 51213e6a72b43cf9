"""Work on a few shards of a store: only what they need is read, and it is the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clare.errors import CorruptStoreError
from clare.store import feature as feature_module
from clare.store.feature_store import open_store
from clare.store.index import load_index
from tests.store.conftest import FIELDS, FINGERPRINT, MADE_WITH, extract, make_rows, shard_values


@pytest.fixture
def several(store):
    """Three segments, of 300, 5 and 150 rows: shards 0 to 4, 5, and 6 to 8."""
    for number, start in ((300, 0), (5, 300), (150, 305)):
        store.assign_rows("faces", make_rows(number, start))
    store.declare(FINGERPRINT, FIELDS)
    return store


@pytest.mark.parametrize("shards", [{0}, {4, 5}, {1, 2, 3}, {0, 2, 8}, set(range(9)), set(), {99}])
def test_the_rows_of_some_shards_are_those_of_the_whole_index(several, shards):
    whole = load_index(several.layout, "faces")
    part = load_index(several.layout, "faces", shards=shards)
    assert part.shards == whole.shards == 9
    expected = [row for row in whole.rows if row.slot // 64 in shards]
    assert list(part.rows) == expected
    feature = several.feature("faces", "clip", shards=shards)
    for shard in shards - {99}:
        assert feature.shard_rows(shard) == several.feature("faces", "clip").shard_rows(shard)


def test_lines_far_apart_in_a_long_segment_are_found(store):
    rows = make_rows(1000)
    long = [
        dataclasses.replace(row, columns={**row.columns, "note": "x" * (n % 700)})
        for n, row in enumerate(rows)
    ]
    store.assign_rows("faces", long)
    whole = load_index(store.layout, "faces")
    for shard in range(16):
        part = load_index(store.layout, "faces", shards={shard})
        assert list(part.rows) == [row for row in whole.rows if row.slot // 64 == shard]


def test_a_damaged_line_is_met_by_who_reads_it(store):
    store.assign_rows("faces", make_rows(1000))
    path = store.layout.segment("faces", 0)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"sample-0100", b"sample-010x"))
    with pytest.raises(CorruptStoreError, match="checksum"):
        load_index(store.layout, "faces", shards={1})
    assert len(load_index(store.layout, "faces", shards={15}).rows) == 1000 - 15 * 64


def write(feature, shard: int, complete, failed=()) -> None:
    assert feature.claim(shard)
    values = shard_values(feature.shard_rows(shard))
    feature.write_shard(
        shard, values, dict.fromkeys(failed, "no image"), MADE_WITH, complete=complete
    )
    feature.release(shard)


@pytest.fixture(params=[0, 4096], ids=["by names", "by records"])
def read_at_once(request, monkeypatch):
    monkeypatch.setattr(feature_module, "READ_AT_ONCE", request.param)


def test_what_is_lacking_is_what_is_pending(several, read_at_once):
    feature = several.feature("faces", "clip")
    write(feature, 0, range(64))
    write(feature, 1, range(60), failed=(60, 61))  # two of changed files are left to the next run
    write(feature, 5, range(5))
    every = np.arange(64 * 9)

    def lacking():
        return open_store(several.path).feature("faces", "clip", shards=range(9)).lacking(every)

    expected = several.feature("faces", "clip").pending_slots()
    np.testing.assert_array_equal(lacking(), expected)
    assert {126, 127} <= set(expected.tolist()) and not {124, 63} & set(expected.tolist())

    write(several.feature("faces", "clip"), 1, (62, 63))
    np.testing.assert_array_equal(lacking(), several.feature("faces", "clip").pending_slots())
    assert not {126, 127} & set(lacking().tolist())


def test_a_copy_without_marks_lacks_what_the_store_lacks(several, read_at_once):
    feature = several.feature("faces", "clip")
    for shard, rows in ((0, range(64)), (1, range(60)), (5, range(5))):
        write(feature, shard, rows)
    expected = feature.lacking(np.arange(64 * 9))
    (mark,) = several.path.rglob("*.partial")
    mark.unlink()
    for shards in (None, range(9)):
        copy = open_store(several.path).feature("faces", "clip", shards=shards)
        np.testing.assert_array_equal(copy.lacking(np.arange(64 * 9)), expected)
        np.testing.assert_array_equal(copy.lacking(np.arange(64 * 9)), expected)


def test_what_was_read_is_not_read_again_but_where_it_is_marked(several, monkeypatch):
    monkeypatch.setattr(feature_module, "READ_AT_ONCE", 0)
    feature = several.feature("faces", "clip")
    for shard, rows in ((0, range(64)), (1, range(60))):
        write(feature, shard, rows)
    several.layout.record("faces", FINGERPRINT.key, 0).write_bytes(b"damaged")
    assert feature.lacking(np.arange(128)).tolist() == [124, 125, 126, 127]
    several.layout.record("faces", FINGERPRINT.key, 1).write_bytes(b"damaged")
    with pytest.raises(CorruptStoreError):
        feature.lacking(np.arange(128))


def test_a_row_whose_old_content_comes_back_is_lacking(store, read_at_once):
    store.assign_rows("faces", make_rows(3))
    store.assign_rows("faces", [dataclasses.replace(r, content="e" * 64) for r in make_rows(2)])
    extract(store)
    feature = store.feature("faces", "clip")
    assert feature.counts()["complete"] == 3 and not len(feature.lacking(np.arange(128)))
    store.assign_rows("faces", make_rows(1))
    assert feature.lacking(np.arange(128)).tolist() == [0]
    extract(store)
    assert not len(feature.lacking(np.arange(128)))


def test_who_works_on_some_shards_reads_no_other_record(several):
    extract(several)
    for shard in (0, 1, 8):
        path = several.layout.record("faces", FINGERPRINT.key, shard)
        path.write_bytes(b"damaged")
    feature = open_store(several.path).feature("faces", "clip", shards={4, 5})
    assert not len(feature.lacking(np.arange(4 * 64, 6 * 64)))
    with pytest.raises(CorruptStoreError):
        several.feature("faces", "clip", shards={0}).lacking(np.arange(64))


def test_who_has_read_the_index_knows_what_is_superseded_when_he_works_on_some_shards(store):
    store.assign_rows("faces", make_rows(3))
    store.declare(FINGERPRINT, FIELDS)
    store.assign_rows("faces", [dataclasses.replace(r, content="e" * 64) for r in make_rows(2)])
    feature = store.feature("faces", "clip", shards={0})
    assert feature.pending_offsets(0) == [2]
    write(feature, 0, [2])
    assert not len(feature.lacking(np.arange(64)))
    assert feature.ended() == {0}
