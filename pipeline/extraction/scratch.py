"""A folder for trials, which is gone whatever ends them, and what is tried on."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from types import FrameType

from clare.advice import Name
from clare.errors import InputError
from clare.files import storage_errors
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample

TERMINATED = 143
"""The exit code that a shell tells of SIGTERM."""


def nearest(place: Path) -> Path:
    """A place, or the nearest above it that is there."""
    place = place.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """A new folder in a place, removed at the end: that of Ctrl-C and of SIGTERM too.

    Args:
        place: a folder; where it is not there, the nearest above it that is.

    Raises:
        InputError: a file stands in the way.
        StoreError: the place can't be written to.
    """
    place = nearest(place)
    if not place.is_dir():
        raise InputError(f"{place} is a file", Name("a folder for the trial's files", "scratch"))
    with _terminating():
        with storage_errors(place):
            folder = Path(mkdtemp(prefix=".clare-bench-", dir=place))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _terminating() -> Iterator[None]:
    """Let SIGTERM end the process as an exception does, so that what is open is closed."""
    before = signal.getsignal(signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class SampleRoots(Roots):
    """Where the paths of samples of several subsets start."""

    def __init__(self, subsets: Mapping[str, Roots]) -> None:
        super().__init__(None, {})
        self._subsets = subsets

    def is_remote(self, sample: Sample) -> bool:
        """As `Roots.is_remote` of the sample's own subset."""
        return self._subsets[sample.subset].is_remote(sample)

    def resolve(self, sample: Sample, path: str | None = None) -> Path:
        """As `Roots.resolve` of the sample's own subset."""
        return self._subsets[sample.subset].resolve(sample, path)


def draw_samples(
    selection: Sequence[tuple[Manifest, Roots]], count: int
) -> tuple[list[Sample], Roots]:
    """Some images of all subsets together, always the same, and where their paths start."""
    named = [
        replace(sample, subset=manifest.name, sample_id=f"{manifest.name}/{sample.sample_id}")
        for manifest, _ in selection
        for sample in manifest.samples
    ]
    some = random.Random(0).sample(named, min(count, len(named)))
    return some, SampleRoots({manifest.name: roots for manifest, roots in selection})
