"""An image tower of timm in one pass: its pooled vector, class token, patches, and any layers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from clare.models.normalisations import NORMALISATIONS
from clare.models.runtime import Runtime
from clare.pipeline.extractors._image_tower import ImageTower, choose_blocks

if TYPE_CHECKING:
    from clare.pipeline.images.settings import ImageSettings


@dataclass(frozen=True)
class TowerSettings:
    """Settings of `tower`.

    Args:
        model: a name of timm, ``hf-hub:owner/name``, or a local folder.
        weights: a tag of the named model, or a local file or folder in place of its own weights.
        layers: blocks to store beside the last, zero-based.
        mean_std: ``own`` normalises as the model was trained; ``clip``, ``imagenet`` and ``half``
            (0.5 and 0.5) as others were.
        size: input side in pixels; None means the tower's own.
    """

    model: str = "vit_pe_core_large_patch14_336"
    weights: str | None = None
    layers: tuple[int, ...] = ()
    mean_std: Literal["own", "clip", "imagenet", "half"] = "own"
    size: int | None = None


class TowerExtractor(ImageTower):
    """Fields of a vision transformer without a text side, for N patches of width D.

    ``tower_pooled`` float32: what the tower makes of an image before a classifier (attention
    pooling, the mean of the patches or the class token, whichever is its own);
    ``tower_cls`` float32 (D,): the class token after the final norm, where the tower has one;
    ``tower_tokens`` float16 (N, D): the last block's patches before the final norm, without class
    and register tokens;
    ``tower_tokens_<k>``: the same after block k.
    """

    Settings = TowerSettings

    def __init__(self, settings: TowerSettings, images: ImageSettings, runtime: Runtime) -> None:
        from clare.models.timm_tower import load_tower
        from clare.pipeline.extractors._tower import TimmTower

        tower = load_tower(settings.model, settings.weights, settings.size)
        last = len(tower.trunk.blocks) - 1
        layers = choose_blocks(settings.layers, last, self.name)
        mean, std = NORMALISATIONS.get(settings.mean_std, (tower.mean, tower.std))
        # Blocks give the residual stream, before the final norm.
        tokens = {"tower_tokens": last, **{f"tower_tokens_{k}": k for k in layers}}
        module = TimmTower(tower.trunk, tokens, runtime, output_fmt="NLC")
        self.use(module, tower.size, mean, std, runtime)
        self.origin = tower.origin
        values = asdict(settings)
        del values["model"], values["weights"]  # where weights came from decides no value
        self.fingerprint = self.sign(
            tower.weights,
            {**values, "layers": layers, "size": tower.size},
            images,
            config=tower.config,
            dtype=runtime.dtype,
            backbone=tower.backbone,
        )
