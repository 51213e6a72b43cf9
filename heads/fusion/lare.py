"""LaRE alone: its map, flattened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.layers.branches import pool_to_grid

MAPS = 8
"""Channels that LaRE's four are spread to."""


@dataclass(frozen=True)
class LareSettings:
    """Settings of `lare`.

    Args:
        grid: side that the map is averaged to, at most its own; 16 is ViT-L/14's token grid, and
            no tokens need be read to know it.
        width: D.
    """

    grid: int = 16
    width: int = 1024

    def __post_init__(self) -> None:
        if self.grid < 1 or self.width < 1:
            raise InputError("fusion lare needs a grid and a width of at least 1")


class LareFusion(Fusion):
    """Pooled map, 1x1 convolution 4 to 8, flattened, one linear layer."""

    Settings = LareSettings
    roles: ClassVar[tuple[Role, ...]] = ("lare",)

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        channels, *sides = self.shapes["lare"]
        self._grid = min(settings.grid, *sides)
        self.width = settings.width
        self.spread = nn.Linear(channels, MAPS)
        self.out = nn.Linear(MAPS * self._grid**2, self.width)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, 4, h, w) to (B, D)."""
        found: torch.Tensor = self.out(
            self.spread(pool_to_grid(inputs["lare"], self._grid)).flatten(1)
        )
        return found
