"""How dear the images of one subset are beside those of another, from a few of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import chain

from clare.pipeline.extraction.loading import Loader, gather
from clare.pipeline.extractor import Extractor
from clare.store.feature import Feature
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS

WORTH = 512
"""Rows to do below which nothing is looked at first: the first estimate comes soon enough."""

LOOKED_AT = 96
"""Images of all subsets together, and at least `FEWEST` and at most `MOST` of each."""

FEWEST, MOST = 2, 16


def decoding_weights(
    pending: Mapping[str, Mapping[int, Mapping[str, list[int]]]],
    features: Mapping[str, Feature],
    open_loader: Callable[[str], Loader],
    extractors: Sequence[Extractor],
) -> dict[str, float]:
    """Seconds of a core that decoding an image takes, by subset.

    Args:
        pending: subset to what is to be done of it, from `pending_shards`.
        features: of each subset, any.
        open_loader: gives a loader of a subset.
        extractors: that the images are prepared for.

    Returns:
        1 for every subset where there is nothing to compare.
    """
    known = {subset: list(shards) for subset, shards in pending.items() if shards}
    even = dict.fromkeys(pending, 1.0)
    least = sum(max(map(len, some.values())) for all_ in pending.values() for some in all_.values())
    if len(known) < 2 or least < WORTH:
        return even
    each = min(max(LOOKED_AT // len(known), FEWEST), MOST)
    found = {}
    for subset, shards in known.items():
        dice = random.Random(subset)
        rows: list[Row] = []
        for shard in dice.sample(shards, min(each, len(shards))):
            # The views of an image share one decode, so that they are looked at together.
            offsets = set(chain.from_iterable(pending[subset][shard].values()))
            images: dict[str, list[Row]] = {}
            for row in features[subset].shard_rows(shard):
                if row.slot % SHARD_ROWS in offsets:
                    images.setdefault(row.sample_id, []).append(row)
            count = min(-(-each // len(shards)), len(images))
            rows += chain.from_iterable(dice.sample(list(images.values()), count))
        with closing(open_loader(subset)) as loader:
            loaded = gather(loader.start(dict(enumerate(rows)), extractors))
        found[subset] = loaded.cpu / max(len(rows), 1)
    return {**even, **found} if all(found.values()) else even
