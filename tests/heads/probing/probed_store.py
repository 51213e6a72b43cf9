"""A store in which two features each hold a part of the truth, and a third one nothing."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from clare.store.feature_store import FeatureStore, create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

SPECS = {
    "clip": [
        FeatureSpec("clip_cls", (6,), "float32"),
        FeatureSpec("clip_tokens_2", (16, 5), "float32"),
        FeatureSpec("clip_tokens_4", (16, 5), "float32"),
        FeatureSpec("clip_tokens_6", (16, 5), "float32"),
    ],
    "lare": [FeatureSpec("lare", (2, 3, 4, 8, 8), "float32", channel_axis=-3)],
    "mask": [FeatureSpec("mask", (8, 8), "uint8")],
}
IMAGES = {"images": {"crop": "none"}}
CLIP = Fingerprint("clip", 1, "aa", {"model": "first", **IMAGES})
SECOND = Fingerprint("clip", 1, "cc", {"model": "second", **IMAGES})
MASK = Fingerprint("mask", 1, "")
LARE = Fingerprint("lare", 1, "bb", {"timesteps": [100, 300], **IMAGES})
OTHER_LARE = Fingerprint("lare", 1, "ee", {"timesteps": [100, 300], **IMAGES})

QUICK: dict[str, Any] = {"train": ["gan"], "resamples": 400}
"""What most tests ask of `clare.probe`."""


def make_rows(subset: str, count: int, split_of=("train", "train", "val", "test", "test")):
    return [
        Row(
            sample_id=f"{subset}-{n}",
            view=0,
            content=hashlib.sha256(f"{subset}{n}".encode()).hexdigest(),
            columns={"label": n % 2, "split": split_of[n // 2 % len(split_of)], "subset": subset},
        )
        for n in range(count)
    ]


def values_of(row: Row, specs, salt: str = ""):
    """Three parts of the truth are drawn for each row: one of CLIP, one of LaRE, one of nobody."""
    rng = np.random.default_rng(list(hashlib.sha256(f"{row.content}{salt}".encode()).digest()[:8]))
    sign = 2 * row.columns["label"] - 1
    found = {}
    for spec in specs:
        values = rng.normal(size=spec.shape)
        if spec.field == "clip_cls":
            values[0] += 0.8 * sign
        elif spec.field == "clip_tokens_4":
            values[:, 1] += 0.25 * sign
        elif spec.field == "lare":
            values = abs(values)
            values[1, :, 2] += 5 + 0.8 * sign + rng.normal()
        found[spec.field] = values.astype(spec.dtype)
    return found


def fill(store: FeatureStore, rows, prints=(CLIP, LARE, MASK), salt=""):
    subset = rows[0].columns["subset"]
    assigned = store.assign_rows(subset, rows)
    for fingerprint in prints:
        specs = SPECS[fingerprint.extractor]
        store.declare(fingerprint, specs)
        feature = store.feature(subset, fingerprint.extractor, fingerprint.digest)
        for shard in feature.pending():
            assert feature.claim(shard)
            values = {s.field: np.zeros((SHARD_ROWS, *s.shape), s.dtype) for s in specs}
            for row in assigned:
                if row.slot // SHARD_ROWS == shard:
                    for field, value in values_of(row, specs, salt).items():
                        values[field][row.slot % SHARD_ROWS] = value
            feature.write_shard(shard, values, {}, {})
            feature.release(shard)


def create_probed(path: Path, trained: int = 800, tested: int = 400) -> FeatureStore:
    store = create_store(path)
    fill(store, make_rows("gan", trained))
    fill(store, make_rows("swap", tested, ("test",)))
    return store


def store_of(path: Path, vectors, signs, splits, videos=None) -> FeatureStore:
    """A store with given vectors (N, d) by field, of rows whose signs and splits are (N,)."""
    store, fingerprint = create_store(path), Fingerprint("clip", 1, "dd")
    specs = [FeatureSpec(name, value.shape[1:], "float32") for name, value in vectors.items()]
    rows = [
        Row(
            sample_id=f"{n}",
            view=0,
            content=hashlib.sha256(f"{n}".encode()).hexdigest(),
            columns={
                "label": int(sign > 0),
                "split": str(split),
                "subset": "drawn",
                **({} if videos is None else {"video_id": videos[n]}),
            },
        )
        for n, (sign, split) in enumerate(zip(signs, splits, strict=True))
    ]
    store.assign_rows("drawn", rows)
    store.declare(fingerprint, specs)
    feature = store.feature("drawn", "clip", fingerprint.digest)
    for shard in feature.pending():
        assert feature.claim(shard)
        start = shard * SHARD_ROWS
        values = {}
        for name, value in vectors.items():
            values[name] = np.zeros((SHARD_ROWS, *value.shape[1:]), np.float32)
            mine = value[start : start + SHARD_ROWS]
            values[name][: len(mine)] = mine
        feature.write_shard(shard, values, {}, {})
        feature.release(shard)
    return store
