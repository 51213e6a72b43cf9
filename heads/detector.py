"""A detector: one fusion and one classifier over named fields of a store; saving and loading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from clare.advice import LeaveOut
from clare.errors import InputError
from clare.files import write_durably
from clare.foreign import parse_json, reading
from clare.heads import classifiers, fusion
from clare.heads.base import Classifier, Fusion, Role, Shapes, TextTower
from clare.heads.config import DetectorConfig, Scope
from clare.heads.layers.standardization import Standardization
from clare.heads.layers.tower import BaseTower, TowerFusion, is_of_tower
from clare.heads.localizer import Localizer, roles_of
from clare.heads.model import Model, Specs, check_field, fields_by_role
from clare.models.tuned import DETECTOR_METADATA, BegunAs, TunedRecord, find_tuning
from clare.models.weights import fill, read_header, read_tensors
from clare.plugins import find_part, part_name
from clare.settings import build_settings
from clare.store.spec import Fingerprint, require_same, split_field
from clare.typed_json import from_json, to_json

_PICTURES = 32
"""Images that a tower takes at once where it does not learn."""


@dataclass(frozen=True)
class _Saved:
    """What the header of a saved detector holds."""

    config: DetectorConfig
    specs: Specs
    tuned: TunedRecord | None = None


def find_fusion(name: str) -> type[Fusion]:
    """A fusion by its name, or by the path of its file.

    Raises:
        InputError: there is no such fusion.
    """
    return find_part(fusion, name, Fusion)  # type: ignore[type-abstract]


def fusion_roles(config: DetectorConfig) -> tuple[Role, ...]:
    """The inputs that a configuration's fusion takes.

    Raises:
        InputError: there is no such fusion, or a setting of it is not usable.
    """
    part = find_fusion(config.fusion)
    return part.roles_of(build_settings(config.fusion, part.Settings, config.fusion_settings))


def find_classifier(name: str) -> type[Classifier]:
    """A classifier by its name, or by the path of its file.

    Raises:
        InputError: there is no such classifier.
    """
    return find_part(classifiers, name, Classifier)  # type: ignore[type-abstract]


def create_model(
    config: DetectorConfig,
    specs: Specs,
    text: TextTower | None = None,
    tower: BaseTower | None = None,
) -> Model:
    """The detector or the localiser of a configuration, freshly made.

    Args:
        config: its parts and what they read.
        specs: shapes of one row by stored field.
        text: the frozen text tower of the store's CLIP, for classifiers that need one.
        tower: that the head's tower begins as, where it is tuned.

    Raises:
        InputError: a part, a setting, a field, a timestep or a number of draws is not usable.
    """
    return Localizer(config, specs) if config.decoder else Detector(config, specs, text, tower)


def needs_text(config: DetectorConfig) -> bool:
    """Whether a detector's classifier takes a text tower.

    Raises:
        InputError: there is no such classifier.
    """
    return not config.decoder and find_classifier(config.classifier).needs_text


def fields_of(config: DetectorConfig) -> tuple[str, ...]:
    """The stored fields that a detector's fusion, or its decoder, reads.

    Where a tower is tuned, pixels, or what one of its blocks made, are read in the place of its
    fields.

    Raises:
        InputError: there is no such fusion, or a role is unknown.
    """
    if config.decoder:
        roles = roles_of(config)
    elif config.is_tuned:
        own = tower_fields(config)
        roles = (
            *_begun_with(config),
            *(r for r in fusion_roles(config) if r not in own),
        )
    else:
        roles = fusion_roles(config)
    return tuple(fields_by_role(config, roles).values())


def tower_fields(config: DetectorConfig) -> dict[Role, str]:
    """The fields of a tuned tower that a detector's fusion takes, by role; none where none is.

    Raises:
        InputError: there is no such fusion, or it takes nothing of a tower.
    """
    if not config.is_tuned:
        return {}
    roles = [role for role in fusion_roles(config) if is_of_tower(role)]
    if not roles:
        raise InputError(
            f"fusion {part_name(config.fusion)} takes nothing of an image tower, which could be "
            "tuned for it",
            LeaveOut("tune"),
        )
    return fields_by_role(config, roles)


def blocks_read(config: DetectorConfig) -> dict[Role, str]:
    """The fields, by role, of the block behind which a tuned tower begins; none if with pixels.

    Raises:
        InputError: there is no such way of tuning.
    """
    begun = _begun_with(config)
    return {} if "pixels" in begun else fields_by_role(config, begun)


def _begun_with(config: DetectorConfig) -> tuple[Role, ...]:
    """What a tuned tower begins with; nothing where none is tuned."""
    found: Any = find_tuning(config.tune).reads if config.is_tuned else ()
    return tuple(found)


class Detector(Model):
    """Rows of a store to two logits, real and fake.

    Args:
        config: its parts and what they read.
        specs: shapes of one row by stored field; may name more fields than are read.
        text: the frozen text tower of the store's CLIP, for classifiers that need one.
        tower: that the image tower begins as, where it is tuned.

    Attributes:
        fusion: image side.
        classifier: decision side.
        base: that the image tower began as, where it is tuned.

    Raises:
        InputError: a part, a setting, a field, a timestep or a number of draws is not usable.
    """

    def __init__(
        self,
        config: DetectorConfig,
        specs: Specs,
        text: TextTower | None = None,
        tower: BaseTower | None = None,
    ) -> None:
        fusion_class = find_fusion(config.fusion)
        decision_class = find_classifier(config.classifier)
        own = tower_fields(config)
        settings = build_settings(config.fusion, fusion_class.Settings, config.fusion_settings)
        others = [role for role in fusion_class.roles_of(settings) if role not in own]
        super().__init__(config, specs, [*_begun_with(config), *others])
        self.base = tower if own else None
        if own:
            self.fusion: Fusion = self._over_tower(fusion_class, settings, specs, own, tower)
        else:
            self.fusion = fusion_class(settings, self.shapes)
        settings = build_settings(
            config.classifier, decision_class.Settings, config.classifier_settings
        )
        self.classifier: Classifier = decision_class(settings, self.fusion.width, text)

    def _over_tower(
        self,
        fusion_class: type[Fusion],
        settings: Any,
        specs: Specs,
        own: Mapping[Role, str],
        tower: BaseTower | None,
    ) -> TowerFusion:
        """The fusion over a tower that moves.

        Raises:
            InputError: there is no tower, or a field of it is not usable.
        """
        config = self.config
        if tower is None:
            raise InputError("a tower is tuned, and there is none: it is given as tower=")
        for role, name in own.items():
            check_field(config, role, name, specs)
            self.specs[name] = tuple(specs[name])
        self.scored_together = _PICTURES
        shapes: Shapes = {**self.shapes, **{role: self.specs[name] for role, name in own.items()}}
        return TowerFusion(
            fusion_class(settings, shapes),
            tower,
            config.tune,
            config.tune_settings,
            own,
            self.shapes,
            standardize=config.standardize,
        )

    @property
    def still(self) -> frozenset[str]:
        """Names of the tower's tensors that stay as they were loaded."""
        return frozenset(f"fusion.{name}" for name in self.fusion.still)

    def standardized(self) -> dict[Role, Standardization]:
        """What brings the channels of an input to mean 0 and deviation 1, by role."""
        if not isinstance(self.fusion, TowerFusion):
            return super().standardized()
        parts: Any = self.fusion.standardizations.items()
        return {**super().standardized(), **dict(parts)}

    @torch.no_grad()
    def raw(self, batch: Mapping[str, torch.Tensor]) -> dict[Role, torch.Tensor]:
        """What is standardised, as it is before; of a tower that moves, as it now is."""
        found = super().raw(batch)
        if isinstance(self.fusion, TowerFusion) and self.fusion.standardizations:
            begun = {role: self._stored(role, batch) for role in _begun_with(self.config)}
            found |= self.fusion.raw(begun)
        return found

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """Fusion and classifier."""
        return self.fusion, self.classifier

    @property
    def is_fitted(self) -> bool:
        """Whether its classifier takes all training vectors at once, so that nothing is stepped."""
        return self.classifier.is_fitted

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
        learning = super().parameters_to_train()
        return {name: value for name, value in learning.items() if name.startswith(prefix)}


def save_detector(detector: Model, path: Path) -> None:
    """Write a detector, durably and without pickles: all but the text tower, and what of an image
    tower does not move.

    Args:
        detector: on any device.
        path: a ``.safetensors`` file; replaced as a whole.

    Raises:
        DiskSpaceError: the disk is full; the file that was there before is untouched.
    """
    tuned = None
    if isinstance(detector, Detector) and (base := detector.base) is not None:
        config, own = detector.config, base.fingerprint
        tuned = TunedRecord(
            config.tune,
            config.tune_settings,
            BegunAs(own.extractor, own.version, own.weights, own.settings),
            base.loaded.origin,
            tuple(split_field(name)[0] for name in tower_fields(config).values()),
        )
    header = json.dumps(to_json(_Saved(detector.config, detector.specs, tuned)))
    # Clones, because safetensors refuses tensors that share memory.
    tensors = {
        name: value.detach().cpu().clone()
        for name, value in detector.state_dict().items()
        if name not in detector.still
    }
    write_durably(path, safetensors.torch.save(tensors, {DETECTOR_METADATA: header}))


def read_detector_config(path: Path) -> DetectorConfig:
    """The configuration of a saved detector; says, for example, whether it needs a text tower.

    Raises:
        InputError: the file is not a saved detector.
    """
    return _read_header(path).config


def load_detector(
    path: Path, text: TextTower | None = None, tower: BaseTower | None = None
) -> Model:
    """The detector or localiser that `save_detector` wrote, in evaluation mode, on the CPU.

    Args:
        path: the file.
        text: the text tower that it was trained with, if its classifier needs one.
        tower: the image tower that its own began as, if it is tuned.

    Raises:
        InputError: the file is not a saved detector, a part of it is not there any more, or a
            tower is another one.
    """
    saved = _read_header(path)
    try:
        if saved.tuned is not None and tower is not None:
            began = Fingerprint(**vars(saved.tuned.tower))
            require_same(began, tower.fingerprint, began.extractor)
        detector = create_model(saved.config, saved.specs, text, tower)
    except InputError as error:
        raise InputError(f"{path} can't be loaded: {error.what}", *error.advice) from error
    still = {name: value for name, value in detector.state_dict().items() if name in detector.still}
    fill(detector, {**read_tensors(path), **still}, path)
    return detector.eval()


def _read_header(path: Path) -> _Saved:
    metadata = read_header(path)
    if DETECTOR_METADATA not in metadata:
        raise InputError(f"{path} is not a detector of CLaRE: a run's is best.safetensors")
    with reading(path, "a detector"):
        return from_json(_Saved, parse_json(metadata[DETECTOR_METADATA]), path)
