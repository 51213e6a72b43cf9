"""A run on test rows: what is written, which rows are refused, what stands beside."""

import csv
import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_auc_score

from clare.bootstrap import Resampling
from clare.errors import InputError, StoreError
from clare.heads.config import DetectorConfig, TrainConfig
from clare.heads.data.leakage import Seen
from clare.heads.detector import Detector, save_detector
from clare.heads.evaluation.compare import (
    compare,
    compare_predictions,
    read_aside,
    read_scores,
)
from clare.heads.evaluation.evaluate import evaluate, write_matrix
from clare.heads.evaluation.published import published
from clare.heads.evaluation.record import (
    CONTROL,
    EARLIER,
    METRICS,
    PREDICTIONS,
    evaluations_by_name,
    list_evaluations,
    read_evaluation,
    unreadable_evaluations,
)
from clare.heads.evaluation.test_rows import choose_rows
from clare.heads.evaluation.wanted import Asked
from clare.heads.metrics.by_subset import measure_subsets
from clare.heads.metrics.predictions import Predictions
from clare.heads.runs.record import (
    BEST,
    CONFIG,
    SEEN,
    VAL_METRICS,
    RunRecord,
    write_record,
    write_seen,
)
from clare.heads.runs.run import open_run
from clare.store.feature_store import create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from tests.figures import existing, low_value_high

WIDTH = 6
CLS = FeatureSpec("clip_cls", (WIDTH,), "float16")
CLIP = Fingerprint("clip", 1, "aa")
SPLITS = ("train", "train", "val", "test")

SUBSETS = {
    # name: labels of its rows, whether they are frames of videos, category of its fakes
    "pool": ((0,), False, ""),
    "gan": ((1,), False, "EFS"),
    "swap": ((0, 1), True, "FS"),
    "StarGANv2": ((0, 1), False, "FE"),
}


def row(subset: str, n: int) -> Row:
    labels, videos, category = SUBSETS[subset]
    label = labels[n // 4 % len(labels)]
    columns = {
        "label": label,
        "split": SPLITS[n % 4],
        "subset": subset,
        "format": "png" if label else "jpeg",
        "bytes": 1000 + n,
    }
    if label:
        columns["category"] = category
    if videos:  # four frames of one video, all in one split
        columns["video_id"] = f"v{n % 4}-{label}-{n // 32}"
    sample_id = f"{subset}/{n}"
    content = hashlib.sha256(sample_id.encode()).hexdigest()
    return Row(sample_id=sample_id, view=0, content=content, columns=columns)


def feature_of(row: Row) -> np.ndarray:
    """Its first channel tells a fake, not always."""
    seed = int.from_bytes(row.sample_id.encode()[-6:], "big")
    value = np.random.default_rng(seed).normal(size=WIDTH)
    value[0] += 1.5 * row.columns["label"]
    return value.astype(np.float16)


def fill(store, subset: str, rows: list[Row], failed=()) -> None:
    assigned = store.assign_rows(subset, rows)
    store.declare(CLIP, [CLS])
    feature = store.feature(subset, "clip", CLIP.digest)
    for shard in feature.pending():
        assert feature.claim(shard)
        values = np.zeros((SHARD_ROWS, WIDTH), np.float16)
        for one in assigned:
            if one.slot // SHARD_ROWS == shard:
                values[one.slot % SHARD_ROWS] = feature_of(one)
        reasons = {slot % SHARD_ROWS: "bad" for slot in failed if slot // SHARD_ROWS == shard}
        feature.write_shard(shard, {"clip_cls": values}, reasons, {})
        feature.release(shard)


def make_store(path):
    store = create_store(path)
    for subset, failed in (("pool", ()), ("gan", (3, 7)), ("swap", ())):
        fill(store, subset, [row(subset, n) for n in range(160)], failed)
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Features that tell fakes; two test rows of "gan" failed."""
    return make_store(tmp_path_factory.mktemp("evaluation") / "features.zarr")


def make_run(path, store, *, noise=0.0, trained=("swap",), reals=(), seen=None):
    """A linear head that looks at the first channel, in a finished run's folder."""
    path.mkdir(parents=True)
    specs = {"clip_cls": (WIDTH,)}
    detector = Detector(DetectorConfig(fusion="cls", classifier="linear"), specs, None)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            parameter.copy_(noise * torch.randn(parameter.shape, generator=generator))
            if name.endswith("weight"):
                parameter[:, 0] += torch.tensor([-1.0, 1.0])
    save_detector(detector, path / BEST)
    record = RunRecord(
        extractors={},
        face_crops=(),
        config=TrainConfig(DetectorConfig("cls", "linear"), reals=reals),
        store=str(store.path),
        subsets=(*trained, *reals),
        fingerprints={"clip": CLIP.key},
        rows={},
        versions={},
        fakes=tuple(trained),
    )
    rows = [r for s in record.subsets for r in store.rows(s) if r.columns["split"] != "test"]
    write_record(path, record)
    write_seen(path, seen or Seen.of(rows))
    auc = dict.fromkeys(("value", "low", "high", "n"), 1)
    found = {"epoch": 1, "threshold": 1.5, "metrics": {"auc": auc}}
    (path / VAL_METRICS).write_text(json.dumps(found))
    return path


def test_what_is_written_is_what_was_found(store, tmp_path, drawn):
    run = make_run(tmp_path / "run", store, trained=("swap", "gan"), reals=("pool",))
    result = evaluate(run, resamples=50, baselines=True)
    report = read_evaluation(run)
    assert report == result.record
    assert report.trained_on == ("swap", "gan") and report.reals == ("pool",)
    assert report.threshold == 1.5 and report.skipped == {"gan": 2}
    assert {name: (s.real, s.fake) for name, s in report.subsets.items()} == {
        "gan": (40, 38), "swap": (20, 20),
    }  # fmt: skip

    with (run / "test_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 + 38 + 40
    for subset, reals in (("gan", "pool"), ("swap", "swap")):
        mine = [r for r in rows if r["subset"] == subset or r["subset"] == reals]
        label, margin = [int(r["label"]) for r in mine], [float(r["margin"]) for r in mine]
        auc = report.subsets[subset].frame["auc"]
        low, value, high = low_value_high(auc)
        assert value == roc_auc_score(label, margin)
        assert 0.75 < value < 1 and low < value < high
        assert auc.n == len(mine)
    for r in rows:
        stored = next(s for s in store.rows(r["subset"]) if s.sample_id == r["sample_id"])
        assert stored.columns["split"] == "test"
        assert float(r["margin"]) == pytest.approx(2 * float(feature_of(stored)[0]), abs=1e-3)
        assert float(r["score"]) == pytest.approx(1 / (1 + np.exp(-float(r["margin"]))))

    assert report.subsets["gan"].video is None
    assert existing(report.subsets["swap"].video)["auc"].n == 10
    assert set(report.categories) == {"EFS", "FS"}
    values = [s.frame["auc"].value for s in report.subsets.values()]
    means = existing(report.macro.subsets)
    macro = means.frame["auc"]
    assert macro.value == pytest.approx(np.mean(np.array(values, float))) and macro.n == 2
    assert means.video is None

    baselines = existing(report.baselines)
    assert existing(baselines.subsets["gan"]["format"]).value == 1.0
    assert baselines.pixels_from is None
    for name in ("roc_curve.png", "scores.png"):
        with Image.open(run / name) as picture:
            assert min(picture.size) > 300


def test_a_file_of_predictions_gives_the_same_report(store, tmp_path):
    run = make_run(tmp_path / "run", store, trained=("swap", "gan"), reals=("pool",))
    report = evaluate(run, resamples=30).record
    scores = read_scores(run)
    again = measure_subsets(scores.predictions, scores.threshold, Resampling(30))
    assert vars(again) == {name: getattr(report, name) for name in vars(again)}


def test_the_threshold_is_not_searched_on_test_rows(store, tmp_path):
    run = make_run(tmp_path / "run", store, trained=("swap",))
    figures = evaluate(run, subsets=["swap"], resamples=0).record.subsets["swap"].frame
    rows = [r for r in store.rows("swap") if r.columns["split"] == "test"]
    margin = np.array([2 * float(feature_of(r)[0]) for r in rows])
    label = np.array([r.columns["label"] for r in rows])
    assert figures["accuracy"].value == pytest.approx(np.mean((margin >= 1.5) == label))
    assert figures["accuracy_at_0.5"].value == pytest.approx(np.mean((margin >= 0) == label))
    assert "accuracy_oracle" not in figures


def test_fakes_alone_need_reals(store, tmp_path):
    run = make_run(tmp_path / "run", store, trained=("swap",))
    with pytest.raises(InputError, match=r"gan has no reals.*pool"):
        evaluate(run, subsets=["gan"])
    with pytest.raises(InputError, match="pool has reals alone"):
        evaluate(run, subsets=["pool"])
    with pytest.raises(InputError, match="has reals of its own"):
        evaluate(run, subsets=["swap"], reals=["pool"])
    with pytest.raises(InputError, match="gan has no reals"):
        evaluate(run, subsets=["gan"], reals=["gan"])
    with pytest.raises(StoreError, match="no subset 'moon'"):
        evaluate(run, subsets=["moon"])
    report = evaluate(run, subsets=["gan"], reals=["swap"], resamples=0).record
    assert report.subsets["gan"].real == 20 and set(report.subsets) == {"gan"}
    assert evaluate(run, subsets=["gan"], reals=["pool"], resamples=0).record.reals == ("pool",)


def test_rows_that_training_saw_are_refused(store, tmp_path):
    test = [r for r in store.rows("swap") if r.columns["split"] == "test"]
    run = make_run(tmp_path / "run", store, seen=Seen.of(test[:1]))
    with pytest.raises(InputError, match=r"rows of swap share .*swap/3 \(.*v3-0-0"):
        evaluate(run, subsets=["swap"])
    assert not (run / "test_metrics.json").exists()
    evaluate(run, subsets=["gan"], reals=["pool"], resamples=0)


def test_subsets_that_nobody_extracted(tmp_path):
    store = make_store(tmp_path / "features.zarr")
    run = make_run(tmp_path / "run", store)
    store.assign_rows("late", [row("swap", n) for n in range(32)])
    store.assign_rows("reals", [row("pool", n) for n in range(32)])
    with pytest.raises(InputError, match="late has no features of this run"):
        evaluate(run, subsets=["late"])
    with pytest.raises(InputError, match="reals has no features of this run"):
        evaluate(run, subsets=["gan"], reals=["reals"])
    found = evaluate(run, reals=["pool"], resamples=0).record
    assert set(found.subsets) == {"gan", "swap"} and found.skipped["late"] == 8


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (SEEN, "{}", r"seen\.json is damaged"),
        (SEEN, '{"image": 3}', r"seen\.json is damaged"),
        (SEEN, '{"image": [3]}', r"seen\.json is damaged"),
        (SEEN, '{"images": []}', r"seen\.json is damaged"),
        (SEEN, '{"trained": {}, "chosen": {}}', "names nothing that was trained on"),
        (SEEN, '{"trained": {"image": []}, "chosen": {"image": ["a"]}}', "names nothing"),
        (SEEN, '{"trained": {"picture": ["a"]}, "chosen": {}}', r"damaged: it has picture"),
    ],
)
def test_a_damaged_record_is_refused(store, tmp_path, name, text, said):
    run = make_run(tmp_path / "run", store)
    (run / name).write_text(text)
    with pytest.raises(InputError, match=said):
        evaluate(run, subsets=["swap"], resamples=0)


def test_a_store_without_the_runs_features_is_refused(store, tmp_path):
    run = make_run(tmp_path / "run", store)
    other = create_store(tmp_path / "other.zarr")
    other.assign_rows("swap", [row("swap", n) for n in range(8)])
    with pytest.raises(StoreError, match="clip"):
        evaluate(run, other.path)


def test_published_figures_stand_beside_ours(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    fill(store, "StarGANv2", [row("StarGANv2", n) for n in range(64)])
    run = make_run(tmp_path / "run", store, trained=("StarGANv2",))
    record = evaluate(run, against="clare-paper", resamples=20).record
    found = existing(record.against).subsets
    assert found["StarGANv2"].published["CLaRE cross-attention 41k"] == {
        "ap": 0.782, "accuracy": 0.691,
    }  # fmt: skip
    ours = found["StarGANv2"].ours
    assert existing(ours["accuracy_oracle"].value) >= existing(ours["accuracy"].value)
    with pytest.raises(InputError, match="clare-paper"):
        evaluate(run, against="moon-paper")


def test_a_table_that_has_none_of_the_subsets_loses_nothing(store, tmp_path):
    run = make_run(tmp_path / "run", store)
    report = evaluate(run, subsets=["swap"], against="clare-paper", resamples=0).record
    assert existing(report.against).subsets == {}
    assert "clare-paper has no published figures for swap" in report.notes
    assert read_evaluation(run) == report


def test_a_control_is_marked(store, tmp_path, monkeypatch, drawn):
    run = make_run(tmp_path / "run", store)
    titles: list[str] = []
    suptitle = Figure.suptitle

    def noted(figure: Figure, title: str, **settings: Any) -> Any:
        titles.append(title)
        return suptitle(figure, title, **settings)

    monkeypatch.setattr(Figure, "suptitle", noted)
    assert evaluate(run, subsets=["swap"], resamples=0).record.control is None
    assert not titles
    config = json.loads((run / CONFIG).read_text())
    config["config"]["shuffle_labels"] = True
    (run / CONFIG).write_text(json.dumps(config))
    assert evaluate(run, subsets=["swap"], resamples=0).record.control == CONTROL
    assert titles == [CONTROL, CONTROL], "the curves and the scores"


def test_a_store_that_moved(store, tmp_path):
    run = make_run(tmp_path / "run", store)
    other = create_store(tmp_path / "other.zarr")
    swap: dict[str, Any] = {"subsets": ["swap"], "resamples": 0}
    report = evaluate(run, elsewhere=other.path, **swap).record
    assert report.store == str(store.path) and report.notes == (), "its own goes first"
    config = json.loads((run / CONFIG).read_text())
    config["store"] = str(tmp_path / "gone.zarr")
    (run / CONFIG).write_text(json.dumps(config))
    with pytest.raises(StoreError, match=r"store of .*run is not at .*gone\.zarr"):
        evaluate(run, **swap)
    assert evaluate(run, store.path, elsewhere=other.path, **swap).record.notes == ()
    report = evaluate(run, elsewhere=store.path, **swap).record
    assert report.store == str(store.path) and "gone.zarr any more" in report.notes[0]


def test_published_figures_are_found_by_any_spelling():
    assert published("clare-paper", "sd2.1")["CLIP prompts 41k"] == {"ap": 0.995, "accuracy": 0.967}
    assert "CLIP prompts 82k" not in published("clare-paper", "SD21_cdf")
    assert published("clare-paper", "MidJourney")["CLaRE ESA 164k"]["ap"] == 0.636
    assert published("clare-paper", "heygen")["CLaRE cross-attention 164k"]["accuracy"] == 0.853
    assert published("clare-paper", "pixart") == {}
    assert len(published("clare-paper", "CollabDiff")) == 7


def test_runs_make_a_matrix(store, tmp_path, drawn):
    runs = [
        make_run(tmp_path / name, store, noise=noise, trained=(trained,))
        for name, noise, trained in (("a", 0, "swap"), ("b", 1, "swap"))
    ]
    results = [evaluate(run, subsets=["swap"], resamples=0) for run in runs]
    write_matrix(results, tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as picture:
        assert min(picture.size) > 200


def test_two_runs_are_compared_on_the_rows_that_both_have(store, tmp_path):
    good = make_run(tmp_path / "good", store, trained=("swap",))
    poor = make_run(tmp_path / "poor", store, noise=3.0, trained=("swap",))
    with pytest.raises(InputError, match="was not evaluated"):
        read_scores(good)
    evaluate(good, subsets=["swap", "gan"], reals=["pool"], resamples=0)
    evaluate(poor, subsets=["swap"], resamples=0)
    one, other = read_scores(poor), read_scores(good)
    found = compare_predictions(
        one.predictions, other.predictions, (one.threshold, other.threshold), how=Resampling(200)
    )
    assert (found.rows, found.only_first, found.only_second) == (40, 0, 78)
    pair = found.subsets["swap"]
    difference, (first, second) = pair.difference["auc"], (pair.first["auc"], pair.second["auc"])
    low, value, high = low_value_high(difference)
    assert value == pytest.approx(existing(second.value) - existing(first.value))
    assert 0 < low < high
    same = compare_predictions(one.predictions, one.predictions, (0, 0), how=Resampling(50))
    none = existing(same.macro).difference["auc"]
    assert none.low == none.high == 0


def test_what_is_in_no_mean_of_an_evaluation_is_in_none_of_a_comparison(store, tmp_path):
    run = make_run(tmp_path / "run", store, noise=1.0, trained=("swap",))
    evaluate(run, subsets=["swap", "gan"], reals=["pool"], resamples=0)
    report = json.loads((run / METRICS).read_text())
    (run / METRICS).write_text(json.dumps(report | {"aside": ["swap"]}))
    one = read_scores(run)
    assert one.aside == read_aside(run / PREDICTIONS) == ("swap",)
    found = compare_predictions(
        one.predictions, one.predictions, (0, 0), aside=one.aside, how=Resampling(0)
    )
    assert found.aside == ("swap",) and set(found.subsets) == {"swap", "gan"}
    mean, gan = (part.first["auc"].value for part in (existing(found.macro), found.subsets["gan"]))
    assert mean == gan != found.subsets["swap"].first["auc"].value
    none = compare_predictions(
        one.predictions, one.predictions, (0, 0), aside=["swap", "gan"], how=Resampling(0)
    )
    assert none.macro is None


def test_a_test_that_can_not_be_read_is_kept_aside_and_hides_no_other(store, tmp_path):
    run = make_run(tmp_path / "run", store, reals=("pool",))
    evaluate(run, None, ["gan"], resamples=0)
    (run / METRICS).write_text("{}")
    swap = evaluate(run, None, ["swap"], resamples=0).record
    last = evaluate(run, None, ["gan"], resamples=0).record
    (aside,) = unreadable_evaluations(run)
    assert (aside / METRICS).read_text() == "{}" and (aside / PREDICTIONS).is_file()
    assert [read_evaluation(one) for one in list_evaluations(run)] == [last, swap]


def test_every_test_is_kept_and_the_same_one_replaces_itself(store, tmp_path):
    run = make_run(tmp_path / "run", store, trained=("swap", "gan"), reals=("pool",))

    def test(*subsets, resamples=0, **asked):
        return evaluate(run, None, subsets, resamples=resamples, **asked).record

    both, gan, framed = test("swap", "gan"), test("gan"), test("swap", frames=1)
    assert len({both.name, gan.name, framed.name}) == 3
    kept = list_evaluations(run)
    assert [read_evaluation(folder) for folder in kept[:1]] == [framed] and kept[0] == run
    assert {one.name: one for one in map(read_evaluation, kept)} == {
        one.name: one for one in (both, gan, framed)
    }
    for folder in kept:
        assert set(read_scores(folder).predictions.subset) - {"pool"} == set(
            read_evaluation(folder).subsets
        )
    again = test("gan", resamples=5)
    found = {one.name: one for one in map(read_evaluation, list_evaluations(run))}
    assert found == {one.name: one for one in (both, again, framed)}


def test_what_was_measured_of_other_scores_is_kept_whole_and_compared_no_more(store, tmp_path):
    run = make_run(tmp_path / "run", store, reals=("pool",))
    first = evaluate(run, None, ["swap"], baselines=True, resamples=0).record
    again = evaluate(run, None, ["swap"], resamples=0)
    assert again.record.baselines == first.baselines is not None
    assert "whose scores are the same" in again.notices[-1].what
    save_detector(open_run(make_run(tmp_path / "b", store, noise=1.0)).detector, run / BEST)
    other = evaluate(run, None, ["swap"], resamples=0)
    assert other.record.baselines is None and "of other scores" in other.notices[-1].what
    assert [read_evaluation(one) for one in list_evaluations(run)] == [other.record, again.record]
    assert evaluations_by_name(run) == {other.record.name: run}
    last = evaluate(run, None, ["swap"], baselines=True, resamples=0).record
    assert [read_evaluation(one) for one in list_evaluations(run)] == [last, again.record]


@pytest.mark.parametrize("changed", ["resamples", "seed", "cluster", "video"])
def test_what_was_measured_by_other_draws_is_not_kept_beside_new_figures(store, tmp_path, changed):
    run = make_run(tmp_path / "run", store, reals=("pool",))
    how: dict[str, Any] = {"subsets": ["swap"], "resamples": 0}
    first = evaluate(run, **how, baselines=True).record
    if changed in ("cluster", "video"):  # the manifest named others then
        with (run / PREDICTIONS).open(newline="") as file:
            rows = list(csv.DictReader(file))
        with (run / PREDICTIONS).open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows({**row, changed: "swap/another"} for row in rows)
    else:
        how[changed] = 5
    again = evaluate(run, **how)
    assert again.record.baselines is None
    assert "are of other scores, groups or resamples" in again.notices[-1].what
    assert first in map(read_evaluation, (run / EARLIER).iterdir())


def test_scores_that_could_not_be_written_leave_no_figures(store, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", store)
    before = evaluate(run, None, ["swap"], resamples=0).record

    def fails(*_, **__):
        raise OSError("killed")

    monkeypatch.setattr("clare.heads.evaluation.evaluate.write_predictions", fails)
    with pytest.raises(OSError, match="killed"):
        evaluate(run, None, ["swap"], frames=1, resamples=0)
    assert [read_evaluation(folder) for folder in list_evaluations(run)] == [before]


def test_predictions_are_parquet_too_where_that_is_asked_for(store, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    run = make_run(tmp_path / "run", store)
    found = evaluate(run, None, ["swap"], resamples=0, parquet=True)
    table = parquet.read_table(run / "test_predictions.parquet").to_pydict()
    assert table["margin"] == found.predictions.margin.tolist()
    assert table["label"] == found.predictions.label.tolist()
    with (run / "test_predictions.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert list(table) == header
    assert run / "test_predictions.parquet" in found.files
    evaluate(run, None, ["swap"], frames=1, resamples=0)
    assert not (run / "test_predictions.parquet").exists(), "that was of another test"
    (earlier,) = (run / "evaluations").iterdir()
    assert (earlier / "test_predictions.parquet").is_file()


def test_runs_are_compared_on_the_test_that_both_have(store, tmp_path):
    one, other = (make_run(tmp_path / name, store, reals=("pool",)) for name in ("a", "b"))
    evaluate(one, None, ["swap"], resamples=0)
    evaluate(one, None, ["gan"], resamples=0)
    evaluate(other, None, ["swap"], resamples=0)
    found = compare(one, other, resamples=0)
    tested = read_evaluation(other).name
    assert (list(found.subsets), found.tests, found.also) == (["swap"], (tested, tested), ())
    third = make_run(tmp_path / "c", store, reals=("pool",))
    evaluate(third, None, ["gan"], resamples=0)
    with pytest.raises(InputError, match=r"no test was made of both: .*swap-.*gan-"):
        compare(other, third)
    gan = evaluate(other, None, ["gan"], resamples=0).record
    again = compare(one, other, resamples=0)
    assert (again.tests, again.also) == ((gan.name, gan.name), (tested,))
    earlier = one / "evaluations" / tested
    assert compare(earlier, other, resamples=0) == replace(found, also=())


def test_scores_of_another_detector_are_matched_by_the_paths_of_the_images(store, tmp_path):
    run = make_run(tmp_path / "run", store, reals=("pool",))
    evaluate(run, None, ["swap"], resamples=0)
    mine = run / "test_predictions.csv"
    head, *lines = mine.read_text().splitlines()
    assert head.startswith("path,")
    mine.write_text("\n".join([head, *(f"img/{line}" for line in lines)]))
    with mine.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    theirs = tmp_path / "theirs.csv"
    lines = [f"{row['path']},{row['label']},0.{row['label']}" for row in rows]
    theirs.write_text("\n".join(["path,label,score", *lines]))
    for one, other in ((run, theirs), (theirs, run)):
        assert compare(one, other, resamples=0).rows == len(rows)
    theirs.write_text(theirs.read_text().replace("\n", "\nelsewhere/"))
    with pytest.raises(InputError, match=f"the first has '{rows[0]['path']}', .* 'elsewhere/"):
        compare(run, theirs)


def test_rows_that_can_not_be_matched_are_refused():
    rows = [row("swap", n) for n in (3, 7)]
    one = Predictions.of_rows(rows, np.zeros(2))

    def refused(other, said):
        with pytest.raises(InputError, match=said):
            compare_predictions(one, other, (0, 0), how=Resampling(0))

    refused(one.take(np.array([0, 0, 1])), "listed twice")
    refused(one.take(np.array([0])), "share no fake row")
    refused(one.take(np.array([], int)), "share no row")
    refused(Predictions(**{**vars(one), "label": 1 - one.label}), "2 of 2 shared rows")
    refused(Predictions(**{**vars(one), "sample_id": np.array(["", "x"])}), "without names")
    refused(Predictions(**{**vars(one), "sample_id": np.array(["a", "b"])}), "names differ.*'a'")


def test_a_subset_that_is_named_twice_is_tested_once(store, tmp_path):
    run = make_run(tmp_path / "run", store)
    once = choose_rows(open_run(run), store, Asked(["gan"], reals=["pool"]))
    twice = choose_rows(open_run(run), store, Asked(["gan", "gan"], reals=["pool", "pool"]))
    assert twice.groups() == once.groups() and twice.beside == once.beside == {"gan": ("pool",)}
