"""Published weights that bring their own tower, by commands alone."""

import re
import shlex
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from clare.errors import StoreError
from clare.pipeline.synthetic.toys import draw_faces
from tests.cli.pages import rows_of, run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A GenD of a tiny Perception Encoder, and drawn faces."""
    place = tmp_path_factory.mktemp("gend")
    for kind in ("real", "fake"):
        draw_faces(place / kind, 12, seed=1, kind=kind, size=64)
    sizes = {"patch_size": 56, "embed_dim": 128, "depth": 1, "num_heads": 2}
    torch.manual_seed(0)
    tower = timm.create_model(
        "vit_pe_core_large_patch14_336", num_classes=0, attn_pool_num_heads=1, **sizes
    )
    state = {f"feature_extractor.backbone.{n}": v for n, v in tower.state_dict().items()}
    layer = torch.nn.Linear(128, 2)
    state |= {f"model.linear.{n}": v for n, v in layer.state_dict().items()}
    save_file(state, place / "model.safetensors")
    return place


def test_the_printed_extraction_makes_the_features_that_it_is_tested_on(place):
    said = run("import-head", place / "model.safetensors", "--out", place / "gend")
    (printed,) = re.findall(r"next: clare (extract .*)", said)
    assert "--tower-size 224 --crop centre" in printed
    assert "--align" not in printed  # which would be other features than the run is bound to
    images = ("--real", place / "real", "--fake", f"toy={place / 'fake'}")
    store = ("--store", place / "features.zarr", "--device", "cpu")
    run(*shlex.split(printed), *images, *store)
    run("evaluate", place / "gend", "--store", place / "features.zarr", "--device", "cpu")
    tested = rows_of(place / "gend" / "test_predictions.csv")
    run("predict", place / "gend", place / "fake", "--out", place / "f.csv", "--device", "cpu")
    found = {Path(row["path"]).name: float(row["margin"]) for row in rows_of(place / "f.csv")}
    fakes = [row for row in tested if row["label"] == "1"]
    mine = {Path(row["path"]).name: float(row["margin"]) for row in fakes}
    assert mine and {n: found[n] for n in mine} == pytest.approx(mine, abs=1e-4)

    again = run(
        "import-head", place / "model.safetensors", "--out", place / "again", *store[:2]
    )  # bound to what the store has
    assert re.findall(r"of (tower-\w+)", again) == re.findall(r"of (tower-\w+)", said)


def test_features_of_another_tower_are_refused(place):
    run("import-head", place / "model.safetensors", "--out", place / "second")
    images = ("--real", place / "real", "--fake", f"toy={place / 'fake'}")
    other = ("--features", "tower", "--backbone", "tiny", "--store", place / "tiny.zarr")
    run("extract", *images, *other, "--device", "cpu")
    with pytest.raises(StoreError, match="no features tower="):
        run("evaluate", place / "second", "--store", place / "tiny.zarr", "--device", "cpu")
