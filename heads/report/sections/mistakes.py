"""The images that a run got most wrong, to look at."""

from __future__ import annotations

import numpy as np

from clare.errors import StoreError
from clare.heads.metrics.predictions import Predictions
from clare.heads.report.blocks import Block, Gallery, Picture, Text, unreadable
from clare.heads.report.formatting import LABELS
from clare.heads.report.images import data_uri
from clare.heads.report.run_results import Finding
from clare.heads.report.stores import Source

SHOWN = 8
"""Images of each kind of mistake."""

BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


def mistakes(finding: Finding) -> list[Block]:
    """Reals that were called fake by the widest margin, and fakes that were missed."""
    rows, test = finding.predictions, finding.test
    if rows is None or test is None or test.threshold is None:
        return [Text("There are no scores of test rows yet.")]
    try:
        return [
            _worst(rows, label, what, test.threshold, finding.tested)
            for label, what in ((0, "Reals called fake"), (1, "Fakes called real"))
        ]
    except StoreError as error:
        return [unreadable(error)]


def _worst(
    rows: Predictions, label: int, what: str, threshold: float, source: Source | None
) -> Block:
    side = 1 if label == 0 else -1
    (mine,) = np.nonzero(rows.label == label)
    far = side * (rows.margin[mine] - threshold)
    wrong = mine[far >= 0] if label == 0 else mine[far > 0]
    order = np.argsort(-side * rows.margin[wrong], kind="stable")
    total = f"{len(wrong):,} of {len(mine):,}"
    if not len(wrong):
        return Text(f"{what}: none of {len(mine):,}.")
    shown = [_picture(rows, int(place), source) for place in wrong[order][:SHOWN]]
    return Gallery(f"{what}: {total}, the most wrong first", shown, "large")


def _picture(rows: Predictions, place: int, source: Source | None) -> Picture:
    group, name = str(rows.subset[place]), str(rows.sample_id[place])
    score = float(rows.score[place])
    found = source.find(group, name) if source else None
    thumbnail = source.store.thumbnail(found[0], found[1].slot) if source and found else None
    kind = LABELS[int(rows.label[place])]
    caption = f"p(fake) {score:.3f}"
    under = f"{group}: {name.rsplit('/', 1)[-1]}"
    if thumbnail is None:
        return Picture(BLANK, f"No picture of the {kind} image {name} of {group}", caption, under)
    return Picture(
        data_uri(thumbnail, "jpeg"),
        f"{kind} image {name} of {group}",
        f"{caption}, margin {rows.margin[place]:+.2f}",
        under,
    )
