"""Which subsets a run reads: those it names, and the reals that belong beside fakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clare.advice import Advice, Name, Notice, Run, Set
from clare.errors import InputError
from clare.heads.config import TrainConfig
from clare.store.feature_store import FeatureStore
from clare.store.rows import Rows
from clare.wording import listed


def subsets_of(store: FeatureStore, config: TrainConfig) -> tuple[str, ...]:
    """The subsets that a run reads, pools of reals included, sorted.

    Deliveries of images are read where they are named, and not where all of a store is taken.

    Raises:
        InputError: the store is empty, or lacks a subset of the run's protocol.
    """
    there = store.subsets()
    images = (name for name in there if not holds_deliveries(store.rows(name)))
    names = {*(config.train or images), *config.pools}
    if not names:
        raise InputError(f"{store.path} has no rows", Run("extract", effect="fills it"))
    absent = sorted(names.difference(there))
    if absent and config.protocol is not None:
        names -= set(require_protocol(config, absent, f"not in {store.path}"))
    return tuple(sorted(names))


def require_protocol(config: TrainConfig, absent: Sequence[str], where: str) -> Sequence[str]:
    """What a protocol lacks, if the run may go on without it: another protocol needs its own name.

    Raises:
        InputError: the protocol is to be trained whole, or none of its fakes or reals are there.
    """
    fakes = [name for name in config.train if name not in absent]
    reals = [name for name in config.pools if name not in absent]
    can_do = bool(fakes) and (bool(reals) or not config.pools)
    if config.partial and can_do:
        return absent
    add: Advice = Run("extract", settings={"protocol": config.protocol}, effect="adds it")
    rest = Set("partial", True, effect=f"trains on {listed(fakes)} alone and says so")
    raise InputError(
        f"protocol {config.protocol} trains on {listed(absent)}, {where}",
        *([add, rest] if can_do else [add]),
    )


def take_reals(
    store: FeatureStore, configs: Sequence[TrainConfig]
) -> tuple[list[TrainConfig], list[Notice]]:
    """Configurations with a pool of reals where they name fakes alone.

    The pools are the store's subsets of reals alone that share a domain with the fakes: those that
    an extraction of the fakes brings along.
    """
    found: list[TrainConfig] = []
    notices: dict[str, Notice] = {}
    known: dict[object, tuple[str, ...]] = {}
    for config in configs:
        key = (config.train, config.reals, config.domains, config.protocol, config.takes_reals)
        if key not in known:
            known[key] = _pools(store, config)
        pools = known[key]
        found.append(replace(config, reals=pools) if pools else config)
        if pools:
            what = f"{listed(config.train)} has no reals of its own and is trained beside those of"
            notices.setdefault(what, Notice(f"{what} {listed(pools)}", Name("others", "reals")))
    return found, list(notices.values())


def _pools(store: FeatureStore, config: TrainConfig) -> tuple[str, ...]:
    there = store.subsets()
    if not config.train or config.reals or config.protocol or set(config.train) - set(there):
        return ()
    if not config.takes_reals:
        return ()
    chosen = [store.rows(name) for name in config.train]
    if any(_has_label(rows, 0) for rows in chosen):
        return ()
    domains = set(config.domains) or set().union(*map(_domains, chosen))
    return tuple(
        name
        for name in there
        if name not in config.train
        and not _has_label(rows := store.rows(name), 1)
        and not holds_deliveries(rows)
        and _domains(rows) & domains
    )


def holds_deliveries(rows: Rows) -> bool:
    """Whether rows are deliveries of images of other subsets."""
    return any(rows.column("delivery").tolist())


def _has_label(rows: Rows, label: int) -> bool:
    return bool((rows.column("label") == label).any())


def _domains(rows: Rows) -> set[str]:
    return {str(domain or "") for domain in rows.column("domain").tolist()}
