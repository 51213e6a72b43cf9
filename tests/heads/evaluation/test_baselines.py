"""What needs no training: its AUC, where its direction comes from, and a detector's lead."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from clare.bootstrap import Figure, Resampling
from clare.errors import CorruptStoreError
from clare.heads.evaluation.baselines import feature_scores, measure_baselines
from clare.heads.evaluation.compare import compare_predictions
from clare.heads.evaluation.evaluate import evaluate
from clare.heads.evaluation.record import Baselines, read_evaluation
from clare.heads.evaluation.test_rows import choose_rows
from clare.heads.metrics.predictions import Predictions, evaluation_sets
from clare.heads.runs.run import open_run
from clare.heads.training.train_head import train_head
from clare.store.feature_store import create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from tests.figures import existing

COUNT, WIDTH, MAP = 60, 5, (2, 3, 4, 2, 2)
CLIP = Fingerprint("clip", 1, "aa")
LARE = Fingerprint("lare", 1, "bb")
SPECS = {
    "clip": FeatureSpec("clip_cls", (WIDTH,), "float32"),
    "lare": FeatureSpec("lare", MAP, "float16", channel_axis=-3),
}
SPLITS = ("train", "train", "val", "test", "test")
HOW = Resampling(200)


def make_row(n: int, subset: str = "toy") -> Row:
    columns = {"label": n % 2, "split": SPLITS[n // 2 % 5], "subset": subset}
    content = hashlib.sha256(f"{subset}{n}".encode()).hexdigest()
    return Row(sample_id=f"{subset}-{n}", view=0, content=content, columns=columns)


def turned(row: Row) -> float:
    """How a fake differs: in test rows the other way round."""
    return row.columns["label"] * (-1.0 if row.columns["split"] == "test" else 1.0)


def value_of(row: Row, extractor: str) -> np.ndarray:
    spec = SPECS[extractor]
    seed = hashlib.sha256(f"{row.sample_id}{extractor}".encode()).digest()
    values = np.random.default_rng(list(seed[:8])).normal(size=spec.shape)
    if extractor == "clip":  # reals have a direction of their own
        values[0] += 1.5 - 2 * turned(row)
    else:  # of the second timestep, labels say nothing
        values[0] += 0.4 * turned(row)
    return values.astype(spec.dtype)


def fill(store, rows, fingerprint=LARE, failed=()) -> None:
    """Every row's value of one extractor; some fail."""
    extractor = fingerprint.extractor
    subset = rows[0].columns["subset"]
    assigned = store.assign_rows(subset, rows)
    store.declare(fingerprint, [SPECS[extractor]])
    feature = store.feature(subset, extractor, fingerprint.digest)
    for shard in feature.pending():
        assert feature.claim(shard)
        mine = [one for one in assigned if one.slot // SHARD_ROWS == shard]
        values = np.zeros((SHARD_ROWS, *SPECS[extractor].shape), SPECS[extractor].dtype)
        for one in mine:
            values[one.slot % SHARD_ROWS] = value_of(one, extractor)
        bad = {one.slot % SHARD_ROWS: "bad" for one in mine if one.sample_id in failed}
        feature.write_shard(shard, {SPECS[extractor].field: values}, bad, {})
        feature.release(shard)


ROWS = [make_row(n) for n in range(COUNT)]


def of_split(*splits: str) -> list[Row]:
    return [row for row in ROWS if row.columns["split"] in splits]


def train(store, out, **settings):
    """A run on rows of "toy": of one epoch, for its figures don't matter here."""
    wanted = {"fusion": "cls", "classifier": "linear", "epochs": 1, "train": ["toy"], **settings}
    return train_head(store.path, out, device="cpu", **wanted).path


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = create_store(tmp_path_factory.mktemp("baselines") / "features.zarr")
    for fingerprint in (CLIP, LARE):
        fill(made, ROWS, fingerprint)
    return made


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    """A run that reads the class token alone."""
    return train(store, tmp_path_factory.mktemp("run") / "run")


def scores_of(run, store):
    """The scores of the run's test rows, and why some are left out."""
    opened = open_run(run, store)
    unseen = choose_rows(opened, store)
    found, notices = feature_scores(opened, store, unseen.rows())
    return found, [row for _, row in unseen.rows()], [str(one) for one in notices]


def unit(vectors) -> np.ndarray:
    plain = np.array(vectors, np.float64)
    return plain / np.linalg.norm(plain, axis=1, keepdims=True)


def plain_cosine(rows, reals) -> np.ndarray:
    centre = unit([value_of(row, "clip") for row in reals]).mean(0)
    return unit([value_of(row, "clip") for row in rows]) @ centre / np.linalg.norm(centre)


def test_figures_are_those_of_a_plain_reading_turned_as_in_training(store, run):
    report = evaluate(run, baselines=True, resamples=0).record
    found = existing(report.baselines).subsets["toy"]
    test = of_split("test")
    label = [row.columns["label"] for row in test]
    mean = [value_of(row, "lare")[0].astype(float).mean() for row in test]
    reals = [row for row in of_split("train") if not row.columns["label"]]
    # In training, fakes have more error and are farther from the reals: here it is the reverse.
    auc = existing(existing(found["mean_lare"]).value)
    assert auc == pytest.approx(roc_auc_score(label, mean)) and auc < 0.3
    cosine = plain_cosine(test, reals)
    auc = existing(existing(found["real_centroid"]).value)
    assert auc == pytest.approx(roc_auc_score(label, -cosine)) and auc < 0.3
    assert existing(found["mean_lare"]).n == len(test)


def test_the_centroid_is_of_training_reals_alone(store, run):
    found, rows, notices = scores_of(run, store)
    reals = [row for row in of_split("train") if not row.columns["label"]]
    assert found["real_centroid"] == pytest.approx(-plain_cosine(rows, reals), abs=1e-6)
    for others in (of_split("train"), [row for row in ROWS if not row.columns["label"]]):
        assert np.abs(found["real_centroid"] + plain_cosine(rows, others)).max() > 1e-3
    assert notices == []


def test_mean_lare_is_of_the_timestep_and_the_draws_that_the_run_reads(store, tmp_path):
    other = train(store, tmp_path / "run", fusion="lare", timestep=1, draws=2)
    found, rows, _ = scores_of(other, store)
    mean = np.array([value_of(row, "lare")[1, :2].astype(float).mean() for row in rows])
    assert np.abs(found["mean_lare"]) == pytest.approx(np.abs(mean), abs=1e-6)


def of_video(row: Row) -> Row:
    """Training rows are frames of one video a label."""
    video = f"v{row.columns['label']}" if row.columns["split"] == "train" else ""
    return replace(row, columns={**row.columns, "video_id": video})


def test_rows_that_came_after_training_decide_nothing_even_of_a_video_that_it_saw(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    for fingerprint in (CLIP, LARE):
        fill(store, [of_video(row) for row in ROWS], fingerprint)
    run = train(store, tmp_path / "run")
    before, rows, _ = scores_of(run, store)
    late = [of_video(make_row(n)) for n in range(COUNT, 2 * COUNT)]
    late = [row for row in late if row.columns["split"] == "train"]
    for fingerprint in (CLIP, LARE):
        fill(store, late, fingerprint)
    after, same, _ = scores_of(run, store)
    assert [row.sample_id for row in same] == [row.sample_id for row in rows]
    for name in ("mean_lare", "real_centroid"):
        assert (before[name] == after[name]).all()


def test_rows_without_a_value_have_no_score_and_what_is_not_settled_is_said(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    fill(store, ROWS, CLIP)
    run = train(store, tmp_path / "run")
    assert list(scores_of(run, store)[0]) == ["real_centroid"], "a store without LaRE"
    assert scores_of(run, store)[2] == []
    gone = of_split("test")[0].sample_id
    fill(store, ROWS, LARE, failed=(gone, of_split("train")[0].sample_id))
    found, rows, said = scores_of(run, store)
    assert set(found) == {"mean_lare", "real_centroid"} and said == []
    lacking = np.isnan(found["mean_lare"])
    assert [row.sample_id for row, is_so in zip(rows, lacking, strict=True) if is_so] == [gone]
    fill(store, ROWS, Fingerprint("lare", 1, "cc"))
    found, _, (said,) = scores_of(run, store)
    assert list(found) == ["real_centroid"] and "several lare features fit" in said
    reading = train(store, tmp_path / "lare", fusion="lare", features={"lare": "latest"})
    assert set(scores_of(reading, store)[0]) == {"mean_lare", "real_centroid"}


def test_damaged_features_are_no_missing_ones(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    for fingerprint in (CLIP, LARE):
        fill(store, ROWS, fingerprint)
    run = train(store, tmp_path / "run")
    file = next((store.path / "arrays").rglob("lare-*/**/c/0/*"))
    file = next(one for one in [file, *file.rglob("*")] if one.is_file())
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptStoreError):
        scores_of(run, store)


def test_where_training_rows_are_not_at_hand_nothing_is_turned(store, run, tmp_path):
    other = create_store(tmp_path / "other.zarr")
    foreign = [make_row(n, "foreign") for n in range(COUNT)]
    for fingerprint in (CLIP, LARE):
        fill(other, foreign, fingerprint)
    opened = open_run(run, store)
    rows = [("foreign", row) for row in other.rows("foreign")]
    assert set(feature_scores(opened, other, rows)[0]) == {"mean_lare", "real_centroid"}
    lost = replace(opened, record=replace(opened.record, store=str(tmp_path / "gone.zarr")))
    found, (notice,) = feature_scores(lost, other, rows)
    assert found == {}
    assert "mean LaRE and cosine to the real centroid are not among the baselines" in str(notice)


def test_values_of_another_fingerprint_tell_nothing_about_the_training_rows(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    others = [make_row(n, "other") for n in range(COUNT)]
    for rows, digest in ((ROWS, "bb"), (others, "cc")):
        fill(store, rows, CLIP)
        fill(store, rows, replace(LARE, weights=digest))
    opened = open_run(train(store, tmp_path / "run"), store)
    tested = [("other", row) for row in store.rows("other")]
    found, (notice,) = feature_scores(opened, store, tested)
    keys = sorted(key for key in store.extractor_keys() if key.startswith("lare"))
    assert list(found) == ["real_centroid"] and len(keys) == 2
    told = str(notice).partition("mean LaRE is not among the baselines: ")[2]
    assert told == f"training and test rows have several: {', '.join(keys)}"


@pytest.mark.parametrize("label", [0, 1])
def test_a_direction_needs_training_rows_of_both_labels(tmp_path, label):
    store = create_store(tmp_path / "features.zarr")
    fill(store, ROWS, CLIP)
    lacking = [row.sample_id for row in of_split("train") if row.columns["label"] == label]
    fill(store, ROWS, LARE, failed=lacking)
    found, _, (said,) = scores_of(train(store, tmp_path / "run"), store)
    assert list(found) == ["real_centroid"]
    assert "mean LaRE is not among the baselines: no training rows of both labels have it" in said


def test_a_store_of_other_rows_of_the_trained_subset_decides_nothing(store, run, tmp_path):
    other = create_store(tmp_path / "other.zarr")
    for fingerprint in (CLIP, LARE):
        fill(other, [make_row(n) for n in range(COUNT, 2 * COUNT)], fingerprint)
    opened = open_run(run, store)
    lost = replace(opened, record=replace(opened.record, store=str(tmp_path / "gone.zarr")))
    tested = [("toy", row) for row in other.rows("toy") if row.columns["split"] == "test"]
    found, (notice,) = feature_scores(lost, other, tested)
    assert found == {}
    assert f"{other.path} has none of the rows that run was trained on" in str(notice)


GENERATOR = np.random.default_rng(3)
LABEL = np.arange(80) % 2
MARGIN = GENERATOR.normal(size=80) + 1.5 * LABEL
NEAR = MARGIN + 0.7 * GENERATOR.normal(size=80)
CLUSTER = np.array([f"v{n // 4}-{n % 2}" for n in range(80)])
PREDICTIONS = Predictions(
    sample_id=np.array([f"{n}" for n in range(80)]),
    subset=np.array(["toy"] * 80),
    category=np.array([""] * 80),
    label=LABEL,
    margin=MARGIN,
    video=np.array([""] * 80),
    cluster=CLUSTER,
)
SETS = evaluation_sets(PREDICTIONS)


def test_a_lead_and_its_interval_are_those_of_compare():
    beside = replace(PREDICTIONS, margin=NEAR)
    pair = compare_predictions(beside, PREDICTIONS, (None, None), how=HOW).subsets["toy"]
    found = measure_baselines(SETS, PREDICTIONS, {}, {"near": NEAR}, HOW)
    assert found.subsets["toy"]["near"] == pair.first["auc"]
    assert found.lead("toy", "near") == pair.difference["auc"]
    # A shortcut counts in the direction that tells more; its resamples are the same ones.
    free = measure_baselines(SETS, PREDICTIONS, {"near": -NEAR}, {}, HOW)
    assert free.lead("toy", "near") == pair.difference["auc"]
    narrow, own = existing(found.lead("toy", "near")), pair.second["auc"]
    assert existing(narrow.high) - existing(narrow.low) < existing(own.high) - existing(own.low)


def test_a_lead_is_of_the_rows_that_have_a_value():
    known = np.arange(80) >= 20
    values = np.where(known, NEAR, np.nan)
    found = measure_baselines(SETS, PREDICTIONS, {"bytes": values}, {"near": NEAR}, HOW)
    lead = existing(found.lead("toy", "bytes"))
    own = roc_auc_score(LABEL[known], MARGIN[known])
    assert lead.n == 60
    assert lead.value == pytest.approx(own - roc_auc_score(LABEL[known], NEAR[known]))
    assert existing(found.lead("toy", "near")).n == 80


@pytest.mark.parametrize("equal", [MARGIN, 3 * MARGIN + 1, np.exp(MARGIN)])
def test_a_head_that_ranks_as_its_baseline_never_beats_it(equal):
    found = measure_baselines(SETS, PREDICTIONS, {"bytes": equal}, {"mean_lare": equal}, HOW)
    for name in ("bytes", "mean_lare"):
        assert existing(found.lead("toy", name)) == Figure(0.0, 0.0, 0.0, 80)
        assert found.verdict("toy", name) == "no"


def test_every_baseline_has_to_be_beaten():
    figure, wide = Figure(0.02, 0.01, 0.03, 9), Figure(0.05, -0.01, 0.1, 9)
    aucs = {
        "bytes": Figure(0.9, None, None, 9),
        "size": Figure(0.87, None, None, 9),
        "format": None,
    }
    found = Baselines(None, {"a": aucs}, {"a": {"bytes": figure, "size": wide, "format": None}})
    assert found.verdict("a", "bytes") == "yes" and found.verdict("a", "size") == "not clearly"
    assert found.hardest("a") == "size" and found.hardest("b") is None
    both = replace(found, ahead={"a": {"bytes": figure, "size": figure}})
    assert both.hardest("a") == "bytes" and both.verdict("a", "bytes") == "yes"
    bare = replace(found, ahead={"a": {name: Figure(0.1, None, None, 9) for name in aucs}})
    assert bare.verdict("a", "bytes") == "not clearly", "without an interval"


def test_a_record_without_leads_opens_and_claims_nothing(run):
    evaluate(run, baselines=True, resamples=20)
    path = run / "test_metrics.json"
    record = json.loads(path.read_text())
    assert record["baselines"].pop("ahead")["toy"]["mean_lare"]["n"] == 24
    path.write_text(json.dumps(record))
    found = existing(read_evaluation(run).baselines)
    assert existing(found.subsets["toy"]["mean_lare"]).n == 24
    hardest = existing(found.hardest("toy"))
    assert found.verdict("toy", hardest) == "unknown"
