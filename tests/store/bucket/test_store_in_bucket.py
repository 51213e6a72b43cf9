"""A store that stands in a bucket: read through a copy, written by several, verified, mended."""

import pickle

import numpy as np
import obstore
import pytest

from clare.errors import CorruptStoreError, LostClaimError, StoreError
from clare.store.bucket.objects import Objects
from clare.store.claims.listing import free_claims, list_claims
from clare.store.feature_store import create_store, open_store
from clare.store.info import store_info
from clare.store.journal import withdraw_record
from clare.store.maintenance.repair import repair_store
from clare.store.maintenance.verify import verify_store
from clare.store.transfer import pull_store, push_store
from tests.store.conftest import (
    FIELDS,
    FINGERPRINT,
    MADE_WITH,
    contents,
    extract,
    make_rows,
    shard_values,
    values_of,
)


def test_rows_are_those_of_the_local_store_and_each_shard_is_fetched_once(
    local, url, requests, cache
):
    push_store(local.path, url)
    store = open_store(url)
    assert str(store.path) == url
    info = store_info(store)["subsets"]["faces"]
    (feature,) = info["features"]["clip"]
    assert info["rows"] == 200
    assert feature["fields"]["clip_tokens"]["path"].startswith(f"{url}/arrays/faces/"), "no copy's"
    assert not list(cache.rglob("c/*"))
    asked = requests()
    reader = store.feature("faces", "clip").reader("clip_tokens")
    slots = np.random.default_rng(0).permutation(200)
    expected = local.feature("faces", "clip").reader("clip_tokens").read(slots)
    for _ in range(2):
        assert np.array_equal(reader.read(slots), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(reader)).read(slots), expected)
    assert len([path for path in asked.keys["get"] if "/c/" in path]) == 4
    assert store.asset("clip-d43ebaffe4b38581", "text_tower.safetensors").read_bytes()


def test_a_copy_is_brought_to_what_the_bucket_holds_and_only_what_changed(local, url, requests):
    push_store(local.path, url)
    open_store(url).feature("faces", "clip")
    local.assign_rows("faces", make_rows(230))
    extract(local)
    push_store(local.path, url)
    asked = requests()
    store = open_store(url)
    assert store.feature("faces", "clip").counts()["complete"] == 230
    assert sorted(path.rpartition("/")[2] for path in asked.keys["get"] if "/c/" not in path) == [
        "000004.json",
        "000004.jsonl",
    ]


def test_a_copy_that_was_damaged_or_cut_is_fetched_anew(local, url, cache):
    push_store(local.path, url)
    reader = open_store(url).feature("faces", "clip").reader("clip_cls")
    expected = reader.read(range(200))
    for file in cache.rglob("clip_cls/c/*/0"):
        data = bytearray(file.read_bytes())
        data[3] ^= 1
        file.write_bytes(data[:-7] if file.parent.name in "01" else data)
    reader = open_store(url).feature("faces", "clip").reader("clip_cls")
    assert np.array_equal(reader.read(range(200)), expected)


def test_what_is_damaged_in_the_bucket_is_never_served(local, url, requests):
    push_store(local.path, url)
    objects = Objects(url)
    key = next(found.key for found in objects.list("arrays") if "clip_cls/c/1/" in found.key)
    data = bytearray(objects.get(key))
    data[5] ^= 1
    objects.put(key, bytes(data))
    reader = open_store(url).feature("faces", "clip").reader("clip_cls")
    assert np.array_equal(reader.read([65])[0], values_of(make_rows(200)[65], FIELDS[1]))
    asked = requests()
    for _ in range(2):
        with pytest.raises(CorruptStoreError, match="row 64"):
            reader.read([64])
    assert asked.counts()["get"] <= 1
    (problem,) = verify_store(url)
    assert problem.rows == (64,)
    assert verify_store(url, quick=True) == []
    repair_store(url, [problem])
    assert verify_store(url) == []
    store = open_store(url)
    assert store.feature("faces", "clip").pending() == [1]
    extract(store)
    assert verify_store(url) == []
    assert files_in(url) == contents(local.path)


def files_in(url):
    objects = Objects(url)
    return {
        found.key: objects.get(found.key)
        for found in objects.list()
        if not found.key.startswith("locks")
    }


def test_an_extraction_into_a_bucket_gives_the_bytes_of_a_local_one(
    local, url, cache, tmp_path, monkeypatch
):
    store = create_store(url)
    store.assign_rows("faces", make_rows(200))
    assert extract(store) == 4
    assert files_in(url) == contents(local.path)
    assert verify_store(url) == []
    assert not [path for path in cache.rglob("c/*/*") if path.is_file()]
    # More rows, by somebody with another copy.
    monkeypatch.setenv("CLARE_CACHE", str(tmp_path / "elsewhere"))
    other = create_store(url)
    other.assign_rows("faces", make_rows(230))
    assert extract(other) == 1
    local.assign_rows("faces", make_rows(230))
    extract(local)
    assert files_in(url) == contents(local.path)
    pull_store(url, tmp_path / "pulled.zarr")
    assert contents(tmp_path / "pulled.zarr") == contents(local.path)


def test_who_lost_his_shard_overwrites_nothing(url, monkeypatch):
    store = create_store(url)
    store.assign_rows("faces", make_rows(64))
    store.declare(FINGERPRINT, FIELDS)
    feature = store.feature("faces", "clip")
    assert feature.claim(0)
    values = shard_values(feature.shard_rows(0))
    objects, put = Objects(url), obstore.put
    seen: list[str] = []

    def overtaken(target, path, data, **how):
        if "clip_cls/c/0/" in path and not seen:
            seen.append(path)
            objects.put(path.removeprefix("faces.zarr/"), b"another's")
            for lease in objects.list("locks/_leases/faces/clip-d43ebaffe4b38581"):
                objects.put(lease.key, b"another")
        return put(target, path, data, **how)

    monkeypatch.setattr(obstore, "put", overtaken)
    with pytest.raises(LostClaimError):
        feature.write_shard(0, values, {}, MADE_WITH)
    assert objects.get(seen[0].removeprefix("faces.zarr/")) == b"another's"
    assert not objects.list("journal/faces/clip-d43ebaffe4b38581/000000.json")


def test_no_store_another_s_files_and_a_name_that_leads_elsewhere(url, tmp_path, cache):
    with pytest.raises(StoreError, match=f"there is no feature store at {url}"):
        open_store(url)
    objects = Objects(url)
    objects.put("photo.jpg", b"1")
    with pytest.raises(StoreError, match="not empty and not a feature store"):
        create_store(url)
    store = create_store(f"{url}2")
    store.assign_rows("faces", make_rows(5))
    Objects(f"{url}2").put("rows/faces/..%2F..%2Fescaped.jsonl", b"1")
    assert open_store(f"{url}2").rows("faces")
    assert not list(tmp_path.rglob("*escaped*"))


def test_what_another_process_of_this_machine_writes_meanwhile_stays(url, monkeypatch):
    store = create_store(url)
    store.assign_rows("faces", make_rows(5))
    listed, layout = Objects.list, store.layout
    late = layout.segment("faces", 1)

    def written_meanwhile(objects, prefix=""):
        found = listed(objects, prefix)
        if prefix == "rows/faces" and not late.exists():
            late.write_bytes(b"of another")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Objects, "list", written_meanwhile)
        layout.renew(layout.segments("faces"))
    assert late.exists()
    layout.renew(layout.segments("faces"))
    assert not late.exists()


def test_claims_in_a_bucket_are_listed_and_freed(url):
    store = create_store(url)
    store.assign_rows("faces", make_rows(100))
    store.declare(FINGERPRINT, FIELDS)
    feature = store.feature("faces", "clip")
    assert feature.claim(1)
    claims = store.layout.claims
    claims.register.create("_leases/faces/clip-x/000003", b"abcd")
    found = {one.owner.token: one for one in list_claims(claims, 0)}
    assert found[claims.owner.token].state == "works"
    assert found[claims.owner.token].claims == {f"faces/{FINGERPRINT.key}": [1]}
    assert (found["abcd"].state, found["abcd"].claims) == ("silent", {"faces/clip-x": [3]})
    free_claims(claims, list(found.values()), "ab")
    assert [one.owner.token for one in list_claims(claims, 0)] == [claims.owner.token]


def test_to_look_for_work_takes_no_request_a_shard(local, url, requests, monkeypatch, tmp_path):
    push_store(local.path, url)
    feature = open_store(url).feature("faces", "clip", shards=range(4))
    assert len(feature.lacking(np.arange(200))) == 0
    asked = requests()
    assert len(feature.lacking(np.arange(200))) == 0
    assert not asked.keys["get"] + asked.keys["head"]
    # Somebody with another copy takes one back, and writes it anew.
    monkeypatch.setenv("CLARE_CACHE", str(tmp_path / "elsewhere"))
    other = open_store(url)
    withdraw_record(other.layout, "faces", FINGERPRINT.key, 2)
    assert feature.lacking(np.arange(200)).tolist() == list(range(128, 192))
    assert feature.ended() == {0, 1, 3}
    extract(other)
    assert len(feature.lacking(np.arange(200))) == 0
    assert feature.ended() == {0, 1, 2, 3}
