"""UnivFD's linear layer over CLIP's class token.

Ojha, Li and Lee, "Towards Universal Fake Image Detectors that Generalize Across Generative Models",
CVPR 2023; facts of WisconsinAIVision/UniversalFakeDetect at 76a0e3e.
"""

from __future__ import annotations

from clare.heads.checkpoints._linear import linear_head
from clare.heads.published import (
    OPENAI,
    RN50,
    VIT_L14,
    About,
    CheckpointFormat,
    Need,
    PublishedHead,
    require_tensors,
    width_of,
)
from clare.models.checkpoint import Checkpoint

TOWERS = {768: VIT_L14, 1024: RN50}
"""By the width of the class token: the towers that its code trains on."""


class UnivFD(CheckpointFormat):
    """``weight`` (1, E) and ``bias`` (1) alone, or as ``fc.…`` beside the frozen CLIP.

    One logit, above 0 where an image is rather fake: here the logit of fake, and that of real is 0.
    """

    about = About(
        title="UnivFD (Ojha, Li, Lee, CVPR 2023)",
        url="https://github.com/WisconsinAIVision/UniversalFakeDetect",
        weights="pretrained_weights/fc_weights.pth in its repository",
        licence="MIT",
        trained_on="ProGAN and LSUN (20 classes)",
        figure="",
        needs="clip_cls of OpenAI's ViT-L/14 (768 wide); the middle 224 pixels, never resized",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """``weight`` and ``bias``, or ``fc.weight`` and ``fc.bias`` with at most CLIP beside."""
        names = set(checkpoint.tensors)
        if names == {"weight", "bias"}:
            return checkpoint.tensors["weight"].shape[:1] == (1,)
        beside = names - {"fc.weight", "fc.bias"}
        return len(names) - len(beside) == 2 and all(name.startswith("model.") for name in beside)

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The head, on the projected class token as it is."""
        prefix = "fc." if "fc.weight" in checkpoint.tensors else ""
        width = width_of(checkpoint, f"{prefix}weight", 1, TOWERS)
        shapes = {f"{prefix}weight": (1, width), f"{prefix}bias": (1,)}
        found = require_tensors(checkpoint, shapes, beside=("model.",))
        weight, bias = found[f"{prefix}weight"], found[f"{prefix}bias"]
        remarks = (
            ["CLIP's copy in the file is not read: a training that moved CLIP does not fit"]
            if len(checkpoint.tensors) > 2
            else []
        )
        images = {"crop": "centre", "crop_side": 224}
        need = Need("clip", {**OPENAI, "size": 224}, images, TOWERS[width], "openai")
        return linear_head((weight, bias), "clip_cls", need, remarks=remarks)
