"""Batches of test rows that several detectors read, kept in memory while there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from clare.heads.data.dataset import FeatureDataset
from clare.heads.data.memory import free_bytes
from clare.heads.evaluation.test_rows import UnseenRows

SHARE = 0.5
"""Of the free memory that batches may take."""


class BatchCache:
    """What was read for one detector, for the next one that reads the same.

    Args:
        room: bytes that may be kept; half of the free memory if left out. What does not fit is
            read again each time.
    """

    def __init__(self, room: int | None = None) -> None:
        self._room = int(SHARE * free_bytes(torch.device("cpu"))) if room is None else room
        self._kept: dict[object, dict[str, torch.Tensor]] = {}

    def of(self, unseen: UnseenRows, digests: Mapping[str, str]) -> UnseenRows:
        """The same rows, whose batches are kept.

        Args:
            unseen: rows of a test.
            digests: of the fingerprints that are read.
        """
        known = tuple(sorted(digests.items()))
        datasets: dict[str, FeatureDataset] = {
            group: _Kept(dataset, self, known) for group, dataset in unseen.datasets.items()
        }
        return replace(unseen, datasets=datasets)

    def read(
        self, key: object, dataset: FeatureDataset, places: Sequence[int] | np.ndarray
    ) -> dict[str, torch.Tensor]:
        """A batch, from memory where it was kept."""
        if key not in self._kept:
            batch = dataset.read(places)
            size = sum(values.numel() * values.element_size() for values in batch.values())
            if size > self._room:
                return batch
            self._room -= size
            self._kept[key] = batch
        return self._kept[key]


class _Kept(FeatureDataset):
    """A dataset that looks into the cache first."""

    def __init__(self, dataset: FeatureDataset, cache: BatchCache, digests: object) -> None:
        vars(self).update(vars(dataset))
        self._dataset, self._cache = dataset, cache
        # The rows too: a store may grow between two tests.
        slots = np.array([row.slot for row in dataset.rows], np.int64).tobytes()
        self._key: tuple[Any, ...] = (dataset.fields, dataset.subsets, digests, slots)

    def read(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        places = np.asarray(indices, np.int64).tobytes()
        return self._cache.read((*self._key, places), self._dataset, indices)
