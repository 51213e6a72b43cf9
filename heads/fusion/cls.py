"""The class token alone, as CLIP's own classifiers and UnivFD take it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from clare.heads.base import Fusion, Inputs, Role, Shapes


class ClsFusion(Fusion):
    """CLIP's image vector as it is: D is its width, nothing is learnt."""

    roles: ClassVar[tuple[Role, ...]] = ("cls",)

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__(settings, shapes)
        (self.width,) = self.shapes["cls"]

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, E) as it came."""
        return inputs["cls"]
