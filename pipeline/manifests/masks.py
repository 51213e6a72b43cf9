"""What is not as it should be with masks, seen by decoding them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clare.advice import Advice, Notice, Set
from clare.errors import ImageError, InputError
from clare.pipeline.manifests.headers import THREADS
from clare.pipeline.manifests.sample import Sample
from clare.store.bucket.files import file_threads
from clare.wording import counted, name_rows

LIMIT = 1000
"""Masks that are decoded where a manifest is made: spread evenly over its rows."""

PAIRS = 50
"""Of those, fakes that are compared with their reals."""

LEAST = 3
"""Masks that it takes to tell that all of them are the wrong way round."""

Place = Callable[[Sample, str], Path]
"""Where a file of a sample is: its image, or its mask."""


@dataclass(frozen=True)
class MaskRemark:
    """One thing that deserves a look.

    Args:
        what: there is to say.
        rows: the samples that it is about, each with what is to be said of it alone.
        advice: what would change it.
    """

    what: str
    rows: tuple[tuple[Sample, str], ...]
    advice: tuple[Advice, ...] = ()

    def __str__(self) -> str:
        """All of it but the advice, the first few masks by name."""
        return f"{self.what}: {name_rows(self.named(lambda one: one.mask_path or one.path))}"

    @property
    def notice(self) -> Notice:
        """The same with the advice."""
        return Notice(str(self), *self.advice)

    def named(self, name: Callable[[Sample], str]) -> list[str]:
        """Its rows as a message names them."""
        return [name(sample) + (f" ({said})" if said else "") for sample, said in self.rows]


class _Seen(NamedTuple):
    """What a mask is.

    Args:
        fault: why it can't be used; the others say nothing then.
        sizes: its own and its image's, where they differ.
        fits: whether it can be scaled to its image.
        top: its largest value, where that is far from the largest that there could be.
        marked: share of its pixels that it marks.
        shades: share of its pixels that are neither dark nor light.
    """

    fault: str = ""
    sizes: str = ""
    fits: bool = True
    top: int = 0
    marked: float = 0.0
    shades: float = 0.0


def look_at_masks(
    samples: Sequence[Sample],
    place: Place,
    *,
    reals: Sequence[Sample] = (),
    limit: int | None = LIMIT,
    pairs: int | None = PAIRS,
) -> list[MaskRemark]:
    """Decode masks, and compare them with what was changed where fakes have known reals.

    Of a manifest without masks there is nothing to say.

    Args:
        samples: rows of a manifest.
        place: where a file of a sample is; what it raises of `ClareError` means nowhere.
        reals: rows of other manifests that fakes may be made from.
        limit: most masks to look at; None for all.
        pairs: most fakes to compare with their reals; None for all.
    """
    masked = [sample for sample in samples if sample.mask_path and sample.status == "ok"]
    looked = _some(masked, limit)
    if not looked:
        return []
    with file_threads(THREADS) as pool:
        seen = list(zip(looked, pool.map(lambda one: _look(one, place), looked), strict=True))
    of = "" if len(looked) == len(masked) else f" of {len(looked):,} looked at"
    known = [*(s for s in samples if s.label == 0), *reals]
    return [
        *_without(samples),
        *_of_files(seen, of),
        *_of_marks(seen, of),
        *_of_places(seen, known, place, pairs),
    ]


def _without(samples: Sequence[Sample]) -> Iterator[MaskRemark]:
    """Fakes without a mask beside others that have one."""
    if rows := [(s, "") for s in samples if s.label == 1 and s.status == "ok" and not s.mask_path]:
        yield MaskRemark(f"{counted(len(rows), 'fake')} without a mask", tuple(rows))


def _some(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    step = 1 if limit is None else max(1, -(-len(samples) // limit))
    return samples[::step]


def _look(sample: Sample, place: Place) -> _Seen:
    import numpy as np

    from clare.pipeline.images.decode import (
        MissingDecoderError,
        decode_rgb,
        mask_values,
        read_content,
        scale_mask,
    )
    from clare.pipeline.images.prepare import MARKED, mask_fits

    try:
        values = mask_values(read_content(place(sample, sample.mask_path)))
    except MissingDecoderError:
        return _Seen()  # the installation's lack, not the file's
    except ImageError as error:
        return _Seen(str(error).removeprefix("mask ").partition(":")[0])
    except InputError:
        return _Seen("missing")
    mask = scale_mask(values, sample.fake_in_mask)
    image = (sample.width or mask.width, sample.height or mask.height)
    if not mask_fits(mask.size, image):
        try:  # the header doesn't say which way up the image is
            image = decode_rgb(read_content(place(sample, sample.path))).size
        except (ImageError, InputError):
            image = mask.size
    sizes = f"{mask.width}x{mask.height} of {image[0]}x{image[1]}" if mask.size != image else ""
    top = int(values.max()) if values.dtype.kind != "f" else 255
    marks = np.asarray(mask)
    return _Seen(
        sizes=sizes,
        fits=mask_fits(mask.size, image),
        top=top if top < MARKED else 0,
        marked=float((marks >= MARKED).mean()),
        shades=float(((marks >= 32) & (marks < 224)).mean()),
    )


def _of_files(seen: Sequence[tuple[Sample, _Seen]], of: str) -> Iterator[MaskRemark]:
    """Masks whose rows will fail, and those that are changed to be used."""
    faults: dict[str, list[tuple[Sample, str]]] = defaultdict(list)
    for sample, mask in seen:
        if mask.fault:
            faults[mask.fault].append((sample, ""))
    for fault, rows in sorted(faults.items()):
        what = f"{counted(len(rows), 'mask')}{of} can't be used, {fault} (kept, and will fail)"
        yield MaskRemark(what, tuple(rows))
    sized = [(sample, mask.sizes, mask.fits) for sample, mask in seen if mask.sizes]
    if rows := [(sample, sizes) for sample, sizes, fits in sized if not fits]:
        what = f"{counted(len(rows), 'mask')}{of} of another shape than their image"
        yield MaskRemark(f"{what} (kept, and will fail)", tuple(rows))
    if rows := [(sample, sizes) for sample, sizes, fits in sized if fits]:
        what = f"{counted(len(rows), 'mask')}{of} of another size than their image"
        yield MaskRemark(f"{what} (scaled to it)", tuple(rows))
    if rows := [(sample, f"up to {mask.top}") for sample, mask in seen if mask.top]:
        what = f"{counted(len(rows), 'mask')}{of} of small values"
        yield MaskRemark(f"{what} (the largest counts as 255)", tuple(rows))


def _of_marks(seen: Sequence[tuple[Sample, _Seen]], of: str) -> Iterator[MaskRemark]:
    """Masks that say nothing, or what the label contradicts, or that are none."""
    whole = [(sample, mask) for sample, mask in seen if not mask.fault]
    if rows := [(sample, "") for sample, mask in whole if sample.label == 1 and not mask.marked]:
        what = f"{counted(len(rows), 'mask')} of fakes{of} without a mark"
        yield MaskRemark(what, tuple(rows))
    if rows := [
        (sample, f"{mask.marked:.0%}")
        for sample, mask in whole
        if sample.label == 0 and mask.marked
    ]:
        what = f"{counted(len(rows), 'mask')} of reals{of} with a mark"
        yield MaskRemark(what, tuple(rows), ("correct their labels, or leave their masks out",))
    if rows := [(sample, "") for sample, mask in whole if mask.shades > 0.5]:
        what = f"{counted(len(rows), 'mask')}{of} mostly neither black nor white, as a photograph"
        yield MaskRemark(what, tuple(rows), ("see whether these are masks",))


def _of_places(
    seen: Sequence[tuple[Sample, _Seen]], reals: Sequence[Sample], place: Place, pairs: int | None
) -> Iterator[MaskRemark]:
    """Masks of fakes that mark what was left alone: turned round, or another fake's."""
    partly = [
        (sample, mask)
        for sample, mask in seen
        if sample.label == 1 and 0 < mask.marked < 1 and mask.fits
    ]
    known = _pairs([sample for sample, _ in partly], reals, pairs)
    from clare.pipeline.manifests.mask_pairs import MISSED, TURNED, measure_fits

    fits = measure_fits(known, place)
    if len(fits) >= LEAST:
        turned = [(fit.sample, "") for fit in fits if fit.own < TURNED]
        what, among = "mark what did not change", len(fits)
    else:
        turned = [(sample, f"{mask.marked:.0%}") for sample, mask in partly if mask.marked > 0.5]
        what, among = "mark more than half of their image", len(partly)
    if among >= LEAST and 2 * len(turned) > among:
        other = "white" if turned[0][0].fake_in_mask == "black" else "black"
        what = f"{len(turned):,} of {counted(among, 'mask')} of fakes {what}"
        yield MaskRemark(what, tuple(turned), (Set("mask_fake", other, "turns them round"),))
        return
    if rows := [
        (fit.sample, f"that of {fit.better.path} fits" if fit.better else "")
        for fit in fits
        if fit.better or fit.own < MISSED
    ]:
        of = f"{len(rows):,} of {counted(len(fits), 'mask')}"
        yield MaskRemark(f"{of} don't mark what differs between fake and real", tuple(rows))


def _pairs(
    fakes: Sequence[Sample], reals: Sequence[Sample], limit: int | None
) -> list[tuple[Sample, Sample]]:
    if not (fakes and reals):
        return []
    from clare.pipeline.manifests.mask_pairs import find_pairs

    found = list(find_pairs(fakes, reals))
    return found if limit is None else found[:: max(1, -(-len(found) // limit))]
