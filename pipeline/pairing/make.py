"""The loop that makes pairs: threads read and write, the main thread runs the model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clare.errors import ImageError
from clare.pipeline.pair import Draft, ModelPairKind, PairKind
from clare.pipeline.pairing.files import Known, PairRow, code_known, write_pair
from clare.pipeline.pairing.photos import JpegCoding, PhotoReader
from clare.pipeline.pairing.plan import Job
from clare.pipeline.pairing.settings import Coding

PIXELS_ON_CPU = 128 * 128
"""Pixels that a model on a CPU takes at once: more are no faster there."""
PIXELS_ON_GPU = 512 * 512
"""Pixels of one image of a batch's size on a GPU."""

_WRITES = 32
"""Pairs that wait to be written at most."""
_FILES = 3
"""Of a pair, which wait for the disk side by side."""


class Prepared(NamedTuple):
    """A pair that waits for the model, or to be written."""

    job: Job
    row: PairRow
    draft: Draft
    known: Known
    jpeg: JpegCoding | None


class Failure(NamedTuple):
    """A photograph that gave no pair."""

    job: Job
    reason: str


class PairMaker:
    """Makes pairs into a folder.

    Args:
        kind: how.
        reader: of the photographs.
        folder: that gets the files.
        coding: how both members are written.
        pixels: that the model takes at once.
        padded: whether a short batch is filled up, so that no result depends on its neighbours.
    """

    def __init__(
        self,
        kind: PairKind,
        reader: PhotoReader,
        folder: Path,
        coding: Coding,
        *,
        pixels: int,
        padded: bool,
    ) -> None:
        self._kind, self._reader, self._folder, self._coding = kind, reader, folder, coding
        self._pixels, self._padded = pixels, padded

    def make(self, jobs: Sequence[tuple[Job, str]]) -> Iterator[PairRow | Failure]:
        """Make and write pairs; what is given back is durably there.

        Args:
            jobs: with the key of each, see `with_keys`. Those of one size should follow each other.

        Raises:
            StoreError: a file can't be written.
        """
        threads = os.cpu_count() or 1
        with (
            ThreadPoolExecutor(_FILES * threads, "clare-disk") as disk,
            ThreadPoolExecutor(threads, "clare-pairs") as pool,
        ):
            writing: deque[Future[PairRow]] = deque()
            try:
                for batch in self._batches(pool, jobs, 2 * threads):
                    if isinstance(batch, Failure):
                        yield batch
                        continue
                    for one in self._run(batch):
                        writing.append(pool.submit(self._write, one, disk))
                    while writing and (writing[0].done() or len(writing) > _WRITES):
                        yield writing.popleft().result()
                while writing:
                    yield writing.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _batches(
        self, pool: ThreadPoolExecutor, jobs: Sequence[tuple[Job, str]], ahead: int
    ) -> Iterator[list[Prepared] | Failure]:
        """Prepared pairs of one size, as many as the model takes."""
        waiting = iter(jobs)
        coming = deque(pool.submit(self._prepare, *job) for job in islice(waiting, ahead))
        batch: list[Prepared] = []
        while coming:
            found = coming.popleft().result()
            coming += [pool.submit(self._prepare, *job) for job in islice(waiting, 1)]
            if isinstance(found, Failure):
                yield found
                continue
            if batch and batch[0].draft.real.shape != found.draft.real.shape:
                yield batch
                batch = []
            batch.append(found)
            if len(batch) >= self._size(found.draft):
                yield batch
                batch = []
        if batch:
            yield batch

    def _size(self, draft: Draft) -> int:
        """Images a batch."""
        if draft.fake is not None:
            return 1
        return max(1, self._pixels // (draft.real.shape[0] * draft.real.shape[1]))

    def _prepare(self, job: Job, key: str) -> Prepared | Failure:
        try:
            photo, jpeg = self._reader.read(job.sample)
            partner = None if job.partner is None else self._reader.read(job.partner)[0]
            draft = self._kind.prepare(photo, partner)
        except ImageError as error:
            return Failure(job, str(error))
        other = job.partner.sample_id if job.partner else ""
        row = PairRow(
            source=job.sample.sample_id,
            key=key,
            base=job.base,
            partner=other,
            boxes=photo.face.boxes,
            points=photo.face.points,
        )
        return Prepared(job, row, draft, code_known(draft, jpeg), jpeg)

    def _run(self, batch: list[Prepared]) -> Iterator[Prepared]:
        if batch[0].draft.fake is not None:
            yield from batch
            return
        drafts = [one.draft for one in batch]
        if self._padded:
            drafts += [drafts[-1]] * (self._size(drafts[0]) - len(drafts))
        inputs = {
            name: np.stack([draft.inputs[name] for draft in drafts]) for name in drafts[0].inputs
        }
        assert isinstance(self._kind, ModelPairKind)  # only these leave their fake to a model
        made = self._kind.forward(inputs)
        for one, pixels in zip(batch, made[: len(batch)], strict=True):
            yield one._replace(draft=one.draft.finish(pixels))

    def _write(self, one: Prepared, disk: Executor) -> PairRow:
        return write_pair(self._folder, one.row, one.draft, one.known, self._coding, one.jpeg, disk)
