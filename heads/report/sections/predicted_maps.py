"""Where a localiser looks right and wrong: image, truth, prediction and error of some images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import Notice
from clare.errors import ClareError, StoreError
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.field_rows import FieldRows
from clare.heads.evaluation.mask_judge import MaskJudge
from clare.heads.localizer import Localizer
from clare.heads.metrics.masks import fake_pixels, probability_map
from clare.heads.metrics.predictions import Predictions
from clare.heads.report.blocks import Block, Legend, Picture, Strip, Strips, Text
from clare.heads.report.formatting import decimal, images_of, sentence
from clare.heads.report.images import (
    SIDE,
    colour_map,
    error_uri,
    mask_uri,
    photo_uri,
    square_of,
)
from clare.heads.report.run_results import Finding
from clare.heads.report.stores import Source
from clare.heads.runs.run import Run, open_run
from clare.models.runtime import choose_runtime
from clare.store.feature_store import FeatureStore
from clare.store.row import Row
from clare.wording import listed

EACH = 2
"""Images of a subset at either end."""

SUBSETS = 8
"""Subsets of which images are shown."""

COLOURS = (
    ("square found", "fake and called so"),
    ("square extra", "called fake, but real"),
    ("square missed", "fake, but missed"),
)


@dataclass(frozen=True)
class _Chosen:
    """Some test images under one title, by their places in the predictions."""

    title: str
    places: Sequence[int]


def predicted_maps(finding: Finding) -> list[Block]:
    """The images of each subset with the highest and the lowest IoU, and the worst reals.

    The detector works on the store's features again, as in the evaluation.

    Args:
        finding: a localiser's.
    """
    rows, source = finding.predictions, finding.tested
    if rows is None or "iou" not in rows.masks:
        return [Text("There are no figures of single test images yet.")]
    if source is None:
        return [Text("The store is not at hand: no images are shown.")]
    chosen, left_out = _choose(rows)
    if not chosen:
        return [Text("No test image has a mask that a prediction could stand beside.")]
    try:
        maker = _Maker(open_run(finding.path, source.store), source, rows)
        strips = [Strips(one.title, list(maker.strips(one.places))) for one in chosen]
    except ClareError as error:
        what = f"Predictions can't be shown: {error.what}"
        return [Text(Notice(what, *error.advice), "warning")]
    shown: list[Block] = [one for one in strips if one.strips]
    if not shown:
        return [Text("The store has none of the test images any more.")]
    told = (
        "Of each subset the images with the lowest and the highest IoU. A prediction is brighter "
        "where p(fake) is higher, from 0 to 1; an error is at a threshold of 0.5, as the IoU is."
    )
    if left_out:
        told += f" Not shown: {listed(left_out)}."
    return [Text(told), Legend(COLOURS), *shown]


def _choose(rows: Predictions) -> tuple[list[_Chosen], list[str]]:
    """The images that are shown, and the subsets of which none is."""
    iou, area = rows.masks["iou"], rows.masks.get("false_area", np.full(len(rows), np.nan))
    fakes = _by_subset(rows, np.isfinite(iou))
    chosen = []
    for name, places in list(fakes.items())[:SUBSETS]:
        order = sorted(places, key=lambda place: (iou[place], place))
        worst, best = order[:EACH], order[max(EACH, len(order) - EACH) :][::-1]
        what, of = sentence(images_of(name, 1)), f"of {len(order):,}"
        chosen.append(_Chosen(f"{what}: the lowest IoU {of}", worst))
        chosen += [_Chosen(f"{what}: the highest IoU {of}", best)] if best else []
    for name, places in _by_subset(rows, np.isfinite(area)).items():
        order = sorted(places, key=lambda place: (-area[place], place))
        marked = [place for place in order[:EACH] if area[place] > 0]
        what = f"{sentence(images_of(name, 0))}: the largest area called fake of {len(order):,}"
        chosen += [_Chosen(what, marked)] if marked else []
    return chosen, list(fakes)[SUBSETS:]


def _by_subset(rows: Predictions, which: NDArray[np.bool_]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for place in np.flatnonzero(which).tolist():
        found[str(rows.subset[place])].append(place)
    return {name: found[name] for name in sorted(found)}


class _Maker:
    """Makes the pictures of test images by a run's detector."""

    def __init__(self, run: Run, source: Source, rows: Predictions) -> None:
        self._run, self._source, self._rows = run, source, rows
        self._device = choose_runtime().device
        self._data: dict[str, FeatureDataset] = {}
        self._slots: dict[str, dict[int, int]] = {}

    def strips(self, places: Sequence[int]) -> Iterator[Strip]:
        """A strip for each place of the predictions that the store still has."""
        for place in places:
            group, name = str(self._rows.subset[place]), str(self._rows.sample_id[place])
            found = self._source.find(group, name)
            logits = None if found is None else self._logits(*found)
            if found is None or logits is None:
                continue
            subset, row = found
            judge = MaskJudge(self._run, self._source.store, [found])
            mask = judge.mask(0)
            if mask is None:
                continue
            pictures = _pictures(
                square_of(_picture(self._source.store, subset, row)),
                fake_pixels(mask),
                logits,
                f"{name} of {group}",
            )
            yield Strip(pictures, *self._said(place, name))

    def _said(self, place: int, name: str) -> tuple[str, str]:
        masks, short = self._rows.masks, name.rsplit("/", 1)[-1]
        called = masks["called_area"][place] if "called_area" in masks else np.nan
        if np.isnan(masks["iou"][place]):
            return f"{called:.0%} called fake", short
        truth = masks["truth_area"][place] if "truth_area" in masks else np.nan
        areas = "" if np.isnan(truth) else f", {truth:.0%} fake, {called:.0%} called"
        return f"IoU {decimal(masks['iou'][place])}{areas}", short

    @torch.inference_mode()
    def _logits(self, subset: str, row: Row) -> torch.Tensor | None:
        """(256, 256) of a row; None where the store has not the features."""
        detector = self._run.detector
        assert isinstance(detector, Localizer)
        if subset not in self._data:
            digests = self._run.record.digests
            data = FeatureDataset(
                self._source.store, detector.fields, subsets=[subset], digests=digests
            )
            self._data[subset] = data
            self._slots[subset] = {one.slot: place for place, one in enumerate(data.rows)}
        if row.slot not in self._slots[subset]:
            return None
        batch = self._data[subset].read([self._slots[subset][row.slot]])
        fields = {name: batch[name].to(self._device) for name in detector.fields}
        return detector.to(self._device).maps(fields)[0].cpu()


def _pictures(
    picture: NDArray[np.uint8], fake: NDArray[np.bool_], logits: torch.Tensor, name: str
) -> list[Picture]:
    """Image, truth, prediction and error."""
    height, width = fake.shape
    called = probability_map(logits, (height, width)) > 0.5
    shown = colour_map(probability_map(logits, (SIDE, SIDE)), 0, 1)
    kind = "fake" if fake.any() else "real"
    return [
        Picture(photo_uri(picture), f"The {kind} image {name}", "image"),
        Picture(mask_uri(fake), f"Its mask: {fake.mean():.0%} fake", "truth", is_map=True),
        Picture(photo_uri(shown), f"Prediction for {name}", "prediction"),
        Picture(
            error_uri(picture, fake, called),
            f"Error: {(fake & called).mean():.0%} found, {(called & ~fake).mean():.0%} called fake "
            f"wrongly, {(fake & ~called).mean():.0%} missed",
            "error",
        ),
    ]


def _picture(store: FeatureStore, subset: str, row: Row) -> bytes | NDArray[np.uint8] | None:
    """An image as the store has it: its thumbnail, else its pixels."""
    thumbnail = store.thumbnail(subset, row.slot)
    if thumbnail is not None:
        return thumbnail
    try:
        held = FieldRows(store, [(subset, row)], "pixels", "pixels")
    except StoreError:
        return None
    pixels: NDArray[np.uint8] | None = held.read([0])[0] if held.has[0] else None
    return pixels
