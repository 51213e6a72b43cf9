"""What a sweep says of training, test and other rows, and a sweep over presets."""

import csv
from dataclasses import replace

import pytest
from sklearn.metrics import roc_auc_score

from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig, begin_from
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.report.write import report
from clare.heads.runs.record import read_record
from clare.heads.runs.run import open_run
from clare.heads.sweeps.axes import expand
from clare.heads.sweeps.figures import FIGURES, figure_lines
from clare.heads.sweeps.sweep import run_sweep
from clare.heads.sweeps.tests import SweepTests
from clare.heads.sweeps.training_rows import TRAIN_METRICS
from tests.figures import low_value_high

BASE = TrainConfig(
    DetectorConfig("cls", "linear"), lr=0.02, epochs=2, batch=32, train=("gan",), reals=("pool",)
)
AXES = {"fraction": ["0.5", "1"], "seed": ["0", "1"]}


def lines_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def swept(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("figures") / "sweep"
    tests = SweepTests(store, ["gan", "swap"], training=True)
    results = run_sweep(expand(BASE, AXES), AXES, store.path, out, evaluate=tests)
    assert not tests.failures
    return out, results


def test_every_set_of_rows_has_its_figures(swept):
    out, _ = swept
    found = lines_of(out / FIGURES)
    sets = [(one["rows"], one["subset"], one["level"]) for one in found[: len(found) // 2]]
    assert sets == [
        ("train", "gan", "frame"),
        ("validation", "", "frame"),
        ("test", "gan", "frame"),
        ("cross-dataset", "swap", "frame"),
        ("cross-dataset", "swap", "video"),
    ]
    assert [one["fraction"] for one in found] == ["0.5"] * 5 + ["1.0"] * 5
    assert {one["seeds"] for one in found} == {"2"}
    for one in found:
        for name in ("auc", "balanced_accuracy"):
            low, mean, high = (float(one[f"{name}{end}"]) for end in ("_low", "", "_high"))
            assert 0 <= low <= mean <= high <= 1 and float(one[f"{name}_spread"]) >= 0
    half, whole = (int(one["n"]) for one in found if one["rows"] == "train")
    assert half < whole


def test_training_rows_are_those_that_the_run_learnt_from(store, swept):
    """Each is scored once, plain, whatever views it has; and no other row of the split."""
    out, _ = swept
    run = open_run(out / "fraction-0.5_seed-0", store)
    rows = read_record(run.path).rows["train"]
    (line,) = (
        one
        for one in figure_lines(out, lines_of(out / "results.csv"), AXES)
        if one["rows"] == "train" and one["fraction"] == "0.5"
    )
    assert line["n"] == rows["real"] + rows["fake"]
    alone = figure_lines(out, lines_of(out / "results.csv")[2:3], AXES)
    (whole,) = (one for one in alone if one["rows"] == "train")
    run = open_run(out / "fraction-1_seed-0", store)
    gan, pool = (
        FeatureDataset(store, run.detector.fields, subsets=[name], split="train")
        for name in ("gan", "pool")
    )
    margins, labels = [], []
    for data in (gan, pool):
        batch = data.read(range(len(data.rows)))
        margins += run.detector.margins({"clip_cls": batch["clip_cls"]}).tolist()
        labels += data.labels.tolist()
    assert whole["auc"] == pytest.approx(roc_auc_score(labels, margins), abs=1e-9)


def test_test_figures_are_those_of_an_evaluation(store, swept, tmp_path):
    out, results = swept
    one = figure_lines(out, results[:1], AXES)
    record = evaluate(out / results[0]["run"], store, ["gan", "swap"]).record
    for line in one:
        if line["rows"] in ("test", "cross-dataset"):
            figures = getattr(record.subsets[line["subset"]], line["level"])
            ends = (line["auc_low"], line["auc"], line["auc_high"])
            assert ends == pytest.approx(low_value_high(figures["auc"]))
            assert line["n"] == figures["auc"].n and line["seeds"] == 1


def test_training_is_not_scored_again(store, swept, monkeypatch):
    out, _ = swept
    before = {path: path.stat().st_mtime_ns for path in out.glob(f"*/{TRAIN_METRICS}")}
    assert len(before) == 4
    tests = SweepTests(store, ["gan", "swap"], training=True)
    run_sweep(expand(BASE, AXES), AXES, store.path, out, evaluate=tests)
    assert before == {path: path.stat().st_mtime_ns for path in out.glob(f"*/{TRAIN_METRICS}")}


def test_without_a_test_there_is_no_table(store, tmp_path):
    axes = {"seed": ["0"]}
    results = run_sweep(expand(BASE, axes), axes, store.path, tmp_path)
    assert not (tmp_path / FIGURES).exists() and figure_lines(tmp_path, results, axes) == []


def test_the_page_draws_figures_by_rows_and_over_epochs(swept, tmp_path):
    out, _ = swept
    page = report([out], tmp_path / "page.html")
    titles = [section.title for section in page.sections]
    assert {"Training, test and other rows", "Over the epochs"} <= set(titles)
    html = (tmp_path / "page.html").read_text("utf-8")
    for said in (
        "AUC on gan train rows, frames against fraction",
        "balanced accuracy on swap cross-dataset rows, videos against fraction",
        "validation AUC over the epochs",
        "training loss over the epochs",
    ):
        assert said in html


def test_presets_are_an_axis(store, tmp_path):
    axes = {"preset": ["univfd", "gend-cached"], "seed": ["0"]}
    given = {"epochs": 1, "train": ["gan"], "reals": ["pool"]}
    given |= {"fields": {"cls": "clip_cls"}}
    configs = expand(given, axes)
    assert list(configs) == ["univfd_seed-0", "gend-cached_seed-0"]
    assert [one.lr for one in configs.values()] == [1e-4, 3e-4]
    assert [one.epochs for one in configs.values()] == [1, 1]
    results = run_sweep(configs, axes, store.path, tmp_path)
    assert [one["preset"] for one in results] == ["univfd", "gend-cached"]
    more = {**axes, "seed": ["1"]}
    assert len(run_sweep(expand(given, more), more, store.path, tmp_path)) == 4
    third = {"preset": ["clipping-adapter"], "seed": ["0"]}
    assert len(run_sweep(expand(given, third), third, store.path, tmp_path)) == 5
    other = expand({**given, "weight_decay": 0.3}, axes)
    with pytest.raises(InputError, match="finished run with another configuration"):
        run_sweep(other, axes, store.path, tmp_path)
    strange = {"preset": ["gend-cached"], "seed": ["7"]}
    with pytest.raises(InputError, match="with another weight_decay"):
        run_sweep(expand({**given, "weight_decay": 0.3}, strange), strange, store.path, tmp_path)
    with pytest.raises(InputError, match="each preset is a configuration"):
        expand(BASE, axes)


def test_where_a_configuration_began_decides_nothing():
    began = begin_from("univfd", {})
    assert began.preset == "univfd"
    assert began == replace(began, preset="") and began.to_json()["preset"] == "univfd"
    record = {name: value for name, value in began.to_json().items() if name != "preset"}
    assert TrainConfig.from_json(record) == began, "records of earlier versions"
