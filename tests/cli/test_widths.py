"""Real commands in terminals of any width, and where their output is no terminal."""

import re
import shutil

import pytest

WIDTHS = (60, 80, 100, 120)


def words_in(out) -> set[str]:
    """Words and numbers, and the parts of paths."""
    return {word for word in re.split(r"(?<=/)|[━╇│┃\s]+", out) if word}


@pytest.fixture(scope="module")
def runs(place, tmp_path_factory):
    """A working folder with a store, a tested run, and one of a sweep that was tested too."""
    folder = tmp_path_factory.mktemp("widths")
    shutil.copytree(place / "features.zarr", folder / "features.zarr")
    shutil.copytree(place / "run", folder / "run")
    shutil.copytree(place / "tested" / "cls_linear_seed-0", folder / "other")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "evaluate run --store features.zarr --resamples 200 --baselines",
        "compare run other --resamples 200",
        "store info features.zarr",
        "store stats features.zarr",
        "manifest status",
        "manifest protocols",
        "manifest audit --real REAL --fake FAKE --resamples 50",
        "score run/test_predictions.csv --resamples 50",
    ],
)
def test_every_word_stands_whole_in_any_terminal(clare, runs, few_pictures, monkeypatch, command):
    monkeypatch.chdir(runs)
    folders = {"REAL": few_pictures / "real", "FAKE": few_pictures / "fake"}
    words = [folders.get(word, word) for word in command.split()]
    monkeypatch.delenv("COLUMNS")
    code, whole, err = clare(*words)
    assert code == 0, err
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        _, out, _ = clare(*words)
        assert words_in(whole) <= words_in(out), width
        tables = [line for line in out.splitlines() if "│" in line or "┃" in line]
        assert all(len(line) <= width for line in tables)
