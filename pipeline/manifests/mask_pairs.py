"""Whether masks mark what was changed, where the real picture of a fake is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clare.errors import ImageError, InputError
from clare.pipeline.images.decode import decode_mask, decode_rgb, read_content
from clare.pipeline.images.prepare import MARKED
from clare.pipeline.manifests.headers import THREADS
from clare.pipeline.manifests.sample import Sample
from clare.store.bucket.files import file_threads

GRID = 64
"""Cells a side on which the pictures are compared."""

LEAST_CELLS = 8
"""Cells that a mask marks, and leaves unmarked, to be judged by."""

LIKENESS, STILL = 0.7, 10.0
"""What makes two pictures a pair: the least correlation, and the most that their stillest quarter
may differ, of 255. Of 1,770 pairs of unlike aligned faces none reaches both."""

CLEARLY = 0.15
"""By how much another mask must fit better to be the right one; of right masks none did by .03."""

TURNED, MISSED = 0.25, 0.35
"""Below this `Fit.own`, a mask must be the wrong way round, or another's. Where a change drowns in
the noise of JPEG, right masks go down to 0.43."""

_TOGETHER = 500


class Fit(NamedTuple):
    """How well a mask marks what was changed.

    Args:
        sample: the fake.
        own: probability that a marked cell changed more than an unmarked one; a tie is a half.
        better: a fake whose mask marks it clearly better; None where there is none.
    """

    sample: Sample
    own: float
    better: Sample | None


def find_pairs(fakes: Sequence[Sample], reals: Sequence[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """Fakes with the real picture that each was made from.

    It is the one whose ``pair_id`` is the fake's, or whose name that is, else the only one
    whose file is named by that, or, where a fake has none, as the fake's own.
    """
    by_name = {name: real for real in reals for kind, name in real.ties if kind == "real"}
    by_pair = {real.pair_id: real for real in reals if real.pair_id}
    stems = Counter(map(_stem, reals))
    by_stem = {stem: real for real in reals if stems[stem := _stem(real)] == 1}
    for fake in fakes:
        named = fake.pair_id.rpartition("/")[2].rpartition(":")[2]
        real = (
            by_pair.get(fake.pair_id)
            or by_name.get(fake.pair_id)
            or by_stem.get(named or _stem(fake))
        )
        if real is not None:
            yield fake, real


def measure_fits(
    pairs: Sequence[tuple[Sample, Sample]], place: Callable[[Sample, str], Path]
) -> list[Fit]:
    """Compare masks with what differs between fakes and their reals.

    Pairs that are none by `LIKENESS` and `STILL`, files that can't be read, and masks of nearly
    nothing or nearly all are left out.

    Args:
        pairs: from `find_pairs`.
        place: where a file of a sample is.
    """
    fits: list[Fit] = []
    with file_threads(THREADS) as pool:
        for start in range(0, len(pairs), _TOGETHER):
            some = pairs[start : start + _TOGETHER]
            compared = pool.map(lambda pair: _compare(pair[0], pair[1], place), some)
            found = [(f, *one) for (f, _), one in zip(some, compared, strict=True) if one]
            if found:
                samples, ranks, masks = zip(*found, strict=True)
                fits += _fits(samples, np.stack(ranks), np.stack(masks))
    return fits


def _fits(
    samples: Sequence[Sample], ranks: NDArray[np.float64], masks: NDArray[np.float64]
) -> Iterator[Fit]:
    marked = masks.sum(1)
    # The AUC of each picture's change (rows) for each mask (columns), from sums of ranks.
    sums = ranks @ masks.T - marked * (marked + 1) / 2
    auc = sums / (marked * (masks.shape[1] - marked))
    for row, sample in enumerate(samples):
        own, best = auc[row, row], int(auc[row].argmax())
        # A mask that fits well may be beaten by one of much the same place.
        is_other = auc[row, best] - own > CLEARLY and 1 - auc[row, best] < (1 - own) / 3
        yield Fit(sample, float(own), samples[best] if is_other else None)


def _compare(
    fake: Sample, real: Sample, place: Callable[[Sample, str], Path]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Ranks of the change, (GRID²,), and 1 where the mask marks; None where they say nothing."""
    try:
        changed, plain = (_cells(place(one, one.path)) for one in (fake, real))
        mask = decode_mask(read_content(place(fake, fake.mask_path)), fake.fake_in_mask)
    except (ImageError, InputError):
        return None
    marks = np.asarray(mask.resize((GRID, GRID), Image.Resampling.BOX)).ravel() >= MARKED
    if not LEAST_CELLS <= marks.sum() <= marks.size - LEAST_CELLS:
        return None
    change = np.abs(changed - plain).mean(-1).ravel()
    with np.errstate(invalid="ignore"):  # of pictures of one colour
        likeness = np.corrcoef(changed.ravel(), plain.ravel())[0, 1]
    if not likeness >= LIKENESS or np.percentile(change, 25) > STILL:
        return None
    _, place_of, counts = np.unique(change, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place_of.ravel()]
    return ranks, marks.astype(np.float64)


def _cells(path: Path) -> NDArray[np.float64]:
    image = decode_rgb(read_content(path))
    return np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX), np.float64)


def _stem(sample: Sample) -> str:
    return PurePosixPath(sample.path).stem
