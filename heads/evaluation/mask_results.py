"""What an evaluation says of a localiser's maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clare.bootstrap import Figures

SCORES = {
    "mean": "the mean of its probabilities",
    "mean_logit": "the mean of its logits",
    "max": "its largest probability",
    "top": "the mean of its highest hundredth",
}
"""How an image's score comes from its map."""


@dataclass(frozen=True)
class MaskBaseline:
    """What needs no training, on one subset.

    Args:
        figures: its own, each with its interval.
        ahead: the localiser's less its own, on the same images, with paired intervals.
    """

    figures: Figures
    ahead: Figures


@dataclass(frozen=True)
class MaskSubset:
    """How well fake pixels were found on a subset.

    Args:
        figures: by name, see `MaskFigures`; ``n`` counts the images that have the figure.
        cases: images that a figure treats by itself, see `count_cases`; and ``unmarked``, fakes
            whose mask marks nothing, in no figure.
        without_mask: fakes that have no mask, or one that can't be compared; in no figure.
        baselines: by name, where they were asked for.
    """

    figures: Figures
    cases: Mapping[str, int]
    without_mask: int
    baselines: Mapping[str, MaskBaseline] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskResults:
    """What an evaluation says of a localiser's maps.

    Args:
        score: how an image's score comes from its map.
        saw_reals: whether real images were trained on.
        cuts: of each baseline that has one: above it a pixel is called fake. Chosen on validation.
        subsets: by name.
        mean: of the figures over subsets; ``n`` counts them. No intervals.
    """

    score: str
    saw_reals: bool
    cuts: Mapping[str, float]
    subsets: Mapping[str, MaskSubset]
    mean: Figures
