"""A store in a bucket as verification sees it: records and names here, values over there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from clare.files import make_folder, storage_errors
from clare.store.bucket.objects import Found, Objects, in_flight
from clare.store.bucket.places import cache_folder
from clare.store.layout import ARRAYS, ASSETS, CHUNKS, EXTRACTORS, LOCKS, RECORD, THUMBNAILS

Read = Callable[[Path, int], bytes]
"""Reads a file of at most so many bytes."""

_VALUES = re.compile(rf"{ARRAYS}/[^/]+/[^/]+/[^/]+/{CHUNKS}/.+")


@contextmanager
def seen_from_here(url: str, *, quick: bool) -> Iterator[tuple[Path, Read]]:
    """A folder like the store: of values, and if quick of pictures and assets, only the size.

    Nothing of an earlier copy is taken for what the bucket holds.

    Yields:
        The folder, and what reads a file of values from the bucket.
    """
    objects = Objects(url)
    make_folder(cache_folder())
    with TemporaryDirectory(dir=cache_folder(), prefix="verify-") as folder:
        root = Path(folder, "store")
        root.mkdir()

        def bring(found: Found) -> None:
            path = root / found.key
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                if found.size == 0 or _is_values(found.key, quick=quick):
                    path.touch()
                    os.truncate(path, found.size)
                elif (there := objects.read(found.key)) is not None:
                    path.write_bytes(there[0])

        listed = [found for found in objects.list() if _is_inside(found.key)]
        for _ in in_flight(bring, listed):
            pass

        def read(path: Path, most: int) -> bytes:
            del most  # a list told its size already
            return objects.get(path.relative_to(root).as_posix())

        yield root, read


def _is_inside(key: str) -> bool:
    parts = key.split("/")
    return parts[0] != LOCKS and not {"", ".", ".."}.intersection(parts)


def _is_values(key: str, *, quick: bool) -> bool:
    """Whether a file's bytes stay in the bucket."""
    if _VALUES.fullmatch(key):
        return True
    top, name = key.partition("/")[0], key.rpartition("/")[2]
    is_asset = top == EXTRACTORS and name not in (RECORD, ASSETS)
    return quick and (is_asset or top == THUMBNAILS)
