"""Figures on images that are newer than anything that a tower can have seen in its training.

Towers are trained on what was on the web. Where a test image was too, a figure may tell what a
tower remembers, and not what it sees. What was made after a tower's images were collected can't
have been among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.advice import Name
from clare.bootstrap import Figure, Resampling
from clare.dates import is_span, read_span
from clare.errors import InputError
from clare.heads.metrics.measure import mean_of, measure_aucs
from clare.heads.metrics.predictions import Predictions
from clare.heads.runs.record import ExtractorRecord
from clare.models.known import family_of, named
from clare.store.row import Row
from clare.wording import listed

RANDOM = "tiny"
"""A backbone whose weights are random: it has seen nothing."""


@dataclass(frozen=True)
class Sight:
    """What the towers behind a figure can have seen.

    Args:
        towers: each in words, with how that is known.
        until: the last day of an image that one of them can have seen; None where it is not known
            of one of them.
        unknown: the towers of which it is not known.
    """

    towers: tuple[str, ...]
    until: date | None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Newer:
    """Figures on the images that are newer than all that the towers can have seen.

    Args:
        towers: what they are, and how it is known what they can have seen.
        until: the last day of that, as ISO has it; empty where it is not known.
        dated: images that say when they were made, and are newer: by test set.
        tests: AUC by test set, on its newer images of both labels; of those alone that have both.
        mean: over these sets; None where there is none.
        silent: whether no image says when it was made.
        why: why there is no figure, in a sentence; empty where there is one.
    """

    towers: tuple[str, ...]
    until: str
    dated: Mapping[str, int]
    silent: bool
    tests: Mapping[str, Figure]
    mean: Figure | None = None
    why: str = ""


def day_of(text: str | None) -> date | None:
    """The last day of what a user says that towers have seen.

    Raises:
        InputError: it is no date.
    """
    if text is None:
        return None
    try:
        return read_span(text).last
    except ValueError as error:
        raise InputError(str(error), Name("a date", "seen_until", "2021-03")) from None


def sight_of(extractors: Iterable[ExtractorRecord], otherwise: date | None = None) -> Sight:
    """What the towers behind some extractors can have seen.

    Args:
        extractors: those without weights saw nothing, nor did those of random ones.
        otherwise: the last day of what towers can have seen of which nothing is known.
    """
    towers: dict[str, date | None] = {}
    for one in extractors:
        fingerprint, origin = one.fingerprint, one.origin
        if not fingerprint.weights or fingerprint.settings.get("backbone") == RANDOM:
            continue
        name, family = f"{fingerprint.extractor}: {named(origin)}", family_of(origin)
        if family is not None:
            towers[f"{name}, images collected: {family.crawl_text}"] = family.newest
        else:
            told = "not known" if otherwise is None else f"until {otherwise}, as was said"
            towers[f"{name}, images collected: {told}"] = otherwise
    days = [day for day in towers.values() if day is not None]
    unknown = tuple(name for name, day in towers.items() if day is None)
    return Sight(tuple(towers), None if unknown else max(days, default=date.min), unknown)


def newer_figures(
    rows: Sequence[Row],
    predictions: Predictions,
    sets: Mapping[str, NDArray[np.int64]],
    scores: Mapping[str, tuple[Sight, NDArray[np.float64]]],
    how: Resampling,
) -> dict[str, Newer]:
    """The AUC of scores on the images that their towers can't have seen.

    Args:
        rows: N test rows, as the store has them.
        predictions: the same, with their labels and clusters.
        sets: places of the rows of each test set.
        scores: by name, what the towers behind it can have seen, and (N,) scores.
        how: the bootstrap.

    Returns:
        By name, of those that any tower stands behind.
    """
    first = np.array([_first_day(row.columns) for row in rows], np.int64)
    groups: dict[Sight, list[str]] = {}
    for name, (sight, _) in scores.items():
        if sight.towers:
            groups.setdefault(sight, []).append(name)
    found: dict[str, Newer] = {}
    for sight, names in groups.items():
        after = np.iinfo(np.int64).max if sight.until is None else sight.until.toordinal()
        chosen = {n: places[first[places] > after] for n, places in sets.items()}
        dated = {n: len(places) for n, places in chosen.items()}
        both = {
            n: places
            for n, places in chosen.items()
            if len(np.unique(predictions.label[places])) == 2
        }
        until = "" if sight.until is None else str(sight.until)
        told = (sight.towers, until, dated, not first.any())
        if why := _why_none(sight, first, sets, chosen, both):
            found |= {name: Newer(*told, {}, None, why) for name in names}
            continue
        measured = measure_aucs([scores[name][1] for name in names], predictions, both, how)
        for name, one in zip(names, measured, strict=True):
            tests = {n: values.figures["auc"] for n, values in one.items()}
            found[name] = Newer(*told, tests, mean_of([*one.values()]).figures["auc"])
    return found


def _why_none(
    sight: Sight,
    first: NDArray[np.int64],
    sets: Mapping[str, NDArray[np.int64]],
    chosen: Mapping[str, NDArray[np.int64]],
    both: Mapping[str, Any],
) -> str:
    """Why there is no figure; empty where there is one."""
    if both:
        return ""
    tested = np.unique(np.concatenate([*sets.values()])) if sets else np.empty(0, np.int64)
    silent = int((first[tested] == 0).sum())
    means = "a tower may have seen any of them in training"
    if silent == len(tested):
        return f"none of the {len(tested):,} test images says when it was made, so that {means}"
    if sight.unknown:
        return f"what they can have seen is not known of {listed(sight.unknown)}, so that {means}"
    if not any(map(len, chosen.values())):
        of = f" ({silent:,} don't say when they were made)" if silent else ""
        return f"none of the {len(tested):,} test images is newer{of}, so that {means}"
    return (
        f"{len(np.unique(np.concatenate([*chosen.values()]))):,} of {len(tested):,} test images "
        "are newer, in no test set both reals and fakes, so that there is nothing to tell apart"
    )


def _first_day(columns: Mapping[str, Any]) -> int:
    """The first day on which an image can have been made; 0 where it does not say."""
    text = columns.get("created")
    return read_span(text).first.toordinal() if isinstance(text, str) and is_span(text) else 0


def reasons_said(newer: Mapping[str, Newer]) -> list[str]:
    """Why there are no figures, each reason with what it is of."""
    found: dict[str, list[str]] = {}
    for name, one in newer.items():
        if one.why:
            found.setdefault(one.why, []).append(name)
    alone = len(found) == 1 and len(next(iter(found.values()))) == len(newer)
    return [
        f"Images newer than the towers: {why}."
        if alone
        else f"Images newer than the towers of {listed(names)}: {why}."
        for why, names in found.items()
    ]
