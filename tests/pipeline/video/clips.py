"""Small videos, made by PyAV."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (128, 96)
COLOURS = {"top left": (220, 30, 30), "top right": (30, 200, 30), "bottom left": (30, 30, 220)}
"""Of three corners; the fourth is grey, and brighter from frame to frame."""


def picture(index: int) -> np.ndarray:
    """A frame before it is encoded, uint8 (96, 128, 3)."""
    pixels = np.empty((*SIZE[::-1], 3), np.uint8)
    pixels[:48, :64], pixels[:48, 64:], pixels[48:, :64] = COLOURS.values()
    pixels[48:, 64:] = 20 + 4 * (index % 55)
    return pixels


def write_clip(
    path: Path,
    frames: int = 40,
    *,
    first: int = 0,
    codec: str = "libx264",
    turn: int = 0,
    seconds: list[float] | None = None,
    transfer: int = 0,
    **options: str,
) -> Path:
    """Write a video.

    Args:
        path: the file, whose ending is its container.
        frames: how many, 25 a second.
        first: number of the picture that it begins with; other numbers give other videos.
        codec: of FFmpeg.
        turn: degrees counter-clockwise by which a player shall turn it.
        seconds: when each frame is shown, where the rate varies.
        transfer: characteristics of ITU-T H.273; such a video has 10 bits.
        options: of the container.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p10le" if transfer else "yuv420p"
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        if transfer:
            stream.codec_context.color_trc = transfer
        if turn:
            stream.set_display_rotation(turn)
        if seconds:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(first + index), format="rgb24")
            if seconds:
                frame.pts, frame.time_base = round(1000 * seconds[index]), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """Write a second of silence, without pictures."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 44100), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 44100
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """The beginning of a file, as ``cut.<name>`` beside it."""
    data = path.read_bytes()
    target = path.with_name(f"cut.{path.name}")
    target.write_bytes(data[: round(share * len(data))])
    return target


def corner_colours(picture: Image.Image | np.ndarray) -> list[str]:
    """Which of the corners are where: of the top left, top right and bottom left of a picture."""
    pixels = np.asarray(picture).astype(int)
    height, width = pixels.shape[:2]
    places = [(height // 6, width // 6), (height // 6, -width // 6), (-height // 6, width // 6)]
    return [
        min(
            [*COLOURS, "bottom right"],
            key=lambda name: abs(
                pixels[place] - np.array(COLOURS.get(name, (pixels[place].mean(),) * 3))
            ).sum(),
        )
        for place in places
    ]
