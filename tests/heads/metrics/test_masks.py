"""Figures of localisation against scikit-learn, scipy and the published reading."""

import csv
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from sklearn import metrics as sk

from clare.bootstrap import Figure, Resampling
from clare.errors import InputError
from clare.heads.metrics.masks import (
    FIGURES,
    ORACLE,
    MaskFigures,
    columns_of,
    count_cases,
    mean_figures,
    measure_map,
    paired_difference,
    probability_map,
    resize_map,
)
from tests.figures import existing, low_value_high, width

TRUTHS = ("blobs", "dots", "line", "full", "empty", "half")


def truth_of(kind: str, shape: tuple[int, int], seed: int):
    """A soft mask, uint8: its values stand on both sides of 127."""
    generator = np.random.default_rng(seed)
    noise = generator.random(shape)
    if kind == "blobs":
        soft = ndimage.gaussian_filter(noise, 6)
        return np.uint8(255 * (soft - soft.min()) / max(np.ptp(soft), 1e-9))
    mask = np.zeros(shape, np.uint8)
    if kind == "dots":
        mask[noise < 0.1] = generator.integers(120, 256, (noise < 0.1).sum())
    if kind == "line":
        mask[:, shape[1] // 2] = 128
    if kind == "full":
        mask[:] = 255
    if kind == "half":
        mask[: (shape[0] + 1) // 2] = 200
    return mask


@st.composite
def images(draw):
    """A map and a mask of one odd size; few levels give ties."""
    shape = draw(st.tuples(st.integers(1, 45), st.integers(1, 45)))
    seed, levels = draw(st.integers(0, 999)), draw(st.sampled_from([1, 2, 5, 300, 10**6]))
    mask = truth_of(draw(st.sampled_from(TRUTHS)), shape, seed)
    noise = np.random.default_rng(seed + 1).random(shape)
    mixed = draw(st.floats(0, 1)) * (mask > 127) + noise
    levelled = np.round(mixed / max(mixed.max(), 1) * levels) / levels
    return levelled.astype(np.float32), mask


def squares(fake, side, outside):
    """(H, W, side, side) what stands around each pixel."""
    padded = np.pad(fake, side // 2, constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side))


def published_f1(probability, positive, negative) -> tuple[float, float]:
    """At 0.5, and the best of the image's own cuts: the pixels' values but the largest."""
    counted = positive | negative

    def f1(cut):
        called = probability > cut
        hit, alarm = (called & positive).sum(), (called & negative).sum()
        missed = (~called & positive).sum()
        return (2 * hit + 1e-32) / max(2 * hit + missed + alarm, 1e-32)

    cuts = np.unique(probability[counted])[:-1]
    return f1(0.5), max([f1(0.5), *(f1(cut) for cut in cuts)]) if len(cuts) else np.nan


@settings(max_examples=150, deadline=None)
@given(images())
def test_figures_are_those_of_scikit_learn_and_of_the_published_code(image):
    probability, mask = image
    found = measure_map(probability, mask)
    fake, called = mask > 127, probability > 0.5
    assert found.called_area == pytest.approx(called.mean())
    assert found.truth_area == pytest.approx(fake.mean())
    if not fake.any():
        present = {name for name in FIGURES if getattr(found, name) is not None}
        assert present == {"false_area"} and found.false_area == found.called_area
        return
    flat = fake.ravel(), called.ravel()
    assert found.iou == pytest.approx(sk.jaccard_score(*flat), abs=1e-6)
    assert found.f1 == pytest.approx(sk.f1_score(*flat), abs=1e-6)
    exact = sk.average_precision_score(fake.ravel(), probability.ravel())
    assert found.ap == pytest.approx(exact, abs=1e-6)
    assert existing(found.area_error) == pytest.approx(called.mean() - fake.mean(), abs=1e-6)
    assert found.false_area is None
    fixed, best = published_f1(probability, fake, ~fake)
    assert found.f1 == pytest.approx(fixed, abs=1e-6)
    assert found.f1_oracle == pytest.approx(fixed if np.isnan(best) else best, abs=1e-6)

    positive = squares(fake, 15, True).all((2, 3))
    negative = ~squares(fake, 11, False).any((2, 3))
    assert found.thin == (not positive.any())
    if found.thin:
        assert found.f1_inner is None and found.f1_inner_oracle is None
        return
    fixed, best = published_f1(probability, positive, negative)
    assert found.f1_inner == pytest.approx(fixed, abs=1e-6)
    assert found.f1_inner_oracle == pytest.approx(fixed if np.isnan(best) else best, abs=1e-6)


def square(side=20, of=41):
    """A fake square in the middle of a mask."""
    mask, start = np.zeros((of, of), np.uint8), (of - side) // 2
    mask[start : start + side, start : start + side] = 255
    return mask


def test_a_boundary_of_a_few_pixels_does_not_count_inside():
    found = measure_map(square(26) / 255, square(20))
    assert found.iou == pytest.approx(400 / 676)
    assert found.f1_inner == found.f1_inner_oracle == 1


def test_a_constant_map_keeps_the_f1_of_its_cut():
    mask = square(20)
    share = 400 / 41**2
    below, above = (measure_map(np.full(mask.shape, p), mask) for p in (0.5, 0.6))
    assert below.constant and above.constant
    assert (below.iou, below.f1, below.f1_oracle, below.f1_inner, below.f1_inner_oracle) == (0,) * 5
    assert above.f1 == above.f1_oracle == pytest.approx(2 * share / (1 + share))
    assert above.f1_inner == above.f1_inner_oracle
    assert below.ap == above.ap == pytest.approx(share) == above.iou
    assert below.area_error == pytest.approx(-share)


def test_a_map_that_varies_in_the_ring_alone_has_inner_figures():
    probability = np.full((41, 41), 0.7)
    probability[10, 12] = 0.2  # within the square, in the ring
    found = measure_map(probability, square(20))
    assert not found.constant
    assert found.f1_inner == found.f1_inner_oracle and existing(found.f1_inner) > 0


def test_a_full_truth_has_every_figure():
    probability = np.linspace(0, 1, 400).reshape(20, 20)
    found = measure_map(probability, np.full((20, 20), 255, np.uint8))
    assert found.iou == 0.5 == -existing(found.area_error) and found.ap == 1
    assert found.f1 == found.f1_inner == pytest.approx(2 / 3)
    # All but the lowest pixel are called at the lowest cut.
    assert found.f1_oracle == found.f1_inner_oracle == pytest.approx(2 * 399 / 799)


def test_a_mask_that_the_erosion_takes_has_outer_figures_alone():
    found = measure_map(square(14) / 255, square(14))
    assert found.thin and found.f1_inner is None and found.f1_inner_oracle is None
    assert found.iou == found.f1 == found.ap == 1
    assert not measure_map(square(15) / 255, square(15)).thin
    # A single fake pixel whose ring covers the picture.
    assert measure_map(np.zeros((9, 9)), square(1, of=9)).f1_inner is None


def test_both_sides_of_the_cut_are_strict():
    mask = np.array([[127, 128]], np.uint8)
    assert measure_map(np.array([[0.5, 0.6]]), mask).iou == 1
    assert measure_map(np.array([[0.6, 0.5]]), mask).iou == 0
    assert measure_map(np.array([[0.1, 0.2]]), mask, cut=0.1).iou == 1
    assert measure_map(np.array([[0.1, 0.2]]), mask == 128, cut=0.1).iou == 1


def test_minus_zero_is_zero():
    found = measure_map(np.array([[-0.0, 0.0, 0.5]]), np.array([[0, 255, 255]], np.uint8))
    assert found.ap == pytest.approx(sk.average_precision_score([0, 1, 1], [0, 0, 0.5]))


@pytest.mark.parametrize(
    ("probability", "mask", "said"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), np.uint8), "bring the map to the mask's size"),
        (np.zeros((2, 2)), np.zeros((2, 2), np.float32), "a mask is float32"),
        (np.zeros((0, 2)), np.zeros((0, 2), np.uint8), "it must be"),
        (np.full((2, 2), 1.01), np.zeros((2, 2), np.uint8), "no probabilities"),
        (np.full((2, 2), np.nan), np.zeros((2, 2), np.uint8), "no probabilities"),
        (np.array([[0, -3.0]]), np.zeros((1, 2), np.uint8), "no probabilities"),
    ],
)
def test_what_is_no_map_or_no_mask_is_refused(probability, mask, said):
    with pytest.raises(InputError, match=said):
        measure_map(probability, mask)


@pytest.mark.parametrize("shape", [(37, 91), (64, 64), (201, 150)])
def test_a_map_is_brought_to_the_masks_size_as_pillow_does(shape):
    logits = np.random.default_rng(0).normal(0, 9, (64, 64)).astype(np.float32)
    probability = Image.fromarray(1 / (1 + np.exp(-logits)))
    expected = np.asarray(probability.resize(shape[::-1], Image.Resampling.BILINEAR))
    found = probability_map(logits, shape)
    assert found.dtype == np.float32 and found.shape == shape
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(probability_map(torch.from_numpy(logits), shape), found)
    assert found.min() >= 0 and found.max() <= 1
    # Without care the weights of some sizes add up to a little more.
    assert resize_map(np.ones((64, 64), np.float16), (5, 8)).max() == 1


def several(count, seed=0, shift=0.4) -> list[MaskFigures]:
    """Figures of as many images; every fifth is real, every other fifth is thin."""
    found = []
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        mask = square((0, 5, 20, 22, 24)[number % 5], of=31)
        probability = np.clip(generator.random(mask.shape) * 0.7 + shift * (mask > 127) - 0.1, 0, 1)
        found.append(measure_map(probability * generator.uniform(0.7, 1), mask))
    return found


def names(count, of="image"):
    return np.array([f"{of} {n}" for n in range(count)])


def test_a_mean_counts_the_images_that_have_the_figure():
    measured = several(50)
    found = mean_figures(measured, names(50), Resampling(200))
    assert tuple(found) == FIGURES and {*ORACLE} < {*FIGURES}
    numbers = {name: figure.n for name, figure in found.items()}
    fakes = dict.fromkeys(("iou", "f1", "f1_oracle", "ap", "area_error"), 40)
    assert numbers == fakes | {"f1_inner": 30, "f1_inner_oracle": 30, "false_area": 10}
    for name, figure in found.items():
        every = [getattr(one, name) for one in measured]
        low, value, high = low_value_high(figure)
        assert value == pytest.approx(np.mean([v for v in every if v is not None]))
        assert low < value < high
    expected = {"images": 50, "real": 10, "full": 0, "thin": 10, "constant": 0}
    assert count_cases(measured) == expected
    full = measure_map(np.zeros((3, 3)), np.full((3, 3), 255, np.uint8))
    expected = {"images": 1, "real": 0, "full": 1, "thin": 0, "constant": 1}
    assert count_cases([full]) == expected


def test_an_interval_is_of_clusters():
    measured = several(60)
    alone = mean_figures(measured, names(60), Resampling(300))["iou"]
    eight = mean_figures(measured * 8, np.tile(names(60), 8), Resampling(300))["iou"]
    assert low_value_high(eight) == pytest.approx(low_value_high(alone)) and eight.n == 8 * 48
    one = mean_figures(measured, np.full(60, "one"))["iou"]
    assert one == Figure(existing(alone.value), None, None, 48)
    # Eight times the images in clusters of their own.
    assert width(mean_figures(measured * 8, names(480), Resampling(300))["iou"]) < width(alone) / 2


def test_a_mean_over_clusters_of_unlike_size_is_over_images():
    mask = square(20)
    right, wrong = (measure_map(p, mask) for p in (mask / 255, np.zeros(mask.shape)))
    found = mean_figures([right, right, right, wrong], np.array([*"aaab"]), Resampling(100))["iou"]
    assert (found.low, found.value, found.high) == (0, 0.75, 1)


def test_figures_that_no_image_has_are_absent():
    real = measure_map(np.zeros((3, 3)), np.zeros((3, 3), np.uint8))
    found = mean_figures([real, real], names(2), Resampling(10))
    assert found.pop("false_area") == Figure(0, 0, 0, 2)
    assert {*found.values()} == {Figure(None, None, None, 0)}
    with pytest.raises(InputError, match="no images"):
        mean_figures([], names(0))
    with pytest.raises(InputError, match="1 image and 2 clusters"):
        mean_figures([real], names(2))


def test_a_paired_difference_is_narrower_than_its_parts():
    first, second = several(60), several(60, shift=0.5)
    found = paired_difference(first, second, names(60), Resampling(300))
    means = [mean_figures(one, names(60), Resampling(300)) for one in (first, second)]
    low, value, high = low_value_high(found["iou"])
    assert value == pytest.approx(existing(means[1]["iou"].value) - existing(means[0]["iou"].value))
    assert 0 < low < value < high and found["iou"].n == 48
    assert width(found["iou"]) < 0.7 * width(means[0]["iou"])
    same = paired_difference(first, first, names(60), Resampling(20))
    assert all(figure == Figure(0, 0, 0, figure.n) for figure in same.values())
    with pytest.raises(InputError, match="same images"):
        paired_difference(first, second[::-1], names(60))


def test_columns_make_a_csv_without_nan():
    columns = columns_of(several(5))
    assert [*columns] == [*FIGURES, "truth_area", "called_area"]
    assert columns_of([None])["iou"] == [None]
    file = io.StringIO()
    csv.writer(file).writerows([[*columns], *zip(*columns.values(), strict=True)])
    rows = [*csv.DictReader(io.StringIO(file.getvalue()))]
    assert rows[0]["iou"] == "" and rows[0]["false_area"] != "" and rows[1]["f1_inner"] == ""
    assert float(rows[2]["ap"]) == columns["ap"][2]
    assert "nan" not in file.getvalue()
