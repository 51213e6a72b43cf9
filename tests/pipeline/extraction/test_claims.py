"""Which shards lack what, and how runs side by side take them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clare.pipeline.extraction.claims import (
    claim_shards,
    not_tried,
    open_features,
    pending_shards,
)
from clare.pipeline.extraction.passing import MOST_HELD
from clare.store.feature_store import create_store, open_store
from tests.store.conftest import FIELDS, FINGERPRINT, MADE_WITH, make_rows, shard_values

LARE = dataclasses.replace(FINGERPRINT, extractor="lare")
EXTRACTORS: Any = [
    SimpleNamespace(
        name=print_.extractor, label=print_.extractor, fingerprint=print_, fields=FIELDS
    )
    for print_ in (FINGERPRINT, LARE)
]
EVERY = np.arange(192)


@pytest.fixture
def path(tmp_path):
    """150 rows of two extractors, three shards, nothing of which is done."""
    store = create_store(tmp_path / "features.zarr")
    store.assign_rows("faces", make_rows(150))
    return store.path


def features_of(path):
    return open_features(open_store(path), "faces", EXTRACTORS)


def write(feature, shard: int, offsets) -> None:
    assert feature.claim(shard)
    values = shard_values(feature.shard_rows(shard))
    feature.write_shard(shard, values, {}, MADE_WITH, complete=offsets)
    feature.release(shard)


def test_extractors_are_declared_and_their_features_named(path):
    features = features_of(path)
    assert {name: feature.key for name, feature in features.items()} == {
        "clip": FINGERPRINT.key,
        "lare": LARE.key,
    }
    assert open_store(path).extractor_keys() == sorted([FINGERPRINT.key, LARE.key])


def test_what_is_pending_is_told_by_shard_and_extractor(path):
    features, others = features_of(path), features_of(path)
    whole = {shard: list(range(64 if shard < 2 else 22)) for shard in range(3)}
    assert pending_shards(features, EVERY) == {s: {"clip": o, "lare": o} for s, o in whole.items()}
    # What another process wrote since is seen.
    write(others["clip"], 0, range(64))
    write(others["clip"], 1, [0, 5])
    write(others["lare"], 2, range(22))
    found = pending_shards(features, EVERY)
    assert list(found) == [0, 1, 2]
    assert found == {
        0: {"lare": whole[0]},
        1: {"clip": [o for o in whole[1] if o not in (0, 5)], "lare": whole[1]},
        2: {"clip": whole[2]},
    }
    wanted = np.array([3, 64, 69, 128, 149, 150])
    found = pending_shards(features, wanted)
    assert found == {0: {"lare": [3]}, 1: {"lare": [0, 5]}, 2: {"clip": [0, 21]}}
    assert list(found) == [0, 1, 2], "in rising order, whichever extractor lacks them"
    assert pending_shards(features, np.array([3])) == {0: {"lare": [3]}}
    assert pending_shards(features, np.array([150, 191])) == {}


def test_what_a_run_tried_is_left_to_the_next():
    pending = {0: {"clip": [1], "lare": [1]}, 1: {"clip": [0]}, 2: {"lare": [3]}}
    assert not_tried(pending, set()) == {0: ["clip", "lare"], 1: ["clip"], 2: ["lare"]}
    assert not_tried(pending, {(0, "clip"), (1, "clip"), (2, "clip")}) == {0: ["lare"], 2: ["lare"]}


class Started:
    """A loader that notes what it is asked to decode."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], list[str]]] = []

    def start(self, rows, extractors):
        self.asked.append((sorted(rows), [one.name for one in extractors]))
        return [f"loading {len(self.asked)}"]


def test_shards_are_taken_one_by_one_with_what_they_lack_by_then(path):
    features, others = features_of(path), features_of(path)
    runners: Any = {one.name: SimpleNamespace(extractor=one) for one in EXTRACTORS}
    loader: Any = Started()
    pending = not_tried(pending_shards(features, EVERY), set())
    wanted = np.array([*range(10), 64, 65, 127, 128, 149, 160])
    assert others["clip"].claim(0), "a run beside this one"
    told: list[tuple[int, int]] = []
    works = claim_shards(
        pending, wanted, features, runners, loader, lambda *images: told.append(images)
    )
    assert loader.asked == []

    work = next(works)
    assert (work.shard, work.lacking) == (0, {"lare": list(range(10))})
    assert work.runners == [runners["lare"]] and work.loading == ["loading 1"]
    assert {offset: row.slot for offset, row in work.rows.items()} == {o: o for o in range(10)}
    assert not others["lare"].claim(0) and others["lare"].claim(1), "the next one is still free"
    others["lare"].release(1)
    write(others["clip"], 1, [1, 63])

    work = next(works)
    assert (work.shard, work.lacking) == (1, {"clip": [0], "lare": [0, 1, 63]})
    assert [row.slot for row in work.rows.values()] == [64, 65, 127]
    assert list(work.rows) == [0, 1, 63] and work.runners == list(runners.values())

    write(others["clip"], 2, [0, 21])
    work = next(works)
    # It has rows that lack values, but none that is wanted.
    assert (work.shard, work.lacking) == (2, {"clip": [], "lare": [0, 21]})
    assert list(work.rows) == [0, 21]
    assert loader.asked == [
        (list(range(10)), ["lare"]),
        ([0, 1, 63], ["clip", "lare"]),
        ([0, 21], ["clip", "lare"]),
    ]
    assert next(works, None) is None
    assert told == [(10, 10), (4, 2), (2, 2)], "images that are ours, and those of the others"


def test_a_shard_that_others_hold_or_did_is_passed_over(path):
    features, others = features_of(path), features_of(path)
    runners: Any = {one.name: SimpleNamespace(extractor=one) for one in EXTRACTORS}
    pending = not_tried(pending_shards(features, EVERY), set())
    for name in ("clip", "lare"):
        assert others[name].claim(0)
        write(others[name], 1, range(64))
    loader: Any = Started()
    told: list[tuple[int, int]] = []
    works = claim_shards(
        pending, EVERY, features, runners, loader, lambda *images: told.append(images)
    )
    assert [work.shard for work in works] == [2]
    assert told == [(0, 128), (0, 128), (44, 0)]


@pytest.mark.parametrize("leases", [False, True])
def test_a_shard_that_is_free_is_found_among_many_that_others_hold(tmp_path, leases):
    store = create_store(tmp_path / "features.zarr")
    store.layout.claims.configure(leases=leases, expire=60.0)
    store.assign_rows("faces", make_rows(64 * 3 * MOST_HELD))
    features, others = features_of(store.path), features_of(store.path)
    runners: Any = {one.name: SimpleNamespace(extractor=one) for one in EXTRACTORS}
    loader: Any = Started()
    every = np.arange(64 * 3 * MOST_HELD)
    pending = not_tried(pending_shards(features, every), set())
    free = [2 * MOST_HELD, 3 * MOST_HELD - 1]
    for shard in set(pending) - set(free):
        assert others["clip"].claim(shard) and (shard == 0 or others["lare"].claim(shard))
    others["lare"].claim(free[0])
    works = claim_shards(pending, every, features, runners, loader)
    found = [(work.shard, list(work.lacking)) for work in works]
    assert found == [(0, ["lare"]), (free[0], ["clip"]), (free[1], ["clip", "lare"])]
