"""A linear probe: what `clare.probe` fits, as a run of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

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
        widths: of the parts that vectors consist of, where there are several.
        ratio: total variance that the last of several parts is brought to, the others having 1.
    """

    kind: Kind = "ridge"
    norm: Norm = "standard"
    strength: float = 0.1
    widths: tuple[int, ...] = ()
    ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.strength < math.inf:
            raise InputError(f"probe's setting strength can't be {self.strength}: above 0")
        if not 0 < self.ratio < math.inf:
            raise InputError(f"probe's setting ratio can't be {self.ratio}: above 0")
        if any(width < 1 for width in self.widths):
            raise InputError("probe's setting widths are of 1 or more")


class Probe(Classifier):
    """``margin = w v + b``, fitted to all training vectors at once; see `clare.heads.linear`.

    Nothing is stepped: `fit` computes the plane in float64, and it is saved with the rest.
    """

    Settings = ProbeSettings
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, settings: ProbeSettings, width: int, text: TextTower | None) -> None:
        super().__init__(settings, width, text)
        self.widths = list(settings.widths or (width,))
        if sum(self.widths) != width:
            raise InputError(
                f"probe's setting widths {', '.join(map(str, self.widths))} are of vectors of "
                f"{sum(self.widths)}, and these have {width} channels"
            )
        self.register_buffer("weight", torch.zeros(2, width))
        self.register_buffer("bias", torch.zeros(2))

    @property
    def normalizes(self) -> bool:
        """Whether only the direction of a vector counts."""
        return bool(self.settings.norm == "l2") and len(self.widths) == 1

    def fit(self, vectors: torch.Tensor, labels: torch.Tensor) -> None:
        """Fit the plane to all training vectors (N, D).

        Raises:
            InputError: whitening has fewer rows than channels, or no channel varies.
        """
        rows = self._normed(vectors.detach().cpu().float().double()).numpy()
        y = 2.0 * labels.cpu().numpy() - 1

        def pieces() -> Iterator[tuple[Values, Values]]:
            for start in range(0, len(rows), PIECE):
                yield rows[start : start + PIECE], y[start : start + PIECE]

        moments, how = Moments.of(pieces), self.settings
        try:
            linear = linear_map(moments, how.norm, self.widths, how.ratio)
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
        return torch.nn.functional.linear(self._normed(vectors), self.weight, self.bias)

    def _normed(self, vectors: torch.Tensor) -> torch.Tensor:
        """What the plane is of: each part of unit length, where that is the normalisation."""
        if self.settings.norm != "l2":
            return vectors
        return torch.cat([unit(part) for part in vectors.split(self.widths, -1)], -1)
