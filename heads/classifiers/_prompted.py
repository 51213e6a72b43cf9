"""What classifiers over learned or fixed prompts have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import Classifier, TextTower
from clare.heads.layers.cosine import cosines
from clare.heads.text.prompts import PromptLearner


class PromptClassifier(Classifier):
    """Cosines of the image vector to the text vectors of two learned prompts.

    ``logits = exp(logit_scale) * cos(v, W t)``. The tower that gives t is frozen; W is there only
    where the image vector's width is not that of CLIP's own space.
    """

    needs_text = True
    has_prompts = True
    prompts: PromptLearner

    def __init__(self, settings: Any, width: int, text: TextTower | None) -> None:
        super().__init__(settings, width, text)
        self.text = require_text(text)
        self.text_proj = text_projection(self.text, width)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2)."""
        texts = self.text.encode_prompts(self.prompts.tree, self.prompts(vectors))
        return self.text.logit_scale * cosines(vectors, self.text_proj(texts))

    def settled(self) -> nn.Module:
        """Where no image shifts the prompts, their texts as constants, without the tower."""
        if self.prompts.meta_net is not None:
            return self
        with torch.no_grad():
            contexts = self.prompts(torch.empty(0))
            texts = self.text_proj(self.text.encode_prompts(self.prompts.tree, contexts))
        return _SettledPrompts(texts, self.text.logit_scale)


class _SettledPrompts(nn.Module):
    """``logits = scale * cos(v, t)`` for two text vectors t, (1, 2, D)."""

    texts: torch.Tensor

    def __init__(self, texts: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("texts", texts)
        self.scale = scale

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2)."""
        return self.scale * cosines(vectors, self.texts)


def require_text(text: TextTower | None) -> TextTower:
    """The text tower.

    Raises:
        InputError: there is none.
    """
    if text is None:
        raise InputError(
            "this classifier needs the text tower of the store's CLIP: use a field of the clip "
            "extractor, or choose a classifier without text, linear or knn"
        )
    return text


def text_projection(text: TextTower, width: int) -> nn.Module:
    """From text vectors to image vectors of another width; nothing where they agree."""
    return nn.Identity() if width == text.embed_dim else nn.Linear(text.embed_dim, width)
