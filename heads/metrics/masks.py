"""Figures of localisation: which pixels of an image are fake.

All are of one image, and then averaged over images, as DeCLIP (Smeu et al., WACV 2025) and TruFor
(Guillaro et al., CVPR 2023) publish them. Values are shares of 1, where papers print percent. What
the published code makes nan, or fills with a constant, is absent here (None) and counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from clare.bootstrap import USUAL, Figure, Resampling, resample
from clare.errors import InputError
from clare.wording import counted

if TYPE_CHECKING:
    import torch

Mask = NDArray[np.uint8] | NDArray[np.bool_]
"""(H, W): 0 to 255, soft or not, fake above 127; or whether a pixel is fake."""

Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.bool_])

FIGURES = (
    *("iou", "f1", "f1_oracle", "f1_inner", "f1_inner_oracle", "ap"),
    *("area_error", "false_area"),
)
"""The figures of `MaskFigures` that are averaged, in the order of reports."""

ORACLE = ("f1_oracle", "f1_inner_oracle")
"""Those at a threshold searched on the very image: no detector reaches them in use."""

ERODED, DILATED = 15, 11
"""Sides of the squares, in pixels of the mask, that take the boundary out of the inner figures."""


@dataclass(frozen=True)
class MaskFigures:
    """Figures of one image.

    A pixel is **fake** where the mask is above 127, and **called** fake where its probability is
    above the cut. Without a fake pixel only ``false_area`` exists; the published code gives such an
    image an IoU and F1 of 1 (nothing called) or 0, and an AP of nan or 0.

    The **inner** figures leave the boundary out: positive is what a 15 x 15 erosion leaves of the
    fake pixels (the outside of the picture counts as fake), negative is what an 11 x 11 dilation
    spares, and the ring between them is ignored. An image of which the erosion leaves nothing, or
    of which the ring takes everything, has none; the published code gives it 1 (nothing called
    outside of the ring), 0, or nan.

    Args:
        iou: intersection over union of the called and the fake pixels.
        f1: of the called pixels.
        f1_oracle: the best F1 over all cuts between two values of the map, and the one at the cut;
            "everything" and "nothing" are not tried, as published. A constant map has no such cut
            and keeps ``f1``, where the published code gives nan.
        f1_inner: F1 without the boundary.
        f1_inner_oracle: the best of these, as ``f1_oracle``.
        ap: average precision of the pixels, all thresholds: scikit-learn's. It is the truth's area
            where the map is constant, and 1 where every pixel is fake.
        area_error: called less true area, as a share of the image; below 0 where too little is
            called.
        false_area: share of an image without fake pixels that is called; None where it has some.
        truth_area: share of fake pixels, 0 to 1.
        called_area: share of called pixels, 0 to 1.
        constant: whether all pixels have the same probability.
        thin: whether it has fake pixels, of which the erosion leaves none.
    """

    iou: float | None
    f1: float | None
    f1_oracle: float | None
    f1_inner: float | None
    f1_inner_oracle: float | None
    ap: float | None
    area_error: float | None
    false_area: float | None
    truth_area: float
    called_area: float
    constant: bool
    thin: bool


def measure_map(probability: NDArray[np.floating], mask: Mask, cut: float = 0.5) -> MaskFigures:
    """The figures of one image.

    Args:
        probability: (H, W) of each pixel being fake, 0 to 1; read as float32.
        mask: (H, W) of the same size.
        cut: a pixel is called fake above it.

    Raises:
        InputError: the sizes differ, the mask is of another type, or a probability lies outside of
            0 to 1.
    """
    fake = fake_pixels(mask)
    values = checked_map(probability, fake.shape)
    called = values > np.float32(cut)
    total, area = int(fake.sum()), float(called.mean())
    constant = bool((values == values[0, 0]).all())
    if not total:
        return MaskFigures(
            *(None,) * 7,
            false_area=area,
            truth_area=0.0,
            called_area=area,
            constant=constant,
            thin=False,
        )
    from scipy import ndimage

    solid = ndimage.minimum_filter(fake, ERODED)
    inner = solid | ~ndimage.maximum_filter(fake, DILATED)
    thin = not solid.any()
    # Floats of 0 or more are ordered as their bits are (0 is added for the sign of -0.0). With the
    # two flags below them, one sort of whole numbers does for every cut.
    keys = (values + np.float32(0)).view(np.uint32).astype(np.uint64) << np.uint64(2)
    keys |= fake | (inner.view(np.uint8) << 1)
    falling = np.sort(keys, axis=None)[::-1]
    caught, calls = _cuts(falling)
    f1 = _f1(called, fake)
    f1_inner = None if thin else _f1(called & inner, solid)
    return MaskFigures(
        iou=float((called & fake).sum() / (called | fake).sum()),
        f1=f1,
        f1_oracle=_best_f1(caught, calls, f1),
        f1_inner=f1_inner,
        f1_inner_oracle=None
        if f1_inner is None
        else _best_f1(*_cuts(falling[(falling & np.uint64(2)) > 0]), f1_inner),
        ap=float((np.diff(caught, prepend=0) * (caught / calls)).sum() / total),
        area_error=area - total / fake.size,
        false_area=None,
        truth_area=total / fake.size,
        called_area=area,
        constant=constant,
        thin=thin,
    )


def fake_pixels(mask: Mask) -> NDArray[np.bool_]:
    """(H, W) whether a pixel of a mask is fake: above 127 of 255, or as a bool mask says.

    Raises:
        InputError: it is neither uint8 nor bool, or no picture.
    """
    if mask.dtype not in (np.uint8, np.bool_) or mask.ndim != 2 or not mask.size:
        raise InputError(
            f"a mask is {mask.dtype} of shape {mask.shape}: it must be (H, W), uint8 with 255 for "
            "fake, or bool"
        )
    return mask > (0 if mask.dtype == np.bool_ else 127)


def checked_map(probability: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A map as float32, of a mask's shape, in 0 to 1.

    Raises:
        InputError: it is not so.
    """
    if probability.shape != shape:
        raise InputError(
            f"a map of shape {probability.shape} and a mask of shape {shape} can't be compared: "
            "bring the map to the mask's size"
        )
    values = np.ascontiguousarray(probability, np.float32)
    # Not (a or b), so that nan fails too.
    if not (values.min() >= 0 and values.max() <= 1):
        raise InputError("a map has values that are no probabilities: they must lie in 0 to 1")
    return values


def probability_map(
    logits: NDArray[np.floating] | torch.Tensor, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """A decoder's map at the mask's size, as DeCLIP is tested: sigmoid, then `resize_map`.

    Args:
        logits: (h, w).
        shape: (H, W) of the mask.

    Returns:
        (H, W), 0 to 1.
    """
    import torch

    return resize_map(torch.as_tensor(logits).float().sigmoid(), shape)


def resize_map(
    values: NDArray[np.floating] | torch.Tensor, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """A map at another size: bilinear, antialiased where it shrinks (torchvision's default).

    Args:
        values: (h, w), 0 to 1.
        shape: (H, W).

    Returns:
        (H, W), 0 to 1.
    """
    import torch
    from torch.nn.functional import interpolate

    picture = torch.as_tensor(values).detach().cpu().float()[None, None]
    found = interpolate(picture, shape, mode="bilinear", align_corners=False, antialias=True)
    # The weights of a pixel add up to 1 but for the last bit.
    resized: NDArray[np.float32] = found[0, 0].clamp(0, 1).numpy()
    return resized


def nearest(mask: Pixels, shape: tuple[int, int]) -> Pixels:
    """A mask (h, w) at another size (H, W), by its nearest neighbours."""
    down, across = (
        ((np.arange(wanted) + 0.5) * side / wanted).astype(np.int64)
        for wanted, side in zip(shape, mask.shape, strict=True)
    )
    found: Pixels = mask[down][:, across]
    return found


def columns_of(per_image: Sequence[MaskFigures | None]) -> dict[str, list[float | None]]:
    """A list of N by name, of every number in `MaskFigures`; None (an empty cell) where absent."""
    names = [one.name for one in fields(MaskFigures) if one.name not in ("constant", "thin")]
    return {name: [getattr(one, name, None) for one in per_image] for name in names}


def count_cases(per_image: Sequence[MaskFigures]) -> dict[str, int]:
    """How many images there are of each kind that a figure treats by itself.

    Returns:
        ``images``; ``real``, without a fake pixel; ``full``, without a real one; ``thin`` and
        ``constant``, see `MaskFigures`.
    """
    return {
        "images": len(per_image),
        "real": sum(one.truth_area == 0 for one in per_image),
        "full": sum(one.truth_area == 1 for one in per_image),
        "thin": sum(one.thin for one in per_image),
        "constant": sum(one.constant for one in per_image),
    }


def mean_figures(
    per_image: Sequence[MaskFigures], clusters: NDArray[np.str_], how: Resampling = USUAL
) -> dict[str, Figure]:
    """The mean of each figure over the images that have it, with its interval.

    Args:
        per_image: of N images.
        clusters: (N,) what the bootstrap draws as a whole; see `clare.groups.cluster_of`.
        how: the bootstrap.

    Returns:
        Every name of `FIGURES`; ``n`` counts the images that have the figure.

    Raises:
        InputError: there are no images, or not as many clusters.
    """
    return average_columns({name: _column(per_image, name) for name in FIGURES}, clusters, how)


def paired_difference(
    first: Sequence[MaskFigures],
    second: Sequence[MaskFigures],
    clusters: NDArray[np.str_],
    how: Resampling = USUAL,
) -> dict[str, Figure]:
    """Second minus first on the same images: the mean difference with its interval.

    Args:
        first: of N images.
        second: of the same images, in the same order.
        clusters: see `mean_figures`.
        how: the bootstrap.

    Raises:
        InputError: the images, by their truth's areas, are not the same; or as `mean_figures`.
    """
    if [one.truth_area for one in first] != [one.truth_area for one in second]:
        raise InputError(
            "the two localisers were measured on different images, or their masks differ: "
            "measure both on the same images, in the same order"
        )
    gaps = {name: _column(second, name) - _column(first, name) for name in FIGURES}
    return average_columns(gaps, clusters, how)


def average_columns(
    columns: Mapping[str, NDArray[np.float64]],
    clusters: NDArray[np.str_],
    how: Resampling = USUAL,
) -> dict[str, Figure]:
    """The mean of each column over the images that have a value, with its interval.

    Args:
        columns: (N,) by name, nan where an image has none.
        clusters: (N,) see `mean_figures`.
        how: the bootstrap.

    Raises:
        InputError: there are no images, or not as many clusters.
    """
    images = len(next(iter(columns.values()), ()))
    if not images:
        raise InputError("there are no images to average over")
    if len(clusters) != images:
        raise InputError(f"{counted(images, 'image')} and {counted(len(clusters), 'cluster')}")
    # Figures that the same images have are drawn together.
    alike: dict[bytes, list[str]] = defaultdict(list)
    for name, values in columns.items():
        alike[np.isfinite(values).tobytes()].append(name)
    found = dict.fromkeys(columns, Figure(None, None, None, 0))
    for present, names in alike.items():
        rows = np.flatnonzero(np.frombuffer(present, np.bool_))
        if not len(rows):
            continue
        table = np.stack([columns[name][rows] for name in names], 1)
        steps = [
            weights @ table / weights.sum(1, keepdims=True)
            for weights in resample(np.zeros(len(rows), np.int64), clusters[rows], how)
        ]
        draws = np.concatenate(steps) if steps else np.empty((0, len(names)))
        for place, name in enumerate(names):
            found[name] = Figure.of(float(table[:, place].mean()), draws[:, place], len(rows))
    return found


def _cuts(falling: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fake pixels that are called, and all that are, at each cut below a value of the map."""
    values = falling >> np.uint64(2)
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    return np.cumsum((falling & np.uint64(1)).view(np.int64))[ends], ends + 1


def _f1(called: NDArray[np.bool_], fake: NDArray[np.bool_]) -> float:
    return float(2 * (called & fake).sum() / (called.sum() + fake.sum()))


def _best_f1(caught: NDArray[np.int64], calls: NDArray[np.int64], at_cut: float) -> float:
    # The last cut calls everything.
    return float((2 * caught[:-1] / (calls[:-1] + caught[-1])).max(initial=at_cut))


def _column(per_image: Sequence[MaskFigures], name: str) -> NDArray[np.float64]:
    """(N,) nan where absent."""
    return np.array([getattr(one, name) for one in per_image], np.float64)
