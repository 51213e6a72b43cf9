"""DeCLIP's decoders over the patches of a frozen CLIP: which pixels are fake.

Smeu, Oneata and Oneata, "DeCLIP: Decoding CLIP Representations for Deepfake Localization",
WACV 2025; facts of bit-ml/DeCLIP at 09d4293.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from clare.errors import InputError
from clare.heads.config import read_preset
from clare.heads.published import (
    BILINEAR,
    OPENAI,
    RN50,
    VIT_L14,
    About,
    CheckpointFormat,
    Need,
    PublishedHead,
    require_tensors,
)
from clare.models.checkpoint import Checkpoint
from clare.wording import listed

GRIDS = {"layer1": (56, 256), "layer2": (28, 512), "layer3": (14, 1024), "layer4": (7, 2048)}
"""Side and channels of RN50's layers at 224 pixels."""

DEPTHS = {"conv-4": 4, "conv-12": 12, "conv-20": 20}
CONVOLUTIONS = (512, 256, 128, 64)
"""Channels after each of the four stages."""

NORM = ("weight", "bias", "running_mean", "running_var")
"""Of a BatchNorm."""

COUNTER = ".num_batches_tracked"
"""Likewise: training steps, which no value depends on."""


@dataclass(frozen=True)
class _Backbone:
    """What a decoder stands on.

    Args:
        needs: features by stored field, in the order in which their channels lie.
        specs: shape of one row by stored field.
        skipped: stages after which the sides are not doubled.
        scaled: whether the map is brought to 256 x 256 before the last convolution.
        tensor: one of the CLIP beside the decoder, with its shape, which tells the tower.
    """

    needs: dict[str, Need]
    specs: dict[str, tuple[int, int]]
    skipped: int
    scaled: bool
    tensor: dict[str, tuple[int, int]]

    @property
    def channels(self) -> int:
        """Of all features together."""
        return sum(width for _, width in self.specs.values())


class DeCLIP(CheckpointFormat):
    """``fc.…``, and ``att1.…`` and ``att2.…`` of `attention`; of one backbone beside its CLIP.

    The published ones are ViT-L/14's block 20, alone or with RN50's layer3, under `conv-20`; other
    files of its code's trainings are read alike. The score of an image is the mean of its map's
    probabilities, as there.
    """

    about = About(
        title="DeCLIP (Smeu, Oneata, Oneata, WACV 2025)",
        url="https://github.com/bit-ml/DeCLIP",
        weights="nine files in the Google Cloud bucket bitdefender_ml_artifacts/declip",
        licence="CC BY-NC-SA 4.0",
        trained_on="one set of Dolos (inpainted CelebA-HQ faces) or COCO-SD, as the file is named",
        figure="IoU 73.9 % on the set of Dolos that it was trained on, 34.7 % on the other three "
        "(means of the four, in the notebook of its repository)",
        needs="clip_tokens_20 of OpenAI's ViT-L/14, four files also clip_tokens_layer3 of RN50; "
        "images squashed to 224",
    )

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Numbered layers with biases, or blocks of attention, with at most CLIP beside."""
        names = [name for name in checkpoint.tensors if not name.startswith("model.")]
        own = all(re.match(r"fc\.\d+\.|att[12]\.", name) for name in names)
        return own and any(re.fullmatch(r"fc\.\d+\.bias", name) for name in names)

    def read(self, checkpoint: Checkpoint) -> PublishedHead:
        """The decoder; its file says which layer and which kind."""
        layer, kind = (_said(checkpoint, fact) for fact in ("feature_layer", "decoder_type"))
        found = _backbone(checkpoint, layer, kind)
        shapes = found.tensor | _shapes(found, kind)
        values = {n: v for n, v in checkpoint.tensors.items() if not n.endswith(COUNTER)}
        tensors = require_tensors(replace(checkpoint, tensors=values), shapes, beside=("model.",))
        remarks = [BILINEAR]
        if found.tensor:
            remarks += [
                "CLIP's copy in the file is not read: a training that moved CLIP does not fit"
            ]
        if found.tensor and found.scaled:
            remarks += ["its training moved the BatchNorm statistics of RN50, which are not read"]
        if kind == "attention":
            remarks += [
                "its patches also look at the layer's class token, which is no feature here: maps "
                "differ from those of its code"
            ]
        config = read_preset("declip-attention" if kind == "attention" else "declip").detector
        roles = dict(zip(("tokens", "tokens_2"), found.specs, strict=False))
        return PublishedHead(
            config=replace(config, decoder=kind, fields=roles),
            specs=found.specs,
            tensors={
                f"decoder.{_ours(name, found, shapes)}": value
                for name, value in tensors.items()
                if name not in found.tensor
            },
            needs=found.needs,
            remarks=tuple(remarks),
        )


def _said(checkpoint: Checkpoint, fact: str) -> str:
    """What a file says of itself.

    Raises:
        InputError: it does not.
    """
    if not isinstance(value := checkpoint.facts.get(fact), str):
        raise InputError(
            f"{checkpoint.path} can't be read: it lacks {fact}, which its training writes and "
            "which nothing else in it tells"
        )
    return value


def _backbone(checkpoint: Checkpoint, layer: str, kind: str) -> _Backbone:
    """What a file's decoder stands on.

    Raises:
        InputError: its code has no such layer or decoder there, or does not run with it.
    """
    if kind not in (known := ("linear", "attention", *DEPTHS)):
        raise InputError(
            f"{checkpoint.path} can't be read: its decoder is {kind!r}, which is none of "
            f"{listed(known)}"
        )
    first = checkpoint.tensors.get("fc.0.weight")
    width = 0 if first is None or first.dim() < 2 else first.shape[1]
    clip = any(name.startswith("model.") for name in checkpoint.tensors)
    resnet = any(name.startswith("model.visual.attnpool.") for name in checkpoint.tensors)
    if resnet:
        if layer not in GRIDS or kind not in DEPTHS:
            raise _impossible(checkpoint, layer, kind, f"RN50's layers are {listed(GRIDS)}, conv-N")
        side, channels = GRIDS[layer]
        field, need = f"clip_tokens_{layer}", _need(RN50)
        skipped = {"layer1": 2, "layer2": 1}.get(layer, 0)
        tensor = {"model.visual.attnpool.c_proj.weight": (1024, 2048)}
        return _Backbone({field: need}, {field: (side**2, channels)}, skipped, True, tensor)
    number = layer.removeprefix("layer")
    if not number.isdecimal() or int(number) > 23:
        raise _impossible(checkpoint, layer, kind, "ViT-L/14's layers are layer0 to layer23")
    field = f"clip_tokens_{int(number)}"
    needs, specs = {field: _need(VIT_L14)}, {field: (256, 1024)}
    if clip or width != 2048:
        tensor = {"model.visual.proj": (1024, 768)} if clip else {}
        return _Backbone(needs, specs, 0, False, tensor)
    if kind not in DEPTHS or layer in ("layer1", "layer2"):
        # Its code leaves out doublings by the layer's name, though the map is a ViT's.
        raise _impossible(checkpoint, layer, kind, "ViT-L/14 and RN50 together are conv-N")
    needs["clip_tokens_layer3"], specs["clip_tokens_layer3"] = _need(RN50), (196, 1024)
    return _Backbone(needs, specs, 0, True, {})


def _impossible(checkpoint: Checkpoint, layer: str, kind: str, known: str) -> InputError:
    return InputError(f"{checkpoint.path} can't be read: no {kind} of {layer} is known; {known}")


def _need(model: tuple[str, ...]) -> Need:
    return Need("clip", {**OPENAI, "size": 224}, {}, model, "openai")


def _shapes(backbone: _Backbone, kind: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a decoder as its code lays them out, by name, without counters."""
    width = backbone.channels
    if kind in DEPTHS:
        return _convolutions(backbone, DEPTHS[kind])
    shapes: dict[str, tuple[int, ...]] = {"fc.0.weight": (1, width), "fc.0.bias": (1,)}
    for block in ("att1", "att2") if kind == "attention" else ():
        layers = {
            "attn.in_proj_": (3 * width, width),
            "attn.out_proj.": (width, width),
            "mlp.c_fc.": (4 * width, width),
            "mlp.c_proj.": (width, 4 * width),
            "ln_1.": (width,),
            "ln_2.": (width,),
        }
        for name, shape in layers.items():
            shapes |= {f"{block}.{name}weight": shape, f"{block}.{name}bias": shape[:1]}
    return shapes


def _convolutions(backbone: _Backbone, depth: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    before, place = backbone.channels, 0
    for stage, width in enumerate(CONVOLUTIONS):
        for _ in range(depth // len(CONVOLUTIONS)):
            shapes[f"fc.{place}.weight"] = (width, before, 5, 5)
            norm = [f"fc.{place + 1}.{one}" for one in NORM]
            shapes |= dict.fromkeys([f"fc.{place}.bias", *norm], (width,))
            before, place = width, place + 3
        place += stage >= backbone.skipped  # a layer that doubles the sides
    place += backbone.scaled
    return shapes | {f"fc.{place}.weight": (1, before, 5, 5), f"fc.{place}.bias": (1,)}


def _ours(name: str, backbone: _Backbone, shapes: dict[str, tuple[int, ...]]) -> str:
    """A tensor's name in our decoder, which does not scale a map of 256 x 256 to 256 x 256."""
    last = list(shapes)[-1].removesuffix("bias")
    if len(backbone.specs) > 1 and name.startswith(last):
        return f"fc.{int(last.split('.')[1]) - 1}.{name.removeprefix(last)}"
    return name
