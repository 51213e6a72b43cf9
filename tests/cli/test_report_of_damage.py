"""`clare report` where something is missing or damaged: said in a sentence, figures kept."""

import json
import re
import shutil

import pytest

from clare.errors import ClareError
from tests.cli.pages import read, rows_of, run


def test_what_is_missing_is_said_in_words(place, tmp_path):
    folder = shutil.copytree(place / "run", tmp_path / "moved")
    config = json.loads((folder / "config.json").read_text())
    config["store"] = str(tmp_path / "gone.zarr")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "test_predictions.csv").unlink()
    told = run("report", folder, "--out", tmp_path / "page.html")
    assert "--store" in told and "could not be opened" in " ".join(told.split())
    text = read(tmp_path / "page.html").text
    assert "The store could not be opened" in text and "test_predictions.csv is missing" in text
    (folder / "test_metrics.json").unlink()
    run("report", folder, "--store", place / "features.zarr", "--out", tmp_path / "page.html")
    text = read(tmp_path / "page.html").text
    assert "not tested on unseen rows" in text and "LaRE map" in text


def test_damage_to_the_pictures_is_said_and_costs_no_figures(place, tmp_path):
    store = shutil.copytree(place / "features.zarr", tmp_path / "features.zarr")
    for path in (store / "thumbnails").rglob("*.thumbs"):
        path.write_bytes(path.read_bytes()[:-7])
    run("report", place / "run", "--store", store, "--out", tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert "The store can't be read" in page.text
    whole = read(place / "run.html")
    auc = json.loads((place / "run" / "test_metrics.json").read_text())["subsets"]["toy"]["frame"]
    assert auc["auc"]["value"] in page.numbers and "Files as they were found" in page.text
    assert len(page.all("table")) >= len(whole.all("table")) - 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("run,", "name,", "is not what a sweep writes"),
        ("val_auc,", "val_auk,", "is not what a sweep writes"),
        (",cls,", ",cls,cls,", "is not what a sweep writes"),
        (r"(?<=,)0\.\d+", "many", "is 'many', not a number"),
        (r"(?<=,)0\.\d+", "nan", "is 'nan', not a number"),
        (r"(?<=,)0\.\d+", "-inf", "is '-inf', not a number"),
    ],
)
def test_a_damaged_results_file_is_refused_in_a_sentence(place, tmp_path, old, new, message):
    folder = shutil.copytree(place / "tested", tmp_path / "sweep")
    path = folder / "results.csv"
    path.write_text(re.sub(old, new, path.read_text(), count=1))
    with pytest.raises(ClareError, match=message):
        run("report", folder, "--out", tmp_path / "page.html")


def test_a_sweep_whose_runs_all_failed_has_no_page(place, tmp_path):
    folder = shutil.copytree(place / "tested", tmp_path / "sweep")
    lines = rows_of(folder / "results.csv")
    table = "".join(f"{line['run']},{line['fusion']},no memory\n" for line in lines)
    (folder / "results.csv").write_text(f"run,fusion,failure\n{table}")
    with pytest.raises(ClareError, match="has finished"):
        run("report", folder, "--out", tmp_path / "page.html")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no run at"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "val_metrics.json").unlink(), "is not finished"),
        (lambda folder: (folder / "test_metrics.json").write_text("{"), "can't be read"),
        (lambda folder: (folder / "test_metrics.json").write_text("{}"), "is damaged"),
    ],
)
def test_what_is_no_run_is_refused_in_a_sentence(place, tmp_path, spoil, message):
    folder = shutil.copytree(place / "run", tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(ClareError, match=message):
        run("report", folder, "--out", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_sweep_has_a_page_of_its_own(place, tmp_path):
    with pytest.raises(ClareError, match="is a sweep: give it a page of its own"):
        run("report", place / "sweep", place / "run", "--out", tmp_path / "page.html")
