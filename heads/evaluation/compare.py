"""Two detectors on the rows that both have scored: differences with paired intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clare.advice import LeaveOut, Name
from clare.bootstrap import USUAL, Resampling
from clare.errors import InputError
from clare.heads.evaluation.comparison import Comparison, Pair, compare_masks
from clare.heads.evaluation.record import (
    METRICS,
    PREDICTIONS,
    EvaluationRecord,
    evaluations_by_name,
    read_evaluation,
)
from clare.heads.metrics.by_subset import counted_subsets, fakes_alone
from clare.heads.metrics.measure import Measured, difference_of, mean_of, measure_draws
from clare.heads.metrics.predictions import Predictions, evaluation_sets, read_predictions
from clare.heads.metrics.score_csv import ScoreColumns
from clare.heads.runs.record import is_run, read_record
from clare.labels import Labels
from clare.typed_json import read_json
from clare.wording import listed


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


def read_scores(
    path: Path,
    columns: ScoreColumns = ScoreColumns(),  # noqa: B008
    labels: Labels = Labels(),  # noqa: B008
) -> Scores:
    """The scores of an evaluated run, at its threshold, or of a CSV file, at even odds if known.

    Args:
        path: the run's folder, or the file.
        columns: of a file.
        labels: how a file's labels are read.

    Raises:
        InputError: the run was not evaluated, or the file is not usable.
    """
    if not path.is_dir():
        predictions = read_predictions(path, columns, masks=True, labels=labels)
        return Scores(predictions, predictions.even, read_aside(path))
    record = read_evaluation(path)
    return Scores(read_predictions(path / PREDICTIONS, masks=True), record.threshold, record.aside)


def _by_path(path: Path, scores: Scores) -> Scores:
    """A run's scores with its images' paths as names: other detectors don't know its ids."""
    if not path.is_dir():
        return scores
    named = read_predictions(path / PREDICTIONS, ScoreColumns(sample="path"), masks=True)
    return replace(scores, predictions=named)


def read_aside(path: Path) -> tuple[str, ...]:
    """The subsets in no mean of the evaluation that wrote a file; none for other files.

    Raises:
        InputError: the record beside the file is damaged.
    """
    record = path.with_name(METRICS)
    if path.name != PREDICTIONS or not record.is_file():
        return ()
    return read_json(record, EvaluationRecord).aside


def compare(
    first: Path | str,
    second: Path | str,
    *,
    label: str | None = None,
    score: str | None = None,
    id: str | None = None,
    subset: str | None = None,
    real_label: Sequence[str] = (),
    fake_label: Sequence[str] = (),
    reals: Sequence[str] | None = None,
    resamples: int = USUAL.count,
    seed: int = USUAL.seed,
) -> Comparison:
    """Two detectors on the rows that both have scored; see `compare_predictions`.

    Args:
        first: the folder of a run that was evaluated, or of one of its evaluations, or a CSV of
            scores. Of two runs the last evaluation of the first that both have is compared.
        second: the other one.
        label: column of labels of a CSV; as for those below, a customary name if left out.
        score: column of scores.
        id: column of the images' names; the rows of both are matched by subset and name, and by
            the name alone where one of them knows no subsets. A run's names are its ids, or its
            paths where the other has none of these ids.
        subset: column of subsets.
        real_label: more words for real.
        fake_label: more words for fake.
        reals: see `evaluation_sets`.
        resamples: of the bootstrap behind each interval; 0 gives none.
        seed: of the bootstrap.

    Raises:
        InputError: a run was not evaluated, a file is not usable, or they can't be compared.
    """
    named = ScoreColumns(label, score, subset, None, id)
    labels = Labels(tuple(real_label), tuple(fake_label))
    paths = [Path(first), Path(second)]
    given: Mapping[str, object] = {
        "label": label,
        "score": score,
        "id": id,
        "subset": subset,
        "real_label": real_label,
        "fake_label": fake_label,
    }
    if all(path.is_dir() for path in paths) and any(given.values()):
        raise InputError(
            "columns and labels are those of a CSV, and both are runs",
            LeaveOut(*(name for name, value in given.items() if value)),
        )
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no run and no CSV of scores at {path}")
    met, also = _meeting(paths[0], paths[1])
    left, right = (read_scores(path, named, labels) for path in met)
    ids = (left.predictions.sample_id, right.predictions.sample_id)
    if not all(path.is_dir() for path in met) and not np.intersect1d(*ids).size:
        left, right = _by_path(met[0], left), _by_path(met[1], right)
    found = compare_predictions(
        left.predictions,
        right.predictions,
        (left.threshold, right.threshold),
        reals=reals,
        aside={*left.aside, *right.aside},
        how=Resampling(resamples, seed),
    )
    one, other = (read_evaluation(path).name if path.is_dir() else "" for path in met)
    caveats = (_caveats(met[0]), _caveats(met[1]))
    return replace(found, tests=(one, other), also=also, caveats=caveats)


def compare_predictions(
    first: Predictions,
    second: Predictions,
    thresholds: tuple[float | None, float | None],
    *,
    reals: Sequence[str] | None = None,
    aside: Collection[str] = (),
    how: Resampling = USUAL,
) -> Comparison:
    """Every figure of both, and second minus first, on the same rows and the same resamples.

    Of two localisers also the figures of their masks, on the images that both have them of.

    What two detectors find easy or hard together falls out of the difference, so its interval is
    narrower than those of the two figures (paired bootstrap).

    Args:
        first: scores of one detector.
        second: scores of the other.
        thresholds: the margin from which on each calls a row fake.
        reals: see `evaluation_sets`.
        aside: subsets that are compared, but part of no mean.
        how: the bootstrap.

    Raises:
        InputError: they share no row with a fake, a row is listed twice or has no name, they
            disagree about a label or a mask, or no figure is of both: of a localiser that was
            tested on fakes alone, beside a detector.
    """
    mine, theirs = _shared(first, second)
    left, right = first.take(mine), second.take(theirs)
    if (left.label != right.label).any():
        wrong = int((left.label != right.label).sum())
        raise InputError(f"{wrong} of {len(left)} shared rows have one label here, another there")
    # The same groups and clusters, so that both are of the same sets and draw the same resamples.
    known = right if _has_subsets(right) and not _has_subsets(left) else left
    shared = {name: getattr(known, name) for name in ("subset", "category", "cluster", "beside")}
    left, right = replace(left, **shared), replace(right, **shared)
    sets = evaluation_sets(left, reals)
    if not sets:
        raise InputError("the two share no fake row", "evaluate both on the same subsets")
    pairs = {
        name: tuple(
            measure_draws(rows.take(places), threshold, how)
            for rows, threshold in zip((left, right), thresholds, strict=True)
        )
        for name, places in sets.items()
    }
    alone = fakes_alone(left, sets)
    if bool(left.masks) != bool(right.masks) and len(alone) == len(sets):
        which = ("first", "second") if left.masks else ("second", "first")
        raise InputError(
            f"the {which[0]} says which pixels are fake and the {which[1]} does not, and of fakes "
            "alone no other figure can be compared",
            "evaluate both beside the same reals",
        )
    counted = [pairs[name] for name in counted_subsets(sets, aside, alone)]
    return Comparison(
        read_as=(first.scale, second.scale),
        rows=len(left),
        only_first=len(first) - len(left),
        only_second=len(second) - len(left),
        seed=how.seed,
        resamples=how.count,
        aside=tuple(name for name in sets if name in aside),
        alone=tuple(alone),
        subsets={name: _pair(one, other) for name, (one, other) in pairs.items()},
        macro=_pair(*(mean_of([pair[k] for pair in counted]) for k in (0, 1))) if counted else None,
        localisers=(bool(left.masks), bool(right.masks)),
        masks=compare_masks(left, right, sets, how),
    )


def _meeting(first: Path, second: Path) -> tuple[tuple[Path, Path], tuple[str, ...]]:
    """The evaluations that are compared, and the names of others that both runs have.

    They are of one test that both have: the first run's last one, or else the first by name. Of
    runs without such a test they are the last ones, if these are of subsets that both have.
    """
    if not (first.is_dir() and second.is_dir()):
        return (first, second), ()
    mine, theirs = evaluations_by_name(first), evaluations_by_name(second)
    if both := [name for name in mine if name in theirs]:
        return (mine[both[0]], theirs[both[0]]), tuple(both[1:])
    if (
        mine
        and theirs
        and not set(read_evaluation(first).subsets) & set(read_evaluation(second).subsets)
    ):
        raise InputError(
            f"no test was made of both: {first} has {listed(mine)}, {second} has {listed(theirs)}",
            "evaluate both on the same subsets",
        )
    return (first, second), ()


def _caveats(path: Path) -> tuple[str, ...]:
    """Those of the run that an evaluation's folder, or its file of scores, is of."""
    folder = path if path.is_dir() else path.parent
    if not (path.is_dir() or path.name == PREDICTIONS):
        return ()
    # Earlier evaluations lie two folders below their run.
    run = next((one for one in (folder, folder.parent.parent) if is_run(one)), None)
    return () if run is None else read_record(run).caveats


_Names = dict[tuple[str, str], int]


def _shared(first: Predictions, second: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the shared rows in either, in the same order."""
    apart = _has_subsets(first) and _has_subsets(second)
    mine, theirs = _places(first, apart), _places(second, apart)
    shared = sorted(mine.keys() & theirs.keys())
    if not shared:
        raise InputError(_mismatch(mine, theirs), "evaluate both on the same subsets")
    return np.array([mine[n] for n in shared]), np.array([theirs[n] for n in shared])


def _has_subsets(rows: Predictions) -> bool:
    return bool((rows.subset != "").any())


def _places(rows: Predictions, apart: bool) -> _Names:
    """The place of each row by its subset and name; by its name alone where not apart."""
    subsets = rows.subset.tolist() if apart else [""] * len(rows)
    names = list(zip(subsets, rows.sample_id.tolist(), strict=True))
    if not all(sample for _, sample in names):
        raise InputError("rows can't be matched without names", Name("the column of names", "id"))
    found = {name: place for place, name in enumerate(names)}
    if len(found) < len(names):
        raise InputError(f"{len(names) - len(found)} rows are listed twice in one file")
    return found


def _mismatch(mine: _Names, theirs: _Names) -> str:
    """What of two lists' names differs, with an example of both."""
    others = {sample: subset for subset, sample in theirs}
    for subset, sample in mine:
        if sample in others:
            return (
                "the two share no row, for their subsets differ: "
                f"{sample!r} is of {subset!r} in the first and of {others[sample]!r} in the second"
            )
    if not (mine and theirs):
        return "the two share no row, for one of them is empty"
    (_, one), (_, other) = next(iter(mine)), next(iter(theirs))
    return (
        f"the two share no row, for their names differ: the first has {one!r}, the second {other!r}"
    )


def _pair(first: Measured, second: Measured) -> Pair:
    return Pair(first.figures, second.figures, difference_of(first, second).figures)
