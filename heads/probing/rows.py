"""The rows that probes are fitted on, chosen by and tested on: the same for all inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clare.advice import Name, Notice, Run
from clare.errors import InputError, StoreError
from clare.groups import cluster_of
from clare.heads.base import INPUTS
from clare.heads.config import TrainConfig
from clare.heads.data.leakage import Seen, refuse_leaks
from clare.heads.data.samples import Samples, choose_samples
from clare.heads.data.subsets import subsets_of
from clare.heads.data.table import Split
from clare.heads.evaluation.field_rows import Rows as RowList
from clare.heads.evaluation.test_rows import refuse_seen
from clare.heads.evaluation.wanted import Asked, has_label, list_wanted
from clare.heads.metrics.predictions import Predictions
from clare.heads.probing.inputs import Offer, Source
from clare.heads.probing.questions import SHUFFLES
from clare.heads.runs.tuned_before import tuned_before
from clare.store.feature_store import FeatureStore
from clare.store.journal import COMPLETE
from clare.store.row import Row
from clare.store.rows import Rows, join_rows
from clare.wording import listed

_NO_FEATURES = {INPUTS[role].field for role in ("mask", "parts", "pixels")}


@dataclass(frozen=True)
class CompleteRows:
    """Rows of a split that have a value in every field; `choose_samples` takes from them.

    Args:
        store: the store.
        rows: all of them complete.
    """

    store: FeatureStore
    rows: Rows

    def complete(self, fields: Iterable[str]) -> NDArray[np.bool_]:
        """(rows,) true: whatever the field."""
        return np.ones(len(self.rows), bool)


@dataclass(frozen=True)
class ProbeRows:
    """All rows, those of training first, then validation, then tests.

    Args:
        rows: with the subset of each.
        y: (N,) -1 for reals and 1 for fakes.
        train: (n,) places of the training rows.
        val: (n,) places of the validation rows.
        test: (n,) places of the test rows.
        tested: the test rows as an evaluation has them, with margins of zero.
        shares: by fraction and seed, places of the training rows.
        notices: what may surprise.
    """

    rows: RowList
    y: NDArray[np.float64]
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    tested: Predictions
    shares: Mapping[tuple[float, int], NDArray[np.int64]]
    notices: tuple[Notice, ...]

    @property
    def largest(self) -> tuple[float, int]:
        """The largest share, the first where there are several."""
        return max(self.shares, key=lambda share: share[0])

    @cached_property
    def clusters(self) -> NDArray[np.str_]:
        """(N,) the video or person of each row, as the bootstrap draws them."""
        paired = {str(row.columns.get("pair_id") or "") for _, row in self.rows} - {""}
        return np.array([cluster_of(row.columns, row.sample_id, paired) for _, row in self.rows])

    def exchanged(self, seed: int) -> list[NDArray[np.int64]]:
        """For each shuffle, (N,) a row of another video or person of the same split for each row.

        Whole videos and people are exchanged, as the bootstrap draws them: frames of a video that
        are alike stay alike, so that the control can be overfitted to as the rows themselves can.
        Within them rows go to any row, whatever its label.
        """
        found, clusters = [], self.clusters
        for number in range(SHUFFLES):
            rng, others = np.random.default_rng([seed, number]), np.arange(len(self.rows))
            for places in (self.train, self.val, self.test):
                others[places] = places[exchange(clusters[places], rng)]
            found.append(others)
        return found


def exchange(clusters: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) for each row a row of another cluster: each cluster gets all its rows from one other.

    Args:
        clusters: (n,) of each row; rows of a single one are exchanged among themselves.
        rng: decides.
    """
    names, own, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    if len(names) < 2:
        names, own = clusters, np.arange(len(clusters))
        counts = np.ones(len(clusters), np.int64)
    turn = rng.permutation(len(names))
    giver = np.empty_like(turn)
    giver[turn] = np.roll(turn, 1)
    order = np.lexsort((rng.random(len(own)), own))  # clusters one after the other, rows at random
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(own)) - np.repeat(starts, counts)
    giving = giver[own[order]]
    found = np.empty(len(own), np.int64)
    found[order] = order[starts[giving] + rank % counts[giving]]
    return found


def offer_of(store: FeatureStore, subsets: Sequence[str], features: Sequence[str] = ()) -> Offer:
    """The inputs that all of some subsets have.

    Args:
        store: the store.
        subsets: the rows are of these.
        features: beginnings of the digests of the fingerprints that are read; all if empty.

    Raises:
        StoreError: the subsets share no features, or a named fingerprint is not there.
    """
    lacking = {
        key: [name for name in subsets if not store.layout.is_recorded(key, name)]
        for key in store.extractor_keys()
    }
    keys = [key for key, names in lacking.items() if not names]
    for digest in features:
        named = [key for key in lacking if key.rpartition("-")[2].startswith(digest)]
        if not any(key in keys for key in named):
            without = min((lacking[key] for key in named), key=len, default=subsets)
            raise StoreError(f"no fingerprint {digest} has values of {listed(without)}")
    sources = []
    for key in keys:
        extractor, _, digest = key.rpartition("-")
        if features and not digest.startswith(tuple(features)):
            continue
        fields = store.extractor(key)[1]
        sources += [
            Source(field, extractor, digest) for field in fields if field not in _NO_FEATURES
        ]
    partly = {key: names for key, names in lacking.items() if 0 < len(names) < len(subsets)}
    notices = [
        Notice(f"{key} is not probed: {listed(names)} has nothing of it")
        for key, names in partly.items()
    ]
    offer = Offer(store, sources, notices)
    if not offer.inputs:
        raise StoreError(
            f"{', '.join(subsets)} have no features in common that a probe could read",
            Run("extract", effect="makes them"),
        )
    return offer


def choose_rows(
    store: FeatureStore,
    config: TrainConfig,
    asked: Asked,
    sources: Sequence[Source],
    shares: Iterable[tuple[float, int]],
) -> ProbeRows:
    """The rows of all probes.

    Args:
        store: the store.
        config: which rows train and choose.
        asked: which rows test.
        sources: the fields that a row must have, all of them.
        shares: of the training rows, with the seed of each.

    Raises:
        InputError: the splits leak, a class is missing, or there is nothing to test on.
        StoreError: a subset is not there.
    """
    subsets = subsets_of(store, config)
    refuse_leaks(join_rows([store.rows(name) for name in subsets]))
    signs: list[NDArray[np.float64]] = []
    chosen: list[Rows] = []
    lacking: dict[str, tuple[int, int]] = {}
    for split in ("train", "val"):
        table, samples = choose_split(store, config, sources, split, lacking)
        chosen.append(table.rows.take(samples.plain))
        if split == "train":
            parts = _shares(table, samples, config, shares)
        signs.append(2 * samples.labels.astype(np.float64) - 1)
    seen = Seen.of(*chosen)
    rows: list[tuple[str, Row]] = [(row.columns["subset"], row) for some in chosen for row in some]

    wanted = list_wanted(store, asked, (config.reals, subsets))
    tests = {name: some for name, (_, _, some) in wanted.rows.items()}
    refuse_seen(seen, "these probes", tests)
    tuned = tuned_before(store, (f"{one.extractor}-{one.digest}" for one in sources))
    for tower in tuned:
        tower.refuse_trained_on(list(chosen[1]))
        refuse_seen(tower.seen, tower.named, tests)
    tested: list[tuple[str, Row]] = []
    groups: list[str] = []
    bare: list[str] = []
    for group, (subset, _, some) in wanted.rows.items():
        has = _complete(store, subset, sources)
        mine = [row for row in some if has[row.slot]]
        if not mine or (has_label(some, 1) and not has_label(mine, 1)):
            bare.append(group)
        _note(lacking, f"{group} (test)", len(some) - len(mine), len(some))
        tested += [(subset, row) for row in mine]
        groups += [group] * len(mine)
    if bare:
        raise InputError(
            f"{', '.join(bare)} has no test rows with all of these features", "extract them"
        )
    predictions = Predictions.of_rows(
        [row for _, row in tested], np.zeros(len(tested)), groups, wanted.beside
    )
    signs.append(2 * predictions.label.astype(np.float64) - 1)
    ends = np.cumsum([len(part) for part in signs])
    train, val, test = (
        np.arange(end - len(part), end) for part, end in zip(signs, ends, strict=True)
    )
    return ProbeRows(
        [*rows, *tested],
        np.concatenate(signs),
        train,
        val,
        test,
        predictions,
        parts,
        (*wanted.notices, *_incomplete(lacking), *(said for one in tuned for said in one.notices)),
    )


def choose_split(
    store: FeatureStore,
    config: TrainConfig,
    sources: Sequence[Source],
    split: Split,
    lacking: dict[str, tuple[int, int]],
) -> tuple[CompleteRows, Samples]:
    """The rows of a split that a configuration takes, of those that have all fields.

    How many have not, and of how many, is added to ``lacking``.
    """
    found = []
    for name in subsets_of(store, config):
        rows = store.rows(name)
        kept = (rows.column("split") == split) & (rows.views == 0)
        has = kept & _complete(store, name, sources)[rows.slots]
        _note(lacking, f"{name} ({split})", int(kept.sum() - has.sum()), int(kept.sum()))
        found.append(rows.take(has))
    table = CompleteRows(store, join_rows(found))
    return table, choose_samples(table, config, (), split)


def _note(lacking: dict[str, tuple[int, int]], where: str, missing: int, count: int) -> None:
    if missing:
        lacking[where] = missing, count


def _incomplete(lacking: Mapping[str, tuple[int, int]]) -> list[Notice]:
    """What is said of rows that lack a field: no probe is fitted to them, or tested on them."""
    if not lacking:
        return []
    told = listed(
        f"{missing:,} of {count:,} of {name}" for name, (missing, count) in lacking.items()
    )
    return [
        Notice(
            f"rows that lack a field which some probe reads are left out of all: {told}",
            Name("fewer fields", "inputs"),
        )
    ]


def _shares(
    table: CompleteRows,
    samples: Samples,
    config: TrainConfig,
    wanted: Iterable[tuple[float, int]],
) -> dict[tuple[float, int], NDArray[np.int64]]:
    """Places, among the training rows, of each share of them."""
    place = {row: number for number, row in enumerate(samples.plain.tolist())}
    found = {}
    for fraction, seed in wanted:
        share = replace(config, fraction=fraction, data_seed=seed)
        mine = choose_samples(table, share, (), "train")
        found[fraction, seed] = np.array([place[row] for row in mine.plain.tolist()], np.int64)
    return found


def _complete(store: FeatureStore, subset: str, sources: Sequence[Source]) -> NDArray[np.bool_]:
    """By slot, whether a row has a value of every field."""
    keys = {(one.extractor, one.digest) for one in sources}
    states = [store.feature(subset, *key).states() == COMPLETE for key in keys]
    found: NDArray[np.bool_] = np.logical_and.reduce(states)
    return found
