"""The figures of a detector on several subsets, and their means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clare.advice import Name, Notice
from clare.bootstrap import USUAL, Figures, Resampling
from clare.errors import InputError
from clare.heads.metrics.measure import Measured, mean_of, measure_draws
from clare.heads.metrics.predictions import Predictions, evaluation_sets, video_level
from clare.progress import StepProgress
from clare.wording import listed


@dataclass(frozen=True)
class Levels:
    """Figures of single images, and of whole videos.

    Args:
        frame: of images.
        video: of videos by the mean score of their frames; None where a row belongs to none.
    """

    frame: Figures
    video: Figures | None


@dataclass(frozen=True)
class SubsetFigures:
    """What was measured on a subset.

    Args:
        category: the kind of most of its fakes; empty where unknown.
        real: rows of this label, those of other subsets that stand beside too.
        fake: rows of this label.
        clusters: what a bootstrap draws; as many as rows where they are drawn one by one.
        beside: the subsets whose reals these are, where they are not its own.
        frame: see `Levels`.
        video: see `Levels`.
    """

    category: str
    real: int
    fake: int
    clusters: int
    beside: tuple[str, ...]
    frame: Figures
    video: Figures | None


@dataclass(frozen=True)
class CategoryFigures:
    """Means over the subsets of a category; ``n`` counts subsets.

    Args:
        subsets: that the means are over.
        frame: see `Levels`.
        video: see `Levels`.
    """

    subsets: tuple[str, ...]
    frame: Figures
    video: Figures | None


@dataclass(frozen=True)
class Macro:
    """Means over all that counts.

    Args:
        subsets: over subsets; None where none counts.
        categories: over categories; None where there is none.
    """

    subsets: Levels | None
    categories: Levels | None


@dataclass(frozen=True)
class FiguresBySubset:
    """What was measured on several subsets.

    Args:
        threshold: margin from which on a row is called fake; None where there was none.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        aside: subsets that are in no mean, as was asked.
        alone: subsets of fakes without any reals: they have few figures, and are in no mean with
            others.
        subsets: the figures by subset.
        categories: means by category.
        macro: means over subsets and over categories.
    """

    threshold: float | None
    seed: int
    resamples: int
    aside: tuple[str, ...]
    alone: tuple[str, ...]
    subsets: Mapping[str, SubsetFigures]
    categories: Mapping[str, CategoryFigures]
    macro: Macro

    @property
    def counted(self) -> list[str]:
        """The subsets that the means are over."""
        return counted_subsets(self.subsets, self.aside, self.alone)

    @property
    def aucs(self) -> dict[str, float | None]:
        """The AUC of each subset, single images ranked."""
        return {name: one.frame["auc"].value for name, one in self.subsets.items()}


def measure_subsets(
    predictions: Predictions,
    threshold: float | None,
    how: Resampling = USUAL,
    *,
    reals: Sequence[str] | None = None,
    oracle: bool = False,
    aside: Collection[str] = (),
    progress: StepProgress | None = None,
) -> FiguresBySubset:
    """Every figure of every subset, and their means over subsets and over categories.

    Subsets are never pooled: whole-image synthesis and face swaps are different tasks, and the
    largest subset would decide.

    Args:
        predictions: rows of all subsets.
        threshold: margin from which on a row is called fake.
        how: the bootstrap.
        reals: see `evaluation_sets`.
        oracle: also the accuracy at a threshold searched on these rows.
        aside: subsets that are measured, but part of no mean.
        progress: called while resamples are measured.

    Raises:
        InputError: no subset has fakes.
    """
    sets = evaluation_sets(predictions, reals)
    if not sets:
        raise InputError("there are no fakes to measure: every row is real")
    measured, subsets = {}, {}
    for number, (name, places) in enumerate(sets.items()):
        # A million rows of one set are not copied.
        rows = predictions if len(places) == len(predictions) else predictions.take(places)
        step = progress and partial(_tell, progress, number * how.count, len(sets) * how.count)
        measured[name] = _levels(rows, threshold, how, oracle, step)
        subsets[name] = SubsetFigures(
            category=_category(rows),
            real=int((rows.label == 0).sum()),
            fake=int((rows.label == 1).sum()),
            # Each label's are drawn by themselves.
            clusters=sum(len(np.unique(rows.cluster[rows.label == one])) for one in (0, 1)),
            beside=tuple(sorted({*rows.subset.tolist()} - {name, ""})),
            **vars(_figures(measured[name])),
        )
    alone = fakes_alone(predictions, sets)
    counted = counted_subsets(sets, aside, alone)
    kinds = sorted({subsets[name].category for name in counted} - {""})
    groups = {kind: [n for n in counted if subsets[n].category == kind] for kind in kinds}
    categories = {kind: _mean([measured[n] for n in names]) for kind, names in groups.items()}

    return FiguresBySubset(
        threshold=threshold,
        seed=how.seed,
        resamples=how.count,
        aside=tuple(name for name in sets if name in aside),
        alone=tuple(alone),
        subsets=subsets,
        categories={
            kind: CategoryFigures(tuple(groups[kind]), **vars(_figures(levels)))
            for kind, levels in categories.items()
        },
        macro=Macro(
            _figures(_mean([measured[n] for n in counted])) if counted else None,
            _figures(_mean([*categories.values()])) if categories else None,
        ),
    )


def fakes_alone(predictions: Predictions, sets: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """The sets of fakes without any reals, by the places of each set's rows."""
    return [name for name, places in sets.items() if (predictions.label[places] == 1).all()]


def counted_subsets(
    names: Iterable[str], aside: Collection[str], alone: Collection[str]
) -> list[str]:
    """The subsets that a mean is over.

    Args:
        names: all that are measured.
        aside: those in no mean.
        alone: those of fakes without reals; they are averaged where there is nothing else.
    """
    every = list(names)
    counted = [name for name in every if name not in aside and name not in alone]
    return counted if counted or set(aside) & set(every) else every


Measure = Callable[[Predictions], Figures]
"""What gives the figures of some rows."""

_Measured = dict[str, Measured]
"""By level: ``frame``, and ``video`` where every row belongs to a video."""


def _tell(progress: StepProgress, before: int, total: int, done: int) -> None:
    progress("resampling", before + done, total)


def _levels(
    rows: Predictions,
    threshold: float | None,
    how: Resampling,
    oracle: bool,
    step: Callable[[int], None] | None,
) -> _Measured:
    levels = {"frame": measure_draws(rows, threshold, how, oracle=oracle, progress=step)}
    if (videos := video_level(rows)) is not None:
        levels["video"] = measure_draws(videos, threshold, how, oracle=oracle)
    return levels


def _mean(several: Sequence[_Measured]) -> _Measured:
    """The mean at each level that all of them have."""
    shared = [level for level in several[0] if all(level in levels for levels in several)]
    return {level: mean_of([levels[level] for levels in several]) for level in shared}


def _figures(levels: _Measured) -> Levels:
    video = levels.get("video")
    return Levels(levels["frame"].figures, None if video is None else video.figures)


def _category(rows: Predictions) -> str:
    """The kind of most fakes."""
    return str(Counter(rows.category[rows.label == 1].tolist()).most_common(1)[0][0])


def measure_levels(
    predictions: Predictions,
    sets: Mapping[str, NDArray[np.int64]],
    of_frames: Measure,
    of_videos: Measure | None,
) -> dict[str, Levels]:
    """Figures of each set, of its images and, where each belongs to one, of its videos.

    Args:
        predictions: rows of all sets.
        sets: places of the rows of each; see `evaluation_sets`.
        of_frames: what measures images.
        of_videos: what measures videos; None where nothing does.
    """
    found = {}
    for name, places in sets.items():
        rows = predictions.take(places)
        videos = None if of_videos is None else video_level(rows)
        found[name] = Levels(
            of_frames(rows), None if of_videos is None or videos is None else of_videos(videos)
        )
    return found


def turned_round(report: FiguresBySubset) -> list[Notice]:
    """What to ask where fakes rank clearly below reals, as foreign files often have it."""
    aucs = {name: one.frame["auc"] for name, one in report.subsets.items()}
    below = [
        f"{name} ({auc.value:.3f})"
        for name, auc in aucs.items()
        if auc.value is not None and (auc.value if auc.high is None else auc.high) < 0.5
    ]
    if not below:
        return []
    return [
        Notice(
            f"The AUC is below 0.5 on {listed(below)}: are the labels or the scores turned round, "
            "as where a score is the probability of real? If so",
            Name("the word for real", "real_label", "1"),
            Name("another column of scores", "score"),
        )
    ]
