"""Named settings of extractors: a YAML file each, extractor to setting to value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clare.errors import InputError
from clare.foreign import read_value

PRESETS = Path(__file__).parent / "presets"


def list_presets() -> list[str]:
    """Names of the presets, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str) -> dict[str, dict[str, Any]]:
    """Extractor name to the settings that differ from its defaults.

    Raises:
        InputError: there is no such preset.
    """
    if name not in list_presets():
        raise InputError(f"preset {name!r} is not one of {', '.join(list_presets())}")
    preset: dict[str, dict[str, Any]] = read_value(PRESETS / f"{name}.yaml", "a preset")
    return preset


def merge_settings(*layers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Extractor name to its settings; later layers win, setting by setting."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for name, values in layer.items():
            merged.setdefault(name, {}).update(values)
    return merged
