"""Extractor settings from a preset, from options and from `EXTRACTOR.SETTING=VALUE` texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clare.errors import InputError
from clare.settings import parse_assignments

PRESETS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "clare": {},
    # CLaRE and LaRE² as their authors ran them, the label in the prompt left out: SD 1.5, a sample
    # of the VAE's posterior, and 0.5 for CLIP's mean and deviation.
    "clare-published": {
        "lare": {"model": "sd1.5", "latent": "sample"},
        "clip": {"mean_std": "half"},
    },
}


def merge_settings(
    preset: str,
    options: Mapping[str, Mapping[str, Any]],
    assignments: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Join settings; options win over the preset, assignments over both.

    Args:
        preset: a name of `PRESETS`.
        options: extractor name to setting to value; None stands for "not given".
        assignments: ``EXTRACTOR.SETTING=VALUE``, the value as JSON or as plain text.

    Raises:
        InputError: no such preset, or an assignment of another form.
    """
    if preset not in PRESETS:
        raise InputError(f"--preset {preset} is not one of {', '.join(PRESETS)}")
    merged = {name: dict(values) for name, values in PRESETS[preset].items()}
    for name, values in options.items():
        given = {key: value for key, value in values.items() if value is not None}
        if given:
            merged.setdefault(name, {}).update(given)
    for name, values in parse_assignments(assignments).items():
        merged.setdefault(name, {}).update(values)
    return merged
