"""Pairs among rows: which fake has which real, and batches that part none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clare.groups import names_of_real
from clare.store.rows import Rows


def match_pairs(rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Fakes, each with its own real, as places in the rows.

    It is the real of the same ``pair_id``, of the same subset first, or the one whose name that is;
    of a delivered fake that which was delivered likewise.

    Returns:
        (P,) fakes, (P,) reals, and how many fakes name one that is not there.
    """
    names = ("label", "subset", "pair_id", "delivery", "parent_subset", "parent_id")
    each = zip(*(rows.column(name).tolist() for name in names), strict=True)
    told = [dict(zip(names, one, strict=True)) for one in each]
    known: dict[tuple[str, ...], int] = {}
    for place, (columns, sample_id) in enumerate(zip(told, rows.sample_ids.tolist(), strict=True)):
        if columns["label"] == 0:
            own = columns["pair_id"]
            for name in (str(own),) if own else names_of_real(columns, sample_id):
                for key in _keys(columns, name):
                    known.setdefault(key, place)
    fakes, reals, alone = [], [], 0
    for place, columns in enumerate(told):
        if columns["label"] == 0 or not columns["pair_id"]:
            continue
        met = [known[key] for key in _keys(columns, str(columns["pair_id"])) if key in known]
        if met:
            fakes.append(place)
            reals.append(met[0])
        else:
            alone += 1
    return np.array(fakes, np.int64), np.array(reals, np.int64), alone


def _keys(columns: Mapping[str, Any], name: str) -> tuple[tuple[str, ...], ...]:
    """By what a pair is looked up: within its subset, then among all."""
    delivered = str(columns["delivery"] or "")
    return (name, delivered, str(columns["subset"])), (name, delivered)


def group_pairs(rows: Rows) -> NDArray[np.int64]:
    """(n,) a number for each row, counted from 0: a real and all its fakes have one in common."""
    fakes, reals, _ = match_pairs(rows)
    first = np.arange(len(rows))
    first[fakes] = reals
    return np.unique(first, return_inverse=True)[1].astype(np.int64)


def whole_batches(
    groups: NDArray[np.int64], batch: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Every row once, in batches of random groups, each of which is whole.

    Where the next group does not fit, rows that stand alone take the places that are left.

    Args:
        groups: (n,) of each row, as `group_pairs` has them.
        batch: most rows of a batch, and at least those of the largest group.
        rng: that orders the groups.

    Returns:
        Places in ``groups``, by batch.
    """
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    alone = order[sizes[order] == 1].tolist()
    number = np.full(len(sizes), -1, np.int64)
    now, left = 0, batch
    for group, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        if number[group] >= 0:
            continue
        if size > left:
            # From the end of the order: those before this place are taken already.
            while left and alone and number[alone[-1]] < 0:
                number[alone.pop()] = now
                left -= 1
            now, left = now + 1, batch
        number[group] = now
        left -= size
    of_row = number[groups]
    places = np.argsort(of_row, kind="stable")
    cuts: Sequence[int] = (np.flatnonzero(np.diff(of_row[places])) + 1).tolist()
    return np.split(places, cuts)
