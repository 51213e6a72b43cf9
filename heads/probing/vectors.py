"""The vectors of all inputs, each stored field read once, in files that memory need not hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import Name
from clare.errors import InputError
from clare.files import require_free_space
from clare.heads.base import INPUTS
from clare.heads.evaluation.field_rows import FieldRows, Rows
from clare.heads.layers.pooling import class_direction, rows_of_direction
from clare.heads.probing.inputs import Part, ProbeInput, Source
from clare.progress import StepProgress
from clare.store.feature_store import FeatureStore

STEP = 256
"""Rows of a field that are read at a time."""

PIECE = 1024
"""Rows of vectors that are computed on at a time."""


class Vectors:
    """The vectors of N rows, float32, in one file a part.

    Args:
        store: the store.
        rows: N rows, all of them complete in every field.
        parts: what is read.
        lare: the field that weighs tokens, where a part is weighed.
        train: places of the rows that the direction of ranked tokens comes from.
        folder: for the files; empty, and the caller's to remove.
        progress: called while fields are read.

    Raises:
        CorruptStoreError: stored bytes are not what was written.
        InputError: a vector holds what is no finite number.
    """

    def __init__(
        self,
        store: FeatureStore,
        rows: Rows,
        parts: Sequence[Part],
        lare: Source | None,
        train: NDArray[np.int64],
        folder: Path,
        progress: StepProgress | None = None,
    ) -> None:
        readers = {source: _reader(store, rows, source) for source in {p.source for p in parts}}
        weighed = any(part.is_weighed for part in parts)
        if weighed and lare is not None and lare not in readers:
            readers[lare] = _reader(store, rows, lare)
        self._widths = {part: _width(part, readers[part.source].shape) for part in parts}
        needed = len(rows) * sum(self._widths.values()) * np.dtype(np.float32).itemsize
        require_free_space(folder, needed)
        self._files: dict[Part, NDArray[np.float32]] = {}
        for number, (part, width) in enumerate(self._widths.items()):
            file, shape = folder / f"{number}.npy", (len(rows), width)
            self._files[part] = np.lib.format.open_memmap(file, "w+", np.float32, shape)
        self._lengths = {part: np.empty(len(rows)) for part in self._widths}
        ranked = {part.source for part in self._widths if part.how is not None and part.how.ranked}
        directions = _directions({one: readers[one] for one in ranked}, train)
        for start in range(0, len(rows), STEP):
            places = np.arange(start, min(start + STEP, len(rows)))
            read = {one: torch.from_numpy(reader.read(places)) for one, reader in readers.items()}
            maps = INPUTS["lare"].take(read[lare], 0, None) if weighed and lare else None
            for part, vectors in self._files.items():
                weighed_by = maps if part.is_weighed else directions.get(part.source)
                found = _pooled(part, read[part.source], weighed_by, places, rows)
                mine = slice(start, start + len(places))
                vectors[mine] = found
                squares = np.einsum("ij,ij->i", found, found, dtype=np.float64)
                self._lengths[part][mine] = np.sqrt(squares)
            if progress is not None:
                progress("reading features", int(places[-1]) + 1, len(rows))

    def widths(self, asked: ProbeInput) -> list[int]:
        """The length of each part's vectors."""
        return [self._widths[part] for part in asked.parts]

    def pieces(
        self,
        asked: ProbeInput,
        places: NDArray[np.int64],
        *,
        unit: bool,
        exchanged: Sequence[NDArray[np.int64]],
    ) -> Iterator[NDArray[np.float64]]:
        """Vectors (n, d) of some rows at a time.

        Args:
            asked: what they are of.
            places: the rows.
            unit: whether each part is brought to unit length.
            exchanged: for each shuffle, (N,) whose last part stands in a row.
        """
        last = len(asked.parts) - 1
        for start in range(0, len(places), PIECE):
            mine = places[start : start + PIECE]
            columns = []
            for number, part in enumerate(asked.parts):
                own = not asked.shuffled or number != last
                rows = mine if own else exchanged[asked.shuffled - 1][mine]
                values = _taken(self._files[part], rows).astype(np.float64)
                if unit:
                    length = np.maximum(self._lengths[part][rows], np.finfo(np.float64).tiny)
                    values /= length[:, None]
                columns.append(values)
            yield columns[0] if len(columns) == 1 else np.concatenate(columns, 1)


def _taken(values: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some rows, without a copy where they lie one after the other."""
    if (np.diff(rows) == 1).all():
        return values[rows[0] : rows[0] + len(rows)]
    return values[rows]


def _reader(store: FeatureStore, rows: Rows, source: Source) -> FieldRows:
    return FieldRows(store, rows, source.extractor, source.field, source.digest)


def _width(part: Part, shape: tuple[int, ...]) -> int:
    """The length of a part's vectors, of a field of this shape."""
    if part.kind != "lare" or part.how is None:
        return shape[-1]
    return part.how.pool(torch.zeros(1, *shape[2:]), None).shape[1]


def _directions(
    readers: Mapping[Source, FieldRows], train: NDArray[np.int64]
) -> dict[Source, torch.Tensor]:
    """What tokens are ranked by, of each field that is: see `class_direction`."""
    if not readers:
        return {}
    label = next(iter(readers.values())).label
    chosen = train[rows_of_direction(label[train])]

    def batches() -> Iterator[tuple[dict[Source, torch.Tensor], torch.Tensor]]:
        for start in range(0, len(chosen), STEP):
            places = chosen[start : start + STEP]
            tokens = {one: torch.from_numpy(reader.read(places)) for one, reader in readers.items()}
            yield tokens, torch.from_numpy(label[places])

    return class_direction(batches())


def _pooled(
    part: Part,
    read: torch.Tensor,
    beside: torch.Tensor | None,
    places: NDArray[np.int64],
    rows: Rows,
) -> NDArray[np.float32]:
    """(B, d) of the rows at some places."""
    values = read
    if (how := part.how) is not None:
        one = INPUTS["lare"].take(read, part.step, None) if part.kind == "lare" else read.float()
        values = how.pool(one, beside)
    found: NDArray[np.float32] = values.float().numpy()
    if not (finite := np.isfinite(found).all(1)).all():
        subset, row = rows[int(places[np.argmin(finite)])]
        raise InputError(
            f"{part.name} of {row.sample_id} in {subset} holds what is no finite number, which no "
            "probe can be fitted to",
            "extract this row again",
            Name("other fields", "inputs"),
        )
    return found
