"""Images of a bucket: what is made of them is what is made of the same images on a disk."""

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("obstore", reason="buckets are read through obstore, the extra `buckets`")

import obstore
from obstore.exceptions import GenericError
from PIL import Image

from clare.errors import ImageError, InputError, ManifestError, StoreError
from clare.pipeline.extraction.bench import bench
from clare.pipeline.extraction.loading import Loader
from clare.pipeline.extraction.plan import Observer
from clare.pipeline.extraction.reading import ReadAhead
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.faces.look import look_for_faces
from clare.pipeline.faces.settings import FaceSettings
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.pairing.plan import Job as PairJob
from clare.pipeline.pairing.plan import with_keys
from clare.store.bucket.files import BucketFile, file_place
from clare.store.bucket.objects import Objects
from clare.store.feature_store import open_store
from tests.pipeline.extraction.conftest import Job
from tests.store.conftest import contents

_numbers = itertools.count()


@pytest.fixture
def bucket():
    return f"memory://images{next(_numbers)}"


def put_all(folder: Path, url: str) -> Objects:
    """A folder's files as objects; the files get the objects' times."""
    objects = Objects(url)
    for file in folder.rglob("*"):
        if file.is_file():
            key = file.relative_to(folder).as_posix()
            objects.put(key, file.read_bytes())
            found = objects.head(key)
            assert found is not None
            os.utime(file, (found.modified, found.modified))
    return objects


@pytest.fixture
def pairs(tmp_path):
    """A manifest of reals and of fakes that lie on them, with masks, and its folder."""
    folder, rows = tmp_path / "images", []
    folder.mkdir()
    for number in range(3):
        rng = np.random.default_rng(number)
        for label, kind in enumerate(("real", "fake")):
            path = f"{kind} {number}.png"
            Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / path)
            sample = Sample(f"vae/{path}", path, label, "vae", split="train", pair_kind="vae")
            mask_path = f"mask {number}.png" if label else ""
            rows.append(replace(sample, pair_id=f"mine/{number}", mask_path=mask_path))
        mask = rng.integers(0, 2, (24, 24)).astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / f"mask {number}.png")
    return Manifest("vae", tuple(rows)), folder


def objects_of(url: str) -> Objects:
    """What the files of a bucket are read through."""
    place = file_place(url)
    assert isinstance(place, BucketFile)
    return place.place()[0]


def job_of(manifest: Manifest, root: Path | str, store: Path, **changes) -> Job:
    how = ExtractSettings(store, backbone="tiny", device="cpu", micro_batch=4, views=3)
    how = replace(how, features=("pixels", "mask"), images=ImageSettings(view_recipe="pair_mix"))
    return Job(how, [(manifest, Roots.from_options([str(root)], {}))]).but(**changes)


def files_of(store: Path) -> dict[str, bytes]:
    """All of a store but the command that made it."""
    return {name: data for name, data in contents(store).items() if name != "commands.jsonl"}


def test_a_bucket_and_a_disk_give_one_store(pairs, bucket, tmp_path):
    manifest, folder = pairs
    put_all(folder, f"{bucket}/deep/er")
    report = job_of(manifest, f"{bucket}/deep/er", tmp_path / "bucket").run()
    assert report.rows == 18 and not report.failures
    job_of(manifest, folder, tmp_path / "disk").run()
    assert files_of(tmp_path / "bucket") == files_of(tmp_path / "disk")
    assert len(files_of(tmp_path / "disk")) > 8
    # Carried from one to the other, of which the times tell nothing: nothing is computed anew.
    for file in folder.iterdir():
        os.utime(file)
    assert job_of(manifest, folder, tmp_path / "bucket").run().rows == 0
    assert job_of(manifest, f"{bucket}/deep/er", tmp_path / "disk").run().rows == 0


def test_missing_and_broken_files_are_those_of_a_disk(pairs, bucket, tmp_path):
    manifest, folder = pairs
    (folder / "real 0.png").unlink()
    (folder / "real 1.png").write_bytes(b"")
    whole = (folder / "fake 2.png").read_bytes()
    (folder / "fake 2.png").write_bytes(whole[: len(whole) // 2])
    (folder / "mask 1.png").unlink()
    objects = put_all(folder, bucket)
    jobs = [job_of(manifest, r, tmp_path / f"{n}", views=1) for n, r in enumerate((bucket, folder))]
    ours, theirs = (job.run().failures for job in jobs)
    assert ours == theirs
    assert len(ours) == 4
    assert files_of(jobs[0].store) == files_of(jobs[1].store)
    objects.put("fake 2.png", whole)
    assert jobs[0].run().rows == 1, "a mended image is tried again"


class Server:
    """Refuses requests for files as a server that is away does."""

    def __init__(self, monkeypatch) -> None:
        self.away = 0.0
        self.asked = 0
        self._get = obstore.get
        monkeypatch.setattr(obstore, "get", self._ask)

    def _ask(self, store, path, **how):
        self.asked += 1
        self.refuse()
        return self._get(store, path, **how)

    def refuse(self) -> None:
        if self.away > 0:
            self.away -= 1
            raise GenericError("error sending request: kind: Connect")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("clare.store.bucket.objects.random.uniform", lambda low, high: 0.0)
    return Server(monkeypatch)


def test_a_trial_says_that_it_reads_a_bucket(pairs, bucket, tmp_path):
    manifest, folder = pairs
    put_all(folder, bucket)
    write_manifest(manifest, tmp_path / "vae.csv")
    cost = bench(
        manifest=tmp_path / "vae.csv",
        root=bucket,
        store=tmp_path / "f.zarr",
        features=["pixels"],
        backbone="tiny",
        seconds=0.05,
    )
    assert cost.pictures == "6 images of vae, each read anew from its bucket"


def test_a_server_that_is_away_for_a_while_is_waited_for(pairs, bucket, server, tmp_path):
    manifest, folder = pairs
    put_all(folder, bucket)
    server.away = 7
    report = job_of(manifest, bucket, tmp_path / "f.zarr").run()
    assert report.rows == 18 and not report.failures


def test_a_server_that_stays_away_leaves_its_rows_pending(
    pairs, bucket, server, tmp_path, monkeypatch
):
    manifest, folder = pairs
    put_all(folder, bucket)
    job = job_of(manifest, bucket, tmp_path / "f.zarr", views=1)
    monkeypatch.setattr(objects_of(bucket), "patience", 0.05)

    class Ends(Observer):
        def planned(self, plan):
            server.away = float("inf")

    with pytest.raises(StoreError, match="can't be reached: see that it runs"):
        job.run(Ends())
    for name in ("pixels", "mask"):
        counts = open_store(job.store).feature("vae", name).counts()
        assert (counts["complete"], counts["failed"], counts["pending"]) == (0, 0, 6)
    server.away = 0
    assert job.run().rows == 6
    server.away = float("inf")
    with pytest.raises(StoreError, match="can't be reached"):
        job_of(manifest, bucket, tmp_path / "new.zarr").run()


def test_whoever_is_stopped_waits_no_more_for_a_server(
    pairs, bucket, server, tmp_path, monkeypatch
):
    manifest, folder = pairs
    put_all(folder, bucket)
    job = job_of(manifest, bucket, tmp_path / "f.zarr", views=1, features=("pixels",))
    job.run()
    monkeypatch.setattr(objects_of(bucket), "patience", float("inf"))
    rows = dict(enumerate(open_store(job.store).rows("vae")))
    server.away = float("inf")
    before = server.asked
    loader = Loader(job.manifests[0][1], job.settings.images, threads=1)
    begun = loader.start(rows, [])
    while server.asked == before:
        time.sleep(0)
    loader.close()  # else it were for ever
    for one in begun:
        assert one.cancelled() or isinstance(one.exception(), StoreError)
    server.away = 2
    report = job_of(manifest, bucket, tmp_path / "other.zarr", views=1).run()
    assert report.rows == 6 and not report.failures, "later requests wait again"


def _faces(samples, roots, folder):
    write_manifest(Manifest("s", tuple(samples)), folder / "s.csv")
    look_for_faces(folder / "s.csv", roots, FaceSettings())


def _pairs(samples, roots, folder):
    with_keys([PairJob(sample, None, "") for sample in samples], roots)


def _any(samples, roots, folder):
    roots.require_any("s", [replace(samples[0], path="nothing"), *samples])


@pytest.mark.parametrize("work", [_faces, _pairs, _any])
def test_whoever_is_stopped_waits_for_no_server_that_tells_of_files(
    bucket, server, tmp_path, monkeypatch, work
):
    for number in range(4):
        Objects(bucket).put(f"{number}.png", b"")
    samples = [Sample(f"s/{number}", f"{number}.png", 0, "s") for number in range(4)]
    roots = Roots(file_place(bucket), {})
    assert roots.is_remote(samples[0])
    monkeypatch.setattr(objects_of(bucket), "patience", float("inf"))
    head = obstore.head
    others = threading.Event()

    def ask(store, path):
        if path == "0.png":
            assert others.wait(60)
            raise KeyboardInterrupt
        if path.endswith(".png"):
            others.set()
            server.refuse()
        return head(store, path)

    monkeypatch.setattr(obstore, "head", ask)
    server.away = 20_000
    with pytest.raises(KeyboardInterrupt):
        work(samples, roots, tmp_path)
    assert server.away > 0, "it was not waited for"


def noted(exists, asked):
    def exists_noted(path):
        asked.append(path)
        return exists(path)

    return exists_noted


def test_images_are_looked_for_until_one_is_there(bucket, tmp_path, monkeypatch):
    Objects(bucket).put("at.png", b"")
    (tmp_path / "at.png").write_bytes(b"")
    samples = [Sample("s/0", "lost.png", 0, "s")] * 2 + [Sample("s/1", "at.png", 0, "s")] * 2000
    asked: list[Path] = []
    for kind in (Path, BucketFile):
        monkeypatch.setattr(kind, "exists", noted(kind.exists, asked))
    for place, most in ((tmp_path, 3), (file_place(bucket), 1 + 256)):
        asked.clear()
        roots = Roots(place, {})
        roots.require_any("s", samples)
        assert 3 <= len(asked) <= most
        asked.clear()
        with pytest.raises(InputError, match="none of the 2 images of s is there"):
            roots.require_any("s", samples[:2])
        assert len(asked) == 2


def test_paths_stay_below_their_root_and_roots_are_told_apart(bucket):
    for name in ("one", "two"):
        Objects(bucket).put(f"{name}/a.png", name.encode())
    named = [f"{bucket}/one/", f"df40={bucket}/two"]
    roots = Roots.from_options(named, {"CLARE_ROOT_FFPP": f"{bucket}/nothing"})
    sample = Sample("s/a", "a.png", 0, "s")
    assert str(roots.resolve(sample)) == f"{bucket}/one/a.png"
    assert roots.resolve(replace(sample, root="df40")).read_bytes() == b"two"
    assert roots.is_remote(sample)
    for path in ("../two/a.png", "/a.png", "a/../../two/a.png", "./a.png", "a//b.png"):
        with pytest.raises(ManifestError, match="path"):
            roots.resolve(replace(sample, path=path))
    with pytest.raises(InputError, match=f"{bucket}/nothing, the folder of root 'ffpp', is not"):
        roots.resolve(replace(sample, root="ffpp"))


@pytest.mark.parametrize("place", ["option", "environment"])
def test_a_root_with_a_key_in_its_url_is_refused(place):
    url = "s3://key:secret@bucket/photos"
    options, environ = ([url], {}) if place == "option" else ([], {"CLARE_ROOT": url})
    with pytest.raises(InputError, match="put keys into the environment") as error:
        Roots.from_options(options, environ)
    assert "secret" not in str(error.value)


class Slow:
    """Reads that end when they may, and what is under way at once."""

    def __init__(self) -> None:
        self.now, self.most, self.read = 0, 0, list[str]()
        self.may_end = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> bytes:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.may_end.wait(60)
        with self._lock:
            self.now -= 1
            self.read.append(path.name)
        if path.name == "bad":
            raise ImageError("missing: there is no such file")
        return path.name.encode()


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_many_files_are_under_way_and_no_more_than_fit():
    slow = Slow()
    ahead = ReadAhead(slow, width=8, most=100)
    asked = [ahead.ask([(Path(f"{k}"), 10), (Path(f"{k}m"), 1)]) for k in range(20)]
    until(lambda: slow.now == 8)
    slow.may_end.set()
    until(lambda: len(slow.read) == 18)
    time.sleep(0.01)
    assert len(slow.read) == 18, "of 100 bytes, and nobody took one"
    for number, reads in enumerate(asked):
        with reads:
            assert reads.get(Path(f"{number}")) == f"{number}".encode()
    ahead.close()
    assert slow.most == 8
    assert len(slow.read) == 40


def test_what_is_larger_than_all_that_fits_comes_alone_and_errors_keep_no_room():
    ahead = ReadAhead(slow := Slow(), width=4, most=10)
    slow.may_end.set()
    asked = [ahead.ask([(Path(name), size)]) for name, size in (("a", 7), ("bad", 5), ("b", 99))]
    for reads, name in zip(asked, ("a", "bad", "b"), strict=True):
        with reads:
            if name == "bad":
                with pytest.raises(ImageError, match="missing"):
                    reads.get(Path(name))
            else:
                assert reads.get(Path(name)) == name.encode()
    assert slow.most == 1
    ahead.close()


@pytest.mark.parametrize("sizes", [(8, 5), (12, 1), (5, 12), (12, 12)])
def test_an_image_that_does_not_fit_with_its_mask_comes_all_the_same(sizes):
    ahead = ReadAhead(lambda path: path.name.encode(), width=4, most=10)
    files = [ahead.ask([(Path(f"{k}"), sizes[0]), (Path(f"{k}m"), sizes[1])]) for k in range(3)]

    def take() -> list[bytes]:
        found = []
        for number, reads in enumerate(files):
            with reads:
                found += [reads.get(Path(f"{number}")), reads.get(Path(f"{number}m"))]
        return found

    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(take)
        try:
            assert taking.result(10) == [b"0", b"0m", b"1", b"1m", b"2", b"2m"]
        finally:
            ahead.close()


def test_reads_end_soon_after_a_server_was_given_up():
    asked = []

    def read(path):
        asked.append(path)
        raise StoreError("it can't be reached")

    ahead = ReadAhead(read, width=1)
    for number, reads in enumerate([ahead.ask([(Path(f"{k}"), 1)]) for k in range(9)]):
        with reads, pytest.raises(StoreError, match="can't be reached"):
            reads.get(Path(f"{number}"))
    ahead.close()
    assert len(asked) == 1


def test_whoever_ends_as_planned_gives_nothing_up_for_others(bucket, server, monkeypatch):
    Objects(bucket).put("a", b"there")
    file = file_place(bucket) / "a"
    monkeypatch.setattr(objects_of(bucket), "patience", float("inf"))
    server.away = float("inf")
    slow = Slow()
    ahead = ReadAhead(slow, width=1)
    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(file.read_bytes)
        until(lambda: server.asked > 0)
        with ahead.ask([(Path("mask"), 1)]):  # of a broken image, which is never taken
            until(lambda: slow.now == 1)
        closed = pool.submit(ahead.close)
        slow.may_end.set()
        closed.result()
        before = server.asked
        until(lambda: server.asked > before + 2 or waits.done())
        server.away = 0
        assert waits.result() == b"there"


def test_a_loader_reads_the_next_images_of_a_bucket_before_it_decodes_them(
    pairs, bucket, tmp_path, monkeypatch
):
    manifest, folder = pairs
    put_all(folder, bucket)
    job = job_of(manifest, bucket, tmp_path / "f.zarr", views=1, features=("pixels",))
    job.run()
    slow = Slow()
    monkeypatch.setattr("clare.pipeline.extraction.loading.read_content", slow)
    rows = dict(enumerate(open_store(job.store).rows("vae")))
    loader = Loader(job.manifests[0][1], job.settings.images, threads=1)
    begun = loader.start(rows, [])
    until(lambda: slow.now == 9)  # six images and three masks
    slow.may_end.set()
    for one in begun:
        assert one.result().changed
    loader.close()
