"""A run's folder: what is in it, and opening the detector that it holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clare.errors import InputError, StoreError
from clare.heads.config import TrainConfig, create_config
from clare.heads.data.leakage import Seen
from clare.heads.detector import Detector, load_detector, needs_text, read_detector_config
from clare.heads.text.tower import TextTower
from clare.store.feature_store import FeatureStore, open_store
from clare.wording import listed

CONFIG = "config.json"
SEEN = "seen.json"
LOG = "run.log"
HISTORY = "history.csv"
CURVES = "curves.png"
BEST = "best.safetensors"
LAST = "last.safetensors"
VAL_METRICS = "val_metrics.json"
VAL_PREDICTIONS = "val_predictions.csv"

TEXT_TOWER = "text_tower.safetensors"
"""The asset of a clip extractor that holds its text side."""


@dataclass(frozen=True)
class RunRecord:
    """What a run's ``config.json`` holds.

    Args:
        config: the run's configuration.
        store: where the store stood.
        subsets: the subsets that it was trained on, pools of reals included.
        fingerprints: the extractors that it reads, as ``<extractor>-<digest>`` by extractor; with
            that of the text tower, if it has one.
        extractors: by extractor its ``fingerprint`` and the ``origin`` of its weights, from which
            it can be built again without the store.
        face_crops: how the training rows' faces were cropped, as their manifests say.
        rows: rows by split and label.
        versions: of clare, Python and torch.
        parent: the run that it began from, ``run`` (its folder) and ``sha256`` (of its detector);
            ``subsets`` and ``fakes``, what it and all runs before it were trained on.
        fakes: the subsets that its fakes are of; empty in older runs.
    """

    config: TrainConfig
    store: str
    subsets: tuple[str, ...]
    fingerprints: Mapping[str, str]
    extractors: Mapping[str, Mapping[str, Any]]
    face_crops: tuple[str, ...]
    rows: Mapping[str, Mapping[str, int]]
    versions: Mapping[str, str]
    parent: Mapping[str, Any] | None = None
    fakes: tuple[str, ...] = ()

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The subsets of its fakes, and of the runs before it.

        Older runs know only which pools were named.
        """
        named = tuple(name for name in self.subsets if name not in self.reals)
        return self._with_parent("fakes", self.fakes or named or self.subsets)

    @property
    def all_subsets(self) -> tuple[str, ...]:
        """What it, and the runs before it, were trained on, pools of reals included."""
        return self._with_parent("subsets", self.subsets)

    @property
    def reals(self) -> tuple[str, ...]:
        """The subsets whose real rows joined, if any."""
        return self.config.reals

    @property
    def digests(self) -> dict[str, str]:
        """The fingerprints' digests by extractor, as a `FeatureDataset` takes them."""
        return {name: key.rpartition("-")[2] for name, key in self.fingerprints.items()}

    def _with_parent(self, key: str, own: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*own, *(self.parent or {}).get(key, ())]))

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON."""
        return {**vars(self), "config": self.config.to_json()}

    @classmethod
    def read(cls, run: Path) -> RunRecord:
        """The record of a run's folder.

        Raises:
            InputError: the folder is not a run.
        """
        found = _read_json(run / CONFIG)
        found.pop("reals", None)  # its configuration says it; older runs have it here too
        try:
            values = {
                **found,
                "config": create_config(found["config"]),
                "subsets": tuple(found["subsets"]),
                "face_crops": tuple(found["face_crops"]),
                "fakes": tuple(found.get("fakes", ())),
            }
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise InputError(f"{run / CONFIG} is not the record of a run: {error}") from error


@dataclass(frozen=True)
class Run:
    """A finished run, ready to score.

    Args:
        path: its folder.
        record: its configuration and what it was trained on.
        detector: in evaluation mode, on the CPU.
        threshold: the margin from which on a row is called fake, chosen on validation.
        seen: what it, and the runs that it began from, were trained and chosen on.
    """

    path: Path
    record: RunRecord
    detector: Detector
    threshold: float
    seen: Seen


def open_run(
    path: Path | str, store: FeatureStore | Path | None = None, text: TextTower | None = None
) -> Run:
    """Open a finished run.

    Args:
        path: the run's folder.
        store: where its text tower is looked for; the store that it was trained on if left out.
        text: its text tower, where that is loaded already.

    Raises:
        InputError: the folder is not a finished run, or a file in it is damaged.
        StoreError: the text tower is needed and its store is not there.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"there is no run at {folder}; `clare train-head` makes one")
    record = RunRecord.read(folder)
    threshold = float(read_validation(folder)["threshold"])
    if text is None and needs_text(read_detector_config(folder / BEST)):
        source = store or open_own_store(folder, record)
        text = load_text_tower(source, record.fingerprints.get("clip", ""))
    return Run(
        path=folder,
        record=record,
        detector=load_detector(folder / BEST, text),
        threshold=threshold,
        seen=read_seen(folder / SEEN),
    )


def open_own_store(folder: Path, record: RunRecord) -> FeatureStore:
    """The store that a run was trained on.

    Raises:
        StoreError: it is not where it was.
    """
    if not Path(record.store).is_dir():
        raise StoreError(
            f"The store of {folder} is not at {record.store} any more; name it with --store."
        )
    return open_store(record.store)


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a finished run."""
    return (folder / VAL_METRICS).is_file()


def read_validation(folder: Path) -> dict[str, Any]:
    """What a finished run's ``val_metrics.json`` holds: ``epoch``, ``threshold``, ``metrics``.

    Raises:
        InputError: the run is not finished, or the file is damaged.
    """
    if not is_finished(folder):
        raise InputError(
            f"{folder} is not finished: go on with `clare train-head --resume {folder}`"
        )
    path = folder / VAL_METRICS
    found = _read_json(path)
    metrics = found.get("metrics")
    usable = {
        "epoch": is_number(found.get("epoch")),
        "threshold": is_number(found.get("threshold")),
        "metrics": isinstance(metrics, dict)
        and "auc" in metrics
        and all(map(_is_figure, metrics.values())),
    }
    if not all(usable.values()):
        wrong = listed(name for name, good in usable.items() if not good)
        raise InputError(f"{path} is damaged: there is no {wrong} in it that can be used")
    return found


def read_seen(path: Path) -> Seen:
    """What a run's ``seen.json`` holds.

    Raises:
        InputError: it is missing or damaged.
    """
    found = _read_json(path)
    try:
        return Seen.from_json(found)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from error


def load_text_tower(store: FeatureStore | Path, key: str) -> TextTower:
    """The text tower that a clip extractor wrote.

    Args:
        store: a store that has features of this extractor.
        key: ``clip-<digest>``.

    Raises:
        InputError: the tower is of a kind that can't be run.
        StoreError: the store is not there, or has no such tower.
    """
    opened = store if isinstance(store, FeatureStore) else open_store(store)
    if key not in opened.extractor_keys():
        raise StoreError(
            f"The text tower of {key or 'clip'} is not in {opened.path}; "
            "name the store that holds it with --store."
        )
    return TextTower.load(opened.asset(key, TEXT_TOWER))


def is_number(found: Any) -> bool:
    """Whether a value of a file is a finite number."""
    return isinstance(found, int | float) and math.isfinite(found)


def _is_figure(found: Any) -> bool:
    names = ("value", "low", "high", "n")
    return isinstance(found, dict) and all(
        name in found and (found[name] is None or is_number(found[name])) for name in names
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent} is no run: {path.name} is missing") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} can't be read: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: it holds no table")
    return found
