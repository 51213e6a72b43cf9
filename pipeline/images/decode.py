"""From the bytes of a file to upright 8-bit RGB, or to the reason why there is none.

Every failure is an `ImageError` of the form ``reason: detail``; the reasons are few (`REASONS`),
so failures can be counted by the text before the first colon. Nothing is ever filled in: a file
that ends early is an error, not a picture with a grey half.

Pillow is given a list of containers, since its others reach from plain oddities to running
Ghostscript. Colour profiles are ignored, as they are by every published loader.
"""

from __future__ import annotations

import io
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

# Imported for what importing them does: each registers its container, which spares Pillow's search
# through all of its plugins.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from clare.columns import MaskFake
from clare.errors import ImageError
from clare.foreign import opens_itself

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Containers that are opened; a JPEG with several pictures (MPO) comes as its first. HEIC is one
more, where the package that decodes it is installed."""
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
MAX_PIXELS = 89_478_485
"""Pixels that an image may have by its header: 256 MiB as RGB, Pillow's own limit."""
MAX_SIDE = 65_500
"""Longest side, the limit of the JPEG format: views and ``recode`` pass through it."""
MAX_BYTES = 1 << 30
"""Size of a file that is still read."""
_WHOLE = 1 << 20  # most images, in one request
REASONS = (
    "missing",
    "unreadable",
    "empty file",
    "too large",
    "not an image",
    "truncated",
    "corrupt",
    "unsupported",
    "no face",
    "no box",
    "empty box",
    "other shape",
    "not encodable",
)
"""What an `ImageError` begins with; that of a mask has "mask " before it."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_QUIET_LOCK = threading.Lock()


class MissingDecoderError(ImageError):
    """The file may be whole: this installation alone can't decode its format."""


def read_content(path: Path) -> bytes:
    """All bytes of an image file.

    Raises:
        ImageError: missing, unreadable, an empty file, or too large.
        StoreError: its bucket can't be read, which tells nothing of the file.
    """
    try:
        with open_regular(path, _WHOLE) as file:
            size = size_of(file)
            if size > MAX_BYTES:
                raise ImageError(f"too large: {size} bytes, the limit is {MAX_BYTES}")
            data = file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError("missing: there is no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"unreadable: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise ImageError("empty file: it has no bytes")
    return data


def open_regular(path: Path, ahead: int = -1) -> io.BufferedReader:
    """Open a file for reading, if it is one.

    Args:
        path: of the file.
        ahead: bytes that come with the first request where the file lies in a bucket.

    Raises:
        ImageError: it is a folder, a pipe or a device.
        OSError: it is missing or unreadable.
        StoreError: its bucket can't be read.
    """
    if opens_itself(path):
        return cast(io.BufferedReader, path.open("rb", ahead))
    # Asked before opening: a pipe would block for ever.
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ImageError(
            f"unreadable: is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}"
        )
    return path.open("rb")


def size_of(file: BinaryIO) -> int:
    """All bytes of a file that was opened and not read yet."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def read_header(file: BinaryIO) -> tuple[int, int, str]:
    """Width, height and container (lower case) as an image's header states them.

    The pixels are not decoded: a file that ends early may pass. The size is that of the stored
    pixels, before any EXIF rotation.

    Raises:
        ImageError: there is no usable header.
    """
    with open_header(file) as image:
        return image.width, image.height, str(image.format).lower()


@contextmanager
def open_header(file: BinaryIO) -> Iterator[ImageFile.ImageFile]:
    """An image whose header is read and whose pixels are not.

    Raises:
        ImageError: there is no usable header, or what is asked of the image can't be read.
    """
    with _decoding(), _open(file) as image:
        yield image


def decode_rgb(data: bytes) -> Image.Image:
    """Decode an image file, turn it upright by its EXIF orientation, and bring it to 8-bit RGB.

    Transparency is laid over white; CMYK is converted without a profile (Adobe's inverted kind
    included); of an animation the first frame is taken; 16-bit samples keep their upper 8 bits.
    Samples of 32 bits, and those of 16 that are black in 8, have no known range and are refused.

    Args:
        data: the bytes of the file.

    Returns:
        A Pillow image of mode RGB.

    Raises:
        ImageError: not an image, too large, truncated, corrupt, or samples without a known range.
    """
    with _decoding(), _open(io.BytesIO(data)) as image:
        is_deep = ";16" in str(image.tile)
        rgb = _to_rgb(_upright(image))
        if is_deep and rgb.getbbox() is None:
            raise ImageError("unsupported: its 16-bit samples, below 256, have no known range")
    # Comments and the like would be written into thumbnails and coded copies.
    rgb.info = {}
    return rgb


def decode_mask(data: bytes, fake: MaskFake = "white") -> Image.Image:
    """Decode a mask, upright as `decode_rgb`, to one 8-bit channel (mode L): 255 is fake.

    Masks come with 0 and 1, 0 and 255, or 0 and 65535, as integers or floats, and mark the same:
    values are scaled by their maximum, and what is not zero stays so. Of colours the largest
    channel counts; where they are all one colour, the transparency marks.

    Args:
        data: the bytes of the file.
        fake: what of it is fake; where that is black, the values are turned round once scaled.

    Raises:
        ImageError: as for `decode_rgb`; the reason begins with "mask".
    """
    return scale_mask(mask_values(data), fake)


def mask_values(data: bytes) -> NDArray[Any]:
    """The values of a mask, (H, W), upright and as they are in the file.

    Raises:
        ImageError: see `decode_mask`.
    """
    try:
        with _decoding(), _open(io.BytesIO(data)) as image:
            values = _marks(_upright(image))
            if not np.isfinite(values).all() or values.min() < 0:
                raise ImageError("unsupported: it has values that are negative or no numbers")
            return values
    except ImageError as error:
        raise type(error)(f"mask {error}") from error


def scale_mask(values: NDArray[Any], fake: MaskFake = "white") -> Image.Image:
    """The mask that `mask_values` found, as `decode_mask` gives it."""
    top = values.max()
    if top not in (0, 255) or values.dtype.kind == "f":
        shares = values.astype(np.float64) / (top or 1)
        values = np.where(shares > 0, np.maximum(np.rint(255 * shares), 1), 0)
    marks = values.astype(np.uint8)
    return Image.fromarray(255 - marks if fake == "black" else marks)


def _marks(image: Image.Image) -> NDArray[Any]:
    """The values of a mask, as they are in the file."""
    if _is_deep(image):
        return np.asarray(image)
    if not image.has_transparency_data:
        is_grey = image.mode in ("1", "L")
        return (
            np.asarray(image.convert("L")) if is_grey else np.asarray(image.convert("RGB")).max(-1)
        )
    values = np.asarray(image.convert("RGBA"))
    colours, opacity = values[..., :3], values[..., 3]
    one_colour = (colours == colours[0, 0]).all()
    return opacity if one_colour and opacity.min() < opacity.max() else colours.max(-1)


def _open(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        if not _is_heic(file):
            raise
        image = _open_heic(file)
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"corrupt: its header says {width}x{height} pixels")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise _too_large(f"{width}x{height}")
    return image


def _is_heic(file: BinaryIO) -> bool:
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    return head[4:8] == b"ftyp" and head[8:] in _HEIC_BRANDS


def _open_heic(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise MissingDecoderError(
            "unsupported: HEIC needs the package pillow-heif, `pip install clare-features[heic]`"
        ) from error
    register_heif_opener()
    return Image.open(file, formats=("HEIF",))


def _too_large(pixels: str) -> ImageError:
    return ImageError(
        f"too large: {pixels} pixels, the limits are {MAX_PIXELS} in all and {MAX_SIDE} a side"
    )


def _upright(image: ImageFile.ImageFile) -> Image.Image:
    image.load()
    # After loading, because Pillow turns a TIFF by itself then and drops the tag.
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # a broken EXIF block, of which Pillow raises anything; the pixels are whole
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if _is_deep(image):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, as mode L. Pillow itself would clip at 255."""
    if not image.mode.startswith("I;16"):
        kind = "floats" if image.mode == "F" else "integers"
        raise ImageError(f"unsupported: 32-bit {kind} have no known range, save it with 8 or 16")
    # The upper byte, as Pillow does for 16-bit colour: grey and colour copies stay equal.
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


@contextmanager
def _decoding() -> Iterator[None]:
    """Turn whatever Pillow raises over a file into an `ImageError`, and keep it quiet."""
    # Another library may have switched on the filling of truncated images with grey.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    _quiet_pillow()
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise ImageError(f"not an image: no usable header of {known}") from error
    except Image.DecompressionBombError as error:
        # Pillow stops at twice the limit by itself; of the size it tells the product alone.
        raise _too_large(next(iter(re.findall(r"\d+", str(error))), "too many")) from error
    except MemoryError as error:
        raise ImageError("too large: it does not fit in memory") from error
    except Exception as error:
        # Decoders raise nearly every built-in exception over damaged bytes.
        detail = _detail(error)
        reason = "truncated" if "truncated" in detail.lower() else "corrupt"
        raise ImageError(f"{reason}: {detail}") from error


def _quiet_pillow() -> None:
    """Let Pillow's warnings about odd files pass unseen.

    `warnings.catch_warnings` is not safe in threads; one filter for one package, kept in front of
    all others, is.
    """
    if warnings.filters[0] != _QUIET:
        with _QUIET_LOCK:
            warnings.filterwarnings("ignore", module=_QUIET[3].pattern)


def _detail(error: Exception) -> str:
    """One short line that is the same in every run."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
    return text if len(text) <= 160 else f"{text[:159]}…"
