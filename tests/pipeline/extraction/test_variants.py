"""Deliveries in an extraction: the same values as of files that hold the damaged pixels."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clare.augmentation.deliveries import Delivery
from clare.pipeline.images import prepare
from clare.pipeline.images.decode import decode_rgb
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.variants import make_variants
from clare.store.feature_store import open_store
from clare.store.maintenance.repair import repair_store
from clare.store.maintenance.verify import verify_store
from tests.pipeline.extraction.conftest import job_for, read_all
from tests.pipeline.images.pictures import encoded, gradient
from tests.store.conftest import contents

DELIVERIES = [
    Delivery.of("jpeg_50", "jpeg 50"),
    Delivery.of("blur_1", "blur 1"),
    Delivery.of("half", "resize 0.5 back"),
    Delivery.of("noise", "noise 0.05"),
    Delivery.of("platform", "crop 0.7-0.9, resize 0.5-1, jpeg 70-90, jpeg 70-90"),
]


@pytest.fixture
def images(faces):
    """Two pictures of each label, all for tests."""
    files = [file for kind in ("real", "fake") for file in sorted((faces / kind).iterdir())[:2]]
    rows = [
        Sample(f"faces/{k}", str(file.relative_to(faces)), k // 2, "faces", split="test")
        for k, file in enumerate(files)
    ]
    return Manifest("faces", tuple(rows)), Roots(faces, {})


def variants_job(images, store, deliveries=DELIVERIES, **changes):
    manifest, roots = images
    made = make_variants(manifest, deliveries)
    return job_for(roots.folder(""), store, **changes).but(manifests=[(made, roots)])


def damaged_by_hand(images, folder):
    """The damaged pictures as PNG, and a manifest of them under the names of the deliveries."""
    manifest, roots = images
    rows = []
    for row in make_variants(manifest, DELIVERIES).samples:
        data = roots.resolve(row).read_bytes()
        image = Image.open(roots.resolve(row)).convert("RGB")
        delivery = row.delivered
        assert delivery is not None
        view = delivery.view(hashlib.sha256(data).hexdigest(), image.size)
        path = f"{row.sample_id.replace('/', '-').replace('#', '-')}.png"
        view.apply(image).save(folder / path)
        rows.append(Sample(row.sample_id, path, row.label, "by_hand", split="test"))
    return Manifest("by_hand", tuple(rows)), Roots(folder, {})


def test_values_are_those_of_a_file_with_the_damaged_pixels(images, tmp_path):
    (tmp_path / "by_hand").mkdir()
    job = variants_job(images, tmp_path / "store", features=("lare", "clip", "pixels"))
    shared = {"lare": {"draws": 1, "noise": "shared", "latent": "mean"}}
    job = replace(job, settings=replace(job.settings, settings=shared))
    report = job.run()
    assert report.rows == 20 and not report.failures
    replace(job, manifests=[damaged_by_hand(images, tmp_path / "by_hand")]).run()
    mine, theirs = read_all(job.store, "faces_variants"), read_all(job.store, "by_hand")
    assert mine.keys() == theirs.keys() and len(mine) > 60
    for key, value in mine.items():
        np.testing.assert_array_equal(value, theirs[key], err_msg=str(key))
    assert verify_store(job.store) == []


def test_an_image_is_decoded_once_for_all_its_deliveries_across_shards(
    images, tmp_path, monkeypatch
):
    many = [Delivery.of(f"q{q}", f"jpeg {q}") for q in range(50, 80)]
    decoded = []

    def decode(data):
        decoded.append(hashlib.sha256(data).hexdigest())
        return decode_rgb(data)

    monkeypatch.setattr(prepare, "decode_rgb", decode)
    report = variants_job(images, tmp_path / "store", many, features=("pixels",)).run()
    assert report.rows == 120  # two shards, the third image in both
    assert len(decoded) == len(set(decoded)) == 4


def test_a_broken_image_is_decoded_once_and_fails_each_of_its_rows(images, tmp_path, monkeypatch):
    manifest, roots = images
    roots.resolve(manifest.samples[0]).write_bytes(b"no image")
    job = variants_job(images, tmp_path / "store", features=("pixels",), max_failures="50%")
    report = job.run()
    assert {sample for _, sample, _ in report.failures} == {
        f"faces/0#{one.name}" for one in DELIVERIES
    }


def test_a_delivery_that_an_image_can_not_take_fails_alone(images, tmp_path):
    large = Delivery.of("large", "resize 8, resize 8, resize 8, resize 8")
    job = variants_job(images, tmp_path / "store", [*DELIVERIES, large], features=("pixels",))
    report = job.but(max_failures="50%").run()
    assert {sample for _, sample, _ in report.failures} == {f"faces/{k}#large" for k in range(4)}
    assert all("not deliverable: 96x96 pixels as large" in why for why in report.failures.values())


def test_steps_that_nobody_checked_fail_their_row(images, tmp_path):
    job = variants_job(images, tmp_path / "store", features=("pixels",))
    ((manifest, roots),) = job.manifests
    forged = replace(manifest.samples[0], delivery_steps="zip 3")
    made = Manifest(manifest.name, (forged, *manifest.samples[1:3]))
    (reason,) = job.but(manifests=[(made, roots)]).run().failures.values()
    assert "not deliverable: delivery jpeg_50: 'zip 3' is no step" in reason


def test_a_changed_definition_is_another_row_and_nothing_else_is(images, tmp_path):
    job = variants_job(images, tmp_path / "store", features=("pixels",))
    job.run()
    before = read_all(job.store, "faces_variants")
    changed = [Delivery.of("jpeg_50", "jpeg 5"), *DELIVERIES[1:]]
    again = variants_job(images, tmp_path / "store", changed, features=("pixels",))
    assert again.run().rows == 4
    after = read_all(job.store, "faces_variants")
    for (sample, view, field), value in after.items():
        is_same = np.array_equal(value, before[sample, view, field])
        assert is_same != sample.endswith("#jpeg_50")
    assert again.run().rows == 0
    assert verify_store(job.store) == []


def test_another_seed_draws_anew_beside_the_first(images, tmp_path):
    job = variants_job(images, tmp_path / "store", features=("pixels",))
    job.run()
    other = job.but(images=ImageSettings(view_seed=1))
    assert other.run().rows == 20
    assert len(open_store(job.store).features("faces_variants")) == 2


def test_what_a_repair_queued_comes_back_byte_by_byte(images, tmp_path):
    many = [Delivery.of(f"q{q}", f"jpeg {q}") for q in range(50, 70)]
    job = variants_job(images, tmp_path / "store", many, features=("pixels",), thumbnails=False)
    job.run()
    before = contents(job.store)
    for name in [name for name in before if "/c/" in name][::2]:
        (job.store / name).write_bytes(before[name][:-1])
    assert repair_store(job.store).left == []
    job.run()
    assert contents(job.store) == before


def test_deliveries_have_no_further_views(images, tmp_path):
    manifest, roots = images
    train = replace(manifest, samples=tuple(replace(s, split="train") for s in manifest.samples))
    made = make_variants(train, DELIVERIES[:1], split="train")
    job = job_for(roots.folder(""), tmp_path / "store", features=("pixels",), views=3)
    job.but(manifests=[(train, roots), (made, roots)]).run()
    views = {name: len(open_store(job.store).rows(name)) for name in ("faces", "faces_variants")}
    assert views == {"faces": 12, "faces_variants": 4}


def test_masks_boxes_and_points_follow_a_crop():
    image = gradient((100, 80))
    mask = Image.new("L", image.size)
    mask.paste(255, (40, 30, 60, 50))
    points = "44 36 55 36 50 41 45 46 54 46"
    face = FaceMarks("40 30 60 50", points)
    crop = Delivery.of("c", "crop 0.5, resize 2")

    def crops(data, face, **more):
        settings = ImageSettings(crop="boxes", margin=0.0)
        more |= {"mask": encoded(more.pop("mask"), "PNG"), "content": "c"}
        (found,) = load_views(data, settings, [0], face=face, **more)
        return found

    mine = crops(encoded(image, "PNG"), face, mask=mask, delivery=crop)
    view = crop.view("c", image.size)
    by_hand = crops(
        encoded(view.apply(image), "PNG"),
        FaceMarks("30 20 70 60", mine.face.points),
        mask=view.apply_to_mask(mask),
    )
    assert mine.size == by_hand.size == (100, 80)
    assert mine.face.boxes == "30 20 70 60"
    np.testing.assert_array_equal(mine.pixels(40), by_hand.pixels(40))
    np.testing.assert_array_equal(mine.mask(40), by_hand.mask(40))
    assert mine.mask(40).all()
    # The centre of a pixel stays the centre of what it became: (44 + 0.5 - 25) 2 - 0.5.
    assert mine.face.points.startswith("38.5 32.5 ")


def test_members_of_a_pair_that_lie_on_each_other_are_delivered_alike(images):
    rng = np.random.default_rng(0)
    real = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
    noise = Delivery.of("n", "crop 0.5-0.9, noise 0.1")
    grey = Image.new("RGB", (64, 64), (128, 128, 128))

    def damaged(image, content, **more):
        found = load_views(
            encoded(image, "PNG"), ImageSettings(), [0], content=content, delivery=noise, **more
        )
        return found[0].pixels(64).astype(int)

    one, other = (damaged(grey, content, pair="p") for content in ("a", "b"))
    np.testing.assert_array_equal(one, other)
    assert (damaged(grey, "a") != damaged(grey, "b")).any()
    assert (damaged(real, "a", pair="p") != one).any()
