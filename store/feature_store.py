"""The feature store: subsets of rows, and for each extractor the values of those rows.

On disk it is a folder (``docs/store-format.md`` is the contract): Zarr arrays, and beside them the
index of rows, a journal of what is complete, and a record of each extractor's settings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clare.advice import Name, Run
from clare.errors import StoreError
from clare.files import (
    PARTIAL,
    make_folder,
    remove_partials,
    require_free_space,
    storage_errors,
    write_durably,
)
from clare.names import is_plain
from clare.store.bucket.mirror import Mirror
from clare.store.bucket.places import bucket_url, local_path, place_of
from clare.store.commands import StoreCommand, add_command, read_commands
from clare.store.extractor_records import (
    Assets,
    check_asset,
    describe_asset,
    extractor_record,
    is_asset_name,
    read_assets,
    read_extractor,
)
from clare.store.feature import Feature
from clare.store.index import RowIndex, SubsetIndex, assign
from clare.store.journal import PENDING, Journal
from clare.store.layout import (
    ASSETS,
    EXTRACTORS,
    EXTRACTORS_CLAIM,
    LOCKS,
    RECORD,
    STORE_CLAIM,
    ZARR,
    Layout,
)
from clare.store.records import damaged, read_sealed, seal
from clare.store.row import DECIDING, Row
from clare.store.rows import Rows, join_rows, objects
from clare.store.spec import FeatureSpec, Fingerprint, describe_differences
from clare.store.thumbnails import read_thumbnail, write_thumbnails
from clare.store.zarr_shards import GROUP, write_metadata

_log = logging.getLogger("clare")

FORMAT = 1
"""Version of the format on disk; raised when an older reader would misread it."""

SIGNATURE = {"name": "clare feature store", "format": FORMAT}


def create_store(path: Path | str) -> FeatureStore:
    """Make a store, or open the one that is there.

    Raises:
        StoreError: the folder holds something else or can't be used, or a store of an unknown
            format.
    """
    folder, layout = place_of(path), Layout.at(path)
    if layout.mirror is not None:
        _begin_in_bucket(layout, layout.mirror)
        return open_store(path)
    with storage_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file", Name("a folder for the feature store", "store"))
        if not layout.is_begun:
            # Looked into before it is locked, since the lock is a file in it.
            inside = list(folder.iterdir()) if folder.exists() else []
            foreign = any(path.name != LOCKS and path.suffix != PARTIAL for path in inside)
            # Asked again, since another process may have made the store meanwhile.
            if foreign and not layout.is_begun:
                raise StoreError(
                    f"{folder} is not empty and not a feature store",
                    Name("another folder", "store"),
                )
            with layout.claims.exclusive(STORE_CLAIM) as fence:
                if not layout.is_begun:
                    remove_partials(folder, layout.marker.name)
                    write_durably(layout.marker, seal(SIGNATURE), fence=fence)
        return open_store(folder)


def _begin_in_bucket(layout: Layout, mirror: Mirror) -> None:
    layout.renew_file(layout.marker)
    if layout.marker.exists():
        return
    top = {found.key.partition("/")[0] for found in mirror.objects.list()}
    if not top <= {LOCKS}:
        raise StoreError(
            f"{mirror.url} is not empty and not a feature store", Name("another place", "store")
        )
    with layout.claims.exclusive(STORE_CLAIM) as fence:
        layout.renew_file(layout.marker)
        if not layout.marker.exists():
            write_durably(layout.marker, seal(SIGNATURE), fence=fence)


def may_hold_store(place: Path | str) -> bool:
    """Whether a store may be opened at a place: a folder is there, or it is in a bucket."""
    return bucket_url(place) is not None or local_path(place).is_dir()


def open_store(path: Path | str) -> FeatureStore:
    """Open an existing store.

    Raises:
        StoreError: there is no store, or one of an unknown format.
        CorruptStoreError: its marker or the record of an extractor is damaged.
    """
    folder, layout = place_of(path), Layout.at(path)
    marker = layout.marker
    layout.renew_file(marker)
    if layout.mirror is not None and not marker.exists():
        layout.mirror.objects.list_folder("")  # says so where there is no such bucket
    try:
        with storage_errors(marker):
            marker.lstat()  # is there any such place?
        found = read_sealed(marker)
    except FileNotFoundError:
        if layout.is_begun:
            raise damaged(marker, "it is missing") from None
        raise StoreError(
            f"there is no feature store at {folder}", Run("extract", effect="makes one")
        ) from None
    if found != SIGNATURE:
        raise StoreError(
            f"{folder} has format {found.get('format')!r} and this version reads format {FORMAT}",
            "use the version of clare that wrote it",
        )
    _log.info("store %s", folder)
    return FeatureStore(folder)


class FeatureStore:
    """An open store; made by `create_store` or `open_store`.

    It holds no open file and sees what other processes append. Reading never writes.

    Args:
        path: the store's folder, or its place in a bucket.
    """

    def __init__(self, path: Path) -> None:
        self.path = place_of(path)
        self.layout = Layout.at(self.path)
        self.layout.renew(self.layout.root / EXTRACTORS, {RECORD, ASSETS}.__contains__)
        self._indexes: dict[str, RowIndex] = {}
        self._journals: dict[tuple[str, str], Journal] = {}
        self._extractors: dict[str, tuple[Fingerprint, dict[str, FeatureSpec]]] = {}
        self.extractor_keys()

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureStore, (self.path,)

    def subsets(self) -> list[str]:
        """Names of the subsets that have rows."""
        return self.layout.subsets()

    def rows(self, subset: str) -> Rows:
        """The live rows of a subset, in slot order: a sequence of `Row`, and their columns.

        Raises:
            StoreError: there is no such subset.
            CorruptStoreError: its index is damaged.
        """
        index = self.index(subset)
        if not index.segments:
            names = ", ".join(self.subsets()) or "none yet"
            raise StoreError(f"{self.path} has no subset {subset!r}; it has: {names}")
        return index.live

    def table(self, subset: str | None = None) -> dict[str, np.ndarray]:
        """The index as columns, which `pandas.DataFrame` takes as they are.

        Args:
            subset: the rows of one subset; of all if left out.

        Returns:
            (N,) arrays in slot order, subset after subset: ``subset``, ``slot``, ``sample_id``,
            ``view``, ``content``; every column of the manifests, as objects with None where a row
            has no value unless all have one of a kind; and for each extractor, named by its key,
            ``complete``, ``failed`` or ``pending``.

        Raises:
            StoreError: there is no such subset.
            CorruptStoreError: the index or the journal is damaged.
        """
        names = self.subsets() if subset is None else [subset]
        parts = [self.rows(name) for name in names]
        rows, ends = join_rows(parts), np.cumsum([0, *map(len, parts)])
        states: dict[str, np.ndarray] = {}
        for name, part, end in zip(names, parts, ends[1:], strict=True):
            for feature in self.features(name):
                found = states.setdefault(feature.key, np.full(len(rows), PENDING, np.uint8))
                found[end - len(part) : end] = feature.states()[part.slots]
        words = np.array(["pending", "complete", "failed"])
        own = {
            "subset": np.repeat(objects(names, len(names)), np.diff(ends)),
            "slot": rows.slots,
            "sample_id": rows.sample_ids,
            "view": rows.views,
            "content": rows.contents,
        }
        own |= {name: rows.column(name) for name in rows.names() if name not in own}
        return {
            **{name: column.copy() for name, column in own.items()},
            **{key: words[found] for key, found in sorted(states.items())},
        }

    def index(self, subset: str) -> SubsetIndex:
        """The subset's index as it now is on the disk; empty for an unknown subset."""
        return self._row_index(subset).read()

    def assign_rows(self, subset: str, rows: Sequence[Row]) -> Rows:
        """Give rows their slots, durably; rows that are known keep theirs.

        A row with the same identity (sample, view, content, face, mask) and other columns
        has its metadata refreshed, and so have the views of its sample that are not listed. One
        with other content is a new row, which supersedes the older one of its (sample, view); if
        the old content comes back, so does its old slot.

        Args:
            subset: name of the subset; made if it is new.
            rows: their ``slot`` is ignored.

        Returns:
            The same rows with their slots, in the order given.

        Raises:
            StoreError: a (sample, view) is listed twice, the subset's name can't be a folder, or
                rows are so long that they could not be read again.
            DiskSpaceError: the disk is full; what got its slots keeps them.
        """
        _check_name("subset", subset)
        self.layout.require_own(self.layout.segments(subset))
        make_folder(self.layout.segments(subset))
        claims = self.layout.claims
        with claims.exclusive(self.layout.rows_claim(subset)) as fence:
            if claims.by_leases:
                self._indexes.pop(subset, None)  # a network disk may hide that a file was replaced
            return assign(self.layout, subset, self.index(subset), rows, fence)

    def declare(self, fingerprint: Fingerprint, fields: Sequence[FeatureSpec]) -> None:
        """Record an extractor's fingerprint and fields, durably; once is enough.

        Raises:
            StoreError: the same fingerprint was declared with other fields.
            ValueError: a field can't be stored.
        """
        _check_name("extractor", fingerprint.key)
        for spec in fields:
            _check_name("field", spec.field)
            spec.require_storable()
        record = self.layout.extractor_record(fingerprint.key)
        assets = self.layout.asset_record(fingerprint.key)
        self.layout.require_own(record.parent)
        with self.layout.claims.exclusive(EXTRACTORS_CLAIM) as fence:
            self.layout.renew(record.parent, {RECORD, ASSETS}.__contains__)
            remove_partials(self.layout.group(), ZARR)
            write_metadata(self.layout.group(), GROUP, fence)
            remove_partials(record.parent, record.name)
            remove_partials(record.parent, assets.name)
            if not assets.exists():
                write_durably(assets, seal(Assets({}, pending=True).to_json()), fence=fence)
            if not record.exists():
                write_durably(record, seal(extractor_record(fingerprint, fields)), fence=fence)
        _, declared = self.extractor(fingerprint.key)
        if declared != {spec.field: spec for spec in fields}:
            raise StoreError(
                f"{fingerprint.key} was declared with other fields ({', '.join(declared)}); "
                "whatever changes the fields must change the extractor's settings or version"
            )

    def extractor_keys(self) -> list[str]:
        """Keys of all declared extractors, each checked to be readable."""
        keys = self.layout.extractor_keys()
        for key in keys:
            self.extractor(key)
        return keys

    def extractor(self, key: str) -> tuple[Fingerprint, dict[str, FeatureSpec]]:
        """An extractor's fingerprint and its fields by name.

        Raises:
            StoreError: it was never declared.
            CorruptStoreError: its record is damaged.
        """
        if key not in self._extractors:
            try:
                self._extractors[key] = read_extractor(self.layout, key)
            except FileNotFoundError:
                raise StoreError(f"{self.path} has no extractor {key}") from None
        return self._extractors[key]

    def write_assets(self, key: str, assets: Mapping[str, Any]) -> None:
        """Keep an extractor's asset files, durably, with their sha256; once is enough.

        Args:
            key: a declared extractor.
            assets: name to bytes; left alone if the extractor has its assets already.
        """
        for name in assets:
            if not is_asset_name(name):
                raise StoreError(f"{name!r} can't name a file of {key}")
        folder = self.layout.extractor(key)
        with self.layout.claims.exclusive(EXTRACTORS_CLAIM) as fence:
            self.layout.renew_file(self.layout.asset_record(key))
            if self.has_assets(key):
                return
            self.layout.require_own(folder)
            remove_partials(folder)
            for name, content in assets.items():
                write_durably(folder / name, content, fence=fence)
            files = {path.name: describe_asset(path) for path in self.layout.assets(key)}
            record = seal(Assets(files).to_json())
            write_durably(self.layout.asset_record(key), record, fence=fence)

    def has_assets(self, key: str) -> bool:
        """Whether an extractor's asset files are there as a whole.

        Raises:
            CorruptStoreError: their list is damaged.
        """
        return not self._assets(key).pending

    def asset(self, key: str, name: str) -> Path:
        """The path of a sealed asset whose bytes were just checked.

        Raises:
            StoreError: the extractor has no such asset.
            CorruptStoreError: it is damaged or missing.
        """
        recorded = self._assets(key).assets.get(name)
        if recorded is None:
            raise StoreError(f"{key} has no asset {name!r}", Run("extract", effect="writes it"))
        path = self.layout.extractor(key) / name
        self.layout.require_own(path.parent)
        self.layout.renew_file(path)
        check_asset(path, recorded)
        return path

    def feature(
        self,
        subset: str,
        extractor: str,
        digest: str | None = None,
        *,
        shards: Iterable[int] | None = None,
    ) -> Feature:
        """One extractor's values for a subset.

        Args:
            subset: name of the subset.
            extractor: the extractor's name.
            digest: its fingerprint's digest or the beginning of it; may be left out where only
                one fingerprint has values.
            shards: that are worked on. Only their records are read, when they are looked at, and
                the lines of their rows, so that it takes as long in a large store as in a small
                one; nothing is known then of what superseded a row from another shard, unless this
                object has read the index before. If left out, the whole index and journal are
                read.

        Raises:
            StoreError: none fits, or several do; the message says what differs.
        """
        named = [key for key in self.extractor_keys() if key.rpartition("-")[0] == extractor]
        fitting = [key for key in named if key.rpartition("-")[2].startswith(digest or "")]
        if digest is None and len(fitting) > 1:
            fitting = [key for key in fitting if self.layout.is_recorded(key, subset)] or fitting
        if not fitting:
            known = ", ".join(named or self.extractor_keys()) or "none yet"
            asked = f"{extractor}={digest}" if digest else extractor
            raise StoreError(f"{self.path} has no features {asked}; it has: {known}")
        if len(fitting) > 1:
            differences = describe_differences([self.extractor(key)[0] for key in fitting])
            raise StoreError(
                f"several {extractor} features fit; choose one by its fingerprint: {differences}"
            )
        if shards is None:
            return self._feature(subset, fitting[0], self._row_index(subset))
        self._require_own_rows(subset)
        few = frozenset(shards)
        rows = self._indexes.get(subset) or RowIndex(self.layout, subset, shards=few)
        fields = self.extractor(fitting[0])[1]
        journal = Journal(self.layout, subset, fitting[0], fields, few)
        return self._opened(subset, journal, rows, eager=False)

    def features(self, subset: str) -> list[Feature]:
        """Every extractor that has values for a subset, by key."""
        return self._features(subset, self._row_index(subset))

    def overview(self, subset: str) -> tuple[Rows, list[Feature]]:
        """The live rows of a subset and its features, as far as counting them takes.

        Of the rows' columns only the label is read, when images were made, and what decides stored
        values: in a third of the time, and nothing is said of what else may be wrong with a row.

        Raises:
            CorruptStoreError: the index or the journal is damaged.
        """
        self._require_own_rows(subset)
        index = RowIndex(self.layout, subset, ("label", "created", *DECIDING))
        index.renew()
        return index.read().live, self._features(subset, index)

    def write_thumbnails(self, subset: str, shard: int, pictures: Mapping[int, bytes]) -> None:
        """Keep the JPEG bytes of a shard's pictures, by offset."""
        write_thumbnails(self.layout, subset, shard, pictures)

    def thumbnail(self, subset: str, slot: int) -> bytes | None:
        """The JPEG bytes of a row's picture, or None where none was kept.

        Raises:
            CorruptStoreError: the file is damaged.
        """
        return read_thumbnail(self.layout, subset, slot)

    def record_command(
        self, command: Sequence[str], subsets: Sequence[str], extractors: Sequence[str]
    ) -> None:
        """Note, durably, what fills the store; the same command is noted once.

        Args:
            command: its words; nothing is noted of an empty one.
            subsets: that it works on.
            extractors: keys of the extractors that it runs.

        Raises:
            DiskSpaceError: the disk is full.
        """
        if command:
            new = StoreCommand(tuple(command), tuple(subsets), tuple(extractors))
            add_command(self.layout, new)

    def commands(self) -> list[StoreCommand]:
        """The commands that filled the store, oldest first, where they were noted.

        Raises:
            CorruptStoreError: the log is damaged.
        """
        self.layout.renew_file(self.layout.commands)
        return read_commands(self.layout)

    def thumbnail_bytes(self, subset: str) -> int:
        """Bytes that the pictures of a subset's rows take."""
        return self.layout.bytes_in(self.layout.thumbnails(subset, 0).parent)

    def check_free_space(self, needed: int) -> None:
        """Refuse work that the disk has no room for.

        Args:
            needed: bytes that are about to be written.

        Raises:
            DiskSpaceError: less is free.
        """
        if self.layout.mirror is None:
            require_free_space(self.path, needed)

    def _assets(self, key: str) -> Assets:
        try:
            return read_assets(self.layout, key)
        except FileNotFoundError:
            return Assets({}, pending=True)

    def _row_index(self, subset: str) -> RowIndex:
        if subset not in self._indexes:
            self._require_own_rows(subset)
            index = RowIndex(self.layout, subset)
            index.renew()
            self._indexes[subset] = index
        return self._indexes[subset]

    def _require_own_rows(self, subset: str) -> None:
        folder = self.layout.segments(subset)
        self.layout.require_own(folder, self.layout.thumbnails(subset, 0).parent)

    def _features(self, subset: str, rows: RowIndex) -> list[Feature]:
        keys = [key for key in self.extractor_keys() if self.layout.is_recorded(key, subset)]
        return [self._feature(subset, key, rows) for key in keys]

    def _feature(self, subset: str, key: str, rows: RowIndex) -> Feature:
        if (subset, key) not in self._journals:
            fields = self.extractor(key)[1]
            self._journals[subset, key] = Journal(self.layout, subset, key, fields)
        return self._opened(subset, self._journals[subset, key], rows, eager=True)

    def _opened(self, subset: str, journal: Journal, rows: RowIndex, *, eager: bool) -> Feature:
        key = journal.key
        self.layout.require_own(self.layout.journal(subset, key), self.layout.group(subset, key))
        return Feature(self.layout, rows, journal, self.extractor(key)[0], eager=eager)


def _check_name(kind: str, name: str) -> None:
    if not is_plain(name) or name.endswith((PARTIAL, ".json", ".lock")):
        raise StoreError(
            f"{name!r} can't name a {kind}: use letters, digits, '.', '_', '+' and '-', "
            "and begin with a letter or digit"
        )
