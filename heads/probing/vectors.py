"""The vectors of all inputs, each stored field read once, in files that memory need not hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clare.errors import InputError
from clare.heads.base import INPUTS
from clare.heads.evaluation.field_rows import FieldRows, Rows
from clare.heads.probing.inputs import Part, ProbeInput, Source
from clare.progress import StepProgress
from clare.store.feature_store import FeatureStore

STEP = 256
"""Rows of a field that are read at a time."""

PIECE = 4096
"""Rows of vectors that are computed on at a time."""


class Vectors:
    """The vectors of N rows, float32, in one file a part.

    Args:
        store: the store.
        rows: N rows, all of them complete in every field.
        parts: what is read.
        lare: the field that weighs tokens, where a part is weighed.
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
        folder: Path,
        progress: StepProgress | None = None,
    ) -> None:
        self._count = len(rows)
        self._files: dict[Part, NDArray[np.float32]] = {}
        by_source: dict[Source, list[Part]] = defaultdict(list)
        for part in parts:
            by_source[part.source].append(part)
        for number, (source, mine) in enumerate(by_source.items()):
            values = _reader(store, rows, source)
            weighed = any(part.how is not None and part.how.weighed for part in mine)
            weights = _reader(store, rows, lare) if weighed and lare is not None else None
            for start in range(0, len(rows), STEP):
                places = np.arange(start, min(start + STEP, len(rows)))
                read = torch.from_numpy(values.read(places))
                maps = None if weights is None else _maps(weights.read(places), 0)
                for part in mine:
                    vectors = _pooled(part, read, maps)
                    if part not in self._files:
                        self._files[part] = np.lib.format.open_memmap(
                            folder / f"{len(self._files)}.npy",
                            "w+",
                            np.float32,
                            (len(rows), vectors.shape[1]),
                        )
                    self._files[part][places] = vectors
                if progress is not None:
                    told = f"reading {source.field}"
                    progress(
                        told, number * len(rows) + len(places) + start, len(by_source) * len(rows)
                    )

    def __len__(self) -> int:
        return self._count

    def width(self, asked: ProbeInput) -> int:
        """The length of an input's vectors."""
        return sum(self._files[part].shape[1] for part in asked.parts)

    def widths(self, asked: ProbeInput) -> list[int]:
        """The length of each part's."""
        return [self._files[part].shape[1] for part in asked.parts]

    def pieces(
        self,
        asked: ProbeInput,
        places: NDArray[np.int64],
        *,
        unit: bool,
        exchanged: NDArray[np.int64],
    ) -> Iterator[NDArray[np.float64]]:
        """Vectors (n, d) of some rows at a time.

        Args:
            asked: what they are of.
            places: the rows.
            unit: whether each part is brought to unit length.
            exchanged: (N,) whose last part stands in a row where the input is shuffled.
        """
        last = len(asked.parts) - 1
        for start in range(0, len(places), PIECE):
            mine = places[start : start + PIECE]
            columns = []
            for number, part in enumerate(asked.parts):
                rows = exchanged[mine] if asked.shuffled and number == last else mine
                values = self._files[part][rows].astype(np.float64)
                if unit:
                    length = np.linalg.norm(values, axis=1, keepdims=True)
                    values /= np.maximum(length, np.finfo(np.float64).tiny)
                columns.append(values)
            yield columns[0] if len(columns) == 1 else np.concatenate(columns, 1)


def _reader(store: FeatureStore, rows: Rows, source: Source) -> FieldRows:
    return FieldRows(store, rows, source.extractor, source.field, source.digest)


def _maps(stored: NDArray[np.generic], step: int) -> torch.Tensor:
    """LaRE's maps (B, 4, h, w) of one step, the mean of its draws."""
    return INPUTS["lare"].take(torch.from_numpy(stored), step, None)


def _pooled(part: Part, read: torch.Tensor, maps: torch.Tensor | None) -> NDArray[np.float32]:
    """(B, d)."""
    values = read
    if (how := part.how) is not None:
        one = INPUTS["lare"].take(read, part.step, None) if part.kind == "lare" else read.float()
        values = how.pool(one, maps)
    found: NDArray[np.float32] = values.float().numpy()
    if not np.isfinite(found).all():
        raise InputError(
            f"{part.name} holds what is no finite number, which no probe can be fitted to",
            "extract these rows again",
        )
    return found
