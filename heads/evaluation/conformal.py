"""Conformal sets of a run: calibrated on its validation rows alone, measured on test rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import Resampling
from clare.heads.metrics import COVERAGE
from clare.heads.metrics.by_subset import Levels, measure_levels
from clare.heads.metrics.conformal import LabelSets, calibrate, measure_sets
from clare.heads.metrics.predictions import Predictions, read_predictions, video_level
from clare.heads.runs.record import CALIBRATION_PREDICTIONS, VAL_PREDICTIONS


@dataclass(frozen=True)
class RunSets:
    """The conformal sets of a run.

    Args:
        frame: of single images.
        video: of whole videos; None where no validation row is of one.
        apart: whether they are calibrated on rows that chose neither checkpoint nor threshold.
    """

    frame: LabelSets
    video: LabelSets | None
    apart: bool = False

    def calibrated(self) -> Iterator[str]:
        """On how many each was calibrated, and what that leaves open, a sentence each."""
        for kind, sets in (("images", self.frame), ("videos", self.video)):
            if sets is not None and not sets.uncalibrated:
                low, high = sets.leeway(min(sets.reals, sets.fakes))
                yield (
                    f"sets of {kind} are calibrated on {sets.reals:,} reals and {sets.fakes:,} "
                    f"fakes of validation, where a video or person counts as one: with so many, "
                    f"{sets.coverage:g} means {low:.2f} to {high:.2f} (95 %)"
                )
        known = [sets for sets in (self.frame, self.video) if sets is not None]
        if not self.apart and any(not sets.uncalibrated for sets in known):
            yield (
                "checkpoint and threshold were chosen on these rows too, so that less may be "
                "covered: training's calibration keeps some apart"
            )

    def said(self, *, videos: bool = True) -> Iterator[str]:
        """Which labels could not be calibrated, a sentence each; of videos too or not."""
        for kind, sets in (("images", self.frame), ("videos", self.video if videos else None)):
            if sets is None:
                continue
            for label, count in sets.uncalibrated.items():
                yield (
                    f"sets of {kind}: a coverage of {sets.coverage:g} needs {sets.needed} {label}s "
                    f"on validation, each of another video or person, and there are {count}: every "
                    f"set holds {label}"
                )


@dataclass(frozen=True)
class ConformalRecord:
    """What the sets of a run give on test rows.

    Args:
        sets: of the run.
        subsets: the figures of `measure_sets` by subset.
    """

    sets: RunSets
    subsets: Mapping[str, Levels]


def calibrate_run(run: Path, coverage: float = COVERAGE) -> RunSets | None:
    """The conformal sets of a run, from the scores of validation that are in its folder.

    Where rows were kept apart for it, from these alone; see `clare.heads.data.calibration`.

    Args:
        run: a finished run's folder.
        coverage: share of reals, and of fakes, whose set is to hold the true label.

    Returns:
        None where the folder has no such scores, as published weights saw no validation here, or
        has them of fakes alone.

    Raises:
        InputError: the file is damaged, or the coverage is not between 0 and 1.
    """
    path = run / CALIBRATION_PREDICTIONS
    if not (apart := path.is_file()):
        path = run / VAL_PREDICTIONS
    if not path.is_file():
        return None
    rows = read_predictions(path, names=False)
    if len(np.unique(rows.label)) < 2:
        return None
    videos = video_level(rows.take(rows.video != ""))
    of_videos = None if videos is None else calibrate(videos, coverage)
    return RunSets(calibrate(rows, coverage), of_videos, apart)


def measure_conformal(
    sets: RunSets,
    predictions: Predictions,
    places: Mapping[str, NDArray[np.int64]],
    how: Resampling,
) -> ConformalRecord:
    """Measure a run's sets on each subset.

    Args:
        sets: see `calibrate_run`.
        predictions: of test rows.
        places: those of each subset's rows; see `evaluation_sets`.
        how: the bootstrap.
    """
    of_frames = partial(measure_sets, sets=sets.frame, how=how)
    of_videos = None if sets.video is None else partial(measure_sets, sets=sets.video, how=how)
    return ConformalRecord(sets, measure_levels(predictions, places, of_frames, of_videos))
