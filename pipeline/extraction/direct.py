"""Features of images straight from their files, without a manifest or a store."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from clare.errors import ImageError
from clare.models.runtime import Runtime
from clare.pipeline.extraction.batching import BatchRunner, BatchTooLargeError
from clare.pipeline.extraction.loading import Inputs
from clare.pipeline.extractor import Extractor
from clare.pipeline.images.decode import read_content
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings

SHOWN_SIDE = 256
"""Side of the picture that is kept for looking at, in pixels."""


class Source(NamedTuple):
    """An extractor, and what is taken of it.

    Args:
        extractor: with its models; two may have one name.
        images: how its images are prepared.
        fields: of its values that are kept.
    """

    extractor: Extractor
    images: ImageSettings
    fields: Collection[str]


@dataclass
class ExtractedImage:
    """One image and what became of it.

    Args:
        path: the file.
        failure: the reason why the image can't be used; empty if it can.
        content: SHA-256 of the file's bytes; empty where it can't be read.
        features: field to array ``(*shape)``, in the stored type.
        size: width and height in pixels, upright; None if it can't be decoded.
        picture: uint8 (256, 256, 3), squashed as the extractors see it.
    """

    path: Path
    failure: str = ""
    content: str = ""
    features: dict[str, np.ndarray] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    picture: np.ndarray | None = None


def extract_images(
    paths: Sequence[Path],
    sources: Sequence[Source],
    runtime: Runtime,
    micro_batch: int | None = None,
    *,
    contents: Mapping[Path, bytes] = MappingProxyType({}),
) -> Iterator[ExtractedImage]:
    """Run extractors over image files; the next images are decoded meanwhile.

    Args:
        paths: image files, or names of images that are in memory.
        sources: the extractors.
        runtime: that of the extractors.
        micro_batch: images a batch; None finds what fits.
        contents: encoded images in memory, by name.

    Yields:
        One image each, in the order of the paths.
    """
    runners = [BatchRunner(one.extractor, runtime.device, micro_batch) for one in sources]
    size = min([len(paths), *(runner.micro_batch for runner in runners)])
    for runner in runners:
        runner.micro_batch = size
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        coming: deque[Future[tuple[ExtractedImage, list[Inputs]]]] = deque()
        waiting = iter(paths)
        coming.extend(
            pool.submit(_load, path, sources, contents.get(path))
            for path in islice(waiting, 3 * size)
        )
        while coming:
            part = [coming.popleft().result() for _ in range(min(size, len(coming)))]
            coming.extend(
                pool.submit(_load, path, sources, contents.get(path))
                for path in islice(waiting, len(part))
            )
            for number, (runner, source) in enumerate(zip(runners, sources, strict=True)):
                good = [(image, inputs[number]) for image, inputs in part if inputs]
                _run(runner, good, source.fields)
            yield from (image for image, _ in part)


def _load(
    path: Path, sources: Sequence[Source], data: bytes | None
) -> tuple[ExtractedImage, list[Inputs]]:
    image = ExtractedImage(path)
    inputs: list[Inputs] = []
    try:
        data = read_content(path) if data is None else data
        image.content = hashlib.sha256(data).hexdigest()
        prepared = {}
        for settings in dict.fromkeys(one.images for one in sources):
            (prepared[settings],) = load_views(data, settings, [0], content=image.content)
            one = prepared[settings]
            image.size, image.picture = one.size, one.pixels(SHOWN_SIDE)
        inputs = [one.extractor.prepare(prepared[one.images]) for one in sources]
    except ImageError as error:
        image.failure = str(error)
    return image, inputs


def _run(
    runner: BatchRunner,
    rows: Sequence[tuple[ExtractedImage, Inputs]],
    fields: Collection[str],
) -> None:
    while rows:
        part = rows[: runner.micro_batch]
        try:
            values, finite = runner.launch([inputs for _, inputs in part]).fetch()
        except BatchTooLargeError:
            continue
        for place, (image, _) in enumerate(part):
            if finite[place]:
                image.features |= {name: values[name][place].copy() for name in fields}
            else:
                image.failure = "values overflow the stored type, or are not numbers"
        rows = rows[len(part) :]
