import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clare.pipeline.images.prepare import mask_fits
from clare.pipeline.images.settings import ImageSettings
from tests.pipeline.images.pictures import LOSSLESS, SIZE, encoded, mask_of, prepared, reason

MARKED = np.zeros((SIZE[1], SIZE[0]), np.uint8)
MARKED[8:24, 10:30] = 1


def see_through_mask(colour):
    image = Image.new("RGBA", SIZE, colour)
    image.putalpha(Image.fromarray(MARKED * 255))
    return image


@pytest.mark.parametrize(
    ("kind", "tops"),
    [
        (np.uint8, [1, 2, 127, 255]),
        (np.uint16, [1, 255, 256, 65535]),
        (np.int32, [1, 255, 65535, 70000]),
        (np.float32, [1e-9, 1, 255, 1e30]),
    ],
)
def test_a_mask_marks_the_same_whatever_its_depth(kind, tops):
    """0 and 1, 0 and 255, 0 and 65535: the largest value is the mark."""
    for top in tops:
        assert np.array_equal(mask_of(Image.fromarray(MARKED * kind(top))), MARKED * 255)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(MARKED * 255).convert("1"),
        Image.fromarray(MARKED * 255).convert("LA"),
        Image.fromarray(np.stack([MARKED * 0, MARKED * 0, MARKED], -1)),
        see_through_mask("black"),
        see_through_mask("white"),
    ],
    ids=["one bit", "opaque", "blue", "transparent black", "transparent white"],
)
def test_a_mask_marks_the_same_in_every_form(image):
    assert np.array_equal(mask_of(image), MARKED * 255)


def test_a_palettes_colours_mark_and_not_their_numbers():
    for colours in ([0, 0, 0, 0, 0, 128], [0, 0, 128, 0, 0, 0]):
        indexed = Image.fromarray(MARKED if colours[5] else 1 - MARKED)
        indexed.putpalette([*colours, *[0] * 762])
        assert np.array_equal(mask_of(indexed), MARKED * 255)


@pytest.mark.parametrize("top", [1, 255])
def test_where_black_is_fake_a_mask_is_turned_round_once_scaled(top):
    whole = np.ones_like(MARKED)
    for marked in (MARKED, whole, 0 * whole):
        image = Image.fromarray((1 - marked) * np.uint8(top))
        assert np.array_equal(mask_of(image, "black"), marked * 255)


@pytest.mark.parametrize(
    ("mask", "image", "fits"),
    [
        ((256, 256), (1024, 1024), True),
        ((1024, 1024), (256, 256), True),
        ((341, 256), (1365, 1024), True),  # 341.25, rounded
        ((1024, 680), (1023, 683), True),  # cropped to blocks of eight
        ((1024, 684), (1023, 680), True),
        ((1024, 680), (1023, 685), False),
        ((512, 256), (256, 256), False),
        ((683, 1024), (1024, 683), False),  # lying on its side
    ],
)
def test_a_mask_is_scaled_to_its_image_if_that_bends_it_by_no_more_than_a_few_pixels(
    mask, image, fits
):
    assert mask_fits(mask, image) == fits
    data, marks = (encoded(Image.new("L", size, 255), "PNG") for size in (image, mask))
    if fits:
        (view,) = prepared(data, mask=marks)
        assert (view.mask(8) == 255).all()
    else:
        assert reason(data, mask=marks) == "mask other shape"


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([np.uint8, np.uint16, np.int32]), st.data())
def test_a_masks_shades_keep_their_order_and_none_gets_lost(kind, data):
    most = min(np.iinfo(kind).max, 1 << 24)
    values = np.array(data.draw(st.lists(st.integers(0, most), min_size=2, max_size=6)), kind)
    found = mask_of(Image.fromarray(values[None]))[0].astype(int)
    assert np.array_equal(found > 0, values > 0)
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert found.max() == (255 if values.max() else 0)


def test_a_mask_of_what_is_no_number_is_refused():
    for values in ([[-1, 4]], [[0, np.nan]], [[0, np.inf]]):
        data = encoded(Image.fromarray(np.array(values, np.float32)), "TIFF")
        assert reason(LOSSLESS["png"], mask=data) == "mask unsupported"


@pytest.mark.parametrize("resize", [None, 32])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_thin_mask_that_shrinks_grows_faint_and_does_not_vanish(resize, scale):
    """Each value is the mean of its area, whatever scales the mask."""
    marks = np.zeros((64 * scale, 64 * scale), np.uint8)
    marks[:, 8 * scale] = 255
    data = encoded(Image.new("RGB", (64, 64)), "PNG")
    (view,) = prepared(
        data, ImageSettings(resize=resize), mask=encoded(Image.fromarray(marks), "PNG")
    )
    expected = np.zeros((16, 16))
    expected[:, 2] = 255 / 4 / scale
    assert np.abs(view.mask(16) - expected).max() <= 1


def test_a_mask_that_grows_keeps_its_edges():
    data = encoded(Image.new("RGB", SIZE), "PNG")
    (view,) = prepared(data, mask=encoded(Image.fromarray(MARKED[::2, ::2] * 255), "PNG"))
    assert np.array_equal(view.mask(96), MARKED[::2, ::2].repeat(6, 0).repeat(4, 1) * 255)
