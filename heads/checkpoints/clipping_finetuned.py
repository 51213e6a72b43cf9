"""CLIPping the Deception's fine-tuned CLIP: both of its towers moved, and the prompts did not.

Khan and Dang-Nguyen, "CLIPping the Deception: Adapting Vision-Language Models for Universal
Deepfake Detection" (ICMR 2024); facts of sfimediafutures/CLIPping-the-Deception at 3e8a63e.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from clare.heads.checkpoints._clipping import about
from clare.heads.checkpoints._linear import linear_head
from clare.heads.layers.cosine import unit
from clare.heads.published import (
    CLIP_IMAGES,
    OPENAI,
    CheckpointFormat,
    Need,
    PublishedHead,
    require_tensors,
)
from clare.heads.text.facts import TowerFacts
from clare.heads.text.tower import TextTower
from clare.models.carried import CarriedModel
from clare.models.carried_clip import clip_model
from clare.models.checkpoint import Checkpoint

IMAGE, TEXT, SCALE = "image_encoder.", "text_encoder.clip_model.", "logit_scale"
"""How the names of the towers begin, and what cosines are multiplied with."""

PROMPTS = ("a real photo.", "a fake photo.")


class ClippingFinetuned(CheckpointFormat):
    """A whole CLIP under ``text_encoder.clip_model``, its image tower as ``image_encoder`` too.

    The text vectors of its two prompts are constants once it is trained: here they are the rows of
    a linear layer over image vectors of unit length, times CLIP's scale.
    """

    about = about(
        "fine-tuned",
        "finetuned_1_epoch_…",
        "100k images of either kind, one epoch",
        89.4,
        96.6,
        "the CLIP in the file, at 224 pixels; the square in the middle",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Both towers, and nothing that learns beside them."""
        names = set(checkpoint.tensors)
        signs = {f"{IMAGE}conv1.weight", f"{TEXT}token_embedding.weight", SCALE}
        return signs <= names

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The two text vectors as a layer, and the CLIP whose image vectors they judge."""
        found = require_tensors(checkpoint, {SCALE: ()}, beside=(IMAGE, TEXT))
        tensors = {
            **_below(checkpoint.tensors, TEXT),
            **{f"visual.{n}": v for n, v in _below(checkpoint.tensors, IMAGE).items()},
            SCALE: found[SCALE],
        }
        carried = clip_model(tensors)
        texts = unit(_text_vectors(carried)) * found[SCALE].exp()
        size = carried.config["model_cfg"]["vision_cfg"]["image_size"]
        need = Need("clip", {**OPENAI, "size": size}, CLIP_IMAGES, sha256=carried.sha256)
        return linear_head(
            (texts, torch.zeros(2)), "clip_cls", need, normalize=True, carried=carried
        )


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def _text_vectors(carried: CarriedModel) -> torch.Tensor:
    """Those of the prompts (2, E), not of unit length."""
    config = carried.config["model_cfg"]
    facts = TowerFacts(
        text_config=config["text_cfg"],
        embed_dim=config["embed_dim"],
        quick_gelu=config["quick_gelu"],
        context_length=config["text_cfg"]["context_length"],
        tokenizer="SimpleTokenizer",
    )
    own = {n: v for n, v in carried.tensors.items() if not n.startswith("visual.")}
    return TextTower(own, facts).encode_text(PROMPTS)
