"""What verify says of each thing that is wrong: its kind, place and reason, and nothing besides."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clare.errors import StoreError
from clare.store.extractor_records import extractor_group
from clare.store.feature_store import FeatureStore, create_store, open_store
from clare.store.journal import withdraw_record
from clare.store.layout import Layout
from clare.store.maintenance.verify import verify_store
from clare.store.records import seal
from clare.store.zarr_shards import INDEX_BYTES, array_metadata, metadata_text
from tests.store.conftest import FIELDS, FINGERPRINT, MADE_WITH, make_rows, shard_values
from tests.store.forging import changed, forge

KEY = FINGERPRINT.key
OTHER = dataclasses.replace(FINGERPRINT, version=2)
ARRAYS, JOURNAL, EXTRACTOR = f"arrays/faces/{KEY}", f"journal/faces/{KEY}", f"extractors/{KEY}"
CLS = FIELDS[1]
CELL = CLS.row_bytes + 4
Change = Callable[[Path], object]


def fill(store: FeatureStore, subset: str, *, thumbnails: bool) -> None:
    store.declare(FINGERPRINT, FIELDS)
    store.write_assets(KEY, {"tower.bin": b"tower"})
    feature = store.feature(subset, "clip")
    for shard in feature.pending():
        assert feature.claim(shard)
        if thumbnails:
            store.write_thumbnails(subset, shard, {0: b"a picture"})
        values = shard_values(feature.shard_rows(shard))
        feature.write_shard(shard, values, {}, MADE_WITH, thumbnails=thumbnails)
        feature.release(shard)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """``faces`` of two appends, three shards and their pictures; ``others`` of one shard."""
    store = create_store(tmp_path_factory.mktemp("good") / "features.zarr")
    for start, count in ((0, 70), (70, 5)):
        store.assign_rows("faces", make_rows(count, start))
    store.assign_rows("others", make_rows(3, 200))
    fill(store, "faces", thumbnails=True)
    fill(store, "others", thumbnails=False)
    store.record_command(("clare", "extract"), ("faces",), (KEY,))
    return store.path


@pytest.fixture
def store(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "features.zarr"))


def told(path: Path) -> list[str]:
    """What verify says, in its order: kind, place, reason, and in brackets what else it tells."""
    lines = []
    for one in verify_store(path):
        shard = one.shard if one.shard >= 0 else ""
        told = [one.subset, one.key, shard, one.field, *one.rows]
        where = " ".join(str(part) for part in told if part != "")
        lines.append(f"{one.kind} {one.path}: {one.what}{f' ({where})' if where else ''}")
    return [line.replace(KEY, "KEY") for line in lines]


def write(name: str, data: bytes = b"x") -> Change:
    def change(store: Path) -> None:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(data)

    return change


def remove(name: str) -> Change:
    return lambda store: (store / name).unlink()


def flip(name: str, place: int) -> Change:
    def change(store: Path) -> None:
        raw = bytearray((store / name).read_bytes())
        raw[place] ^= 1
        (store / name).write_bytes(raw)

    return change


def copy(name: str, new: str) -> Change:
    return lambda store: shutil.copy(store / name, store / new)


def link(name: str) -> Change:
    """The very file, elsewhere."""

    def change(store: Path) -> None:
        moved = store.parent / "elsewhere"
        (store / name).rename(moved)
        (store / name).symlink_to(moved)

    return change


def folder(name: str) -> Change:
    return lambda store: (store / name).mkdir(parents=True)


def reseal(name: str, *place_and_value) -> Change:
    """Another value in one place of a sealed file's first record."""
    *place, value = place_and_value
    return lambda store: forge(store / name, 0, lambda record: changed(record, tuple(place), value))


def both(*changes: Change) -> Change:
    return lambda store: [change(store) for change in changes]


def some_rows(store: Path) -> None:
    """Of three rows more, one has its values."""
    opened = open_store(store)
    opened.assign_rows("others", make_rows(3, 300))
    feature = opened.feature("others", "clip")
    assert feature.claim(1)
    values = shard_values(feature.shard_rows(1))
    feature.write_shard(1, values, {}, MADE_WITH, complete=[0])
    feature.release(1)


def copy_of_another(subset: str) -> Change:
    text = metadata_text(extractor_group(OTHER, FIELDS))
    return write(f"arrays/{subset}/{KEY}/zarr.json", text)


SHARD = f"{ARRAYS}/clip_cls/c/1/0"
NOUGHTS = "A" * 340 + "AA=="
WRITING = f"{JOURNAL}/000001.json.owner.partial"

SILENT: dict[str, Change] = {
    "nothing": lambda store: None,
    "a record of the store being written": write("store.json.12-ab.partial"),
    "commands being written": write("commands.jsonl.12-ab.partial"),
    "rows being written": write("rows/faces/000004.jsonl.12-ab.partial"),
    "a record being written": write(f"{JOURNAL}/000009.json.owner.partial"),
    "pictures being written": write("thumbnails/faces/000009.thumbs.owner.partial"),
    "an asset being written": write(f"{EXTRACTOR}/weights.bin.12-ab.partial"),
    "metadata being written": write(f"{ARRAYS}/zarr.json.12-ab.partial"),
    "a shard being written": write(f"{ARRAYS}/clip_cls/c/7/0.owner.partial"),
    "a shard being written for the second time": both(
        lambda store: withdraw_record(Layout(store), "faces", KEY, 1)
    ),
    "a shard that was being dropped": both(
        remove(f"{JOURNAL}/000001.json"), folder("dropped.ab.partial")
    ),
    "an extractor that wrote nothing": write(
        f"extractors/{OTHER.key}/assets.json", seal({"assets": {}})
    ),
    "what a repair set aside": both(
        folder("set-aside"), lambda store: (store / "set-aside/x").symlink_to("nowhere")
    ),
    "a journal that is only begun": both(
        lambda store: shutil.rmtree(store / "arrays/others"),
        remove(f"journal/others/{KEY}/000000.json"),
    ),
    "rows to come": lambda store: open_store(store).assign_rows("faces", make_rows(5, 80)),
    "values of some rows": some_rows,
    "assets to come": both(
        write(f"{EXTRACTOR}/assets.json", seal({"assets": {}, "pending": True})),
    ),
}

AT = "arrays/faces/KEY/clip_cls/c/1/0"
FOREIGN = "it does not belong to the store"
NOBODY = "somebody stopped while writing it, and nobody goes on"
WRITTEN = "it is not what was written"
CHANGED = "their bytes are not those that were written"
ROWLESS = "the index has no rows of this shard"
LINK = "it is a link; what a store holds lies in it"
UNRECORDED = "it is missing, and the shard lies there"
NO_FOLDER = "it can't be read: Not a directory"
LARGER = "can't be read: it is larger than 0 MiB"
OTHERS = "it speaks of other rows than the index"
LOST = "the shard's file is missing"

NAMED: dict[str, tuple[Change, list[str]]] = {
    "marker missing": (
        remove("store.json"),
        ["marker store.json: it is missing"],
    ),
    "marker flipped": (
        flip("store.json", 5),
        ["marker store.json: its checksum does not match"],
    ),
    "commands": (
        flip("commands.jsonl", 5),
        ["commands commands.jsonl: its checksum does not match"],
    ),
    "strangers at the top": (
        write("notes.txt"),
        [f"extra notes.txt: {FOREIGN}"],
    ),
    "given up at the top": (
        write("notes.txt.12-ab.partial"),
        [f"extra notes.txt.12-ab.partial: {NOBODY}"],
    ),
    "given up in the arrays": (
        write(f"{ARRAYS}/x.bin.12-ab.partial"),
        [f"extra arrays/faces/KEY/x.bin.12-ab.partial: {NOBODY}"],
    ),
    "given up in the rows": (
        write("rows/faces/000004.txt.12-ab.partial"),
        [f"extra rows/faces/000004.txt.12-ab.partial: {NOBODY}"],
    ),
    "metadata": (
        write("arrays/zarr.json"),
        [f"metadata arrays/zarr.json: {WRITTEN}"],
    ),
    "no metadata": (
        remove("arrays/zarr.json"),
        ["metadata arrays/zarr.json: it is missing"],
    ),
    "no metadata of a subset": (
        remove("arrays/faces/zarr.json"),
        ["metadata arrays/faces/zarr.json: it is missing (faces)"],
    ),
    "metadata of an extractor": (
        flip(f"{ARRAYS}/zarr.json", -9),
        [f"metadata arrays/faces/KEY/zarr.json: {WRITTEN} (faces KEY)"],
    ),
    "metadata of an array": (
        write(f"{ARRAYS}/pixels/zarr.json", b"{}"),
        [f"metadata arrays/faces/KEY/pixels/zarr.json: {WRITTEN} (faces KEY)"],
    ),
    "no metadata of an array": (
        remove(f"{ARRAYS}/pixels/zarr.json"),
        ["metadata arrays/faces/KEY/pixels/zarr.json: it is missing (faces KEY)"],
    ),
    "an array too short": (
        write(f"{ARRAYS}/clip_cls/zarr.json", metadata_text(array_metadata(CLS, 2))),
        [f"metadata arrays/faces/KEY/clip_cls/zarr.json: {WRITTEN} (faces KEY)"],
    ),
    "arrays of no rows": (
        lambda store: shutil.copytree(store / "arrays/others", store / "arrays/lonely"),
        [
            f"extra arrays/lonely/KEY/clip_cls/c/0/0: {FOREIGN}",
            f"metadata arrays/lonely/KEY/clip_cls/zarr.json: {LARGER} (lonely KEY)",
            f"extra arrays/lonely/KEY/clip_tokens/c/0/0/0: {FOREIGN}",
            f"metadata arrays/lonely/KEY/clip_tokens/zarr.json: {LARGER} (lonely KEY)",
            f"extra arrays/lonely/KEY/pixels/c/0/0/0/0: {FOREIGN}",
            f"metadata arrays/lonely/KEY/pixels/zarr.json: {LARGER} (lonely KEY)",
        ],
    ),
    "a journal of no rows": (
        lambda store: shutil.copytree(store / "journal/others", store / "journal/lonely"),
        [
            "metadata arrays/lonely/KEY/clip_cls/zarr.json: it is missing (lonely KEY)",
            "metadata arrays/lonely/KEY/clip_tokens/zarr.json: it is missing (lonely KEY)",
            "metadata arrays/lonely/KEY/pixels/zarr.json: it is missing (lonely KEY)",
            "metadata arrays/lonely/KEY/zarr.json: it is missing (lonely KEY)",
            "shard journal/lonely/KEY/000000.json: it belongs to another shard (lonely KEY 0)",
            "segment rows/lonely/000000.jsonl: the segment is missing (lonely)",
        ],
    ),
    "no extractor": (
        remove(f"{EXTRACTOR}/record.json"),
        ["extractor extractors/KEY/record.json: it is missing (KEY)"],
    ),
    "no extractor, no journal": (
        both(remove(f"{EXTRACTOR}/record.json"), lambda store: shutil.rmtree(store / "journal")),
        [
            "extractor extractors/KEY/record.json: it is missing (KEY)",
            f"shard journal/faces/KEY/000000.json: {UNRECORDED} (faces KEY 0)",
            f"shard journal/faces/KEY/000001.json: {UNRECORDED} (faces KEY 1)",
            f"shard journal/faces/KEY/000002.json: {UNRECORDED} (faces KEY 2)",
            f"shard journal/others/KEY/000000.json: {UNRECORDED} (others KEY 0)",
        ],
    ),
    "no extractor, no arrays": (
        both(remove(f"{EXTRACTOR}/record.json"), lambda store: shutil.rmtree(store / "arrays")),
        ["extractor extractors/KEY/record.json: it is missing (KEY)"],
    ),
    "an extractor flipped": (
        flip(f"{EXTRACTOR}/record.json", 9),
        ["extractor extractors/KEY/record.json: its checksum does not match (KEY)"],
    ),
    "an extractor flipped, one copy another's": (
        both(flip(f"{EXTRACTOR}/record.json", 9), copy_of_another("others")),
        [
            f"metadata arrays/others/KEY/zarr.json: {WRITTEN} (others KEY)",
            "extractor extractors/KEY/record.json: its checksum does not match (KEY)",
        ],
    ),
    "an extractor flipped, no copy of it": (
        both(
            flip(f"{EXTRACTOR}/record.json", 9), copy_of_another("faces"), copy_of_another("others")
        ),
        ["extractor extractors/KEY/record.json: its checksum does not match (KEY)"],
    ),
    "no list of assets": (
        remove(f"{EXTRACTOR}/assets.json"),
        ["assets extractors/KEY/assets.json: it is missing (KEY)"],
    ),
    "list of assets flipped": (
        flip(f"{EXTRACTOR}/assets.json", 9),
        ["assets extractors/KEY/assets.json: its checksum does not match (KEY)"],
    ),
    "no asset": (
        remove(f"{EXTRACTOR}/tower.bin"),
        ["assets extractors/KEY/tower.bin: it is missing (KEY)"],
    ),
    "asset longer": (
        write(f"{EXTRACTOR}/tower.bin", b"tower2"),
        ["assets extractors/KEY/tower.bin: it has 6 bytes instead of 5 (KEY)"],
    ),
    "asset flipped": (
        flip(f"{EXTRACTOR}/tower.bin", 2),
        ["assets extractors/KEY/tower.bin: its sha256 is not the recorded one (KEY)"],
    ),
    "asset of nobody": (
        write(f"{EXTRACTOR}/other.bin"),
        ["extra extractors/KEY/other.bin: it is not recorded in assets.json"],
    ),
    "no asset to come": (
        both(
            write(f"{EXTRACTOR}/assets.json", seal({"assets": {}, "pending": True})),
            write(f"{EXTRACTOR}/.hidden"),
        ),
        ["extra extractors/KEY/.hidden: it is not recorded in assets.json"],
    ),
    "a line of rows flipped": (
        flip("rows/faces/000000.jsonl", 300),
        ["segment rows/faces/000000.jsonl: its checksum does not match (faces)"],
    ),
    "last rows": (
        remove("rows/faces/000002.jsonl"),
        [
            f"shard journal/faces/KEY/000002.json: {ROWLESS} (faces KEY 2)",
            "segment rows/faces/000002.jsonl: the segment is missing (faces)",
        ],
    ),
    "stranger in the rows": (
        write("rows/faces/notes.jsonl"),
        [f"extra rows/faces/notes.jsonl: {FOREIGN}"],
    ),
    "no rows": (
        lambda store: shutil.rmtree(store / "rows/others"),
        [
            f"shard journal/others/KEY/000000.json: {ROWLESS} (others KEY 0)",
            "segment rows/others/000000.jsonl: the segment is missing (others)",
        ],
    ),
    "bad name": (
        write("rows/-bad/000000.jsonl"),
        ["extra rows/-bad: it can't name a subset"],
    ),
    "stranger among extractors' arrays": (
        write("arrays/faces/stray"),
        [
            "misplaced arrays/faces/stray: a folder belongs in its place",
            f"extra arrays/faces/stray: {FOREIGN}",
        ],
    ),
    "stranger among arrays": (
        write(f"{ARRAYS}/stray"),
        [
            "misplaced arrays/faces/KEY/stray: a folder belongs in its place",
            f"extra arrays/faces/KEY/stray: {FOREIGN}",
        ],
    ),
    "stranger in an array": (
        write(f"{ARRAYS}/pixels/stray"),
        [f"extra arrays/faces/KEY/pixels/stray: {FOREIGN}"],
    ),
    "stranger in the journal": (
        write(f"{JOURNAL}/stray"),
        [f"extra journal/faces/KEY/stray: {FOREIGN}"],
    ),
    "no pictures": (
        remove("thumbnails/faces/000001.thumbs"),
        ["thumbnails thumbnails/faces/000001.thumbs: it is missing (faces 1)"],
    ),
    "pictures flipped": (
        flip("thumbnails/faces/000001.thumbs", -1),
        ["thumbnails thumbnails/faces/000001.thumbs: the picture at 0 is damaged (faces 1)"],
    ),
    "pictures of no shard": (
        copy("thumbnails/faces/000001.thumbs", "thumbnails/faces/000003.thumbs"),
        [f"extra thumbnails/faces/000003.thumbs: {FOREIGN}"],
    ),
    "pictures of no rows": (
        write("thumbnails/lonely/000000.thumbs"),
        [f"extra thumbnails/lonely/000000.thumbs: {FOREIGN}"],
    ),
    "pictures that no record tells of": (
        write("thumbnails/others/000000.thumbs"),
        ["thumbnails thumbnails/others/000000.thumbs: its checksum does not match (others 0)"],
    ),
    "shard beyond": (
        write(f"{ARRAYS}/clip_cls/c/3/0"),
        [f"extra arrays/faces/KEY/clip_cls/c/3/0: {FOREIGN}"],
    ),
    "shard of a wrong name": (
        write(f"{ARRAYS}/clip_cls/c/x/0"),
        [f"extra arrays/faces/KEY/clip_cls/c/x/0: {FOREIGN}"],
    ),
    "no record": (
        remove(f"{JOURNAL}/000001.json"),
        [f"shard journal/faces/KEY/000001.json: {UNRECORDED} (faces KEY 1)"],
    ),
    "record flipped": (
        flip(f"{JOURNAL}/000001.json", 9),
        ["shard journal/faces/KEY/000001.json: its checksum does not match (faces KEY 1)"],
    ),
    "record of another": (
        copy(f"{JOURNAL}/000001.json", f"{JOURNAL}/000000.json"),
        ["shard journal/faces/KEY/000000.json: it belongs to another shard (faces KEY 0)"],
    ),
    "record of no rows": (
        both(
            copy(f"{JOURNAL}/000001.json", f"{JOURNAL}/000007.json"),
            reseal(f"{JOURNAL}/000007.json", "shard", 7),
        ),
        [
            f"metadata arrays/faces/KEY/clip_cls/zarr.json: {WRITTEN} (faces KEY)",
            f"metadata arrays/faces/KEY/clip_tokens/zarr.json: {WRITTEN} (faces KEY)",
            f"metadata arrays/faces/KEY/pixels/zarr.json: {WRITTEN} (faces KEY)",
            f"shard journal/faces/KEY/000007.json: {ROWLESS} (faces KEY 7)",
            "segment rows/faces/000003.jsonl: the segment is missing (faces)",
        ],
    ),
    "record of other rows": (
        reseal(f"{JOURNAL}/000001.json", "identities", NOUGHTS),
        [f"shard journal/faces/KEY/000001.json: {OTHERS} (faces KEY 1)"],
    ),
    "record of other fields": (
        reseal(f"{JOURNAL}/000001.json", "fields", "more", {"bytes": 9, "rows_crc32c": NOUGHTS}),
        ["shard journal/faces/KEY/000001.json: its fields are not the extractor's (faces KEY 1)"],
    ),
    "no shard": (
        remove(SHARD),
        [f"shard {AT}: {LOST} (faces KEY 1 clip_cls)"],
    ),
    "shard shorter": (
        lambda store: os.truncate(store / SHARD, 100),
        [f"shard {AT}: the shard has 100 bytes instead of 2308 (faces KEY 1 clip_cls)"],
    ),
    "row of a shard": (
        flip(SHARD, 3 * CELL),
        [f"shard {AT}: {CHANGED} (faces KEY 1 clip_cls 67)"],
    ),
    "checksum of a row": (
        flip(f"{ARRAYS}/clip_cls/c/2/0", 5 * CELL - 1),
        [f"shard arrays/faces/KEY/clip_cls/c/2/0: {CHANGED} (faces KEY 2 clip_cls 132)"],
    ),
    "index of a shard": (
        flip(SHARD, -INDEX_BYTES),
        [f"shard {AT}: the shard's index is damaged (faces KEY 1 clip_cls)"],
    ),
    "shard is a folder": (
        both(remove(SHARD), folder(SHARD)),
        [f"shard {AT}: can't be read: it is a folder, not a file (faces KEY 1 clip_cls)"],
    ),
    "a link": (
        link(SHARD),
        [
            f"misplaced {AT}: {LINK}",
            f"shard {AT}: {LINK} (faces KEY 1 clip_cls)",
        ],
    ),
    "a linked folder": (
        link("rows/others"),
        [f"misplaced rows/others: {LINK}"],
    ),
    "a strange link": (
        lambda store: (store / "rows/faces/odd").symlink_to("nowhere"),
        [f"misplaced rows/faces/odd: {LINK}"],
    ),
    "a file for a folder": (
        both(lambda store: shutil.rmtree(store / "thumbnails"), write("thumbnails")),
        [
            "misplaced thumbnails: a folder belongs in its place",
            f"thumbnails thumbnails/faces/000000.thumbs: {NO_FOLDER} (faces 0)",
            f"thumbnails thumbnails/faces/000001.thumbs: {NO_FOLDER} (faces 1)",
            f"thumbnails thumbnails/faces/000002.thumbs: {NO_FOLDER} (faces 2)",
        ],
    ),
    "a link to what is aside": (
        both(
            lambda store: (store.parent / "aside").mkdir(),
            lambda store: (store / "set-aside").symlink_to(store.parent / "aside"),
        ),
        [f"misplaced set-aside: {LINK}"],
    ),
    "a place of that name": (
        both(
            folder("set-aside"),
            folder("rows/set-aside"),
            lambda store: (store / "rows/set-aside/x").symlink_to("nowhere"),
        ),
        [f"misplaced rows/set-aside/x: {LINK}"],
    ),
}


@pytest.mark.parametrize("what", SILENT)
def test_what_is_sound_or_on_its_way_is_no_problem(store, what):
    SILENT[what](store)
    assert told(store) == []


@pytest.mark.parametrize("what", NAMED)
def test_each_damage_is_named_exactly(store, what):
    change, expected = NAMED[what]
    change(store)
    assert told(store) == expected


def test_another_format_is_no_damage(store):
    reseal("store.json", "format", 2)(store)
    with pytest.raises(StoreError, match="another format"):
        verify_store(store)


def test_arrays_need_metadata_once_there_are_any(tmp_path):
    path = create_store(tmp_path / "features.zarr").path
    (path / "arrays").mkdir()
    assert told(path) == []
    (path / "arrays/zarr.json").write_bytes(b"x")
    assert told(path) == [f"metadata arrays/zarr.json: {WRITTEN}"]


def test_a_folder_with_nothing_of_a_store_is_none(tmp_path):
    (tmp_path / "arrays").mkdir()
    with pytest.raises(StoreError, match="no feature store"):
        verify_store(tmp_path)


@pytest.mark.parametrize("sign", ["store.json", "rows", "journal", "extractors"])
def test_a_store_of_which_one_sign_is_left_is_looked_at(good, tmp_path, sign):
    left = tmp_path / "left"
    left.mkdir()
    (shutil.copytree if (good / sign).is_dir() else shutil.copy)(good / sign, left / sign)
    assert any(line.startswith("marker") for line in told(left)) == (sign != "store.json")


def test_progress_is_told_by_shard_and_field(good):
    seen = []
    assert verify_store(good, progress=lambda *told: seen.append(told)) == []
    assert seen == [(number, 12) for number in range(1, 13)]


def test_damaged_rows_are_listed_up_to_five(store):
    for row in range(5):
        flip(SHARD, row * CELL)(store)
    (problem,) = verify_store(store)
    assert problem.where == f"faces/{KEY}/clip_cls, rows 64, 65, 66, 67, 68"
    flip(SHARD, 5 * CELL)(store)
    (problem,) = verify_store(store)
    assert problem.where == f"faces/{KEY}/clip_cls, rows 64, 65, 66, 67, 68 …"
    remove(SHARD)(store)
    (problem,) = verify_store(store)
    assert problem.where == SHARD
