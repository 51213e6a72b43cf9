import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw

from clare.pipeline.images.augment import JPEG_QUALITY, MAX_BLUR, draw_view
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings


def encoded(image, container="PNG", **options):
    data = io.BytesIO()
    image.save(data, container, **options)
    return data.getvalue()


def blob(size, dice):
    """White on black, off the middle: where the picture is bright, its mask is set.

    One shape alone: the gap between two may be too narrow to survive in a small mask.
    """
    width, height = size
    image = Image.new("L", size)
    x, y = dice.uniform(0, 0.6) * width, dice.uniform(0, 0.6) * height
    corner = (x + width * 0.35, y + height * 0.35)
    ImageDraw.Draw(image).rectangle((x, y, *corner), fill=255)
    return image


def eroded(marked, by):
    """Pixels whose whole neighbourhood is marked, and in the image: at an edge a strip may go on
    beyond it, or end there."""
    padded = np.pad(marked, by, constant_values=False)
    height, width = marked.shape
    shifts = [
        padded[dy : dy + height, dx : dx + width]
        for dy in range(2 * by + 1)
        for dx in range(2 * by + 1)
    ]
    return np.logical_and.reduce(shifts)


@settings(max_examples=120, deadline=None)
@given(
    dice=st.randoms(use_true_random=False),
    width=st.integers(64, 300),
    height=st.integers(64, 300),
    content=st.text("0123456789abcdef", min_size=8, max_size=8),
    chosen=st.builds(
        ImageSettings,
        resize=st.none() | st.integers(64, 200),
        recode=st.none() | st.just("jpeg:95"),
        crop=st.sampled_from(["none", "boxes"]),
        view_seed=st.integers(0, 9),
    ),
    mask_scale=st.sampled_from([1, 2]),
)
def test_masks_move_with_their_pixels(dice, width, height, content, chosen, mask_scale):
    picture = blob((width, height), dice)
    mask = picture.resize((width * mask_scale, height * mask_scale), Image.Resampling.NEAREST)
    boxes = f"{width * 0.1} {height * 0.1} {width * 0.8} {height * 0.9}"
    for image in load_views(
        encoded(picture),
        chosen,
        range(5),
        face=FaceMarks(boxes),
        mask=encoded(mask),
        content=content,
    ):
        values = image.pixels(96)[..., 1]
        marked = image.mask(96) > 127
        # Blur and JPEG soften an edge and thin a narrow strip: only what is clearly inside or
        # outside counts, and it need not be quite white or black.
        assert (values[eroded(marked, 4)] > 64).all()
        assert (values[eroded(~marked, 4)] < 191).all()


def test_view_zero_is_the_plain_image_and_others_depend_on_nothing_else():
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    data = encoded(Image.fromarray(noise))

    def views(numbers, content="a", seed=0):
        chosen = ImageSettings(view_seed=seed)
        return {
            i.view: i.pixels(32).tobytes()
            for i in load_views(data, chosen, numbers, content=content)
        }

    four = views(range(4))
    plain = Image.fromarray(noise).resize((32, 32), Image.Resampling.BICUBIC)
    assert four[0] == plain.tobytes()
    assert len(set(four.values())) == 4
    assert views([3, 1]) == {3: four[3], 1: four[1]}
    assert views([0], content="b")[0] == four[0]
    assert views([1], content="b")[1] != four[1]
    assert views([1], seed=1)[1] != four[1]


def test_noise_is_keyed_by_content_and_view():
    data = encoded(Image.new("RGB", (8, 8)))
    keys = [
        image.noise_key
        for content in ("a", "b")
        for image in load_views(data, ImageSettings(), [0, 1], content=content)
    ]
    assert keys == [b"a/0", b"a/1", b"b/0", b"b/1"]


def test_every_size_sees_the_same_geometry():
    """Two extractors at other sizes look at the same place."""
    picture = Image.new("RGB", (200, 150))
    picture.paste((255, 255, 255), (40, 60, 110, 120))
    for image in load_views(encoded(picture), ImageSettings(), range(6), content="a"):
        small, large = (image.pixels(size)[..., 0].astype(float) / 255 for size in (64, 256))
        pooled = large.reshape(64, 4, 64, 4).mean((1, 3))
        assert np.abs(small - pooled).max() < 0.35
        assert np.abs(small - pooled).mean() < 0.01


@given(
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.text("0123456789abcdef", max_size=64),
    st.integers(1, 10**6),
)
def test_draws_stay_within_their_limits(width, height, content, view):
    geometry, photometry = draw_view((width, height), view_seed=0, content=content, view=view)
    left, top, right, bottom = geometry.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    if min(width, height) >= 100:
        assert 0.79 < (right - left) * (bottom - top) / (width * height) <= 1
    assert 0 <= photometry.blur <= MAX_BLUR * max(width, height)
    low, high = JPEG_QUALITY
    assert photometry.quality is None or low <= photometry.quality <= high


def test_each_augmentation_happens_about_half_the_time():
    drawn = [draw_view((256, 256), view_seed=0, content="", view=v) for v in range(1, 1001)]
    for share in (
        sum(geometry.flip for geometry, _ in drawn),
        sum(photometry.blur > 0 for _, photometry in drawn),
        sum(photometry.quality is not None for _, photometry in drawn),
    ):
        assert 420 < share < 580
    assert {p.quality for _, p in drawn} - {None} == set(range(40, 101))


def test_a_known_view_stays_what_it_is():
    """Stored features depend on these draws: another result needs another version."""
    geometry, photometry = draw_view((256, 200), view_seed=3, content="ab", view=1)
    assert geometry.box == (12, 15, 252, 199)
    assert not geometry.flip
    assert photometry.quality == 52
    assert photometry.blur == pytest.approx(1.741961444006976)


def test_a_flip_is_a_mirror_image():
    picture = Image.effect_noise((64, 64), 90)
    flipped = next(
        geometry
        for view in range(1, 99)
        if (geometry := draw_view((64, 64), view_seed=0, content="", view=view)[0]).flip
    )
    mirror = picture.crop(flipped.box).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert ImageChops.difference(flipped.apply(picture), mirror).getbbox() is None
