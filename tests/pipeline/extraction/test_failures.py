"""Images, files, disks and memory that fail an extraction: recorded, never filled in."""

import errno
import io
import os
import shutil
import struct
import sys
import zlib
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clare.advice import Name
from clare.errors import DiskSpaceError, InputError, RowUnavailableError, WeightsError
from clare.models.hub import TRIAL
from clare.models.runtime import Runtime
from clare.pipeline.extraction.loop import StrictFailureError
from clare.pipeline.extraction.plan import Observer
from clare.pipeline.extraction.rebuild import rebuild_extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.extractors.lare import LareExtractor
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest
from clare.store.feature_store import open_store
from tests.pipeline.extraction.conftest import job_for, read_all
from tests.store.conftest import contents


def test_broken_images_are_recorded_and_never_filled_in(faces, tmp_path):
    job = job_for(faces, tmp_path / "store")
    files = sorted((faces / "real").iterdir())
    files[0].write_bytes(files[0].read_bytes()[:500])
    files[1].write_bytes(b"")
    files[2].write_bytes(b"this is no image at all")
    files[3].unlink()
    bomb = io.BytesIO()
    Image.new("1", (1, 1)).save(bomb, "PNG")
    size = struct.pack(">II", 30_000, 30_000)
    head = b"IHDR" + size + bomb.getvalue()[24:29]
    rest = bomb.getvalue()[33:]
    files[4].write_bytes(bomb.getvalue()[:12] + head + struct.pack(">I", zlib.crc32(head)) + rest)
    report = job.run()
    assert report.rows == 24
    broken = {f"real/{file.name}" for file in files[:5]}
    assert {sample.partition("/")[2] for _, sample, _ in report.failures} == broken
    assert len(set(report.failures.values())) == 5, report.failures
    store = open_store(job.store)
    feature = store.feature("faces", "clip")
    assert len(feature.failures()) == 5
    for slot, reason in feature.failures().items():
        with pytest.raises(RowUnavailableError) as error:
            feature.reader("clip_cls").read([slot])
        assert reason in str(error.value)
    assert len(read_all(job.store)) == 19 * len({key[2] for key in read_all(job.store)})
    assert job.run().rows == 0, "a failure is not tried again while nothing changed"
    shutil.copy2(files[5], files[0])
    assert job.run().rows == 1, "a mended image is"


def test_strict_stops_at_the_first_failure(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",), strict=True)
    next((faces / "fake").iterdir()).write_bytes(b"")
    with pytest.raises(StrictFailureError, match="faces/fake/"):
        job.run()
    assert len(job.but(strict=False).run().failures) == 1


def test_a_wrong_root_is_refused_before_anything_is_computed(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    ((manifest, _),) = job.manifests
    wrong = job.but([(manifest, Roots(None, {manifest.samples[0].root: tmp_path}))])
    with pytest.raises(InputError, match="none of the 24 images of faces is there") as refused:
        wrong.run()
    assert refused.value.advice == (Name("the folder that their paths start at", "root"),)
    assert not open_store(job.store).subsets()
    assert job.run().rows == 24


def test_a_file_that_vanishes_meanwhile_is_left_for_the_next_run(faces, tmp_path, monkeypatch):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    file = next((faces / "fake").iterdir())

    class Vandal(Observer):
        def planned(self, plan):
            file.rename(tmp_path / file.name)

    report = job.run(Vandal())
    assert next(iter(report.failures.values())).startswith("missing")
    counts = open_store(job.store).feature("faces", "pixels").counts()
    assert (counts["complete"], counts["failed"], counts["pending"]) == (23, 0, 1)
    before = read_all(job.store)
    (tmp_path / file.name).rename(file)
    again = job.run()
    assert again.rows == 1 and not again.failures, "the other rows keep their values"
    after = read_all(job.store)
    assert len(after) == 24 and all(np.array_equal(after[key], v) for key, v in before.items())
    job.but(store=tmp_path / "undisturbed").run()
    assert contents(job.store) == contents(tmp_path / "undisturbed")


def test_a_file_that_is_not_the_manifests_is_left_pending(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    manifest, roots = job.manifests[0]
    first, *others = manifest.samples
    named = Manifest("faces", (replace(first, sha256="0" * 64), *others))
    report = job.but(manifests=[(named, roots)]).run()
    assert next(iter(report.failures.values())).startswith("changed")
    counts = open_store(job.store).feature("faces", "pixels").counts()
    assert (counts["complete"], counts["pending"]) == (23, 1)


def test_an_image_that_only_this_installation_cannot_decode_is_left_pending(
    faces, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    next((faces / "fake").iterdir()).write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 64)
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    assert "pillow-heif" in next(iter(job.run().failures.values()))
    counts = open_store(job.store).feature("faces", "pixels").counts()
    assert (counts["complete"], counts["failed"], counts["pending"]) == (23, 0, 1)


def test_a_disk_that_is_away_costs_no_features(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    job.run()
    before = read_all(job.store)
    faces.rename(tmp_path / "away")
    faces.mkdir()
    assert job.run().rows == 0
    assert read_all(job.store).keys() == before.keys()


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(faces, tmp_path, monkeypatch):
    features = ("pixels", "clip")
    job_for(faces, tmp_path / "plain", views=6, features=features).run()
    job = job_for(faces, tmp_path / "store", views=6, features=features)
    write = os.writev

    def fill_up(descriptor, buffers):
        if list(job.store.glob("journal/**/*.json")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, buffers)

    monkeypatch.setattr(os, "writev", fill_up)
    with pytest.raises(DiskSpaceError, match="full"):
        job.run()
    monkeypatch.undo()
    assert list(job.store.glob("journal/**/*.json")), "what was finished before is kept"
    job.run()
    assert contents(job.store) == contents(tmp_path / "plain")


def test_out_of_memory_halves_the_batch_and_loses_nothing(faces, tmp_path, monkeypatch, caplog):
    job_for(faces, tmp_path / "plain", features=("lare",), micro_batch=2).run()
    forward = LareExtractor.forward

    def small_memory(self, inputs):
        if len(next(iter(inputs.values()))) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, inputs)

    monkeypatch.setattr(LareExtractor, "forward", small_memory)
    job = job_for(faces, tmp_path / "small", features=("lare",), micro_batch=8)
    assert job.run().rows == 24
    assert "micro-batches of 2" in caplog.text
    plain, small = read_all(tmp_path / "plain"), read_all(tmp_path / "small")
    assert small and all(np.array_equal(plain[key], value) for key, value in small.items())
    made_with = open_store(job.store).feature("faces", "lare").made_with()
    assert made_with is not None and made_with["micro_batch"] == 2


def test_an_image_that_never_fits_is_said_in_a_sentence(faces, tmp_path, monkeypatch):
    def no_memory(self, inputs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 4 TB")

    monkeypatch.setattr(LareExtractor, "forward", no_memory)
    with pytest.raises(InputError, match="not even one image fits"):
        job_for(faces, tmp_path / "store").run()


def test_values_that_overflow_the_stored_type_fail_their_row(faces, tmp_path, monkeypatch):
    forward = LareExtractor.forward

    def overflowing(self, inputs):
        values = forward(self, inputs)
        first = torch.arange(len(values["lare"])).view(-1, 1, 1, 1, 1, 1) == 0
        return {"lare": values["lare"].masked_fill(first, float("inf"))}

    monkeypatch.setattr(LareExtractor, "forward", overflowing)
    report = job_for(faces, tmp_path / "store", features=("lare",)).run()
    assert len(report.failures) == 6
    assert all("overflow" in reason for reason in report.failures.values())


def test_a_disk_that_is_too_small_is_said_before_any_work(faces, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 1000))
    with pytest.raises(DiskSpaceError):
        job_for(faces, tmp_path / "store").run()
    assert not list((tmp_path / "store").glob("journal/**/*.json"))


def test_a_feature_that_is_there_is_not_made_anew_by_a_trial(diffusion_folders):
    settings = {"model": str(diffusion_folders["epsilon"]), "size": 64}
    tiny = create_extractor("lare", settings, ImageSettings(), Runtime()).fingerprint
    plain = {name: value for name, value in tiny.settings.items() if name != "backbone"}
    recorded = replace(tiny, settings=plain)
    with pytest.raises(WeightsError, match="not on this machine") as raised:
        rebuild_extractor(recorded, {"model": "sd2.1-base"}, {}, Runtime())
    assert raised.value.advice and TRIAL not in raised.value.advice
