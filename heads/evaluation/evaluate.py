"""A run on test rows: scores, figures, pictures, and what they stand beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import LeaveOut, Notice
from clare.bootstrap import USUAL, Resampling
from clare.errors import InputError
from clare.files import remove_durably
from clare.heads.evaluation.baselines import feature_scores, measure_baselines
from clare.heads.evaluation.batch_cache import BatchCache
from clare.heads.evaluation.conformal import calibrate_run, measure_conformal
from clare.heads.evaluation.earlier import forget_earlier, keep_measured, set_aside
from clare.heads.evaluation.localization import MaskBaselines, measure_masks
from clare.heads.evaluation.mask_judge import MaskJudge
from clare.heads.evaluation.mask_results import MaskResults
from clare.heads.evaluation.newer import day_of, newer_figures, sight_of
from clare.heads.evaluation.pairs import measure_pairs
from clare.heads.evaluation.published import beside_published, require_table
from clare.heads.evaluation.record import (
    CONTROL,
    METRICS,
    PARQUET,
    PREDICTIONS,
    ROC,
    SCORES,
    VARIANTS,
    Baselines,
    Evaluation,
    EvaluationRecord,
)
from clare.heads.evaluation.shortcuts import file_shortcuts, pixel_shortcuts
from clare.heads.evaluation.test_rows import UnseenRows, choose_rows
from clare.heads.evaluation.variant_results import VariantFigures, write_variants
from clare.heads.evaluation.variants import (
    Delivered,
    find_variants,
    measure_variants,
    refuse_orphans,
)
from clare.heads.evaluation.wanted import Asked
from clare.heads.localizer import Localizer
from clare.heads.metrics import COVERAGE
from clare.heads.metrics.abstention import measure_abstention
from clare.heads.metrics.by_subset import measure_levels, measure_subsets
from clare.heads.metrics.predictions import Predictions, evaluation_sets, write_predictions
from clare.heads.model import Model
from clare.heads.runs.run import Run, note_on_store, open_with_store
from clare.heads.runs.tower import NOWHERE_ELSE, Places
from clare.models.runtime import choose_runtime
from clare.parquet import require_parquet
from clare.progress import StepProgress
from clare.protocol import Sampling, read_protocol, split_name
from clare.store.feature_store import FeatureStore
from clare.typed_json import write_json
from clare.wording import counted

MATRIX = "matrix.png"


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
    variants: bool | Sequence[str] = False,
    device: str = "auto",
    resamples: int = USUAL.count,
    seed: int = USUAL.seed,
    coverage: float = COVERAGE,
    progress: StepProgress | None = None,
    cache: BatchCache | None = None,
    command: Sequence[str] = (),
    parquet: bool = False,
    settings: Places = NOWHERE_ELSE,
    seen_until: str | None = None,
) -> Evaluation:
    """Score rows that a run has never seen, and write figures and pictures into its folder.

    The threshold is the run's own, from validation. Written are ``test_metrics.json``,
    ``test_predictions.csv``, ``roc_curve.png`` and ``scores.png``, of deliveries also
    ``test_variants.csv``; those of another test that were there go to ``evaluations/NAME/``, so
    that none is lost. Of the same test, what is not measured again stays; see `keep_measured`.

    Args:
        run: its folder.
        store: the store; the run's own if left out.
        subsets: what to test on; see `Asked`.
        reals: subsets whose reals stand beside a subset that has none; see `Asked`.
        protocol: its tests decide subsets, reals, domains and splits, and frames and sampling
            where these are left out.
        domains: rows of these domains alone; all if empty.
        frames: of each video at most; all if None.
        sampling: which frames; ``even`` if left out.
        split: the rows' split.
        elsewhere: the store where the run's own is gone and none is named.
        baselines: also measure what needs no training: what file format, size, bytes and plain
            pixel statistics tell, and the store's features by themselves (`feature_scores`).
        against: name of a table of `clare.heads.evaluation.published` to stand beside.
        variants: also the figures of deliveries of these rows, as the store has them; or the names
            of those that are meant. See `clare.heads.evaluation.variants`.
        device: a torch device, or ``auto``.
        resamples: of the bootstrap behind each interval; 0 gives none.
        seed: of the bootstrap.
        coverage: share of reals, and of fakes, whose conformal set is to hold the true label.
        progress: called while rows are scored and figures resampled.
        cache: what was read for other runs, where several are tested on the same rows.
        command: that asked for it, word by word; it is recorded.
        parquet: whether the predictions are written as Parquet too.
        settings: where the weights of a tuned tower are, if not where they were: extractor to its
            settings.
        seen_until: date of the newest image that towers can have seen in their training, of those
            of which nothing is known.

    Raises:
        InputError: the run is not finished, the rows are not usable (see `choose_rows`),
            something is asked for that the protocol decides, or a date is none.
        StoreError: the store has no such subset, or not the run's features.
    """
    how, until = Resampling(resamples, seed), day_of(seen_until)
    if parquet:
        require_parquet()
    opened, source = open_with_store(run, store, elsewhere, settings)
    if against:
        require_table(against)
    sets = calibrate_run(opened.path, coverage)
    aside: Sequence[str] = ()
    alone = isinstance(opened.detector, Localizer)
    if protocol is None:
        asked = Asked(subsets, reals, split, domains, None, frames, sampling or "even", alone)
    else:
        given = {"subsets": subsets, "reals": reals, "domains": domains, "split": split != "test"}
        if named := [name for name, value in given.items() if value]:
            raise InputError(
                f"protocol {protocol} names its subsets, reals and domains",
                LeaveOut(*named),
            )
        tests = read_protocol(split_name(protocol)[0])
        asked = Asked(
            protocol=tests,
            frames=frames or tests.frames,
            sampling=sampling or tests.sampling,
            alone=alone,
        )
        aside = tests.aside(opened.record.all_subsets)
    if variants or subsets:
        refuse_orphans(source, subsets)
    unseen = choose_rows(opened, source, asked)
    delivered = find_variants(opened, source, unseen, variants) if variants else None
    if asked.protocol is not None:
        splits = {one.split for one in asked.protocol.targets if one.name in unseen.places}
        split = ", ".join(sorted(splits))
    if cache is not None:
        unseen = cache.of(unseen, opened.record.digests)
    place = choose_runtime(device).device
    judge = None
    if isinstance(opened.detector, Localizer):
        judge = MaskJudge(opened, source, unseen.rows())
    margins = score_rows(
        opened.detector,
        unseen,
        device=place,
        progress=progress,
        take_maps=None if judge is None else judge.add,
    )
    predictions = Predictions.of_rows(
        [row for _, row in unseen.rows()], margins, unseen.groups(), unseen.beside
    )
    notices = [*note_on_store(opened, source, store), *unseen.notices]
    notices += map(Notice, opened.caveats)
    if remainder := opened.record.remainder:
        notices.append(Notice(f"{opened.path.name} was {remainder}"))
    chosen = opened.chosen_threshold
    measured = measure_subsets(
        predictions,
        chosen,
        how,
        aside=aside,
        oracle=against is not None,
        progress=progress,
    )
    places = evaluation_sets(predictions)
    beside = beside_published(measured, against) if against else None
    if beside and not beside.subsets:
        tested = ", ".join(measured.subsets)
        notices.append(Notice(f"{against} has no published figures for {tested}"))
    deliveries: Mapping[str, VariantFigures] = {}
    if delivered is not None:
        deliveries, said = _deliveries(
            delivered, opened, source, predictions, judge, how, place, progress
        )
        notices += said
    masks = None
    if judge is not None:
        foils = None
        if baselines:
            foils = MaskBaselines(opened, source, judge, unseen.rows(), progress)
        masks, said = _masks(judge, opened, predictions, how, foils, aside)
        notices += said
    beaten = None
    # Of fakes alone nothing tells which way a baseline points.
    if baselines and (judge is None or opened.record.rows["train"]["real"]):
        beaten, left_out = _baselines(opened, source, unseen, predictions, how, progress)
        notices += left_out
    sight = sight_of(opened.record.extractors.values(), until)
    newer = newer_figures(
        [row for _, row in unseen.rows()],
        predictions,
        places,
        {opened.path.name: (sight, margins)},
        how,
    )
    sure = partial(measure_abstention, threshold=opened.threshold, how=how)
    record = EvaluationRecord(
        **vars(measured),
        run=opened.path.name,
        trained_on=tuple(opened.record.trained_on),
        control=CONTROL if opened.record.config.shuffle_labels else None,
        store=str(source.path),
        split=split,
        protocol=protocol,
        domains=tuple(domains),
        frames=asked.frames,
        sampling=asked.sampling,
        reals=unseen.reals,
        skipped=unseen.skipped,
        absent=unseen.absent,
        notes=tuple(map(str, notices)),
        baselines=beaten,
        masks=masks,
        against=beside,
        pairs=measure_pairs(
            [row for _, row in unseen.rows()],
            predictions,
            places,
            how,
            _kinds_of_fakes(opened, source),
        ),
        variants=deliveries,
        conformal=None if sets is None else measure_conformal(sets, predictions, places, how),
        abstention={} if chosen is None else measure_levels(predictions, places, sure, sure),
        newer=newer.get(opened.path.name),
        command=tuple(command),
    )
    record, kept = keep_measured(opened.path, record, predictions)
    found = Evaluation(opened.path, record, predictions, (*notices, *kept))
    images = [str(row.columns.get("path", row.sample_id)) for _, row in unseen.rows()]
    _write(found, images, opened.threshold, {} if judge is None else judge.columns(), parquet)
    return found


@torch.inference_mode()
def score_rows(
    detector: Model,
    unseen: UnseenRows,
    *,
    device: str = "cpu",
    progress: StepProgress | None = None,
    take_maps: Callable[[int, torch.Tensor], None] | None = None,
) -> NDArray[np.float64]:
    """The margin of each row, in the order of `UnseenRows.rows`.

    The next batch is read while the detector works on one.

    Args:
        detector: in evaluation mode; moved to the device.
        unseen: the rows.
        device: a torch device.
        progress: called after each batch.
        take_maps: given each batch's first row and, of a localiser, its maps (B, 256, 256).
    """
    detector.to(device)
    together = detector.scored_together
    reads = [
        partial(unseen.datasets[subset].read, places[start : start + together])
        for subset, places in unseen.places.items()
        for start in range(0, len(places), together)
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
            if take_maps is not None and isinstance(detector, Localizer):
                maps = detector.maps(fields)
                take_maps(done, maps)
                found = detector.score(maps).cpu().numpy()
            else:
                found = detector.margins(fields).cpu().numpy()
            margins[done : done + len(found)] = found
            done += len(found)
            if progress is not None:
                progress("scoring", done, total)
    return margins


def write_matrix(results: Sequence[Evaluation], path: Path) -> None:
    """Draw the AUC of several runs, a row each, on every subset that one of them was tested on.

    Of localisers it is the IoU.

    Args:
        results: one a run.
        path: the PNG to write.
    """
    found = [result.record for result in results]
    tested = {name for one in found for name in one.subsets}
    # First what the runs were trained on, in their order: then the diagonal is the easy part.
    from clare.heads.metrics.plots import plot_matrix

    own = dict.fromkeys(name for one in found for name in one.trained_on)
    columns = [name for name in own if name in tested] + sorted(tested - set(own))
    localisers = all(one.masks for one in found)
    figures = [one.ious if localisers else one.aucs for one in found]
    values = [[one.get(name) for name in columns] for one in figures]
    trained = [", ".join(one.trained_on) + (" (control)" if one.control else "") for one in found]
    # Two runs on the same subsets are told apart by their names.
    rows = [
        name if trained.count(name) == 1 else f"{result.path.name}: {name}"
        for name, result in zip(trained, results, strict=True)
    ]
    plot_matrix(values, rows, columns, path, "IoU" if localisers else "AUC")


def _kinds_of_fakes(run: Run, store: FeatureStore) -> set[tuple[str, str]]:
    """Category and kind of pairs of the fakes that a run was trained on, as the store has them."""
    columns = [
        row.columns
        for name in run.record.trained_on
        if name in store.subsets()
        for row in store.rows(name)
        if row.columns["label"] == 1
    ]
    return {(str(c.get("category") or ""), str(c.get("pair_kind") or "")) for c in columns}


def _baselines(
    run: Run,
    store: FeatureStore,
    unseen: UnseenRows,
    predictions: Predictions,
    how: Resampling,
    progress: StepProgress | None,
) -> tuple[Baselines, list[Notice]]:
    rows = unseen.rows()
    fingerprints = [store.extractor(key)[0] for key in run.record.fingerprints.values()]
    images = [fingerprint.settings.get("images", {}) for fingerprint in fingerprints]
    step = None if progress is None else partial(progress, "reading pixels")
    pixels, source = pixel_shortcuts(store, rows, step)
    shortcuts = file_shortcuts([row for _, row in rows], images) | pixels
    scores, left_out = feature_scores(run, store, rows, progress)
    sets = evaluation_sets(predictions)
    return measure_baselines(sets, predictions, shortcuts, scores, how, source), left_out


def _deliveries(
    delivered: Delivered,
    run: Run,
    store: FeatureStore,
    predictions: Predictions,
    judge: MaskJudge | None,
    how: Resampling,
    device: str,
    progress: StepProgress | None,
) -> tuple[Mapping[str, VariantFigures], list[Notice]]:
    rows = delivered.unseen
    again = None if judge is None else MaskJudge(run, store, rows.rows())
    take = None if again is None else again.add
    scores = score_rows(run.detector, rows, device=device, progress=progress, take_maps=take)
    masks = None if judge is None or again is None else (judge.figures, again.figures)
    found = measure_variants(
        delivered, scores, predictions, run.chosen_threshold, how, progress, masks
    )
    unread = again is not None and again.unread and not (judge and judge.unread)
    return found, [*again.notices] if again is not None and unread else []


def _masks(
    judge: MaskJudge,
    run: Run,
    predictions: Predictions,
    how: Resampling,
    beside: MaskBaselines | None,
    aside: Sequence[str],
) -> tuple[MaskResults, list[Notice]]:
    sets = evaluation_sets(predictions)
    found = measure_masks(judge, run, predictions, sets, how, beside, aside)
    notices = [*judge.notices, *(beside.notices if beside else ())]
    for name, one in found.subsets.items():
        if one.without_mask and not judge.unread:
            what = f"{name}: {counted(one.without_mask, 'fake')} without a mask, in no figure of it"
            notices.append(Notice(what))
    if not found.saw_reals and (predictions.label == 0).any():
        what = f"{run.path.name} saw no real image: its areas and scores of reals say little"
        notices.append(Notice(what))
    return found, notices


def _write(
    found: Evaluation,
    images: Sequence[str],
    threshold: float,
    more: Mapping[str, Sequence[float | None]],
    parquet: bool,
) -> None:
    from clare.heads.metrics.plots import plot_roc, plot_scores

    folder, record, predictions = found.path, found.record, found.predictions
    set_aside(folder)
    remove_durably(folder / METRICS)  # figures never stand beside the scores of another test
    for extra in (PARQUET, VARIANTS):
        remove_durably(folder / extra)
    write_predictions(predictions, folder / PREDICTIONS, images, threshold, more, parquet=parquet)
    places = evaluation_sets(predictions)
    sets = {name: predictions.take(where) for name, where in places.items()}
    plot_roc(sets, record.aucs, folder / ROC, title=record.control or "")
    plot_scores(sets, record.threshold, folder / SCORES, title=record.control or "")
    if record.variants:
        write_variants(record.variants, folder / VARIANTS)
    write_json(folder / METRICS, record)
    forget_earlier(folder, record)
