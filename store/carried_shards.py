"""Carrying the shards of a store: each compared with its record on its way, which goes last."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clare.errors import CorruptStoreError, LostClaimError
from clare.store.bucket.objects import in_flight
from clare.store.extractor_records import parse_extractor
from clare.store.journal import COMPLETE, PENDING, ShardRecord, parse_record, withdraw_record
from clare.store.layout import EXTRACTORS, JOURNAL, RECORD, Layout, shard_path
from clare.store.records import REPAIR, checking, unseal
from clare.store.sides import FolderSide, Side
from clare.store.spec import FeatureSpec
from clare.store.zarr_shards import damaged_offsets

SHARD_RECORD = re.compile(rf"{JOURNAL}/([^/]+)/([^/]+)/([0-9]{{6}})\.json")
"""What names a shard's record: of a subset, by an extractor, its number."""

_HERE = Layout(Path())


@dataclass(frozen=True)
class Moved:
    """What became of a shard.

    Args:
        bytes: that were carried; 0 where it was there, or was taken back by a run that is going on.
        left: whether somebody else works on it in the other place.
        damage: why it can't be carried.
    """

    bytes: int = 0
    left: bool = False
    damage: CorruptStoreError | None = None


class Shards:
    """Carries shards from one place to another.

    Args:
        source: where they are.
        target: where they shall be.
        have: the files of the source, each with its size.
        there: those of the target, as they were before.
        ready: returns as soon as the target has all that a shard's record speaks of; until then
            shards are read, and nothing of them is written.

    Raises:
        CorruptStoreError: the record of an extractor is damaged.
    """

    def __init__(
        self,
        source: Side,
        target: Side,
        have: Mapping[str, int],
        there: Mapping[str, int],
        ready: Callable[[], object],
    ) -> None:
        self._source, self._target, self._there = source, target, there
        self._ready = ready
        self._extractors = _extractors(source, have)

    def carry(self, key: str) -> Moved:
        """Carry the files of a shard, then its record.

        Args:
            key: the record's name.
        """
        before, damage = b"", None
        while True:
            try:
                line = self._source.read(key)
            except FileNotFoundError:
                return Moved()
            if damage is not None and line == before:
                return Moved(damage=damage)  # the others are carried all the same
            try:
                record = self._parse(self._source, key, line)
                left_open = bool((record.states == PENDING).any()) and self._source.is_marked(key)
                if self._is_there(key, line, record):
                    if left_open and not self._target.is_marked(key):
                        self._target.mark(key)
                    return Moved()
                if key in self._there and self._stays(key, record):
                    return Moved()
                # All of it first: what is over there stays where this is damaged.
                files = self._read_files(self._source, record)
            except CorruptStoreError as error:
                before, damage = line, error  # unless it was written anew while it was carried
            else:
                self._ready()
                return self._write(key, line, record, files, left_open)

    def _write(
        self,
        key: str,
        line: bytes,
        record: ShardRecord,
        files: Mapping[str, memoryview],
        left_open: bool,
    ) -> Moved:
        """Write the files of a shard, then its record, under its claim."""
        target, claim = self._target, (_HERE.shards_claim(record.subset, record.key), record.shard)
        if not target.claims.take(*claim):
            return Moved(left=True)
        try:
            if self._stays(key, record):  # since then
                return Moved()
            fence = target.claims.fence(*claim)
            target.mark(key)
            target.remove(key, fence)
            for path, data in files.items():
                target.write(path, data, fence)
            target.write(key, line, fence)
            (target.mark if left_open else target.unmark)(key)
            # One who lost this shard may have slept between a last look at his lease and a rename.
            if target.claims.by_leases and self._withdraw_mixed(key):
                return Moved(left=True)
        except LostClaimError:
            self._withdraw_mixed(key)
            return Moved(left=True)
        finally:
            target.claims.release(*claim)
        return Moved(len(line) + sum(map(len, files.values())))

    def _files(self, record: ShardRecord) -> list[tuple[str, FeatureSpec]]:
        """The names of a shard's files, each with its field."""
        arrays = {
            _HERE.array(record.subset, record.key, name): spec
            for name, spec in self._extractors[record.key].items()
        }
        return [
            (shard_path(array, record.shard, spec).as_posix(), spec)
            for array, spec in arrays.items()
        ]

    def _is_there(self, key: str, line: bytes, record: ShardRecord) -> bool:
        """Whether the other place had the same record, and files of the right sizes."""
        return (
            self._there.get(key) == len(line)
            and self._has_files(record)
            and self._target.holds(key, line.__eq__, lambda: line)
        )

    def _has_files(self, record: ShardRecord) -> bool:
        """Whether the other place had a shard's files, in the sizes that a record says."""
        sizes = record.file_bytes
        return all(self._there.get(path) == sizes[one.field] for path, one in self._files(record))

    def _stays(self, key: str, record: ShardRecord) -> bool:
        """Whether the other place's shard is kept: rows are done there that are pending here, or
        it lacks nothing, though another extraction made it, before or since.
        """
        try:
            other = self._parse(self._target, key, self._target.read(key))
        except (CorruptStoreError, FileNotFoundError):
            return False
        here, over_there = record.states != PENDING, other.states != PENDING
        if (over_there & ~here).any():
            return True
        lacks = (here & ~over_there) | (record.states == COMPLETE) & (other.states != COMPLETE)
        return not lacks.any() and (key not in self._there or self._has_files(other))

    def _withdraw_mixed(self, key: str) -> bool:
        """Queue a shard into which two wrote, one of whom had lost it; whether it is one.

        In a bucket the server refuses him.
        """
        target = self._target
        if not isinstance(target, FolderSide):
            return False
        try:
            record = self._parse(target, key, target.read(key))
        except (CorruptStoreError, FileNotFoundError):
            return False
        try:
            self._read_files(target, record)
        except CorruptStoreError:
            withdraw_record(Layout(target.root), record.subset, record.key, record.shard)
            return True
        return False

    def _read_files(self, side: Side, record: ShardRecord) -> dict[str, memoryview]:
        """The bytes of a shard's files by name, which are as its record says.

        Raises:
            CorruptStoreError: they are not.
        """
        files = {}
        for key, spec in self._files(record):
            place = f"{side.name()}/{key}"
            try:
                with checking(Path(place)):
                    files[key] = side.view(key)
                    if damaged_offsets(files[key], record.checksums[spec.field], spec):
                        raise ValueError("its bytes are not those that were written")
            except FileNotFoundError as error:
                raise CorruptStoreError(f"{place} is missing", REPAIR) from error
        return files

    def _parse(self, side: Side, key: str, line: bytes) -> ShardRecord:
        found = SHARD_RECORD.fullmatch(key)
        assert found is not None
        subset, extractor, shard = found.groups()
        with checking(Path(side.name()) / key):
            if extractor not in self._extractors:
                raise ValueError("its extractor has no record")
            fields = self._extractors[extractor]
            return parse_record(unseal(line), (subset, extractor, int(shard)), fields)


def _extractors(source: Side, have: Mapping[str, int]) -> dict[str, dict[str, FeatureSpec]]:
    """The fields of each extractor of a store."""
    keys = [key for key in have if re.fullmatch(rf"{EXTRACTORS}/[^/]+/{RECORD}", key)]
    found = {}
    for key, data in zip(keys, in_flight(source.read, keys), strict=True):
        with checking(Path(source.name()) / key):
            fingerprint, fields = parse_extractor(unseal(data))
            if fingerprint.key != key.split("/")[1]:
                raise ValueError("it belongs to another extractor")
            found[fingerprint.key] = fields
    return found
