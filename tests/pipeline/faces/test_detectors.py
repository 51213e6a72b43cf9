"""Detectors by name or file, and which of several faces is taken."""

import numpy as np
import pytest
from PIL import Image

from clare.errors import InputError
from clare.pipeline.faces.face import Face
from clare.pipeline.faces.finder import FaceFinder, ordered
from clare.pipeline.faces.settings import FaceSettings


def face(x0, y0, x1, y1, confidence=0.9):
    return Face(np.array([x0, y0, x1, y1], np.float64), np.zeros((5, 2)), confidence)


@pytest.mark.parametrize(("pick", "first"), [("largest", 0), ("centre", 1), ("df40", 2)])
def test_of_several_faces_one_is_picked(pick, first):
    faces = [face(0, 0, 40, 40), face(45, 45, 55, 55), face(80, 80, 100, 100)]
    found = ordered(faces[::-1], (100, 100), FaceSettings(pick=pick))
    assert found[0] is faces[first]
    rest = [one for one in faces if one is not faces[first]]
    assert found[1:] == sorted(rest, key=lambda one: -one.area)


@pytest.mark.parametrize("pick", ["largest", "centre", "df40"])
def test_a_face_that_the_detector_is_not_sure_of_is_picked_if_there_is_no_other(pick):
    sure, unsure = face(45, 0, 60, 15), face(20, 20, 80, 80, 0.8)
    faces = [unsure, sure]
    settings = FaceSettings(pick=pick)
    assert ordered(faces, (100, 100), settings) == [sure, unsure]
    assert ordered([unsure], (100, 100), settings) == [unsure]
    found = ordered(faces, (100, 100), FaceSettings(detector="dlib", pick="largest"))
    assert found == [unsure, sure]  # whose score is no probability


def test_no_face_is_no_face():
    assert ordered([], (10, 10), FaceSettings(pick="df40")) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pick": "best"}, "pick 'best' is not one of largest, centre, df40"),
        ({"detector": "retina"}, "detector 'retina' is not mtcnn, dlib or a FILE.onnx"),
        ({"smallest_face": 3}, "smallest_face 3 is less than 12 pixels"),
    ],
)
def test_settings_out_of_range_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        FaceSettings(**given)


def test_what_decides_the_faces_holds_files_by_their_content(tmp_path):
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"one")
    settings = FaceSettings(detector=str(model), pick="centre")
    first = settings.finding()
    assert first == FaceSettings(detector=str(model)).finding()  # the pick chooses among them
    model.write_bytes(b"two")
    assert settings.finding() != first
    model.unlink()
    with pytest.raises(InputError, match=r"yunet\.onnx is missing"):
        settings.finding()


def write_yunet(path):
    """A network of YuNet's form that takes a white cell of 32 pixels for a face.

    A face's box is as wide and as high as the cell; its points lie on the cell's upper left corner.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes, outputs = [], []
    constants = [
        numpy_helper.from_array(np.array([0, -1, 1], np.int64), "column"),
        numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
    ]
    for stride in (8, 16, 32):
        seen = f"seen_{stride}"
        nodes += [
            helper.make_node(
                "AveragePool",
                ["input"],
                [f"pooled_{stride}"],
                kernel_shape=[stride, stride],
                strides=[stride, stride],
            ),
            helper.make_node("ReduceMean", [f"pooled_{stride}"], [f"m_{stride}"], axes=[1]),
            helper.make_node("Reshape", [f"m_{stride}", "column"], [f"flat_{stride}"]),
            helper.make_node("Mul", [f"flat_{stride}", "scale"], [seen]),
        ]
        for name, width, factor in (
            ("cls", 1, 1.0 if stride == 32 else 0.0),
            ("obj", 1, 1.0),
            ("bbox", 4, 0.0),
            ("kps", 10, 0.0),
        ):
            row = numpy_helper.from_array(
                np.full((1, 1, width), factor, np.float32), f"{name}_{stride}_row"
            )
            constants.append(row)
            nodes.append(helper.make_node("Mul", [seen, row.name], [f"{name}_{stride}"]))
    for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        outputs += [
            helper.make_tensor_value_info(f"{name}_{s}", TensorProto.FLOAT, [1, None, width])
            for s in (8, 16, 32)
        ]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "H", "W"])
    graph = helper.make_graph(nodes, "yunet", [given], outputs, constants)
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def test_yunet_is_read_from_a_file(tmp_path):
    pytest.importorskip("cv2")
    write_yunet(tmp_path / "model.onnx")
    finder = FaceFinder(FaceSettings(detector=str(tmp_path / "model.onnx"), upright=True))
    picture = Image.new("RGB", (256, 192))
    picture.paste((255, 255, 255), (96, 64, 128, 96))
    (found,) = finder.find(picture)
    assert finder.settings.points == "yunet"
    assert found.confidence == pytest.approx(1, abs=0.01)
    assert found.box[2:] - found.box[:2] == pytest.approx((32, 32))
    assert (found.points == found.points[0]).all()
    # Twice as long as what it looks at: places are told in pixels of the whole picture.
    large = picture.resize((2560, 1920), Image.Resampling.NEAREST)
    faces = finder.find(large)
    assert faces and all(one.box[0] >= 900 and one.box[2] <= 1340 for one in faces)
    assert finder.find(Image.new("RGB", (64, 64))) == []


def test_a_file_that_is_no_model_is_refused(tmp_path):
    pytest.importorskip("cv2")
    (tmp_path / "model.onnx").write_bytes(b"no network")
    for name, said in (("model.onnx", "is not a model of YuNet"), ("other.onnx", "is missing")):
        with pytest.raises(InputError, match=said):
            FaceFinder(FaceSettings(detector=str(tmp_path / name)))


def test_a_digest_tells_apart_all_that_finds_other_faces(tmp_path):
    files = []
    for number in range(2):
        files.append(tmp_path / f"{number}.onnx")
        files[-1].write_bytes(bytes([number]))
    several = [FaceSettings(), FaceSettings(smallest_face=40), FaceSettings(upright=True)]
    several += [FaceSettings(detector="dlib", landmarks=one) for one in files]
    several += [FaceSettings(detector=str(one)) for one in files]
    found = [one.digest for one in several]
    assert len(set(found)) == len(several)
    files[1].write_bytes(files[0].read_bytes())
    same = FaceSettings(detector=str(files[1]))
    assert same.digest == FaceSettings(detector=str(files[0])).digest
    files[1].unlink()
    with pytest.raises(InputError, match=r"1\.onnx"):
        same.digest  # noqa: B018
