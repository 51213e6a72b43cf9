"""Figures of deliveries: what a test says of damaged images beside the images themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clare.augmentation.deliveries import CLEAN
from clare.bootstrap import Figures
from clare.files import write_durably
from clare.own_csv import csv_text
from clare.wording import listed

FIGURES = ("auc", "accuracy", "fpr")
"""AUC, accuracy, and the share of reals that is called fake."""
_NAMES = {"auc": "AUC", "accuracy": "accuracy"}


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
    """

    steps: str
    real: int
    fake: int
    figures: Figures
    clean: Figures
    change: Figures


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
        for figure in ("auc", "accuracy"):
            found = ((name, one.change[figure].value) for name, one in self.deliveries.items())
            known = {name: change for name, change in found if change is not None}
            if known:
                return min(known, key=known.__getitem__)
        return None

    @property
    def told(self) -> list[str]:
        """The worst delivery, and the rows that are in the figures of none, as sentences."""
        said = []
        if (name := self.worst) is not None:
            one = self.deliveries[name]
            figure = "accuracy" if one.change["auc"].value is None else "auc"
            change = one.change[figure]
            what = f"{_NAMES[figure]} {change.value:+.3f}"
            if change.low is not None:
                what += f", 95 % interval {change.low:+.3f} to {change.high:+.3f}"
            costs = change.value is not None and change.value < 0
            said.append(
                f"worst of {len(self.deliveries)}: {name} ({one.steps}), {what}"
                if costs
                else f"no delivery lowers the {_NAMES[figure]}"
            )
        by_count: dict[int, list[str]] = {}
        for name, count in self.missing.items():
            by_count.setdefault(count, []).append(name)
        for count, names in by_count.items():
            of = f"{count:,} of {self.real + self.fake:,} rows"
            said.append(f"{of} are not delivered as {listed(names)}, or have no features then")
        if any(not one.real for one in self.deliveries.values()) and self.real:
            said.append("no real is delivered so: without them there is neither AUC nor FPR")
        return said


def write_variants(found: Mapping[str, VariantFigures], file: Path) -> None:
    """Write a table: of each set a line for the images as they are, then one a delivery."""
    ends = ("", "_low", "_high")
    own = [f"{name}{end}" for name in FIGURES for end in ends]
    changes = [f"{name}_change{end}" for name in FIGURES for end in ends]
    lines: list[list[object]] = [["subset", "delivery", "steps", "real", "fake", *own, *changes]]
    for subset, one in found.items():
        none = [None] * len(changes)
        lines.append([subset, CLEAN, "", one.real, one.fake, *_cells(one.clean), *none])
        for name, each in one.deliveries.items():
            cells = [*_cells(each.figures), *_cells(each.change)]
            lines.append([subset, name, each.steps, each.real, each.fake, *cells])
    write_durably(file, csv_text(lines).encode())


def _cells(figures: Figures) -> list[float | None]:
    every = (figures[name] for name in FIGURES)
    return [end for one in every for end in (one.value, one.low, one.high)]
