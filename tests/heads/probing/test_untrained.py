"""Scores that need no optimisation, beside the probes and on the same rows."""

import csv

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import clare
from clare.heads.classifiers.text_similarity import PROMPTS
from clare.heads.data.dataset import FeatureDataset
from clare.heads.text.tower import TextTower
from tests.heads.conftest import make_row

COUNT = 160


@pytest.fixture(scope="module")
def judged(build_store, tmp_path_factory):
    """Fakes are PNGs mostly, and larger in training than on test."""
    rows = []
    for n in range(COUNT):
        label, split = n % 2, ("train", "val", "test", "test")[n // 2 % 4]
        kind = "PNG" if label ^ (n % 10 == 0) else "JPEG"
        side = 100 + n + (100 * label if split != "test" else -100 * label)
        facts = {"format": kind, "width": side, "height": 10}
        rows.append(make_row("gan", f"{n}", label, split, **facts))
    return build_store(tmp_path_factory.mktemp("judged") / "features.zarr", {"gan": rows})


@pytest.fixture(scope="module")
def found(judged, tmp_path_factory):
    out = tmp_path_factory.mktemp("probes") / "out"
    record = clare.probe(
        judged,
        out,
        inputs=["clip_cls", "lare:grid@0"],
        kinds=["centroid"],
        norms=["none"],
        ask=[],
        resamples=200,
    )
    return record, out


@pytest.fixture(scope="module")
def values(judged):
    read = {}
    for split in ("train", "val", "test"):
        data = FeatureDataset(judged, ["clip_cls", "lare"], split=split)
        batch = data.read(range(len(data)))
        vectors = batch["clip_cls"].numpy().astype(float)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        read[split] = vectors, batch["lare"].double().mean(2), data.labels
    return read


def test_each_is_what_it_says(found, values, plain_text):
    scores = {one.name: one for one in found[0].untrained}
    (train, _, y), (_, maps_val, y_val), (test, maps, y_test) = values.values()
    expected = {"clip_cls, real centroid": -test @ train[y == 0].mean(0)}
    nearest = [(test @ train[y == label].T).max(1) for label in (0, 1)]
    expected["clip_cls, nearest neighbour"] = nearest[1] - nearest[0]
    with torch.no_grad():
        texts = TextTower.load(plain_text.file).encode_text(PROMPTS).numpy()
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    expected["clip_cls, zero-shot"] = test @ (texts[1::2].mean(0) - texts[::2].mean(0))
    for name, score in expected.items():
        assert scores[name].tests["gan"].value == pytest.approx(roc_auc_score(y_test, score))
    for step in (0, 1):
        one = scores[f"lare:mean@{step}, plain"]
        on_val = roc_auc_score(y_val, maps_val[:, step].mean((1, 2, 3)))
        sign = 1 if on_val >= 0.5 else -1
        assert one.val_auc == pytest.approx(max(on_val, 1 - on_val), abs=1e-3)
        mean = sign * maps[:, step].mean((1, 2, 3)).numpy()
        assert one.tests["gan"].value == pytest.approx(roc_auc_score(y_test, mean), abs=1e-3)


def test_validation_and_no_test_row_decides_a_direction(found):
    """Larger images are fakes in training and on validation, and reals on test."""
    scores = {one.name: one for one in found[0].untrained}
    size = scores["number of pixels"]
    assert size.how.endswith("fakes have more")
    assert size.val_auc > 0.9
    assert size.tests["gan"].value < 0.2
    assert scores["file format"].tests["gan"].low > 0.8


def test_which_use_training_labels_and_which_are_shortcuts_is_said(found):
    how = {one.name: one.how for one in found[0].untrained}
    labelled = {name for name, said in how.items() if said.endswith("; uses training labels")}
    assert labelled == {"clip_cls, real centroid", "clip_cls, nearest neighbour", "file format"}
    shortcuts = {name for name, said in how.items() if said.startswith("shortcut: ")}
    assert shortcuts == {"file format", "number of pixels"}


def test_they_stand_in_the_table_the_file_and_the_page(found, tmp_path):
    record, out = found
    with (out / "probes.csv").open() as file:
        lines = {line["input"]: line for line in csv.DictReader(file)}
    one = record.untrained[0]
    assert float(lines[one.name]["gan_auc"]) == one.tests["gan"].value
    assert lines[one.name]["kind"] == "untrained"
    page = clare.report([out], tmp_path / "page.html")
    assert any("Of what needs no optimisation, validation likes" in said for said in page.answer)
    assert "clip_cls, zero-shot" in (tmp_path / "page.html").read_text("utf-8")
