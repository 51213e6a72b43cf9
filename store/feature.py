"""One extractor's values for one subset: what is done, what is pending, and writing a shard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clare.errors import CorruptStoreError, LostClaimError, StoreError
from clare.files import PARTIAL, remove_partials
from clare.store.extractor_records import extractor_group
from clare.store.index import RowIndex, SubsetIndex
from clare.store.journal import (
    COMPLETE,
    FAILED,
    PENDING,
    Journal,
    ShardRecord,
    leave_open,
    read_record,
    withdraw_record,
)
from clare.store.layout import ZARR, Layout, shard_path
from clare.store.reader import FieldReader
from clare.store.records import damaged
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, Fingerprint
from clare.store.zarr_shards import (
    GROUP,
    array_metadata,
    fill_value,
    read_checksums,
    shard_bytes,
    storage_dtype,
    write_metadata,
    write_shard_file,
)

READ_AT_ONCE = 4096
"""Records that are looked at again to find what is pending; of more, only those that this process
did not find done before, or that are marked as left open."""

_TRIES = 3
"""Times that a shard is written anew because somebody who had lost it wrote into it."""


class Feature:
    """One (subset, extractor fingerprint) of a store; made by `FeatureStore.feature`.

    Args:
        layout: paths of the store it belongs to.
        rows: the index of its subset.
        journal: what is recorded of its shards.
        fingerprint: what decided the values.
        eager: whether all records are read now; else each when its shard is looked at.
    """

    def __init__(
        self,
        layout: Layout,
        rows: RowIndex,
        journal: Journal,
        fingerprint: Fingerprint,
        *,
        eager: bool = True,
    ) -> None:
        self.layout = layout
        self.rows = rows
        self.subset = rows.subset
        self.fingerprint = fingerprint
        self.fields = dict(journal.fields)
        self.key = fingerprint.key
        self._journal = journal
        self._shards_claim = layout.shards_claim(self.subset, self.key)
        self._claims: dict[int, list[Row]] = {}
        self._shards_of_arrays = 0
        if eager:
            self.refresh()

    def array_path(self, field: str) -> Path:
        """The folder of a field's Zarr array."""
        return self.layout.array(self.subset, self.key, field)

    def refresh(self) -> None:
        """Read the journal again: another process may have written.

        Raises:
            CorruptStoreError: a record is damaged or speaks of rows that the index lacks.
        """
        self._journal.refresh()
        self.rows.renew()  # behind the journal: what its records speak of is there by then
        index = self.rows.read()
        self._match_index(self._journal.snapshot(), index)

    def pending(self) -> list[int]:
        """Shards with a live row that is neither complete nor failed, in rising order."""
        return [int(shard) for shard in np.unique(self.pending_slots() // SHARD_ROWS)]

    def pending_slots(self) -> np.ndarray:
        """(n,) int64, the live rows that are neither complete nor failed, in rising order."""
        index = self.rows.read()
        return np.flatnonzero(index.is_live & (self._states(index) == 0))

    def lacking(self, wanted: np.ndarray) -> np.ndarray:
        """(n,) int64, the slots among these of live rows that are neither complete nor failed.

        Of many shards, those whose records were found done before are read again only where a mark
        says that they were left open. Of a record that was not read, a missing mark says nothing:
        copies that leave partial files out have none.

        Args:
            wanted: (m,) slots, in rising order.

        Raises:
            CorruptStoreError: a record is damaged or speaks of rows that the index lacks.
        """
        index = self.rows.read()
        wanted = wanted[wanted < len(index.is_live)]  # others were dropped
        live = wanted[index.is_live[wanted]]
        asked = set(np.unique(live // SHARD_ROWS).tolist())
        recorded, left_open = self.layout.journalled(self.subset, self.key)
        looked_at, by_shard = recorded & asked, index.is_live.reshape(-1, SHARD_ROWS)
        known = {
            shard: record
            for shard, record in self._journal.snapshot().items()
            if shard < index.shards and not (by_shard[shard] & (record.states == PENDING)).any()
        }
        if len(looked_at) > READ_AT_ONCE:
            looked_at -= known.keys() - left_open
        records = dict(self._journal.refresh_shards(sorted(looked_at)))
        records |= {shard: known[shard] for shard in recorded & asked - looked_at}
        self._match_index(records, index)
        done = np.zeros((index.shards, SHARD_ROWS), bool)
        for shard, record in records.items():
            done[shard] = record.states != PENDING
        lacking: np.ndarray = live[~done.reshape(-1)[live]]
        return lacking

    def ended(self) -> set[int]:
        """Shards that are recorded and not left open, by the names of files alone."""
        recorded, left_open = self.layout.journalled(self.subset, self.key)
        return recorded - left_open

    def pending_offsets(self, shard: int) -> list[int]:
        """Offsets (0 to 63) of a shard's live rows that are neither complete nor failed."""
        live = self.rows.read().is_live[SHARD_ROWS * shard : SHARD_ROWS * (shard + 1)]
        record = self._journal.record(shard) if len(live) else None
        pending = live if record is None else live & (record.states == 0)
        return np.flatnonzero(pending).tolist()

    def shard_rows(self, shard: int) -> list[Row]:
        """The live rows of a shard: those of its claim, if this object claimed it."""
        if shard in self._claims:
            return list(self._claims[shard])
        live = self.rows.read().live
        first, last = np.searchsorted(live.slots, (SHARD_ROWS * shard, SHARD_ROWS * (shard + 1)))
        return list(live[first:last])

    def claim(self, shard: int) -> bool:
        """Take a pending shard for writing, without waiting.

        The claim is refused to every other process, thread and store object meanwhile. It is free
        as soon as this process ends, or, where locks don't reach other hosts, soon after
        (`clare.store.claims`).

        Returns:
            False where the shard is held by somebody else or is not pending any more.

        Raises:
            StoreError: the extractor was dropped from the store since.
        """
        claims = self.layout.claims
        if not claims.take(self._shards_claim, shard):
            return False
        try:
            # Only now is it certain that nobody else is between his writing and his record.
            record = self._journal.refresh_shard(shard)
            self.rows.renew()  # its rows may have been dropped
            if record is not None:
                self._match_index({shard: record}, self.rows.read())
            if self.pending_offsets(shard):
                self._require_not_dropped()
                self._clear(shard, claims.former(self._shards_claim, shard))
                self._claims[shard] = self.shard_rows(shard)
        finally:
            if shard not in self._claims:
                claims.release(self._shards_claim, shard)
        return shard in self._claims

    def claimed(self, shards: Sequence[int]) -> set[int]:
        """Those of some shards that somebody claims; see `clare.store.claims.claims.Claims`."""
        return self.layout.claims.claimed(self._shards_claim, shards)

    def _require_not_dropped(self) -> None:
        """See, while a shard is held, whether what its values need has been taken away."""
        group = self.layout.group(self.subset, self.key) / ZARR
        self.layout.renew_file(group)
        if group.exists():
            return
        self._shards_of_arrays = 0
        record = self.layout.extractor_record(self.key)
        self.layout.renew_file(record)
        if not record.exists():
            mirror = self.layout.mirror
            raise StoreError(
                f"{self.key} was dropped from {self.layout.root if mirror is None else mirror.url}",
                "run the same again, if its features are wanted after all",
            )

    def release(self, shard: int) -> None:
        """Give a claimed shard back, written or not."""
        if self._claims.pop(shard, None) is not None:
            self.layout.claims.release(self._shards_claim, shard)

    def release_all(self) -> None:
        """Give every claimed shard back."""
        for shard in list(self._claims):
            self.release(shard)

    def write_shard(
        self,
        shard: int,
        values: Mapping[str, np.ndarray],
        failed: Mapping[int, str],
        made_with: Mapping[str, Any],
        complete: Collection[int] | None = None,
        *,
        thumbnails: bool = False,
    ) -> None:
        """Make rows of a claimed shard durable, then record them as done.

        Rows that are recorded already and not named here keep their values.

        Args:
            shard: a shard that `claim` granted.
            values: by field, (64, *shape) in the field's dtype; only the complete rows count.
            failed: reason by offset (0 to 63) of the rows that could not be extracted.
            made_with: micro-batch, device and the like, as plain JSON.
            complete: offsets that hold values; by default all of `shard_rows` but the failed.
            thumbnails: whether pictures of these rows were kept.

        Raises:
            DiskSpaceError: the disk is full; the shard stays pending.
            StoreError: the shard is not claimed.
            LostClaimError: this process was held up for long, and another took the shard over.
            ValueError: the values are not what the extractor declared.
        """
        if shard not in self._claims:
            raise StoreError(f"Shard {shard} of {self.subset}/{self.key} is not claimed")
        rows = {row.slot % SHARD_ROWS: row for row in self._claims[shard]}
        done = set(rows) - set(failed) if complete is None else set(complete)
        if not done | set(failed) <= set(rows) or done & set(failed):
            raise ValueError(f"shard {shard} has no such rows: {sorted(done)}, {sorted(failed)}")
        if set(values) != set(self.fields):
            raise ValueError(f"fields {sorted(values)} are not {sorted(self.fields)}")
        identities = np.zeros(SHARD_ROWS, np.uint32)
        for offset in done | set(failed):
            identities[offset] = rows[offset].identity_checksum
        kept, reasons = self._kept(shard, identities, done | set(failed))
        failed = {**reasons, **failed}
        stored = {name: self._stored(name, values[name], done) for name in self.fields}
        for offset, old in kept.items():
            done.add(offset)
            for name, value in old.items():
                stored[name][offset] = value

        self._make_arrays()
        before = self._journal.record(shard)
        record = partial(
            ShardRecord,
            subset=self.subset,
            key=self.key,
            shard=shard,
            complete=tuple(sorted(done)),
            failed=dict(failed),
            identities=identities,
            made_with=made_with,
            thumbnails=thumbnails or (before is not None and before.thumbnails),
        )
        try:
            self._publish(shard, stored, record)
        except LostClaimError:
            self._withdraw_mixed(shard)
            raise
        finally:
            self._journal.refresh_shard(shard)

    def _publish(
        self, shard: int, stored: Mapping[str, np.ndarray], record: Callable[..., ShardRecord]
    ) -> None:
        """Write every field's file, then the record, whose checksums decide what the shard is."""
        claims = self.layout.claims
        fence = claims.fence(self._shards_claim, shard)
        for _ in range(_TRIES):
            withdraw_record(self.layout, self.subset, self.key, shard, fence)
            checksums, sizes = {}, {}
            for name, array in stored.items():
                path = self._shard_path(name, shard)
                self.layout.require_own(path.parent)
                checksums[name] = write_shard_file(path, array, fence)
                sizes[name] = shard_bytes(self.fields[name])
            written = record(checksums=checksums, file_bytes=sizes)
            written.write(self.layout, fence)
            # One who lost this shard may have slept between a last look at his lease and a rename.
            # In a bucket the server refuses him.
            mirror = self.layout.mirror
            if mirror is not None or not claims.by_leases or self._is_as_recorded(written):
                live = self.rows.read().is_live[SHARD_ROWS * shard : SHARD_ROWS * (shard + 1)]
                if (live & (written.states == PENDING)).any():
                    leave_open(self.layout, self.subset, self.key, shard)
                for name in self.fields if mirror is not None else ():
                    self._shard_path(name, shard).unlink(missing_ok=True)  # the bucket has it
                return
        raise StoreError(
            f"another process wrote into shard {shard} of {self.subset}/{self.key} {_TRIES} times "
            "while this one did; the shard stays pending",
            "end the other process and run the same again",
        )

    def _withdraw_mixed(self, shard: int) -> None:
        """Queue a shard that this process wrote into after another had taken it over."""
        if self.layout.mirror is not None:
            return
        with suppress(FileNotFoundError):
            record = read_record(self.layout, self.subset, self.key, shard, self.fields)
            if not self._is_as_recorded(record):
                withdraw_record(self.layout, self.subset, self.key, shard)

    def _is_as_recorded(self, record: ShardRecord) -> bool:
        """Whether the files of a shard have the checksums that its record says, row by row."""
        return all(
            np.array_equal(read_checksums(self._shard_path(name, record.shard), spec), expected)
            for name, spec in self.fields.items()
            for expected in [record.checksums[name]]
        )

    def _clear(self, shard: int, former: str) -> None:
        """Delete the partial files of a process that is gone, whose claim was taken over."""
        if former:
            for name in self.fields:
                path = self._shard_path(name, shard)
                remove_partials(path.parent, path.name)
            record = self.layout.record(self.subset, self.key, shard)
            record.with_name(f"{record.name}.{former}{PARTIAL}").unlink(missing_ok=True)

    def _shard_path(self, field: str, shard: int) -> Path:
        return shard_path(self.array_path(field), shard, self.fields[field])

    def states(self) -> np.ndarray:
        """(slots,) uint8 over all slots of the subset: 0 pending, 1 complete, 2 failed."""
        return self._states(self.rows.read())

    def _states(self, index: SubsetIndex) -> np.ndarray:
        states = np.zeros(SHARD_ROWS * index.shards, np.uint8)
        for shard, record in self._journal.snapshot().items():
            states[SHARD_ROWS * shard : SHARD_ROWS * (shard + 1)] = record.states
        return states

    def failures(self) -> dict[int, str]:
        """Reason by slot of the live rows that could not be extracted."""
        found = {
            SHARD_ROWS * shard + offset: reason
            for shard, record in sorted(self._journal.snapshot().items())
            for offset, reason in sorted(record.failed.items())
        }
        is_live = self.rows.read().is_live if found else ()
        return {slot: reason for slot, reason in found.items() if is_live[slot]}

    def counts(self) -> dict[str, int]:
        """Live rows ``complete``, ``failed`` and ``pending``; ``bytes`` of the written shards."""
        index = self.rows.read()
        states = self._states(index)[index.is_live]
        records = self._journal.snapshot().values()
        return {
            "complete": int((states == COMPLETE).sum()),
            "failed": int((states == FAILED).sum()),
            "pending": int((states == 0).sum()),
            "bytes": sum(sum(record.file_bytes.values()) for record in records),
        }

    def made_with(self) -> dict[str, Any] | None:
        """What the highest written shard was made with; None where nothing is written."""
        for shard in sorted(self.layout.recorded(self.subset, self.key), reverse=True):
            if (record := self._journal.refresh_shard(shard)) is not None:
                return dict(record.made_with)
        return None

    def written(self) -> tuple[float, float] | None:
        """When the first and the last shard were recorded, in seconds since the epoch."""
        times = self._journal.times()
        return (min(times), max(times)) if times else None

    def reader(self, field: str, threads: int = 8) -> FieldReader:
        """A reader of one field's rows, for this process and its DataLoader workers.

        Raises:
            StoreError: the extractor has no such field.
        """
        if field not in self.fields:
            raise StoreError(
                f"{self.key} has no field {field!r}; it has {', '.join(sorted(self.fields))}."
            )
        return FieldReader(self._journal, self.fields[field], threads)

    def _match_index(self, records: Mapping[int, ShardRecord], index: SubsetIndex) -> None:
        if not records:
            return
        shards = np.array(list(records))
        bad = shards >= index.shards
        known = shards[~bad]
        identities = np.stack([record.identities for record in records.values()])[~bad]
        states = np.stack([record.states for record in records.values()])[~bad]
        has_row = index.has_row.reshape(-1, SHARD_ROWS)[known]
        same = identities == index.identity_checksums.reshape(-1, SHARD_ROWS)[known]
        bad[~bad] = (has_row & (states > 0) & ~same).any(1)
        if bad.any():
            path = self.layout.record(self.subset, self.key, int(shards[bad].min()))
            raise damaged(path, "it speaks of other rows than the index")

    def _stored(self, name: str, values: np.ndarray, done: set[int]) -> np.ndarray:
        spec = self.fields[name]
        if values.shape != (SHARD_ROWS, *spec.shape) or values.dtype != np.dtype(spec.dtype):
            raise ValueError(
                f"{name} must be {(SHARD_ROWS, *spec.shape)} {spec.dtype}, "
                f"not {values.shape} {values.dtype}"
            )
        stored = np.full(values.shape, fill_value(spec), storage_dtype(spec))
        given = sorted(done)
        stored[given] = values[given]
        return stored

    def _kept(
        self, shard: int, identities: np.ndarray, new: set[int]
    ) -> tuple[dict[int, dict[str, np.ndarray]], dict[int, str]]:
        """Values and reasons of a shard's recorded rows that are not written anew.

        Their identities are filled in. A row that can't be read back is left out: it is pending
        then, and extracted again.
        """
        record = self._journal.record(shard)
        if record is None:
            return {}, {}
        readers = {name: self.reader(name, threads=1) for name in self.fields}
        kept: dict[int, dict[str, np.ndarray]] = {}
        for offset in set(record.complete) - new:
            slot = SHARD_ROWS * shard + offset
            with suppress(CorruptStoreError):
                kept[offset] = {name: reader.read([slot])[0] for name, reader in readers.items()}
        reasons = {o: reason for o, reason in record.failed.items() if o not in new}
        for offset in [*kept, *reasons]:
            identities[offset] = record.identities[offset]
        return kept, reasons

    def _make_arrays(self) -> None:
        """Make or grow the arrays to the subset's length; other writers may do so too."""
        if self._shards_of_arrays >= self.rows.read().shards:
            return
        with self.layout.claims.exclusive(self.layout.rows_claim(self.subset)) as fence:
            self.rows.renew()
            shards = self.rows.read().shards
            fields = list(self.fields.values())
            nodes = [
                (self.layout.group(self.subset), GROUP),
                (
                    self.layout.group(self.subset, self.key),
                    extractor_group(self.fingerprint, fields),
                ),
            ]
            for name, spec in self.fields.items():
                nodes.append((self.array_path(name), array_metadata(spec, shards)))
            for folder, metadata in nodes:
                self.layout.renew_file(folder / ZARR)
                remove_partials(folder, ZARR)
                write_metadata(folder, metadata, fence)
        self._shards_of_arrays = shards
