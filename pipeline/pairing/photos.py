"""From a row of a manifest to the photograph that a pair is made of."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from clare.errors import ImageError, InputError
from clare.foreign import read_bytes
from clare.pipeline.images.decode import decode_mask, decode_rgb, open_header, read_content
from clare.pipeline.images.marks import FaceMarks, parse_boxes, parse_points
from clare.pipeline.images.prepare import mask_fits
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Sample
from clare.pipeline.pair import Photo

_LANDMARKS = 1 << 20
"""Most bytes of a file of landmarks; 81 points have two thousand."""


@dataclass(frozen=True)
class JpegCoding:
    """How a JPEG was coded.

    Args:
        tables: its quantisation tables.
        sampling: of its colours, as Pillow numbers it: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
    """

    tables: list[list[int]]
    sampling: int


class PhotoReader:
    """Reads photographs with what their rows say of them; used by many threads.

    Args:
        roots: where paths start.
        side: longest side in pixels; larger photographs are scaled down.
        factor: sides are cut to multiples of it, at the right and at the bottom: so the blocks of
            a JPEG stay where they were.
        landmarks: whether files of landmarks are read.
        jpeg: whether the coding of JPEGs is asked for.
    """

    def __init__(
        self, roots: Roots, *, side: int, factor: int, landmarks: bool, jpeg: bool
    ) -> None:
        self._roots, self._side, self._factor = roots, side, factor
        self._landmarks, self._jpeg = landmarks, jpeg

    def read(self, sample: Sample) -> tuple[Photo, JpegCoding | None]:
        """A photograph, and how its file was coded where that is asked for.

        Raises:
            ImageError: the file, its mask or its landmarks can't be used, it is smaller than the
                model's blocks, or its JPEG quality is asked for and not recorded.
        """
        data = read_content(self._roots.resolve(sample))
        coding = _jpeg_coding(data) if self._jpeg else None
        image = decode_rgb(data)
        mask = self._mask(sample, image.size)
        scale = min(1.0, self._side / max(image.size))
        size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
        if scale < 1:
            image = image.resize(size, Image.Resampling.BICUBIC)
        width, height = (length - length % self._factor for length in image.size)
        if not width or not height:
            what = f"{image.width}x{image.height} pixels, and the model works on blocks of "
            raise ImageError(f"too small: {what}{self._factor}")
        box = (0, 0, width, height)
        if mask is not None:
            mask = mask.resize(size, Image.Resampling.BOX).crop(box)
        landmarks = self._points(sample) if self._landmarks and sample.landmark_path else None
        photo = Photo(
            content=hashlib.sha256(data).hexdigest(),
            pixels=np.asarray(image.crop(box)),
            face=_scaled(sample.face, scale),
            landmarks=None if landmarks is None else _moved(landmarks, scale),
            mask=None if mask is None else np.asarray(mask),
        )
        return photo, coding

    def _mask(self, sample: Sample, size: tuple[int, int]) -> Image.Image | None:
        if not sample.mask_path:
            return None
        try:
            data = read_content(self._roots.resolve(sample, sample.mask_path))
        except ImageError as error:
            raise ImageError(f"mask {error}") from error
        mask = decode_mask(data, sample.fake_in_mask)
        if not mask_fits(mask.size, size):
            raise ImageError(
                f"mask other shape: it has {mask.width}x{mask.height} pixels, and its image has "
                f"{size[0]}x{size[1]} pixels"
            )
        return mask

    def _points(self, sample: Sample) -> NDArray[np.float64]:
        path = self._roots.resolve(sample, sample.landmark_path)
        try:
            return read_landmarks(path)
        except InputError as error:
            raise ImageError(f"no face: {error}") from error


def read_landmarks(path: Path) -> NDArray[np.float64]:
    """The points of a face, (N, 2) x and y in pixels, of a ``.npy`` as DeepfakeBench writes it.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    try:
        # Pickles are refused unless one asks for them.
        found = np.load(io.BytesIO(read_bytes(path, _LANDMARKS)))
    except OSError as error:
        raise InputError(f"the landmarks {path} can't be read: {error.strerror}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"the landmarks {path} are no array") from error
    is_plain = isinstance(found, np.ndarray) and found.dtype.kind in "iuf"
    if not is_plain or found.ndim != 2 or found.shape[1] != 2 or len(found) < 5:
        raise InputError(f"the landmarks {path} are not 5 or more pairs of x and y")
    if not np.isfinite(found).all():
        raise InputError(f"the landmarks {path} hold values that are no numbers")
    return found.astype(np.float64)


def _jpeg_coding(data: bytes) -> JpegCoding:
    with open_header(io.BytesIO(data)) as image:
        tables = getattr(image, "quantization", None)
        if image.format not in ("JPEG", "MPO") or not tables:
            raise ImageError(f"no JPEG quality: the file is a {image.format}")
        sampling = JpegImagePlugin.get_sampling(image)
        return JpegCoding([list(tables[key]) for key in sorted(tables)], max(sampling, 0))


def _scaled(face: FaceMarks, scale: float) -> FaceMarks:
    """Box and points in a picture that was scaled; whole numbers of points are centres."""
    if scale == 1:
        return face
    try:
        boxes = [scale * value for value in parse_boxes(face.boxes)] if face.boxes else []
        points = _moved(parse_points(face.points), scale).ravel().tolist() if face.points else []
    except ValueError as error:
        raise ImageError(f"no face: {error}") from error
    return replace(face, boxes=_text(boxes), points=_text(points))


def _moved(points: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    return (points + 0.5) * scale - 0.5


def _text(numbers: list[float]) -> str:
    return " ".join(f"{number:.2f}" for number in numbers)
