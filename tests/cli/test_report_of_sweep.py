"""`clare report` of a sweep: its tables, its curves, and what its test figures must beat."""

import json
import shutil

import pytest

from tests.cli.pages import read, rows_of, run

ONE = "the one baseline that was measured"


@pytest.mark.parametrize(("name", "count"), [("sweep", 20), ("tested", 4)])
def test_a_sweeps_tables_hold_the_numbers_of_its_files(place, name, count):
    page = read(place / f"{name}.html")
    lines = rows_of(place / name / "results.csv")
    board = rows_of(place / name / "leaderboard.csv")
    assert len(lines) == count
    assert all(line["run"] in page.text for line in lines)
    for split in ("val", "test") if name == "tested" else ("val",):
        for figure in ("auc", "ap", "balanced_accuracy", "eer", "accuracy", "f1", "ece"):
            assert {float(line[f"{split}_{figure}"]) for line in lines} <= page.numbers
        assert {float(line[f"{split}_auc"]) for line in board} <= page.numbers
    assert f"± {float(board[0]['val_auc_spread']):.3f}" in page.text
    cls, lare = (
        [float(line["val_auc"]) for line in lines if line["fusion"] == fusion]
        for fusion in ("cls", "lare")
    )
    paired = sum(b - a for a, b in zip(cls, lare, strict=True)) / len(cls)
    assert any(abs(number - paired) < 1e-12 for number in page.numbers)


def test_a_swept_number_has_a_curve(place):
    page = read(place / "sweep.html")
    labels = [attrs["aria-label"] for attrs in page.all("svg")]
    assert "AUC on validation against fraction" in labels
    assert not any("against fusion" in label or "on test rows" in label for label in labels)
    assert "95 % interval of that mean" in page.text


@pytest.mark.parametrize(
    ("cls", "lare", "beaten", "said"),
    [
        (-0.1, -0.1, "0 of 2", f"On toy these do not beat {ONE}: lare cls "),
        (0.1, -0.1, "0 of 2", f"{ONE}: lare On toy these are not clearly above {ONE}: cls "),
        (0.3, 0.1, "1 of 2", f"On toy these are not clearly above {ONE}: lare "),
        (0.3, None, "1 of 1", "On toy it was not measured of these: lare "),
    ],
)  # fmt: skip
def test_a_sweep_says_which_test_figures_beat_no_baseline(place, tmp_path, cls, lare, beaten, said):
    folder = shutil.copytree(place / "tested", tmp_path / "sweep")
    before = read(place / "tested.html").text
    assert "What a test AUC must beat" not in before and "was not measured" in before
    for path in folder.glob("*/test_metrics.json"):
        report = json.loads(path.read_text())
        lead = {"cls": cls, "lare": lare}[path.parent.name.partition("_")[0]]
        if lead is not None:
            found = {"bytes": {"value": 0.625, "low": 0.5, "high": 0.9, "n": 12}, "size": None}
            ahead = {"value": lead, "low": lead - 0.2, "high": lead + 0.2, "n": 12}
            report["baselines"] = {
                "subsets": {"toy": found},
                "ahead": {"toy": {"bytes": ahead}},
                "pixels_from": None,
            }
        path.write_text(json.dumps(report))
    run("report", folder, "--out", tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    table = page.text.partition("What a test AUC must beat")[2].partition("A baseline needs no")[0]
    assert "bytes of the file" in table and beaten in table and said in table
    assert 0.625 in page.numbers
    assert ("whose evaluation measured them" in page.text) == (lare is None)


def test_twenty_runs_fit_into_ten_megabytes(place):
    assert (place / "sweep.html").stat().st_size < 10e6
