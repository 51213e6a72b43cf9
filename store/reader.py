"""Rows straight from the shard files into preallocated batches, each verified once a process."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from clare.advice import Run
from clare.errors import CorruptStoreError, RowUnavailableError
from clare.store.bucket.mirror import FileState
from clare.store.journal import COMPLETE, FAILED, PENDING, Journal
from clare.store.layout import shard_path
from clare.store.records import REPAIR, checksum
from clare.store.spec import SHARD_ROWS, FeatureSpec
from clare.store.zarr_shards import (
    INDEX_BYTES,
    cell_bytes,
    read_positions,
    shard_bytes,
    storage_dtype,
)

_SMALL_ROW = 64 * 1024
"""Below it, rows that lie close together are copied out of one read over all of them."""

_INLINE_BELOW = 1024 * 1024
"""Batches smaller than this are read without the thread pool."""

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
"""Linux: read what the page cache holds, and come back at once from what it does not."""

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FILE = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
"""What opening a link, a path through a file, and a socket give."""


@dataclass(frozen=True)
class _Batch:
    """Rows of a subset and where each belongs: ``wanted`` in ``out[places]``, (rows, bytes)."""

    wanted: np.ndarray
    places: np.ndarray
    out: np.ndarray


class _Piece:
    """Some rows of a batch, ``wanted[group]``, that all lie in one shard.

    Those that would have to wait for the disk are put on ``on_disk`` if there is such a list.
    ``seen`` is what the system said of the file that was read.
    """

    def __init__(
        self, batch: _Batch, group: np.ndarray, on_disk: list[np.ndarray] | None = None
    ) -> None:
        self.group = group
        self.slots = batch.wanted[group]
        self.places = batch.places[group]
        self.out = batch.out
        self.on_disk = on_disk
        self.seen: FileState | None = None


class FieldReader:
    """Reads rows of one field; made by `Feature.reader`.

    Picklable, and safe under fork and spawn: threads are started in the process that reads, and a
    file is open only while rows of its shard are being read. Threads may share one.

    A row's bytes are compared with the journal's checksum the first time the process reads it,
    and again if the shard's file changed since. Rows without a value are refused, never served.

    Args:
        journal: of the field's extractor; a copy in another process reads its own.
        spec: the field.
        threads: threads that read at the same time.
    """

    def __init__(self, journal: Journal, spec: FeatureSpec, threads: int) -> None:
        self.subset = journal.subset
        self.key = journal.key
        self.spec = spec
        self.threads = threads
        self._journal = journal
        self._array = journal.layout.array(self.subset, self.key, spec.field)
        self._states = np.zeros(0, np.uint8)
        self._checksums = np.zeros(0, np.uint32)
        self._verified = np.zeros(0, bool)
        self._shards: dict[int, tuple[tuple[int, int], np.ndarray]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    def read(
        self,
        slots: Sequence[int] | np.ndarray,
        out: np.ndarray | None = None,
        places: np.ndarray | None = None,
    ) -> np.ndarray:
        """Read rows in the order asked for.

        Args:
            slots: the rows' slots; any order, repeats allowed.
            out: (len(slots), *shape) in the stored type, C-contiguous; made if left out.
            places: (len(slots),) the row of ``out`` that each belongs in; ``out`` may be longer
                then, and its other rows stay as they are.

        Returns:
            ``out``.

        Raises:
            RowUnavailableError: a row is pending, failed or not there.
            CorruptStoreError: a shard is missing, or its bytes are not those that were written.
        """
        wanted = np.asarray(slots, np.int64).reshape(-1)
        rows = len(wanted) if out is None or places is None else len(out)
        shape = (rows, *self.spec.shape)
        if len(wanted):
            self._require_complete(wanted)
        if out is None:
            if len(wanted):
                self.require_size(int(wanted[0]))
            out = np.empty(shape, storage_dtype(self.spec))
        if out.shape != shape or out.dtype != storage_dtype(self.spec):
            raise ValueError(f"out must be {shape} {self.spec.dtype}, not {out.shape} {out.dtype}")
        if not out.flags.c_contiguous:
            raise ValueError("out must be C-contiguous")
        if len(wanted):
            flat = out.reshape(rows, -1).view(np.uint8)
            places = np.arange(rows) if places is None else places
            self._read_batch(_Batch(wanted, places, flat))
        return out

    def require_size(self, slot: int) -> None:
        """See that a row's shard has the field's size, before anybody makes room for its rows."""
        path = shard_path(self._array, slot // SHARD_ROWS, self.spec)
        wanted, mirror = shard_bytes(self.spec), self._journal.layout.mirror
        try:
            status = path.stat() if mirror is None else mirror.brought(path, wanted)
        except (FileNotFoundError, NotADirectoryError):
            status = None
        if status is None or not S_ISREG(status.st_mode):
            raise self._corrupt([slot], "its shard file is missing")
        if status.st_size != wanted:
            raise self._corrupt([slot], f"its shard has {status.st_size} bytes instead of {wanted}")

    def __reduce__(self) -> tuple[Any, ...]:
        return FieldReader, (self._journal, self.spec, self.threads)

    def _refresh(self) -> None:
        """Bring states and checksums to what the journal now says."""
        self._journal.refresh()
        records = self._journal.snapshot()
        slots = SHARD_ROWS * (max(records, default=-1) + 1)
        states, checksums = np.zeros(slots, np.uint8), np.zeros(slots, np.uint32)
        for shard, record in records.items():
            place = slice(SHARD_ROWS * shard, SHARD_ROWS * (shard + 1))
            states[place] = record.states
            checksums[place] = record.checksums[self.spec.field]
        verified = np.zeros(slots, bool)
        common = min(slots, len(self._verified))
        same = checksums[:common] == self._checksums[:common]
        verified[:common] = self._verified[:common] & same
        # The states last: a thread that sees a row complete must find its checksum.
        self._checksums, self._verified = checksums, verified
        self._states = states

    def _require_complete(self, wanted: np.ndarray) -> None:
        if not self._all_complete(wanted):
            self._refresh()
            if not self._all_complete(wanted):
                raise self._unavailable(wanted)

    def _all_complete(self, wanted: np.ndarray) -> bool:
        return bool(
            wanted.min() >= 0
            and wanted.max() < len(self._states)
            and (self._states[wanted] == COMPLETE).all()
        )

    def _unavailable(self, wanted: np.ndarray) -> RowUnavailableError:
        states = [self._states[s] if 0 <= s < len(self._states) else PENDING for s in wanted]
        slot, state = next(pair for pair in zip(wanted, states, strict=True) if pair[1] != COMPLETE)
        where = f"{self.subset}/{self.key}/{self.spec.field}, row {slot}"
        # Another thread may have read a newer record since, or seen that there is none any more.
        record = self._journal.record(slot // SHARD_ROWS)
        if state == FAILED and record is not None and slot % SHARD_ROWS in record.failed:
            reason = record.failed[slot % SHARD_ROWS]
            return RowUnavailableError(f"{where}, failed at extraction: {reason}")
        return RowUnavailableError(f"{where}, has no value yet", Run("extract", effect="fills it"))

    def _read_batch(self, batch: _Batch) -> None:
        order = np.argsort(batch.wanted, kind="stable")
        shards = batch.wanted[order] // SHARD_ROWS
        groups = np.split(order, np.flatnonzero(np.diff(shards)) + 1)
        if len(order) * self.spec.row_bytes < _INLINE_BELOW or self.threads < 2:
            for group in groups:
                self._read_shard(_Piece(batch, group))
            return
        # What the page cache holds is copied by about as many threads as there are cores: more
        # would only fight for them. What has to come from the disk is left to all threads.
        on_disk: list[np.ndarray] = []
        cores = len(os.sched_getaffinity(0)) if _NOWAIT else self.threads
        self._read_groups(batch, groups, min(self.threads, cores + 1), on_disk)
        if on_disk:
            self._read_groups(batch, on_disk, self.threads, None)

    def _read_groups(
        self,
        batch: _Batch,
        groups: list[np.ndarray],
        threads: int,
        on_disk: list[np.ndarray] | None,
    ) -> None:
        # Pieces small enough that the threads end together, large enough to share an open file.
        most = max(1, -(-len(batch.wanted) // (4 * threads)))
        pieces = iter([g[i : i + most] for g in groups for i in range(0, len(g), most)])

        def work() -> None:
            for group in pieces:
                self._read_shard(_Piece(batch, group, on_disk))

        running = [self._threads().submit(work) for _ in range(threads - 1)]
        try:
            work()
        finally:
            wait(running)  # also after an error: nothing may write to `out` once we return
        for each in running:
            each.result()

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pid != os.getpid():
            self._pool, self._pid = ThreadPoolExecutor(self.threads), os.getpid()
        return self._pool

    def _read_shard(self, piece: _Piece) -> None:
        """Read rows that all lie in one shard; of a copy, fetched if need be, or once more."""
        mirror = self._journal.layout.mirror
        path = shard_path(self._array, int(piece.slots[0]) // SHARD_ROWS, self.spec)
        try:
            self._read_file(piece, path)
        except CorruptStoreError:
            # A copy's may be of before its rows were written anew.
            if mirror is None or not mirror.bring(path, piece.seen or mirror.state(path)):
                raise
            self._read_file(piece, path)

    def _read_file(self, piece: _Piece, path: Path) -> None:
        slots = piece.slots
        shard = int(slots[0]) // SHARD_ROWS
        mirror = self._journal.layout.mirror
        try:
            if mirror is None:
                descriptor = os.open(path, _FLAGS)
            else:
                descriptor = mirror.open_shard(path, _FLAGS)
        except FileNotFoundError:
            raise self._corrupt(slots, "its shard file is missing") from None
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise self._corrupt(slots, "something else stands in its shard file's place") from None
        try:
            positions = self._positions(shard, descriptor, piece)[slots % SHARD_ROWS]
            span = (int(positions.max()) - int(positions.min())) // cell_bytes(self.spec) + 1
            if self.spec.row_bytes < _SMALL_ROW and span <= 4 * len(slots):
                self._read_span(descriptor, positions, span, piece)
            else:
                self._read_rows(descriptor, positions, piece)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EISDIR):
                raise
            raise self._corrupt(slots, "the disk can't read it") from error
        finally:
            os.close(descriptor)

    def _positions(self, shard: int, descriptor: int, piece: _Piece) -> np.ndarray:
        status, slots = os.fstat(descriptor), piece.slots
        signature = (status.st_ino, status.st_mtime_ns)
        piece.seen = *signature, status.st_size
        known = self._shards.get(shard)
        size = shard_bytes(self.spec)
        if status.st_size != size:
            raise self._corrupt(slots, f"its shard has {status.st_size} bytes instead of {size}")
        if known is None or known[0] != signature:
            try:
                index = os.pread(descriptor, INDEX_BYTES, size - INDEX_BYTES)
                known = signature, read_positions(index, self.spec)
            except ValueError as error:
                raise self._corrupt(slots, str(error)) from error
            # A changed file is verified anew, also the rows that were once found good.
            self._verified[SHARD_ROWS * shard : SHARD_ROWS * (shard + 1)] = False
            self._shards[shard] = known
        return known[1]

    def _read_rows(self, descriptor: int, positions: np.ndarray, piece: _Piece) -> None:
        flags = 0 if piece.on_disk is None else _NOWAIT
        late = []
        lists = (each.tolist() for each in (positions, piece.group, piece.places, piece.slots))
        for position, member, place, slot in zip(*lists, strict=True):
            row = piece.out[place]
            try:
                got = os.preadv(descriptor, [row.data], position, flags)
            except OSError:  # it would wait; any other is met again where the rest is read
                got = 0
            if got != row.nbytes:
                if flags:
                    late.append(member)
                    continue
                self._read_rest(descriptor, row, position, slot)
            # Checked at once, while the row is still in this core's cache.
            if not self._verified[slot]:
                self._verify(slot, row)
        if late and piece.on_disk is not None:
            piece.on_disk.append(np.array(late))

    def _read_span(self, descriptor: int, positions: np.ndarray, span: int, piece: _Piece) -> None:
        """Read small rows that lie close together at once, and copy them out."""
        first = int(positions.min())
        cells = np.empty((span, cell_bytes(self.spec)), np.uint8)
        self._read_rest(descriptor, cells.reshape(-1), first, piece.slots[0])
        places = (positions - first) // cells.shape[1]
        piece.out[piece.places] = cells[places, : self.spec.row_bytes]
        for index in np.flatnonzero(~self._verified[piece.slots]).tolist():
            self._verify(int(piece.slots[index]), piece.out[piece.places[index]])

    def _read_rest(self, descriptor: int, into: np.ndarray, position: int, slot: int) -> None:
        """Fill a buffer in the pieces that the system gives."""
        done = 0
        while done < into.nbytes:
            got = os.preadv(descriptor, [into[done:].data], position + done)
            if got == 0:
                raise self._corrupt([slot], "its shard was cut while it was read")
            done += got

    def _verify(self, slot: int, row: np.ndarray) -> None:
        if checksum(row) != self._checksums[slot]:
            raise self._corrupt([slot], "its bytes are not those that were written")
        self._verified[slot] = True

    def _corrupt(self, slots: Sequence[int] | np.ndarray, why: str) -> CorruptStoreError:
        where = f"{self.subset}/{self.key}/{self.spec.field}, row {int(slots[0])}"
        return CorruptStoreError(f"{where}, can't be read: {why}", REPAIR)
