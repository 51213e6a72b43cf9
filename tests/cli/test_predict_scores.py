"""Scores in a file: every format, gone on with after a kill, and never mixed with others."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from clare.heads.training.train_head import train_head
from clare.inference.predictor import Predictor
from clare.pipeline.extract import extract
from clare.pipeline.extraction.direct import InputImage

DEVICE = ("--device", "cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory, pictures):
    """Two runs on the class token alone."""
    place = tmp_path_factory.mktemp("scores")
    store = place / "features.zarr"
    images = {"real": pictures / "real", "fake": pictures / "fake"}
    extract(store, **images, subset="faces", features=["clip"], backbone="tiny", device="cpu")
    for seed in (0, 1):
        train_head(
            store,
            place / f"run{seed}",
            fusion="cls",
            classifier="linear",
            seed=seed,
            epochs=1,
            device="cpu",
        )
    return place


@pytest.fixture
def run(made):
    return made / "run0"


@pytest.fixture
def images(pictures):
    return sorted((pictures / "real").iterdir())[:11]


def rows_of(path):
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(path).to_pylist()


def test_every_format_says_the_same(clare, run, images, tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    command = ("predict", run, *images[:3], "broken.png", *DEVICE)
    found = {}
    for ending in ("csv", "jsonl", "parquet"):
        code, out, err = clare(*command, "--out", f"scores.{ending}")
        assert code == 3 and "exit code 3: 1 of 4 images could not be judged" in err
        assert f"scores.{ending}: scores of 4 files" in out and "1 failed" in out
        found[ending] = rows_of(tmp_path / f"scores.{ending}")
    _, printed, _ = clare(*command, "--json")
    assert [json.loads(line) for line in printed.splitlines()] == found["jsonl"]
    assert found["parquet"] == found["jsonl"]
    as_text = [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in found["jsonl"]
    ]
    assert [row | {"seen": row["seen"].capitalize()} for row in found["csv"]] == as_text
    first, *_, last = found["jsonl"]
    validation = json.loads((run / "val_metrics.json").read_text())
    assert first["threshold"] == validation["threshold"] and first["run"] == str(run)
    assert (
        validation["sha256"].startswith(first["detector"])
        and first["settings"] == "float32, 32 frames a video"
    )
    assert first["verdict"] == ("fake" if first["margin"] >= first["threshold"] else "real")
    assert last["verdict"] is None and last["failure"].startswith("not an image")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"broken.png", "scores.csv", "scores.jsonl", "scores.parquet"}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_stopped_command_goes_on_and_judges_nothing_twice(
    clare, run, images, tmp_path, monkeypatch, ending
):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"scores.{ending}"
    assert clare("predict", run, *images, *DEVICE, "--out", whole)[0] == 0
    judged: list[Path] = []
    judge, stop = Predictor.detect, [6]

    def detect(self, inputs, frames, **how):
        for found in judge(self, inputs, frames, **how):
            if len(judged) in stop:
                raise KeyboardInterrupt
            judged.append(found[0].path)
            yield found

    monkeypatch.setattr(Predictor, "detect", detect)
    code, _, err = clare("predict", run, *images, *DEVICE, "--out", out)
    assert code == 130 and "goes on where this one stopped" in err
    growing = tmp_path / "scores.parquet.rows.jsonl" if ending == "parquet" else out
    assert len(rows_of(growing)) == 6
    with growing.open("r+b") as file:
        file.truncate(growing.stat().st_size - 9)  # half a line, as a kill leaves it
    stop.clear()
    code, said, _ = clare("predict", run, *images, *DEVICE, "--out", out)
    assert code == 0 and "11 files" in said and "5 of them judged before" in said
    assert judged == [*images[:6], *images[5:]], "the half line is judged again, and no other"
    rows = rows_of(out)
    for row, other in zip(rows, rows_of(whole), strict=True):
        # In another place of a batch the last bits differ.
        near = {name: pytest.approx(float(other[name]), abs=1e-5) for name in ("score", "margin")}
        numbers = {name: float(row[name]) for name in near}
        assert row | numbers == other | near
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, whole.name]
    # A finished file takes what is new.
    more = shutil.copy(images[0], tmp_path / "more.jpg")
    code, said, _ = clare("predict", run, *images, more, *DEVICE, "--out", out)
    assert code == 0 and "12 files" in said and judged[-1] == more and len(judged) == 13
    assert rows_of(out)[:11] == rows and len(rows_of(out)) == 12


def test_scores_of_another_run_or_of_other_settings_are_refused(clare, made, images, tmp_path):
    assert clare("predict", made / "run0", images[0], *DEVICE, "--out", "scores.csv")[0] == 0
    ours = (tmp_path / "scores.csv").read_bytes()
    again = (images[0], *DEVICE, "--out", "scores.csv")
    code, _, err = clare("predict", made / "run1", *again)
    assert code == 1 and f"holds scores of another run, {made / 'run0'}" in err and "--out" in err
    assert (tmp_path / "scores.csv").read_bytes() == ours
    (tmp_path / "scores.csv").write_bytes(ours.replace(b"float32", b"float16"))
    code, _, err = clare("predict", made / "run0", *again)
    assert (
        code == 1 and "scores of other settings: float16, 32 frames a video, not float32, 32" in err
    )
    (tmp_path / "scores.csv").write_text("my,own,table\n1,2,3\n")
    code, _, err = clare("predict", made / "run0", *again)
    assert code == 1 and "holds another table" in err and "Traceback" not in err
    assert (tmp_path / "scores.csv").read_text() == "my,own,table\n1,2,3\n"


def test_formats_that_are_none_are_refused_before_the_models_run(
    clare, run, images, tmp_path, monkeypatch
):
    monkeypatch.setattr("clare.inference.predictor.Predictor", None)
    code, _, err = clare("predict", run, images[0], "--out", "scores.xlsx")
    assert code == 1 and ".csv, .jsonl or .parquet" in err
    code, _, err = clare("predict", run, images[0], "--out", "scores.csv", "--json")
    assert code == 1 and "--json" in err
    monkeypatch.setattr("clare.parquet.find_spec", lambda name: None)
    code, _, err = clare("predict", run, images[0], "--out", "scores.parquet")
    assert code == 1 and "pip install 'clare-features[parquet]'" in err
    assert not any(tmp_path.iterdir())


def test_images_are_read_a_few_batches_ahead_of_their_verdicts(run, images):
    predictor = Predictor(run, "cpu")
    read: list[bytes] = []

    def content():
        read.append(images[0].read_bytes())
        return read[-1]

    inputs = [InputImage(Path(f"{number}.jpg"), content) for number in range(200)]
    ahead = []
    for number, (verdict, _) in enumerate(predictor.detect(inputs)):
        assert str(verdict.path) == f"{number}.jpg"
        ahead.append(len(read) - number)
    assert len(ahead) == len(read) == 200 and max(ahead) <= 6 * 8, "batches of eight on a CPU"


def test_of_many_images_the_table_has_the_first_and_the_first_failures(
    clare, run, images, tmp_path, monkeypatch
):
    monkeypatch.setattr("clare.cli.views.verdicts.SHOWN", 3)
    monkeypatch.setattr("clare.cli.views.verdicts.SHOWN_FAILURES", 1)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    code, out, _ = clare("predict", run, *images[:5], "a.png", "b.png", *DEVICE)
    assert code == 3 and "… and 3 more: name a file for all with --out" in out
    assert all(str(image) in out for image in images[:3]) and str(images[3]) not in out
    assert "a.png" in out and "b.png" not in out and "2 failed" in out
