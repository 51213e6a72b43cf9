"""Decode rows once and prepare them for every extractor, ahead of the models."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from clare.errors import ImageError
from clare.groups import aligned_pair
from clare.pipeline.extractor import Extractor
from clare.pipeline.images.decode import MissingDecoderError, read_content
from clare.pipeline.images.prepare import PreparedImage, load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Sample
from clare.store.row import Row

_SAMPLE_FIELDS = {f.name for f in fields(Sample)}

Inputs = dict[str, np.ndarray]
"""What one extractor's `prepare` made of one row."""


class ChangedFileError(ImageError):
    """The file is not, or no longer, the one that the row was made for; another run may find it."""


@dataclass
class LoadedShard:
    """One shard's rows, decoded: per offset either the inputs of each extractor or a reason.

    Args:
        inputs: offset to extractor name to that extractor's inputs.
        failed: offset to the reason why the image can't be used.
        changed: offset to the reason why there is no telling: the file is not the row's.
        thumbnails: offset to a small JPEG of the plain image, where asked for.
        unmarked: offsets of plain views of fakes whose mask marks nothing.
        seconds: time spent decoding and preparing, summed over threads.
        cpu: seconds of cores of it.
    """

    inputs: dict[int, dict[str, Inputs]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    changed: dict[int, str] = field(default_factory=dict)
    thumbnails: dict[int, bytes] = field(default_factory=dict)
    unmarked: set[int] = field(default_factory=set)
    seconds: float = 0.0
    cpu: float = 0.0


class Loader:
    """A pool of threads that turns rows into the inputs of the extractors.

    Args:
        roots: where the paths of the rows start.
        images: how images are prepared.
        threads: decoding threads; None takes the cores of this process.
        thumbnails: also make a small JPEG of each plain image.

    Attributes:
        threads: decoding threads.
        decoded: called in them with a number of images, and the seconds that they took of all these
            threads together and of cores.
    """

    def __init__(
        self,
        roots: Roots,
        images: ImageSettings,
        *,
        threads: int | None = None,
        thumbnails: bool = False,
    ) -> None:
        self._roots = roots
        self._images = images
        self._thumbnails = thumbnails
        self.decoded: Callable[[int, float, float], None] | None = None
        self.threads = threads or cores()
        self._pool = ThreadPoolExecutor(self.threads, "clare-load")

    def close(self) -> None:
        """Stop the threads; what was not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)

    def start(
        self, rows: Mapping[int, Row], extractors: Sequence[Extractor]
    ) -> list[Future[LoadedShard]]:
        """Begin to load one shard; `gather` waits for it.

        Args:
            rows: offset in the shard to row. The views of one sample share one decode.
            extractors: those that the shard still needs.
        """
        groups: dict[str, dict[int, Row]] = {}
        for offset, row in rows.items():
            groups.setdefault(f"{row.sample_id}\0{row.content}", {})[offset] = row
        return [self._pool.submit(self._load, group, extractors) for group in groups.values()]

    def _load(self, rows: Mapping[int, Row], extractors: Sequence[Extractor]) -> LoadedShard:
        began, cpu = time.perf_counter(), time.thread_time()
        loaded = LoadedShard()
        try:
            for (offset, row), image in zip(rows.items(), self._decode(rows), strict=True):
                loaded.inputs[offset] = {e.name: e.prepare(image) for e in extractors}
                if self._thumbnails:
                    loaded.thumbnails[offset] = image.thumbnail()
                if row.view == 0 and row.columns.get("label") == 1 and image.mask_is_empty:
                    loaded.unmarked.add(offset)
        except (ChangedFileError, MissingDecoderError) as error:
            loaded.changed = dict.fromkeys(rows, str(error))
        except ImageError as error:
            loaded.inputs.clear()
            loaded.failed = dict.fromkeys(rows, str(error))
        loaded.seconds = time.perf_counter() - began
        loaded.cpu = time.thread_time() - cpu
        if self.decoded is not None:
            lane = loaded.cpu / min(self.threads, cores())
            self.decoded(len(rows), lane, loaded.cpu)
        return loaded

    def _decode(self, rows: Mapping[int, Row]) -> list[PreparedImage]:
        row = next(iter(rows.values()))
        sample = sample_of_row(row)
        data = _read_known(self._roots.resolve(sample), row.content)
        mask = None
        if sample.mask_path:
            known = str(row.columns.get("mask_content", ""))
            try:
                mask = _read_known(self._roots.resolve(sample, sample.mask_path), known)
            except ImageError as error:
                raise type(error)(f"mask {error}") from error
        return load_views(
            data,
            self._images,
            [r.view for r in rows.values()],
            face=sample.face,
            mask=mask,
            mask_fake=sample.fake_in_mask,
            content=row.content,
            pair=aligned_pair(row.columns),
        )


def _read_known(path: Path, content: str) -> bytes:
    """Read a file that is expected to have this content; empty means: it was unreadable."""
    try:
        data = read_content(path)
    except ImageError as error:
        if content:
            raise ChangedFileError(str(error)) from error
        raise
    if hashlib.sha256(data).hexdigest() != content:
        raise ChangedFileError("changed: not the file that the manifest or this run began with")
    return data


def cores() -> int:
    """Cores that this process may use: a scheduler often grants fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gather(parts: Sequence[Future[LoadedShard]]) -> LoadedShard:
    """Wait for every part of a shard and join them."""
    shard = LoadedShard()
    for part in parts:
        loaded = part.result()
        shard.inputs |= loaded.inputs
        shard.failed |= loaded.failed
        shard.changed |= loaded.changed
        shard.thumbnails |= loaded.thumbnails
        shard.unmarked |= loaded.unmarked
        shard.seconds += loaded.seconds
        shard.cpu += loaded.cpu
    return shard


def sample_of_row(row: Row) -> Sample:
    """The manifest's sample that a stored row was made from."""
    columns: dict[str, Any] = {k: v for k, v in row.columns.items() if k in _SAMPLE_FIELDS}
    return Sample(sample_id=row.sample_id, **columns)
