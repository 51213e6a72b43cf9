"""A stranger's text is no formula in any CSV that is written here, and comes back as it was."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clare.foreign import read_table
from clare.heads.metrics.predictions import Predictions, read_predictions, write_predictions
from clare.heads.sweeps.table import read_results, write_tables
from clare.own_csv import csv_text, original
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.sample import Manifest, Sample

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
NASTY = [f"{mark}{rest}" for mark in FORMULA for rest in ("", "1+1", 'HYPERLINK("x,y")')]


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("csv") / "table.csv"


texts = st.text() | st.text("'=+-@\t\r\n\",; a1", max_size=6)


@given(st.lists(texts, min_size=1, max_size=4))
@example(["'", "'=", "''=1", "\r"])
@example(NASTY)
def test_any_text_comes_back_and_none_begins_like_a_formula(file, cells):
    names = [f"column {number}" for number in range(len(cells))]
    file.write_text(csv_text([names, cells]), "utf-8", newline="")
    (line,) = read_table(file)
    assert list(line.values()) == cells
    with file.open(newline="", encoding="utf-8") as opened:
        _, written = csv.reader(opened)
    assert not any(cell.startswith(FORMULA) for cell in written)
    assert [*map(original, written)] == cells


def test_no_other_file_of_the_package_writes_csv():
    root = Path(__file__).parents[2]
    folders = ("clare", "cli", "data_manifests", "heads", "pipeline", "store")
    files = [file for folder in folders for file in (root / folder).rglob("*.py")]
    writing = [
        file.name
        for file in files
        if any(f"csv.{name}" in file.read_text("utf-8") for name in ("writer", "DictWriter"))
    ]
    assert writing == ["own_csv.py"]


def test_numbers_stay_numbers():
    rows = [[-0.5, -3, np.float64(-1.25), None, True, Path("-x/y")]]
    assert csv_text(rows) == "-0.5,-3,-1.25,,True,'-x/y\n"


def test_predictions_come_back_and_those_of_others_are_read_as_they_are(tmp_path):
    text = np.array([*NASTY, "'=kept", "plain"])
    count = len(text)
    rows = Predictions(
        sample_id=text,
        subset=text,
        category=text,
        label=np.arange(count) % 2,
        margin=np.linspace(-3.0, 3.0, count),
        video=np.array([""] * count),
        cluster=text,
    )
    write_predictions(rows, tmp_path / "ours.csv", text.tolist(), 0.0)
    read = read_predictions(tmp_path / "ours.csv")
    for name in ("sample_id", "subset", "category", "label", "margin", "cluster"):
        assert (getattr(read, name) == getattr(rows, name)).all(), name
    with (tmp_path / "ours.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["margin"]) for line in lines] == rows.margin.tolist()
    texts = ("path", "sample_id", "subset", "category", "cluster")
    assert not any(line[name].startswith(FORMULA) for line in lines for name in texts)

    (tmp_path / "theirs.csv").write_text("id,label,score\n'=a,0,-1\n=b,1,2\n")
    assert read_predictions(tmp_path / "theirs.csv").sample_id.tolist() == ["'=a", "=b"]


def test_a_manifest_comes_back(tmp_path):
    samples = [
        Sample(
            sample_id=f"{mark}{n}.png",
            path=f"{mark}{n}.png",
            subset="faces",
            label=n % 2,
            split="train",
            extra={"@note": f"{mark}SUM(1)", "other": "'-"},
        )
        for n, mark in enumerate("=+-@'")
    ]
    write_manifest(Manifest("faces", tuple(samples)), tmp_path / "faces.csv")
    read = read_manifest(tmp_path / "faces.csv").samples
    key = lambda sample: sample.sample_id  # noqa: E731
    assert sorted(read, key=key) == sorted(samples, key=key)
    with (tmp_path / "faces.csv").open(newline="") as file:
        assert not any(cell.startswith(FORMULA) for cells in csv.reader(file) for cell in cells)


def test_a_sweeps_table_comes_back(tmp_path):
    lines = [
        {"run": "-a", "fusion": "=cls", "failure": "", "val_auc": 0.5, "threshold": -1.5},
        {"run": "+b", "fusion": "@lare", "failure": "-1 is wrong", "val_auc": 0.6, "threshold": -2},
    ]
    write_tables(tmp_path, lines, {"fusion": ["=cls", "@lare"]})
    read = read_results(tmp_path)
    assert [(one["run"], one["fusion"], one["failure"]) for one in read] == [
        ("-a", "=cls", ""),
        ("+b", "@lare", "-1 is wrong"),
    ]
    assert [one["threshold"] for one in read] == ["-1.5", "-2"]
    for name in ("results.csv", "leaderboard.csv"):
        with (tmp_path / name).open(newline="") as file:
            for line in csv.DictReader(file):
                assert not any(line[n].startswith(FORMULA) for n in line if n != "threshold")
