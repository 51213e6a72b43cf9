"""Which rows a run is tested on: those of a split that its training never saw, reals beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from clare.advice import Notice
from clare.errors import InputError
from clare.heads.data.dataset import FeatureDataset
from clare.heads.data.frames import choose_frames
from clare.heads.data.leakage import Seen
from clare.heads.evaluation.wanted import Asked, Wanted, has_label, list_wanted
from clare.heads.runs.run import Run
from clare.heads.runs.tuned_before import tuned_before
from clare.protocol import Protocol
from clare.store.feature_store import FeatureStore
from clare.store.row import Row

SHOWN = 3
"""Rows, or sets, that a message names."""

NO_FEATURES = "has no features of this run in these rows"
"""What is said of a subset that was not extracted."""


@dataclass(frozen=True)
class UnseenRows:
    """The rows of an evaluation, in the groups of `Wanted`.

    Args:
        datasets: by group, the rows of its subset and split that have features.
        places: by group, the places in its dataset of the rows that are scored.
        beside: by group of fakes alone, the groups whose reals stand beside it.
        skipped: by group, rows without features, because extraction failed or is not done.
        absent: by set of a protocol that can't be tested, why.
        notices: what may surprise.
    """

    datasets: Mapping[str, FeatureDataset]
    places: Mapping[str, Sequence[int]]
    beside: Mapping[str, tuple[str, ...]]
    skipped: Mapping[str, int]
    absent: Mapping[str, str]
    notices: tuple[Notice, ...]

    @property
    def reals(self) -> tuple[str, ...]:
        """The groups whose reals stand beside others."""
        return tuple(dict.fromkeys(pool for pools in self.beside.values() for pool in pools))

    def rows(self) -> list[tuple[str, Row]]:
        """Every row that is scored, with its subset, in the order of scoring."""
        return [
            (self.datasets[group].subsets[0], self.datasets[group].rows[place])
            for group, places in self.places.items()
            for place in places
        ]

    def groups(self) -> list[str]:
        """The group of every row that is scored, in the order of scoring."""
        return [group for group, places in self.places.items() for _ in places]

    def has_label(self, group: str, label: int) -> bool:
        """Whether a row of this label is scored in a group."""
        return bool((self.datasets[group].labels[self.places[group]] == label).any())

    def only(self, kept: Iterable[str], absent: Mapping[str, str]) -> UnseenRows:
        """Some groups, the others being absent."""
        groups = list(kept)
        return replace(
            self,
            datasets={group: self.datasets[group] for group in groups},
            places={group: self.places[group] for group in groups},
            beside={name: pools for name, pools in self.beside.items() if name in groups},
            skipped={name: count for name, count in self.skipped.items() if name in groups},
            absent=absent,
        )


def choose_rows(run: Run, store: FeatureStore, asked: Asked = Asked()) -> UnseenRows:  # noqa: B008
    """The rows to test a run on.

    Args:
        run: whose detector says which features are needed, and whose training must not have seen
            the rows.
        store: the store.
        asked: which rows.

    Raises:
        InputError: there is nothing to test on, no reals to stand beside fakes, no row of either
            has features, or a row shares a video, an identity or an image with training.
        StoreError: the store has no such subset, or not the run's features.
    """
    wanted = list_wanted(store, asked, (run.record.reals, run.record.subsets))
    unseen = _gather(run, store, wanted, asked)
    if asked.protocol is not None:
        return _leave_out_bare(unseen, asked.protocol, asked.alone)
    fakes = [name for name, (_, _, rows) in wanted.rows.items() if has_label(rows, 1)]
    bare = [name for name in fakes if not unseen.has_label(name, 1)]
    bare = bare if asked.subsets or len(bare) == len(fakes) else []
    bare += [name for name in unseen.reals if not unseen.has_label(name, 0)]
    if bare:
        raise InputError(f"{', '.join(dict.fromkeys(bare))} {NO_FEATURES}", "extract them")
    return unseen


def _gather(run: Run, store: FeatureStore, wanted: Wanted, asked: Asked) -> UnseenRows:
    """The chosen frames that have features."""
    chosen = {
        group: [rows[place] for place in choose_frames(rows, asked.frames, asked.sampling)]
        for group, (_, _, rows) in wanted.rows.items()
    }
    refuse_seen(run.seen, str(run.path), chosen, asked.protocol)
    for tower in tuned_before(store, run.record.fingerprints.values()):
        refuse_seen(tower.seen, tower.named, chosen, asked.protocol)
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
        notices=tuple(wanted.notices),
    )


def _leave_out_bare(unseen: UnseenRows, protocol: Protocol, alone: bool) -> UnseenRows:
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
            if not (unseen.has_label(group, 0) or (alone and not pools))
        ]
        if bare:
            absent[name] = f"{', '.join(dict.fromkeys(bare))} {NO_FEATURES}"
        else:
            kept |= dict.fromkeys([name, *pools])
    if not kept:
        found = "; ".join(f"{name}: {why}" for name, why in list(absent.items())[:SHOWN])
        more = f"; and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        raise InputError(f"the store has no set of protocol {protocol.name}: {found}{more}")
    return unseen.only(kept, absent)


def refuse_seen(
    seen: Seen,
    learner: str,
    wanted: Mapping[str, Sequence[Row]],
    protocol: Protocol | None = None,
) -> None:
    """Refuse test rows that share something with the rows of a training.

    Args:
        seen: by the training.
        learner: what was trained, in words.
        wanted: the test rows by group.
        protocol: that names them.

    Raises:
        InputError: some do.
    """
    for name, rows in wanted.items():
        found = [(row, shared) for row in rows if (shared := seen.shared_with(row))]
        if found:
            shown = "; ".join(f"{row.sample_id} ({shared[0]})" for row, shared in found[:SHOWN])
            raise InputError(
                f"{len(found)} of the {len(rows)} test rows of {name} share a video, an identity "
                f"or an image with the training of {learner} ({shown})",
                f"take it out of a copy of protocol {protocol.name}"
                if protocol
                else "leave it out",
                "build its manifest anew so that groups stay whole",
            )
