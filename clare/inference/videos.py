"""Videos among what is judged: their frames as images, and the verdict that these add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import NoReturn

import numpy as np

from clare.errors import ImageError
from clare.heads.metrics.predictions import mean_margins, p_fake
from clare.inference.verdict import Verdict
from clare.pipeline.extraction.direct import ExtractedImage, InputImage
from clare.pipeline.video.read import Frame, Video
from clare.wording import counted

Judged = tuple[Verdict, ExtractedImage | None]
"""A verdict, and what the extractors made of its image; a video as a whole has no image."""


@dataclass(frozen=True, eq=False, kw_only=True)
class VideoImage(InputImage):
    """An image of a video.

    Args:
        video: that it is of.
        frame: which one; None stands for a video that has none.
    """

    video: Video
    frame: Frame | None


def most_images(inputs: Iterable[InputImage | Video], frames: int) -> int:
    """How many images are judged at most, where so many frames of each video are."""
    return sum(frames if isinstance(one, Video) else 1 for one in inputs)


def images_of(inputs: Iterable[InputImage | Video], frames: int) -> Iterator[InputImage]:
    """Images as they are, and the frames of videos, decoded one after the other.

    A frame's bytes are those of the file that `clare.pipeline.video.frames` writes of it, so its
    score is the same as that file's.

    Args:
        inputs: images and videos.
        frames: of each video at most.
    """
    for one in inputs:
        if isinstance(one, InputImage):
            yield one
            continue
        try:
            for frame in one.frames(frames):
                yield VideoImage(one.path, frame.png, video=one, frame=frame)
        except ImageError as error:
            yield VideoImage(one.path, partial(_fail, error), video=one, frame=None)


def add_videos(
    judged: Iterable[tuple[Verdict, ExtractedImage]],
    threshold: float,
    finish: Callable[[Verdict, float], Verdict] | None = None,
) -> Iterator[Judged]:
    """Verdicts on images as they are; on frames, each with its place, and then on their video.

    Args:
        judged: in the order of `images_of`.
        threshold: margin from which on a video is called fake, as an image is.
        finish: given each verdict on a video, and the threshold; gives what is to be said.
    """
    for video, group in groupby(judged, lambda pair: getattr(pair[1].source, "video", None)):
        if video is None:
            yield from group
            continue
        found: list[Verdict] = []
        for verdict, image in group:
            frame = getattr(image.source, "frame", None)
            if frame is None:
                found.append(verdict)
                continue
            found.append(replace(verdict, level="frame", frame=frame.index, seconds=frame.seconds))
            yield found[-1], image
        whole = _of_video(video, found, threshold)
        yield (whole if finish is None else finish(whole, threshold)), None


def _of_video(video: Video, found: Sequence[Verdict], threshold: float) -> Verdict:
    """The verdict whose p(fake) is the mean of the frames', as an evaluation has it."""
    frames = tuple(replace(one, squashed=None) for one in found if one.level == "frame")
    good = [one for one in frames if one.margin is not None]
    unread = [one.failure for one in found if one.margin is None]
    if not good:
        return Verdict(
            video.path, failure=unread[0], level="video", frames=frames, remarks=video.remarks
        )
    margins = np.array([one.margin for one in good])
    margin = float(mean_margins(np.zeros(len(good), np.int64), margins)[0])
    areas = [one.fake_area for one in good if one.fake_area is not None]
    failed = [f"{counted(len(unread), 'frame')} not judged: {unread[0]}"] if unread else []
    return Verdict(
        path=video.path,
        label="fake" if margin >= threshold else "real",
        p_fake=float(p_fake(margin)),
        margin=margin,
        seen=_any_seen(good),
        size=good[0].size,
        fake_area=float(np.mean(areas)) if areas else None,
        level="video",
        frames=frames,
        remarks=(*video.remarks, *failed),
    )


def _any_seen(frames: Sequence[Verdict]) -> bool | None:
    """Whether a frame of them was seen; None where nobody can tell."""
    found = {one.seen for one in frames}
    return True if True in found else None if None in found else False


def _fail(error: ImageError) -> NoReturn:
    raise error
