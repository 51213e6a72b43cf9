"""Carrying a store into a bucket or out of it: resumable, every shard checked on its way.

What decides what counts is carried last: of each shard its files, compared with the checksums of
its record, then the record. So what was broken off is a good store with rows that are pending, and
the same command goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clare.errors import CorruptStoreError, StoreError
from clare.progress import Progress
from clare.store.bucket.objects import Objects, in_flight
from clare.store.bucket.places import bucket_url, local_path
from clare.store.commands import join_commands
from clare.store.extractor_records import parse_extractor
from clare.store.feature_store import create_store, open_store
from clare.store.journal import PENDING, ShardRecord, parse_record
from clare.store.layout import (
    ASSETS,
    COMMANDS,
    EXTRACTORS,
    JOURNAL,
    MARKER,
    RECORD,
    ROWS,
    THUMBNAILS,
    Layout,
    shard_path,
)
from clare.store.records import REPAIR, checking, unseal
from clare.store.same_store import require_same_store
from clare.store.sides import BucketSide, FolderSide, Side, is_mark
from clare.store.spec import FeatureSpec
from clare.store.thumbnails import join_thumbnails
from clare.store.zarr_shards import damaged_offsets
from clare.wording import counted

_SHARDS_AT_ONCE = 8  # of some 30 MB each
_RECORD = re.compile(rf"{JOURNAL}/([^/]+)/([^/]+)/([0-9]{{6}})\.json")
_CHUNK = re.compile(r"arrays/[^/]+/[^/]+/[^/]+/c/.+")
_PICTURES = re.compile(rf"{THUMBNAILS}/[^/]+/[0-9]{{6}}\.thumbs")
_HERE = Layout(Path())


@dataclass(frozen=True)
class Carried:
    """What carrying a store did.

    Args:
        shards: carried now.
        kept: shards that were there already.
        bytes: carried now.
    """

    shards: int
    kept: int
    bytes: int


def push_store(store: Path | str, url: str, progress: Progress | None = None) -> Carried:
    """Bring a store into a bucket, or what a bucket lacks of it.

    Into the folder others may write meanwhile, but not into the bucket.

    Args:
        store: the store's folder.
        url: where it shall stand, ``s3://bucket/df40.zarr``; ``file://`` is a folder.
        progress: called with (shards done, shards in all).

    Raises:
        CorruptStoreError: a shard of it is damaged; all others were carried.
        StoreError: something else stands there, or the server refuses.
    """
    source = open_store(store)
    if bucket_url(url) is None:
        return _carry(FolderSide(source.path), FolderSide(_made(url)), progress)
    return _carry(FolderSide(source.path), BucketSide(Objects(url)), progress)


def pull_store(url: str, store: Path | str, progress: Progress | None = None) -> Carried:
    """Bring a store out of a bucket into a folder, or what the folder lacks of it.

    Others may extract into either meanwhile, but add no rows to the folder; a shard of it that is
    claimed is left as it is.

    Args:
        url: where it stands, ``s3://bucket/df40.zarr``.
        store: the folder; made if it is not there.
        progress: called with (shards done, shards in all).

    Raises:
        CorruptStoreError: a shard of it is damaged; all others were carried.
        StoreError: something else stands in the folder, or the server refuses.
    """
    if bucket_url(url) is None:
        return push_store(local_path(url), str(store), progress)
    source = BucketSide(Objects(url))
    if MARKER not in source.sizes():
        raise StoreError(f"there is no feature store at {source.name()}")
    return _carry(source, FolderSide(_made(store)), progress)


def _made(store: Path | str) -> Path:
    return create_store(local_path(store)).path


def _carry(source: Side, target: Side, progress: Progress | None) -> Carried:
    # The source's records first: what they speak of stays, whoever writes there meanwhile.
    have, there = source.sizes(), target.sizes()
    require_same_store(source, target, have, there)
    extractors = _extractors(source, have)
    records = [key for key in sorted(have) if _RECORD.fullmatch(key)]
    others = [key for key in sorted(have) if not _is_of_shard(key)]
    ends = {MARKER, COMMANDS}
    one = partial(_carry_file, source, target, have, there)
    sent = sum(one(key) for key in others if key == MARKER)
    for some in _in_order([key for key in others if key not in ends]):
        sent += sum(in_flight(one, some))
    work = partial(_carry_shard, source, target, there, extractors)
    shards, damage = 0, list[CorruptStoreError]()
    for done, moved in enumerate(in_flight(work, records, _SHARDS_AT_ONCE), 1):
        if isinstance(moved, CorruptStoreError):
            damage.append(moved)
        else:
            sent, shards = sent + (moved or 0), shards + (moved is not None)
        if progress is not None:
            progress(done, len(records))
    sent += sum(one(key) for key in others if key == COMMANDS)
    if damage:
        raise CorruptStoreError(
            f"{counted(len(damage), 'damaged shard')} could not be carried, all else is there; "
            f"{damage[0].what}",
            *damage[0].advice,
        )
    return Carried(shards, len(records) - shards, sent)


def _is_of_shard(key: str) -> bool:
    return bool(_RECORD.fullmatch(key) or _CHUNK.fullmatch(key)) or is_mark(key)


def _in_order(keys: list[str]) -> list[list[str]]:
    """Files that are carried together: what others speak of before them, groups before arrays."""
    steps: dict[int, list[str]] = {}
    for key in keys:
        speaks_first = key.startswith((f"{ROWS}/", f"{EXTRACTORS}/"))
        steps.setdefault(0 if speaks_first else key.count("/"), []).append(key)
    return [steps[step] for step in sorted(steps)]


def _carry_file(
    source: Side, target: Side, have: Mapping[str, int], there: Mapping[str, int], key: str
) -> int:
    """Carry a file that is no shard's; the bytes that it took."""
    same_size = there.get(key) == have[key]
    folder, _, name = key.rpartition("/")
    if same_size and folder.startswith(EXTRACTORS) and name not in (RECORD, ASSETS):
        return 0  # written once, and checked by its sha256 whenever it is used
    data = source.read(key)
    if same_size and target.holds(key, data.__eq__, lambda: data):
        return 0
    if key in there and (key == COMMANDS or _PICTURES.fullmatch(key)):
        with suppress(FileNotFoundError):
            kept = target.read(key)
            data = _joined(key, kept, data)
            if data == kept:
                return 0
    target.write(key, data)
    return len(data)


def _joined(key: str, kept: bytes, data: bytes) -> bytes:
    """What is carried of the log of commands, or of pictures, with what is there already."""
    try:
        with checking(Path(key)):
            if key == COMMANDS:
                return join_commands(kept, data)
            _, subset, name = key.split("/")
            return join_thumbnails(kept, data, subset, int(name[:6]))
    except CorruptStoreError:
        return data


def _carry_shard(
    source: Side,
    target: Side,
    there: Mapping[str, int],
    extractors: Mapping[str, Mapping[str, FeatureSpec]],
    key: str,
) -> int | CorruptStoreError | None:
    """Carry a shard's files, then its record; the bytes that it took, None if none were needed."""
    before, damage = b"", None
    while True:
        try:
            line = source.read(key)
        except FileNotFoundError:
            return None  # taken back by a run that is going on
        if damage is not None and line == before:
            return damage  # the others are carried all the same
        try:
            return _carried_shard(source, target, there, extractors, key, line)
        except CorruptStoreError as error:
            before, damage = line, error  # unless it was written anew while it was carried


def _carried_shard(
    source: Side,
    target: Side,
    there: Mapping[str, int],
    extractors: Mapping[str, Mapping[str, FeatureSpec]],
    key: str,
    line: bytes,
) -> int | None:
    record = _parse(source, key, line, extractors)
    left_open = (record.states == PENDING).any() and source.is_marked(key)
    fields = extractors[record.key]
    files = {
        shard_path(_HERE.array(record.subset, record.key, name), record.shard, spec): spec
        for name, spec in fields.items()
    }
    is_there = all(
        there.get(path.as_posix()) == record.file_bytes[spec.field] for path, spec in files.items()
    )
    if is_there and there.get(key) == len(line) and target.holds(key, line.__eq__, lambda: line):
        if left_open and not target.is_marked(key):
            target.mark(key)
        return None
    with target.writing(key) as ours:
        if not ours or _has_more(target, key, record, extractors):
            return None
        target.mark(key)
        target.remove(key)
        sent = len(line)
        for path, spec in files.items():
            sent += _carry_values(source, target, there, path.as_posix(), record, spec)
        target.write(key, line)
        (target.mark if left_open else target.unmark)(key)
    return sent


def _has_more(
    target: Side,
    key: str,
    record: ShardRecord,
    extractors: Mapping[str, Mapping[str, FeatureSpec]],
) -> bool:
    """Whether rows of a shard are done there that are pending in this record: they stay."""
    try:
        other = _parse(target, key, target.read(key), extractors)
    except (CorruptStoreError, FileNotFoundError):
        return False
    return bool(((other.states != PENDING) & (record.states == PENDING)).any())


def _carry_values(
    source: Side,
    target: Side,
    there: Mapping[str, int],
    key: str,
    record: ShardRecord,
    spec: FeatureSpec,
) -> int:
    expected = record.checksums[spec.field]
    loaded: list[bytes] = []

    def load() -> bytes:
        if not loaded:
            with checking(Path(source.name()) / key):
                data = source.read(key)
                if damaged_offsets(data, expected, spec):
                    raise ValueError("its bytes are not those that were written")
            loaded.append(data)
        return loaded[0]

    def good(data: bytes) -> bool:
        try:
            return not damaged_offsets(data, expected, spec)
        except ValueError:
            return False

    try:
        if there.get(key) == record.file_bytes[spec.field] and target.holds(key, good, load):
            return 0
        target.write(key, load())
    except FileNotFoundError as error:
        raise CorruptStoreError(f"{source.name()}/{key} is missing", REPAIR) from error
    return len(loaded[0])


def _parse(
    source: Side, key: str, line: bytes, extractors: Mapping[str, Mapping[str, FeatureSpec]]
) -> ShardRecord:
    found = _RECORD.fullmatch(key)
    assert found is not None
    with checking(Path(source.name()) / key):
        if found[2] not in extractors:
            raise ValueError("its extractor has no record")
        return parse_record(unseal(line), (found[1], found[2], int(found[3])), extractors[found[2]])


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
