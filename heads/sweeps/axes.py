"""The axes of a sweep, from text to a configuration for each of its runs; imports no torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

from clare.advice import LeaveOut
from clare.errors import InputError
from clare.heads.config import (
    PARTS,
    TrainConfig,
    begin_from,
    create_config,
    refuse_beside_protocol,
)
from clare.heads.sweeps.table import Axes, value_of
from clare.heads.tokens import reads_tokens, take_tokens, tokens_of
from clare.plugins import part_name

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

    A fusion that reads no tokens stands once beside the others, whatever fields of tokens are
    tried.

    Args:
        base: what all runs have in common; where presets are an axis, values that differ from
            each.
        axes: values by setting; of ``tokens``, which is none, texts as `take_tokens` reads them.
        refine: further changes, for example settings of the parts that a run has.

    Raises:
        InputError: a setting or a value is not usable, two runs come to the same name, no run reads
            tokens, or some have a decoder and others fusion and classifier.
    """
    if "decoder" in axes and (beside := [part for part in PARTS[:2] if part in axes]):
        raise InputError(
            "a sweep ranks its runs by one figure: decoders by IoU, fusions and classifiers by AUC",
            LeaveOut(*beside),
            LeaveOut("decoder"),
        )
    if "protocol" in axes:
        refuse_beside_protocol([*axes, *({} if isinstance(base, TrainConfig) else base)])
    starts = _starts(base, axes)
    found: dict[str, TrainConfig] = {}
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        config = _at(point, starts[point.get("preset")])
        labels = (_label(setting, value_of(config, setting)) for setting in axes)
        name = "_".join(filter(None, labels)) or "run"
        again = "tokens" in axes and not tokens_of(config.detector)
        if name in found and not again:
            raise InputError(f"two runs of the sweep are called {name}: list each value once")
        found[name] = refine(config)
    if "tokens" in axes and not any(tokens_of(config.detector) for config in found.values()):
        fusion = part_name(next(iter(found.values())).detector.fusion)
        raise InputError(f"fusion {fusion} reads no tokens", LeaveOut("tokens"))
    return found


def _starts(base: Mapping[str, Any] | TrainConfig, axes: Axes) -> dict[Any, TrainConfig]:
    """What runs begin from, by preset; by None where presets are no axis."""
    if "preset" not in axes:
        return {None: base if isinstance(base, TrainConfig) else create_config(base)}
    if isinstance(base, TrainConfig):
        raise InputError("each preset is a configuration", LeaveOut("preset"), LeaveOut("config"))
    named = {**base, **axes}
    return {name: create_config(base, begin_from(name, named)) for name in axes["preset"]}


def _at(point: Mapping[str, Any], start: TrainConfig) -> TrainConfig:
    """The configuration of a point on the axes."""
    values = {name: value for name, value in point.items() if name not in ("tokens", "preset")}
    config = create_config(values, start)
    if "tokens" not in point:
        return config
    if reads_tokens(config.detector):
        return take_tokens(config, point["tokens"])
    fields = config.detector.fields.items()
    others = {role: name for role, name in fields if not role.startswith("tokens")}
    return create_config({"fields": others}, config)


def _label(setting: str, value: Any) -> str:
    plain = f"{value:g}" if isinstance(value, float) else str(value)
    text = re.sub(r"[^A-Za-z0-9._+-]+", "-", plain).strip("-")
    return text if setting in (*PARTS, "preset", "tokens") else f"{setting}-{text}"
