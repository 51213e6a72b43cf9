"""Two extractions of CLIP, and masks, by commands alone: extracted, learnt, tested, predicted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clare.errors import InputError
from clare.heads.runs.record import read_record
from clare.inference.predictor import load_detector
from clare.models.tiny import write_tiny_clip
from clare.pipeline.synthetic.toys import draw_faces
from tests.cli.pages import rows_of, run


@pytest.fixture(scope="module")
def place(tmp_path_factory, clip_folders):
    """A store with two layers of a transformer and of a ResNet, and a run on one of each."""
    place = tmp_path_factory.mktemp("towers")
    for kind in ("real", "fake"):
        draw_faces(place / kind, 24, seed=1, kind=kind, size=64)
    (place / "masks").mkdir()
    marked = np.zeros((64, 64), np.uint8)
    marked[:32, :32] = 255
    for path in (place / "fake").iterdir():
        Image.fromarray(marked).save(place / "masks" / f"{path.stem}.png")
    images = ("--real", place / "real", "--fake", f"toy={place / 'fake'}")
    for kind, layers in (("vit", "0,1"), ("rn50", "layer1,layer3")):
        tower = ("--features", "clip,mask", "--clip-model", clip_folders[kind], "--layers", layers)
        store = ("--store", place / "features.zarr", "--device", "cpu")
        run("extract", *images, "--masks", place / "masks", *tower, *store)
    train(place, "both", "--decoder", "linear", "--tokens", "clip_tokens_1,clip_tokens_layer3")
    run("evaluate", place / "both", "--device", "cpu")
    return place


def train(place, name, *options):
    data = ("--store", place / "features.zarr", "--train", "toy", "--device", "cpu")
    run("train-head", *options, *data, "--epochs", "1", "--batch", "8", "--out", place / name)
    return read_record(place / name)


def test_a_convolutional_decoder_reads_a_layer_of_a_resnet(place):
    tokens = ("--tokens", "clip_tokens_layer3", "--fraction", "0.25")
    record = train(place, "layer3", "--decoder", "conv-4", *tokens)
    assert record.rows["train"] == {"real": 0, "fake": 4} and not record.sources
    assert record.extractors["clip"].fingerprint.settings["layers"] == ["layer1", "layer3"]


def test_verdicts_are_those_of_the_test(place, clip_folders):
    tested = rows_of(place / "both" / "test_predictions.csv")
    model = ("--clip-model", clip_folders["vit"], "--set", f"clip_2.model={clip_folders['rn50']}")
    where = ("--device", "cpu", "--out", place / "found.csv")
    run("predict", place / "both", place / "fake", *model, *where)
    found = {Path(row["path"]).name: float(row["margin"]) for row in rows_of(place / "found.csv")}
    mine = {Path(row["path"]).name: float(row["margin"]) for row in tested}
    assert len(mine) == 4
    assert {name: found[name] for name in mine} == pytest.approx(mine, abs=1e-4)


def test_the_weights_of_the_second_are_asked_for_by_its_own_name(place, clip_folders, tmp_path):
    write_tiny_clip(tmp_path / "other", "rn50", seed=1)
    models = {"clip": clip_folders["vit"], "clip_2": tmp_path / "other"}
    wrong = {name: {"model": str(model)} for name, model in models.items()}
    with pytest.raises(InputError, match=r"weights found for clip_2 .*settings=\{'clip_2'"):
        load_detector(place / "both", device="cpu", settings=wrong)


def test_two_that_are_named_are_read_beside_each_other(place):
    keys = read_record(place / "both").fingerprints
    tokens = ("--decoder", "linear", "--tokens", "clip_tokens,clip_tokens_layer3")
    assert train(place, "one", *tokens).fingerprints["clip"] == keys["clip_2"]
    named = f"clip={keys['clip'][:12]},clip={keys['clip_2']}"
    record = train(place, "named", *tokens, "--features", named)
    assert record.fingerprints == keys
    assert record.sources == {"clip_tokens": "clip", "clip_tokens_layer3": "clip_2"}
