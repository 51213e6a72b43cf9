"""Which rows of a store a test is asked to be of, before features are looked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from clare.advice import LeaveOut, Name, Notice, Run
from clare.errors import InputError
from clare.protocol import Protocol, Sampling, Target
from clare.store.feature_store import FeatureStore
from clare.store.row import Row


@dataclass(frozen=True)
class Asked:
    """The rows that a test is asked to be of: by names, or by a protocol.

    A name that is given twice counts once.

    Args:
        subsets: what to test on; every subset that has fakes in the split if None.
        reals: subsets whose reals stand beside a subset that has none. By default the pools that
            the run was trained with, or else the subsets of reals alone that it was trained on.
        split: the rows' split.
        domains: rows of these domains alone; all if empty.
        protocol: whose tests decide all of these instead.
        frames: of each video at most; all if None. See `choose_frames`.
        sampling: which frames.
        alone: whether fakes may be tested without reals, where none are named or known: how well
            fake pixels are found needs none.
    """

    subsets: Sequence[str] | None = None
    reals: Sequence[str] | None = None
    split: str = "test"
    domains: Sequence[str] = ()
    protocol: Protocol | None = None
    frames: int | None = None
    sampling: Sampling = "even"
    alone: bool = False

    def __post_init__(self) -> None:
        for setting in ("subsets", "reals"):
            if (names := getattr(self, setting)) is not None:
                object.__setattr__(self, setting, tuple(dict.fromkeys(names)))


@dataclass
class Wanted:
    """What is to be scored, in groups: a subset's rows, those of one domain of it, or a pool's.

    Args:
        rows: by group, its subset, split and rows.
        beside: by group of fakes alone, the groups whose reals stand beside it.
        absent: by set of a protocol that can't be tested, why.
        notices: what may surprise.
    """

    rows: dict[str, tuple[str, str, list[Row]]] = field(default_factory=dict)
    beside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)


def list_wanted(
    store: FeatureStore, asked: Asked, trained: tuple[Sequence[str], Sequence[str]] = ((), ())
) -> Wanted:
    """The rows that a test is asked to be of.

    Nobody has all subsets of a release: sets of a protocol that the store can't fill are left out
    and named.

    Args:
        store: the store.
        asked: which rows.
        trained: the pools of reals, and all subsets, that the run is trained on.

    Raises:
        InputError: there is nothing to test on, or no reals to stand beside fakes.
        StoreError: the store has no such subset.
    """
    if asked.protocol is not None:
        return _by_protocol(store, asked.protocol, asked.alone)
    return _by_name(store, asked, trained)


def _by_name(
    store: FeatureStore, asked: Asked, trained: tuple[Sequence[str], Sequence[str]]
) -> Wanted:
    split = asked.split
    # Of a subset that is not there, the store says what it has.
    names = dict.fromkeys([*store.subsets(), *(asked.subsets or ())])
    listed = {name: list_rows(store, name, split, asked.domains) for name in names}
    chosen = asked.subsets or [name for name, rows in listed.items() if has_label(rows, 1)]
    for name in chosen:
        _require_fakes(store, name, listed[name], split)
    if not chosen:
        raise InputError(f"{store.path} has no fakes in split {split}: there is nothing to test on")
    pools = _pools(trained, listed, chosen, asked)

    wanted = Wanted({name: (name, split, listed[name]) for name in chosen})
    for name in pools:
        wanted.rows.setdefault(name, (name, split, with_label(listed[name], 0)))
    for name in chosen:
        if pools and not has_label(listed[name], 0):
            wanted.beside[name] = pools
            wanted.notices += _strangers(name, listed[name], [r for p in pools for r in listed[p]])
    return wanted


def _by_protocol(store: FeatureStore, protocol: Protocol, alone: bool) -> Wanted:
    if not protocol.targets:
        raise InputError(f"protocol {protocol.name} has no tests", Name("another", "protocol"))
    there = set(store.subsets())
    names = {target.name for target in protocol.targets}
    wanted = Wanted()

    @cache  # many fakes share a pool
    def listed(subset: str, split: str, domain: str) -> list[Row]:
        return list_rows(store, subset, split, (domain,) if domain else ())

    for target in protocol.targets:
        missing = [name for name in (target.fakes, *target.reals) if name not in there]
        if missing:
            wanted.absent[target.name] = f"{', '.join(missing)} is not in the store"
            continue
        rows = listed(target.fakes, target.split, target.domain)
        pools = {
            name: with_label(listed(name, target.split, target.domain), 0) for name in target.reals
        }
        empty = [name for name, reals in pools.items() if not reals]
        if not (target.reals or has_label(rows, 0) or alone):
            empty = [target.fakes]
        if empty or not has_label(rows, 1):
            wanted.absent[target.name] = _lack(target, rows, empty)
            continue
        if target.reals:
            rows = with_label(rows, 1)
            wanted.beside[target.name] = tuple(_pool_name(p, target, names) for p in pools)
        wanted.rows[target.name] = (target.fakes, target.split, rows)
        for pool, reals in pools.items():
            wanted.rows[_pool_name(pool, target, names)] = (pool, target.split, reals)
    return wanted


def list_rows(
    store: FeatureStore, subset: str, split: str, domains: Sequence[str] = ()
) -> list[Row]:
    """The plain rows of a subset's split, and of these domains if any, that have a label.

    Deliveries of other rows are measured beside these: `clare.heads.evaluation.variants`.
    """
    return [
        row
        for row in store.rows(subset)
        if row.view == 0
        and row.columns.get("split") == split
        and "label" in row.columns
        and not row.columns.get("delivery")
        and (not domains or row.columns.get("domain") in domains)
    ]


def with_label(rows: Sequence[Row], label: int) -> list[Row]:
    """The rows of one label."""
    return [row for row in rows if row.columns["label"] == label]


def has_label(rows: Sequence[Row], label: int) -> bool:
    """Whether there is a row of this label."""
    return any(row.columns["label"] == label for row in rows)


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


def _strangers(name: str, rows: Sequence[Row], reals: Sequence[Row]) -> list[Notice]:
    """A notice where fakes stand beside reals of another domain alone."""
    fakes = {str(row.columns.get("domain") or "") for row in rows} - {""}
    known = {str(row.columns.get("domain") or "") for row in with_label(reals, 0)} - {""}
    if not known or fakes <= known:
        return []
    return [
        Notice(
            f"{name} has fakes of {', '.join(sorted(fakes - known))} beside reals of "
            f"{', '.join(sorted(known))} alone, so what tells the data sets apart counts as "
            "detection",
            Name("the domains that both have", "domains"),
            Name("a protocol, which keeps domains together,", "protocol"),
        )
    ]


def _require_fakes(store: FeatureStore, name: str, rows: Sequence[Row], split: str) -> None:
    if not rows:
        shows = Run("store.info", (store.path,), effect="shows what there is")
        raise InputError(f"{name} has no rows in split {split}", shows)
    if not has_label(rows, 1):
        raise InputError(
            f"{name} has reals alone in split {split}",
            Name("subsets with fakes", "subsets"),
            Name(f"{name} as the reals beside them", "reals"),
        )


def _pools(
    trained: tuple[Sequence[str], Sequence[str]],
    listed: Mapping[str, Sequence[Row]],
    chosen: Sequence[str],
    asked: Asked,
) -> tuple[str, ...]:
    """The subsets whose reals are borrowed."""
    reals, split = asked.reals, asked.split
    alone = [name for name in chosen if not has_label(listed[name], 0)]
    if not alone:
        if reals:
            raise InputError("every subset has reals of its own", LeaveOut("reals"))
        return ()
    pure = [name for name, rows in listed.items() if rows and not has_label(rows, 1)]
    own, subsets = trained
    found = reals or [n for n in own or subsets if n in listed and (n in pure or n in own)]
    if not (found or own or subsets) and len(pure) == 1:
        found = pure  # an imported run was trained on no subset, and there is only one to borrow
    if not found and asked.alone:
        return ()
    if not found:
        raise InputError(
            f"{', '.join(alone)} has no reals in split {split}",
            Name("a subset whose reals stand beside it", "reals", ",".join(pure)),
        )
    for name in found:
        if not has_label(listed.get(name, ()), 0):
            raise InputError(
                f"{name} has no reals in split {split}", Name("a subset that has some", "reals")
            )
    return tuple(found)
