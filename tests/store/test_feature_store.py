"""Rows, slots, claims, shards and journal through the public interface."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clare.errors import CorruptStoreError, DiskSpaceError, StoreError
from clare.store.feature_store import create_store, open_store
from clare.store.info import store_info
from clare.store.maintenance.verify import verify_store
from clare.store.records import seal
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
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


def test_create_opens_an_existing_store_and_refuses_foreign_folders(tmp_path, store):
    assert create_store(store.path).path == store.path
    with pytest.raises(StoreError, match="no feature store"):
        open_store(tmp_path / "nowhere")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(StoreError, match="not a feature store"):
        create_store(tmp_path / "photos")
    with pytest.raises(StoreError, match="is a file"):
        create_store(tmp_path / "photos" / "a.jpg")


def test_a_half_created_store_is_healed(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json.12-ab.partial").write_bytes(b"{")
    create_store(tmp_path / "s")
    assert contents(tmp_path / "s").keys() == {"store.json"}


def test_unknown_format_is_refused(store):
    (store.path / "store.json").write_bytes(seal({"name": "clare feature store", "format": 9}))
    with pytest.raises(StoreError, match="format 9"):
        open_store(store.path)


def test_assigning_rows_is_idempotent_and_every_append_starts_a_shard(store):
    first = store.assign_rows("faces", make_rows(70))
    assert [row.slot for row in first] == list(range(70))
    before = contents(store.path)
    assert list(store.assign_rows("faces", make_rows(70))) == list(first)
    assert contents(store.path) == before
    more = store.assign_rows("faces", make_rows(5, start=68))
    assert [row.slot for row in more] == [68, 69, 128, 129, 130]
    assert [row.slot for row in open_store(store.path).rows("faces")] == [*range(70), 128, 129, 130]
    assert store.subsets() == ["faces"]


def test_new_columns_refresh_the_metadata_in_place(store):
    rows = make_rows(70)
    store.assign_rows("faces", rows)
    relabelled = [
        dataclasses.replace(row, columns={**row.columns, "split": "val"}) for row in rows[:2]
    ]
    assert [row.slot for row in store.assign_rows("faces", relabelled)] == [0, 1]
    live = open_store(store.path).rows("faces")
    assert [row.columns["split"] for row in live[:3]] == ["val", "val", "train"]
    assert len(live) == 70


def test_changed_content_supersedes_and_old_content_takes_its_slot_back(store):
    (old,) = make_rows(1)
    new = dataclasses.replace(old, content="f" * 64)
    moved = dataclasses.replace(new, columns={**new.columns, "boxes": "1 2 3 4"})
    points = {"face_points": "1 1 2 1 1 2 1 3 2 3", "face_detector": "mtcnn"}
    aligned = dataclasses.replace(moved, columns={**moved.columns, **points})
    other = dataclasses.replace(moved, columns={**aligned.columns, "face_detector": "dlib"})
    for wanted, slot in (
        *((old, 0), (new, 64), (moved, 128), (old, 0), (moved, 128), (new, 64)),
        *((aligned, 192), (other, 256), (aligned, 192), (moved, 128)),
    ):
        (got,) = store.assign_rows("faces", [wanted])
        assert got.slot == slot
        (live,) = open_store(store.path).rows("faces")
        assert live == got


def test_a_sample_listed_twice_is_refused(store):
    with pytest.raises(StoreError, match="sample-0000"):
        store.assign_rows("faces", make_rows(2) + make_rows(1))


@pytest.mark.parametrize("name", ["../x", "", "a/b", "x.partial", "zarr.json", "-x"])
def test_names_that_are_no_folder_are_refused(store, name):
    with pytest.raises(StoreError, match="can't name"):
        store.assign_rows(name, make_rows(1))


def test_unknown_subset_names_the_known(filled):
    with pytest.raises(StoreError, match="it has: faces"):
        filled.rows("face")


def test_written_rows_read_back_and_failures_keep_their_reason(filled):
    feature = open_store(filled.path).feature("faces", "clip")
    assert feature.pending() == []
    assert feature.failures() == {3: "no image", 70: "no image"}
    counts = feature.counts()
    assert (counts["complete"], counts["failed"], counts["pending"]) == (98, 2, 0)
    files = [p for p in feature.array_path("pixels").parent.rglob("*") if p.is_file()]
    assert counts["bytes"] == sum(p.stat().st_size for p in files if p.name != "zarr.json")
    assert feature.made_with() == MADE_WITH
    for spec in FIELDS:
        rows = [row for row in filled.rows("faces") if row.slot not in feature.failures()]
        got = feature.reader(spec.field).read([row.slot for row in rows])
        np.testing.assert_array_equal(got, np.stack([values_of(row, spec) for row in rows]))


def test_rerun_writes_nothing_and_an_append_only_what_is_new(filled):
    assert extract(filled) == 0
    before = contents(filled.path)
    filled.assign_rows("faces", make_rows(10, start=100))
    assert extract(filled) == 1
    after = contents(filled.path)
    shards = [name for name in before if "/c/" in name or name.startswith(("journal", "rows"))]
    assert all(after[name] == before[name] for name in shards)


def test_superseded_rows_are_neither_pending_nor_counted(store):
    store.assign_rows("faces", make_rows(3))
    changed = [dataclasses.replace(row, content="e" * 64) for row in make_rows(3)]
    store.assign_rows("faces", changed)
    assert extract(store) == 1
    feature = store.feature("faces", "clip")
    assert feature.counts()["complete"] == 3
    # The old content comes back: its shard was never extracted and is pending now.
    store.assign_rows("faces", make_rows(1))
    assert feature.pending() == [0]
    assert feature.counts()["pending"] == 1


def test_a_claim_excludes_other_objects_threads_and_is_freed(store):
    store.assign_rows("faces", make_rows(100))
    store.declare(FINGERPRINT, FIELDS)
    mine, other = (open_store(store.path).feature("faces", "clip") for _ in range(2))
    assert mine.claim(0)
    granted = []
    thread = threading.Thread(target=lambda: granted.append(other.claim(0)))
    thread.start()
    thread.join()
    assert granted == [False] and not mine.claim(0)
    with pytest.raises(StoreError, match="not claimed"):
        other.write_shard(0, {}, {}, {})
    assert other.claim(1)
    mine.release(0)
    assert other.claim(0)
    other.write_shard(0, shard_values(other.shard_rows(0)), {}, MADE_WITH)
    other.release(0)
    assert not mine.claim(0), "a claim looks at the journal again"
    assert mine.pending() == [1]


def test_a_forked_child_inherits_no_claim(store):
    store.assign_rows("faces", make_rows(1))
    store.declare(FINGERPRINT, FIELDS)
    feature = store.feature("faces", "clip")
    assert feature.claim(0)
    child = os.fork()
    if child == 0:
        os._exit(int(open_store(store.path).feature("faces", "clip").claim(0)))
    assert os.waitpid(child, 0)[1] == 0
    assert not open_store(store.path).feature("faces", "clip").claim(0)
    feature.release(0)


def test_wrong_values_are_refused(store):
    store.assign_rows("faces", make_rows(1))
    store.declare(FINGERPRINT, FIELDS)
    feature = store.feature("faces", "clip")
    assert feature.claim(0)
    good = shard_values(feature.shard_rows(0))
    for bad in (
        {"clip_cls": good["clip_cls"].astype("float64")},
        {"clip_cls": good["clip_cls"][1:]},
    ):
        with pytest.raises(ValueError, match="clip_cls must be"):
            feature.write_shard(0, {**good, **bad}, {}, {})
    with pytest.raises(ValueError, match="no such rows"):
        feature.write_shard(0, good, {5: "not a row"}, {})
    assert feature.pending() == [0]
    feature.release(0)


def test_same_fingerprint_with_other_fields_is_refused(store):
    store.declare(FINGERPRINT, FIELDS)
    store.declare(FINGERPRINT, FIELDS)
    with pytest.raises(StoreError, match="other fields"):
        store.declare(FINGERPRINT, FIELDS[:1])
    with pytest.raises(ValueError, match="float64"):
        store.declare(Fingerprint("lare", 1, ""), [FeatureSpec("lare", (2,), "float64")])


def test_several_fingerprints_stand_beside_each_other_and_must_be_chosen(filled):
    other = dataclasses.replace(FINGERPRINT, settings={"model": "tiny", "image": {"resize": 64}})
    extract(filled, fingerprint=other)
    with pytest.raises(StoreError, match=r"image.resize=64") as error:
        filled.feature("faces", "clip")
    assert FINGERPRINT.digest in str(error.value) and "tiny" not in str(error.value)
    assert filled.feature("faces", "clip", other.digest[:6]).fingerprint == other
    assert {feature.key for feature in filled.features("faces")} == {FINGERPRINT.key, other.key}
    with pytest.raises(StoreError, match="no features lare"):
        filled.feature("faces", "lare")
    assert store_info(filled)["differences"] == {
        "clip": {FINGERPRINT.digest: {"image.resize": None}, other.digest: {"image.resize": 64}}
    }


def test_weights_that_differ_are_told_apart_by_their_first_digits(filled):
    extract(filled, fingerprint=dataclasses.replace(FINGERPRINT, weights="0123456789abcdef" * 4))
    with pytest.raises(StoreError, match=r"\(weights=01234567…\)"):
        filled.feature("faces", "clip")


def test_info_has_the_documented_form(filled):
    info = store_info(filled)
    faces = info["subsets"]["faces"]
    assert faces["rows"] == 100 and faces["labels"] == {"0": 50, "1": 50}
    (feature,) = faces["features"]["clip"]
    expected = {"fingerprint", "complete", "failed", "pending", "bytes", "settings", "fields"}
    assert expected <= set(feature)
    assert feature["fields"]["clip_cls"]["shape"] == [4]
    assert feature["failures"] == {"sample-0003": "no image", "sample-0070": "no image"}


def test_info_says_when_images_were_made_where_rows_tell(store):
    rows = make_rows(4)
    assert "created" not in info_of(store, rows)
    dates = ["2023-11/2024-02", "2024", "", "2022-05-01"]
    told = [
        dataclasses.replace(row, columns={**row.columns, **({"created": text} if text else {})})
        for row, text in zip(rows, dates, strict=True)
    ]
    found = info_of(store, told)
    assert found["created"] == {"rows": 3, "first": "2022-05-01", "last": "2024-12-31"}
    assert found["rows"] == 4, "dates are metadata: no row is made anew"


def info_of(store, rows):
    store.assign_rows("dated", rows)
    return store_info(store)["subsets"]["dated"]


def test_assets_are_sealed_and_checked(store):
    store.declare(FINGERPRINT, FIELDS)
    path = store.layout.extractor(FINGERPRINT.key) / "text_tower.safetensors"
    with pytest.raises(StoreError, match="no asset"):
        store.asset(FINGERPRINT.key, path.name)
    store.write_assets(FINGERPRINT.key, {path.name: b"weights"})
    store.write_assets(FINGERPRINT.key, {path.name: b"others"})
    assert store.asset(FINGERPRINT.key, path.name) == path
    with pytest.raises(StoreError, match="no asset"):
        store.asset(FINGERPRINT.key, "other")
    path.write_bytes(b"weighty")
    with pytest.raises(CorruptStoreError, match="text_tower"):
        store.asset(FINGERPRINT.key, path.name)


@pytest.mark.parametrize("failing_write", range(3))
def test_a_full_disk_is_one_sentence_and_harms_nothing(store, monkeypatch, failing_write):
    store.assign_rows("faces", make_rows(100))
    extract(store)
    store.assign_rows("faces", make_rows(10, start=100))
    before, calls, writev = contents(store.path), [], os.writev

    def full(descriptor, buffers):
        calls.append(1)
        if len(calls) > failing_write:
            raise OSError(errno.ENOSPC, "No space left on device")
        return writev(descriptor, buffers)

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(DiskSpaceError, match="full"):
        extract(store)
    monkeypatch.undo()
    after = contents(store.path)
    kept = [name for name in before if not name.endswith("assets.json")]
    assert all(name.endswith("zarr.json") or after[name] == before[name] for name in kept)
    assert not [name for name in after if name.endswith(".partial")]
    with pytest.raises(DiskSpaceError, match="make room"):
        store.check_free_space(10**18)


def test_the_table_lists_rows_of_all_subsets_with_what_each_has(filled):
    filled.assign_rows("more", make_rows(3))
    table = filled.table()
    assert {len(column) for column in table.values()} == {103}
    assert table["subset"].tolist() == ["faces"] * 100 + ["more"] * 3
    assert table["slot"].tolist() == [*range(100), 0, 1, 2] and table["view"].dtype == np.int64
    assert table["sample_id"][3] == "sample-0003" and set(table["label"]) == {0, 1}
    states = table[FINGERPRINT.key]
    assert (states[3], states[70], states[0], states[102]) == (
        "failed",
        "failed",
        "complete",
        "pending",
    )
    assert {len(column) for column in filled.table("more").values()} == {3}
    with pytest.raises(StoreError, match="nosuch"):
        filled.table("nosuch")


def test_numbers_are_numbers_again_where_a_superseded_row_lacked_one(store):
    rows = make_rows(2)
    numbered = [
        dataclasses.replace(row, columns={**row.columns, "frame": n}) for n, row in enumerate(rows)
    ]
    store.assign_rows("faces", [rows[0], numbered[1]])
    assert store.table()["frame"].tolist() == [None, 1]
    another = dataclasses.replace(numbered[0], content="f" * 64)
    store.assign_rows("faces", [another, numbered[1]])
    frames = store.table()["frame"]
    assert frames.dtype == np.int64 and sorted(frames.tolist()) == [0, 1]


def test_writers_of_one_shard_s_thumbnails_lose_no_picture(store):
    pictures = {offset: bytes([offset]) * 2000 for offset in range(SHARD_ROWS)}

    def write(offset: int) -> None:
        store.write_thumbnails("faces", 0, {offset: pictures[offset]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, pictures))
    assert {offset: store.thumbnail("faces", offset) for offset in pictures} == pictures


def test_many_rows_become_segments_that_can_be_read_again(store, monkeypatch):
    rows = make_rows(300)
    monkeypatch.setattr("clare.store.index.ROWS_A_SEGMENT", 2 * SHARD_ROWS)
    assert [row.slot for row in store.assign_rows("faces", rows)] == list(range(300))
    names = [path.name for path in store.layout.segment_files("faces")]
    assert names == ["000000.jsonl", "000002.jsonl", "000004.jsonl"]
    fresh = open_store(store.path)
    assert [row.sample_id for row in fresh.rows("faces")] == [row.sample_id for row in rows]
    assert verify_store(store.path) == []
    # Whoever was killed between two of them goes on with the next.
    store.layout.segment_files("faces")[-1].unlink()
    assert [row.slot for row in fresh.assign_rows("faces", rows)] == list(range(300))
    assert [path.name for path in store.layout.segment_files("faces")] == names


def test_rows_that_could_not_be_read_again_are_not_written(store, monkeypatch):
    store.assign_rows("faces", make_rows(3))
    before = contents(store.path)
    monkeypatch.setattr("clare.store.segments.RECORD", 2000)
    long = [
        dataclasses.replace(row, columns={"label": 0, "note": "x" * 700}) for row in make_rows(3)
    ]
    with pytest.raises(StoreError, match="too long to be read again"):
        store.assign_rows("faces", long)
    assert contents(store.path) == before
    assert len(open_store(store.path).rows("faces")) == 3
