"""How well a finished run fits the rows that it was trained on, which says nothing of others."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch

from clare.bootstrap import USUAL, Resampling
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.batch_cache import BatchCache
from clare.heads.evaluation.evaluate import score_rows
from clare.heads.evaluation.test_rows import UnseenRows
from clare.heads.metrics.by_subset import FiguresBySubset, measure_subsets
from clare.heads.metrics.predictions import Predictions
from clare.heads.runs.record import VAL_METRICS
from clare.heads.runs.run import Run, open_run
from clare.heads.runs.tower import NOWHERE_ELSE, Places
from clare.heads.training.prepare import choose_splits, open_tables
from clare.models.runtime import choose_runtime
from clare.progress import StepProgress
from clare.store.feature_store import FeatureStore
from clare.typed_json import read_json, write_json

TRAIN_METRICS = "train_metrics.json"


def read_training(run: Path) -> FiguresBySubset | None:
    """The figures of a run on its training rows; None where they were not measured since."""
    try:
        late = (run / TRAIN_METRICS).stat().st_mtime_ns >= (run / VAL_METRICS).stat().st_mtime_ns
    except OSError:
        return None
    return read_json(run / TRAIN_METRICS, FiguresBySubset) if late else None


def measure_training(
    folder: Path,
    store: FeatureStore,
    *,
    device: str = "cpu",
    progress: StepProgress | None = None,
    cache: BatchCache | None = None,
    how: Resampling = USUAL,
    settings: Places = NOWHERE_ELSE,
) -> FiguresBySubset:
    """Score a run's training images, their plain views, and write ``train_metrics.json``.

    Args:
        folder: the run's.
        store: that it was trained on.
        device: a torch device, or ``auto``.
        progress: called while rows are scored and figures resampled.
        cache: what was read for other runs.
        how: the bootstrap.
        settings: where the weights of a tuned tower are, if not where they were.

    Raises:
        InputError: the run is not finished, or the store lacks its rows.
        StoreError: the store has not the run's features.
    """
    run = open_run(folder, store, places=settings)
    rows = _training_rows(run, store)
    if cache is not None:
        rows = cache.of(rows, run.record.digests)
    margins = score_rows(
        run.detector, rows, device=choose_runtime(device).device, progress=progress
    )
    predictions = Predictions.of_rows(
        [row for _, row in rows.rows()], margins, rows.groups(), rows.beside
    )
    found = measure_subsets(predictions, run.chosen_threshold, how, progress=progress)
    write_json(folder / TRAIN_METRICS, found)
    return found


def _training_rows(run: Run, store: FeatureStore) -> UnseenRows:
    """The rows of a run's training, in groups of their subsets."""
    tables, _ = open_tables(store, [run.record.config], torch.device("cpu"))
    train, _, _ = choose_splits(tables, run.record.config)
    slots: dict[str, set[int]] = defaultdict(set)
    labels: dict[str, set[int]] = defaultdict(set)
    for place in train.plain:
        row = tables.train.rows[place]
        slots[row.columns["subset"]].add(row.slot)
        labels[row.columns["subset"]].add(row.columns["label"])
    datasets = {
        subset: FeatureDataset(
            store,
            run.detector.fields,
            subsets=[subset],
            split="train",
            digests=run.record.digests,
        )
        for subset in sorted(slots)
    }
    pools = tuple(subset for subset in datasets if labels[subset] == {0})
    return UnseenRows(
        datasets=datasets,
        places={
            subset: [place for place, row in enumerate(found.rows) if row.slot in slots[subset]]
            for subset, found in datasets.items()
        },
        beside={subset: pools for subset in datasets if pools and labels[subset] == {1}},
        skipped={},
        absent={},
        notices=(),
    )
