"""How rows are read: in which pieces, what is checked when, and what a hesitant disk may do."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from clare.advice import Run
from clare.errors import CorruptStoreError, RowUnavailableError
from clare.store import reader as reading
from clare.store.feature_store import FeatureStore, create_store, open_store
from clare.store.journal import Journal
from clare.store.records import checksum
from clare.store.spec import SHARD_ROWS, FeatureSpec
from clare.store.zarr_shards import INDEX_BYTES
from tests.store.conftest import FINGERPRINT, MADE_WITH, make_rows, shard_values, values_of

SMALL = FeatureSpec("small", (3, 256), "float16")
CELL = SMALL.row_bytes + 4
LARGE = FeatureSpec("large", (64, 256), "float32")
"""Rows of 64 KiB: 16 of them are a batch that several threads read."""
FIELDS = (SMALL, LARGE)
WAIT_NOT = getattr(os, "RWF_NOWAIT", 0)


def fill(store: FeatureStore, shard: int, offsets, failed=()) -> None:
    feature = store.feature("faces", "clip")
    assert feature.claim(shard)
    fields = tuple(feature.fields.values())
    values = shard_values(feature.shard_rows(shard), fields)
    reasons = {offset: f"no face {offset}" for offset in failed}
    feature.write_shard(shard, values, reasons, MADE_WITH, complete={*offsets} - {*failed})
    feature.release(shard)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """100 rows, two shards: rows 3 and 70 failed, and rows from 95 on have no values yet."""
    store = create_store(tmp_path_factory.mktemp("good") / "features.zarr")
    store.assign_rows("faces", make_rows(100))
    store.declare(FINGERPRINT, FIELDS)
    fill(store, 0, range(64), failed=[3])
    fill(store, 1, range(31), failed=[6])
    return store.path


@pytest.fixture
def copy(good, tmp_path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "features.zarr"))


def reader_of(path: Path, spec: FeatureSpec = SMALL, threads: int = 1):
    return open_store(path).feature("faces", "clip").reader(spec.field, threads)


def file_of(path: Path, spec: FeatureSpec = SMALL, shard: int = 0) -> Path:
    array = open_store(path).feature("faces", "clip").array_path(spec.field)
    return array.joinpath("c", str(shard), *("0" for _ in spec.shape))


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def count_open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def expected(slots, spec: FeatureSpec = SMALL) -> np.ndarray:
    rows = make_rows(100)
    return np.stack([values_of(rows[slot], spec) for slot in slots])


@pytest.fixture
def reads(monkeypatch) -> list[tuple[int, int]]:
    """Every piece that is read of a shard, its bytes and flags, off a disk that holds all."""
    made: list[tuple[int, int]] = []
    preadv = os.preadv

    def noted(descriptor, buffers, offset, flags=0):
        made.append((buffers[0].nbytes, flags))
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", noted)
    return made


@pytest.fixture
def checked(monkeypatch) -> list[int]:
    """The size of every row whose checksum is computed."""
    made: list[int] = []

    def noted(row):
        made.append(row.nbytes)
        return checksum(row)

    monkeypatch.setattr(reading, "checksum", noted)
    return made


# -- What is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize("spec", FIELDS, ids=["small", "large"])
@pytest.mark.parametrize("threads", [1, 4])
def test_rows_come_in_the_order_asked_for(good, spec, threads):
    reader = reader_of(good, spec, threads)
    for slots in ([5], [80, 2, 80, 64, 63], [*range(40, 20, -1), *range(71, 90), 1]):
        got = reader.read(slots)
        np.testing.assert_array_equal(got, expected(slots, spec))
        assert got.dtype == spec.dtype
        out = np.empty_like(got)
        assert reader.read(np.array(slots), out) is out
        np.testing.assert_array_equal(out, got)
    assert reader.read([]).shape == (0, *spec.shape)


@pytest.mark.parametrize("spec", FIELDS, ids=["small", "large"])
@pytest.mark.parametrize("from_disk", [False, True])
def test_rows_go_where_they_belong_in_a_longer_batch(good, monkeypatch, spec, from_disk):
    if from_disk:  # whatever may not wait comes back empty
        preadv = os.preadv
        monkeypatch.setattr(
            os, "preadv", lambda *a: preadv(*a[:3]) if len(a) < 4 or not a[3] else 0
        )
    slots, places = [80, 2, *range(20, 40), 64], np.array([30, 0, *range(22, 2, -1), 1])
    out = np.zeros((31, *spec.shape), spec.dtype)
    assert reader_of(good, spec, 2).read(slots, out, places) is out
    np.testing.assert_array_equal(out[places], expected(slots, spec))
    assert not np.delete(out, places, 0).any()


def test_a_place_for_rows_must_fit(good):
    reader = reader_of(good)
    for out in (
        np.empty((2, 3, 256), "float16"),
        np.empty((1, 3, 256), "float32"),
        np.empty((1, 256, 3), "float16").transpose(0, 2, 1),
    ):
        with pytest.raises(ValueError, match="out must be"):
            reader.read([5], out)


def test_the_first_row_without_a_value_is_named_with_its_reason(good):
    reader = reader_of(good)
    for slots, said in (
        ([5, 3, 97], r"row 3, failed at extraction: no face 3"),
        ([5, 70], r"row 70, failed at extraction: no face 6"),
        ([5, 97, 3], r"row 97, has no value yet"),
        ([-1], r"row -1, has no value yet"),
        ([5, 128], r"row 128, has no value yet"),
        ([10**6, -2], r"row 1000000, has no value yet"),
    ):
        with pytest.raises(RowUnavailableError, match=said) as refused:
            reader.read(slots)
        assert [isinstance(run, Run) for run in refused.value.advice] == [True] * ("yet" in said)


def test_what_is_written_meanwhile_is_read(store):
    store.assign_rows("faces", make_rows(150))
    store.declare(FINGERPRINT, FIELDS[:1])
    reader = store.feature("faces", "clip").reader("small")
    with pytest.raises(RowUnavailableError, match="no value yet"):
        reader.read([0])
    fill(store, 0, [1], failed=[0])
    with pytest.raises(RowUnavailableError, match="row 0, failed at extraction: no face 0"):
        reader.read([0])
    for shard, slots in ((1, [64, 127]), (0, [2, 1, 127]), (2, [149, 63])):
        fill(store, shard, range(2 if shard == 0 else 0, 64 if shard < 2 else 22))
        got = reader.read(slots)
        np.testing.assert_array_equal(
            got, np.stack([values_of(make_rows(150)[s], SMALL) for s in slots])
        )


def test_rows_that_are_known_to_be_there_need_no_look_at_the_journal(good, monkeypatch):
    reader = reader_of(good)
    reader.read([5])
    monkeypatch.setattr(Journal, "refresh", lambda _: pytest.fail("the journal was read again"))
    reader.read([6, 5, 80])


def test_a_copy_of_a_reader_takes_nothing_along(good):
    reader = reader_of(good, LARGE, 2)
    fresh = pickle.dumps(reader)
    reader.read(range(10, 30))
    assert pickle.dumps(reader) == fresh
    np.testing.assert_array_equal(pickle.loads(fresh).read([7]), expected([7], LARGE))


# -- In which pieces -----------------------------------------------------------------------------


def test_small_rows_that_lie_close_are_one_read_and_others_one_each(good, reads):
    reader = reader_of(good)
    for slots, sizes in (
        (range(10, 16), [6 * CELL]),
        ([15, 10, 12], [6 * CELL]),
        ([0, 7], [8 * CELL]),
        ([0, 8], [SMALL.row_bytes] * 2),
        ([60, 66, 67], [CELL, 2 * CELL]),
        ([9], [CELL]),
    ):
        reads.clear()
        np.testing.assert_array_equal(reader.read(slots), expected(slots))
        assert reads == [(size, 0) for size in sizes]


def test_large_rows_are_one_read_each_straight_to_their_place(good, reads):
    reader = reader_of(good, LARGE)
    reader.read(range(10, 14))
    assert reads == [(64 * 1024, 0)] * 4


def test_a_small_batch_never_leaves_its_thread(good, reads):
    reader = reader_of(good, LARGE, 2)
    before = {*threading.enumerate()}
    reader.read(range(10, 25))
    assert {flags for _, flags in reads} == {0} and {*threading.enumerate()} <= before
    reader.read(range(10, 26))
    assert {flags for _, flags in reads[15:]} == {WAIT_NOT}
    assert len({*threading.enumerate()} - before) == 1


def test_rows_that_lie_in_another_order_are_found(copy):
    path = file_of(copy)
    raw = path.read_bytes()
    cells = [raw[n * CELL : (n + 1) * CELL] for n in range(SHARD_ROWS)]
    order = np.random.default_rng(0).permutation(SHARD_ROWS)
    index = np.full((SHARD_ROWS, 2), CELL, "<u8")
    index[order, 0] = np.arange(SHARD_ROWS) * CELL
    sealed = index.tobytes() + checksum(index.tobytes()).to_bytes(4, "little")
    path.write_bytes(b"".join(cells[row] for row in order) + sealed)
    for slots in ([5, 6, 7], [0, 63], [n for n in range(64) if n != 3]):
        np.testing.assert_array_equal(reader_of(copy).read(slots), expected(slots))


# -- What is checked, and when -------------------------------------------------------------------


def test_a_row_is_checked_once_and_again_where_its_file_changed(copy, checked):
    for spec in FIELDS:
        reader = reader_of(copy, spec)
        for slots, count in (
            ([10, 11], 2),
            ([10, 11, 12], 1),
            ([10, 11, 12, 70 + 1], 1),
            ([12], 0),
        ):
            checked.clear()
            reader.read(slots)
            assert checked == [spec.row_bytes] * count
        for shard in (0, 1):
            os.utime(file_of(copy, spec, shard), ns=(1, 1))
            checked.clear()
            reader.read([10, 71])
            assert len(checked) == 1
        checked.clear()
        moved = file_of(copy, spec).with_name("moved")
        shutil.copy2(file_of(copy, spec), moved)
        moved.replace(file_of(copy, spec))
        reader.read([10, 71])
        assert len(checked) == 1


def test_what_was_checked_stays_so_and_nothing_else_where_the_journal_grows(copy, checked):
    flip(file_of(copy), 11 * CELL)
    reader = reader_of(copy)
    reader.read([10, 12])
    fill(open_store(copy), 1, range(31, 36))
    reader.read([97])
    checked.clear()
    reader.read([10, 12])
    assert checked == []
    with pytest.raises(CorruptStoreError, match=r"row 11, can't be read: its bytes"):
        reader.read([11])


@pytest.mark.parametrize("spec", FIELDS, ids=["small", "large"])
@pytest.mark.parametrize("slots", [[10, 11, 12], [63, 11, 0], [*range(8, 32)]])
def test_a_changed_row_is_named_and_its_neighbours_are_served(copy, spec, slots):
    flip(file_of(copy, spec), 11 * (spec.row_bytes + 4) + spec.row_bytes - 1)
    reader = reader_of(copy, spec, threads=2)
    for _ in range(2):
        with pytest.raises(CorruptStoreError, match=r"row 11, can't be read: its bytes are not"):
            reader.read(slots)
    others = [slot for slot in slots if slot != 11]
    np.testing.assert_array_equal(reader.read(others), expected(others, spec))


# -- What stands in a file's place ---------------------------------------------------------------


def a_socket(path: Path) -> None:
    path.unlink()
    os.chdir(path.parent)  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)


def a_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def a_file_above(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"x")


STANDS = "something else stands in its shard file's place"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (Path.unlink, "its shard file is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes instead of"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes instead of"),
        (lambda path: flip(path, -INDEX_BYTES), "the shard's index is damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "bytes instead of"),
        (a_link, STANDS),
        (a_socket, STANDS),
        (a_file_above, STANDS),
    ],
    ids=["none", "shorter", "longer", "index", "folder", "link", "socket", "above"],
)
def test_whatever_stands_in_a_shard_s_place_is_named(copy, monkeypatch, change, why):
    monkeypatch.chdir(copy)
    change(file_of(copy, shard=1))
    reader = reader_of(copy)
    opened = count_open()
    with pytest.raises(CorruptStoreError, match=rf"row 65, can't be read: .*{why}"):
        reader.read([66, 65], np.empty((2, *SMALL.shape), "float16"))
    assert count_open() == opened
    np.testing.assert_array_equal(reader.read([5]), expected([5]))


def test_no_room_is_made_for_rows_of_a_shard_of_another_size(copy, monkeypatch):
    for change, why in (
        (lambda path: path.write_bytes(b"x"), "its shard has 1 bytes instead of"),
        (Path.unlink, "its shard file is missing"),
    ):
        change(file_of(copy, shard=1))
        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", lambda *_: pytest.fail("room was made"))
            with pytest.raises(CorruptStoreError, match=f"row 66, can't be read: {why}"):
                reader_of(copy).read([66])


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EIO, CorruptStoreError), (errno.EISDIR, CorruptStoreError), (errno.ENOMEM, OSError)],
)
@pytest.mark.parametrize("slots", [[5, 6], [5, 60]])
def test_a_disk_that_fails_is_told_from_a_machine_that_does(
    good, monkeypatch, number, error, slots
):
    def fail(descriptor, buffers, offset, flags=0):
        raise OSError(number, os.strerror(number))

    reader, opened = reader_of(good), count_open()
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(error) as refused:
        reader.read(slots)
    assert (error is OSError) == (refused.type is OSError)
    assert ("row 5, can't be read: the disk can't read it" in str(refused.value)) != (
        error is OSError
    )
    assert count_open() == opened


def test_a_lack_of_rights_is_no_damage(good, monkeypatch):
    reader = reader_of(good)
    reader.read([5])

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        reader.read([5])


# -- What the disk may do ------------------------------------------------------------------------


@pytest.mark.parametrize("spec", FIELDS, ids=["small", "large"])
def test_what_comes_in_parts_is_put_together_and_what_ends_early_is_refused(
    good, monkeypatch, spec
):
    preadv, most = os.preadv, [1000]

    def little(descriptor, buffers, offset, flags=0):
        return preadv(descriptor, [buffers[0][: most[0]]], offset, flags)

    monkeypatch.setattr(os, "preadv", little)
    slots = [*range(4, 64), 0]
    np.testing.assert_array_equal(reader_of(good, spec).read(slots), expected(slots, spec))
    most[0] = 0
    with pytest.raises(CorruptStoreError, match="row 5, can't be read: its shard was cut while"):
        reader_of(good, spec).read([5])


SLOTS = [*range(4, 64, 2), *range(71, 91, 2)]
"""40 rows of both shards."""


@pytest.mark.skipif(not WAIT_NOT, reason="only Linux reads without waiting")
@pytest.mark.parametrize("short", [False, True])
def test_what_would_wait_for_the_disk_is_left_to_all_threads(good, monkeypatch, checked, short):
    preadv, lock = os.preadv, threading.Lock()
    cell = LARGE.row_bytes + 4
    made: list[tuple[int, int]] = []
    together = threading.Barrier(4, timeout=30)
    waiting = [4]
    first: set[int] = set()

    def slow(descriptor, buffers, offset, flags=0):
        with lock:
            made.append((offset, flags))
            meet = not flags and waiting[0] > 0
            waiting[0] -= meet
        if flags:
            first.add(threading.get_ident())
            time.sleep(0.002)  # so that any other thread would come
            if offset // cell % 4 == 0:
                if short:
                    return preadv(descriptor, [buffers[0][:5]], offset)
                raise BlockingIOError(errno.EAGAIN, "not cached")
        elif meet:
            together.wait()
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", slow)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(1 + 9 * pid))
    np.testing.assert_array_equal(reader_of(good, LARGE, 4).read(SLOTS), expected(SLOTS, LARGE))
    late = [slot for slot in SLOTS if slot % SHARD_ROWS % 4 == 0]
    offsets = sorted(slot % SHARD_ROWS * cell for slot in SLOTS)
    assert sorted(offset for offset, flags in made if flags) == offsets
    assert sorted(offset for offset, flags in made if not flags) == sorted(
        slot % SHARD_ROWS * cell for slot in late
    )
    assert len(first) <= 2, "one core, and one that may wait"
    assert len(checked) == len(SLOTS)


def test_what_is_held_is_read_once_by_few_openings(good, monkeypatch, reads):
    opened, opens = os.open, []

    def noted(path, *flags):
        if "large" in str(path):  # what else is open in this process has threads of its own
            opens.append(path)
        return opened(path, *flags)

    monkeypatch.setattr(os, "open", noted)
    reader = reader_of(good, LARGE, 2)
    reader.read(SLOTS)
    opens.clear()
    reads.clear()
    reader.read(SLOTS)
    assert reads == [(LARGE.row_bytes, WAIT_NOT)] * len(SLOTS)
    # Eight pieces of five rows, and no piece has rows of two shards.
    assert len(opens) == 8
    assert len({*opens}) == 2
    opens.clear()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    reader_of(good, LARGE, 4).read(range(10, 26))
    assert len(opens) == 16, "all threads have work"


def test_an_error_of_any_thread_is_told_once_all_have_ended(copy, monkeypatch):
    flip(file_of(copy, LARGE, 1), 26 * (LARGE.row_bytes + 4))
    preadv, met, writing = os.preadv, threading.Event(), []
    main = threading.main_thread()

    def slow(descriptor, buffers, offset, flags=0):
        writing.append(1)
        if threading.current_thread() is main:
            met.wait(0.5)  # so that another thread meets the changed row
        try:
            return preadv(descriptor, buffers, offset)
        finally:
            if offset == 26 * (LARGE.row_bytes + 4):
                met.set()
            writing.pop()

    monkeypatch.setattr(os, "preadv", slow)
    with pytest.raises(CorruptStoreError, match="row 90, can't be read: its bytes"):
        reader_of(copy, LARGE, 3).read([*SLOTS, 90])
    assert writing == []


def test_threads_are_kept_and_none_goes_on_after_an_error(good, monkeypatch):
    preadv, begun, names, busy = os.preadv, threading.Event(), set(), [0]
    main, failing = threading.main_thread(), [False]

    def slow(descriptor, buffers, offset, flags=0):
        if flags:
            raise BlockingIOError(errno.EAGAIN, "not cached")
        if threading.current_thread() is main:
            begun.wait(10)
            if failing[0]:
                raise OSError(errno.EIO, "Input/output error")
        else:
            names.add(threading.current_thread().name)
            if not begun.is_set():
                busy[0] += 1
                begun.set()
                time.sleep(0.2)
                busy[0] -= 1
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", slow)
    reader = reader_of(good, LARGE, 2)
    for failing[0] in (False, True, True):
        begun.clear()
        if failing[0]:
            with pytest.raises(CorruptStoreError, match="the disk can't read it"):
                reader.read(SLOTS)
        else:
            reader.read(SLOTS)
        assert busy == [0]
    assert len(names) <= 2, "a pool of its own for each of three reads has three names"


def test_a_fork_reads_with_threads_of_its_own(good):
    reader = reader_of(good, LARGE, 3)
    before = reader.read(SLOTS)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = int(not np.array_equal(reader.read(SLOTS), before))
        finally:
            os._exit(code)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        threading.Event().wait(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child waits for threads that are not there")
    assert os.waitstatus_to_exitcode(status) == 0
