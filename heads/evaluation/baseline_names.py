"""What each baseline is called: in an evaluation's record, on a page, and in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clare.heads.evaluation.shortcuts import SHORTCUTS

MEAN_LARE, CENTROID = "mean_lare", "real_centroid"

BASELINES: Mapping[str, str] = {
    **{name: fact.title for name, fact in SHORTCUTS.items()},
    MEAN_LARE: "mean LaRE",
    CENTROID: "cosine to the real centroid",
}
"""What a person calls each, by the name in an evaluation's record."""

_SHORT = {
    "size": "size",
    "bytes": "bytes",
    "format": "format",
    "laplacian": "Laplacian",
    "jpeg_size": "as JPEG",
    CENTROID: "cosine to reals",
}
"""Where a title is long for a narrow column."""


def title_of(name: str, *, short: bool = False) -> str:
    """What a person calls a baseline; one that nobody here knows keeps its name."""
    title = BASELINES.get(name, name)
    return _SHORT.get(name, title) if short else title


def in_order(found: Iterable[str]) -> list[str]:
    """The names of all baselines, then those that a record has and nobody here knows."""
    return [*BASELINES, *sorted(set(found) - set(BASELINES))]
