"""The axes of a sweep, from text to a configuration for each of its runs; imports no torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

from clare.errors import InputError
from clare.heads.config import TrainConfig, create_config, refuse_beside_protocol
from clare.heads.sweeps.table import Axes, plain_value

_RANGE = re.compile(r"(\d+)-(\d+)")


def parse_values(text: str) -> list[str]:
    """Values of a comma list, in which ``0-4`` stands for 0, 1, 2, 3, 4.

    Raises:
        InputError: there is none, a range falls, or a value stands twice.
    """
    values: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        span = _RANGE.fullmatch(part)
        if span and int(span[1]) > int(span[2]):
            raise InputError(f"the range {part} falls: write {span[2]}-{span[1]}")
        values += map(str, range(int(span[1]), int(span[2]) + 1)) if span else [part]
    if not values or len(set(values)) < len(values):
        raise InputError(f"{text!r} is no list of different values, such as 1,2 or 0-4")
    return values


def expand(
    base: Mapping[str, Any] | TrainConfig,
    axes: Axes,
    refine: Callable[[TrainConfig], TrainConfig] = lambda config: config,
) -> dict[str, TrainConfig]:
    """The product of the axes, by a name that says where a run stands on each.

    Args:
        base: what all runs have in common.
        axes: values by setting.
        refine: further changes, for example settings of the parts that a run has.

    Raises:
        InputError: a setting or a value is not usable, or two runs come to the same name.
    """
    if "protocol" in axes:
        refuse_beside_protocol([*axes, *({} if isinstance(base, TrainConfig) else base)])
    start = base if isinstance(base, TrainConfig) else create_config(base)
    found: dict[str, TrainConfig] = {}
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        config = create_config(point, start)
        name = "_".join(_label(setting, config.settings[setting]) for setting in axes) or "run"
        if name in found:
            raise InputError(f"two runs of the sweep are called {name}: list each value once")
        found[name] = refine(config)
    return found


def _label(setting: str, value: Any) -> str:
    plain = f"{value:g}" if isinstance(value, float) else str(plain_value(value))
    text = re.sub(r"[^A-Za-z0-9._+-]+", "-", plain).strip("-")
    return text if setting in ("fusion", "classifier") else f"{setting}-{text}"
