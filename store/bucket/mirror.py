"""A store in a bucket, and this machine's copy of it, which is filled as it is asked for.

The copy is a store's folder like any other, so all that reads a store reads it. Of an object that
was fetched the tag is kept with what the system says of the file (`_Known`): both have to be as
they were, else it is fetched anew. So processes may share a copy, and be killed while they fill it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from clare.files import PARTIAL, Fence, make_folder, owned_partial, storage_errors
from clare.foreign import open_bytes, parse_json, read_bytes
from clare.names import is_plain
from clare.store.bucket.objects import Found, Objects, in_flight
from clare.store.bucket.places import cache_bytes, copy_of
from clare.store.bucket.ranges import ObjectReader
from clare.store.bucket.room import STORE, Room, Uses, fetch_lock, mark_copy

_MOST_BYTES = 1 << 30  # of the list of tags
_BLOCK = 1 << 18  # bytes of a request for a part of a file
_WHOLE = 1 << 18  # bytes of a file that is fetched as a whole where a part of it is asked for

FileState = tuple[int, int, int]
"""Of a file: its number, when it was written in nanoseconds, its bytes."""

_Known = tuple[str, FileState]


class Mirror:
    """A store in a bucket and its copy; made by `mirror_of`.

    Args:
        url: of the store.
        folder: of the copy; the store's folder lies in it.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.root = folder / STORE
        self.objects = Objects(url)
        self._room = Room(folder.parent)
        self._uses = Uses()
        self._one = threading.Lock()
        self._known = self._read_known()

    def __reduce__(self) -> tuple[Any, ...]:
        return mirror_of, (self.url, self.folder)

    def renew(self, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Bring the files of a folder to what the bucket holds: fetched, or removed.

        Args:
            folder: of the copy.
            wanted: tells by a file's name whether it is brought too; others stay as they are.
        """
        # Looked at before the list is: what another process of ours writes meanwhile stays.
        here = [path for path in folder.rglob("*") if wanted(path.name) and path.is_file()]
        prefix = self.key(folder)
        listed = [f for f in self.objects.list(prefix) if _is_file(f.key) and wanted(f.name)]
        changed = [found for found in listed if not self._is_current(found.key, found.tag)]
        for _ in in_flight(self._fetch, [found.key for found in changed]):
            pass
        there = {found.key for found in listed}
        for path in here:
            key = self.key(path)
            if key not in there and _is_file(key):
                path.unlink(missing_ok=True)
        if changed:
            self._write_known()

    def names(self, folder: Path) -> set[str]:
        """The names of the files of a folder, as the bucket holds them; nothing is fetched."""
        return {found.name for found in self.objects.list_folder(self.key(folder))}

    def folders(self, folder: Path) -> set[str]:
        """The names of the folders of a folder, as the bucket holds them."""
        return set(self.objects.list_names(self.key(folder))[1])

    def holds(self, folder: Path, ending: str) -> bool:
        """Whether the bucket holds a file in a folder whose name ends so."""
        return self.objects.holds(self.key(folder), ending)

    def in_parts(self, found: Found) -> BufferedReader:
        """A file of which a part is read; of a long one that is not here, no more is fetched.

        Raises:
            FileNotFoundError: it is gone.
            OSError: it changed meanwhile; so may reading.
        """
        path = self.root / found.key
        if not self._is_current(found.key, found.tag):
            if found.size > _WHOLE:
                reader = ObjectReader(self.objects, found.key, _BLOCK, _BLOCK)
                return BufferedReader(reader, _BLOCK)
            self._fetch(found.key)
        return open_bytes(path)

    def renew_file(self, path: Path) -> None:
        """Bring one file to what the bucket holds."""
        key = self.key(path)
        tag = self.objects.tag(key)
        if tag is None:
            path.unlink(missing_ok=True)
        elif not self._is_current(key, tag):
            self._fetch(key)

    def state(self, path: Path) -> FileState | None:
        """What the system says of a file of the copy; None where there is none."""
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def bring(self, path: Path, seen: FileState | None = None) -> bool:
        """Fetch a file that is not there, or not good; one of all who ask at once does it.

        Args:
            path: of the copy.
            seen: what was there and is not good.

        Returns:
            Whether there is another file now than was seen.
        """
        with self._bringing(path, seen) as came:
            return came

    def brought(self, path: Path, size: int) -> os.stat_result:
        """What the system says of a file, which is fetched where it is not there in its size.

        Raises:
            OSError: the bucket has none.
        """
        with suppress(FileNotFoundError):
            found = path.stat()
            if found.st_size == size:
                return found
        with self._bringing(path, self.state(path)):
            return path.stat()

    def open_shard(self, path: Path, flags: int) -> int:
        """The descriptor of a shard's file, fetched if need be; it is not deleted until it closes.

        Raises:
            OSError: the bucket has none, or something else stands in its place.
        """
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            with self._bringing(path):  # nobody deletes it in here
                descriptor = os.open(path, flags)
                self._uses.reads(path, descriptor)
        else:
            self._uses.reads(path, descriptor)
        return descriptor

    @contextmanager
    def _bringing(self, path: Path, seen: FileState | None = None) -> Iterator[bool]:
        """See `bring`; holds the file's lock."""
        key = self.key(path)
        lock, byte = fetch_lock(self.folder, key)
        lock.acquire(byte, wait=True)
        try:
            there = self.state(path)
            if there is not None and there != seen:
                yield True
            elif there is not None and self._known.get(key) == (self.objects.tag(key), there):
                yield False  # the same would come again
            else:
                limit = cache_bytes()
                came = self._fetch(key)
                if limit is not None and (state := self.state(path)) is not None:
                    self._room.fetched(state[2], limit)
                yield came
        finally:
            lock.release(byte)

    def withdraw(self, record: Path, fence: Fence) -> None:
        """Say that a shard is being written, and take its record away.

        No server deletes on a condition, so the claim is looked at directly before.
        """
        self.mark(record)
        if self.objects.tag(self.key(record)) is not None:
            fence.require()
            self.objects.delete(self.key(record))

    def mark(self, record: Path) -> None:
        """Say that a shard is being written, or that rows of it are left, beside its record."""
        self.objects.put(self.key(owned_partial(record)), b"")

    def unmark(self, record: Path) -> None:
        """Take that away."""
        self.objects.delete(self.key(owned_partial(record)))

    def key(self, path: Path) -> str:
        """The name of a file's object."""
        return "" if path == self.root else path.relative_to(self.root).as_posix()

    def came(self, path: Path, tag: str) -> None:
        """A file of the copy is what the bucket holds in this state."""
        state = self.state(path)
        if state is not None:
            self._known[self.key(path)] = tag, state

    def _fetch(self, key: str) -> bool:
        found = self.objects.read_dated(key)
        path = self.root / key
        if found is None:
            path.unlink(missing_ok=True)
            return False
        make_folder(path.parent)
        unique = f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}{PARTIAL}"
        partial = path.with_name(unique)
        with storage_errors(path):
            try:
                partial.write_bytes(found[0])
                os.utime(partial, (time.time(), found[2]))
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        self.came(path, found[1])
        return True

    def _is_current(self, key: str, tag: str) -> bool:
        known = self._known.get(key)
        return known is not None and known == (tag, self.state(self.root / key))

    def _read_known(self) -> dict[str, _Known]:
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = parse_json(read_bytes(self.folder / "tags.json", _MOST_BYTES))
            return {
                key: (str(tag), (int(one), int(two), int(three)))
                for key, (tag, (one, two, three)) in found.items()
            }
        return {}

    def _write_known(self) -> None:
        """Keep the tags; lost ones cost no more than fetching once more."""
        path = self.folder / "tags.json"
        partial = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}{PARTIAL}")
        with self._one, storage_errors(path):
            partial.write_text(json.dumps(self._known.copy()), "utf-8")
            partial.replace(path)


_mirrors: dict[tuple[str, Path], Mirror] = {}
_opening = threading.Lock()


def mirror_of(url: str, folder: Path | None = None) -> Mirror:
    """This process's mirror of a store in a bucket; the same place gives the same object.

    Args:
        url: of the store.
        folder: of the copy; the user's if left out.

    Raises:
        InputError: obstore isn't installed, or what copies may take is no number of GiB.
        StoreError: the folder can't be made.
    """
    cache_bytes()  # a wrong number is told before anything is fetched
    folder = folder or copy_of(url)
    with _opening:
        if (url, folder) not in _mirrors:
            make_folder(folder / STORE)
            mark_copy(folder, url)
            _mirrors[url, folder] = Mirror(url, folder)
        return _mirrors[url, folder]


def _is_file(key: str) -> bool:
    """Whether an object can be a file of the copy: a name may be anybody's, and lead elsewhere."""
    mark = owned_partial(Path(".json")).name
    return all(map(is_plain, key.split("/"))) and (not key.endswith(PARTIAL) or key.endswith(mark))
