"""What a run takes over from the one that it begins from: parameters, and what they saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clare.advice import Name, Run, Set
from clare.errors import InputError
from clare.heads.config import DetectorConfig
from clare.heads.data.leakage import Seen, refuse_trained_on
from clare.heads.layers.standardization import Standardization
from clare.heads.model import Model, running_statistics
from clare.heads.runs.record import (
    BEST,
    CONFIG,
    LAST,
    ParentRecord,
    is_finished,
    read_record,
    read_seen,
)
from clare.models.hub import file_sha256
from clare.models.tuned import IN_DETECTOR, find_tuning
from clare.models.weights import read_tensors, require_fit
from clare.plugins import part_name
from clare.settings import build_settings
from clare.store.row import Row


@dataclass(frozen=True)
class Parent:
    """A run that another begins from.

    Args:
        name: its folder, as it was given.
        record: what the other's record keeps of it.
        values: parameters, by name.
        seen: of it and of all runs before it.
        note: whether the user is told what is taken over.
        tower: sha256 of the weights that its tower came with, where that was tuned.
        detector: its parts; None of a run that goes on from its own files.
    """

    name: str
    record: ParentRecord | None
    values: Mapping[str, torch.Tensor]
    seen: Seen
    note: bool = True
    tower: str = ""
    detector: DetectorConfig | None = None

    def refuse_trained_on(self, rows: Sequence[Row]) -> None:
        """Refuse rows of validation that the parent was trained on.

        Raises:
            InputError: there are some; the message names the first few.
        """
        cure = Name("a run whose manifests have the same splits", "init_from")
        refuse_trained_on(self.seen, f"{self.name}, or by a run before it", rows, cure)

    def give(self, detector: Model) -> str:
        """Copy the parameters of the same name and shape; a sentence that says how many.

        Raises:
            InputError: none fits, or it tuned its tower otherwise than the detector does.
        """
        own = {**dict(detector.named_parameters()), **running_statistics(detector)}
        own = {name: value for name, value in own.items() if name not in detector.still}
        values = {_plain_name(name): value for name, value in self.values.items()}
        self._require_same_tower(detector)
        self._require_same_way(detector.config)
        fitting = {
            name: values[plain]
            for name, value in own.items()
            if (plain := _plain_name(name)) in values and values[plain].shape == value.shape
        }
        if not fitting:
            raise InputError(f"{self.name} has no parameter that fits this detector")
        with torch.no_grad():
            for name, value in fitting.items():
                own[name].copy_(value)
        taken, total = (sum(v.numel() for v in each.values()) for each in (fitting, own))
        others = own.keys() - fitting.keys()
        tower = any(name.startswith(IN_DETECTOR) for name in others)
        rest = "; its tower starts as if nothing was taken over" if tower else ""
        head = any(not name.startswith(IN_DETECTOR) for name in others)
        rest += "; the others of its head start at random" if head else ""
        left = any(n.startswith(IN_DETECTOR) for n in self.values) and not detector.still
        behind = "; its tower was tuned and stays behind" if left else ""
        return f"begins with {taken:,} of {total:,} parameters from {self.name}{rest}{behind}"

    def _require_same_tower(self, detector: Model) -> None:
        """Refuse what moved of another tower than the one that goes on moving.

        Raises:
            InputError: the parent began with other weights.
        """
        base = getattr(detector, "base", None)
        if base is not None and self.tower and base.fingerprint.weights != self.tower:
            raise InputError(
                f"{self.name} tuned a tower of other weights (sha256 {self.tower[:12]}…) than this "
                f"run does ({base.fingerprint.weights[:12]}…)",
                Name("another run", "init_from"),
            )

    def _require_same_way(self, child: DetectorConfig) -> None:
        """Refuse what moved in another way of tuning: a part of it alone would be taken.

        Raises:
            InputError: the parent's way, or a setting of it, is another.
        """
        parent = self.detector
        if parent is None or not (parent.is_tuned and child.is_tuned):
            return
        told = [f"{one.way} {dict(_settings(one))}" for one in (parent, child)]
        if parent.tune != child.tune or _settings(parent) != _settings(child):
            raise InputError(
                f"{self.name} tuned its tower by {told[0]}, and this run does by {told[1]}",
                Name("a run that tuned it as this one does", "init_from"),
                Set("tune", parent.way, effect="goes on as it did"),
            )


def _settings(config: DetectorConfig) -> Mapping[str, Any]:
    """All settings of a way of tuning, by name."""
    settings = find_tuning(config.tune).Settings
    return asdict(build_settings(part_name(config.tune), settings, config.tune_settings))


def open_parent(init_from: str, folder: Path) -> Parent:
    """The run that another begins from.

    Args:
        init_from: its folder.
        folder: of the run that begins. One that is gone on with has in its own files what it took
            over, so that its parent may be gone.

    Raises:
        InputError: the parent is no finished run, or a file is damaged.
    """
    begun = read_record(folder).parent if (folder / CONFIG).is_file() else None
    if (folder / LAST).is_file():
        values, _ = _read_values(folder / BEST)
        return Parent(init_from, begun, values, read_seen(folder), note=False)
    path = Path(begun.run if begun else init_from).absolute()
    if not (is_finished(path) and (path / BEST).is_file()):
        raise InputError(
            f"{init_from} is no finished run to begin with",
            Run("train_head", effect="makes one"),
            Name("another", "init_from"),
        )
    values, digest = _read_values(path / BEST)
    before = read_record(path)
    record = ParentRecord(
        str(path), digest, before.all_subsets, before.trained_on, before.published
    )
    tower = before.extractors[before.tower].fingerprint.weights if before.tower else ""
    return Parent(
        init_from, record, values, read_seen(path), tower=tower, detector=before.config.detector
    )


def take_channels(detector: Model, path: Path) -> None:
    """Take over the mean and deviation of channels, as a saved detector has them.

    Args:
        detector: that goes on.
        path: the file that the same run kept.

    Raises:
        InputError: the file is damaged, or of another detector.
    """
    own = {
        f"{place}.{name}": value
        for place, one in detector.named_modules()
        if isinstance(one, Standardization)
        for name, value in one.named_buffers()
    }
    if own:
        saved = read_tensors(path)
        require_fit(own, {name: saved[name] for name in own if name in saved}, path, "run")
        for name, value in own.items():
            value.copy_(saved[name])


def _plain_name(name: str) -> str:
    """A parameter's name, the same whether its fusion stands over a tower or over cached fields."""
    return name.replace("fusion.inner.", "fusion.", 1)


def _read_values(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    return read_tensors(path), file_sha256(path)
