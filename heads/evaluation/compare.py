"""Two detectors on the rows that both have scored: differences with paired intervals."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import Resampling
from clare.errors import InputError
from clare.heads.metrics.by_subset import METRICS, PREDICTIONS, counted_subsets, fakes_alone
from clare.heads.metrics.measure import Measured, difference_of, mean_of, measure_draws
from clare.heads.metrics.predictions import Predictions, evaluation_sets, read_predictions
from clare.typed_json import to_json


@dataclass(frozen=True)
class Scores:
    """A detector's predictions.

    Args:
        predictions: of its rows.
        threshold: the margin from which on it calls a row fake.
        aside: subsets in no mean of its evaluation.
    """

    predictions: Predictions
    threshold: float | None
    aside: tuple[str, ...] = ()


def read_scores(path: Path) -> Scores:
    """The scores of an evaluated run, at its threshold, or of a CSV file, at even odds if known.

    Raises:
        InputError: the run was not evaluated, or the file is not usable.
    """
    if not path.is_dir():
        predictions = read_predictions(path)
        return Scores(predictions, predictions.even, read_aside(path))
    try:
        report = json.loads((path / METRICS).read_text("utf-8"))
        threshold = float(report["threshold"])
        aside = tuple(report.get("aside", ()))
    except FileNotFoundError:
        raise InputError(f"{path} was not evaluated: run `clare evaluate {path}` first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / METRICS} can't be read: {error}") from error
    return Scores(read_predictions(path / PREDICTIONS), threshold, aside)


def read_aside(path: Path) -> tuple[str, ...]:
    """The subsets in no mean of the evaluation that wrote a file; none for other files.

    Raises:
        InputError: the report beside the file is damaged.
    """
    report = path.with_name(METRICS)
    if path.name != PREDICTIONS or not report.is_file():
        return ()
    try:
        return tuple(json.loads(report.read_text("utf-8")).get("aside", ()))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{report} can't be read: {error}") from error


def compare_predictions(
    first: Predictions,
    second: Predictions,
    thresholds: tuple[float | None, float | None],
    *,
    reals: Sequence[str] | None = None,
    aside: Collection[str] = (),
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Every figure of both, and second minus first, on the same rows and the same resamples.

    What two detectors find easy or hard together falls out of the difference, so its interval is
    narrower than those of the two figures (paired bootstrap).

    Args:
        first: scores of one detector.
        second: scores of the other.
        thresholds: the margin from which on each calls a row fake.
        reals: see `evaluation_sets`.
        aside: subsets that are compared, but part of no mean.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        ``read_as``: what the scores of either are; ``rows`` that both have, ``only_first``,
        ``only_second``; ``aside`` and ``alone``, as of `measure_subsets`;
        ``subsets``: by name ``first``, ``second`` and ``difference`` figures; ``macro``: the same,
        the mean over the subsets that count; None where none does.

    Raises:
        InputError: they share no row with a fake, a row is listed twice or has no name, or they
            disagree about a label.
    """
    mine, theirs = _shared(first, second)
    left, right = first.take(mine), second.take(theirs)
    if (left.label != right.label).any():
        wrong = int((left.label != right.label).sum())
        raise InputError(f"{wrong} of {len(left)} shared rows have one label here, another there")
    # The same clusters, so that both draw the same resamples.
    right = replace(right, cluster=left.cluster)
    sets = evaluation_sets(left, reals)
    if not sets:
        raise InputError("the two share no fake row: evaluate both on the same subsets")
    pairs = {
        name: tuple(
            measure_draws(rows.take(places), threshold, Resampling(resamples, seed))
            for rows, threshold in zip((left, right), thresholds, strict=True)
        )
        for name, places in sets.items()
    }
    alone = fakes_alone(left, sets)
    counted = [pairs[name] for name in counted_subsets(sets, aside, alone)]
    return {
        "read_as": [first.scale, second.scale],
        "rows": len(left),
        "only_first": len(first) - len(left),
        "only_second": len(second) - len(left),
        "seed": seed,
        "resamples": resamples,
        "aside": [name for name in sets if name in aside],
        "alone": alone,
        "subsets": {name: _plain(one, other) for name, (one, other) in pairs.items()},
        "macro": _plain(*(mean_of([pair[k] for pair in counted]) for k in (0, 1)))
        if counted
        else None,
    }


def _shared(first: Predictions, second: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the shared rows in either, in the same order."""
    places = []
    for rows in (first, second):
        names = list(zip(rows.subset.tolist(), rows.sample_id.tolist(), strict=True))
        if not all(sample for _, sample in names):
            raise InputError("rows can't be matched without names: both files need a sample_id")
        found = {name: place for place, name in enumerate(names)}
        if len(found) < len(names):
            raise InputError(f"{len(names) - len(found)} rows are listed twice in one file")
        places.append(found)
    shared = sorted(places[0].keys() & places[1].keys())
    if not shared:
        raise InputError("the two share no row: evaluate both on the same subsets")
    return np.array([places[0][n] for n in shared]), np.array([places[1][n] for n in shared])


def _plain(first: Measured, second: Measured) -> dict[str, Any]:
    difference = difference_of(first, second)
    return {
        "first": to_json(first.figures),
        "second": to_json(second.figures),
        "difference": to_json(difference.figures),
    }
