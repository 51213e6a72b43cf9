"""Deliveries as rows of a manifest: of which images, what they keep, and that they stay these."""

from dataclasses import replace

import pytest

from clare.augmentation.deliveries import Delivery, DeliverySet, read_set
from clare.errors import InputError, ManifestError
from clare.groups import met_by
from clare.pipeline.checks.check import check_manifests
from clare.pipeline.checks.status import list_status
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.variants import join_sets, make_variants

SPLITS = ("train", "val", "test")
LOW, HALF = Delivery.of("low", "jpeg 20"), Delivery.of("half", "resize 0.5 back")


def sample(number, **columns):
    split = SPLITS[number % 3]
    own = Sample(f"s/{number}", f"x/{number}.png", number % 2, "s", split=split)
    return replace(own, sha256=f"{number:064x}", **columns)


@pytest.fixture
def images():
    rows = [sample(n, video_id=f"v{n // 6}-{n % 6}", boxes="1 2 3 4") for n in range(12)]
    return Manifest("s", tuple(rows))


def test_every_image_of_the_split_is_delivered_each_way_whatever_its_label(images):
    made = make_variants(images, [LOW, HALF])
    assert made.name == "s_variants"
    tested = {s.sample_id: s for s in images.samples if s.split == "test"}
    assert {s.label for s in tested.values()} == {0, 1}
    found = {(s.parent_id, s.delivery): s for s in made.samples}
    assert found.keys() == {(one, way) for one in tested for way in ("low", "half")}
    for (parent, way), row in found.items():
        assert row.sample_id == f"{parent}#{way}" and row.subset == "s_variants"
        assert row.delivered == {"low": LOW, "half": HALF}[way]
        kept = replace(row, sample_id=parent, subset="s", parent_id="", parent_subset="")
        assert replace(kept, delivery="", delivery_steps="") == tested[parent]
    assert {s.split for s in make_variants(images, [LOW], split="train").samples} == {"train"}


def test_a_delivery_stays_the_image_that_it_was(images):
    real = sample(0, split="test")
    fake = sample(1, split="test", pair_id=real.sample_id, video_id="v")
    for one in (real, fake, *images.samples[2::3]):
        (row,) = make_variants(Manifest("s", (replace(one, split="test"),)), [LOW]).samples
        assert row.ties == one.ties and row.cluster == one.cluster
    (row,) = make_variants(Manifest("s", (real,)), [LOW]).samples
    assert {tie for group in row.ties for tie in met_by(group)} & set(fake.ties)


def test_a_manifest_of_deliveries_is_written_read_and_checked(images, tmp_path):
    made = make_variants(images, [LOW, HALF])
    for one in (images, made):
        write_manifest(one, tmp_path / f"{one.name}.csv")
    assert set(read_manifest(tmp_path / "s_variants.csv").samples) == set(made.samples)
    assert not [one for one in check_manifests(tmp_path) if one.subset == "s_variants"]
    (status,) = (one for one in list_status(tmp_path) if one.id == "s_variants")
    assert [str(one) for one in status.notices] == ["deliveries of s: half, low"]


def test_a_delivery_in_another_split_than_its_image_is_a_leak(images, tmp_path):
    moved = [replace(s, split="train") for s in make_variants(images, [LOW]).samples]
    for one in (images, Manifest("s_variants", tuple(moved))):
        write_manifest(one, tmp_path / f"{one.name}.csv")
    gates = [one.what for one in check_manifests(tmp_path) if one.gate]
    assert any("one file in two splits" in what for what in gates)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"delivery": ""}, "a delivery without its steps or its image"),
        ({"parent_id": ""}, "a delivery without its steps or its image"),
        ({"delivery_steps": ""}, "a delivery without its steps or its image"),
    ],
)
def test_a_row_says_all_of_its_delivery_or_nothing(images, tmp_path, changes, said):
    first, *rest = make_variants(images, [LOW]).samples
    with pytest.raises(ManifestError, match=said):
        broken = Manifest("s_variants", (replace(first, **changes), *rest))
        write_manifest(broken, tmp_path / "s_variants.csv")


def test_steps_that_are_none_are_refused_with_their_line(images, tmp_path):
    file = tmp_path / "s_variants.csv"
    write_manifest(make_variants(images, [LOW]), file)
    text = file.read_text()
    file.write_text(text.replace("jpeg 20", "jpeg 200", 1))
    with pytest.raises(ManifestError, match=r"line 2: .*jpeg takes a quality from 1 to 100"):
        read_manifest(file)
    file.write_text(text.replace(",low,", ",a b,", 1))
    with pytest.raises(ManifestError, match=r"line 2: delivery 'a b' is no plain word"):
        read_manifest(file)
    file.write_text(text.replace("jpeg 20", "jpeg 20.0", 1))
    assert {s.delivery_steps for s in read_manifest(file).samples} == {"jpeg 20"}


def test_what_can_not_be_delivered_is_said(images):
    with pytest.raises(InputError, match="s has no images in split val: it has 4 in train"):
        make_variants(replace(images, samples=images.samples[::3]), [LOW], split="val")
    with pytest.raises(InputError, match="s_variants holds deliveries"):
        make_variants(make_variants(images, [LOW]), [LOW])


def test_sets_are_joined_where_their_names_mean_the_same():
    joined = join_sets(read_set(name) for name in ("compact", "univfd", "platform"))
    names = [one.name for one in joined]
    assert len(names) == len(set(names)) and {"platform", "jpeg_30", "scipy_blur_4"} < set(names)
    other = DeliverySet("mine", "", "", (), (Delivery.of("half", "resize 0.5"),))
    with pytest.raises(InputError, match=r"delivery half is .* in one set and .* in another"):
        join_sets([read_set("compact"), other])
