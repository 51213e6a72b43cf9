"""Every layout of frames that the field prescribes gives the right videos, people and splits."""

import json
from collections import defaultdict

import pytest
from PIL import Image

from clare.errors import InputError
from clare.pipeline.checks.check import check_manifests
from clare.pipeline.datasets.build import build_dataset, require_images, write_dataset
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.manifests.csv_io import list_manifests, read_manifest

FF = "original_sequences/youtube/c23/frames"
DEEPFAKES = "manipulated_sequences/Deepfakes/c23/frames"
LABELS = "filename,label\na.mp4,0\nb.mp4,1\n"

# By layout: the dataset, files beside the frames, and by folder of a video its subset, label,
# split, official split and people.
LAYOUTS = {
    "FF++, DeepfakeBench": ("ffpp", {}, {
        f"{FF}/071": ("ffpp_real", 0, "train", "train", "ff:071"),
        f"{FF}/953": ("ffpp_real", 0, "test", "test", "ff:953"),
        f"{DEEPFAKES}/071_054": ("ffpp_deepfakes", 1, "train", "train", "ff:071|ff:054"),
        f"{DEEPFAKES}/953_974": ("ffpp_deepfakes", 1, "test", "test", "ff:953|ff:974"),
    }),
    "FF++, LN-tuning": ("ffpp", {}, {
        "FF/real/071": ("ffpp_real", 0, "train", "train", "ff:071"),
        "FF/DF/071_054": ("ffpp_deepfakes", 1, "train", "train", "ff:071|ff:054"),
        "FF/F2F/720_672": ("ffpp_face2face", 1, "val", "val", "ff:720|ff:672"),
        "FF/FS/953_974": ("ffpp_faceswap", 1, "test", "test", "ff:953|ff:974"),
        "FF/NT/953_974": ("ffpp_neuraltextures", 1, "test", "test", "ff:953|ff:974"),
        "FF/FSh/953_974": ("ffpp_faceshifter", 1, "test", "test", "ff:953|ff:974"),
    }),
    "Celeb-DF-v2, DeepfakeBench": ("celebdf", {}, {
        "Celeb-real/frames/id0_0000": ("celebdf_v2_real", 0, "test", "train", "cdf:id0"),
        "YouTube-real/frames/00170": ("celebdf_v2_real", 0, "test", "test", "cdf:00170"),
        "Celeb-synthesis/frames/id1_id0_0007":
            ("celeb_synthesis", 1, "test", "test", "cdf:id1|cdf:id0"),
    }),
    "Celeb-DF-v2, LN-tuning": ("celebdf", {}, {
        "CDFv2/Celeb-real/id0_0000": ("celebdf_v2_real", 0, "test", "train", "cdf:id0"),
        "CDFv2/Celeb-synthesis/id1_id0_0007":
            ("celeb_synthesis", 1, "test", "test", "cdf:id1|cdf:id0"),
    }),
    "Celeb-DF-v1": (
        "celebdf1",
        {"List_of_testing_videos.txt":
            "1 Celeb-real/id0_0001.mp4\n0 Celeb-synthesis/id1_id0_0007.mp4\n"},
        {
            "Celeb-real/frames/id0_0001": ("celebdf_v1_real", 0, "test", "test", "cdf:id0"),
            "Celeb-synthesis/id1_id0_0007":
                ("celebdf_v1_synthesis", 1, "test", "test", "cdf:id1|cdf:id0"),
        },
    ),
    "DFD, DeepfakeBench": ("dfd", {}, {
        "original_sequences/actors/c23/frames/01__talking":
            ("dfd_real", 0, "test", "", "dfd:01"),
        "manipulated_sequences/DeepFakeDetection/c23/frames/01_27__talking__AB12":
            ("dfd", 1, "test", "", "dfd:01|dfd:27"),
    }),
    "DFD, LN-tuning": ("dfd", {}, {
        "DFD/real/01__talking": ("dfd_real", 0, "test", "", "dfd:01"),
        "DFD/fake/01_27__talking__AB12": ("dfd", 1, "test", "", "dfd:01|dfd:27"),
    }),
    "DFDCP, DeepfakeBench": (
        "dfdcp",
        {"dataset.json": json.dumps({
            "original_videos/643049/643049_A_001.mp4": {"label": "real", "set": "train"},
            "method_A/x/643050_1260311_C_001.mp4": {"label": "fake", "set": "test"},
        })},
        {
            "original_videos/frames/643049_A_001":
                ("dfdcp_real", 0, "train", "train", "dfdcp:643049"),
            "method_A/frames/643050_1260311_C_001":
                ("dfdcp", 1, "test", "test", "dfdcp:643050|dfdcp:1260311"),
            "method_B/1260311/1260311_C/1255229_1260311_C_001":
                ("dfdcp", 1, "test", "", "dfdcp:1255229|dfdcp:1260311"),
        },
    ),
    "DFDC, DeepfakeBench": (
        "dfdc",
        {"test/labels.csv": LABELS}
        | {"train/part_0/metadata.json": json.dumps(
            {"c.mp4": {"label": "REAL", "split": "train"}, "d.mp4": {"label": "FAKE"}}
        )},
        {
            "test/frames/a": ("dfdc", 0, "test", "test", ""),
            "test/frames/b": ("dfdc", 1, "test", "test", ""),
            "train/part_0/frames/c": ("dfdc", 0, "train", "train", ""),
            "train/part_0/frames/d": ("dfdc", 1, "train", "train", ""),
        },
    ),
    "DFDC, LN-tuning": ("dfdc", {}, {
        "real/a": ("dfdc", 0, "test", "", ""),
        "fake/b": ("dfdc", 1, "test", "", ""),
    }),
    "FFIW, release": ("ffiw", {}, {
        "FFIW10K-v1-release/source/train/000": ("ffiw_real", 0, "train", "train", ""),
        "FFIW10K-v1-release/source/test/000": ("ffiw_real", 0, "test", "test", ""),
        "FFIW10K-v1-release/target/val/frames/000": ("ffiw", 1, "val", "val", ""),
        "FFIW10K-v1-release/target/test/videos/000": ("ffiw", 1, "test", "test", ""),
    }),
    "FFIW, LN-tuning": ("ffiw", {}, {
        "FFIW/real/000": ("ffiw_real", 0, "test", "", ""),
        "FFIW/fake/000": ("ffiw", 1, "test", "", ""),
    }),
}  # fmt: skip


def draw(root, videos, files=()):
    for folder in videos:
        (root / folder).mkdir(parents=True)
        for number in (0, 15):
            Image.new("L", (2, 2)).save(root / folder / f"{number:03d}.png")
    for name, text in dict(files).items():
        (root / name).write_text(text)


def build(dataset, root, **how):
    registry = load_registry()
    (name,) = registry.dataset(dataset).roots
    return build_dataset(registry, dataset, {name: root}, **how)


@pytest.mark.parametrize("name", LAYOUTS)
def test_frames_lie_as_the_field_prescribes(tmp_path, name):
    dataset, files, videos = LAYOUTS[name]
    draw(tmp_path / "data", videos, files)
    built = build(dataset, tmp_path / "data")
    assert built.leftovers.unmatched == []
    rows = [sample for one in built.subsets.values() for sample in one.samples]
    found = {
        s.path.rpartition("/")[0]: (s.subset, s.label, s.split, s.official_split, s.source_ids)
        for s in rows
    }
    assert found == videos and sorted({s.frame_idx for s in rows}) == [0, 15]
    folders = defaultdict(set)
    for sample in rows:
        folders[sample.subset, sample.video_id].add(sample.path.rpartition("/")[0])
    assert all(video and len(own) == 1 for (_, video), own in folders.items())
    assert len(folders) == len(videos)
    assert write_dataset(built, dataset, tmp_path / "m") == {}
    for path in list_manifests(tmp_path / "m").values():
        read_manifest(path)  # keeps every rule: no video, no person in two splits
    assert not [one for one in check_manifests(tmp_path / "m") if one.gate]


@pytest.mark.parametrize("dataset", ["ffpp", "celebdf1", "dfd", "dfdcp", "dfdc", "ffiw"])
def test_a_tree_of_another_kind_gives_no_row(tmp_path, dataset):
    draw(tmp_path, ["pictures/holiday"])
    built = build(dataset, tmp_path)
    assert built.rows == 0 and len(built.leftovers.unmatched) == 2
    registry = load_registry()
    ((name, what),) = registry.dataset(dataset).roots.items()
    with pytest.raises(InputError, match=f"{tmp_path} is not {what}"):
        require_images(built, registry, {name: tmp_path})


@pytest.mark.parametrize(
    ("dataset", "own"), [("celebdf", "Celeb-DF-v2"), ("celebdf1", "Celeb-DF-v1")]
)
def test_two_editions_in_one_folder_are_not_mixed(tmp_path, dataset, own):
    draw(tmp_path, [f"Celeb-DF-v{n}/{kind}/frames/id{n}_id0_0000"
                    for n in (1, 2) for kind in ("Celeb-real", "Celeb-synthesis")])  # fmt: skip
    built = build(dataset, tmp_path)
    paths = [s.path for one in built.subsets.values() for s in one.samples]
    assert len(paths) == 4 and all(path.startswith(f"{own}/") for path in paths)
    assert sum(built.leftovers.ignored.values()) == 4


def test_videos_without_frames_are_called_that(tmp_path):
    (tmp_path / "Celeb-real").mkdir()
    (tmp_path / "Celeb-real/id0_0000.mp4").touch()
    built = build("celebdf", tmp_path)
    with pytest.raises(InputError, match="1 video and no frames below"):
        require_images(built, load_registry(), {"cdf2": tmp_path})


def test_videos_whose_label_no_list_tells_are_no_rows(tmp_path):
    draw(tmp_path / "data", ["test/frames/a", "test/frames/z"], {"test/labels.csv": LABELS})
    built = build("dfdc", tmp_path / "data")
    assert [s.path for s in built.subsets["dfdc"].samples] == [
        f"test/frames/a/{n:03d}.png" for n in (0, 15)
    ]
    assert {(path, reason) for _, path, reason in built.leftovers.unmatched} == {
        (f"test/frames/z/{n:03d}.png",
         "no list beside the videos, as labels.csv, says whether it is real")
        for n in (0, 15)
    }  # fmt: skip
    (tmp_path / "data/test/labels.csv").write_text("video,truth\n")
    with pytest.raises(InputError, match=r"labels\.csv has no columns filename and label"):
        build("dfdc", tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("labels.csv", "", "has no columns filename and label"),
        ("labels.csv", "video,truth\n", "has no columns filename and label"),
        ("metadata.json", "[1, 2]", "says no label and no split of a video"),
        ("dataset.json", "{", "can't be read as a list of videos: "),
        ("List_of_testing_videos.txt", "see the paper\n", "says no label and no split of a video"),
    ],
)
def test_a_list_of_another_form_is_left_over_and_stops_nothing(tmp_path, name, text, reason):
    draw(tmp_path / "data", ["Celeb-real/frames/id0_0000"], {name: text})
    built = build("celebdf1", tmp_path / "data")
    assert built.rows == 2
    ((_, path, why),) = built.leftovers.unmatched
    assert path == name and why.startswith(reason)


def test_lists_that_nobody_asks_are_not_read(tmp_path):
    """The people of Celeb-DF-v2 have their splits."""
    draw(
        tmp_path / "data", ["Celeb-real/frames/id0_0000"], {"labels.csv": "", "metadata.json": "["}
    )
    built = build("celebdf", tmp_path / "data")
    assert built.rows == 2 and built.leftovers.unmatched == []
    assert built.leftovers.ignored["list of videos"] == 2


def test_labels_that_one_list_gives_are_not_lost_to_another(tmp_path):
    lists = {"test/labels.csv": LABELS, "train/p/metadata.json": "["}
    draw(tmp_path / "data", ["test/frames/a", "train/p/c"], lists)
    built = build("dfdc", tmp_path / "data")
    assert built.rows == 2
    left = {path: reason for _, path, reason in built.leftovers.unmatched}
    assert {*left} == {"train/p/metadata.json", "train/p/c/000.png", "train/p/c/015.png"}
    assert "can't be read as a list of videos" in left["train/p/metadata.json"]


def test_a_list_that_is_not_asked_for_labels_is_not_blamed(tmp_path):
    draw(tmp_path / "data", ["real/a", "test/frames/b"], {"real/labels.csv": ""})
    built = build("dfdc", tmp_path / "data")
    assert [s.path for s in built.subsets["dfdc"].samples] == ["real/a/000.png", "real/a/015.png"]


def test_lists_at_several_heights_are_taken_together(tmp_path):
    lists = {
        "train/part_0/metadata.json": json.dumps(
            {"c.mp4": {"label": "?"}, "d.mp4": {"set": "val"}}
        ),
        "train/labels.csv": "filename,label\nc.mp4,0\nd.mp4,1\n",
    }
    draw(tmp_path / "data", ["train/part_0/c", "train/part_0/d"], lists)
    rows = build("dfdc", tmp_path / "data").subsets["dfdc"].samples
    assert {(s.path.split("/")[2], s.label) for s in rows} == {("c", 0), ("d", 1)}


def test_a_list_that_contradicts_itself_leaves_no_say_to_a_farther_one(tmp_path):
    lists = {
        "test/labels.csv": f"{LABELS}x/a.mp4,1\n",
        "dataset.json": json.dumps({"train/a.mp4": {"label": "fake"}}),
    }
    draw(tmp_path / "data", ["test/a", "test/b"], lists)
    rows = build("dfdc", tmp_path / "data").subsets["dfdc"].samples
    assert {(s.path.split("/")[1], s.label) for s in rows} == {("b", 1)}


def test_a_list_outside_of_the_root_is_read_only_where_links_may_lead(tmp_path):
    draw(tmp_path / "data", ["test/frames/a"])
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/labels.csv").write_text(LABELS)
    (tmp_path / "data/test/labels.csv").symlink_to(tmp_path / "lists/labels.csv")
    with pytest.raises(InputError, match="leads through a link out of its root"):
        build("dfdc", tmp_path / "data")
    assert build("dfdc", tmp_path / "data", follow_links=tmp_path / "lists").rows == 2
