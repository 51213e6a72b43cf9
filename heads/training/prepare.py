"""From configurations to detectors with their rows, before any step is taken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clare.advice import Notice, Set
from clare.augmentation import USUAL
from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig
from clare.heads.data.calibration import keep_apart
from clare.heads.data.face_marks import marks_tell
from clare.heads.data.fingerprints import Chosen, frame_of
from clare.heads.data.leakage import Seen, refuse_leaks
from clare.heads.data.samples import Samples, choose_samples
from clare.heads.data.subsets import subsets_of
from clare.heads.data.table import FeatureTable, pieces
from clare.heads.detector import (
    Detector,
    create_model,
    fields_of,
    fusion_roles,
    needs_text,
    tower_fields,
)
from clare.heads.layers.tower import BaseTower
from clare.heads.localizer import mask_field
from clare.heads.model import Model
from clare.heads.runs.record import CONFIG, RunRecord
from clare.heads.runs.run import load_text_tower
from clare.heads.runs.tower import NOWHERE_ELSE, Places
from clare.heads.runs.tuned_before import tuned_before
from clare.heads.text.tower import TextTower
from clare.heads.training.base_towers import BaseTowers, choose_beside_tower
from clare.heads.training.fields import all_fields, split_fields, text_beside
from clare.heads.training.new_record import make_record
from clare.heads.training.notices import notices_of, notices_of_pairs, slerp_notices
from clare.heads.training.warm_start import Parent, open_parent
from clare.models.tuned import find_tuning
from clare.plugins import part_name
from clare.store.feature_store import FeatureStore
from clare.store.rows import join_rows
from clare.store.spec import Fingerprint
from clare.wording import counted

_SPATIAL = {"tokens", "lare", "lare_steps", "parts"}
"""Inputs of which a fusion lays two over each other, place by place."""


@dataclass(frozen=True)
class Prepared:
    """A run that is ready for its first step.

    Args:
        config: its configuration.
        detector: the head, fresh, standardised, on the device.
        train: its training samples, places in the table of the train split.
        val: its validation samples, places in the table of the val split.
        apart: (n,) which of these choose nothing; see `keep_apart`.
        record: for its folder.
        seen: by it, and by the runs that it begins from.
        notes: what the user may not expect.
    """

    config: TrainConfig
    detector: Model
    train: Samples
    val: Samples
    apart: NDArray[np.bool_]
    record: RunRecord
    seen: Seen
    notes: tuple[Notice, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The stored fields that training reads, masks included."""
        return split_fields(self.config, "train")

    @property
    def val_fields(self) -> tuple[str, ...]:
        """The stored fields that validation reads."""
        return split_fields(self.config, "val")


@dataclass(frozen=True)
class Tables:
    """The features of several runs: one table a split."""

    train: FeatureTable
    val: FeatureTable


def open_tables(
    store: FeatureStore, configs: Sequence[TrainConfig], device: torch.device
) -> tuple[Tables, Chosen]:
    """The rows that any of several runs may use, and the fingerprints that they read.

    Raises:
        InputError: the splits leak, or runs read a field of different fingerprints.
        StoreError: a field or subset is not there.
    """
    together = {subsets_of(store, config) for config in configs}
    for names in together:
        refuse_leaks(join_rows([store.rows(name) for name in names]))
    subsets = sorted(set().union(*together))
    chosen = reduce(
        Chosen.beside,
        [
            choose_beside_tower(store, config, subsets, all_fields(config), text_beside(config))
            for config in {_choice(config): config for config in configs}.values()
        ],
    )
    fields = sorted({field for config in configs for field in all_fields(config)})
    tables = (
        FeatureTable(store, fields, subsets, split, chosen.digests, device)
        for split in ("train", "val")
    )
    return Tables(*tables), chosen


def prepare(
    store: FeatureStore,
    configs: Sequence[TrainConfig],
    folders: Sequence[Path],
    tables: Tables,
    chosen: Chosen,
    device: torch.device,
    places: Places = NOWHERE_ELSE,
) -> list[Prepared]:
    """Detectors with their samples; what runs have in common is made once.

    Channels are not measured yet: that reads the features. The weights of towers that are tuned
    are at ``places`` where they are not where they were.

    Raises:
        InputError: a part, a setting or the rows of a run are not usable.
        StoreError: a text tower is needed and not there.
    """
    samples: dict[object, tuple[Samples, Samples, Seen]] = {}
    parents: dict[object, Parent] = {}
    text: TextTower | None = None
    towers = BaseTowers(store, chosen, places)
    made = []
    for config, folder in zip(configs, folders, strict=True):
        key = rows_key(config)
        if key not in samples:
            samples[key] = choose_splits(tables, config)
        train, val, seen = samples[key]
        if config.detector.decoder or _lays_over_each_other(config.detector):
            _require_aligned(store, chosen, config, train)
        if config.shuffle_labels:
            train, val = train.shuffled([config.seed, 0]), val.shuffled([config.seed, 1])
        if text is None and needs_text(config.detector):
            text = load_text_tower(store, chosen.text).to(device)
        detector = create_detector(config, chosen.specs, text, towers.of(config))
        notes, parent = [*chosen.notes, *notices_of(detector, config)], None
        notes += slerp_notices(config, train.counts())
        notes += [
            Notice(f"{name}: {counted(count, 'fake')} without a mask, left out of split {split}")
            for split, some in (("train", train), ("val", val))
            for name, count in some.unmasked.items()
        ]
        notes += notices_of_pairs(train, config)
        if "parts" in detector.roles:
            notes += marks_tell(tables.train.rows.take(train.plain))
        if config.init_from is not None:
            # A run that was begun has its own record of its parent; new ones share the parent.
            known = folder if (folder / CONFIG).exists() else config.init_from
            if known not in parents:
                parents[known] = open_parent(config.init_from, folder)
            parent = parents[known]
            parent.refuse_trained_on(tables.val.rows.take(val.plain))
            seen = seen.join(parent.seen)
            taken = parent.give(detector)
            notes += [Notice(taken)] if parent.note else []
        record = make_record(
            store,
            config,
            chosen,
            detector,
            {"train": tables.train.rows.take(train.plain), "val": tables.val.rows.take(val.plain)},
            {"train": train.counts(), "val": val.counts()},
        )
        record = replace(record, parent=None if parent is None else parent.record)
        for tower in tuned_before(store, record.fingerprints.values()):
            tower.refuse_trained_on(tables.val.rows.take(val.plain))
            seen = seen.join(tower.seen)
            notes += tower.notices
        notes += [Notice(f"this run is {record.remainder}")] if record.lacking else []
        apart = keep_apart(tables.val.rows.take(val.plain), val.labels, config.calibration)
        made.append(
            Prepared(config, detector.to(device), train, val, apart, record, seen, tuple(notes))
        )
    return made


def rows_key(config: TrainConfig) -> object:
    """Equal for configurations that take the same rows of a store."""
    share = (config.fraction, config.data_seed) if config.fraction < 1 else None
    rows = (config.train, config.reals, config.domains, config.frames, config.sampling)
    masks = (*(config.needs_masks(split) for split in ("train", "val")), config.takes_reals)
    # A protocol refuses rows that the same subsets without its name may take.
    kept = (config.takes_pairs, config.protocol, config.partial)
    return rows, share, fields_of(config.detector), masks, *kept


def choose_splits(tables: Tables, config: TrainConfig) -> tuple[Samples, Samples, Seen]:
    """Samples of training and of validation, and what a run sees by them.

    Raises:
        InputError: a class is missing, or an image has two labels.
    """
    train = choose_samples(tables.train, config, split_fields(config, "train"), "train")
    val = choose_samples(tables.val, config, split_fields(config, "val"), "val")
    seen = Seen.of(tables.train.rows.take(train.plain), tables.val.rows.take(val.plain))
    return train, val, seen


def create_detector(
    config: TrainConfig,
    specs: Mapping[str, tuple[int, ...]],
    text: TextTower | None,
    tower: BaseTower | None = None,
) -> Model:
    """A detector or localiser whose random start follows from the configuration's seed.

    Raises:
        InputError: a part or a setting is not usable.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        return create_model(config.detector, specs, text, tower)


def restrict_tables(runs: Sequence[Prepared], tables: Tables) -> None:
    """Leave to the tables what these runs read: other rows take neither memory nor time."""
    train: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
    val: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
    for run in runs:
        for field in run.fields:
            train[field].append(run.train.views if run.config.takes_views else run.train.plain)
        for field in run.val_fields:
            val[field].append(run.val.plain)
    tables.train.restrict(train)
    tables.val.restrict(val)


def measure_channels(
    runs: Sequence[Prepared], table: FeatureTable, progress: Callable[[str], None]
) -> None:
    """Give every detector the mean and deviation of its training rows' channels (view 0).

    Args:
        runs: that begin; one that goes on has them from its folder.
        table: the rows that train them.
        progress: told what is measured.
    """
    measured: dict[tuple[object, ...], Model] = {}
    for run in runs:
        detector, config = run.detector, run.config.detector
        if not detector.standardized():
            continue
        moved = repr((run.config.init_from, config.tune, config.tune_settings, config.fields))
        key: tuple[object, ...]
        roles = tuple(detector.standardized())
        rows = run.train.plain.tobytes()
        key = (rows, roles, detector.fields, config.timestep, config.draws, moved)
        if config.is_tuned and not find_tuning(config.tune).begins_as_it_was:
            key = (*key, run.config.seed)
        if key in measured:
            known = measured[key].standardized()
            for role, part in detector.standardized().items():
                part.load_state_dict(known[role].state_dict())
            continue
        progress(f"measuring the channels of {', '.join(detector.fields)}")
        measured[key] = detector
        order = pieces(run.train.plain, detector.scored_together)
        detector.fit_statistics(table.batches(order, detector.fields))


def fit_fusions(
    runs: Sequence[Prepared], table: FeatureTable, progress: Callable[[str], None]
) -> None:
    """Give every fusion what it takes from training rows and their labels, once channels are
    measured.

    Args:
        runs: that begin; one that goes on has it from its folder.
        table: the rows that train them.
        progress: told what is read.
    """
    for run in runs:
        if not isinstance(detector := run.detector, Detector):
            continue
        chosen = detector.fusion.rows_to_fit(run.train.labels)
        if not len(chosen):
            continue
        progress(f"reading {', '.join(detector.fields)} for {detector.config.fusion}")
        order = pieces(run.train.plain[chosen], detector.scored_together)
        labels = pieces(run.train.labels[chosen], detector.scored_together)
        batches = zip(table.batches(order, detector.fields), labels, strict=True)
        with torch.no_grad():
            detector.fusion.fit(
                (detector.inputs(batch), torch.from_numpy(some)) for batch, some in batches
            )


def _lays_over_each_other(config: DetectorConfig) -> bool:
    return len(_SPATIAL.intersection(fusion_roles(config))) > 1


def _require_aligned(
    store: FeatureStore, chosen: Chosen, config: TrainConfig, train: Samples
) -> None:
    """Refuse fields that lie over each other askew: of other crops, or of other draws of views."""
    fields = all_fields(config)
    read = {field: store.extractor(chosen.sources[field])[0] for field in fields}
    what = "masks and features" if mask_field(config.detector) in fields else "features"
    frames = {field: frame_of(one) for field, one in read.items()}
    if len({repr(frame) for frame in frames.values()}) > 1:
        told = "; ".join(f"{field} {frame}" for field, frame in frames.items())
        raise InputError(
            f"{what} were cut out of the images differently ({told})",
            "extract them with one crop and one alignment",
        )
    drawn = {field: _drawn_by(one) for field, one in read.items()}
    if config.takes_views and len(train.views) > len(train.plain) and len(set(drawn.values())) > 1:
        told = "; ".join(f"{field} {how}" for field, how in drawn.items())
        raise InputError(
            f"{what} are of views that were drawn with different seeds or recipes ({told})",
            "extract them with one view seed and one recipe",
            Set("views", False, effect="trains on the plain images alone"),
        )


def _drawn_by(fingerprint: Fingerprint) -> str:
    """Seed and recipe of a feature's views, in words."""
    images = fingerprint.settings.get("images", {})
    recipe, version = images.get("view_recipe", USUAL), images.get("view_recipe_version", 1)
    told = f"{part_name(recipe)} with seed {images.get('view_seed', 0)}"
    return told if version == 1 else f"{told}, version {version}"


def _choice(config: TrainConfig) -> object:
    """Equal for configurations that read the same fingerprints of a store."""
    named = repr((sorted(config.features.items()), config.extracted))
    return named, all_fields(config), text_beside(config), repr(tower_fields(config.detector))
