"""A detector as one torch module that knows nothing of a store: from pixels, or from features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from clare.heads.base import INPUTS
from clare.heads.detector import Detector
from clare.heads.layers.standardization import Standardization
from clare.heads.localizer import Localizer
from clare.heads.model import Model

if TYPE_CHECKING:
    from clare.pipeline.extractor import PixelModel

BATCH = "batch"
"""What stands for the number of images in a shape."""

OUTPUTS = ("margin", "p_fake")
MAP_OUTPUT = "map"
"""Of a localiser alone."""


TOLERANCE = 1e-4
"""The most by which an output of a finished file may differ from the run's own."""

HALF_TOLERANCE = 1e-3
"""The same where fields pass through float16: a last bit of float32 may round one to its neighbour,
a thousandth away (seen: 1.2e-4 in a map over ViT-B/32)."""


@dataclass(frozen=True)
class TowerInput:
    """Pixels that one extractor turns into fields.

    Args:
        name: of the input.
        model: the extractor's.
        stored: by its name in the run, each field, and the type, as torch names it, that it is
            stored in.
    """

    name: str
    model: PixelModel
    stored: dict[str, tuple[str, str]]


class ExportedModel(nn.Module):
    """A run's model with named inputs of float32, frozen, on the CPU.

    Attributes:
        inputs: the shape of one image's input, by name.
        outputs: their names, in order: ``margin`` and ``p_fake`` (B,), of a localiser also ``map``
            (B, 256, 256), the probability of each pixel of the squashed image.
        tolerance: the most by which an output of a finished file may differ from its own.
    """

    inputs: dict[str, tuple[int, ...]]
    tolerance: float = TOLERANCE

    def __init__(self, head: Model) -> None:
        super().__init__()
        if isinstance(head, Detector):
            head.add_module("classifier", head.classifier.settled())
        self.head = head
        self.outputs = (*OUTPUTS, MAP_OUTPUT) if isinstance(head, Localizer) else OUTPUTS

    def examples(self, count: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Random inputs of so many images, like those that the model will see."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            torch.randn(count, *shape, generator=generator) for shape in self.inputs.values()
        )

    def judge(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The outputs for a batch by stored field."""
        head = self.head
        if not isinstance(head, Localizer):
            margin = head.margins(batch)
            return margin.float(), margin.sigmoid().float()
        maps = head.maps(batch)
        margin = head.score(maps)
        return margin.float(), margin.sigmoid().float(), maps.float().sigmoid()


class PixelDetector(ExportedModel):
    """From normalised pixels (B, 3, S, S), one input for each tower that is read.

    Fields pass through the type that a store holds them in, since the head learned from those.
    """

    def __init__(self, head: Model, towers: Sequence[TowerInput]) -> None:
        super().__init__(head)
        self.inputs = {one.name: (3, one.model.size, one.model.size) for one in towers}
        self.towers = nn.ModuleList(one.model.module for one in towers)
        self._stored = [
            {name: (field, getattr(torch, dtype)) for name, (field, dtype) in one.stored.items()}
            for one in towers
        ]
        if any(dtype == "float16" for one in towers for _, dtype in one.stored.values()):
            self.tolerance = HALF_TOLERANCE
        self.requires_grad_(False).eval()

    def forward(self, *pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs."""
        batch: dict[str, torch.Tensor] = {}
        for tower, stored, images in zip(self.towers, self._stored, pixels, strict=True):
            fields = tower(images)
            batch |= {name: fields[field].to(dtype) for name, (field, dtype) in stored.items()}
        return self.judge(batch)


class HeadAlone(ExportedModel):
    """From features, one input for each stored field that is read, (B, *its shape)."""

    def __init__(self, head: Model) -> None:
        super().__init__(head)
        self.inputs = dict(head.specs)
        self.requires_grad_(False).eval()

    def examples(self, count: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Random features, of the training rows' mean and deviation where these are kept."""
        head, plain = self.head, super().examples(count, seed)
        found = dict(zip(self.inputs, plain, strict=True))
        for role, name in zip(head.roles, head.fields, strict=True):
            if role in head.standardizations:
                known, how = cast(Standardization, head.standardizations[role]), INPUTS[role]
                deviation, mean = (
                    how.as_stored(one, self.inputs[name]) for one in (known.deviation, known.mean)
                )
                found[name] = found[name] * deviation + mean
        return tuple(found.values())

    def forward(self, *features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs."""
        return self.judge(dict(zip(self.inputs, features, strict=True)))
