"""Small pieces that several fusions share: the token grid, the global and the channel branch."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from clare.errors import InputError

CHANNEL_HIDDEN = 128
"""Hidden width of the channel branch, as in LaRE²."""


def grid_side(positions: int) -> int:
    """Side of the square that an image's tokens form.

    Raises:
        InputError: they form no square.
    """
    side = math.isqrt(positions)
    if side * side != positions:
        raise InputError(
            f"{positions} tokens form no square, so nothing can be laid over them; "
            "extract with a tower of a square grid, or take fusion cls"
        )
    return side


def pool_to_grid(lare: torch.Tensor, side: int) -> torch.Tensor:
    """LaRE averaged over the cells of the token grid.

    Args:
        lare: (B, 4, h, w).
        side: of the grid.

    Returns:
        (B, side², 4), in the tokens' order.
    """
    return functional.adaptive_avg_pool2d(lare, side).flatten(2).mT


def project_image(embedding: int, width: int) -> nn.Module:
    """From CLIP's image vector to the tokens' width; nothing is learnt where they agree."""
    return nn.Identity() if embedding == width else nn.Linear(embedding, width)


class ChannelBranch(nn.Module):
    """The mean token, its channels weighed by LaRE (error-guided channel refinement, LaRE² ECR).

    Args:
        width: C of the tokens.
        maps: channels of LaRE.
    """

    def __init__(self, width: int, maps: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(maps, CHANNEL_HIDDEN, bias=False)
        self.weights = nn.Linear(CHANNEL_HIDDEN, width, bias=False)

    def forward(self, mean_token: torch.Tensor, lare: torch.Tensor) -> torch.Tensor:
        """(B, C) and (B, 4, h, w) to (B, C)."""
        hidden = torch.relu(self.hidden(lare.mean((-2, -1))))
        return mean_token * torch.sigmoid(self.weights(hidden))
