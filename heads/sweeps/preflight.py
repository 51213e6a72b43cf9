"""What the runs of a sweep find in a store: rows to train on, and the rows they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from clare.errors import InputError
from clare.heads.config import TrainConfig
from clare.heads.data.fingerprints import Chosen
from clare.heads.data.leakage import Seen
from clare.heads.data.samples import Samples
from clare.heads.data.subsets import subsets_of
from clare.heads.detector import needs_text
from clare.heads.runs.record import read_record, read_seen
from clare.heads.training.fields import recorded_fields
from clare.heads.training.prepare import choose_splits, open_tables, rows_key
from clare.heads.training.run_folder import ANOTHER_FOLDER, require_same_rows
from clare.models.known import TUNED
from clare.store.feature_store import FeatureStore

Choice = tuple[Samples, Samples, Seen]


def check_rows(
    store: FeatureStore, finished: Mapping[Path, TrainConfig], missing: Mapping[Path, TrainConfig]
) -> dict[Path, str]:
    """Check runs against a store before training; the missing ones without rows, and why."""
    configs = {**finished, **missing}
    lacking: dict[Path, InputError] = {}
    for folder, config in configs.items():
        try:
            subsets_of(store, config)
        except InputError as error:
            lacking[folder] = error
    here = {folder: config for folder, config in configs.items() if folder not in lacking}
    found: dict[object, Choice | InputError] = {}
    if here:
        tables, chosen = open_tables(store, list(here.values()), torch.device("cpu"))
    for folder, config in here.items():
        key = rows_key(config)
        if key not in found:
            try:
                found[key] = choose_splits(tables, config)
            except InputError as error:
                found[key] = error
        choice = found[key]
        if isinstance(choice, InputError):
            lacking[folder] = choice
        elif folder in finished:
            _require_same(folder, config, choice, chosen)
    for folder, why in lacking.items():
        if folder in finished or len(lacking) == len(configs):
            told = f"{folder} is finished, but now {why.what}" if folder in finished else why.what
            raise InputError(told, *why.advice) from why
    return {folder: why.what for folder, why in lacking.items()}


def _require_same(folder: Path, config: TrainConfig, choice: Choice, chosen: Chosen) -> None:
    """Refuse a finished run whose rows or features are not those of the store."""
    record = read_record(folder)
    train, val, seen = choice
    text = needs_text(config.detector)
    names, sources = chosen.read_by(recorded_fields(config), text=text)
    if (names, sources) != (record.fingerprints, record.sources):
        before, now = (", ".join(one.values()) for one in (record.fingerprints, names))
        raise InputError(f"{folder} was trained on {before} and not {now}", ANOTHER_FOLDER)
    if record.rows != {"train": train.counts(), "val": val.counts()}:
        raise InputError(
            f"{folder} was trained on other rows than the store has now", ANOTHER_FOLDER
        )
    tuned = any(TUNED in one.origin for one in record.extractors.values())
    if record.config.init_from is not None or tuned:
        # What the runs before it saw is recorded there too.
        seen = seen.join(read_seen(folder))
    require_same_rows(folder, seen)
