"""A localiser's maps beside the masks of test rows.

Figures are at the size of each mask's own file: the stored mask is brought to it by its nearest
neighbours, which loses nothing where the stored one is as fine.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import Name, Notice
from clare.errors import CorruptStoreError, StoreError
from clare.heads.base import MAP
from clare.heads.data.fingerprints import begun_last, frame_of
from clare.heads.evaluation.field_rows import FieldRows, Rows
from clare.heads.localizer import mask_field
from clare.heads.metrics.masks import (
    MaskFigures,
    columns_of,
    fake_pixels,
    measure_map,
    nearest,
    probability_map,
)
from clare.heads.runs.run import Run
from clare.store.feature_store import FeatureStore
from clare.wording import counted, name_rows


class MaskJudge:
    """Measures maps as a localiser makes them, so that none has to be kept.

    Args:
        run: the localiser's.
        store: of the rows.
        rows: that are tested, with the subset of each.

    Attributes:
        figures: of each row; None of a fake without a mask, or whose mask marks nothing.
        unmarked: (N,) whether a row is a fake whose mask marks nothing: it has no figures.
        unread: whether there are masks that can't be looked at.
        notices: what may surprise.
    """

    def __init__(self, run: Run, store: FeatureStore, rows: Rows) -> None:
        self._rows = rows
        self.figures: list[MaskFigures | None] = [None] * len(rows)
        self.unmarked = np.zeros(len(rows), bool)
        self.unread = False
        self.notices: list[Notice] = []
        masked = [place for place, (_, row) in enumerate(rows) if row.columns.get("mask_path")]
        self._masks, self._places = None, np.full(len(rows), -1)
        if masked:
            try:
                held = self._read(run, store, [rows[place] for place in masked])
                self._places[masked] = np.where(held.has, np.arange(len(masked)), -1)
                self._masks = held
                self._whole = _is_whole(store, held.keys)
                self._note_size(held.shape[0])
            except CorruptStoreError:
                raise
            except StoreError as error:
                self.unread = True
                self.notices.append(Notice(f"masks are not looked at: {error.what}", *error.advice))

    def add(self, first: int, maps: torch.Tensor) -> None:
        """Measure the maps (B, 256, 256) of logits of the rows from a place on."""
        for place, logits in enumerate(maps.float().cpu(), start=first):
            if (mask := self.mask(place)) is None:
                continue
            if self._rows[place][1].columns["label"] == 1 and not fake_pixels(mask).any():
                self.unmarked[place] = True
            else:
                self.figures[place] = measure_map(probability_map(logits, mask.shape), mask)

    def mask(self, place: int) -> NDArray[np.uint8] | None:
        """The mask of a row, at its file's own size; empty for a real, None where there is none."""
        columns = self._rows[place][1].columns
        if columns["label"] == 0:  # whatever its mask says: nothing of a real is fake
            return np.zeros((MAP, MAP), np.uint8)
        if self._masks is None or self._places[place] < 0:
            return None
        stored: NDArray[np.uint8] = self._masks.read([self._places[place]])[0]
        height, width = (int(columns.get(f"mask_{side}") or 0) for side in ("height", "width"))
        return nearest(stored, (height, width)) if self._whole and height and width else stored

    def columns(self) -> dict[str, list[float | None]]:
        """The figures of every row by name, for a table; None where there is none."""
        return columns_of(self.figures)

    def _read(self, run: Run, store: FeatureStore, rows: Rows) -> FieldRows:
        """The masks of rows; of several that lie as the run's features do, those begun last."""
        field = mask_field(run.record.config.detector)
        several = [
            {one.key for one in store.features(subset) if field in store.extractor(one.key)[1]}
            for subset in sorted({subset for subset, _ in rows})
        ]
        known = run.record.digest_of(field, "mask") is not None
        if known or all(len(keys) < 2 for keys in several):
            return read_rows(run, store, rows, "mask")
        wanted = [frame_of(one.fingerprint) for one in run.record.extractors.values()]
        fitting = [
            key for key in set.intersection(*several) if frame_of(store.extractor(key)[0]) in wanted
        ]
        if not fitting:
            return read_rows(run, store, rows, "mask")
        key = begun_last(store, fitting)
        self.notices.append(
            Notice(
                f"of several masks in the store {key} are taken: of those that were cut out of the "
                "images as the features were they were begun last"
            )
        )
        return read_rows(run, store, rows, "mask", key.rpartition("-")[2])

    def _note_size(self, side: int) -> None:
        if not self._whole:
            what = (
                f"faces were cut out of the images: masks are measured at the {side} x {side} "
                "pixels that are stored, not at the size of their files"
            )
            self.notices.append(Notice(what))
            return
        finer = [
            row.sample_id
            for _, row in self._rows
            if max(int(row.columns.get(f"mask_{one}") or 0) for one in ("width", "height")) > side
        ]
        if finer:
            self.notices.append(
                Notice(
                    f"{counted(len(finer), 'mask')} are finer than the {side} x {side} pixels that "
                    f"are stored ({name_rows(finer)}): they are measured from those",
                    Name("larger ones, and extract masks again", "mask.size"),
                )
            )


def read_rows(
    run: Run, store: FeatureStore, rows: Rows, role: str, digest: str | None = None
) -> FieldRows:
    """A field of rows, to be compared with a run's maps place by place.

    Args:
        run: a localiser's.
        store: of the rows.
        rows: at least one.
        role: ``mask``, or the field.
        digest: of its fingerprint, where the run reads none; may be left out where the store has
            one.

    Raises:
        StoreError: the store has no such field, or several, or it was cut out of the images
            otherwise than what the run reads.
    """
    name = mask_field(run.record.config.detector) if role == "mask" else role
    owners = {
        fingerprint.extractor
        for fingerprint, specs in map(store.extractor, store.extractor_keys())
        if name in specs
    }
    if len(owners) != 1:
        raise StoreError(f"the store has no field {name}" if not owners else f"several have {name}")
    (extractor,) = owners
    digest = run.record.digest_of(name, extractor) or digest
    found = FieldRows(store, rows, extractor, name, digest)
    for key in sorted(found.keys):
        own = frame_of(store.extractor(key)[0])
        for reads, one in run.record.extractors.items():
            if frame_of(one.fingerprint) != own:
                raise StoreError(
                    f"{name} was cut out of the images otherwise than what the run reads "
                    f"({name} {own}; {reads} {frame_of(one.fingerprint)})",
                    "extract both with one crop and one alignment",
                )
    return found


def _is_whole(store: FeatureStore, keys: set[str]) -> bool:
    """Whether stored masks are of whole images, squashed, so that they can be brought back."""
    return all(frame_of(store.extractor(key)[0]) == {"crop": "none"} for key in keys)
