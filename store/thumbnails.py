"""Small JPEG pictures of the rows, packed one file a shard; a convenience, not data.

A file is one sealed line, which lists (offset in the shard, length, CRC-32C) of each picture,
followed by the pictures' bytes one after another.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from clare.errors import CorruptStoreError
from clare.files import write_durably
from clare.store.layout import Layout
from clare.store.locks import exclusive
from clare.store.records import checksum, damaged, seal, unseal
from clare.store.spec import SHARD_ROWS


def write_thumbnails(
    layout: Layout, subset: str, shard: int, pictures: Mapping[int, bytes]
) -> None:
    """Add pictures to those of a shard, by offset, durably."""
    path = layout.thumbnails(subset, shard)
    # A shard's owner is one extractor's: those of other extractors write the same pictures' file.
    with exclusive(layout.rows_lock(subset)):
        kept: dict[int, bytes] = {}
        with suppress(CorruptStoreError, FileNotFoundError):
            kept = _read_all(path)
        if kept == (pictures := {**kept, **pictures}):
            return
        listed = [[offset, len(p), checksum(p)] for offset, p in sorted(pictures.items())]
        line = seal({"shard": shard, "pictures": listed})
        write_durably(path, line, *(pictures[offset] for offset, _, _ in listed), owned=True)


def read_thumbnail(layout: Layout, subset: str, slot: int) -> bytes | None:
    """The JPEG bytes of a row's picture, or None where there is none.

    Raises:
        CorruptStoreError: the file is damaged.
    """
    path = layout.thumbnails(subset, slot // SHARD_ROWS)
    if not path.is_file():
        return None
    return _read_all(path).get(slot % SHARD_ROWS)


def check_thumbnails(path: Path) -> str:
    """What is wrong with a file of thumbnails; empty if nothing is."""
    try:
        _read_all(path)
    except CorruptStoreError:
        return "its checksums do not match"
    return ""


def _read_all(path: Path) -> dict[int, bytes]:
    line, newline, packed = path.read_bytes().partition(b"\n")
    pictures, start = {}, 0
    try:
        record = unseal(line + newline)
        for offset, length, expected in record["pictures"]:
            picture = packed[start : start + length]
            if checksum(picture) != expected:
                raise ValueError(f"the picture at {offset} is damaged")
            pictures[offset] = picture
            start += length
        if start != len(packed) or f"{record['shard']:06d}" != path.stem:
            raise ValueError("the file is too long, or another shard's")
    except ValueError as error:
        raise damaged(path, str(error)) from error
    return pictures
