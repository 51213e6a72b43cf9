"""What is said of masks: each fault by name, and nothing where all is right."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from clare.advice import Set
from clare.pipeline.manifests.masks import look_at_masks
from clare.pipeline.manifests.sample import Sample

SIZE = 64


def region(number):
    """A mask of one of sixteen places, 0 and 255."""
    marks = np.zeros((SIZE, SIZE), np.uint8)
    row, column = divmod(5 * number % 16, 4)
    marks[16 * row : 16 * row + 14, 16 * column : 16 * column + 14] = 255
    return marks


def photograph(number):
    """Smooth noise that the number decides, RGB."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Twelve photographs, and twelve fakes in each of which another place was changed."""
    top = tmp_path_factory.mktemp("pairs")
    for kind in ("real", "fake", "masks"):
        (top / kind).mkdir()
    for number in range(12):
        plain, other = photograph(number), photograph(99 - number)
        noise = np.random.default_rng(number).integers(-3, 4, plain.shape)
        changed = np.where(region(number)[..., None] > 0, other, np.clip(plain + noise, 0, 255))
        for kind, pixels in (("real", plain), ("fake", changed), ("masks", region(number))):
            Image.fromarray(pixels.astype(np.uint8)).save(top / kind / f"{number}.png")
    return top


def sample(kind, name, mask="", **more):
    label = int(kind == "fake")
    path = f"{kind}/{name}.png"
    return Sample(f"s/{path}", path, label, "s", width=SIZE, height=SIZE, mask_path=mask, **more)


def rows(masks=range(12), **more):
    fakes = [sample("fake", n, f"masks/{mask}.png", **more) for n, mask in enumerate(masks)]
    return [*fakes, *(sample("real", n) for n in range(12))]


def look(top, samples, **more):
    return look_at_masks(samples, lambda _, path: top / path, **more)


def test_of_masks_that_are_right_nothing_is_said(pairs):
    assert look(pairs, rows()) == []
    assert look(pairs, rows()[:12]) == [], "nor where no real is known"


def test_masks_the_wrong_way_round_are_told_by_what_changed(pairs):
    (said,) = look(pairs, rows(mask_fake="black"))
    assert said.what == "12 of 12 masks of fakes mark what did not change"
    assert said.advice == (Set("mask_fake", "white", "turns them round"),)


def test_or_by_their_area_where_no_real_is_known(pairs):
    (said,) = look(pairs, rows(mask_fake="black")[:12])
    assert said.what == "12 of 12 masks of fakes mark more than half of their image"
    assert str(said).endswith("masks/4.png (95%) and 7 more") and said.advice


def test_a_large_change_is_no_mask_the_wrong_way_round(tmp_path):
    """What changed says more than the area; of two masks the area says nothing."""
    samples = []
    for number in range(3):
        plain, marks = photograph(number), np.zeros((SIZE, SIZE), np.uint8)
        marks[: 35 + number] = 255
        weak = (0.75 * plain + 0.25 * photograph(50 + number)).astype(np.uint8)
        changed = np.where(marks[..., None] > 0, weak, plain)
        for kind, pixels in (("real", plain), ("fake", changed), ("masks", marks)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / f"{number}.png")
        samples += [sample("real", number), sample("fake", number, f"masks/{number}.png")]
    assert look(tmp_path, samples) == []
    fakes = [one for one in samples if one.label]
    assert look(tmp_path, fakes) != [] and look(tmp_path, fakes[:2]) == []


def test_a_change_that_drowns_in_noise_tells_nothing(pairs, tmp_path):
    for number in range(12):
        plain = photograph(number)
        noise = np.random.default_rng(number).integers(-12, 13, plain.shape)
        faint = np.clip(plain + noise + (region(number)[..., None] > 0), 0, 255)
        (tmp_path / "fake").mkdir(exist_ok=True)
        Image.fromarray(faint.astype(np.uint8)).save(tmp_path / f"fake/{number}.png")
    for kind in ("real", "masks"):
        (tmp_path / kind).symlink_to(pairs / kind)
    assert look(tmp_path, rows()) == []


@settings(max_examples=20)
@given(st.permutations(range(12)))
def test_masks_of_other_fakes_are_found_with_those_that_they_fit(pairs, order):
    wrong = {f"fake/{n}.png": mask for n, mask in enumerate(order) if n != mask}
    said = look(pairs, rows(order))
    assert len(said) == (1 if wrong else 0)
    for one in said:
        assert one.what == f"{len(wrong)} of 12 masks don't mark what differs between fake and real"
        # The mask that marks fake 3 lies at the fake to which it was given.
        assert {s.path: detail for s, detail in one.rows} == {
            path: f"that of fake/{order.index(int(path[5:-4]))}.png fits" for path in wrong
        }


def test_pairs_go_by_their_id_before_their_names_and_may_stand_in_another_manifest(pairs):
    fakes = [
        replace(one, pair_id=f"s/real/{n}.png", path=one.path)
        for n, one in enumerate(rows([1, 0, *range(2, 12)])[:12])
    ]
    reals = [replace(one, sample_id=f"s/real/{n}.png") for n, one in enumerate(rows()[12:])]
    (said,) = look(pairs, fakes, reals=reals)
    assert said.what.startswith("2 of 12 masks don't mark")
    # Where the ids name other pictures, none is a pair, and so nothing is known.
    others = [replace(one, pair_id=f"s/real/{(n + 1) % 12}.png") for n, one in enumerate(fakes)]
    assert look(pairs, others, reals=reals) == []


def test_every_fault_of_a_file_is_said_with_its_rows(pairs, tmp_path):
    marks = Image.fromarray(region(1))
    kinds = {
        "wide": marks.resize((128, 64)),
        "large": marks.resize((128, 128)),
        "near": marks.resize((60, 68)),
        "low": marks.point(lambda value: value // 255),
        "empty": Image.new("L", (SIZE, SIZE)),
        "full": Image.new("L", (SIZE, SIZE), 255),
        "photograph": Image.fromarray(photograph(1) // 2 + 60),
        "right": marks,
    }
    for name, image in kinds.items():
        image.save(tmp_path / f"{name}.png")
    (tmp_path / "text.png").write_text("no mask")
    (tmp_path / "fake").mkdir()
    Image.fromarray(photograph(1)).save(tmp_path / "fake/wide.png")
    names = [*kinds, "text", "gone"]
    samples = [sample("fake", name, f"{name}.png") for name in names]
    samples += [sample("real", name, f"{name}.png") for name in ("empty", "full", "right")]
    assert list(map(str, look(tmp_path, samples))) == [
        "1 mask can't be used, missing (kept, and will fail): gone.png",
        "1 mask can't be used, not an image (kept, and will fail): text.png",
        "1 mask of another shape than their image (kept, and will fail): wide.png "
        "(128x64 of 64x64)",
        "2 masks of another size than their image (scaled to it): large.png (128x128 of 64x64), "
        "near.png (60x68 of 64x64)",
        "1 mask of small values (the largest counts as 255): low.png (up to 1)",
        "1 mask of fakes without a mark: empty.png",
        "2 masks of reals with a mark: full.png (100%), right.png (5%)",
        "1 mask mostly neither black nor white, as a photograph: photograph.png",
    ]  # fmt: skip


def test_an_image_that_is_turned_by_its_exif_has_the_shape_that_it_shows(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 20)).save(tmp_path / "image.jpg", exif=exif)
    Image.new("L", (20, 60), 255).save(tmp_path / "mask.png")
    turned = Sample("s/1", "image.jpg", 1, "s", width=60, height=20, mask_path="mask.png")
    assert look(tmp_path, [turned]) == []
    ImageOps.exif_transpose(Image.open(tmp_path / "image.jpg")).save(tmp_path / "image.jpg")
    Image.new("L", (60, 20), 255).save(tmp_path / "mask.png")
    (said,) = look(tmp_path, [replace(turned, width=20, height=60)])
    assert "of another shape" in said.what


def test_a_fake_without_a_mask_is_said_beside_others_that_have_one(pairs):
    samples = rows()
    bare = [replace(one, mask_path="") if n in (2, 5) else one for n, one in enumerate(samples)]
    assert list(map(str, look(pairs, bare))) == [
        "2 fakes without a mask: fake/2.png, fake/5.png"
    ]  # fmt: skip
    assert look(pairs, [replace(one, mask_path="") for one in samples]) == []


def test_of_many_masks_some_are_looked_at(pairs):
    samples = [replace(one, mask_path="none.png") for one in rows()[:10]]
    (said,) = look(pairs, samples, limit=4)
    assert said.what == "4 masks of 4 looked at can't be used, missing (kept, and will fail)"
