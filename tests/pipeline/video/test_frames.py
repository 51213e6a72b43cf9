"""Folders of frames: whole or not at all, and gone on with."""

import csv
import shutil
from pathlib import Path

import pytest

from clare.errors import InputError
from clare.pipeline.video.frames import LIST, list_videos, write_frames
from clare.pipeline.video.read import Video
from tests.pipeline.video.clips import write_clip, write_sound

pytest.importorskip("av")


@pytest.fixture
def folders(tmp_path):
    """real/ and fake/ with videos, two in a folder of their own, and one file that is none."""
    for name in ("real/a.mp4", "real/deep/b.mkv", "fake/a.mp4", "fake/c.mp4"):
        write_clip(tmp_path / name, 20 + 7 * len(name))
    write_sound(tmp_path / "fake" / "sound.mp4")
    (tmp_path / "real" / "notes.txt").touch()
    return tmp_path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_frames_are_those_of_the_video_under_their_numbers(folders):
    videos = list_videos([folders / "real", folders / "fake" / "c.mp4"])
    assert [*videos] == ["real/a", "real/deep/b", "c"]
    rows = list(write_frames(videos, folders / "out", 5))
    assert [(row.folder, row.frames, row.failure) for row in rows] == [
        (folder, 5, "") for folder in videos
    ]
    for folder, path in videos.items():
        wanted = {f"{frame.index:03d}.png": frame.png() for frame in Video(path).frames(5)}
        assert tree(folders / "out" / folder) == wanted


def test_a_stopped_call_goes_on_and_reads_nothing_twice(folders, monkeypatch):
    videos, out, read = list_videos([folders / "real", folders / "fake"]), folders / "out", []
    whole = list(write_frames(videos, folders / "whole", 4))
    frames = Video.frames

    def counted(self, most):
        read.append(str(self.path))
        for number, frame in enumerate(frames(self, most)):
            if number == 2 and self.path.name == "b.mkv" and read.count(str(self.path)) == 1:
                raise RuntimeError("killed")
            yield frame

    monkeypatch.setattr(Video, "frames", counted)
    with pytest.raises(RuntimeError, match="killed"):
        list(write_frames(videos, out, 4))
    assert not (out / "real" / "deep" / "b").exists(), "a folder is whole, or not there"
    listed = [row["path"] for row in csv.DictReader((out / LIST).read_text().splitlines())]
    assert listed == [str(videos["real/a"])]
    assert list(write_frames(videos, out, 4)) == whole
    assert read.count(listed[0]) == 1
    assert tree(out) == tree(folders / "whole")
    read.clear()
    assert list(write_frames(videos, out, 4)) == whole and not read


def test_a_folder_that_was_finished_and_not_listed_is_taken_and_another_is_not(folders):
    videos, out = list_videos([folders / "real"]), folders / "out"
    list(write_frames(videos, out, 4))
    whole = tree(out)
    (out / LIST).unlink()
    list(write_frames(videos, out, 4))
    assert tree(out) == whole
    (out / LIST).unlink()
    (out / "real" / "a" / "mine.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="holds other files"):
        list(write_frames(videos, out, 4))
    assert (out / "real" / "a" / "mine.png").read_bytes() == b"mine"


def test_what_can_not_be_told_apart_is_refused(folders):
    shutil.copy(folders / "real" / "a.mp4", folders / "real" / "a.mkv")
    with pytest.raises(InputError, match="in one folder, real/a: rename"):
        list_videos([folders / "real"])
    with pytest.raises(InputError, match="is no video by its name"):
        list_videos([folders / "real" / "notes.txt"])
    (folders / "empty").mkdir()
    with pytest.raises(InputError, match="there is no video below"):
        list_videos([folders / "empty"])
    videos = list_videos([folders / "fake"])
    list(write_frames(videos, folders / "out", 4))
    with pytest.raises(InputError, match="holds 4 frames of each video, not 8"):
        list(write_frames(videos, folders / "out", 8))
