"""Small JPEG pictures of the rows, packed one file a shard; a convenience, not data.

A file is one sealed line, which names its subset and shard and lists (offset in the shard, length,
CRC-32C) of each picture, followed by the pictures' bytes one after another.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from clare.errors import CorruptStoreError
from clare.files import write_durably
from clare.store.layout import Layout
from clare.store.records import checking, checksum, read_file, require, seal, unseal, whole
from clare.store.spec import SHARD_ROWS

_MOST_BYTES = 1 << 26  # honest files have 64 pictures of some KiB


def write_thumbnails(
    layout: Layout, subset: str, shard: int, pictures: Mapping[int, bytes]
) -> None:
    """Add pictures to those of a shard, by offset, durably."""
    path = layout.thumbnails(subset, shard)
    # A shard's owner is one extractor's: those of other extractors write the same pictures' file.
    with layout.claims.exclusive(layout.thumbnails_claim(subset), shard) as fence:
        layout.renew_file(path)
        kept: dict[int, bytes] = {}
        with suppress(CorruptStoreError, FileNotFoundError):
            kept = _read_all(path, subset, shard)
        if kept == (pictures := {**kept, **pictures}):
            return
        write_durably(path, *_packed(subset, shard, pictures), fence=fence)


def join_thumbnails(first: bytes, second: bytes, subset: str, shard: int) -> bytes:
    """A file with the pictures of two; of one that both have, the second's.

    Raises:
        ValueError: one is damaged, or another subset's or shard's.
        KeyError: a member is missing.
    """
    both = (_pictures(first, subset, shard), _pictures(second, subset, shard))
    return b"".join(_packed(subset, shard, {**both[0], **both[1]}))


def read_thumbnail(layout: Layout, subset: str, slot: int) -> bytes | None:
    """The JPEG bytes of a row's picture, or None where there is none.

    Raises:
        CorruptStoreError: the file is damaged.
    """
    shard, offset = divmod(slot, SHARD_ROWS)
    layout.renew_file(layout.thumbnails(subset, shard))
    try:
        return _read_all(layout.thumbnails(subset, shard), subset, shard).get(offset)
    except FileNotFoundError:
        return None


def check_thumbnails(layout: Layout, subset: str, shard: int, *, quick: bool = False) -> None:
    """Read a file of thumbnails; if quick, see that there is one.

    Raises:
        CorruptStoreError: it is damaged, or another subset's or shard's.
        FileNotFoundError: there is none.
    """
    path = layout.thumbnails(subset, shard)
    if not (quick and S_ISREG(path.lstat().st_mode)):
        _read_all(path, subset, shard)


def forget_thumbnails(layout: Layout, subset: str, shard: int) -> None:
    """Put a file without pictures in the place of one that is lost."""
    with layout.claims.exclusive(layout.thumbnails_claim(subset), shard) as fence:
        path = layout.thumbnails(subset, shard)
        write_durably(path, *_packed(subset, shard, {}), fence=fence)


def _packed(subset: str, shard: int, pictures: Mapping[int, bytes]) -> list[bytes]:
    """A file's parts: its line, and the pictures."""
    listed = [[offset, len(p), checksum(p)] for offset, p in sorted(pictures.items())]
    line = seal({"subset": subset, "shard": shard, "pictures": listed})
    return [line, *(pictures[offset] for offset in sorted(pictures))]


def _read_all(path: Path, subset: str, shard: int) -> dict[int, bytes]:
    data = read_file(path, _MOST_BYTES)
    with checking(path):
        return _pictures(data, subset, shard)


def _pictures(data: bytes, subset: str, shard: int) -> dict[int, bytes]:
    line, newline, packed = data.partition(b"\n")
    pictures: dict[int, bytes] = {}
    start = 0
    record = unseal(line + newline)
    place = record["subset"], record["shard"]
    require(place == (subset, shard), "it belongs to another subset or shard")
    for offset, length, expected in record["pictures"]:
        end = start + whole(length, len(packed) - start, "the length of a picture")
        offset = whole(offset, SHARD_ROWS - 1, "the offset of a picture")
        require(offset not in pictures, f"it has two pictures at {offset}")
        pictures[offset] = packed[start:end]
        require(checksum(pictures[offset]) == expected, f"the picture at {offset} is damaged")
        start = end
    require(start == len(packed), "it is too long")
    return pictures
