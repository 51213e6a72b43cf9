import json
import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from clare.advice import LeaveOut, Name
from clare.errors import InputError
from clare.pipeline.checks.status import list_status
from clare.pipeline.datasets.build import build_dataset, dataset_roots, write_dataset
from clare.pipeline.datasets.identity_splits import IdentitySplit, hashed_split
from clare.pipeline.datasets.record import read_record
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.manifests.csv_io import read_manifest
from tests.pipeline.df40_tree import TEST, TRAIN, VAL, make_tree

REGISTRY = load_registry()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("df40"))


@pytest.fixture(scope="module")
def built(tree):
    return build_dataset(REGISTRY, "df40", tree.roots)


@pytest.fixture(scope="module")
def manifests(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifests")
    assert write_dataset(built, "df40", folder) == {
        "mobileswap": "no image that fits a layout (1 other file, the first is "
        "mobileswap/ff/frames.zip; looked for mobileswap/ff/frames/VIDEO/, "
        "mobileswap/cdf/frames/VIDEO/, mobileswap/(ff/)?frames/VIDEO/)"
    }
    return folder


def rows(built, name):
    return built.subsets[name].samples


def test_every_file_is_a_row_or_left_out_by_design_or_listed(tree, built):
    found = {(s.root, s.path) for one in built.subsets.values() for s in one.samples}
    assert found == tree.having("row")
    assert {(root, path) for root, path, _ in built.leftovers.unmatched} == tree.having("unmatched")
    assert sum(built.leftovers.ignored.values()) == len(tree.having("ignored"))
    on_disk = sum(len(files) for _, _, files in os.walk(tree.folder))
    assert on_disk == built.rows + len(tree.having("ignored")) + len(tree.having("unmatched"))


def test_labels_come_from_the_place_and_never_from_a_word(built):
    for name, one in built.subsets.items():
        labels = {s.path: s.label for s in one.samples}
        if name in ("ffpp_real", "celebdf_v2_real"):
            assert set(labels.values()) == {0}
        elif not one.subset.own_reals:
            assert set(labels.values()) <= {1}, name
    assert {s.path.split("/")[-2]: s.label for s in rows(built, "whichfaceisreal")} == {
        "fake": 1,
        "real": 0,
    }
    assert {s.label for s in rows(built, "e4e")} == {1}
    assert {s.label for s in rows(built, "collabdiff")} == {1}


def test_a_row_says_who_is_in_it_and_where_it_comes_from(built):
    one = {s.sample_id: s for s in rows(built, "simswap")}["df40/simswap/ff/953_974/010"]
    assert (one.source_ids, one.video_id, one.frame_idx) == (
        "ff:953|ff:974",
        "simswap:ff:953_974",
        10,
    )
    assert one.landmark_path == "simswap/ff/landmarks/953_974/010.npy"
    assert (one.category, one.domain, one.root, one.format) == ("FS", "ff", "df40_test", "png")
    name = "df40/pixart/cdf/Celeb-real/id10_0001/Celeb-real_id13_0011_045"
    one = {s.sample_id: s for s in rows(built, "pixart")}[name]
    assert (one.source_ids, one.pair_id, one.frame_idx) == ("cdf:id13", "cdf:id13_0011", 45)
    assert one.video_id == "" and (one.width, one.height) == (48, 48)
    tube = [s for s in rows(built, "sd21") if "YouTube-real/00170" in s.sample_id]
    assert [s.source_ids for s in tube] == ["cdf:00208"]
    seed = [s for s in rows(built, "stylegan3") if s.sample_id.endswith("ff/953/seed0188")]
    assert [(s.frame_idx, s.source_ids, s.pair_id) for s in seed] == [(188, "ff:953", "")]
    assert {s.pair_id for s in rows(built, "e4e") if s.domain == "ff"} == {"ff:953", "ff:071"}
    assert {s.source_ids for s in rows(built, "deepfacelab")} == {"uadfv:0000", "uadfv:0001"}
    assert len({s.video_id for s in rows(built, "deepfacelab")}) == 4


def test_a_fakes_mask_that_marks_nothing_is_said_and_recorded(tmp_path):
    folder = tmp_path / "manipulated_sequences/Deepfakes/c23"
    for kind, grey in (("frames", 9), ("masks", 0)):
        place = folder / kind / "000_003"
        place.mkdir(parents=True)
        Image.new("L", (8, 8), grey).save(place / "000.png")
    found = build_dataset(load_registry(), "ffpp", {"ffpp": tmp_path})
    write_dataset(found, "ffpp", tmp_path / "manifests")
    (status,) = [one for one in list_status(tmp_path / "manifests") if one.id == "ffpp_deepfakes"]
    mask = "manipulated_sequences/Deepfakes/c23/masks/000_003/000.png"
    assert f"1 mask of fakes without a mark: {mask}" in map(str, status.notices)


def test_masks_are_found_beside_the_frames_or_above_them(built):
    for name, folder in (
        ("ffpp_deepfakes", "Deepfakes/c23/masks"),
        ("ffpp_neuraltextures", "NeuralTextures/masks"),
    ):
        masks = {s.frame_idx: s.mask_path for s in rows(built, name) if "953_974" in s.path}
        assert masks[0].endswith(f"{folder}/953_974/000.png") and masks[10] == ""
        assert {s.compression for s in rows(built, name)} == {"c23"}


def test_splits_follow_the_official_identities(built):
    for name, one in built.subsets.items():
        for s in one.samples:
            if s.domain != "ff" or not s.source_ids or s.status == "duplicate":
                continue
            pair = {identity.removeprefix("ff:") for identity in s.source_ids.split("|")}
            wanted = [
                split
                for split, pairs in (("train", TRAIN), ("val", VAL), ("test", TEST))
                if pair <= {i for p in pairs for i in p.split("_")}
            ]
            if name != "fomm":
                assert s.split == (wanted[0] if wanted else ""), s.sample_id
    assert {s.split for s in rows(built, "pixart") if s.domain == "cdf"} == {"test"}
    assert {s.split for s in rows(built, "celebdf_v2_real")} == {"test"}
    official = {s.video_id: s.official_split for s in rows(built, "celebdf_v2_real")}
    assert official["celebdf_v2_real:cdf:YouTube-real:00000"] == "train"
    assert official["celebdf_v2_real:cdf:YouTube-real:00170"] == "test"


def test_a_fake_of_two_splits_has_none_and_the_release_is_no_argument(built):
    splits = {
        s.video_id.rpartition(":")[2]: (s.split, s.official_split) for s in rows(built, "e4s")
    }
    assert splits == {
        "953_974": ("test", "test"),
        "071_054": ("train", "test"),
        "071_953": ("", "test"),
    }
    assert built.subsets["e4s"].record.unassigned == {"identities of several splits": 2}
    assert built.subsets["sadtalker"].record.unassigned == {"no identity that the lists know": 2}


def test_a_frame_of_both_releases_is_one_row_and_a_duplicate(built):
    copies = [s for s in rows(built, "simswap") if s.status == "duplicate"]
    assert [(s.root, s.split) for s in copies] == [("df40_train", "")]
    assert copies[0].sample_id == (
        "df40/simswap/ff/953_974/000@df40_train/simswap/frames/953_974/000.png"
    )


def test_defects_are_counted_and_listed(built, manifests):
    record = built.subsets["rddm"].record
    assert len(record.empty_folders) == 2
    assert {s.path: s.status for s in rows(built, "starganv2")}["starganv2/real/547.jpg"] == "empty"
    assert built.subsets["pixart"].record.status["corrupt"] == 1
    listed = (manifests / "df40.unmatched.txt").read_text().splitlines()
    assert "df40_test\tstargan/fake/real/1.jpg\tno layout fits" in listed
    assert "df40_test\tpixart.zip\tnot an image" in listed
    assert (
        "df40_test\tnewmethod/ff/frames/953_974/000.png\tno subset's folder on its path" in listed
    )


def test_written_manifests_are_valid_and_the_same_again(built, manifests, tmp_path):
    for name, one in built.subsets.items():
        if one.samples:
            assert len(read_manifest(manifests / f"{name}.csv").samples) == len(one.samples)
    write_dataset(built, "df40", tmp_path)
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (manifests / path.name).read_bytes()
    record = read_record(manifests / "pixart.csv")
    assert record is not None and record.rows == len(rows(built, "pixart"))
    (tmp_path / "pixart.csv").write_text("changed")
    assert read_record(tmp_path / "pixart.csv") is None


def test_status_tells_what_is_there_partly_and_not(manifests):
    status = {one.id: one for one in list_status(manifests)}
    assert status["simswap"].state == "ok" and status["simswap"].reals == "there"
    assert status["simswap"].domains() == {"cdf": 4, "ff": 17}
    assert status["deepfacelab"].state == "ok" and status["deepfacelab"].reals == "own"
    said = {name: [notice.what for notice in one.notices] for name, one in status.items()}
    assert status["collabdiff"].state == "partial" and "no reals" in said["collabdiff"]
    assert "4 of 140 folders of ff" in said["pixart"]
    assert "2 empty folders" in said["rddm"]
    assert status["mobileswap"].state == "absent"
    assert said["mobileswap"] == ["1 file on disk that no layout fits"]
    assert status["mcnet"].state == "absent" and said["mcnet"] == []


def test_one_subset_is_built_without_looking_at_the_others(tree, tmp_path):
    seen = []
    one = build_dataset(
        REGISTRY, "df40", tree.roots, wanted=["mraa"], progress=lambda *now: seen.append(now)
    )
    assert set(one.subsets) == {"mraa"} and one.rows == 20
    assert seen[-1] == (20, 20) and max(done for done, total in seen if not total) < 40
    write_dataset(one, "df40", tmp_path)
    assert not (tmp_path / "df40.unmatched.txt").exists()


def test_a_subset_and_a_manifest_together_are_that_subset_of_that_file(tmp_path):
    for name in ("faces", "others"):
        text = f"sample_id,path,label,subset\n{name}/1,1.png,0,{name}\n"
        (tmp_path / f"{name}.csv").write_text(text)
    files = [tmp_path / "faces.csv", tmp_path / "others.csv"]
    root = [str(tmp_path)]
    [(manifest, _)] = select_manifests("faces", files, tmp_path / "none", root, [], [])
    assert manifest.name == "faces"
    with pytest.raises(InputError, match="no manifest given is of more: they are of faces, others"):
        select_manifests("faces,more", files, tmp_path / "none", root, [], [])
    with pytest.raises(InputError) as error:
        select_manifests("faces", files, tmp_path, root, [], [], rules={"identities": True})
    assert error.value.advice == (LeaveOut("identities"),)


def test_extraction_builds_what_it_needs(tree, tmp_path):
    options = [f"{name}={folder}" for name, folder in tree.roots.items()]
    [(manifest, roots)] = select_manifests("SimSwap", [], tmp_path, options, [], [])
    assert manifest.name == "simswap" and (tmp_path / "simswap.csv").is_file()
    assert {s.status for s in manifest.samples} == {"ok"}
    assert all(roots.resolve(s).is_file() for s in manifest.samples)
    with pytest.raises(InputError, match=r"no root of pixart is known") as error:
        select_manifests("pixart", [], tmp_path, [], [], [])
    assert error.value.advice == (Name("one", "root", "df40_test=DIR"),)
    with pytest.raises(InputError, match=r"nothing of mcnet was found"):
        select_manifests("mcnet", [], tmp_path, options, [], [])


def test_carving_gives_validation_to_data_that_has_none(tree):
    ff = REGISTRY.domains["ff"]
    listed, carved = IdentitySplit(ff, "listed"), IdentitySplit(ff, "carved")
    moved = Counter((listed.split([one], "")[0], carved.split([one], "")[0]) for one in ff.listed)
    assert set(moved) == {
        ("train", "train"), ("train", "val"), ("val", "val"), ("test", "test")
    }  # fmt: skip
    assert 60 <= moved["train", "val"] <= 120
    for pair in ff.pairs["train"]:
        assert carved.split(pair, "")[0] in ("train", "val")


def test_the_hashed_rule_keeps_identities_whole(tree):
    built = build_dataset(REGISTRY, "df40", {"cdf2": tree.roots["cdf2"]}, rules={"cdf": "identity"})
    splits: dict[str, set[str]] = {}
    for one in built.subsets.values():
        for s in one.samples:
            for identity in s.source_ids.split("|"):
                if s.split:
                    splits.setdefault(identity, set()).add(s.split)
    assert splits and all(len(found) == 1 for found in splits.values())
    shares = Counter(hashed_split(f"id{n}") for n in range(4000))
    assert 500 < shares["test"] < 700 and 500 < shares["val"] < 700


@pytest.mark.parametrize(
    ("roots", "rules", "said"),
    [
        ({"elsewhere": "DF40"}, {}, "has no root 'elsewhere'"),
        ({}, {}, "no root is known"),
        ({"df40_test": "absent"}, {}, "is not a folder"),
        ({"df40_test": "DF40", "df40_train": "DF40"}, {}, "are one folder"),
        ({"df40_test": "DF40"}, {"fd": "listed"}, "domain 'fd' is not one of"),
        ({"df40_test": "DF40"}, {"ff": "odd"}, "split rule 'odd' is not one of"),
        ({"df40_test": "DF40"}, {"cdf": "carved"}, "has no lists"),
    ],
)
def test_what_can_not_be_built_is_said(tree, roots, rules, said):
    places = {name: tree.folder / folder for name, folder in roots.items()}
    with pytest.raises(InputError, match=said):
        build_dataset(REGISTRY, "df40", places, rules=rules)


def test_roots_come_from_options_and_then_the_environment(tree):
    found = dataset_roots(
        REGISTRY, "df40", ["ffpp=a"], {"CLARE_ROOT_FFPP": "b", "CLARE_ROOT_CDF2": "c"}
    )
    assert {name: str(path) for name, path in found.items()} == {"ffpp": "a", "cdf2": "c"}
    with pytest.raises(InputError, match="'nope=a' names no root of df40, which has df40_test"):
        dataset_roots(REGISTRY, "df40", ["nope=a"], {})
    assert dataset_roots(REGISTRY, "celebdf", ["/data/Celeb-DF-v2"], {}) == {
        "cdf2": Path("/data/Celeb-DF-v2")
    }, "of one root no name is asked"


def test_a_broken_subset_keeps_the_others(tree, tmp_path):
    root = tmp_path / "DF40"
    for name in ("000.png", "000.PNG"):
        target = root / "lia/ff/frames/953_974" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"x" if name.isupper() else b"xy")
    fine = root / "tpsm/ff/frames/953_974/000.png"
    fine.parent.mkdir(parents=True)
    fine.write_bytes((tree.roots["df40_test"] / "simswap/ff/frames/953_974/000.png").read_bytes())
    built = build_dataset(REGISTRY, "df40", {"df40_test": root})
    refused = write_dataset(built, "df40", tmp_path / "out")
    assert list(refused) == ["lia"] and "case" in refused["lia"]
    assert (tmp_path / "out/tpsm.csv").is_file() and not (tmp_path / "out/lia.csv").exists()
    assert json.loads((tmp_path / "out/tpsm.meta.json").read_text())["splits"] == {"ff": "listed"}
