"""Frames of videos: which are taken, how they stand, and what is said of files that lack some."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from clare.errors import ImageError
from clare.pipeline.video import read as reading
from clare.pipeline.video.read import Video
from tests.pipeline.video.clips import SIZE, corner_colours, cut, picture, write_clip, write_sound

pytest.importorskip("av")

UPRIGHT = ["top left", "top right", "bottom left"]


def read(path, most=32):
    video = Video(path)
    return list(video.frames(most)), video


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.ts", "libx264"),
     ("a.avi", "mpeg4"), ("a.mov", "libx264"), ("a.mpg", "mpeg2video")],
)  # fmt: skip
def test_frames_are_evenly_spaced_by_their_index_in_every_container(tmp_path, name, codec):
    frames, video = read(write_clip(tmp_path / name, 40, codec=codec), 8)
    assert [frame.index for frame in frames] == np.linspace(0, 39, 8, dtype=int).tolist()
    assert [frame.seconds for frame in frames] == pytest.approx(
        [frame.index / 25 for frame in frames], abs=0.002
    )
    assert video.count == 40 and video.remarks == ()
    for frame in frames:
        assert frame.pixels.shape == (*SIZE[::-1], 3)
        assert abs(frame.pixels.astype(int) - picture(frame.index)).mean() < 12
    with Image.open(io.BytesIO(frames[3].png())) as png:
        assert (np.asarray(png) == frames[3].pixels).all()


def test_a_short_video_gives_all_its_frames(tmp_path):
    assert [frame.index for frame in read(write_clip(tmp_path / "a.mp4", 5))[0]] == [*range(5)]
    (frame,), video = read(write_clip(tmp_path / "b.mp4", 1))
    assert frame.seconds == 0 and video.remarks == ()
    assert [frame.index for frame in read(tmp_path / "a.mp4", 1)[0]] == [0]


def test_the_rate_may_vary(tmp_path):
    shown = [0.04 * n for n in range(10)] + [1 + 0.5 * n for n in range(10)]
    frames, video = read(write_clip(tmp_path / "a.mp4", 20, seconds=shown), 5)
    assert [frame.index for frame in frames] == [0, 4, 9, 14, 19]
    assert [f.seconds for f in frames] == pytest.approx([shown[f.index] for f in frames], abs=2e-3)
    assert video.remarks == ()


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_a_video_stands_as_its_display_matrix_says(tmp_path, turn):
    frames, _ = read(write_clip(tmp_path / "a.mp4", 4, turn=turn), 2)
    turned = np.rot90(picture(0), turn // 90)
    assert frames[0].pixels.shape == turned.shape
    assert corner_colours(frames[0].pixels) == corner_colours(turned) != UPRIGHT


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda pixels: pixels),
        ((-1, 0, 0, 1), lambda pixels: pixels[:, ::-1]),
        ((1, 0, 0, -1), lambda pixels: pixels[::-1]),
        ((0, 1, 1, 0), lambda pixels: pixels.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1]),
        ((1, 1, -1, 1), lambda pixels: pixels),  # an eighth of a turn
    ],
)
def test_mirrors_are_seen_and_odd_angles_ignored(tmp_path, matrix, shown):
    path = write_clip(tmp_path / "a.mp4", 3)
    data = path.read_bytes()
    a, b, c, d = (one << 16 for one in matrix)
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    place = data.index(plain, data.index(b"tkhd"))
    written = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:place] + written + data[place + len(plain) :])
    frames, _ = read(path, 1)
    assert corner_colours(frames[0].pixels) == corner_colours(shown(picture(0)))


@pytest.mark.parametrize(
    ("name", "codec", "options", "said"),
    [
        ("a.mp4", "libx264", {"movflags": "faststart"}, "it breaks off: "),
        ("a.avi", "mpeg4", {}, "it breaks off: "),
        ("a.mkv", "libx264", {}, "of 8.00 s: it breaks off"),
        ("a.webm", "libvpx-vp9", {}, "of 8.00 s: it breaks off"),
    ],
)
def test_a_cut_video_gives_what_decodes_and_says_what_is_missing(
    tmp_path, name, codec, options, said
):
    whole = write_clip(tmp_path / name, 200, codec=codec, **options)
    assert read(whole)[1].remarks == ()
    frames, video = read(cut(whole, 0.7), 8)
    assert 0 < video.count < 200 and any(said in one for one in video.remarks)
    assert 1 < len(frames) <= 8 and frames[-1].index < video.count
    for frame in frames:
        assert abs(frame.pixels.astype(int) - picture(frame.index)).mean() < 12, "none is half grey"


def test_high_dynamic_range_is_named(tmp_path):
    frames, video = read(write_clip(tmp_path / "a.mp4", 4, codec="libx265", transfer=16))
    assert len(frames) == 4 and video.remarks[0].startswith("HDR (PQ)")
    assert (
        read(write_clip(tmp_path / "b.mp4", 4, codec="libx265", transfer=18))[1]
        .remarks[0]
        .startswith("HDR (HLG)")
    )


def test_what_is_no_video_is_said_in_a_sentence(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "folder.mp4").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.mp4", "JPEG")
    write_sound(tmp_path / "sound.mp4")
    for name, why in (
        ("gone.mp4", "missing: "),
        ("folder.mp4", "unreadable: is a folder"),
        ("empty.mp4", "empty file: "),
        ("text.mp4", "not a video: "),
        ("picture.mp4", "not a video: "),
        (cut(write_clip(tmp_path / "a.mp4"), 0.2).name, "not a video: .* its index is cut off"),
        (
            cut(write_clip(tmp_path / "b.mp4", 20, movflags="faststart"), 0.5).name,
            "no frames: of 1 to be taken none decodes; it breaks off: 1 of 20 frames are there",
        ),
        (
            cut(write_clip(tmp_path / "c.mkv", 60), 0.25).name,
            r"no frames: it holds none; it ends after 0.00 of 2.40 s: it breaks off",
        ),
        ("sound.mp4", "no frames: it has no video stream"),
    ):
        with pytest.raises(ImageError, match=why):
            read(tmp_path / name)


def test_packets_without_a_time_are_counted(tmp_path, monkeypatch):
    packets = reading._packets

    def timeless(*opened):
        for packet in packets(*opened):
            packet.pts = packet.dts = None
            yield packet

    monkeypatch.setattr(reading, "_packets", timeless)
    frames, video = read(write_clip(tmp_path / "a.mp4", 40), 8)
    assert video.count == 40
    assert [frame.index for frame in frames] == np.linspace(0, 39, 8, dtype=int).tolist()


def test_a_playlist_opens_no_other_file(tmp_path):
    write_clip(tmp_path / "secret.mp4")
    write_clip(tmp_path / "secret.ts")
    list_ = tmp_path / "list.mp4"
    for text in (
        "ffconcat version 1.0\nfile 'secret.mp4'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{tmp_path}/secret.ts\n"
        "#EXT-X-ENDLIST\n",
    ):
        list_.write_text(text)
        with pytest.raises(ImageError, match="not a video"):
            read(list_)
