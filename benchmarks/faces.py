"""Finding a face: milliseconds an image, and what turns and small faces cost.

    python -m benchmarks.faces

MTCNN on one core, on pictures with one drawn face of 60 % of their shorter side. ``upright`` looks
at a picture as it is, ``turned`` at its other turns too, as `clare faces` does where doubt is left,
and ``small`` at it as it is for faces from 20 pixels on, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.foreign import read_bytes
from clare.pipeline.faces.face import Face
from clare.pipeline.faces.mtcnn import SMALLEST, Mtcnn
from clare.pipeline.faces.self_check import PICTURE
from clare.pipeline.faces.turns import find_turned
from clare.pipeline.images.decode import decode_rgb

PICTURES = ((256, 256), (512, 512), (1280, 720), (1024, 1024), (4000, 3000))
FACE = (7, 2, 190, 185)
"""Of the package's drawn picture."""

Way = Callable[[Image.Image], list[Face]]


@dataclass(frozen=True)
class Sizes:
    largest: int = 4000


def parts(sizes: Sizes, folder: Path) -> Parts:
    small, usual = Mtcnn(SMALLEST), Mtcnn()
    ways: dict[str, Way] = {
        "upright": usual.find,
        "turned": lambda image: find_turned(usual, image),
        "small": small.find,
    }
    for width, height in PICTURES:
        if width <= sizes.largest:
            picture = draw((width, height))
            yield Race(
                f"{width} x {height}, {width * height / 1e6:.2g} megapixels",
                {name: partial(find, way, picture) for name, way in ways.items()},
                [Ratio("upright", "turned"), Ratio("upright", "small")],
                share=width * height / sum(w * h for w, h in PICTURES),
            )


def find(way: Way, picture: Image.Image) -> None:
    """One turn."""
    assert way(picture), f"no face is found in {picture.size}"


def draw(size: tuple[int, int]) -> Image.Image:
    """One face on a plain ground."""
    picture = Image.new("RGB", size, (120, 140, 150))
    side = round(0.6 * min(size))
    face = decode_rgb(read_bytes(PICTURE)).crop(FACE).resize((side, side))
    picture.paste(face, ((size[0] - side) // 2, (size[1] - side) // 2))
    return picture


SCRIPT = Script("faces", __doc__, parts, Sizes(), toy=Sizes(512), full=Sizes())

if __name__ == "__main__":
    main(SCRIPT)
