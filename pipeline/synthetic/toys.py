"""Toy pictures for the demo, the tests and the benchmarks.

They look a little like faces and stand for nothing: no figure measured on them says anything about
real or generated photographs.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from clare.errors import InputError

_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "bmp": ".bmp", "tiff": ".tif"}
_LATTICE = 6
"""Grey levels of the lattice that tells a "fake" from a "real"."""


def draw_faces(
    folder: Path,
    count: int,
    seed: int,
    kind: Literal["real", "fake"] = "real",
    size: int = 256,
    format: str = "jpeg",
) -> list[Path]:
    """Draw pictures of face-like shapes, the same ones for the same arguments.

    A "fake" has a faint regular lattice laid over it, so that a detector has something to find.

    Args:
        folder: made where missing; pictures of the same names are overwritten.
        count: pictures to draw, named 0000 onwards.
        seed: other seeds give other pictures.
        kind: what to draw.
        size: side in pixels, at least 16.
        format: jpeg, png, webp, bmp or tiff.

    Returns:
        The files, in order.

    Raises:
        InputError: an argument is out of range.
    """
    if format not in _SUFFIXES:
        raise InputError(f"format {format!r} is not one of {', '.join(_SUFFIXES)}")
    if kind not in ("real", "fake"):
        raise InputError(f"kind {kind!r} is not real or fake")
    if size < 16 or count < 0:
        raise InputError("a picture needs a side of 16 pixels or more, and a count of 0 or more")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        path = folder / f"{number:04d}{_SUFFIXES[format]}"
        dice = random.Random(f"{seed} {kind} {number}")
        picture = _draw_face(dice, size)
        if kind == "fake":
            picture = ImageChops.add(picture, _lattice(size))
        picture.save(path, format, quality=92)
        paths.append(path)
    return paths


def _draw_face(dice: random.Random, size: int) -> Image.Image:
    picture = Image.linear_gradient("L").resize((size, size)).rotate(dice.choice((0, 90, 180, 270)))
    picture = Image.merge(
        "RGB", [picture.point(_tone(dice.uniform(20, 90), dice.uniform(0.2, 0.6))) for _ in "RGB"]
    )
    draw = ImageDraw.Draw(picture)
    x, y = size * dice.uniform(0.44, 0.56), size * dice.uniform(0.46, 0.56)
    half = size * dice.uniform(0.22, 0.3)
    red = dice.randint(140, 235)
    skin = (red, int(red * dice.uniform(0.7, 0.85)), int(red * dice.uniform(0.55, 0.7)))
    dark = tuple(dice.randint(10, 80) for _ in range(3))

    def oval(cx: float, cy: float, rx: float, ry: float, fill: tuple[int, ...]) -> None:
        draw.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=fill)

    oval(x, y - half * 0.35, half * 1.15, half * 1.2, dark)
    oval(x, y, half, half * dice.uniform(1.2, 1.35), skin)
    for side in (-1, 1):
        eye_x, eye_y = x + side * half * 0.42, y - half * 0.2
        oval(eye_x, eye_y, half * 0.2, half * 0.11, (240, 240, 238))
        oval(eye_x + half * dice.uniform(-0.05, 0.05), eye_y, half * 0.09, half * 0.1, dark)
    shade = tuple(int(c * 0.8) for c in skin)
    draw.polygon(
        [(x, y - half * 0.1), (x - half * 0.13, y + half * 0.35), (x, y + half * 0.4)], shade
    )
    lips = (min(255, red + 10), int(red * 0.45), int(red * 0.45))
    oval(x, y + half * 0.72, half * dice.uniform(0.25, 0.4), half * dice.uniform(0.06, 0.14), lips)
    picture = picture.filter(ImageFilter.GaussianBlur(size / 200))
    # Image.effect_noise would do, but can't be seeded.
    noise = Image.frombytes("L", (size, size), dice.randbytes(size * size)).point(
        _tone(0, 16 / 255)
    )
    return ImageChops.subtract(picture, Image.merge("RGB", (noise, noise, noise)))


def _tone(low: float, slope: float) -> list[int]:
    return [min(255, round(low + slope * value)) for value in range(256)]


def _lattice(size: int) -> Image.Image:
    cell = Image.new("RGB", (8, 8))
    cell.paste((_LATTICE, _LATTICE, _LATTICE), (0, 0, 4, 4))
    cell.paste((_LATTICE, _LATTICE, _LATTICE), (4, 4, 8, 8))
    lattice = Image.new("RGB", (size, size))
    for left in range(0, size, 8):
        lattice.paste(cell, (left, 0))
    strip = lattice.crop((0, 0, size, 8))
    for top in range(0, size, 8):
        lattice.paste(strip, (0, top))
    return lattice
