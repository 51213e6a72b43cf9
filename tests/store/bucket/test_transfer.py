"""Stores that are carried into a bucket and out of it again."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Event

import obstore
import pytest

from clare.errors import CorruptStoreError, StoreError
from clare.files import owned_partial
from clare.store.bucket.objects import Objects
from clare.store.carried_shards import SHARD_RECORD
from clare.store.feature_store import FeatureStore, create_store, open_store
from clare.store.journal import withdraw_record
from clare.store.layout import Layout
from clare.store.maintenance.verify import verify_store
from clare.store.sides import BucketSide, FolderSide
from clare.store.transfer import pull_store, push_store
from tests.store.conftest import (
    FIELDS,
    FINGERPRINT,
    MADE_WITH,
    contents,
    extract,
    make_rows,
    shard_values,
)


@pytest.fixture
def store(local):
    """With a picture, and a command that is noted."""
    local.write_thumbnails("faces", 0, {0: b"jpeg"})
    local.record_command(("clare", "extract"), ["faces"], [])
    return local


@pytest.mark.parametrize("fails", [False, True])
def test_no_shard_is_written_before_what_others_speak_of(store, url, tmp_path, monkeypatch, fails):
    push_store(store.path, url)
    write, written = FolderSide.write, list[str]()

    def slow(side, key, data, fence):
        if key.endswith("/clip_tokens/zarr.json"):
            time.sleep(0.2)
            if fails:
                raise StoreError("the disk fails")
        write(side, key, data, fence)
        written.append(key)

    monkeypatch.setattr(FolderSide, "write", slow)
    with pytest.raises(StoreError, match="the disk fails") if fails else nullcontext():
        pull_store(url, tmp_path / "again.zarr")
    shards = [n for n, key in enumerate(written) if "/c/" in key or key.startswith("journal/")]
    others = [n for n, key in enumerate(written) if n not in shards and key != "commands.jsonl"]
    assert bool(shards) is not fails
    assert others and (fails or max(others) < min(shards))


def test_a_store_comes_back_as_it_went_and_only_once(store, url, tmp_path):
    went = push_store(store.path, url)
    assert (went.shards, went.kept) == (4, 0)
    came = pull_store(url, tmp_path / "again.zarr")
    assert came.shards == 4
    assert contents(tmp_path / "again.zarr") == contents(store.path)
    assert verify_store(tmp_path / "again.zarr") == []
    again = push_store(store.path, url), pull_store(url, tmp_path / "again.zarr")
    assert [(one.shards, one.kept, one.bytes) for one in again] == [(0, 4, 0)] * 2


def test_what_a_store_gained_is_carried_after_it(store, url, tmp_path):
    push_store(store.path, url)
    store.assign_rows("faces", make_rows(300))
    extract(store)
    assert push_store(store.path, url).shards == 2
    pull_store(url, tmp_path / "again.zarr")
    assert contents(tmp_path / "again.zarr") == contents(store.path)


@pytest.mark.parametrize("after", [24, 40, 60, 75])
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
    assert contents(tmp_path / "half.zarr") == contents(store.path)
    push_store(store.path, f"file://{tmp_path}/copy.zarr")
    assert contents(tmp_path / "copy.zarr") == contents(store.path)
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


def begun(store, shard=4, rows=4):
    """The feature of a store, with so many rows of a shard done that was pending."""
    store.declare(FINGERPRINT, FIELDS)
    feature = store.feature("faces", "clip")
    assert feature.claim(shard)
    taken = feature.shard_rows(shard)
    offsets = feature.pending_offsets(shard)[:rows]
    feature.write_shard(shard, shard_values(taken), {}, MADE_WITH, offsets)
    feature.release(shard)
    return feature


def test_that_rows_of_a_shard_are_left_is_carried_with_it(store, url, tmp_path):
    store.assign_rows("faces", make_rows(230))
    begun(store)
    again = tmp_path / "again.zarr"
    for _ in range(2):
        push_store(store.path, url)
        pull_store(url, again)
        assert contents(again) == contents(store.path)
        assert [name for name in contents(again) if name.endswith(".partial")]
    feature = open_store(again).feature("faces", "clip")
    assert feature.layout.journalled("faces", feature.key)[1] == {4}
    extract(store)
    push_store(store.path, url)
    pull_store(url, again)
    assert contents(again) == contents(store.path)
    assert not [name for name in contents(again) if name.endswith(".partial")]


def test_a_mark_that_was_lost_on_its_way_is_carried_after_it(store, url, tmp_path):
    store.assign_rows("faces", make_rows(230))
    begun(store)
    mark = owned_partial(store.layout.record("faces", FINGERPRINT.key, 4))
    push_store(store.path, url)
    pull_store(url, tmp_path / "again.zarr")
    lost = tmp_path / "again.zarr" / mark.relative_to(store.path)
    lost.unlink()
    pull_store(url, tmp_path / "again.zarr")
    assert lost.exists()


def test_a_record_that_is_withdrawn_makes_no_other_store(store, url):
    push_store(store.path, url)
    before = [(found.key, found.tag) for found in Objects(url).list()]
    withdraw_record(store.layout, "faces", FINGERPRINT.key, 1)
    assert push_store(store.path, url).bytes == 0
    assert [(found.key, found.tag) for found in Objects(url).list()] == before
    extract(store)
    push_store(store.path, url)
    assert verify_store(url) == []


def test_rows_that_are_done_over_there_alone_stay(store, url, tmp_path):
    push_store(store.path, url)
    other = create_store(tmp_path / "other.zarr")
    other.assign_rows("faces", make_rows(200))
    begun(other, shard=0)
    assert push_store(other.path, url).shards == 0
    assert open_store(url).feature("faces", "clip").counts()["complete"] == 200
    assert pull_store(url, other.path).shards == 4
    assert other.feature("faces", "clip").counts()["complete"] == 200


def test_complete_shards_of_another_extraction_stay_and_failed_rows_are_made_good(
    store, url, tmp_path, monkeypatch
):
    monkeypatch.setattr("tests.store.conftest.MADE_WITH", {**MADE_WITH, "device": "cuda"})
    other = create_store(tmp_path / "other.zarr")
    other.assign_rows("faces", make_rows(200))
    extract(other, failed=("sample-0010",))
    push_store(other.path, url)
    went = push_store(store.path, url)
    assert (went.shards, went.kept) == (1, 3), "the one in which a row had failed"
    assert open_store(url).feature("faces", "clip").counts()["complete"] == 200
    assert verify_store(url) == []
    theirs = {key: data for key, data in contents(other.path).items() if SHARD_RECORD.match(key)}
    kept = [BucketSide(Objects(url)).read(key) == data for key, data in theirs.items()]
    assert kept == [False, True, True, True]
    assert push_store(other.path, url).shards == 0, "a failed row takes no good one's place"


def test_a_shard_that_is_written_anew_meanwhile_is_not_damage(store, url, monkeypatch):
    withdraw_record(store.layout, "faces", FINGERPRINT.key, 1)
    begun(store, shard=1)
    read = FolderSide.read

    def topped_up(side, key):
        data = read(side, key)
        if key.endswith("000001.json"):
            extract(store)
        return data

    monkeypatch.setattr(FolderSide, "read", topped_up)
    push_store(store.path, url)
    assert open_store(url).feature("faces", "clip").counts()["complete"] == 200
    assert verify_store(url) == []


def test_a_shard_that_somebody_works_on_is_left_to_him(store, url, tmp_path):
    push_store(store.path, url)
    other = create_store(tmp_path / "other.zarr")
    other.assign_rows("faces", make_rows(200))
    other.declare(FINGERPRINT, FIELDS)
    feature = other.feature("faces", "clip")
    assert feature.claim(2)
    assert pull_store(url, other.path).shards == 3
    feature.write_shard(2, shard_values(feature.shard_rows(2)), {}, MADE_WITH)
    feature.release(2)
    assert verify_store(other.path) == []
    assert Layout(other.path).recorded("faces", FINGERPRINT.key) == {0, 1, 2, 3}


def test_a_shard_of_the_bucket_that_somebody_works_on_is_left_to_him(store, url):
    push_store(store.path, url)
    withdraw_record(open_store(url).layout, "faces", FINGERPRINT.key, 2)
    feature = open_store(url).feature("faces", "clip")
    assert feature.claim(2)
    went = push_store(store.path, url)
    assert (went.shards, went.kept, went.left) == (0, 3, 1)
    feature.write_shard(2, shard_values(feature.shard_rows(2)), {}, MADE_WITH)
    feature.release(2)
    went = push_store(store.path, url)
    assert (went.kept, went.left) == (4, 0)
    assert verify_store(url) == []


def test_who_loses_a_shard_while_he_pushes_it_overwrites_nothing(store, url, monkeypatch):
    objects, put = Objects(url), obstore.put
    seen: list[str] = []

    def overtaken(target, path, data, **how):
        if "clip_cls/c/1/" in path and not seen:
            seen.append(path)
            objects.put(path.removeprefix("faces.zarr/"), b"another's")
            lease = f"locks/_leases/faces/{FINGERPRINT.key}/000001"
            objects.put(lease, b"another")
        return put(target, path, data, **how)

    monkeypatch.setattr(obstore, "put", overtaken)
    went = push_store(store.path, url)
    assert (went.shards, went.left) == (3, 1)
    assert objects.get(seen[0].removeprefix("faces.zarr/")) == b"another's"
    assert not objects.list(f"journal/faces/{FINGERPRINT.key}/000001.json")


def test_a_push_and_an_extraction_into_one_bucket_end_as_one_of_them_alone(
    store, url, tmp_path, monkeypatch
):
    other = create_store(url)
    other.assign_rows("faces", make_rows(200))
    monkeypatch.setenv("CLARE_CACHE", str(tmp_path / "elsewhere"))
    with ThreadPoolExecutor(1) as pool:
        extracting = pool.submit(extract, other)
        went = push_store(store.path, url)
        assert went.shards + extracting.result() >= 4
    push_store(store.path, url)
    pull_store(url, tmp_path / "again.zarr")
    assert contents(tmp_path / "again.zarr") == contents(store.path)
    assert verify_store(url) == []


def test_rows_that_came_into_the_bucket_meanwhile_are_not_overwritten(store, url, monkeypatch):
    sizes, begun = BucketSide.sizes, list[FeatureStore]()

    def late(side):
        found = sizes(side)
        if not begun:
            begun.append(create_store(url))
            begun[0].assign_rows("faces", make_rows(100, start=50))
        return found

    monkeypatch.setattr(BucketSide, "sizes", late)
    with pytest.raises(StoreError, match="holds another store"):
        push_store(store.path, url)
    assert len(open_store(url).rows("faces")) == 100
    assert verify_store(url) == []


def test_pictures_and_commands_of_both_are_kept(store, url, tmp_path):
    push_store(store.path, url)
    other = create_store(tmp_path / "other.zarr")
    other.assign_rows("faces", make_rows(200))
    other.write_thumbnails("faces", 0, {3: b"another"})
    other.record_command(("clare", "import"), ["faces"], [])
    pull_store(url, other.path)
    assert [one.command[1] for one in other.commands()] == ["import", "extract"]
    assert [other.thumbnail("faces", slot) for slot in (0, 3)] == [b"jpeg", b"another"]
    assert verify_store(other.path) == []
    push_store(other.path, url)
    again = push_store(other.path, url), pull_store(url, other.path), push_store(store.path, url)
    assert [one.bytes for one in again] == [0, 0, 0]


def test_a_push_that_is_stopped_begins_nothing_more(store, url, monkeypatch):
    began, going, main = list[str](), Event(), threading.get_ident()
    write = BucketSide.write

    def slow(side, key, data, fence):
        began.append(key)
        going.set()
        time.sleep(0.3)
        return write(side, key, data, fence)

    monkeypatch.setattr(BucketSide, "write", slow)

    def stop():
        going.wait(10)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        push_store(store.path, url)
    assert began and not any(SHARD_RECORD.match(key) for key in began)
    assert len(began) < 3, "what was in hand"
