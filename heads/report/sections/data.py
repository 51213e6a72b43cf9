"""The data that runs were trained and tested on: counts, files, faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clare.columns import SPLITS
from clare.errors import StoreError
from clare.heads.report.blocks import (
    Block,
    Cell,
    Folded,
    Gallery,
    Picture,
    Section,
    Table,
    Text,
    row,
    unreadable,
)
from clare.heads.report.formatting import LABELS, images_of, sentence
from clare.heads.report.images import data_uri, of_split, spaced
from clare.heads.report.run_results import Finding
from clare.heads.report.sections.results import baselines
from clare.heads.report.stores import Part
from clare.store.feature_store import FeatureStore
from clare.store.row import Row
from clare.wording import listed, size

FACES, EACH = 144, 12
"""Thumbnails of a page, and of one subset and label."""

OPEN = 6
"""Galleries that are not folded away."""


def data(findings: Sequence[Finding], parts: Sequence[Part]) -> Section:
    """Counts by subset, split and label, and some of the images."""
    blocks: list[Block] = [_trained(findings)]
    for source, names in parts:
        try:
            rows = {name: list(source.samples(name).values()) for name in names}
            blocks.append(_counts(source.store, rows))
            blocks += _faces(source.store, rows)
        except StoreError as error:
            blocks.append(unreadable(error))
    if len(blocks) == 1:
        blocks.append(Text("The store is not at hand: no images are shown."))
    return Section("data", "Data", blocks)


def audit(findings: Sequence[Finding], parts: Sequence[Part]) -> Section:
    """What a detector must beat, and what gives a label away without a look at the face."""
    blocks = baselines(findings)
    for source, names in parts:
        try:
            rows = {name: list(source.samples(name).values()) for name in names}
        except StoreError as error:
            blocks.append(unreadable(error))
            continue
        blocks.append(_files(rows))
    blocks += [Text(text, "note") for text in dict.fromkeys(map(_prepared, findings))]
    return Section("baselines", "Baselines and shortcuts", blocks)


def _trained(findings: Sequence[Finding]) -> Table:
    rows = []
    for one in findings:
        counts = one.record.rows
        cells: list[Any] = [counts.get(s, {}).get(label, 0) for s in SPLITS[:2] for label in LABELS]
        test = one.test.subsets if one.test else {}
        fakes = sum(found.fake for found in test.values()) if test else None
        tested = Cell(", ".join(test) if len(test) < 5 else f"{len(test)} subsets") if test else ""
        rows.append(row(one.name, Cell(", ".join(one.record.subsets)), *cells, tested, fakes))
    columns = ["run", "trained on", "train, real", "train, fake", "val, real", "val, fake"]
    return Table(
        "Rows that each run learnt from and was tested on",
        [*columns, "tested on", "test, fake"],
        rows,
        names=2,
    )


def _counts(store: FeatureStore, rows: Mapping[str, Sequence[Row]]) -> Table:
    made = []
    for name, mine in rows.items():
        found = Counter((r.columns.get("split", ""), r.columns.get("label")) for r in mine)
        failed = max((f.counts()["failed"] for f in store.features(name)), default=0)
        cells = [found[split, label] for split in SPLITS for label in (0, 1)]
        made.append(row(name, *cells, failed))
    columns = [f"{split}, {label}" for split in SPLITS for label in LABELS]
    return Table(
        f"Images in {store.path.name}", ["subset", *columns, "could not be extracted"], made
    )


def _files(rows: Mapping[str, Sequence[Row]]) -> Table:
    made = []
    for name, mine in rows.items():
        for label, kind in enumerate(LABELS):
            columns = [r.columns for r in mine if r.columns.get("label") == label]
            if not columns:
                continue
            formats = Counter(str(c["format"]) for c in columns if c.get("format"))
            sizes = Counter((c["width"], c["height"]) for c in columns if c.get("width"))
            made.append(
                row(
                    name,
                    Cell(kind),
                    len(columns),
                    Cell(", ".join(f"{f} {n / len(columns):.0%}" for f, n in formats.items())),
                    _sizes(sizes),
                    _bytes([c["bytes"] for c in columns if c.get("bytes")]),
                )
            )
    heads = ["subset", "label", "files", "format", "pixels", "bytes, median"]
    return Table("Files as they were found", heads, made, names=2)


def _sizes(sizes: Counter[tuple[int, int]]) -> Cell:
    if not sizes:
        return Cell("unknown")
    (width, height), _ = sizes.most_common(1)[0]
    more = f"most common of {len(sizes)}" if len(sizes) > 1 else ""
    return Cell(f"{width} × {height}", more)


def _bytes(values: Sequence[int]) -> Cell:
    if not values:
        return Cell("unknown")
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return Cell(size(middle), f"{size(low)} to {size(high)}", float(middle))


def _prepared(finding: Finding) -> str:
    """What extraction did to the files before anything looked at them."""
    images = [
        made.fingerprint.settings.get("images", {}) for made in finding.record.extractors.values()
    ]
    resized = all(one.get("resize") for one in images)
    recoded = all(one.get("recode") for one in images)
    done = []
    if images and resized:
        done.append(f"squashed to {listed(sorted({str(i['resize']) for i in images}))} pixels")
    if images and recoded:
        done.append(f"coded anew as {listed(sorted({i['recode'] for i in images}))}")
    if not done:
        return (
            "Extraction looked at the files as they are: a detector can use image size and file "
            "format, unless they are resized and coded anew."
        )
    return (
        f"Before anything looked at the pixels, images were {listed(done)}. A history of JPEG "
        "compression in the pixels remains."
    )


def _faces(store: FeatureStore, rows: Mapping[str, Sequence[Row]]) -> list[Block]:
    groups = {
        (name, label): [r for r in of_split(mine) if r.columns["label"] == label]
        for name, mine in rows.items()
        for label in (0, 1)
    }
    groups = {key: mine for key, mine in groups.items() if mine}
    each = max(2, min(EACH, FACES // max(len(groups), 1)))
    galleries: list[Block] = []
    for (name, label), mine in groups.items():
        pictures = []
        for one in spaced(mine, each):
            thumbnail = store.thumbnail(name, one.slot)
            if thumbnail:
                alt = f"{LABELS[label]} image of {name}: {one.sample_id}"
                short = one.sample_id.rsplit("/", 1)[-1]
                pictures.append(Picture(data_uri(thumbnail, "jpeg"), alt, short))
        if pictures:
            split = mine[0].columns.get("split", "")
            shown = f"{len(pictures)} of {len(mine):,}" + (f" in {split}" if split else "")
            title = f"{sentence(images_of(name, label))}: {shown}"
            galleries.append(Gallery(title, pictures))
    if not galleries:
        return [Text("The store keeps no thumbnails.")]
    if len(galleries) > OPEN:
        return [*galleries[:OPEN], Folded("Images of the other subsets", galleries[OPEN:])]
    return galleries
