"""Where places go: each step says of a place what it does to the pixel there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clare.augmentation.geometry import MIRROR, Affine, Crop, Resize, Scale, Step, Turn
from clare.augmentation.photometry import Grey
from clare.augmentation.recipe import View
from clare.errors import InputError

SIDES = st.integers(20, 60)
STEPS = st.one_of(
    st.sampled_from(Image.Transpose).map(Turn),
    st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(14, 70), st.integers(14, 70)).map(
        Crop
    ),
    st.builds(
        Affine,
        st.floats(-30, 30),
        st.tuples(st.integers(-5, 5), st.integers(-5, 5)),
        st.floats(0.8, 1.3),
    ),
    st.builds(lambda width, height: Resize((width, height)), SIDES, SIDES),
    st.builds(lambda width, height: Scale((width, height), Image.Resampling.BICUBIC), SIDES, SIDES),
    st.just(Grey()),
)


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(SIDES, SIDES),
    place=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
    steps=st.lists(STEPS, min_size=1, max_size=3),
)
def test_a_dot_goes_where_its_place_goes(size, place, steps):
    across, down = (int(share * side) for share, side in zip(place, size, strict=True))
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (across - 2, down - 2, across + 3, down + 3))
    middle = (across + 0.5) / size[0], (down + 0.5) / size[1]

    view = View(tuple(steps))
    seen = view.apply(image)
    x, y, one = view.follow(size) @ (*middle, 1)
    assert one == 1
    values = np.asarray(seen)[..., 0].astype(float)
    edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    if edge.any() or not values.any():  # a dot that is cut off has its middle elsewhere
        return
    rows, columns = np.mgrid[: seen.height, : seen.width] + 0.5
    found = (values * columns).sum() / values.sum(), (values * rows).sum() / values.sum()
    # An affine step takes the nearest pixel, so each may be off by one.
    assert (x * seen.width, y * seen.height) == pytest.approx(found, abs=len(steps))


@pytest.mark.parametrize("how", Image.Transpose)
def test_a_turn_moves_whole_pixels(how):
    image = Image.new("L", (5, 3))
    image.putpixel((3, 0), 255)
    placement, size = Turn(how).follow(image.size)
    turned = Turn(how).apply(image)
    x, y, _ = placement @ (3.5 / 5, 0.5 / 3, 1)
    assert size == turned.size
    assert turned.getpixel((int(x * size[0]), int(y * size[1]))) == 255


def test_a_step_that_moves_things_has_to_say_where_to():
    class Shifted(Step):
        def apply(self, image):
            return image.transform(image.size, Image.Transform.AFFINE, (1, 0, 9, 0, 1, 0))

        def apply_to_mask(self, mask):
            return self.apply(mask)

    with pytest.raises(InputError, match="Shifted of a view moves images"):
        View((MIRROR, Shifted())).follow((20, 20))
