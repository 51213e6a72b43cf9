"""Which shards lack what, and taking them: one run's, by a claim, until it lets them go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from clare.errors import InputError
from clare.pipeline.extraction.batching import BatchRunner
from clare.pipeline.extraction.loading import LoadedShard, Loader
from clare.pipeline.extraction.passing import Pass
from clare.pipeline.extraction.plan import Declared
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS


@dataclass
class Work:
    """One shard on its way.

    Args:
        shard: its number.
        rows: offset to row, of all that some extractor lacks.
        lacking: extractor to the offsets that it lacks, of the features claimed.
        runners: of these extractors.
        loading: its images.
        written: how many of its extractors are written.
    """

    shard: int
    rows: dict[int, Row]
    lacking: dict[str, list[int]]
    runners: list[BatchRunner]
    loading: list[Future[LoadedShard]]
    written: int = 0


def require_own_fields(store: FeatureStore, extractors: Sequence[Declared]) -> None:
    """Refuse a field that two extractors write, before the first image: no head could name it.

    Raises:
        InputError: another extractor, of the store or of these, has a field of this name.
    """
    owners = {
        field: fingerprint.extractor
        for fingerprint, fields in map(store.extractor, store.extractor_keys())
        for field in fields
    }
    for extractor in extractors:
        for spec in extractor.fields:
            owner = owners.setdefault(spec.field, extractor.name)
            if owner != extractor.name:
                raise InputError(
                    f"extractor {extractor.name} writes a field {spec.field!r}, and so does "
                    f"{owner}: name it otherwise, or take another store"
                )


def open_features(
    store: FeatureStore,
    subset: str,
    extractors: Sequence[Declared],
    shards: Iterable[int] | None = None,
) -> dict[str, Feature]:
    """Declare the extractors' arrays, and open those of one subset; see `declared_features`."""
    for extractor in extractors:
        store.declare(extractor.fingerprint, extractor.fields)
    return declared_features(store, subset, extractors, shards)


def declared_features(
    store: FeatureStore,
    subset: str,
    extractors: Sequence[Declared],
    shards: Iterable[int] | None = None,
) -> dict[str, Feature]:
    """Open the extractors' arrays of one subset.

    Args:
        store: an open store, in which this process declared them.
        subset: its name.
        extractors: what writes.
        shards: that are worked on: only their rows and records are read; those of all if left out.

    Returns:
        Extractor's label to the feature of this subset.
    """
    return {
        extractor.label: store.feature(
            subset, extractor.name, extractor.fingerprint.digest, shards=shards
        )
        for extractor in extractors
    }


def pending_shards(
    features: Mapping[str, Feature], wanted: np.ndarray
) -> dict[int, dict[str, list[int]]]:
    """What is to be done, in shard order.

    Args:
        features: by extractor.
        wanted: the slots that may be worked on, in rising order.

    Returns:
        Shard to extractor to the offsets that it lacks.
    """
    pending: dict[int, dict[str, list[int]]] = {}
    for name, feature in features.items():
        slots = feature.lacking(wanted)
        if not len(slots):
            continue
        shards, offsets = divmod(slots, SHARD_ROWS)
        numbers, starts = np.unique(shards, return_index=True)
        parts = np.split(offsets, starts[1:])
        for shard, part in zip(numbers.tolist(), parts, strict=True):
            pending.setdefault(shard, {})[name] = part.tolist()
    return dict(sorted(pending.items()))


def not_tried(
    pending: Mapping[int, Mapping[str, list[int]]], tried: set[tuple[int, str]]
) -> dict[int, list[str]]:
    """Leave out what this run did: a shard with a changed file stays pending for the next run."""
    left = {s: [n for n in names if (s, n) not in tried] for s, names in pending.items()}
    return {shard: names for shard, names in left.items() if names}


def claim_shards(
    pending: Mapping[int, Sequence[str]],
    wanted: np.ndarray,
    features: Mapping[str, Feature],
    runners: Mapping[str, BatchRunner],
    loader: Loader,
    shared: Callable[[int, int], None] = lambda ours, others: None,
) -> Iterator[Work]:
    """Take each pending shard that no other run holds, and begin to decode it.

    Lazy: a shard is taken when it is asked for, so that runs side by side share the work.

    Args:
        pending: extractors by shard, as `not_tried` leaves them.
        wanted: the slots that may be worked on, in rising order.
        features: by extractor.
        runners: by extractor.
        loader: decodes.
        shared: called for each shard with the images of it that are taken, each extractor's
            counted, and with those that another run has, or has done since.
    """
    done: dict[str, set[int]] = {}
    recorded = len(np.unique(wanted // SHARD_ROWS)) - len(pending)
    order = Pass(list(pending), _anywhere(features), recorded)

    def others_have(shards: Iterable[int]) -> None:
        for shard in shards:
            asked = _lacking_of_shard({n: features[n] for n in pending[shard]}, wanted, shard)
            shared(0, sum(map(len, asked.values())))

    for shard in order:
        names = [name for name in pending[shard] if shard not in done.get(name, ())]
        asked = _lacking_of_shard({name: features[name] for name in pending[shard]}, wanted, shard)
        claimed = {name: features[name] for name in names if features[name].claim(shard)}
        # Looked at again, because another run may have done some meanwhile.
        lacking = _lacking_of_shard(claimed, wanted, shard)
        ours = sum(map(len, lacking.values()))
        shared(ours, sum(map(len, asked.values())) - ours)
        if claimed:
            order.took()
            yield _begin(shard, claimed, lacking, runners, loader)
            continue
        order.passed(held=any(features[name].pending_offsets(shard) for name in names))
        if order.wants_names:
            done = {name: feature.ended() for name, feature in features.items()}
            ended = {one for one in order.rest() if all(one in done[n] for n in pending[one])}
            others_have(order.leave_out_ended(ended))
        if order.wants_claims:
            rest = order.rest()
            held = {name: feature.claimed(rest) for name, feature in features.items()}
            others_have(
                order.leave_out_held(
                    {one for one in rest if all(one in held[n] for n in pending[one])}
                )
            )


def _begin(
    shard: int,
    claimed: Mapping[str, Feature],
    lacking: dict[str, list[int]],
    runners: Mapping[str, BatchRunner],
    loader: Loader,
) -> Work:
    """Begin to decode what a shard lacks."""
    offsets = {offset for some in lacking.values() for offset in some}
    taken = next(iter(claimed.values())).shard_rows(shard)
    rows = {row.slot % SHARD_ROWS: row for row in taken}
    rows = {offset: row for offset, row in rows.items() if offset in offsets}
    chosen = [runners[name] for name in claimed]
    return Work(shard, rows, lacking, chosen, loader.start(rows, [one.extractor for one in chosen]))


def _anywhere(features: Mapping[str, Feature]) -> Callable[[int], int]:
    """Where among so many shards to begin: in order from the first, if nobody else claims any."""
    for feature in features.values():
        return feature.layout.claims.first_of
    return lambda count: 0


def _lacking_of_shard(
    features: Mapping[str, Feature], wanted: np.ndarray, shard: int
) -> dict[str, list[int]]:
    """Offsets that each extractor lacks; takes no longer in a large subset than in a small one."""
    first, last = np.searchsorted(wanted, (SHARD_ROWS * shard, SHARD_ROWS * (shard + 1)))
    asked = set((wanted[first:last] - SHARD_ROWS * shard).tolist())
    return {
        name: [offset for offset in feature.pending_offsets(shard) if offset in asked]
        for name, feature in features.items()
    }
