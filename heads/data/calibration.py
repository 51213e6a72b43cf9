"""Which rows of validation choose nothing, so that what is calibrated on them holds elsewhere.

The epoch that is best on a few rows is best on these by luck too: their margins lie further apart
than those of rows that nobody chose by, and conformal sets that are calibrated on them cover less
than they state. Split-conformal prediction asks for rows that are like the test's: that the
detector was neither fitted to nor chosen by.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from clare.advice import LeaveOut, Name
from clare.errors import InputError
from clare.groups import Group, first_tied, ties_of
from clare.store.rows import Rows
from clare.wording import listed

_CLASSES = ("reals", "fakes")


def keep_apart(rows: Rows, labels: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """(N,) which rows are kept for calibration: a share of what belongs together, by its labels.

    People, videos and pairs stay whole. Which are kept follows from their names alone, so that runs
    on the same rows keep the same.

    Args:
        rows: (N,) of validation.
        labels: (N,) theirs.
        share: of them, 0 to below 1.

    Raises:
        InputError: a label is on one side alone.
    """
    apart = np.zeros(len(labels), bool)
    if not share:
        return apart
    dealt: dict[tuple[int, ...], list[tuple[str, NDArray[np.int64]]]] = defaultdict(list)
    names = [
        f"{subset}/{sample}"
        for subset, sample in zip(
            rows.column("subset").tolist(), rows.sample_ids.tolist(), strict=True
        )
    ]
    group = _belonging(rows)
    order = np.argsort(group, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        key = min(hashlib.sha256(names[place].encode()).hexdigest() for place in places.tolist())
        dealt[tuple(np.unique(labels[places]).tolist())].append((key, places))
    for groups in dealt.values():
        groups.sort(key=lambda one: one[0])
        for _, places in groups[: round(share * len(groups))]:
            apart[places] = True
    for what, side in (("calibrate on", apart), ("choose by", ~apart)):
        there = set(labels[side].tolist())
        if lacking := [_CLASSES[label] for label in sorted({*labels.tolist()} - there)]:
            raise InputError(
                f"a calibration of {share:g} leaves no {listed(lacking)} of validation to {what}",
                Name("another share", "calibration", "0.5"),
                LeaveOut("calibration"),
            )
    return apart


def _belonging(rows: Rows) -> NDArray[np.int64]:
    """(N,) a number that rows have in common which share a person, a video, a pair or an image."""
    first = list(range(len(rows)))

    def root(place: int) -> int:
        while first[place] != place:
            first[place] = first[first[place]]
            place = first[place]
        return place

    known: dict[Group, int] = {}
    for place, row in enumerate(rows):
        for tie in ties_of(row.columns, row.sample_id, row.content):
            for other in first_tied(known, tie, place):
                first[root(place)] = root(other)
    return np.array([root(place) for place in range(len(rows))], np.int64)
