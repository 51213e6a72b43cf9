"""Compare every byte of a store with what its records say was written."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from clare.errors import CorruptStoreError, StoreError
from clare.files import PARTIAL, storage_errors
from clare.names import is_plain
from clare.progress import Progress
from clare.store.bucket.places import bucket_url, local_path
from clare.store.commands import read_commands
from clare.store.extractor_records import (
    check_asset,
    copied_extractor,
    extractor_group,
    is_asset_name,
    read_assets,
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
    folder_belongs,
    shard_of,
    shard_path,
)
from clare.store.maintenance.drop import DROPPED, dropping
from clare.store.maintenance.in_bucket import Read, seen_from_here
from clare.store.maintenance.salvage import salvage_index
from clare.store.records import (
    DamagedRecordError,
    damaged,
    read_file,
    read_sealed,
)
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from clare.store.thumbnails import check_thumbnails
from clare.store.zarr_shards import (
    GROUP,
    array_metadata,
    damaged_offsets,
    metadata_text,
    shard_bytes,
)

Extractor = tuple[Fingerprint, dict[str, FeatureSpec]]
_SIGNS = (MARKER, ROWS, JOURNAL, EXTRACTORS)
"""Of which a store, however damaged, still has one."""
_THREADS = 4

ASIDE = "set-aside"
"""A folder of a store for what repair found in the place of something else."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was written.

    Args:
        kind: ``marker``, ``commands``, ``segment``, ``extractor``, ``assets``, ``metadata``,
            ``shard``, ``thumbnails``, ``misplaced`` (a link, or a folder where a file belongs, or
            the reverse) or ``extra``; decides what repair does.
        path: the file or folder, relative to the store.
        what: what is wrong with it.
        subset: the subset it belongs to, where it belongs to one.
        key: the extractor it belongs to, where it belongs to one.
        shard: for the kinds ``shard`` and ``thumbnails``, its number.
        field: the damaged field, where only one is.
        rows: slots of the rows that are damaged, where single rows are.
    """

    kind: str
    path: Path
    what: str
    subset: str
    key: str
    shard: int
    field: str = ""
    rows: tuple[int, ...] = ()

    @property
    def where(self) -> str:
        """The place in words: subset, field and rows where it has them, else the file."""
        if not self.rows:
            return str(self.path)
        listed = ", ".join(map(str, self.rows[:5])) + (" …" if len(self.rows) > 5 else "")
        return f"{self.subset}/{self.key}/{self.field}, rows {listed}"


def verify_store(
    store_path: Path | str, *, quick: bool = False, progress: Progress | None = None
) -> list[Problem]:
    """Read a whole store and list everything that is changed, truncated, missing or extra.

    Works on stores that `open_store` refuses. What a killed run left behind is no problem: it is
    pending and the next run does it again.

    Args:
        store_path: the store's folder, or its place in a bucket.
        quick: read every record, and of arrays, pictures and assets the size or the presence of
            each file alone: what has the right size and other bytes is not found.
        progress: called with (shards read, shards in all).

    Returns:
        The problems; an empty list for a good store.

    Raises:
        StoreError: there is no such folder, or it has nothing of a store.
    """
    url = bucket_url(store_path)
    if url is None:
        return _verify(local_path(store_path), str(store_path), quick, progress, read_file)
    with seen_from_here(url, quick=quick) as (path, read):
        return _verify(path, url, quick, progress, read)


def _verify(
    path: Path, name: str, quick: bool, progress: Progress | None, read: Read
) -> list[Problem]:
    with storage_errors(path):
        begun = any((path / sign).exists() for sign in _SIGNS)
    if not begun:
        raise StoreError(f"there is no feature store at {name}")
    check = _Check(path, quick=quick, read=read)
    check.places()
    check.top()
    for key in check.layout.folders(EXTRACTORS, f"{JOURNAL}/*", f"{ARRAYS}/*"):
        check.extractor(key)
    for subset in check.layout.folders(ROWS, JOURNAL, ARRAYS, THUMBNAILS):
        if is_plain(subset):
            check.subset(subset)
        else:
            check.found("extra", path / ROWS / subset, "it can't name a subset")
    check.shards(progress)
    return sorted(check.problems, key=lambda problem: (str(problem.path), problem.shard))


class _Check:
    """The walk over one store; problems gather in ``problems``."""

    def __init__(self, path: Path, *, quick: bool = False, read: Read = read_file) -> None:
        self.path = path
        self.read = read
        self.quick = quick
        self.layout = Layout(path)
        self.problems: list[Problem] = []
        self.extractors: dict[str, Extractor] = {}
        self.records: list[tuple[ShardRecord, dict[str, FeatureSpec]]] = []

    def found(
        self, kind: str, path: Path, what: str, subset: str = "", key: str = "", shard: int = -1
    ) -> None:
        self.problems.append(Problem(kind, path.relative_to(self.path), what, subset, key, shard))

    def kept_aside(self) -> set[str]:
        """The folder, if there is one, of what repair set aside; what it holds is nobody's."""
        kept = self.path / ASIDE
        return {ASIDE} if kept.is_dir() and not kept.is_symlink() else set()

    def places(self) -> None:
        """Report links, and what is no folder where one belongs."""
        for folder, folders, files in os.walk(self.path):
            if Path(folder) == self.path:
                folders[:] = sorted({*folders} - self.kept_aside())
            for name in folders + files:
                path = Path(folder, name)
                if path.is_symlink():
                    what = "it is a link; what a store holds lies in it"
                    self.found("misplaced", path, what)
                elif name in folders or path.suffix == PARTIAL:
                    continue  # what a killed writer left is no problem, wherever it stands
                elif folder_belongs(path.relative_to(self.path)):
                    self.found("misplaced", path, "a folder belongs in its place")

    def extra(self, folder: Path, known: set[str]) -> None:
        """Report what nobody of ours put into a folder, and what no writer will clean up."""
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            whole = path.name.removesuffix(PARTIAL).rpartition(".")[0]
            if path.name in known or path.is_symlink():
                continue
            if path.suffix != PARTIAL:
                self.found("extra", path, "it does not belong to the store")
            elif whole not in known and not self.is_written_here(folder, whole):
                self.found("extra", path, "somebody stopped while writing it, and nobody goes on")

    def is_written_here(self, folder: Path, name: str) -> bool:
        """Whether a file that is not there yet may be being written in a folder."""
        if folder == self.path:
            return name in (*TOP, DROPPED)
        return (
            Path(name).suffix in (".json", ".jsonl", ".thumbs") or folder.parent.name == EXTRACTORS
        )

    def top(self) -> None:
        marker = self.layout.marker
        try:
            if read_sealed(marker) != SIGNATURE:
                raise StoreError(f"{marker} names another format than this version's")
        except FileNotFoundError:
            self.found("marker", marker, "it is missing")
        except DamagedRecordError as error:
            self.found("marker", marker, error.why)
        try:
            read_commands(self.layout)
        except DamagedRecordError as error:
            self.found("commands", self.layout.commands, error.why)
        self.extra(self.path, {*TOP, *self.kept_aside()})
        arrays = self.layout.group()
        if arrays.is_dir() and (any(arrays.glob("*/*")) or (arrays / ZARR).exists()):
            self.metadata(arrays, [metadata_text(GROUP)])

    def extractor(self, key: str) -> None:
        record = self.layout.extractor_record(key)
        try:
            self.extractors[key] = read_extractor(self.layout, key)
            if not self.layout.asset_record(key).exists():
                self.found("assets", self.layout.asset_record(key), "it is missing", key=key)
        except FileNotFoundError:
            if self.layout.is_recorded(key) or self.layout.groups(key):
                self.found("extractor", record, "it is missing", key=key)
        except DamagedRecordError as error:
            self.found("extractor", record, error.why, key=key)
        if key not in self.extractors:  # its copy, so that one damage does not hide the others
            for group in self.layout.groups(key):
                with suppress(CorruptStoreError, FileNotFoundError):
                    copy = copied_extractor(group)
                    if copy[0].key == key:
                        self.extractors[key] = copy
        self.assets(key)

    def assets(self, key: str) -> None:
        present = {path.name for path in self.layout.assets(key)}
        try:
            recorded = read_assets(self.layout, key)
        except FileNotFoundError:
            return
        except DamagedRecordError as error:
            self.found("assets", self.layout.asset_record(key), error.why, key=key)
            return
        folder = self.layout.extractor(key)
        for name in sorted(present - set(recorded.assets)):
            # What a run that was stopped wrote of them is written over.
            if not recorded.pending or not is_asset_name(name):
                self.found("extra", folder / name, "it is not recorded in assets.json")
        for name, asset in recorded.assets.items():
            try:
                check_asset(folder / name, asset, quick=self.quick)
            except DamagedRecordError as error:
                self.found("assets", folder / name, error.why, key=key)

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
        self.thumbnails(subset, index.shards)

    def thumbnails(self, subset: str, shards: int) -> None:
        there = {shard for shard in self.layout.pictured(subset) if shard < shards}
        files = {shard: self.layout.thumbnails(subset, shard) for shard in there}
        self.extra(self.layout.thumbnails(subset, 0).parent, {p.name for p in files.values()})
        wanted = {r.shard for r, _ in self.records if r.subset == subset and r.thumbnails}
        for shard in sorted(there | wanted):
            path = self.layout.thumbnails(subset, shard)
            try:
                check_thumbnails(self.layout, subset, shard, quick=self.quick)
            except FileNotFoundError:
                self.found("thumbnails", path, "it is missing", subset, shard=shard)
            except DamagedRecordError as error:
                self.found("thumbnails", path, error.why, subset, shard=shard)

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
        unrecorded: set[int] = set()
        for name, spec in fields.items():
            if shards or (arrays / name / ZARR).exists():
                texts = [metadata_text(array_metadata(spec, end)) for end in ends]
                self.metadata(arrays / name, texts, subset, key)
            self.extra(arrays / name, {ZARR, CHUNKS})
            for path in sorted((arrays / name / CHUNKS).rglob("*")):
                if not path.is_file() or path.suffix == PARTIAL:
                    continue
                number = shard_of(path, arrays / name, spec)
                if number is None or number >= index.shards:
                    self.found("extra", path, "it does not belong to the store")
                elif number not in shards:
                    unrecorded.add(number)
        for shard in sorted(unrecorded):
            if self.is_lost(subset, key, shard):
                path = self.layout.record(subset, key, shard)
                what = "it is missing, and the shard lies there"
                self.found("shard", path, what, subset, key, shard)

    def is_lost(self, subset: str, key: str, shard: int) -> bool:
        """Whether a shard lost its record, and was not being written or dropped."""
        marks = (
            self.layout.being_written(subset, key, shard),
            self.layout.record(subset, key, shard),  # written while we looked
            self.layout.being_written(subset, key, shard),
        )
        return not any(mark.exists() for mark in marks) and not dropping(self.path)

    def metadata(self, folder: Path, texts: list[bytes], subset: str = "", key: str = "") -> None:
        path = folder / ZARR
        try:
            if read_file(path, max(map(len, texts), default=0)) not in texts:
                self.found("metadata", path, "it is not what was written", subset, key)
        except FileNotFoundError:
            self.found("metadata", path, "it is missing", subset, key)
        except DamagedRecordError as error:
            self.found("metadata", path, error.why, subset, key)

    def record(self, subset: str, key: str, shard: int, index: SubsetIndex) -> None:
        path = self.layout.record(subset, key, shard)
        fields = self.extractors[key][1]
        place = slice(SHARD_ROWS * shard, SHARD_ROWS * (shard + 1))
        known = index.has_row[place]
        try:
            record = read_record(self.layout, subset, key, shard, fields)
            if not known.any():
                raise damaged(path, "the index has no rows of this shard")
            same = record.identities == index.identity_checksums[place]
            if (known & (record.states > 0) & ~same).any():
                raise damaged(path, "it speaks of other rows than the index")
            if record.file_bytes.keys() != fields.keys():
                raise damaged(path, "its fields are not the extractor's")
        except FileNotFoundError:
            return  # taken back by a run that is going on
        except DamagedRecordError as error:
            self.found("shard", path, error.why, subset, key, shard)
        else:
            self.records.append((record, fields))

    def shards(self, progress: Progress | None) -> None:
        """Read every journalled shard file, several at a time; or look at each, if quick."""
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
            _require_size(path, spec)
            rows = () if self.quick else tuple(_damaged_rows(self.read, path, record, spec))
            what = "their bytes are not those that were written" if rows else ""
        except FileNotFoundError:
            what = "the shard's file is missing"
        except DamagedRecordError as error:
            what = error.why
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


def _require_size(path: Path, spec: FeatureSpec) -> None:
    """Refuse what can't be a shard by what the system says of it."""
    status, wanted = path.lstat(), shard_bytes(spec)
    if not S_ISREG(status.st_mode):
        read_file(path, wanted)  # says what stands there
    if status.st_size != wanted:
        raise ValueError(f"the shard has {status.st_size} bytes instead of {wanted}")


def _damaged_rows(read: Read, path: Path, record: ShardRecord, spec: FeatureSpec) -> list[int]:
    """Slots whose stored bytes, or the checksum stored after them, are wrong."""
    data = read(path, shard_bytes(spec))
    offsets = damaged_offsets(data, record.checksums[spec.field], spec)
    return [SHARD_ROWS * record.shard + offset for offset in offsets]
