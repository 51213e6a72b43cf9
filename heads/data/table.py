"""Rows of the training and validation splits, by field: in memory where they fit, else streamed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import Name, Set
from clare.errors import InputError
from clare.heads.config import Memory
from clare.heads.data.dataset import FeatureDataset
from clare.heads.data.memory import free_bytes
from clare.progress import Progress
from clare.store.feature_store import FeatureStore
from clare.store.rows import join_rows

Split = Literal["train", "val"]
"""The splits that training may read."""

Place = Literal["device", "host", "disk"]

SCORED_TOGETHER = 128
"""Rows that a detector takes at once where it does not learn."""

_SHARE = 0.8
"""Of the free memory that features may take; models and batches need the rest."""

_CHUNK = 64 << 20
_AHEAD = 3
"""Batches that are read while one is trained on."""

Change = Callable[[str, torch.Tensor, NDArray[np.int64]], torch.Tensor]
"""What is done to a field's values of some rows before they are handed out."""


@dataclass(frozen=True)
class FieldPlan:
    """Where a field will lie.

    Args:
        field: its name.
        bytes: of the rows in use, both splits together.
        place: ``device``, ``host``, or ``disk``: streamed, batch by batch.
    """

    field: str
    bytes: int
    place: Place


class FeatureTable:
    """The rows of one split that have a value in at least one of several fields.

    Args:
        store: the store.
        fields: names of fields.
        subsets: the subsets to take.
        split: ``train``, with all views, or ``val``, with the plain ones. There is no other.
        digests: fingerprint digest by extractor or field.
        device: where batches are wanted.

    Attributes:
        rows: by subset and slot.

    Raises:
        StoreError: a field or subset is not there, or several fingerprints fit.
        ValueError: the split is neither of the two.
    """

    def __init__(
        self,
        store: FeatureStore,
        fields: Iterable[str],
        subsets: Iterable[str],
        split: Split,
        digests: Mapping[str, str],
        device: torch.device,
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"training never reads the split {split!r}")
        names = sorted(subsets)
        views = {0}
        if split == "train":
            views.update(*(store.rows(name).views.tolist() for name in names))
        self.store = store
        self.device = device
        self._datasets = {
            field: FeatureDataset(
                store, [field], subsets=names, split=split, views=views, digests=digests, threads=8
            )
            for field in fields
        }
        datasets = list(self._datasets.values())
        every = np.concatenate([np.zeros(0, np.int64), *(one.keys for one in datasets)])
        keys, places = np.unique(every, return_index=True)
        self.rows = join_rows([one.rows for one in datasets]).take(places)
        self._positions: dict[str, NDArray[np.int64]] = {}
        for field, dataset in self._datasets.items():
            self._positions[field] = np.full(len(keys), -1, np.int64)
            self._positions[field][np.searchsorted(keys, dataset.keys)] = np.arange(len(dataset))
        self._used = dict(self._positions)
        self._memory: dict[str, torch.Tensor] = {}
        self._held: dict[str, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def complete(self, fields: Iterable[str]) -> NDArray[np.bool_]:
        """(rows,) whether a row has a value in each of these fields."""
        held = [self._positions[field] >= 0 for field in fields]
        return np.logical_and.reduce(held) if held else np.zeros(len(self), bool)

    def restrict(self, places: Mapping[str, Iterable[NDArray[np.int64]]]) -> None:
        """Plan for, and load, rows in use alone."""
        for field, positions in self._positions.items():
            read = np.zeros(len(self), bool)
            for some in places.get(field, ()):
                read[some] = True
            self._used[field] = np.where(read, positions, -1)

    def bytes_of(self, field: str) -> int:
        """Bytes of a field over the rows in use that have it."""
        wanted = self._wanted(field)
        if not len(wanted):
            return 0
        row = self._datasets[field][wanted[0]][field]
        return len(wanted) * row.numel() * row.element_size()

    def load(self, field: str, place: Place, progress: Callable[[int], None]) -> None:
        """Bring a field's rows in use into memory, in the store's order, each read once."""
        wanted = self._wanted(field)
        if place == "disk" or not len(wanted):
            return
        dataset = self._datasets[field]
        first = dataset[wanted[0]][field]
        step = max(1, _CHUNK // (first.numel() * first.element_size()))
        target = self.device if place == "device" else torch.device("cpu")
        pinned = place == "host" and self.device.type == "cuda"
        held = torch.empty(
            (len(wanted), *first.shape), dtype=first.dtype, device=target, pin_memory=pinned
        )
        for start in range(0, len(wanted), step):
            piece = dataset.read(wanted[start : start + step])[field]
            held[start : start + len(piece)] = piece
            progress(piece.numel() * piece.element_size())
        self._memory[field] = held
        self._held[field] = np.where(
            self._used[field] >= 0, np.searchsorted(wanted, self._used[field]), -1
        )

    def batches(
        self,
        order: Sequence[NDArray[np.int64]],
        fields: Iterable[str],
        change: Change | None = None,
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Batches of rows, by field in the stored type, on the device.

        What is not in the device's memory is read by other threads while the caller works.

        Args:
            order: places in ``rows`` of each batch.
            fields: what a batch holds.
            change: given each field's name, its values and their places in ``rows``; runs in those
                threads too.

        Raises:
            CorruptStoreError: a row's bytes are not those that were written.
        """
        names = tuple(fields)
        at_hand = change is None and all(
            name in self._memory and self._memory[name].device.type == self.device.type
            for name in names
        )
        if at_hand:
            yield from (self._read(ids, names) for ids in order)
            return
        with ThreadPoolExecutor(2 if change is None else _AHEAD) as pool:
            waiting: deque[Future[dict[str, torch.Tensor]]] = deque()
            try:
                for ids in order:
                    waiting.append(pool.submit(self._read, ids, names, change))
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _read(
        self, ids: NDArray[np.int64], fields: Sequence[str], change: Change | None = None
    ) -> dict[str, torch.Tensor]:
        batch = {}
        for field in fields:
            held = self._memory.get(field)
            if held is None:
                positions = self._positions[field][ids]
                values = self._datasets[field].read(positions)[field]
            else:
                places = torch.from_numpy(self._held[field][ids])
                values = held.index_select(0, places.to(held.device))
            if change is not None:
                values = change(field, values, ids)
            batch[field] = values.to(self.device, non_blocking=True)
        return batch

    def _wanted(self, field: str) -> NDArray[np.int64]:
        """Places of a field's rows in use in its dataset, in the store's order."""
        used = self._used[field]
        return np.sort(used[used >= 0])


def pieces(places: NDArray[np.int64], size: int = SCORED_TOGETHER) -> list[NDArray[np.int64]]:
    """Places in batches, the last one perhaps shorter."""
    return [places[start : start + size] for start in range(0, len(places), size)]


def plan_memory(
    tables: Sequence[FeatureTable],
    fields: Iterable[str],
    memory: Memory,
    device: torch.device,
    on_host: Collection[str] = (),
) -> list[FieldPlan]:
    """Where each field goes: the small ones first, to the nearest place with room.

    Those that processors work on come no nearer than the host's memory.
    """
    sizes = {field: sum(table.bytes_of(field) for table in tables) for field in fields}
    free: dict[Place, float] = {
        "device": 0.0 if device.type == "cpu" else _SHARE * free_bytes(device),
        "host": _SHARE * free_bytes(torch.device("cpu")),
        "disk": math.inf,
    }
    if memory == "device" and device.type == "cpu":
        memory = "host"
    allowed: list[Place] = ["device", "host", "disk"] if memory == "auto" else [memory]
    plans = []
    for field, size in sorted(sizes.items(), key=lambda item: item[1]):
        nearest = [place for place in allowed if place != "device" or field not in on_host]
        place = next((place for place in nearest or ["host"] if size <= free[place]), None)
        if place is None:
            raise InputError(
                f"{field} takes {size / 1e9:.1f} GB and {free[allowed[0]] / 1e9:.1f} GB of "
                f"{memory} memory may be used",
                Set("memory", "auto"),
                Name("a smaller share of the rows", "fraction"),
            )
        free[place] -= size
        plans.append(FieldPlan(field, size, place))
    return plans


def load_fields(
    tables: Sequence[FeatureTable], plans: Sequence[FieldPlan], progress: Progress
) -> None:
    """Read what belongs in memory, once; ``progress`` hears of bytes."""
    total = sum(plan.bytes for plan in plans if plan.place != "disk")
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    for plan in plans:
        for table in tables:
            table.load(plan.field, plan.place, count)
