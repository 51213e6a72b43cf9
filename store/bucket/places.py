"""Which words name a place in an object store, and where copies of one lie on this machine."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path, PosixPath
from typing import Self

from clare.errors import InputError

SCHEMES = ("s3", "az", "gs", "memory")
"""Of URLs of buckets. ``gs`` runs the same code and is untried; ``memory`` is one process's own."""

CACHE = "CLARE_CACHE"
"""The environment variable that names the folder of local copies."""

ROOM = "CLARE_CACHE_GIB"
"""The environment variable that says how many GiB local copies may take together."""

_URL = re.compile(rf"({'|'.join(SCHEMES)}):/+(.+)", re.IGNORECASE)
_IN_WORD = re.compile(rf"\b({'|'.join(SCHEMES)}):/.*", re.IGNORECASE | re.DOTALL)
_FILE = re.compile(r"file:/+(.*)", re.IGNORECASE)
_ANY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(/.*)?")


def bucket_url(place: Path | str) -> str | None:
    """The URL that a place is, without a slash at its end; None of a folder of this machine.

    A path that was made of a URL has lost one of its two slashes: it is known again.
    """
    found = _URL.fullmatch(str(place).rstrip("/"))
    return f"{found[1].lower()}://{found[2]}" if found else None


def require_plain(url: str) -> None:
    """Refuse a URL that holds a key, which would be written into records and logs, or no place.

    Raises:
        InputError: it names a user or a port, or has a query; or a part of it is empty, ``.`` or
            ``..``, which no server takes for what a disk does; or it is no text. The message tells
            no word of it.
    """
    _, _, rest = str(url).partition(":")
    parts = rest.strip("/").split("/")
    bucket = parts[0]
    if "@" in bucket or ":" in bucket or "?" in rest:
        raise InputError(
            "the URL of a bucket has a user, a port or a query in it, which may be a key",
            "name it as s3://bucket/folder, and put keys into the environment",
        )
    if any(part in (".", "..") for part in parts) or "" in parts[1:]:
        raise InputError(
            "the URL of a bucket has an empty part, . or .. in it, which no bucket knows",
            "name the place itself, as s3://bucket/folder",
        )
    try:
        rest.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            "the URL of a bucket has bytes in it that are no UTF-8", "name it as s3://bucket/folder"
        ) from error


def require_plain_words(words: Iterable[str]) -> None:
    """`require_plain` of the URL that a word of a command line has in it, if any.

    Raises:
        InputError: as there.
    """
    for word in words:
        if found := _IN_WORD.search(word):
            require_plain(found[0])


def local_path(place: Path | str) -> Path:
    """The folder of this machine that a path, or a URL ``file://``, names.

    Raises:
        InputError: it is a URL of something else; as a path it would make a folder of its scheme.
    """
    if found := _FILE.fullmatch(str(place)):
        return Path(f"/{found[1]}")
    if _ANY.fullmatch(str(place)):
        raise InputError(f"{place} is no place for a store", "name s3://…, az://… or a folder")
    return Path(place)


class BucketPath(PosixPath):
    """The place of a store in a bucket where a folder's path is asked for; its text is the URL."""

    def __str__(self) -> str:
        return bucket_url(super().__str__()) or super().__str__()

    def absolute(self) -> Self:
        """Itself."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Itself."""
        return self


def place_of(place: Path | str) -> Path:
    """A folder of this machine, in full, or a place in a bucket.

    Raises:
        InputError: as `local_path` and `require_plain`.
    """
    url = bucket_url(place)
    if url is None:
        return local_path(place).absolute()
    require_plain(url)
    return BucketPath(url)


def cache_folder() -> Path:
    """The folder of local copies: as the environment says, on a job's own disk, or the user's."""
    if given := os.environ.get(CACHE):
        return Path(given).expanduser().absolute()
    if job := os.environ.get("SLURM_TMPDIR"):
        return Path(job) / "clare"
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "clare"


def cache_bytes() -> int | None:
    """Bytes that local copies may take together, as the environment says; None for any number.

    Raises:
        InputError: it says no number above 0.
    """
    given = os.environ.get(ROOM)
    if not given:
        return None
    try:
        found = int(float(given) * (1 << 30))
    except (ValueError, OverflowError):
        found = 0
    if found <= 0:
        raise InputError(f"{ROOM}={given} is no number of GiB", "set it to one above 0")
    return found


def copy_of(url: str) -> Path:
    """The folder of this machine's copy of a store in a bucket."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", url.rpartition("/")[2])
    return cache_folder() / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
