"""Verdicts on images as a table, with what they hang on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clare.advice import Name, Notice
from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.cli.wording import worded
from clare.inference.mask_files import LIST, SMALLEST
from clare.wording import counted

if TYPE_CHECKING:
    from clare.inference.predictor import Predictor
    from clare.inference.verdict import Verdict

SHOWN, SHOWN_FAILURES = 50, 20
"""Verdicts that the table has, and failures beside them."""


class VerdictTable:
    """The first verdicts as a table, the first failures, and how many there are of each kind.

    Args:
        detector: that gives them.
    """

    def __init__(self, detector: Predictor) -> None:
        self._detector = detector
        self._shown: list[Verdict] = []
        self._failures = 0
        self._verdicts: Counter[str | None] = Counter()

    def add(self, verdict: Verdict) -> None:
        """Take a verdict on an image or a video; most are counted alone."""
        self._verdicts[verdict.label] += 1
        self._failures += verdict.label is None
        if sum(self._verdicts.values()) <= SHOWN or (
            verdict.label is None and self._failures <= SHOWN_FAILURES
        ):
            self._shown.append(replace(verdict, squashed=None))  # maps fill memory

    def show(self) -> None:
        """Print it, with the threshold that the verdicts hang on."""
        columns = ["image", "verdict", "p(fake)", "margin"]
        if self._detector.is_localizer:
            columns.append("fake area")
        rows = [
            (_name(v), _label(v), _number(v.p_fake), _number(v.margin), _percent(v.fake_area))
            for v in self._shown
        ]
        console.print(table(None, columns, [row[: len(columns)] for row in rows], left=2))
        total = sum(self._verdicts.values())
        if more := total - len(rows):
            console.print(worded(Notice(f"… and {more:,} more", Name("a file for all", "out"))))
        if total > 1:
            console.print(summary(self._verdicts))
        console.print(_threshold(self._detector))
        if self._detector.is_localizer:
            console.print("fake area: of all pixels, those with p(fake) above 0.5")


def show_file(out: Path, verdicts: Mapping[str | None, int], before: int) -> None:
    """Say what a file of scores holds.

    Args:
        out: the file.
        verdicts: how many rows it has by verdict.
        before: how many of them were there before.
    """
    told = f"{out}: scores of {counted(sum(verdicts.values()), 'file')}, {summary(verdicts)}"
    console.print(f"{told}; {before:,} of them judged before" if before else told)


def summary(verdicts: Mapping[str | None, int]) -> str:
    """How many are fake, real and failed."""
    names = {"fake": "fake", "real": "real", None: "failed"}
    return ", ".join(f"{verdicts[key]:,} {name}" for key, name in names.items() if verdicts[key])


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


def _threshold(detector: Predictor) -> str:
    told = f"fake from p(fake) {detector.even:.4f} on, a margin of {detector.run.threshold:.4f}"
    if detector.run.chosen_threshold is not None:
        return f"{told}, {detector.run.validation.threshold_source}"
    return f"{told}: even odds, since validation had no real images to choose a threshold on"


def _name(verdict: Verdict) -> str:
    if verdict.level == "image":
        return str(verdict.path)
    judged = sum(one.margin is not None for one in verdict.frames)
    return f"{verdict.path} ({counted(judged, 'frame')})"


def _label(verdict: Verdict) -> str:
    return verdict.label or f"failed: {verdict.failure}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
