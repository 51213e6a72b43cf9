"""Taking subsets and features out of a store."""

from pathlib import Path

import pytest

from clare.errors import LostClaimError, StoreError
from clare.store.feature_store import create_store, open_store
from clare.store.layout import EXTRACTORS_CLAIM
from clare.store.maintenance.drop import drop, plan_drop
from clare.store.maintenance.verify import verify_store
from clare.store.spec import Fingerprint
from tests.store.conftest import FINGERPRINT, MADE_WITH, contents, extract, make_rows, shard_values

OTHER = Fingerprint("clip", 1, "cd" * 32, {"model": "other"})


@pytest.fixture
def store(tmp_path):
    """Two subsets, both with one fingerprint, one with a second."""
    made = create_store(tmp_path / "s.zarr")
    for name in ("faces", "fakes"):
        made.assign_rows(name, make_rows(70))
        extract(made, name)
    extract(made, "faces", fingerprint=OTHER)
    made.write_thumbnails("faces", 0, {0: b"jpeg"})
    return made


def fill(feature, shard):
    assert feature.claim(shard)
    feature.write_shard(shard, shard_values(feature.shard_rows(shard)), {}, MADE_WITH)
    feature.release(shard)


def size_of(store) -> int:
    return sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())


def test_a_subset_goes_whole_and_frees_what_was_said(store):
    before, plan = size_of(store), plan_drop(store, ["faces"])
    assert size_of(store) == before
    assert drop(store, ["faces"]) == plan
    assert before - size_of(store) == plan.bytes
    assert (plan.subsets, plan.extractors) == (("faces",), (OTHER.key,))
    again = open_store(store.path)
    assert (again.subsets(), again.extractor_keys()) == (["fakes"], [FINGERPRINT.key])
    assert verify_store(store.path) == []
    again.assign_rows("faces", make_rows(70))
    assert extract(again) == 2


def test_a_feature_goes_everywhere_or_of_one_subset_and_its_rows_are_pending(store):
    plan = drop(store, ["fakes"], {"clip": FINGERPRINT.digest[:6]})
    assert plan.features == (("fakes", FINGERPRINT.key),)
    assert (plan.subsets, plan.extractors) == ((), ())
    assert store.features("fakes") == []
    drop(store, features={"clip": OTHER.digest})
    assert [one.key for one in store.features("faces")] == [FINGERPRINT.key]
    assert verify_store(store.path) == []
    assert extract(open_store(store.path), "fakes") == 2


@pytest.mark.parametrize(
    ("subsets", "features"),
    [((), {}), (("nosuch",), {}), ((), {"clip": "beef"}), ((), {"clip": ""}), ((), {"lare": "a"})],
)
def test_what_is_not_there_is_refused_and_nothing_is_lost(store, subsets, features):
    before = size_of(store)
    with pytest.raises(StoreError):
        drop(store, subsets, features)
    assert size_of(store) == before


def test_nothing_is_taken_from_under_an_extraction(store):
    store.assign_rows("faces", make_rows(80))
    feature = store.feature("faces", "clip", OTHER.digest)
    assert feature.claim(feature.pending()[0])
    with pytest.raises(StoreError, match="is writing"):
        drop(store, features={"clip": OTHER.digest})
    feature.release_all()
    drop(store, features={"clip": OTHER.digest})


def test_nor_is_a_subset_whose_first_shard_is_not_written_yet(store):
    store.assign_rows("new", make_rows(3))
    feature = store.feature("new", "clip", OTHER.digest)
    assert feature.claim(0)
    with pytest.raises(StoreError, match="is writing"):
        drop(store, ["new"])
    with pytest.raises(StoreError, match="is writing"):
        drop(store, features={"clip": OTHER.digest})
    assert "new" in store.subsets() and OTHER.key in store.extractor_keys()
    feature.release_all()
    drop(store, ["new"])


def test_an_extraction_that_held_no_shard_just_then_is_told_or_makes_the_arrays_anew(store):
    told, other = (store.feature("faces", "clip", one.digest) for one in (OTHER, FINGERPRINT))
    store.assign_rows("faces", make_rows(200))
    for feature in (told, other):
        fill(feature, 2)
    drop(store, features={"clip": OTHER.digest})
    with pytest.raises(StoreError, match="was dropped"):
        told.claim(3)
    drop(store, ["faces"], {"clip": FINGERPRINT.digest})
    fill(other, 3)
    assert verify_store(store.path) == []


def test_meanwhile_no_row_is_added_and_no_extractor_declared(store, monkeypatch):
    claims, free, rename = store.layout.claims, list[bool](), Path.rename

    def looking(path, target):
        for name in (EXTRACTORS_CLAIM, store.layout.rows_claim("faces")):
            free.append(claims.take(name))
            if free[-1]:
                claims.release(name)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", looking)
        drop(store, ["faces"])
    assert free and not any(free)
    store.assign_rows("faces", make_rows(70))
    assert extract(store, fingerprint=OTHER) == 2


FACES, OTHERS = f"faces/{FINGERPRINT.key}", f"faces/{OTHER.key}"


@pytest.mark.parametrize(
    ("subsets", "features", "last", "lease", "kept"),
    [
        ((), {"clip": OTHER.digest}, None, OTHERS, f"journal/{OTHERS}"),
        (("faces",), {"clip": FINGERPRINT.digest}, f"journal/{FACES}", FACES, f"arrays/{FACES}"),
        (("faces",), {}, f"arrays/{FACES}", FACES, "rows/faces"),
        (("faces",), {}, f"arrays/{FACES}", "faces/rows", "rows/faces"),
        ((), {"clip": OTHER.digest}, f"arrays/{OTHERS}", f"fakes/{OTHER.key}", "extractors"),
        ((), {"clip": OTHER.digest}, f"arrays/{OTHERS}", EXTRACTORS_CLAIM, "extractors"),
    ],
)
def test_one_that_froze_takes_nothing_from_who_took_a_claim_over_meanwhile(
    store, monkeypatch, subsets, features, last, lease, kept
):
    claims = store.layout.claims
    claims.configure(leases=True, expire=240)
    register, rename, take_several = claims.register, Path.rename, claims.take_several

    def freeze():
        for name in register.all_names("_leases"):
            if name.startswith(f"_leases/{lease}/"):
                assert register.replace(name, b"another", register.read(name)[1])

    def take_and_freeze(name, numbers):
        taken = take_several(name, numbers)
        if last is None and name == lease:
            freeze()
        return taken

    def rename_and_freeze(path, target):
        found = rename(path, target)
        if last is not None and path == store.path / last:
            freeze()
        return found

    before = contents(store.path / kept)
    with monkeypatch.context() as patch:
        patch.setattr(claims, "take_several", take_and_freeze)
        patch.setattr(Path, "rename", rename_and_freeze)
        with pytest.raises(LostClaimError):
            drop(store, subsets, features)
    assert contents(store.path / kept) == before
    assert before


@pytest.mark.parametrize("renames", range(10))
def test_wherever_it_is_killed_the_store_is_sound_and_the_same_call_goes_on(
    store, monkeypatch, renames
):
    done: list[Path] = []
    rename = Path.rename

    def cut_off(path, target):
        if len(done) == renames and target.parent.name.startswith("dropped"):
            raise KeyboardInterrupt
        done.append(path)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut_off)
        try:
            drop(store, ["faces"])
        except KeyboardInterrupt:
            assert verify_store(store.path) == []
    if "faces" in store.subsets():
        drop(open_store(store.path), ["faces"])
    assert verify_store(store.path) == []
    assert open_store(store.path).subsets() == ["fakes"]
