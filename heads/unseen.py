"""Which rows an evaluation is made on: those of a split that training never saw, reals beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clare.errors import InputError
from clare.heads.dataset import FeatureDataset
from clare.heads.runs import Run
from clare.store.feature_store import FeatureStore
from clare.store.index import Row

SHOWN = 3
"""Rows that a message names."""


@dataclass(frozen=True)
class UnseenRows:
    """The rows of an evaluation.

    Args:
        datasets: by subset, the rows of the split that have features.
        places: by subset, the places in its dataset of the rows that are scored.
        reals: the subsets whose reals stand beside those that have none.
        skipped: by subset, rows without features, because extraction failed or is not done.
    """

    datasets: Mapping[str, FeatureDataset]
    places: Mapping[str, Sequence[int]]
    reals: tuple[str, ...]
    skipped: Mapping[str, int]

    def rows(self) -> list[tuple[str, Row]]:
        """Every row that is scored, with its subset, in the order of scoring."""
        return [
            (subset, self.datasets[subset].rows[place])
            for subset, places in self.places.items()
            for place in places
        ]


def choose_rows(
    run: Run,
    store: FeatureStore,
    subsets: Sequence[str] | None = None,
    reals: Sequence[str] | None = None,
    split: str = "test",
) -> UnseenRows:
    """The rows to test a run on.

    Args:
        run: whose detector says which features are needed, and whose training must not have seen
            the rows.
        store: the store.
        subsets: what to test on; every subset that has fakes in the split if left out.
        reals: subsets whose reals stand beside a subset that has none. By default the pool that
            the run was trained with, or else the subsets of reals alone that it was trained on.
        split: the rows' split.

    Raises:
        InputError: there is nothing to test on, no reals to stand beside fakes, or a row shares a
            video, an identity or an image with training.
        StoreError: the store has no such subset, or not the run's features.
    """
    listed = {name: _listed(store, name, split) for name in store.subsets()}
    for name in subsets or ():
        listed.setdefault(name, _listed(store, name, split))  # the store says what it has
    asked = list(dict.fromkeys(subsets or [n for n, rows in listed.items() if _has(rows, 1)]))
    for name in asked:
        _require_fakes(name, listed[name], split)
    if not asked:
        raise InputError(f"{store.path} has no fakes in split {split}: there is nothing to test on")
    pools = _pools(run, listed, asked, reals, split)

    wanted = {name: listed[name] for name in asked}
    for name in pools:
        wanted.setdefault(name, [row for row in listed[name] if row.columns["label"] == 0])
    _refuse_seen(run, wanted)
    fields, digests = run.detector.fields, run.record.digests
    datasets = {
        name: FeatureDataset(store.path, fields, subsets=[name], split=split, digests=digests)
        for name in wanted
    }
    places = {}
    for name, rows in wanted.items():
        slots = {row.slot for row in rows}
        places[name] = [k for k, row in enumerate(datasets[name].rows) if row.slot in slots]
    missing = {name: len(rows) - len(places[name]) for name, rows in wanted.items()}
    return UnseenRows(datasets, places, pools, {n: count for n, count in missing.items() if count})


def _listed(store: FeatureStore, subset: str, split: str) -> list[Row]:
    rows = store.rows(subset)
    return [
        row
        for row in rows
        if row.view == 0 and row.columns.get("split") == split and "label" in row.columns
    ]


def _has(rows: Sequence[Row], label: int) -> bool:
    return any(row.columns["label"] == label for row in rows)


def _require_fakes(name: str, rows: Sequence[Row], split: str) -> None:
    if not rows:
        raise InputError(f"{name} has no rows in split {split}; `clare store info` shows what is")
    if not _has(rows, 1):
        raise InputError(
            f"{name} has reals alone in split {split}; name subsets with fakes, and {name} "
            "with --reals"
        )


def _pools(
    run: Run,
    listed: Mapping[str, Sequence[Row]],
    asked: Sequence[str],
    reals: Sequence[str] | None,
    split: str,
) -> tuple[str, ...]:
    """The subsets whose reals are borrowed."""
    alone = [name for name in asked if not _has(listed[name], 0)]
    if not alone:
        if reals:
            raise InputError("every subset has reals of its own: leave --reals out")
        return ()
    pure = [name for name, rows in listed.items() if rows and not _has(rows, 1)]
    trained = [run.record.reals] if run.record.reals else list(run.record.subsets)
    found = reals or [
        name for name in trained if name in listed and (name in pure or name == run.record.reals)
    ]
    if not found:
        known = f": {', '.join(pure)}" if pure else ""
        raise InputError(
            f"{', '.join(alone)} has no reals in split {split}; name a subset whose reals stand "
            f"beside it with --reals NAME{known}"
        )
    for name in found:
        if not _has(listed.get(name, ()), 0):
            raise InputError(f"--reals {name} has no reals in split {split}")
    return tuple(found)


def _refuse_seen(run: Run, wanted: Mapping[str, Sequence[Row]]) -> None:
    for name, rows in wanted.items():
        seen = [(row, shared) for row in rows if (shared := run.seen.shared_with(row))]
        if seen:
            shown = "; ".join(f"{row.sample_id} ({shared[0]})" for row, shared in seen[:SHOWN])
            raise InputError(
                f"{len(seen)} of the {len(rows)} test rows of {name} share a video, an identity or "
                f"an image with the training of {run.path}: {shown}; leave {name} out, or build "
                "its manifest anew so that groups stay whole"
            )
