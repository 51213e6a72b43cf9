"""What deliveries cost a detector: its figures on damaged test images beside those on the images.

A store has deliveries of a subset as a subset of their own, whose rows name the image's row. Each
is measured on the images that have it, against these very images undamaged, at the threshold from
clean validation; a change's interval is of resamples that both share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clare.advice import Name, Run
from clare.bootstrap import Resampling, resample
from clare.errors import InputError
from clare.heads.data.dataset import FeatureDataset
from clare.heads.data.subsets import holds_deliveries
from clare.heads.evaluation.test_rows import UnseenRows
from clare.heads.evaluation.variant_results import (
    FIGURES,
    MASK_FIGURES,
    DeliveryFigures,
    MaskChange,
    VariantFigures,
)
from clare.heads.metrics.masks import MaskFigures, average_columns, columns_of
from clare.heads.metrics.measure import Measured, difference_of, measure_draws
from clare.heads.metrics.predictions import Predictions, evaluation_sets
from clare.heads.runs.run import Run as FinishedRun
from clare.progress import StepProgress
from clare.store.feature_store import FeatureStore
from clare.wording import listed

Masks = tuple[Sequence[MaskFigures | None], Sequence[MaskFigures | None]]
"""Figures of masks of the rows of a test, and of the delivered rows."""


@dataclass(frozen=True)
class Delivered:
    """Deliveries of the rows of a test.

    Args:
        unseen: the delivered rows, to be scored.
        names: (D,) the delivery of each, in the order of scoring.
        steps: what each delivery does.
        places: (D,) the places of its image among the rows of the test: it may be in two sets.
    """

    unseen: UnseenRows
    names: Sequence[str]
    steps: Mapping[str, str]
    places: Sequence[Sequence[int]]


def find_variants(
    run: FinishedRun, store: FeatureStore, unseen: UnseenRows, wanted: bool | Collection[str] = True
) -> Delivered:
    """The deliveries that a store has of the rows of a test, and the run's features of.

    Args:
        run: whose features are needed.
        store: the store.
        unseen: the rows of the test.
        wanted: these deliveries alone; all if True.

    Raises:
        InputError: there are none, or one that is wanted is not there.
        StoreError: the store has no such features of them.
    """
    only = () if isinstance(wanted, bool) else wanted
    own: dict[tuple[str, ...], list[int]] = defaultdict(list)  # subset, sample id, hash of the file
    for place, (subset, row) in enumerate(unseen.rows()):
        own[subset, row.sample_id, row.content].append(place)
    tested = {subset for subset, _, _ in own}
    datasets: dict[str, FeatureDataset] = {}
    chosen: dict[str, list[int]] = {}
    steps: dict[str, str] = {}
    known: dict[str, None] = {}
    images: list[Sequence[int]] = []
    names: list[str] = []
    for name in store.subsets():
        rows = store.rows(name)
        if not (holds_deliveries(rows) and tested & set(rows.column("parent_subset").tolist())):
            continue
        known |= dict.fromkeys(filter(None, rows.column("delivery").tolist()))
        dataset = FeatureDataset(
            store, run.detector.fields, subsets=[name], digests=run.record.digests
        )
        places = []
        for place, (delivery, done, *image) in enumerate(_columns(dataset)):
            of = own.get(tuple(image))
            if not (delivery and of) or (only and delivery not in only):
                continue
            if steps.setdefault(delivery, done) != done:
                raise InputError(
                    f"delivery {delivery} is {steps[delivery]!r} of one image and {done!r} of "
                    "another",
                    "make and extract all of them by one set",
                )
            places.append(place)
            names.append(delivery)
            images.append(of)
        if places:
            datasets[name], chosen[name] = dataset, places
    _require(names, known, tested, only)
    found = replace(unseen, datasets=datasets, places=chosen, beside={}, skipped={}, absent={})
    return Delivered(found, names, steps, images)


def _columns(dataset: FeatureDataset) -> Iterator[tuple[str, ...]]:
    """Delivery and steps of each row, and subset, sample id and hash of its image."""
    rows = dataset.rows
    names = ("delivery", "delivery_steps", "parent_subset", "parent_id")
    columns = [rows.column(name).tolist() for name in names]
    return zip(*columns, rows.contents.tolist(), strict=True)


def _require(
    names: Sequence[str], known: Collection[str], tested: Collection[str], only: Collection[str]
) -> None:
    subsets = ",".join(sorted(tested))
    if not known:
        make = Run("manifest.variants", (subsets,), {"set": "compact"}, "lists some to extract")
        raise InputError(f"the store has no deliveries of {listed(sorted(tested))}", make)
    if absent := [one for one in only if one not in known]:
        raise InputError(
            f"the store has no delivery {listed(absent)} of {listed(sorted(tested))}: it has "
            f"{', '.join(known)}"
        )
    if not names:
        raise InputError(
            f"no delivery of {listed(sorted(tested))} has features of this run and is of an image "
            "that it is tested on",
            "extract them, as they are listed now",
        )


def refuse_orphans(store: FeatureStore, asked: Sequence[str] | None) -> None:
    """Refuse deliveries that are named as a test, or whose images a store does not have.

    Args:
        store: the store.
        asked: subsets that are to be tested; None for all.

    Raises:
        InputError: as above.
    """
    there = store.subsets()
    for name in there:
        if asked is not None and name not in asked:
            continue
        if not holds_deliveries(rows := store.rows(name)):
            continue
        parents = sorted({str(one) for one in rows.column("parent_subset").tolist() if one})
        if missing := [one for one in parents if one not in there]:
            raise InputError(
                f"{name} holds deliveries of {listed(missing)}, which {store.path} lacks",
                Run("extract", settings={"subset": ",".join(missing)}, effect="adds it"),
            )
        if asked is not None:
            raise InputError(
                f"{name} holds deliveries of {listed(parents)}",
                Name("that", "subsets", ",".join(parents)),
            )


def measure_variants(
    delivered: Delivered,
    margins: NDArray[np.float64],
    predictions: Predictions,
    threshold: float | None,
    how: Resampling,
    progress: StepProgress | None = None,
    masks: Masks | None = None,
) -> dict[str, VariantFigures]:
    """The figures of each set of a test that has deliveries.

    Args:
        delivered: from `find_variants`.
        margins: (D,) of its rows.
        predictions: (N,) of the rows of the test.
        threshold: margin from which on a row is called fake, from validation on images as they are.
        how: the bootstrap.
        progress: called before each delivery is measured.
        masks: of a localiser: what was found in each row of the test, and in each delivered one.
    """
    by_name: dict[str, dict[int, int]] = defaultdict(dict)
    for row, (name, places) in enumerate(zip(delivered.names, delivered.places, strict=True)):
        by_name[name] |= dict.fromkeys(places, row)
    found = {}
    tell = progress or (lambda title, done, total: None)
    for subset, of_set in evaluation_sets(predictions).items():
        deliveries, missing = {}, {}
        whole = predictions.take(of_set)
        every: Measured | None = None
        for done, (name, rows) in enumerate(by_name.items()):
            tell(f"deliveries of {subset}", done, len(by_name))
            have = np.array([place for place in of_set.tolist() if place in rows], np.int64)
            own = np.array([rows[place] for place in have.tolist()], np.int64)
            clean = predictions.take(have)
            if not (clean.label == 1).any():
                continue  # the reals beside it alone were delivered so
            every = every or _measured(whole, threshold, how)
            before = every
            if len(have) < len(of_set):
                missing[name] = len(of_set) - len(have)
                before = _measured(clean, threshold, how)
            damaged = replace(clean, margin=margins[own])
            after = _measured(damaged, threshold, how)
            deliveries[name] = DeliveryFigures(
                delivered.steps[name],
                *_counts(clean),
                figures=after.figures,
                clean=before.figures,
                change=difference_of(before, after).figures,
                masks=None if masks is None else _masks(masks, have, own, clean.cluster, how),
            )
        if every is not None:
            counts, clean_figures = _counts(whole), every.figures
            found[subset] = VariantFigures(*counts, clean_figures, deliveries, missing)
    return found


def _masks(
    masks: Masks,
    have: NDArray[np.int64],
    own: NDArray[np.int64],
    clusters: NDArray[np.str_],
    how: Resampling,
) -> MaskChange | None:
    """Of the rows at places ``have``, delivered as the rows ``own``."""
    clean, damaged = (
        columns_of([part[k] for k in at.tolist()])
        for part, at in zip(masks, (have, own), strict=True)
    )
    both = np.array([None not in pair for pair in zip(clean["iou"], damaged["iou"], strict=True)])
    if not both.any():
        return None
    before, after = (
        {name: np.array(found[name], np.float64)[both] for name in MASK_FIGURES}
        for found in (clean, damaged)
    )
    gaps = {name: after[name] - before[name] for name in MASK_FIGURES}
    return MaskChange(*(average_columns(one, clusters[both], how) for one in (after, before, gaps)))


def _counts(rows: Predictions) -> tuple[int, int]:
    """Reals and fakes."""
    return int((rows.label == 0).sum()), int((rows.label == 1).sum())


def _measured(rows: Predictions, threshold: float | None, how: Resampling) -> Measured:
    """The figures of `FIGURES`; draws depend on labels and clusters alone, so they are paired."""
    found = measure_draws(rows, threshold, how)
    real = rows.label == 0
    fpr: float | None = None
    draws = {name: found.draws[name] for name in FIGURES if name in found.draws}
    if threshold is not None and real.any():
        called = rows.margin[real] >= threshold
        fpr = float(called.mean())
        weights = (drawn[:, real] for drawn in resample(rows.label, rows.cluster, how))
        drawn = [own @ called / own.sum(1) for own in weights]
        draws |= {"fpr": np.concatenate(drawn)} if drawn else {}
    values = {name: fpr if name == "fpr" else found.values[name] for name in FIGURES}
    return Measured(found.n, values, draws)
