"""Images of a store as parts of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clare.foreign import decode_thumbnail
from clare.store.index import Row

SIDE = 128
"""Pixels of a picture's side: that of a thumbnail."""

T = TypeVar("T")


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a data URI; kind is ``jpeg`` or ``png``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def colour_map(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """A map (h, w) as colours (h, w, 3), dark at low and bright at high."""
    from matplotlib import colormaps

    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    colours: NDArray[np.uint8] = colormaps["magma"](scaled, bytes=True)[..., :3]
    return colours


def map_uri(colours: NDArray[np.uint8]) -> str:
    """A coloured map as a PNG of its own cells; the page enlarges it."""
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(colours).save(packed, "PNG", optimize=True)
    return data_uri(packed.getvalue(), "png")


def pair_uri(thumbnail: bytes, colours: NDArray[np.uint8]) -> str:
    """An image with its map to the right, as one JPEG of (SIDE, 2 SIDE)."""
    from PIL import Image

    both = Image.new("RGB", (2 * SIDE, SIDE))
    # Squashed to a square, as the map is of the whole image.
    both.paste(decode_thumbnail(thumbnail).resize((SIDE, SIDE)), (0, 0))
    squares = Image.fromarray(colours).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    both.paste(squares, (SIDE, 0))
    packed = io.BytesIO()
    both.save(packed, "JPEG", quality=85)
    return data_uri(packed.getvalue(), "jpeg")


def spaced(items: Sequence[T], count: int) -> list[T]:
    """Up to a number of items, evenly spaced."""
    if len(items) <= count:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]


def of_split(rows: Iterable[Row], split: str = "test") -> list[Row]:
    """The plain, labelled rows of a split; of all splits where it has none."""
    plain = [row for row in rows if row.view == 0 and row.columns.get("label") in (0, 1)]
    return [row for row in plain if row.columns.get("split") == split] or plain
