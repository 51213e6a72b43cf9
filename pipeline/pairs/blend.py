"""Real into real: another person's face of the same source, laid over this one's.

As Li et al., "Face X-ray for More General Face Forgery Detection" (CVPR 2020), have it: there is no
generator in it, and both faces were taken alike. What is fake is the seam, and an identity that is
not the head's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clare.errors import ImageError
from clare.pipeline.images.align import similarity
from clare.pipeline.images.marks import parse_boxes, parse_points
from clare.pipeline.pair import Draft, PairKind, Photo, Pixels, mix, to_pixels
from clare.pipeline.pairs._blending import soften
from clare.pipeline.pairs._face import Mask, face_mask, neighbourhood

_LEAST = 16
"""Pixels of a face that its colours are measured on at least."""


@dataclass(frozen=True)
class BlendSettings:
    """Settings of `blend`.

    Args:
        match_colours: bring mean and deviation of the face's colours to those that it covers.
    """

    match_colours: bool = True


class Blend(PairKind):
    """The real member is the photograph as it is; the partner's face is laid over its own."""

    Settings = BlendSettings
    VERSION = 2
    needs_face = True
    needs_partner = True

    def prepare(self, photo: Photo, partner: Photo | None) -> Draft:
        """A whole pair."""
        assert partner is not None
        settings: BlendSettings = self.settings
        dice = self.dice(photo, partner.content)
        laid, covered, reached = _lay(partner, face_mask(partner, dice), photo)
        # Both faces: what lies beside the partner's is no face.
        whole = face_mask(photo, dice) * reached
        if not whole.any():
            raise ImageError("empty mask: the partner's face does not reach this one's")
        place = neighbourhood(whole)
        soft = soften(whole[place], dice)
        # A face that is seen by a quarter is no other person's.
        soft = (soft / soft.max()).astype(np.float32) * covered[place]
        face, target = laid[place], photo.pixels[place]
        if settings.match_colours:
            face = _match(face, target, soft)
        fake, mask = photo.pixels.copy(), np.zeros(whole.shape, np.uint8)
        fake[place] = mix(face, target, soft)
        mask[place] = to_pixels(255 * soft)
        return Draft(photo.pixels, mask, fake)


def _lay(partner: Photo, face: Mask, photo: Photo) -> tuple[Pixels, Mask, Mask]:
    """The partner's picture with its face where the photograph's is; 1 where the picture reaches,
    and 1 where its face does."""
    a, b, x, y = similarity(*_anchors(photo, partner))
    image, shape = Image.fromarray(partner.pixels), Image.fromarray(face)
    shrink = math.hypot(a, b)
    if shrink > 1:  # bilinear weights alone would leave out pixels of a larger face
        size = max(1, round(image.width / shrink)), max(1, round(image.height / shrink))
        a, b = a / shrink, b / shrink
        x, y = ((value + 0.5) / shrink - 0.5 for value in (x, y))
        image = image.resize(size, Image.Resampling.BICUBIC)
        shape = shape.resize(size, Image.Resampling.BILINEAR)
    # Pillow counts from the edge, and points are centres.
    there = (a, -b, 0.5 * (1 - a + b) + x, b, a, 0.5 * (1 - a - b) + y)
    how = (photo.size, Image.Transform.AFFINE, there)
    whole = Image.new("L", image.size, 255).transform(*how, Image.Resampling.BILINEAR)
    laid = np.asarray(image.transform(*how, Image.Resampling.BICUBIC))
    reached = np.asarray(shape.transform(*how, Image.Resampling.BILINEAR)) > 0.5
    return laid, (np.asarray(whole) == 255).astype(np.float32), reached.astype(np.float32)


def _anchors(photo: Photo, partner: Photo) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (N, 2) of both faces that belong together: all of them, five, or corners of boxes."""
    own, other = photo.landmarks, partner.landmarks
    if own is not None and other is not None and len(own) == len(other):
        return own, other
    try:
        if photo.face.points and partner.face.points:
            return parse_points(photo.face.points), parse_points(partner.face.points)
        if photo.face.boxes and partner.face.boxes:
            return _corners(photo.face.boxes), _corners(partner.face.boxes)
    except ValueError as error:
        raise ImageError(f"no face: {error}") from error
    raise ImageError("no face: this face and its partner's are not known by the same marks")


def _corners(boxes: str) -> NDArray[np.float64]:
    x0, y0, x1, y1 = parse_boxes(boxes)
    return np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)]) - 0.5


def _match(face: Pixels, target: Pixels, soft: Mask) -> Pixels:
    """A face with mean and deviation of the target's colours where the mask is, in YCbCr.

    After Reinhard et al., "Color Transfer between Images" (2001), in the colour space of JPEG.
    """
    inside = soft > 0.5
    if inside.sum() < _LEAST:
        return face
    one, other = (
        np.asarray(Image.fromarray(pixels).convert("YCbCr")).astype(np.float32)
        for pixels in (np.ascontiguousarray(face), np.ascontiguousarray(target))
    )
    mean, aim = one[inside].mean(0), other[inside].mean(0)
    spread = other[inside].std(0) / np.maximum(one[inside].std(0), 1)
    matched = (one - mean) * np.clip(spread, 0.5, 2) + aim
    channels = [Image.fromarray(channel) for channel in to_pixels(matched).transpose(2, 0, 1)]
    return np.asarray(Image.merge("YCbCr", channels).convert("RGB"))
