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
    from clare.inference.redelivery import Redelivery
    from clare.inference.stability import Stability
    from clare.inference.verdict import Verdict

SHOWN, SHOWN_FAILURES = 50, 20
"""Verdicts that the table has, and failures beside them."""

DELIVERED = ["delivered", "agree", "set"]
"""Columns of what was judged again: the spread of p(fake), how many have the same verdict, and the
conformal set of labels."""


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
        self._verdicts[verdict.outcome] += 1
        self._failures += verdict.label is None
        if sum(self._verdicts.values()) <= SHOWN or (
            verdict.label is None and self._failures <= SHOWN_FAILURES
        ):
            self._shown.append(replace(verdict, squashed=None))  # maps fill memory

    def show(self, again: Redelivery | None = None) -> None:
        """Print it, with what the verdicts hang on.

        Args:
            again: how the images were delivered and judged again, if they were.
        """
        columns = ["image", "verdict", "p(fake)", "margin"]
        columns += ["fake area"] if self._detector.is_localizer else []
        columns += DELIVERED if again is not None else []
        rows = [self._row(verdict, len(columns)) for verdict in self._shown]
        console.print(table(None, columns, rows, left=2))
        total = sum(self._verdicts.values())
        if more := total - len(rows):
            console.print(worded(Notice(f"… and {more:,} more", Name("a file for all", "out"))))
        if total > 1:
            console.print(summary(self._verdicts))
        console.print(_threshold(self._detector))
        if again is not None:
            console.print(f"delivered: the lowest and highest p(fake) of {again}")
        if self._detector.is_localizer:
            console.print("fake area: of all pixels, those with p(fake) above 0.5")

    def _row(self, one: Verdict, columns: int) -> tuple[str, ...]:
        cells = [_name(one), _label(one), _number(one.p_fake), _number(one.margin)]
        cells += [_percent(one.fake_area)] if self._detector.is_localizer else []
        cells += _delivered(one.stability)
        return tuple(cells[:columns])


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
    """How many are fake, real, unsure and failed."""
    names = {"fake": "fake", "real": "real", "unsure": "unsure", None: "failed"}
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
    return verdict.outcome or f"failed: {verdict.failure}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _delivered(stable: Stability | None) -> list[str]:
    """The cells of `DELIVERED`."""
    if stable is None or stable.spread is None:
        return ["-"] * len(DELIVERED)
    low, high = stable.spread
    agreeing = round((stable.agree or 0) * stable.judged)
    return [f"{low:.4f}–{high:.4f}", f"{agreeing} of {stable.judged}", stable.labels or "-"]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
