"""LaRE²: LaRE guides attention over the maps of an RN50 that was tuned with it.

Luo et al., "LaRE²: Latent Reconstruction Error Based Method for Diffusion-Generated Image
Detection" (CVPR 2024); facts of luo3300612/LaRE at f8b2966, class ``CLipClassifierWMapV6``.
"""

from __future__ import annotations

from clare.heads.checkpoints._guided import (
    LARE,
    LARE_NEED,
    NAMES,
    UNUSED,
    grid_sizes,
    guided_shapes,
)
from clare.heads.config import DetectorConfig
from clare.heads.published import About, CheckpointFormat, Need, PublishedHead, require_tensors
from clare.models.carried_clip import clip_model
from clare.models.checkpoint import Checkpoint

TOWER = "clip_model."

POSITIONS = "attn_pool.positional_embedding"

OWN = {
    "fc.weight": "classifier.layer.weight",
    "fc.bias": "classifier.layer.bias",
    "conv.weight": "fusion.spread.weight",
    "conv.bias": "fusion.spread.bias",
    POSITIONS: "fusion.attend.position",
}
"""Further names, and those of the fusion `esa` with a linear layer."""


class Lare2(CheckpointFormat):
    """The whole detector, CLIP under ``clip_model``: what its training saves."""

    about = About(
        title="LaRE² (Luo et al., CVPR 2024)",
        url="https://github.com/luo3300612/LaRE",
        weights="none is published; Val_best.pth or latest.pt of a training of one's own",
        licence="Apache-2.0 (its code)",
        trained_on="what its owner trained it on; as published Stable Diffusion 1.5 of GenImage",
        figure="",
        needs="the RN50 in the file, of the middle 224 pixels, never resized; LaRE of Stable "
        "Diffusion 1.5",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """The attention's names and a CLIP beside them."""
        names = set(checkpoint.tensors)
        return {"attn_pool.attention.fc_q.weight", f"{TOWER}visual.conv1.weight"} <= names

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The head, and the CLIP that it was trained with."""
        positions, width = grid_sizes(checkpoint, POSITIONS)
        shapes = {
            "fc.weight": (2, 3 * width),
            "fc.bias": (2,),
            POSITIONS: (positions + 1, width),
            **guided_shapes(width),
        }
        found = require_tensors(checkpoint, shapes, beside=(TOWER, UNUSED))
        found["conv.weight"] = found["conv.weight"].flatten(1)
        clip = {
            name.removeprefix(TOWER): value
            for name, value in checkpoint.tensors.items()
            if name.startswith(TOWER)
        }
        carried = clip_model(clip)
        size = carried.config["model_cfg"]["vision_cfg"]["image_size"]
        tower = Need(
            "clip",
            {"mean_std": "imagenet", "quick_gelu": True, "size": size},
            {"crop": "centre", "crop_side": size},
            sha256=carried.sha256,
        )
        return PublishedHead(
            config=DetectorConfig(fusion="esa", classifier="linear", standardize=False),
            specs={
                "clip_cls": (width,),
                "clip_tokens": (positions, width),
                "lare": LARE,
            },
            tensors={{**NAMES, **OWN}[name]: value for name, value in found.items()},
            needs={"clip_cls": tower, "clip_tokens": tower, "lare": LARE_NEED},
            remarks=(
                "its own maps of LaRE had each image's class in the prompt, and those of a store "
                "one prompt for all",
            ),
            carried=carried,
        )
