"""One decode of a file feeds every extractor, every view and every delivery.

The order is fixed: decode and turn upright, RGB, deliver (of a row that has a delivery), align,
crop to the face box or the centre, squash (``resize``), encode again (``recode``), augment (views
above 0), squash to the size that an extractor asks for.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clare.augmentation.deliveries import Delivery
from clare.augmentation.geometry import Crop, Placement, to_shares
from clare.augmentation.photometry import recode
from clare.augmentation.recipe import View, draw_view
from clare.columns import MaskFake
from clare.errors import ImageError
from clare.pipeline.images.align import Similarity, find_transform, placement_of, warp, warp_mask
from clare.pipeline.images.boxes import centre_box, crop_box
from clare.pipeline.images.decode import decode_mask, decode_rgb
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.settings import ImageSettings

MARKED = 128
"""From this value on, of 255, a mask marks a pixel as fake."""

SLACK = 4
"""Pixels by which a side of a mask may miss that of its image, whatever the shapes."""


NOT_KNOWN = FaceMarks()


class PreparedImage:
    """One view of one image, ready for any extractor; used by one thread at a time.

    Args:
        view: number of the view; 0 is the plain image.
        content: hash of the file's bytes.
        size: width and height of the whole image in pixels, upright, as it is in the file, or was
            delivered.
        plain: the prepared image before augmentation, RGB.
        image: this view of it, RGB.
        mask: this view of the mask, mode L, of the same size; None where there is none.
        drawn: what made this view of the plain image.

    Attributes:
        face: what the manifest says of the face, in pixels of the whole image.
        alignment: what brought a part of the whole image into a square, and that one's side in
            pixels; None where none was cut out.
        cut: (3, 3), from pixels of the whole image, counted from its edges, to shares of the plain
            image's sides.
    """

    def __init__(
        self,
        view: int,
        content: str,
        size: tuple[int, int],
        plain: Image.Image,
        image: Image.Image,
        mask: Image.Image | None,
        drawn: View,
    ) -> None:
        self.view = view
        self.alignment: tuple[Similarity, int] | None = None
        self.face = NOT_KNOWN
        self.cut: Placement = to_shares(size)
        self.content = content
        self.size = size
        self._plain = plain
        self._image = image
        self._mask = mask
        self._drawn = drawn
        self._pixels: dict[int, NDArray[np.uint8]] = {}

    @property
    def noise_key(self) -> bytes:
        """What seeded noise for this image depends on: content and view, nothing else.

        A delivery has the noise of its image, which then is no part of what sets them apart.
        """
        return f"{self.content}/{self.view}".encode()

    def pixels(self, size: int) -> NDArray[np.uint8]:
        """The image squashed to a square.

        Args:
            size: side in pixels.

        Returns:
            uint8 RGB ``(size, size, 3)``, bicubic, antialiased where it shrinks. Made once a size
            and shared by the extractors, hence read-only.
        """
        if size not in self._pixels:
            pixels = np.asarray(_squash(self._image, size))
            pixels.flags.writeable = False
            self._pixels[size] = pixels
        return self._pixels[size]

    def mask(self, size: int) -> NDArray[np.uint8]:
        """The mask squashed to a square on the same grid as `pixels`.

        Args:
            size: side in pixels.

        Returns:
            uint8 ``(size, size)``: 0 where nothing is marked, 255 where it is marked most,
            whichever of the two the mask's file has in black. Where it shrinks each value is the
            mean of the area, so that nothing thin vanishes; where it grows, the nearest pixel. All
            zero where the sample names no mask.
        """
        if self._mask is None:
            return np.zeros((size, size), np.uint8)
        return np.array(_scale_mask(self._mask, (size, size)))

    @property
    def mask_is_empty(self) -> bool:
        """Whether it has a mask, and that marks nothing."""
        return self._mask is not None and is_empty(self._mask)

    @property
    def placement(self) -> Placement:
        """From pixels of the whole image, counted from its edges, to shares of this view's sides.

        Raises:
            InputError: a step of the view moves something, and does not say where to.
        """
        return self._drawn.follow(self._plain.size) @ self.cut

    def thumbnail(self, size: int = 128) -> bytes:
        """The plain image as a small JPEG, its sides' ratio kept, never enlarged.

        Args:
            size: longest side in pixels.
        """
        width, height = self._plain.size
        scale = min(1.0, size / max(width, height))
        small = self._plain.resize(
            (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BICUBIC
        )
        data = io.BytesIO()
        small.save(data, "JPEG", quality=85)
        return data.getvalue()


def is_empty(mask: Image.Image) -> bool:
    """Whether a mask marks nothing: no value reaches the middle."""
    return bool(np.asarray(mask).max() < MARKED)


def mask_fits(mask: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether a mask can be scaled to its image without being bent.

    It can where each side is at most `SLACK` pixels longer or shorter than the image's, as after a
    crop to whole blocks, or where one side follows from the other by the image's ratio, rounded.

    Args:
        mask: width and height in pixels.
        image: likewise, upright.
    """
    (width, height), (whole, high) = mask, image
    if abs(width - whole) <= SLACK and abs(height - high) <= SLACK:
        return True
    return abs(height - high * width / whole) < 1 or abs(width - whole * height / high) < 1


@dataclass(frozen=True, eq=False)
class WholeImage:
    """A file that was decoded.

    Args:
        image: RGB, upright.
        mask: mode L, 255 where it is fake, of the size of its own file; None where there is none.
        real: the real that a fake lies on, RGB and of its size, where views mix it in.
    """

    image: Image.Image
    mask: Image.Image | None = None
    real: Image.Image | None = None

    def deliver(
        self, delivery: Delivery, face: FaceMarks, content: str, seed: int
    ) -> tuple[WholeImage, FaceMarks]:
        """What a delivery makes of it, and where its face is then.

        Raises:
            ImageError: the image can't be delivered so.
        """
        image, mask = self.image, self.mask
        if mask is not None and mask.size != image.size:
            mask = _scale_mask(mask, image.size)
        try:
            drawn = delivery.view(content, image.size, seed)
            made = WholeImage(
                drawn.apply(image),
                None if mask is None else drawn.apply_to_mask(mask),
                None if self.real is None else drawn.apply(self.real),
            )
        except (OSError, ValueError, MemoryError) as error:
            what = f"{_pixels(image.size)} as {delivery.name}: {error}"
            raise ImageError(f"not deliverable: {what}") from error
        return made, face.moved(drawn.follow(image.size), image.size, made.image.size)


def decode_whole(
    data: bytes,
    mask: bytes | None = None,
    mask_fake: MaskFake = "white",
    real: bytes | None = None,
) -> WholeImage:
    """Decode an image, its mask, and the real that it lies on.

    Args:
        data: bytes of the image file.
        mask: bytes of the mask's file. A mask of another size is scaled to the image's later, if it
            has its shape; see `mask_fits`.
        mask_fake: what of the mask is fake.
        real: bytes of the file of the real that a fake lies on, for views that mix it in.

    Raises:
        ImageError: one of them can't be used; see `clare.pipeline.images.decode`.
    """
    plain = decode_rgb(data)
    plain_mask = None if mask is None else decode_mask(mask, mask_fake)
    if plain_mask is not None and not mask_fits(plain_mask.size, plain.size):
        sizes = f"{_pixels(plain_mask.size)}, and its image has {_pixels(plain.size)}"
        raise ImageError(f"mask other shape: it has {sizes}")
    beside = None if real is None else decode_rgb(real)
    if beside is not None and beside.size != plain.size:
        sizes = f"{_pixels(beside.size)}, and the fake on it {_pixels(plain.size)}"
        raise ImageError(f"pair other shape: its real has {sizes}")
    return WholeImage(plain, plain_mask, beside)


def load_views(
    data: bytes,
    settings: ImageSettings,
    views: Sequence[int],
    *,
    face: FaceMarks = NOT_KNOWN,
    mask: bytes | None = None,
    mask_fake: MaskFake = "white",
    content: str,
    pair: str = "",
    delivery: Delivery | None = None,
    real: bytes | None = None,
) -> list[PreparedImage]:
    """`decode_whole` and `prepare_views` in one."""
    return prepare_views(
        decode_whole(data, mask, mask_fake, real),
        settings,
        views,
        face=face,
        content=content,
        pair=pair,
        delivery=delivery,
    )


def prepare_views(
    whole: WholeImage,
    settings: ImageSettings,
    views: Sequence[int],
    *,
    face: FaceMarks = NOT_KNOWN,
    content: str,
    pair: str = "",
    delivery: Delivery | None = None,
) -> list[PreparedImage]:
    """Prepare the views asked for.

    Args:
        whole: the image; it stays as it is.
        settings: how to prepare it.
        views: numbers of the views; 0 is the plain image.
        face: what the manifest says of the face.
        content: hash of the file: with the view's number it seeds the augmentation, with the
            delivery's name what that draws.
        pair: whose members get the same views and deliveries: it seeds them in the content's place,
            if given.
        delivery: what is done to the image first; nothing if None.

    Raises:
        ImageError: the image can't be used.
    """
    source = f"pair {pair}" if pair else content
    if delivery is not None:
        whole, face = whole.deliver(delivery, face, source, settings.view_seed)
    plain, plain_mask, real = whole.image, whole.mask, whole.real
    size = plain.size
    try:
        plain, plain_mask, alignment, cut = _cut_out(plain, plain_mask, face, settings)
        real = None if real is None else _cut_out(real, None, face, settings)[0]
    except MemoryError as error:
        raise ImageError("too large: its alignment or crop does not fit in memory") from error
    recoding = settings.recoding()
    try:
        if recoding is not None:
            plain = recode(plain, *recoding)
            real = None if real is None else recode(real, *recoding)
        made = [
            _view(plain, plain_mask, real, settings, content, source, size, view) for view in views
        ]
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(f"not encodable: {plain.width}x{plain.height} pixels: {error}") from error
    for image in made:
        image.alignment, image.face, image.cut = alignment, face, cut
    return made


def _cut_out(
    plain: Image.Image, mask: Image.Image | None, face: FaceMarks, settings: ImageSettings
) -> tuple[Image.Image, Image.Image | None, tuple[Similarity, int] | None, Placement]:
    """Align, crop and squash an image with its mask; what brought it into a square, if one was,
    and where its pixels went, as `PreparedImage.cut` has it."""
    if mask is not None and mask.size != plain.size:
        mask = _scale_mask(mask, plain.size)
    alignment: tuple[Similarity, int] | None = None
    cut = to_shares(plain.size)
    if settings.align != "none":
        transform = find_transform(face, settings.align, settings.align_side, plain.size)
        alignment = transform, settings.align_side
        plain = warp(plain, *alignment)
        cut = to_shares(plain.size) @ placement_of(transform)
        if mask is not None:
            mask = warp_mask(mask, *alignment)
    if settings.crop != "none":
        box = (
            crop_box(face.boxes, settings.margin, plain.size)
            if settings.crop == "boxes"
            else centre_box(plain.size, settings.crop_side)
        )
        if settings.crop == "centre":
            (a, b, x, y), _ = alignment or ((1.0, 0.0, 0.0, 0.0), 0)
            alignment = (a, b, x - box[0], y - box[1]), box[2] - box[0]
        crop = Crop(box)
        cut = crop.follow(plain.size)[0] @ cut
        plain = crop.apply(plain)
        mask = None if mask is None else crop.apply_to_mask(mask)
    if settings.resize is not None:
        plain = _squash(plain, settings.resize)
        if mask is not None:
            mask = _scale_mask(mask, plain.size)
    return plain, mask, alignment, cut


def _view(
    plain: Image.Image,
    mask: Image.Image | None,
    real: Image.Image | None,
    settings: ImageSettings,
    content: str,
    source: str,
    size: tuple[int, int],
    view: int,
) -> PreparedImage:
    if view == 0:
        return PreparedImage(view, content, size, plain, plain, mask, View(()))
    drawn = draw_view(
        settings.recipe, plain.size, view_seed=settings.view_seed, content=source, view=view
    )
    drawn = drawn if real is None else drawn.beside(real)
    mask = None if mask is None else drawn.apply_to_mask(mask)
    return PreparedImage(view, content, size, plain, drawn.apply(plain), mask, drawn)


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} pixels"


def _scale_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    return mask.resize(size, Image.Resampling.BOX)


def _squash(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BICUBIC)
