"""LaRE as one vector: the mean of each channel of its map, or the same on a few cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.layers.pooling import GRID, POOLINGS


@dataclass(frozen=True)
class PooledLareSettings:
    """Settings of `pooled_lare`.

    Args:
        pooling: over the map: mean, or grid of 4 x 4 cells.
    """

    pooling: Literal["mean", "grid"] = "grid"


class PooledLareFusion(Fusion):
    """Nothing is learnt; D is 4, or 64 of a grid."""

    Settings = PooledLareSettings
    roles: ClassVar[tuple[Role, ...]] = ("lare",)

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        channels, *sides = self.shapes["lare"]
        cells = min(GRID, *sides) ** 2 if settings.pooling == "grid" else 1
        self.width = channels * cells

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 4, h, w) to (B, D)."""
        return POOLINGS["lare"][self.settings.pooling].pool(inputs["lare"], None)
