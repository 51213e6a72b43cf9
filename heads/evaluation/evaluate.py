"""A run on test rows: scores, figures, pictures, and what they stand beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clare.bootstrap import Resampling
from clare.errors import InputError
from clare.heads.data.table import SCORED_TOGETHER
from clare.heads.detector import Detector
from clare.heads.evaluation.batch_cache import Readings
from clare.heads.evaluation.published import beside_published, published
from clare.heads.evaluation.shortcuts import file_shortcuts, measure_shortcuts, pixel_shortcuts
from clare.heads.evaluation.targets import choose_targets
from clare.heads.evaluation.test_rows import UnseenRows, choose_rows
from clare.heads.metrics.by_subset import METRICS, PREDICTIONS, Progress, measure_subsets
from clare.heads.metrics.plots import plot_matrix, plot_roc, plot_scores
from clare.heads.metrics.predictions import Predictions, evaluation_sets, write_predictions
from clare.heads.runs.run import Run, note_on_store, open_with_store
from clare.protocol import Sampling, read_protocol, split_name
from clare.store.feature_store import FeatureStore
from clare.typed_json import to_json

ROC = "roc_curve.png"
SCORES = "scores.png"
MATRIX = "matrix.png"

CONTROL = "control: labels shuffled"
"""What marks a run that was trained on shuffled labels; its figures have to say nothing."""


@dataclass(frozen=True)
class EvalResult:
    """What an evaluation found.

    Args:
        run: the run's folder, into which it was written.
        report: the content of ``test_metrics.json``.
        predictions: the content of ``test_predictions.csv``.
    """

    run: Path
    report: Mapping[str, Any]
    predictions: Predictions


def evaluate(
    run: Path | str,
    store: FeatureStore | Path | str | None = None,
    subsets: Sequence[str] | None = None,
    *,
    reals: Sequence[str] | None = None,
    protocol: str | None = None,
    domains: Sequence[str] = (),
    frames: int | None = None,
    sampling: Sampling | None = None,
    split: str = "test",
    elsewhere: Path | str | None = None,
    baselines: bool = False,
    against: str | None = None,
    device: str = "cpu",
    seed: int = 0,
    resamples: int = 1000,
    progress: Progress | None = None,
    readings: Readings | None = None,
) -> EvalResult:
    """Score rows that a run has never seen, and write figures and pictures into its folder.

    The threshold is the run's own, from validation. Written are ``test_metrics.json``,
    ``test_predictions.csv``, ``roc_curve.png`` and ``scores.png``.

    Args:
        run: its folder.
        store: the store; the run's own if left out.
        subsets: what to test on; see `choose_rows`.
        reals: subsets whose reals stand beside a subset that has none; see `choose_rows`.
        protocol: its tests decide subsets, reals, domains and splits, and frames and sampling
            where these are left out; see `choose_targets`.
        domains: rows of these domains alone; all if empty.
        frames: of each video at most; all if None.
        sampling: which frames; ``even`` if left out.
        split: the rows' split.
        elsewhere: the store where the run's own is gone and none is named.
        baselines: also measure what format, size, bytes and plain pixel statistics tell.
        against: name of a table of `clare.heads.evaluation.published` to stand beside.
        device: a torch device.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        progress: called while rows are scored and figures resampled.
        readings: what was read for other runs, where several are tested on the same rows.

    Returns:
        The report, of `measure_subsets`, with ``run``, ``trained_on``,
        ``control`` (what makes the run a control, or None), ``store``, ``split`` (or several, of a
        protocol's sets), ``protocol``, ``domains``, ``frames``, ``sampling``, ``reals``,
        ``skipped`` (rows without features by subset), ``absent`` (why, by set of the protocol that
        is not there), ``notes`` (sentences), and ``baselines`` and ``against`` where asked for.

    Raises:
        InputError: the run is not finished, the rows are not usable (see `choose_rows`), or
            something is asked for that the protocol decides.
        StoreError: the store has no such subset, or not the run's features.
    """
    opened, source = open_with_store(run, store, elsewhere)
    if against:
        published(against, "")  # an unknown table is refused before the work
    aside: Sequence[str] = ()
    if protocol is None:
        how = sampling or "even"
        unseen = choose_rows(
            opened, source, subsets, reals, split, domains=domains, frames=frames, sampling=how
        )
    else:
        if subsets or reals or domains or split != "test":
            raise InputError(
                f"protocol {protocol} names its subsets, reals and domains: leave --subset, "
                "--reals and --domains out"
            )
        tests = read_protocol(split_name(protocol)[0])
        frames, how = frames or tests.frames, sampling or tests.sampling
        unseen = choose_targets(opened, source, tests, frames=frames, sampling=how)
        splits = {target.split for target in tests.targets if target.name in unseen.places}
        split = ", ".join(sorted(splits))
        aside = tests.aside(opened.record.all_subsets)
    if readings is not None:
        unseen = readings.of(unseen, opened.record.digests)
    margins = score_rows(opened.detector, unseen, device=device, progress=progress)
    predictions = Predictions.of_rows(
        [row for _, row in unseen.rows()], margins, unseen.groups(), unseen.beside
    )
    record = opened.record
    report: dict[str, Any] = {
        "run": opened.path.name,
        "trained_on": list(record.trained_on),
        "control": CONTROL if record.config.shuffle_labels else None,
        "store": str(source.path),
        "split": split,
        "protocol": protocol,
        "domains": list(domains),
        "frames": frames,
        "sampling": how,
        "reals": list(unseen.reals),
        "skipped": dict(unseen.skipped),
        "absent": dict(unseen.absent),
        "notes": [*map(str, note_on_store(opened, source, store)), *unseen.notes],
        **measure_subsets(
            predictions,
            opened.threshold,
            aside=aside,
            seed=seed,
            resamples=resamples,
            oracle=against is not None,
            progress=progress,
        ),
    }
    if baselines:
        report["baselines"] = _baselines(opened, source, unseen, predictions, report, progress)
    if against:
        report["against"] = beside_published(report, against)
        if not report["against"]["subsets"]:
            tested = ", ".join(report["subsets"])
            report["notes"].append(f"{against} has no published figures for {tested}")
    result = EvalResult(opened.path, report, predictions)
    _write(result)
    return result


@torch.inference_mode()
def score_rows(
    detector: Detector,
    unseen: UnseenRows,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """The margin of each row, in the order of `UnseenRows.rows`.

    The next batch is read while the detector works on one.

    Args:
        detector: in evaluation mode; moved to the device.
        unseen: the rows.
        device: a torch device.
        progress: called after each batch.
    """
    detector.to(device)
    reads = [
        partial(unseen.datasets[subset].__getitems__, places[start : start + SCORED_TOGETHER])
        for subset, places in unseen.places.items()
        for start in range(0, len(places), SCORED_TOGETHER)
    ]
    total = sum(map(len, unseen.places.values()))
    margins = np.empty(total)
    done = 0
    with ThreadPoolExecutor(1) as ahead:
        coming = [ahead.submit(read) for read in reads[:1]]
        for number in range(len(reads)):
            batch = coming.pop().result()
            coming += [ahead.submit(read) for read in reads[number + 1 : number + 2]]
            fields = {name: batch[name].to(device) for name in detector.fields}
            found = detector.margins(fields).cpu().numpy()
            margins[done : done + len(found)] = found
            done += len(found)
            if progress is not None:
                progress("scoring", done, total)
    return margins


def write_matrix(results: Sequence[EvalResult], path: Path) -> None:
    """Draw the AUC of several runs, a row each, on every subset that one of them was tested on.

    Args:
        results: one a run.
        path: the PNG to write.
    """
    found = [result.report["subsets"] for result in results]
    tested = {name for one in found for name in one}
    # First what the runs were trained on, in their order: then the diagonal is the easy part.
    own = dict.fromkeys(name for result in results for name in result.report["trained_on"])
    columns = [name for name in own if name in tested] + sorted(tested - set(own))
    values = [
        [one[name]["frame"]["auc"]["value"] if name in one else None for name in columns]
        for one in found
    ]
    trained = [
        ", ".join(result.report["trained_on"]) + (" (control)" if result.report["control"] else "")
        for result in results
    ]
    # Two runs on the same subsets are told apart by their names.
    rows = [
        name if trained.count(name) == 1 else f"{result.run.name}: {name}"
        for name, result in zip(trained, results, strict=True)
    ]
    plot_matrix(values, rows, columns, path)


def _baselines(
    run: Run,
    store: FeatureStore,
    unseen: UnseenRows,
    predictions: Predictions,
    report: Mapping[str, Any],
    progress: Progress | None,
) -> dict[str, Any]:
    rows = unseen.rows()
    fingerprints = [store.extractor(key)[0] for key in run.record.fingerprints.values()]
    images = [fingerprint.settings.get("images", {}) for fingerprint in fingerprints]
    step = None if progress is None else partial(progress, "reading pixels")
    pixels, source = pixel_shortcuts(store, rows, step)
    return {
        "pixels_from": source,
        "subsets": to_json(
            measure_shortcuts(
                evaluation_sets(predictions),
                predictions,
                file_shortcuts([row for _, row in rows], images) | pixels,
                Resampling(report["resamples"], report["seed"]),
            )
        ),
    }


def _write(result: EvalResult) -> None:
    folder, report, predictions = result.run, result.report, result.predictions
    text = json.dumps(report, indent=2, allow_nan=False)
    (folder / METRICS).write_text(text + "\n", encoding="utf-8")
    write_predictions(predictions, folder / PREDICTIONS)
    places = evaluation_sets(predictions)
    sets = {name: predictions.take(where) for name, where in places.items()}
    aucs = {name: found["frame"]["auc"]["value"] for name, found in report["subsets"].items()}
    plot_roc(sets, aucs, folder / ROC, title=report["control"] or "")
    plot_scores(sets, report["threshold"], folder / SCORES, title=report["control"] or "")
