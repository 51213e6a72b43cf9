"""Videos in `clare predict`: scores of frames as of the files that are written of them, and of
videos as an evaluation has them."""

import csv
import json

import numpy as np
import pytest

import clare as library
from clare.heads.metrics.predictions import Predictions, video_level
from clare.heads.training.train_head import train_head
from clare.pipeline.extract import extract
from clare.pipeline.video.read import Video
from tests.pipeline.video.clips import cut, write_clip, write_sound

pytest.importorskip("av")

DEVICE = ("--device", "cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory, pictures):
    """A run that reads LaRE too, whose noise hangs on a file's bytes."""
    place = tmp_path_factory.mktemp("videos")
    images = {"real": pictures / "real", "fake": pictures / "fake"}
    extract(
        place / "features.zarr",
        **images,
        subset="faces",
        backbone="tiny",
        device="cpu",
        settings={"lare": {"draws": 1}},
    )
    store = place / "features.zarr"
    train_head(store, place / "run", fusion="concat", classifier="linear", epochs=1, device="cpu")
    return place / "run"


def test_frames_are_judged_as_their_files_and_a_video_by_their_mean(run, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 40, turn=90)
    files = []
    for frame in Video(clip).frames(6):
        files.append(tmp_path / f"{frame.index:03d}.png")
        files[-1].write_bytes(frame.png())
    *images, video = library.predict(run, [*files, clip], frames=6, device="cpu")
    assert [one.level for one in images] == ["image"] * 6 and video.level == "video"
    assert [one.margin for one in video.frames] == pytest.approx(
        [one.margin for one in images], abs=1e-5
    )
    assert [one.frame for one in video.frames] == [int(file.stem) for file in files]
    margins = np.array([one.margin for one in video.frames])
    text = np.array(["clip"] * 6)
    evaluated = video_level(
        Predictions(text, text, text, np.ones(6, np.int64), margins, text, text)
    )
    assert evaluated is not None
    assert video.margin == pytest.approx(evaluated.margin[0])
    assert video.p_fake == pytest.approx(np.mean([one.p_fake for one in video.frames]))
    threshold = library.open_run(run).threshold
    assert video.margin is not None
    assert video.label == ("fake" if video.margin >= threshold else "real")
    assert video.size == (96, 128) and all(one.size == video.size for one in video.frames)


def test_table_and_file_have_videos_among_images(clare, run, pictures, tmp_path):
    image = next((pictures / "real").iterdir())
    whole = write_clip(tmp_path / "a.mkv", 200)
    broken, sound = cut(whole, 0.6), write_sound(tmp_path / "sound.mp4")
    command = ("predict", run, image, whole, broken, sound, image, "--frames", 4, *DEVICE)
    code, out, err = clare(*command)
    assert code == 3 and "1 of 5 images" in err
    assert f"{whole} (4 frames)" in out and "failed: no frames: it has no video stream" in out
    assert f"{broken}: it ends after" in err and "of 8.00 s: it breaks off" in err
    assert f"{whole}: " not in err
    assert clare(*command, "--out", "scores.csv")[0] == 3
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    levels = ["image", *["frame"] * 4, "video", *["frame"] * 4, "video", "video", "image"]
    assert [row["level"] for row in rows] == levels
    assert [row["frame"] for row in rows[1:5]] == ["0", "66", "132", "199"]
    assert [float(row["seconds"]) for row in rows[1:5]] == pytest.approx([0, 2.64, 5.28, 7.96])
    mean = np.mean([float(row["score"]) for row in rows[1:5]])
    assert float(rows[5]["score"]) == pytest.approx(mean) and rows[5]["frames"] == "4"
    assert "it breaks off" in rows[10]["remarks"] and "it breaks off" not in rows[5]["remarks"]
    assert rows[11]["failure"].startswith("no frames") and rows[11]["score"] == ""
    printed = clare("predict", run, whole, "--frames", 4, "--json", *DEVICE)[1]
    assert json.loads(printed.splitlines()[-1])["score"] == pytest.approx(mean, abs=1e-5)


def test_a_video_cut_short_in_the_file_is_judged_whole_again(clare, run, tmp_path):
    clips = [write_clip(tmp_path / name, 30) for name in ("a.mp4", "b.mp4")]
    command = ("predict", run, *clips, "--frames", 4, *DEVICE, "--out", "scores.jsonl")
    assert clare(*command)[0] == 0
    file = tmp_path / "scores.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:8]))  # b's video row, and one of its frames, are gone
    code, out, _ = clare(*command)
    assert code == 0 and "1 of them judged before" in out
    assert [json.loads(line)["level"] for line in file.read_text().splitlines()] == [
        json.loads(line)["level"] for line in lines
    ]
    code, _, err = clare(*command[:-4], *DEVICE, "--frames", 8, "--out", "scores.jsonl")
    assert code == 1 and "4 frames a video, not float32, 8 frames a video" in err


def test_videos_below_folders_are_judged_where_they_can_be_read(
    clare, run, pictures, tmp_path, monkeypatch
):
    image = next((pictures / "real").iterdir())
    write_clip(tmp_path / "mixed" / "a.mp4", 4)
    (tmp_path / "mixed" / image.name).write_bytes(image.read_bytes())
    code, out, err = clare("predict", run, "mixed", *DEVICE)
    assert code == 0 and "a.mp4 (4 frames)" in out and "left out" not in err
    monkeypatch.setattr("clare.pipeline.video.read.find_spec", lambda name: None)
    code, out, err = clare("predict", run, "mixed", *DEVICE)
    assert code == 0 and "a.mp4" not in out and "1 file below mixed left out: 1 .mp4" in err
    code, _, err = clare("predict", run, "mixed/a.mp4", *DEVICE)
    assert code == 1 and "pip install 'clare-features[video]'" in err and "Traceback" not in err


def test_explanations_are_drawn_a_frame_each(clare, run, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", 4)
    assert clare("predict", run, clip, "--frames", 2, *DEVICE, "--explain", "why")[0] == 0
    assert sorted(file.name[-8:] for file in (tmp_path / "why").iterdir()) == [
        "-000.png",
        "-003.png",
    ]
