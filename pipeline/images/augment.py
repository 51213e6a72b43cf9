"""Seeded augmentations: the same view of the same image everywhere, geometry apart from the rest.

Geometry is drawn once per view, before anything knows an extractor, and is applied to image and
mask alike: what two extractors say of one place stays about one place. Blur and compression touch
the image alone.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageFilter

AREA = (0.8, 1.0)
"""Share of the image that a view's crop covers."""
ASPECT = (0.95, 1.05)
"""Width to height of the crop, against that of the image."""
MAX_BLUR = 3.0 / 256
"""Largest deviation of the Gaussian blur against the side: that of Wang et al. 2020 (CNNDetection)
in pixels of a 256-pixel image. In an image's own pixels the larger ones, often all of one label,
would hardly be blurred."""
JPEG_QUALITY = (40, 100)


@dataclass(frozen=True)
class Geometry:
    """A crop in whole pixels, then perhaps a mirror image.

    Args:
        box: left, top, right, bottom.
        flip: mirror left and right.
    """

    box: tuple[int, int, int, int]
    flip: bool

    def apply(self, image: Image.Image) -> Image.Image:
        """Crop and flip an image or a mask of the size that the geometry was drawn for."""
        cropped = image.crop(self.box)
        return cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else cropped


@dataclass(frozen=True)
class Photometry:
    """What changes values and moves nothing.

    Args:
        blur: deviation of a Gaussian blur in pixels; 0 for none.
        quality: of a JPEG round trip; None for none.
    """

    blur: float
    quality: int | None

    def apply(self, image: Image.Image) -> Image.Image:
        """Blur and compress an RGB image."""
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        return image if self.quality is None else recode(image, "JPEG", self.quality)


def draw_view(
    size: tuple[int, int], *, view_seed: int, content: str, view: int
) -> tuple[Geometry, Photometry]:
    """Draw the augmentation of one view.

    Crop: area uniform in `AREA`, aspect uniform in `ASPECT` (a random resized crop that hardly
    distorts), place uniform. Flip, blur (deviation uniform to `MAX_BLUR`) and JPEG (quality uniform
    in `JPEG_QUALITY`) each with probability one half.

    Args:
        size: width and height of the image, in pixels.
        view_seed: seed of all views.
        content: hash of the image's bytes.
        view: number of the view, at least 1.
    """
    seed = hashlib.sha256(f"clare view\n{view_seed}\n{content}\n{view}".encode()).digest()
    # Python promises this generator's sequence for all versions; NumPy does not promise its own.
    uniform = random.Random(int.from_bytes(seed, "big")).random
    width, height = size
    area, aspect = _between(AREA, uniform()), _between(ASPECT, uniform())
    crop_width = min(width, max(1, round(width * math.sqrt(area * aspect))))
    crop_height = min(height, max(1, round(height * math.sqrt(area / aspect))))
    left = int(uniform() * (width - crop_width + 1))
    top = int(uniform() * (height - crop_height + 1))
    geometry = Geometry(
        (left, top, left + crop_width, top + crop_height),
        flip=uniform() < 0.5,
    )
    blurs, blur, compresses, quality = uniform() < 0.5, uniform(), uniform() < 0.5, uniform()
    low, high = JPEG_QUALITY
    return geometry, Photometry(
        blur=MAX_BLUR * blur * math.sqrt(crop_width * crop_height) if blurs else 0.0,
        quality=low + int(quality * (high - low + 1)) if compresses else None,
    )


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


def _between(limits: tuple[float, float], share: float) -> float:
    low, high = limits
    return low + (high - low) * share
