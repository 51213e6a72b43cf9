"""Where everything of a store lies: the names of its files and folders, in one place.

::

    store.json                                    the marker
    commands.jsonl                                the commands that filled the store
    rows/<subset>/<first shard>.jsonl             the index of rows, in segments
    journal/<subset>/<key>/<shard>.json           what of a shard is complete
    arrays/<subset>/<key>/<field>/c/<shard>/0…    the values, Zarr v3
    extractors/<key>/record.json, assets.json     settings and fields; files that go with them
    thumbnails/<subset>/<shard>.thumbs            small pictures of the rows
    locks/                                        who works on what; no data

``key`` is ``<extractor>-<digest>``; a shard's number has six digits in names, but none to spare
in Zarr's chunk keys.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from clare.errors import StoreError
from clare.files import PARTIAL, owned_partial
from clare.names import is_plain
from clare.store.bucket.claims import claims_in_bucket
from clare.store.bucket.mirror import Mirror, mirror_of
from clare.store.bucket.objects import Found
from clare.store.bucket.places import bucket_url, place_of
from clare.store.claims.claims import Claims, claims_of
from clare.store.spec import MOST_SHARDS, FeatureSpec

ZARR = "zarr.json"
"""Name of the metadata of every Zarr group and array."""

CHUNKS = "c"
"""Name of the folder of an array's shards."""

ROWS, JOURNAL, ARRAYS, EXTRACTORS, THUMBNAILS, LOCKS = (
    "rows",
    "journal",
    "arrays",
    "extractors",
    "thumbnails",
    "locks",
)
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM)
"""What the system says where no folder stands, or none that may be read."""

STORE_CLAIM = "store"
"""The claim that is held while the store's own files are written."""

EXTRACTORS_CLAIM = "extractors"
"""The claim that is held while extractors' records and assets are written."""

MARKER, COMMANDS, RECORD, ASSETS = "store.json", "commands.jsonl", "record.json", "assets.json"

TOP = {MARKER, COMMANDS, ROWS, JOURNAL, ARRAYS, EXTRACTORS, THUMBNAILS, LOCKS}
"""Everything that stands in a store's folder."""


@dataclass(frozen=True)
class Layout:
    """The paths of one store.

    Args:
        root: the store's folder.
        mirror: where that is a copy of a store in a bucket, what fills it.
    """

    root: Path
    mirror: Mirror | None = None

    @classmethod
    def at(cls, place: Path | str) -> Layout:
        """The paths of a store in a folder, or of the copy of one in a bucket."""
        url = bucket_url(place)
        if url is None:
            return cls(place_of(place))
        mirror = mirror_of(url)
        return cls(mirror.root, mirror)

    def renew(self, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Bring a copy's folder to what the bucket holds, of files of these names."""
        if self.mirror is not None:
            self.mirror.renew(folder, wanted)

    def renew_file(self, path: Path) -> None:
        """Bring a copy's file to what the bucket holds."""
        if self.mirror is not None:
            self.mirror.renew_file(path)

    @property
    def marker(self) -> Path:
        """The file that says that the folder is a store, and of which format."""
        return self.root / MARKER

    @property
    def commands(self) -> Path:
        """The log of commands that filled the store."""
        return self.root / COMMANDS

    def remove(self, path: Path) -> None:
        """Take a file away that nothing speaks of."""
        path.unlink(missing_ok=True)
        if self.mirror is not None:
            self.mirror.objects.delete(self.mirror.key(path))

    def require_own(self, *folders: Path) -> None:
        """Refuse folders that lie outside of the store, because a link leads there.

        Raises:
            StoreError: one does.
        """
        for folder in folders:
            below = str(self.root)
            for part in folder.relative_to(self.root).parts:
                below = f"{below}/{part}"
                if os.path.islink(below):  # noqa: PTH114 - asked for each of very many subsets
                    raise StoreError(
                        f"{folder} leads elsewhere through a link; what a store holds lies in it"
                    )

    @property
    def is_begun(self) -> bool:
        """Whether there is a store; one that has rows may have lost its marker."""
        if self.mirror is not None:
            return self.marker.exists() or self._holds(self.root / ROWS, ".jsonl")
        return self.marker.exists() or (self.root / ROWS).exists()

    def subsets(self) -> list[str]:
        """Names of the subsets that have rows, sorted."""
        rows = self.root / ROWS
        names = filter(is_plain, self._folders(rows))
        return sorted(name for name in names if self._holds(rows / name, ".jsonl"))

    def segments(self, subset: str) -> Path:
        """The folder of a subset's index."""
        return self.root.joinpath(ROWS, subset)

    def segment(self, subset: str, first_shard: int) -> Path:
        """The file of the segment that begins with a shard."""
        return self.segments(subset) / f"{first_shard:06d}.jsonl"

    def segment_files(self, subset: str) -> list[Path]:
        """The segment files of a subset that are there, first shard first."""
        return [Path(entry.path) for entry in self.segment_entries(subset)]

    def segment_entries(self, subset: str) -> list[os.DirEntry[str]]:
        """`segment_files`, each as its entry in their folder."""
        found = _numbered(self.segments(subset), ".jsonl")
        return sorted(found, key=attrgetter("name"))

    def listed_segments(self, subset: str) -> list[Found]:
        """The segments of a subset as a bucket lists them, first shard first."""
        assert self.mirror is not None
        listed = self.mirror.objects.list_folder(self.mirror.key(self.segments(subset)))
        named = [found for found in listed if _numbers(".jsonl").fullmatch(found.name)]
        return sorted(named, key=attrgetter("name"))

    def journal(self, subset: str, key: str) -> Path:
        """The folder of the records of an extractor's shards."""
        return self.root.joinpath(JOURNAL, subset, key)

    def record(self, subset: str, key: str, shard: int) -> Path:
        """The file of a shard's record."""
        return self.root.joinpath(JOURNAL, subset, key, f"{shard:06d}.json")

    def being_written(self, subset: str, key: str, shard: int) -> Path:
        """Stands in the place of a shard's record while its owner writes the shard, and beside it
        where rows of it are still to be extracted."""
        return owned_partial(self.record(subset, key, shard))

    def recorded(self, subset: str, key: str) -> set[int]:
        """The shards that have a record, by the names of files alone."""
        return self.journalled(subset, key)[0]

    def records(self, subset: str, key: str) -> Iterator[tuple[int, os.DirEntry[str]]]:
        """The shards that have a record, in no order, with its entry in their folder.

        Of a store in a bucket, those whose record was brought into the copy.
        """
        for entry in _numbered(self.journal(subset, key), ".json"):
            yield int(entry.name[:6]), entry

    def journalled(self, subset: str, key: str) -> tuple[set[int], set[int]]:
        """The shards that have a record, and those marked as being written or left open.

        From names alone, which a bucket lists: what a record says is not read.
        """
        folder = self.journal(subset, key)
        if self.mirror is not None:
            entries = self.mirror.names(folder)
        else:
            entries = {entry.name for entry in _entries(folder)}
        mark = owned_partial(Path(".json")).name
        records, marks = (
            {int(name[:6]) for name in filter(_numbers(end).fullmatch, entries)}
            for end in (".json", mark)
        )
        return records, marks

    def is_recorded(self, key: str, subset: str | None = None) -> bool:
        """Whether any shard of an extractor has a record, in a subset or in any."""
        journal = self.root / JOURNAL
        subsets = self._folders(journal) if subset is None else [subset]
        return any(self._holds(journal.joinpath(name, key), ".json") for name in subsets)

    def keys_of(self, subset: str) -> list[str]:
        """Keys of the extractors that have values of a subset, sorted."""
        tops = (self.root.joinpath(top, subset) for top in (JOURNAL, ARRAYS))
        return sorted({name for top in tops for name in self._folders(top)})

    def group(self, subset: str = "", key: str = "") -> Path:
        """The folder of a Zarr group: of all arrays, of a subset's or of an extractor's."""
        return self.root.joinpath(ARRAYS, subset, key)

    def groups(self, key: str) -> list[Path]:
        """The folders of an extractor's arrays in every subset."""
        return sorted(self.root.glob(f"{ARRAYS}/*/{key}"))

    def journals(self, key: str) -> list[Path]:
        """The folders of an extractor's records in every subset."""
        return sorted(self.root.glob(f"{JOURNAL}/*/{key}"))

    def array(self, subset: str, key: str, field: str) -> Path:
        """The folder of a field's Zarr array."""
        return self.group(subset, key) / field

    def extractor(self, key: str) -> Path:
        """The folder of an extractor's record and of the files that it wrote once."""
        return self.root / EXTRACTORS / key

    def extractor_record(self, key: str) -> Path:
        """The record of an extractor's settings and fields."""
        return self.extractor(key) / RECORD

    def extractor_keys(self) -> list[str]:
        """Keys of all extractors that have a record, sorted."""
        entries = _entries(self.root / EXTRACTORS)
        there = [entry.name for entry in entries if os.path.exists(f"{entry.path}/{RECORD}")]  # noqa: PTH110
        return sorted(filter(is_plain, there))

    def asset_record(self, key: str) -> Path:
        """The list of an extractor's asset files with their sha256."""
        return self.extractor(key) / ASSETS

    def assets(self, key: str) -> list[Path]:
        """The files beside an extractor's own records, sorted."""
        self.renew(self.extractor(key))
        found = self.extractor(key).glob("*")
        return sorted(p for p in found if p.name not in (RECORD, ASSETS) and p.suffix != PARTIAL)

    def thumbnails(self, subset: str, shard: int) -> Path:
        """The file of a shard's pictures."""
        return self.root.joinpath(THUMBNAILS, subset, f"{shard:06d}.thumbs")

    def pictured(self, subset: str) -> set[int]:
        """The shards that have a file of pictures."""
        folder = self.root / THUMBNAILS / subset
        return {int(entry.name[:6]) for entry in _numbered(folder, ".thumbs")}

    @property
    def claims(self) -> Claims:
        """What this process claims in the store."""
        return (
            claims_of(self.root / LOCKS) if self.mirror is None else claims_in_bucket(self.mirror)
        )

    def rows_claim(self, subset: str) -> str:
        """The claim that is held while a subset's index, or the length of its arrays, changes."""
        return f"{subset}/rows"

    def thumbnails_claim(self, subset: str) -> str:
        """The claim that is held, numbered as the shard, while a file of pictures is written."""
        return f"{subset}/thumbnails"

    def shards_claim(self, subset: str, key: str) -> str:
        """The claims of an extractor's shards, each numbered as its shard."""
        return f"{subset}/{key}"

    def _folders(self, folder: Path) -> list[str]:
        """The names of the folders in a folder, also of those that a bucket alone holds."""
        if self.mirror is not None:
            return sorted(self.mirror.folders(folder))
        return [entry.name for entry in _entries(folder) if entry.is_dir()]

    def _holds(self, folder: Path, ending: str) -> bool:
        if self.mirror is not None:
            return self.mirror.holds(folder, ending)
        return any(entry.name.endswith(ending) for entry in _entries(folder))

    def bytes_in(self, folder: Path) -> int:
        """Bytes of all files in a folder, however deep."""
        if self.mirror is not None:
            return sum(found.size for found in self.mirror.objects.list(self.mirror.key(folder)))
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def folders(self, *tops: str) -> list[str]:
        """Names of the folders in these folders of the store; ``*`` stands for any folder."""
        found = (path for top in tops for path in self.root.glob(f"{top}/*"))
        return sorted({path.name for path in found if path.is_dir()})


def shard_path(array: Path, shard: int, spec: FeatureSpec) -> Path:
    """The file of a shard, in Zarr's default chunk key encoding."""
    return array.joinpath(CHUNKS, str(shard), *("0" for _ in spec.shape))


def shard_of(path: Path, array: Path, spec: FeatureSpec) -> int | None:
    """The shard whose file a path in an array's folder of shards is; None if it is none's."""
    number = path.relative_to(array / CHUNKS).parts[0]
    if not (number.isascii() and number.isdigit()) or len(number) > len(str(MOST_SHARDS)):
        return None
    shard = int(number)
    return shard if path == shard_path(array, shard, spec) else None


def folder_belongs(path: Path) -> bool:
    """Whether a folder, and no file, belongs in a place of a store, seen from its root."""
    top, *inner = path.parts
    if not inner:
        return top in TOP - {MARKER, COMMANDS}
    if top == ARRAYS:
        depth = len(inner)
        return inner[-1] != ZARR if depth <= 3 else depth == 4 and inner[-1] == CHUNKS
    depth = {ROWS: 1, THUMBNAILS: 1, EXTRACTORS: 1, JOURNAL: 2}.get(top, 0)
    return len(inner) <= depth


def _numbered(folder: Path, suffix: str) -> list[os.DirEntry[str]]:
    """The files of a folder that are named by a number, in no order."""
    named = _numbers(suffix).fullmatch
    return [entry for entry in _entries(folder) if named(entry.name)]


def _numbers(suffix: str) -> re.Pattern[str]:
    return re.compile(rf"[0-9]{{6}}{re.escape(suffix)}")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds; nothing where none can be read. A search by pattern takes far longer."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        if error.errno in _NO_FOLDER:
            return []
        raise
