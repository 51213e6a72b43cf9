"""Statistics of the cosines to fixed prompts, beside an adapter of the image vector."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import Classifier, TextTower
from clare.heads.classifiers._prompted import require_text, text_projection
from clare.heads.layers.cosine import cosines, unit

PROMPTS = (
    "a genuine photograph of a face",
    "a computer-generated image of a face",
    "an authentic person's portrait",
    "a digitally manipulated face",
    "a real person",
    "a synthetic AI-generated face",
)
"""In turn of a real and of a fake face, as published."""


@dataclass(frozen=True)
class TextSimilaritySettings:
    """Settings of `text_similarity`.

    Args:
        prompts: in turn of a real and of a fake face.

    Raises:
        InputError: there are not as many of the one as of the other.
    """

    prompts: tuple[str, ...] = PROMPTS

    def __post_init__(self) -> None:
        if not self.prompts or len(self.prompts) % 2 or not all(map(str.strip, self.prompts)):
            raise InputError(
                "text_similarity's prompts must be texts in turn of a real and of a fake face, as "
                f"many of each, not {list(self.prompts)}"
            )


class TextSimilarity(Classifier):
    """Six statistics of the prompts' cosines, and 128 values from an adapter, to a small network.

    Method of the detector `text-similarity` (see its preset): the prompts' text vectors are
    constants. Where image vectors are not of CLIP's own width, text vectors are projected to them.
    """

    Settings = TextSimilaritySettings
    needs_text = True
    texts: torch.Tensor

    def __init__(
        self, settings: TextSimilaritySettings, width: int, text: TextTower | None
    ) -> None:
        super().__init__(settings, width, text)
        tower = require_text(text)
        self.register_buffer("texts", tower.encode_text(settings.prompts)[None], persistent=False)
        self.text_proj = text_projection(tower, width)
        self.adapter = nn.Sequential(*_layer(width, 256, 0.1), *_layer(256, 128, 0.1))
        self.head = nn.Sequential(
            *_layer(128 + 6, 256, 0.2), *_layer(256, 64, 0.1), nn.Linear(64, 2)
        )

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2)."""
        vectors = unit(vectors)
        statistics = _statistics(cosines(vectors, self.text_proj(self.texts)))
        return self.head(torch.cat([self.adapter(vectors), statistics], -1))


def _statistics(similarities: torch.Tensor) -> torch.Tensor:
    """(B, prompts) to (B, 6): means of real, fake and all, difference, deviation, maximum."""
    real, fake = similarities[:, 0::2].mean(-1), similarities[:, 1::2].mean(-1)
    mean, deviation = similarities.mean(-1), similarities.std(-1)
    return torch.stack([real, fake, mean, real - fake, deviation, similarities.amax(-1)], -1)


def _layer(width: int, out: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(width, out), nn.ReLU(), nn.Dropout(dropout)
