"""Statistics of the cosines to six prompts beside an adapter, over ViT-B/32's class token.

Facts of mark81806/clip-deepfake-detection at ebe2ef4.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from clare.errors import InputError
from clare.heads.config import read_preset
from clare.heads.published import (
    BILINEAR,
    OPENAI,
    About,
    CheckpointFormat,
    Need,
    PublishedHead,
    require_tensors,
)
from clare.models.checkpoint import Checkpoint
from clare.models.tokenizers import open_clip_tokenizers

WIDTH = 512
ADAPTER, HEAD = "projection_adapter", "classification_head"
LAYERS = {
    f"{ADAPTER}.0": (256, WIDTH),
    f"{ADAPTER}.3": (128, 256),
    f"{HEAD}.0": (256, 128 + 6),
    f"{HEAD}.3": (64, 256),
    f"{HEAD}.6": (2, 64),
}
"""Its linear layers, out and in."""

OURS = {ADAPTER: "classifier.adapter", HEAD: "classifier.head"}
CLIP = "vision_backbone."
TOKENS = "prompt_tokens"


class TextSimilarity(CheckpointFormat):
    """``projection_adapter`` and ``classification_head``, the prompts' tokens and the frozen CLIP.

    The prompts are those of the file, read back from their tokens.
    """

    about = About(
        title="text-similarity adapter (mark81806)",
        url="https://github.com/mark81806/clip-deepfake-detection",
        weights="none published: its training writes final_model.pth and checkpoint_epoch_N.pth",
        licence="none given, so all rights reserved",
        trained_on="FaceForensics++ (C40): youtube reals and FaceSwap",
        figure="AUC .991 on NeuralTextures, beside reals that it was trained on",
        needs="clip_cls and the text side of OpenAI's ViT-B/32; images squashed to 224",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Layers of the adapter and of the head, and tokens."""
        names = checkpoint.tensors
        parts = all(any(name.startswith(f"{part}.") for name in names) for part in OURS)
        return parts and TOKENS in names

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The layers, for `text_similarity` over the class token.

        Raises:
            InputError: its prompts are no texts, in turn of a real and of a fake face.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in LAYERS.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        found = require_tensors(checkpoint, shapes, beside=(CLIP, TOKENS))
        return PublishedHead(
            config=replace(
                read_preset("text-similarity").detector,
                classifier_settings={"prompts": _prompts(checkpoint)},
            ),
            specs={"clip_cls": (WIDTH,)},
            tensors={_ours(name): value for name, value in found.items()},
            needs={
                "clip_cls": Need(
                    "clip",
                    {**OPENAI, "size": 224},
                    {},
                    ("ViT-B-32", "ViT-B-32-quickgelu"),
                    "openai",
                )
            },
            remarks=(BILINEAR,),
        )


def _ours(name: str) -> str:
    part, _, rest = name.partition(".")
    return f"{OURS[part]}.{rest}"


def _prompts(checkpoint: Checkpoint) -> list[str]:
    """The texts whose cosines the layers were trained on.

    Raises:
        InputError: the tokens in the file are no texts.
    """
    tokens = checkpoint.tensors[TOKENS]
    tokenizer = open_clip_tokenizers().SimpleTokenizer()
    rows = tokens.tolist() if tokens.dim() == 2 and tokens.numel() else []
    known = all(isinstance(n, int) and n in tokenizer.decoder for row in rows for n in row)
    if rows and known:
        texts = [tokenizer.decode(row[1 : row.index(max(row))]).strip() for row in rows]
        if torch.equal(tokenizer(texts), tokens.long()):
            return texts
    raise InputError(f"{checkpoint.path} can't be read: its {TOKENS} are no texts")
