"""What an evaluation leaves in a run's folder: the one place that reads and writes it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from clare.advice import Notice, Run
from clare.bootstrap import Figure, Figures
from clare.errors import InputError
from clare.files import PARTIAL
from clare.heads.evaluation.conformal import ConformalRecord
from clare.heads.evaluation.mask_results import MaskResults
from clare.heads.evaluation.newer import Newer
from clare.heads.evaluation.pairs import PairFigures
from clare.heads.evaluation.variant_results import VariantFigures
from clare.heads.metrics.by_subset import FiguresBySubset, Levels
from clare.heads.metrics.predictions import Predictions
from clare.typed_json import read_json

METRICS = "test_metrics.json"
PREDICTIONS = "test_predictions.csv"
ROC = "roc_curve.png"
SCORES = "scores.png"
PARQUET = "test_predictions.parquet"
"""The predictions once more, where that was asked for."""
VARIANTS = "test_variants.csv"
"""The figures of deliveries, where they were asked for."""
FILES = (METRICS, PREDICTIONS, PARQUET, VARIANTS, ROC, SCORES)
EARLIER = "evaluations"
"""Folder of a run's evaluations before its last, each in a folder of its own name."""

CONTROL = "control: labels shuffled"
"""What marks a run that was trained on shuffled labels; its figures have to say nothing."""

_LONGEST = 60  # characters of what an evaluation is called


Beaten = Literal["unknown", "no", "not clearly", "yes"]
"""Whether a detector beats a baseline, the least first."""


@dataclass(frozen=True)
class Baselines:
    """What needs no training and tells fakes of the test rows, which a detector must beat.

    Of a localiser, as `EvaluationRecord.mask_baselines` has them, the figure is the IoU.

    Args:
        pixels_from: where pixels were read: ``pixels`` or ``thumbnails``; None where nowhere.
        subsets: the AUC of each baseline by subset; None where it is not known of both labels.
        ahead: the detector's AUC less that of each baseline, on the same rows, with paired
            intervals; empty in records of earlier versions.
    """

    pixels_from: str | None
    subsets: Mapping[str, Mapping[str, Figure | None]]
    ahead: Mapping[str, Mapping[str, Figure | None]] = field(default_factory=dict)

    def known(self, subset: str) -> dict[str, float]:
        """The figure of each baseline that has one on a subset."""
        found = self.subsets.get(subset, {})
        return {n: f.value for n, f in found.items() if f is not None and f.value is not None}

    def lead(self, subset: str, name: str) -> Figure | None:
        """How far the detector is above a baseline; None where that was not measured."""
        return self.ahead.get(subset, {}).get(name)

    def verdict(self, subset: str, name: str) -> Beaten:
        """Whether the detector beats a baseline: ``yes`` if the lead's interval is above 0."""
        lead = self.lead(subset, name)
        if lead is None or lead.value is None:
            return "unknown"
        if lead.value <= 0:
            return "no"
        return "yes" if lead.low is not None and lead.low > 0 else "not clearly"

    def measured(self, subset: str) -> int:
        """How many baselines a detector's lead was measured over, which is all it can beat."""
        found = (self.lead(subset, name) for name in self.known(subset))
        return sum(lead is not None and lead.value is not None for lead in found)

    def hardest(self, subset: str) -> str | None:
        """The baseline that is beaten least clearly, of several that of the highest figure.

        None where there is no baseline. It is chosen on the test rows themselves, which favours
        the baselines and never the detector.
        """
        known, order = self.known(subset), get_args(Beaten)
        ranks = {
            name: (order.index(self.verdict(subset, name)), -value) for name, value in known.items()
        }
        return min(ranks, key=ranks.__getitem__) if ranks else None


@dataclass(frozen=True)
class BesidePublished:
    """Figures of a subset beside published ones.

    Args:
        ours: average precision, accuracy, and the oracle's accuracy, which is the published kind.
        published: by system ``ap`` and ``accuracy``.
    """

    ours: Figures
    published: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Against:
    """A published table, and the subsets that it has figures of.

    Args:
        table: its name.
        subsets: by name; empty where it has figures of none.
    """

    table: str
    subsets: Mapping[str, BesidePublished]


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord(FiguresBySubset):
    """What ``test_metrics.json`` holds: figures by subset, and of what they are.

    Args:
        run: name of the run's folder.
        trained_on: the subsets of its fakes.
        control: what makes the run a control, or None.
        store: that the rows are of.
        split: of the rows; of a protocol's sets maybe several, with commas.
        protocol: that chose the rows, or None.
        domains: of the rows; empty where all.
        frames: of each video at most; None where all.
        sampling: which frames.
        reals: the groups whose reals stand beside others.
        skipped: rows without features, by group.
        absent: by set of the protocol that was not tested, why.
        notes: sentences on what may surprise.
        baselines: what must be beaten, where that was asked for.
        masks: how well fake pixels were found; of localisers alone.
        against: published figures, where they were asked for.
        pairs: figures of pairs, by subset that has some.
        variants: figures of deliveries, by subset that has some, where they were asked for.
        conformal: sets of labels, calibrated on validation; None of runs without scores of it.
        abstention: accuracy where only the surest rows are judged, by subset; empty without a
            threshold.
        newer: figures on images that are newer than what the run's towers can have seen; None where
            it reads none, and in records of earlier versions.
        command: that made it, word by word; empty where it was no command, or is not known.
        commands_before: those of the same test before it, whose figures it kept.
    """

    run: str
    trained_on: tuple[str, ...]
    control: str | None
    store: str
    split: str
    protocol: str | None
    domains: tuple[str, ...]
    frames: int | None
    sampling: str
    reals: tuple[str, ...]
    skipped: Mapping[str, int]
    absent: Mapping[str, str]
    notes: tuple[str, ...]
    baselines: Baselines | None = None
    masks: MaskResults | None = None
    against: Against | None = None
    pairs: Mapping[str, PairFigures] = field(default_factory=dict)
    variants: Mapping[str, VariantFigures] = field(default_factory=dict)
    conformal: ConformalRecord | None = None
    abstention: Mapping[str, Levels] = field(default_factory=dict)
    newer: Newer | None = None
    command: tuple[str, ...] = ()
    commands_before: tuple[tuple[str, ...], ...] = ()

    @property
    def detects(self) -> bool:
        """Whether a subset has reals beside its fakes, so that there are figures of detection."""
        return any(auc is not None for auc in self.aucs.values())

    def iou(self, subset: str) -> Figure | None:
        """A localiser's mean IoU on a subset; None where no fake of it has a mask."""
        found = None if self.masks is None else self.masks.subsets.get(subset)
        return found.figures.get("iou") if found else None

    @property
    def ious(self) -> dict[str, float | None]:
        """A localiser's mean IoU on each subset of which any fake has a mask."""
        found = {name: self.iou(name) for name in self.subsets}
        return {name: figure.value for name, figure in found.items() if figure is not None}

    @property
    def mask_baselines(self) -> Baselines | None:
        """The IoU of what a localiser must beat, and its leads; None where it was not measured."""
        found = {} if self.masks is None else self.masks.subsets
        beside = {subset: one.baselines for subset, one in found.items() if one.baselines}
        if not beside:
            return None
        return Baselines(
            None,
            {s: {n: one.figures["iou"] for n, one in all_.items()} for s, all_ in beside.items()},
            {s: {n: one.ahead["iou"] for n, one in all_.items()} for s, all_ in beside.items()},
        )

    @property
    def name(self) -> str:
        """What was tested: of two tests with one name the rows were asked for alike.

        What was measured of them beside, as deliveries, is no part of it.
        """
        chosen = [Path(self.protocol).stem] if self.protocol else sorted(self.subsets)
        asked: list[object] = [self.store, self.split, self.protocol, self.frames, self.sampling]
        asked.append(sorted(self.domains))
        if not self.protocol:
            asked += [chosen, sorted(self.reals)]
        text = "+".join(chosen)
        if len(text) > _LONGEST:
            text = f"{len(chosen)}-subsets"
        if self.frames is not None:
            text += f"_{self.sampling}-{self.frames}"
        key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:6]
        return f"{re.sub('[^A-Za-z0-9+_.-]', '-', text)}-{key}"


@dataclass(frozen=True)
class Evaluation:
    """A run that was tested on rows that it has never seen.

    Args:
        path: the run's folder.
        record: its ``test_metrics.json``: figures by subset.
        predictions: its ``test_predictions.csv``: a score a row.
        notices: what may surprise.
    """

    path: Path
    record: EvaluationRecord
    predictions: Predictions
    notices: tuple[Notice, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """What was written."""
        return tuple(file for name in FILES if (file := self.path / name).is_file())


def read_evaluation(run: Path) -> EvaluationRecord:
    """The record of a run's last evaluation.

    Raises:
        InputError: the run was not evaluated, or the file is damaged.
    """
    if not is_evaluated(run):
        raise InputError(f"{run} was not evaluated", Run("evaluate", (run,), effect="does it"))
    return read_json(run / METRICS, EvaluationRecord)


def list_evaluations(run: Path) -> list[Path]:
    """The folders that hold a run's evaluations: its own with the last one, then the earlier.

    Earlier ones that can't be read are left out; see `unreadable_evaluations`.

    Raises:
        InputError: the record of the last one is damaged.
    """
    found = [run] if is_evaluated(run) else []
    last = read_evaluation(run).name if found else None
    damaged = unreadable_evaluations(run)
    return found + [one for one in _earlier(run) if one.name != last and one not in damaged]


def evaluations_by_name(run: Path) -> dict[str, Path]:
    """The folder of each of a run's tests, the last one first; of two of one name the newer.

    Raises:
        InputError: the record of the last one is damaged.
    """
    found: dict[str, Path] = {}
    for folder in list_evaluations(run):
        found.setdefault(read_evaluation(folder).name, folder)
    return found


def unreadable_evaluations(run: Path) -> dict[Path, InputError]:
    """The folders of a run's earlier evaluations that can't be read, and why."""
    found = {}
    for folder in _earlier(run):
        try:
            read_evaluation(folder)
        except InputError as error:
            found[folder] = error
    return found


def _earlier(run: Path) -> list[Path]:
    folders = sorted((run / EARLIER).glob("*"))
    return [one for one in folders if one.suffix != PARTIAL and is_evaluated(one)]


def is_evaluated(run: Path) -> bool:
    """Whether a run's folder holds an evaluation."""
    return (run / METRICS).is_file()
