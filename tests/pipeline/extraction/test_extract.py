"""Stage one as a whole: pictures in, a store out; resumes and changes."""

import io
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clare.advice import Name, Notice
from clare.errors import InputError
from clare.heads.report.commands import commands
from clare.heads.report.stores import Source
from clare.models.runtime import Runtime
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.extraction.creating import create_extractors
from clare.pipeline.extraction.job import run_job
from clare.pipeline.extraction.plan import Observer
from clare.pipeline.extraction.store_rows import refuse_two_labels, rows_of_samples
from clare.pipeline.extractors.lare import LareExtractor
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.feature_store import create_store, open_store
from clare.store.index import load_index
from clare.store.maintenance.repair import repair_store
from clare.store.maintenance.verify import verify_store
from clare.store.spec import FeatureSpec, Fingerprint
from tests.pipeline.extraction.conftest import job_for, read_all
from tests.store.conftest import contents


def test_what_a_repair_queued_comes_back_byte_by_byte(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("lare", "clip"), thumbnails=False)
    job.run()
    before = contents(job.store)
    shards = [name for name in before if "/c/" in name]
    for name in shards[::2]:
        (job.store / name).write_bytes(before[name][:-1])
    assert repair_store(job.store).left == []
    assert contents(job.store).keys() < before.keys()
    job.run()
    assert contents(job.store) == before


def test_every_row_holds_what_the_extractor_makes_of_its_image(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("lare", "clip", "pixels"))
    report = job.run()
    assert report.rows == 24 and not report.failures
    values = read_all(job.store)
    manifest, roots = job.manifests[0]
    extractors = create_extractors(job.settings, Runtime())
    for sample in manifest.samples[::7]:
        data = roots.resolve(sample).read_bytes()
        content = next(
            r.content
            for r in open_store(job.store).rows("faces")
            if r.sample_id == sample.sample_id
        )
        (image,) = load_views(data, job.settings.images, [0], content=content)
        for extractor in extractors:
            inputs = {k: np.stack([v] * 4) for k, v in extractor.prepare(image).items()}
            for field, expected in extractor.forward(inputs).items():
                stored = values[sample.sample_id, 0, field]
                np.testing.assert_array_equal(stored, expected[0].numpy(), err_msg=field)
    assert verify_store(job.store) == []


def test_an_index_that_nobody_changes_is_read_once(faces, tmp_path, monkeypatch):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    job.run()
    reads = []

    def load(layout, subset, *more):
        reads.append(subset)
        return load_index(layout, subset, *more)

    monkeypatch.setattr("clare.store.index.load_index", load)
    job.run()
    assert reads == ["faces"]


def test_the_index_keeps_what_stage_two_needs(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    job.run()
    for row in open_store(job.store).rows("faces"):
        assert row.columns["label"] == (1 if "/fake/" in f"/{row.columns['path']}" else 0)
        assert row.columns["split"] in {"train", "val", "test"}
        assert row.columns["width"] == row.columns["height"] == 96
        assert row.columns["bytes"] == (faces / row.columns["path"]).stat().st_size
        assert len(row.content) == 64


def test_a_damaged_list_of_commands_is_said_and_stops_nothing(faces, tmp_path):
    said: list[Notice] = []
    observer = Observer()
    observer.noticed = said.append  # type: ignore[method-assign, assignment]
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    for command in ("clare", "one"), ("clare", "two"):
        report = run_job(job.settings, job.manifests, observer, command)
        log = open_store(job.store).layout.commands
        log.write_bytes(b"damage\n")
    assert not report.failures and len(said) == 1
    assert str(log) in said[0].what and said[0].advice
    store = Source(open_store(job.store))
    assert commands([], [(store, ())], ())[0].text.advice == said[0].advice  # type: ignore[attr-defined]


def test_running_again_does_nothing(faces, tmp_path, monkeypatch):
    job = job_for(faces, tmp_path / "store", features=("lare",))
    job.run()
    before = contents(job.store)
    monkeypatch.setattr(LareExtractor, "forward", lambda *_: pytest.fail("computed again"))
    assert job.run().rows == 0
    assert contents(job.store) == before


def test_an_extractor_added_later_uses_the_same_rows(faces, tmp_path):
    both = job_for(faces, tmp_path / "both", features=("pixels", "clip"))
    both.run()
    one = job_for(faces, tmp_path / "one", features=("clip",))
    one.run()
    one.but(features=("pixels",)).run()
    assert contents(tmp_path / "one") == contents(tmp_path / "both")


def test_pixels_alone_ask_for_a_size_where_towers_of_the_store_take_several(faces, tmp_path):
    store = create_store(tmp_path / "store")
    for name, size in ("clip", 32), ("tower", 48):
        fingerprint = Fingerprint(name, 1, "00", {"size": size})
        store.declare(fingerprint, [FeatureSpec(f"{name}_cls", (4,), "float32")])
    job = job_for(faces, store.path, features=("pixels",))
    with pytest.raises(InputError, match=r"clip-\w+ takes 32 and tower-\w+ takes 48"):
        job.run()
    job.but(settings={"pixels": {"size": 48}}).run()
    assert store.feature("faces", "pixels").fields["pixels"].shape == (48, 48, 3)


def test_order_and_neighbours_do_not_change_a_value(faces, tmp_path):
    job = job_for(faces, tmp_path / "all")
    job.run()
    manifest, roots = job.manifests[0]
    some = Manifest("faces", tuple(reversed(manifest.samples[1::3])))
    job.but(manifests=[(some, roots)], store=tmp_path / "some").run()
    everything, few = read_all(tmp_path / "all"), read_all(tmp_path / "some")
    assert few and all(np.array_equal(everything[key], value) for key, value in few.items())


def test_new_images_are_added_without_touching_the_old(faces, tmp_path):
    late = sorted((faces / "real").iterdir())[-3:]
    for file in late:
        file.rename(tmp_path / file.name)
    store = tmp_path / "store"
    job_for(faces, store, features=("clip",)).run()
    before = read_all(store)
    for file in late:
        (tmp_path / file.name).rename(file)
    assert job_for(faces, store, features=("clip",)).run().rows == 3
    after = read_all(store)
    assert len(after) > len(before)
    assert all(np.array_equal(after[key], value) for key, value in before.items())


def test_a_changed_image_is_a_new_row_and_changed_metadata_is_not(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    job.run()
    manifest, roots = job.manifests[0]
    moved = tuple(replace(sample, category="EFS") for sample in manifest.samples)
    job = job.but(manifests=[(Manifest("faces", moved), roots)])
    assert job.run().rows == 0
    assert {r.columns["category"] for r in open_store(job.store).rows("faces")} == {"EFS"}
    changed = manifest.samples[0]
    Image.new("RGB", (96, 96), "red").save(roots.resolve(changed), "PNG")
    report = job.run()
    rows = [r for r in open_store(job.store).rows("faces") if r.sample_id == changed.sample_id]
    assert len(rows) == 1 and report.rows == 1
    assert (read_all(job.store)[changed.sample_id, 0, "pixels"] == (255, 0, 0)).all()


def test_a_folder_beside_it_recomputes_nothing(faces, tmp_path):
    def select(*fakes):
        return select_manifests(None, [], tmp_path, [], [], [f"toy={fake}" for fake in fakes])

    more = tmp_path / "elsewhere" / "more"
    shutil.copytree(faces / "real", more)
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    job.but(manifests=select(faces / "fake")).run()
    report = job.but(manifests=select(faces / "fake", more)).run()
    assert report.rows == 12, "only the folder that is new"
    assert len(open_store(job.store).rows("toy")) == 24


def test_a_folder_of_the_same_name_elsewhere_replaces_nothing(faces, tmp_path):
    def select(folder):
        return select_manifests(None, [], tmp_path, [], [folder], [])

    job = job_for(faces, tmp_path / "store", features=("pixels",))
    job.but(manifests=select(faces / "real")).run()
    shutil.copytree(faces / "real", tmp_path / "moved/real")
    shutil.copytree(faces / "fake", tmp_path / "other/real")
    assert not job.but(manifests=select(tmp_path / "moved/real")).run().rows
    with pytest.raises(InputError, match=r"another real/real/0000\.jpg.*another place"):
        job.but(manifests=select(tmp_path / "other/real")).run()
    assert len(read_all(job.store, "real")) == 12


def test_rows_of_earlier_manifests_are_left_alone(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    job.run()
    manifest, roots = job.manifests[0]
    part = Manifest("faces", manifest.samples[:5])
    for sample in manifest.samples[5:]:
        (faces / sample.path).unlink()
    report = job.but(manifests=[(part, roots)], features=("clip",)).run()
    assert (report.rows, report.failures) == (5, {})


def test_views_follow_their_sample_to_another_split(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",), views=3)
    job.run()
    manifest, roots = job.manifests[0]
    moved = [
        replace(s, split={"train": "val", "val": "train"}.get(s.split, s.split))
        for s in manifest.samples
    ]
    job.but(manifests=[(Manifest("faces", tuple(moved)), roots)]).run()
    splits: dict[str, set[str]] = {}
    for row in open_store(job.store).rows("faces"):
        splits.setdefault(row.sample_id, set()).add(row.columns["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_the_plan_says_rows_disk_and_images(faces, tmp_path):
    plans = []

    class Watcher(Observer):
        def planned(self, plan):
            plans.append(plan)

    job = job_for(faces, tmp_path / "store", features=("pixels", "clip"))
    job.run(Watcher())
    files = [
        f
        for kind in ("arrays", "extractors", "thumbnails")
        for f in job.store.rglob(f"{kind}/**/*")
    ]
    written = sum(f.stat().st_size for f in files if f.is_file())
    assert plans[0].rows == plans[0].pending == 24
    assert 0.9 < plans[0].disk / written < 1.1
    assert plans[0].images == {"pixels": 24, "clip": 24}
    job.run(Watcher())
    assert (plans[1].pending, plans[1].disk, plans[1].images) == (0, 0, {})


def test_views_serve_training_rows_and_differ(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels", "lare"), views=3)
    job.run()
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
    job.run()
    before = contents(job.store)
    job.but(images=ImageSettings(resize=64, recode="jpeg:95")).run()
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
    job.but(manifests=[(Manifest("faces", samples), roots)]).run()
    values = read_all(job.store)
    assert values[fake.sample_id, 0, "mask"].shape == (32, 32)
    assert (values[fake.sample_id, 0, "mask"] == 255).all()
    real = next(s for s in manifest.samples if s.label == 0)
    assert (values[real.sample_id, 0, "mask"] == 0).all()


def test_thumbnails_are_kept_by_default_and_outlive_their_image(faces, tmp_path):
    job_for(faces, tmp_path / "without", features=("pixels",), thumbnails=False).run()
    assert open_store(tmp_path / "without").thumbnail("faces", 0) is None
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    job.run()
    first, *_ = open_store(job.store).rows("faces")
    small = open_store(job.store).thumbnail("faces", first.slot)
    assert small is not None
    assert Image.open(io.BytesIO(small)).size == (96, 96)

    class Vandal(Observer):
        def planned(self, plan):
            (faces / first.sample_id.partition("/")[2]).unlink()

    job.but(features=("clip",)).run(Vandal())
    assert open_store(job.store).thumbnail("faces", first.slot) == small


def test_another_mask_makes_another_row(faces, tmp_path):
    small = {"pixels": {"size": 32}}
    job = job_for(faces, tmp_path / "store", features=("pixels",), settings=small)
    manifest, roots = job.manifests[0]
    fake = next(s for s in manifest.samples if s.label == 1)
    samples = tuple(replace(s, mask_path="mask.png") if s is fake else s for s in manifest.samples)
    job = job.but(manifests=[(Manifest("faces", samples), roots)])
    report = job.run()
    assert list(report.failures.values()) == ["mask missing: there is no such file"]
    for grey in (0, 200):
        Image.new("L", (96, 96), grey).save(faces / "mask.png")
        report = job.run()
        assert report.rows == 1
        assert report.unmarked == ({("faces", fake.sample_id)} if grey == 0 else set())
        assert (read_all(job.store)[fake.sample_id, 0, "mask"] == (255 if grey else 0)).all()


def test_whatever_is_fake_in_a_file_is_white_in_the_store(faces, tmp_path):
    small = {"pixels": {"size": 32}}
    job = job_for(faces, tmp_path / "store", features=("pixels",), settings=small)
    manifest, roots = job.manifests[0]
    half = np.zeros((96, 96), np.uint8)
    half[:48] = 255
    Image.fromarray(half).save(faces / "mask.png")
    fake = next(s for s in manifest.samples if s.label == 1)

    def read_as(what):
        samples = [
            replace(s, mask_path="mask.png", mask_fake=what) if s is fake else s
            for s in manifest.samples
        ]
        report = job.but(manifests=[(Manifest("faces", tuple(samples)), roots)]).run()
        (row,) = [r for r in open_store(job.store).rows("faces") if r.sample_id == fake.sample_id]
        assert row.columns.get("mask_fake", "") == what
        mask = read_all(job.store)[fake.sample_id, 0, "mask"]
        return report.rows, mask[0, 0], mask[-1, 0]

    assert read_as("black") == (24, 0, 255)
    assert read_as("white") == (1, 255, 0), "the file is the same and the row is another"
    assert read_as("") == (0, 255, 0), "which goes without saying"
    assert read_as("black") == (0, 0, 255), "the values are still there"


def test_the_index_knows_how_large_a_mask_was(faces, tmp_path):
    job = job_for(faces, tmp_path / "store", features=("pixels",))
    manifest, roots = job.manifests[0]
    fake = next(s for s in manifest.samples if s.label == 1)
    samples = tuple(replace(s, mask_path="mask.png") if s is fake else s for s in manifest.samples)
    job = job.but(manifests=[(Manifest("faces", samples), roots)])

    def sizes():
        job.run()
        rows = {row.sample_id: row.columns for row in open_store(job.store).rows("faces")}
        return [
            (one.get("mask_width"), one.get("mask_height"))
            for one in (rows.pop(fake.sample_id), *rows.values())
        ]

    others = [(None, None)] * 23
    (faces / "mask.png").write_bytes(b"none")
    assert sizes() == [(None, None), *others]
    for side in (48, 192):
        Image.new("L", (side, side), 255).save(faces / "mask.png")
        assert sizes() == [(side, side), *others]
    (faces / "mask.png").unlink()
    assert sizes() == [(192, 192), *others], "of the mask that is stored"


def test_fakes_without_a_mask_are_said(faces, tmp_path):
    told: list[Notice] = []

    class Watch(Observer):
        def noticed(self, notice):
            told.append(notice)

    job_for(faces, tmp_path / "store", features=("pixels", "mask")).run(Watch())
    assert "12 of the 12 fakes of faces have no mask" in str(told)
    told.clear()
    job_for(faces, tmp_path / "other", features=("pixels",)).run(Watch())
    assert "no mask" not in str(told)


def test_folders_are_looked_at_before_the_models_run(tmp_path):
    draw_faces(tmp_path / "real", 3, seed=1, kind="real", size=32)
    draw_faces(tmp_path / "fake", 3, seed=1, kind="fake", size=32)
    picture = next((tmp_path / "real").iterdir())
    (tmp_path / "real" / "odd\nname.png").write_bytes(picture.read_bytes())
    told: list[Notice] = []

    def select():
        folders = [tmp_path / "real"], [f"toy={tmp_path / 'fake'}"]
        return select_manifests(None, [], tmp_path, [], *folders, notice=told.append)

    select()
    assert any("1 file left out for their names" in str(notice) for notice in told)
    (tmp_path / "fake" / "link.png").hardlink_to(picture)
    with pytest.raises(InputError, match=r"1 file given as real and as fake: .*link\.png"):
        select()


def test_two_faces_of_one_picture_may_be_real_and_fake(tmp_path):
    draw_faces(tmp_path / "a", 1, seed=1, kind="real", size=32)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (name,) = [file.name for file in (tmp_path / "a").iterdir()]
    roots = Roots(tmp_path, {})

    def refuse(*boxes):
        samples = [
            Sample(folder, f"{folder}/{name}", label, "mine", boxes=box)
            for label, (folder, box) in enumerate(zip("ab", boxes, strict=True))
        ]
        selected = [(Manifest("mine", tuple(samples)), roots)]
        refuse_two_labels(selected, [rows_of_samples(samples, roots, [], views=2)])

    refuse("0 0 8 8", "8 8 16 16")
    with pytest.raises(InputError, match="1 file given as real and as fake") as refused:
        refuse("0 0 8 8", "0 0 8 8")
    assert refused.value.advice == ("keep each under one label",)


def test_an_image_is_not_real_and_fake(faces, tmp_path):
    def job():
        folders = [faces / "real"], [f"toy={faces / 'fake'}"]
        selected = select_manifests(None, [], tmp_path, [], *folders)
        return job_for(faces, tmp_path / "store", features=("pixels",)).but(manifests=selected)

    picture = min((faces / "real").iterdir())
    (faces / "fake" / "padded.jpg").write_bytes(picture.read_bytes()[:-1] + b"\0")  # of equal size
    for kind in ("real", "fake"):
        (faces / kind / "empty.png").touch()
    shutil.copy(picture, faces / "real" / "twin.jpg")
    shutil.copy(picture, faces / "fake" / "copy.jpg")
    with pytest.raises(InputError) as refused:
        job().run()
    assert refused.value.what == (
        f"1 file given as real and as fake: {picture} and its copy {faces / 'fake/copy.jpg'}"
    )
    assert refused.value.advice == (Name("folders that share no file", "real"),)
    assert open_store(tmp_path / "store").subsets() == []
    (faces / "fake" / "copy.jpg").unlink()
    assert job().run().rows == 12 + 2 + 12 + 2
