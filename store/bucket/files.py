"""Objects of a bucket as files, and what is below a name as a folder: paths that read from there.

Whoever is given a path by `Path.stat`, `Path.open` and the like need not know where it leads. A
server that is away is waited for; then a `StoreError` says so, which is never taken for a file
that is missing or broken.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.errors import InputError
from clare.store.bucket.places import BucketPath, bucket_url, local_path, require_plain
from clare.store.bucket.ranges import ObjectReader

if TYPE_CHECKING:
    from clare.store.bucket.objects import Found, Objects

HEADER = 1 << 14
"""Bytes that come with the first request where a file is opened: they hold most headers."""

TOGETHER = 4
"""Files of one folder that are listed together and not asked for one by one."""

PAGES = 2
"""Thousands of objects that are listed for up to a thousand files."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/.*", re.DOTALL)

STEP = 1 << 23
"""Most bytes of a request after that, where a file is read in parts."""


_buckets: list[Objects] = []


class BucketFile(BucketPath):
    """A file, or a folder, of a bucket."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Size and time of an object; the time in whole seconds.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the server refuses, or stays away.
        """
        objects, key = self.place()
        found = objects.head(key) if key else None
        if found is None:
            raise self._missing()
        return self.status(found)

    def status(self, found: Found) -> os.stat_result:
        """What `stat` says of an object that was found under this name."""
        number = int.from_bytes(hashlib.sha256(str(self).encode()).digest()[:7], "big")
        mode, when = stat.S_IFREG | 0o444, found.modified
        plain = (mode, number, 0, 1, 0, 0, found.size, when, when, when)
        return os.stat_result(plain, {"st_mtime_ns": when * 10**9})

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a file or a folder."""
        return self.is_file() or self.is_dir()

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object of this name."""
        objects, key = self.place()
        return bool(key) and objects.head(key) is not None

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object below this name."""
        objects, key = self.place()
        return objects.holds_any(key)

    def is_symlink(self) -> bool:
        """No: a bucket has no links."""
        return False

    def names(self) -> tuple[list[str], list[str]]:
        """Names of the files and of the folders in a folder, in no order."""
        objects, key = self.place()
        found, folders = objects.list_names(key)
        files = [one.key.rpartition("/")[2] for one in found if one.key.rstrip("/") != key]
        return files, folders

    def open(  # type: ignore[override]
        self, mode: str = "rb", buffering: int = -1, *_: Any, **__: Any
    ) -> io.BufferedReader:
        """Open an object for reading bytes.

        Args:
            mode: ``rb``.
            buffering: bytes that come with the first request; `HEADER` if negative.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the server refuses, or stays away.
        """
        if mode != "rb":
            raise OSError(errno.EROFS, "it is read only", str(self))
        objects, key = self.place()
        if not key:
            raise self._missing()
        first = HEADER if buffering < 0 else buffering
        try:
            return io.BufferedReader(ObjectReader(objects, key, first, STEP), HEADER)
        except FileNotFoundError as error:
            raise self._missing() from error

    def open_bounded(self, most: int | None) -> io.BufferedReader:
        """`open`, for all of a file; see `clare.foreign.open_bytes`.

        Raises:
            InputError: it is larger than ``most`` bytes.
        """
        file = self.open("rb", 1 << 20)
        if most is not None and file.seek(0, os.SEEK_END) > most:
            raise InputError(f"{self} can't be read: it is larger than {most:,} bytes")
        file.seek(0)
        return file

    def place(self) -> tuple[Objects, str]:
        """The objects of its bucket, and its name among them."""
        scheme, _, rest = str(self).partition("://")
        bucket, _, key = rest.partition("/")
        return _bucket(f"{scheme}://{bucket}"), key

    def _missing(self) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))


class Stats:
    """Sizes and times of files that are asked for together: of a bucket many by one request.

    Args:
        paths: of files in buckets.

    Raises:
        StoreError: a bucket can't be read.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known: dict[Path, os.stat_result] = {}
        folders: dict[Path, list[BucketFile]] = {}
        for path in paths:
            if isinstance(path, BucketFile):
                folders.setdefault(path.parent, []).append(path)
        for files in folders.values():
            if len(files) >= TOGETHER:
                self._list(files)

    def of(self, path: Path) -> os.stat_result:
        """`Path.stat`, which is not asked anew for what is known."""
        known = self._known.get(path)
        return path.stat() if known is None else known

    def _list(self, files: Sequence[BucketFile]) -> None:
        objects, _ = files[0].place()
        named = {path.place()[1]: path for path in files}
        most = PAGES * max(1000, len(named))
        for found in objects.list_between(min(named), max(named), most):
            if path := named.get(found.key):
                self._known[path] = path.status(found)


@dataclass(frozen=True)
class Entry:
    """What is in a folder of a bucket, told as `os.DirEntry` tells it."""

    name: str
    path: str
    is_folder: bool

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""
        return self.is_folder

    def is_symlink(self) -> bool:
        """No: a bucket has no links."""
        return False


def scan(folder: Path) -> list[os.DirEntry[str] | Entry]:
    """What is in a folder, in no order; every name is there once.

    Raises:
        OSError: it can't be listed.
        StoreError: its bucket can't be read.
    """
    if not isinstance(folder, BucketFile):
        with os.scandir(folder) as entries:
            return list(entries)
    files, folders = folder.names()
    kinds = {**dict.fromkeys(files, False), **dict.fromkeys(folders, True)}
    return [Entry(name, f"{folder}/{name}", kind) for name, kind in kinds.items()]


def common_folder(folders: Iterable[Path]) -> Path | None:
    """The deepest folder that holds all folders; None where they are of different places."""
    known = list(map(str, folders))
    in_bucket = {bucket_url(one) is not None for one in known}
    found = os.path.commonpath(known) if len(in_bucket) == 1 else ""
    return file_place(found) if found and (bucket_url(found) or in_bucket == {False}) else None


@cache
def _bucket(url: str) -> Objects:
    from clare.store.bucket.objects import Objects

    _buckets.append(found := Objects(url))
    return found


def abandon() -> None:
    """Let whoever waits for a file of a bucket whose server is away wait no more."""
    for objects in _buckets:
        objects.abandon()


@contextmanager
def file_threads(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """Threads that look at files, which end at once where an error or their user ends the work.

    Nobody waits then for a server that is away, and what was not begun is dropped, also where
    somebody still has the iterator of results.
    """
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except BaseException:
            abandon()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def file_place(place: Path | str) -> Path:
    """A file or folder of this machine as it was named, or one of a bucket.

    Raises:
        InputError: it is a URL of something else, or one that may hold a key.
    """
    found = _URL.fullmatch(str(place))
    if found is None:
        return Path(place)
    if found[1].lower() == "file":
        return local_path(place)
    require_plain(str(place))
    url = bucket_url(place)
    if url is None:
        raise InputError(
            f"files can't be read from {found[1]}://",
            "name a folder, or a bucket as s3://… or az://…",
        )
    return BucketFile(url)
