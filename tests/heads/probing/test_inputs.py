"""What probes read: every field, its poolings, sums, and fields of several towers."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import clare
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.field_rows import FieldRows
from tests.heads.probing.probed_store import (
    CLIP,
    LARE,
    QUICK,
    SECOND,
    create_probed,
    fill,
    make_rows,
)


def test_every_field_is_probed_in_every_pooling(found):
    tokens = {
        f"clip_tokens_{layer}:{pooling}"
        for layer in (2, 4, 6)
        for pooling in ("mean", "max", "top", "by-lare")
    }
    # Two fingerprints of LaRE would not say which of them weighs; one does, and masks are none.
    lare = {f"lare:{pooling}@{step}" for pooling in ("mean", "grid") for step in (100, 300)}
    assert {*found.shown} == {"clip_cls", *tokens, *lare}
    assert found.layers["clip_tokens_4:max"] == 4
    assert found.counts == {"train": 320, "val": 160, "test": 720}
    assert found.tests == {"gan": 320, "swap": 400}


def test_every_field_is_read_once(probed, tmp_path, monkeypatch):
    read = Counter[str]()
    plain = FieldRows.read

    def counting(self, places):
        read[str(self.keys) + str(self.shape)] += len(places)
        return plain(self, places)

    monkeypatch.setattr(FieldRows, "read", counting)
    found = clare.probe(probed, tmp_path / "out", test=["swap"], kinds=["centroid"], **QUICK)
    rows = sum(found.counts.values())
    # Three layers of tokens share a fingerprint and a shape; what ranks them is found first.
    assert sorted(read.values()) == [rows, rows, 3 * (rows + found.counts["train"])]


def test_tokens_weighed_by_lare_and_sums_are_what_they_say(probed, tmp_path):
    """Against a plain reading of the same rows, part for part."""
    found = clare.probe(
        probed,
        tmp_path / "sum",
        inputs=["clip_tokens_4:by-lare+clip_cls"],
        norms=["standard"],
        kinds=["centroid"],
        features=[CLIP.digest, LARE.digest],
        test=["swap"],
        **QUICK,
    )
    vectors, labels = {}, {}
    for split, subset in (("train", "gan"), ("test", "swap")):
        data = FeatureDataset(
            probed, ["clip_cls", "clip_tokens_4", "lare"], subsets=[subset], split=split
        )
        batch = data.read(range(len(data)))
        error = batch["lare"][:, 0].mean(1)  # the first step, its draws averaged
        cells = error.reshape(-1, 4, 4, 2, 4, 2).mean((1, 3, 5)).flatten(1)
        weights = cells / cells.sum(1, keepdim=True)
        pooled = (batch["clip_tokens_4"] * weights[..., None]).sum(1)
        vectors[split] = [pooled.numpy().astype(float), batch["clip_cls"].numpy().astype(float)]
        labels[split] = data.labels
    scaled = []
    for split in ("train", "test"):
        parts = []
        for part, train in zip(vectors[split], vectors["train"], strict=True):
            parts.append((part - train.mean(0)) / train.std(0) / np.sqrt(train.shape[1]))
        scaled.append(np.concatenate(parts, 1))
    means = [scaled[0][labels["train"] == label].mean(0) for label in (0, 1)]
    scores = [((scaled[1] - mean) ** 2).sum(1) for mean in means]
    auc = roc_auc_score(labels["test"], scores[0] - scores[1])
    assert found.probes[0].tests["swap"].value == pytest.approx(auc)


def test_a_sum_with_a_field_is_one_with_each_of_its_poolings_that_is_not_there_yet(
    probed, tmp_path
):
    asked = {**QUICK, "test": ["gan"], "norms": ["none"], "kinds": ["centroid"], "ask": []}
    found = clare.probe(probed, tmp_path / "out", inputs=["lare:mean@100+lare:mean"], **asked)
    assert found.shown == ("lare:mean@100+lare:mean@300",)


def test_top_tokens_are_those_along_what_parts_the_training_classes(probed, tmp_path):
    """Against a plain reading of the same rows."""
    found = clare.probe(
        probed,
        tmp_path / "top",
        inputs=["clip_tokens_4:top"],
        norms=["none"],
        kinds=["centroid"],
        fractions=[0.25, 1],
        test=["swap"],
        **QUICK,
    )
    tokens, labels = {}, {}
    for split, subset in (("train", "gan"), ("test", "swap")):
        data = FeatureDataset(probed, ["clip_tokens_4"], subsets=[subset], split=split)
        tokens[split] = data.read(range(len(data)))["clip_tokens_4"].numpy().astype(float)
        labels[split] = data.labels
    means = tokens["train"].mean(1)
    real, fake = (means[labels["train"] == label].mean(0) for label in (0, 1))
    pooled = {}
    for split, values in tokens.items():
        best = np.argsort(-(values @ (fake - real)), 1)[:, :2]  # an eighth of 16
        pooled[split] = np.take_along_axis(values, best[..., None], 1).mean(1)
    real, fake = (pooled["train"][labels["train"] == label].mean(0) for label in (0, 1))
    auc = roc_auc_score(labels["test"], pooled["test"] @ (fake - real))
    (probe,) = found.probes  # of the largest share alone: its labels gave the direction
    assert probe.fraction == 1
    assert probe.tests["swap"].value == pytest.approx(auc)


def test_two_towers_stand_side_by_side_by_their_fingerprints(tmp_path):
    store = create_probed(tmp_path / "features.zarr", 80, 20)
    fill(store, make_rows("gan", 80), [SECOND], "other")
    for tower, model in ((CLIP, "ViT-L-14"), (SECOND, "PE-Core-L-14-336")):
        origin = json.dumps({"model": model, "weights": "own"}).encode()
        store.write_assets(tower.key, {"origin.json": origin})
    quick: dict[str, Any] = {
        "train": ["gan"],
        "test": ["gan"],
        "kinds": ["centroid"],
        "ask": [],
        "resamples": 0,
    }
    found = clare.probe(store, tmp_path / "out", **quick)
    own = [name for name in found.shown if name.startswith("clip_cls#")]
    assert len(own) == 2
    meaning = found.meaning[f"clip_cls#{SECOND.digest[:8]}"]
    assert meaning == "PE-Core-L-14-336:own, model second", "names tell more than digests"
    narrow = clare.probe(store, tmp_path / "narrow", features=[SECOND.digest[:6]], **quick)
    assert "clip_cls" in narrow.shown
    assert not any(name.startswith("lare") for name in narrow.shown)
