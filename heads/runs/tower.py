"""The image tower that a tuned run began with, from what a store or a run recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clare.advice import Name
from clare.errors import InputError
from clare.heads.layers.tower import BaseTower
from clare.heads.runs.record import CARRIED, ExtractorRecord, RunRecord, tower_folder
from clare.models.backbones import recorded_places
from clare.models.runtime import Runtime
from clare.models.towers import TOWERS, VERSION, load_image_tower
from clare.settings import build_settings
from clare.store.spec import Fingerprint, require_same
from clare.typed_json import to_json

Places = Mapping[str, Mapping[str, Any]]
"""Extractor, by its name in a run, to settings that say where its weights are now."""

NOWHERE_ELSE: Places = MappingProxyType({})
"""Weights are where they were."""


def rebuild_tower(
    record: ExtractorRecord, given: Mapping[str, Any] = MappingProxyType({}), called: str = ""
) -> BaseTower:
    """Load the tower that made features, float32, on the CPU.

    Args:
        record: of the extractor that made them.
        given: settings that say where the weights are now, for example ``model``.
        called: what settings of it begin with, where that is not the extractor's name.

    Raises:
        InputError: it is no image tower, or the weights or a setting are not those recorded.
        WeightsError: the weights are not on disk and can't be fetched.
    """
    recorded, called = record.fingerprint, called or record.fingerprint.extractor
    require_tower(recorded.extractor)
    settings_of = TOWERS[recorded.extractor]
    known = {field.name for field in fields(settings_of)}
    settings = {name: value for name, value in recorded.settings.items() if name in known}
    backbone = recorded.settings.get("backbone")
    with recorded_places(recorded.extractor, backbone, record.origin, known) as places:
        values = {**settings, **places, **given}
        tower = load_image_tower(build_settings(called, settings_of, values), Runtime())
    deciding = {**to_json(dict(tower.settings)), "images": recorded.settings["images"]}
    found = Fingerprint(recorded.extractor, VERSION, tower.weights, deciding)
    require_same(recorded, found, called)
    return BaseTower(recorded, tower)


def tower_of(run: Path, record: RunRecord, places: Places = NOWHERE_ELSE) -> BaseTower | None:
    """The tower that a run's tower began as; None where it is not tuned.

    Args:
        run: its folder.
        record: of the run.
        places: where weights are now.

    Raises:
        InputError: the weights are not those that the run began with.
        WeightsError: they are not on disk and can't be fetched.
    """
    if not record.tower:
        return None
    name = record.tower
    given = {key: value for key, value in places.get(name, {}).items() if value is not None}
    if "model" not in given:
        given |= carried_place(run, record, name)
    return rebuild_tower(record.extractors[name], given, name)


def carried_place(run: Path, record: RunRecord, name: str) -> dict[str, str]:
    """Where the weights of an extractor are that may have come along with published ones.

    Args:
        run: a run's folder.
        record: of the run.
        name: of the extractor in it.

    Raises:
        InputError: they did, and neither the run nor one that it began from has them any more.
    """
    if record.extractors[name].origin.get("model") != CARRIED:
        return {}
    tower = tower_folder(run)
    if tower.is_dir():
        return {"model": str(tower)}
    if record.published is None:
        return {}  # a folder of the user's own that has this name
    raise InputError(
        f"{run} reads {name} of the folder {CARRIED}, which is not at {tower}",
        Name("where it is", f"{name}.model"),
    )


def require_tower(extractor: str) -> None:
    """Refuse an extractor that reads no image tower.

    Raises:
        InputError: it is none.
    """
    if extractor not in TOWERS:
        raise InputError(
            f"{extractor} is no image tower that could be tuned: there are {', '.join(TOWERS)}",
            Name("fields of one of them", "fields"),
        )
