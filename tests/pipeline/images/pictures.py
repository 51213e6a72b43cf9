"""Images in every container and depth, and what preparing them gives."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clare.errors import ImageError
from clare.pipeline.images.decode import (
    decode_mask,
    decode_rgb,
)
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings

SIZE = (48, 32)


def gradient(size=SIZE):
    """RGB with another ramp in each channel: no two corners are alike."""
    width, height = size
    x = np.linspace(20, 220, width)[None, :].repeat(height, 0)
    y = np.linspace(30, 200, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, (x + y) / 2], 2).astype(np.uint8))


def encoded(image, container, **options):
    data = io.BytesIO()
    image.save(data, container, **options)
    return data.getvalue()


def prepared(data, settings=None, views=(0,), **more):
    return load_views(data, settings or ImageSettings(), views, content="c" * 64, **more)


def rgb(data):
    return np.asarray(decode_rgb(data)).astype(int)


def reason(data, **more):
    with pytest.raises(ImageError) as caught:
        prepared(data, **more)
    return str(caught.value).partition(":")[0]


GREY = gradient().convert("L")
PNG16 = Image.fromarray((np.asarray(GREY).astype(np.uint16) << 8) + 37)

LOSSLESS = {
    "png": encoded(gradient(), "PNG"),
    "png optimised": encoded(gradient(), "PNG", optimize=True),
    "bmp": encoded(gradient(), "BMP"),
    "tiff": encoded(gradient(), "TIFF"),
    "tiff deflate": encoded(gradient(), "TIFF", compression="tiff_adobe_deflate"),
    "webp": encoded(gradient(), "WEBP", lossless=True),
    "opaque alpha": encoded(gradient().convert("RGBA"), "PNG"),
    "animation": encoded(
        gradient(), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", SIZE)]
    ),
}
LOSSY = {
    "jpeg": encoded(gradient(), "JPEG", quality=95),
    "progressive": encoded(gradient(), "JPEG", quality=95, progressive=True),
    "webp": encoded(gradient(), "WEBP", quality=95),
    "gif": encoded(gradient(), "GIF"),
    "palette": encoded(gradient().quantize(256), "PNG"),
    "mpo": encoded(
        gradient(), "MPO", save_all=True, append_images=[Image.new("RGB", SIZE)], quality=95
    ),
    "animated gif": encoded(
        gradient(), "GIF", save_all=True, append_images=[Image.new("RGB", SIZE, "red")]
    ),
}
GREYS = {
    "L": encoded(GREY, "PNG"),
    "L jpeg": encoded(GREY, "JPEG", quality=100),
    "LA": encoded(GREY.convert("LA"), "PNG"),
    "16-bit png": encoded(PNG16, "PNG"),
    "16-bit tiff": encoded(PNG16, "TIFF"),
    "16-bit big-endian": encoded(
        Image.frombytes("I;16B", SIZE, np.asarray(PNG16).astype(">u2").tobytes()), "TIFF"
    ),
}


def png(width, height, depth, colour, data):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def see_through():
    """Left half opaque, right half fully transparent."""
    alpha = Image.new("L", SIZE, 255)
    alpha.paste(0, (24, 0, 48, 32))
    image = gradient()
    image.putalpha(alpha)
    return image


def mask_of(image, fake="white"):
    container = "TIFF" if image.mode in ("I", "F") else "PNG"
    return np.asarray(decode_mask(encoded(image, container), fake))
