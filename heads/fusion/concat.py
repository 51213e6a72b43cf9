"""Class token, LaRE and channel branch side by side, through a small network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.fusion.lare import LareFusion, LareSettings
from clare.heads.layers.branches import ChannelBranch, grid_side, project_image


@dataclass(frozen=True)
class ConcatSettings:
    """Settings of `concat`.

    Args:
        dropout: after the hidden layer.
    """

    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout} is not a share from 0 to below 1")


class ConcatFusion(Fusion):
    """[x_g, lare, x_c] of 3C through two layers to C, the tokens' width."""

    Settings = ConcatSettings
    roles: ClassVar[tuple[Role, ...]] = ("cls", "tokens", "lare")

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        positions, self.width = self.shapes["tokens"]
        self.image = project_image(self.shapes["cls"][0], self.width)
        self.map = LareFusion(LareSettings(grid_side(positions), self.width), self.shapes)
        self.channel = ChannelBranch(self.width, self.shapes["lare"][0])
        self.mix = nn.Sequential(
            nn.Linear(3 * self.width, self.width),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(self.width, self.width),
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, C)."""
        parts = [
            self.image(inputs["cls"]),
            self.map(inputs),
            self.channel(inputs["tokens"].mean(1), inputs["lare"]),
        ]
        mixed: torch.Tensor = self.mix(torch.cat(parts, -1))
        return mixed
