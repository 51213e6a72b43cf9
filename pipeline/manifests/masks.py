"""Masks that mark nothing: a fake that looks untouched to whoever reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clare.errors import ClareError
from clare.pipeline.manifests.headers import THREADS
from clare.pipeline.manifests.sample import Sample
from clare.wording import counted, name_rows

LIMIT = 1000
"""Masks that are decoded where a manifest is made: spread evenly over its fakes."""


@dataclass(frozen=True)
class EmptyMasks:
    """Fakes whose mask marks nothing.

    Args:
        rows: their samples.
        looked: masks that were decoded.
        masks: of all fakes.
    """

    rows: tuple[Sample, ...]
    looked: int
    masks: int

    def __str__(self) -> str:
        """What there is to say; empty where no mask is."""
        if not self.rows:
            return ""
        of = "" if self.looked == self.masks else f" of {self.looked:,} looked at"
        return f"{counted(len(self.rows), 'mask')} of fakes{of} without a mark"

    @property
    def named(self) -> str:
        """The same with the first few masks by name."""
        return (
            f"{self}: {name_rows([sample.mask_path for sample in self.rows])}" if self.rows else ""
        )


def find_empty_masks(
    samples: Sequence[Sample], place: Callable[[Sample], Path], *, limit: int | None = LIMIT
) -> EmptyMasks:
    """Look at the masks of fakes; those that can't be read are left to extraction.

    Args:
        samples: rows of a manifest.
        place: where the mask of a sample is.
        limit: most masks to look at; None for all.
    """
    masked = [s for s in samples if s.label == 1 and s.mask_path and s.status == "ok"]
    step = 1 if limit is None else max(1, -(-len(masked) // limit))
    looked = masked[::step]
    with ThreadPoolExecutor(THREADS) as pool:
        marks = list(pool.map(lambda sample: _marks(place, sample), looked))
    empty = tuple(s for s, marked in zip(looked, marks, strict=True) if not marked)
    return EmptyMasks(empty, len(looked), len(masked))


def _marks(place: Callable[[Sample], Path], sample: Sample) -> bool:
    from clare.pipeline.images.decode import decode_mask, read_content

    try:
        mask = decode_mask(read_content(place(sample)), sample.fake_in_mask)
        return mask.getbbox() is not None
    except ClareError:
        return True
