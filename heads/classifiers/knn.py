"""The nearest training images, by cosine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from clare.errors import InputError
from clare.heads.base import Classifier, TextTower
from clare.heads.layers.cosine import unit

SCALE = 100.0
"""CLIP's own: cosines of its vectors differ by hundredths, and scores should spread."""


@dataclass(frozen=True)
class KnnSettings:
    """Settings of `knn`.

    Args:
        k: number of neighbours of each class.
    """

    k: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"knn's setting k can't be {self.k}: 1 or more")


class Knn(Classifier):
    """``logits = 100 * (mean cosine to the k nearest reals, to the k nearest fakes)``.

    With k = 1 the nearest training image decides, as in Ojha et al., "Towards Universal Fake Image
    Detectors that Generalize Across Generative Models". There is nothing to train: `fit` keeps the
    training vectors, which are saved with the rest.
    """

    Settings = KnnSettings
    real: torch.Tensor
    fake: torch.Tensor

    def __init__(self, settings: KnnSettings, width: int, text: TextTower | None) -> None:
        super().__init__(settings, width, text)
        self.register_buffer("real", torch.empty(0, width))
        self.register_buffer("fake", torch.empty(0, width))

    def fit(self, vectors: torch.Tensor, labels: torch.Tensor) -> None:
        """Keep the directions of all training vectors (N, D).

        Raises:
            InputError: a class has fewer than k images.
        """
        for label, name in enumerate(("real", "fake")):
            bank = unit(vectors[labels == label].detach()).to(self.real)
            if len(bank) < self.settings.k:
                raise InputError(
                    f"knn with k = {self.settings.k} needs as many {name} training images; "
                    f"there are {len(bank)}"
                )
            setattr(self, name, bank)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2)."""
        vectors = unit(vectors)
        nearest = [
            (vectors @ bank.T).topk(self.settings.k).values.mean(-1)
            for bank in (self.real, self.fake)
        ]
        return SCALE * torch.stack(nearest, -1)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Make room first: the banks' lengths are known only from what was saved."""
        for name in ("real", "fake"):
            if (saved := state_dict.get(prefix + name)) is not None:
                room = (*saved.shape[:1], self.width)
                setattr(self, name, getattr(self, name).new_empty(room))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
