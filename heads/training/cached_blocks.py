"""Which stored fields a tower begins with whose last blocks alone are tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clare.advice import LeaveOut, Run
from clare.errors import InputError
from clare.heads.config import TrainConfig
from clare.heads.data.fingerprints import choose_fingerprints
from clare.heads.data.subsets import subsets_of
from clare.heads.detector import tower_fields
from clare.heads.runs.record import extractor_record
from clare.heads.runs.tower import NOWHERE_ELSE, Places, rebuild_tower
from clare.heads.training.base_towers import AS_BEFORE, tower_key
from clare.models.tuned import BLOCK, Tuning, find_tuning
from clare.plugins import part_name
from clare.settings import build_settings
from clare.store.feature_store import FeatureStore
from clare.store.spec import split_field


def name_blocks(
    store: FeatureStore, configs: Sequence[TrainConfig], places: Places = NOWHERE_ELSE
) -> list[TrainConfig]:
    """Configurations that name the fields of the block before those that move.

    Args:
        store: that has them.
        configs: others are given back as they are.
        places: where weights are now; they are read only to say what is missing.

    Raises:
        InputError: the fields are not there, or the tower has too few blocks.
    """
    return [_named(store, config, places) for config in configs]


def _named(store: FeatureStore, config: TrainConfig, places: Places) -> TrainConfig:
    detector = config.detector
    if not detector.is_tuned or (found := find_tuning(detector.tune)).reads != BLOCK:
        return config
    way = found(build_settings(part_name(detector.tune), found.Settings, detector.tune_settings))
    own = tower_fields(detector).values()
    plain = {split_field(name)[0] for name in own}
    there = {}
    for key in store.extractor_keys():
        fingerprint, specs = store.extractor(key)
        depth = fingerprint.settings.get("depth")
        if fingerprint.extractor == "clip" and depth is not None and depth > way.settings.last:
            fields = _fields_after(way, depth)
            if plain | set(fields.values()) <= set(specs):
                there[key] = fields
    by_name = {tuple(fields.values()): fields for fields in there.values()}
    if len(by_name) == 1:
        (fields,) = by_name.values()
    else:  # towers of other depths, of which one has to be named; or none has them
        key = tower_key(choose_fingerprints(store, config, subsets_of(store, config), own), config)
        if key not in there:
            raise _missing(store, config, way, key, places)
        fields = there[key]
    return replace(config, detector=replace(detector, fields={**detector.fields, **fields}))


def _fields_after(way: Tuning, depth: int) -> dict[str, str]:
    """The fields that a way of tuning begins with, by role."""
    after = way.after(depth)
    patches, cls = BLOCK
    return {patches: f"clip_tokens_{after}", cls: f"clip_cls_{after}"}


def _missing(
    store: FeatureStore, config: TrainConfig, way: Tuning, key: str, places: Places
) -> InputError:
    """What to extract, so that a tower can begin behind one of its blocks."""
    record = extractor_record(store, key)
    name = record.fingerprint.extractor
    if name != "clip":
        return InputError(
            "the last blocks are tuned of open_clip's own vision transformers alone, not of those "
            f"of {name}",
            LeaveOut("tune"),
        )
    tower = rebuild_tower(record, dict(places.get(name, {})))
    depth = len(tower.loaded.module.blocks)
    if not hasattr(tower.loaded.module.visual, "transformer"):
        way.begin(tower.loaded.module, ())  # says what it needs
    after = way.after(depth) or 0
    layers = sorted({*record.fingerprint.settings.get("layers", ()), after})
    settings = {"features": name, "clip.layers": layers, "clip.class_layers": True}
    return InputError(
        f"the last {depth - 1 - after} of {depth} blocks begin with patches and class token after "
        f"block {after}, which the store lacks",
        Run("extract", settings=settings, effect=f"{AS_BEFORE} stores them"),
    )
