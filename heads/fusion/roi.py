"""The tokens under each part of a face (RoI pooling), beside the class token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.layers.branches import grid_side


@dataclass(frozen=True)
class RoiSettings:
    """Settings of `roi`.

    Args:
        part_width: of the vector that each part's tokens are brought to.
    """

    part_width: int = 128

    def __post_init__(self) -> None:
        if self.part_width < 1:
            raise InputError(f"part_width {self.part_width} is not at least 1")


class RoiFusion(Fusion):
    """[x_g, r_1 … r_N], E + N x ``part_width``: the class token as it is, and a vector a part.

    A part's vector is the mean of the token grid over its box, through a linear layer that all
    parts share; where a part is not there, a vector that is learnt. The class token stands beside
    them because it alone says something of an image in which no face was found.

    CLaRE's code has RoI pooling and never runs it: its boxes would be in units of patches, and an
    image without a face would be zeros. Here boxes are shares of the image's sides.
    """

    Settings = RoiSettings
    roles: ClassVar[tuple[Role, ...]] = ("cls", "tokens", "parts")

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        positions, width = self.shapes["tokens"]
        parts, _ = self.shapes["parts"]
        self._side = grid_side(positions)
        self.width = self.shapes["cls"][0] + parts * settings.part_width
        self.project = nn.Linear(width, settings.part_width)
        self.missing = nn.Parameter(torch.randn(parts, settings.part_width) / width**0.5)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, E + N x part_width)."""
        shares, known = cover(inputs["parts"], self._side)
        found = self.project(shares @ inputs["tokens"])
        vectors = torch.where(known[..., None], found, self.missing.to(found.dtype))
        return torch.cat([inputs["cls"], vectors.flatten(1).float()], -1)


def cover(boxes: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What share of each box lies in each cell of a grid: a mean over the box, exact.

    Args:
        boxes: (B, N, 4), left, top, right and bottom as shares of the grid's sides.
        side: of the grid, in cells.

    Returns:
        (B, N, side²), row by row, of sum one, or zeros where a box holds nothing of the grid; and
        (B, N), whether it holds something.
    """
    edges = torch.arange(side + 1, dtype=boxes.dtype, device=boxes.device) / side
    left, top, right, bottom = boxes[..., None].unbind(-2)
    across = (right.minimum(edges[1:]) - left.maximum(edges[:-1])).clamp(min=0)
    down = (bottom.minimum(edges[1:]) - top.maximum(edges[:-1])).clamp(min=0)
    area = (down[..., :, None] * across[..., None, :]).flatten(-2)
    whole = area.sum(-1)
    known = whole > 0
    return area / torch.where(known, whole, 1.0)[..., None], known
