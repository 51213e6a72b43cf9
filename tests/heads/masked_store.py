"""A small store of fakes of which one quarter is fake: tokens, LaRE and masks say which."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from clare.store.feature_store import FeatureStore, create_store
from clare.store.index import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

SPECS = {
    "clip": [
        FeatureSpec("clip_tokens", (16, 8), "float16"),
        FeatureSpec("clip_tokens_20", (16, 8), "float16"),
    ],
    "lare": [FeatureSpec("lare", (1, 2, 4, 8, 8), "float16", channel_axis=-3)],
    "mask": [FeatureSpec("mask", (32, 32), "uint8")],
}


def fake_quarter(row: Row) -> int:
    """Which quarter is marked; every view has its own, as a flipped picture has."""
    return (int(hashlib.sha256(row.sample_id.encode()).hexdigest(), 16) + row.view) % 4


def values_of(row: Row, field: str) -> np.ndarray:
    """A mask that marks one quarter of a fake; in tokens and LaRE that quarter stands out."""
    rng = np.random.default_rng([fake_quarter(row), len(field)])
    marked = np.zeros((4, 4), bool)
    if row.columns["label"] == 1:
        top, left = divmod(fake_quarter(row), 2)
        marked[2 * top : 2 * top + 2, 2 * left : 2 * left + 2] = True
    if field == "mask":
        return np.kron(marked, np.ones((8, 8))).astype(np.uint8) * 255
    if field == "lare":
        values = abs(rng.normal(size=(1, 2, 4, 8, 8))) + 3 * np.kron(marked, np.ones((2, 2)))
        return values.astype(np.float16)
    values = rng.normal(size=(16, 8))
    values[:, 0] += 3 * marked.flatten()
    return values.astype(np.float16)


def make_rows(subset: str, label: int, count: int, masked: bool = True) -> list[Row]:
    splits = ("train", "train", "train", "train", "val", "test")
    return [
        Row(
            sample_id=f"{subset}/{n}",
            view=0,
            content=hashlib.sha256(f"{subset}/{n}".encode()).hexdigest(),
            columns={
                "label": label,
                "split": splits[n % 6],
                "subset": subset,
                **({"mask_path": f"masks/{n}.png"} if label and masked else {}),
                **({"mask_content": f"{n:064x}"} if label and masked else {}),
            },
        )
        for n in range(count)
    ]


def fill(
    store: FeatureStore,
    subset: str,
    rows: list[Row],
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Rows with values in every field; ``settings`` are those of fingerprints, by extractor."""
    assigned = store.assign_rows(subset, rows)
    for extractor, specs in SPECS.items():
        fingerprint = Fingerprint(extractor, 1, "aa", dict(settings.get(extractor, {})))
        store.declare(fingerprint, specs)
        feature = store.feature(subset, extractor, fingerprint.digest)
        for shard in feature.pending():
            assert feature.claim(shard)
            values = {s.field: np.zeros((SHARD_ROWS, *s.shape), s.dtype) for s in specs}
            for row in assigned:
                if row.slot // SHARD_ROWS == shard:
                    for spec in specs:
                        values[spec.field][row.slot % SHARD_ROWS] = values_of(row, spec.field)
            feature.write_shard(shard, values, {}, {})
            feature.release(shard)


def create_masked(path: Path) -> FeatureStore:
    """Fakes with masks, a pool of reals, and fakes without masks."""
    made = create_store(path)
    fill(made, "local", make_rows("local", 1, 48))
    fill(made, "few", make_rows("few", 1, 12))
    fill(made, "pool", make_rows("pool", 0, 24))
    fill(made, "bare", make_rows("bare", 1, 24, masked=False))
    return made
