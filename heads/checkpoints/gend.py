"""GenD: a linear layer over a tower whose LayerNorms were tuned, and that tower.

Yermakov, Cech, Matas and Fritz, "Deepfake Detection that Generalizes Across Benchmarks" (WACV 2026,
arXiv:2508.06248); facts of yermandy/GenD at e03532d.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from clare.heads.checkpoints._tuned import LAYER, TOWER, tuned_head
from clare.heads.published import BILINEAR, CLIP_IMAGES, About, CheckpointFormat, PublishedHead
from clare.models.carried import CarriedModel, clip_image_tower, dinov3_tower, pe_tower
from clare.models.checkpoint import SETTINGS, Checkpoint

SIGNS = {
    "clip": "vision_model.pre_layrnorm.weight",
    "pe": "backbone.attn_pool.latent",
    "dinov3": "backbone.embeddings.register_tokens",
}
"""A name of each tower that no other has."""

ALIGNED = (
    "it was trained on faces that were aligned by five points on a template of its own: images "
    "have to be such crops, or be aligned nearly so, as deepfakebench does"
)
UNMERGED = (
    "a training may merge DINOv3's class token with the mean of the patches, which its settings "
    "hold and which is not read: the layer is taken for one of the class token alone"
)
"""Remarks on its images and on a training's checkpoint."""


class GenD(CheckpointFormat):
    """``model.linear`` (2, D) beside ``feature_extractor``: CLIP's, PE's or DINOv3's tower.

    CLIP's tower has transformers' names below ``vision_model``, PE's those of timm below
    ``backbone``, DINOv3's transformers' there. Whether vectors are brought to unit length before
    the layer, ``config.json`` beside the file says, or the settings of a training's checkpoint.
    """

    about = About(
        title="GenD (Yermakov, Cech, Matas, Fritz, WACV 2026)",
        url="https://github.com/yermandy/GenD",
        weights="huggingface.co: yermandy/GenD_CLIP_L_14, GenD_PE_L, GenD_DINOv3_L",
        licence="MIT (its code); DINOv3's own for that tower",
        trained_on="FaceForensics++ (c23)",
        figure="",
        needs="the tower in the file, at 224 pixels; faces aligned by five points, scale 1.3",
        # Its own template is ArcFace's with a margin of 1.3, as DeepfakeBench's is too.
        aligned={"align": "deepfakebench"},
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """The linear layer, and one of the three towers under its names."""
        names = set(checkpoint.tensors)
        return set(LAYER) <= names and _kind_of(names) is not None

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The head and its tower."""
        tensors = checkpoint.tensors
        below = {n.removeprefix(TOWER): v for n, v in tensors.items() if n.startswith(TOWER)}
        kind = _kind_of(tensors)
        if kind == "clip":
            # Its projection lies there too, and is not used.
            vision = {n: v for n, v in below.items() if n != "visual_projection.weight"}
            return self._head(checkpoint, clip_image_tower(vision), "tower_cls", CLIP_IMAGES)
        backbone = {n.removeprefix("backbone."): value for n, value in below.items()}
        if kind == "pe":
            return self._head(checkpoint, pe_tower(backbone), "tower_pooled", CLIP_IMAGES)
        # DINOv3's images are squashed, as CLaRE's are.
        remarks = [BILINEAR]
        if any(fact.startswith(f"{SETTINGS}.") for fact in checkpoint.facts):
            remarks.append(UNMERGED)
        return self._head(checkpoint, dinov3_tower(backbone), "tower_cls", {}, remarks)

    def _head(
        self,
        checkpoint: Checkpoint,
        tower: CarriedModel,
        field: str,
        images: Mapping[str, Any],
        remarks: Sequence[str] = (),
    ) -> PublishedHead:
        aligned = self.about.aligned
        return tuned_head(checkpoint, tower, field, images, aligned, (ALIGNED, *remarks))


def _kind_of(names: Collection[str]) -> str | None:
    """Which tower there is."""
    return next((kind for kind, name in SIGNS.items() if TOWER + name in names), None)
