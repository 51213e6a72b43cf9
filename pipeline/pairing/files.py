"""The files of a folder of pairs: pictures, the list of what is done, and what it is of."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clare.advice import Name
from clare.errors import InputError
from clare.files import write_durably
from clare.pipeline.pair import Draft, Pixels
from clare.pipeline.pairing.photos import JpegCoding
from clare.pipeline.pairing.settings import Coding
from clare.typed_json import read_json, write_json
from clare.wording import listed

LIST = "pairs.jsonl"
"""The list of pairs that are done."""

RECORD = "pairs.json"
"""What the folder is of."""

_LEVEL = 4
"""Of zlib in PNGs: files are hardly larger than with its default, and written in half the time."""

_LEAST = 12
"""Bytes of the smallest chunk of a PNG, as is its last one."""

_COMMENT = 65_000
"""Bytes of a JPEG's comment, which holds at most 65,537."""

_ENDING: Mapping[Coding, str] = {"png": ".png", "jpeg": ".jpg"}


@dataclass(frozen=True)
class PairRecord:
    """What decides every pair of a folder.

    Args:
        kind: of the pairs, and how its settings are.
        version: of the kind.
        settings: of the kind, all of them but where a model lies.
        weights: hash of the model's weights; empty without a model.
        subset: that the photographs are of.
        name: of the pairs' manifest.
        side: see `PairSettings`, and so are the next two.
        coding: see there.
        seed: see there.
        origin: where the weights came from, which decides nothing.
    """

    kind: str
    version: int
    settings: Mapping[str, Any]
    weights: str
    subset: str
    name: str
    side: int
    coding: Coding
    seed: int
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PairRow:
    """A pair that is done.

    Args:
        source: ``sample_id`` of its photograph.
        key: hash of what the photograph and its row were.
        base: of its files' names, below ``real``, ``fake`` and ``masks``.
        partner: ``sample_id`` of the other photograph in it; empty where there is none.
        boxes: of the face in both members, as in a manifest.
        points: likewise.
        width: of both members, in pixels.
        height: likewise.
        real_bytes: size of the real member's file.
        fake_bytes: of the fake's.
        real_sha256: hash of the real member's file.
        fake_sha256: of the fake's.
    """

    source: str
    key: str
    base: str
    partner: str
    boxes: str
    points: str
    width: int = 0
    height: int = 0
    real_bytes: int = 0
    fake_bytes: int = 0
    real_sha256: str = ""
    fake_sha256: str = ""

    def paths(self, coding: Coding) -> tuple[str, str, str]:
        """Real member, fake and mask, below the folder of pairs."""
        ending = _ENDING[coding]
        return f"real/{self.base}{ending}", f"fake/{self.base}{ending}", f"masks/{self.base}.png"

    def is_there(self, folder: Path, coding: Coding) -> bool:
        """Whether its files still are."""
        real, fake, mask = (folder / path for path in self.paths(coding))
        try:
            sizes = real.stat().st_size, fake.stat().st_size
            return sizes == (self.real_bytes, self.fake_bytes) and mask.stat().st_size > 0
        except OSError:
            return False


def keep_record(folder: Path, record: PairRecord) -> None:
    """Write down what a folder is of.

    Raises:
        StoreError: it can't be written.
    """
    write_json(folder / RECORD, record)


def refuse_others(folder: Path, record: PairRecord) -> None:
    """Refuse a folder that holds pairs of another kind, of other settings or of other images.

    Raises:
        InputError: it does, or its record can't be read.
    """
    if not (folder / RECORD).exists():
        return
    known = read_json(folder / RECORD, PairRecord)
    if replace(known, origin={}) == replace(record, origin={}):
        return
    differs = [
        name
        for name in ("kind", "settings", "weights", "subset", "name", "side", "coding", "seed")
        if getattr(known, name) != getattr(record, name)
    ]
    raise InputError(
        f"{folder} holds pairs that differ in {listed(differs or ['version'])}",
        Name("another folder", "out"),
    )


@dataclass(frozen=True)
class Known:
    """Files of a pair that are known before its fake is.

    Args:
        real: the real member, before it is filled up.
        mask: the mask.
    """

    real: bytes
    mask: bytes


def code_known(pair: Draft, jpeg: JpegCoding | None) -> Known:
    """The files of a pair that no model makes."""
    return Known(_coded(pair.real, jpeg), _coded(pair.mask, None))


def write_pair(
    folder: Path,
    row: PairRow,
    pair: Draft,
    known: Known,
    coding: Coding,
    jpeg: JpegCoding | None,
    disk: Executor,
) -> PairRow:
    """Write a pair's three files, side by side; the row with what is known of them now.

    Both members are written by one coder with the same settings, at the same length. Each file is
    there as a whole or not at all, and the same pixels give the same bytes.

    Raises:
        StoreError: a file can't be written.
    """
    assert pair.fake is not None
    coded = equally_long(known.real, _coded(pair.fake, jpeg))
    files = (folder / path for path in row.paths(coding))
    writing = [
        disk.submit(write_durably, file, data, owned=True)
        for file, data in zip(files, (*coded, known.mask), strict=True)
    ]
    hashes = [hashlib.sha256(data).hexdigest() for data in coded]
    for one in writing:
        one.result()
    return replace(
        row,
        height=pair.real.shape[0],
        width=pair.real.shape[1],
        real_bytes=len(coded[0]),
        fake_bytes=len(coded[1]),
        real_sha256=hashes[0],
        fake_sha256=hashes[1],
    )


def equally_long(one: bytes, other: bytes) -> tuple[bytes, bytes]:
    """Two PNGs or two JPEGs, filled up to one length with zeros that no decoder looks at.

    How well a picture is compressed says which of the two it is, and no more than its pixels say.
    """
    pad = _pad_png if one.startswith(b"\x89PNG") else _pad_jpeg
    length = max(len(one), len(other)) + _LEAST
    return pad(one, length - len(one)), pad(other, length - len(other))


def _pad_png(data: bytes, count: int) -> bytes:
    """With a chunk of so many bytes in all before the last: of nobody's, and safe to skip."""
    body = b"paDd" + bytes(count - _LEAST)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:-_LEAST] + chunk + data[-_LEAST:]


def _pad_jpeg(data: bytes, count: int) -> bytes:
    """With comments of so many bytes in all behind the segments of applications, as JFIF's."""
    comments = b""
    while count:
        part = min(count, _COMMENT)
        if 0 < count - part < 4:  # too few for a comment of their own
            part -= 4
        comments += b"\xff\xfe" + struct.pack(">H", part - 2) + bytes(part - 4)
        count -= part
    # JFIF's APP0 has to follow the first marker at once.
    place = 2
    while data[place] == 0xFF and 0xE0 <= data[place + 1] <= 0xEF:
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return data[:place] + comments + data[place:]


def _coded(pixels: Pixels, jpeg: JpegCoding | None) -> bytes:
    image, data = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    if jpeg is None:
        image.save(data, "PNG", compress_level=_LEVEL)
    else:
        image.save(data, "JPEG", qtables=jpeg.tables, subsampling=jpeg.sampling)
    return data.getvalue()
