"""Where the values of a sweep's option stand on an axis that a curve can be drawn over."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from clare.wording import listed

_LAYER = re.compile(r"clip_tokens(?:_(\d+))?")

LAYER = "layer of the tokens"


@dataclass(frozen=True)
class Axis:
    """An option of which several places were tried.

    Args:
        title: what it is called.
        places: by value, where that stands, and what else the value says; values without a place
            are left out.
        ticks: what is written at a place, where not its number.
        note: what a reader has to know of it.
    """

    title: str
    places: dict[str, tuple[float, str]]
    ticks: dict[float, str]
    note: str = ""


def axis_of(option: str, values: Sequence[str]) -> Axis | None:
    """The axis of an option.

    Args:
        option: its name.
        values: that were tried, as text.

    Returns:
        None where there are not several places: of numbers each value has to be one; of tokens
        the layers count, ``clip_tokens``, the last one, after all others.
    """
    if option == "tokens":
        return _layers(values)
    numbers = {value: number_of(value) for value in values}
    places = {value: (number, "") for value, number in numbers.items() if number is not None}
    return Axis(option, places, {}) if len(places) == len(values) > 1 else None


def number_of(cell: str) -> float | None:
    """A finite number; None where a cell holds none."""
    with suppress(ValueError):
        return number if math.isfinite(number := float(cell)) else None
    return None


def _layers(values: Sequence[str]) -> Axis | None:
    found: dict[str, tuple[float, str]] = {}
    for value in values:
        field, _, rest = value.partition("+")
        if layer := _LAYER.fullmatch(field):
            found[value] = (float(layer[1] or math.inf), rest)
    known = sorted({place for place, _ in found.values()})
    if len(known) < 2:
        return None
    numbered = [place for place in known if place < math.inf]
    step = max(1.0, (numbered[-1] - numbered[0]) / max(1, len(numbered) - 1))
    last = numbered[-1] + step
    places = {value: (min(place, last), rest) for value, (place, rest) in found.items()}
    notes = ["Layers are counted from 0."]
    if math.inf in known:
        notes.append("The last one stands a step after them, whatever its number.")
    if without := [value for value in values if value not in found]:
        notes.append(f"Of no layer: {listed(without)}.")
    return Axis(LAYER, places, {last: "last"} if math.inf in known else {}, " ".join(notes))
