"""Taking subsets and features out of a store in a bucket."""

from __future__ import annotations

import threading

import obstore
import pytest

from clare.errors import LostClaimError, StoreError
from clare.store.bucket.objects import Objects
from clare.store.feature_store import create_store, open_store
from clare.store.maintenance.drop import drop, plan_drop
from clare.store.maintenance.verify import verify_store
from clare.store.spec import Fingerprint
from clare.store.transfer import push_store
from tests.store.conftest import FIELDS, FINGERPRINT, extract, make_rows

OTHER = Fingerprint("clip", 1, "cd" * 32, {"model": "other"})
LATER = Fingerprint("clip", 1, "ef" * 32, {"model": "later"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two subsets, both with one fingerprint, one with a second."""
    made = create_store(tmp_path_factory.mktemp("two") / "s.zarr")
    for name in ("faces", "fakes"):
        made.assign_rows(name, make_rows(70))
        extract(made, name)
    extract(made, "faces", fingerprint=OTHER)
    made.write_thumbnails("faces", 0, {0: b"jpeg"})
    return made.path


@pytest.fixture
def store(folder, url):
    push_store(folder, url)
    return open_store(url)


def bytes_of(url):
    return sum(found.size for found in Objects(url).list() if not found.key.startswith("locks/"))


def test_a_subset_goes_whole_and_frees_what_was_said(store, url, cache):
    store.feature("faces", "clip", OTHER.digest).reader("clip_cls").read([3])
    before, plan = bytes_of(url), plan_drop(store, ["faces"])
    assert bytes_of(url) == before
    assert drop(store, ["faces"]) == plan
    assert before - bytes_of(url) == plan.bytes > 0
    assert (plan.subsets, plan.extractors) == (("faces",), (OTHER.key,))
    again = open_store(url)
    assert (again.subsets(), again.extractor_keys()) == (["fakes"], [FINGERPRINT.key])
    assert verify_store(url) == []
    assert not [path for path in cache.rglob("faces/**/*") if path.is_file()]
    again.assign_rows("faces", make_rows(70))
    assert extract(again) == 2


def test_a_feature_goes_everywhere_or_of_one_subset_and_its_rows_are_pending(store, url):
    plan = drop(store, ["fakes"], {"clip": FINGERPRINT.digest[:6]})
    assert plan.features == (("fakes", FINGERPRINT.key),)
    assert store.features("fakes") == []
    drop(store, features={"clip": OTHER.digest})
    assert [one.key for one in store.features("faces")] == [FINGERPRINT.key]
    assert verify_store(url) == []
    assert extract(open_store(url), "fakes") == 2


@pytest.fixture
def other(url, tmp_path, monkeypatch):
    """The same store, opened by another machine."""
    monkeypatch.setenv("CLARE_CACHE", str(tmp_path / "elsewhere"))
    return open_store(url)


def test_nothing_is_taken_from_under_an_extraction(store, other):
    assert store.index("faces").shards == 2  # what comes later is seen all the same
    other.assign_rows("faces", make_rows(80))
    feature = other.feature("faces", "clip", OTHER.digest)
    assert feature.claim(2)
    with pytest.raises(StoreError, match="is writing"):
        drop(store, features={"clip": OTHER.digest})
    feature.release_all()
    drop(store, ["faces"])
    assert not feature.claim(2)  # nor is anything written into what is dropped


def test_nor_from_under_one_by_an_extractor_that_was_declared_elsewhere_since(store, other):
    other.declare(LATER, FIELDS)
    feature = other.feature("faces", "clip", LATER.digest)
    assert feature.claim(0)
    with pytest.raises(StoreError, match="is writing"):
        drop(store, ["faces"])
    feature.release_all()
    drop(store, ["faces"])
    assert LATER.key in store.extractor_keys()


def test_a_machine_that_filled_them_before_makes_the_arrays_anew(store, url, other):
    other.assign_rows("faces", make_rows(80))
    feature = other.feature("faces", "clip", FINGERPRINT.digest)
    assert extract(other) == 1  # its copy has the arrays' metadata now
    drop(store, ["faces"], {"clip": FINGERPRINT.digest[:6]})
    assert feature.claim(0)
    feature.release(0)
    assert extract(open_store(url)) == 3
    assert verify_store(url) == []
    drop(store, features={"clip": OTHER.digest})
    with pytest.raises(StoreError, match="was dropped"):
        other.feature("faces", "clip", OTHER.digest).claim(0)


@pytest.mark.parametrize(
    ("subsets", "features", "deletes"),
    [
        *((("faces",), {}, count) for count in (0, 5, 14, 26)),
        *(((), {"clip": OTHER.digest}, count) for count in (5, 14, 16)),
    ],
)
def test_wherever_it_is_killed_the_store_is_sound_and_the_same_call_goes_on(
    store, url, monkeypatch, subsets, features, deletes
):
    delete, done = obstore.delete, list[str]()

    def cut_off(target, path):
        if len(done) >= deletes:
            raise KeyboardInterrupt
        done.append(path)
        delete(target, path)

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "delete", cut_off)
        with pytest.raises(KeyboardInterrupt):
            drop(store, subsets, features)
    assert verify_store(url) == []
    drop(open_store(url), subsets, features)
    assert verify_store(url) == []
    again = open_store(url)
    assert again.extractor_keys() == [FINGERPRINT.key]
    assert again.subsets() == [name for name in ("faces", "fakes") if name not in subsets]
    left = [found.key for found in Objects(url).list() if not found.key.startswith("locks/")]
    assert not [key for key in left if OTHER.key in key]


@pytest.mark.parametrize(
    ("subsets", "features", "last", "kept"),
    [
        ((), {"clip": OTHER.digest}, f"arrays/faces/{OTHER.key}/zarr.json", "extractors/"),
        (("faces",), {"clip": FINGERPRINT.digest}, "arrays/faces/clip", "journal/faces/"),
        (("faces",), {}, f"journal/faces/{FINGERPRINT.key}/", "rows/faces/"),
    ],
)
def test_one_that_froze_takes_nothing_from_who_took_a_shard_over_meanwhile(
    store, url, monkeypatch, subsets, features, last, kept
):
    objects, delete, frozen = Objects(url), obstore.delete, list[str]()

    def freeze(target, path):
        delete(target, path)
        if last in path and path.endswith(("zarr.json", ".partial")) and not frozen:
            frozen.append(path)
            for lease in objects.list("locks/_leases/faces"):
                if "/clip-" in lease.key:
                    objects.put(lease.key, b"another")

    monkeypatch.setattr(obstore, "delete", freeze)
    before = {found.key for found in objects.list(kept)}
    with pytest.raises(LostClaimError):
        drop(store, subsets, features)
    assert frozen
    assert len({found.key for found in objects.list(kept)}) == len(before) > 0


def test_one_that_froze_before_it_began_leaves_all_as_it_was(store, url, monkeypatch):
    objects, claims = Objects(url), store.layout.claims
    take_several = claims.take_several

    def take_and_freeze(name, numbers):
        taken = take_several(name, numbers)
        for lease in objects.list(f"locks/_leases/{name}"):
            objects.put(lease.key, b"another")
        return taken

    def states():
        return {f.key: f.tag for f in objects.list() if not f.key.startswith("locks/")}

    before = states()
    monkeypatch.setattr(claims, "take_several", take_and_freeze)
    with pytest.raises(LostClaimError):
        drop(store, features={"clip": OTHER.digest})
    assert states() == before


def test_the_claims_of_several_shards_are_looked_at_at_once(store, monkeypatch):
    get, both = obstore.get, threading.Barrier(2, timeout=2)

    def met(target, path, **how):
        if "/_leases/faces/clip-" in path:  # of two shards
            both.wait()
        return get(target, path, **how)

    monkeypatch.setattr(obstore, "get", met)
    drop(store, ["faces"])
    assert store.subsets() == ["fakes"]
