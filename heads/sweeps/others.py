"""Runs of earlier calls that a sweep's tables keep, beside those that are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clare.errors import InputError
from clare.heads.config import TrainConfig
from clare.heads.runs.record import CONFIG, read_record
from clare.heads.sweeps.table import RESULTS, Axes, axes_of, value_of
from clare.heads.training.run_folder import ANOTHER_FOLDER

_OF_DATA: tuple[str, ...] = (
    *("train", "reals", "domains", "frames", "sampling", "protocol", "partial", "features"),
    *("fraction", "shuffle_labels", "data_seed"),
)
"""Settings that runs of other presets have in common too."""
_OF_PROTOCOL = ("train", "reals", "domains", "frames", "sampling")
_OF_PARTS = {
    "fusion_settings": ("fusion",),
    "classifier_settings": ("classifier",),
    "decoder_settings": ("decoder",),
    "tune_settings": ("tune",),
    "fields": ("fusion", "decoder", "tune"),
}
"""Settings that runs have in common only where they have these parts in common."""


def runs_beside(
    out: Path,
    configs: Mapping[str, TrainConfig],
    axes: Axes,
    before: Mapping[str, Mapping[str, str]],
) -> dict[str, TrainConfig]:
    """Runs of an earlier call that have a line, and are not part of this one.

    Raises:
        InputError: they differ in more than the axes: a table of both would compare neither.
    """
    names = [name for name in before if name not in configs and (out / name / CONFIG).is_file()]
    found = {name: read_record(out / name).config for name in names}
    for name, config in found.items():
        if axes_of(before[name]) != list(axes):
            raise InputError(
                f"{out / RESULTS} is of a sweep over {', '.join(axes_of(before[name]))}, this one "
                f"is over {', '.join(axes)}",
                ANOTHER_FOLDER,
            )
        differing = _differing(config, configs, axes)
        if differing:
            raise InputError(
                f"{out / name} is a run of another sweep, with another {differing}", ANOTHER_FOLDER
            )
    return found


def _differing(config: TrainConfig, others: Mapping[str, TrainConfig], axes: Axes) -> str | None:
    """A setting, none of the axes, that a run has not in common with any of another sweep."""
    hidden = {*axes, "preset", *_OF_PARTS, *(_OF_PROTOCOL if "protocol" in axes else ())}
    own = config.to_json()
    if "preset" in axes:
        kin = {name: one for name, one in others.items() if one.preset == config.preset}
        if not kin:
            shared = next(iter(others.values())).to_json()
            data = (name for name in _OF_DATA if name not in hidden)
            return next((name for name in data if own[name] != shared[name]), None)
        others = kin
    shared = next(iter(others.values())).to_json()
    differing = [name for name in own if name not in hidden and own[name] != shared[name]]
    for name, parts in _OF_PARTS.items():
        told = (*parts, "tokens") if name == "fields" and "tokens" in axes else parts
        own_parts = [value_of(config, part) for part in told]
        alike = [
            one for one in others.values() if [value_of(one, part) for part in told] == own_parts
        ]
        if alike and all(one.settings[name] != config.settings[name] for one in alike):
            differing.append(name)
    return differing[0] if differing else None
