"""Exports of a run that learned from aligned faces: all that it takes to align other faces."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import clare
from clare.heads.runs.record import read_record
from clare.inference.notices import notices_of
from clare.pipeline.images.align import template
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.folders import build_manifest

SIDE = 80
POINTS = np.array([(30, 36), (62, 30), (50, 50), (40, 68), (66, 64)], np.float64)
CUT = "aligned as deepfakebench, 80 px, points by mtcnn"


@pytest.fixture(scope="module")
def run(tmp_path_factory, pictures):
    """A run whose manifest says where the faces are."""
    place = tmp_path_factory.mktemp("aligned")
    manifest = build_manifest("mine", [pictures / "real"], [pictures / "fake"]).manifest
    rng = np.random.default_rng(0)
    rows = [
        replace(
            one,
            face_points=" ".join(f"{x:.2f}" for x in (POINTS + rng.normal(size=2)).ravel()),
            face_detector="mtcnn",
        )
        for one in manifest.samples
    ]
    write_manifest(replace(manifest, samples=tuple(rows)), place / "mine.csv")
    clare.extract(
        place / "features.zarr",
        manifest=place / "mine.csv",
        root=pictures,
        backbone="tiny",
        features="clip",
        align="deepfakebench",
        align_side=SIDE,
    )
    return clare.train_head(
        place / "features.zarr",
        place / "run",
        epochs=1,
        fusion="cls",
        classifier="linear",
        device="cpu",
    ).path


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "folder"
    clare.export(run, out)
    return out


def test_the_code_of_a_card_aligns_a_face_as_we_do(run, folder, pictures, monkeypatch):
    image = sorted((pictures / "fake").iterdir())[0].read_bytes()
    (folder / "face.jpg").write_bytes(image)
    np.savetxt(folder / "points.txt", POINTS)
    monkeypatch.chdir(folder)
    card = (folder / "README.md").read_text("utf-8")
    found: dict = {}
    exec(card.partition("```python\n")[2].partition("```")[0], found)

    face = FaceMarks(points=" ".join(map(str, POINTS.ravel())), detector="mtcnn")
    settings = ImageSettings(align="deepfakebench", align_side=SIDE)
    (view,) = load_views(image, settings, [0], face=face, content="x")
    (pixels,) = (
        one["pixels"] for one in json.loads((folder / "config.json").read_text())["inputs"]
    )
    ours = (view.pixels(pixels["size"]) / 255 - pixels["mean"]) / pixels["std"]
    given = found["pixels"][0].permute(1, 2, 0)
    step = 1.01 / 255 / min(pixels["std"])
    torch.testing.assert_close(given, torch.from_numpy(ours).float(), atol=step, rtol=0)
    assert (given - torch.from_numpy(ours)).abs().mean() < step / 100


def test_the_template_is_in_the_facts(folder):
    facts = json.loads((folder / "config.json").read_text())
    alignment = facts["inputs"][0]["pixels"]["alignment"]
    assert (alignment["side"], alignment["sampling"], alignment["outside"]) == (
        SIDE,
        "bilinear",
        "black",
    )
    assert [*alignment["templates"]] == ["mtcnn"]
    expected = template("deepfakebench", "mtcnn", SIDE)
    np.testing.assert_allclose(alignment["templates"]["mtcnn"], expected)
    x, y = expected[0]
    assert f"as mtcnn finds them, onto ({x:.2f}, {y:.2f})" in (folder / "README.md").read_text()


def test_an_export_asks_for_aligned_faces(run, folder, tmp_path):
    head = clare.export(run, tmp_path / "head.pt", head_only=True)
    facts = json.loads((folder / "config.json").read_text())
    for remarks in (facts["remarks"], head.facts.remarks):
        assert f"it is to be given faces as in training: {CUT}" in remarks
        assert not [one for one in remarks if "judged as they are" in one]
    card = (folder / "README.md").read_text("utf-8")
    assert f"How faces were cropped: {CUT}." in card


def test_the_report_says_how_faces_were_cut_out(run, tmp_path):
    clare.report([run], tmp_path / "report.html")
    assert CUT in (tmp_path / "report.html").read_text("utf-8")


def test_two_templates_are_named_in_the_order_of_what_reads_them(run):
    opened = clare.open_run(run)
    read = opened.record.extractors["clip"].fingerprint
    images = read.settings["images"]
    other = replace(read, settings={**read.settings, "images": {**images, "align": "arcface"}})
    for pair, told in (
        ((read, other), "deepfakebench and arcface"),
        ((other, read), "arcface and deepfakebench"),
    ):
        (said,) = (one.what for one in notices_of(opened, pair) if "aligned" in one.what)
        assert f"aligned as {told}, and images are judged as they are" in said
    assert clare.load_detector(run, device="cpu").templates == ("deepfakebench",)
    assert clare.load_detector(run, device="cpu", align="arcface").templates == ("arcface",)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ({"crop": "centre", "crop_side": None}, "the middle square"),
        ({"crop": "centre", "crop_side": 224}, "the middle square, 224 px"),
        ({"crop": "boxes", "margin": 0.3}, "the face's box, grown by 0.3 of its sides"),
        ({"crop": "none"}, ""),
    ],
)
def test_a_record_says_how_faces_were_cut_out(run, images, told):
    record = read_record(run)
    assert record.cropping == CUT
    made = record.extractors["clip"]
    other = replace(made.fingerprint, settings={**made.fingerprint.settings, "images": images})
    changed = replace(record, extractors={"clip": replace(made, fingerprint=other)})
    assert changed.cropping == told
    assert replace(changed, face_crops=("by hand",)).cropping == "; ".join(
        filter(None, ("by hand", told))
    )
