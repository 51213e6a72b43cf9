"""What a record may say, and when it counts: once its shard is safe, whatever comes between."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from clare.errors import CorruptStoreError, DiskSpaceError, StoreError
from clare.store.feature_store import create_store, open_store
from clare.store.journal import COMPLETE, FAILED, PENDING, Journal, read_record, withdraw_record
from clare.store.layout import Layout
from clare.store.maintenance.verify import verify_store
from clare.store.records import checksum, unseal
from tests.store.conftest import FIELDS, FINGERPRINT, MADE_WITH, extract, make_rows, shard_values
from tests.store.forging import changed, forge

KEY = FINGERPRINT.key
SPECS = {spec.field: spec for spec in FIELDS}
NOUGHTS = "A" * 340 + "AA=="
PLACE = f"journal/faces/{KEY}/000001.json"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """100 rows, two shards; rows 67 and 70 failed."""
    store = create_store(tmp_path_factory.mktemp("good") / "features.zarr")
    store.assign_rows("faces", make_rows(100))
    extract(store, failed=("sample-0067", "sample-0070"))
    return store.path


@pytest.fixture
def copy(good, tmp_path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "features.zarr"))


def read(path: Path, fields=SPECS):
    return read_record(Layout(path), "faces", KEY, 1, fields)


def rewrite(path: Path, offsets=(5,), *, thumbnails=False) -> None:
    """Write a shard's rows for the second time, as an extraction after a repair does."""
    store = open_store(path)
    feature = store.feature("faces", "clip")
    values = shard_values(store.rows("faces")[64:])
    withdraw_record(store.layout, "faces", KEY, 1)
    feature.refresh()
    assert feature.claim(1)
    try:
        feature.write_shard(1, values, {}, MADE_WITH, offsets, thumbnails=thumbnails)
    finally:
        feature.release(1)


def test_a_record_says_what_was_written(good):
    record = read(good)
    assert record.complete == tuple(o for o in range(36) if o not in (3, 6))
    assert record.failed == {3: "no image", 6: "no image"} and not record.thumbnails
    states = record.states
    assert (PENDING, COMPLETE, FAILED) == (0, 1, 2) and states.dtype == np.uint8
    assert states.tolist() == [2 if o in (3, 6) else int(o < 36) for o in range(64)]
    rows = make_rows(100)[64:]
    assert record.identities[:36].tolist() == [row.identity_checksum for row in rows]
    assert not record.identities[36:].any()
    assert {name: len(sums) for name, sums in record.checksums.items()} == dict.fromkeys(SPECS, 64)
    assert record.made_with == MADE_WITH
    stored = unseal((good / PLACE).read_bytes())
    assert list(stored["failed"]) == ["3", "6"] and "thumbnails" not in stored


def test_a_record_tells_whether_pictures_were_kept_also_where_more_rows_are_written(copy):
    rewrite(copy, thumbnails=True)
    assert read(copy).thumbnails
    feature = open_store(copy).feature("faces", "clip")
    assert feature.claim(1)
    feature.write_shard(1, shard_values(feature.shard_rows(1)), {}, MADE_WITH, [7])
    feature.release(1)
    assert read(copy).thumbnails and read(copy).complete == (5, 7)


FORGED = {
    "another shard's": ("another shard", ("shard",), 0),
    "a shard that is true": ("another shard", ("shard",), True),
    "another subset's": ("another shard", ("subset",), "others"),
    "another extractor's": ("another shard", ("extractor",), "lare-1"),
    "rows no list": ("rows are not listed", ("complete",), {}),
    "failures no table": ("rows are not listed", ("failed",), []),
    "rows that are true": ("not offsets", ("complete",), [0, True]),
    "rows twice": ("not offsets", ("complete",), [1, 1]),
    "rows falling": ("not offsets", ("complete",), [2, 1]),
    "a row below": ("not offsets", ("complete",), [-1, 1]),
    "a row beyond": ("not offsets", ("complete",), [1, 64]),
    "a failed row beyond": ("failed rows are not", ("failed",), {"64": "x"}),
    "a failed row in other digits": ("failed rows are not", ("failed",), {"07": "x"}),
    "a reason that is none": ("a reason is no text", ("failed",), {"3": 5, "6": "x"}),
    "complete and failed": ("both complete and failed", ("failed",), {"5": "x"}),
    "fields no table": ("lacks a table", ("fields",), []),
    "made with no table": ("lacks a table", ("made_with",), []),
    "no identities": ("is no text", ("identities",), None),
    "short identities": ("has not 64", ("identities",), "AAAA"),
    "long checksums": ("has not 64", ("fields", "pixels", "rows_crc32c"), "AAAA" * 200),
    "checksums with blanks": ("base64 data", ("identities",), NOUGHTS[:-4] + " " + NOUGHTS[-4:]),
    "a field elsewhere": (
        "leads elsewhere",
        ("fields", "../up"),
        {"bytes": 1, "rows_crc32c": NOUGHTS},
    ),
    "another size": ("has not 9 bytes", ("fields", "pixels", "bytes"), 9),
    "a size in parts": ("has not 2052.0 bytes", ("fields", "pixels", "bytes"), 2052.0),
    "a size below zero": (
        "has not -1 bytes",
        ("fields", "more"),
        {"bytes": -1, "rows_crc32c": NOUGHTS},
    ),
    "a field less": ("not the extractor's", ("fields", "pixels"), ...),
    "pictures maybe": ("whether pictures", ("thumbnails",), 1),
    "no subset": ("it has no 'subset'", ("subset",), ...),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_record_that_says_what_none_can_is_refused(copy, what):
    why, place, value = FORGED[what]
    forge(copy / PLACE, 0, lambda record: changed(record, place, value))
    with pytest.raises(CorruptStoreError, match=f"000001.json is damaged .*{why}"):
        read(copy)


def test_a_record_of_further_fields_serves_a_reader_of_one(copy):
    assert read(copy, {"pixels": SPECS["pixels"]}).checksums.keys() == SPECS.keys()
    more = {"bytes": 0, "rows_crc32c": NOUGHTS}
    forge(copy / PLACE, 0, lambda record: changed(record, ("fields", "more"), more))
    forge(copy / PLACE, 0, lambda record: changed(record, ("thumbnails",), True))
    record = read(copy)
    assert record.file_bytes["more"] == 0 and record.thumbnails
    with pytest.raises(FileNotFoundError):
        read_record(Layout(copy), "faces", KEY, 2, SPECS)


def test_every_row_of_a_shard_may_have_failed(copy):
    failed = {str(offset): "no image" for offset in range(64)}
    forge(copy / PLACE, 0, lambda record: record | {"complete": [], "failed": failed})
    assert set(read(copy).states) == {FAILED}


def test_a_number_that_json_has_not_is_refused(copy):
    raw = (copy / PLACE).read_bytes()
    record = json.loads(raw)
    del record["crc32c"]
    record["made_with"] = {"x": "@"}
    body = json.dumps(record, sort_keys=True, separators=(",", ":")).replace('"@"', "1e999")[:-1]
    (copy / PLACE).write_bytes(b'%s,"crc32c":"%08x"}\n' % (body.encode(), checksum(body.encode())))
    with pytest.raises(CorruptStoreError, match="is damaged"):
        read(copy)


# -- The journal as it changes -------------------------------------------------------------------


def test_a_journal_reads_again_what_changed_and_forgets_what_is_gone(copy):
    layout = Layout(copy)
    journal = Journal(layout, "faces", KEY, SPECS)
    assert journal.snapshot() == {}
    journal.refresh()
    before = journal.snapshot()
    assert sorted(before) == [0, 1]
    journal.refresh()
    assert all(journal.record(shard) is before[shard] for shard in (0, 1)), "nothing changed"
    rewrite(copy)
    assert journal.refresh_shard(1) is journal.record(1)
    assert journal.snapshot()[1].complete == (5,) and sorted(before[1].failed) == [3, 6]
    # As large as before, and with the times of before: another file all the same.
    path = copy / PLACE
    status, new = path.stat(), path.with_name("new")
    new.write_bytes(path.read_bytes())
    path.unlink()
    path.write_bytes(b"")
    new.replace(path)
    forge(path, 0, lambda record: changed(record, ("complete",), [6]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    journal.refresh()
    assert journal.snapshot()[1].complete == (6,)
    # The same file, of another time.
    forge(path, 0, lambda record: changed(record, ("complete",), [7]))
    os.utime(path, ns=(1, 1))
    journal.refresh()
    assert journal.snapshot()[1].complete == (7,)
    # The same file and time, of another size.
    forge(path, 0, lambda record: changed(record, ("complete",), [7, 8]))
    os.utime(path, ns=(1, 1))
    journal.refresh()
    assert journal.snapshot()[1].complete == (7, 8)
    moved = path.rename(copy / "moved")
    journal.refresh()
    assert sorted(journal.snapshot()) == [0] and journal.refresh_shard(1) is None
    moved.rename(path)
    journal.refresh()
    assert sorted(journal.snapshot()) == [0, 1], "a record that comes back counts again"


def test_when_records_were_written_is_told_by_their_files(copy):
    journal = Journal(Layout(copy), "faces", KEY, SPECS)
    for shard, seconds in ((0, 100), (1, 200)):
        os.utime(Layout(copy).record("faces", KEY, shard), (seconds, seconds))
    assert sorted(journal.times()) == [100, 200]


# -- What survives -------------------------------------------------------------------------------


def test_a_record_counts_once_its_shard_is_safe_and_not_while_it_changes(copy, monkeypatch):
    done: list[tuple[str, str]] = []
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def name(path) -> str:
        return str(Path(path).relative_to(copy)).replace(KEY, "KEY")

    def noted(what, call, place):
        def act(*arguments):
            done.append((what, name(place(*arguments))))
            return call(*arguments)

        return act

    monkeypatch.setattr(
        os, "fsync", noted("sync", fsync, lambda fd: Path(f"/proc/self/fd/{fd}").readlink())
    )
    monkeypatch.setattr(os, "replace", noted("put", replace, lambda old, new: new))
    monkeypatch.setattr(os, "unlink", noted("remove", unlink, lambda path: path))
    rewrite(copy)
    journal = "journal/faces/KEY"
    record = f"{journal}/000001.json"
    # Marked, durably, before it is taken back, durably, before any file of the shard changes.
    assert done[:3] == [("sync", journal), ("remove", record), ("sync", journal)]
    files = [f"arrays/faces/KEY/{s.field}/c/1{'/0' * len(s.shape)}" for s in FIELDS]
    for file in files:
        put = done.index(("put", file))
        assert ("sync", f"{file}.owner.partial") in done[:put]
        assert ("sync", str(Path(file).parent)) in done[put : done.index(("put", record))]
    assert done[-3:] == [
        ("sync", f"{record}.owner.partial"),
        ("put", record),
        ("sync", journal),
    ]


@pytest.mark.parametrize("number", range(11))
def test_a_disk_that_fails_at_any_step_harms_nothing(copy, monkeypatch, number):
    fsync, calls = os.fsync, []

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == number + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(DiskSpaceError, match="is full"):
            rewrite(copy)
    assert verify_store(copy) == []
    rewrite(copy)
    assert read(copy).complete == (5,)
    marked = Layout(copy).being_written("faces", KEY, 1)
    assert list(copy.rglob("*.partial")) == [marked], "rows of the shard are still to be extracted"


def test_a_new_shard_is_marked_before_its_first_byte(store, monkeypatch):
    store.assign_rows("faces", make_rows(3))
    mark = store.layout.being_written("faces", KEY, 0)
    writev, marked = os.writev, []

    def noted(descriptor, buffers):
        marked.append(mark.stat().st_mode & 0o777 if mark.exists() else 0)
        return writev(descriptor, buffers)

    store.declare(FINGERPRINT, FIELDS)
    feature = store.feature("faces", "clip")
    assert feature.claim(0)
    values = shard_values(feature.shard_rows(0))
    monkeypatch.setattr(os, "writev", noted)
    feature.write_shard(0, values, {}, MADE_WITH)
    os.umask(mask := os.umask(0))
    assert set(marked[-4:]) == {0o666 & ~mask} and not mark.exists()
    feature.release(0)


def test_nothing_is_marked_through_a_link(copy, tmp_path):
    mark = Layout(copy).being_written("faces", KEY, 1)
    mark.symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="can't be used"):
        withdraw_record(Layout(copy), "faces", KEY, 1)
    assert not (tmp_path / "outside").exists() and (copy / PLACE).exists()
