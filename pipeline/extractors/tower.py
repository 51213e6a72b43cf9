"""An image tower of timm in one pass: its pooled vector, class token, patches, and any layers."""

from __future__ import annotations

from clare.models.towers import TowerSettings
from clare.pipeline.extractors._image_tower import ImageTower


class TowerExtractor(ImageTower):
    """Fields of a vision transformer without a text side, for N patches of width D.

    ``tower_pooled`` float32: what the tower makes of an image before a classifier (attention
    pooling, the mean of the patches or the class token, whichever is its own);
    ``tower_cls`` float32 (D,): the class token after the final norm, where the tower has one;
    ``tower_tokens`` float16 (N, D): the last block's patches before the final norm, without class
    and register tokens;
    ``tower_tokens_<k>``: the same after block k.
    """

    Settings = TowerSettings
