"""CLIP's image tower in one pass: class vectors, patch tokens, and any layers asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from clare.advice import Name, Set
from clare.errors import InputError
from clare.models.normalisations import NORMALISATIONS
from clare.models.runtime import Runtime
from clare.pipeline.extractors._image_tower import ImageTower, choose_blocks

if TYPE_CHECKING:
    from clare.pipeline.extractors._tower import ClipTower
    from clare.pipeline.images.settings import ImageSettings


@dataclass(frozen=True)
class ClipSettings:
    """Settings of `clip`.

    Args:
        model: a name of open_clip, ``hf-hub:owner/name``, or a local folder.
        weights: a tag of the named model, or a local file or folder; None means ``openai``.
        layers: further blocks to store, zero-based; ``layer1`` to ``layer4`` for ResNets.
        mean_std: ``clip`` normalises as the model was trained, ``half`` with 0.5 and 0.5,
            ``imagenet`` with ImageNet's mean and deviation.
        size: input side in pixels; None means the tower's own.
        quick_gelu: whether the towers use QuickGELU; ``auto`` knows it from the weights.
    """

    model: str = "ViT-L-14"
    weights: str | None = None
    layers: tuple[int | str, ...] = ()
    mean_std: Literal["clip", "half", "imagenet"] = "clip"
    size: int | None = None
    quick_gelu: bool | Literal["auto"] = "auto"


class ClipExtractor(ImageTower):
    """Fields of one image tower, for N tokens of width D.

    ``clip_cls`` float32 (E,): pooled, normed by ln_post and projected, not of unit length;
    ``clip_cls_pre`` float32: the same before the projection, where the tower has one;
    ``clip_tokens`` float16 (N, D): the last block's patches before ln_post (ResNet: layer3);
    ``clip_tokens_<k>``: the residual stream after block k.
    """

    Settings = ClipSettings

    def __init__(self, settings: ClipSettings, images: ImageSettings, runtime: Runtime) -> None:
        from clare.models.clip import load_clip

        clip = load_clip(settings.model, settings.weights, settings.quick_gelu, settings.size)
        visual = clip.visual
        own = visual.image_size
        size = int(own[0] if isinstance(own, tuple | list) else own)
        self._text, self._text_metadata = clip.text, clip.text_metadata
        self._tokenizer = clip.tokenizer
        mean, std = clip.mean, clip.std
        if settings.mean_std == "clip" and not clip.is_normalisation_known:
            raise InputError(
                f"{clip.origin['weights']} does not say what its images are normalised with, and "
                f"weights of {clip.origin['model']} are known of several kinds",
                Set("clip.mean_std", "half", "for weights of LAION-2B"),
                Name("a folder whose open_clip_config.json says it", "clip.weights"),
            )
        if settings.mean_std != "clip":
            mean, std = NORMALISATIONS[settings.mean_std]
        tower, layers = _reading(visual, settings.layers, runtime)
        self.use(tower, size, mean, std, runtime)
        self.origin = clip.origin
        values = asdict(settings)
        del values["model"], values["weights"]  # where weights came from decides no value
        values.update(layers=layers, size=size, quick_gelu=clip.quick_gelu)
        self.fingerprint = self.sign(
            clip.weights,
            values,
            images,
            config=clip.config,
            dtype=runtime.dtype,
            backbone=clip.backbone,
        )

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


def _reading(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[ClipTower, list[int | str]]:
    """How to read a tower, and the layers asked for, sorted, each once."""
    if hasattr(visual, "trunk"):
        return _read_timm(visual, layers, runtime)
    if hasattr(visual, "attnpool"):
        return _read_resnet(visual, layers, runtime)
    return _read_vit(visual, layers, runtime)


def _read_vit(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[ClipTower, list[int | str]]:
    from clare.pipeline.extractors._tower import ClipTower

    last = len(visual.transformer.resblocks) - 1
    chosen = choose_blocks(layers, last, "clip")
    # Without its projection the tower returns what comes before it; the projection is applied
    # by ours, in float32. Blocks give the residual stream, before ln_post.
    projection = visual.proj
    visual.proj = None
    tokens = {"clip_tokens": last, **{f"clip_tokens_{k}": k for k in chosen}}
    return ClipTower(visual, projection, tokens, runtime, output_fmt="NLC"), list(chosen)


def _read_resnet(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[ClipTower, list[int | str]]:
    from clare.pipeline.extractors._tower import ClipTower

    numbers = {f"layer{k}": k for k in (1, 2, 3, 4)}  # 0 is the stem
    asked = {f"layer{layer}" if isinstance(layer, int) else layer for layer in layers}
    if unknown := sorted(asked - set(numbers)):
        raise InputError(f"clip's layers of a ResNet are {', '.join(numbers)}, not {unknown[0]}")
    chosen = sorted(asked)
    tokens = {"clip_tokens": 3, **{f"clip_tokens_{name}": numbers[name] for name in chosen}}
    # The last one must be asked for: without it not all blocks run.
    indices = list(numbers.values())
    return ClipTower(visual, None, tokens, runtime, indices), list(chosen)


def _read_timm(
    visual: Any, layers: tuple[int | str, ...], runtime: Runtime
) -> tuple[ClipTower, list[int | str]]:
    from torch import nn

    from clare.pipeline.extractors._tower import ClipTower

    if not hasattr(visual.trunk, "forward_intermediates"):
        raise InputError("clip can't read this model's tower: timm gives none of its tokens")
    last = len(visual.trunk.feature_info) - 1
    chosen = choose_blocks(layers, last, "clip")
    # As with the transformers above. A head that pools, or is more than a matrix, stays.
    head = getattr(visual.head, "proj", None)
    projection = None
    if isinstance(head, nn.Linear) and head.bias is None and not hasattr(visual.head, "pool"):
        projection = head.weight.T
        visual.head = nn.Identity()
    tokens = {"clip_tokens": last, **{f"clip_tokens_{k}": k for k in chosen}}
    return ClipTower(visual, projection, tokens, runtime), list(chosen)
