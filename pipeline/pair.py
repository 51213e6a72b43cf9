"""The interface that a kind of pairs implements: from a photograph to a fake that lies on it.

Both members of a pair show one photograph, pixel by pixel in the same place, and differ by what
the kind did alone. `prepare` runs in threads and makes all that needs no model; `forward` runs the
model on a batch, in the main thread.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clare.pipeline.images.marks import FaceMarks

if TYPE_CHECKING:
    from clare.models.runtime import Runtime

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB of an image, or (H, W) of a mask: 255 where it is fake."""


@dataclass(frozen=True)
class Photo:
    """A real image, decoded, and what is known of the face in it.

    Args:
        content: hash of the file's bytes: all that is random of it follows from that and the seed.
        pixels: (H, W, 3) uint8.
        face: box and points, in these pixels.
        landmarks: (N, 2) x and y of all points of the face, in these pixels; None where there are
            none.
        mask: (H, W) uint8 of the row's own mask, 255 where it marks; None where it names none.
    """

    content: str
    pixels: Pixels
    face: FaceMarks
    landmarks: NDArray[np.float64] | None = None
    mask: Pixels | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True)
class Draft:
    """A pair as far as it is made without a model.

    Args:
        real: (H, W, 3) uint8, the real member.
        mask: (H, W) uint8: 255 where the fake is fake.
        fake: (H, W, 3) uint8; None where `ModelPairKind.forward` makes it.
        keep: (H, W) float32 from 0 to 1: how much of the real member stays in what `forward` made;
            None where nothing does.
        inputs: arrays for `forward`, without the batch axis.
    """

    real: Pixels
    mask: Pixels
    fake: Pixels | None = None
    keep: NDArray[np.float32] | None = None
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def finish(self, made: Pixels) -> Draft:
        """The draft with its fake, of what a model made: (H, W, 3) uint8."""
        if self.keep is not None:
            made = mix(self.real, made, self.keep)
        return Draft(self.real, self.mask, made)


class PairKind(ABC):
    """A way to make a fake from a real image.

    Args:
        settings: an instance of `Settings`.
        runtime: where and how a model runs; None for a kind without one.
        seed: of all that is random.

    Attributes:
        Settings: frozen dataclass of the settings, with its own ``Args:``.
        VERSION: raised by hand when equal settings make other pixels.
        needs_face: whether a row without box, points and landmarks can't be used.
        needs_partner: whether a second photograph is needed.
        factor: both sides of a photograph are cut to multiples of it, in pixels.
        weights: hash of the model's weights; empty without a model.
        origin: where the weights came from.
    """

    Settings: ClassVar[type]
    VERSION: ClassVar[int] = 1
    needs_face: bool = False
    needs_partner: bool = False
    factor: int = 1
    weights: str = ""
    origin: Mapping[str, str] = {}

    def __init__(self, settings: Any, runtime: Runtime | None, seed: int) -> None:
        self.settings, self.seed = settings, seed

    @property
    def name(self) -> str:
        """The file's name."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def remarks(self) -> Sequence[str]:
        """What a user may not expect of how the fakes are made."""
        return ()

    @abstractmethod
    def prepare(self, photo: Photo, partner: Photo | None) -> Draft:
        """A pair, or the inputs of the model that makes it.

        Args:
            photo: whose sides are multiples of `factor`.
            partner: another person's, where `needs_partner` says so.

        Raises:
            ImageError: the photograph can't be used; ``reason: detail``.
        """

    def dice(self, photo: Photo, what: str = "") -> np.random.Generator:
        """Random numbers of one photograph that depend on its content and the seed alone."""
        text = f"clare pair\n{self.name}\n{self.seed}\n{photo.content}\n{what}"
        key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
        return np.random.Generator(np.random.Philox(key=key))


class ModelPairKind(PairKind):
    """A way that a model makes: `prepare` gives its inputs, on a runtime that is chosen for it."""

    @abstractmethod
    def forward(self, inputs: Mapping[str, NDArray[Any]]) -> Pixels:
        """What the model makes of a batch, (B, H, W, 3) uint8.

        Args:
            inputs: those of `prepare`, stacked; all of one size.
        """


def mix(first: Pixels, second: Pixels, share: NDArray[np.float32]) -> Pixels:
    """Two pictures over each other.

    Args:
        first: (H, W, 3) uint8.
        second: likewise.
        share: (H, W) of the first, 0 to 1.
    """
    weight = share[..., None]
    blended = weight * first.astype(np.float32) + (1 - weight) * second.astype(np.float32)
    return to_pixels(blended)


def to_pixels(values: NDArray[np.floating]) -> Pixels:
    """Values of 0 to 255, rounded and clipped."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
