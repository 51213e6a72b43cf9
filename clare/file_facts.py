"""Facts of an image that may give its label away without a look at the face.

Where fakes come as PNG and reals as JPEG, a detector need not look at the face at all. Each fact
stands here once: what it is called, how it is read from the columns of a manifest or of a store's
row, and which preparation of images takes it away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clare.advice import Advice, Set
from clare.shortcuts import Fact

Columns = Mapping[str, Any]

RECODE = Set("recode", "jpeg:95", effect="removes it")
RESIZE = Set("resize", 256, effect="removes it")
CROP = Set("crop", "boxes", effect="removes it")


@dataclass(frozen=True)
class FileFact:
    """One fact of an image.

    Args:
        name: in reports.
        title: as a person calls it.
        kind: texts have no order, numbers have one.
        advice: what takes it away, or why nothing does. A setting of the image preparation that is
            advised takes it away whatever value it has.
        read: the value from a row's columns, None or empty where they don't tell; None where the
            fact is measured on pixels.
    """

    name: str
    title: str
    kind: Literal["text", "number"]
    advice: Advice
    read: Callable[[Columns], Any] | None = None

    def values(self, rows: Sequence[Columns]) -> Fact:
        """The fact of each row.

        Args:
            rows: N rows' columns.

        Returns:
            (N,) float64, NaN where unknown, or text, empty where unknown.
        """
        found = [self.read(columns) if self.read else None for columns in rows]
        if self.kind == "number":
            return np.array([np.nan if v is None else v for v in found], np.float64)
        return np.array(["" if v is None else str(v) for v in found], np.str_)

    def removed_by(self, images: Mapping[str, Any]) -> bool:
        """Whether a preparation makes it the same for all images.

        Args:
            images: settings of the preparation, as plain values.
        """
        if self is EXIF:
            return True  # a decoded picture has no metadata
        if self.advice in (CROP, RESIZE) and images.get("align", "none") != "none":
            return True  # aligned faces are of one size, and fill as much of their picture
        given = images.get(self.advice.name) if isinstance(self.advice, Set) else None
        return given not in (None, "none")


def _size(columns: Columns) -> str | None:
    return f"{columns['width']}x{columns['height']}" if columns.get("width") else None


def _pixels(columns: Columns) -> int | None:
    return columns["width"] * columns["height"] if columns.get("width") else None


def _framing(columns: Columns) -> float | None:
    pixels = _pixels(columns)
    if not (pixels and columns.get("boxes")):
        return None
    x0, y0, x1, y1 = map(float, columns["boxes"].split())
    return (x1 - x0) * (y1 - y0) / pixels


FORMAT = FileFact("format", "file format", "text", RECODE, lambda row: row.get("format"))
SIZE = FileFact("size", "width x height", "text", RESIZE, _size)
PIXELS = FileFact("pixels", "number of pixels", "number", RESIZE, _pixels)
BYTES = FileFact(
    "bytes",
    "bytes of the file",
    "number",
    "resizing and coding anew change it, and what they leave is measured",
    lambda row: row.get("bytes"),
)
TABLES = FileFact(
    "tables", "JPEG quantisation tables", "text", RECODE, lambda row: row.get("tables")
)
EXIF = FileFact(
    "exif",
    "EXIF data",
    "text",
    "it never reaches an extractor, but says that the classes have other histories",
    lambda row: row.get("exif"),
)
DOMAIN = FileFact(
    "domain", "domain", "text", "name reals of the same domains", lambda row: row.get("domain")
)
FRAMING = FileFact("framing", "the face box's share of the image", "number", CROP, _framing)
LAPLACIAN = FileFact(
    "laplacian", "Laplacian energy", "number", "this is sharpness, which no preparation removes"
)
JPEG_SIZE = FileFact(
    "jpeg_size", "bytes as JPEG 95", "number", "this is detail, which no preparation removes"
)

FACTS = {
    fact.name: fact
    for fact in (
        *(FORMAT, SIZE, PIXELS, BYTES, TABLES, EXIF, DOMAIN, FRAMING),
        *(LAPLACIAN, JPEG_SIZE),
    )
}
"""All of them by name, in the order of a table."""
