"""What a localiser's maps are worth on test rows, and what it must beat there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import Notice
from clare.bootstrap import Figure, Figures, Resampling
from clare.errors import CorruptStoreError, InputError, StoreError
from clare.heads.base import INPUTS
from clare.heads.evaluation.field_rows import Rows
from clare.heads.evaluation.mask_judge import MaskJudge, read_rows
from clare.heads.evaluation.mask_results import MaskBaseline, MaskResults, MaskSubset
from clare.heads.metrics import mask_baselines
from clare.heads.metrics.mask_baselines import best_cut
from clare.heads.metrics.masks import (
    MaskFigures,
    count_cases,
    mean_figures,
    measure_map,
    paired_difference,
    resize_map,
)
from clare.heads.metrics.predictions import Predictions
from clare.heads.runs.run import Run, open_own_store
from clare.progress import StepProgress
from clare.store.feature_store import FeatureStore
from clare.wording import listed

SHOWN = ("iou", "f1", "ap")
"""The figures in which a localiser is compared with baselines."""

Map = NDArray[np.float32]


def measure_masks(
    judge: MaskJudge,
    run: Run,
    predictions: Predictions,
    sets: Mapping[str, NDArray[np.int64]],
    how: Resampling,
    baselines: MaskBaselines | None = None,
    aside: Collection[str] = (),
) -> MaskResults:
    """The figures of every subset, and their means.

    Args:
        judge: that has seen all maps.
        run: the localiser's.
        predictions: of the same rows.
        sets: places of each subset's rows, reals beside included.
        how: the bootstrap.
        baselines: measured on the same rows, where they were asked for.
        aside: subsets that are in no mean.
    """
    found = {}
    for name, places in sets.items():
        known = [place for place in places if judge.figures[place] is not None]
        figures = [one for place in known if (one := judge.figures[place]) is not None]
        clusters = predictions.cluster[known]
        unmarked = int(judge.unmarked[places].sum())
        found[name] = MaskSubset(
            figures=mean_figures(figures, clusters, how) if known else {},
            cases=count_cases(figures) | {"unmarked": unmarked},
            without_mask=len(places) - len(known) - unmarked,
            baselines={} if baselines is None else baselines.beside(known, figures, clusters, how),
        )
    return MaskResults(
        score=run.record.config.detector.score,
        saw_reals=run.record.rows["train"]["real"] > 0,
        cuts={} if baselines is None else baselines.cuts,
        subsets=found,
        mean=_mean([o.figures for n, o in found.items() if o.figures and n not in aside]),
    )


class MaskBaselines:
    """Maps that nobody trained, measured on the rows that a localiser is tested on.

    All fake, an ellipse in the middle, the Laplacian's energy where pixels are stored, and LaRE
    where that is. The cut of the last two, and LaRE's direction, are chosen on the run's own
    validation rows.

    Args:
        run: that is tested.
        store: of the rows.
        judge: whose masks are compared with.
        rows: that are tested.
        progress: called while they are measured.

    Attributes:
        cuts: by baseline.
        notices: why one is left out.
    """

    def __init__(
        self,
        run: Run,
        store: FeatureStore,
        judge: MaskJudge,
        rows: Rows,
        progress: StepProgress | None = None,
    ) -> None:
        self.cuts: dict[str, float] = {}
        self.notices: list[Notice] = []
        self._figures: dict[str, list[MaskFigures | None]] = {}
        marked = [p for p, (_, row) in enumerate(rows) if row.columns["label"] == 1]
        makers: dict[str, _Maker] = {"all fake": _AllFake(), "centre ellipse": _Ellipse()}
        for title, kind in (("Laplacian", _Laplacian), ("LaRE", _Lare)):
            try:
                makers[title] = kind(run, store, rows)
            except CorruptStoreError:
                raise
            except (InputError, StoreError) as error:
                what = f"{title} is not among the baselines: {error.what}"
                self.notices.append(Notice(what, *error.advice))
        for title, maker in makers.items():
            self.cuts |= {} if maker.cut is None else {title: maker.cut}
            found: list[MaskFigures | None] = [None] * len(rows)
            for done, place in enumerate(marked, start=1):
                mask = judge.mask(place)
                if mask is not None and (made := maker.make(place, mask.shape)) is not None:
                    cut = 0.5 if maker.cut is None else maker.cut
                    found[place] = measure_map(made, mask, cut)
                if progress is not None:
                    progress(f"measuring {title}", done, len(marked))
            self._figures[title] = found

    def beside(
        self,
        places: Sequence[int],
        figures: Sequence[MaskFigures],
        clusters: NDArray[np.str_],
        how: Resampling,
    ) -> dict[str, MaskBaseline]:
        """Each baseline on some rows, and the localiser's lead on those that both have."""
        measured = {}
        for title, found in self._figures.items():
            both = [n for n, place in enumerate(places) if found[place] is not None]
            mine = [one for n in both if (one := found[places[n]]) is not None]
            if not mine:
                continue
            own = mean_figures(mine, clusters[both], how)
            ahead = paired_difference(mine, [figures[n] for n in both], clusters[both], how)
            measured[title] = MaskBaseline(
                {name: own[name] for name in SHOWN}, {name: ahead[name] for name in SHOWN}
            )
        return measured


class _Maker(ABC):
    """Makes a baseline's map of a row."""

    cut: float | None = None

    @abstractmethod
    def make(self, place: int, shape: tuple[int, int]) -> Map | None:
        """(H, W), 0 to 1; None where the row has not what it needs."""


class _AllFake(_Maker):
    def make(self, place: int, shape: tuple[int, int]) -> Map:
        return mask_baselines.all_fake(shape)


class _Ellipse(_Maker):
    def make(self, place: int, shape: tuple[int, int]) -> Map:
        return mask_baselines.centre_ellipse(shape)


class _Stored(_Maker):
    """A map of a stored field, whose cut is chosen on the rows that the run was chosen on.

    Attributes:
        field: its name.
        low_is_fake: whether its low values mark the fake; chosen with the cut, if ``both_ways``.
    """

    field: ClassVar[str]
    both_ways: ClassVar[bool] = False
    low_is_fake = False

    def __init__(self, run: Run, store: FeatureStore, rows: Rows) -> None:
        self._config = run.record.config.detector
        self._held = read_rows(run, store, rows, self.field)
        home = open_own_store(run.path, run.record)
        val = [
            (name, row)
            for name in run.record.subsets
            for row in home.rows(name)
            if row.view == 0
            and row.columns.get("split") == "val"
            and row.columns.get("label") == 1
            and row.columns.get("mask_path")
            and run.seen.chose_on_image(row.content)
        ]
        masks, held = MaskJudge(run, home, val), None
        if val:
            held = read_rows(run, home, val, self.field)
            if len(keys := held.keys | self._held.keys) > 1:
                raise StoreError(
                    f"validation and test have {self.field} of several fingerprints "
                    f"({listed(sorted(keys))}), and one cut is of one",
                    "extract them alike",
                )
        chosen = [] if held is None else np.flatnonzero(held.has).tolist()
        pairs = [(place, mask) for place in chosen if (mask := masks.mask(place)) is not None]
        if held is None or not pairs:
            raise StoreError("the run's validation has no masks to choose its cut on")
        cuts = {}
        for low in (False, True) if self.both_ways else (False,):
            self.low_is_fake = low
            maps = [self._map(held.read([place])[0], mask.shape) for place, mask in pairs]
            cuts[low] = best_cut(maps, [mask for _, mask in pairs])
        self.low_is_fake = max(cuts, key=lambda low: cuts[low].iou)
        self.cut = cuts[self.low_is_fake].value

    def make(self, place: int, shape: tuple[int, int]) -> Map | None:
        if not self._held.has[place]:
            return None
        return self._map(self._held.read([place])[0], shape)

    @abstractmethod
    def _map(self, stored: NDArray, shape: tuple[int, int]) -> Map:
        """The map of a stored row, (H, W), 0 to 1."""


class _Laplacian(_Stored):
    field = "pixels"

    def _map(self, stored: NDArray, shape: tuple[int, int]) -> Map:
        return resize_map(mask_baselines.laplacian(stored), shape)


class _Lare(_Stored):
    field = "lare"
    both_ways = True

    def _map(self, stored: NDArray, shape: tuple[int, int]) -> Map:
        config = self._config
        maps = INPUTS["lare"].take(torch.from_numpy(stored[None]), config.timestep, config.draws)
        return mask_baselines.lare(maps[0].numpy(), shape, low_is_fake=self.low_is_fake)


def _mean(several: Sequence[Figures]) -> Figures:
    names = dict.fromkeys(name for one in several for name in one)
    found = {}
    for name in names:
        values = [f.value for one in several if (f := one.get(name)) and f.value is not None]
        mean = float(np.mean(values)) if values else None
        found[name] = Figure(mean, None, None, len(values))
    return found
