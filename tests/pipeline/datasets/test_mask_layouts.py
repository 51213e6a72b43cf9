"""Data sets whose fakes come with masks: where they lie, and whether black or white is fake."""

import numpy as np
import pytest
from PIL import Image

from clare.errors import InputError
from clare.pipeline.checks.status import list_status
from clare.pipeline.datasets.build import build_dataset, write_dataset
from clare.pipeline.datasets.identity_splits import hashed_split
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.select import select_manifests


def put(top, *paths):
    """Small pictures; those of masks are white but for a black corner."""
    for path in paths:
        pixels = np.full((8, 8), 255 if "mask" in path.lower() else 90, np.uint8)
        pixels[:2, :2] = 0
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(top / path)


def rows(top, dataset, name):
    built = build_dataset(load_registry(), dataset, {dataset: top}).subsets[name]
    return {s.path: s for s in built.samples}


@pytest.mark.parametrize("above", ["", "dolos_data/celebahq/"])
def test_dolos_keeps_its_splits_and_marks_in_black(tmp_path, above):
    fake = f"{above}fake/repaint-p2-9k"
    put(
        tmp_path,
        *(f"{above}real/{split}/1.jpg" for split in ("train", "valid")),
        *(f"{fake}/images/{split}/1.png" for split in ("train", "valid", "test")),
        *(f"{fake}/masks/{split}/1.png" for split in ("train", "valid", "test")),
        f"{fake}/images/test/2.jpeg",
        f"{fake}/masks/test/2.jpeg",
        f"{above}fake/p2/test/1.png",
    )
    found = rows(tmp_path, "dolos", "repaint_p2_9k")
    assert len({s.sample_id for s in found.values()}) == 4
    assert {path.removeprefix(f"{fake}/images/"): s.split for path, s in found.items()} == {
        "train/1.png": "train",
        "valid/1.png": "val",
        "test/1.png": "test",
        "test/2.jpeg": "test",
    }
    for path, sample in found.items():
        assert sample.mask_path == path.replace("/images/", "/masks/")
        assert (sample.label, sample.fake_in_mask, sample.domain) == (1, "black", "celebahq")
    reals = rows(tmp_path, "dolos", "dolos_real")
    assert sorted((s.split, s.label, s.mask_fake) for s in reals.values()) == [
        ("train", 0, ""),
        ("val", 0, ""),
    ]


def test_autosplice_has_one_mask_a_photograph_and_splits_by_photograph(tmp_path):
    ids = [str(number) for number in range(40574, 40594)]
    put(tmp_path, *(f"AutoSplice/Authentic/{one}.jpg" for one in ids))
    put(tmp_path, *(f"AutoSplice/Mask/{one}_mask.png" for one in ids[1:]))
    for quality in (75, 90, 100):
        put(tmp_path, *(f"AutoSplice/Forged_JPEG{quality}/{i}_{n}.jpg" for i in ids for n in "02"))
    built = build_dataset(load_registry(), "autosplice", {"autosplice": tmp_path})
    for name in ("autosplice_75", "autosplice_90", "autosplice_100", "autosplice_real"):
        found = built.subsets[name].samples
        assert len({s.path for s in found}) == (20 if name == "autosplice_real" else 40)
        for sample in found:
            one = sample.path.rpartition("/")[2].partition(".")[0].partition("_")[0]
            assert (sample.source_ids, sample.split) == (f"autosplice:{one}", hashed_split(one))
            fake = sample.label == 1
            mask = f"AutoSplice/Mask/{one}_mask.png" if fake and one != ids[0] else ""
            assert (sample.mask_path, sample.fake_in_mask) == (mask, "white")
            assert sample.pair_id == (f"autosplice:{one}" if fake else "")
    write_dataset(built, "autosplice", tmp_path)
    status = {one.id: one.state for one in list_status(tmp_path) if one.state != "absent"}
    assert {*status.values()} == {"ok"} and len(status) == 4, "it has no official split to miss"


def test_fakes_of_which_no_mask_is_there_are_said(tmp_path):
    put(tmp_path, *(f"fake/lama/images/test/{n}.png" for n in range(3)))
    put(tmp_path, "fake/lama/masks/test/1.png")
    (tmp_path / "fake/lama/masks/test/2.npy").write_bytes(b"")
    built = build_dataset(load_registry(), "dolos", {"dolos": tmp_path})
    write_dataset(built, "dolos", tmp_path / "manifests")
    (status,) = [one for one in list_status(tmp_path / "manifests") if one.id == "lama"]
    said = "2 fakes without a mask: fake/lama/images/test/0.png, fake/lama/images/test/2.png"
    assert said in map(str, status.notices)
    (tmp_path / "fake/lama/masks/test/1.png").unlink()
    built = build_dataset(load_registry(), "dolos", {"dolos": tmp_path})
    assert built.subsets["lama"].record.masks == ("no masks are there",)


def test_masks_are_compared_with_the_reals_of_their_pool(tmp_path):
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (2, 8, 8, 3), np.uint8)
        plain, other = (Image.fromarray(one).resize((64, 64)) for one in noise)
        mask = Image.new("L", (64, 64))  # white is fake in it, against the habit of the release
        mask.paste(255, (8, 8, 30, 30))
        fake = Image.composite(other, plain, mask)
        for place, image in (("real", plain), ("fake/ldm/images", fake), ("fake/ldm/masks", mask)):
            (tmp_path / place / "train").mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / place / f"train/{number}.png")
    built = build_dataset(load_registry(), "dolos", {"dolos": tmp_path})
    (said,) = built.subsets["ldm"].record.masks
    assert said.startswith("3 of 3 masks of fakes mark what did not change: fake/ldm/masks/train/0")


def test_a_subset_is_built_and_its_masks_go_with_it(tmp_path):
    put(tmp_path, "real/train/1.png", "fake/lama/images/train/1.png", "fake/lama/masks/train/1.png")
    chosen = select_manifests(
        "lama", [], tmp_path / "manifests", [f"dolos={tmp_path}"], [], [], pools=None
    )
    assert {m.name: [s.mask_fake for s in m.samples] for m, _ in chosen} == {
        "lama": ["black"],
        "dolos_real": [""],
    }


OWN = """
datasets: {lab: {display: Lab, roots: {lab: the folder}}}
domains: {lab: {display: Lab, split: identity}}
subsets:
  cut: {dataset: lab, display: Cut, category: FE, video_level: false,
    layouts: [{root: lab, path: '', domain: lab, label: fake, masks: '%s'}]}
"""


@pytest.mark.parametrize(
    ("masks", "found"),
    [("masks/{stem}_gt", "cut/Masks/a_gt.tif"), ("../masks/{stem}", ""), ("../../masks/a", "")],
)
def test_an_entry_of_ones_own_says_where_masks_lie(tmp_path, masks, found):
    (tmp_path / "subsets.yaml").write_text(OWN % masks)
    put(tmp_path, "cut/a.tif", "cut/Masks/a_gt.tif")
    built = build_dataset(load_registry(tmp_path), "lab", {"lab": tmp_path})
    assert [s.mask_path for s in built.subsets["cut"].samples] == [found]


@pytest.mark.parametrize("masks", ["masks/{name}", "masks/{}", "masks/{stem"])
def test_an_entry_that_says_it_otherwise_is_refused(tmp_path, masks):
    (tmp_path / "subsets.yaml").write_text(OWN % masks)
    with pytest.raises(InputError, match=r"cut: masks .* may name {stem}, {clip} and"):
        load_registry(tmp_path)
