"""The rows that an extraction asks for, in the store's index before the first image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from clare.pipeline.extraction.claims import open_features, pending_shards, require_own_fields
from clare.pipeline.extraction.plan import Declared, Observer, Selection, Todo
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extraction.store_rows import (
    Pair,
    reals_of_pairs,
    refuse_two_labels,
    rows_of_samples,
)
from clare.plugins import part_name
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS


@dataclass(frozen=True)
class Assigned:
    """Rows with a place in the store.

    Args:
        slots: of the rows that are asked for, by subset.
        features: each subset's, by the label of their extractor.
        reals: by subset, where views of fakes hold some of their reals.
    """

    slots: Mapping[str, list[int]]
    features: Mapping[str, Mapping[str, Feature]]
    reals: Mapping[str, Mapping[Pair, Row]]

    def todo(self) -> Todo:
        """What is lacking now."""
        return {
            name: pending_shards(self.features[name], np.array(self.slots[name]))
            for name in self.features
        }


def assign_rows(
    settings: ExtractSettings,
    selection: Selection,
    store: FeatureStore,
    extractors: Sequence[Declared],
    observer: Observer,
) -> Assigned:
    """Give every row its place, and declare the arrays of the extractors.

    Raises:
        InputError: two extractors write one field, or an image is given as real and as fake.
    """
    require_own_fields(store, extractors)
    wanted = [
        rows_of_samples(
            manifest.samples,
            roots,
            store.index(manifest.name).live,
            views=settings.views,
            progress=partial(observer.reading, manifest.name),
        )
        for manifest, roots in selection
    ]
    refuse_two_labels(selection, wanted)
    slots: dict[str, list[int]] = {}
    features: dict[str, Mapping[str, Feature]] = {}
    reals: dict[str, Mapping[Pair, Row]] = {}
    if settings.views > 1 and settings.images.recipe.MIXES:
        recipe = part_name(settings.images.view_recipe)
        for (manifest, _), rows in zip(selection, wanted, strict=True):
            reals[manifest.name] = reals_of_pairs(manifest.name, rows, recipe)
    for (manifest, _), rows in zip(selection, wanted, strict=True):
        subset = manifest.name
        slots[subset] = store.assign_rows(subset, rows).slots.tolist()
        shards = {slot // SHARD_ROWS for slot in slots[subset]}
        features[subset] = open_features(store, subset, extractors, shards)
    return Assigned(slots, features, reals)
