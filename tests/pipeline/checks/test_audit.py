"""What an audit finds in pictures whose shortcuts are known, and what preparation leaves."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from clare.advice import Notice, Set
from clare.errors import InputError
from clare.file_facts import RECODE, RESIZE
from clare.pipeline.checks.audit import audit
from clare.pipeline.checks.duplicates import NEAR, picture_hash
from clare.pipeline.datasets.select import select_audited, select_manifests
from clare.pipeline.images.decode import decode_rgb
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.csv_io import write_manifest
from clare.pipeline.manifests.folders import build_manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.synthetic.toys import draw_faces

EACH = 12
"""Pictures of each label."""


@pytest.fixture(scope="session")
def unlike(tmp_path_factory):
    """Reals as JPEG of 96 pixels, fakes as PNG of 64, otherwise drawn alike."""
    folder = tmp_path_factory.mktemp("unlike")
    draw_faces(folder / "real", EACH, seed=1, size=96)
    draw_faces(folder / "fake", EACH, seed=2, size=64, format="png")
    return folder


def chosen(folder, *, split=None, **columns):
    built = build_manifest("toy", [folder / "real"], [folder / "fake"])
    samples = tuple(replace(s, **columns, split=split or s.split) for s in built.manifest.samples)
    return [(Manifest("toy", samples), Roots(folder, {}))]


def values(report, when="after"):
    return {name: getattr(found, when).value for name, found in report.shortcuts.items()}


def test_format_and_size_separate_and_the_suggested_preparation_removes_both(unlike):
    report = audit(chosen(unlike), resamples=50)
    before, after = values(report, "before"), values(report)
    for name in ("format", "size", "pixels", "tables"):
        assert (before[name], after[name]) == (1.0, 0.5)
    assert before["exif"] == 0.5 and "domain" not in before and "framing" not in before
    assert before["bytes"] == 1.0
    assert (report.prepared.resize, report.prepared.recode) == (256, "jpeg:95")
    assert report.asked is False
    # What is left is measured on the prepared pictures: the smaller ones are blurred.
    assert after["bytes"] == after["jpeg_size"] > 0.6
    assert report.shortcuts["laplacian"].after.n == 2 * EACH
    said = {notice.what: notice.advice for notice in report.notices}
    assert said["real and fake differ in file format, AUC 1.000 (1.000 to 1.000)"] == (RECODE,)
    assert said["real and fake differ in width x height, AUC 1.000 (1.000 to 1.000)"] == (RESIZE,)
    assert any("after resize 256 and recode jpeg:95: bytes" in what for what in said)


def test_only_what_was_asked_for_is_prepared(unlike):
    report = audit(chosen(unlike), ImageSettings(recode="webp:80"), resamples=0)
    after = values(report)
    assert (after["format"], after["tables"], after["size"], after["pixels"]) == (0.5, 0.5, 1, 1)
    assert report.asked and report.prepared.resize is None


def test_like_classes_give_no_shortcut_of_their_files(tmp_path):
    for kind, seed in (("real", 1), ("fake", 2)):
        draw_faces(tmp_path / kind, EACH, seed=seed, size=64)
    report = audit(chosen(tmp_path), resamples=200)
    before = values(report, "before")
    assert [before[name] for name in ("format", "size", "pixels", "tables", "exif")] == [0.5] * 5
    assert report.prepared.resize is None and report.prepared.recode is None
    assert not any("differ in file format" in line for line in map(str, report.notices))


def test_metadata_is_told_from_the_header_and_never_reaches_the_pixels(tmp_path):
    draw_faces(tmp_path / "fake", EACH, seed=2, size=64)
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    for path in draw_faces(tmp_path / "real", EACH, seed=1, size=64):
        with Image.open(path) as image:
            copy = image.copy()
        copy.save(path, quality=60, exif=exif)
    report = audit(chosen(tmp_path), resamples=0)
    before, after = values(report, "before"), values(report)
    assert (before["exif"], after["exif"]) == (1.0, 0.5)
    assert (before["tables"], after["tables"], before["format"]) == (1.0, 0.5, 0.5)
    assert report.prepared.recode == "jpeg:95"


def test_copies_are_found_across_splits_and_labels(tmp_path):
    faces = draw_faces(tmp_path / "real", 6, seed=1, size=128)
    draw_faces(tmp_path / "fake", 6, seed=2, size=128, format="png")
    (tmp_path / "real/copy.jpg").write_bytes(faces[0].read_bytes())
    (tmp_path / "fake/copy.jpg").write_bytes(faces[1].read_bytes())
    with Image.open(faces[2]) as image:
        image.resize((70, 70)).save(tmp_path / "fake/small.jpg", quality=50)
    ((manifest, places),) = chosen(tmp_path, split="train")
    moved = [
        replace(s, split="test") if s.path in ("real/copy.jpg", "fake/copy.jpg") else s
        for s in manifest.samples
    ]
    report = audit([(Manifest("toy", tuple(moved)), places)], resamples=0)
    exact, near = report.duplicates["bytes"].to_json(), report.duplicates["near"].to_json()
    assert (exact["across_splits"], exact["across_labels"]) == (2, 2)
    assert (near["across_splits"], near["across_labels"]) == (2, 4)
    assert any("real/copy.jpg (real test)" in pair for pair in exact["examples"])
    said = "\n".join(map(str, report.notices))
    assert "equal bytes in two splits: 2 images" in said
    assert "equal bytes under both labels: 2 images" in said
    assert "nearly the same picture under both labels: 4 images" in said


def test_a_hash_stands_compression_scaling_and_brightness_and_tells_pictures_apart(tmp_path):
    pictures = [decode_rgb(path.read_bytes()) for path in draw_faces(tmp_path, 8, 1, size=200)]

    def distance(first, second):
        bits = picture_hash(np.asarray(first)) ^ picture_hash(np.asarray(second))
        return int(np.bitwise_count(bits).sum())

    for picture in pictures:
        packed = io.BytesIO()
        picture.resize((110, 110)).save(packed, "JPEG", quality=60)
        assert distance(picture, Image.open(packed)) <= NEAR
        assert distance(picture, ImageEnhance.Brightness(picture).enhance(1.1)) <= NEAR
        others = [distance(picture, other) for other in pictures if other is not picture]
        assert min(others) > NEAR


def test_the_face_boxs_share_is_a_shortcut_that_cropping_removes(tmp_path):
    for kind, seed in (("real", 1), ("fake", 2)):
        draw_faces(tmp_path / kind, EACH, seed=seed, size=64)
    ((manifest, places),) = chosen(tmp_path)
    boxed = [replace(s, boxes="8 8 56 56" if s.label else "20 20 44 44") for s in manifest.samples]
    report = audit([(Manifest("toy", tuple(boxed)), places)], resamples=0)
    framing = report.shortcuts["framing"]
    assert (framing.before.value, framing.after.value) == (1.0, 0.5)
    assert report.prepared.crop == "boxes"


def test_pixels_are_measured_on_a_draw_and_bad_files_are_counted(unlike, tmp_path):
    for kind in ("real", "fake"):
        (tmp_path / kind).mkdir()
        for path in (unlike / kind).iterdir():
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    (tmp_path / "fake/empty.png").write_bytes(b"")
    broken = next((tmp_path / "real").iterdir())
    broken.write_bytes(broken.read_bytes()[:-200])
    steps = []
    report = audit(
        chosen(tmp_path), limit=0, resamples=0, progress=lambda *step: steps.append(step)
    )
    assert report.unusable == {"not an image": 1, "truncated": 1}
    assert report.decoded == 2 * EACH - 1
    assert steps[-1] == ("measuring pixels", 2 * EACH, 2 * EACH)
    report = audit(chosen(unlike), limit=5, resamples=0)
    assert (report.decoded, report.images, report.side) == (10, 2 * EACH, 256)
    assert report.shortcuts["format"].before.n == 2 * EACH


def test_fakes_are_held_against_the_reals_that_they_lie_on(tmp_path):
    """Pictures are far apart in sharpness; each fake is a little less sharp than its own real."""
    dice, rows = np.random.default_rng(0), []
    for number in range(16):
        noise = dice.normal(0, 2 + 4 * number, (64, 64, 3))
        for label, name in enumerate(("real", "fake")):
            values = np.clip(128 + noise * (1 - 0.05 * label), 0, 255).astype(np.uint8)
            path = f"{name}-{number}.png"
            Image.fromarray(values).save(tmp_path / path)
            row = Sample(f"v/{path}", path, label, "v", split="train")
            rows.append(replace(row, pair_id=f"p{number}", pair_kind="vae"))
    places = Roots(tmp_path, {})
    report = audit([(Manifest("v", tuple(rows)), places)], resamples=50)
    sharpness = report.shortcuts["laplacian"]
    assert sharpness.before.value is not None and sharpness.before.value < 0.6
    assert sharpness.in_pairs is not None
    assert (sharpness.in_pairs.value, sharpness.in_pairs.n) == (0.0, 16)
    size = report.shortcuts["pixels"].in_pairs
    assert size is not None and size.value == 0.5
    assert report.shortcuts["format"].in_pairs is None
    (told,) = [one.what for one in report.notices if "lie on" in one.what and "Lapl" in one.what]
    assert told.startswith("of 16 fakes, 100 % (100 to 100) are lower in Laplacian energy than the")
    # A draw takes whole pairs, of as many reals as fakes.
    drawn = audit([(Manifest("v", tuple(rows)), places)], limit=5, resamples=0)
    found = drawn.shortcuts["laplacian"].in_pairs
    assert found is not None and found.n == 5
    # Who names no kind may show another moment of a clip.
    clips = tuple(replace(row, pair_kind="") for row in rows)
    report = audit([(Manifest("v", clips), places)], resamples=50)
    assert all(one.in_pairs is None for one in report.shortcuts.values())


def test_images_videos_and_people_are_counted_by_split_and_label(unlike):
    ((manifest, places),) = chosen(unlike, split="train")
    named = [
        replace(s, video_id=f"{s.label}{n // 4}", source_ids=f"ff:{n // 4}|ff:x")
        for n, s in enumerate(manifest.samples)
    ]
    report = audit([(Manifest("toy", tuple(named)), places)], resamples=0)
    assert [
        (row.split, row.label, row.images, row.videos, row.identities) for row in report.counts
    ] == [("train", 0, 12, 3, 4), ("train", 1, 12, 3, 4)]


def test_one_label_is_refused(unlike):
    built = build_manifest("fakes", [], [unlike / "fake"])
    with pytest.raises(InputError, match="fakes has fakes alone"):
        audit([(built.manifest, Roots(built.root, {}))])


def test_reals_come_from_the_registrys_pools_for_the_domains_of_the_fakes(unlike, tmp_path):
    pool = build_manifest("ffpp_real", [unlike / "real"], []).manifest
    other = build_manifest("celebdf_v2_real", [unlike / "real"], []).manifest
    fakes = build_manifest("pixart", [], [unlike / "fake"]).manifest
    fakes = Manifest("pixart", tuple(replace(s, domain="ff") for s in fakes.samples))
    for manifest in (pool, other, fakes):
        write_manifest(manifest, tmp_path / f"{manifest.name}.csv")
    options: tuple = ("pixart", [], tmp_path, [str(unlike)], [], [])
    assert [m.name for m, _ in select_audited(*options)] == ["pixart", "ffpp_real"]
    told: list[Notice] = []
    brought = select_manifests(*options, pools=None, notice=told.append)
    assert [m.name for m, _ in brought] == ["pixart", "ffpp_real"]
    (tmp_path / "ffpp_real.csv").rename(tmp_path / "aside")
    assert [m.name for m, _ in select_manifests(*options, pools=None, notice=told.append)] == [
        "pixart"
    ]
    (tmp_path / "aside").rename(tmp_path / "ffpp_real.csv")
    assert ["ffpp_real can't be had" in one.what for one in told] == [False, True]
    assert told[0].advice == (Set("reals", "none", effect="leaves them out"),)
    for pools, names in (
        (["none"], ["pixart"]),
        (["celebdf_v2_real"], ["pixart", "celebdf_v2_real"]),
    ):
        chosen = select_manifests(*options, pools=pools, notice=told.append)
        assert [m.name for m, _ in chosen] == names and len(told) == 2
    with pytest.raises(InputError, match="pixart has fakes too"):
        select_manifests("celebdf_v2_real", *options[1:], pools=["pixart"])
    for text, names in (
        ("none", ["pixart"]),
        ("celebdf_v2_real", ["pixart", "celebdf_v2_real"]),
        ("celebdf_v2_real, ffpp_real", ["pixart", "celebdf_v2_real", "ffpp_real"]),
    ):
        for select in (select_audited, select_manifests):
            assert [m.name for m, _ in select(*options, pools=text)] == names
    report = audit(select_audited(*options), resamples=0)
    assert report.shortcuts["domain"].before.value == 1.0  # the pool here has none
