"""CLIPping the Deception's linear probe over the class token."""

from __future__ import annotations

from clare.heads.checkpoints._clipping import about
from clare.heads.checkpoints._linear import linear_head
from clare.heads.published import (
    OPENAI,
    VIT_L14,
    CheckpointFormat,
    Need,
    PublishedHead,
    require_tensors,
)
from clare.models.checkpoint import Checkpoint

WEIGHT, BIAS, CLIP = "fc.linear.weight", "fc.linear.bias", "feature_extractor."
WIDTH = 768


class ClippingLinear(CheckpointFormat):
    """``fc.linear`` (2, 768) in float16, beside the CLIP that it stands on."""

    about = about(
        "linear probe",
        "CLIP_linear_prob_2_epoch_100k_vit_large_with_augs.pth",
        "200k images in all, two epochs",
        84.6,
        93.6,
        "clip_cls of OpenAI's ViT-L/14; the middle 224 pixels, never resized",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """The layer's names, and at most CLIP's beside."""
        names = {name for name in checkpoint.tensors if not name.startswith(CLIP)}
        return WEIGHT in names and names <= {WEIGHT, BIAS}

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The layer, on the projected class token as it is."""
        shapes = {WEIGHT: (2, WIDTH), BIAS: (2,)}
        found = require_tensors(checkpoint, shapes, beside=(CLIP,))
        images = {"crop": "centre", "crop_side": 224}
        need = Need("clip", {**OPENAI, "size": 224}, images, VIT_L14, "openai")
        remarks = (
            "its code trains on pictures as they are and tests on some whose red and blue are "
            "swapped: its own figures are of those, and nothing is swapped here",
        )
        # CLIP's copy beside the layer is OpenAI's: the layer alone was in the optimiser.
        return linear_head((found[WEIGHT], found[BIAS]), "clip_cls", need, remarks=remarks)
