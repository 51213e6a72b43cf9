"""Figures of which a test knows that they exist."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TypeVar

from clare.bootstrap import Figure

T = TypeVar("T")


def existing(value: T | None) -> T:
    """What may be missing elsewhere, and is there."""
    assert value is not None
    return value


def low_value_high(figure: Figure) -> tuple[float, float, float]:
    """A figure between the ends of its interval."""
    return existing(figure.low), existing(figure.value), existing(figure.high)


def width(figure: Figure) -> float:
    """The length of its interval."""
    return existing(figure.high) - existing(figure.low)


def same_tables(one: Path, other: Path) -> bool:
    """Whether two sweeps wrote the same; numbers but for rounding.

    A run's last digits may differ with the runs that it stepped together with: on some processors
    a product of matrices does.
    """
    found, wanted = _cells(one), _cells(other)
    return found.keys() == wanted.keys() and all(_same(found[at], wanted[at]) for at in wanted)


def _cells(folder: Path) -> dict[tuple[str, int, int], str]:
    """Every cell of a folder's tables, by file, line and column."""
    return {
        (file.name, down, across): cell
        for file in folder.glob("*.csv")
        for down, line in enumerate(csv.reader(file.read_text("utf-8").splitlines()))
        for across, cell in enumerate(line)
    }


def _same(one: str, other: str) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-5, abs_tol=1e-5)
    except ValueError:
        return one == other
