"""The detector before GenD: CLIP's tower with LayerNorms tuned by PEFT, and a linear layer.

Yermakov, Cech and Matas, "Unlocking the Hidden Potential of CLIP in Generalizable Deepfake
Detection" (arXiv:2503.19683); facts of yermandy/deepfake-detection at 0b872f7.
"""

from __future__ import annotations

from clare.heads.checkpoints._tuned import LAYER, TOWER, tuned_head
from clare.heads.published import CLIP_IMAGES, About, CheckpointFormat, PublishedHead
from clare.models.carried import clip_image_tower, without_peft
from clare.models.checkpoint import Checkpoint

PEFT = f"{TOWER}base_model.model."
"""How PEFT's names of the tower begin."""

ALIGNED = (
    "it was trained on DeepfakeBench's crops of aligned faces: images have to be such crops, or be "
    "aligned like them"
)
"""The remark on its images."""


class Yermandy(CheckpointFormat):
    """Lightning's checkpoint, or the TorchScript file of the same names.

    Each tuned LayerNorm lies there twice, as it was (``base_layer``) and tuned
    (``ln_tuning_layers.default``).
    """

    about = About(
        title="LN-tuned CLIP (Yermakov, Cech, Matas, 2025)",
        url="https://github.com/yermandy/deepfake-detection",
        weights="huggingface.co: yermandy/deepfake-detection, model.ckpt or model.torchscript",
        licence="MIT (its code)",
        trained_on="FaceForensics++ (c23)",
        figure="",
        needs="the tower in the file, at 224 pixels; DeepfakeBench's crops of faces",
        aligned={"align": "deepfakebench", "align_side": 256},
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """The linear layer, and CLIP's image tower under PEFT's names."""
        names = set(checkpoint.tensors)
        return set(LAYER) <= names and any(n.startswith(f"{PEFT}vision_model.") for n in names)

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The head, and its tower with the tuned norms."""
        tower = {
            name.removeprefix(TOWER): value
            for name, value in checkpoint.tensors.items()
            if name.startswith(TOWER)
        }
        carried = clip_image_tower(without_peft(tower))
        aligned = self.about.aligned
        return tuned_head(checkpoint, carried, "tower_cls", CLIP_IMAGES, aligned, (ALIGNED,))
