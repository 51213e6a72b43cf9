"""What a detector must beat: whatever needs no training, beside it on the same resamples.

These are the shortcuts of the files, and what the store's features tell by themselves: the mean of
an image's LaRE map, and how near its class token is to those of real images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import Notice
from clare.bootstrap import USUAL, Figure, Resampling
from clare.errors import CorruptStoreError, InputError, StoreError
from clare.heads.base import INPUTS
from clare.heads.config import DetectorConfig
from clare.heads.data.samples import choose_samples
from clare.heads.data.table import FeatureTable
from clare.heads.evaluation.baseline_names import BASELINES, CENTROID, MEAN_LARE
from clare.heads.evaluation.field_rows import FieldRows, Rows
from clare.heads.evaluation.record import Baselines
from clare.heads.evaluation.shortcuts import Shortcuts
from clare.heads.metrics.measure import Measured, difference_of
from clare.heads.metrics.predictions import Predictions
from clare.heads.runs.run import Run
from clare.progress import Progress, StepProgress
from clare.shortcuts import Fact, auc_draws
from clare.store.bucket.places import place_of
from clare.store.feature_store import FeatureStore, may_hold_store, open_store
from clare.wording import listed

STEP = 64
"""Rows at a time."""

Values = NDArray[np.float64]
Scores = dict[str, Values]
"""(N,) by name, higher for fakes; NaN where a row has none."""

_SOURCES = {MEAN_LARE: ("lare", "lare"), CENTROID: ("clip", "clip_cls")}
"""The extractor and the field that each is made from."""

_DETECTOR = "detector"


def feature_scores(
    run: Run, store: FeatureStore, rows: Rows, progress: StepProgress | None = None
) -> tuple[Scores, list[Notice]]:
    """What the store's features tell by themselves of the rows that a run is tested on.

    Whether fakes have more of it or less is decided on the run's training rows alone. The centroid
    is the mean of the training reals' class tokens, each brought to unit length; of LaRE the run's
    timestep and draws are taken.

    Args:
        run: that is tested; where it reads an extractor, its fingerprint is taken.
        store: that holds the rows.
        rows: that are tested.
        progress: called while features are read.

    Returns:
        Scores, NaN where a row has no value; and why a baseline is left out.

    Raises:
        CorruptStoreError: stored bytes are not what was written.
    """
    kept = {store.extractor(key)[0].extractor for key in store.extractor_keys()}
    wanted = [name for name, (extractor, _) in _SOURCES.items() if extractor in kept]
    found: Scores = {}
    notices: list[Notice] = []
    try:
        own, trained = _training_rows(run, store) if wanted else (store, [])
        for name in wanted:
            extractor, field = _SOURCES[name]
            digest = run.record.digest_of(field, extractor)
            try:
                before = FieldRows(own, trained, extractor, field, digest).complete()
                tested = FieldRows(store, rows, extractor, field, digest)
                _require_alike(before, tested)
                tell = progress and partial(progress, f"reading {BASELINES[name]}")
                found[name] = _score(name, run.record.config.detector, before, tested, tell)
            except CorruptStoreError:
                raise
            except (InputError, StoreError) as error:
                notices.append(_left_out([name], error))
    except CorruptStoreError:
        raise
    except (InputError, StoreError) as error:
        notices.append(_left_out(wanted, error))
    return found, notices


def measure_baselines(
    sets: Mapping[str, NDArray[np.int64]],
    predictions: Predictions,
    shortcuts: Shortcuts,
    scores: Mapping[str, Values],
    how: Resampling = USUAL,
    pixels_from: str | None = None,
) -> Baselines:
    """The AUC of each baseline on each set, and the detector's lead; see `free_aucs`.

    Args:
        sets: places of each set's rows.
        predictions: the detector's.
        shortcuts: a value a row, which counts in whichever direction it tells more.
        scores: a number a row, higher for fakes, or NaN.
        how: the bootstrap.
        pixels_from: see `Baselines`.
    """
    aucs: dict[str, dict[str, Figure | None]] = {}
    ahead: dict[str, dict[str, Figure | None]] = {}
    for subset, places in sets.items():
        aucs[subset] = dict.fromkeys([*shortcuts, *scores])
        ahead[subset] = dict.fromkeys([*shortcuts, *scores])
        facts = {name: values[places] for name, values in {**shortcuts, **scores}.items()}
        for known, names in _by_known_rows(facts):
            rows = predictions.take(places[known])
            if not 0 < rows.label.sum() < len(rows):
                continue
            values = {name: facts[name][known] for name in names} | {_DETECTOR: rows.margin}
            rising = {*scores, _DETECTOR}
            drawn = auc_draws(values, rows.label, rows.cluster, how, rising=rising)
            measured = {
                name: Measured(len(rows), {"auc": auc}, {"auc": draws})
                for name, (auc, draws) in drawn.items()
            }
            for name in names:
                lead = difference_of(measured[name], measured[_DETECTOR])
                aucs[subset][name] = measured[name].figures["auc"]
                ahead[subset][name] = lead.figures["auc"]
    return Baselines(pixels_from, aucs, ahead)


def _by_known_rows(facts: Mapping[str, Fact]) -> list[tuple[NDArray[np.bool_], list[str]]]:
    """Facts that are known of the same rows, together."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    masks = {}
    for name, values in facts.items():
        text = values.dtype.kind == "U"
        masks[name] = values != "" if text else ~np.isnan(values.astype(np.float64))
        groups[masks[name].tobytes()].append(name)
    return [(masks[names[0]], names) for names in groups.values()]


def _training_rows(run: Run, store: FeatureStore) -> tuple[FeatureStore, Rows]:
    """The rows that a run was trained on, of view 0, and the store that holds them.

    Known by their content: rows that came later are none of them, even of a video that it saw.
    """
    home = place_of(run.record.store)
    is_other = may_hold_store(home) and home.resolve() != store.path.resolve()
    own = open_store(home) if is_other else store
    record, fields = run.record, run.detector.fields
    cpu = torch.device("cpu")
    table = FeatureTable(own, fields, record.subsets, "train", record.digests, cpu)
    chosen = choose_samples(table, record.config, fields, "train")
    rows = table.rows.take(chosen.plain)
    known = [(row.columns["subset"], row) for row in rows if run.seen.trained_on_image(row)]
    if not known:
        raise StoreError(f"{own.path} has none of the rows that {run.path.name} was trained on")
    return own, known


def _require_alike(before: FieldRows, tested: FieldRows) -> None:
    """Refuse values that tell nothing about each other.

    Raises:
        StoreError: training and test rows have other fingerprints, or there are none.
    """
    if len(keys := before.keys | tested.keys) > 1:
        raise StoreError(f"training and test rows have several: {', '.join(sorted(keys))}")
    if not tested.has.any():
        raise StoreError("no test row has it")
    if not 0 < before.label.sum() < len(before.label):
        raise StoreError("no training rows of both labels have it")


def _score(
    name: str,
    config: DetectorConfig,
    before: FieldRows,
    tested: FieldRows,
    progress: Progress | None,
) -> Values:
    """(N,) the score of each tested row, higher for what fakes have more of in training, or NaN."""
    from scipy.stats import rankdata

    if name == MEAN_LARE:
        INPUTS["lare"].shape(tested.shape, config.timestep, config.draws)
        of = partial(_mean_lare, config=config)
    else:
        of = partial(_cosine, centre=_centroid(before))
    trained = _each(before, of)
    ranks = rankdata(trained)
    higher = ranks[before.label == 1].mean() >= ranks[before.label == 0].mean()
    values = np.full(len(tested.has), np.nan)
    values[tested.has] = _each(tested.complete(), of, progress)
    return values if higher else -values


def _mean_lare(values: NDArray[Any], config: DetectorConfig) -> Values:
    """(n,) the mean of each map (T, D, 4, h, w), at the timestep and over the draws of a run."""
    maps = INPUTS["lare"].take(torch.from_numpy(values), config.timestep, config.draws)
    mean: Values = maps.double().mean((1, 2, 3)).numpy()
    return mean


def _centroid(before: FieldRows) -> Values:
    """(E,) of unit length: the direction of the mean of the training reals."""
    reals = np.flatnonzero(before.label == 0)
    total = np.sum([_unit(piece).sum(0) for piece in before.pieces(reals, STEP)], axis=0)
    centre: Values = _unit(total[None])[0]
    return centre


def _cosine(values: NDArray[Any], centre: Values) -> Values:
    cosine: Values = _unit(values) @ centre
    return cosine


def _unit(vectors: NDArray[Any]) -> Values:
    plain = vectors.astype(np.float64)
    norms = np.linalg.norm(plain, axis=1, keepdims=True)
    unit: Values = plain / np.maximum(norms, np.finfo(np.float64).tiny)
    return unit


def _each(
    rows: FieldRows,
    of: Callable[[NDArray[Any]], Values],
    progress: Progress | None = None,
) -> Values:
    """(N,) a number of each row's value."""
    found = np.empty(len(rows.label))
    done = 0
    for piece in rows.pieces(np.arange(len(found)), STEP):
        found[done : done + len(piece)] = of(piece)
        done += len(piece)
        if progress is not None:
            progress(done, len(found))
    return found


def _left_out(names: Sequence[str], error: InputError | StoreError) -> Notice:
    titles = listed(BASELINES[name] for name in names)
    verb = "is" if len(names) == 1 else "are"
    return Notice(f"{titles} {verb} not among the baselines: {error.what}", *error.advice)
