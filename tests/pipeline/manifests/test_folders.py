import os
import shutil
import sys
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clare.advice import Name, Notice
from clare.errors import InputError, ManifestError
from clare.file_facts import FORMAT, SIZE
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.splits import assign_splits
from clare.pipeline.manifests.validation import validate
from clare.pipeline.synthetic.toys import draw_faces


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    draw_faces(folder / "jpeg", 1, seed=1, size=32)
    draw_faces(folder / "png", 1, seed=1, size=32, format="png")
    return folder


@pytest.fixture
def place(tmp_path, drawn):
    """A function that puts pictures of different bytes at paths below tmp_path."""

    def put(*paths):
        for path in paths:
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            png = target.suffix.lower() == ".png"
            shutil.copy(drawn / ("png/0000.png" if png else "jpeg/0000.jpg"), target)
            with target.open("ab") as file:  # bytes after the end change the hash alone
                file.write(str(path).encode())
        return tmp_path

    return put


def test_folders_become_rows_with_labels_paths_and_headers(place):
    top = place("data/x/real/10.jpg", "data/x/real/9.JPG", "data/fake/deep/er/a b.png")
    seen = []
    built = build_manifest(
        "toy",
        [top / "data/x/real"],
        [top / "data/fake"],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert built.root == top / "data"
    assert [(s.path, s.label) for s in built.manifest.samples] == [
        ("fake/deep/er/a b.png", 1),
        ("x/real/9.JPG", 0),
        ("x/real/10.jpg", 0),
    ]
    first = built.manifest.samples[0]
    assert first.sample_id == "toy/fake/deep/er/a b.png"
    assert (first.width, first.height, first.format, first.status) == (32, 32, "png", "ok")
    assert first.bytes == (top / "data/fake/deep/er/a b.png").stat().st_size
    assert first.sha256 == ""
    assert Roots(built.root, {}).resolve(first).is_file()
    assert seen[-1] == (3, 3)
    assert sum(real + fake for _, real, fake in built.counts()) == 3


def test_the_label_comes_from_the_option_and_never_from_a_name(place):
    top = place("Fake_from_Celeb-real/1.png", "real_fake/fake/1.png")
    built = build_manifest("toy", [top / "real_fake"], [top / "Fake_from_Celeb-real"])
    assert {s.path: s.label for s in built.manifest.samples} == {
        "Fake_from_Celeb-real/1.png": 1,
        "real_fake/fake/1.png": 0,
    }


def test_the_manifest_survives_its_file_in_the_same_order(place, tmp_path):
    top = place(*(f"real/{i}.jpg" for i in (1, 2, 10, 100)))
    built = build_manifest("toy", [top / "real"], [], hash=True)
    write_manifest(built.manifest, tmp_path / "toy.csv")
    assert read_manifest(tmp_path / "toy.csv") == built.manifest
    assert built.root == top  # of one folder alone, its parent


def test_bad_files_stay_with_their_status(place):
    top = place("real/good.jpg", "real/cut.jpg")
    whole = (top / "real/good.jpg").read_bytes()
    (top / "real/empty.jpg").write_bytes(b"")
    (top / "real/text.png").write_text("not an image")
    (top / "real/header.jpg").write_bytes(whole[:20])
    (top / "real/gone.jpg").symlink_to(top / "real/nowhere.jpg")
    built = build_manifest("toy", [top / "real"], [])
    assert {s.path.split("/")[1]: s.status for s in built.manifest.samples} == {
        "good.jpg": "ok",
        "cut.jpg": "ok",
        "empty.jpg": "empty",
        "text.png": "corrupt",
        "header.jpg": "corrupt",
        "gone.jpg": "missing",
    }
    assert [notice.what.split(":")[0] for notice in built.notices()] == [
        "2 corrupt (kept, and will fail)",
        "1 empty (kept, and will fail)",
        "1 missing (kept, and will fail)",
    ]


def test_formats_of_phones_and_browsers_are_images_whatever_their_names(place, monkeypatch):
    top = place("real/good.jpg")
    Image.new("RGB", (20, 10), "red").save(top / "real/a.avif")
    shutil.copy(top / "real/a.avif", top / "real/b.jpg")
    for name in ("c.heic", "d.jpg"):
        (top / "real" / name).write_bytes(b"\0\0\0\x18ftypheic" + name.encode() * 9)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    built = build_manifest("toy", [top / "real"], [])
    assert [(s.path[5:], s.format, s.width, s.status) for s in built.manifest.samples] == [
        ("a.avif", "avif", 20, "ok"),
        ("b.jpg", "avif", 20, "ok"),
        ("c.heic", "heif", None, "ok"),
        ("d.jpg", "heif", None, "ok"),
        ("good.jpg", "jpeg", 32, "ok"),
    ]
    (notice,) = built.notices()
    assert notice.what.startswith("2 images in HEIC") and "heic" in str(notice.advice)


def test_a_pipe_is_a_bad_file_and_holds_nothing_up(place):
    top = place("real/good.jpg")
    os.mkfifo(top / "real/pipe.jpg")
    built = build_manifest("toy", [top / "real"], [])
    assert [s.status for s in built.manifest.samples] == ["ok", "corrupt"]


def test_a_folder_beside_it_changes_no_id_and_no_split(place):
    names = [f"{i}.jpg" for i in range(20)]
    top = place(*(f"x/{kind}/{name}" for kind in ("a", "b") for name in names), "y/c/0.png")
    alone = build_manifest("toy", [], [top / "x/a"]).manifest.samples
    beside = build_manifest("toy", [top / "y/c"], [top / "x/a", top / "x/b"]).manifest.samples
    assert {s.sample_id for s in alone} == {f"toy/a/{name}" for name in names}
    assert {s.sample_id for s in alone} < {s.sample_id for s in beside}
    same_name = build_manifest("toy", [top / "x/a"], [place("z/a/0.png") / "z/a"]).manifest
    assert {s.sample_id for s in same_name.samples} >= {"toy/z/a/0.png", "toy/x/a/0.jpg"}


def test_what_is_left_out_is_counted(place):
    top = place(
        "real/a.jpg",
        "real/._a.jpg",
        "real/.DS_Store",
        "real/__MACOSX/a.jpg",
        "real/v/Landmarks/x/a.npy",
        "real/v/landmarks/b.npy",
        "real/masks/a.png",
        "real/latents.pt",
        "real/clip.MP4",
        "real/notes.txt",
        "real/README",
    )
    (top / "real/linked").symlink_to(top / "real/v")
    os.link(top / "real/a.jpg", top / "real/b.jpg")
    built = build_manifest("toy", [top / "real"], [])
    assert len(built.manifest.samples) == 1
    assert built.ignored == {
        "hidden": 2,
        "in __macosx/": 1,
        "in landmarks/": 2,
        "in masks/": 1,
        ".pt": 1,
        ".mp4": 1,
        "linked folders": 1,
        "second links to a listed file": 1,
    }
    assert built.unmatched == {".txt": 1, "without a suffix": 1}
    assert Notice("not images: 1 .txt, 1 without a suffix") in built.notices()


def test_a_format_or_size_that_gives_the_label_away_is_said(place):
    top = place("real/1.jpg", "real/2.png", "fake/1.png", "only/1.jpg")
    assert build_manifest("toy", [top / "real"], [top / "fake"]).notices() == []
    draw_faces(top / "large", 1, seed=0, size=64, format="png")
    notices = build_manifest("toy", [top / "only"], [top / "large"]).notices()
    assert [notice.advice for notice in notices] == [(FORMAT.advice,), (SIZE.advice,)]
    assert "real (jpeg) from fake (png)" in notices[0].what
    assert "real (32x32) from fake (64x64)" in notices[1].what


def test_a_folder_that_is_named_is_searched_whatever_its_name(place):
    top = place("masks/a.png")
    assert len(build_manifest("toy", [], [top / "masks"]).manifest.samples) == 1


def test_folders_that_share_files_are_refused(place):
    top = place("a/x/1.png", "b/1.png")
    for reals, fakes, complaint in (
        (["a"], ["a"], "each folder once"),
        (["a", "a/../a"], ["b"], "each folder once"),
        (["a"], ["a/x"], "holds .*a/x"),
        (["a/x"], ["a"], "holds .*a/x"),
        ([], [], "at least one folder"),
    ):
        with pytest.raises(ManifestError, match=complaint):
            build_manifest("toy", [top / f for f in reals], [top / f for f in fakes])


def test_one_file_under_both_labels_is_refused(place):
    top = place("a/1.png", "b/2.png", "b/3.png")
    shutil.copy(top / "a/1.png", top / "b/copy.png")
    build_manifest("toy", [top / "a"], [top / "b"])  # a copy shows in its hash alone
    with pytest.raises(ManifestError, match=r"two labels: 'toy/b/copy\.png'"):
        build_manifest("toy", [top / "a"], [top / "b"], hash=True)
    os.link(top / "a/1.png", top / "b/link.png")
    with pytest.raises(ManifestError, match=r"link\.png and .*1\.png are one file with two labels"):
        build_manifest("toy", [top / "a"], [top / "b"])


def test_copies_under_one_label_share_their_split(place):
    top = place(*(f"a/{i}.png" for i in range(12)))
    for i in range(12):
        shutil.copy(top / f"a/{i}.png", top / f"a/{i}-copy.png")
    built = build_manifest("toy", [top / "a"], [], hash=True)
    assert built.counts() == [("train", 16, 0), ("val", 4, 0), ("test", 4, 0)]


def test_links_that_leave_the_root_are_refused_at_once_and_may_be_followed(place):
    top = place("disk/x/1.png", "disk/x/2.png", "other/9.png", "data/a/1.png")
    (top / "data/a/link.png").symlink_to(top / "disk/x/1.png")
    (top / "data/a/folder").symlink_to(top / "disk/x")
    with pytest.raises(ManifestError, match=r"2 links out of .*folder'.*link\.png'") as refused:
        build_manifest("toy", [top / "data/a"], [])
    assert Name("the folder that they may lead into", "follow_links") in refused.value.advice
    built = build_manifest("toy", [top / "data/a"], [], follow_links=top / "disk")
    paths = [s.path for s in built.manifest.samples]
    assert paths == ["a/1.png", "a/folder/2.png", "a/link.png"]  # folder/1.png is link.png
    assert built.ignored["second links to a listed file"] == 1
    (top / "data/a/0.png").symlink_to("link.png")  # a link to a link takes nothing from it
    again = build_manifest("toy", [top / "data/a"], [], follow_links=top / "disk")
    assert [s.path for s in again.manifest.samples] == paths
    (top / "data/a/0.png").unlink()
    assert {built.roots.resolve(s).parent.name for s in built.manifest.samples} == {"a", "x"}
    with pytest.raises(ManifestError, match="leads through a link out of its root"):
        Roots(built.root, {}).resolve(built.manifest.samples[1])
    (top / "data/a/far.png").symlink_to(top / "other/9.png")
    with pytest.raises(ManifestError, match="1 link out of"):
        build_manifest("toy", [top / "data/a"], [], follow_links=top / "disk")
    with pytest.raises(InputError, match="no folder for links"):
        build_manifest("toy", [top / "data/a"], [], follow_links=top / "nowhere")


def test_loops_of_links_end(place):
    top = place("disk/x/1.png", "disk/x/deep/2.png", "data/a/0.png")
    (top / "disk/x/deep/up").symlink_to(top / "disk")
    (top / "disk/x/back").symlink_to(top / "data/a")
    (top / "data/a/one").symlink_to(top / "disk")
    (top / "data/a/two").symlink_to(top / "disk/x")
    built = build_manifest("toy", [top / "data/a"], [], follow_links=top / "disk")
    files = [built.roots.resolve(s) for s in built.manifest.samples]
    assert sorted(file.name for file in files) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("name", ["0-before.png", "z-after.png"])
def test_a_file_goes_before_its_links_whatever_their_names(place, name):
    top = place("a/m/1.png", "b/2.png")
    before = build_manifest("toy", [top / "a"], [top / "b"]).manifest
    (top / "a/m" / name).symlink_to(top / "a/m/1.png")
    (top / "a" / name).symlink_to(top / "a/m/1.png")
    assert build_manifest("toy", [top / "a"], [top / "b"]).manifest == before


def test_names_that_no_manifest_can_hold_are_left_out_and_said_at_once(place):
    top = place("a/1.png", "a/2.png")
    for name in (b"back\\slash.png", b"new\nline.png", b"\xff.png"):
        shutil.copy(top / "a/1.png", os.fsencode(top) + b"/a/" + name)
    built = build_manifest("toy", [top / "a"], [])
    assert [s.path for s in built.manifest.samples] == ["a/1.png", "a/2.png"]
    (notice,) = built.notices()
    assert notice.what.startswith("3 files left out for their names") and notice.what.isprintable()
    notice.what.encode()  # it can be printed
    for part in ("has a backslash", "has control characters", "not UTF-8", r"new\nline", r"\udcff"):
        assert part in notice.what


@given(st.sets(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8)))
def test_any_file_names_become_rows_or_are_said(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("any") / "a"
    folder.mkdir()
    Image.new("L", (2, 2)).save(folder / "plain.png")
    written = {"plain.png"}
    for name in names:
        try:
            shutil.copy(folder / "plain.png", folder / f"{name}.png")
            written.add(f"{name}.png")
        except (OSError, UnicodeEncodeError):
            continue
    hidden = {name for name in written if name.startswith(".")}
    try:
        built = build_manifest("toy", [folder], [])
    except ManifestError as error:
        assert "in case or accents" in str(error)
        return
    rows = {s.path.removeprefix("a/") for s in built.manifest.samples}
    assert rows <= written and len(rows) + len(built.strange) == len(written - hidden)


def test_folders_that_are_no_use_are_named(place):
    top = place("a/1.png", "b/notes.txt")
    with pytest.raises(InputError, match="c is not there"):
        build_manifest("toy", [top / "c"], [])
    with pytest.raises(InputError, match=r"1\.png is not a folder"):
        build_manifest("toy", [top / "a/1.png"], [])
    with pytest.raises(ManifestError, match=r"no image below .*b"):
        build_manifest("toy", [top / "a"], [top / "b"])
    with pytest.raises(ManifestError, match="can't name a subset"):
        build_manifest("to/y", [top / "a"], [])


def test_a_folder_of_videos_says_so_and_what_to_do(place):
    top = place("a/1.png", "b/1.mp4", "b/2.mp4", "b/notes.txt")
    with pytest.raises(
        ManifestError, match=r"2 \.mp4, 1 \.txt\): extract the frames of its videos"
    ):
        build_manifest("toy", [top / "a"], [top / "b"])
    (top / "b/1.mp4").unlink()
    (top / "b/2.mp4").unlink()
    with pytest.raises(ManifestError, match=r"\(1 \.txt\)$"):
        build_manifest("toy", [top / "a"], [top / "b"])


def test_drawn_faces_are_the_same_for_the_same_arguments(tmp_path):
    first = draw_faces(tmp_path / "a", 3, seed=5, size=64, format="png")
    again = draw_faces(tmp_path / "b", 2, seed=5, size=64, format="png")
    other = draw_faces(tmp_path / "c", 2, seed=5, kind="fake", size=64, format="png")
    assert [p.name for p in first] == ["0000.png", "0001.png", "0002.png"]
    contents = [[p.read_bytes() for p in paths] for paths in (first, again, other)]
    assert contents[0][:2] == contents[1]
    assert len({*contents[0], *contents[2]}) == 5


@pytest.mark.parametrize("bad", [{"format": "gif"}, {"kind": "half"}, {"size": 8}, {"count": -1}])
def test_a_drawing_that_is_not_possible_is_refused(tmp_path, bad):
    with pytest.raises(InputError):
        draw_faces(tmp_path, **{"count": 1, "seed": 0, **bad})


def rows(count, label=0, **columns):
    return [
        Sample(f"s/{label}/{i}", f"{label}/{i}.png", label, "s", **columns) for i in range(count)
    ]


def split_of(samples):
    return {s.sample_id: s.split for s in samples}


def test_single_files_meet_the_quotas_of_each_label_exactly():
    counts = Counter((s.label, s.split) for s in assign_splits(rows(200) + rows(60, 1)))
    assert counts == {
        (0, "train"): 140,
        (0, "val"): 30,
        (0, "test"): 30,
        (1, "train"): 42,
        (1, "val"): 9,
        (1, "test"): 9,
    }


def test_splits_depend_on_names_and_seed_alone():
    samples = rows(50) + rows(50, 1)
    assert split_of(assign_splits(samples)) == split_of(assign_splits(samples[::-1]))
    assert split_of(assign_splits(samples)) != split_of(assign_splits(samples, seed=1))


def test_files_that_are_added_move_few_rows():
    before = split_of(assign_splits(rows(1000)))
    after = split_of(assign_splits(rows(1010)))
    assert sum(after[name] != split for name, split in before.items()) <= 10


def test_a_giant_group_goes_to_training():
    samples = [replace(s, video_id="v") for s in rows(60)] + [
        replace(s, sample_id=f"t{s.sample_id}", path=f"t{s.path}") for s in rows(40)
    ]
    assert {s.split for s in assign_splits(samples) if s.video_id} == {"train"}


GROUPED = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["", "a", "b", "c|d", "d|e", "f", "g"]),
        st.sampled_from(["", "", "v", "w", "x"]),
        st.sampled_from(["", "", "", "1" * 64]),
    ),
    min_size=1,
    max_size=40,
)


@given(GROUPED, st.integers(0, 3))
def test_no_group_is_cut_and_no_split_is_empty_that_need_not_be(columns, seed):
    # Two labels may share an identity or a video, a file never.
    samples = [
        Sample(
            f"s/{i}",
            f"{i}.png",
            label,
            "s",
            source_ids=source,
            video_id=video,
            sha256=sha256 if label else "",
        )
        for i, (label, source, video, sha256) in enumerate(columns)
    ]
    assigned = assign_splits(samples, seed=seed)
    validate(Manifest("s", assigned))  # refuses identities, videos and files in two splits
    assert [replace(s, split="") for s in assigned] == samples
    groups = components(samples)
    for label in (0, 1):
        held = {groups[s.sample_id] for s in samples if s.label == label}
        splits = {s.split for s in assigned if s.label == label}
        if len(held) >= 3:
            assert splits == {"train", "val", "test"}


def components(samples):
    """Group number of each sample, by merging until nothing changes."""
    number = {s.sample_id: i for i, s in enumerate(samples)}
    keys = {
        s.sample_id: {s.video_id, s.sha256, *(f"id {one}" for one in s.source_ids.split("|"))}
        - {"", "id "}
        for s in samples
    }
    changed = True
    while changed:
        changed = False
        for a in keys:
            for b in keys:
                if keys[a] & keys[b] and number[a] != number[b]:
                    number[a] = number[b] = min(number[a], number[b])
                    changed = True
    return number
