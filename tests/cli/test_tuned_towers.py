"""Runs that tune a tower of a user's own folder, by commands alone."""

import pytest

from clare.errors import InputError
from clare.heads.runs.record import is_finished, read_record
from tests.cli.pages import run
from tests.heads.tuned_store import create_tuned

HEAD = "fusion: cls\nclassifier: linear\nfields: {cls: tower_pooled}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store of a timm tower's features; the tower lies in a folder beside it."""
    place = tmp_path_factory.mktemp("tower")
    create_tuned(place / "features.zarr", "pe")
    (place / "head.yaml").write_text(HEAD)
    return place


def learning(place, out):
    data = ("--store", place / "features.zarr", "--train", "all", "--device", "cpu")
    return ("--config", place / "head.yaml", *data, "--epochs", "1", "--batch", "8", "--out", out)


def test_a_timm_tower_of_a_folder_is_tuned_and_tested(place):
    tower = ("--set", f"tower.model={place / 'model'}")
    run("train-head", "--tune", "ln", *learning(place, place / "run"), *tower, "--evaluate", "all")
    assert (place / "run" / "test_metrics.json").is_file()
    assert read_record(place / "run").tower == "tower"
    run("sweep", "--tune", "ln", *learning(place, place / "sweep"), *tower, "--seeds", "0-1")
    assert all(is_finished(place / "sweep" / f"seed-{seed}") for seed in (0, 1))


def test_a_tower_that_is_not_tuned_has_no_place(place):
    options = (*learning(place, place / "no"), "--set", "tower.model=elsewhere")
    for command in ("train-head", "sweep"):
        with pytest.raises(InputError, match=r"tower.model=elsewhere is of a tower that is tuned"):
            run(command, *options)
