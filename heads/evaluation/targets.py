"""The rows that a protocol tests a run on: fakes of a domain beside reals of that domain."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache

from clare.errors import InputError
from clare.heads.evaluation.test_rows import (
    NO_FEATURES,
    SHOWN,
    UnseenRows,
    Wanted,
    gather,
    has_label,
    list_rows,
    with_label,
)
from clare.heads.runs.run import Run
from clare.protocol import Protocol, Sampling, Target
from clare.store.feature_store import FeatureStore
from clare.store.index import Row


def choose_targets(
    run: Run,
    store: FeatureStore,
    protocol: Protocol,
    *,
    frames: int | None = None,
    sampling: Sampling = "even",
) -> UnseenRows:
    """The rows that a protocol tests a run on.

    Nobody has all subsets of a release: sets that the store can't fill are left out and named.

    Args:
        run: see `choose_rows`.
        store: the store.
        protocol: what is tested.
        frames: of each video at most; all if None. See `choose_frames`.
        sampling: which frames.

    Raises:
        InputError: the protocol has no tests, or the store fills none of its sets, or a row shares
            a video, an identity or an image with training.
        StoreError: the store has not the run's features.
    """
    if not protocol.targets:
        raise InputError(f"protocol {protocol.name} has no tests; test by another one")
    wanted = list_targets(store, protocol)
    unseen = leave_out_bare(gather(run, store, wanted, frames, sampling), protocol)
    if not unseen.places:
        found = "; ".join(f"{name}: {why}" for name, why in list(unseen.absent.items())[:SHOWN])
        more = f"; and {len(unseen.absent) - SHOWN} more" if len(unseen.absent) > SHOWN else ""
        raise InputError(f"the store has no set of protocol {protocol.name}: {found}{more}")
    return unseen


def leave_out_bare(unseen: UnseenRows, protocol: Protocol) -> UnseenRows:
    """The sets whose fakes and reals have features; the others are absent."""
    absent = dict(unseen.absent)
    kept: dict[str, None] = {}
    for target in protocol.targets:
        if (name := target.name) not in unseen.places:
            continue
        pools = unseen.beside.get(name, ())
        bare = [] if unseen.has_label(name, 1) else [target.fakes]
        bare += [
            unseen.datasets[group].subsets[0]
            for group in pools or [name]
            if not unseen.has_label(group, 0)
        ]
        if bare:
            absent[name] = f"{', '.join(dict.fromkeys(bare))} {NO_FEATURES}"
        else:
            kept |= dict.fromkeys([name, *pools])
    return replace(
        unseen,
        datasets={group: unseen.datasets[group] for group in kept},
        places={group: unseen.places[group] for group in kept},
        beside={name: pools for name, pools in unseen.beside.items() if name in kept},
        skipped={group: count for group, count in unseen.skipped.items() if group in kept},
        absent=absent,
    )


def list_targets(store: FeatureStore, protocol: Protocol) -> Wanted:
    """Every set that the store can fill, with its reals, and why it can't fill the others."""
    there = set(store.subsets())
    names = {target.name for target in protocol.targets}
    wanted = Wanted(protocol=protocol.name)

    @cache  # many fakes share a pool
    def listed(subset: str, split: str) -> list[Row]:
        return list_rows(store, subset, split) if subset in there else []

    def of_target(subset: str, target: Target) -> list[Row]:
        rows = listed(subset, target.split)
        if not target.domain:
            return rows
        return [row for row in rows if row.columns.get("domain") == target.domain]

    for target in protocol.targets:
        missing = [name for name in (target.fakes, *target.reals) if name not in there]
        rows = of_target(target.fakes, target)
        pools = {name: with_label(of_target(name, target), 0) for name in target.reals}
        empty = [name for name, reals in pools.items() if not reals]
        if not target.reals and not has_label(rows, 0):
            empty = [target.fakes]
        if missing:
            wanted.absent[target.name] = f"{', '.join(missing)} is not in the store"
        elif empty or not has_label(rows, 1):
            wanted.absent[target.name] = _lack(target, rows, empty)
        else:
            if target.reals:
                rows = with_label(rows, 1)
                wanted.beside[target.name] = tuple(_pool_name(p, target, names) for p in pools)
            wanted.rows[target.name] = (target.fakes, target.split, rows)
            for pool, reals in pools.items():
                wanted.rows[_pool_name(pool, target, names)] = (pool, target.split, reals)
    return wanted


def _lack(target: Target, rows: Sequence[Row], empty: Sequence[str]) -> str:
    """Why a set can't be tested although its subsets are there."""
    where = f"split {target.split}" + (f" of domain {target.domain}" if target.domain else "")
    if not has_label(rows, 1):
        return f"{target.fakes} has no fakes in {where}"
    return f"{', '.join(empty)} has no reals in {where}"


def _pool_name(pool: str, target: Target, taken: Collection[str]) -> str:
    """What a pool is called beside a set: one name for each part of it."""
    split = "" if target.split == "test" else target.split
    name = "_".join(filter(None, (pool, target.domain, split)))
    return f"{name}_reals" if name in taken else name
