"""Cosines to two fixed prompts: CLIP's own reading of an image, for a tower that learns."""

from __future__ import annotations

import math
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
class FixedPromptsSettings:
    """Settings of `fixed_prompts`.

    Args:
        prompts: of a real and of a fake image.

    Raises:
        InputError: there are not two prompts.
    """

    prompts: tuple[str, ...] = PROMPTS

    def __post_init__(self) -> None:
        if len(self.prompts) != 2 or not all(map(str.strip, self.prompts)):
            raise InputError(
                "fixed_prompts' prompts must be two texts, of a real and of a fake image, not "
                f"{list(self.prompts)}"
            )


class FixedPrompts(Classifier):
    """``logits = exp(s) * cos(v, t)``, of which s alone learns, from CLIP's own scale on.

    The fine-tuned CLIP of CLIPping the Deception decides so. The prompts' text vectors t are
    constants. Where image vectors are not of CLIP's own width, text vectors are projected to them.
    """

    Settings = FixedPromptsSettings
    needs_text = True
    texts: torch.Tensor

    def __init__(self, settings: FixedPromptsSettings, width: int, text: TextTower | None) -> None:
        super().__init__(settings, width, text)
        tower = require_text(text)
        self.log_scale = nn.Parameter(torch.tensor(math.log(tower.logit_scale)))
        self.register_buffer("texts", tower.encode_text(settings.prompts)[None], persistent=False)
        self.text_proj = text_projection(tower, width)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2)."""
        return self.log_scale.exp() * cosines(vectors, self.text_proj(self.texts))
