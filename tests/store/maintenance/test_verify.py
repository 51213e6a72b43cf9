"""Every flipped byte is caught by verify, never served by the reader, and mended by repair."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clare.errors import ClareError, CorruptStoreError, RowUnavailableError, StoreError
from clare.store.feature_store import FeatureStore, create_store, open_store
from clare.store.layout import Layout
from clare.store.maintenance.repair import repair_store
from clare.store.maintenance.verify import verify_store
from clare.store.records import REPAIR
from tests.store.conftest import FIELDS, FINGERPRINT, contents, extract, make_rows, values_of


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A store with everything in it: two segments, failures, an asset and thumbnails."""
    store = create_store(tmp_path_factory.mktemp("good") / "features.zarr")
    store.declare(FINGERPRINT, FIELDS)
    store.assign_rows("faces", make_rows(70))
    store.assign_rows("faces", make_rows(5, start=70))
    extract(store, failed=("sample-0003",))
    for shard in range(3):
        store.write_thumbnails("faces", shard, {0: b"jpeg zero", 1: b"jpeg one"})
    return store.path


@pytest.fixture
def damaged(good: Path, tmp_path: Path) -> Path:
    """A copy of the good store, to be damaged."""
    return Path(shutil.copytree(good, tmp_path / "features.zarr"))


def read_everything(store: FeatureStore) -> None:
    """Read all that a user can read; whatever is served must be right."""
    for row in store.rows("faces"):
        assert dataclasses.replace(row, slot=-1) in make_rows(75)
        store.thumbnail("faces", row.slot)
    feature = store.feature("faces", "clip")
    store.asset(feature.key, "text_tower.safetensors")
    failures = feature.failures()
    assert set(failures) <= {3}
    for spec in FIELDS:
        reader = feature.reader(spec.field, threads=2)
        for row in store.rows("faces"):
            if row.slot in failures:
                continue
            with contextlib.suppress(RowUnavailableError):
                np.testing.assert_array_equal(reader.read([row.slot])[0], values_of(row, spec))


def test_verify_is_silent_on_a_good_store_and_counts_its_progress(good):
    seen = []
    assert verify_store(good, progress=lambda done, total: seen.append((done, total))) == []
    assert seen[-1] == (9, 9)
    read_everything(open_store(good))


def test_verify_is_silent_on_a_store_that_is_only_begun(store):
    assert verify_store(store.path) == []
    store.assign_rows("faces", make_rows(5))
    store.declare(FINGERPRINT, FIELDS)
    assert verify_store(store.path) == []


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_flipped_byte_is_caught_and_mended(good, tmp_path_factory, data):
    names = [name for name in contents(good) if (good / name).stat().st_size]
    name = data.draw(st.sampled_from(names))
    copy = Path(shutil.copytree(good, tmp_path_factory.mktemp("flip") / "features.zarr"))
    try:
        raw = bytearray((copy / name).read_bytes())
        place = data.draw(st.integers(0, len(raw) - 1), label="byte")
        raw[place] ^= data.draw(st.integers(1, 255), label="mask")
        (copy / name).write_bytes(raw)

        with contextlib.suppress(ClareError):
            read_everything(open_store(copy))
        problems = verify_store(copy)
        assert problems, "verify must see the flip"
        assert all(problem.where and problem.what for problem in problems)

        repair_store(copy, problems)
        assert verify_store(copy) == []
        mended = create_store(copy)
        mended.declare(FINGERPRINT, FIELDS)
        mended.assign_rows("faces", make_rows(75))
        extract(mended, failed=("sample-0003",))
        assert verify_store(copy) == []
        feature = mended.feature("faces", "clip")
        assert feature.counts()["complete"] == 74 and feature.counts()["pending"] == 0
        read_rows = [row for row in mended.rows("faces") if row.slot not in feature.failures()]
        for spec in FIELDS:
            got = feature.reader(spec.field).read([row.slot for row in read_rows])
            np.testing.assert_array_equal(got, [values_of(row, spec) for row in read_rows])
    finally:
        shutil.rmtree(copy)


def shard_file(store: Path, field: str = "clip_cls", shard: int = 0) -> Path:
    return store / "arrays" / "faces" / FINGERPRINT.key / field / "c" / str(shard) / "0"


def swap(store: Path) -> None:
    one, other = shard_file(store, shard=0), shard_file(store, shard=1)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


DAMAGE = {
    "truncated": lambda store: shard_file(store).write_bytes(shard_file(store).read_bytes()[:-9]),
    "missing": lambda store: shard_file(store).unlink(),
    "empty": lambda store: shard_file(store).write_bytes(b""),
    "longer": lambda store: shard_file(store).write_bytes(shard_file(store).read_bytes() + b"x"),
    "swapped": swap,
    "zeroed": lambda store: shard_file(store).write_bytes(bytes(shard_file(store).stat().st_size)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_never_served_and_is_named(damaged, kind):
    DAMAGE[kind](damaged)
    reader = open_store(damaged).feature("faces", "clip").reader("clip_cls")
    with pytest.raises(CorruptStoreError, match=r"faces/clip-\w+/clip_cls, row 5\b") as refused:
        reader.read([5])
    assert refused.value.advice == (REPAIR,)
    assert reader.read([130]).shape == (1, 4)
    problems = verify_store(damaged)
    assert {problem.shard for problem in problems} == ({0, 1} if kind == "swapped" else {0})
    repair_store(damaged, problems)
    store = open_store(damaged)
    assert verify_store(damaged) == []
    assert store.feature("faces", "clip").pending() == sorted({p.shard for p in problems})
    extract(store, failed=("sample-0003",))
    read_everything(store)


def test_a_change_under_a_reader_that_verified_the_row_is_seen(damaged):
    reader = open_store(damaged).feature("faces", "clip").reader("clip_cls")
    reader.read([5, 130])
    raw = bytearray(shard_file(damaged).read_bytes())
    raw[5 * 20] ^= 1
    shard_file(damaged).write_bytes(raw)
    with pytest.raises(CorruptStoreError, match="row 5"):
        reader.read([5])


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("store.json", "open"),
        (f"extractors/{FINGERPRINT.key}/record.json", "open"),
        ("rows/faces/000000.jsonl", "rows"),
        (f"journal/faces/{FINGERPRINT.key}/000001.json", "feature"),
    ],
)
def test_damaged_records_are_named_with_advice(damaged, name, when):
    raw = bytearray((damaged / name).read_bytes())
    raw[len(raw) // 2] ^= 4
    (damaged / name).write_bytes(raw)
    with pytest.raises(CorruptStoreError, match=f"{name} is damaged") as refused:
        store = open_store(damaged)
        assert when != "open"
        if when == "rows":
            store.rows("faces")
        store.feature("faces", "clip")
    assert refused.value.advice == (REPAIR,)


def test_commands_are_noted_once_and_lost_lines_dropped(damaged):
    store = open_store(damaged)
    assert store.commands() == []
    store.record_command((), ("faces",), (FINGERPRINT.key,))
    assert not store.layout.commands.exists()
    for words in (("clare", "extract", "--subset", "a b"), ("clare", "extract", "--views", "2")):
        for _ in range(2):
            store.record_command(words, ("faces",), (FINGERPRINT.key,))
    first, second = store.commands()
    assert first.command == ("clare", "extract", "--subset", "a b")
    assert second.subsets == ("faces",) and second.extractors == (FINGERPRINT.key,)
    assert verify_store(damaged) == []
    raw = store.layout.commands.read_bytes()
    store.layout.commands.write_bytes(raw.replace(b"a b", b"a c"))
    with pytest.raises(CorruptStoreError, match="commands"):
        store.commands()
    assert [problem.kind for problem in verify_store(damaged)] == ["commands"]
    repair_store(damaged)
    assert store.commands() == [second] and verify_store(damaged) == []


@pytest.mark.parametrize(
    "name",
    [
        "store.json",
        "arrays/zarr.json",
        "arrays/faces/zarr.json",
        f"arrays/faces/{FINGERPRINT.key}/zarr.json",
        f"arrays/faces/{FINGERPRINT.key}/pixels/zarr.json",
        f"extractors/{FINGERPRINT.key}/record.json",
        f"extractors/{FINGERPRINT.key}/assets.json",
        f"extractors/{FINGERPRINT.key}/text_tower.safetensors",
        "rows/faces/000000.jsonl",
        "rows/faces/000002.jsonl",
    ],
)
def test_a_missing_file_is_found_and_mended(damaged, name):
    (damaged / name).unlink()
    problems = verify_store(damaged)
    assert str(problems[0].path) == name or problems[0].kind in ("segment", "shard")
    repair_store(damaged)
    assert verify_store(damaged) == []
    store = open_store(damaged)
    store.assign_rows("faces", make_rows(75))
    assert len(store.rows("faces")) == 75


def test_lost_index_lines_never_give_their_slots_away(damaged):
    (damaged / "rows/faces/000002.jsonl").unlink()
    repair_store(damaged)
    rows = open_store(damaged).assign_rows("faces", make_rows(75))
    assert [row.slot for row in rows][70:] == list(range(192, 197))


def test_rows_given_out_behind_a_lost_segment_never_get_its_values(damaged):
    (damaged / "rows/faces/000002.jsonl").unlink()
    store = open_store(damaged)
    others = [dataclasses.replace(row, content="c" * 64) for row in make_rows(5, start=70)]
    store.assign_rows("faces", others)
    with pytest.raises(CorruptStoreError, match="other rows"):
        store.feature("faces", "clip")
    repair_store(damaged)
    assert open_store(damaged).feature("faces", "clip").pending() == [2]


def test_an_extractor_record_that_can_not_be_rebuilt_takes_its_features_along(damaged):
    (damaged / f"extractors/{FINGERPRINT.key}/record.json").write_bytes(b"{}")
    (damaged / f"arrays/faces/{FINGERPRINT.key}/zarr.json").write_bytes(b"{}")
    done = repair_store(damaged).done
    assert any("extract them again" in line for line in done)
    assert verify_store(damaged) == []
    store = open_store(damaged)
    assert extract(store) == 3


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "rows/faces/copy.jsonl",
        "journal/faces/x.json",
        f"arrays/faces/{FINGERPRINT.key}/pixels/c/0/0/0/1",
        f"extractors/{FINGERPRINT.key}/second.safetensors",
    ],
)
def test_foreign_files_are_reported_and_left_alone(damaged, name):
    if name.startswith("journal"):
        name = name.replace("x.json", f"{FINGERPRINT.key}/x.json")
    (damaged / name).write_bytes(b"foreign")
    (problem,) = verify_store(damaged)
    assert (problem.kind, str(problem.path)) == ("extra", name)
    assert repair_store(damaged) == ([], [problem])
    assert (damaged / name).exists()
    read_everything(open_store(damaged))


def test_thumbnails_read_back_or_are_refused(damaged):
    store = open_store(damaged)
    assert store.thumbnail("faces", 65) == b"jpeg one"
    assert store.thumbnail("faces", 5) is None
    assert store.thumbnail("faces", 640) is None
    path = Layout(damaged).thumbnails("faces", 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptStoreError, match=r"000001\.thumbs"):
        store.thumbnail("faces", 65)


def test_what_may_not_be_read_is_no_damage_and_repair_loses_nothing(tmp_path, monkeypatch):
    store = create_store(tmp_path / "s.zarr")
    store.assign_rows("faces", make_rows(3))
    extract(store)
    before = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    opened = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("rows/faces/000000.jsonl"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        for use in (verify_store, repair_store):
            with pytest.raises(StoreError, match="Permission denied") as refused:
                use(store.path)
            assert not isinstance(refused.value, CorruptStoreError)
    assert {path: path.read_bytes() for path in before} == before
    assert verify_store(store.path) == []


def test_repair_sets_nothing_aside_through_a_link(tmp_path):
    store = create_store(tmp_path / "s.zarr")
    store.assign_rows("faces", make_rows(3))
    extract(store)
    (tmp_path / "elsewhere").mkdir()
    (store.path / "set-aside").symlink_to(tmp_path / "elsewhere")
    (store.path / "journal" / "faces" / "stray").mkdir()
    (store.path / "rows" / "faces" / "000001.jsonl").mkdir()
    assert verify_store(store.path)
    repair_store(store.path)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (store.path / "set-aside").is_symlink()


def test_what_repair_set_aside_is_kept_and_is_no_problem(tmp_path):
    store = create_store(tmp_path / "s.zarr")
    store.assign_rows("faces", make_rows(3))
    extract(store)
    record = store.layout.record("faces", FINGERPRINT.key, 0)
    record.unlink()
    record.mkdir()
    (record / "notes.txt").write_bytes(b"somebody's")
    repair = repair_store(store.path)
    assert any("set aside as set-aside/0-000000.json; delete" in line for line in repair.done)
    assert repair.left == [] and verify_store(store.path) == []
    assert (store.path / "set-aside/0-000000.json/notes.txt").read_bytes() == b"somebody's"


def test_a_quick_look_finds_all_but_other_bytes_of_the_same_size(damaged):
    layout, key = Layout(damaged), FINGERPRINT.key
    files = {
        layout.record("faces", key, 0): "shard",
        layout.segment("faces", 0): "segment",
        layout.extractor_record(key): "extractor",
        layout.array("faces", key, "clip_cls") / "c" / "0" / "0": "shard",
        layout.extractor(key) / "text_tower.safetensors": "assets",
    }
    assert verify_store(damaged, quick=True) == []
    for path, kind in files.items():
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        quick, whole = (verify_store(damaged, quick=way) for way in (True, False))
        assert kind in {problem.kind for problem in whole}
        assert quick == whole
        path.unlink()
        assert kind in {problem.kind for problem in verify_store(damaged, quick=True)}
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        found = {problem.kind for problem in verify_store(damaged, quick=True)}
        assert (kind in found) == (path.suffix in (".json", ".jsonl"))
        path.write_bytes(data)
    assert verify_store(damaged) == []
