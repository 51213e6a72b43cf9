"""Images of a store as parts of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clare.foreign import decode_thumbnail
from clare.heads.metrics.masks import nearest
from clare.store.row import Row

SIDE = 128
"""Pixels of a picture's side: that of a thumbnail."""

FOUND, EXTRA, MISSED = (244, 244, 244), (255, 154, 61), (61, 155, 255)
"""Colours of pixels that are called fake rightly, or wrongly, or missed; as in the page's style."""

COVER = 0.8
"""Share of such a colour over the picture."""

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


def square_of(picture: bytes | NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """A thumbnail, or pixels (h, w, 3), squashed to (SIDE, SIDE, 3); grey where there is none."""
    from PIL import Image

    if picture is None:
        return np.full((SIDE, SIDE, 3), 128, np.uint8)
    image = decode_thumbnail(picture) if isinstance(picture, bytes) else Image.fromarray(picture)
    squashed: NDArray[np.uint8] = np.asarray(image.resize((SIDE, SIDE)))
    return squashed


def photo_uri(pixels: NDArray[np.uint8]) -> str:
    """Pixels (h, w, 3) as a JPEG that keeps the edges of what was drawn over them."""
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "JPEG", quality=88, subsampling=0)
    return data_uri(packed.getvalue(), "jpeg")


def mask_uri(fake: NDArray[np.bool_]) -> str:
    """A mask (h, w), white where fake, as a PNG of at most SIDE pixels a side."""
    from PIL import Image

    packed = io.BytesIO()
    height, width = (min(side, SIDE) for side in fake.shape)
    Image.fromarray(nearest(fake, (height, width))).save(packed, "PNG", optimize=True)
    return data_uri(packed.getvalue(), "png")


def error_uri(
    picture: NDArray[np.uint8], fake: NDArray[np.bool_], called: NDArray[np.bool_]
) -> str:
    """Where a call is right and wrong, in colours over the dimmed picture, as a JPEG.

    Args:
        picture: (SIDE, SIDE, 3).
        fake: (h, w) which pixels are.
        called: (h, w) which pixels are called so.
    """
    truth, call = (nearest(one, (SIDE, SIDE)) for one in (fake, called))
    grey = 0.45 * picture.mean(2, keepdims=True).repeat(3, 2)
    for which, colour in (
        (truth & call, FOUND),
        (call & ~truth, EXTRA),
        (truth & ~call, MISSED),
    ):
        grey[which] = (1 - COVER) * grey[which] + COVER * np.array(colour)
    return photo_uri(grey.astype(np.uint8))


def spaced(items: Sequence[T], count: int) -> list[T]:
    """Up to a number of items, evenly spaced."""
    if len(items) <= count:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]


def of_split(rows: Iterable[Row], split: str = "test") -> list[Row]:
    """The plain, labelled rows of a split; of all splits where it has none."""
    plain = [row for row in rows if row.view == 0 and row.columns.get("label") in (0, 1)]
    return [row for row in plain if row.columns.get("split") == split] or plain
