"""What an extractor is: prepared images in, tensors of the stored type out.

`pipeline/extractors/` holds one extractor a file; the file's name is its public name. Its
settings are a frozen dataclass and become part of the fingerprint.
"""

from __future__ import annotations

import json
import types
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from clare.errors import InputError
from clare.models.extraction_cost import ExtractionCost
from clare.models.runtime import Runtime
from clare.store.spec import FeatureSpec, Fingerprint

if TYPE_CHECKING:
    import numpy as np
    import torch

    from clare.pipeline.images.prepare import PreparedImage
    from clare.pipeline.images.settings import ImageSettings


@dataclass(frozen=True)
class PixelModel:
    """An extractor as one torch module over pixels.

    Args:
        module: normalised images (B, 3, S, S), float32, to the extractor's fields, not yet in
            their stored types.
        size: S, the side in pixels.
        mean: that is subtracted from pixels of 0 to 1; R, G, B.
        std: that they are divided by then.
    """

    module: torch.nn.Module
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Extractor(ABC):
    """Turns prepared images into one or more stored fields.

    A subclass stands alone in its file, names its `Settings`, and sets `fields` and
    `fingerprint` when it is created, which is also when it loads its models.

    Attributes:
        name: public name: the name of the subclass's file.
        label: that it goes by beside others of its name: the name, or one with a number.
        VERSION: raised by hand when equal settings and weights give other values.
        needs_face: whether its values say where the face is, so that somebody has to know it.
        fields: what it writes.
        fingerprint: everything that decides its values.
        origin: where its weights came from. A label: equal weights from elsewhere are the same.
    """

    name: ClassVar[str]
    label: str
    VERSION: ClassVar[int] = 1
    needs_face: ClassVar[bool] = False
    Settings: ClassVar[type]
    fields: tuple[FeatureSpec, ...]
    fingerprint: Fingerprint
    origin: Mapping[str, str] = types.MappingProxyType({})

    def __init_subclass__(cls) -> None:
        cls.name = cls.label = cls.__module__.rpartition(".")[2]

    @abstractmethod
    def __init__(self, settings: Any, images: ImageSettings, runtime: Runtime) -> None: ...

    @abstractmethod
    def prepare(self, image: PreparedImage) -> dict[str, np.ndarray]:
        """One image's inputs, as numpy arrays; called from loader threads."""

    @abstractmethod
    def forward(self, inputs: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Stacked inputs ``(B, …)`` to field -> tensor ``(B, *shape)``.

        The tensors have the stored dtype and are on the device; nothing waits for them.
        """

    def pixel_model(self) -> PixelModel | None:
        """What it computes, as a module that can be taken elsewhere.

        None where the values are no function of the pixels alone, as those of seeded noise.
        """
        return None

    def cost(self) -> ExtractionCost | None:
        """What one image costs; None where that is not known."""
        return None

    def cost_over_pixels(self, size: int) -> ExtractionCost:
        """The cost where ``pixels``, uint8 (S, S, 3), are all that `prepare` gives, for `cost`."""
        import numpy as np
        import torch

        from clare.models.extraction_cost import count_operations

        blank = np.zeros((1, size, size, 3), np.uint8)
        with torch.compiler.set_stance("force_eager"):  # what is compiled can't be counted
            return ExtractionCost(count_operations(lambda: self.forward({"pixels": blank})))

    def sign(
        self, weights: str, settings: Mapping[str, Any], images: ImageSettings, **derived: Any
    ) -> Fingerprint:
        """A fingerprint of this extractor.

        Args:
            weights: sha256 of the weights; empty if there are none.
            settings: those of the extractor's settings that decide a value.
            images: how images are prepared.
            derived: what else decides a value, for example ``dtype``; None is left out.
        """
        derived = {name: value for name, value in derived.items() if value is not None}
        plain = json.loads(json.dumps({**settings, **derived, "images": images.to_json()}))
        return Fingerprint(self.name, self.VERSION, weights, plain)

    def assets(self) -> dict[str, bytes]:
        """What stage two needs beside the arrays: file name to content, the same at every call."""
        if not self.origin:
            return {}
        text = json.dumps(dict(self.origin), indent=2, sort_keys=True) + "\n"
        return {"origin.json": text.encode()}


@dataclass(frozen=True)
class SquareSettings:
    """Settings of a `HostExtractor`.

    Args:
        size: side of the stored square, in pixels.

    Raises:
        InputError: the size is not positive.
    """

    size: int = 256

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"size must be at least 1 pixel, not {self.size}")


class HostExtractor(Extractor):
    """An extractor without a model: the squares that `prepare` returns are what is stored.

    Attributes:
        channels: the axes that follow the square's own two.
    """

    Settings: ClassVar[type] = SquareSettings
    channels: ClassVar[tuple[int, ...]]

    def __init__(self, settings: SquareSettings, images: ImageSettings, runtime: Runtime) -> None:
        self.size = settings.size
        shape = (settings.size, settings.size, *self.channels)
        self.fields = (FeatureSpec(self.name, shape, "uint8"),)
        self.fingerprint = self.sign("", asdict(settings), images)

    def forward(self, inputs: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """The inputs as tensors, on the host."""
        import torch

        return {name: torch.from_numpy(array) for name, array in inputs.items()}
