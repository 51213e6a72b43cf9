"""From configurations to detectors with their rows, before any step is taken."""

from __future__ import annotations

import copy
import hashlib
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clare.advice import LeaveOut, Name, Notice, Set
from clare.augmentation import USUAL
from clare.augmentation.recipe import find_recipe
from clare.errors import InputError
from clare.heads.base import INPUTS, Shapes
from clare.heads.config import TrainConfig
from clare.heads.data.fingerprints import Chosen, frame_of
from clare.heads.data.leakage import Seen, refuse_leaks
from clare.heads.data.samples import Samples, choose_samples
from clare.heads.data.subsets import subsets_of
from clare.heads.data.table import FeatureTable, pieces
from clare.heads.detector import (
    Detector,
    create_model,
    fields_of,
    find_fusion,
    needs_text,
    tower_fields,
)
from clare.heads.layers.tower import BaseTower, TowerFusion
from clare.heads.localizer import Localizer, mask_field
from clare.heads.model import Model, fields_by_role
from clare.heads.runs.record import CONFIG, RunRecord, extractor_record
from clare.heads.runs.run import load_text_tower
from clare.heads.runs.tower import NOWHERE_ELSE, Places
from clare.heads.text.tower import TextTower
from clare.heads.training.base_towers import BaseTowers, choose_beside_tower, tower_key
from clare.heads.training.warm_start import Parent, open_parent
from clare.models.hub import file_sha256
from clare.plugins import is_path, part_name
from clare.store.feature_store import FeatureStore
from clare.store.row import Row
from clare.store.rows import Rows, join_rows
from clare.store.spec import Fingerprint
from clare.version import __version__
from clare.wording import counted, listed

_SPATIAL = {"tokens", "lare", "parts"}
"""Inputs of which a fusion lays two over each other, place by place."""


@dataclass(frozen=True)
class Prepared:
    """A run that is ready for its first step.

    Args:
        config: its configuration.
        detector: the head, fresh, standardised, on the device.
        train: its training samples, places in the table of the train split.
        val: its validation samples, places in the table of the val split.
        record: for its folder.
        seen: by it, and by the runs that it begins from.
        notes: what the user may not expect.
    """

    config: TrainConfig
    detector: Model
    train: Samples
    val: Samples
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
        if config.detector.decoder or _lays_over_each_other(config.detector.fusion):
            _require_aligned(store, chosen, config, train)
        if config.shuffle_labels:
            train, val = train.shuffled([config.seed, 0]), val.shuffled([config.seed, 1])
        if text is None and needs_text(config.detector):
            text = load_text_tower(store, chosen.text).to(device)
        detector = create_detector(config, chosen.specs, text, towers.of(config))
        notes, parent = [*chosen.notes, *_notices(detector, config)], None
        notes += [
            Notice(f"{name}: {counted(count, 'fake')} without a mask, left out of split {split}")
            for split, some in (("train", train), ("val", val))
            for name, count in some.unmasked.items()
        ]
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
        record = _record(
            store,
            config,
            chosen,
            detector,
            {"train": tables.train.rows.take(train.plain), "val": tables.val.rows.take(val.plain)},
            {"train": train.counts(), "val": val.counts()},
        )
        record = replace(record, parent=None if parent is None else parent.record)
        notes += [Notice(f"this run is {record.remainder}")] if record.lacking else []
        made.append(Prepared(config, detector.to(device), train, val, record, seen, tuple(notes)))
    return made


def split_fields(config: TrainConfig, split: str) -> tuple[str, ...]:
    """The stored fields that a run reads of a split: its head's, and the masks where it needs them.

    Raises:
        InputError: a part of it is not there.
    """
    fields = fields_of(config.detector)
    masks = config.needs_masks(split)
    return (*fields, mask_field(config.detector)) if masks else fields


def all_fields(config: TrainConfig) -> tuple[str, ...]:
    """The stored fields that a run reads, in either split.

    Raises:
        InputError: a part of it is not there.
    """
    fields = [field for split in ("train", "val") for field in split_fields(config, split)]
    return tuple(dict.fromkeys(fields))


def text_beside(config: TrainConfig) -> str | None:
    """The field of the class token, where a run has a text tower: both are of one CLIP."""
    return fields_by_role(config.detector, ["cls"])["cls"] if needs_text(config.detector) else None


def rows_key(config: TrainConfig) -> object:
    """Equal for configurations that take the same rows of a store."""
    share = (config.fraction, config.data_seed) if config.fraction < 1 else None
    rows = (config.train, config.reals, config.domains, config.frames, config.sampling)
    masks = (*(config.needs_masks(split) for split in ("train", "val")), config.takes_reals)
    # A protocol refuses rows that the same subsets without its name may take.
    return rows, share, fields_of(config.detector), masks, config.protocol, config.partial


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
    """Give every detector the mean and deviation of its training rows' channels (view 0)."""
    measured: dict[object, Model] = {}
    for run in runs:
        detector, config = run.detector, run.config.detector
        if not detector.standardized():
            continue
        moved = repr((run.config.init_from, config.tune, config.tune_settings, config.fields))
        key = (run.train.plain.tobytes(), detector.fields, config.timestep, config.draws, moved)
        if key in measured:
            known = measured[key].standardized()
            for role, part in detector.standardized().items():
                part.load_state_dict(known[role].state_dict())
            continue
        progress(f"measuring the channels of {', '.join(detector.fields)}")
        measured[key] = detector
        order = pieces(run.train.plain, detector.scored_together)
        detector.fit_statistics(table.batches(order, detector.fields))


def _lays_over_each_other(fusion: str) -> bool:
    return len(_SPATIAL.intersection(find_fusion(fusion).roles)) > 1


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


def _notices(model: Model, config: TrainConfig) -> list[Notice]:
    """What a configuration does that its user may not expect.

    Raises:
        InputError: parts and losses contradict each other.
    """
    notes = [
        Notice(
            f"{name} is read as {role}, in place of {INPUTS[role].field}"
            + ("" if INPUTS[role].standardized else ", and is not standardised")
        )
        for role, name in zip(model.roles, model.fields, strict=True)
        if name != INPUTS[role].field != "" and not isinstance(model, Localizer)
    ]
    idle = _OF_SCORES if isinstance(model, Localizer) else _OF_MAPS
    usual = TrainConfig().settings
    if named := [name for name in idle if config.settings[name] != usual[name]]:
        kind = "a decoder" if isinstance(model, Localizer) else "a head without a decoder"
        notes.append(Notice(f"{kind} has no use for {listed(named)}", LeaveOut(*named)))
    if isinstance(model, Localizer):
        return notes + _localizer_notices(model, config)
    assert isinstance(model, Detector)
    return notes + _detector_notices(model, config)


_OF_SCORES = ("label_smoothing", "balance", "alignment", "uniformity", "slerp")
_OF_MAPS = ("score", "supervision", "empty_masks")
"""Settings that a localiser, or a detector, has no use for."""


def _localizer_notices(model: Localizer, config: TrainConfig) -> list[Notice]:
    by_label = config.supervision == "image"
    if config.scope != "full":
        raise InputError(
            "a decoder has no prompts, which are all that learns as published",
            Set("scope", "full"),
        )
    if config.select in ("auc", "balanced_accuracy") and not config.takes_reals:
        raise InputError(
            f"{config.select} needs real images, and masks of fakes alone are learnt",
            Set("select", "iou"),
            Set("empty_masks", True, effect="trains on real images too"),
        )
    if config.shuffle_labels and not by_label:
        raise InputError(
            "masks are learnt, and shuffled labels would change nothing",
            LeaveOut("shuffle_labels"),
            Set("supervision", "image", effect="learns from labels"),
        )
    size = kept_bytes(model) * config.batch
    notes = [] if size < 1e9 else [Notice(f"a step keeps about {size / 1e9:.1f} GB in memory")]
    if config.reals and not config.takes_reals:
        what = f"real images of {listed(config.reals)} are not trained on, where masks are learnt"
        notes.append(Notice(what, Set("empty_masks", True, effect="trains on them too")))
    if not config.takes_reals:
        notes.append(Notice("it learns on fakes alone: what it finds on real images says little"))
    return notes


def kept_bytes(model: Localizer) -> int:
    """Bytes that a decoder keeps of one image between its forward and its backward pass.

    Nothing is computed: the decoder runs on shapes alone, of one and of two images. 0 where it is
    none that can.
    """
    try:
        decoder = copy.deepcopy(model.decoder).to("meta")
        one, two = (_kept(decoder, model.shapes, rows) for rows in (1, 2))
    except (NotImplementedError, RuntimeError, TypeError):
        return 0
    return two - one


def _kept(decoder: nn.Module, shapes: Shapes, rows: int) -> int:
    """Bytes that autograd keeps of a pass over some rows."""
    inputs = {role: torch.empty((rows, *shape), device="meta") for role, shape in shapes.items()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[id(tensor)] = tensor  # held, so that its id stays its own
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = decoder(inputs)
    del maps
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())


def _detector_notices(detector: Detector, config: TrainConfig) -> list[Notice]:
    chosen = config.detector
    fusion, classifier = part_name(chosen.fusion), part_name(chosen.classifier)
    if config.select == "iou":
        raise InputError("IoU is of a decoder's map", Set("select", "auc"))
    if config.slerp and not detector.classifier.normalizes:
        raise InputError(
            f"slerp trains on directions alone, and {classifier} would be tested on lengths too",
            Set("classifier.normalize", True, effect="brings vectors to unit length"),
            Name("another classifier", "classifier"),
            LeaveOut("slerp"),
        )
    notes = []
    fitted = detector.classifier.is_fitted
    if isinstance(detector.fusion, TowerFusion):
        if fitted or config.scope != "full":
            why = f"{classifier} takes no steps" if fitted else "the prompts alone learn"
            raise InputError(f"{why}, and no tower is tuned then", LeaveOut("tune"))
        moves = sum(one.numel() for one in detector.fusion.tower.parameters() if one.requires_grad)
        told = f"{part_name(chosen.tune)} moves {detector.fusion.told}"
        notes.append(Notice(f"{told}: {counted(moves, 'parameter')} of the image tower"))
    if config.augment:
        find_recipe(config.augment)  # before anything is read
        if "pixels" not in detector.roles:
            raise InputError(
                f"{chosen.way} begins with what its first blocks made once, and augment draws "
                "views of pixels",
                LeaveOut("augment"),
            )
        if {"lare"} & set(detector.roles):
            what = f"augment {part_name(config.augment)} changes what the tower sees; LaRE stays"
            notes.append(Notice(f"{what} that of the image as it is stored"))
    learning = {} if fitted else detector.parameters_to_train(config.scope)
    losses = [name for name in ("alignment", "uniformity") if getattr(config, name)]
    if losses and not any(name.startswith("fusion.") for name in learning):
        what = f"{' and '.join(losses)} change nothing here: vectors of {fusion} don't learn"
        notes.append(Notice(what))
    if fitted and config.init_from is None and any(True for _ in detector.fusion.parameters()):
        notes.append(
            Notice(
                f"{classifier} learns nothing, and {fusion} keeps its random start",
                Name("a run whose fusion was trained", "init_from"),
            )
        )
    return notes


def _choice(config: TrainConfig) -> object:
    """Equal for configurations that read the same fingerprints of a store."""
    named = repr((sorted(config.features.items()), config.extracted))
    return named, all_fields(config), text_beside(config), repr(tower_fields(config.detector))


def _record(
    store: FeatureStore,
    config: TrainConfig,
    chosen: Chosen,
    detector: Model,
    rows: Mapping[str, Rows],
    counts: Mapping[str, Mapping[str, int]],
) -> RunRecord:
    own = tower_fields(config.detector).values()
    read, sources = chosen.read_by([*all_fields(config), *own], text=needs_text(config.detector))
    tower = tower_key(chosen, config) if own else ""
    return RunRecord(
        config=config,
        store=str(store.path),
        subsets=subsets_of(store, config),
        fingerprints=read,
        extractors={name: extractor_record(store, key) for name, key in read.items()},
        sources=sources,
        face_crops=_told(rows["train"], "face_crop"),
        face_detectors=_told(rows["train"], "face_detector"),
        rows=counts,
        fakes=tuple(sorted(name for name, label in _parts(rows["train"]) if label)),
        lacking=_lacking(config, list(rows.values())),
        versions={
            "clare": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
        code={
            name: file_sha256(Path(name))
            for name in config.detector.parts.values()
            if is_path(name)
        },
        masks=_masks(
            row for split, some in rows.items() if config.needs_masks(split) for row in some
        ),
        tower=next((name for name, key in read.items() if key == tower), ""),
    )


def _lacking(config: TrainConfig, splits: Sequence[Rows]) -> tuple[str, ...]:
    """Subsets of a protocol that a run goes without, in one of the splits at least."""
    if config.protocol is None:
        return ()
    named = [*((name, 1) for name in config.train), *((name, 0) for name in config.pools)]
    there = list(map(_parts, splits))
    return tuple(name for name, label in named if not all((name, label) in one for one in there))


def _parts(rows: Rows) -> set[tuple[str, int]]:
    """The subsets and labels that there are."""
    return set(zip(rows.column("subset").tolist(), rows.column("label").tolist(), strict=True))


def _told(rows: Rows, column: str) -> tuple[str, ...]:
    """What rows say in a column, each once."""
    return tuple(sorted(set(rows.column(column).tolist()) - {None, ""}))


def _masks(rows: Iterable[Row]) -> str:
    """One sha256 over the masks of rows, whatever their order."""
    lines = sorted(f"{row.sample_id}\t{row.mask}" for row in rows)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()
