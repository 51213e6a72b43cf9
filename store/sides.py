"""The two places between which a store is carried: a folder, and a bucket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from clare.files import (
    PARTIAL,
    Fence,
    make_folder,
    owned_partial,
    remove_durably,
    storage_errors,
    write_durably,
)
from clare.names import is_plain
from clare.store.bucket.claims import claims_in_bucket
from clare.store.bucket.fence import BucketFence
from clare.store.bucket.mirror import mirror_of
from clare.store.bucket.objects import Objects
from clare.store.claims.claims import Claims
from clare.store.journal import mark_shard
from clare.store.layout import JOURNAL, LOCKS, TOP, Layout
from clare.store.records import read_file

_MOST_BYTES = 1 << 33  # of one file: a text tower is the largest


class Side(Protocol):
    """A place that holds a store, seen as files by their names below it."""

    def name(self) -> str:
        """The place, for people."""
        ...

    def sizes(self) -> dict[str, int]:
        """The files of the store, each with its size; neither claims nor what is being written.

        The marks of shards that are written, or have rows left, are among them.

        Raises:
            StoreError: the place can't be used.
        """
        ...

    def read(self, key: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def view(self, key: str) -> memoryview:
        """`read`, of a large file: its bytes lie where they arrived."""
        ...

    @property
    def claims(self) -> Claims:
        """What this process claims there."""
        ...

    def write(self, key: str, data: bytes | memoryview, fence: Fence) -> None:
        """Write a file, so that it is there as a whole or not at all.

        Args:
            key: the file.
            data: its bytes.
            fence: of the claim that the file needs.

        Raises:
            LostClaimError: another has taken that claim over.
        """
        ...

    def is_marked(self, record: str) -> bool:
        """Whether a shard is being written, or has rows left."""
        ...

    def mark(self, record: str) -> None:
        """Say that, beside the shard's record or in its place."""
        ...

    def unmark(self, record: str) -> None:
        """Say that it is written."""
        ...

    def remove(self, key: str, fence: Fence) -> None:
        """Take a file away, if it is there; as `write`."""
        ...

    def holds(self, key: str, good: Callable[[bytes], bool], load: Callable[[], bytes]) -> bool:
        """Whether a file of the right size is good, found out without carrying it.

        Args:
            key: the file.
            good: tells it by the file's bytes.
            load: gets the bytes that it shall have.
        """
        ...


class FolderSide:
    """A store in a folder of this machine.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def name(self) -> str:
        """See `Side`, as for all of these."""
        return str(self.root)

    def sizes(self) -> dict[str, int]:
        """Links are left out: nothing in a store is one."""
        found = {}
        with storage_errors(self.root):
            for folder, folders, files in os.walk(self.root):
                if Path(folder) == self.root:
                    folders[:] = sorted(TOP.intersection(folders) - {LOCKS})
                for file in files:
                    path = Path(folder, file)
                    key = path.relative_to(self.root).as_posix()
                    if belongs(key) and not path.is_symlink():
                        with suppress(FileNotFoundError):  # taken away meanwhile
                            found[key] = path.stat().st_size
        return found

    def read(self, key: str) -> bytes:
        """See `read_file` for what is refused."""
        return read_file(self.root / key, _MOST_BYTES)

    def view(self, key: str) -> memoryview:
        """See `read`."""
        return memoryview(self.read(key))

    @property
    def claims(self) -> Claims:
        """Locks, or leases."""
        return Layout(self.root).claims

    def write(self, key: str, data: bytes | memoryview, fence: Fence) -> None:
        """Durable when it returns."""
        write_durably(self.root / key, data, fence=fence)

    def is_marked(self, record: str) -> bool:
        """A look at the disk."""
        return owned_partial(self.root / record).exists()

    def mark(self, record: str) -> None:
        """See `mark_shard`."""
        make_folder((self.root / record).parent)
        mark_shard(self.root / record)

    def unmark(self, record: str) -> None:
        """Takes the mark away."""
        owned_partial(self.root / record).unlink(missing_ok=True)

    def remove(self, key: str, fence: Fence) -> None:
        """Durable when it returns."""
        fence.require()
        remove_durably(self.root / key)

    def holds(self, key: str, good: Callable[[bytes], bool], load: Callable[[], bytes]) -> bool:
        """Read here; nothing is fetched."""
        return good(self.read(key))


class BucketSide:
    """A store in a bucket.

    Args:
        objects: below its URL.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._tags: dict[str, str] = {}

    def name(self) -> str:
        """See `Side`, as for all of these."""
        return self.objects.url

    def sizes(self) -> dict[str, int]:
        """One list of all objects."""
        listed = [found for found in self.objects.list() if belongs(found.key)]
        self._tags = {found.key: found.tag.strip('"') for found in listed}
        return {found.key: found.size for found in listed}

    def read(self, key: str) -> bytes:
        """One request."""
        return self.objects.get(key)

    def view(self, key: str) -> memoryview:
        """One request."""
        return self.objects.view(key)

    @property
    def claims(self) -> Claims:
        """Leases; the server is put to the test before the first one."""
        return claims_in_bucket(mirror_of(self.objects.url))

    def write(self, key: str, data: bytes | memoryview, fence: Fence) -> None:
        """One request, of which nothing is left if it breaks off, behind a look at the claim."""
        assert isinstance(fence, BucketFence)
        fence.put(key, data)

    def is_marked(self, record: str) -> bool:
        """One request."""
        return self.objects.tag(owned_partial(Path(record)).as_posix()) is not None

    def mark(self, record: str) -> None:
        """An empty object."""
        self.objects.put(owned_partial(Path(record)).as_posix(), b"")

    def unmark(self, record: str) -> None:
        """Takes the mark away."""
        self.objects.delete(owned_partial(Path(record)).as_posix())

    def remove(self, key: str, fence: Fence) -> None:
        """One request, behind a look at the claim."""
        assert isinstance(fence, BucketFence)
        fence.delete(key)

    def holds(self, key: str, good: Callable[[bytes], bool], load: Callable[[], bytes]) -> bool:
        """By the MD5 that servers give as the tag of an object; where it is none, by its bytes."""
        digest = hashlib.md5(load(), usedforsecurity=False).hexdigest()
        return self._tags.get(key) == digest or good(self.objects.get(key))


def belongs(key: str) -> bool:
    """Whether a name is one of a store's files, whoever gave it: no claim, and no partial file.

    Marks of shards, which have the names of their records' partial files, belong to it.
    """
    parts = key.split("/")
    inside = parts[0] in TOP - {LOCKS} and all(map(is_plain, parts))
    return inside and (is_mark(key) or not parts[-1].endswith(PARTIAL))


def is_mark(key: str) -> bool:
    """Whether a file says that a shard is being written, or has rows left."""
    mark = owned_partial(Path(".json")).name
    return key.startswith(f"{JOURNAL}/") and key.endswith(mark)
