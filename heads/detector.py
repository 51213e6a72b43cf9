"""A detector: one fusion and one classifier over named fields of a store; saving and loading it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from clare.errors import InputError
from clare.files import write_durably
from clare.foreign import parse_json, reading
from clare.heads import classifiers, fusion
from clare.heads.base import INPUTS, Classifier, Fusion, Inputs, Role, TextTower
from clare.heads.config import DetectorConfig, Scope
from clare.heads.layers.standardization import Moments, Standardization
from clare.models.weights import fill, read_header, read_tensors
from clare.plugins import find_part
from clare.settings import build_settings
from clare.typed_json import from_json, to_json

Specs = Mapping[str, tuple[int, ...]]
"""Shapes of one row of the store's fields."""

_METADATA = "clare_detector"


@dataclass(frozen=True)
class _Saved:
    """What the header of a saved detector holds."""

    config: DetectorConfig
    specs: Specs


def find_fusion(name: str) -> type[Fusion]:
    """A fusion by its name, or by the path of its file.

    Raises:
        InputError: there is no such fusion.
    """
    return find_part(fusion, name, Fusion)  # type: ignore[type-abstract]


def find_classifier(name: str) -> type[Classifier]:
    """A classifier by its name, or by the path of its file.

    Raises:
        InputError: there is no such classifier.
    """
    return find_part(classifiers, name, Classifier)  # type: ignore[type-abstract]


def needs_text(config: DetectorConfig) -> bool:
    """Whether a detector's classifier takes a text tower.

    Raises:
        InputError: there is no such classifier.
    """
    return find_classifier(config.classifier).needs_text


def fields_of(config: DetectorConfig) -> tuple[str, ...]:
    """The stored fields that a detector's fusion reads.

    Raises:
        InputError: there is no such fusion, or a role is unknown.
    """
    return tuple(_fields_by_role(config).values())


class Detector(nn.Module):
    """Rows of a store to two logits, real and fake.

    Args:
        config: its parts and what they read.
        specs: shapes of one row by stored field; may name more fields than are read.
        text: the frozen text tower of the store's CLIP, for classifiers that need one.

    Attributes:
        fields: the stored fields that it reads.
        specs: their shapes.
        fusion: image side.
        classifier: decision side.

    Raises:
        InputError: a part, a setting, a field, a timestep or a number of draws is not usable.
    """

    def __init__(self, config: DetectorConfig, specs: Specs, text: TextTower | None = None) -> None:
        super().__init__()
        fusion_class, decision_class = (
            find_fusion(config.fusion),
            find_classifier(config.classifier),
        )
        self.config = config
        self._field = _fields_by_role(config)
        for role, name in self._field.items():
            _check_field(config.fusion, role, name, specs)
        self.fields = tuple(self._field.values())
        self.specs = {name: tuple(specs[name]) for name in self.fields}
        shapes = {
            role: INPUTS[role].shape(self.specs[name], config.timestep, config.draws)
            for role, name in self._field.items()
        }
        settings = build_settings(config.fusion, fusion_class.Settings, config.fusion_settings)
        self.fusion: Fusion = fusion_class(settings, shapes)
        settings = build_settings(
            config.classifier, decision_class.Settings, config.classifier_settings
        )
        self.classifier: Classifier = decision_class(settings, self.fusion.width, text)
        self.standardizations = nn.ModuleDict(
            {
                role: Standardization(shape[INPUTS[role].channel_axis], INPUTS[role].channel_axis)
                for role, shape in shapes.items()
                if config.standardize and INPUTS[role].standardized
            }
        )

    def inputs(self, batch: Mapping[str, torch.Tensor]) -> Inputs:
        """What the fusion takes, float32, standardised.

        Args:
            batch: (B, *shape) by stored field, as the store's reader gives it, on the detector's
                device.

        Returns:
            By role; of LaRE (B, 4, h, w): one timestep averaged over its draws.
        """
        inputs: dict[Role, torch.Tensor] = {}
        for role in self._field:
            values = self._stored(role, batch)
            standardized = role in self.standardizations
            inputs[role] = self.standardizations[role](values) if standardized else values.float()
        return inputs

    def set_statistics(self, statistics: Mapping[Role, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Take the channels' mean and deviation, (C,) each, by role; others are left alone."""
        for role, standardization in self._standardized().items():
            if role in statistics:
                standardization.set(*statistics[role])

    def fit_statistics(self, batches: Iterable[Mapping[str, torch.Tensor]]) -> None:
        """Measure the channels' mean and deviation over training rows, in one pass.

        Args:
            batches: by stored field, on the detector's device; the class token is not needed.
        """
        standardized = self._standardized()
        moments = {role: Moments(part.axis) for role, part in standardized.items()}
        for batch in batches if moments else ():
            for role, found in moments.items():
                found.add(self._stored(role, batch))
        self.set_statistics({role: (m.mean, m.deviation) for role, m in moments.items()})

    def vectors(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The fused vectors, (B, D), not normalised."""
        fused: torch.Tensor = self.fusion(self.inputs(batch))
        return fused

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logits (B, 2), label 0 real and 1 fake; the batch is that of `inputs`."""
        logits: torch.Tensor = self.classifier(self.vectors(batch))
        return logits

    def margins(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logit of fake less logit of real, (B,) float64; its sigmoid is p(fake)."""
        logits = self(batch).double()
        return logits[:, 1] - logits[:, 0]

    def attention(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """Where the fusion looks: (B, P), each row summing to one; None if it has no attention."""
        return self.fusion.attention(self.inputs(batch))

    def parameters_to_train(self, scope: Scope = "full") -> dict[str, nn.Parameter]:
        """The parameters that learn, by their name in the detector.

        Raises:
            InputError: the prompts alone shall learn and the classifier has none.
        """
        if scope == "as-published" and not self.classifier.has_prompts:
            raise InputError(
                f"classifier {self.config.classifier} has no prompts, which are all that learns "
                "as published; train it in full, or take coop or cocoop"
            )
        prefix = "" if scope == "full" else "classifier.prompts."
        return {
            name: parameter
            for name, parameter in self.named_parameters()
            if parameter.requires_grad and name.startswith(prefix)
        }

    def _stored(self, role: Role, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        stored = batch[self._field[role]]
        return INPUTS[role].take(stored, self.config.timestep, self.config.draws)

    def _standardized(self) -> dict[Role, Standardization]:
        parts: Any = self.standardizations.items()
        return dict(parts)


def save_detector(detector: Detector, path: Path) -> None:
    """Write a detector, all but the text tower, durably and without pickles.

    Args:
        detector: on any device.
        path: a ``.safetensors`` file; replaced as a whole.

    Raises:
        DiskSpaceError: the disk is full; the file that was there before is untouched.
    """
    header = json.dumps(to_json(_Saved(detector.config, detector.specs)))
    # Clones, because safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().clone() for name, value in detector.state_dict().items()}
    write_durably(path, safetensors.torch.save(tensors, {_METADATA: header}))


def read_detector_config(path: Path) -> DetectorConfig:
    """The configuration of a saved detector; says, for example, whether it needs a text tower.

    Raises:
        InputError: the file is not a saved detector.
    """
    return _read_header(path).config


def load_detector(path: Path, text: TextTower | None = None) -> Detector:
    """The detector that `save_detector` wrote, in evaluation mode, on the CPU.

    Args:
        path: the file.
        text: the text tower that it was trained with, if its classifier needs one.

    Raises:
        InputError: the file is not a saved detector, a part of it is not there any more, or the
            text tower is of another size.
    """
    saved = _read_header(path)
    try:
        detector = Detector(saved.config, saved.specs, text)
    except InputError as error:
        raise InputError(f"{path} can't be loaded: {error.what}", *error.advice) from error
    fill(detector, read_tensors(path), path)
    return detector.eval()


def _read_header(path: Path) -> _Saved:
    metadata = read_header(path)
    if _METADATA not in metadata:
        raise InputError(f"{path} is not a detector of CLaRE: a run's is best.safetensors")
    with reading(path, "a detector"):
        return from_json(_Saved, parse_json(metadata[_METADATA]), path)


def _fields_by_role(config: DetectorConfig) -> dict[Role, str]:
    for role in config.fields:
        if role not in INPUTS:
            raise InputError(f"no role {role!r}: there are {', '.join(INPUTS)}")
    roles = find_fusion(config.fusion).roles
    return {role: config.fields.get(role, INPUTS[role].field) for role in roles}


def _check_field(fusion: str, role: Role, name: str, specs: Specs) -> None:
    if name not in specs:
        raise InputError(
            f"fusion {fusion} takes {name!r} as {role}, which the store lacks: it has "
            f"{', '.join(sorted(specs))}"
        )
    if len(specs[name]) != INPUTS[role].axes:
        raise InputError(
            f"field {name!r} of shape {tuple(specs[name])} can't be {role}: that takes "
            f"{INPUTS[role].axes} axes"
        )
