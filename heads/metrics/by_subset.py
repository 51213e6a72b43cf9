"""The figures of a detector on several subsets, as plain data for a file, a table and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import Resampling
from clare.errors import InputError
from clare.heads.metrics.measure import Measured, mean_of, measure_draws
from clare.heads.metrics.predictions import Predictions, evaluation_sets, video_level
from clare.typed_json import to_json

METRICS = "test_metrics.json"
PREDICTIONS = "test_predictions.csv"
"""What an evaluation leaves in a run's folder."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

Levels = dict[str, Measured]
"""Figures by level: ``frame``, and ``video`` where every row belongs to a video."""


def measure_subsets(
    predictions: Predictions,
    threshold: float | None,
    *,
    reals: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 1000,
    oracle: bool = False,
    aside: Collection[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Every figure of every subset, and their means over subsets and over categories.

    Subsets are never pooled: whole-image synthesis and face swaps are different tasks, and the
    largest subset would decide.

    Args:
        predictions: rows of all subsets.
        threshold: margin from which on a row is called fake.
        reals: see `evaluation_sets`.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        oracle: also the accuracy at a threshold searched on these rows.
        aside: subsets that are measured, but part of no mean.
        progress: called while resamples are measured.

    Returns:
        ``threshold``, ``seed``, ``resamples``; ``aside``: those of the given that are here;
        ``alone``: subsets of fakes without any reals, which have few figures and are in no mean
        with others; ``subsets``: by name ``category``, ``real``, ``fake``, ``clusters`` (what a
        bootstrap draws, as many as rows where they are drawn one by one), ``beside`` (the subsets
        whose reals these are, where they are not its own), ``frame`` and ``video`` figures (None
        without real video ids);
        ``categories``: by name ``subsets``, ``frame`` and ``video``, the mean over its subsets;
        ``macro``: ``subsets`` and ``categories``, the means over either, None where there is
        nothing to average. In means, n counts what the mean is over.

    Raises:
        InputError: no subset has fakes.
    """
    sets = evaluation_sets(predictions, reals)
    if not sets:
        raise InputError("there are no fakes to measure: every row is real")
    measured, clusters = {}, {}
    for number, (name, places) in enumerate(sets.items()):
        # A million rows of one set are not copied.
        rows = predictions if len(places) == len(predictions) else predictions.take(places)
        step = None if progress is None else _Steps(progress, number, len(sets), resamples)
        measured[name] = _levels(rows, threshold, seed, resamples, oracle, step)
        clusters[name] = len(np.unique(rows.cluster))
    alone = fakes_alone(predictions, sets)
    counted = counted_subsets(sets, aside, alone)
    kinds = {name: _category(predictions, places) for name, places in sets.items()}
    groups = {
        kind: [name for name in counted if kinds[name] == kind]
        for kind in sorted({kinds[name] for name in counted} - {""})
    }
    categories = {kind: _mean([measured[n] for n in names]) for kind, names in groups.items()}
    return {
        "threshold": threshold,
        "seed": seed,
        "resamples": resamples,
        "aside": [name for name in sets if name in aside],
        "alone": alone,
        "subsets": {
            name: {
                "category": kinds[name],
                "real": int((predictions.label[places] == 0).sum()),
                "fake": int((predictions.label[places] == 1).sum()),
                "clusters": clusters[name],
                "beside": sorted({*predictions.subset[places].tolist()} - {name, ""}),
                **_plain(measured[name]),
            }
            for name, places in sets.items()
        },
        "categories": {
            kind: {"subsets": groups[kind], **_plain(levels)} for kind, levels in categories.items()
        },
        "macro": {
            "subsets": _plain(_mean([measured[name] for name in counted])) if counted else None,
            "categories": _plain(_mean(list(categories.values()))) if categories else None,
        },
    }


def fakes_alone(predictions: Predictions, sets: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """The sets of fakes without any reals, by the places of each set's rows."""
    return [name for name, places in sets.items() if (predictions.label[places] == 1).all()]


def counted_in(report: Mapping[str, Any]) -> list[str]:
    """The subsets that a report's means are over; older reports name none that they are not."""
    return counted_subsets(report["subsets"], report.get("aside", ()), report.get("alone", ()))


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


@dataclass(frozen=True)
class _Steps:
    """How far the resamples of all sets are, from how far those of one are."""

    progress: Progress
    number: int
    sets: int
    resamples: int

    def __call__(self, done: int) -> None:
        made = self.number * self.resamples + done
        self.progress("resampling", made, self.sets * self.resamples)


def _levels(
    rows: Predictions,
    threshold: float | None,
    seed: int,
    resamples: int,
    oracle: bool,
    step: _Steps | None,
) -> Levels:
    def measured(found: Predictions, step: _Steps | None) -> Measured:
        how = Resampling(resamples, seed)
        return measure_draws(found, threshold, how, oracle=oracle, progress=step)

    levels = {"frame": measured(rows, step)}
    if (videos := video_level(rows)) is not None:
        levels["video"] = measured(videos, None)  # of few rows
    return levels


def _mean(several: Sequence[Levels]) -> Levels:
    """The mean at each level that all of them have."""
    shared = [level for level in several[0] if all(level in levels for levels in several)]
    return {level: mean_of([levels[level] for levels in several]) for level in shared}


def _plain(levels: Mapping[str, Measured]) -> dict[str, Any]:
    return {
        level: to_json(levels[level].figures) if level in levels else None
        for level in ("frame", "video")
    }


def _category(predictions: Predictions, places: NDArray[np.int64]) -> str:
    """The kind of most fakes of a set."""
    fakes = predictions.category[places][predictions.label[places] == 1]
    return Counter(fakes.tolist()).most_common(1)[0][0]
