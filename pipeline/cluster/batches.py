"""What an extraction hands to the workers of a cluster, and what they send back: plain data."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clare.pipeline.extraction.loop import ExtractReport
from clare.pipeline.extraction.plan import Selection, Todo
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extraction.store_rows import Pair, pair_of
from clare.pipeline.manifests.roots import Roots
from clare.store.feature import Feature
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

MOST_SHARDS = 64
"""Shards of a batch at most: another worker that comes should find some."""


@dataclass(frozen=True)
class Order:
    """What every worker has to know.

    Args:
        settings: of the extraction; its paths are the same on every machine.
        with_masks: whether some image has a mask.
        threads: cores that a worker takes; None where it takes as many as it has threads.
        version: of this package, which has to be the workers' too.
    """

    settings: ExtractSettings
    with_masks: bool
    threads: int | None
    version: str


@dataclass(frozen=True)
class RemoteExtractor:
    """What is known of an extractor that a worker loaded.

    Args:
        label: what tells it from the others of an extraction.
        name: its public name.
        fields: what it writes.
        fingerprint: everything that decides its values.
    """

    label: str
    name: str
    fields: tuple[FeatureSpec, ...]
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Loaded:
    """What a worker has loaded.

    Args:
        extractors: in their order.
        micro_batches: extractor's label to images a batch.
        assets: bytes of files beside the arrays, of all extractors.
    """

    extractors: tuple[RemoteExtractor, ...]
    micro_batches: Mapping[str, int]
    assets: int


@dataclass(frozen=True)
class Batch:
    """Whole shards of one subset.

    Args:
        number: what tells it from the others.
        subset: its name.
        slots: (n,) int64, of the rows that are asked for, all in these shards.
        roots: where paths of images start.
        reals: of the pairs of these rows, where views of fakes hold some of their reals.
    """

    number: int
    subset: str
    slots: np.ndarray
    roots: Roots
    reals: Mapping[Pair, Row]

    @property
    def shards(self) -> list[int]:
        """Their numbers."""
        return np.unique(self.slots // SHARD_ROWS).tolist()


@dataclass(frozen=True)
class BatchReport:
    """What became of a batch.

    Args:
        report: of the shards that this worker did itself.
        device: that it worked on, by its full name.
        stopped: whether the worker was told to end before all was done.
    """

    report: ExtractReport
    device: str
    stopped: bool


class Batches:
    """The shards that are still to be handed out, in batches that get smaller towards the end.

    Large ones keep a worker from waiting, small ones let all workers end together.

    Args:
        selection: the subsets, with where their paths start.
        slots: of the rows that are asked for, by subset.
        todo: what is lacking.
        features: each subset's, of which any one tells the rows of a shard.
        reals: by subset, where views of fakes hold some of their reals.
    """

    def __init__(
        self,
        selection: Selection,
        slots: Mapping[str, list[int]],
        todo: Todo,
        features: Mapping[str, Mapping[str, Feature]],
        reals: Mapping[str, Mapping[Pair, Row]],
    ) -> None:
        self._roots = {manifest.name: roots for manifest, roots in selection}
        self._slots = {name: np.unique(np.array(own, np.int64)) for name, own in slots.items()}
        self._features, self._reals = features, reals
        self._left = deque((name, shard) for name, shards in todo.items() for shard in shards)
        self._numbered = 0

    def take(self, lanes: int) -> Batch | None:
        """The next batch, given how many are worked on at a time; None where none is left."""
        if not self._left:
            return None
        most = min(MOST_SHARDS, -(-len(self._left) // (2 * lanes)))
        subset, first = self._left.popleft()
        shards = [first]
        while len(shards) < most and self._left and self._left[0][0] == subset:
            shards.append(self._left.popleft()[1])
        self._numbered += 1
        own = self._slots[subset]
        ends = [np.searchsorted(own, (SHARD_ROWS * s, SHARD_ROWS * (s + 1))) for s in shards]
        slots = np.concatenate([own[start:end] for start, end in ends])
        reals = self._reals_of(subset, shards)
        return Batch(self._numbered, subset, slots, self._roots[subset], reals)

    def put_back(self, batch: Batch) -> None:
        """Hand a batch out once more."""
        self._left.extend((batch.subset, shard) for shard in batch.shards)

    def _reals_of(self, subset: str, shards: list[int]) -> Mapping[Pair, Row]:
        known = self._reals.get(subset)
        if not known:
            return {}
        feature = next(iter(self._features[subset].values()))
        pairs = {pair_of(row) for shard in shards for row in feature.shard_rows(shard)}
        return {pair: known[pair] for pair in pairs if pair in known}
