"""Cosines to two fixed prompts, of an image vector that a small network has moved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import Classifier, TextTower
from clare.heads.classifiers._prompted import require_text, text_projection
from clare.heads.layers.cosine import cosines

PROMPTS = ("a real photo.", "a fake photo.")
"""By label, as published."""


@dataclass(frozen=True)
class AdapterSettings:
    """Settings of `adapter`.

    Args:
        ratio: share of the network's output in the moved vector; the rest is the vector itself.
        hidden: width inside the network; None means D // 2.
        prompts: of a real and of a fake image.

    Raises:
        InputError: a number is out of its range, or there are not two prompts.
    """

    ratio: float = 0.4
    hidden: int | None = None
    prompts: tuple[str, ...] = PROMPTS

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise InputError(
                f"adapter's setting ratio can't be {self.ratio}: above 0 and at most 1"
            )
        if self.hidden is not None and self.hidden < 1:
            raise InputError(f"adapter's setting hidden can't be {self.hidden}: 1 or more")
        if len(self.prompts) != 2 or not all(map(str.strip, self.prompts)):
            raise InputError(
                "adapter's prompts must be two texts, of a real and of a fake image, not "
                f"{list(self.prompts)}"
            )


class Adapter(Classifier):
    """``logits = exp(logit_scale) * cos(r A(v) + (1 - r) v, t)``, A of two layers without bias.

    Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters", as CLIPping the
    Deception has it: a ReLU after both layers. The prompts' text vectors t are constants. Where
    image vectors are not of CLIP's own width, text vectors are projected to them.
    """

    Settings = AdapterSettings
    needs_text = True
    texts: torch.Tensor

    def __init__(self, settings: AdapterSettings, width: int, text: TextTower | None) -> None:
        super().__init__(settings, width, text)
        tower = require_text(text)
        self.ratio, self.scale = settings.ratio, tower.logit_scale
        self.register_buffer("texts", tower.encode_text(settings.prompts)[None], persistent=False)
        self.text_proj = text_projection(tower, width)
        hidden = settings.hidden or max(1, width // 2)
        self.fc = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, width, bias=False),
            nn.ReLU(),
        )

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2)."""
        moved = self.ratio * self.fc(vectors) + (1 - self.ratio) * vectors
        return self.scale * cosines(moved, self.text_proj(self.texts))
