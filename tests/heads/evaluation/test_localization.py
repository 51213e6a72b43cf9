"""A localiser on test rows: figures at the masks' own size, baselines, and what has no mask."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, jaccard_score
from torch.nn import functional

from clare.errors import InputError
from clare.heads.config import DetectorConfig, TrainConfig, create_config
from clare.heads.data.dataset import FeatureDataset
from clare.heads.evaluation.compare import compare
from clare.heads.evaluation.evaluate import evaluate, write_matrix
from clare.heads.evaluation.record import read_evaluation
from clare.heads.evaluation.variant_results import MASK_FIGURES
from clare.heads.localizer import Localizer
from clare.heads.runs.run import open_run
from clare.heads.training.trainer import train_run
from clare.store.feature_store import create_store
from clare.store.spec import Fingerprint
from tests.figures import existing
from tests.heads.masked_store import SPECS, fill, fill_feature, make_rows

CONFIG = TrainConfig(
    DetectorConfig(decoder="linear"),
    train=("local",),
    select="iou",
    lr=0.1,
    warmup_epochs=0,
    epochs=2,
    batch=8,
)


@pytest.fixture(scope="module")
def run(masked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("localiser") / "run"
    train_run(CONFIG, masked.path, folder)
    return folder


def table(run):
    with (run / "test_predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_figures_are_scikit_learns_on_the_stored_masks(run, masked):
    found = evaluate(run, subsets=["local"], resamples=50).record
    assert found == read_evaluation(run) and found.masks is not None
    detector = open_run(run).detector
    assert isinstance(detector, Localizer)
    data = FeatureDataset(masked, ["clip_tokens", "mask"], subsets=["local"], split="test")
    batch = data.read(range(len(data)))
    with torch.no_grad():
        maps = detector.maps(batch).sigmoid()
    # As the published code: antialiased to the mask's own size, here the stored one.
    small = functional.interpolate(maps[:, None], (32, 32), mode="bilinear", antialias=True)
    values, truths = small[:, 0].numpy().reshape(8, -1), batch["mask"].numpy().reshape(8, -1) > 127
    expected = {
        "iou": np.mean([jaccard_score(t, v > 0.5) for t, v in zip(truths, values, strict=True)]),
        "f1": np.mean([f1_score(t, v > 0.5) for t, v in zip(truths, values, strict=True)]),
        "ap": np.mean([average_precision_score(t, v) for t, v in zip(truths, values, strict=True)]),
    }
    figures = found.masks.subsets["local"].figures
    for name, value in expected.items():
        assert figures[name].value == pytest.approx(value, abs=1e-6) and figures[name].n == 8
    lines = table(run)
    assert [line["path"] for line in lines] == list(data.sample_ids)
    ious = [float(line["iou"]) for line in lines]
    assert np.mean(ious) == pytest.approx(expected["iou"], abs=1e-6)


def test_a_run_is_compared_by_what_its_evaluation_wrote(run):
    found = evaluate(run, subsets=["local"], resamples=0).record
    compared = compare(run, run / "test_predictions.csv", resamples=0)
    pair = compared.masks["local"]
    assert found.masks is not None and not compared.detects
    for name, figure in found.masks.subsets["local"].figures.items():
        assert pair.first[name].value == pytest.approx(figure.value) and pair.first[name].n <= 8
        assert pair.difference[name].value in (0, None)


def test_fakes_need_no_reals_and_reals_beside_them_give_detection(run):
    alone = evaluate(run, subsets=["local"], resamples=0)
    assert alone.record.aucs == {"local": None} and alone.record.threshold is None
    beside = evaluate(run, subsets=["local"], reals=["pool"], resamples=0)
    assert beside.record.aucs["local"] is not None and beside.record.aucs["local"] > 0.9
    assert beside.record.masks is not None and not beside.record.masks.saw_reals
    area = beside.record.masks.subsets["local"].figures["false_area"]
    assert area.n == 4 and area.value is not None and area.value < 0.2
    assert any("saw no real image" in str(note) for note in beside.notices)


def test_baselines_choose_their_cut_on_validation(run):
    found = evaluate(run, subsets=["local"], baselines=True, resamples=50)
    masks = found.record.masks
    assert masks is not None and found.record.baselines is None
    beaten = masks.subsets["local"].baselines
    assert set(beaten) == {"all fake", "centre ellipse", "LaRE"}
    assert beaten["all fake"].figures["iou"].value == pytest.approx(0.25)
    assert set(masks.cuts) == {"LaRE"}
    own = masks.subsets["local"].figures["iou"].value
    assert own is not None
    for one in beaten.values():
        assert one.figures["iou"].value is not None and one.ahead["iou"].n == 8
        lead = own - one.figures["iou"].value
        assert one.ahead["iou"].value == pytest.approx(lead)
    assert any("Laplacian is not among the baselines" in str(note) for note in found.notices)


def test_a_mask_is_measured_at_its_own_size(tmp_path):
    """A stored mask brought back by its nearest neighbours; finer ones are named."""
    store = create_store(tmp_path / "features.zarr")
    sizes = {"mask_width": 20, "mask_height": 12}
    rows = make_rows("local", 1, 24)
    large = {"mask_width": 64, "mask_height": 64}
    rows = [
        replace(row, columns={**row.columns, **(large if n == 5 else sizes)})
        for n, row in enumerate(rows)
    ]
    fill(store, "local", rows)
    train_run(CONFIG, store.path, tmp_path / "run")
    found = evaluate(tmp_path / "run", store, ["local"], resamples=0)
    detector = open_run(tmp_path / "run").detector
    assert isinstance(detector, Localizer)
    data = FeatureDataset(store, ["clip_tokens", "mask"], subsets=["local"], split="test")
    batch = data.read([1])
    with torch.no_grad():
        maps = detector.maps(batch).sigmoid()[:, None]
    called = functional.interpolate(maps, (12, 20), mode="bilinear", antialias=True)[0, 0] > 0.5
    own = functional.interpolate(batch["mask"][:, None].float(), (12, 20), mode="nearest-exact")
    truth = own[0, 0] > 127
    iou = ((called & truth).sum() / (called | truth).sum()).item()
    assert float(table(tmp_path / "run")[1]["iou"]) == pytest.approx(iou)
    (finer,) = [str(note) for note in found.notices if "finer" in str(note)]
    assert "1 mask" in finer and "local/5" in finer and "32 x 32" in finer


def test_fakes_without_masks_are_counted_and_in_no_figure(run):
    found = evaluate(run, subsets=["local", "bare"], resamples=0)
    masks = found.record.masks
    assert masks is not None
    assert masks.subsets["bare"].without_mask == 4 and not masks.subsets["bare"].figures
    assert masks.mean["iou"].value == masks.subsets["local"].figures["iou"].value
    assert any("bare: 4 fakes without a mask" in str(note) for note in found.notices)


def test_a_run_from_labels_is_measured_by_masks_that_it_never_saw(masked, tmp_path):
    config = create_config(
        {"supervision": "image", "reals": ("pool",), "select": "auc", "epochs": 6}, CONFIG
    )
    train_run(config, masked.path, tmp_path / "run")
    found = evaluate(tmp_path / "run", subsets=["local"], baselines=True, resamples=0).record
    assert found.masks is not None and found.masks.saw_reals and found.baselines is not None
    assert found.threshold is not None and found.aucs["local"] is not None
    assert found.masks.subsets["local"].figures["iou"].value is not None


def test_the_matrix_of_localisers_is_of_iou(run, tmp_path, drawn):
    result = evaluate(run, subsets=["local"], resamples=0)
    write_matrix([result, result], tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 1000


def test_rows_that_it_was_trained_on_are_refused(run, masked):
    with pytest.raises(InputError, match="share"):
        evaluate(run, subsets=["local"], split="train", resamples=0)


BY_LABEL = create_config(
    {"supervision": "image", "reals": ("pool",), "select": "auc", "epochs": 1}, CONFIG
)
CUT_OUT = {"images": {"crop": "boxes", "margin": 0.3}}


def filled(path, local=None, **settings):
    """A store of 24 fakes with masks (or some others) and 12 reals."""
    store = create_store(path)
    fill(store, "local", local or make_rows("local", 1, 24), settings)
    fill(store, "pool", make_rows("pool", 0, 12), settings)
    return store


def notes_of(found):
    return [str(note) for note in found.notices]


def test_masks_of_another_crop_are_not_looked_at(tmp_path):
    store = filled(tmp_path / "features.zarr", mask=CUT_OUT)
    train_run(BY_LABEL, store.path, tmp_path / "run")
    found = evaluate(tmp_path / "run", subsets=["local"], baselines=True, resamples=0)
    masks = found.record.masks
    assert masks is not None and masks.subsets["local"].figures["iou"].value is None
    (said,) = [note for note in notes_of(found) if "not looked at" in note]
    assert "cut out of the images otherwise" in said and "boxes" in said
    assert not any("without a mask" in note for note in notes_of(found))


def test_a_baseline_of_another_crop_is_left_out(tmp_path):
    store = filled(tmp_path / "features.zarr", lare=CUT_OUT)
    train_run(CONFIG, store.path, tmp_path / "run")
    found = evaluate(tmp_path / "run", subsets=["local"], baselines=True, resamples=0)
    assert found.record.masks is not None
    assert set(found.record.masks.subsets["local"].baselines) == {"all fake", "centre ellipse"}
    (said,) = [note for note in notes_of(found) if note.startswith("LaRE is not among")]
    assert "cut out of the images otherwise" in said


def test_cut_out_faces_are_measured_at_the_stored_size_which_is_said(tmp_path):
    store = filled(tmp_path / "features.zarr", **dict.fromkeys(SPECS, CUT_OUT))
    train_run(CONFIG, store.path, tmp_path / "run")
    found = evaluate(tmp_path / "run", subsets=["local"], resamples=0)
    (said,) = [note for note in notes_of(found) if "stored" in note]
    assert "32 x 32" in said and "not at the size of their files" in said


def test_of_several_masks_those_begun_last_that_lie_as_the_features_are_taken(tmp_path):
    rows = make_rows("local", 1, 24)
    store = filled(tmp_path / "features.zarr", rows)
    train_run(BY_LABEL, store.path, tmp_path / "run")
    alone = evaluate(tmp_path / "run", subsets=["local"], resamples=0).record.masks
    second = Fingerprint("mask", 2, "aa", {})
    for fingerprint in (second, Fingerprint("mask", 2, "aa", CUT_OUT)):
        fill_feature(store, "local", rows, fingerprint, SPECS["mask"])
    found = evaluate(tmp_path / "run", subsets=["local"], resamples=0)
    assert found.record.masks == alone
    (said,) = [note for note in notes_of(found) if "several masks" in note]
    assert second.key in said


def test_a_fake_whose_mask_marks_nothing_is_in_no_figure(tmp_path, monkeypatch):
    from tests.heads import masked_store

    usual = masked_store.values_of

    def values_of(row, spec):
        empty = spec.field == "mask" and row.sample_id == "local/5"
        return np.zeros(spec.shape, spec.dtype) if empty else usual(row, spec)

    monkeypatch.setattr(masked_store, "values_of", values_of)
    store = filled(tmp_path / "features.zarr")
    train_run(CONFIG, store.path, tmp_path / "run")
    found = evaluate(tmp_path / "run", subsets=["local"], reals=["pool"], resamples=0).record
    assert found.masks is not None
    local = found.masks.subsets["local"]
    assert local.figures["iou"].n == 3 and local.figures["false_area"].n == 2
    assert local.cases["unmarked"] == 1 and local.cases["real"] == 2 and not local.without_mask
    (line,) = [one for one in table(tmp_path / "run") if one["path"] == "local/5"]
    assert line["false_area"] == "" == line["iou"]


def test_a_baselines_cut_is_of_the_rows_that_the_run_was_chosen_on(tmp_path):
    cuts = []
    for other in ("val", "train"):
        beside = {"domain": "b", "split": other}
        rows = [
            replace(row, columns={**row.columns, **({"domain": "a"} if n < 12 else beside)})
            for n, row in enumerate(make_rows("local", 1, 48))
        ]
        store = filled(tmp_path / f"{other}.zarr", rows)
        train_run(replace(CONFIG, domains=("a",)), store.path, tmp_path / other)
        found = evaluate(tmp_path / other, subsets=["local"], baselines=True, resamples=0).record
        assert found.masks is not None
        cuts.append(found.masks.cuts["LaRE"])
    assert cuts[0] == cuts[1]


def test_a_cut_is_not_taken_from_values_of_another_fingerprint(masked, run, tmp_path):
    other = create_store(tmp_path / "features.zarr")
    fill(other, "few", make_rows("few", 1, 12), {"lare": {"timestep": 1}})
    found = evaluate(run, other, ["few"], baselines=True, resamples=0)
    assert found.record.masks is not None and not found.record.masks.cuts
    (said,) = [note for note in notes_of(found) if note.startswith("LaRE is not among")]
    assert "several fingerprints" in said


def test_masks_of_deliveries_are_those_that_went_with_the_images(run, tmp_path):
    store = create_store(tmp_path / "features.zarr")
    rows = make_rows("local", 1, 48)
    told = {"delivery": "half", "delivery_steps": "resize 0.5", "parent_subset": "local"}
    delivered = [
        replace(
            row,
            sample_id=f"{row.sample_id}#half",  # another quarter is marked: the image was moved
            columns={**row.columns, **told, "parent_id": row.sample_id},
        )
        for row in rows
        if row.columns["split"] == "test"
    ]
    gone = replace(delivered[0], columns={**delivered[0].columns, "blank": True})
    alone = [replace(one, columns={**rows[5].columns, "subset": "alone"}) for one in delivered[1:]]
    fill(store, "local", rows)
    fill(store, "local_variants", [gone, *delivered[1:]])
    fill(store, "alone", alone)
    by_hand = existing(evaluate(run, store, ["alone"], resamples=0).record.masks).subsets["alone"]
    found = evaluate(run, store, ["local"], variants=True, resamples=20).record
    (half,) = found.variants["local"].deliveries.values()
    masks = existing(half.masks)
    own = existing(found.masks).subsets["local"].figures
    assert own["iou"].n == len(delivered) == 8
    for name in MASK_FIGURES:
        figure, change = masks.figures[name], masks.change[name]
        assert figure.value == pytest.approx(by_hand.figures[name].value)
        assert figure.n == masks.clean[name].n == 7, "a mask that was cut away is in neither"
        assert change.value == pytest.approx(
            existing(figure.value) - existing(masks.clean[name].value)
        )
        assert existing(change.low) <= existing(change.value) <= existing(change.high)
    with (run / "test_variants.csv").open(newline="") as file:
        assert float(list(csv.DictReader(file))[1]["iou"]) == masks.figures["iou"].value


def test_a_reals_mask_marks_nothing(tmp_path):
    """Whatever a manifest says of it."""
    store = create_store(tmp_path / "features.zarr")
    rows = [
        replace(row, columns={**row.columns, "mask_path": "masks/odd.png"})
        for row in make_rows("pool", 0, 24)
    ]
    fill(store, "local", make_rows("local", 1, 24))
    fill(store, "pool", rows)
    found = evaluate(run_on(store, tmp_path), store, ["local"], reals=["pool"], resamples=0).record
    assert found.masks is not None
    figures = found.masks.subsets["local"].figures
    assert figures["iou"].n == 4 and figures["false_area"].n == 4


def run_on(store, folder):
    train_run(CONFIG, store.path, folder / "run")
    return folder / "run"
