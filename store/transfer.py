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

from clare.errors import CorruptStoreError, LostClaimError, StoreError
from clare.files import Fence
from clare.foreign import parse_json
from clare.progress import Progress
from clare.store.bucket.objects import Objects, in_flight
from clare.store.bucket.places import bucket_url, local_path
from clare.store.commands import join_commands
from clare.store.extractor_records import parse_extractor
from clare.store.feature_store import create_store, open_store
from clare.store.journal import PENDING, ShardRecord, parse_record
from clare.store.layout import (
    ARRAYS,
    ASSETS,
    COMMANDS,
    EXTRACTORS,
    EXTRACTORS_CLAIM,
    JOURNAL,
    MARKER,
    RECORD,
    ROWS,
    STORE_CLAIM,
    THUMBNAILS,
    ZARR,
    Layout,
    shard_path,
)
from clare.store.records import REPAIR, checking, unseal
from clare.store.same_store import require_same_rows, require_same_store
from clare.store.sides import BucketSide, FolderSide, Side, is_mark
from clare.store.spec import FeatureSpec
from clare.store.thumbnails import join_thumbnails
from clare.store.zarr_shards import damaged_offsets
from clare.wording import counted

_SHARDS_AT_ONCE = 8  # of some 30 MB each
_LAST = 1 << 10
_OTHERS = -1  # instead of the bytes of a shard that somebody else works on
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
        left: shards that others work on there.
        bytes: carried now.
    """

    shards: int
    kept: int
    left: int
    bytes: int


def push_store(store: Path | str, url: str, progress: Progress | None = None) -> Carried:
    """Bring a store into a bucket, or what a bucket lacks of it.

    Others may extract into either meanwhile, but add no rows to the bucket; a shard of it that is
    claimed is left as it is.

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
    some = partial(_carry_files, source, target, have, there)
    sent = 0
    *before, last = _in_order(others)
    for step in before:
        sent += sum(in_flight(some, _by_claim(step)))
    work = partial(_carry_shard, source, target, there, extractors)
    shards, left, damage = 0, 0, list[CorruptStoreError]()
    for done, moved in enumerate(in_flight(work, records, _SHARDS_AT_ONCE), 1):
        if isinstance(moved, CorruptStoreError):
            damage.append(moved)
        elif moved == _OTHERS:
            left += 1
        else:
            sent, shards = sent + (moved or 0), shards + (moved is not None)
        if progress is not None:
            progress(done, len(records))
    sent += sum(map(some, _by_claim(last)))
    if damage:
        raise CorruptStoreError(
            f"{counted(len(damage), 'damaged shard')} could not be carried, all else is there; "
            f"{damage[0].what}",
            *damage[0].advice,
        )
    return Carried(shards, len(records) - shards - left, left, sent)


def _is_of_shard(key: str) -> bool:
    return bool(_RECORD.fullmatch(key) or _CHUNK.fullmatch(key)) or is_mark(key)


def _in_order(keys: list[str]) -> list[list[str]]:
    """Files that are carried together: what others speak of before them, groups before arrays.

    The marker is the first step, and the log of commands the last, behind all shards.
    """
    steps: dict[int, list[str]] = {0: [], _LAST: []}
    for key in keys:
        depth = key.count("/") + 2
        if key.startswith((f"{ROWS}/", f"{EXTRACTORS}/")):
            depth = 1
        steps.setdefault({MARKER: 0, COMMANDS: _LAST}.get(key, depth), []).append(key)
    return [steps[step] for step in sorted(steps)]


def _by_claim(keys: list[str]) -> list[list[str]]:
    """Files by the claim under which they are written."""
    found: dict[tuple[str, int], list[str]] = {}
    for key in keys:
        found.setdefault(_claim_of(key), []).append(key)
    return list(found.values())


def _claim_of(key: str) -> tuple[str, int]:
    """The claim under which a file that is no shard's is written."""
    top, *inner = key.split("/")
    if _PICTURES.fullmatch(key):
        return _HERE.thumbnails_claim(inner[0]), int(inner[1][:6])
    if top == EXTRACTORS or key == f"{ARRAYS}/{ZARR}":
        return EXTRACTORS_CLAIM, 0
    return (_HERE.rows_claim(inner[0]) if top in (ROWS, ARRAYS) else STORE_CLAIM), 0


def _carry_files(
    source: Side, target: Side, have: Mapping[str, int], there: Mapping[str, int], keys: list[str]
) -> int:
    """Carry files of one claim, that are no shards'; the bytes that it took."""
    changed = partial(_read_changed, source, target, have, there)
    found = [(key, data) for key, data in zip(keys, in_flight(changed, keys), strict=True) if data]
    if not found:
        return 0
    with target.claims.exclusive(*_claim_of(keys[0])) as fence:
        return sum(in_flight(partial(_carry_file, source, target, fence), found))


def _read_changed(
    source: Side, target: Side, have: Mapping[str, int], there: Mapping[str, int], key: str
) -> bytes:
    """The bytes of a file; empty if the other side has the same."""
    same_size = there.get(key) == have[key]
    folder, _, name = key.rpartition("/")
    if same_size and folder.startswith(EXTRACTORS) and name not in (RECORD, ASSETS):
        return b""  # written once, and checked by its sha256 whenever it is used
    data = source.read(key)
    return b"" if same_size and target.holds(key, data.__eq__, lambda: data) else data


def _carry_file(source: Side, target: Side, fence: Fence, one: tuple[str, bytes]) -> int:
    """Carry a file under its claim, with what somebody may have written there meanwhile."""
    key, data = one
    with suppress(FileNotFoundError):
        kept = target.read(key)
        if key.startswith(f"{ROWS}/"):
            require_same_rows(source, target, key)
        data = _joined(key, kept, data)
        if data == kept:
            return 0
    target.write(key, data, fence)
    return len(data)


def _joined(key: str, kept: bytes, data: bytes) -> bytes:
    """What is carried of the log of commands, or of pictures, with what is there already.

    An array that has become longer there, for rows that were added meanwhile, stays so.
    """
    try:
        with checking(Path(key)):
            if key == COMMANDS:
                return join_commands(kept, data)
            if _PICTURES.fullmatch(key):
                _, subset, name = key.split("/")
                return join_thumbnails(kept, data, subset, int(name[:6]))
            if key.startswith(f"{ARRAYS}/"):
                lengths = [parse_json(one).get("shape", [0])[0] for one in (kept, data)]
                return kept if lengths[0] > lengths[1] else data
    except CorruptStoreError:
        pass
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
    values = {
        path.as_posix(): _read_values(source, path.as_posix(), record, spec)
        for path, spec in files.items()
    }
    claim = _HERE.shards_claim(record.subset, record.key), record.shard
    if not target.claims.take(*claim):
        return _OTHERS
    try:
        if _has_more(target, key, record, extractors, seen=key in there):
            return None
        fence = target.claims.fence(*claim)
        target.mark(key)
        target.remove(key, fence)
        for path, data in [*values.items(), (key, line)]:
            target.write(path, data, fence)
        (target.mark if left_open else target.unmark)(key)
    except LostClaimError:
        return _OTHERS
    finally:
        target.claims.release(*claim)
    return len(line) + sum(map(len, values.values()))


def _has_more(
    target: Side,
    key: str,
    record: ShardRecord,
    extractors: Mapping[str, Mapping[str, FeatureSpec]],
    *,
    seen: bool,
) -> bool:
    """Whether rows of a shard are done there that are pending in this record: they stay.

    So does a shard that was done meanwhile, and lacks nothing; it had no record when it was `seen`
    first.
    """
    try:
        other = _parse(target, key, target.read(key), extractors)
    except (CorruptStoreError, FileNotFoundError):
        return False
    here, over_there = record.states != PENDING, other.states != PENDING
    return bool((over_there & ~here).any() or not (seen or (here & ~over_there).any()))


def _read_values(source: Side, key: str, record: ShardRecord, spec: FeatureSpec) -> bytes:
    """The bytes of a field of a shard, which are as its record says."""
    try:
        with checking(Path(source.name()) / key):
            data = source.read(key)
            if damaged_offsets(data, record.checksums[spec.field], spec):
                raise ValueError("its bytes are not those that were written")
    except FileNotFoundError as error:
        raise CorruptStoreError(f"{source.name()}/{key} is missing", REPAIR) from error
    return data


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
