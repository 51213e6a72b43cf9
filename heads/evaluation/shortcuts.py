"""Shortcuts: what file format, size, bytes and plain pixel statistics tell of a label.

Where fakes come as PNG and reals as JPEG, a detector need not look at the face. Reconstruction
errors, too, are often high where an image is merely sharp: the Laplacian's energy and the size
after compression measure that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.errors import StoreError
from clare.file_facts import BYTES, FORMAT, JPEG_SIZE, LAPLACIAN, PIXELS, FileFact
from clare.foreign import decode_thumbnail
from clare.heads.evaluation.field_rows import FieldRows
from clare.image_statistics import jpeg_size, laplacian_energy
from clare.progress import Progress
from clare.shortcuts import Fact
from clare.store.feature_store import FeatureStore
from clare.store.row import Row

SHORTCUTS: Mapping[str, FileFact] = {
    "format": FORMAT,
    "size": PIXELS,
    "bytes": BYTES,
    "laplacian": LAPLACIAN,
    "jpeg_size": JPEG_SIZE,
}
"""What is measured, by the name in an evaluation's record."""

STEP = 64
"""Images at a time."""

Shortcuts = dict[str, Fact]
"""(N,) by name; where a row has none NaN, or the empty name."""


def file_shortcuts(rows: Sequence[Row], images: Sequence[Mapping[str, Any]]) -> Shortcuts:
    """What the files give away: format, pixels in the image, and bytes.

    Args:
        rows: of the store's index.
        images: the image settings of every extractor that the detector reads. What all of them
            take away is the same for every row.
    """
    found: Shortcuts = {}
    for name, fact in SHORTCUTS.items():
        if fact.read is None:
            continue
        values = fact.values([row.columns for row in rows])
        if images and all(fact.removed_by(settings) for settings in images):
            values = np.full(len(rows), "removed") if fact.kind == "text" else np.zeros(len(rows))
        found[name] = values
    return found


def pixel_shortcuts(
    store: FeatureStore,
    rows: Sequence[tuple[str, Row]],
    progress: Progress | None = None,
) -> tuple[Shortcuts, str | None]:
    """Laplacian energy, and bytes after compression as JPEG, of every row's pixels.

    The pixels come from the field ``pixels``, or else from the thumbnails; never from both, for
    then the source would give the label away.

    Args:
        store: the store.
        rows: with the subset of each.
        progress: called with (rows done, rows in all).

    Returns:
        The values and the name of their source; nothing and None where the store has neither for
        all rows.

    Raises:
        CorruptStoreError: stored bytes are not what was written.
    """
    for source, found in (("pixels", _stored_pixels), ("thumbnails", _thumbnails)):
        read = found(store, rows)
        if read is None:
            continue
        values: list[tuple[float, float]] = []
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(rows), STEP):
                places = range(start, min(start + STEP, len(rows)))
                values += pool.map(_statistics, read(places))
                if progress is not None:
                    progress(len(values), len(rows))
        energy, size = np.array(values, np.float64).reshape(-1, 2).T
        return {"laplacian": energy, "jpeg_size": size}, source
    return {}, None


def _statistics(image: NDArray[np.uint8]) -> tuple[float, float]:
    return laplacian_energy(image), jpeg_size(image)


_Read = Callable[[Sequence[int]], Sequence[NDArray[np.uint8]]]


def _stored_pixels(store: FeatureStore, rows: Sequence[tuple[str, Row]]) -> _Read | None:
    try:
        pixels = FieldRows(store, rows, "pixels", "pixels")
    except StoreError:
        return None  # none, or several that nobody chose between
    return (lambda places: list(pixels.read(places))) if pixels.has.all() else None


def _thumbnails(store: FeatureStore, rows: Sequence[tuple[str, Row]]) -> _Read | None:
    packed = [store.thumbnail(subset, row.slot) for subset, row in rows]
    if not packed or any(picture is None for picture in packed):
        return None

    def read(places: Sequence[int]) -> Sequence[NDArray[np.uint8]]:
        found = [packed[place] or b"" for place in places]
        return [np.asarray(decode_thumbnail(one)) for one in found]

    return read
