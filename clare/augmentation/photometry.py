"""Steps that change values and move nothing."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from clare.augmentation.dice import Dice
from clare.augmentation.geometry import Step


@dataclass(frozen=True)
class Jpeg(Step):
    """Encoded as JPEG, baseline and 4:2:0, and decoded again.

    Args:
        quality: 1 to 100.
    """

    quality: int

    def apply(self, image: Image.Image) -> Image.Image:
        """The image after the round trip."""
        return recode(image, "JPEG", self.quality)


@dataclass(frozen=True)
class FastBlur(Step):
    """Pillow's Gaussian blur, which three box blurs come near to, at a cost without regard to it.

    Args:
        deviation: in pixels.
    """

    deviation: float

    def apply(self, image: Image.Image) -> Image.Image:
        """The image, blurred."""
        return image.filter(ImageFilter.GaussianBlur(self.deviation))


@dataclass(frozen=True)
class KernelBlur(Step):
    """A convolution with a Gaussian of few pixels, the image mirrored at its edges, rounded.

    Equal to torchvision's ``gaussian_blur`` but for single values, which then differ by 1 of 255:
    its sums are of single precision. Without a deviation equal to OpenCV's.

    Args:
        width: of the kernel in pixels, an odd number.
        height: likewise.
        deviation: in pixels, along both axes. None takes OpenCV's kernels of 3, 5 and 7 pixels.
    """

    width: int
    height: int
    deviation: float | None = None

    def apply(self, image: Image.Image) -> Image.Image:
        """The image, blurred."""
        from scipy import ndimage

        values: NDArray[np.float64] = ndimage.correlate1d(
            np.asarray(image), self._kernel(self.height), 0, output=np.float64, mode="mirror"
        )
        ndimage.correlate1d(values, self._kernel(self.width), 1, output=values, mode="mirror")
        values += 0.5
        return Image.fromarray(values.astype(np.uint8))

    def _kernel(self, size: int) -> NDArray[np.float64]:
        if self.deviation is None:
            return np.array(_OPENCV[size])
        away = (np.arange(size) - size // 2) / self.deviation
        weights = np.exp(-(away**2) / 2)
        return weights / weights.sum()


_OPENCV: Mapping[int, tuple[float, ...]] = MappingProxyType(
    {
        3: (1 / 4, 1 / 2, 1 / 4),
        5: (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16),
        7: (1 / 32, 7 / 64, 7 / 32, 9 / 32, 7 / 32, 7 / 64, 1 / 32),
    }
)
"""Its weights of a Gaussian whose deviation is left to it."""


@dataclass(frozen=True)
class ScipyBlur(Step):
    """SciPy's ``gaussian_filter`` of each channel in 8 bits, which cuts fractions off twice.

    As CNNDetection (Wang et al. 2020) and UnivFD call it: an image grows darker by up to 2 of 255.

    Args:
        deviation: in pixels; the filter ends at four of them.
    """

    deviation: float

    def apply(self, image: Image.Image) -> Image.Image:
        """The image, blurred."""
        from scipy import ndimage

        return Image.fromarray(
            ndimage.gaussian_filter(np.asarray(image), (self.deviation, self.deviation, 0))
        )


@dataclass(frozen=True)
class Jitter(Step):
    """Brightness, contrast, saturation and hue, one after the other, as torchvision has them.

    Args:
        changes: names and factors in their order; of hue a share of the circle, -0.5 to 0.5.
    """

    changes: tuple[tuple[str, float], ...]

    @classmethod
    def draw(cls, dice: Dice, **most: float) -> Jitter:
        """Factors between 1 minus and 1 plus the most of each, in random order.

        Args:
            dice: of the view.
            most: by name, the largest change; of hue between minus and plus it.
        """
        changes = []
        for name in dice.shuffled(sorted(most)):
            middle = 0.0 if name == "hue" else 1.0
            changes.append((name, dice.uniform(middle - most[name], middle + most[name])))
        return cls(tuple(changes))

    def apply(self, image: Image.Image) -> Image.Image:
        """The image in other colours."""
        for name, factor in self.changes:
            if name == "hue":
                image = _turn_hue(image, factor)
            else:
                image = _ENHANCERS[name](image).enhance(factor)
        return image


_ENHANCERS: Mapping[str, Callable[[Image.Image], ImageEnhance._Enhance]] = MappingProxyType(
    {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
    }
)


def _turn_hue(image: Image.Image, share: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shift = math.trunc(share * 255)
    turned = hue.point([(step + shift) % 256 for step in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


@dataclass(frozen=True)
class Noise(Step):
    """Normal noise of each value, rounded and cut off at 0 and 255.

    Args:
        deviation: of 255.
        key: seed of the noise.
    """

    deviation: float
    key: int

    @classmethod
    def draw(cls, dice: Dice, deviation: float) -> Noise:
        """Noise with a key of its own."""
        return cls(deviation, dice.whole(0, 2**53 - 1))

    def apply(self, image: Image.Image) -> Image.Image:
        """The image with noise on it."""
        values = np.asarray(image)
        generator = np.random.Generator(np.random.Philox(key=self.key))
        noise = generator.standard_normal(values.shape, np.float32) * np.float32(self.deviation)
        return Image.fromarray(np.clip(np.rint(values + noise), 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Mix(Step):
    """A fake with some of its own real in it, rounded. A real stays as it is: it is its own real.

    Args:
        share: of the real, 0 to 1.
        real: an image of the same size; None where there is none.
    """

    share: float
    real: Image.Image | None = None

    def beside(self, real: Image.Image) -> Mix:
        """The step for a fake that lies on this real."""
        return Mix(self.share, real)

    def apply(self, image: Image.Image) -> Image.Image:
        """The mixed image."""
        if self.real is None:
            return image
        share = np.float32(self.share)
        fake, real = (np.asarray(one).astype(np.float32) for one in (image, self.real))
        return Image.fromarray(np.rint(fake + share * (real - fake)).astype(np.uint8))


@dataclass(frozen=True)
class Grey(Step):
    """Without colour."""

    def apply(self, image: Image.Image) -> Image.Image:
        """Three equal channels: the luma of Rec. 601."""
        return image.convert("L").convert("RGB")


def recode(image: Image.Image, container: str, quality: int) -> Image.Image:
    """Write an RGB image to memory in a lossy container, and read it back.

    Args:
        image: mode RGB.
        container: JPEG (baseline, 4:2:0) or WEBP (lossy).
        quality: 1 to 100.

    Raises:
        OSError, ValueError: the container can't hold an image of this size.
    """
    data = io.BytesIO()
    if container == "JPEG":
        image.save(data, container, quality=quality, subsampling="4:2:0")
    else:
        image.save(data, container, quality=quality, method=4)
    with Image.open(data, formats=(container,)) as read:
        return read.convert("RGB")
