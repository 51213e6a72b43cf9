"""`clare frames`: labelled videos become pictures with a manifest."""

from pathlib import Path

import pytest

from clare.pipeline.manifests.csv_io import read_manifest
from tests.pipeline.video.clips import write_clip, write_sound

pytest.importorskip("av")


def test_labelled_videos_have_a_manifest(clare, tmp_path):
    for name in ("real/a.mp4", "real/deep/b.mkv", "fake/a.mp4", "fake/c.mp4"):
        write_clip(tmp_path / name, 20 + 7 * len(name))
    write_sound(tmp_path / "fake" / "sound.mp4")
    (tmp_path / "real" / "notes.txt").touch()
    given = ("frames", "--real", "real", "--fake", "fake", "--frames", 3, "--out", "out")
    code, out, err = clare(*given, "--subset", "clips")
    assert code == 3 and "sound.mp4: no frames: it has no video stream" in err
    assert "1 file below real left out: 1 .txt" in err
    assert "12 frames of 4 videos" in out and "clare extract --manifest out/clips.csv" in err
    samples = read_manifest(tmp_path / "out" / "clips.csv").samples
    assert {(one.video_id, one.label) for one in samples} == {
        ("real/a", 0), ("real/deep/b", 0), ("fake/a", 1), ("fake/c", 1)
    }  # fmt: skip
    for one in samples:
        assert (tmp_path / "out" / one.path).is_file()
        assert one.frame_idx == int(Path(one.path).stem)
    assert len({one.split for one in samples if one.video_id == "fake/c"}) == 1
    code, _, err = clare("frames", "real/notes.txt", "--out", "other")
    assert code == 1 and "is no video" in err and not (tmp_path / "other").exists()
    code, _, err = clare("frames")
    assert code == 1 and "VIDEOS" in err
