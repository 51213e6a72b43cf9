"""Compare every byte of a store with what its records say was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clare.errors import CorruptStoreError, StoreError
from clare.files import PARTIAL, storage_errors
from clare.store.extractor_records import (
    describe_asset,
    extractor_group,
    read_extractor,
)
from clare.store.feature_store import SIGNATURE
from clare.store.index import SubsetIndex
from clare.store.journal import ShardRecord, read_record
from clare.store.layout import (
    ARRAYS,
    CHUNKS,
    EXTRACTORS,
    JOURNAL,
    MARKER,
    ROWS,
    THUMBNAILS,
    TOP,
    ZARR,
    Layout,
    shard_path,
)
from clare.store.maintenance.salvage import salvage_index
from clare.store.records import checksum, read_sealed, unseal
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from clare.store.thumbnails import check_thumbnails
from clare.store.zarr_shards import (
    GROUP,
    INDEX_BYTES,
    array_metadata,
    cell_bytes,
    metadata_text,
    read_positions,
    shard_bytes,
)

Extractor = tuple[Fingerprint, dict[str, FeatureSpec]]
Progress = Callable[[int, int], None]

_SIGNS = (MARKER, ROWS, JOURNAL, EXTRACTORS)
"""Of which a store, however damaged, still has one."""
_THREADS = 4


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was written.

    Args:
        kind: ``marker``, ``commands``, ``segment``, ``extractor``, ``assets``, ``metadata``,
            ``shard``, ``thumbnails`` or ``extra``; decides what repair does.
        path: the file or folder, relative to the store.
        what: what is wrong with it.
        subset: the subset it belongs to, where it belongs to one.
        key: the extractor it belongs to, where it belongs to one.
        shard: for kind ``shard``, its number.
        field: the damaged field, where only one is.
        rows: slots of the rows that are damaged, where single rows are.
    """

    kind: str
    path: Path
    what: str
    subset: str = ""
    key: str = ""
    shard: int = -1
    field: str = ""
    rows: tuple[int, ...] = ()

    @property
    def where(self) -> str:
        """The place in words: subset, field and rows where it has them, else the file."""
        if not self.rows:
            return str(self.path)
        listed = ", ".join(map(str, self.rows[:5])) + (" …" if len(self.rows) > 5 else "")
        return f"{self.subset}/{self.key}/{self.field}, rows {listed}"


def verify_store(store_path: Path | str, *, progress: Progress | None = None) -> list[Problem]:
    """Read a whole store and list everything that is changed, truncated, missing or extra.

    Works on stores that `open_store` refuses. What a killed run left behind is no problem: it is
    pending and the next run does it again.

    Args:
        store_path: the store's folder.
        progress: called with (shards read, shards in all).

    Returns:
        The problems; an empty list for a good store.

    Raises:
        StoreError: there is no such folder, or it has nothing of a store.
    """
    path = Path(store_path)
    with storage_errors(path):
        begun = any((path / sign).exists() for sign in _SIGNS)
    if not begun:
        raise StoreError(f"there is no feature store at {path}")
    check = _Check(path)
    check.top()
    for key in check.layout.folders(EXTRACTORS, f"{JOURNAL}/*", f"{ARRAYS}/*"):
        check.extractor(key)
    for subset in check.layout.folders(ROWS, JOURNAL, ARRAYS, THUMBNAILS):
        check.subset(subset)
    check.shards(progress)
    return sorted(check.problems, key=lambda problem: (str(problem.path), problem.shard))


class _Check:
    """The walk over one store; problems gather in ``problems``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.layout = Layout(path)
        self.problems: list[Problem] = []
        self.extractors: dict[str, Extractor] = {}
        self.records: list[tuple[ShardRecord, dict[str, FeatureSpec]]] = []

    def found(self, kind: str, path: Path, what: str, subset: str = "", key: str = "") -> None:
        self.problems.append(Problem(kind, path.relative_to(self.path), what, subset, key))

    def extra(self, folder: Path, known: set[str]) -> None:
        """Report what nobody of ours put into a folder."""
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name not in known and path.suffix != PARTIAL:
                self.found("extra", path, "it does not belong to the store")

    def top(self) -> None:
        marker = self.layout.marker
        try:
            if read_sealed(marker) != SIGNATURE:
                raise StoreError(f"{marker} names another format than this version's")
        except FileNotFoundError:
            self.found("marker", marker, "it is missing")
        except CorruptStoreError:
            self.found("marker", marker, "its checksum does not match")
        self.commands()
        self.extra(self.path, TOP)
        arrays = self.layout.group()
        if arrays.is_dir() and (any(arrays.glob("*/*")) or (arrays / ZARR).exists()):
            self.metadata(arrays, [metadata_text(GROUP)])

    def commands(self) -> None:
        path = self.layout.commands
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            for line in lines:
                unseal(line)
        except (ValueError, OSError):
            self.found("commands", path, "the checksum of a line does not match")

    def extractor(self, key: str) -> None:
        record = self.layout.extractor_record(key)
        used = self.layout.is_recorded(key)
        try:
            self.extractors[key] = read_extractor(self.layout, key)
        except FileNotFoundError:
            if used or self.layout.groups(key):
                self.found("extractor", record, "it is missing", key=key)
        except (CorruptStoreError, TypeError, KeyError):
            what = "its checksum or its fingerprint does not match"
            self.found("extractor", record, what, key=key)
        self.assets(key, used)

    def assets(self, key: str, used: bool) -> None:
        sealed, present = self.layout.asset_record(key), self.layout.assets(key)
        if not sealed.is_file():
            if present and used:
                self.found("assets", sealed, "it is missing", key=key)
            return
        try:
            recorded = read_sealed(sealed)["assets"]
        except CorruptStoreError:
            self.found("assets", sealed, "its checksum does not match", key=key)
            return
        for name in sorted(set(recorded) | {path.name for path in present}):
            path = self.layout.extractor(key) / name
            if name not in recorded:
                self.found("extra", path, "it is not recorded in assets.json")
            elif not path.is_file():
                self.found("assets", path, "it is missing", key=key)
            elif describe_asset(path) != recorded[name]:
                self.found("assets", path, "its sha256 is not the recorded one", key=key)

    def subset(self, subset: str) -> None:
        # The journal before the index: a run that is writing meanwhile does it the other way.
        keys = self.layout.folders(f"{JOURNAL}/{subset}", f"{ARRAYS}/{subset}")
        journals = {key: self.layout.recorded(subset, key) for key in keys}
        least = max((max(shards, default=-1) + 1 for shards in journals.values()), default=0)
        salvage = salvage_index(self.layout, subset, least)
        for path, what in salvage.damage.items():
            self.found("segment", path, what, subset)
        files = {self.layout.segment(subset, one.first_shard).name for one in salvage.segments}
        self.extra(self.layout.segments(subset), files)
        index = SubsetIndex.of(salvage.segments)
        group = self.layout.group(subset)
        if group.is_dir() and (any(journals.values()) or (group / ZARR).exists()):
            self.metadata(group, [metadata_text(GROUP)], subset)
        self.extra(group, {ZARR, *keys})
        for key, shards in journals.items():
            if key in self.extractors:
                self.feature(subset, key, shards, index)
        known = {self.layout.thumbnails(subset, shard) for shard in range(index.shards)}
        self.extra(self.layout.thumbnails(subset, 0).parent, {path.name for path in known})
        for path in self.layout.thumbnail_files(subset):
            if why := check_thumbnails(path):
                self.found("thumbnails", path, why, subset)

    def feature(self, subset: str, key: str, shards: set[int], index: SubsetIndex) -> None:
        journal, arrays = self.layout.journal(subset, key), self.layout.group(subset, key)
        fingerprint, fields = self.extractors[key]
        self.extra(journal, {self.layout.record(subset, key, shard).name for shard in shards})
        self.extra(arrays, {ZARR, *fields})
        for shard in sorted(shards):
            self.record(subset, key, shard, index)
        if shards or (arrays / ZARR).exists():
            group = metadata_text(extractor_group(fingerprint, list(fields.values())))
            self.metadata(arrays, [group], subset, key)
        ends = [segment.end for segment in index.segments if segment.end > max(shards, default=0)]
        for name, spec in fields.items():
            if shards or (arrays / name / ZARR).exists():
                texts = [metadata_text(array_metadata(spec, end)) for end in ends]
                self.metadata(arrays / name, texts, subset, key)
            self.extra(arrays / name, {ZARR, CHUNKS})
            chunks = {shard_path(arrays / name, n, spec) for n in range(index.shards)}
            for path in sorted((arrays / name / CHUNKS).rglob("*")):
                if path.is_file() and path not in chunks and path.suffix != PARTIAL:
                    self.found("extra", path, "it does not belong to the store")

    def metadata(self, folder: Path, texts: list[bytes], subset: str = "", key: str = "") -> None:
        path = folder / ZARR
        if not path.is_file():
            self.found("metadata", path, "it is missing", subset, key)
        elif path.read_bytes() not in texts:
            self.found("metadata", path, "it is not what was written", subset, key)

    def record(self, subset: str, key: str, shard: int, index: SubsetIndex) -> None:
        path = self.layout.record(subset, key, shard)
        fields = self.extractors[key][1]
        place = slice(SHARD_ROWS * shard, SHARD_ROWS * (shard + 1))
        known = index.has_row[place]
        try:
            record = read_record(self.layout, subset, key, shard)
            same = record.identities == index.identity_checksums[place]
            if not known.any():
                raise ValueError("the index has no rows of this shard")
            if (known & (record.states > 0) & ~same).any():
                raise ValueError("it speaks of other rows than the index")
            if record.file_bytes != {name: shard_bytes(spec) for name, spec in fields.items()}:
                raise ValueError("its fields are not the extractor's")
        except FileNotFoundError:
            return  # taken back by a run that is going on
        except (CorruptStoreError, ValueError) as error:
            what = str(error) if type(error) is ValueError else "its checksum does not match"
            relative = path.relative_to(self.path)
            self.problems.append(Problem("shard", relative, what, subset, key, shard))
        else:
            self.records.append((record, fields))

    def shards(self, progress: Progress | None) -> None:
        """Read every journalled shard file, several at a time."""
        tasks = [(record, spec) for record, fields in self.records for spec in fields.values()]
        with ThreadPoolExecutor(_THREADS) as pool:
            for done, found in enumerate(pool.map(lambda task: self.shard(*task), tasks), 1):
                self.problems.extend(found)
                if progress is not None:
                    progress(done, len(tasks))

    def shard(self, record: ShardRecord, spec: FeatureSpec) -> list[Problem]:
        array = self.layout.array(record.subset, record.key, spec.field)
        path = shard_path(array, record.shard, spec)
        rows: tuple[int, ...] = ()
        try:
            rows = tuple(_damaged_rows(path, record, spec))
            what = "their bytes are not those that were written" if rows else ""
        except FileNotFoundError:
            what = "the shard's file is missing"
        except (ValueError, OSError) as error:
            what = str(error)
        if not what:
            return []
        relative = path.relative_to(self.path)
        return [
            Problem(
                "shard", relative, what, record.subset, record.key, record.shard, spec.field, rows
            )
        ]


def _damaged_rows(path: Path, record: ShardRecord, spec: FeatureSpec) -> Iterator[int]:
    """Slots whose stored bytes, or the checksum stored after them, are wrong."""
    data = np.fromfile(path, np.uint8)
    if data.nbytes != shard_bytes(spec):
        raise ValueError(f"the shard has {data.nbytes} bytes instead of {shard_bytes(spec)}")
    positions = read_positions(data[-INDEX_BYTES:].tobytes(), spec)
    cells = data[:-INDEX_BYTES].reshape(SHARD_ROWS, cell_bytes(spec))
    for offset, position in enumerate(positions // cell_bytes(spec)):
        row, stored = cells[position, : spec.row_bytes], cells[position, spec.row_bytes :]
        expected = record.checksums[spec.field][offset]
        if checksum(row) != expected or int.from_bytes(stored.tobytes(), "little") != expected:
            yield SHARD_ROWS * record.shard + offset
