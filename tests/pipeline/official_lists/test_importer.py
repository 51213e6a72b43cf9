"""Official lists: read, refused where they leak, and found on disk whatever the layout."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clare.advice import Name, Set
from clare.errors import InputError, ManifestError
from clare.labels import Labels
from clare.pipeline.checks.check import check_manifests
from clare.pipeline.checks.files import FileCheck
from clare.pipeline.datasets.build import build_dataset
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.official_lists.importer import import_list
from clare.pipeline.official_lists.json_list import label_of, read_list

PREFIX = "deepfakes_detection_datasets"


def write_list(path, labels, *, name=None, compression=None):
    """Labels: label to split to video to frames; every entry repeats its label."""
    body: dict[str, dict] = {}
    for label, splits in labels.items():
        body[label] = {}
        for split, videos in splits.items():
            made = {v: {"label": label, "frames": frames} for v, frames in videos.items()}
            body[label][split] = {compression: made} if compression else made
    path.write_text(json.dumps({name or path.stem: body}))
    return path


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / path)


def roots(**folders):
    return Roots(None, folders)


@pytest.fixture
def uadfv(tmp_path):
    """A list like UADFV's: every split is the same; and its files."""
    real = {f"{n:04d}": [f"UADFV/real/frames/{n:04d}/{k}.png" for k in (0, 9)] for n in range(12)}
    fake = {
        f"{n:04d}_fake": [f"UADFV/fake/frames/{n:04d}_fake/{k}.png" for k in (0, 9)]
        for n in range(12)
    }
    for videos in (real, fake):
        touch(tmp_path, *(path for paths in videos.values() for path in paths))
    splits = ("train", "test", "val")
    labels = {
        "UADFV_Real": dict.fromkeys(splits, real),
        "UADFV_Fake": dict.fromkeys(splits, fake),
    }
    return write_list(tmp_path / "UADFV.json", labels)


def test_a_list_whose_val_and_train_are_its_test_is_refused_with_the_videos_counted(uadfv):
    with pytest.raises(InputError) as refused:
        import_list(uadfv, roots(uadfv=uadfv.parent))
    message = str(refused.value)
    assert "its val is its test, 24 of 24 videos (12 real, 12 fake)" in message
    assert "its train is its test, 24 of 24 videos" in message
    assert Set("resplit", True, effect="assigns new splits") in refused.value.advice


def test_a_byte_order_mark_is_no_part_of_a_list(uadfv):
    before = read_list(uadfv, load_registry()).videos
    uadfv.write_bytes(b"\xef\xbb\xbf" + uadfv.read_bytes())
    assert read_list(uadfv, load_registry()).videos == before


def test_new_splits_repair_it_and_keep_people_and_videos_whole(uadfv, tmp_path):
    imported = import_list(uadfv, roots(uadfv=uadfv.parent), resplit=True)
    manifest = imported.manifest
    assert len(manifest.samples) == 48 and manifest.name == "uadfv"
    assert {s.split for s in manifest.samples} == {"train", "val", "test"}
    assert {s.official_split for s in manifest.samples} == {"train|val|test"}
    splits: dict[str, str] = {}
    for s in manifest.samples:
        person = s.video_id.rpartition(":")[2].removesuffix("_fake")
        assert splits.setdefault(person, s.split) == s.split
    assert [(r.label, r.videos, r.files, r.found) for r in imported.resolutions] == [
        (0, 12, 24, 24), (1, 12, 24, 24),
    ]  # fmt: skip
    write_manifest(manifest, tmp_path / "uadfv.csv")
    assert len(read_manifest(tmp_path / "uadfv.csv").samples) == 48


def test_files_of_a_list_are_found_in_a_bucket(uadfv):
    objects = pytest.importorskip("clare.store.bucket.objects").Objects("memory://uadfv/deep")
    for file in uadfv.parent.rglob("*.png"):
        objects.put(file.relative_to(uadfv.parent).as_posix(), file.read_bytes())
    bucket = Roots.from_options([f"uadfv={objects.url}"], {})
    ours, theirs = (
        import_list(uadfv, places, resplit=True) for places in (bucket, roots(uadfv=uadfv.parent))
    )
    assert ours == theirs


def test_a_video_under_another_key_is_shared_all_the_same(tmp_path):
    frames = ["X/fake/a/0.png"]
    write_list(
        tmp_path / "X.json",
        {"X_Fake": {"train": {"a": frames, "b": ["X/fake/b/0.png"]}, "test": {"c": frames}}},
    )
    with pytest.raises(InputError, match="train shares videos with its test, 1 of 2 videos"):
        import_list(tmp_path / "X.json", roots(x=tmp_path))


@pytest.mark.parametrize(("stem", "name"), [("DF40_all", None), ("mine", "DF40_all")])
def test_df40_all_is_refused_by_its_name_and_by_its_key(tmp_path, stem, name):
    labels = {"DF40All_Fake": {"test": {"a": ["x/a.png"]}}}
    path = write_list(tmp_path / f"{stem}.json", labels, name=name)
    with pytest.raises(InputError, match="can't be used"):
        import_list(path, roots(x=tmp_path))


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("pixart_Real", 0), ("MRAA_Fake", 1), ("CelebDFv1_real", 0), ("CelebDFv1_fake", 1),
        ("FF-real", 0), ("FF-DF", 1), ("FF-NT", 1), ("DFDCP_FakeB", 1), ("whichisreal_Fake", 1),
        ("realistic_Fake", 1), ("whichisreal", None), ("Fake_from_Celeb-realish", 1),
        ("Fake_from_Celeb-real", None), ("nature", 0), ("0_real", 0), ("1_real", None),
    ],
)  # fmt: skip
def test_a_label_is_its_ending_or_the_registrys(kind, label):
    assert label_of(kind, load_registry()) == label


REWRITES = [
    # A prefix of another machine.
    ("heygen", f"./{PREFIX}/DF40/heygen/fake/v/0.png", "DF40/heygen/fake/v/0.png"),
    ("heygen", "/Youtu_Public/u/DF40/heygen/fake/v/0.png", "DF40/heygen/fake/v/0.png"),
    ("heygen", "D:\\data\\DF40\\heygen\\fake\\v\\0.png", "DF40/heygen/fake/v/0.png"),
    ("own", "/data/u3/sets/Own/fake/v/0.png", "Own/fake/v/0.png"),
    ("own", "/data/u3/sets/2024/Own/swapped/v/0.png", "Own/swapped/v/0.png"),
    ("own", "C:\\real data\\Own\\fake\\v\\0.png", "fake/v/0.png"),
    # Archives unpacked into folders, also of their own name.
    ("heygen", f"{PREFIX}/DF40/heygen/fake/v/0.png", "heygen/heygen/heygen_new/fake/v/0.png"),
    ("blendface_ff", "DF40/blendface/ff/frames/0_1/1.png", "a/b/blendface/ff/frames/0_1/1.png"),
    ("stargan", f"{PREFIX}/DF40/stargan/fake/9.png", "stargan/stargan/stargan/fake/9.png"),
    # Folders renamed, doubled, missing or added.
    ("whichisreal", f"{PREFIX}/DF40/whichisreal/fake/9.png", "DF40/whichfaceisreal/fake/9.png"),
    ("whichisreal", f"{PREFIX}/DF40/whichisreal/fake/9.png", "Whichisreal/Whichisreal/fake/9.png"),
    ("stargan", f"{PREFIX}/DF40/stargan/fake/9.png", "DF40/stargan/fake/fake/9.png"),
    ("pixart_ff", f"{PREFIX}/DF40/pixart/ff/frames/012/a.png", "pixart/ff/012/a.png"),
    ("pixart_ff", f"{PREFIX}/DF40/PixArt/ff/012/a.png", "pixart/012/a.png"),
    ("blendface_ff", f"{PREFIX}/DF40/blendface/ff/frames/0_1/1.png", "blendface/frames/0_1/1.png"),
    ("blendface_ff", f"{PREFIX}/DF40/blendface/ff/0_1/1.png", "blendface/ff/frames/0_1/1.png"),
    ("e4e_ff", f"{PREFIX}/DF40/e4e/ff/inversions/012/1.jpg", "e4e/e4e/ff/012/1.jpg"),
    # Celeb-real, which holds fakes.
    (
        "pixart_cdf",
        f"{PREFIX}/DF40/pixart/cdf/Celeb-real/id1_0001/a.png",
        "pixart/cdf/Fake_from_Celeb-real/id1_0001/a.png",
    ),
    (
        "pixart_cdf",
        f"{PREFIX}/DF40/pixart/cdf/YouTube-real/00170/a.png",
        "pixart/cdf/Fake_from_Youtube-real/00170/a.png",
    ),
    # cdfv2.
    ("simswap_cdf", "simswap/cdfv2/frames/id0_id1_0/0.png", "simswap/cdf/frames/id0_id1_0/0.png"),
]


@pytest.mark.parametrize(("stem", "listed", "on_disk"), REWRITES)
def test_a_listed_path_is_found_where_it_lies(tmp_path, stem, listed, on_disk):
    kind = f"{stem.partition('_')[0]}_Fake"
    path = write_list(tmp_path / f"{stem}.json", {kind: {"test": {"v": [listed]}}})
    touch(tmp_path / "disk", on_disk)
    imported = import_list(path, roots(df40_test=tmp_path / "disk"))
    (sample,) = imported.manifest.samples
    assert (sample.path, sample.root, sample.label) == (on_disk, "df40_test", 1)


def test_a_root_may_be_the_collection_or_the_method_itself(tmp_path):
    listed = f"{PREFIX}/DF40/blendface/cdf/frames/id0_id1_0000/000.png"
    labels = {"blendface_Fake": {"test": {"id0_id1_0000": [listed]}}}
    path = write_list(tmp_path / "blendface_cdf.json", labels)
    touch(tmp_path, f"{PREFIX}/DF40/blendface/cdf/frames/id0_id1_0000/000.png")
    for root in ("", PREFIX, f"{PREFIX}/DF40", f"{PREFIX}/DF40/blendface"):
        imported = import_list(path, roots(mine=tmp_path / root))
        (sample,) = imported.manifest.samples
        assert (tmp_path / root / sample.path).is_file()
        assert sample.source_ids == "cdf:id0|cdf:id1" and sample.domain == "cdf"
        assert (imported.manifest.name, sample.category) == ("blendface", "FS")


def test_a_file_in_its_place_gets_the_row_that_a_build_gives_it(tmp_path):
    """Same id, same people (here from the file's name), so features of either serve both."""
    inside = "cdf/Fake_from_Celeb-real/id10_0001/Celeb-real_id13_0011_045.png"
    listed = f"{PREFIX}/DF40/pixart/cdf/Celeb-real/id10_0001/Celeb-real_id13_0011_045.png"
    path = write_list(tmp_path / "pixart_cdf.json", {"pixart_Fake": {"test": {"v": [listed]}}})
    touch(tmp_path / "DF40/pixart", inside)
    known = {"df40_test": tmp_path / "DF40"}
    found = build_dataset(load_registry(), "df40", known, wanted=("pixart",))
    (built,) = found.subsets["pixart"].samples
    (row,) = import_list(path, Roots(None, known)).manifest.samples
    assert row.source_ids == "cdf:id13" and row.sample_id == built.sample_id
    assert replace(row, extra={}) == built
    # Under a root of another name, the same people by the same rule.
    (row,) = import_list(path, roots(mine=tmp_path)).manifest.samples
    assert row.source_ids == "cdf:id13"


def test_a_label_that_its_place_denies_is_refused(tmp_path):
    listed = "DF40/whichfaceisreal/real/1.png"
    path = write_list(
        tmp_path / "whichisreal.json", {"whichisreal_Fake": {"test": {"1": [listed]}}}
    )
    touch(tmp_path, listed)
    with pytest.raises(InputError, match="under the other label than where they lie"):
        import_list(path, roots(df40_test=tmp_path / "DF40"))


@pytest.mark.parametrize("name", ["ff", "000", "real", "FaceForensics++"])
def test_no_rewriting_takes_a_real_for_a_fake(tmp_path, name):
    """A folder of reals that has the same folders and files below it."""
    listed = f"{PREFIX}/DF40/pixart/ff/000/000.png"
    path = write_list(tmp_path / "pixart_ff.json", {"pixart_Fake": {"test": {"000": [listed]}}})
    decoy = tmp_path / name
    touch(decoy, "000/000.png", "ff/000/000.png", "frames/000/000.png", "000.png")
    with pytest.raises(InputError, match="none of its 1 fake files"):
        import_list(path, roots(ffpp=decoy))


def test_a_prefix_of_another_machine_is_dropped_where_it_tells_no_label(tmp_path):
    """Reals and fakes of one name, told apart by a folder that no vocabulary knows."""
    prefix = "/mnt/fake_detection/u1"
    labels = {
        "X_Real": {"test": {"r": [f"{prefix}/crops/v/0.png"]}},
        "X_Fake": {"test": {"f": [f"{prefix}/swaps/v/0.png"]}},
    }
    path = write_list(tmp_path / "X.json", labels)
    touch(tmp_path, "disk/crops/v/0.png", "disk/swaps/v/0.png", "decoy/v/0.png", "decoy/0.png")
    with pytest.raises(InputError, match="none of its"):
        import_list(path, roots(x=tmp_path / "decoy"))
    imported = import_list(path, roots(x=tmp_path / "disk"))
    assert {s.path: s.label for s in imported.manifest.samples} == {
        "crops/v/0.png": 0,
        "swaps/v/0.png": 1,
    }


def test_no_rewriting_takes_a_fake_for_a_real(tmp_path):
    labels = {"X_Real": {"test": {"v": ["X/Celeb-real/v/0.png"]}}}
    path = write_list(tmp_path / "X.json", labels)
    touch(tmp_path, "X/Fake_from_Celeb-real/v/0.png")
    with pytest.raises(InputError, match="none of its 1 real files"):
        import_list(path, roots(x=tmp_path))


def test_a_fakes_celeb_real_is_no_pool_of_reals_below_a_methods_own_folder(tmp_path):
    listed = f"{PREFIX}/DF40/pixart/cdf/Celeb-real/id1_0001/a.png"
    path = write_list(tmp_path / "pixart_cdf.json", {"pixart_Fake": {"test": {"v": [listed]}}})
    inside = "cdf/Fake_from_Celeb-real/id1_0001/a.png"
    touch(tmp_path / "pixart", inside, "cdf/YouTube-real/id1_0001/a.png")
    (sample,) = import_list(path, roots(mine=tmp_path / "pixart")).manifest.samples
    assert sample.path == inside


def test_reals_alone_are_no_success(tmp_path):
    """The sum, 80 %, would look like one."""
    reals = {f"r{n}": [f"mix/real/r{n}/0.png"] for n in range(8)}
    fakes = {f"f{n}": [f"mix/fake/f{n}/0.png"] for n in range(2)}
    labels = {"mix_Real": {"test": reals}, "mix_Fake": {"test": fakes}}
    path = write_list(tmp_path / "mix.json", labels)
    touch(tmp_path, *(frame for frames in reals.values() for frame in frames))
    with pytest.raises(InputError, match=r"none of its 2 fake files.*8 of 8 real files"):
        import_list(path, roots(x=tmp_path))


def test_what_is_not_there_stays_as_missing_and_is_said(tmp_path):
    frames = [f"mix/fake/v/{n}.png" for n in range(4)]
    labels = {"mix_Fake": {"test": {"v": frames, "empty": []}}}
    path = write_list(tmp_path / "mix.json", labels)
    touch(tmp_path, *frames[:2])
    (tmp_path / frames[2]).write_bytes(b"")
    imported = import_list(path, roots(x=tmp_path))
    assert [s.status for s in imported.manifest.samples] == ["ok", "ok", "empty", "missing"]
    assert imported.manifest.samples[3].path == frames[3]
    (resolution,) = imported.resolutions
    assert (resolution.files, resolution.found) == (4, 3)
    notices = "\n".join(map(str, imported.notices))
    assert "only 3 of 4 fake files" in notices and "1 videos without a frame: empty" in notices


def test_reals_of_a_shared_pool_are_left_to_it(tmp_path):
    fake = f"{PREFIX}/DF40/pixart/ff/000/a.png"
    real = f"{PREFIX}/FaceForensics++/original_sequences/youtube/c23/frames/000/0.png"
    labels = {
        "pixart_Real": {"test": {"000": [real]}},
        "pixart_Fake": {"test": {"000": [fake]}},
    }
    path = write_list(tmp_path / "pixart_ff.json", labels)
    touch(tmp_path, "DF40/pixart/ff/000/a.png")
    places = roots(df40_test=tmp_path / "DF40", ffpp=tmp_path / "FF")
    (tmp_path / "FF").mkdir()
    imported = import_list(path, places)
    assert [s.label for s in imported.manifest.samples] == [1]
    assert imported.manifest.samples[0].video_id == ""  # a still, though its folder is a video's
    assert [(r.label, r.found, r.kept) for r in imported.resolutions] == [
        (0, 0, False), (1, 1, True),
    ]  # fmt: skip
    with pytest.raises(InputError, match="none of its 1 real files"):
        import_list(path, places, with_reals=True)
    touch(tmp_path / "FF", "original_sequences/youtube/c23/frames/000/0.png")
    imported = import_list(path, places, with_reals=True)
    assert {s.root: s.label for s in imported.manifest.samples} == {"ffpp": 0, "df40_test": 1}


def test_one_level_of_compression_is_taken_and_masks_go_with_their_frames(tmp_path):
    def entry(level):
        folder = f"FaceForensics++/manipulated_sequences/Deepfakes/{level}"
        return {
            "000_003": {
                "label": "FF-DF",
                "frames": [f"{folder}/frames/000_003/{n}.png" for n in range(2)],
                "masks": [f"{folder}/masks/000_003/{n}.png" for n in range(2)],
            }
        }

    document = {"FF-DF": {"FF-DF": {"train": {level: entry(level) for level in ("c23", "c40")}}}}
    path = tmp_path / "FF-DF.json"
    path.write_text(json.dumps(document))
    for level in ("c23", "c40"):
        touch(tmp_path, *entry(level)["000_003"]["frames"], entry(level)["000_003"]["masks"][0])
    imported = import_list(path, roots(ffpp=tmp_path / "FaceForensics++"))
    first, second = imported.manifest.samples
    assert first.compression == "c23" and "/c23/" in first.path
    assert first.mask_path == first.path.replace("frames", "masks") and second.mask_path == ""
    assert first.source_ids == "ff:000|ff:003" and imported.manifest.name == "ffpp_deepfakes"
    notices = "\n".join(map(str, imported.notices))
    assert "also has c40" in notices and "1 mask of the list not on disk" in notices
    other = import_list(path, roots(ffpp=tmp_path), compression="c40")
    assert {s.compression for s in other.manifest.samples} == {"c40"}
    with pytest.raises(InputError, match="no raw") as error:
        import_list(path, roots(ffpp=tmp_path), compression="raw")
    assert error.value.advice == (Set("compression", "c23"), Set("compression", "c40"))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    frames=st.sets(st.integers(0, 9), min_size=1),
    masks=st.sets(st.integers(0, 9), min_size=1),
)
def test_a_mask_belongs_to_the_frame_of_its_name_wherever_it_is_listed(
    tmp_path, data, frames, masks
):
    """Frames and masks are listed in any order, and not all have their counterpart."""
    folder = "FaceForensics++/manipulated_sequences/Deepfakes/c23"
    names = {
        "frames": [
            f"{folder}/frames/000_003/{n:03d}.jpg" for n in data.draw(st.permutations([*frames]))
        ],
        "masks": [
            f"{folder}/masks/000_003/{n:03d}.png" for n in data.draw(st.permutations([*masks]))
        ],
    }
    entry = {"label": "FF-DF", **names}
    path = tmp_path / "FF-DF.json"
    path.write_text(json.dumps({"FF-DF": {"FF-DF": {"train": {"c23": {"000_003": entry}}}}}))
    (video,) = read_list(path, load_registry()).videos
    number = {name: int(name.rpartition("/")[2][:3]) for name in names["frames"] + names["masks"]}
    assert {number[f]: number[m] for f, m in video.masks.items()} == {n: n for n in frames & masks}
    assert {number[frame] for frame in video.unmasked} == frames - masks
    assert {number[mask] for mask in video.unframed} == masks - frames


def test_a_fakes_mask_that_marks_nothing_is_said(tmp_path):
    folder = "FaceForensics++/manipulated_sequences/Deepfakes/c23"
    frames = [f"{folder}/frames/000_003/{n}.png" for n in range(3)]
    masks = [frame.replace("frames", "masks") for frame in frames]
    touch(tmp_path, *frames)
    for mask, grey in zip(masks, (0, 1, 255), strict=True):
        (tmp_path / mask).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), grey).save(tmp_path / mask)
    entry = {"label": "FF-DF", "frames": frames, "masks": masks}
    path = tmp_path / "FF-DF.json"
    path.write_text(json.dumps({"FF-DF": {"FF-DF": {"test": {"c23": {"000_003": entry}}}}}))
    imported = import_list(path, roots(ffpp=tmp_path / "FaceForensics++"))
    (said,) = [str(one) for one in imported.notices if "without a mark" in str(one)]
    assert said.startswith("1 mask of fakes without a mark") and said.endswith("000_003/0.png")
    write_manifest(imported.manifest, tmp_path / "ffpp_deepfakes.csv")
    for decode in (False, True):
        look = FileCheck(Roots(None, {"ffpp": tmp_path / "FaceForensics++"}), decode=decode)
        found = [one.what for one in check_manifests(tmp_path, ["ffpp_deepfakes"], look=look)]
        assert ("1 mask of fakes without a mark" in found) == decode


def test_frames_of_one_name_are_told_apart_by_their_folder(tmp_path):
    frames = ["X/frames/a/0.png", "X/frames/b/0.png", "X/frames/b/1.png"]
    masks = ["X/masks/b/0.png", "X/masks/a/0.png", "X/masks/1.png"]
    entry = {"label": "FF-DF", "frames": frames, "masks": masks}
    path = tmp_path / "X.json"
    path.write_text(json.dumps({"X": {"FF-DF": {"test": {"v": entry}}}}))
    (video,) = read_list(path, load_registry()).videos
    assert video.masks == {
        "X/frames/a/0.png": "X/masks/a/0.png",
        "X/frames/b/0.png": "X/masks/b/0.png",
        "X/frames/b/1.png": "X/masks/1.png",
    }
    touch(tmp_path, *frames, *masks, "X/frames/b/2.png")
    frames.append("X/frames/b/2.png")
    masks.append("X/masks/9.png")
    path.write_text(json.dumps({"X": {"FF-DF": {"test": {"v": entry}}}}))
    notices = "\n".join(map(str, import_list(path, roots(x=tmp_path)).notices))
    assert "1 of 4 frames without a mask of its name: X/frames/b/2.png" in notices
    assert "1 mask without a frame of its name: X/masks/9.png" in notices


def test_new_splits_of_a_registered_subset_follow_its_domain(tmp_path):
    """FF++'s official lists for its people; what is only ever tested stays test."""
    frames = {pair: [f"DF40/blendface/ff/frames/{pair}/0.png"] for pair in ("071_054", "000_003")}
    path = write_list(
        tmp_path / "blendface_ff.json",
        {"blendface_Fake": {"val": frames, "test": frames}},
    )
    touch(tmp_path, *(one for found in frames.values() for one in found))
    registry = load_registry()
    imported = import_list(path, roots(df40_test=tmp_path / "DF40"), resplit=True)
    for s in imported.manifest.samples:
        pair = s.video_id.rpartition(":")[2].split("_")
        splits = {registry.domains["ff"].listed[one] for one in pair}
        assert splits in ({"train"}, {"val"}, {"test"})
        assert s.split and (s.split == "test") == (splits == {"test"})

    images = {str(n): [f"DF40/whichisreal/fake/{n}.png"] for n in range(3)}
    path = write_list(
        tmp_path / "whichisreal.json", {"whichisreal_Fake": {"val": images, "test": images}}
    )
    touch(tmp_path, *(one for found in images.values() for one in found))
    imported = import_list(path, roots(df40_test=tmp_path / "DF40"), resplit=True)
    assert imported.manifest.name == "whichfaceisreal"
    assert [s.split for s in imported.manifest.samples] == ["test"] * 3


def test_people_in_two_splits_are_refused_by_the_manifests_rules(tmp_path):
    frames = {v: [f"DF40/blendface/ff/frames/{v}/0.png"] for v in ("000_003", "003_000")}
    labels = {
        "blendface_Fake": {
            "train": {"000_003": frames["000_003"]},
            "test": {"003_000": frames["003_000"]},
        }
    }
    path = write_list(tmp_path / "blendface_ff.json", labels)
    touch(tmp_path, *(one for found in frames.values() for one in found))
    with pytest.raises(ManifestError, match="one identity in two splits"):
        import_list(path, roots(df40_test=tmp_path / "DF40"))


def test_one_file_has_one_label(tmp_path):
    labels = {"X_Real": {"test": {"a": ["X/a.png"]}}, "X_Fake": {"test": {"a": ["X/a.png"]}}}
    with pytest.raises(InputError, match=r"as real and as fake: X/a\.png"):
        import_list(write_list(tmp_path / "X.json", labels), roots(x=tmp_path))
    # Two spellings of one file.
    labels["X_Fake"]["test"]["a"] = ["./X/a.png"]
    touch(tmp_path, "X/a.png")
    with pytest.raises(InputError, match="one file has one label"):
        import_list(write_list(tmp_path / "X.json", labels), roots(x=tmp_path))
    body = {"X_Real": {"test": {"a": {"label": "X_Fake", "frames": ["X/a.png"]}}}}
    (tmp_path / "X.json").write_text(json.dumps({"X": body}))
    with pytest.raises(InputError, match="'X_Fake' below 'X_Real'"):
        import_list(tmp_path / "X.json", roots(x=tmp_path))


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        ("real", "fake"), ("Real", "FAKE"), ("nature", "ai"), ("0_real", "1_fake"), ("0", "1"),
        ("original", "manipulated"), ("real_celeb", "fake_celeb"), (0, 1), (False, True),
        ("clean", "swapped"),
    ],
)  # fmt: skip
def test_labels_of_a_list_are_words_of_one_vocabulary_or_the_users(tmp_path, real, fake):
    body: dict[str, dict] = {}
    for key, label, video in (("Own_Real", real, "r"), ("Own_Fake", fake, "f")):
        frames = [f"Own/{video}/{n}.png" for n in range(2)]
        touch(tmp_path, *frames)
        key = key if isinstance(label, int) else label
        body[key] = {"test": {video: {"label": label, "frames": frames}}}
    path = tmp_path / "Own.json"
    path.write_text(json.dumps({"Own": body}))
    labels = Labels(("clean",), ("swapped",))
    imported = import_list(path, roots(x=tmp_path), labels=labels)
    assert {s.path[4]: s.label for s in imported.manifest.samples} == {"r": 0, "f": 1}
    if real == "clean":
        with pytest.raises(InputError, match="neither real nor fake") as refused:
            import_list(path, roots(x=tmp_path))
        assert Name("it", "real_label") in refused.value.advice


def test_an_entry_without_a_videos_name_is_left_out_and_said(tmp_path):
    """DFDC's list has one in each val, among the videos."""
    entry = {"label": "X_Fake", "frames": ["X/a/0.png"]}
    other = {"label": "X_Fake", "frames": ["X/b/0.png"]}
    body = {"train": {"b": other}, "val": {**entry}, "test": {"a": entry}}
    path = tmp_path / "X.json"
    path.write_text(json.dumps({"X": {"X_Fake": body}}))
    touch(tmp_path, "X/a/0.png", "X/b/0.png")
    imported = import_list(path, roots(x=tmp_path))
    assert {s.split for s in imported.manifest.samples} == {"train", "test"}
    (said,) = [str(one) for one in imported.notices if "name of a video" in str(one)]
    assert "'X' > 'X_Fake' > 'val'" in said


def test_one_file_listed_under_two_spellings_is_one_row(tmp_path):
    labels = {"X_Fake": {"test": {"a": ["X/a.png", "./X/a.png", "X\\a.png"]}}}
    touch(tmp_path, "X/a.png")
    imported = import_list(write_list(tmp_path / "X.json", labels), roots(x=tmp_path))
    assert [s.path for s in imported.manifest.samples] == ["X/a.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "is not a list of DeepfakeBench"),
        (
            '{"X": {"X_Fake": {"holdout": {"a": {"frames": []}}}}}',
            "'X' > 'X_Fake' > 'holdout' is wh",
        ),
        ('{"X": {"label": "fake", "frames": []}}', "'X' is too high"),
        ('{"X": {"X_Fake": {"test": {"a": {"frames": [1]}}}}}', "'a' > 'frames' lists more than"),
        ('{"X": {"X_Fake": {"test": {"a": {"frames": [], "label": 0}}}}}', "'0' below 'X_Fake'"),
        ('{"X": {"odd": {"test": {"a": {"frames": [], "label": 3}}}}}', "neither real nor fake"),
        ('{"X": {"X_Odd": {"test": {"a": {"frames": []}}}}}', "neither real nor fake"),
        ('{"X": {"X_Fake": {"test": {}}}}', "lists no video"),
        ('{"X": {}, "Y": {"Y_Fake": {"test": {"a": {"frames": ["b"]}}}}}', "none of its 1 fake"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, text, message):
    (tmp_path / "X.json").write_text(text)
    with pytest.raises(InputError, match=message):
        import_list(tmp_path / "X.json", roots(x=tmp_path))


TEXTS = st.sampled_from(["X", "X_Fake", "X_Real", "test", "train", "c23", "label", "frames", "a/b"])
DOCUMENTS = st.recursive(
    TEXTS | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(DOCUMENTS)
def test_any_json_is_read_or_refused(tmp_path, document):
    path = tmp_path / "any.json"
    path.write_text(json.dumps(document))
    try:
        listed = read_list(path, load_registry())
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert listed.videos and {v.label for v in listed.videos} <= {0, 1}
