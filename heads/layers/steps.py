"""LaRE over its noise steps."""

from __future__ import annotations

import torch

from clare.advice import Run
from clare.errors import InputError

CHANNELS = 4
"""Of one step's map: those of the latent."""

SEVERAL = {"lare.timesteps": (25, 100, 200)}
"""What a user who has one step alone is advised to extract."""


def count_steps(channels: int, fusion: str) -> int:
    """How many steps lie side by side in so many channels.

    Raises:
        InputError: there is one alone, over which nothing changes.
    """
    steps = channels // CHANNELS
    if steps < 2:
        raise InputError(
            f"fusion {fusion} reads LaRE over several noise steps, and the store has one alone",
            Run("extract", settings=SEVERAL, effect="stores several"),
        )
    return steps


def describe_steps(maps: torch.Tensor) -> torch.Tensor:
    """Statistics of each step's maps, and of what changes from the step before.

    Args:
        maps: (B, 4 T, D, h, w), four channels a step, D draws.

    Returns:
        (B, 16, T), for each channel: its mean; how far positions spread about it; how far draws
        spread about their mean, 0 where there is one; how far positions moved since the step
        before, 0 at the first.
    """
    drawn = maps.unflatten(1, (-1, CHANNELS))
    means = drawn.mean(3)
    level = means.mean((-2, -1))
    places = _size(means - level[..., None, None])
    draws = _size((drawn - means.unsqueeze(3)).flatten(3, 4))
    moved = _size(means.diff(dim=1))
    moved = torch.cat([torch.zeros_like(moved[:, :1]), moved], 1)
    return torch.cat([level, places, draws, moved], -1).mT


def _size(differences: torch.Tensor) -> torch.Tensor:
    """Root of the mean square over the last two axes."""
    return differences.square().mean((-2, -1)).sqrt()
