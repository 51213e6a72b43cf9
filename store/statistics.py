"""Per-channel statistics of a stored field, streamed with dask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clare.store.journal import COMPLETE
from clare.store.reader import FieldReader

if TYPE_CHECKING:
    from clare.store.feature import Feature
    from clare.store.feature_store import FeatureStore

BLOCK_ROWS = 16
"""Rows of one dask task: measured fastest of 1, 16, 64 and 256."""

OUTLIER_DEVIATIONS = 6.0

_MERGED = 8  # results merged by one task


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics along a field's channel axis, over the complete live rows.

    Args:
        rows: number of rows.
        n: (C,) int64, finite values of each channel; the mean and deviation are over these.
        mean: (C,) float64; NaN for a channel without finite values.
        deviation: (C,) float64, of the population.
        outlier_share: (C,) float64, share of the finite values that lie more than 6 deviations
            from the mean.
        nan_share: (C,) float64, share of all values that are NaN or infinite.
    """

    rows: int
    n: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    outlier_share: np.ndarray
    nan_share: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """The statistics as plain JSON, one list a measure; undefined values are None."""
        arrays = {name: value for name, value in vars(self).items() if name != "rows"}
        lists = {name: _plain(value) for name, value in arrays.items()}
        return {"rows": self.rows, **lists}


def store_statistics(store: FeatureStore, subset: str | None = None) -> dict[str, Any]:
    """`channel_statistics` of every field that has complete rows.

    Args:
        store: an open store.
        subset: only this subset.

    Returns:
        ``{SUBSET: {EXTRACTOR-DIGEST: {FIELD: {"rows", "n", "mean", "deviation",
        "outlier_share", "nan_share"}}}}``, the last five as lists with one value a channel.

    Raises:
        StoreError: there is no such subset.
        CorruptStoreError: a row is damaged.
    """
    if subset is not None:
        store.rows(subset)
    return {
        name: {
            feature.key: {
                field: channel_statistics(feature, field).to_json() for field in feature.fields
            }
            for feature in store.features(name)
        }
        for name in ([subset] if subset is not None else store.subsets())
    }


def channel_statistics(feature: Feature, field: str) -> ChannelStatistics:
    """Mean, deviation, outliers and NaN share of each channel of a field.

    Two passes over the rows in blocks of 16, in float64, with a few blocks in memory at a time.
    Rows are read through the verifying reader: a shard that is missing or damaged is an error,
    where Zarr's own reading would count its fill values.

    Args:
        feature: the feature.
        field: one of its fields; channels lie along its ``channel_axis``.

    Raises:
        StoreError: there is no such field.
        CorruptStoreError: a row is damaged.
    """
    import dask.array as da

    reader = feature.reader(field, threads=1)  # dask has the threads
    spec = reader.spec
    index = feature.rows.read()
    slots = np.flatnonzero(index.is_live & (feature.states() == COMPLETE))
    axis = len(spec.shape) + spec.channel_axis
    channels = spec.shape[axis] if spec.shape else 1
    if not len(slots):
        none = np.full(channels, np.nan)
        return ChannelStatistics(0, np.zeros(channels, np.int64), none, none, none, none)

    rows = da.from_array(
        _CompleteRows(reader, slots),
        chunks=(BLOCK_ROWS, *spec.shape),
        name=False,  # spares dask hashing the reader
        asarray=False,
        meta=np.empty((0,) * (1 + len(spec.shape)), spec.dtype),
    )

    n, mean, squares = _reduce(rows, _merge_moments, _moments, axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(squares / n)
        (outliers,) = _reduce(rows, sum, _outliers, axis, mean, deviation)
        values = rows.size // channels
        mean = np.where(n > 0, mean, np.nan)
        shares = outliers / n, 1 - n / values
    return ChannelStatistics(len(slots), n.astype(np.int64), mean, deviation, *shares)


class _CompleteRows:
    """The complete rows of a field as an array that dask can slice along its first axis."""

    def __init__(self, reader: FieldReader, slots: np.ndarray) -> None:
        self._reader = reader
        self._slots = slots
        self.shape = (len(slots), *reader.spec.shape)
        self.dtype = np.dtype(reader.spec.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        return self._reader.read(self._slots[key[0]])


def _reduce(
    rows: Any, merge: Callable[[list[np.ndarray]], Any], function: Any, *arguments: Any
) -> np.ndarray:
    """Apply a function to every block, and merge the (measures, C) results in a tree."""
    import dask

    of_block, merged = dask.delayed(function, pure=False), dask.delayed(merge, pure=False)
    parts = [of_block(block, *arguments) for block in rows.to_delayed().reshape(-1)]
    while len(parts) > 1:
        parts = [merged(parts[i : i + _MERGED]) for i in range(0, len(parts), _MERGED)]
    total: np.ndarray = parts[0].compute(scheduler="threads")
    return total


def _channels_last(block: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The block as (values, C) float64 without its non-finite values, and which those are."""
    last = np.moveaxis(block, axis + 1, -1) if block.ndim > 1 else block[:, None]
    values = last.reshape(-1, last.shape[-1])
    finite = np.isfinite(values)
    return np.where(finite, values, 0).astype(np.float64), finite


def _moments(block: np.ndarray, axis: int) -> np.ndarray:
    """(3, C): count, mean and sum of squared deviations of the finite values."""
    values, finite = _channels_last(block, axis)
    n = finite.sum(0)
    mean = values.sum(0) / np.maximum(n, 1)
    values -= mean
    values *= finite
    return np.stack([n, mean, np.einsum("vc,vc->c", values, values)])


def _merge_moments(parts: list[np.ndarray]) -> np.ndarray:
    """Chan, Golub and LeVeque's pairwise update, over several parts at once."""
    n, mean, squares = np.stack(parts, axis=1)
    total = n.sum(0)
    merged = (n * mean).sum(0) / np.maximum(total, 1)
    return np.stack([total, merged, squares.sum(0) + (n * (mean - merged) ** 2).sum(0)])


def _outliers(block: np.ndarray, axis: int, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(1, C): finite values that lie far from the mean."""
    values, finite = _channels_last(block, axis)
    far = np.abs(values - mean) > OUTLIER_DEVIATIONS * deviation
    return (far & finite).sum(0)[None]


def _plain(values: np.ndarray) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]
