"""The parts of a face lie where the image shows them, whatever was done to the image."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from clare.errors import ImageError
from clare.models.runtime import Runtime
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings

TEMPLATE = np.array([(38.3, 51.7), (73.5, 51.5), (56, 71.7), (41.5, 92.4), (70.7, 92.2)])
LEFT, RIGHT, NOSE, MOUTH, FACE = range(5)


def face_at(middle, width, turn=0.0):
    """The five points of a face of this width, turned clockwise by so many degrees."""
    turn = np.radians(turn)
    matrix = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    return (TEMPLATE - 56) * (width / 112) @ matrix.T + middle


def marks(points, boxes=""):
    return FaceMarks(boxes, " ".join(f"{number:.2f}" for number in points.ravel()), "mtcnn")


def views_of(image, chosen, numbers, face, content="a"):
    data = io.BytesIO()
    image.save(data, "PNG")
    return load_views(data.getvalue(), chosen, numbers, face=face, content=content)


def parts_of(image, **given):
    made = create_extractor("face_parts", given, ImageSettings(), Runtime())
    return made.prepare(image)["face_parts"]


def middle_of(box):
    return (box[:2] + box[2:]) / 2


CHOSEN = st.builds(
    ImageSettings,
    resize=st.none() | st.integers(100, 200),
    crop=st.sampled_from(["none", "centre"]),
    crop_side=st.sampled_from([None, 150, 400]),
    align=st.sampled_from(["none", "arcface", "deepfakebench"]),
    view_recipe=st.sampled_from(["clare", "gend", "lare2", "univfd"]),  # they keep hues apart
) | st.builds(ImageSettings, crop=st.just("boxes"))


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(180, 320), st.integers(180, 320)),
    shift=st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    width=st.integers(110, 160),
    turn=st.integers(-40, 40),
    chosen=CHOSEN,
    content=st.text("0123456789abcdef", min_size=4, max_size=4),
)
def test_parts_move_with_their_pixels(size, shift, width, turn, chosen, content):
    """The left eye is red, the right one green, and so they stay unless the image is mirrored."""
    points = face_at(np.array(size) / 2 + shift, width, turn)
    image = Image.new("RGB", size)
    for point, colour in zip(points[:2] + 0.5, ((255, 0, 0), (0, 255, 0)), strict=True):
        ImageDraw.Draw(image).ellipse((*(point - 7), *(point + 6)), fill=colour)
    box = f"{points[0, 0] - width / 2} {points[0, 1] - width / 2} {points[1, 0] + 60} {size[1]}"
    for view in views_of(image, chosen, range(4), marks(points, box), content):
        values, parts = view.pixels(192).astype(float), parts_of(view, size=0.3)
        is_mirrored = np.linalg.det(view.placement) < 0
        grey = (values[..., 0] == values[..., 1]).all()
        for part, channel in ((LEFT, int(is_mirrored)), (RIGHT, int(not is_mirrored))):
            box = parts[part]
            if grey or not box.any() or box.min() < 0.06 or box.max() > 0.94:
                continue  # an eye at the edge has its middle elsewhere
            bright = np.clip(values[..., channel] - values[..., 1 - channel], 0, None)
            bright[bright < 60] = 0
            rows, columns = np.mgrid[:192, :192] + 0.5
            found = np.array([(bright * columns).sum(), (bright * rows).sum()]) / bright.sum()
            assert middle_of(box) * 192 == pytest.approx(found, abs=3)


def test_parts_are_as_large_as_the_eyes_lie_apart():
    points = face_at((100, 60), 112)
    (view,) = views_of(Image.new("RGB", (200, 120)), ImageSettings(), [0], marks(points))
    apart = np.linalg.norm(points[1] - points[0])
    parts = parts_of(view) * (200, 120, 200, 120)
    assert parts[LEFT] == pytest.approx(
        [*(points[0] + 0.5 - 0.45 * apart), *(points[0] + 0.5 + 0.45 * apart)], abs=0.02
    )
    assert middle_of(parts[MOUTH]) == pytest.approx(points[3:].mean(0) + 0.5, abs=0.02)
    wide = parts_of(view, size=2) * (200, 120, 200, 120)
    assert wide[NOSE] - parts[NOSE] == pytest.approx(0.45 * apart * np.array([-1, -1, 1, 1]), 1e-3)


def test_a_box_alone_is_the_whole_face():
    image, box = Image.new("RGB", (200, 100)), FaceMarks("20 10 120 90")
    (view,) = views_of(image, ImageSettings(), [0], box)
    assert parts_of(view)[FACE] == pytest.approx([0.1, 0.1, 0.6, 0.9])
    assert not parts_of(view)[:FACE].any()
    (cut,) = views_of(image, ImageSettings(crop="boxes", margin=0.0), [0], box)
    assert parts_of(cut)[FACE] == pytest.approx([0, 0, 1, 1])


def test_what_is_not_known_or_not_seen_is_zero():
    image = Image.new("RGB", (200, 100))
    (view,) = views_of(image, ImageSettings(), [0], FaceMarks())
    assert not parts_of(view).any()
    half = marks(face_at((198, 50), 60))  # the right eye lies beyond the edge
    (view,) = views_of(image, ImageSettings(), [0], half)
    assert [bool(box.any()) for box in parts_of(view)] == [True, False, True, True, True]
    assert parts_of(view).max() == 1


@pytest.mark.parametrize("face", [FaceMarks(points="1 2 3"), FaceMarks("left")])
def test_marks_that_are_none_are_refused(face):
    (view,) = views_of(Image.new("RGB", (60, 60)), ImageSettings(), [0], face)
    with pytest.raises(ImageError, match="no face: "):
        parts_of(view)
