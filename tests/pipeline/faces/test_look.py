"""A manifest learns where its faces are, whatever happens on the way."""

import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from clare.errors import InputError, ManifestError
from clare.pipeline.faces import look
from clare.pipeline.faces.faces import faces
from clare.pipeline.faces.finder import FaceFinder
from clare.pipeline.images.marks import parse_points
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.sample import Manifest, Sample

pytestmark = pytest.mark.usefixtures("mtcnn")

ONE, TWO = (30, 40, 120), (150, 20, 160)


def rows(folder):
    return {s.sample_id: s for s in read_manifest(folder / "mine.csv").samples}


def write(folder, files, **columns):
    samples = [
        Sample(name.split(".")[0], name, number % 2, "mine", split="test", **columns)
        for number, name in enumerate(files)
    ]
    write_manifest(Manifest("mine", tuple(samples)), folder / "mine.csv")


@pytest.fixture
def folder(tmp_path, scene):
    scene((200, 200), ONE).save(tmp_path / "one.png")
    scene((340, 220), ONE, TWO).save(tmp_path / "two.png")
    scene((160, 120)).save(tmp_path / "none.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "one.png").read_bytes()[:900])
    write(tmp_path, ["one.png", "two.png", "none.png", "broken.png", "gone.png"])
    return tmp_path


def find(folder, **settings):
    (report,) = faces(manifest=folder / "mine.csv", root=folder, **settings)
    return report


def test_every_row_says_where_its_face_is_or_why_there_is_none(folder, points_at):
    report = find(folder)
    found = rows(folder)
    assert list(found) == ["broken", "gone", "none", "one", "two"]
    for name, place, count in (("one", ONE, 1), ("two", TWO, 2)):
        row = found[name]
        assert parse_points(row.face_points) == pytest.approx(points_at(*place), abs=8)
        assert (row.face_detector, row.face_turn, row.face_count) == ("mtcnn", 0, count)
        assert row.face_confidence > 0.9 and len(row.boxes.split()) == 4 and not row.no_face
    none, broken, gone = (found[name] for name in ("none", "broken", "gone"))
    assert (none.no_face, none.face_count, none.boxes) == ("none found", 0, "")
    assert broken.no_face.startswith("truncated") and gone.no_face.startswith("missing")
    assert broken.face_count is gone.face_count is None
    assert (report.images, report.one, report.several, report.unreadable) == (5, 1, 1, 2)
    assert report.missing == {n: found[n].no_face for n in ("none", "broken", "gone")}


def test_faces_in_a_bucket_are_those_of_a_disk(folder):
    find(folder)
    there = rows(folder)
    objects = pytest.importorskip("clare.store.bucket.objects").Objects("memory://faces/deep")
    for file in folder.glob("*.png"):
        objects.put(file.name, file.read_bytes())
    for known in (0, 4):
        (report,) = faces(manifest=folder / "mine.csv", root=objects.url)
        assert rows(folder) == there
        assert report.known == known


def test_all_faces_have_a_row_each_and_one_split(folder, points_at):
    find(folder, all_faces=True)
    found = rows(folder)
    assert [name for name in found if name.startswith("two")] == ["two", "two#face2"]
    first, second = found["two"], found["two#face2"]
    assert parse_points(second.face_points) == pytest.approx(points_at(*ONE), abs=8)
    assert first.boxes != second.boxes
    assert (first.path, first.split, first.label) == (second.path, second.split, second.label)
    assert set(first.groups) == set(second.groups) and first.cluster == second.cluster
    moved = [dataclasses.replace(first, split="train"), second]
    with pytest.raises(ManifestError, match="one image in two splits"):
        write_manifest(Manifest("mine", tuple(moved)), folder / "mine.csv")
    report = find(folder)  # again, and one face an image
    assert "two#face2" not in rows(folder) and report.gone == 1


def test_a_name_alone_makes_no_further_face(folder):
    names = {"two": "one#face2", "none": "one#faces", "broken": "#face2"}
    renamed = [
        dataclasses.replace(row, sample_id=names.get(name, name))
        for name, row in rows(folder).items()
    ]
    write_manifest(Manifest("mine", tuple(renamed)), folder / "mine.csv")
    for _ in range(2):
        report = find(folder)
        assert set(rows(folder)) == {"one", "one#face2", "one#faces", "#face2", "gone"}
        assert report.gone == 0
    assert rows(folder)["one#face2"].path == "two.png"
    assert rows(folder)["one#faces"].cluster == "mine/one#faces"
    assert rows(folder)["#face2"].cluster == "mine/#face2"


def test_a_further_face_that_is_unsure_has_no_row(folder, monkeypatch):
    find_as_ever = FaceFinder.find

    def unsure(*given):
        found = find_as_ever(*given)
        return found[:1] + [dataclasses.replace(face, confidence=0.89) for face in found[1:]]

    with monkeypatch.context() as patch:
        patch.setattr(FaceFinder, "find", unsure)
        report = find(folder, all_faces=True)
    assert "two#face2" not in rows(folder) and rows(folder)["two"].face_count == 2
    assert (report.further, report.further_fakes) == (0, 0)


def test_how_many_further_faces_pass_for_fake_is_told(folder):
    swapped = [dataclasses.replace(row, label=1) for row in rows(folder).values()]
    write_manifest(Manifest("mine", tuple(swapped)), folder / "mine.csv")
    report = find(folder, all_faces=True)
    assert (report.further, report.further_fakes) == (1, 1)


def test_another_pick_needs_no_other_look(folder, points_at, monkeypatch):
    find(folder)
    monkeypatch.setattr(FaceFinder, "find", None)  # whoever looks fails
    (folder / "gone.png").unlink(missing_ok=True)
    report = find(folder, pick="df40")
    assert report.known == 4
    assert parse_points(rows(folder)["two"].face_points) == pytest.approx(points_at(*ONE), abs=8)


def test_a_run_that_was_killed_goes_on(folder, monkeypatch):
    whole = rows_after(folder)
    memory = folder / f"mine{look.MEMORY}"
    lines = memory.read_bytes().splitlines(keepends=True)
    memory.write_bytes(lines[0] + lines[1][:40])
    seen = []
    find_as_ever = FaceFinder.find

    def watched(*given):
        seen.append(given)
        return find_as_ever(*given)

    monkeypatch.setattr(FaceFinder, "find", watched)
    report = find(folder)
    assert report.known == 1 and len(seen) == 3
    assert rows(folder) == whole
    assert find(folder).known == 4


def rows_after(folder, **settings):
    find(folder, **settings)
    return rows(folder)


def test_a_changed_file_is_looked_at_anew(folder, scene):
    find(folder)
    scene((200, 200)).save(folder / "one.png")
    report = find(folder)
    assert report.known == 3 and "one" in report.missing


def test_a_trial_with_other_settings_costs_nothing_of_what_was_found(folder):
    find(folder)
    before = rows(folder)
    assert find(folder, upright=True).known == 0
    assert find(folder, smallest_face=30).known == 0
    assert find(folder).known == 4
    assert rows(folder) == before
    assert find(folder, upright=True).known == 4


def test_a_detector_that_fails_leaves_everything_as_it_was(folder):
    find(folder)
    before = {file: file.read_bytes() for file in folder.glob("mine*")}
    (folder / "model.onnx").write_bytes(b"no network")
    with pytest.raises(InputError):
        find(folder, detector=str(folder / "model.onnx"))
    with pytest.raises(InputError):
        find(folder, detector="dlib", landmarks=folder / "model.onnx")
    assert {file: file.read_bytes() for file in folder.glob("mine*")} == before


def test_a_file_of_one_name_below_another_root_is_another(folder, tmp_path_factory, scene):
    other = tmp_path_factory.mktemp("other")
    find(folder)
    scene((200, 200), (60, 50, 120)).save(other / "one.png")
    data = (folder / "one.png").read_bytes()
    size = max(len(data), (other / "one.png").stat().st_size)
    for place in (folder, other):  # to the byte and to the nanosecond as old and as large
        file = place / "one.png"
        file.write_bytes(file.read_bytes().ljust(size, b"\0"))
        os.utime(file, ns=(10**18, 10**18))
    find(folder)
    first = rows(folder)["one"].face_points
    (report,) = faces(manifest=folder / "mine.csv", root=other)
    assert report.known == 0
    assert parse_points(rows(folder)["one"].face_points)[0, 0] > parse_points(first)[0, 0] + 20
    assert find(folder).known == 4


def test_turned_pictures_are_found_by_their_pixels_and_by_their_exif(tmp_path, scene):
    upright = scene((300, 200), ONE)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "exif.jpg", exif=exif, quality=95)
    upright.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "turned.png")
    upright.save(tmp_path / "upright.png")
    write(tmp_path, ["exif.jpg", "turned.png", "upright.png"])
    report = find(tmp_path)
    found = {name: parse_points(row.face_points) for name, row in rows(tmp_path).items()}
    assert found["exif"] == pytest.approx(found["upright"], abs=3)
    x, y = found["upright"].T
    assert found["turned"] == pytest.approx(np.stack([199 - y, x], axis=1), abs=0.02)
    assert [rows(tmp_path)[n].face_turn for n in ("exif", "turned", "upright")] == [0, 90, 0]
    assert report.turned == {90: 1}


def test_boxes_from_elsewhere_are_kept_unless_they_may_go(folder):
    before = [dataclasses.replace(row, boxes="1 2 30 40") for row in rows(folder).values()]
    write_manifest(Manifest("mine", tuple(before)), folder / "mine.csv")
    with pytest.raises(ManifestError, match="mine has boxes already that no detector here found"):
        find(folder)
    assert rows(folder)["one"].boxes == "1 2 30 40"
    find(folder, replace_boxes=True)
    assert rows(folder)["one"].face_detector == "mtcnn" and not rows(folder)["none"].boxes


def test_a_call_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="no images are named"):
        faces()
    with pytest.raises(InputError, match=r"there is no .*other\.csv"):
        faces("other", manifests=tmp_path)
