"""Figures of which a test knows that they exist."""

from __future__ import annotations

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
