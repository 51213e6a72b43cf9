"""Stage two as one call: a store's features to a finished run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from clare.advice import LeaveOut
from clare.errors import InputError
from clare.heads.config import Machine, TrainConfig, begin_from, create_config
from clare.heads.data.subsets import take_reals
from clare.heads.runs.record import is_finished, read_record
from clare.heads.runs.run import Run, choose_folder, open_run, read_unfinished
from clare.heads.training.cached_blocks import name_blocks
from clare.heads.training.trainer import Observer, train_run
from clare.models.runtime import choose_runtime
from clare.plugins import trust_named
from clare.settings import build_settings
from clare.store.feature_store import FeatureStore, open_store

STORE = "features.zarr"


def train_head(
    store: FeatureStore | Path | str = STORE,
    out: Path | str | None = None,
    *,
    resume: Path | str | None = None,
    preset: str | None = None,
    config: TrainConfig | None = None,
    observer: Observer | None = None,
    **settings: Any,
) -> Run:
    """Train a head on a store's features; checkpoint and threshold come from validation.

    A folder that holds the same run unfinished is gone on with::

        run = clare.train_head("features.zarr", "runs/esa", fusion="esa", epochs=20)

    Args:
        store: the feature store; its test split is never opened.
        out: the run's folder. If left out, the first free ``runs/FUSION-CLASSIFIER-n`` or
            ``runs/DECODER-n``.
        resume: a run that was interrupted, to go on with as it was begun, on its own store where
            that is still there. Beside it only the machine's settings count.
        preset: the configuration to start from: ``clare``, or ``localize`` with a decoder, if left
            out; with ``init_from`` and no part named, that run's detector in its place.
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
    if resume is not None:
        if out is not None or config is not None or settings:
            named = (*settings, *(["out"] if out else []), *(["config"] if config else []))
            raise InputError("a run that is resumed goes on as it was begun", LeaveOut(*named))
        place = Path(resume)
        elsewhere = store.path if isinstance(store, FeatureStore) else Path(store)
        chosen, store = read_unfinished(place, None, elsewhere)
    else:
        chosen = create_config(settings, config or begin_from(preset, settings))
        place = choose_folder(None, chosen) if out is None else Path(out)
    source = store if isinstance(store, FeatureStore) else Path(store)
    train_run(chosen, source, place, machine, observer)
    return open_run(place, source, places=machine.settings)


def is_trained(folder: Path | None, config: TrainConfig, store: Path, machine: Machine) -> bool:
    """Whether a folder holds this very run, finished.

    Raises:
        StoreError: the store is not there.
        InputError: the configuration fits no rows.
    """
    if folder is None or not is_finished(folder):
        return False
    opened = open_store(store)
    settled, _ = take_reals(opened, [config])
    return name_blocks(opened, settled, machine.settings) == [read_record(folder).config]
