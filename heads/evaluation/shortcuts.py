"""What a detector must beat: how far file format, size, bytes and plain pixel statistics get.

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

from clare.bootstrap import USUAL, Figure, Resampling
from clare.errors import StoreError
from clare.file_facts import BYTES, FORMAT, JPEG_SIZE, LAPLACIAN, PIXELS, FileFact
from clare.foreign import decode_thumbnail
from clare.heads.metrics.predictions import Predictions
from clare.image_statistics import jpeg_size, laplacian_energy
from clare.shortcuts import Fact, free_aucs
from clare.store.feature_store import FeatureStore
from clare.store.index import Row
from clare.store.journal import COMPLETE

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
        energy, size = np.array(values, np.float64).reshape(-1, 2).T
        return {"laplacian": energy, "jpeg_size": size}, source
    return {}, None


def measure_shortcuts(
    sets: Mapping[str, NDArray[np.int64]],
    predictions: Predictions,
    shortcuts: Shortcuts,
    how: Resampling = USUAL,
) -> dict[str, dict[str, Figure | None]]:
    """The AUC of each shortcut on each set; see `free_aucs`.

    Args:
        sets: places of each set's rows.
        predictions: whose labels and clusters count.
        shortcuts: a value a row.
        how: the bootstrap.

    Returns:
        By set and shortcut; None where fewer than both labels have a value.
    """
    return {
        name: {
            shortcut: _known_auc(predictions.take(places), values[places], how)
            for shortcut, values in shortcuts.items()
        }
        for name, places in sets.items()
    }


def _statistics(image: NDArray[np.uint8]) -> tuple[float, float]:
    return laplacian_energy(image), jpeg_size(image)


def _known_auc(rows: Predictions, values: Fact, how: Resampling) -> Figure | None:
    known = values != "" if values.dtype.kind == "U" else ~np.isnan(values.astype(np.float64))
    rows, facts = rows.take(known), {"": values[known]}
    if not 0 < rows.label.sum() < len(rows):
        return None
    return free_aucs(facts, rows.label, rows.cluster, how)[""]


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
    packed = [store.thumbnail(subset, row.slot) for subset, row in rows]
    if not packed or any(picture is None for picture in packed):
        return None

    def read(places: Sequence[int]) -> Sequence[NDArray[np.uint8]]:
        found = [packed[place] or b"" for place in places]
        return [np.asarray(decode_thumbnail(one)) for one in found]

    return read
