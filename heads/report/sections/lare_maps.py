"""LaRE maps of real and fake images side by side, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clare.advice import Notice
from clare.bootstrap import Figure
from clare.errors import StoreError
from clare.heads.config import DetectorConfig
from clare.heads.metrics.measure import measure
from clare.heads.metrics.predictions import Predictions
from clare.heads.report.blocks import Block, Cell, Gallery, Picture, Section, Table, Text, row
from clare.heads.report.formatting import LABELS, figure_cell, images_of, sentence
from clare.heads.report.images import colour_map, map_uri, of_split, pair_uri, spaced
from clare.heads.report.run_results import Finding
from clare.heads.report.stores import Part, Source
from clare.store.feature_store import FeatureStore
from clare.store.journal import COMPLETE
from clare.store.row import Row
from clare.store.spec import split_field

ROWS = 512
"""Rows of a subset and label that a mean is over."""

STEP = 64
"""Rows that are read at a time."""

ENDS = (5, 95)
"""Percentiles of the squares shown that are darkest and brightest, so that no outlier decides."""

EACH, GROUPS = 6, 10
"""Single maps of a subset and label, and such groups."""


@dataclass(frozen=True)
class _Group:
    subset: str
    label: int
    rows: Sequence[Row]
    maps: NDArray[np.float32]  # (n, h, w)

    @property
    def name(self) -> str:
        return sentence(images_of(self.subset, self.label))

    @property
    def means(self) -> NDArray[np.float64]:
        return self.maps.mean((1, 2), dtype=np.float64)


def lare_maps(findings: Sequence[Finding], parts: Sequence[Part]) -> Section:
    """Mean and single maps of every subset's reals and fakes.

    Draws and the four latent channels are averaged, as are the timestep and draws of the first
    run that reads LaRE, or of the first run.
    """
    blocks: list[Block] = []
    reading = [one for one in findings if "lare" in one.record.fingerprints] or list(findings)
    for source, names in parts:
        mine = next((f for f in reading if source in (f.store, f.tested)), None)
        if mine is None:
            continue
        try:
            groups = _read(source, names, mine)
            blocks += _show(source.store, groups, mine)
        except StoreError as error:
            blocks.append(
                Text(Notice(f"There are no LaRE maps to show: {error.what}", *error.advice))
            )
    if not blocks:
        blocks.append(Text("The store is not at hand: there are no LaRE maps to show."))
    return Section("lare", "LaRE maps", blocks)


def _read(source: Source, names: Sequence[str], finding: Finding) -> list[_Group]:
    config = finding.record.config.detector
    called = config.fields.get("lare", "lare")
    field, _ = split_field(called)
    digest = finding.record.digest_of(called, "lare")
    groups = []
    for name in names:
        feature = source.store.feature(name, "lare", digest)
        states = feature.states()
        reader = feature.reader(field)
        plain = of_split(source.samples(name).values())
        for label in (0, 1):
            rows = [r for r in plain if r.columns["label"] == label and states[r.slot] == COMPLETE]
            rows = spaced(rows, ROWS)
            if rows:
                maps = [
                    _reduce(reader.read([r.slot for r in rows[k : k + STEP]]), config)
                    for k in range(0, len(rows), STEP)
                ]
                groups.append(_Group(name, label, rows, np.concatenate(maps)))
    # Other extractions of LaRE may have other sizes; these have no scale in common.
    groups = [group for group in groups if group.maps.shape[1:] == groups[0].maps.shape[1:]]
    return sorted(groups, key=lambda group: group.label)


def _reduce(values: NDArray[np.float16], config: DetectorConfig) -> NDArray[np.float32]:
    """(n, T, N, 4, h, w) as a run reads it, its channels averaged: (n, h, w)."""
    step = min(config.timestep, values.shape[1] - 1)
    chosen = values[:, step, : config.draws].astype(np.float32)
    mean: NDArray[np.float32] = chosen.mean((1, 2))
    return mean


def _show(store: FeatureStore, groups: Sequence[_Group], finding: Finding) -> list[Block]:
    if not groups:
        return [Text("No row of these subsets has LaRE.")]
    shown = groups[:GROUPS]
    low, high = _scale(np.concatenate([spaced(list(group.maps), EACH) for group in shown]))
    averages = np.stack([group.maps.mean(0) for group in groups])
    dark, bright = _scale(averages)
    blocks: list[Block] = [
        Text(
            "LaRE is the error with which the diffusion model predicts the noise that was added "
            "to an image, place by place. Each map is the mean over noise draws and latent "
            "channels; brighter is more error. Maps of a kind share one scale, between the "
            f"{ENDS[0]}th and the {ENDS[1]}th percentile of all their squares; what is beyond has "
            "the colour of the end."
        )
    ]
    if "lare" not in finding.record.fingerprints:
        blocks.append(Text("The detector does not read LaRE; the store has it.", "note"))
    blocks += _numbers(groups)
    blocks.append(
        Gallery(
            f"Mean maps, from {dark:.3g} (dark) to {bright:.3g} (bright)",
            [
                Picture(
                    map_uri(colour_map(average, dark, bright)),
                    f"Mean LaRE map, {group.name}: mean {group.means.mean():.3g}",
                    f"{group.name}, mean of {len(group.rows):,}",
                    is_map=True,
                )
                for group, average in zip(groups, averages, strict=True)
            ],
            look="large",
        )
    )
    for group in shown:
        pictures = [
            _pair(store, group, place, low, high) for place in spaced(range(len(group.rows)), EACH)
        ]
        look = "large" if all(one.is_map for one in pictures) else "pairs"
        title = f"{group.name}: each image with its map, from {low:.3g} (dark) to {high:.3g}"
        blocks.append(Gallery(title, pictures, look))
    return blocks


def _scale(maps: NDArray[np.float32]) -> tuple[float, float]:
    """What is darkest and brightest on maps that are seen together."""
    low, high = np.percentile(maps, ENDS)
    return float(low), float(high)


def _pair(store: FeatureStore, group: _Group, place: int, low: float, high: float) -> Picture:
    row, values = group.rows[place], group.maps[place]
    colours = colour_map(values, low, high)
    thumbnail = store.thumbnail(group.subset, row.slot)
    short, mean = row.sample_id.rsplit("/", 1)[-1], f"mean {values.mean():.3g}"
    alt = f"LaRE map of the {LABELS[group.label]} image {row.sample_id}: {mean}"
    if thumbnail is None:
        return Picture(map_uri(colours), alt, short, mean, is_map=True)
    return Picture(pair_uri(thumbnail, colours), f"The image, and the {alt}", short, mean)


def _numbers(groups: Sequence[_Group]) -> list[Block]:
    """Mean LaRE of each group, and how far that one number tells its fakes from the reals."""
    reals = [group for group in groups if group.label == 0]
    both = bool(reals) and len(reals) < len(groups)
    rows = []
    for group in groups:
        means = group.means
        spread = f"± {means.std():.3g} between images"
        own = [one for one in reals if one.subset == group.subset] or reals
        auc = _auc(own, group) if group.label == 1 and own else None
        rows.append(
            row(
                group.name,
                len(means),
                Cell(f"{means.mean():#.4g}", spread, float(means.mean())),
                *([figure_cell(auc)] if both else []),
            )
        )
    heads = ["images", "count", "mean LaRE", *(["AUC of the mean"] if both else [])]
    blocks: list[Block] = [Table("LaRE in one number", heads, rows)]
    if both:
        told = "That AUC is above 0.5 where fakes have more error, below where less."
        blocks.append(Text(told, "note"))
    return blocks


def _auc(reals: Sequence[_Group], fakes: _Group) -> Figure | None:
    rows = [row for group in (*reals, fakes) for row in group.rows]
    scores = np.concatenate([group.means for group in (*reals, fakes)])
    return measure(Predictions.of_rows(rows, scores), None)["auc"]
