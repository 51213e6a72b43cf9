"""Deliveries as a user types them: listed, extracted, measured, and equal to damaging by hand."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import clare as package
from clare.augmentation.deliveries import read_set
from clare.heads.metrics.predictions import p_fake
from clare.pipeline.manifests.csv_io import read_manifest
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.feature_store import open_store
from tests.cli.pages import run as invoke

MINE = """
deliveries:
  low: jpeg 5
  half: resize 0.5 back
  way: resize 0.5-1, jpeg 30-90
"""
SHARED = ("--backbone", "tiny", "--draws", 1, "--noise", "shared", "--micro-batch", 4)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Reals and fakes with their deliveries in a store, and a run that was trained on them."""
    place = tmp_path_factory.mktemp("variants")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for kind in ("real", "fake"):
            draw_faces(place / kind, 40, seed=1, kind=kind, size=48)
        (place / "mine.yaml").write_text(MINE)
        build = ("manifest", "build", "--subset", "faces", "--real", "real", "--fake", "fake")
        invoke(*build)
        invoke("manifest", "variants", "faces", "--set", "mine.yaml")
        invoke("extract", "--subset", "faces,faces_variants", "--root", ".", *SHARED)
        data = ("--train", "faces", "--fusion", "concat", "--classifier", "linear", "--epochs", 3)
        invoke("train-head", *data, "--out", "run")
    return place


@pytest.fixture
def here(place, clare, monkeypatch):
    """Run a command where the store is."""
    monkeypatch.chdir(place)
    return clare


def test_figures_are_those_of_damaging_by_hand_and_predicting(here, tmp_path):
    code, out, error = here("evaluate", "run", "--variants", "--resamples", 100)
    assert code == 0, error
    assert "Deliveries of faces" in out and " AUC" in out
    found = json.loads(Path("run/test_metrics.json").read_text())
    told = found["variants"]["faces"]
    assert list(told["deliveries"]) == ["half", "low", "way"]
    threshold = p_fake(found["threshold"])
    tests = [
        s for s in read_manifest(Path("data_manifests/faces.csv")).samples if s.split == "test"
    ]
    for delivery in read_set("mine.yaml"):
        for number, sample in enumerate(tests):
            image = Image.open(sample.path).convert("RGB")
            content = hashlib.sha256(Path(sample.path).read_bytes()).hexdigest()
            damaged = delivery.view(content, image.size).apply(image)
            (tmp_path / delivery.name).mkdir(exist_ok=True)
            damaged.save(tmp_path / delivery.name / f"{number:03}.png")
        scores = {
            Path(v.path).stem: v.p_fake for v in package.predict("run", tmp_path / delivery.name)
        }
        p = np.array([scores[f"{number:03}"] for number in range(len(tests))])
        label = np.array([sample.label for sample in tests])
        figures = told["deliveries"][delivery.name]["figures"]
        assert figures["auc"]["value"] == pytest.approx(roc_auc_score(label, p))
        assert figures["accuracy"]["value"] == pytest.approx(np.mean((p >= threshold) == label))
        assert figures["fpr"]["value"] == pytest.approx(np.mean(p[label == 0] >= threshold))
        assert figures["auc"]["n"] == len(tests)
    assert told["clean"]["auc"] == found["subsets"]["faces"]["frame"]["auc"]
    with Path("run/test_variants.csv").open(newline="") as file:
        assert [line["delivery"] for line in csv.DictReader(file)] == [
            "clean",
            "half",
            "low",
            "way",
        ]


@pytest.fixture
def untested(here, tmp_path):
    """The run, without an evaluation."""
    left_out = shutil.ignore_patterns("test_*", "evaluations")
    return shutil.copytree("run", tmp_path / "untested", ignore=left_out)


def test_deliveries_are_in_no_other_figure_and_in_no_training(here, untested):
    code, _, error = here("evaluate", untested, "--resamples", 0)
    assert code == 0, error
    found = json.loads((untested / "test_metrics.json").read_text())
    assert list(found["subsets"]) == ["faces"] and found["variants"] == {}
    assert not (untested / "test_variants.csv").exists()
    record = json.loads(Path("run/config.json").read_text())
    assert "faces_variants" not in json.dumps(record)
    assert {r.columns["split"] for r in open_store("features.zarr").rows("faces_variants")} == {
        "test"
    }


def test_the_page_has_the_table_and_the_ladder(here):
    assert here("evaluate", "run", "--variants", "--resamples", 50)[0] == 0
    code, _, error = here("report", "run", "--out", "page.html")
    assert code == 0, error
    page = Path("page.html").read_text()
    assert "Deliveries of faces" in page and "resize 0.5 bicubic back" in page
    assert 'aria-label="AUC of faces by delivery"' in page


def test_some_deliveries_alone_and_those_of_the_same_test_before(here, untested, tmp_path):
    def deliveries(*asked):
        code, out, _ = here("evaluate", untested, *asked, "--resamples", 0, "--json")
        assert code == 0
        return json.loads(out)["variants"]["faces"]["deliveries"]

    half = deliveries("--variants", "--deliveries", "half")
    assert list(half) == ["half"]
    assert deliveries() == half, "a test without them keeps what was measured"
    assert list(deliveries("--variants", "--deliveries", "low")) == ["half", "low"]
    with (untested / "test_variants.csv").open(newline="") as file:
        assert [row["delivery"] for row in csv.DictReader(file)] == ["clean", "half", "low"]
    code, out, error = here("evaluate", untested, "--resamples", 0)
    assert code == 0 and "Deliveries of faces" in out
    assert "figures of deliveries are of the test before" in " ".join((out + error).split())
    assert here("report", untested, "--out", tmp_path / "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert all(f"--variants --deliveries {name}" in page for name in ("half", "low"))


def test_a_delivery_that_is_not_there_is_refused(here):
    code, _, error = here("evaluate", "run", "--deliveries", "half")
    assert code == 1 and "give --variants" in error
    code, _, error = here("evaluate", "run", "--variants", "--deliveries", "half,zip")
    assert code == 1
    assert "the store has no delivery zip of faces: it has half, low, way" in error


def test_deliveries_named_as_a_test_or_as_what_they_are_not_are_refused(here):
    code, _, error = here("evaluate", "run", "--subset", "faces_variants")
    assert code == 1 and "faces_variants holds deliveries of faces" in error
    assert "--subset" in error


def test_a_store_without_the_images_themselves_says_so(here, tmp_path):
    store = ("--store", tmp_path / "other.zarr")
    code, _, error = here("extract", "--subset", "faces_variants", "--root", ".", *SHARED, *store)
    assert code == 0, error
    code, _, error = here("evaluate", "run", "--variants", *store)
    assert code == 1 and "faces_variants holds deliveries of faces, which " in error
    assert "clare extract --subset faces" in error


def test_a_store_without_deliveries_names_the_command(here, tmp_path):
    store = ("--store", tmp_path / "plain.zarr")
    assert here("extract", "--subset", "faces", "--root", ".", *SHARED, *store)[0] == 0
    code, _, error = here("evaluate", "run", "--variants", *store)
    assert code == 1 and "the store has no deliveries of faces" in error
    assert "clare manifest variants faces --set compact" in error


def test_a_manifest_of_deliveries_is_listed_checked_and_audited(here):
    code, out, error = here("manifest", "variants", "faces", "--out", "other/few_variants.csv")
    assert code == 0 and "12 ways" in out, error
    assert "clare extract --manifest other/few_variants.csv" in error + out
    code, out, error = here("manifest", "check", "--root", ".", "--decode")
    assert code == 0 and "faces_variants" not in out, out
    audit = ("manifest", "audit", "faces_variants", "--root", ".", "--limit", 6)
    assert here(*audit)[0] == 0
    code, out, _ = here("store", "verify", "features.zarr")
    assert code == 0


def test_one_label_alone_is_said_with_what_to_deliver_too(clare, tmp_path):
    draw_faces(tmp_path / "fake", 8, seed=1, kind="fake", size=32)
    build = ("manifest", "build", "--subset", "fakes", "--fake", "fake", "--test-only")
    assert clare(*build)[0] == 0
    code, out, error = clare("manifest", "variants", "fakes")
    assert code == 0, error
    assert "fakes has fakes alone: reals beside them need the same deliveries" in out
    assert "clare manifest variants NAME --set compact" in out
    code, _, error = clare("manifest", "variants", "fakes", "--set", "compakt")
    assert code == 1 and "no deliveries 'compakt'" in error
    code, _, error = clare("manifest", "variants", "fakes", "--split", "val")
    assert code == 1 and "has no images in split val: it has 8 in test" in error
