"""Maps without training, and the cut that validation chooses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clare.errors import InputError
from clare.heads.metrics.mask_baselines import (
    HEIGHT,
    WIDTH,
    all_fake,
    best_cut,
    centre_ellipse,
    laplacian,
    lare,
)
from clare.heads.metrics.masks import measure_map
from tests.figures import existing


def block(shape, rows, columns):
    mask = np.zeros(shape, np.uint8)
    mask[rows, columns] = 255
    return mask


def test_all_fake_has_the_share_of_fake_pixels():
    mask = block((30, 40), slice(3, 9), slice(5))
    found = measure_map(all_fake(mask.shape), mask)
    assert found.iou == found.ap == pytest.approx(30 / 1200)


@pytest.mark.parametrize("shape", [(200, 100), (101, 301)])
def test_the_ellipse_stands_in_the_middle_and_is_as_large_as_stated(shape):
    score = centre_ellipse(shape)
    inside = score > 0.5
    assert inside.mean() == pytest.approx(np.pi / 4 * WIDTH * HEIGHT, rel=0.02)
    assert inside.any(0).mean() == pytest.approx(WIDTH, abs=0.02)
    assert inside.any(1).mean() == pytest.approx(HEIGHT, abs=0.02)
    np.testing.assert_allclose(score, score[::-1, ::-1], atol=1e-6)
    assert score.min() > 0 and score[shape[0] // 2, shape[1] // 2] > 0.99


def test_the_laplacian_is_high_where_the_image_is_sharp():
    pixels = np.full((64, 96, 3), 90, np.uint8)
    assert (laplacian(pixels) == 0).all()
    pixels[40:60, 10:30] += np.random.default_rng(0).integers(0, 60, (20, 20, 3), np.uint8)
    score = laplacian(pixels)
    assert score.dtype == np.float32 and score.shape == (64, 96)
    assert score.max() == 1 and score.min() >= 0
    assert measure_map(score, block((64, 96), slice(40, 60), slice(10, 30))).ap == pytest.approx(
        1, abs=0.1
    )
    point = np.zeros((64, 64, 3), np.uint8)
    point[32, 32] = 255
    near = laplacian(point)[32, 32:]  # smoothed by two pixels
    assert (np.diff(near[:8]) < 0).all() and near[2] == pytest.approx(np.exp(-0.5), abs=0.1)
    # A ramp has no Laplacian, but for the picture's border.
    ramp = np.broadcast_to(np.arange(96, dtype=np.uint8)[:, None], (64, 96, 3))
    assert laplacian(ramp)[:, 40:56].max() < 1e-3


def test_lare_is_averaged_and_laid_over_the_mask():
    values = np.zeros((4, 8, 8), np.float16)
    values[0, 2, 5] = 4  # a mean of 1
    score = lare(values, (80, 160))
    assert score.shape == (80, 160) and score[25, 110] == pytest.approx(0.5, abs=0.06)
    assert score.max() <= 0.5 and (score[:15] == 0).all() and (score[:, :90] == 0).all()
    np.testing.assert_allclose(lare(values, (80, 160), low_is_fake=True), 1 - score, atol=1e-6)
    # One scale for all images.
    assert lare(np.full((4, 8, 8), 3.0), (5, 5)) == pytest.approx(0.75)
    for wrong in (np.full((4, 2, 2), -0.1), np.full((4, 2, 2), np.nan)):
        with pytest.raises(InputError, match="not standardised"):
            lare(wrong, (4, 4))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4), st.sampled_from([1, 3, 50]))
def test_the_cut_is_the_best_of_all(seed, count, levels):
    generator = np.random.default_rng(seed)
    maps, masks = [], []
    for _ in range(count):
        shape = tuple(generator.integers(2, 12, 2))
        masks.append(generator.random(shape) < 0.4)
        masks[-1][0, 0] = True
        noise = generator.random(shape) + masks[-1]
        maps.append((np.round(noise / 2 * levels) / levels).astype(np.float32))
    found = best_cut(maps, masks)

    def mean_iou(cut):
        pairs = zip(maps, masks, strict=True)
        return np.mean([existing(measure_map(one, mask, cut).iou) for one, mask in pairs])

    values = np.unique(np.concatenate([one.ravel() for one in maps]))
    assert found.iou == pytest.approx(mean_iou(found.value))
    assert found.iou == pytest.approx(max(mean_iou(cut) for cut in [-1.0, *values]))


def test_a_cut_stands_within_reach_of_all_values():
    """Values of large maps are thinned out, near 0 as much as near 1."""
    generator = np.random.default_rng(0)
    mask = block((100, 100), slice(30), slice(None))
    small = generator.random(mask.shape) * 1e-3 + 1e-3 * (mask > 0)
    found = best_cut([small], [mask])
    assert found.iou > 0.99 and found.value == pytest.approx(1e-3, rel=0.01)
    assert measure_map(small, mask, found.value).iou == found.iou


def test_a_cut_stands_in_the_middle_of_a_gap():
    mask = block((4, 4), slice(2), slice(2))
    assert best_cut([0.2 + 0.6 * mask / 255], [mask]).value == pytest.approx(0.5)
    low, middle, high = np.float32(0.3) + np.float32(2**-25) * np.arange(3, dtype=np.float32)
    for below, above in ((low, middle), (middle, high)):
        assert np.nextafter(below, np.float32(1)) == above
        neighbours = np.where(mask > 0, above, below)
        found = best_cut([neighbours], [mask])
        assert found.iou == 1 == measure_map(neighbours, mask, found.value).iou


def test_a_value_of_a_single_pixel_is_tried():
    mask = block((20, 25), slice(5), slice(None))
    maps = [np.where(mask > 0, 0.8, 0.2) for _ in range(8)]
    maps[0][0, 0], maps[0][9, 9] = 0.5, 0.4
    found = best_cut(maps, [mask] * 8)
    assert found.iou == 1 and found.value == pytest.approx(0.45)


def test_images_without_fake_pixels_choose_no_cut():
    real = np.zeros((4, 4), np.uint8)
    mask = block((4, 4), slice(2), slice(2))
    map_ = 0.2 + 0.6 * mask / 255
    assert best_cut([1 - map_, map_], [real, mask]) == best_cut([map_], [mask])
    assert best_cut([all_fake((4, 4))], [mask]).iou == pytest.approx(4 / 16)
    with pytest.raises(InputError, match="no mask of validation"):
        best_cut([map_], [real])
    with pytest.raises(InputError, match="bring the map to the mask's size"):
        best_cut([map_[:3]], [mask])
