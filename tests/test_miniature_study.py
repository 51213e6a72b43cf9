"""The scripts behind docs/study.md: what they pair, fit on and write under which heading."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

import clare
from clare.heads.probing.record import read_record
from clare.pipeline.synthetic.dataset import write_miniature
from tests.heads.probing.probed_store import store_of

SCRIPTS = Path(__file__).parents[1] / "miniature"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


def figures(script, seeds, values):
    values = np.array(values, float)
    draws = values[:, None] + np.linspace(-0.1, 0.1, 41)
    return script("compare_heads").Figures(tuple(seeds), values, draws)


def test_a_difference_is_between_equal_seeds_and_people(script):
    heads = script("compare_heads")
    base, better = figures(script, (0, 1), [0.5, 0.7]), figures(script, (0, 1), [0.6, 0.8])
    found = heads.difference(base, better)
    # People and seeds that are easy for both fall out.
    assert found == pytest.approx({"difference": 0.1, "low": 0.1, "high": 0.1})
    with pytest.raises(SystemExit, match="seeds"):
        heads.difference(figures(script, (0, 2), [0.5, 0.7]), better)
    assert heads.summary(figures(script, (3,), [0.5]))["over_seeds"] is None


def test_cells_stand_under_their_set(script):
    row = {"classifier": "cocoop", "scope": "full", "lare": "", "shuffled": False, "n": 5}
    row |= {"auc": 0.98, "low": 0.97, "high": 0.99, "over_seeds": 0.01}
    rows = [row | {"fusion": "cls", "set": one} for one in ("roundtrip", "swap")]
    table = script("draw_study").heads_table([*rows, row | {"fusion": "lare", "set": "swap"}])
    head, _, _, last = [line.split("|")[1:-1] for line in table.splitlines()]
    cells = {name.strip(): cell.strip() for name, cell in zip(head, last, strict=True)}
    assert cells["roundtrip"] == "–" and cells["swap"].startswith(".98 (.97–.99)")


def test_the_regression_never_sees_people_that_it_is_tested_on(script, tmp_path):
    write_miniature(tmp_path, 20, ("gaussian",))
    study = script("study")
    assert len(study.read_files(tmp_path, "gaussian", 10)) == 10 + 4
    with pytest.raises(SystemExit, match="only 14 people"):
        study.read_files(tmp_path, "gaussian", 15)


def test_energy_of_detail_is_that_of_the_part(script):
    pixels = torch.zeros(1, 3, 32, 32)
    pixels[..., 8:12, 8:12] = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = script("sharpen_autoencoder").energy(pixels)
    assert found.shape == (1, 3, 8, 8)
    assert (found[..., 2, 2] > 0.1).all() and torch.allclose(found[..., 5:, :], torch.tensor(1e-5))


def test_intervals_over_drawn_worlds_are_students(script, tmp_path):
    worlds = script("compare_worlds")
    mean, low, high = worlds.over_worlds([0.5, 0.6, 0.7])
    expected = 4.302653 * 0.1 / 3**0.5
    assert (mean, low, high) == pytest.approx((0.6, 0.6 - expected, 0.6 + expected))
    folders = [tmp_path / "0", tmp_path / "1"]
    for seed, folder in enumerate(folders):
        rng = np.random.default_rng(seed)
        signs = np.tile([-1, 1], 60)
        vectors = {name: rng.normal(size=(120, 2)).astype(np.float32) for name in ("a", "b")}
        vectors["a"][:, 0] += signs
        splits = np.repeat(["train", "val", "test"], 40)
        store = store_of(tmp_path / f"{seed}.zarr", vectors, signs, splits)
        clare.probe(
            store, folder, kinds=["centroid"], norms=["none"], ask=["b adds to a"], resamples=9
        )
    records = [read_record(folder) for folder in folders]
    found = worlds.aucs(records)["a"]["drawn"]
    assert found == [record.best()["a"].tests["drawn"].value for record in records]
    (gain,) = worlds.gains(records).values()
    assert gain[worlds.CONTROL] == [record.answers[0].shuffled.value for record in records]
    (tmp_path / "figures.csv").write_text(
        "fusion,rows,subset,auc\nlare,train,a,1\nlare,test,a,.5\nlare,cross-dataset,b,.7\n"
    )
    assert worlds.heads([tmp_path]) == {"lare": {"a": [0.5], "b": [0.7], "mean": [0.6]}}
    two = {"lare": {"a": [0.5, 0.25]}, "esa": {"a": [0.75, 0.75]}}
    assert worlds.leads(two) == {"esa less lare": {"a": [0.25, 0.5]}}
    told = worlds.table(worlds.gains(records), "added", signed=True)
    assert "| `b to a` | " in told and told.count("\n") == 2
