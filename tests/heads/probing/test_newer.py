"""Figures on images that are newer than all that a tower can have seen."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import clare
from clare.bootstrap import Resampling
from clare.errors import InputError
from clare.heads.evaluation.newer import newer_figures, sight_of
from clare.heads.evaluation.record import read_evaluation
from clare.heads.metrics.predictions import Predictions, evaluation_sets
from clare.heads.probing.record import read_record
from clare.heads.runs.record import ExtractorRecord
from clare.store.feature_store import create_store
from clare.store.spec import Fingerprint
from tests.cli.pages import run
from tests.heads.probing.probed_store import CLIP, LARE, fill, make_rows

OPENAI = {"model": "ViT-L-14", "weights": "openai"}
OLD, NEW = "2019/2021-02", "2022-05"


def dated(rows, dates):
    """The rows with dates by turns; empty where they don't say."""
    return [
        replace(row, columns=row.columns | ({"created": text} if text else {}))
        for n, row in enumerate(rows)
        for text in [dates[n // 2 % len(dates)]]
    ]


def tower(origin, **settings):
    return ExtractorRecord(Fingerprint("clip", 1, "aa", settings), origin)


def figures(rows, scores, sight, how=Resampling(200, 0)):  # noqa: B008
    predictions = Predictions.of_rows(rows, scores)
    sets = evaluation_sets(predictions)
    return newer_figures(rows, predictions, sets, {"it": (sight, scores)}, how)


ROWS = make_rows("swap", 400, ("test",))
SCORES = np.random.default_rng(0).normal(size=400) + np.arange(400) % 2


def test_the_figure_is_of_the_newer_images_alone():
    rows = dated(ROWS, [OLD, NEW, "", NEW])
    found = figures(rows, SCORES, sight_of([tower(OPENAI)]))["it"]
    new = np.array([row.columns.get("created") == NEW for row in rows])
    labels = np.arange(400)[new] % 2
    assert (found.until, found.dated, found.why) == ("2021-03-31", {"swap": 200}, "")
    assert found.tests["swap"].n == 200
    assert found.tests["swap"].value == pytest.approx(roc_auc_score(labels, SCORES[new]))
    assert found.tests["swap"].low < found.tests["swap"].value < found.tests["swap"].high
    assert found.mean.value == found.tests["swap"].value
    assert "2021-03" in found.towers[0] and "not said" in found.towers[0]


def test_a_range_counts_from_its_first_day():
    rows = dated(ROWS, ["2021-03/2024"])
    assert figures(rows, SCORES, sight_of([tower(OPENAI)]))["it"].dated == {"swap": 0}


def test_all_towers_of_a_sum_count():
    dinov3 = {"model": "vit_large_patch16_dinov3", "weights": "lvd1689m"}
    both = sight_of([tower(OPENAI), tower(dinov3)])
    assert str(both.until) == "2025-08-31" and len(both.towers) == 2


def test_what_has_no_weights_or_random_ones_saw_nothing():
    nothing = ExtractorRecord(Fingerprint("pixels", 1, ""), {})
    sight = sight_of([nothing, tower({"local": "folder"}, backbone="tiny")])
    assert not sight.towers and not figures(dated(ROWS, [NEW]), SCORES, sight)


@pytest.mark.parametrize(
    ("dates", "origin", "why"),
    [
        ([""], OPENAI, "none of the 400 test images says when it was made, so that a tower may"),
        ([NEW], {"model": "mine", "local": "file"}, "not known of clip: mine, images collected"),
        ([OLD], OPENAI, "none of the 400 test images is newer, so that"),
        ([OLD, ""], OPENAI, r"is newer \(200 don't say when they were made\)"),
    ],
)
def test_where_there_is_no_figure_it_is_said_why(dates, origin, why):
    found = figures(dated(ROWS, dates), SCORES, sight_of([tower(origin)]))["it"]
    assert not found.tests and found.mean is None
    assert re.search(why, found.why)


def test_newer_images_of_one_label_tell_nothing_apart():
    rows = [
        replace(r, columns=r.columns | {"created": (OLD, NEW)[n % 2]}) for n, r in enumerate(ROWS)
    ]
    found = figures(rows, SCORES, sight_of([tower(OPENAI)]))["it"]
    assert found.why.startswith("200 of 400 test images are newer, in no test set both")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = create_store(tmp_path_factory.mktemp("dated") / "features.zarr")
    fill(made, make_rows("gan", 400), prints=(CLIP, LARE))
    fill(made, dated(make_rows("swap", 400, ("test",)), [OLD, NEW]), prints=(CLIP, LARE))
    made.write_assets(CLIP.key, {"origin.json": json.dumps(OPENAI).encode()})
    return made


@pytest.fixture(scope="module")
def probes(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probes") / "all"
    given = ("--store", store.path, "--train", "gan", "--test", "gan,swap", "--resamples", "50")
    chosen = ("--inputs", "clip_cls,lare:mean@300", "--norms", "none", "--kinds", "centroid")
    return folder, run("probe", *given, *chosen, "--out", folder, "--ask", "lare adds to clip_cls")


def test_a_probe_gives_figures_of_newer_images_with_how_many_they_are(probes):
    folder, told = probes
    found = read_record(folder).newer
    assert found["clip_cls"].tests["swap"].n == 200
    assert found["clip_cls"].dated == {"gan": 0, "swap": 200}
    assert [*found["clip_cls"].tests] == ["swap"]
    assert "not known of lare" in found["lare:mean@300"].why
    assert "n 200" in told and "2021-03-31" in told
    assert "Images newer than the towers of lare:mean@300: what they can have seen" in told


def test_the_page_has_them_and_what_they_mean(probes, tmp_path):
    folder, _ = probes
    run("report", folder, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Images newer than the towers" in page and "n 200" in page
    assert "a figure may tell what a tower remembers" in page
    assert "OpenAI" in page or "ViT-L-14:openai" in page


def test_a_date_is_given_for_towers_of_which_nothing_is_known(store, tmp_path):
    quick: dict[str, Any] = {
        "train": ["gan"],
        "test": ["swap"],
        "inputs": ["lare:mean@300"],
        "resamples": 0,
    }
    found = clare.probe(store, tmp_path / "a", seen_until="2022-04", ask=[], **quick)
    assert found.newer["lare:mean@300"].tests["swap"].n == 200
    with pytest.raises(InputError, match=r"'May' is no date.*seen_until="):
        clare.probe(store, tmp_path / "b", seen_until="May", **quick)


def test_records_of_earlier_versions_are_read(probes, tmp_path):
    folder, _ = probes
    record = json.loads((folder / "probes.json").read_text())
    del record["newer"]
    (tmp_path / "probes.json").write_text(json.dumps(record))
    assert read_record(tmp_path).newer == {}


def test_an_evaluation_gives_the_same_of_a_run_and_says_it(store, tmp_path):
    head = ("--fusion", "cls", "--classifier", "probe", "--no-standardize", "--device", "cpu")
    run("train-head", *head, "--store", store.path, "--train", "gan", "--out", tmp_path / "run")
    quick = ("--resamples", "20", "--device", "cpu")
    told = run("evaluate", tmp_path / "run", "--subset", "swap", *quick)
    newer = read_evaluation(tmp_path / "run").newer
    assert newer is not None
    assert newer.tests["swap"].n == 200 and "2021-03-31" in told
    run("report", tmp_path / "run", "--out", tmp_path / "page.html")
    assert "Images newer than the towers" in (tmp_path / "page.html").read_text("utf-8")
    assert "newer" not in run("evaluate", tmp_path / "run", "--subset", "gan", *quick)
    dated = ("--seen-until", "2022-04")
    told = run("evaluate", tmp_path / "run", "--subset", "gan", *quick, *dated)
    assert "says when it was made" in told


def test_an_evaluation_takes_a_date_for_towers_of_which_nothing_is_known(store, tmp_path):
    head = ("--fusion", "lare", "--classifier", "linear", "--epochs", "1", "--device", "cpu")
    run("train-head", *head, "--store", store.path, "--train", "gan", "--out", tmp_path / "run")
    (tmp_path / "board.csv").write_text("a sweep's table")
    quick = ("--resamples", "0", "--device", "cpu", "--subset", "swap")
    told = run("evaluate", tmp_path / "run", tmp_path / "board.csv", *quick)
    assert "not known of lare" in told and "board.csv: no run, left out" in told
    told = run("evaluate", tmp_path / "run", *quick, "--seen-until", "2022-04")
    newer = read_evaluation(tmp_path / "run").newer
    assert newer is not None and newer.tests["swap"].n == 200 and "2022-04-30" in told
    with pytest.raises(InputError, match="'May' is no date"):
        run("evaluate", tmp_path / "run", *quick, "--seen-until", "May")
