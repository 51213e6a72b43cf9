"""The command line in a working folder of its own."""

import os
import sys
from unittest import mock

import pytest
from typer.testing import CliRunner

from clare.cli.app import app, main
from clare.errors import ClareError
from tests.cli.pages import run
from tests.conftest import drawn_in_full


@pytest.fixture
def clare(monkeypatch, tmp_path, capsys):
    """Run a command line in an empty working folder: (exit code, standard output, error)."""
    monkeypatch.chdir(tmp_path)

    def run(*args) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["clare", *map(str, args)])
        with pytest.raises(SystemExit) as done:
            main()
        captured = capsys.readouterr()
        return int(done.value.code or 0), captured.out, captured.err

    # What a command itself sets, from clare.toml, is undone after the test.
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("CLARE_")]:
            del os.environ[name]
        yield run


@pytest.fixture(scope="session")
def features(tmp_path_factory, pictures):
    """A store of both extractors' tiny models."""
    path = tmp_path_factory.mktemp("train") / "features.zarr"
    command = ["extract", "--real", str(pictures / "real"), "--fake", f"toy={pictures / 'fake'}"]
    quick = ["--backbone", "tiny", "--draws", "1", "--store", str(path)]
    result = CliRunner().invoke(app, [*command, *quick])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def head(features, tmp_path, monkeypatch):
    """Run a command on that store, in a working folder of its own; errors pass through."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLARE_STORE", str(features))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*command):
        result = CliRunner().invoke(app, list(command))
        if isinstance(result.exception, ClareError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture(scope="session")
def place(tmp_path_factory, pictures):
    """A store, a tested run, a sweep of twenty and a tested one of four, and their pages."""
    place = tmp_path_factory.mktemp("report")
    store = place / "features.zarr"
    real, fake = pictures / "real", pictures / "fake"
    images = ("--real", real, "--fake", f"toy={fake}", "--resize", 64, "--recode", "jpeg:95")
    run("extract", *images, "--backbone", "tiny", "--draws", 1, "--store", store)
    data = ("--store", store, "--train", "toy", "--reals", "real")
    run("train-head", *data, "--fusion", "lare", "--classifier", "linear", "--epochs", 2,
        "--out", place / "run")  # fmt: skip
    run("evaluate", place / "run", "--baselines", "--resamples", 200)
    sweep = ("sweep", *data, "--fusion", "cls,lare", "--classifier", "linear", "--epochs", 1)
    run(*sweep, "--fraction", "0.5,1", "--seeds", "0-4", "--out", place / "sweep")
    run(*sweep, "--seeds", "0-1", "--out", place / "tested", "--evaluate", "toy")
    other = place / "tested" / "cls_linear_seed-0"
    with drawn_in_full():
        run("report", place / "run", "--out", place / "run.html")
        run("report", place / "sweep", "--out", place / "sweep.html")
        run("report", place / "tested", "--out", place / "tested.html")
        run("report", place / "run", other, "--out", place / "two.html")
    return place
