"""Verdicts on images, as a table or a CSV, with what they hang on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.cli.wording import worded
from clare.inference.mask_files import LIST, SMALLEST
from clare.own_csv import csv_text
from clare.wording import counted

if TYPE_CHECKING:
    from clare.inference.predictor import Predictor
    from clare.inference.verdict import Verdict

SEEN = "the run was trained or chosen on this very file"


def show_verdicts(verdicts: Sequence[Verdict], detector: Predictor, out: Path | None) -> None:
    """Print verdicts with the threshold that they hang on, or write them to a file.

    Args:
        verdicts: one an image.
        detector: that gave them.
        out: a CSV to be written in the place of the table.
    """
    if out is not None:
        _write(verdicts, detector, out)
        console.print(f"{out}: {len(verdicts)} images")
        return
    columns = ["image", "verdict", "p(fake)", "margin"]
    if detector.is_localizer:
        columns.append("fake area")
    rows = [
        (v.path, _label(v), _number(v.p_fake), _number(v.margin), _percent(v.fake_area))
        for v in verdicts
    ]
    console.print(table(None, columns, [row[: len(columns)] for row in rows], left=2))
    console.print(_threshold(detector))
    if detector.is_localizer:
        console.print("fake area: of all pixels, those with p(fake) above 0.5")


def show_masks(folder: Path, count: int) -> None:
    """Say where the masks of so many images are."""
    console.print(
        f"{folder}: a mask (255 is fake) and an overlay of {counted(count, 'image')}; {LIST} lists "
        f"them with the boxes of regions from {100 * SMALLEST:g} % of the picture on"
    )


def remarks(detector: Predictor) -> list[str]:
    """What a file of verdicts says beside them, so that they can be read without the terminal."""
    told = [*map(worded, detector.notices)]
    chosen = detector.run.chosen_threshold is not None
    return told if chosen else [*told, _threshold(detector)]


def _write(verdicts: Sequence[Verdict], detector: Predictor, out: Path) -> None:
    # A row alone says what its verdict hangs on, wherever the file goes.
    notices = remarks(detector)
    area = ("fake_area",) if detector.is_localizer else ()
    rows = [
        (
            *(verdict.path, verdict.p_fake, verdict.margin, _label(verdict)),
            *((verdict.fake_area,) if area else ()),
            detector.run.threshold,
            "; ".join([*notices, *([SEEN] if verdict.seen else [])]),
        )
        for verdict in verdicts
    ]
    columns = ("path", "score", "margin", "verdict", *area, "threshold", "remarks")
    out.write_text(csv_text([columns, *rows]), "utf-8", newline="")


def _threshold(detector: Predictor) -> str:
    told = f"fake from p(fake) {detector.even:.4f} on, a margin of {detector.run.threshold:.4f}"
    if detector.run.chosen_threshold is not None:
        return f"{told}, which was chosen on validation"
    return f"{told}: even odds, since validation had no real images to choose a threshold on"


def _label(verdict: Verdict) -> str:
    return verdict.label or f"failed: {verdict.failure}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
