"""A map over its picture: heat where it is fake, and an outline that any picture shows."""

import numpy as np
import pytest

from clare.heads.evaluation.overlay import lay_over

SIDE = 64


def disc() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return (1 / (1 + np.exp(np.hypot(y - 32, x - 32) - 16))).astype(np.float32)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_the_outline_is_white_within_black_at_the_cut(grey):
    picture = np.full((SIDE, SIDE, 3), grey, np.uint8)
    shown = lay_over(picture, disc())
    row = shown[32, 32:].astype(int)
    edge = int((disc()[32, 32:] > 0.5).sum())
    assert (row[edge - 1] == 255).all() and (row[edge] == 0).all()
    np.testing.assert_array_equal(shown[0, 0], picture[0, 0], "what is real shows as it is")
    red, green, blue = shown[32, 32].astype(int)
    assert (red > green + 20 and red > blue + 20) or (grey == 255 and green == blue < red)
    half = lay_over(picture, disc(), cut=0.01)
    assert not np.array_equal(half, shown)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_a_picture_that_is_called_all_or_nothing_has_no_outline(probability):
    picture = np.random.default_rng(0).integers(60, 190, (SIDE, 2 * SIDE, 3)).astype(np.uint8)
    shown = lay_over(picture, np.full((SIDE, 2 * SIDE), probability, np.float32))
    if probability:
        expected = np.rint(0.4 * picture + 0.6 * np.array([255, 0, 0]))
        np.testing.assert_allclose(shown, expected, atol=1)
    else:
        np.testing.assert_array_equal(shown, picture)
