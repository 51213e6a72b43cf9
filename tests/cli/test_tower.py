"""A tower of timm by commands alone: extracted, learnt from, predicted with."""

from pathlib import Path

import pytest

from clare.errors import InputError
from clare.heads.runs.record import read_record
from clare.models.tiny import write_tiny_tower
from clare.pipeline.synthetic.toys import draw_faces
from tests.cli.pages import rows_of, run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store with a tower's fields, and a run on its class token."""
    place = tmp_path_factory.mktemp("tower")
    for kind in ("real", "fake"):
        draw_faces(place / kind, 20, seed=1, kind=kind, size=64)
    write_tiny_tower(place / "dinov3", "dinov3")
    images = ("--real", place / "real", "--fake", f"toy={place / 'fake'}")
    tower = ("--features", "tower,lare", "--tower-model", place / "dinov3", "--tower-layers", "1")
    where = ("--store", place / "features.zarr", "--device", "cpu", "--draws", "1")
    run("extract", *images, *tower, *where, "--backbone", "tiny")
    train(place, "cls", "--fusion", "cls", "--classifier", "linear", "--cls", "tower_cls")
    return place


def train(place, name, *options):
    data = ("--store", place / "features.zarr", "--train", "toy", "--device", "cpu")
    run("train-head", *options, *data, "--epochs", "1", "--batch", "8", "--out", place / name)
    return read_record(place / name)


def test_a_head_reads_the_class_token_that_is_named(place):
    record = read_record(place / "cls")
    assert record.config.detector.fields == {"cls": "tower_cls"}
    assert list(record.fingerprints) == ["tower"] and record.extractors["tower"].origin
    pooled = train(
        place, "pooled", "--fusion", "cls", "--classifier", "linear", "--cls", "tower_pooled"
    )
    assert pooled.config.detector.fields == {"cls": "tower_pooled"}


def test_fusions_and_decoders_read_a_towers_tokens(place):
    fields = ("--cls", "tower_pooled", "--tokens", "tower_tokens_1")
    record = train(place, "esa", "--fusion", "esa", "--classifier", "linear", *fields)
    assert record.config.detector.fields == {"cls": "tower_pooled", "tokens": "tower_tokens_1"}
    decoder = (
        "--decoder",
        "linear",
        "--supervision",
        "image",
        "--select",
        "auc",
        "--tokens",
        "tower_tokens",
    )
    record = train(place, "decoder", *decoder)
    assert record.config.detector.fields == {"tokens": "tower_tokens"}


def test_verdicts_are_those_of_the_test(place):
    run("evaluate", place / "cls", "--device", "cpu")
    tested = rows_of(place / "cls" / "test_predictions.csv")
    model = ("--set", f"tower.model={place / 'dinov3'}", "--device", "cpu")
    run("predict", place / "cls", place / "fake", *model, "--out", place / "found.csv")
    found = {Path(row["path"]).name: float(row["margin"]) for row in rows_of(place / "found.csv")}
    fakes = [row for row in tested if row["label"] == "1"]
    mine = {Path(row["path"]).name: float(row["margin"]) for row in fakes}
    assert len(mine) >= 3
    assert {name: found[name] for name in mine} == pytest.approx(mine, abs=1e-4)


@pytest.mark.parametrize("head", [("--fusion", "lare"), ("--decoder", "linear")])
def test_a_head_without_an_image_vector_says_so(place, head):
    with pytest.raises(InputError, match="reads no image vector"):
        run("train-head", *head, "--cls", "tower_cls")
