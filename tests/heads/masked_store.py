"""A small store of fakes of which one quarter is fake: tokens, LaRE and masks say which."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from clare.store.feature_store import FeatureStore, create_store
from clare.store.row import Row
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


def values_of(row: Row, spec: FeatureSpec) -> np.ndarray:
    """A mask that marks one quarter of a fake; in tokens and LaRE that quarter stands out."""
    field = spec.field
    rng = np.random.default_rng([fake_quarter(row), len(field)])
    marked = np.zeros((4, 4), bool)
    marks = "mask_path" in row.columns if field == "mask" else row.columns["label"] == 1
    if marks and "blank" not in row.columns:
        top, left = divmod(fake_quarter(row), 2)
        marked[2 * top : 2 * top + 2, 2 * left : 2 * left + 2] = True
    if field == "mask":
        return np.kron(marked, np.ones((8, 8))).astype(np.uint8) * 255
    if field == "lare":
        values = abs(rng.normal(size=(1, 2, 4, 8, 8))) + 3 * np.kron(marked, np.ones((2, 2)))
        return values.astype(np.float16)
    values = rng.normal(size=spec.shape)
    step = round((16 / spec.shape[0]) ** 0.5)
    values[:, 0] += 3 * marked[::step, ::step].flatten()
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
    without: Collection[str] = (),
) -> None:
    """Rows with values in every field; ``settings`` are those of fingerprints, by extractor.

    Rows of extractors in ``without`` have none.
    """
    for extractor, specs in SPECS.items():
        if extractor in without:
            continue
        fingerprint = Fingerprint(extractor, 1, "aa", dict(settings.get(extractor, {})))
        fill_feature(store, subset, rows, fingerprint, specs)


def fill_feature(
    store: FeatureStore,
    subset: str,
    rows: list[Row],
    fingerprint: Fingerprint,
    specs: list[FeatureSpec],
    failed: Collection[str] = (),
) -> None:
    """Rows with the values of one fingerprint, but those of some samples."""
    assigned = store.assign_rows(subset, rows)
    store.declare(fingerprint, specs)
    feature = store.feature(subset, fingerprint.extractor, fingerprint.digest)
    for shard in feature.pending():
        assert feature.claim(shard)
        values = {s.field: np.zeros((SHARD_ROWS, *s.shape), s.dtype) for s in specs}
        mine = [row for row in assigned if row.slot // SHARD_ROWS == shard]
        for row in mine:
            for spec in specs:
                values[spec.field][row.slot % SHARD_ROWS] = values_of(row, spec)
        bad = {row.slot % SHARD_ROWS: "bad" for row in mine if row.sample_id in failed}
        feature.write_shard(shard, values, bad, {})
        feature.release(shard)


def create_masked(path: Path) -> FeatureStore:
    """Fakes with masks, a pool of reals, and fakes without masks."""
    made = create_store(path)
    fill(made, "local", make_rows("local", 1, 48))
    fill(made, "few", make_rows("few", 1, 12))
    fill(made, "pool", make_rows("pool", 0, 24))
    fill(made, "bare", make_rows("bare", 1, 24, masked=False))
    return made


TRANSFORMER = Fingerprint("clip", 1, "aa", {"layers": [20]})
RESNET = Fingerprint("clip", 1, "bb", {"layers": ["layer3"]})
TOWERS = {
    TRANSFORMER.key: (TRANSFORMER, SPECS["clip"]),
    RESNET.key: (
        RESNET,
        [
            FeatureSpec("clip_tokens", (4, 6), "float16"),
            FeatureSpec("clip_tokens_layer3", (4, 6), "float16"),
        ],
    ),
}
"""Two extractions of CLIP; each has a layer that the other lacks, and both have clip_tokens."""


def create_towers(path: Path) -> FeatureStore:
    """Fakes with masks, and reals, in two extractions of CLIP; of each three other rows failed."""
    made = create_store(path)
    for subset, rows in (("local", make_rows("local", 1, 48)), ("pool", make_rows("pool", 0, 24))):
        fill_feature(made, subset, rows, Fingerprint("mask", 1, ""), SPECS["mask"])
        for number, (fingerprint, specs) in enumerate(TOWERS.values()):
            failed = {f"{subset}/{n}" for n in (number, 4 + 6 * number, 5 + 6 * number)}
            fill_feature(made, subset, rows, fingerprint, specs, failed)
    return made
