from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clare.advice import Name
from clare.errors import InputError, ManifestError
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.manifests.mask_folders import MaskFolder, mask_folders


@pytest.fixture
def put(tmp_path):
    """A function that puts pictures at paths, each of a grey; a corner of masks is the fake one."""

    def put(*paths, fake="white"):
        for number, path in enumerate(paths):
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((8, 8), 40 + number, np.uint8)
            if "mask" in path:
                pixels[:] = 0
                pixels[:2, :2] = 255
                pixels = 255 - pixels if fake == "black" else pixels
            Image.fromarray(pixels).save(target)
        return tmp_path

    return put


def masks_of(built):
    return {s.path: (s.mask_path, s.mask_fake) for s in built.manifest.samples}


def test_a_fakes_mask_has_its_path_and_name_and_any_ending(put):
    top = put(
        *("d/real/1.png", "d/fake/1.jpg", "d/fake/in/2.JPEG", "d/fake/in/k.jpg.jpg"),
        *("d/masks/1.png", "d/masks/in/2_mask.bmp", "d/masks/in/k.jpg.jpg"),
        fake="black",
    )
    built = build_manifest(
        "toy", [top / "d/real"], [top / "d/fake"], masks=MaskFolder(top / "d/masks", "black")
    )
    assert masks_of(built) == {
        "real/1.png": ("", ""),
        "fake/1.jpg": ("masks/1.png", "black"),
        "fake/in/2.JPEG": ("masks/in/2_mask.bmp", "black"),
        "fake/in/k.jpg.jpg": ("masks/in/k.jpg.jpg", "black"),
    }
    assert built.masks == ()


def test_masks_may_lie_anywhere_and_under_the_names_of_several_folders(put):
    top = put(
        *("data/lama/1.png", "data/ldm/1.png", "data/ldm/2.png", "else/masks/lama/1.png"),
        *("else/masks/ldm/1.png", "else/masks/ldm/3.png", "else/masks/sd/1.png"),
    )
    built = build_manifest(
        "toy", [], [top / "data/lama", top / "data/ldm"], masks=MaskFolder(top / "else/masks")
    )
    assert built.root == top
    assert {path: mask for path, (mask, _) in masks_of(built).items()} == {
        "data/lama/1.png": "else/masks/lama/1.png",
        "data/ldm/1.png": "else/masks/ldm/1.png",
        "data/ldm/2.png": "",
    }
    unused, without = map(str, built.masks)
    assert without == "1 fake without a mask: data/ldm/2.png"
    assert unused.startswith("1 mask below") and unused.endswith("of no fake: ldm/3.png")


def test_where_masks_lie_changes_no_split(put):
    top = put(*(f"d/test/fake/{n}.png" for n in range(9)), "m/0.png")
    plain = build_manifest("toy", [], [top / "d/test/fake"])
    masked = build_manifest("toy", [], [top / "d/test/fake"], masks=MaskFolder(top / "m"))
    assert {s.sample_id: s.split for s in masked.manifest.samples} == {
        s.sample_id: s.split for s in plain.manifest.samples
    }
    assert len({s.split for s in plain.manifest.samples}) > 1


def test_masks_inside_a_folder_of_fakes_are_no_fakes(put):
    top = put("fake/1.png", "fake/mask of them/1.png")
    built = build_manifest("toy", [], [top / "fake"], masks=MaskFolder(top / "fake/mask of them"))
    assert masks_of(built) == {"fake/1.png": ("fake/mask of them/1.png", "")}


def test_masks_that_can_not_be_told_are_refused(put, tmp_path):
    top = put("real/1.png", "fake/1.png", "fake/2.png", "m/mask/1.png", "m/mask/1_mask.png")
    (top / "arrays").mkdir()
    (top / "arrays/1.npy").write_bytes(b"")

    def build(folder):
        return build_manifest("toy", [top / "real"], [top / "fake"], masks=MaskFolder(folder))

    with pytest.raises(InputError, match=r"1 fake with several masks .*fake/1.png \(1.png, 1_mask"):
        build_manifest("toy", [], [top / "fake"], masks=MaskFolder(top / "m/mask"))
    with pytest.raises(InputError, match=r"no mask of the 2 fakes .*\(1 .npy\): that of fake/1.png"
                       r" would be 1\.\* or 1_mask\.\*") as error:  # fmt: skip
        build(top / "arrays")
    assert error.value.advice == (Name("the folder that has their paths in it", "masks"),)
    for holding in (top, top / "real", top / "fake"):
        with pytest.raises(InputError, match="holds the images of"):
            build(holding)
    with pytest.raises(InputError, match="is no folder"):
        build(top / "none")
    (top / "linked").mkdir()
    (top / "linked/1.png").symlink_to(Path("/dev/null"))
    with pytest.raises(ManifestError, match=r"1 link of the masks out of .*: 1\.png"):
        build(top / "linked")


def test_a_mask_that_marks_nothing_is_said_as_it_is_read(put):
    top = put("fake/1.png")
    (top / "m").mkdir()
    Image.new("L", (8, 8), 255).save(top / "m/1.png")
    said = {
        fake: [str(one) for one in build_manifest(
            "toy", [], [top / "fake"], masks=MaskFolder(top / "m", fake)).masks]
        for fake in ("white", "black")
    }  # fmt: skip
    assert said["white"] == [] and said["black"] == ["1 mask of fakes without a mark: m/1.png"]


def test_plain_folders_of_an_extraction_bring_their_masks(put):
    top = put(
        *("a/real/1.png", "a/lama/1.png", "a/vae/1.png", "b/masks/1.png", "b/masks/2.png"),
    )
    told: list[str] = []

    def select(*masks, fake=None):
        chosen = select_manifests(
            *(None, [], Path(), [], [top / "a/real"]),
            [f"lama={top / 'a/lama'}", f"vae={top / 'a/vae'}"],
            masks=mask_folders(masks, fake),
            notice=lambda notice: told.append(str(notice)),
        )
        return {
            m.name: [(s.mask_fake, roots.resolve(s, s.mask_path)) for s in m.samples if s.mask_path]
            for m, roots in chosen
        }

    mask = top / "b/masks/1.png"
    assert select(f"lama={top / 'b/masks'}", fake="black") == {
        "real": [],
        "lama": [("black", mask)],
        "vae": [],
    }
    assert f"lama: 1 mask below {top / 'b/masks'} of no fake: 2.png" in told
    assert select(str(top / "b/masks")) == {"real": [], "lama": [("", mask)], "vae": [("", mask)]}
    for options, said in (
        ([f"sd={top / 'b/masks'}"], "no fakes sd for those masks"),
        ([str(top / "a/real")], "holds the images of"),
    ):
        with pytest.raises(InputError, match=said):
            select(*options)
    with pytest.raises(InputError, match="no masks to be read so"):
        select(fake="black")
    with pytest.raises(InputError, match="second folder of masks"):
        select("lama=a", "lama=b")
    with pytest.raises(InputError, match="stand in its column mask_path"):
        select_manifests("x", [], top, [], [], [], masks=mask_folders([str(mask.parent)], None))
