"""Maps of fake pixels as files: a mask and an overlay an image, and a list of all."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clare.advice import LeaveOut
from clare.advice import Run as Operation
from clare.errors import InputError
from clare.files import make_folder, write_durably
from clare.inference.verdict import PIXEL_CUT, Verdict
from clare.typed_json import write_json

if TYPE_CHECKING:
    from clare.inference.predictor import Predictor
    from clare.pipeline.extraction.direct import InputImage

LIST = "masks.json"

SMALLEST = 0.001
"""Share of the picture below which a region is not listed."""

_SIDES = (512, 1024)
"""The least and the most of an overlay's longer side, in pixels."""
_NAME_BYTES = 200  # of the 255 that file systems allow


@dataclass(frozen=True)
class Region:
    """Pixels above the cut that touch each other, edge to edge.

    Args:
        box: left, top, right and bottom in pixels of the upright image; right and bottom are the
            first beyond it.
        area: share of the picture's pixels, 0 to 1.
    """

    box: tuple[int, int, int, int]
    area: float


@dataclass(frozen=True)
class MaskRecord:
    """What the list says of an image.

    Args:
        path: the image.
        width: in pixels, upright; the mask's too.
        height: likewise.
        label: the verdict.
        score: p(fake) of the image.
        margin: its logit.
        fake_area: share of the pixels above the cut, 0 to 1.
        seen: whether the run was trained or chosen on this very file; None where nobody can tell.
        frame: of a video's frame, its place in the video; None of an image.
        mask: file in the same folder: mode L, 255 times p(fake) of each pixel, rounded.
        overlay: file in the same folder: the map over the picture.
        regions: those of `SMALLEST` of the picture or more, the largest first.
        small_regions: how many smaller ones are left out.
    """

    path: str
    width: int
    height: int
    label: Literal["real", "fake"]
    score: float
    margin: float
    fake_area: float
    seen: bool | None
    mask: str
    overlay: str
    regions: tuple[Region, ...]
    small_regions: int
    frame: int | None = None


@dataclass(frozen=True)
class MaskList:
    """What ``masks.json`` holds.

    Args:
        run: the run's folder.
        threshold: margin from which on an image is called fake.
        pixel_threshold: probability above which a pixel is called fake.
        remarks: what there is to know of the run before trusting a map.
        images: one record an image that could be judged, in their order.
    """

    run: str
    threshold: float
    pixel_threshold: float
    remarks: tuple[str, ...]
    images: tuple[MaskRecord, ...]


class MaskFolder:
    """A folder that gets the files of each image as it is judged; the list comes with the exit.

    Threads write while the next images are judged; a few wait at most. Every file is there as a
    whole or not at all. The list is of the images since the entry, also where something ended them
    early; that of an earlier time is gone from the entry on, its masks stay.

    Args:
        folder: where the files go.
        predictor: whose verdicts they are.
        remarks: what the list says of the run.
    """

    def __init__(self, folder: Path, predictor: Predictor, remarks: Sequence[str]) -> None:
        self.folder, self._predictor, self._remarks = folder, predictor, tuple(remarks)
        self._records: list[MaskRecord] = []
        self._workers = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._workers)
        self._writing: deque[Future[MaskRecord]] = deque()

    def __enter__(self) -> Self:
        make_folder(self.folder)
        (self.folder / LIST).unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        ended = [one for one in self._writing if not one.cancelled()]
        self._records += [one.result() for one in ended if one.exception() is None]
        found = MaskList(
            run=str(self._predictor.run.path),
            threshold=self._predictor.run.threshold,
            pixel_threshold=PIXEL_CUT,
            remarks=self._remarks,
            images=tuple(self._records),
        )
        write_json(self.folder / LIST, found)
        if kind is None:
            for one in ended:
                one.result()  # raises what went wrong

    @property
    def count(self) -> int:
        """How many images there are files of, once it is left."""
        return len(self._records)

    def write(self, verdict: Verdict, source: InputImage) -> None:
        """Write the mask and the overlay of an image, soon.

        Args:
            verdict: of a localiser, on an image that could be judged.
            source: the image.

        Raises:
            ImageError: a file has gone meanwhile: this one, or one before it.
            StoreError: the files can't be written.
        """
        self._writing.append(self._pool.submit(self._write, verdict, source))
        while len(self._writing) > 2 * self._workers:
            self._records.append(self._writing.popleft().result())

    def _write(self, verdict: Verdict, source: InputImage) -> MaskRecord:
        from clare.heads.evaluation.record import CONTROL
        from clare.pipeline.images.decode import decode_rgb

        probability = verdict.map
        assert probability is not None and verdict.label is not None
        assert verdict.p_fake is not None and verdict.margin is not None
        assert verdict.fake_area is not None
        name = unique_stem(verdict.path, verdict.frame)
        mask, overlay = f"{name}.png", f"{name}-overlay.png"
        grey = np.rint(255 * probability).astype(np.uint8)
        write_durably(self.folder / mask, _png(Image.fromarray(grey)))
        title = (
            f"{verdict.label}: p(fake) {verdict.p_fake:.3f}, fake from {self._predictor.even:.3f} "
            f"on; fake area {100 * verdict.fake_area:.1f} % (outlined)"
        )
        if self._predictor.run.record.config.shuffle_labels:
            title += f"; {CONTROL}"
        picture = draw_overlay(decode_rgb(source.read()), verdict, title)
        write_durably(self.folder / overlay, _png(picture))
        regions, small = find_regions(probability > PIXEL_CUT)
        height, width = probability.shape
        return MaskRecord(
            path=str(verdict.path),
            width=width,
            height=height,
            label=verdict.label,
            score=verdict.p_fake,
            margin=verdict.margin,
            fake_area=verdict.fake_area,
            seen=verdict.seen,
            mask=mask,
            overlay=overlay,
            regions=tuple(regions),
            small_regions=small,
            frame=verdict.frame,
        )


def require_decoder(run: Path) -> None:
    """Refuse a run that makes no map of fake pixels.

    Raises:
        InputError: it is a detector of fusion and classifier, or no run.
    """
    from clare.heads.runs.record import read_record

    if not read_record(run).config.detector.decoder:
        raise InputError(
            f"{run} judges whole images alone: without a decoder it makes no masks",
            Operation("train_head", settings={"decoder": "conv_4"}, effect="trains one that does"),
            LeaveOut("masks"),
        )


def unique_stem(path: Path, frame: int | None = None) -> str:
    """A name for files made of an image: two folders may hold images of one name.

    Args:
        path: of the image, or of the video that it is a frame of.
        frame: which frame.
    """
    name = path.stem
    while len(os.fsencode(name)) > _NAME_BYTES:
        name = name[:-1]
    place = "" if frame is None else f"-{frame:03d}"
    return f"{name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}{place}"


def find_regions(called: NDArray[np.bool_]) -> tuple[list[Region], int]:
    """Connected regions of a mask, the largest first.

    Args:
        called: (H, W) whether a pixel is called fake.

    Returns:
        Those of `SMALLEST` of the picture or more, and how many are smaller.
    """
    from scipy import ndimage

    numbered, _ = ndimage.label(called)
    areas = np.bincount(numbered.ravel())[1:] / called.size
    boxes = ndimage.find_objects(numbered)
    order = np.argsort(-areas, kind="stable")
    regions = []
    for place in order[: int((areas >= SMALLEST).sum())]:
        rows, columns = boxes[place]
        box = (columns.start, rows.start, columns.stop, rows.stop)
        regions.append(Region(box, float(areas[place])))
    return regions, len(areas) - len(regions)


def draw_overlay(picture: Image.Image, verdict: Verdict, title: str) -> Image.Image:
    """A picture under its map, with a title above; its longer side is 512 to 1024 pixels.

    Args:
        picture: upright, RGB.
        verdict: with its map.
        title: one line of ASCII.
    """
    from clare.heads.evaluation.overlay import lay_over

    longer = max(picture.size)
    scale = min(max(longer, _SIDES[0]), _SIDES[1]) / longer
    width, height = (max(1, round(scale * side)) for side in picture.size)
    small = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))
    marked = verdict.map_at((width, height))
    assert marked is not None
    shown = Image.fromarray(lay_over(small, marked))
    font = ImageFont.load_default(max(15, width // 42))
    right, bottom = map(round, font.getbbox(title)[2:])
    space = bottom // 2
    whole = Image.new("RGB", (max(width, right + 2 * space), height + bottom + 2 * space), "white")
    ImageDraw.Draw(whole).text(((whole.width - right) // 2, space), title, "black", font)
    whole.paste(shown, ((whole.width - width) // 2, bottom + 2 * space))
    return whole


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=2)  # four times as fast as 6, a tenth larger
    return file.getvalue()
