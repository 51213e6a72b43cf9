"""A linear probe: what `clare.probe` fits, as a run of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from clare.errors import InputError
from clare.heads.base import Classifier, TextTower
from clare.heads.layers.cosine import unit
from clare.heads.linear.moments import Moments, Values
from clare.heads.linear.norms import Norm, linear_map
from clare.heads.linear.solvers import Kind, fit

PIECE = 4096
"""Rows that are computed on at a time."""


@dataclass(frozen=True)
class ProbeSettings:
    """Settings of `probe`.

    Args:
        kind: ridge, logistic or centroid.
        norm: what is done to vectors first: none, l2, standard or whiten.
        strength: of regularisation, as a share of a channel's mean variance.
    """

    kind: Kind = "ridge"
    norm: Norm = "standard"
    strength: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.strength < math.inf:
            raise InputError(f"probe's setting strength can't be {self.strength}: above 0")


class Probe(Classifier):
    """``margin = w v + b``, fitted to all training vectors at once; see `clare.heads.linear`.

    Nothing is stepped: `fit` computes the plane in float64, and it is saved with the rest.
    """

    Settings = ProbeSettings
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, settings: ProbeSettings, width: int, text: TextTower | None) -> None:
        super().__init__(settings, width, text)
        self.register_buffer("weight", torch.zeros(2, width))
        self.register_buffer("bias", torch.zeros(2))

    @property
    def normalizes(self) -> bool:
        """Whether only the direction of a vector counts."""
        return bool(self.settings.norm == "l2")

    def fit(self, vectors: torch.Tensor, labels: torch.Tensor) -> None:
        """Fit the plane to all training vectors (N, D).

        Raises:
            InputError: whitening has fewer rows than channels, or no channel varies.
        """
        rows = vectors.detach().cpu().float().numpy()
        y = 2.0 * labels.cpu().numpy() - 1

        def pieces() -> Iterator[tuple[Values, Values]]:
            for start in range(0, len(rows), PIECE):
                some = rows[start : start + PIECE].astype(np.float64)
                if self.normalizes:
                    length = np.linalg.norm(some, axis=1, keepdims=True)
                    some = some / np.maximum(length, np.finfo(np.float64).tiny)
                yield some, y[start : start + PIECE]

        moments, how = Moments.of(pieces), self.settings
        try:
            linear = linear_map(moments, how.norm, [self.width])
        except InputError as error:
            raise InputError(f"the probe can't be fitted: {error.what}", *error.advice) from error
        found = fit(how.kind, moments, linear, [how.strength], pieces)
        # Half of the margin for fake and half against real.
        plane = torch.from_numpy(found.weights[:, 0]).to(self.weight) / 2
        offset = torch.from_numpy(found.bias).to(self.bias) / 2
        self.weight.copy_(torch.stack([-plane, plane]))
        self.bias.copy_(torch.cat([-offset, offset]))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2)."""
        vectors = unit(vectors) if self.normalizes else vectors
        return torch.nn.functional.linear(vectors, self.weight, self.bias)
