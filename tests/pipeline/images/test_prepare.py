import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clare.errors import ImageError, InputError
from clare.pipeline.images.align import unwarp
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.settings import ImageSettings
from tests.pipeline.images.pictures import LOSSLESS, SIZE, encoded, gradient, prepared, reason


class TestSettings:
    @pytest.mark.parametrize(
        "bad",
        [
            {"resize": 0},
            {"resize": 10**6},
            {"recode": "jpeg"},
            {"recode": "jpeg:0"},
            {"recode": "jpeg:101"},
            {"recode": "png:95"},
            {"recode": "jpeg:095"},
            {"crop": "face"},
            {"crop_side": 0},
            {"margin": -0.1},
            {"margin": float("nan")},
        ],
    )
    def test_a_value_of_another_form_is_refused(self, bad):
        with pytest.raises(InputError, match=str(next(iter(bad)))):
            ImageSettings(**bad)

    def test_the_record_holds_what_decides_a_value(self):
        assert ImageSettings(margin=0.5).to_json() == ImageSettings().to_json()
        assert ImageSettings().to_json() == {
            "version": 1,
            "resize": None,
            "recode": None,
            "crop": "none",
            "view_seed": 0,
        }
        assert ImageSettings(crop="boxes", margin=0.5).to_json()["margin"] == 0.5
        assert "crop_side" not in ImageSettings(crop="boxes").to_json()
        assert ImageSettings(crop="centre", crop_side=224).to_json()["crop_side"] == 224

    def test_resize_and_recode_leave_no_size_and_no_container(self):
        chosen = ImageSettings(resize=64, recode="jpeg:95")
        (small,) = prepared(LOSSLESS["png"], chosen)
        # A squash and a JPEG round trip, in this order, whatever came in.
        squashed = gradient().resize((64, 64), Image.Resampling.BICUBIC)
        again = Image.open(io.BytesIO(encoded(squashed, "JPEG", quality=95)))
        assert np.array_equal(small.pixels(64), np.asarray(again))
        assert np.array_equal(small.pixels(64), prepared(LOSSLESS["bmp"], chosen)[0].pixels(64))

    def test_webp_recoding_and_its_size_limit(self):
        plain = prepared(LOSSLESS["png"])[0].pixels(32).astype(int)
        coded = prepared(LOSSLESS["png"], ImageSettings(recode="webp:90"))[0].pixels(32)
        assert 0 < np.abs(coded - plain).mean() < 5
        wide = encoded(Image.new("RGB", (20_000, 2)), "PNG")
        with pytest.raises(ImageError, match="not encodable: 20000x2"):
            prepared(wide, ImageSettings(recode="webp:90"))

    @given(width=st.integers(1, 40), height=st.integers(1, 40), side=st.none() | st.integers(1, 48))
    def test_the_centre_is_torchvisions_even_beyond_the_image(self, width, height, side):
        center_crop = pytest.importorskip("torchvision.transforms.v2.functional").center_crop
        whole = Image.fromarray(
            np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)
        )
        wanted = center_crop(whole, [side or min(whole.size)] * 2)
        (image,) = prepared(encoded(whole, "PNG"), ImageSettings(crop="centre", crop_side=side))
        assert np.array_equal(image.pixels(wanted.width), np.asarray(wanted))
        # A map over the square goes back to its place.
        assert image.alignment is not None
        values = image.pixels(wanted.width)[..., 0].astype(np.float32)
        back = unwarp(values, image.alignment[0], whole.size)
        assert np.array_equal(back, np.where(back > 0, np.asarray(whole)[..., 0], 0))
        assert (back > 0).sum() == min(width, wanted.width) * min(height, wanted.width)

    @pytest.mark.parametrize(
        ("boxes", "margin", "expected"),
        [
            ("8 8 24 24", 0.0, (8, 8, 24, 24)),
            ("8 8 24 24", 0.5, (4, 4, 28, 28)),
            ("8.4 8.4 23.6 23.6", 0.0, (8, 8, 24, 24)),
            ("-10 -10 20 20", 0.0, (0, 0, 20, 20)),
            ("8 8 24 24", 10.0, (0, 0, 48, 32)),
        ],
    )
    def test_boxes_grow_by_the_margin_and_stay_inside(self, boxes, margin, expected):
        (image,) = prepared(
            LOSSLESS["png"], ImageSettings(crop="boxes", margin=margin), face=FaceMarks(boxes)
        )
        wanted = gradient().crop(expected).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.array_equal(image.pixels(16), np.asarray(wanted))

    @pytest.mark.parametrize(
        ("boxes", "expected"),
        [
            ("", "no box"),
            ("1 2 3", "no box"),
            ("5 5 5 9", "empty box"),
            ("9 9 5 5", "empty box"),
            ("100 100 120 120", "empty box"),
            ("-9 -9 -5 -5", "empty box"),
        ],
    )
    def test_a_row_without_a_usable_box_fails(self, boxes, expected):
        assert (
            reason(LOSSLESS["png"], settings=ImageSettings(crop="boxes"), face=FaceMarks(boxes))
            == expected
        )

    def test_boxes_are_ignored_unless_asked_for(self):
        assert prepared(LOSSLESS["png"], face=FaceMarks("9 9 5 5"))


def test_pixels_are_made_once_and_cannot_be_changed():
    (image,) = prepared(LOSSLESS["png"])
    assert image.pixels(16) is image.pixels(16)
    with pytest.raises(ValueError, match="read-only"):
        image.pixels(16)[0] = 0
    assert np.array_equal(
        image.pixels(16), np.asarray(gradient().resize((16, 16), Image.Resampling.BICUBIC))
    )


def test_thumbnails_are_small_jpegs_of_the_plain_image():
    plain, view = prepared(encoded(gradient((400, 200)), "PNG"), views=(0, 3))
    with Image.open(io.BytesIO(plain.thumbnail())) as small:
        assert (small.format, small.size) == ("JPEG", (128, 64))
    assert view.thumbnail() == plain.thumbnail()
    with Image.open(io.BytesIO(prepared(LOSSLESS["png"])[0].thumbnail())) as small:
        assert small.size == SIZE  # never enlarged


def test_what_a_file_says_beside_its_pixels_goes_nowhere():
    said = encoded(gradient(), "JPEG", quality=95, comment=b"said in private" * 4000)
    (image,) = prepared(said, ImageSettings(recode="jpeg:95"))
    assert b"private" not in image.thumbnail()


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK")


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(MODES),
    width=st.integers(1, 80),
    height=st.integers(1, 80),
    chosen=st.builds(
        ImageSettings,
        resize=st.none() | st.integers(1, 64),
        recode=st.none() | st.sampled_from(["jpeg:1", "jpeg:95", "webp:80"]),
        crop=st.sampled_from(["none", "boxes"]),
        margin=st.floats(0, 2),
        view_seed=st.integers(0, 5),
    ),
    size=st.integers(1, 64),
    masked=st.booleans(),
)
def test_any_image_under_any_settings_becomes_square_bytes(
    mode, width, height, chosen, size, masked
):
    picture = gradient((width, height)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) << 8)
    data = encoded(picture, "TIFF" if mode == "CMYK" else "PNG")
    mask = encoded(Image.new("L", (2 * width, 2 * height), 200), "PNG") if masked else None
    boxes = f"0 0 {max(1, width // 2)} {height}"
    for image in prepared(data, chosen, (0, 1, 2), face=FaceMarks(boxes), mask=mask):
        pixels, marked = image.pixels(size), image.mask(size)
        assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)
        assert (marked.shape, marked.dtype) == ((size, size), np.uint8)
        assert (marked == (255 if masked else 0)).all()
        assert image.thumbnail(16)
