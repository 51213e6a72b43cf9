"""Rows of a feature store as a torch dataset that reads whole batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, get_worker_info
from torch.utils.data._utils.collate import default_collate_fn_map

from clare.errors import StoreError
from clare.heads.data.shared_batches import SharedBuffers
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore, open_store
from clare.store.journal import COMPLETE
from clare.store.reader import FieldReader
from clare.store.rows import Rows, join_rows
from clare.store.spec import split_field
from clare.store.zarr_shards import storage_dtype

Batch = dict[str, torch.Tensor]


class FeatureDataset(Dataset[Batch]):
    """The rows that are complete in every field asked for, as tensors.

    ``DataLoader(dataset, batch_size=64, shuffle=True)`` needs no collate function: a batch is read
    at once, by several threads, straight into one tensor a field. The dataset pickles, and works in
    workers under fork and spawn; each process verifies a row's bytes when it first reads it. A
    worker reads into memory that it shares with the main process, and fills it again once nothing
    holds the batch that was there (`heads/data/shared_batches.py`).

    Args:
        store: the store, or its path; several datasets of one open store share its index.
        fields: names of fields, for example ``["clip_tokens", "lare"]``; ``clip_cls#1a2b3c4d`` is
            that of one fingerprint among several. All that the store has if left out.
        subsets: the subsets to take, in this order; all of the store's if left out.
        split: only rows with this value in their ``split`` column; all if left out.
        views: the views to take; view 0 is the plain image.
        digests: fingerprint digest by extractor, where several have values; or by field, which
            goes first.
        threads: threads of each field's reader.

    Attributes:
        rows: the row of each index, also by column; a batch says which in ``index``.
        sample_ids: (N,) their sample ids, so that ``dataset.sample_ids[batch["index"]]`` are those
            of a batch.
        labels: (N,) int64, 0 real and 1 fake.

    Raises:
        StoreError: a field or subset is not there, or several fingerprints fit.
    """

    def __init__(
        self,
        store: FeatureStore | Path | str,
        fields: Sequence[str] | None = None,
        *,
        subsets: Sequence[str] | None = None,
        split: str | None = None,
        views: Collection[int] = (0,),
        digests: Mapping[str, str] | None = None,
        threads: int = 4,
    ) -> None:
        opened = store if isinstance(store, FeatureStore) else open_store(store)
        self.fields = _all_fields(opened) if fields is None else tuple(fields)
        self.subsets = tuple(opened.subsets() if subsets is None else subsets)
        self._buffers = SharedBuffers()
        self._readers: list[dict[str, FieldReader]] = []
        parts: list[Rows] = []
        for subset in self.subsets:
            features = {
                name: _feature_of(opened, subset, name, digests or {}) for name in self.fields
            }
            self._readers.append(
                {n: f.reader(split_field(n)[0], threads) for n, f in features.items()}
            )
            rows = opened.rows(subset)
            wanted = np.isin(rows.views, list(views))
            if split is not None:
                wanted &= rows.column("split") == split
            for feature in features.values():
                wanted &= feature.states()[rows.slots] == COMPLETE
            parts.append(rows.take(wanted))
        self.rows = join_rows(parts)
        self._subset = np.repeat(np.arange(len(parts)), list(map(len, parts)))
        self.labels = self.rows.column("label").astype(np.int64)
        self.sample_ids = np.array(self.rows.sample_ids.tolist(), np.str_)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> NDArray[np.int64]:
        """(N,) the place of each row in all subsets, rising: equal in datasets of equal subsets."""
        return (self._subset << 32) + self.rows.slots

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([range(len(self))[index]])[0]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Batch]:
        """What a DataLoader asks for: several rows, that its collate function puts together."""
        return _Rows(self.read(indices))

    def read(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Read a batch.

        Returns:
            By field, (B, *shape) in the stored type; beside them ``label`` (B,) int64, and
            ``index`` (B,) int64, the rows' places in ``rows``.

        Raises:
            CorruptStoreError: a row's bytes are not those that were written.
        """
        wanted = np.asarray(indices, np.int64)
        subsets, slots = self._subset[wanted], self.rows.slots[wanted]
        batch = self._room(subsets, slots)
        for subset in np.unique(subsets):
            (places,) = np.nonzero(subsets == subset)
            for field, reader in self._readers[subset].items():
                reader.read(slots[places], batch[field].numpy(), places)
        batch["label"].copy_(torch.from_numpy(self.labels[wanted]))
        batch["index"].copy_(torch.from_numpy(wanted))
        return batch

    def _room(self, subsets: np.ndarray, slots: np.ndarray) -> Batch:
        """A batch to be filled; a worker's lies in memory that the main process shares."""
        readers = self._readers[subsets[0] if len(subsets) else 0]
        if len(slots):  # before anybody makes room for rows of a size that a file only claims
            for reader in readers.values():
                reader.require_size(int(slots[0]))
        layout: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
            field: ((len(slots), *reader.spec.shape), storage_dtype(reader.spec))
            for field, reader in readers.items()
        }
        number = (len(slots),), np.dtype(np.int64)
        layout |= {"label": number, "index": number}
        shared = None if get_worker_info() is None else self._buffers.take(layout)
        if shared is not None:
            return shared
        return {name: torch.from_numpy(np.empty(*each)) for name, each in layout.items()}


class _Row(Batch):
    """A row of a batch that is already one tensor a field."""


class _Rows(Sequence[_Row]):
    """A batch as a collate function takes it, row by row; the default one takes it whole."""

    def __init__(self, whole: Batch) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole["index"])

    def __getitem__(self, index: Any) -> Any:
        return _Row({name: values[index] for name, values in self.whole.items()})


def _collate(rows: Any, *, collate_fn_map: Any = None) -> Batch:
    """Rows that were read together as they are; others, of a ConcatDataset say, stacked."""
    if isinstance(rows, _Rows):
        return rows.whole
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


default_collate_fn_map[_Row] = _collate


def _all_fields(store: FeatureStore) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(f for key in store.extractor_keys() for f in store.extractor(key)[1])
    )


def _feature_of(store: FeatureStore, subset: str, name: str, digests: Mapping[str, str]) -> Feature:
    """The feature of a subset that has a field."""
    field, digest = split_field(name)
    extractors = {
        fingerprint.extractor
        for fingerprint, fields in map(store.extractor, store.extractor_keys())
        if field in fields
    }
    if not extractors:
        there = sorted({name for key in store.extractor_keys() for name in store.extractor(key)[1]})
        raise StoreError(f"{store.path} has no field {field!r}: it has {', '.join(there)}")
    if len(extractors) > 1:
        raise StoreError(f"Several extractors have a field {field!r}: {', '.join(extractors)}.")
    (extractor,) = extractors
    known = digests.get(extractor, "")  # the whole of what the name may tell the beginning of
    named = known if digest and known.startswith(digest) else digest
    chosen = digests.get(name) or named or known or None
    feature = store.feature(subset, extractor, chosen)
    feature.reader(field)  # the chosen fingerprint may lack a field that another one has
    return feature
