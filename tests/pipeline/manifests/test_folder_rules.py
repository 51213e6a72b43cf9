"""What names of folders and files say: videos, people, splits, and what is for tests alone."""

from collections import defaultdict
from typing import Any

import pytest
from PIL import Image

from clare.errors import InputError
from clare.pipeline.checks.check import check_manifests
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.folder_rules import LONG, FolderRules, apply_rules, guess_videos
from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.manifests.sample import Sample


@pytest.fixture
def draw(tmp_path):
    """Write small images of different content at these paths; the folder that they start at."""
    made = []

    def write(*paths):
        for path in paths:
            place = tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            made.append(place)
            Image.new("RGB", (4, 4), (len(made) % 256, len(made) // 256, 7)).save(place)
        return tmp_path

    return write


def splits_by_folder(samples):
    found = defaultdict(set)
    for sample in samples:
        found[sample.path.rpartition("/")[0]].add(sample.split)
    return found


def frames(folder, videos, names="{:03d}.png"):
    return [f"{folder}/{video}/{names.format(n)}" for video in videos for n in range(4)]


VIDEOS = [f"v{number}" for number in range(8)]


@pytest.mark.parametrize("names", ["{:03d}.png", "frame_{}.png", "img{:04d}.png", "Frame {}.png"])
def test_frames_of_one_video_share_a_split(draw, names):
    root = draw(*frames("real", VIDEOS, names), *frames("fake/c23/frames", VIDEOS, names))
    built = build_manifest("x", [root / "real"], [root / "fake"])
    found = splits_by_folder(built.manifest.samples)
    assert len(found) == 16 and all(len(splits) == 1 for splits in found.values())
    assert {one.frame_idx for one in built.manifest.samples} == {0, 1, 2, 3}
    assert any(
        "16 videos (the longest, fake/c23/frames/v0, has 4)" in notice.what
        for notice in built.notices()
    )


def test_frames_may_be_named_after_their_folder(draw):
    paths = [f"real/{video}/{video}_{n}.png" for video in VIDEOS for n in range(3)]
    built = build_manifest("x", [draw(*paths) / "real"], [])
    assert len({sample.video_id for sample in built.manifest.samples}) == len(VIDEOS)


@pytest.mark.parametrize(
    "paths",
    [
        [f"real/{n // 5:05d}/{n:05d}.png" for n in range(20)],  # as FFHQ is sorted
        [f"real/{n:03d}.png" for n in range(20)],
        [f"real/{kind}/photo of {kind} {n}.png" for kind in "abcd" for n in range(5)],
        [f"real/{n}/portrait.png" for n in range(20)],
        frames("real", ["one", "two"]),
        frames("real", [f"{kind}/0_real" for kind in ("car", "cat", "cow", "dog")]),
    ],
)
def test_photographs_that_are_sorted_into_folders_are_no_videos(draw, paths):
    built = build_manifest("x", [draw(*paths) / "real"], [])
    assert {sample.video_id for sample in built.manifest.samples} == {""}
    assert not [notice for notice in built.notices() if "video" in notice.what]


def test_folders_of_numbered_images_by_class_say_how_to_undo_it(draw):
    built = build_manifest("x", [draw(*frames("real", ["car", "cat", "cow"])) / "real"], [])
    (told,) = (str(notice) for notice in built.notices() if "video" in notice.what)
    assert "12 images are taken as frames of 3 videos (the longest, real/car, has 4)" in told
    assert "video='none' takes each image alone" in told


def of_length(count):
    paths = [f"real/{kind}/{n}.png" for kind in ("car", "cat", "cow") for n in range(count)]
    return [Sample(path, path, 0, "x") for path in [*paths, "real/few/0.png", "real/few/1.png"]]


@pytest.mark.slow
def test_folders_of_thousands_are_classes():
    assert all(video for video, _ in guess_videos(of_length(LONG)))
    assert not any(video for video, _ in guess_videos(of_length(LONG + 1)))
    found, (told, *_) = apply_rules(of_length(LONG + 1), ["real"], FolderRules())
    assert not any(sample.video_id for sample in found)
    assert "4 folders of numbered images are too long for videos" in str(told)
    assert "video='folder'" in str(told)
    found, _ = apply_rules(of_length(LONG + 1), ["real"], FolderRules(video="folder"))
    assert all(sample.video_id for sample in found)


def test_the_user_says_what_a_video_is(draw):
    root = draw(*frames("real", VIDEOS), *[f"flat/{v}_{n}.png" for v in VIDEOS for n in range(3)])
    real, flat = [root / "real"], [root / "flat"]

    def videos(folders, rule):
        samples = build_manifest("x", folders, [], rules=FolderRules(video=rule)).manifest.samples
        return {sample.video_id for sample in samples}

    assert videos(real, "none") == {""}
    assert videos(flat, "auto") == {""}
    assert videos(flat, r"name:^(v\d+)_") == {f"flat/{video}" for video in VIDEOS}
    odd = draw("odd/a/x.png", "odd/a/y.png", "odd/b/z.png") / "odd"
    assert videos([odd], "folder") == {"odd/a", "odd/b"}
    with pytest.raises(InputError, match="no path fits"):
        videos(flat, "name:nothing(.)")
    for wrong in ("name:(", "video", ""):
        with pytest.raises(InputError, match="no rule for videos"):
            FolderRules(video=wrong)


def test_people_of_ff_are_kept_apart_in_all_subsets(draw):
    people = [f"{n:03d}" for n in range(12)]
    swaps = [f"{a}_{b}" for a, b in zip(people[::2], people[1::2], strict=True)]
    root = draw(*frames("real", people), *frames("DF", swaps), *frames("F2F", swaps))
    selected = select_manifests(
        None, [], root, [], [root / "real"], [f"df={root / 'DF'}", f"f2f={root / 'F2F'}"],
        rules={"identities": True},
    )  # fmt: skip
    splits = defaultdict(set)
    for manifest, _ in selected:
        for sample in manifest.samples:
            for person in sample.source_ids.split("|"):
                splits[person].add(sample.split)
    assert set(splits) == set(people) and all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) == {"train", "val", "test"}


def test_frames_of_guessed_videos_are_numbered():
    paths = [f"FF/{n % 2}/frames/{n // 32:05d}/{n % 32:03d}.png" for n in range(128)]
    guessed = guess_videos([Sample(path, path, n % 2, "x") for n, path in enumerate(paths)])
    assert guessed[33] == ("FF/1/frames/00001", 1)
    assert guessed[64] == ("FF/0/frames/00002", 0)


def test_people_that_link_most_images_are_said(draw):
    def told(swaps):
        root = draw(*frames(f"of-{len(swaps)}", swaps))
        built = build_manifest(
            "x", [], [root / f"of-{len(swaps)}"], rules=FolderRules(identities=True)
        )
        return [str(one) for one in built.assumed if "people" in str(one)]

    chained = [f"{n:03d}_{n + 1:03d}" for n in range(9)]
    assert "36 of the 36 images hang together by the people in them" in told(chained)[0]
    assert "hang together" not in told(chained[::2])[0]


@pytest.mark.parametrize(
    "names",
    [("train", "val", "test"), ("Training", "validation", "TESTING"), ("train", "dev", "test")],
)
def test_folders_of_splits_are_kept(draw, names):
    paths = [f"data/{name}/{kind}/{n}.png" for name in names for kind in "ab" for n in range(4)]
    root = draw(*paths) / "data"
    real, fake = ([root / name / kind for name in names] for kind in "ab")
    built = build_manifest("x", real, fake)
    expected = dict(zip(names, ("train", "val", "test"), strict=True))
    for sample in built.manifest.samples:
        assert sample.split == expected[sample.path.split("/")[0]]
    assert any("8 train, 8 val and 8 test" in notice.what for notice in built.notices())
    random = build_manifest("x", real, fake, rules=FolderRules(split="random"))
    assert [s.split for s in random.manifest.samples] != [s.split for s in built.manifest.samples]


def test_without_a_folder_for_validation_a_part_of_train_is_and_test_stays(draw):
    root = draw(*[f"d/{split}/{n}.png" for split in ("train", "test") for n in range(20)])
    built = build_manifest("x", [root / "d"], [])
    found = defaultdict(set)
    for sample in built.manifest.samples:
        found[sample.path.split("/")[1]].add(sample.split)
    assert found == {"train": {"train", "val"}, "test": {"test"}}


def test_a_folder_above_all_that_is_called_test_says_nothing(draw):
    root = draw(*[f"test/real/{n}.png" for n in range(20)]) / "test"
    built = build_manifest("x", [root / "real"], [])
    assert {sample.split for sample in built.manifest.samples} == {"train", "val", "test"}


def test_an_unseen_manipulation_uses_all_its_images(draw):
    root = draw(*[f"{kind}/{n}.png" for kind in ("real", "sg", "px") for n in range(20)])
    fakes = [f"sg={root / 'sg'}", f"px={root / 'px'}"]
    selected = select_manifests(None, [], root, [], [root / "real"], fakes, test_only=["px"])
    splits = {m.name: {sample.split for sample in m.samples} for m, _ in selected}
    assert splits["px"] == {"test"}
    assert splits["sg"] == splits["real"] == {"train", "val", "test"}
    with pytest.raises(InputError, match="nosuch is no subset"):
        select_manifests(None, [], root, [], [root / "real"], fakes, test_only=["nosuch"])


def test_one_file_is_not_real_and_fake(draw, tmp_path):
    root = draw(*[f"real/{n}.png" for n in range(4)])
    (root / "copies").mkdir()
    for n in range(4):
        (root / "copies" / f"{n}.png").hardlink_to(root / "real" / f"{n}.png")
    for fake in ("real", "copies"):
        with pytest.raises(InputError, match="as real and as fake"):
            select_manifests(None, [], root, [], [root / "real"], [f"x={root / fake}"])


def test_videos_pass_the_check_of_their_manifest(draw, tmp_path):
    root = draw(*frames("real", VIDEOS), *frames("fake", VIDEOS))
    built = build_manifest("x", [root / "real"], [root / "fake"])
    write_manifest(built.manifest, tmp_path / "lists" / "x.csv")
    assert not [one for one in check_manifests(tmp_path / "lists", ["x"]) if one.gate]


def test_a_split_folder_counts_for_a_subset_that_lies_in_it_alone(draw):
    root = draw(*[f"d/{s}/real/{n}.png" for s in ("train", "test") for n in range(20)],
                *[f"d/test/sg3/{n}.png" for n in range(20)])  # fmt: skip
    reals = [root / "d" / split / "real" for split in ("train", "test")]
    selected = select_manifests(None, [], root, [], reals, [f"sg3={root / 'd/test/sg3'}"])
    splits = {m.name: {s.split for s in m.samples if "test/" in s.path or m.name == "sg3"}
              for m, _ in selected}  # fmt: skip
    assert splits["sg3"] == {"test"}


def test_people_follow_those_whose_split_a_folder_decides(draw):
    people = [f"{n:03d}" for n in range(8)]
    halves = {"train": people[:4], "test": people[4:]}
    swaps = [f"{a}_{b}" for a, b in zip(people[::2], people[1::2], strict=True)]
    reals = [one for split, who in halves.items() for one in frames(f"real/{split}", who)]
    root = draw(*reals, *frames("swap", swaps))
    ask: tuple[Any, ...] = (None, [], root, [], [root / "real"], [f"swap={root / 'swap'}"])
    selected = select_manifests(*ask, rules={"identities": True})
    seen = defaultdict(set)
    for manifest, _ in selected:
        for sample in manifest.samples:
            for person in sample.source_ids.split("|"):
                seen[person].add(sample.split)
    assert all(len(splits) == 1 for splits in seen.values())
    assert {person for person, splits in seen.items() if splits == {"test"}} == set(people[4:])
    with pytest.raises(InputError, match=r"share people.* or leave test_only= out"):
        select_manifests(*ask, rules={"identities": True}, test_only=["swap"])
