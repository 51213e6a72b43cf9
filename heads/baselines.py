"""What a detector must beat: how far file format, size, bytes and plain pixel statistics get.

Where fakes come as PNG and reals as JPEG, a detector need not look at the face. Reconstruction
errors, too, are often high where an image is merely sharp: the Laplacian's energy and the size
after compression measure that alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.errors import StoreError
from clare.heads.metrics import measure
from clare.heads.predictions import Predictions
from clare.statistics import jpeg_size, laplacian_energy
from clare.store.feature_store import FeatureStore
from clare.store.index import Row
from clare.store.journal import COMPLETE

FILE = ("format", "size", "bytes")
PIXELS = ("laplacian", "jpeg_size")
STEP = 64
"""Images at a time."""

Shortcuts = dict[str, NDArray[np.float64]]
"""(N,) by name; NaN where a row has none."""


def file_shortcuts(rows: Sequence[Row], images: Sequence[Mapping[str, Any]]) -> Shortcuts:
    """What the files give away: format (a number a name), pixels in the image, and bytes.

    Args:
        rows: of the store's index.
        images: the image settings of every extractor that the detector reads. Where all of them
            code images anew, the format says nothing any more, and where all resize, the size.
    """

    def numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
        return np.array([np.nan if v is None else v for v in values], np.float64)

    columns = [row.columns for row in rows]
    names = sorted({c["format"] for c in columns if c.get("format")})
    formats = [names.index(c["format"]) if c.get("format") else None for c in columns]
    sizes = [c["width"] * c["height"] if c.get("width") else None for c in columns]
    found = {
        "format": numbers(formats),
        "size": numbers(sizes),
        "bytes": numbers([c.get("bytes") for c in columns]),
    }
    if images and all(settings.get("recode") for settings in images):
        found["format"][:] = 0
    if images and all(settings.get("resize") for settings in images):
        found["size"][:] = 0
    return found


def pixel_shortcuts(
    store: FeatureStore,
    rows: Sequence[tuple[str, Row]],
    progress: Callable[[int, int], None] | None = None,
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
        columns = np.array(values, np.float64).reshape(-1, len(PIXELS)).T
        return dict(zip(PIXELS, columns, strict=True)), source
    return {}, None


def measure_shortcuts(
    sets: Mapping[str, NDArray[np.int64]],
    predictions: Predictions,
    shortcuts: Shortcuts,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, dict[str, dict[str, Any] | None]]:
    """The AUC of each shortcut on each set, in whichever direction it is above one half.

    The direction, and the order of the formats, is taken from the rows that are measured, and is
    the same in every resample; so the interval of a shortcut that says nothing holds 0.5.

    Args:
        sets: places of each set's rows.
        predictions: whose labels and clusters count.
        shortcuts: a value a row.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        ``{SET: {SHORTCUT: {"value", "low", "high", "n"}}}``; None where fewer than both labels
        have a value.
    """
    return {
        name: {
            shortcut: _free_auc(predictions.take(places), values[places], shortcut, seed, resamples)
            for shortcut, values in shortcuts.items()
        }
        for name, places in sets.items()
    }


def _statistics(image: NDArray[np.uint8]) -> tuple[float, float]:
    return laplacian_energy(image), jpeg_size(image)


def _free_auc(
    rows: Predictions, values: NDArray[np.float64], shortcut: str, seed: int, resamples: int
) -> dict[str, Any] | None:
    known = ~np.isnan(values)
    rows, values = rows.take(known), values[known]
    if not 0 < rows.label.sum() < len(rows):
        return None
    if shortcut == "format":
        # A name has no order: each stands for the share of fakes among its files.
        _, places = np.unique(values, return_inverse=True)
        values = (np.bincount(places, rows.label) / np.bincount(places))[places]
    ranked = replace(rows, margin=values, scale="number")
    if measure(ranked, None, resamples=0)["auc"]["value"] < 0.5:
        ranked = replace(ranked, margin=-values)
    auc: dict[str, Any] = measure(ranked, None, seed, resamples)["auc"]
    return auc


_Read = Callable[[Sequence[int]], Sequence[NDArray[np.uint8]]]


def _stored_pixels(store: FeatureStore, rows: Sequence[tuple[str, Row]]) -> _Read | None:
    readers = {}
    for subset in {subset for subset, _ in rows}:
        try:
            feature = store.feature(subset, "pixels")
        except StoreError:
            return None  # none, or several that nobody chose between
        states = feature.states()
        if not all(states[row.slot] == COMPLETE for name, row in rows if name == subset):
            return None
        readers[subset] = feature.reader("pixels")
    shapes = {reader.spec.shape for reader in readers.values()}
    if len(shapes) != 1:
        return None

    def read(places: Sequence[int]) -> Sequence[NDArray[np.uint8]]:
        images = np.empty((len(places), *next(iter(shapes))), np.uint8)
        subsets = np.array([rows[place][0] for place in places])
        for subset in np.unique(subsets):
            mine = np.flatnonzero(subsets == subset).tolist()
            images[mine] = readers[subset].read([rows[places[k]][1].slot for k in mine])
        return list(images)

    return read


def _thumbnails(store: FeatureStore, rows: Sequence[tuple[str, Row]]) -> _Read | None:
    from PIL import Image

    packed = [store.thumbnail(subset, row.slot) for subset, row in rows]
    if not packed or any(picture is None for picture in packed):
        return None

    def read(places: Sequence[int]) -> Sequence[NDArray[np.uint8]]:
        found = [packed[place] or b"" for place in places]
        return [np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in found]

    return read
