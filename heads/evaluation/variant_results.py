"""Figures of deliveries: what a test says of damaged images beside the images themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clare.augmentation.deliveries import CLEAN
from clare.bootstrap import Figure, Figures
from clare.files import write_durably
from clare.own_csv import csv_text
from clare.wording import listed

FIGURES = ("auc", "accuracy", "fpr")
"""AUC, accuracy, and the share of reals that is called fake."""
MASK_FIGURES = ("iou", "ap", "f1")
"""Of localisers: how well fake pixels are found, means over fakes."""
_ENDS = ("", "_low", "_high")
_NAMES = {"auc": "AUC", "accuracy": "accuracy", "iou": "IoU"}


@dataclass(frozen=True)
class MaskChange:
    """How well fake pixels are found in a delivery of images, and in the images.

    Each is of the fakes whose mask marks something in both.

    Args:
        figures: by name of `MASK_FIGURES`, of the delivered images, whose masks went with them.
        clean: of the same images as they are.
        change: ``figures`` less ``clean``, with paired intervals.
    """

    figures: Figures
    clean: Figures
    change: Figures


@dataclass(frozen=True)
class DeliveryFigures:
    """A delivery of a set of test rows; each figure is of the images that have it.

    Args:
        steps: what is done.
        real: rows of this label.
        fake: rows of this label.
        figures: by name of `FIGURES`, of the delivered images.
        clean: of the same images as they are.
        change: ``figures`` less ``clean``, with paired intervals.
        masks: of localisers; None where no fake has a mask in both.
    """

    steps: str
    real: int
    fake: int
    figures: Figures
    clean: Figures
    change: Figures
    masks: MaskChange | None = None

    def changed(self, figure: str) -> Figure:
        """The change of a figure, of masks too; without a value where it is not known."""
        if figure in MASK_FIGURES:
            return Figure(None, None, None, 0) if self.masks is None else self.masks.change[figure]
        return self.change[figure]


@dataclass(frozen=True)
class VariantFigures:
    """The deliveries of a set of test rows.

    Args:
        real: all its rows of this label, delivered or not.
        fake: likewise.
        clean: the figures of all its rows as they are.
        deliveries: by name, in the order of the store.
        missing: by name, rows of the set that are not delivered so, or have no features.
    """

    real: int
    fake: int
    clean: Figures
    deliveries: Mapping[str, DeliveryFigures]
    missing: Mapping[str, int]

    @property
    def worst(self) -> str | None:
        """The delivery that costs most AUC, or accuracy where there is no AUC."""
        return self.worst_by("auc") or self.worst_by("accuracy")

    def worst_by(self, figure: str) -> str | None:
        """The delivery that costs most of a figure; None where no change of it is known."""
        found = ((name, one.changed(figure).value) for name, one in self.deliveries.items())
        known = {name: change for name, change in found if change is not None}
        return min(known, key=known.__getitem__) if known else None

    @property
    def told(self) -> list[str]:
        """The worst delivery, and the rows that are in the figures of none, as sentences."""
        figures = ["auc" if self.worst_by("auc") else "accuracy", "iou"]
        said = [one for figure in figures for one in self._told_worst(figure)]
        by_count: dict[int, list[str]] = {}
        for name, count in self.missing.items():
            by_count.setdefault(count, []).append(name)
        for count, names in by_count.items():
            of = f"{count:,} of {self.real + self.fake:,} rows"
            said.append(f"{of} are not delivered as {listed(names)}, or have no features then")
        if any(not one.real for one in self.deliveries.values()) and self.real:
            said.append("no real is delivered so: without them there is neither AUC nor FPR")
        return said

    def _told_worst(self, figure: str) -> Iterator[str]:
        if (name := self.worst_by(figure)) is None:
            return
        change = self.deliveries[name].changed(figure)
        if change.value is None or change.value >= 0:
            yield f"no delivery lowers the {_NAMES[figure]}"
            return
        what = f"{_NAMES[figure]} {change.value:+.3f}"
        if change.low is not None:
            what += f", 95 % interval {change.low:+.3f} to {change.high:+.3f}"
        steps = self.deliveries[name].steps
        yield f"worst of {len(self.deliveries)}: {name} ({steps}), {what}"


def write_variants(found: Mapping[str, VariantFigures], file: Path) -> None:
    """Write a table: of each set a line for the images as they are, then one a delivery.

    Where fake pixels are found, their figures follow.
    """
    every = [one for each in found.values() for one in each.deliveries.values()]
    masks = MASK_FIGURES if any(one.masks for one in every) else ()
    heads = ["subset", "delivery", "steps", "real", "fake"]
    for names in (FIGURES, masks):
        heads += [f"{name}{end}" for name in names for end in _ENDS]
        heads += [f"{name}_change{end}" for name in names for end in _ENDS]
    lines: list[list[object]] = [list(heads)]
    for subset, one in found.items():
        own = [subset, CLEAN, "", one.real, one.fake, *_cells(one.clean, FIGURES)]
        lines.append([*own, *[None] * (len(heads) - len(own))])
        for name, each in one.deliveries.items():
            line = [subset, name, each.steps, each.real, each.fake]
            line += [*_cells(each.figures, FIGURES), *_cells(each.change, FIGURES)]
            if each.masks is not None:
                line += [*_cells(each.masks.figures, masks), *_cells(each.masks.change, masks)]
            lines.append([*line, *[None] * (len(heads) - len(line))])
    write_durably(file, csv_text(lines).encode())


def _cells(figures: Figures, names: Sequence[str]) -> list[float | None]:
    every = (figures[name] for name in names)
    return [end for one in every for end in (one.value, one.low, one.high)]
