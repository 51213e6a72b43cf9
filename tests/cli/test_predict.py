"""`clare predict`: an image's verdict is the one that its stored features give."""

import csv
import json
import math
import os
import shutil

import pytest
from PIL import Image

from clare.heads.evaluation.evaluate import evaluate
from clare.heads.training.train_head import train_head
from clare.inference.predictor import load_detector
from clare.inference.stability import StabilitySettings
from clare.pipeline.extract import extract
from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.manifests.scan import list_images
from tests.figures import existing


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures):
    """A working folder with a finished run of the default head, and its store moved away."""
    place = tmp_path_factory.mktemp("predict")
    store, folder = place / "features.zarr", place / "runs" / "default"
    extract(
        store,
        real=pictures / "real",
        fake=pictures / "fake",
        subset="faces",
        backbone="tiny",
        micro_batch=8,
        resize=64,
        recode="jpeg:95",
        settings={"lare": {"draws": 1}},
    )
    train_head(store, folder, epochs=1, device="cpu")
    evaluate(folder, device="cpu")
    store.rename(place / "gone.zarr")
    return place


@pytest.fixture
def run(trained, tmp_path):
    """That run and store of a test's own."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "runs" / "default"
    record = json.loads((folder / "config.json").read_text())
    record["store"] = str(tmp_path / "features.zarr")
    (folder / "config.json").write_text(json.dumps(record))
    return folder


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_verdict_needs_no_store_and_equals_the_evaluated_one(clare, run, pictures, tmp_path):
    code, _, err = clare("predict", run, pictures, "--device", "cpu", "--out", "found.csv")
    assert code == 0, err
    found = {row["path"]: row for row in rows_of(tmp_path / "found.csv")}
    assert list(map(str, list_images([pictures]))) == list(found)
    threshold = json.loads((run / "val_metrics.json").read_text())["threshold"]
    tested = rows_of(run / "test_predictions.csv")
    assert len(tested) == 12
    for row in tested:
        mine = found[str(pictures / row["sample_id"].partition("/")[2])]
        assert float(mine["margin"]) == pytest.approx(float(row["margin"]), abs=1e-4)
        assert float(mine["score"]) == pytest.approx(float(row["score"]), abs=1e-4)
        assert mine["verdict"] == ("fake" if float(mine["margin"]) >= threshold else "real")
        assert mine["seen"] == "false", "test rows were never seen"
    seen = [row for row in found.values() if row["seen"] == "true"]
    assert len(seen) == len(found) - len(tested)
    assert f"the run was trained or chosen on {len(seen)} of these {len(found)} images" in err


def test_a_file_of_verdicts_says_what_they_hang_on(clare, run, pictures, tmp_path):
    config = json.loads((run / "config.json").read_text())
    config["config"]["shuffle_labels"] = True
    (run / "config.json").write_text(json.dumps(config))
    image = next((pictures / "real").iterdir())
    code, _, err = clare("predict", run, image, "--device", "cpu", "--out", "new/found.csv")
    assert code == 0 and "control: labels shuffled" in err and "how its faces were cropped" in err
    threshold = json.loads((run / "val_metrics.json").read_text())["threshold"]
    (found,) = rows_of(tmp_path / "new" / "found.csv")
    assert float(found["threshold"]) == threshold and "control" in found["remarks"]
    out = clare("predict", run, image, "--device", "cpu")[1]
    even = 1 / (1 + math.exp(-threshold))
    assert f"fake from p(fake) {even:.4f} on, a margin of {threshold:.4f}" in out


@pytest.mark.parametrize("option", ["--out", "--explain"])
def test_places_that_can_not_be_written_are_refused_before_the_models_run(
    clare, run, pictures, tmp_path, monkeypatch, option
):
    monkeypatch.setattr("clare.inference.predictor.Predictor", None)
    (tmp_path / "file").write_text("kept")
    wrong = ["file"] if option == "--explain" else [".", "file/found.csv", "/proc/found.csv"]
    for place in wrong:
        code, _, err = clare("predict", run, pictures, option, place)
        assert code == 1 and option in err and place in err and "Traceback" not in err
    assert (tmp_path / "file").read_text() == "kept"


def test_the_store_of_the_environment_serves_where_the_runs_own_is_gone(
    clare, run, tmp_path, monkeypatch
):
    evaluate = ("evaluate", run, "--device", "cpu", "--resamples", "0")
    code, _, err = clare(*evaluate)
    assert code == 1 and "--store" in err and "clare extract" not in err
    monkeypatch.setenv("CLARE_STORE", str(tmp_path / "gone.zarr"))
    code, out, _ = clare(*evaluate)
    assert code == 0 and "gone.zarr" in out and "any more" in out
    shutil.move(tmp_path / "gone.zarr", tmp_path / "features.zarr")
    monkeypatch.setenv("CLARE_STORE", str(tmp_path / "another.zarr"))
    code, out, _ = clare(*evaluate)
    assert code == 0 and f"store: {tmp_path / 'features.zarr'}" in out.replace("\n", "")


def test_explain_keeps_a_picture_an_image(clare, run, pictures, tmp_path):
    image = next((pictures / "real").iterdir())
    same_name = shutil.copy(image, tmp_path)
    assert clare("predict", run, image, same_name, "--device", "cpu", "--explain", "why")[0] == 0
    shown = list((tmp_path / "why").iterdir())
    assert len(shown) == 2
    with Image.open(shown[0]) as picture:
        assert picture.width > 2 * picture.height, "three panels"


def test_a_broken_image_fails_alone(clare, run, pictures, tmp_path):
    tested = rows_of(run / "test_predictions.csv")[0]
    good = pictures / tested["sample_id"].partition("/")[2]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    code, out, err = clare("predict", run, good, tmp_path / "broken.png", "--device", "cpu")
    assert code == 3 and "exit code 3: 1 of 2 images could not be judged" in err
    broken, judged = (
        next(line for line in out.splitlines() if name in line) for name in ("broken", good.name)
    )
    assert "failed: not an image" in broken
    threshold = json.loads((run / "val_metrics.json").read_text())["threshold"]
    verdict = "fake" if float(tested["margin"]) >= threshold else "real"
    assert {"real", "fake"} & set(judged.split()) == {verdict}


def test_other_weights_are_refused(clare, run, pictures):
    config = json.loads((run / "config.json").read_text())
    config["extractors"]["lare"]["fingerprint"]["weights"] = "0" * 64
    (run / "config.json").write_text(json.dumps(config))
    code, _, err = clare("predict", run, pictures, "--device", "cpu")
    assert code == 1 and "lare" in err and "--sd-model" in err


def test_another_crop_than_in_training_is_said(clare, run, pictures):
    config = json.loads((run / "config.json").read_text())
    config["face_crops"] = ["dlib 5 points, scale 1.3"]
    (run / "config.json").write_text(json.dumps(config))
    image = next((pictures / "real").iterdir())
    code, _, err = clare("predict", run, image, "--device", "cpu")
    assert code == 0 and "dlib 5 points, scale 1.3" in err


@pytest.mark.parametrize("wrong", ["nowhere.jpg", "empty"])
def test_paths_without_an_image_are_refused(clare, run, tmp_path, wrong):
    (tmp_path / "empty").mkdir()
    code, _, err = clare("predict", run, wrong)
    assert code == 1 and wrong in err


def test_what_a_manifest_leaves_out_of_a_folder_is_not_judged(tmp_path, pictures):
    image = next((pictures / "real").iterdir()).read_bytes()
    for name in ("2.jpg", "10.jpg", "deep/a.jpg", "masks/a.jpg", "deep/__MACOSX/a.jpg",
                 "Landmarks/a.jpg", ".hidden.jpg", ".trash/a.jpg", "notes.txt"):  # fmt: skip
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / name).write_bytes(image)
    below = [
        str(path.relative_to(tmp_path / "faces")) for path in list_images([tmp_path / "faces"])
    ]
    assert below == ["2.jpg", "10.jpg", "deep/a.jpg"]
    masks = tmp_path / "faces" / "masks"
    assert list_images([masks]) == [masks / "a.jpg"], "a folder that is named is meant"
    built = build_manifest("faces", [tmp_path / "faces"], []).manifest
    assert [sample.path.partition("/")[2] for sample in built.samples] == below


def test_what_is_left_out_of_a_folder_is_said(clare, run, pictures, tmp_path):
    image = next((pictures / "real").iterdir()).read_bytes()
    odd = tmp_path / "odd"
    for name in ("a.png", "notes.txt", ".hidden.png", "masks/a.png"):
        (odd / name).parent.mkdir(exist_ok=True)
        (odd / name).write_bytes(image)
    os.mkfifo(odd / "pipe.png")
    (odd / "dead.png").symlink_to("nowhere.png")
    (odd / "linked").symlink_to(pictures)
    why = "1 .txt, 1 broken link, 1 hidden, 1 in masks/, 1 linked folder and 1 pipe or device"
    code, out, err = clare("predict", run, odd, "--device", "cpu")
    assert code == 0 and "a.png" in out
    assert f"6 files below {odd} left out: {why}" in " ".join(err.split())
    detector = load_detector(run, device="cpu")
    for _ in range(2):
        assert len(detector.predict(odd)) == 1
        assert sum(why in str(notice) for notice in detector.notices) == 1
    code, _, err = clare("predict", run, odd / "pipe.png")
    assert code == 1 and "is no plain file" in err
    (odd / "a.png").unlink()
    code, _, err = clare("predict", run, odd)
    assert code == 1 and why in err


def test_a_name_that_is_not_utf8_has_its_verdict_in_the_file_too(clare, run, pictures, tmp_path):
    image = next((pictures / "real").iterdir())
    try:
        shutil.copy(image, tmp_path / "a\udcff.png")
    except OSError:
        pytest.skip("this file system holds no such name")
    code, _, err = clare("predict", run, "a\udcff.png", "--device", "cpu", "--out", "found.csv")
    assert code == 0, err
    assert [row["path"] for row in rows_of(tmp_path / "found.csv")] == ["a\\udcff.png"]


def test_a_delivery_that_does_nothing_has_the_score_of_the_image_with_the_noise_of_lare(
    run, pictures, tmp_path
):
    own = tmp_path / "own.yaml"
    own.write_text("title: t\nsource: s\ndeliveries:\n  nothing: crop 1\n  small: resize 0.5\n")
    settings = StabilitySettings(str(own), times=2)
    photo = sorted((pictures / "fake").iterdir())[0]
    (found,) = load_detector(run, device="cpu").predict(photo, stability=settings)
    nothing, small = existing(found.stability).redelivered
    assert nothing.p_fake == pytest.approx(found.p_fake, abs=1e-6)
    assert small.p_fake != pytest.approx(found.p_fake, abs=1e-6)
