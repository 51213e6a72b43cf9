"""The miniature's pictures: the same every time, described truly, split by person."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clare.errors import InputError, WeightsError
from clare.pipeline.images.marks import parse_boxes, parse_points
from clare.pipeline.manifests.csv_io import read_manifest
from clare.pipeline.manifests.masks import look_at_masks
from clare.pipeline.pairing.pairs import pairs
from clare.pipeline.synthetic.camera import Camera, develop, finish
from clare.pipeline.synthetic.dataset import split_of, write_miniature
from clare.pipeline.synthetic.faces import SKINS, list_faces, write_captions
from clare.pipeline.synthetic.fakes import draw_reals, draw_swaps, take_photographs
from clare.pipeline.synthetic.painting import locate, paint

COUNT = 40
FEW = 20


@pytest.fixture(scope="module")
def faces():
    return list_faces(np.arange(COUNT), np.zeros(COUNT, int))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A data set of a few people, and its manifests."""
    place = tmp_path_factory.mktemp("written")
    return place, write_miniature(place, FEW, ("gaussian", "swap"))


def test_a_face_does_not_depend_on_the_others(faces):
    alone = list_faces([7], [0])
    assert np.array_equal(paint(alone)[0], paint(faces)[7])
    assert not np.array_equal(paint(list_faces([7], [1]))[0], paint(alone)[0])


def test_a_person_keeps_the_traits_from_shot_to_shot():
    shots = list_faces([5] * 30, range(30))
    for trait in (shots.skin, shots.hair_colour, shots.hair_style, shots.eyes, shots.beard):
        assert len(set(trait.tolist())) == 1
    assert len(set(shots.background.tolist())) > 3


def test_captions_say_what_is_drawn():
    faces = list_faces(np.arange(600), np.zeros(600, int))
    captions = write_captions(faces)
    for n, caption in enumerate(captions):
        named = [skin for skin in SKINS if f"{skin} skin" in caption]
        assert named in ([], [SKINS[faces.skin[n]]])
        assert ("glasses" in caption) <= bool(faces.glasses[n])
        assert ("no hair" in caption) <= (faces.hair_style[n] == 0)
    assert "a photo of a face" in captions  # the default prompt is one that the models know
    dark = [SKINS[faces.skin[n]] == "dark" for n in range(600)]
    middle = paint(faces)[:, 14:20, 12:20].mean((1, 2, 3))
    assert middle[dark].max() < middle[~np.array(dark) & (faces.skin == 0)].mean()


def test_noise_and_compression_are_as_strong_as_the_camera_says(faces):
    flat = np.full((200, 32, 32, 3), 128, np.uint8)
    quiet, loud = (
        develop(finish(flat, (0,), Camera(noise=(level, level), quality=(95, 96)))).std()
        for level in (1, 4)
    )
    assert loud > 2 * quiet > 0
    assert finish(flat[:3], (0,)) == finish(flat[:3], (0,)) != finish(flat[:3], (1,))


def test_reals_and_fakes_have_the_same_container(written):
    def facts(file):
        with Image.open(file) as image:
            return image.format, image.size, image.mode, tuple(sorted(map(str, image.info)))

    place, paths = written
    files = [place / s.path for path in paths for s in read_manifest(path).samples]
    assert len(files) == 3 * FEW and len({facts(file) for file in files}) == 1


def test_a_swap_changes_the_face_and_little_around_it(faces):
    drawn = draw_swaps(faces, np.roll(faces.identity, 1))
    assert drawn.masks is not None
    change = np.abs(develop(drawn.files).astype(float) - take_photographs(faces)).mean(-1)
    assert 0.1 < drawn.masks.mean() < 0.5
    assert change[drawn.masks].mean() > 2 * change[~drawn.masks].mean()


def test_the_data_set_is_valid_and_split_by_person(written):
    place, paths = written
    manifests = {path.stem: read_manifest(path) for path in paths}
    assert set(manifests) == {"reals", "gaussian", "swap"}
    for manifest in manifests.values():
        assert {s.split for s in manifest.samples} == {"train", "val", "test"}
        for sample in manifest.samples:
            assert (place / sample.path).stat().st_size == sample.bytes
            for person in sample.source_ids.split("|"):
                assert split_of(int(person.removeprefix("mini:"))) == sample.split
    assert {s.mask_path for s in manifests["gaussian"].samples} == {""}
    swaps, reals = manifests["swap"].samples, manifests["reals"].samples
    assert {s.pair_id for s in swaps} == {s.sample_id for s in reals}
    for fake, said in (
        ("", []),
        ("black", [f"{FEW} of {FEW} masks of fakes mark what did not"]),
    ):
        found = look_at_masks(
            [replace(s, mask_fake=fake) for s in swaps],
            lambda _, path: place / path,
            reals=reals,
        )
        assert [one.what[: -len(" change")] for one in found] == said


def test_marks_are_where_the_face_is_painted():
    faces = list_faces(np.arange(FEW), np.zeros(FEW, int))
    pictures = paint(faces, 128).astype(int)
    for picture, marks, bald in zip(
        pictures, locate(faces, 128), faces.hair_style == 0, strict=True
    ):
        points = parse_points(marks.points)
        colours = [picture[y, x] for x, y in points.round().astype(int)]
        assert all(pupil.max() < 40 for pupil in colours[:2])
        x0, y0, x1, y1 = parse_boxes(marks.boxes)
        assert (points[:, 0] > x0).all() and (points[:, 0] < x1).all()
        assert y0 < points[:, 1].min() and points[:, 1].max() < y1
        if bald:  # the crown is seen: of another colour than what is above it
            middle = round((x0 + x1) / 2)
            inside, above = picture[round(y0) + 4, middle], picture[max(0, round(y0) - 4), middle]
            assert np.abs(inside - above).sum() > 20
    assert locate(list_faces([], [])) == []


def test_marks_do_not_tell_the_label_and_pairs_are_made_by_those_that_are_asked_for(
    written, tmp_path
):
    place, paths = written
    samples = [s for path in paths for s in read_manifest(path).samples]
    assert not any(s.boxes or s.face_points for s in samples)
    with pytest.raises(InputError, match=r"where the faces of gaussian are.*kinds=.*draw no marks"):
        write_miniature(tmp_path / "none", FEW, ("gaussian", "swap"), marks=True)
    assert not (tmp_path / "none").exists()
    marked = write_miniature(tmp_path, FEW, ["swap"], marks=True)
    samples = [s for path in marked for s in read_manifest(path).samples]
    assert len(samples) == 2 * FEW and all(s.boxes and s.face_points for s in samples)
    assert [(tmp_path / s.path).read_bytes() for s in samples] == [
        (place / s.path).read_bytes() for s in samples
    ]
    made = pairs("sbi", None, tmp_path / "sbi", manifest=marked[0], root=tmp_path)
    assert made.pairs > FEW / 2


def test_the_data_set_is_the_same_every_time(written, tmp_path):
    again = write_miniature(tmp_path, FEW, ("gaussian", "swap"))
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in written[1]]


def test_the_pictures_of_the_demo_are_those_that_are_drawn(tmp_path):
    root = Path(__file__).parents[3]
    with zipfile.ZipFile(root / "miniature/pictures.zip") as kept:
        kept.extractall(tmp_path)
    manifests = [read_manifest(path) for path in sorted((tmp_path / "manifests").iterdir())]
    assert [m.name for m in manifests] == ["reals", "sampled", "swap", "unseen"]
    for sample in (sample for manifest in manifests for sample in manifest.samples):
        data = (tmp_path / sample.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sample.sha256
        person = int(sample.source_ids.partition("|")[0].removeprefix("mini:"))
        assert split_of(person) == sample.split
    reals = [(tmp_path / sample.path).read_bytes() for sample in manifests[0].samples]
    drawn = draw_reals(list_faces(np.arange(300), np.zeros(300, int))).files
    # Another version of the JPEG library may round otherwise.
    assert np.abs(develop(reals).astype(int) - develop(drawn)).mean() < 1


def test_what_can_not_be_drawn_is_refused(tmp_path):
    with pytest.raises(InputError, match="no kind 'gan'"):
        write_miniature(tmp_path, COUNT, ("gan",))
    with pytest.raises(InputError, match="seed from 0 to 9"):
        write_miniature(tmp_path, 20, ("gaussian",), seed=10)
    with pytest.raises(InputError, match="20 pictures"):
        write_miniature(tmp_path, 4)
    with pytest.raises(WeightsError, match="diffusion is not in"):
        write_miniature(tmp_path, COUNT, ("sampled",), models=tmp_path)
