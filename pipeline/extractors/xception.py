"""The map of a random Xception after its second block: the baseline tower of DeCLIP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from clare.errors import InputError
from clare.models.extraction_cost import ExtractionCost
from clare.models.normalisations import NORMALISATIONS
from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor
from clare.store.spec import FeatureSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

    from clare.pipeline.images.prepare import PreparedImage
    from clare.pipeline.images.settings import ImageSettings


@dataclass(frozen=True)
class XceptionSettings:
    """Settings of `xception`.

    Args:
        size: input side in pixels.
        seed: of the weights.

    Raises:
        InputError: the size leaves no map, or the seed is negative.
    """

    size: int = 224
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 16:
            raise InputError(f"size must be at least 16 pixels, not {self.size}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, not {self.seed}")


class XceptionExtractor(Extractor):
    """Field ``xception``: float16 (784, 256), 28 x 28 positions row by row, for 224 pixels.

    Its weights are random: nothing was learnt, on ImageNet or elsewhere. The tower that DeCLIP
    (bit-ml/DeCLIP at 09d4293) calls ``xceptionnet`` is patch-forensics' Xception (Chai et al., ECCV
    2020) cut after block 2, and no weights are loaded into it. That code runs it under the decoder
    ``linear`` alone, and wrongly: one weight a position is applied to each channel, and the 256
    channels are laid out as a 16 x 16 picture. Positions as tokens, and other decoders on them,
    are ours. Its norms' statistics, which move there in training, stay at 0 and 1 here.
    """

    Settings = XceptionSettings

    def __init__(self, settings: XceptionSettings, images: ImageSettings, runtime: Runtime) -> None:
        import torch

        from clare.pipeline.models.xception import WIDTH, map_side, random_beginning, weights_digest

        self._runtime, self._size = runtime, settings.size
        model = random_beginning(settings.seed)
        weights = weights_digest(model)
        placed = runtime.place(model)
        self._model = torch.compile(placed, dynamic=False) if runtime.compile else placed
        mean, std = NORMALISATIONS["clip"]  # which DeCLIP gives this tower too
        self._mean = torch.tensor(mean).view(1, 3, 1, 1).to(runtime.device)
        self._std = torch.tensor(std).view(1, 3, 1, 1).to(runtime.device)
        shape = (map_side(settings.size) ** 2, WIDTH)
        self.fields = (FeatureSpec("xception", shape, "float16"),)
        self.fingerprint = self.sign(weights, asdict(settings), images, dtype=runtime.dtype)

    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """``pixels``: uint8 (S, S, 3)."""
        return {"pixels": image.pixels(self._size)}

    def cost(self) -> ExtractionCost:
        """One pass of the network."""
        return self.cost_over_pixels(self._size)

    def forward(self, inputs: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """The map as tokens."""
        import torch

        runtime = self._runtime
        with torch.inference_mode():
            pixels = runtime.tensor(inputs["pixels"]).permute(0, 3, 1, 2).float()
            images = (pixels / 255 - self._mean) / self._std
            images = images.to(runtime.torch_dtype, memory_format=runtime.memory_format)
            return {"xception": self._model(images).flatten(2).transpose(1, 2).half()}
