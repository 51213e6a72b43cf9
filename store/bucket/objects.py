"""Objects of a bucket by name: read, put, made once, replaced by state, listed.

obstore speaks to the servers. What it does not repeat, a broken connection while an object is made,
is repeated here, for longer than a server takes to be started again.

**A conditional put that succeeded may come back as refused**, because its answer was lost and it
was sent again: after any refusal the object is read and compared with what was sent.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from clare.errors import InputError
from clare.store.bucket.connect import connect, require_no_fork
from clare.store.bucket.failures import code_of, is_lasting, refusal
from clare.store.bucket.places import bucket_url, require_plain

if TYPE_CHECKING:
    from obstore import GetOptions

PATIENCE = 60.0
"""Seconds for which a server may be away: a restart takes up to 25."""

IN_FLIGHT = 16
"""Requests at once: more brought little more."""

Result = TypeVar("Result")
Item = TypeVar("Item")

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")


@dataclass(frozen=True)
class Found:
    """An object as a list tells of it.

    Args:
        key: its name below the URL.
        size: in bytes.
        tag: of its state.
        modified: when it was written by the server's clock, whole seconds since the epoch: that is
            all that servers tell alike whichever way they are asked.
    """

    key: str
    size: int
    tag: str
    modified: int

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self.key.rpartition("/")[2]


class Objects:
    """The objects below a URL. Pickled, it is the URL alone: keys stay where they are.

    Args:
        url: ``s3://bucket/folder``, and so on.
        patience: seconds for which a server may be away.

    Raises:
        InputError: obstore isn't installed, or the URL is none.
    """

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        require_plain(url)
        found = bucket_url(url)
        if found is None:
            raise InputError(f"{url} is no URL of a bucket", "name one as s3://bucket/name.zarr")
        self.url = found
        self.patience = patience
        scheme, _, rest = found.partition("://")
        self._bucket, _, self._prefix = rest.partition("/")
        self._store = connect(scheme, self._bucket)
        self._abandoned = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Objects, (self.url, self.patience)

    def abandon(self) -> None:
        """Let the requests fail that wait for a server which is away; later ones wait again."""
        self._abandoned += 1

    def get(self, key: str) -> bytes:
        """An object's bytes.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the server refuses, or stays away.
        """
        return bytes(self.view(key))

    def view(self, key: str) -> memoryview:
        """`get`, without a copy of the bytes that arrived: one of a shard takes long."""
        found = self.read_dated(key)
        if found is None:
            raise FileNotFoundError(f"{self.url}/{key}")
        return found[0]

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object's bytes and the tag of its state; None where there is none."""
        found = self.read_dated(key)
        return None if found is None else (bytes(found[0]), found[1])

    def read_dated(self, key: str) -> tuple[memoryview, str, float] | None:
        """`read`, and when it was written by the server's clock, in seconds since the epoch."""
        import obstore

        def ask() -> tuple[memoryview, str, float]:
            found = obstore.get(self._store, self._path(key))
            meta = found.meta
            modified = meta["last_modified"].timestamp()
            return memoryview(found.bytes()), str(meta["e_tag"]), modified

        try:
            return self._asked(key, ask)
        except FileNotFoundError:
            return None

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """The bytes of an object from one place to before another; fewer where it ends."""
        import obstore

        path = self._path(key)
        ask = partial(obstore.get_range, self._store, path, start=start, end=end)
        return bytes(self._asked(key, ask))

    def get_part(
        self, key: str, start: int, end: int, tag: str | None = None
    ) -> tuple[bytes, Found]:
        """The bytes from one place to before another, and what the object is as a whole.

        Args:
            key: of the object.
            start: of the part; 0, or a place in it.
            end: of the part; fewer bytes come where the object ends.
            tag: of the state that it has to be in still.

        Raises:
            FileNotFoundError: there is none.
            OSError: it is in another state.
            StoreError: the server refuses, or stays away.
        """
        import obstore
        from obstore.exceptions import BaseError, PreconditionError

        path = self._path(key)
        options: GetOptions = {"range": (start, end)}
        if tag is not None:
            options["if_match"] = tag

        def ask() -> tuple[bytes, Found]:
            try:
                found = obstore.get(self._store, path, options=options)
                return bytes(found.bytes()), self._found(found.meta)
            except BaseError as error:
                # No bytes have no part; that is asked for where it may be the reason.
                if start or is_lasting(error) or isinstance(error, PreconditionError):
                    raise
                whole = self._found(obstore.head(self._store, path))
                if whole.size:
                    raise
                return b"", whole

        try:
            return self._asked(key, ask)
        except PreconditionError as error:
            raise OSError(errno.ESTALE, "it changed while it was read") from error

    def head(self, key: str) -> Found | None:
        """What an object is; None where there is none."""
        import obstore

        try:
            meta = self._asked(key, partial(obstore.head, self._store, self._path(key)))
        except FileNotFoundError:
            return None
        return self._found(meta)

    def tag(self, key: str) -> str | None:
        """The tag of an object's state; None where there is none."""
        found = self.head(key)
        return None if found is None else found.tag

    def holds_any(self, prefix: str = "") -> bool:
        """Whether there is an object below a folder's name."""
        import obstore

        def ask() -> bool:
            batches = obstore.list(self._store, self._path(prefix) or None, chunk_size=1)
            return any(True for batch in batches for _ in batch)

        return self._asked(prefix, ask)

    def put(self, key: str, data: bytes | memoryview) -> str:
        """Write an object, whatever was there, in one request; the tag of its state."""
        return self._asked(key, partial(self._put, key, data, "overwrite"))

    def create(self, key: str, data: bytes | memoryview) -> str | None:
        """Make an object; None where there is another one.

        One that holds the very same bytes is ours as far as anybody can tell: whoever needs to
        know writes a token of his own into it.
        """
        return self._settled(key, data, partial(self._put, key, data, "create"))

    def replace(self, key: str, data: bytes | memoryview, tag: str) -> str | None:
        """Change an object that is still in this state; None where it is not."""
        return self._settled(key, data, partial(self._put, key, data, {"e_tag": tag}))

    def delete(self, key: str) -> None:
        """Take an object away, in whatever state it is; one that is not there is no error."""
        import obstore

        with suppress(FileNotFoundError):
            self._asked(key, partial(obstore.delete, self._store, self._path(key)))

    def list_folder(self, prefix: str) -> list[Found]:
        """The objects directly in a folder; those of folders in it are not looked at."""
        return self.list_names(prefix)[0]

    def list_names(self, prefix: str) -> tuple[list[Found], list[str]]:
        """The objects directly in a folder, and the names of the folders in it."""
        import obstore

        def ask() -> tuple[list[Found], list[str]]:
            listed = obstore.list_with_delimiter(self._store, self._path(prefix) or None)
            names = [path.rpartition("/")[2] for path in listed["common_prefixes"]]
            return [self._found(meta) for meta in listed["objects"]], names

        return self._asked(prefix, ask)

    def list_between(self, first: str, last: str, most: int) -> list[Found]:
        """Objects from one name to another in the order of names, of a folder and those below it.

        Args:
            first: a name in the folder.
            last: another, in the same folder.
            most: about how many objects are looked at.

        Returns:
            Those that were met; nothing follows of others. None at all of a server that would
            begin at the first object of the folder.
        """
        import obstore

        if self.url.startswith("az:"):
            return []
        folder = first.rpartition("/")[0]

        def ask() -> list[Found]:
            found: list[Found] = []
            batches = obstore.list(
                self._store,
                self._path(folder) or None,
                offset=self._path(first[:-1].rstrip("/")) or None,
                chunk_size=1000,
            )
            for batch in batches:
                found += map(self._found, batch)
                if found[-1].key >= last or len(found) >= most:
                    break
            return found

        return self._asked(folder, ask)

    def holds(self, prefix: str, ending: str) -> bool:
        """Whether a folder holds an object whose name ends so; one is enough."""
        import obstore

        def ask() -> bool:
            batches = obstore.list(self._store, self._path(prefix), chunk_size=1000)
            return any(meta["path"].endswith(ending) for batch in batches for meta in batch)

        return self._asked(prefix, ask)

    def list(self, prefix: str = "") -> list[Found]:
        """The objects below a folder's name, in the order of their names."""
        import obstore

        def ask() -> list[Found]:
            batches = obstore.list(self._store, self._path(prefix) or None, chunk_size=1000)
            return [self._found(meta) for batch in batches for meta in batch]

        return sorted(self._asked(prefix, ask), key=lambda found: found.key)

    def _found(self, meta: Any) -> Found:
        path = meta["path"]
        key = path[len(self._prefix) + 1 :] if self._prefix else path
        modified = int(meta["last_modified"].timestamp())
        return Found(key, int(meta["size"]), str(meta["e_tag"]), modified)

    def _put(self, key: str, data: bytes | memoryview, mode: Any) -> str:
        import obstore

        found = obstore.put(self._store, self._path(key), data, mode=mode, use_multipart=False)
        return str(found["e_tag"])

    def _settled(self, key: str, data: bytes | memoryview, ask: Callable[[], str]) -> str | None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        for _ in range(5):
            try:
                return self._asked(key, ask)
            except FileNotFoundError:  # it shall be replaced, and is gone
                return None
            except (AlreadyExistsError, PreconditionError) as error:
                there = self.read(key)
                if there is not None and there[0] == data:
                    return there[1]
                if code_of(error) != "ConditionalRequestConflict":
                    return None
                time.sleep(random.uniform(0.1, 0.5))
        return None

    def _asked(self, key: str, ask: Callable[[], Result]) -> Result:
        """The answer to a request, sent again for as long as the server is away."""
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        require_no_fork()
        end, wait, before = time.monotonic() + self.patience, 0.1, self._abandoned
        while True:
            try:
                return ask()
            except FileNotFoundError as error:
                if code_of(error) in _NO_BUCKET:
                    raise refusal(self.url, error) from error
                raise
            except (AlreadyExistsError, PreconditionError):
                raise
            except BaseError as error:
                if type(error).__name__ == "NotFoundError" and code_of(error) not in _NO_BUCKET:
                    raise FileNotFoundError(f"{self.url}/{key}") from error
                in_vain = self._abandoned != before or time.monotonic() + wait > end
                if in_vain or is_lasting(error):
                    raise refusal(f"{self.url}/{key}".rstrip("/"), error) from error
            time.sleep(wait * random.uniform(0.5, 1))
            wait = min(2 * wait, 4.0)

    def _path(self, key: str) -> str:
        return "/".join(part for part in (self._prefix, key) if part)


def in_flight(
    work: Callable[[Item], Result], items: Iterable[Item], most: int = IN_FLIGHT
) -> Iterator[Result]:
    """The results of requests, many at once, in the order asked for."""
    with ThreadPoolExecutor(most) as pool:
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
