"""What image files say of themselves before a pixel is decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clare.errors import ImageError
from clare.pipeline.images.boxes import parse_boxes
from clare.pipeline.images.decode import open_header, open_regular
from clare.pipeline.manifests.sample import Sample
from clare.shortcuts import Fact


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Args:
        format: container in lower case.
        width: pixels, as stored.
        height: pixels, as stored.
        bytes: size of the file.
        tables: the quantisation tables of a JPEG, as text; for others "none".
        exif: whether it carries EXIF data.
    """

    format: str
    width: int
    height: int
    bytes: int
    tables: str
    exif: bool


def file_facts(samples: Sequence[Sample], headers: Sequence[Header]) -> dict[str, Fact]:
    """(N,) facts of files and rows by name; ``framing`` only where all rows have a face box.

    ``format``, ``size`` (width x height), ``tables``, ``exif`` and ``domain`` are names; ``pixels``
    (width times height), ``bytes`` and ``framing`` (the box's share of the image) are numbers.
    """
    facts: dict[str, Fact] = {
        "format": np.array([h.format for h in headers]),
        "size": np.array([f"{h.width}x{h.height}" for h in headers]),
        "pixels": np.array([float(h.width * h.height) for h in headers]),
        "bytes": np.array([float(h.bytes) for h in headers]),
        "tables": np.array([h.tables for h in headers]),
        "exif": np.array([str(h.exif) for h in headers]),
    }
    if any(s.domain for s in samples):
        facts["domain"] = np.array([s.domain for s in samples])
    if all(s.boxes for s in samples):
        facts["framing"] = np.array(
            [_share(s.boxes, h) for s, h in zip(samples, headers, strict=True)]
        )
    return facts


def read_facts(path: Path) -> Header:
    """What a file's header says; its pixels are not decoded.

    Raises:
        ImageError: there is no usable header.
    """
    try:
        with open_regular(path) as file, open_header(file) as image:
            tables = getattr(image, "quantization", None) or {}
            exif = "exif" in image.info or "Raw profile type exif" in image.info
            return Header(
                format=str(image.format).lower(),
                width=image.width,
                height=image.height,
                bytes=os.fstat(file.fileno()).st_size,
                tables=" ".join(str(list(tables[key])) for key in sorted(tables)) or "none",
                exif=exif,
            )
    except FileNotFoundError as error:
        raise ImageError("missing: there is no such file") from error
    except OSError as error:
        raise ImageError(f"unreadable: {error.strerror or error}") from error


def _share(boxes: str, header: Header) -> float:
    x0, y0, x1, y1 = parse_boxes(boxes)
    return (x1 - x0) * (y1 - y0) / (header.width * header.height)
