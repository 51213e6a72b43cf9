"""A detector: one fusion and one classifier over named fields of a store; saving and loading it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import nn

from clare.errors import InputError
from clare.files import write_durably
from clare.heads import classifiers, fusion
from clare.heads.base import Classifier, Fusion, Inputs, Role
from clare.heads.layers.standardization import Moments, Standardization
from clare.heads.roles import CHANNEL_AXES, Specs, find_fields, input_shape, take
from clare.plugins import find_part
from clare.settings import build_settings

if TYPE_CHECKING:
    from clare.heads.text.tower import TextTower

Scope = Literal["full", "as-published"]
"""What learns: every part of the head, or the prompt learner alone (as CLaRE was trained)."""

_METADATA = "clare_detector"


@dataclass(frozen=True)
class DetectorConfig:
    """Everything that decides a detector's shape and what it reads.

    Args:
        fusion: name of a file in `clare.heads.fusion`.
        classifier: name of a file in `clare.heads.classifiers`.
        fusion_settings: those that differ from the defaults.
        classifier_settings: those that differ from the defaults.
        fields: the store's field by role, where it differs from `clare.heads.roles.DEFAULT_FIELDS`.
        timestep: which of the stored LaRE steps, by its place.
        draws: how many of the stored noise draws are averaged; all if None.
        standardize: whether tokens and LaRE are standardised; the class token never is, because
            it comes from a LayerNorm and its space is the prompts'.
    """

    fusion: str = "cross_attn"
    classifier: str = "cocoop"
    fusion_settings: Mapping[str, Any] = field(default_factory=dict)
    classifier_settings: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[Role, str] = field(default_factory=dict)
    timestep: int = 0
    draws: int | None = None
    standardize: bool = True

    @property
    def needs_text(self) -> bool:
        """Whether the classifier takes a text tower.

        Raises:
            InputError: there is no such classifier.
        """
        return find_part(classifiers, self.classifier, Classifier).needs_text  # type: ignore[type-abstract]

    def to_json(self) -> dict[str, Any]:
        """The configuration as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> DetectorConfig:
        """The configuration that `to_json` wrote."""
        return cls(**record)


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
        fusion_class = find_part(fusion, config.fusion, Fusion)  # type: ignore[type-abstract]
        decision_class = find_part(classifiers, config.classifier, Classifier)  # type: ignore[type-abstract]
        self.config = config
        self._field = find_fields(config.fusion, fusion_class.roles, config.fields, specs)
        self.fields = tuple(self._field.values())
        self.specs = {name: tuple(specs[name]) for name in self.fields}
        shapes = {
            role: input_shape(role, self.specs[name], config.timestep, config.draws)
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
                role: Standardization(shape[CHANNEL_AXES[role]], CHANNEL_AXES[role])
                for role, shape in shapes.items()
                if config.standardize and role != "cls"
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
        return take(role, batch[self._field[role]], self.config.timestep, self.config.draws)

    def _standardized(self) -> dict[Role, Standardization]:
        parts: Any = self.standardizations.items()
        return dict(parts)


def save_detector(detector: Detector, path: Path, extra: Mapping[str, str] | None = None) -> None:
    """Write a detector, all but the text tower, durably and without pickles.

    Args:
        detector: on any device.
        path: a ``.safetensors`` file; replaced as a whole.
        extra: further texts for the file's header.

    Raises:
        DiskSpaceError: the disk is full; the file that was there before is untouched.
    """
    record = {"config": detector.config.to_json(), "specs": detector.specs}
    metadata = {**(extra or {}), _METADATA: json.dumps(record)}
    # Clones, because safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().clone() for name, value in detector.state_dict().items()}
    write_durably(path, safetensors.torch.save(tensors, metadata))


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a saved detector, without its weights.

    Raises:
        InputError: the file is not a saved detector.
    """
    try:
        with safetensors.safe_open(path, "pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} can't be read as a detector: {error}") from error
    if _METADATA not in metadata:
        raise InputError(f"{path} is not a detector of CLaRE; name a run's best.safetensors")
    return metadata


def read_config(path: Path) -> DetectorConfig:
    """The configuration of a saved detector; says, for example, whether it needs a text tower.

    Raises:
        InputError: the file is not a saved detector.
    """
    return DetectorConfig.from_json(json.loads(read_metadata(path)[_METADATA])["config"])


def load_detector(path: Path, text: TextTower | None = None) -> Detector:
    """The detector that `save_detector` wrote, in evaluation mode, on the CPU.

    Args:
        path: the file.
        text: the text tower that it was trained with, if its classifier needs one.

    Raises:
        InputError: the file is not a saved detector, or the text tower is of another size.
    """
    record = json.loads(read_metadata(path)[_METADATA])
    specs = {name: tuple(shape) for name, shape in record["specs"].items()}
    detector = Detector(DetectorConfig.from_json(record["config"]), specs, text)
    try:
        detector.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError as error:
        raise InputError(
            f"{path} does not fit the detector that it describes, or this text tower: {error}"
        ) from error
    return detector.eval()
