"""A record says whose it is: whole, and with a right checksum, it still serves no other place."""

import shutil

import pytest

from clare.errors import CorruptStoreError
from clare.store.feature_store import open_store
from clare.store.layout import Layout
from clare.store.maintenance.verify import verify_store
from tests.store.conftest import FINGERPRINT, extract, make_rows


@pytest.fixture
def two(store):
    """Two subsets of 100 rows: two shards each."""
    for number, subset in enumerate(("faces", "others")):
        store.assign_rows(subset, make_rows(100, 100 * number))
        extract(store, subset)
        for shard in (0, 1):
            store.write_thumbnails(subset, shard, {0: b"a picture", 3: b"another"})
    return store


def read(path):
    store = open_store(path)
    for subset in store.subsets():
        for row in store.rows(subset):
            store.thumbnail(subset, row.slot)
        for feature in store.features(subset):
            feature.states()


def record(layout, subset, shard):
    return layout.record(subset, FINGERPRINT.key, shard)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (lambda at: record(at, "faces", 0), lambda at: record(at, "faces", 1)),
        (lambda at: record(at, "others", 0), lambda at: record(at, "faces", 0)),
        (lambda at: at.thumbnails("faces", 0), lambda at: at.thumbnails("faces", 1)),
    ],
    ids=["record of another shard", "record of another subset", "pictures of another shard"],
)
def test_a_whole_file_in_another_s_place_is_refused_and_named(two, source, target):
    layout = Layout(two.path)
    read(two.path)
    shutil.copy(source(layout), target(layout))
    with pytest.raises(CorruptStoreError, match=target(layout).name):
        read(two.path)
    problems = verify_store(two.path)
    assert any(target(layout).name in one.where or one.shard >= 0 for one in problems)
