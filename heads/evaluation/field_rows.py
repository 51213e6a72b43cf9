"""One field of some rows of a store, of which perhaps not all have a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.errors import StoreError
from clare.store.feature_store import FeatureStore
from clare.store.journal import COMPLETE
from clare.store.row import Row

Rows = Sequence[tuple[str, Row]]
"""Rows with the subset of each."""


class FieldRows:
    """One field of N rows.

    Args:
        store: the store.
        rows: at least one.
        extractor: that has the field.
        field: its name.
        digest: of the extractor's fingerprint, where several have values.

    Attributes:
        has: (N,) whether a row has a value.
        label: (N,) int64, -1 where the store has none.
        keys: the fingerprints of the values, as ``<extractor>-<digest>``.
        shape: of a value.

    Raises:
        StoreError: there are no rows, a subset has no such field, or several that nobody chose
            between, or subsets have values of several shapes.
    """

    def __init__(
        self,
        store: FeatureStore,
        rows: Rows,
        extractor: str,
        field: str,
        digest: str | None = None,
    ) -> None:
        self._subset = np.array([subset for subset, _ in rows], np.str_)
        self._slot = np.array([row.slot for _, row in rows], np.int64)
        self.label = np.array([row.columns.get("label", -1) for _, row in rows], np.int64)
        self.has = np.zeros(len(rows), bool)
        names = np.unique(self._subset).tolist()
        features = {name: store.feature(name, extractor, digest) for name in names}
        self.keys = {feature.key for feature in features.values()}
        self._readers = {name: feature.reader(field) for name, feature in features.items()}
        for name, feature in features.items():
            mine = self._subset == name
            self.has[mine] = feature.states()[self._slot[mine]] == COMPLETE
        shapes = {reader.spec.shape for reader in self._readers.values()}
        if len(shapes) != 1:
            raise StoreError(f"{field} of these rows has {'several shapes' if shapes else 'none'}")
        (self.shape,) = shapes

    def complete(self) -> FieldRows:
        """The rows that have a value."""
        found = copy(self)
        for name in ("_subset", "_slot", "label", "has"):
            setattr(found, name, getattr(self, name)[self.has])
        return found

    def read(self, places: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """The values of some rows that have one, (n, *shape) as stored.

        Raises:
            CorruptStoreError: stored bytes are not what was written.
        """
        wanted = np.asarray(places, np.int64)
        subsets, slots = self._subset[wanted], self._slot[wanted]
        spec = next(iter(self._readers.values())).spec
        values = np.empty((len(wanted), *spec.shape), spec.dtype)
        for name in np.unique(subsets).tolist():
            mine = subsets == name
            values[mine] = self._readers[name].read(slots[mine])
        return values

    def pieces(self, places: NDArray[np.int64], size: int) -> Iterator[NDArray[Any]]:
        """`read` of some rows at a time."""
        for start in range(0, len(places), size):
            yield self.read(places[start : start + size])
