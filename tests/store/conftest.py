"""A small store of known content, and the means to compare stores byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from clare.store.feature_store import FeatureStore, create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

FINGERPRINT = Fingerprint("clip", 1, "ab" * 32, {"model": "tiny", "image": {"resize": None}})
FIELDS = (
    FeatureSpec("clip_tokens", (3, 4), "float16"),
    FeatureSpec("clip_cls", (4,), "float32"),
    FeatureSpec("pixels", (2, 2, 3), "uint8"),
)
ASSETS = {"text_tower.safetensors": b"tower" * 20}
MADE_WITH = {"micro_batch": 4, "device": "cpu"}


def make_rows(count: int, start: int = 0) -> list[Row]:
    return [
        Row(
            sample_id=f"sample-{n:04d}",
            view=0,
            content=f"{n:064x}",
            columns={"label": n % 2, "split": "train" if n % 3 else "test", "boxes": ""},
        )
        for n in range(start, start + count)
    ]


def values_of(row: Row, spec: FeatureSpec) -> np.ndarray:
    """What the pretended extractor gives for a row: decided by its identity alone."""
    return _drawn(repr((row.identity, spec.field)), spec.shape).astype(spec.dtype)


@cache
def _drawn(seed: str, shape: tuple[int, ...]) -> np.ndarray:
    chance = np.random.default_rng(int.from_bytes(seed.encode(), "little"))
    return chance.integers(0, 200, shape)


def shard_values(rows: Sequence[Row], fields=FIELDS) -> dict[str, np.ndarray]:
    values = {s.field: np.full((SHARD_ROWS, *s.shape), 7).astype(s.dtype) for s in fields}
    for row in rows:
        for spec in fields:
            values[spec.field][row.slot % SHARD_ROWS] = values_of(row, spec)
    return values


def extract(store: FeatureStore, subset: str = "faces", failed=(), fingerprint=FINGERPRINT) -> int:
    """Fill all pending shards as `clare extract` would; returns how many were written."""
    store.declare(fingerprint, FIELDS)
    store.write_assets(fingerprint.key, ASSETS)
    feature = store.feature(subset, fingerprint.extractor, fingerprint.digest)
    written = 0
    for shard in feature.pending():
        if not feature.claim(shard):
            continue
        rows = feature.shard_rows(shard)
        reasons = {r.slot % SHARD_ROWS: "no image" for r in rows if r.sample_id in failed}
        feature.write_shard(shard, shard_values(rows), reasons, MADE_WITH)
        feature.release(shard)
        written += 1
    return written


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a store but the locks."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.relative_to(path).parts[0] != "locks"
    }


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """An empty store."""
    return create_store(tmp_path / "features.zarr")


@pytest.fixture
def filled(store: FeatureStore) -> FeatureStore:
    """100 rows of one extractor, of which samples 3 and 70 failed."""
    store.assign_rows("faces", make_rows(100))
    extract(store, failed=("sample-0003", "sample-0070"))
    return store
