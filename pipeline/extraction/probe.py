"""How dear the images of one subset are beside those of another, from a few of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from clare.pipeline.extraction.loading import Loader, gather
from clare.pipeline.extractor import Extractor
from clare.store.feature import Feature
from clare.store.row import Row

WORTH = 512
"""Rows to do below which nothing is looked at first: the first estimate comes soon enough."""

LOOKED_AT = 96
"""Images of all subsets together, and at least `FEWEST` and at most `MOST` of each."""

FEWEST, MOST = 2, 16


def decoding_weights(
    pending: Mapping[str, Mapping[int, int]],
    features: Mapping[str, Feature],
    open_loader: Callable[[str], Loader],
    extractors: Sequence[Extractor],
) -> dict[str, float]:
    """Seconds of a core that decoding an image takes, by subset.

    Args:
        pending: subset to the rows that are to be decoded, by shard.
        features: of each subset, any.
        open_loader: gives a loader of a subset.
        extractors: that the images are prepared for.

    Returns:
        1 for every subset where there is nothing to compare.
    """
    known = {subset: list(shards) for subset, shards in pending.items() if shards}
    even = dict.fromkeys(pending, 1.0)
    if len(known) < 2 or sum(sum(shards.values()) for shards in pending.values()) < WORTH:
        return even
    each = min(max(LOOKED_AT // len(known), FEWEST), MOST)
    found = {}
    for subset, shards in known.items():
        dice = random.Random(subset)
        rows: list[Row] = []
        for shard in dice.sample(shards, min(each, len(shards))):
            several = features[subset].shard_rows(shard)
            rows += dice.sample(several, min(-(-each // len(shards)), len(several)))
        with closing(open_loader(subset)) as loader:
            loaded = gather(loader.start(dict(enumerate(rows)), extractors))
        found[subset] = loaded.cpu / max(len(rows), 1)
    return {**even, **found} if all(found.values()) else even
