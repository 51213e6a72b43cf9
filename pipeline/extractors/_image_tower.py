"""What extractors share that read one image tower: pixels in, vectors and tokens out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clare.errors import InputError
from clare.models.runtime import Runtime
from clare.pipeline.extractor import Extractor, PixelModel
from clare.store.spec import FeatureSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

    from clare.pipeline.extractors._tower import Tower
    from clare.pipeline.images.prepare import PreparedImage


class ImageTower(Extractor):
    """Fields of one pass of a tower; tokens are stored as float16, vectors as float32."""

    def use(
        self,
        tower: Tower,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        runtime: Runtime,
    ) -> None:
        """Take a tower that is in its place, and measure its fields.

        Args:
            tower: normalised images to field -> tensor.
            size: side of its images in pixels.
            mean: of its input, R, G, B in 0 to 1.
            std: of the same.
            runtime: where it runs.
        """
        import torch

        self._tower, self._size, self._runtime = tower, size, runtime
        self._mean, self._std = tuple(mean), tuple(std)
        # uint8 * scale + shift is (uint8 / 255 - mean) / std
        self._scale = (1 / (255 * torch.tensor(std))).view(1, 3, 1, 1).to(runtime.device)
        self._shift = (-torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1).to(runtime.device)
        self.fields = self._measure()

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
                name: value.half() if "_tokens" in name else value.float()
                for name, value in read.items()
            }

    def pixel_model(self) -> PixelModel:
        """The tower."""
        return PixelModel(self._tower, self._size, self._mean, self._std)

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


def choose_blocks(layers: Sequence[int | str], last: int, extractor: str) -> list[int]:
    """Block numbers, sorted, each once.

    Raises:
        InputError: there is no such block.
    """
    for layer in layers:
        if not isinstance(layer, int) or not 0 <= layer <= last:
            raise InputError(f"{extractor}'s layers of this model are 0 to {last}, not {layer}")
    return sorted({int(layer) for layer in layers})
