"""What a file's header and size say of each sample, read by many threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from clare.errors import ImageError
from clare.pipeline.manifests.sample import Sample
from clare.store.bucket.files import file_threads

THREADS = 16
"""Threads that read headers: enough to keep a network disk busy."""
_BATCH = 256

HEIC = "heif"
"""Format of images in HEIC, as the package that decodes them names it."""


def read_headers(
    samples: Sequence[Sample],
    place: Callable[[Sample], Path],
    *,
    hash: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Sample]:
    """Fill in width, height, format and bytes; a bad file gets its status instead.

    Of a format that this installation can't decode, width and height stay unknown.

    Returns:
        The samples in the order given.
    """
    waiting = iter(samples)
    batches = iter(lambda: list(islice(waiting, _BATCH)), [])
    done = 0
    with file_threads(THREADS) as pool:
        for batch in pool.map(lambda one: [_read(s, place(s), hash) for s in one], batches):
            done += len(batch)
            if progress is not None:
                progress(done, len(samples))
            yield from batch


def file_columns(path: Path) -> dict[str, Any]:
    """What a file says of itself, its pixels not decoded.

    Returns:
        ``format``, ``width``, ``height`` and ``bytes``, as a manifest has them; ``tables``, the
        quantisation tables of a JPEG as text, for others "none"; ``exif``, whether it has such.

    Raises:
        ImageError: there is no usable header.
    """
    from clare.pipeline.images.decode import open_header, open_regular, size_of

    try:
        with open_regular(path) as file:
            size = size_of(file)
            with open_header(file) as image:
                tables = getattr(image, "quantization", None) or {}
                return {
                    "format": str(image.format).lower(),
                    "width": image.width,
                    "height": image.height,
                    "bytes": size,
                    "tables": " ".join(str(list(tables[key])) for key in sorted(tables)) or "none",
                    "exif": "exif" in image.info or "Raw profile type exif" in image.info,
                }
    except FileNotFoundError as error:
        raise ImageError("missing: there is no such file") from error
    except OSError as error:
        raise ImageError(f"unreadable: {error.strerror or error}") from error


def _read(sample: Sample, path: Path, hash: bool) -> Sample:
    from clare.pipeline.images.decode import (
        MissingDecoderError,
        open_regular,
        read_header,
        size_of,
    )

    size, sha256 = None, ""
    try:
        with open_regular(path) as file:
            size = size_of(file)
            if size == 0:
                return replace(sample, bytes=0, status="empty")
            if hash:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                file.seek(0)
            width, height, container = read_header(file)
    except FileNotFoundError:
        return replace(sample, status="missing")
    except MissingDecoderError:
        return replace(sample, format=HEIC, bytes=size, sha256=sha256)
    except (ImageError, OSError):
        return replace(sample, bytes=size, sha256=sha256, status="corrupt")
    return replace(sample, width=width, height=height, format=container, bytes=size, sha256=sha256)
