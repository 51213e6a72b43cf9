"""One vector an image from each stored field: poolings of tokens and of LaRE's maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from clare.heads.layers.branches import grid_side, pool_to_grid

GRID = 4
"""Cells of a LaRE map on either side, for the pooling ``grid``."""


@dataclass(frozen=True)
class Pooling:
    """How values become vectors.

    Args:
        axes: of a stored row that it takes: 2 of tokens (P, C), 5 of LaRE (T, D, 4, h, w).
        pool: values (B, ...), of LaRE one step's mean of its draws (B, 4, h, w), and beside them
            the LaRE maps (B, 4, h, w) where it is weighed by them, to (B, d).
        weighed: whether LaRE decides how much each token counts.
    """

    axes: int
    pool: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
    weighed: bool = False


def _weighed_mean(tokens: torch.Tensor, lare: torch.Tensor | None) -> torch.Tensor:
    """Tokens (B, P, C), each counted by the mean error of its cell, to (B, C)."""
    assert lare is not None
    cells = pool_to_grid(lare, grid_side(tokens.shape[1])).mean(-1)
    shares = cells / cells.sum(1, keepdim=True).clamp_min(torch.finfo(cells.dtype).tiny)
    return (tokens * shares[..., None]).sum(1)


def _grid(lare: torch.Tensor, _: torch.Tensor | None) -> torch.Tensor:
    side = min(GRID, *lare.shape[-2:])
    return functional.adaptive_avg_pool2d(lare, side).flatten(1)


POOLINGS: Mapping[str, Mapping[str, Pooling]] = {
    "tokens": {
        "mean": Pooling(2, lambda tokens, _: tokens.mean(1)),
        "max": Pooling(2, lambda tokens, _: tokens.amax(1)),
        "by-lare": Pooling(2, _weighed_mean, weighed=True),
    },
    "lare": {
        "mean": Pooling(5, lambda lare, _: lare.mean((-2, -1))),
        "grid": Pooling(5, _grid),
    },
}
"""By what a field is, and by name. A vector is taken as it is."""
