"""Linear layers on frozen modern towers, seven of them.

Zhou et al., "Simplicity Prevails: The Emergence of Generalizable AIGI Detection in Visual
Foundation Models" (arXiv:2602.01738); facts of ``models.py`` of its release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clare.errors import InputError
from clare.heads.checkpoints._linear import linear_head
from clare.heads.published import (
    BILINEAR,
    CLIP_IMAGES,
    OPENAI,
    About,
    CheckpointFormat,
    Need,
    PublishedHead,
    require_tensors,
)
from clare.models.checkpoint import Checkpoint
from clare.wording import listed

LAYER = ("head.weight", "head.bias")

SEVEN_EIGHTHS = (
    "its authors cut the middle 7/8 of the square of an image; here the whole square is taken"
)

ANTIALIASED = (
    "its code interpolates DINOv2's position embeddings without antialiasing, here it is with it, "
    "so features differ a little"
)


@dataclass(frozen=True)
class Tower:
    """A frozen tower that a layer was trained on.

    Args:
        field: that the layer reads.
        width: of the field.
        need: the features.
        remarks: in what images are not prepared as published.
    """

    field: str
    width: int
    need: Need
    remarks: tuple[str, ...] = ()


def _timm(model: str, weights: str, size: int) -> Need:
    return Need("tower", {"mean_std": "own", "size": size}, CLIP_IMAGES, (model,), weights)


TOWERS: Mapping[str, Tower] = {
    "metacliplin": Tower(
        "clip_cls_pre",
        1280,
        Need(
            "clip", {**OPENAI, "size": 224}, CLIP_IMAGES, ("ViT-H-14-quickgelu",), "metaclip_fullcc"
        ),
    ),
    "metaclip2lin": Tower(
        "clip_cls_pre",
        1664,
        Need(
            "clip",
            {"mean_std": "clip", "quick_gelu": False, "size": 224},
            CLIP_IMAGES,
            ("ViT-bigG-14-worldwide",),
            "metaclip2_worldwide",
        ),
    ),
    "sigliplin": Tower("tower_pooled", 1024, _timm("vit_large_patch16_siglip_384", "webli", 384)),
    "siglip2lin": Tower(
        "tower_pooled", 1536, _timm("vit_giantopt_patch16_siglip_384", "v2_webli", 384)
    ),
    # Its images are squashed, as PE's own code does.
    "pelin": Tower(
        "clip_cls",
        1024,
        Need("clip", {"mean_std": "clip", "size": 336}, {}, ("PE-Core-L-14-336",), "meta"),
        (BILINEAR,),
    ),
    "dinov2lin": Tower(
        "tower_cls",
        1024,
        _timm("vit_large_patch14_dinov2", "lvd142m", 224),
        (SEVEN_EIGHTHS, ANTIALIASED),
    ),
    "dinov3lin": Tower(
        "tower_cls", 4096, _timm("vit_7b_patch16_dinov3", "lvd1689m", 224), (SEVEN_EIGHTHS,)
    ),
}
"""By how the names of the published files begin, as ``sigliplin0.pth``: nothing in the layer tells
three towers of 1024 channels apart."""


class SimplicityPrevails(CheckpointFormat):
    """``head`` (2, D), and the frozen tower as ``backbone`` or nothing beside."""

    about = About(
        title="Simplicity Prevails (Zhou et al., 2026)",
        url="https://huggingface.co/Lunahera/simplicityprevails",
        weights="weights/ there: metacliplin0.pth, sigliplin0.pth, pelin0.pth and others",
        licence="Apache-2.0",
        trained_on="data that its release does not name",
        figure="",
        needs="the frozen tower that the file's name tells, of MetaCLIP, MetaCLIP 2, SigLIP, "
        "SigLIP 2, PE, DINOv2 or DINOv3",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """The layer, and at most a backbone beside it."""
        names = set(checkpoint.tensors)
        beside = names - set(LAYER)
        return set(LAYER) <= names and all(name.startswith("backbone.") for name in beside)

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The layer, on the vector of the tower that its file is named by."""
        file = checkpoint.path.name.lower()
        kind = max((one for one in TOWERS if file.startswith(one)), key=len, default=None)
        if kind is None:
            raise InputError(
                f"{checkpoint.path} does not tell its tower, which the published file's name does",
                f"name it as it was published, beginning with {listed(list(TOWERS))}",
            )
        tower = TOWERS[kind]
        shapes = {LAYER[0]: (2, tower.width), LAYER[1]: (2,)}
        found = require_tensors(checkpoint, shapes, beside=("backbone.",))
        copied = len(checkpoint.tensors) > len(LAYER)
        remark = "the tower's copy in the file is not read: a training that moved it does not fit"
        return linear_head(
            (found[LAYER[0]], found[LAYER[1]]),
            tower.field,
            tower.need,
            remarks=[*tower.remarks, *([remark] if copied else [])],
        )
