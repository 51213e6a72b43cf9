"""What the extractors share that read one image tower: pixels in, vectors and tokens out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clare.models.extraction_cost import ExtractionCost
from clare.models.runtime import Runtime
from clare.models.towers import VERSION, ClipSettings, TowerSettings, load_image_tower
from clare.models.weights import TRAINED_ON
from clare.pipeline.extractor import Extractor, PixelModel
from clare.store.spec import FeatureSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

    from clare.pipeline.images.prepare import PreparedImage
    from clare.pipeline.images.settings import ImageSettings


class ImageTower(Extractor):
    """Fields of one pass of a tower; tokens are stored as float16, vectors as float32."""

    VERSION = VERSION

    def __init__(
        self, settings: ClipSettings | TowerSettings, images: ImageSettings, runtime: Runtime
    ) -> None:
        from clare.models.image_tower import scale_and_shift

        self._tower, self._runtime = load_image_tower(settings, runtime), runtime
        tower = self._tower
        scale, shift = scale_and_shift(tower.mean, tower.std)
        self._scale, self._shift = scale.to(runtime.device), shift.to(runtime.device)
        self.fields = self._measure()
        self.origin = tower.origin
        self.fingerprint = self.sign(tower.weights, tower.settings, images)

    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """``pixels``: uint8 (S, S, 3)."""
        return {"pixels": image.pixels(self._tower.size)}

    def forward(self, inputs: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """All fields, from one pass of the tower."""
        import torch

        runtime = self._runtime
        with torch.inference_mode():
            pixels = runtime.tensor(inputs["pixels"]).permute(0, 3, 1, 2).float()
            images = pixels * self._scale + self._shift
            images = images.to(runtime.torch_dtype, memory_format=runtime.memory_format)
            return {
                name: value.half() if "_tokens" in name else value.float()
                for name, value in self._tower.module(images).items()
            }

    def pixel_model(self) -> PixelModel:
        """The tower."""
        tower = self._tower
        return PixelModel(tower.module, tower.size, tower.mean, tower.std)

    def cost(self) -> ExtractionCost:
        """One pass of the tower."""
        return self.cost_over_pixels(self._tower.size)

    def assets(self) -> dict[str, bytes]:
        """The origin; and of a CLIP what rebuilds its text tower without a hub.

        That is ``text_tower.safetensors``, and ``tokenizer.json`` where it has one of its own. Of a
        tower that was tuned also ``seen.json``, what that run was trained on.
        """
        seen = {TRAINED_ON: self._tower.seen} if self._tower.seen else {}
        return {**super().assets(), **self._tower.text(), **seen}

    def _measure(self) -> tuple[FeatureSpec, ...]:
        """The fields, from one blank image: towers differ too much to work their shapes out."""
        import numpy as np
        import torch

        blank = np.zeros((1, self._tower.size, self._tower.size, 3), np.uint8)
        with torch.compiler.set_stance("force_eager"):  # batches of one are not what will run
            read = self.forward({"pixels": blank})
        return tuple(
            FeatureSpec(name, tuple(value.shape[1:]), str(value.dtype).removeprefix("torch."))
            for name, value in read.items()
        )
