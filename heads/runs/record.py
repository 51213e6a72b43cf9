"""The files in a run's folder, and what they hold: the one place that reads and writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from clare.advice import Run as Operation
from clare.bootstrap import Figure
from clare.errors import CorruptStoreError, InputError, StoreError
from clare.files import PARTIAL
from clare.foreign import read_table
from clare.groups import Kind
from clare.heads.config import RUN_RECORD, TrainConfig
from clare.heads.data.leakage import Seen
from clare.heads.published import ImportRecord
from clare.models.weights import DETECTOR, TRAINED_ON
from clare.own_csv import csv_text
from clare.store.feature_store import FeatureStore
from clare.store.spec import Fingerprint
from clare.typed_json import read_json, write_json
from clare.wording import listed

CONFIG = RUN_RECORD
SEEN = TRAINED_ON
LOG = "run.log"
HISTORY = "history.csv"
CURVES = "curves.png"
BEST = DETECTOR
LAST = "last.safetensors"
VAL_METRICS = "val_metrics.json"
VAL_PREDICTIONS = "val_predictions.csv"
CALIBRATION_PREDICTIONS = "calibration_predictions.csv"
"""Scores of the rows of validation that chose nothing, where some were kept apart."""

CARRIED = "tower"
"""Folder of the tower that an imported head brought along."""

ORIGIN = "origin.json"
"""The asset that says where an extractor's weights came from."""

Epoch = dict[str, float]
"""One line of the history."""


@dataclass(frozen=True)
class ExtractorRecord:
    """An extractor that a run reads, from which it can be built again without the store.

    Args:
        fingerprint: everything that decides its values.
        origin: where its weights came from.
    """

    fingerprint: Fingerprint
    origin: Mapping[str, Any]


def extractor_record(store: FeatureStore, key: str) -> ExtractorRecord:
    """The record of an extractor that a store has.

    Args:
        store: the store.
        key: ``<extractor>-<digest>``.

    Raises:
        StoreError: the store lacks it, or a file of it is damaged.
    """
    fingerprint, _ = store.extractor(key)
    try:
        origin = read_json(store.asset(key, ORIGIN), dict[str, Any])
    except CorruptStoreError:
        raise
    except StoreError:  # extractors without models have no weights to come from anywhere
        origin = {}
    return ExtractorRecord(fingerprint, origin)


@dataclass(frozen=True)
class ParentRecord:
    """The run that another began from.

    Args:
        run: its folder.
        sha256: of its detector.
        subsets: what it, and all runs before it, were trained on, pools of reals included.
        fakes: the subsets of their fakes.
        imported: the published checkpoint that it was, or that the runs before it began from.
    """

    run: str
    sha256: str
    subsets: tuple[str, ...]
    fakes: tuple[str, ...]
    imported: ImportRecord | None = None


@dataclass(frozen=True)
class RunRecord:
    """What a run's ``config.json`` holds.

    Args:
        config: the run's configuration.
        store: where the store stood.
        subsets: the subsets that it was trained on, pools of reals included.
        fingerprints: the extractors that it reads, as ``<extractor>-<digest>`` by name; with that
            of the text tower, if it has one. The name is the extractor's; where it reads two
            fingerprints of one extractor the second is ``clip_2``, and so on.
        extractors: the same extractors.
        face_crops: how the training rows' faces were cropped, as their manifests say.
        rows: rows by split and label.
        versions: of clare, Python and torch.
        parent: the run that it began from.
        fakes: the subsets that its fakes are of.
        command: that made it, word by word; empty where it was no command, or is not known.
        lacking: subsets of its protocol that had no rows to train on.
        code: the files that its parts were in, where they were files, to their sha256.
        masks: sha256 over the masks that it was trained on; empty where it was on none.
        sources: the name of the fingerprint by field, of extractors with several.
        imported: the published checkpoint that it is, where it was not trained here.
        face_detectors: that found the faces of the training rows, as their manifests say.
        tower: which of the extractors read the image tower that was tuned; empty where none was.
    """

    config: TrainConfig
    store: str
    subsets: tuple[str, ...]
    fingerprints: Mapping[str, str]
    extractors: Mapping[str, ExtractorRecord]
    face_crops: tuple[str, ...]
    rows: Mapping[str, Mapping[str, int]]
    versions: Mapping[str, str]
    parent: ParentRecord | None = None
    fakes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    masks: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    imported: ImportRecord | None = None
    face_detectors: tuple[str, ...] = ()
    tower: str = ""

    @property
    def remainder(self) -> str:
        """What of its protocol it was not trained on, as a sentence; empty where nothing."""
        if not self.lacking:
            return ""
        return (
            f"trained on a part of protocol {self.config.protocol}, without {listed(self.lacking)}"
        )

    @property
    def published(self) -> ImportRecord | None:
        """The published checkpoint that it is, or that it and the runs before it began from."""
        return self.imported or (self.parent.imported if self.parent else None)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What stands beside the figures and verdicts of published weights and their heirs."""
        if (origin := self.published) is None:
            return ()
        about = origin.about
        told = (
            f"published weights of {about.title}, licence {about.licence}, trained on "
            f"{about.trained_on}, of which no list is at hand: no leak of these images into their "
            "training can be found"
        )
        if self.imported is not None:
            return (told, *origin.remarks)
        return (f"it began from {told}", *(f"of those weights: {one}" for one in origin.remarks))

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The subsets of its fakes, and of the runs before it."""
        return tuple(dict.fromkeys([*self.fakes, *(self.parent.fakes if self.parent else ())]))

    @property
    def all_subsets(self) -> tuple[str, ...]:
        """What it, and the runs before it, were trained on, pools of reals included."""
        return tuple(dict.fromkeys([*self.subsets, *(self.parent.subsets if self.parent else ())]))

    @property
    def cropping(self) -> str:
        """How the faces that it learned from were cut out, in words; empty where nothing says it.

        First as their files came, then what was done to them.
        """
        images = [made.fingerprint.settings.get("images", {}) for made in self.extractors.values()]
        points = f", points by {listed(self.face_detectors)}" if self.face_detectors else ""
        cuts = [cut + (points if "aligned" in cut else "") for one in images for cut in _cuts(one)]
        return "; ".join([*self.face_crops, *dict.fromkeys(cuts)])

    @property
    def reals(self) -> tuple[str, ...]:
        """The subsets whose real rows joined, if any."""
        return tuple(name for name in self.config.reals if name not in self.lacking)

    @property
    def digests(self) -> dict[str, str]:
        """The fingerprints' digests by extractor or field, as a `FeatureDataset` takes them."""
        named = {name: key.rpartition("-")[2] for name, key in self.fingerprints.items()}
        return named | {field: named[name] for field, name in self.sources.items()}

    def digest_of(self, field: str, extractor: str) -> str | None:
        """The digest whose values of a field go with what it reads; None where it reads none."""
        return self.digests.get(field, self.digests.get(extractor))


def _cuts(images: Mapping[str, Any]) -> Iterator[str]:
    """How settings of images cut faces out, in words."""
    if images.get("align", "none") != "none":
        yield f"aligned as {images['align']}, {images['align_side']} px"
    crop = images.get("crop", "none")
    if crop == "boxes":
        yield f"the face's box, grown by {images['margin']:g} of its sides"
    elif crop == "centre":
        side = images.get("crop_side")
        yield f"the middle square, {side} px" if side else "the middle square"


@dataclass(frozen=True)
class Validation:
    """What a finished run's ``val_metrics.json`` holds.

    Args:
        epoch: whose parameters were kept.
        threshold: the margin from which on a row is called fake.
        metrics: figures of the rows that epoch and threshold were chosen on.
        sha256: of the detector's file; empty where it was not recorded.
        imported: whether the threshold is its authors', and nothing was measured here.
    """

    epoch: int
    threshold: float
    metrics: Mapping[str, Figure]
    sha256: str = ""
    imported: bool = False

    @property
    def auc(self) -> Figure:
        """The area under the ROC curve; there is none of a localiser that saw no real images."""
        return self.metrics.get("auc", Figure(None, None, None, 0))

    @property
    def chosen_threshold(self) -> float | None:
        """The threshold; None where validation had no real images to choose it on."""
        return self.threshold if self.imported or self.auc.value is not None else None

    @property
    def threshold_source(self) -> str:
        """Where the threshold comes from, in words."""
        return "as published" if self.imported else "chosen on validation"

    @property
    def chief(self) -> tuple[str, Figure]:
        """The figure that says most, and its name: a localiser's IoU, else the AUC."""
        return ("IoU", self.metrics["iou"]) if "iou" in self.metrics else ("AUC", self.auc)


@dataclass(frozen=True)
class Checkpoint:
    """What ``last.safetensors`` keeps beside its tensors, so that a run can go on after a kill.

    Args:
        history: one record an epoch.
        best_epoch: the epoch whose parameters are the best so far; 0 before any.
        steps: optimiser steps so far.
    """

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    steps: int = 0


def require_run(run: Path) -> None:
    """Refuse a place that holds no run.

    Raises:
        InputError: it holds none.
    """
    if not run.is_dir():
        raise InputError(f"there is no run at {run}", Operation("train_head", effect="makes one"))
    if not (run / CONFIG).is_file():
        below = sorted(path.name for path in run.iterdir() if is_run(path))
        if below:
            some = listed(below) if len(below) < 4 else f"{len(below)} runs, {below[0]} the first"
            raise InputError(f"{run} is no run, but holds {some}: name a run")
        raise InputError(f"{run} is no run: {CONFIG} is missing")


def read_record(run: Path) -> RunRecord:
    """The record of a run.

    Raises:
        InputError: the folder is not a run, or its record is damaged.
    """
    require_run(run)
    return read_json(run / CONFIG, RunRecord)


def write_record(run: Path, record: RunRecord) -> None:
    """Write the record of a run, durably."""
    write_json(run / CONFIG, record)


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return (path / CONFIG).is_file()


def tower_folder(run: Path) -> Path:
    """Where the tower is that a run, or one that it began from, brought along; it may be gone.

    Raises:
        InputError: the record of one of them is damaged.
    """
    own = run / CARRIED
    parent = read_record(run).parent if is_run(run) and not own.is_dir() else None
    return own if parent is None else tower_folder(Path(parent.run))


def is_finished(run: Path) -> bool:
    """Whether a folder holds a finished run."""
    return (run / VAL_METRICS).is_file()


def read_validation(run: Path) -> Validation:
    """A finished run's figures on validation.

    Raises:
        InputError: the run is not finished, or the file is damaged.
    """
    if not is_finished(run):
        raise InputError(
            f"{run} is not finished",
            Operation("train_head", settings={"resume": run}, effect="goes on with it"),
        )
    found = read_json(run / VAL_METRICS, Validation)
    if not found.imported and not {"auc", "iou"} & set(found.metrics):
        raise InputError(f"{run / VAL_METRICS} is damaged: it has neither AUC nor IoU")
    return found


def write_validation(run: Path, validation: Validation) -> None:
    """Close a run with its figures on validation, durably."""
    write_json(run / VAL_METRICS, validation)


def read_seen(run: Path) -> Seen:
    """What a run, and those that it began from, were trained and chosen on.

    Raises:
        InputError: the file is missing or damaged, or names nothing: every row would pass for one
            that the run has not seen.
    """
    seen = read_json(run / SEEN, Seen)
    strange = {*seen.trained, *seen.chosen} - {*get_args(Kind)}
    if strange or not (seen.unknown or any(seen.trained.values())):
        what = f"has {listed(sorted(strange))}" if strange else "names nothing that was trained on"
        raise InputError(f"{run / SEEN} is damaged: it {what}", "train again")
    return seen


def write_seen(run: Path, seen: Seen) -> None:
    """Write what a run sees."""
    write_json(run / SEEN, seen, indent=None)


def read_history(run: Path) -> list[Epoch]:
    """A record an epoch; none where the run has no history.

    Raises:
        InputError: the file is damaged.
    """
    path = run / HISTORY
    if not path.is_file():
        return []
    try:
        return [{name: float(cell) for name, cell in line.items()} for line in read_table(path)]
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} can't be read: {error}") from error


def write_history(run: Path, history: Sequence[Epoch]) -> None:
    """Write a record an epoch, all with the same names."""
    names = list(history[0])
    text = csv_text([names, *([epoch[name] for name in names] for epoch in history)])
    # It can be made again, so it need not survive a power loss, which costs time in every epoch.
    temporary = run / f"{HISTORY}{PARTIAL}"
    temporary.write_text(text, "utf-8")
    temporary.replace(run / HISTORY)
