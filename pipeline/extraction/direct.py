"""Features of images straight from their files, without a manifest or a store."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL.Image import Image

from clare.augmentation.deliveries import Delivery
from clare.errors import ImageError
from clare.models.runtime import Runtime
from clare.pipeline.extraction.batching import BatchRunner, BatchTooLargeError, Launched
from clare.pipeline.extraction.loading import Inputs
from clare.pipeline.extractor import Extractor
from clare.pipeline.images.align import Similarity
from clare.pipeline.images.decode import read_content
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.prepare import NOT_KNOWN, decode_whole, prepare_views
from clare.pipeline.images.settings import ImageSettings

SHOWN_SIDE = 256
"""Side of the picture that is kept for looking at, in pixels."""

AHEAD = 2
"""Batches that are decoded, or wait, beside the one that the models work on."""


Locate = Callable[[Image], tuple[FaceMarks, int]]
"""Where the face of an upright RGB image lies, and how many it has; called in several threads."""


class Source(NamedTuple):
    """An extractor, and what is taken of it.

    Args:
        extractor: with its models; two may have one name.
        images: how its images are prepared.
        fields: of its values that are kept, by the name that they are kept under.
    """

    extractor: Extractor
    images: ImageSettings
    fields: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class InputImage:
    """An image that is to be extracted.

    Args:
        path: its file, or a name where it comes from memory.
        read: gives its encoded bytes, in any thread, or raises `ImageError`.
        delivery: what is done to it before anything looks at it; nothing if None.
        seed: of what the delivery draws.
        drawn_by: hash that this follows from too; that of its own bytes where it is empty.
    """

    path: Path
    read: Callable[[], bytes]
    delivery: Delivery | None = None
    seed: int = 0
    drawn_by: str = ""

    @classmethod
    def of_file(cls, path: Path) -> InputImage:
        """The image that a file holds."""
        return cls(path, partial(read_content, path))


@dataclass
class ExtractedImage:
    """One image and what became of it.

    Args:
        source: the image.
        failure: the reason why the image can't be used; empty if it can.
        content: SHA-256 of the file's bytes; empty where it can't be read.
        features: array ``(*shape)`` by the name of its field, in the stored type.
        size: width and height in pixels, upright; None if it can't be decoded.
        picture: uint8 (256, 256, 3), squashed as the extractors see it, where it was asked for.
        faces: how many were found; None where none was looked for.
        alignment: what brought a part of it into a square of so many pixels; None where none was.
    """

    source: InputImage
    failure: str = ""
    content: str = ""
    features: dict[str, np.ndarray] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    picture: np.ndarray | None = None
    faces: int | None = None
    alignment: tuple[Similarity, int] | None = None


def extract_images(
    images: Iterable[InputImage],
    sources: Sequence[Source],
    runtime: Runtime,
    size: int,
    locate: Locate | None = None,
    *,
    pictures: bool = False,
) -> Iterator[list[ExtractedImage]]:
    """Run extractors over images; the next ones are decoded meanwhile.

    On a GPU a batch is computed while whoever takes the batches looks at the one before.

    The images themselves are taken one after the other, in a thread, a few batches ahead: so many
    are in memory at once, however many there are.

    Args:
        images: in any number.
        sources: the extractors.
        runtime: that of the extractors.
        size: images a batch; a model that it does not fit takes it in parts.
        locate: finds the face of each image; None where that is not asked for.
        pictures: whether pictures for looking at are kept.

    Yields:
        Batches, in the order of the images.
    """
    runners = [BatchRunner(one.extractor, runtime.device, size) for one in sources]
    waiting = iter(images)
    with ThreadPoolExecutor(os.cpu_count()) as pool, ThreadPoolExecutor(1) as taker:

        def take() -> list[Future[tuple[ExtractedImage, list[Inputs]]]]:
            return [
                pool.submit(_load, image, sources, locate, pictures)
                for image in islice(waiting, size)
            ]

        coming = deque(taker.submit(take) for _ in range(AHEAD))
        under_way: deque[tuple[list[ExtractedImage], list[_Part]]] = deque()
        while part := [one.result() for one in coming.popleft().result()]:
            coming.append(taker.submit(take))
            parts: list[_Part] = []
            for number, (runner, source) in enumerate(zip(runners, sources, strict=True)):
                good = [(image, inputs[number]) for image, inputs in part if inputs]
                parts += _launch(runner, good, source.fields)
            under_way.append(([image for image, _ in part], parts))
            if len(under_way) > 1:
                yield _fetch(*under_way.popleft())
        for batch in under_way:
            yield _fetch(*batch)


def _load(
    source: InputImage, sources: Sequence[Source], locate: Locate | None, pictures: bool
) -> tuple[ExtractedImage, list[Inputs]]:
    image = ExtractedImage(source)
    inputs: list[Inputs] = []
    try:
        data = source.read()
        image.content = hashlib.sha256(data).hexdigest()
        whole, face = decode_whole(data), NOT_KNOWN
        if source.delivery is not None:
            drawn_by = source.drawn_by or image.content
            whole, _ = whole.deliver(source.delivery, face, drawn_by, source.seed)
        if locate is not None:
            face, image.faces = locate(whole.image)
        prepared = {}
        for settings in dict.fromkeys(one.images for one in sources):
            (one,) = prepare_views(whole, settings, [0], face=face, content=image.content)
            prepared[settings] = one
            image.size = one.size
            if pictures:
                image.picture = one.pixels(SHOWN_SIDE)
            image.alignment = one.alignment
        inputs = [one.extractor.prepare(prepared[one.images]) for one in sources]
    except ImageError as error:
        image.failure = str(error)
    return image, inputs


class _Part(NamedTuple):
    """Images that an extractor works on, and the fields that are kept of it, by name."""

    images: Sequence[ExtractedImage]
    launched: Launched
    fields: Mapping[str, str]


def _launch(
    runner: BatchRunner,
    rows: Sequence[tuple[ExtractedImage, Inputs]],
    fields: Mapping[str, str],
) -> Iterator[_Part]:
    while rows:
        some = rows[: runner.micro_batch]
        try:
            launched = runner.launch([inputs for _, inputs in some])
        except BatchTooLargeError:
            continue
        yield _Part([image for image, _ in some], launched, fields)
        rows = rows[len(some) :]


def _fetch(images: list[ExtractedImage], parts: Iterable[_Part]) -> list[ExtractedImage]:
    for part in parts:
        values, finite = part.launched.fetch()
        for place, image in enumerate(part.images):
            if finite[place]:
                kept = part.fields.items()
                image.features |= {name: values[field][place].copy() for name, field in kept}
            else:
                image.failure = "values overflow the stored type, or are not numbers"
    return images
