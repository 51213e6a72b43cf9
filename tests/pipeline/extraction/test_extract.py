"""Stage one as a whole: pictures in, a store out; failures, resumes, changes, limits."""

import errno
import io
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clare.errors import DiskSpaceError, InputError, RowUnavailableError
from clare.models.runtime import Runtime
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.extraction.job import ExtractJob, Observer, create_extractors, run_job
from clare.pipeline.extraction.loop import StrictFailureError
from clare.pipeline.extractors.lare import LareExtractor
from clare.pipeline.images.prepare import ImageSettings, load_views
from clare.pipeline.manifests.csv_io import Manifest
from clare.store.feature_store import open_store
from clare.store.journal import COMPLETE
from clare.store.maintenance.verify import verify_store
from tests.store.conftest import contents


@pytest.fixture
def faces(pictures, tmp_path) -> Path:
    """A copy of the pictures that a test may damage: 12 of each kind."""
    for kind in ("real", "fake"):
        (tmp_path / "faces" / kind).mkdir(parents=True)
        for file in sorted((pictures / kind).iterdir())[:12]:
            shutil.copy2(file, tmp_path / "faces" / kind)
    return tmp_path / "faces"


def job_for(faces: Path, store: Path, **changes) -> ExtractJob:
    selected = select_manifests(
        "faces", [], Path("data_manifests"), [], [faces / "real"], [str(faces / "fake")]
    )
    job = ExtractJob(selected, store, Runtime(), backbone="tiny", micro_batch=4)
    return replace(job, **changes)


def read_all(store: Path, subset: str = "faces") -> dict[tuple[str, int, str], np.ndarray]:
    """(sample id, view, field) to value, of all complete rows."""
    opened = open_store(store)
    values: dict[tuple[str, int, str], np.ndarray] = {}
    for feature in opened.features(subset):
        states = feature.states()
        rows = [row for row in opened.rows(subset) if states[row.slot] == COMPLETE]
        for field in feature.fields:
            read = feature.reader(field).read([row.slot for row in rows])
            values |= {(r.sample_id, r.view, field): v for r, v in zip(rows, read, strict=True)}
    return values


def test_every_row_holds_what_the_extractor_makes_of_its_image(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("lare", "clip", "pixels"))
    report = run_job(job, Observer())
    assert report.rows == 24 and not report.failures
    values = read_all(job.store)
    manifest, roots = job.manifests[0]
    extractors = create_extractors(job)
    for sample in manifest.samples[::7]:
        data = roots.resolve(sample).read_bytes()
        content = next(
            r.content
            for r in open_store(job.store).rows("faces")
            if r.sample_id == sample.sample_id
        )
        (image,) = load_views(data, job.images, [0], content=content)
        for extractor in extractors:
            inputs = {k: np.stack([v] * 4) for k, v in extractor.prepare(image).items()}
            for field, expected in extractor.forward(inputs).items():
                stored = values[sample.sample_id, 0, field]
                np.testing.assert_array_equal(stored, expected[0].numpy(), err_msg=field)
    assert verify_store(job.store) == []


def test_the_index_keeps_what_stage_two_needs(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    run_job(job, Observer())
    for row in open_store(job.store).rows("faces"):
        assert row.columns["label"] == (1 if "/fake/" in f"/{row.columns['path']}" else 0)
        assert row.columns["split"] in {"train", "val", "test"}
        assert row.columns["width"] == row.columns["height"] == 96
        assert row.columns["bytes"] == (faces / row.columns["path"]).stat().st_size
        assert len(row.content) == 64


def test_running_again_does_nothing(faces, tmp_path, monkeypatch):
    job = job_for(faces, tmp_path / "store")
    run_job(job, Observer())
    before = contents(job.store)
    monkeypatch.setattr(LareExtractor, "forward", lambda *_: pytest.fail("computed again"))
    assert run_job(job, Observer()).rows == 0
    assert contents(job.store) == before


def test_an_extractor_added_later_uses_the_same_rows(faces, tmp_path):
    both = job_for(faces, tmp_path / "both")
    run_job(both, Observer())
    one = job_for(faces, tmp_path / "one", features=("clip",))
    run_job(one, Observer())
    run_job(replace(one, features=("lare",)), Observer())
    assert contents(tmp_path / "one") == contents(tmp_path / "both")


def test_order_and_neighbours_do_not_change_a_value(faces, tmp_path):
    job = job_for(faces, tmp_path / "all")
    run_job(job, Observer())
    manifest, roots = job.manifests[0]
    some = Manifest("faces", tuple(reversed(manifest.samples[1::3])))
    run_job(replace(job, manifests=[(some, roots)], store=tmp_path / "some"), Observer())
    everything, few = read_all(tmp_path / "all"), read_all(tmp_path / "some")
    assert few and all(np.array_equal(everything[key], value) for key, value in few.items())


def test_new_images_are_added_without_touching_the_old(faces, tmp_path):
    late = sorted((faces / "real").iterdir())[-3:]
    for file in late:
        file.rename(tmp_path / file.name)
    store = tmp_path / "store"
    run_job(job_for(faces, store), Observer())
    before = read_all(store)
    for file in late:
        (tmp_path / file.name).rename(file)
    assert run_job(job_for(faces, store), Observer()).rows == 3
    after = read_all(store)
    assert len(after) > len(before)
    assert all(np.array_equal(after[key], value) for key, value in before.items())


def test_a_changed_image_is_a_new_row_and_changed_metadata_is_not(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    run_job(job, Observer())
    manifest, roots = job.manifests[0]
    moved = tuple(replace(sample, category="EFS") for sample in manifest.samples)
    job = replace(job, manifests=[(Manifest("faces", moved), roots)])
    assert run_job(job, Observer()).rows == 0
    assert {r.columns["category"] for r in open_store(job.store).rows("faces")} == {"EFS"}
    changed = manifest.samples[0]
    Image.new("RGB", (96, 96), "red").save(roots.resolve(changed), "PNG")
    report = run_job(job, Observer())
    rows = [r for r in open_store(job.store).rows("faces") if r.sample_id == changed.sample_id]
    assert len(rows) == 1 and report.rows == 1
    assert (read_all(job.store)[changed.sample_id, 0, "pixels"] == (255, 0, 0)).all()


def test_broken_images_are_recorded_and_never_filled_in(faces, tmp_path):
    job = job_for(faces, tmp_path / "store")
    files = sorted((faces / "real").iterdir())
    files[0].write_bytes(files[0].read_bytes()[:500])
    files[1].write_bytes(b"")
    files[2].write_bytes(b"this is no image at all")
    files[3].unlink()
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    files[4].write_bytes(bomb.getvalue())
    report = run_job(job, Observer())
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
    assert run_job(job, Observer()).rows == 0, "a failure is not tried again while nothing changed"
    shutil.copy2(files[5], files[0])
    assert run_job(job, Observer()).rows == 1, "a mended image is"


def test_strict_stops_at_the_first_failure(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", strict=True)
    next((faces / "fake").iterdir()).write_bytes(b"")
    with pytest.raises(StrictFailureError, match="faces/fake/"):
        run_job(job, Observer())
    assert len(run_job(replace(job, strict=False), Observer()).failures) == 1


def test_a_file_that_vanishes_meanwhile_is_left_for_the_next_run(faces, tmp_path, monkeypatch):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    file = next((faces / "fake").iterdir())

    class Vandal(Observer):
        def planned(self, plan):
            file.rename(tmp_path / file.name)

    report = run_job(job, Vandal())
    assert next(iter(report.failures.values())).startswith("missing")
    counts = open_store(job.store).feature("faces", "pixels").counts()
    assert (counts["complete"], counts["failed"], counts["pending"]) == (23, 0, 1)
    before = read_all(job.store)
    (tmp_path / file.name).rename(file)
    again = run_job(job, Observer())
    assert again.rows == 1 and not again.failures, "the other rows keep their values"
    after = read_all(job.store)
    assert len(after) == 24 and all(np.array_equal(after[key], v) for key, v in before.items())
    run_job(replace(job, store=tmp_path / "undisturbed"), Observer())
    assert contents(job.store) == contents(tmp_path / "undisturbed")


def test_a_file_that_is_not_the_manifests_is_left_pending(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    manifest, roots = job.manifests[0]
    first, *others = manifest.samples
    named = Manifest("faces", (replace(first, sha256="0" * 64), *others))
    report = run_job(replace(job, manifests=[(named, roots)]), Observer())
    assert next(iter(report.failures.values())).startswith("changed")
    counts = open_store(job.store).feature("faces", "pixels").counts()
    assert (counts["complete"], counts["pending"]) == (23, 1)


def test_a_disk_that_is_away_costs_no_features(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    run_job(job, Observer())
    before = read_all(job.store)
    faces.rename(tmp_path / "away")
    faces.mkdir()
    assert run_job(job, Observer()).rows == 0
    assert read_all(job.store).keys() == before.keys()


def test_a_folder_beside_it_recomputes_nothing(faces, tmp_path):
    def select(*fakes):
        return select_manifests(None, [], tmp_path, [], [], [f"toy={fake}" for fake in fakes])

    more = tmp_path / "elsewhere" / "more"
    shutil.copytree(faces / "real", more)
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    run_job(replace(job, manifests=select(faces / "fake")), Observer())
    report = run_job(replace(job, manifests=select(faces / "fake", more)), Observer())
    assert report.rows == 12, "only the folder that is new"
    assert len(open_store(job.store).rows("toy")) == 24


def test_a_folder_of_the_same_name_elsewhere_replaces_nothing(faces, tmp_path):
    def select(folder):
        return select_manifests(None, [], tmp_path, [], [folder], [])

    job = job_for(faces, tmp_path / "store", features=("pixels",))
    run_job(replace(job, manifests=select(faces / "real")), Observer())
    shutil.copytree(faces / "real", tmp_path / "moved/real")
    shutil.copytree(faces / "fake", tmp_path / "other/real")
    assert not run_job(replace(job, manifests=select(tmp_path / "moved/real")), Observer()).rows
    with pytest.raises(InputError, match=r"another real/real/0000\.jpg.*another place"):
        run_job(replace(job, manifests=select(tmp_path / "other/real")), Observer())
    assert len(read_all(job.store, "real")) == 12


def test_rows_of_earlier_manifests_are_left_alone(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    run_job(job, Observer())
    manifest, roots = job.manifests[0]
    part = Manifest("faces", manifest.samples[:5])
    for sample in manifest.samples[5:]:
        (faces / sample.path).unlink()
    report = run_job(replace(job, manifests=[(part, roots)], features=("clip",)), Observer())
    assert (report.rows, report.failures) == (5, {})


def test_views_follow_their_sample_to_another_split(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",), views=3)
    run_job(job, Observer())
    manifest, roots = job.manifests[0]
    moved = [
        replace(s, split={"train": "val", "val": "train"}.get(s.split, s.split))
        for s in manifest.samples
    ]
    run_job(replace(job, manifests=[(Manifest("faces", tuple(moved)), roots)]), Observer())
    splits: dict[str, set[str]] = {}
    for row in open_store(job.store).rows("faces"):
        splits.setdefault(row.sample_id, set()).add(row.columns["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(faces, tmp_path, monkeypatch):
    run_job(job_for(faces, tmp_path / "plain", views=6), Observer())
    job = job_for(faces, tmp_path / "store", views=6)
    write = os.writev

    def fill_up(descriptor, buffers):
        if list(job.store.glob("journal/**/*.json")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, buffers)

    monkeypatch.setattr(os, "writev", fill_up)
    with pytest.raises(DiskSpaceError, match="full"):
        run_job(job, Observer())
    monkeypatch.undo()
    assert list(job.store.glob("journal/**/*.json")), "what was finished before is kept"
    run_job(job, Observer())
    assert contents(job.store) == contents(tmp_path / "plain")


def test_out_of_memory_halves_the_batch_and_loses_nothing(faces, tmp_path, monkeypatch, caplog):
    run_job(job_for(faces, tmp_path / "plain", micro_batch=2), Observer())
    forward = LareExtractor.forward

    def small_memory(self, inputs):
        if len(next(iter(inputs.values()))) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, inputs)

    monkeypatch.setattr(LareExtractor, "forward", small_memory)
    job = job_for(faces, tmp_path / "small", features=("lare",), micro_batch=8)
    assert run_job(job, Observer()).rows == 24
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
        run_job(job_for(faces, tmp_path / "store"), Observer())


def test_values_that_overflow_the_stored_type_fail_their_row(faces, tmp_path, monkeypatch):
    forward = LareExtractor.forward

    def overflowing(self, inputs):
        values = forward(self, inputs)
        first = torch.arange(len(values["lare"])).view(-1, 1, 1, 1, 1, 1) == 0
        return {"lare": values["lare"].masked_fill(first, float("inf"))}

    monkeypatch.setattr(LareExtractor, "forward", overflowing)
    report = run_job(job_for(faces, tmp_path / "store", features=("lare",)), Observer())
    assert len(report.failures) == 6
    assert all("overflow" in reason for reason in report.failures.values())


def test_a_disk_that_is_too_small_is_said_before_any_work(faces, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 1000))
    with pytest.raises(DiskSpaceError):
        run_job(job_for(faces, tmp_path / "store"), Observer())
    assert not list((tmp_path / "store").glob("journal/**/*.json"))


def test_the_plan_says_rows_disk_and_time(faces, tmp_path):
    plans = []

    class Watcher(Observer):
        def planned(self, plan):
            plans.append(plan)

    job = job_for(faces, tmp_path / "store")
    run_job(job, Watcher())
    files = [
        f
        for kind in ("arrays", "extractors", "thumbnails")
        for f in job.store.rglob(f"{kind}/**/*")
    ]
    written = sum(f.stat().st_size for f in files if f.is_file())
    assert plans[0].rows == plans[0].pending == 24
    assert 0.9 < plans[0].disk / written < 1.1
    assert plans[0].seconds > 0
    run_job(job, Watcher())
    assert (plans[1].pending, plans[1].disk, plans[1].seconds) == (0, 0, None)


def test_views_serve_training_rows_and_differ(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels", "lare"), views=3)
    run_job(job, Observer())
    rows = open_store(job.store).rows("faces")
    splits = {view: {r.columns["split"] for r in rows if r.view == view} for view in range(3)}
    assert splits == {0: {"train", "val", "test"}, 1: {"train"}, 2: {"train"}}
    values = read_all(job.store)
    sample = next(r.sample_id for r in rows if r.view == 2)
    for field in ("pixels", "lare"):
        views = [values[sample, view, field] for view in range(3)]
        assert not any(np.array_equal(views[a], views[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_other_settings_land_beside(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    run_job(job, Observer())
    before = contents(job.store)
    run_job(replace(job, images=ImageSettings(resize=64, recode="jpeg:95")), Observer())
    after = contents(job.store)
    assert {k: after[k] for k in before if k.startswith("arrays/faces")} == {
        k: v for k, v in before.items() if k.startswith("arrays/faces")
    }
    assert len(open_store(job.store).features("faces")) == 2
    assert after.keys() - before.keys()


def test_masks_are_stored_where_the_manifest_names_them(faces, tmp_path):
    small = {"pixels": {"size": 32}}
    job = job_for(faces, tmp_path / "store", features=("pixels",), settings=small)
    manifest, roots = job.manifests[0]
    Image.new("L", (96, 96), 255).save(faces / "mask.png")
    fake = next(s for s in manifest.samples if s.label == 1)
    samples = tuple(replace(s, mask_path="mask.png") if s is fake else s for s in manifest.samples)
    run_job(replace(job, manifests=[(Manifest("faces", samples), roots)]), Observer())
    values = read_all(job.store)
    assert values[fake.sample_id, 0, "mask"].shape == (32, 32)
    assert (values[fake.sample_id, 0, "mask"] == 255).all()
    real = next(s for s in manifest.samples if s.label == 0)
    assert (values[real.sample_id, 0, "mask"] == 0).all()


def test_thumbnails_are_kept_by_default_and_outlive_their_image(faces, tmp_path):
    run_job(
        job_for(faces, tmp_path / "without", features=("pixels",), thumbnails=False), Observer()
    )
    assert open_store(tmp_path / "without").thumbnail("faces", 0) is None
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    run_job(job, Observer())
    first, *_ = open_store(job.store).rows("faces")
    small = open_store(job.store).thumbnail("faces", first.slot)
    assert small is not None
    assert Image.open(io.BytesIO(small)).size == (96, 96)

    class Vandal(Observer):
        def planned(self, plan):
            (faces / first.sample_id.partition("/")[2]).unlink()

    run_job(replace(job, features=("clip",)), Vandal())
    assert open_store(job.store).thumbnail("faces", first.slot) == small


def test_another_mask_makes_another_row(faces, tmp_path):
    small = {"pixels": {"size": 32}}
    job = job_for(faces, tmp_path / "store", features=("pixels",), settings=small)
    manifest, roots = job.manifests[0]
    fake = next(s for s in manifest.samples if s.label == 1)
    samples = tuple(replace(s, mask_path="mask.png") if s is fake else s for s in manifest.samples)
    job = replace(job, manifests=[(Manifest("faces", samples), roots)])
    report = run_job(job, Observer())
    assert list(report.failures.values()) == ["mask missing: there is no such file"]
    for grey in (10, 200):
        Image.new("L", (96, 96), grey).save(faces / "mask.png")
        assert run_job(job, Observer()).rows == 1
        assert (read_all(job.store)[fake.sample_id, 0, "mask"] == grey).all()
