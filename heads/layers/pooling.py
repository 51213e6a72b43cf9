"""One vector an image from each stored field: poolings of tokens and of LaRE's maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clare.heads.layers.branches import grid_side, pool_to_grid

GRID = 4
"""Cells of a LaRE map on either side, for the pooling ``grid``."""

TOP = 8
"""One in so many tokens is kept by the pooling ``top``."""

RANKING = 1024
"""Training rows of each label that the direction comes from, at most."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Pooling:
    """How values become vectors.

    Args:
        axes: of a stored row that it takes: 2 of tokens (P, C), 5 of LaRE (T, D, 4, h, w).
        pool: values (B, ...), of LaRE one step's mean of its draws (B, 4, h, w), and beside them
            the LaRE maps (B, 4, h, w) where it is weighed by them, or the direction (C,) that it
            ranks by, to (B, d).
        weighed: whether LaRE decides how much each token counts.
        ranked: whether tokens are ranked along a direction: see `class_direction`.
    """

    axes: int
    pool: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
    weighed: bool = False
    ranked: bool = False


def _weighed_mean(tokens: torch.Tensor, lare: torch.Tensor | None) -> torch.Tensor:
    """Tokens (B, P, C), each counted by the mean error of its cell, to (B, C)."""
    assert lare is not None
    cells = pool_to_grid(lare, grid_side(tokens.shape[1])).mean(-1).clamp_min(0)
    shares = cells / cells.sum(1, keepdim=True).clamp_min(torch.finfo(cells.dtype).tiny)
    return (tokens * shares[..., None]).sum(1)


def _top_mean(tokens: torch.Tensor, direction: torch.Tensor | None) -> torch.Tensor:
    """The mean of an eighth of tokens (B, P, C): those that lie furthest along a direction."""
    assert direction is not None
    count = math.ceil(tokens.shape[1] / TOP)
    best = (tokens @ direction.to(tokens)).topk(count, 1).indices
    return tokens.gather(1, best[..., None].expand(-1, -1, tokens.shape[2])).mean(1)


def rows_of_direction(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the rows that a direction comes from: at most `RANKING` of each label, evenly."""
    found = []
    for label in (0, 1):
        own = np.flatnonzero(labels == label)
        found.append(own[np.unique(np.linspace(0, len(own) - 1, RANKING).astype(np.int64))])
    return np.sort(np.concatenate(found))


def class_direction(
    batches: Iterable[tuple[Mapping[Key, torch.Tensor], torch.Tensor]],
) -> dict[Key, torch.Tensor]:
    """From the mean token of reals to that of fakes, of unit length, (C,) float32.

    Args:
        batches: tokens (B, P, C) by name, and labels (B,).
    """
    sums: dict[Key, torch.Tensor] = {}
    counts = torch.zeros(2, dtype=torch.float64)
    for tokens, labels in batches:
        of = torch.stack([labels == 0, labels == 1]).double().cpu()
        counts += of.sum(1)
        for name, values in tokens.items():
            means = values.float().mean(1).double().cpu()
            sums[name] = sums.get(name, 0) + of @ means
    found = {}
    for name, (reals, fakes) in sums.items():
        apart = fakes / counts[1] - reals / counts[0]
        found[name] = (apart / apart.norm().clamp_min(torch.finfo(apart.dtype).tiny)).float()
    return found


def _grid(lare: torch.Tensor, _: torch.Tensor | None) -> torch.Tensor:
    side = min(GRID, *lare.shape[-2:])
    return functional.adaptive_avg_pool2d(lare, side).flatten(1)


POOLINGS: Mapping[str, Mapping[str, Pooling]] = {
    "tokens": {
        "mean": Pooling(2, lambda tokens, _: tokens.mean(1)),
        "max": Pooling(2, lambda tokens, _: tokens.amax(1)),
        "top": Pooling(2, _top_mean, ranked=True),
        "by-lare": Pooling(2, _weighed_mean, weighed=True),
    },
    "lare": {
        "mean": Pooling(5, lambda lare, _: lare.mean((-2, -1))),
        "grid": Pooling(5, _grid),
    },
}
"""By what a field is, and by name. A vector is taken as it is."""
