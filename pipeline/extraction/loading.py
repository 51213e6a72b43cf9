"""Decode rows once and prepare them for every extractor, ahead of the models.

What can't be decoded, or is not the file that it was, is a reason that the row keeps. A server of a
bucket that stays away is none: a `StoreError` ends the work, and the rows stay pending.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clare.augmentation.deliveries import Delivery
from clare.errors import ImageError, InputError
from clare.groups import aligned_pair, named_as
from clare.pipeline.extraction.reading import ReadAhead, Reads
from clare.pipeline.extraction.store_rows import NO_REALS, Pair, pair_of
from clare.pipeline.extractor import Extractor
from clare.pipeline.images.decode import MissingDecoderError, read_content
from clare.pipeline.images.prepare import WholeImage, decode_whole, prepare_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Sample
from clare.slurm import cores
from clare.store.row import Row

_SAMPLE_FIELDS = {f.name for f in fields(Sample)}

Inputs = dict[str, np.ndarray]
"""What one extractor's `prepare` made of one row."""


class ChangedFileError(ImageError):
    """The file is not, or no longer, the one that the row was made for; another run may find it."""


_IMAGE, _MASK, _REAL = "image", "mask", "real of its pair"


@dataclass(frozen=True)
class _File:
    """A file that a row is made of.

    Args:
        sample: whose it is.
        path: below its root.
        content: the hash that it is expected to have; empty: it was unreadable.
        size: bytes that it had.
    """

    sample: Sample
    path: str
    content: str
    size: int | None


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
        reals: from `reals_of_pairs`, where views of fakes hold some of their reals.

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
        reals: Mapping[Pair, Row] = NO_REALS,
    ) -> None:
        self._roots = roots
        self._images = images
        self._thumbnails = thumbnails
        self._reals = reals
        self.decoded: Callable[[int, float, float], None] | None = None
        self.threads = threads or cores()
        self._pool = ThreadPoolExecutor(self.threads, "clare-load")
        self._ahead = ReadAhead(read_content)
        self._last: tuple[tuple[str, ...], _Decoded] | None = None

    def close(self) -> None:
        """Stop the threads; what was not begun is dropped."""
        self._ahead.close()
        self._pool.shutdown(cancel_futures=True)

    def start(
        self, rows: Mapping[int, Row], extractors: Sequence[Extractor]
    ) -> list[Future[LoadedShard]]:
        """Begin to load one shard; `gather` waits for it.

        Args:
            rows: offset in the shard to row. The views of one sample share one decode, and so do
                the deliveries of one image, also where they go on in the shard that is begun next.
            extractors: those that the shard still needs.
        """
        groups: dict[tuple[str, ...], dict[int, Row]] = {}
        for offset, row in rows.items():
            groups.setdefault(_file_of(row), {})[offset] = row
        begun = []
        for file, group in groups.items():
            if self._last is None or self._last[0] != file:
                self._last = file, _Decoded(self._begin(next(iter(group.values()))))
            begun.append(self._pool.submit(self._load, group, self._last[1], extractors))
        return begun

    def _load(
        self, rows: Mapping[int, Row], decoded: _Decoded, extractors: Sequence[Extractor]
    ) -> LoadedShard:
        began, cpu = time.perf_counter(), time.thread_time()
        loaded = LoadedShard()
        samples: dict[str, dict[int, Row]] = {}
        for offset, row in rows.items():
            samples.setdefault(row.sample_id, {})[offset] = row
        for own in samples.values():
            try:
                self._prepare(own, decoded, extractors, loaded)
            except (ChangedFileError, MissingDecoderError) as error:
                loaded.changed |= dict.fromkeys(own, str(error))
            except ImageError as error:
                loaded.inputs = {k: v for k, v in loaded.inputs.items() if k not in own}
                loaded.failed |= dict.fromkeys(own, str(error))
        loaded.seconds = time.perf_counter() - began
        loaded.cpu = time.thread_time() - cpu
        if self.decoded is not None:
            lane = loaded.cpu / min(self.threads, cores())
            self.decoded(len(rows), lane, loaded.cpu)
        return loaded

    def _prepare(
        self,
        rows: Mapping[int, Row],
        decoded: _Decoded,
        extractors: Sequence[Extractor],
        loaded: LoadedShard,
    ) -> None:
        """Add what the extractors make of the views of one sample."""
        first = next(iter(rows.values()))
        sample = sample_of_row(first)
        images = prepare_views(
            decoded.whole(),
            self._images,
            [row.view for row in rows.values()],
            face=sample.face,
            content=first.content,
            pair=aligned_pair(first.columns),
            delivery=_delivery_of(sample),
        )
        for (offset, row), image in zip(rows.items(), images, strict=True):
            loaded.inputs[offset] = {e.label: e.prepare(image) for e in extractors}
            if self._thumbnails:
                loaded.thumbnails[offset] = image.thumbnail()
            if row.view == 0 and row.columns.get("label") == 1 and image.mask_is_empty:
                loaded.unmarked.add(offset)

    def _begin(self, row: Row) -> Callable[[], WholeImage]:
        """What decodes an image; files that take a while to come are asked for at once."""
        sample = sample_of_row(row)
        files = {_IMAGE: _File(sample, sample.path, row.content, row.columns.get("bytes"))}
        if sample.mask_path:
            known = str(row.columns.get("mask_content", ""))
            files[_MASK] = _File(sample, sample.mask_path, known, row.columns.get("mask_bytes"))
        if sample.label == 1 and sample.split == "train":  # what gets augmented views
            own = self._reals.get(pair_of(row))
            if own is not None:
                its = sample_of_row(own)
                files[_REAL] = _File(its, its.path, own.content, own.columns.get("bytes"))
        if not any(self._roots.is_remote(file.sample) for file in files.values()):
            return partial(self._decode, files, None)
        sized = [(self._place(file), file.size or 0) for file in files.values()]
        return partial(self._decode, files, self._ahead.ask(sized))

    def _decode(self, files: Mapping[str, _File], reads: Reads | None) -> WholeImage:
        found: dict[str, bytes] = {}
        read = read_content if reads is None else reads.get
        with reads or nullcontext():
            for what, file in files.items():
                try:
                    found[what] = _read_known(read, self._place(file), file.content)
                except ImageError as error:
                    if what == _IMAGE:
                        raise
                    raise type(error)(f"{what} {error}") from error
        fake = files[_IMAGE].sample.fake_in_mask
        return decode_whole(found[_IMAGE], found.get(_MASK), fake, found.get(_REAL))

    def _place(self, file: _File) -> Path:
        return self._roots.resolve(file.sample, file.path)


class _Decoded:
    """An image that is decoded when it is first asked for, once for all who ask."""

    def __init__(self, decode: Callable[[], WholeImage]) -> None:
        self._decode = decode
        self._lock = threading.Lock()
        self._found: Future[WholeImage] = Future()

    def whole(self) -> WholeImage:
        """The image; raises what decoding it raised."""
        with self._lock:
            if not self._found.done():
                try:
                    self._found.set_result(self._decode())
                except Exception as error:
                    self._found.set_exception(error)
        return self._found.result()


def _file_of(row: Row) -> tuple[str, ...]:
    """What rows have in common that are made of one image and one mask."""
    names = ("root", "path", "mask_path", "mask_content", "mask_fake")
    own = (str(row.columns.get(name) or "") for name in names)
    return (named_as(row.columns, row.sample_id), row.content, *own)


def _delivery_of(sample: Sample) -> Delivery | None:
    try:
        return sample.delivered
    except InputError as error:  # a manifest is asked before; a store may come from anywhere
        raise ImageError(f"not deliverable: {error.what}") from error


def _read_known(read: Callable[[Path], bytes], path: Path, content: str) -> bytes:
    """Read a file that is expected to have this content; empty means: it was unreadable."""
    try:
        data = read(path)
    except ImageError as error:
        if content:
            raise ChangedFileError(str(error)) from error
        raise
    if hashlib.sha256(data).hexdigest() != content:
        raise ChangedFileError("changed: not the file that the manifest or this run began with")
    return data


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
