"""Stores in Azure's Blob Storage, as Azurite imitates it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from clare.errors import StoreError
from clare.store.feature_store import create_store, open_store
from clare.store.maintenance.drop import drop
from clare.store.maintenance.verify import verify_store
from tests.store.conftest import contents, extract, make_rows

pytest.importorskip("obstore", reason="buckets are read through obstore, the extra `buckets`")

from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.bucket.objects import Objects
from clare.store.bucket.probe import require_conditions
from clare.store.transfer import pull_store, push_store
from tests.cluster.azurite import CONTAINER, binary, running
from tests.pipeline.extraction.test_buckets import files_of, job_of, put_all

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(binary() is None, reason="Azurite is not installed: npm install azurite"),
]


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("azurite")):
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLARE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def url(tmp_path):
    return f"az://{CONTAINER}/{tmp_path.name}.zarr"


@pytest.fixture
def whole(tmp_path):
    """A store on this disk."""
    store = create_store(tmp_path / "whole.zarr")
    store.assign_rows("faces", make_rows(200))
    extract(store)
    return store.path


def test_an_extraction_gives_the_store_of_a_disk(whole, url, tmp_path):
    store = create_store(url)
    store.assign_rows("faces", make_rows(200))
    assert extract(store) == 4
    assert verify_store(url) == []
    pull_store(url, tmp_path / "again.zarr")
    assert contents(tmp_path / "again.zarr") == contents(whole)
    with pytest.raises(StoreError, match="there is no such container"):
        open_store("az://nobody/x.zarr")


def test_carried_there_and_back_read_in_between_and_dropped(whole, url, tmp_path):
    assert push_store(whole, url).shards == 4
    assert push_store(whole, url).bytes == 0
    pull_store(url, tmp_path / "again.zarr")
    assert contents(tmp_path / "again.zarr") == contents(whole)
    local = open_store(whole).feature("faces", "clip").reader("clip_tokens").read(range(200))
    store = open_store(url)
    for shards in (None, range(4)):
        reader = store.feature("faces", "clip", shards=shards).reader("clip_tokens")
        assert np.array_equal(reader.read(range(200)), local)
    drop(store, ["faces"])
    assert open_store(url).subsets() == []
    assert verify_store(url) == []


def test_images_are_those_of_a_disk(tmp_path):
    draw_faces(tmp_path / "images/real", 6, seed=1, kind="real", size=48)
    (tmp_path / "images/real/empty.png").write_bytes(b"")
    url = f"az://{CONTAINER}/{tmp_path.name}/images"
    put_all(tmp_path / "images", url)
    stores, found = [tmp_path / "bucket.zarr", tmp_path / "disk.zarr"], []
    for root, store in zip((url, str(tmp_path / "images")), stores, strict=True):
        built = build_manifest("faces", [f"{root}/real"], [])
        job = job_of(built.manifest, root, store, features=("pixels",))
        found.append((built.manifest, job.run().failures))
    assert found[0] == found[1]
    assert {reason.partition(":")[0] for reason in found[0][1].values()} == {"empty file"}
    assert files_of(stores[0]) == files_of(stores[1])


def test_of_several_who_make_an_object_one_succeeds():
    objects = Objects(f"az://{CONTAINER}/races")
    require_conditions(objects, "locks")
    racers = [str(number).encode() for number in range(6)]
    for race in range(10):
        with ThreadPoolExecutor(len(racers)) as pool:
            made = list(pool.map(partial(objects.create, f"race{race}"), racers))
        (winner,) = [data for data, tag in zip(racers, made, strict=True) if tag is not None]
        assert objects.get(f"race{race}") == winner
