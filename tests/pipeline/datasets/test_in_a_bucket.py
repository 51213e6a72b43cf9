"""Manifests of folders in a bucket: those of the same folders on a disk."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("obstore", reason="buckets are read through obstore, the extra `buckets`")

from clare.errors import InputError, ManifestError
from clare.pipeline.checks.audit import audit
from clare.pipeline.checks.check import check_manifests
from clare.pipeline.checks.files import FileCheck
from clare.pipeline.datasets.build import build_dataset, dataset_roots
from clare.pipeline.datasets.registry import load_registry
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.manifests.mask_folders import MaskFolder
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest
from clare.pipeline.manifests.scan import list_images
from clare.pipeline.manifests.tables import import_csv
from clare.pipeline.pairing.photos import read_landmarks
from clare.store.bucket.files import BucketFile, file_place
from clare.store.bucket.objects import Objects
from tests.pipeline.df40_tree import make_tree
from tests.pipeline.extraction.test_buckets import put_all

_numbers = itertools.count()


@pytest.fixture(scope="module")
def put():
    """Put a folder into a bucket of its own: its URL."""

    def into_bucket(folder: Path) -> str:
        url = f"memory://folders{next(_numbers)}/data"
        put_all(folder, url)
        return url

    return into_bucket


@pytest.fixture(scope="module")
def folder(tmp_path_factory, few_pictures):
    """Reals, fakes, their masks, and what is no image."""
    place = tmp_path_factory.mktemp("folder")
    for kind in ("real", "fake"):
        (place / kind / "train").mkdir(parents=True)
        for file in (few_pictures / kind).iterdir():
            (place / kind / "train" / file.name).write_bytes(file.read_bytes())
            if kind == "fake":
                (place / "masks/train").mkdir(parents=True, exist_ok=True)
                (place / "masks/train" / file.name).write_bytes(file.read_bytes())
    (place / "real/notes.txt").write_text("none")
    (place / "fake/clip.mp4").write_bytes(b"0")
    (place / "fake/empty.png").write_bytes(b"")
    return place


def built_below(root: Path):
    masks = MaskFolder(root / "masks")
    return build_manifest("toy", [root / "real"], [root / "fake"], masks=masks, hash=True)


def test_plain_folders_of_a_bucket_make_the_manifest_of_a_disk(folder, put):
    url = put(folder)
    ours, theirs = built_below(file_place(url)), built_below(folder)
    assert ours.manifest == theirs.manifest
    assert str(ours.root) == url
    assert (ours.ignored, ours.unmatched) == (theirs.ignored, theirs.unmatched)
    assert [str(n).replace(url, "") for n in ours.notices()] == [
        str(n).replace(str(folder), "") for n in theirs.notices()
    ]
    assert sum(sample.mask_path != "" for sample in ours.manifest.samples) == 4
    with pytest.raises(ManifestError, match="name at least one folder, and each folder once"):
        build_manifest("toy", [f"{url}/real"], [f"{url}/real"])
    with pytest.raises(InputError, match="is not there: name a folder of images"):
        build_manifest("toy", [f"{url}/reals"], [])
    with pytest.raises(InputError, match="is a whole bucket: name a folder in it"):
        build_manifest("toy", [url.removesuffix("/data")], [])
    with pytest.raises(ManifestError, match="are in different places"):
        build_manifest("toy", [folder / "real"], [f"{url}/fake"])


def test_folders_of_a_bucket_are_subsets_and_one_side_may_be_on_a_disk(folder, put):
    url = put(folder)
    places = [
        (f"{url}/real", f"sg3={url}/fake"),
        (str(folder / "real"), f"sg3={url}/fake"),
        (str(folder / "real"), f"sg3={folder / 'fake'}"),
    ]
    found = [
        select_manifests(None, [], Path("m"), [], [Path(real)], [fake]) for real, fake in places
    ]
    for one in found:
        assert [manifest.name for manifest, _ in one] == ["real", "sg3"]
        for (manifest, roots), (known, theirs) in zip(one, found[-1], strict=True):
            for sample, other in zip(manifest.samples, known.samples, strict=True):
                assert replace(sample, root="") == replace(other, root="")
                assert roots.resolve(sample).read_bytes() == theirs.resolve(other).read_bytes()
    with pytest.raises(InputError, match="given as real and as fake"):
        select_manifests(None, [], Path("m"), [], [Path(f"{url}/real")], [f"a={url}/real"])


def test_a_known_data_set_in_a_bucket_makes_the_manifests_of_a_disk(tmp_path_factory, put):
    tree = make_tree(tmp_path_factory.mktemp("df40"))
    url, registry = put(tree.folder), load_registry(None)
    options = [f"{name}={url}/{at.name}" for name, at in tree.roots.items()]
    roots = dataset_roots(registry, "df40", options, {})
    assert all(isinstance(at, BucketFile) for at in roots.values())
    wanted = ("simswap", "sadtalker")
    ours = build_dataset(registry, "df40", roots, wanted=wanted)
    theirs = build_dataset(registry, "df40", tree.roots, wanted=wanted)
    assert ours.subsets.keys() == theirs.subsets.keys()
    for name, built in ours.subsets.items():
        assert built.samples == theirs.subsets[name].samples
        assert set(built.record.roots.values()) <= {
            f"{url}/{at.name}" for at in tree.roots.values()
        }
    assert ours.leftovers == theirs.leftovers
    assert ours.rows > 20


def test_files_that_changed_in_a_bucket_are_seen(folder, put, tmp_path):
    url = put(folder)
    manifest = built_below(folder).manifest
    write_manifest(manifest, tmp_path / "toy.csv")
    paths = [sample.path for sample in manifest.samples if sample.status == "ok"]
    objects = Objects(url)
    objects.delete(paths[0])
    objects.put(paths[1], b"")
    objects.put(paths[2], b"short")
    objects.put(paths[3], bytes(len(objects.get(paths[3]))))
    found = {
        one.what.partition(",")[0]
        for one in check_manifests(
            tmp_path, ["toy"], look=FileCheck(Roots.from_options([url], {}), decode=True)
        )
    }
    kinds = ("missing", "empty", "of another size", "not decodable")
    assert {f"1 file {kind}" for kind in kinds} <= found


def test_an_audit_reads_a_bucket(folder, put):
    manifest = built_below(folder).manifest
    whole = Manifest("toy", tuple(s for s in manifest.samples if s.status == "ok"))
    ours, theirs = (
        audit([(whole, Roots.from_options([str(root)], {}))], resamples=2, limit=2)
        for root in (put(folder), folder)
    )
    assert ours == theirs


def test_a_table_of_files_in_a_bucket(folder, put, tmp_path):
    url = put(folder)
    names = [
        f"{kind}/train/{f.name}"
        for kind in ("real", "fake")
        for f in (folder / kind / "train").iterdir()
    ]
    for number, root in enumerate(("", f"{url}/", "/old/machine/")):
        table = tmp_path / f"t{number}.csv"
        lines = [f"{root}{name},{name.partition('/')[0]}" for name in names]
        table.write_text("\n".join(["path,label", *lines]))
        built = import_csv([table], root=file_place(url), subset="toy").built.manifest
        assert [sample.path for sample in built.samples] == names
        assert {sample.status for sample in built.samples} == {"ok"}


def test_landmarks_of_a_bucket_are_read(put, tmp_path):
    points = np.arange(10.0).reshape(5, 2)
    np.save(tmp_path / "1.npy", points)
    (tmp_path / "2.npy").write_bytes(b"none")
    folder = file_place(put(tmp_path))
    assert np.array_equal(read_landmarks(folder / "1.npy"), points)
    for name, why in (("2.npy", "are no array"), ("3.npy", "can't be read: No such file")):
        with pytest.raises(InputError, match=why):
            read_landmarks(folder / name)


def test_single_images_and_videos_of_a_bucket_are_refused_in_a_sentence():
    with pytest.raises(InputError, match="is in a bucket, and what no manifest lists"):
        list_images([Path("s3://bucket/clip.mp4")], videos=True)
