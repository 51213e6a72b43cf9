"""Self-blended images: a face blended into itself, one of the two copies recoloured.

Method: Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022). What is
fake is the seam and what does not agree across it, and no generator's trace: a detector that finds
these finds blending.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clare.pipeline.pair import Draft, PairKind, Photo, mix, to_pixels
from clare.pipeline.pairs._blending import jitter, move, soften
from clare.pipeline.pairs._face import face_mask, neighbourhood


@dataclass(frozen=True)
class SbiSettings:
    """Settings of `sbi`.

    Args:
        colours: recolour and coarsen or sharpen one of the two copies.
        shift: move and scale what is blended.
    """

    colours: bool = True
    shift: bool = True


class Sbi(PairKind):
    """The real member carries the jitter too, where the coin gave it to that copy."""

    Settings = SbiSettings
    needs_face = True

    def prepare(self, photo: Photo, partner: Photo | None) -> Draft:
        """A whole pair."""
        settings: SbiSettings = self.settings
        dice = self.dice(photo)
        whole = face_mask(photo, dice)
        place = neighbourhood(whole)
        source = target = photo.pixels
        changed = jitter(photo.pixels, dice) if settings.colours else photo.pixels
        if dice.random() < 0.5:
            source = changed
        else:
            target = changed
        face, shape = source[place], whole[place]
        if settings.shift:
            face, shape = move(face, shape, dice)
        soft = soften(shape, dice)
        fake, mask = target.copy(), np.zeros(whole.shape, np.uint8)
        fake[place] = mix(face, target[place], soft)
        mask[place] = to_pixels(255 * soft / soft.max())  # where, not how much
        return Draft(target, mask, fake)
