"""A store of small pictures with the features of a real tower, and the pixels that it looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clare.models.runtime import Runtime
from clare.models.tiny import write_tiny_clip, write_tiny_tower
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings
from clare.store.feature_store import FeatureStore, create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

SPLITS = ("train", "train", "train", "val", "test")
_CLIPS: Mapping[str, tuple[Literal["vit", "rn50", "timm"], Mapping[str, Any]]] = {
    "vit": ("vit", {"image_size": 32, "layers": 2, "width": 32}),
    "rn50": ("rn50", {"width": 4}),
    "convnext": ("timm", {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": ""}),
}
"""Of each kind of CLIP, what is written and with which sizes."""

LARE = FeatureSpec("lare", (1, 1, 4, 4, 4), "float16", channel_axis=-3)


def write_tower(folder: Path, kind: str, seed: int = 0) -> str:
    """Write a small model as one of a user's own; the extractor that reads it."""
    if kind == "pe":
        write_tiny_tower(folder, seed=seed)
    else:
        known, sizes = _CLIPS[kind]
        write_tiny_clip(folder, known, seed, sizes)
    file = folder / ("config.json" if kind == "pe" else "open_clip_config.json")
    config = json.loads(file.read_text())
    del config["_clare_tiny"]  # by which it would be made anew and not read
    file.write_text(json.dumps(config))
    return "tower" if kind == "pe" else "clip"


def create_tuned(
    path: Path,
    kind: str,
    count: int = 40,
    images: ImageSettings | None = None,
    side: int = 0,
    seed: int = 0,
    paired: bool = False,
    **settings: Any,
) -> FeatureStore:
    """Rows of a subset ``all``, half of them fake; a fake has a brighter corner.

    Args:
        path: of the store; the model stands beside it, in ``model``.
        kind: vit, rn50, convnext or pe.
        count: of rows.
        images: how the pixels were prepared, as they say; as the tower's if None.
        side: of the pixels; that of the tower if 0.
        seed: of the tower's weights.
        paired: whether each fake is said to lie on the real before it.
        settings: further ones of the tower's extractor.
    """
    name = write_tower(path.with_name("model"), kind, seed)
    runtime = Runtime()
    given = {"model": str(path.with_name("model")), "weights": None, **settings}
    tower = create_extractor(name, given, ImageSettings(), runtime)
    model = tower.pixel_model()
    assert model is not None
    pixels = create_extractor(
        "pixels", {"size": side or model.size}, images or ImageSettings(), runtime
    )
    store = create_store(path)
    rows = store.assign_rows("all", [_row(number, paired) for number in range(count)])
    pictures = np.stack([_picture(row, model.size) for row in rows])
    read = tower.forward({"pixels": pictures})
    values = {field: value.numpy() for field, value in read.items()}
    if side:
        pictures = np.zeros((count, side, side, 3), np.uint8)
    _fill(store, tower.fingerprint, list(tower.fields), values)
    _fill(store, pixels.fingerprint, list(pixels.fields), {"pixels": pictures})
    drawn = np.stack([_drawn(row, LARE.shape) for row in rows])
    _fill(store, Fingerprint("lare", 1, "bb"), [LARE], {"lare": drawn})
    store.write_assets(tower.fingerprint.key, tower.assets())
    return store


def _row(number: int, paired: bool) -> Row:
    content = hashlib.sha256(f"{number}".encode()).hexdigest()
    split = SPLITS[number // 2 % len(SPLITS)]
    columns: dict[str, Any] = {"label": number % 2, "split": split, "subset": "all"}
    if paired:
        columns |= {"pair_id": f"pair {number // 2}", "pair_kind": "vae"}
    return Row(sample_id=f"all-{number}", view=0, content=content, columns=columns)


def _drawn(row: Row, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(list(bytes.fromhex(row.content)[:8])).normal(size=shape)


def _picture(row: Row, side: int) -> np.ndarray:
    picture = 128 + 30 * _drawn(row, (side, side, 3))
    picture[: side // 3, : side // 3] += 50 * row.columns["label"]
    return picture.clip(0, 255).astype(np.uint8)


def _fill(
    store: FeatureStore,
    fingerprint: Fingerprint,
    specs: list[FeatureSpec],
    values: dict[str, np.ndarray],
) -> None:
    store.declare(fingerprint, specs)
    feature = store.feature("all", fingerprint.extractor, fingerprint.digest)
    for shard in feature.pending():
        assert feature.claim(shard)
        whole = {}
        for spec in specs:
            part = values[spec.field][shard * SHARD_ROWS : (shard + 1) * SHARD_ROWS]
            whole[spec.field] = np.zeros((SHARD_ROWS, *spec.shape), spec.dtype)
            whole[spec.field][: len(part)] = part
        feature.write_shard(shard, whole, {}, {})
        feature.release(shard)
