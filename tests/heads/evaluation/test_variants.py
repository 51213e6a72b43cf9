"""Figures of deliveries: of the same images, at the clean threshold, paired, the worst named."""

import csv

import numpy as np
import pytest

from clare.bootstrap import Resampling
from clare.heads.evaluation.test_rows import UnseenRows
from clare.heads.evaluation.variant_results import VariantFigures, write_variants
from clare.heads.evaluation.variants import Delivered, measure_variants
from clare.heads.metrics.predictions import Predictions
from clare.store.row import Row

HOW = Resampling(300)
STEPS = {"low": "jpeg 5", "half": "resize 0.5 back"}
NOTHING = UnseenRows({}, {}, {}, {}, {}, ())


def predictions(margin, label, subsets=None, beside=None):
    subsets = subsets or ["s"] * len(label)
    rows = [
        Row(sample_id=f"{n}", view=0, content=f"{n}", columns={"subset": name, "label": one})
        for n, (one, name) in enumerate(zip(label, subsets, strict=True))
    ]
    return Predictions.of_rows(rows, np.asarray(margin, float), subsets, beside)


def measured(clean, scores, threshold=0.0, how=HOW, **which):
    """Scores by delivery, of the places in ``which`` or of all."""
    names, places, margins = [], [], []
    for name, own in scores.items():
        for place, margin in zip(which.get(name, range(len(clean))), own, strict=True):
            names.append(name)
            places.append([place])
            margins.append(margin)
    delivered = Delivered(NOTHING, names, STEPS, places)
    return measure_variants(delivered, np.array(margins, float), clean, threshold, how)


@pytest.fixture
def clean():
    """Twenty of each label, told apart but for two of either."""
    rng = np.random.default_rng(0)
    margin = np.concatenate([rng.normal(-2, 0.5, 20), rng.normal(2, 0.5, 20)])
    margin[[0, 1, 20, 21]] *= -1
    return predictions(margin, [0] * 20 + [1] * 20)


def test_figures_are_of_the_delivered_images_at_the_threshold_given(clean):
    called_fake = clean.margin + 3
    found = measured(clean, {"low": called_fake, "half": clean.margin})["s"]
    assert (found.real, found.fake) == (20, 20) and not found.missing
    assert found.clean["accuracy"].value == pytest.approx(0.9)
    assert found.clean["fpr"].value == pytest.approx(0.1)
    low = found.deliveries["low"]
    assert low.steps == "jpeg 5" and (low.real, low.fake) == (20, 20)
    assert low.figures["auc"].value == low.clean["auc"].value == found.clean["auc"].value
    assert low.figures["accuracy"].value == pytest.approx(
        np.mean((called_fake >= 0) == clean.label)
    )
    assert low.figures["fpr"].value == pytest.approx(0.95)
    assert low.change["fpr"].value == pytest.approx(0.85)
    assert low.change["accuracy"].value == pytest.approx(low.figures["accuracy"].value - 0.9)


def test_a_change_is_paired_and_one_that_is_none_has_no_width(clean):
    found = measured(clean, {"half": clean.margin, "low": clean.margin * 0.5})["s"]
    assert found.told == ["no delivery lowers the AUC"]
    for one in found.deliveries.values():
        for figure in one.change.values():
            assert figure.value == figure.low == figure.high == 0
    shifted = measured(clean, {"low": clean.margin - 2})["s"].deliveries["low"]
    fpr = shifted.change["fpr"]
    assert fpr.low is not None and fpr.high is not None and fpr.low < fpr.value < fpr.high <= 0
    assert measured(clean, {"low": clean.margin}, how=Resampling(0))["s"].clean["auc"].low is None


def test_the_worst_delivery_is_named_by_auc_and_else_by_accuracy(clean):
    flipped = np.where(np.arange(40) < 10, 3.0, clean.margin)
    found = measured(clean, {"half": clean.margin, "low": flipped})["s"]
    assert found.worst == "low"
    assert found.told[0].startswith("worst of 2: low (jpeg 5), AUC -0.")
    fakes = predictions(clean.margin[20:], [1] * 20)
    alone = measured(fakes, {"half": fakes.margin, "low": fakes.margin - 9})["s"]
    assert alone.clean["auc"].value is None and alone.clean["fpr"].value is None
    assert alone.worst == "low" and "accuracy -0." in alone.told[0]


def test_an_image_that_is_not_delivered_is_in_neither_figure(clean):
    some = [*range(2, 20), *range(22, 40)]
    found = measured(clean, {"low": clean.margin[some], "half": clean.margin}, low=some)["s"]
    low = found.deliveries["low"]
    assert (low.real, low.fake) == (18, 18)
    assert low.clean["accuracy"].value == low.figures["accuracy"].value == 1.0
    assert found.clean["accuracy"].value == pytest.approx(0.9)
    assert found.missing == {"low": 4}
    assert "4 of 40 rows are not delivered as low" in found.told[1]


def test_reals_of_another_subset_stand_beside_where_they_are_delivered_too(clean):
    subsets = ["pool"] * 20 + ["s"] * 20
    rows = predictions(clean.margin, clean.label.tolist(), subsets, {"s": ("pool",)})
    found = measured(rows, {"low": rows.margin - 1})
    assert list(found) == ["s"] and (found["s"].real, found["s"].fake) == (20, 20)
    assert found["s"].deliveries["low"].figures["auc"].value is not None
    fakes = list(range(20, 40))
    lone = measured(rows, {"low": rows.margin[fakes]}, low=fakes)["s"]
    assert lone.deliveries["low"].figures["auc"].value is None
    assert "no real is delivered so" in lone.told[-1]
    reals = list(range(20))
    assert measured(rows, {"low": rows.margin[reals]}, low=reals) == {}


def test_the_table_has_a_line_for_the_images_as_they_are_and_one_a_delivery(clean, tmp_path):
    found = measured(clean, {"low": clean.margin - 2, "half": clean.margin})
    assert isinstance(found["s"], VariantFigures)
    write_variants(found, tmp_path / "v.csv")
    with (tmp_path / "v.csv").open(newline="") as file:
        first, low, half = csv.DictReader(file)
    assert [first["delivery"], low["delivery"], half["delivery"]] == ["clean", "low", "half"]
    assert low["steps"] == "jpeg 5" and first["auc_change"] == ""
    assert float(first["auc"]) == found["s"].clean["auc"].value
    assert float(low["fpr_change_low"]) == found["s"].deliveries["low"].change["fpr"].low
