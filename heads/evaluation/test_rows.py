"""Which rows an evaluation is made on: those of a split that training never saw, reals beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clare.errors import InputError
from clare.heads.data.dataset import FeatureDataset
from clare.heads.data.frames import choose_frames
from clare.heads.runs.run import Run
from clare.protocol import Sampling
from clare.store.feature_store import FeatureStore
from clare.store.index import Row

SHOWN = 3
"""Rows that a message names."""

NO_FEATURES = "has no features of this run in these rows; `clare extract` makes them"
"""What is said of a subset that was not extracted."""


@dataclass(frozen=True)
class UnseenRows:
    """The rows of an evaluation, in groups: a subset's, those of one domain of it, or a pool's.

    Args:
        datasets: by group, the rows of its subset and split that have features.
        places: by group, the places in its dataset of the rows that are scored.
        beside: by group of fakes alone, the groups whose reals stand beside it.
        skipped: by group, rows without features, because extraction failed or is not done.
        absent: by set of a protocol that can't be tested, why.
        notes: sentences for the user.
    """

    datasets: Mapping[str, FeatureDataset]
    places: Mapping[str, Sequence[int]]
    beside: Mapping[str, tuple[str, ...]]
    skipped: Mapping[str, int]
    absent: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def reals(self) -> tuple[str, ...]:
        """The groups whose reals stand beside others."""
        return tuple(dict.fromkeys(pool for pools in self.beside.values() for pool in pools))

    def rows(self) -> list[tuple[str, Row]]:
        """Every row that is scored, with its subset, in the order of scoring."""
        return [
            (dataset.subsets[0], dataset.rows[place])
            for dataset, places in self._pairs()
            for place in places
        ]

    def groups(self) -> list[str]:
        """The group of every row that is scored, in the order of scoring."""
        return [group for group, places in self.places.items() for _ in places]

    def has_label(self, group: str, label: int) -> bool:
        """Whether a row of this label is scored in a group."""
        return bool((self.datasets[group].labels[self.places[group]] == label).any())

    def _pairs(self) -> list[tuple[FeatureDataset, Sequence[int]]]:
        return [(self.datasets[group], places) for group, places in self.places.items()]


@dataclass
class Wanted:
    """What is to be scored, before features are looked for.

    Args:
        rows: by group, its subset, split and rows.
        beside: see `UnseenRows`.
        absent: see `UnseenRows`.
        notes: see `UnseenRows`.
        protocol: that asks for them, if one does.
    """

    rows: dict[str, tuple[str, str, list[Row]]] = field(default_factory=dict)
    beside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    protocol: str = ""


def choose_rows(
    run: Run,
    store: FeatureStore,
    subsets: Sequence[str] | None = None,
    reals: Sequence[str] | None = None,
    split: str = "test",
    *,
    domains: Sequence[str] = (),
    frames: int | None = None,
    sampling: Sampling = "even",
) -> UnseenRows:
    """The rows to test a run on.

    Args:
        run: whose detector says which features are needed, and whose training must not have seen
            the rows.
        store: the store.
        subsets: what to test on; every subset that has fakes in the split if left out.
        reals: subsets whose reals stand beside a subset that has none. By default the pools that
            the run was trained with, or else the subsets of reals alone that it was trained on.
        split: the rows' split.
        domains: rows of these domains alone; all if empty.
        frames: of each video at most; all if None. See `choose_frames`.
        sampling: which frames.

    Raises:
        InputError: there is nothing to test on, no reals to stand beside fakes, no row of either
            has features, or a row shares a video, an identity or an image with training.
        StoreError: the store has no such subset, or not the run's features.
    """
    trained = (run.record.reals, run.record.subsets)
    wanted = list_wanted(store, subsets, reals, split, domains=domains, trained=trained)
    asked = [name for name, (_, _, rows) in wanted.rows.items() if has_label(rows, 1)]
    unseen = gather(run, store, wanted, frames, sampling)
    bare = [name for name in asked if not unseen.has_label(name, 1)]
    bare = bare if subsets or len(bare) == len(asked) else []
    bare += [name for name in unseen.reals if not unseen.has_label(name, 0)]
    if bare:
        raise InputError(f"{', '.join(bare)} {NO_FEATURES}")
    return unseen


def list_wanted(
    store: FeatureStore,
    subsets: Sequence[str] | None,
    reals: Sequence[str] | None = None,
    split: str = "test",
    *,
    domains: Sequence[str] = (),
    trained: tuple[Sequence[str], Sequence[str]],
) -> Wanted:
    """The rows to test on as `choose_rows` has them, before there is a run.

    Args:
        store: see `choose_rows`, as the others.
        subsets: what to test on.
        reals: subsets whose reals stand beside.
        split: the rows' split.
        domains: rows of these domains alone.
        trained: the pools of reals and all subsets that a run is trained on.

    Raises:
        InputError: there is nothing to test on, or no reals to stand beside fakes.
        StoreError: the store has no such subset.
    """
    listed = {name: list_rows(store, name, split, domains) for name in store.subsets()}
    for name in subsets or ():
        listed.setdefault(
            name, list_rows(store, name, split, domains)
        )  # the store says what it has
    asked = list(dict.fromkeys(subsets or [n for n, rows in listed.items() if has_label(rows, 1)]))
    for name in asked:
        _require_fakes(name, listed[name], split)
    if not asked:
        raise InputError(f"{store.path} has no fakes in split {split}: there is nothing to test on")
    pools = _pools(trained, listed, asked, reals, split)

    wanted = Wanted({name: (name, split, listed[name]) for name in asked})
    for name in pools:
        wanted.rows.setdefault(name, (name, split, with_label(listed[name], 0)))
    for name in asked:
        if not has_label(listed[name], 0):
            wanted.beside[name] = pools
            wanted.notes += _strangers(name, listed[name], [r for p in pools for r in listed[p]])
    return wanted


def gather(
    run: Run, store: FeatureStore, wanted: Wanted, frames: int | None, sampling: Sampling
) -> UnseenRows:
    """The chosen frames that have features.

    Raises:
        InputError: a row shares a video, an identity or an image with training.
        StoreError: the store has not the run's features.
    """
    chosen = {
        group: [rows[place] for place in choose_frames(rows, frames, sampling)]
        for group, (_, _, rows) in wanted.rows.items()
    }
    _refuse_seen(run, chosen, wanted.protocol)
    # Sets of a protocol may be parts of one subset, which is looked up once.
    found = {
        (subset, split): FeatureDataset(
            store,
            run.detector.fields,
            subsets=[subset],
            split=split,
            digests=run.record.digests,
        )
        for subset, split in {(subset, split) for subset, split, _ in wanted.rows.values()}
    }
    datasets = {group: found[subset, split] for group, (subset, split, _) in wanted.rows.items()}
    places = {}
    for group, dataset in datasets.items():
        slots = {row.slot for row in chosen[group]}
        places[group] = [place for place, row in enumerate(dataset.rows) if row.slot in slots]
    missing = {group: len(rows) - len(places[group]) for group, rows in chosen.items()}
    return UnseenRows(
        datasets=datasets,
        places=places,
        beside=wanted.beside,
        skipped={group: count for group, count in missing.items() if count},
        absent=wanted.absent,
        notes=tuple(wanted.notes),
    )


def list_rows(
    store: FeatureStore, subset: str, split: str, domains: Sequence[str] = ()
) -> list[Row]:
    """The plain rows of a subset's split, and of these domains if any, that have a label."""
    return [
        row
        for row in store.rows(subset)
        if row.view == 0
        and row.columns.get("split") == split
        and "label" in row.columns
        and (not domains or row.columns.get("domain") in domains)
    ]


def with_label(rows: Sequence[Row], label: int) -> list[Row]:
    """The rows of one label."""
    return [row for row in rows if row.columns["label"] == label]


def _strangers(name: str, rows: Sequence[Row], reals: Sequence[Row]) -> list[str]:
    """A note where fakes stand beside reals of another domain alone."""
    fakes = {str(row.columns.get("domain") or "") for row in rows} - {""}
    known = {str(row.columns.get("domain") or "") for row in with_label(reals, 0)} - {""}
    if not known or fakes <= known:
        return []
    return [
        f"{name} has fakes of {', '.join(sorted(fakes - known))} beside reals of "
        f"{', '.join(sorted(known))} alone: what tells the data sets apart counts as detection; "
        "--domains, or a protocol, keeps domains together"
    ]


def has_label(rows: Sequence[Row], label: int) -> bool:
    """Whether there is a row of this label."""
    return any(row.columns["label"] == label for row in rows)


def _require_fakes(name: str, rows: Sequence[Row], split: str) -> None:
    if not rows:
        raise InputError(f"{name} has no rows in split {split}; `clare store info` shows what is")
    if not has_label(rows, 1):
        raise InputError(
            f"{name} has reals alone in split {split}; name subsets with fakes, and {name} "
            "with --reals"
        )


def _pools(
    trained: tuple[Sequence[str], Sequence[str]],
    listed: Mapping[str, Sequence[Row]],
    asked: Sequence[str],
    reals: Sequence[str] | None,
    split: str,
) -> tuple[str, ...]:
    """The subsets whose reals are borrowed."""
    alone = [name for name in asked if not has_label(listed[name], 0)]
    if not alone:
        if reals:
            raise InputError("every subset has reals of its own: leave --reals out")
        return ()
    pure = [name for name, rows in listed.items() if rows and not has_label(rows, 1)]
    own, subsets = trained
    found = reals or [n for n in own or subsets if n in listed and (n in pure or n in own)]
    if not found:
        known = f": {', '.join(pure)}" if pure else ""
        raise InputError(
            f"{', '.join(alone)} has no reals in split {split}; name a subset whose reals stand "
            f"beside it with --reals NAME{known}"
        )
    for name in found:
        if not has_label(listed.get(name, ()), 0):
            raise InputError(f"--reals {name} has no reals in split {split}")
    return tuple(found)


def _refuse_seen(run: Run, wanted: Mapping[str, Sequence[Row]], protocol: str) -> None:
    for name, rows in wanted.items():
        seen = [(row, shared) for row in rows if (shared := run.seen.shared_with(row))]
        if seen:
            shown = "; ".join(f"{row.sample_id} ({shared[0]})" for row, shared in seen[:SHOWN])
            leave = f"take it out of a copy of protocol {protocol}" if protocol else "leave it out"
            raise InputError(
                f"{len(seen)} of the {len(rows)} test rows of {name} share a video, an identity or "
                f"an image with the training of {run.path}: {shown}; {leave}, or build its "
                "manifest anew so that groups stay whole"
            )
