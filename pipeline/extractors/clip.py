"""CLIP's image tower in one pass: class vectors, patch tokens, and any layers asked for."""

from __future__ import annotations

from clare.models.towers import ClipSettings
from clare.pipeline.extractors._image_tower import ImageTower


class ClipExtractor(ImageTower):
    """Fields of one image tower, for N tokens of width D.

    ``clip_cls`` float32 (E,): pooled, normed by ln_post and projected, not of unit length;
    ``clip_cls_pre`` float32: the same before the projection, where the tower has one;
    ``clip_tokens`` float16 (N, D): the last block's patches before ln_post (ResNet: layer3);
    ``clip_tokens_<k>``: the residual stream after block k;
    ``clip_cls_<k>`` float32 (D,): its class token, if asked for.
    """

    Settings = ClipSettings
