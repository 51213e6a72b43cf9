"""Configurations from presets and files, and from assignments beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clare.advice import LeaveOut
from clare.errors import InputError
from clare.foreign import read_value
from clare.heads.config.detector import PARTS, with_underscores
from clare.heads.config.training import RUN_RECORD, TrainConfig, create_config
from clare.plugins import part_name
from clare.typed_json import from_json

PRESETS = Path(__file__).parents[1] / "presets"
DEFAULT_PRESET = "clare"
DEFAULT_DECODER_PRESET = "localize"
"""What holds where a decoder is asked for and no preset."""


def begin_from(preset: str | None, named: Mapping[str, Any]) -> TrainConfig:
    """The preset that a training begins from.

    Args:
        preset: its name; if left out the usual one, with a decoder or without, and of the run in
            ``init_from`` the detector, unless a part of another is named.
        named: settings that are given beside it.

    Raises:
        InputError: there is no such preset, or it is one of a decoder and a fusion or classifier is
            named beside it, or the other way round; or the run's record is damaged.
    """
    if preset is None:
        parent = Path(str(named.get("init_from", ""))) / RUN_RECORD
        if parent.is_file() and not any(part in named for part in PARTS):
            detector = read_config(parent).detector
            usual = DEFAULT_DECODER_PRESET if detector.decoder else DEFAULT_PRESET
            return replace(read_preset(usual), detector=detector)
        return read_preset(DEFAULT_DECODER_PRESET if "decoder" in named else DEFAULT_PRESET)
    found = read_preset(preset)
    own = ("decoder",) if found.detector.decoder else PARTS[:2]
    if strange := [part for part in PARTS if part in named and part not in own]:
        raise InputError(
            f"preset {preset} is of a {' and a '.join(own)}, which a {strange[0]} does not replace",
            LeaveOut("preset"),
            LeaveOut(*strange),
        )
    return found


def list_presets() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str) -> TrainConfig:
    """A preset by name.

    Raises:
        InputError: there is no such preset.
    """
    if name not in list_presets():
        raise InputError(f"preset {name!r} is not one of {', '.join(list_presets())}")
    return replace(read_config(PRESETS / f"{name}.yaml"), preset=name)


def read_config(path: Path) -> TrainConfig:
    """A configuration from a YAML or JSON file; a run's ``config.json`` serves too.

    Raises:
        InputError: the file can't be read, or a name or value in it is not usable.
    """
    values = read_value(path, "a configuration")
    if isinstance(values, Mapping) and isinstance(values.get("config"), Mapping):
        values = values["config"]
    return from_json(TrainConfig, values, path)


def assign_settings(
    config: TrainConfig, assignments: Mapping[str, Mapping[str, Any]], *, known: Iterable[str] = ()
) -> TrainConfig:
    """Settings of parts, put where they belong.

    Args:
        config: a configuration.
        assignments: setting to value by ``fusion``, ``classifier`` or ``decoder``, the name of
            one of them, or ``train`` for the configuration itself.
        known: names of parts that may stand there although this configuration has others, as in
            a sweep.

    Raises:
        InputError: a part is none of these, or a setting is not usable.
    """
    for part, settings in assignments.items():
        detector = config.detector
        parts = detector.parts
        if part == "train":
            config = create_config(settings, config)
            continue
        called = with_underscores(part)
        kind = next((k for k, name in parts.items() if called in (k, part_name(name))), None)
        if kind is not None:
            name = f"{kind}_settings"
            config = create_config({name: {**getattr(detector, name), **settings}}, config)
        elif called not in {with_underscores(part_name(name)) for name in known}:
            raise InputError(
                f"{part} names no part of which a setting could be given: there are "
                f"{', '.join([*parts, *map(part_name, parts.values())])} and train"
            )
    return config
