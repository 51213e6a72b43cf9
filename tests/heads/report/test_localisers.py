"""The page of localisers: their figures, what they must beat, and pictures that show why."""

import csv
import json
import re
import shutil
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from clare.cli.views.masks import print_masks
from clare.heads.config import DetectorConfig, TrainConfig
from clare.heads.evaluation.better import verdict
from clare.heads.evaluation.compare import compare
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.evaluation.record import read_evaluation
from clare.heads.report.blocks import Cell, Strips, Table
from clare.heads.report.sweep_axes import axis_of
from clare.heads.report.write import report
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.sweeps.tests import SweepTests
from clare.heads.training.trainer import train_run
from clare.store.feature_store import open_store
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from tests.cli.pages import read
from tests.heads.masked_store import create_masked

CONFIG = TrainConfig(
    DetectorConfig(decoder="linear"), train=("local",), select="iou", lr=0.1, epochs=3, batch=8
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store with pixels, a run that was tested on fakes alone, and one beside reals."""
    place = tmp_path_factory.mktemp("page")
    store = create_masked(place / "features.zarr")
    red = FeatureSpec("pixels", (32, 32, 3), "uint8")
    fingerprint = Fingerprint("pixels", 1, "", {})
    store.declare(fingerprint, [red])
    for subset in ("local", "pool"):
        feature = store.feature(subset, "pixels", fingerprint.digest)
        for shard in feature.pending():
            assert feature.claim(shard)
            values = np.zeros((SHARD_ROWS, *red.shape), np.uint8) + np.array([200, 0, 0], np.uint8)
            feature.write_shard(shard, {"pixels": values}, {}, {})
            feature.release(shard)
    train_run(CONFIG, store.path, place / "run")
    shutil.copytree(place / "run", place / "other")
    evaluate(place / "run", subsets=["local"], baselines=True, resamples=50)
    evaluate(place / "other", subsets=["local", "few"], reals=["pool"], resamples=50)
    return place


def table_of(run):
    with (run / "test_predictions.csv").open() as file:
        return list(csv.DictReader(file))


def page_of(place, tmp_path, *runs, **more):
    made = report([place / run for run in runs], tmp_path / "page.html", **more)
    return made, read(tmp_path / "page.html")


def strips_of(made):
    found = {section.anchor: section for section in made.sections}
    return [block for block in found["maps"].blocks if isinstance(block, Strips)]


def picture_of(uri):
    return np.asarray(Image.open(BytesIO(b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_the_answer_of_fakes_alone_is_of_masks(place, tmp_path):
    made, page = page_of(place, tmp_path, "run")
    record = read_evaluation(place / "run")
    assert record.masks is not None
    figures, beaten = record.masks.subsets["local"].figures, record.masks.subsets["local"].baselines
    iou = figures["iou"]
    (answer,) = made.answer
    said = f"IoU {iou.value:.3f} (95 % interval {iou.low:.2f} to {iou.high:.2f}) on 8 fakes of loc"
    assert said in answer and "baselines that were measured" in answer
    assert "trained on no real images" in answer
    assert "find the fake pixels in images of local" in made.question
    assert made.title == "run: linear on clip_tokens"
    assert not re.search("AUC|accuracy", page.text), "there are no reals"
    wanted = [figures[name].value for name in ("iou", "f1", "ap", "f1_oracle", "area_error")]
    wanted += [one.ahead["iou"].value for one in beaten.values()]
    assert {*wanted} <= page.numbers and len(beaten) == 4
    assert "Validation IoU" not in page.text and "validation IoU" in page.text


def test_an_oracle_is_set_back_and_never_in_the_answer(place, tmp_path):
    made, page = page_of(place, tmp_path, "run")
    table = made.sections[0].blocks[0]
    assert isinstance(table, Table)
    heads = [head for head in table.columns if isinstance(head, Cell)]
    assert [head.quiet for head in heads] == [head.under == "oracle" for head in heads]
    assert any(head.quiet for head in heads) and not heads[0].quiet
    quiet = [cell.text for cell in table.rows[0] if cell.quiet]
    assert quiet and not any(text in str([made.answer, made.facts]) for text in quiet)
    assert sum("quiet" in one.get("class", "") for one in page.all("td")) == len(quiet)


def test_pictures_show_the_extremes_as_they_were_measured(place, tmp_path):
    made, page = page_of(place, tmp_path, "run")
    worst, best = strips_of(made)
    ious = sorted(float(line["iou"]) for line in table_of(place / "run"))
    shown = [float(one.caption.split()[1].rstrip(",")) for one in (*worst.strips, *best.strips)]
    assert shown == pytest.approx([*ious[:2], *ious[:-3:-1]], abs=5e-4)
    for one in (*worst.strips, *best.strips):
        image, truth, prediction, error = one.pictures
        assert picture_of(image.uri)[64, 64].tolist() == pytest.approx([200, 0, 0], abs=4)
        assert (picture_of(truth.uri) == 255).mean() == pytest.approx(0.25)
        assert picture_of(prediction.uri).shape == (128, 128, 3)
        found, extra, missed = (int(n) / 100 for n in re.findall(r"(\d+)%", error.alt))
        iou = float(one.caption.split()[1].rstrip(","))
        assert found / (found + extra + missed) == pytest.approx(iou, abs=0.05)
    assert all(attrs["alt"] for attrs in page.all("img"))


def test_reals_beside_give_a_part_on_detection_and_the_worst_of_them(place, tmp_path):
    made, _ = page_of(place, tmp_path, "other")
    anchors = [section.anchor for section in made.sections]
    assert anchors.index("results") < anchors.index("maps") < anchors.index("detection")
    assert len(made.answer) == 2 and " on 2 fakes of few and IoU 0." in made.answer[0]
    assert made.answer[1].startswith("Fakes told from reals by the map's score: Mean AUC ")
    titles = [one.title for one in strips_of(made)]
    assert titles[0] == "Fakes of few: the lowest IoU of 2" and len(titles) in (3, 4)
    assert all("pool" in title for title in titles[3:])


def test_several_localisers_stand_in_a_matrix_of_iou(place, tmp_path):
    made, page = page_of(place, tmp_path, "run", "other")
    table = made.sections[0].blocks[0]
    assert isinstance(table, Table) and table.caption.startswith("IoU")
    record = read_evaluation(place / "other")
    assert record.masks is not None
    heads = [head.text for head in table.columns if isinstance(head, Cell)]
    row = dict(zip(heads, [cell.value for cell in table.rows[1][1:]], strict=True))
    assert row["few"] == record.masks.subsets["few"].figures["iou"].value
    assert row["mean"] == record.masks.mean["iou"].value
    assert table.rows[0][1 + heads.index("few")].text == "–", "run was not tested on few"
    assert all(cell.heat is None or cell.heat > 0 for line in table.rows for cell in line)
    compared = compare(place / "run", place / "other", resamples=50)
    assert verdict(compared, ("run", "other")) in page.text
    assert page.text.count("resamples of whole videos") == 1


def test_fakes_without_masks_crash_nothing_and_claim_nothing(place, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(place / "run", tmp_path / name)
        evaluate(tmp_path / name, subsets=["bare"], baselines=True, resamples=0)
    made, page = page_of(tmp_path, tmp_path, "a")
    assert made.answer == ["Not known: no tested fake has a mask."]
    assert [name for name, *_ in made.facts] == ["IoU on validation"]
    assert "No test image has a mask" in page.text and "–" not in str(made.sections[0].blocks)
    _, page = page_of(tmp_path, tmp_path, "a", "b")
    assert "so there is no IoU" in page.text and "nothing says which ranks better" in page.text


def test_a_sweep_over_layers_has_a_curve_of_them(place, tmp_path):
    axes = {"decoder": ["linear"], "tokens": ["clip_tokens_20", "clip_tokens", "lare"]}
    store = open_store(place / "features.zarr")
    tests = SweepTests(store, ["local"], baselines=True)
    configs = expand(replace(CONFIG, epochs=1), {**axes, "seed": ["0"]})
    run_sweep(configs, {**axes, "seed": ["0"]}, store, tmp_path / "sweep", evaluate=tests)
    made = report([tmp_path / "sweep"], tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    labels = [attrs["aria-label"] for attrs in page.all("svg")]
    for rows in ("validation", "test rows"):
        assert f"IoU on {rows} against layer of the tokens" in labels
    assert "Of no layer: lare." in page.text
    assert "AUC" not in page.text and "line is chance" not in page.text
    board, matrix = made.sections[0].blocks, made.sections[3].blocks[0]
    assert isinstance(matrix, Table) and matrix.caption.startswith("Mean IoU on test rows")
    ious = {read_evaluation(tmp_path / "sweep" / name).ious["local"] for name in configs}
    assert {line[1].value for line in matrix.rows} == ious
    tables = [block for block in board if isinstance(block, Table)]
    assert [one.caption for one in tables][1:] == ["What a test IoU must beat"]
    assert all(cell.text != "–" for cell in tables[0].rows[0])


@pytest.mark.parametrize(
    ("values", "places"),
    [
        (["clip_tokens_20", "clip_tokens_12"], [(20, ""), (12, "")]),
        (["clip_tokens_4", "clip_tokens", "lare"], [(4, ""), (5, "")]),
        (
            ["clip_tokens_4+lare", "clip_tokens_12", "clip_tokens"],
            [(4, "lare"), (12, ""), (20, "")],
        ),
        (["clip_tokens_4", "clip_tokens_4+lare"], None),
        (["clip_tokens_layer3", "lare"], None),
    ],
)
def test_layers_stand_where_their_numbers_say(values, places):
    axis = axis_of("tokens", values)
    assert (axis and list(axis.places.values())) == places


def test_what_is_not_at_hand_is_said(place, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(place / "run", moved / "run")
    detector = moved / "run" / "best.safetensors"
    detector.write_bytes(detector.read_bytes()[:-1])
    _, page = page_of(moved, tmp_path, "run")
    assert "Predictions can't be shown" in page.text and "best.safetensors is damaged" in page.text
    for name in ("test_metrics.json", "test_predictions.csv"):
        (moved / "run" / name).unlink()
    made, page = page_of(moved, tmp_path, "run")
    assert "Not known yet" in made.answer[0] and ": IoU " in made.answer[0]
    assert "on the 8 validation rows" in made.answer[0].lower() and "AUC" not in page.text


def test_fakes_whose_mask_marks_nothing_are_counted_in_page_and_terminal(place, tmp_path, capsys):
    shutil.copytree(place / "run", tmp_path / "run")
    path = tmp_path / "run" / "test_metrics.json"
    found = json.loads(path.read_text())
    found["masks"]["subsets"]["local"]["cases"]["unmarked"] = 2
    path.write_text(json.dumps(found))
    _, page = page_of(tmp_path, tmp_path, "run")
    said = "2 fakes whose mask marks nothing, in no figure"
    assert said in page.text
    print_masks(read_evaluation(tmp_path / "run"))
    assert said in " ".join(capsys.readouterr().out.split())
