"""What a run says of one image or video."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clare.inference.stability import Stability

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clare.pipeline.images.align import Similarity

Level = Literal["image", "frame", "video"]
"""What a verdict is on."""

PIXEL_CUT = 0.5
"""A pixel is called fake where its probability is above this."""


@dataclass(frozen=True)
class Verdict:
    """What a run says of an image, a frame or a video.

    Args:
        path: the file; ``<image 2>`` for the second of the images where that came from memory.
        label: ``fake`` from the run's threshold on, else ``real``; None where the image can't be
            used.
        p_fake: the sigmoid of the margin.
        margin: logit of fake less logit of real; of a localiser the score of its map.
        failure: why the image can't be used; empty where it can.
        seen: whether the run was trained, or its checkpoint chosen, on this very file: then the
            verdict says nothing about new images. None where nobody can tell, as of published
            weights and their heirs, or where the image can't be used.
        size: width and height in pixels, upright; None where the image can't be used.
        fake_area: share of the pixels whose probability of being fake is above 0.5, 0 to 1; None
            of a detector, which says nothing of pixels.
        squashed: of a localiser, the probabilities (256, 256) over the image squashed to a square,
            as its decoder gives them. `map` brings them to the image's own size.
        level: what the verdict is on: one image, a frame of a video, or a whole video.
        frame: of a frame, its place in the video, from 0.
        seconds: of a frame, since the first one.
        frames: of a video, the verdicts on its frames; its p(fake) is their mean.
        remarks: of a video, what is not as it should be with its file.
        faces: how many faces the image has, of which one is judged; None where none was looked for.
        alignment: what brought a part of it into a square of so many pixels: what was judged.
        stability: whether it survives delivery; None where nobody asked.
    """

    path: Path
    label: Literal["real", "fake"] | None = None
    p_fake: float | None = None
    margin: float | None = None
    failure: str = ""
    seen: bool | None = None
    size: tuple[int, int] | None = None
    fake_area: float | None = None
    squashed: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    level: Level = "image"
    frame: int | None = None
    seconds: float | None = None
    frames: tuple[Verdict, ...] = field(default=(), repr=False)
    remarks: tuple[str, ...] = ()
    faces: int | None = None
    alignment: tuple[Similarity, int] | None = field(default=None, repr=False, compare=False)
    stability: Stability | None = None

    @property
    def outcome(self) -> Literal["real", "fake", "unsure"] | None:
        """The label, or ``unsure`` where it was asked for and does not survive delivery."""
        return "unsure" if self.stability is not None and not self.stability.sure else self.label

    @property
    def map(self) -> NDArray[np.float32] | None:
        """p(fake) of each pixel of the upright image, float32 (H, W), 0 to 1; None of a detector.

        Where a face or the centre was cut out, it is 0 outside of that. Made anew by each call: of
        many images, the small maps alone are kept.
        """
        return None if self.size is None else self.map_at(self.size)

    def map_at(self, size: tuple[int, int]) -> NDArray[np.float32] | None:
        """The same for the image scaled to another width and height."""
        from clare.heads.metrics.masks import resize_map

        if self.squashed is None or self.size is None:
            return None
        if self.alignment is None:
            return resize_map(self.squashed, size[::-1])
        from clare.pipeline.images.align import unwarp

        transform, side = self.alignment
        whole = unwarp(resize_map(self.squashed, (side, side)), transform, self.size)
        return whole if size == self.size else resize_map(whole, size[::-1])
