"""Tokens as one vector: their mean, or their maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.layers.pooling import POOLINGS


@dataclass(frozen=True)
class PooledSettings:
    """Settings of `pooled`.

    Args:
        pooling: over the tokens: mean or max.
    """

    pooling: Literal["mean", "max"] = "mean"


class PooledFusion(Fusion):
    """Nothing is learnt; D is the tokens' width."""

    Settings = PooledSettings
    roles: ClassVar[tuple[Role, ...]] = ("tokens",)

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        self.width = self.shapes["tokens"][1]

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, P, C) to (B, C)."""
        return POOLINGS["tokens"][self.settings.pooling].pool(inputs["tokens"], None)
