"""`clare pairs` as a user types it."""

import pytest

from clare.pipeline.manifests.csv_io import read_manifest
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.feature_store import open_store


@pytest.fixture
def photos(tmp_path):
    draw_faces(tmp_path / "photos", 6, seed=3, size=64)
    return tmp_path


def build(clare):
    return clare("manifest", "build", "--subset", "mine", "--real", "photos")


def test_pairs_are_made_and_extracted_by_the_command_that_is_named(clare, photos):
    build(clare)
    (photos / "photos" / "0002.jpg").write_bytes(b"no image")
    command = ("pairs", "--kind", "vae", "--subset", "mine", "--root", ".", "--backbone", "tiny")
    code, out, error = clare(*command, "--out", "pairs/vae", "--set", "vae.latent=sample")
    assert code == 3 and "pairs/vae/mine_vae.csv: 5 pairs" in out
    assert "photos/0002.jpg (not an image" in error
    assert "these fakes mean nothing" in error
    assert (
        "clare extract --manifest pairs/vae/mine_vae.csv --root pairs/vae --backbone tiny" in error
    )
    code, out, _ = clare(*command, "--out", "pairs/vae", "--set", "vae.latent=sample")
    assert "5 pairs, 5 of them from before" in out
    code, _, error = clare(*command, "--out", "pairs/vae")
    assert code == 1 and "holds pairs that differ in settings" in error and "--out" in error

    where = ("--manifest", "pairs/vae/mine_vae.csv", "--root", "pairs/vae", "--store", "s.zarr")
    code, _, error = clare("extract", *where, "--features", "pixels,mask")
    assert code == 0, error
    rows = open_store("s.zarr").rows("mine_vae")
    assert {row.columns["pair_kind"] for row in rows} == {"vae"}
    assert len({row.columns["pair_id"] for row in rows}) == 5


def test_what_is_missing_is_said_with_the_command_that_finds_it(clare, photos):
    build(clare)
    code, _, error = clare("pairs", "--kind", "sbi", "--subset", "mine", "--root", ".")
    assert code == 1 and "`clare faces --subset mine` finds them" in error
    assert not (photos / "pairs").exists()
    code, _, error = clare("pairs", "--kind", "sbi")
    assert code == 1 and "name a subset with --subset" in error
    assert clare("pairs")[0] == 2
    assert read_manifest(photos / "data_manifests" / "mine.csv").samples
