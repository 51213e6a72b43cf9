"""Some frames of a video file, evenly spaced and upright, and what the file lacks.

FFmpeg decodes what it can and seldom says that a file breaks off, so that is found here: by the
number of frames or the duration that the container states. Only plain containers are opened: a
playlist may name files and addresses of its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clare.errors import ImageError, InputError
from clare.pipeline.images.decode import MAX_PIXELS, open_regular
from clare.pipeline.manifests.scan import VIDEOS, suffix_of
from clare.pipeline.video import FRAMES

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf"
_HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics (ITU-T H.273, table 3) of high dynamic range."""
_SLACK = 0.25
"""Seconds, and three frames, by which a video may end before its container does."""


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Args:
        index: its place among all frames, from 0.
        seconds: since the first frame.
        pixels: uint8 RGB (H, W, 3), upright.
    """

    index: int
    seconds: float
    pixels: NDArray[np.uint8]

    def png(self) -> bytes:
        """The frame as a file: equal frames give equal bytes."""
        from PIL import Image

        file = io.BytesIO()
        # A quarter of the time of level 6, and a tenth more bytes.
        Image.fromarray(self.pixels).save(file, "PNG", compress_level=2)
        return file.getvalue()


class Video:
    """A video file.

    Args:
        path: the file.

    Attributes:
        count: frames that are in the file, once `frames` has begun.
        remarks: what is not as it should be, once `frames` is at its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.remarks: tuple[str, ...] = ()

    def frames(self, most: int = FRAMES) -> Iterator[Frame]:
        """Evenly spaced frames, the first and the last among them, one after the other.

        They are chosen by their index among those that are in the file,
        ``linspace(0, count - 1, most)`` rounded down, as DeepfakeBench's preprocessing does. Those
        that don't decode are left out, and never replaced.

        Args:
            most: how many; all, of a video that has fewer.

        Raises:
            ImageError: it is no video, has no video stream, or not one of the frames decodes; of
                the form ``reason: detail``.
        """
        with _opened(self.path) as (container, stream):
            # Not those with a time: some containers give none.
            self.count = sum(one.size > 0 for one in _packets(container, stream))
        last = max(self.count - 1, 0)
        wanted = set(np.linspace(0, last, most, dtype=int).tolist())
        given, index, ends = 0, -1, _Ends()
        with _opened(self.path) as (container, stream):
            for index, frame in enumerate(_decoded(container, stream)):
                seconds = ends.add(frame)
                if index in wanted and not frame.is_corrupt:
                    given += 1
                    yield Frame(index, seconds, _upright(frame))
            missing = _missing(container, stream, self.count, ends.seconds)
            if not given:
                why = f"; {missing}" if missing else ""
                none = (
                    f"of {len(wanted)} to be taken none decodes" if self.count else "it holds none"
                )
                raise ImageError(f"no frames: {none}{why}")
            remarks = [missing]
        if index + 1 < self.count:
            remarks.append(f"{self.count - index - 1} of {self.count} frames don't decode")
        if ends.hdr:
            remarks.append(f"HDR ({ends.hdr}): its brightness is not mapped to that of other video")
        self.remarks = tuple(filter(None, remarks))


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return suffix_of(path.name) in VIDEOS


def can_read_videos() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def require_video(what: object) -> None:
    """See that videos can be read.

    Args:
        what: asks for it, as a file's path.

    Raises:
        InputError: PyAV is not installed.
    """
    if not can_read_videos():
        raise InputError(f"{what}: videos need the package av: pip install 'clare-features[video]'")


class _Ends:
    """What is seen of all decoded frames: how long they last, and whether they are HDR."""

    def __init__(self) -> None:
        self.hdr = ""
        self._first: float | None = None
        self._last = self._step = 0.0

    def add(self, frame: Any) -> float:
        """Note a frame; gives the seconds since the first."""
        time = float(frame.time) if frame.time is not None else self._last
        if self._first is None:
            self._first = time
        elif time > self._last:
            self._step = time - self._last
        self._last = time
        self.hdr = _HDR.get(frame.color_trc, self.hdr)
        return time - self._first

    @property
    def seconds(self) -> float:
        """How long the frames last; the last one as long as the one before it."""
        return self._last - (self._first or 0.0) + self._step


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video and its stream of pictures; what FFmpeg raises over it comes as `ImageError`."""
    import av
    from av.stream import Disposition

    how = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        with open_regular(path) as file:
            if not file.read(1):
                raise ImageError("empty file: it has no bytes")
        with av.open(str(path), options=how) as container:
            streams = [
                one
                for one in container.streams.video
                if not one.disposition & Disposition.attached_pic  # the cover of a song
            ]
            if not len(container.streams):
                raise _no_video()
            if not streams:
                raise ImageError("no frames: it has no video stream")
            yield container, streams[0]
    except FileNotFoundError as error:
        raise ImageError("missing: there is no such file") from error
    except av.error.FFmpegError as error:
        raise _no_video() from error
    except (OSError, ValueError) as error:
        raise ImageError(f"unreadable: {getattr(error, 'strerror', None) or error}") from error


def _no_video() -> ImageError:
    return ImageError("not a video: no container that is known, or its index is cut off")


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[Any]:
    """Every frame that decodes; a packet that doesn't is passed over.

    Decoding is in order, without threads over frames: those drop what waits in them where a file
    breaks off, without a word.
    """
    import av

    for packet in _packets(container, stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in frames:
            if frame.width * frame.height > MAX_PIXELS:
                raise ImageError(f"too large: {frame.width}x{frame.height} pixels")
            yield frame


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Any]:
    """What is in the file of a stream, up to where it can't be read; the last packet is empty."""
    import av

    try:
        yield from container.demux(stream)
    except av.error.FFmpegError:
        return


def _upright(frame: Any) -> NDArray[np.uint8]:
    """The pixels of a frame as the display matrix of its file shows them.

    Each coded point (x, y) is shown at (a x + c y, b x + d y): ISO/IEC 14496-12, 6.2.2. Turns by
    other angles than quarters are no orientation of a camera, and ignored.
    """
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    found = [bytes(one) for one in frame.side_data if one.type.name == "DISPLAYMATRIX"]
    if not found:
        return pixels
    a, b, _, c, d = np.sign(np.frombuffer(found[0], "<i4")[:5]).tolist()
    if abs(a) == abs(d) == 1 and b == c == 0:
        across, down = a, d
    elif abs(b) == abs(c) == 1 and a == d == 0:
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    else:
        return pixels
    return np.ascontiguousarray(pixels[::down, ::across])


def _missing(container: InputContainer, stream: VideoStream, count: int, seconds: float) -> str:
    """How much of a video its file lacks, in words; empty where nothing, or nothing tells."""
    if stream.frames > count:
        return f"it breaks off: {count} of {stream.frames} frames are there"
    stated = (
        float(stream.duration * stream.time_base)
        if stream.duration and stream.time_base
        else (container.duration or 0) / 1e6
    )
    rate = stream.average_rate
    if stated - seconds <= _SLACK + (3 / float(rate) if rate else 0.0):
        return ""
    longer = ", or its sound is longer" if container.streams.audio else ""
    return f"it ends after {seconds:.2f} of {stated:.2f} s: it breaks off{longer}"
