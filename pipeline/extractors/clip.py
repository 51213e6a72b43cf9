"""CLIP's image tower in one pass: class vectors, patch tokens, and any layers asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from clare.errors import InputError
from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor, PixelModel
from clare.store.spec import FeatureSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

    from clare.pipeline.extractors._tower import Tower
    from clare.pipeline.images.prepare import PreparedImage
    from clare.pipeline.images.settings import ImageSettings


@dataclass(frozen=True)
class ClipSettings:
    """Settings of `clip`.

    Args:
        model: a name of open_clip, ``hf-hub:owner/name``, or a local folder.
        weights: a tag of the named model, or a local file or folder; None means ``openai``.
        layers: further blocks to store, zero-based; ``layer1`` to ``layer4`` for ResNets.
        mean_std: ``clip`` normalises as the model was trained, ``half`` with 0.5 and 0.5.
        size: input side in pixels; None means the tower's own.
        quick_gelu: whether the towers use QuickGELU; ``auto`` knows it from the weights.
    """

    model: str = "ViT-L-14"
    weights: str | None = None
    layers: tuple[int | str, ...] = ()
    mean_std: Literal["clip", "half"] = "clip"
    size: int | None = None
    quick_gelu: bool | Literal["auto"] = "auto"


class ClipExtractor(Extractor):
    """Fields of one image tower, for N tokens of width D.

    ``clip_cls`` float32 (E,): pooled, normed by ln_post and projected, not of unit length;
    ``clip_cls_pre`` float32: the same before the projection, where the tower has one;
    ``clip_tokens`` float16 (N, D): the last block's patches before ln_post (ResNet: layer3);
    ``clip_tokens_<k>``: the residual stream after block k.
    """

    Settings = ClipSettings

    def __init__(self, settings: ClipSettings, images: ImageSettings, runtime: Runtime) -> None:
        import torch

        from clare.models.clip import load_clip

        self._runtime = runtime
        clip = load_clip(settings.model, settings.weights, settings.quick_gelu, settings.size)
        visual = clip.visual
        own = visual.image_size
        self._size = int(own[0] if isinstance(own, tuple | list) else own)
        self._text, self._text_metadata = clip.text, clip.text_metadata
        self._tokenizer = clip.tokenizer
        half = ((0.5,) * 3, (0.5,) * 3)
        mean, std = half if settings.mean_std == "half" else (clip.mean, clip.std)
        self._mean, self._std = tuple(mean), tuple(std)
        # uint8 * scale + shift is (uint8 / 255 - mean) / std
        self._scale = (1 / (255 * torch.tensor(std))).view(1, 3, 1, 1).to(runtime.device)
        self._shift = (-torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1).to(runtime.device)
        self._tower, layers = _reading(visual, settings.layers, runtime)

        self.fields = self._measure()
        self.origin = clip.origin
        values = asdict(settings)
        del values["model"], values["weights"]  # where weights came from decides no value
        values.update(layers=layers, size=self._size, quick_gelu=clip.quick_gelu)
        self.fingerprint = self.sign(
            clip.weights,
            values,
            images,
            config=clip.config,
            dtype=runtime.dtype,
            backbone=clip.backbone,
        )

    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """``pixels``: uint8 (S, S, 3)."""
        return {"pixels": image.pixels(self._size)}

    def forward(self, inputs: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """All fields, from one pass of the tower."""
        import torch

        runtime = self._runtime
        with torch.inference_mode():
            pixels = runtime.tensor(inputs["pixels"]).permute(0, 3, 1, 2).float()
            images = pixels * self._scale + self._shift
            read = self._tower(images.to(runtime.torch_dtype, memory_format=runtime.memory_format))
            return {
                name: value.half() if name.startswith("clip_tokens") else value.float()
                for name, value in read.items()
            }

    def pixel_model(self) -> PixelModel:
        """The tower."""
        return PixelModel(self._tower, self._size, self._mean, self._std)

    def assets(self) -> dict[str, bytes]:
        """``text_tower.safetensors``, and ``tokenizer.json`` where the tower has one of its own.

        Together they rebuild the text tower without a hub.
        """
        from safetensors.torch import save

        found = {
            **super().assets(),
            "text_tower.safetensors": save(self._text, self._text_metadata),
        }
        return found if self._tokenizer is None else {**found, "tokenizer.json": self._tokenizer}

    def _measure(self) -> tuple[FeatureSpec, ...]:
        """The fields, from one blank image: towers differ too much to work their shapes out."""
        import numpy as np
        import torch

        blank = np.zeros((1, self._size, self._size, 3), np.uint8)
        with torch.compiler.set_stance("force_eager"):  # batches of one are not what will run
            read = self.forward({"pixels": blank})
        return tuple(
            FeatureSpec(name, tuple(value.shape[1:]), str(value.dtype).removeprefix("torch."))
            for name, value in read.items()
        )


def _reading(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[Tower, list[int | str]]:
    """How to read a tower, and the layers asked for, sorted, each once."""
    if hasattr(visual, "trunk"):
        return _read_timm(visual, layers, runtime)
    if hasattr(visual, "attnpool"):
        return _read_resnet(visual, layers, runtime)
    return _read_vit(visual, layers, runtime)


def _read_vit(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[Tower, list[int | str]]:
    from clare.pipeline.extractors._tower import Tower

    last = len(visual.transformer.resblocks) - 1
    chosen = _blocks(layers, last)
    # Without its projection the tower returns what comes before it; the projection is applied
    # by ours, in float32. Blocks give the residual stream, before ln_post.
    projection = visual.proj
    visual.proj = None
    tokens = {"clip_tokens": last, **{f"clip_tokens_{k}": k for k in chosen}}
    return Tower(visual, projection, tokens, runtime, output_fmt="NLC"), list(chosen)


def _read_resnet(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[Tower, list[int | str]]:
    from clare.pipeline.extractors._tower import Tower

    numbers = {f"layer{k}": k for k in (1, 2, 3, 4)}  # 0 is the stem
    asked = {f"layer{layer}" if isinstance(layer, int) else layer for layer in layers}
    if unknown := sorted(asked - set(numbers)):
        raise InputError(f"clip's layers of a ResNet are {', '.join(numbers)}, not {unknown[0]}")
    chosen = sorted(asked)
    tokens = {"clip_tokens": 3, **{f"clip_tokens_{name}": numbers[name] for name in chosen}}
    # The last one must be asked for: without it not all blocks run.
    indices = list(numbers.values())
    return Tower(visual, None, tokens, runtime, indices), list(chosen)


def _read_timm(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[Tower, list[int | str]]:
    from torch import nn

    from clare.pipeline.extractors._tower import Tower

    if not hasattr(visual.trunk, "forward_intermediates"):
        raise InputError("clip can't read this model's tower: timm gives none of its tokens")
    last = len(visual.trunk.feature_info) - 1
    chosen = _blocks(layers, last)
    # As with the transformers above. A head that pools, or is more than a matrix, stays.
    head = getattr(visual.head, "proj", None)
    projection = None
    if isinstance(head, nn.Linear) and head.bias is None and not hasattr(visual.head, "pool"):
        projection = head.weight.T
        visual.head = nn.Identity()
    tokens = {"clip_tokens": last, **{f"clip_tokens_{k}": k for k in chosen}}
    return Tower(visual, projection, tokens, runtime), list(chosen)


def _blocks(layers: tuple[int | str, ...], last: int) -> list[int]:
    """Block numbers, sorted, each once."""
    for layer in layers:
        if not isinstance(layer, int) or not 0 <= layer <= last:
            raise InputError(f"clip's layers of this model are 0 to {last}, not {layer}")
    return sorted({int(layer) for layer in layers})
