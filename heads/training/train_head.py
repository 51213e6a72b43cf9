"""Stage two as one call: a store's features to a finished run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from clare.heads.config import DEFAULT_PRESET, Machine, TrainConfig, create_config, read_preset
from clare.heads.runs.run import Run, choose_folder, open_run
from clare.heads.training.trainer import Observer, train_run
from clare.models.runtime import choose_runtime
from clare.plugins import trust_named
from clare.settings import build_settings
from clare.store.feature_store import FeatureStore


def train_head(
    store: FeatureStore | Path | str,
    out: Path | str | None = None,
    *,
    preset: str = DEFAULT_PRESET,
    config: TrainConfig | None = None,
    observer: Observer | None = None,
    **settings: Any,
) -> Run:
    """Train a head on a store's features; checkpoint and threshold come from validation.

    A folder that holds the same run unfinished is gone on with::

        run = clare.train_head("features.zarr", "runs/esa", fusion="esa", epochs=20)

    Args:
        store: the feature store; its test split is never opened.
        out: the run's folder. If left out, the first free ``runs/FUSION-CLASSIFIER-n``.
        preset: the configuration to start from.
        config: a configuration to start from instead.
        observer: is told how it goes.
        settings: fields of `TrainConfig`, of its `DetectorConfig` and of `Machine` that differ:
            ``fusion``, ``classifier``, ``train``, ``reals``, ``epochs``, ``seed``, ``device`` and
            more. A setting of a part is ``fusion_settings={"heads": 4}``.

    Returns:
        The run, with its detector and its figures on validation.

    Raises:
        InputError: a setting, the rows or the folder is not usable, or training failed.
        StoreError: a field, a subset or a text tower is not there.
        CorruptStoreError: stored bytes are not what was written.
    """
    trust_named(settings.values())
    own = {f.name for f in fields(Machine)}
    given = {name: settings.pop(name) for name in own & set(settings)}
    device = choose_runtime(given.get("device", "auto")).device
    machine: Machine = build_settings("training", Machine, {**given, "device": device})
    chosen = create_config(settings, config or read_preset(preset))
    place = choose_folder(None, chosen) if out is None else Path(out)
    train_run(
        chosen, store if isinstance(store, FeatureStore) else Path(store), place, machine, observer
    )
    return open_run(place, store if isinstance(store, FeatureStore) else Path(store))
