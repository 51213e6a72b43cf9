"""One field of two towers side by side, by commands alone: asked, learnt, tested, predicted."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import clare
from clare.heads.config import DetectorConfig, TrainConfig
from clare.heads.probing.record import read_record as read_probes
from clare.heads.runs.record import read_history, read_record
from clare.heads.training.trainer import Observer, train_run
from clare.models.tiny import write_tiny_clip
from clare.pipeline.synthetic.toys import draw_faces
from tests.cli.pages import rows_of, run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store of two towers, the probe of both, and the run that it advises."""
    place = tmp_path_factory.mktemp("two")
    for kind in ("real", "fake"):
        draw_faces(place / kind, 40, seed=1, kind=kind, size=64)
    images = ("--real", place / "real", "--fake", f"toy={place / 'fake'}")
    for seed in (0, 1):
        write_tiny_clip(place / f"clip-{seed}", "vit", seed=seed)
    towers = ",".join(str(place / f"clip-{seed}") for seed in (0, 1))
    tower = ("--features", "clip", "--clip-model", towers)
    run("extract", *images, *tower, "--store", place / "s.zarr", "--device", "cpu")
    keys = clare.open_store(place / "s.zarr").extractor_keys()
    marks = [f"clip_cls#{key.rpartition('-')[2][:8]}" for key in keys]
    asked = ("--train", "toy", "--reals", "real", "--inputs", "+".join(marks))
    how = ("--norms", "standard", "--kinds", "ridge", "--resamples", "0")
    told = run("probe", "--store", place / "s.zarr", *asked, *how, "--out", place / "probes")
    advised = next(line for line in told.splitlines() if "clare train-head" in line)
    _, *words = shlex.split(advised[advised.index("clare train-head") :])
    run(*words, "--out", place / "run")
    run("evaluate", place / "run", "--resamples", "0")
    return place


@pytest.fixture(scope="module")
def fields(place):
    return read_record(place / "run").config.detector.fields


@pytest.fixture(scope="module")
def models(place):
    """Where the tower of each name is: that of tiny models would be made anew."""
    record = read_record(place / "run")
    made = record.extractors.items()
    return {name: {"model": str(place / one.origin["model"])} for name, one in made}


def margins_of_test(place):
    rows = rows_of(place / "run" / "test_predictions.csv")
    return {
        Path(row["path"]).name: float(row["margin"])
        for row in rows
        if Path(row["path"]).parent.name == "fake"
    }


def test_the_advised_run_scores_as_the_probe(place, fields):
    record = read_record(place / "run")
    assert {*record.fingerprints} == {"clip", "clip_2"}
    assert record.sources == {fields["cls"]: "clip", fields["cls_2"]: "clip_2"}
    (probe,) = read_probes(place / "probes").probes
    assert clare.open_run(place / "run").validation.auc.value == pytest.approx(probe.val_auc)


def test_verdicts_are_those_of_the_test(place, models):
    where = [("--set", f"{name}.model={one['model']}") for name, one in models.items()]
    options = ("--device", "cpu", "--out", place / "found.csv", *sum(where, ()))
    run("predict", place / "run", place / "fake", *options)
    found = {Path(row["path"]).name: float(row["margin"]) for row in rows_of(place / "found.csv")}
    mine = margins_of_test(place)
    assert mine
    assert {name: found[name] for name in mine} == pytest.approx(mine, abs=1e-4)


@pytest.mark.parametrize("ending", ["onnx", "torchscript", "pt2"])
def test_its_head_is_exported_with_an_input_for_each(place, fields, tmp_path, ending):
    made = clare.export(place / "run", tmp_path / f"head.{ending}", head_only=True, to=ending)
    assert [one.name for one in made.facts.inputs] == [*fields.values()]
    assert made.difference < 1e-4


def test_each_tower_reads_its_own_pixels(place, models, tmp_path):
    """A whole export gives the margin of the test, of the picture as its facts tell."""
    made = clare.export(place / "run", tmp_path / "all.pt2", settings=models)
    assert [one.name for one in made.facts.inputs] == ["pixels_clip", "pixels_clip_2"]
    assert made.difference < 1e-4
    program = torch.export.load(made.path).module()
    name, margin = next(iter(margins_of_test(place).items()))
    with Image.open(place / "fake" / name) as opened:
        picture = opened.convert("RGB")
    inputs = []
    for one in made.facts.inputs:
        assert one.pixels is not None
        small = picture.resize((one.pixels.size,) * 2, Image.Resampling.BICUBIC)
        plain = torch.from_numpy(np.array(small)).float() / 255
        values = (plain - torch.tensor(one.pixels.mean)) / torch.tensor(one.pixels.std)
        inputs.append(values.permute(2, 0, 1)[None])
    found, _ = program(*inputs)
    assert found.item() == pytest.approx(margin, abs=1e-3)


def test_a_page_tells_of_both(place, fields):
    run("report", place / "run", "--out", place / "page.html")
    page = (place / "page.html").read_text("utf-8")
    assert all(name in page for name in (*fields.values(), "clip_2"))


def test_a_head_that_is_stepped_goes_on_after_a_kill(place, fields, tmp_path):
    class Killed(Observer):
        def epoch(self, run, record):
            raise KeyboardInterrupt

    parts = {"parts": ["cls", "cls_2"]}
    detector = DetectorConfig("side_by_side", "linear", fusion_settings=parts, fields=dict(fields))
    config = TrainConfig(detector, train=("toy",), reals=("real",), epochs=2, batch=8)
    with pytest.raises(KeyboardInterrupt):
        train_run(config, place / "s.zarr", tmp_path / "run", observer=Killed())
    run("train-head", "--resume", tmp_path / "run", "--device", "cpu")
    train_run(config, place / "s.zarr", tmp_path / "whole")
    ends = [read_history(tmp_path / name)[-1]["val_auc"] for name in ("run", "whole")]
    assert ends[0] == ends[1]
    resumed, whole = (read_record(tmp_path / name) for name in ("run", "whole"))
    assert resumed.sources == whole.sources and {*whole.sources} == {*fields.values()}


def test_other_heads_name_a_tower_by_its_field_too(place, fields, models, tmp_path):
    data = ("--store", place / "s.zarr", "--train", "toy", "--reals", "real", "--device", "cpu")
    head = ("--fusion", "cls", "--classifier", "linear", "--epochs", "1")
    run("train-head", *head, "--cls", fields["cls_2"], *data, "--out", tmp_path / "run")
    record = read_record(tmp_path / "run")
    key = read_record(place / "run").fingerprints["clip_2"]
    assert record.fingerprints == {"clip": key} and record.sources == {}
    run("evaluate", tmp_path / "run", "--resamples", "0")
    model = models["clip_2"]["model"]
    run("predict", tmp_path / "run", place / "fake", "--device", "cpu", "--clip-model", model)
