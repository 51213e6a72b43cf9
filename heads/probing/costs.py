"""What one image costs each input: operations, as the store's extractors counted them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from clare.heads.probing.inputs import Part, ProbeInput, Source
from clare.models.extraction_cost import COST, ExtractionCost
from clare.store.feature_store import FeatureStore
from clare.typed_json import read_json

GIGA = 1e9


def gflops(
    store: FeatureStore, inputs: Iterable[ProbeInput], lare: Source | None
) -> dict[str, float]:
    """Billions of operations an image, by name of an input; those whose cost is not kept lack.

    A tower counts as a whole, whichever layer is read. Of LaRE's noise steps those count that are
    read, with all draws.

    Args:
        store: that they are read from.
        inputs: what is read.
        lare: the field that weighs tokens.
    """
    known: dict[Source, ExtractionCost | None] = {}
    found = {}
    for one in inputs:
        steps = _steps(one.parts, lare)
        for source in steps:
            if source not in known:
                known[source] = _read(store, source)
        keys = {f"{source.extractor}-{source.digest}": source for source in steps}
        costs = [_of(store, source, known[source], steps[source]) for source in keys.values()]
        whole = [cost for cost in costs if cost is not None]
        if len(whole) == len(costs):
            found[one.name] = sum(whole) / GIGA
    return found


def _steps(parts: Iterable[Part], lare: Source | None) -> dict[Source, set[int]]:
    """The noise steps that are read of each field; of others than LaRE that one step is."""
    found: defaultdict[Source, set[int]] = defaultdict(set)
    for part in parts:
        found[part.source].add(part.step)
        if part.is_weighed and lare is not None:
            found[lare].add(0)
    return found


def _read(store: FeatureStore, source: Source) -> ExtractionCost | None:
    key = f"{source.extractor}-{source.digest}"
    if COST not in {path.name for path in store.layout.assets(key)}:
        return None
    return read_json(store.asset(key, COST), ExtractionCost)


def _of(
    store: FeatureStore, source: Source, cost: ExtractionCost | None, steps: set[int]
) -> float | None:
    if cost is None or source.field != "lare":
        return None if cost is None else cost.operations
    fields = store.extractor(f"{source.extractor}-{source.digest}")[1]
    share = len(steps) / fields[source.field].shape[0]
    return cost.shared + share * (cost.operations - cost.shared)
