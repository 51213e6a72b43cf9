"""The last step of every picture, real or fake: a sensor's noise, then JPEG.

One function serves both kinds, so that neither noise nor compression tells them apart.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Camera:
    """How much a picture suffers; every picture draws its own values.

    Args:
        noise: least and most standard deviation of the noise, in grey levels.
        quality: least and most JPEG quality.
    """

    noise: tuple[float, float] = (1.0, 4.0)
    quality: tuple[int, int] = (85, 96)


CAMERA = Camera()
"""What all pictures of the miniature go through."""


def finish(pictures: np.ndarray, seed: tuple[int, ...], camera: Camera = CAMERA) -> list[bytes]:
    """JPEG files of pictures (N, H, W, 3) uint8, after noise; the same for the same seed."""
    files = []
    for number, picture in enumerate(pictures):
        dice = np.random.default_rng([4, *seed, number])
        deviation, quality = dice.uniform(*camera.noise), dice.integers(*camera.quality)
        # A sensor's noise grows with the light, and its colours are mixed from neighbours.
        grain = dice.standard_normal(picture.shape, np.float32) * 0.5
        grain += dice.standard_normal(picture.shape[:2], np.float32)[..., None] * 0.8
        strength = deviation * np.sqrt(0.4 + 1.2 * picture.astype(np.float32) / 255)
        noisy = np.clip(picture + grain * strength + 0.5, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "jpeg", quality=int(quality))
        files.append(file.getvalue())
    return files


def develop(files: list[bytes]) -> np.ndarray:
    """The pixels (N, H, W, 3) uint8 of JPEG files of one size."""
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
