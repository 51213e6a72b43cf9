"""A store may be anybody's: records with a right checksum, damaged files, links and folders in
their place. Nothing wrong is served, nothing but one sentence comes out, and verify names it."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from clare.errors import ClareError, CorruptStoreError, RowUnavailableError, StoreError
from clare.store.feature_store import FeatureStore, create_store, open_store
from clare.store.info import store_info
from clare.store.maintenance.repair import repair_store
from clare.store.maintenance.verify import verify_store
from clare.store.spec import FeatureSpec, Fingerprint
from tests.store.conftest import (
    FIELDS,
    FINGERPRINT,
    MADE_WITH,
    extract,
    make_rows,
    shard_values,
    values_of,
)
from tests.store.forging import (
    DAMAGE,
    changed,
    files_of,
    forge,
    forge_anything,
    is_sealed,
    swap,
)

KEY = FINGERPRINT.key
RECORD = f"extractors/{KEY}/record.json"
ASSETS = f"extractors/{KEY}/assets.json"
INDEX = "rows/faces/000000.jsonl"
JOURNAL = f"journal/faces/{KEY}/000000.json"
THUMBS = "thumbnails/faces/000000.thumbs"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """Two subsets with pictures, failures, assets, commands, and an index of two segments."""
    store = create_store(tmp_path_factory.mktemp("good") / "features.zarr")
    store.declare(FINGERPRINT, FIELDS)
    for subset, counts in (("faces", (66, 3)), ("others", (5,))):
        for number, count in enumerate(counts):
            store.assign_rows(subset, make_rows(count, start=70 * number))
        fill(store, subset)
    store.record_command(("clare", "extract"), ("faces", "others"), (KEY,))
    return store.path


def fill(store: FeatureStore, subset: str) -> None:
    store.write_assets(KEY, {"text_tower.safetensors": b"tower"})
    feature = store.feature(subset, "clip")
    for shard in feature.pending():
        assert feature.claim(shard)
        rows = feature.shard_rows(shard)
        store.write_thumbnails(subset, shard, {0: f"{subset} {shard}".encode()})
        failed = {r.slot % 64: "no image" for r in rows if r.sample_id == "sample-0003"}
        feature.write_shard(shard, shard_values(rows), failed, MADE_WITH, thumbnails=True)
        feature.release(shard)


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "features.zarr"))


def read_everything(path: Path) -> dict[tuple[str, str, str], bytes]:
    """All that a user reads of a store; what is served equals what was written.

    Returns:
        The values by subset, sample and field.
    """
    store = open_store(path)
    values: dict[tuple[str, str, str], bytes] = {}
    store.commands()
    store_info(store)
    for subset in store.subsets():
        store.table(subset)
        for feature in store.features(subset):
            feature.written()
            store.asset(feature.key, "text_tower.safetensors")
            failures = feature.failures()
            for spec in FIELDS:
                reader = feature.reader(spec.field, threads=1)
                for row in store.rows(subset):
                    try:
                        served = reader.read([row.slot])[0]
                    except RowUnavailableError:
                        continue
                    assert row.slot not in failures
                    np.testing.assert_array_equal(served, values_of(row, spec))
                    values[subset, row.sample_id, spec.field] = served.tobytes()
        for row in store.rows(subset):
            picture = store.thumbnail(subset, row.slot)
            assert picture in (None, f"{subset} {row.slot // 64}".encode())
    return values


def extract_again(path: Path) -> None:
    """What the next extraction does with all that a repair queued."""
    store = create_store(path)
    store.declare(FINGERPRINT, FIELDS)
    store.assign_rows("faces", [*make_rows(66), *make_rows(3, start=70)])
    store.assign_rows("others", make_rows(5))
    fill(store, "faces")
    fill(store, "others")


def test_the_good_store_is_sound_and_whole(good):
    assert verify_store(good) == []
    assert len(read_everything(good)) == (66 + 3 + 5 - 2) * len(FIELDS)
    assert len(files_of(good)) > 20


def forged(place, value):
    return lambda record: changed(record, place, value)


FORGED = {
    "a label of 7": (INDEX, 1, forged(("columns", "label"), 7)),
    "a label that is text": (INDEX, 1, forged(("columns", "label"), "x")),
    "a label that is true": (INDEX, 1, forged(("columns", "label"), True)),
    "a split that is none": (INDEX, 1, forged(("columns", "split"), "nosuch")),
    "no label": (INDEX, 1, forged(("columns", "label"), ...)),
    "a path that leaves its root": (INDEX, 1, forged(("columns", "path"), "../../etc/passwd")),
    "an absolute path": (INDEX, 1, forged(("columns", "mask_path"), "/etc/passwd")),
    "a negative slot": (INDEX, 1, forged(("slot",), -1)),
    "a slot of another shard": (INDEX, 1, forged(("slot",), 64)),
    "a slot beyond all": (INDEX, 66, forged(("slot",), 2**50)),
    "a negative view": (INDEX, 1, forged(("view",), -1)),
    "an id that steers a terminal": (INDEX, 1, forged(("sample_id",), "a\x1b[2J")),
    "shards for 58 TiB": (INDEX, 0, forged(("shards",), 10**12)),
    "no shards": (INDEX, 0, forged(("shards",), 0)),
    "fewer rows": (INDEX, 0, forged(("rows",), 3)),
    "deep columns": (INDEX, 1, forged(("columns", "extra"), [[[["x"]]]])),
    "a row complete and failed": (JOURNAL, 0, forged(("failed",), {"0": "why"})),
    "a negative offset": (JOURNAL, 0, forged(("complete", 0), -1)),
    "an offset of 64": (JOURNAL, 0, forged(("complete",), [64])),
    "a failed row of no shard": (JOURNAL, 0, forged(("failed",), {"-3": "why"})),
    "a reason that is none": (JOURNAL, 0, forged(("failed", "3"), 5)),
    "short checksums": (JOURNAL, 0, forged(("identities",), "AAAA")),
    "no field": (JOURNAL, 0, forged(("fields", "clip_cls"), ...)),
    "a shard of 233 TiB": (JOURNAL, 0, forged(("fields", "clip_cls", "bytes"), 2**48)),
    "made with nothing": (JOURNAL, 0, forged(("made_with",), None)),
    "an asset elsewhere": (ASSETS, 0, forged(("assets", "../../up"), {"bytes": 1, "sha256": ""})),
    "an absolute asset": (ASSETS, 0, forged(("assets", "/etc/hosts"), {"bytes": 1, "sha256": ""})),
    "an asset of no size": (ASSETS, 0, forged(("assets", "text_tower.safetensors", "bytes"), "1")),
    "an extractor's field elsewhere": (RECORD, 0, forged(("fields", 0, "field"), "../../up")),
    "a shape of many TiB": (RECORD, 0, forged(("fields", 0, "shape"), [2**40, 2**6])),
    "a shape below zero": (RECORD, 0, forged(("fields", 0, "shape"), [-1])),
    "a type that is none": (RECORD, 0, forged(("fields", 0, "dtype"), "O")),
    "an axis that is none": (RECORD, 0, forged(("fields", 0, "channel_axis"), 3)),
    "two fields of one name": (RECORD, 0, forged(("fields", 1, "field"), "clip_tokens")),
    "a picture of 8 EiB": (THUMBS, 0, forged(("pictures", 0, 1), 2**63)),
    "a picture below zero": (THUMBS, 0, forged(("pictures", 0, 1), -1)),
    "a picture of no row": (THUMBS, 0, forged(("pictures", 0, 0), 64)),
    "a command that is text": ("commands.jsonl", 0, forged(("command",), "rm -rf")),
    "a command of numbers": ("commands.jsonl", 0, forged(("subsets",), [1])),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_record_with_a_right_checksum_and_hostile_content_is_refused_and_named(copy, what):
    name, line, change = FORGED[what]
    if name == THUMBS:
        raw = (copy / name).read_bytes()
        head, _, pictures = raw.partition(b"\n")
        (copy / name).write_bytes(head + b"\n")
        forge(copy / name, 0, change)
        (copy / name).write_bytes((copy / name).read_bytes() + pictures)
    else:
        forge(copy / name, line, change)
    with pytest.raises(CorruptStoreError):
        read_everything(copy)
    assert name in {str(problem.path) for problem in verify_store(copy)}
    assert repair_store(copy).left == [] and verify_store(copy) == []


@pytest.mark.slow
@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_any_member_forged_gives_the_same_values_or_one_sentence(good, tmp_path_factory, seed):
    chance = random.Random(seed)
    whole = read_everything(good)
    copy = Path(shutil.copytree(good, tmp_path_factory.mktemp("forged") / "features.zarr"))
    try:
        names = [name for name in files_of(copy) if is_sealed(name) and name != "store.json"]
        forge_anything(copy, chance.choice(names), chance)
        try:
            # Of a row that it calls pending nobody can know better; no other value is served.
            assert read_everything(copy).items() <= whole.items()
        except ClareError:
            assert verify_store(copy), "what a reader refuses, verify names"
        assert repair_store(copy).left == []
        extract_again(copy)
        assert read_everything(copy) == whole
    finally:
        shutil.rmtree(copy.parent)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(sorted(DAMAGE)))
def test_any_damaged_file_is_named_and_mended_in_one_repair(good, tmp_path_factory, seed, kind):
    chance = random.Random(seed)
    copy = Path(shutil.copytree(good, tmp_path_factory.mktemp("damaged") / "features.zarr"))
    try:
        name = chance.choice(files_of(copy))
        DAMAGE[kind](copy / name, chance)
        with contextlib.suppress(ClareError):
            read_everything(copy)
        problems = verify_store(copy)
        if name != "commands.jsonl" or kind not in ("delete", "empty", "cut"):
            assert problems, f"{kind} of {name}"
        left = repair_store(copy, problems).left
        assert {problem.kind for problem in left} <= {"extra"}
        extract_again(copy)
        assert read_everything(copy) == read_everything(good)
        assert {problem.kind for problem in verify_store(copy)} <= {"extra"}
    finally:
        shutil.rmtree(copy.parent)


def test_a_lost_journal_record_whose_shard_lies_there_is_named(copy):
    (copy / JOURNAL).unlink()
    assert [str(problem.path) for problem in verify_store(copy)] == [JOURNAL]
    assert repair_store(copy).left == []
    assert open_store(copy).feature("faces", "clip").pending() == [0]


def test_lost_pictures_and_lists_of_assets_are_named(copy):
    (copy / THUMBS).unlink()
    (copy / ASSETS).unlink()
    assert {str(problem.path) for problem in verify_store(copy)} == {THUMBS, ASSETS}
    assert repair_store(copy).left == [] and verify_store(copy) == []
    assert not open_store(copy).has_assets(KEY)


def test_pictures_of_another_subset_are_not_shown(copy):
    swap(copy / THUMBS, copy / "thumbnails/others/000000.thumbs")
    with pytest.raises(CorruptStoreError, match="another subset"):
        open_store(copy).thumbnail("faces", 0)
    assert [problem.kind for problem in verify_store(copy)] == ["thumbnails"] * 2


def test_a_damaged_extractor_record_hides_no_other_damage(copy):
    shard = f"arrays/faces/{KEY}/clip_cls/c/0/0"
    for name in (RECORD, shard):
        DAMAGE["flip"](copy / name, random.Random(0))
    kinds = {problem.kind for problem in verify_store(copy)}
    assert kinds == {"extractor", "shard"}
    assert repair_store(copy).left == [] and verify_store(copy) == []


@pytest.mark.parametrize("name", [f"arrays/faces/{KEY}", f"journal/faces/{KEY}", "rows/faces"])
def test_nothing_is_written_through_a_link(copy, tmp_path, name):
    shutil.move(copy / name, tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")
    before = files_of(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="link"):
        store = open_store(copy)
        store.assign_rows("faces", make_rows(10, start=500))
        store.feature("faces", "clip")
        extract(store)
    assert "misplaced" in {problem.kind for problem in verify_store(copy)}
    repair_store(copy)
    assert files_of(tmp_path / "elsewhere") == before


def test_a_partial_file_that_leads_elsewhere_is_not_written_through(copy, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (copy / JOURNAL).unlink()
    (copy / f"{JOURNAL}.owner.partial").symlink_to(outside)
    with pytest.raises((ClareError, OSError)):
        fill(open_store(copy), "faces")
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/b", "", "a\nb", "record.json", "x.partial"])
def test_names_that_lead_elsewhere_are_not_written(store, name, tmp_path):
    store.declare(FINGERPRINT, FIELDS)
    with pytest.raises(StoreError):
        store.write_assets(KEY, {name: b"x"})
    if name not in ("record.json", "x.partial"):
        with pytest.raises(StoreError):
            store.assign_rows(name, make_rows(1))
        with pytest.raises(StoreError):
            store.declare(Fingerprint("other", 1, ""), [FeatureSpec(name, (2,), "float32")])
    assert verify_store(store.path) == []


def test_rows_that_no_reader_takes_are_not_stored(store):
    (row,) = make_rows(1)
    for columns in ({}, {"label": 2}, {"label": 0, "path": "../x"}, {"label": 0, "x": 2**70}):
        with pytest.raises(StoreError, match="can't be stored"):
            store.assign_rows("faces", [dataclasses.replace(row, columns=columns)])
    assert store.subsets() == []
