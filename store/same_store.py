"""Whether a store that is carried may go where another already stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np

from clare.advice import Name
from clare.errors import StoreError
from clare.store.bucket.objects import in_flight
from clare.store.feature_store import SIGNATURE
from clare.store.layout import EXTRACTORS, MARKER, RECORD, ROWS
from clare.store.records import checking, unseal
from clare.store.segments import read_rows
from clare.store.sides import Side


def require_same_store(
    source: Side, target: Side, have: Mapping[str, int], there: Mapping[str, int]
) -> None:
    """Refuse to overwrite another store, or what a store has beyond the one that is carried.

    Raises:
        StoreError: the place holds something that would be lost.
    """
    with checking(Path(source.name()) / MARKER):
        if unseal(source.read(MARKER)) != SIGNATURE:
            raise StoreError(f"{source.name()} has another format than this version's")
    # Records of shards do not decide: here they may be withdrawn just now, or by a repair.
    deciding = re.compile(rf"{ROWS}/.+|{EXTRACTORS}/[^/]+/{RECORD}").fullmatch
    more = [key for key in there if key not in have and deciding(key)]
    same = [key for key in there if key in have and key.startswith(f"{ROWS}/")]
    if not more and all(in_flight(partial(_same_rows, source, target), same)):
        return
    raise _another(source, target)


def require_same_rows(source: Side, target: Side, key: str) -> None:
    """Refuse to overwrite a file of the index that holds other rows.

    Raises:
        StoreError: they would be lost.
    """
    if not _same_rows(source, target, key):
        raise _another(source, target)


def _another(source: Side, target: Side) -> StoreError:
    return StoreError(
        f"{target.name()} holds another store, or rows and features that {source.name()} lacks",
        Name("another place", "store"),
    )


def _same_rows(source: Side, target: Side, key: str) -> bool:
    """Whether a file of the index has the same rows on both sides, whatever is said of them."""
    first, second = source.read(key), target.read(key)
    if first == second:
        return True
    tables = []
    for side, data in ((source, first), (target, second)):
        with checking(Path(side.name()) / key):
            lines = BytesIO(data)
            unseal(lines.readline())  # the header, which the rows say again
            rows, _ = read_rows(lines)
        tables.append((rows.slots, rows.sample_ids, rows.views, rows.contents))
    return all(np.array_equal(one, other) for one, other in zip(*tables, strict=True))
