"""Carrying a store into a bucket or out of it: resumable, every shard checked on its way.

What decides what counts is carried last: of each shard its files, compared with the checksums of
its record, then the record. So what was broken off is a good store with rows that are pending, and
the same command goes on.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from clare.errors import CorruptStoreError, StoreError
from clare.progress import Progress
from clare.store.bucket.objects import Objects
from clare.store.bucket.places import bucket_url, local_path
from clare.store.carried_files import Files, in_order
from clare.store.carried_shards import SHARD_RECORD, Shards
from clare.store.feature_store import create_store, open_store
from clare.store.layout import MARKER
from clare.store.same_store import require_same_store
from clare.store.sides import BucketSide, FolderSide, Side, is_mark
from clare.wording import counted

_SHARDS_AT_ONCE = 8  # of some 30 MB each
_CHUNK = re.compile(r"arrays/[^/]+/[^/]+/[^/]+/c/.+")


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
    if source.objects.tag(MARKER) is None:
        raise StoreError(f"there is no feature store at {source.name()}")
    return _carry(source, FolderSide(_made(store)), progress)


def _made(store: Path | str) -> Path:
    return create_store(local_path(store)).path


def _carry(source: Side, target: Side, progress: Progress | None) -> Carried:
    # The source's records first: what they speak of stays, whoever writes there meanwhile.
    have, there = source.sizes(), target.sizes()
    require_same_store(source, target, have, there)
    stopped = Event()
    files = Files(source, target, have, there, stopped)
    records = [key for key in sorted(have) if SHARD_RECORD.fullmatch(key)]
    *before, last = in_order([key for key in sorted(have) if not _is_of_shard(key)])
    carried, left, damage = 0, 0, list[CorruptStoreError]()
    # In this order: the pool of shards is left first, whose threads wait for the other one.
    with ThreadPoolExecutor(1) as beside, ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
        try:
            others = beside.submit(lambda: sum(map(files.carry, before)))
            shards = Shards(source, target, have, there, others.result)
            sent = 0
            for done, moved in enumerate(pool.map(shards.carry, records), 1):
                sent, left = sent + moved.bytes, left + moved.left
                carried += bool(moved.bytes)
                damage += [moved.damage] if moved.damage is not None else []
                if progress is not None:
                    progress(done, len(records))
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    sent += others.result() + files.carry(last)
    if damage:
        raise CorruptStoreError(
            f"{counted(len(damage), 'damaged shard')} could not be carried, all else is there; "
            f"{damage[0].what}",
            *damage[0].advice,
        )
    return Carried(carried, len(records) - carried - left, left, sent)


def _is_of_shard(key: str) -> bool:
    return bool(SHARD_RECORD.fullmatch(key) or _CHUNK.fullmatch(key)) or is_mark(key)
