"""Fresh views of stored pixels: one a row and epoch, drawn while a training step runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clare.augmentation.recipe import draw_view, find_recipe
from clare.groups import aligned_pair
from clare.heads.base import INPUTS
from clare.heads.config import TrainConfig
from clare.store.row import Row


def pixels_of(config: TrainConfig) -> str:
    """The stored field of the pixels that a tuned tower looks at."""
    return config.detector.fields.get("pixels", INPUTS["pixels"].field)


class Augmentation:
    """Draws views of squares of pixels.

    The stored square is augmented, not the image that it was squashed from: a blur or an edge of a
    shifted image is of the square's pixels.

    Args:
        recipe: name of a recipe of views, or the path of its file.
        seed: of all views.
        rows: of a table; their content, view and the epoch decide a view, and nothing else does.
            Members of a pair that lie on each other are drawn alike, by the pair.

    Raises:
        InputError: there is no such recipe, or it is a file that the user never named.
    """

    def __init__(self, recipe: str, seed: int, rows: Sequence[Row]) -> None:
        self._recipe, self._seed, self._rows = find_recipe(recipe), seed, rows

    def draw(self, pixels: torch.Tensor, places: NDArray[np.int64], epoch: int) -> torch.Tensor:
        """The views of an epoch.

        Args:
            pixels: (B, S, S, 3) uint8, anywhere.
            places: (B,) the rows that they are of.
            epoch: counted from 1.

        Returns:
            (B, S, S, 3) uint8, on the host.
        """
        values = pixels.cpu().numpy()
        drawn = [self._draw(one, int(p), epoch) for one, p in zip(values, places, strict=True)]
        return torch.from_numpy(np.stack(drawn))

    def _draw(self, pixels: NDArray[np.uint8], place: int, epoch: int) -> NDArray[np.uint8]:
        row, image = self._rows[place], Image.fromarray(pixels)
        pair = aligned_pair(row.columns)
        named = row.content or f"{row.columns['subset']}/{row.sample_id}"
        view = draw_view(
            self._recipe,
            image.size,
            view_seed=self._seed,
            content=f"pair {pair}" if pair else f"{named}/{row.view}",
            view=epoch,
        )
        seen = view.apply(image)
        if seen.size != image.size:
            seen = seen.resize(image.size, Image.Resampling.BICUBIC)
        return np.asarray(seen)
