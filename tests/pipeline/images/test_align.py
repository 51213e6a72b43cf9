"""Alignment brings five points onto a template, and the mask goes with the image."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clare.errors import ImageError, InputError
from clare.inference.verdict import Verdict
from clare.pipeline.images import align, prepare
from clare.pipeline.images.align import (
    find_transform,
    misfit,
    similarity,
    template,
    unwarp,
    warp,
    warp_mask,
)
from clare.pipeline.images.marks import FaceMarks, parse_points
from clare.pipeline.images.settings import ImageSettings
from tests.pipeline.images.pictures import encoded, gradient, prepared, reason

DEEPFAKEBENCH = [
    (96.87, 120.43), (158.83, 120.09), (128.04, 155.67), (102.59, 191.94), (153.90, 191.66)
]  # fmt: skip
"""What DeepfakeBench's preprocessing gives for 256 pixels and a scale of 1.3."""


def marks(points, detector="mtcnn"):
    return FaceMarks(points=" ".join(map(str, np.ravel(points))), detector=detector)


def moved(points, transform):
    a, b, x, y = transform
    return points @ np.array([[a, b], [-b, a]]) + (x, y)


def test_dlibs_points_get_deepfakebenchs_own_template():
    assert template("deepfakebench", "dlib", 256) == pytest.approx(
        np.array(DEEPFAKEBENCH), abs=0.01
    )
    others = template("deepfakebench", "mtcnn", 256)
    assert not np.allclose(others, DEEPFAKEBENCH, atol=2)
    assert np.allclose(template("deepfakebench", "yunet", 128) * 2, others)
    assert template("arcface", "dlib", 112)[2] == pytest.approx((56.0252, 71.7366))
    assert np.array_equal(template("arcface", "dlib", 112), template("arcface", "mtcnn", 112))


@given(
    scale=st.floats(0.05, 20),
    turn=st.floats(-math.pi, math.pi),
    x=st.floats(-2000, 2000),
    y=st.floats(-2000, 2000),
)
def test_a_similarity_is_found_again(scale, turn, x, y):
    true = scale * math.cos(turn), scale * math.sin(turn), x, y
    points = template("arcface", "mtcnn", 112)
    found = similarity(points, moved(points, true))
    assert found == pytest.approx(true, abs=1e-6 * (scale + 1) * 2000)


@given(noise=st.lists(st.floats(-20, 20), min_size=10, max_size=10), step=st.floats(-0.2, 0.2))
def test_no_other_similarity_is_nearer(noise, step):
    target = template("deepfakebench", "mtcnn", 256)
    points = target + np.reshape(noise, (5, 2))
    found = similarity(points, target)

    def error(transform):
        return ((moved(points, transform) - target) ** 2).sum()

    for k in range(4):
        other = list(found)
        other[k] += step
        assert error(found) <= error(other) + 1e-9


def test_how_unlike_a_face_points_are_does_not_hang_on_their_place():
    face = template("deepfakebench", "mtcnn", 256)
    assert misfit(template("arcface", "mtcnn", 300)) == pytest.approx(0, abs=1e-9)
    assert 0 < misfit(face) < 0.1
    assert misfit(moved(face, (0.3, 2.0, 50, -900))) == pytest.approx(misfit(face))
    assert misfit(face * (1, 0.4)) > 0.15  # as points that are put on a face on its side
    assert misfit(face * (-1, 1)) > 0.3
    assert misfit(np.zeros((5, 2))) == math.inf


def test_points_in_one_place_are_no_face():
    with pytest.raises(ImageError, match="no face: its five points lie in one place"):
        similarity(np.full((5, 2), 7.0), template("arcface", "mtcnn", 112))


@pytest.mark.parametrize("turn", [0, 30, 90, 200])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_a_dot_on_a_point_lands_on_the_template(turn, scale):
    target = template("deepfakebench", "mtcnn", 256)
    angle = math.radians(turn)
    back = (math.cos(angle) / scale, math.sin(angle) / scale, 400.0, 300.0)
    points = moved(target - 128, back)
    rows, columns = np.mgrid[:700, :900]
    for k in range(5):
        near = np.hypot(columns - points[k, 0], rows - points[k, 1]) < 4 / scale + 2
        image = Image.fromarray(np.where(near, 255, 0).astype(np.uint8)).convert("RGB")
        aligned = np.asarray(warp(image, similarity(points, target), 256))[..., 0].astype(float)
        assert aligned.sum() > 0
        y, x = np.mgrid[:256, :256]
        centre = (aligned * x).sum() / aligned.sum(), (aligned * y).sum() / aligned.sum()
        assert centre == pytest.approx(target[k], abs=0.25 * max(1, scale))


def test_nothing_moves_where_the_points_lie_on_the_template():
    image = gradient((64, 64))
    target = template("arcface", "mtcnn", 64)
    same = np.asarray(warp(image, similarity(target, target), 64)).astype(int)
    assert np.abs(same - np.asarray(image)).max() <= 1


def test_what_lies_outside_is_black():
    image = Image.new("RGB", (40, 40), "white")
    points = template("arcface", "mtcnn", 40)
    (aligned,) = prepared(
        encoded(image, "PNG"), ImageSettings(align="deepfakebench"), face=marks(points, "dlib")
    )
    pixels = aligned.pixels(256)
    assert (pixels[:10] == 0).all() and (pixels[120:136, 120:136] == 255).all()


@pytest.mark.parametrize("side", [64, 256])
def test_a_mask_moves_with_its_image(side):
    rng = np.random.default_rng(0)
    spots = Image.fromarray((rng.random((9, 12)) > 0.6).astype(np.uint8) * 255)
    picture = spots.resize((480, 360), Image.Resampling.NEAREST)
    points = template("arcface", "mtcnn", 300) @ np.array([[0.9, 0.3], [-0.3, 0.9]]) + (120, 0)
    (image,) = prepared(
        encoded(picture.convert("RGB"), "PNG"),
        ImageSettings(align="arcface", align_side=side),
        face=marks(points),
        mask=encoded(picture, "PNG"),
    )
    values, mask = image.pixels(side)[..., 0].astype(int), image.mask(side).astype(int)
    assert (np.abs(values - mask) > 128).mean() < 0.02
    assert 0.2 < (mask > 128).mean() < 0.8


def test_a_map_of_the_face_goes_back_to_its_place():
    y, x = np.mgrid[:200, :320].astype(np.float32)
    image = np.hypot(x - 150, y - 90) < 30
    points = template("arcface", "x", 120) @ np.array([[0.8, 0.5], [-0.5, 0.8]]) + (120, 10)
    transform = similarity(points, template("arcface", "x", 96))
    square = warp(Image.fromarray(image.astype(np.uint8) * 255), transform, 96)
    probabilities = (np.asarray(square) / 255).astype(np.float32)
    back = unwarp(probabilities, transform, (320, 200))
    assert back.shape == image.shape and back.dtype == np.float32
    assert np.abs((back > 0.5) ^ image).mean() < 0.002
    assert back[:, 300].max() == 0


def test_a_verdict_on_an_aligned_face_marks_the_face_in_its_image():
    points = template("arcface", "x", 100) + np.array((150, 60))
    alignment = similarity(points, template("arcface", "x", 64)), 64
    whole = np.ones((256, 256), np.float32)
    found = Verdict(Path("a.png"), squashed=whole, size=(300, 200), alignment=alignment)
    expected = np.zeros((200, 300))
    expected[60:160, 150:250] = 1
    marked, half = found.map, found.map_at((150, 100))
    assert marked is not None and np.abs(marked - expected).mean() < 0.01
    assert half is not None and half.shape == (100, 150)
    assert np.abs(half - expected[::2, ::2]).mean() < 0.02


def test_a_thin_mark_grows_faint_and_does_not_vanish():
    mask = np.zeros((1024, 1024), np.uint8)
    mask[500] = 255
    transform = similarity(template("arcface", "x", 1000), template("arcface", "x", 100))
    small = np.asarray(warp_mask(Image.fromarray(mask), transform, 100))
    assert (small.max(0) > 0).all()
    assert small.sum() / 255 == pytest.approx(100 / 10, rel=0.2)


def test_a_mask_of_many_pixels_is_reduced_on_a_small_grid(monkeypatch):
    grids = []
    warp_as_ever = align.warp

    def watched(image, transform, side):
        grids.append(side)
        return warp_as_ever(image, transform, side)

    monkeypatch.setattr(align, "warp", watched)
    mask = np.zeros((6000, 6000), np.uint8)
    mask[2999:3002] = 255
    mask[:, 1500:4500] |= np.uint8(128)
    transform = 0.002, 0.0005, 2.0, 3.0  # the square is far larger than the image
    small = np.asarray(warp_mask(Image.fromarray(mask), transform, 32)).astype(float)
    assert max(grids) <= 1 << 13
    area = 0.002**2 + 0.0005**2
    assert small.sum() == pytest.approx(mask.sum(dtype=float) * area, rel=0.02)
    y, x = np.mgrid[:32, :32]
    centre = (small * x).sum() / small.sum(), (small * y).sum() / small.sum()
    assert centre == pytest.approx(moved(np.array((2999.5, 3000)), transform), abs=0.05)


FACE = template("arcface", "mtcnn", 112)


def on_a_head(yaw, pitch):
    """The template in depth, turned by so many degrees and seen from the front."""
    y, p = np.radians((yaw, pitch))
    depth = np.array([0, 0, 22, 6, 6])  # of nose and mouth before the eyes
    x = (FACE[:, 0] - FACE[:, 0].mean()) * np.cos(y) + depth * np.sin(y)
    z = depth * np.cos(y) - (FACE[:, 0] - FACE[:, 0].mean()) * np.sin(y)
    up = FACE[:, 1] - FACE[:, 1].mean()
    return np.stack([x, up * np.cos(p) - z * np.sin(p)], axis=1) + 56


@pytest.mark.parametrize("yaw", [-90, -60, 0, 45, 75, 90])
@pytest.mark.parametrize("pitch", [-20, 0, 20])
@pytest.mark.parametrize("turn", [0, 90])
def test_a_face_in_profile_is_a_face(yaw, pitch, turn):
    points = on_a_head(yaw, pitch)
    if turn:
        points = points[:, ::-1] * (1, -1) + (0, 112)
    find_transform(marks(points), "arcface", 112, (112, 112))


@pytest.mark.parametrize("yaw", [0, 30, 45])
def test_points_with_left_and_right_exchanged_are_refused(yaw):
    exchanged = on_a_head(yaw, 0)[[1, 0, 2, 4, 3]]
    with pytest.raises(ImageError, match=r"no face: .* are left and right exchanged\?$"):
        find_transform(marks(exchanged), "deepfakebench", 256, (112, 112))


@pytest.mark.parametrize("place", range(10))
@pytest.mark.parametrize("factor", [100, 1e6, 1e200])
def test_a_lost_decimal_point_makes_no_face(place, factor):
    numbers = FACE.ravel().copy()
    numbers[place] *= factor
    picture = encoded(gradient((112, 112)), "PNG")
    with pytest.raises(ImageError, match=r"no face: .* lie far outside of its 112x112 pixels"):
        prepared(picture, ImageSettings(align="arcface"), face=marks(numbers), mask=picture)


def test_points_that_lie_as_in_no_face_are_refused():
    with pytest.raises(ImageError, match=r"no face: .* do not lie as in a face$"):
        find_transform(marks(FACE[[0, 3, 1, 4, 2]]), "arcface", 112, (112, 112))
    with pytest.raises(ImageError, match="less than 4 pixels wide"):
        find_transform(marks(FACE / 50), "arcface", 112, (112, 112))


def test_a_face_that_the_image_cuts_is_a_face():
    find_transform(marks(FACE - (60, 0)), "arcface", 112, (112, 112))


def test_memory_that_does_not_suffice_for_a_face_is_said(monkeypatch):
    def full(*given):
        raise MemoryError

    monkeypatch.setattr(prepare, "warp", full)
    with pytest.raises(ImageError, match="too large: "):
        prepared(
            encoded(gradient((112, 112)), "PNG"), ImageSettings(align="arcface"), face=marks(FACE)
        )


@pytest.mark.parametrize(
    ("face", "said"),
    [
        (FaceMarks(), "no face: the manifest's column face_points is empty in this row"),
        (FaceMarks(missing="none found"), "no face: none found"),
        (FaceMarks(points="1 2 3"), "no face: face_points '1 2 3' are not ten numbers"),
        (FaceMarks(points=" ".join(["5"] * 10)), "no face: its five points lie in one place"),
    ],
)
def test_a_row_without_usable_points_fails(face, said):
    data, settings = encoded(gradient(), "PNG"), ImageSettings(align="arcface")
    with pytest.raises(ImageError, match=said):
        prepared(data, settings, face=face)
    assert reason(data, settings=settings, face=face) == "no face"


@pytest.mark.parametrize("text", ["", "1 2 3", "a " * 10, "nan " * 10, "1 " * 11])
def test_points_are_ten_numbers(text):
    with pytest.raises(ValueError, match="are not ten numbers"):
        parse_points(text)


def test_the_alignment_is_recorded_only_where_there_is_one():
    assert not {"align", "align_side"} & set(ImageSettings().to_json())
    aligned = ImageSettings(align="arcface", align_side=112).to_json()
    assert (aligned["align"], aligned["align_side"]) == ("arcface", 112)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"align": "ffhq"}, "align 'ffhq' is not one of none, deepfakebench, arcface"),
        ({"align": "arcface", "align_side": 0}, "align_side 0 is not between 1 and"),
        ({"align": "arcface", "crop": "boxes"}, "an aligned face has no box left"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        ImageSettings(**given)
