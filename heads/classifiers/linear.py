"""One linear layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from clare.heads.base import Classifier, TextTower
from clare.heads.layers.cosine import unit


@dataclass(frozen=True)
class LinearSettings:
    """Settings of `linear`.

    Args:
        normalize: whether vectors are brought to unit length first, as in GenD.
    """

    normalize: bool = False


class Linear(Classifier):
    """``logits = W v + b``: UnivFD's head; with unit vectors the one of GenD."""

    Settings = LinearSettings

    def __init__(self, settings: LinearSettings, width: int, text: TextTower | None) -> None:
        super().__init__(settings, width, text)
        self.layer = nn.Linear(width, 2)

    @property
    def normalizes(self) -> bool:
        """Whether only the direction of a vector counts."""
        return bool(self.settings.normalize)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2)."""
        return self.layer(unit(vectors) if self.normalizes else vectors)
