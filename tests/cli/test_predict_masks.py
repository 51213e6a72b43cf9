"""`clare predict` with a run that has a decoder: which pixels are fake, in the image's own size."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import clare
from clare.errors import ImageError
from clare.heads.localizer import Localizer
from clare.inference.mask_files import MaskFolder, find_regions, unique_stem
from clare.inference.predictor import Predictor, load_detector
from clare.pipeline.extraction.direct import InputImage
from tests.pipeline.video.clips import write_clip

SIZE = (96, 64)


@pytest.fixture(scope="module")
def made(tmp_path_factory, pictures):
    """Fakes whose left half is fake, every third one stored on its side, a store and a run."""
    place = tmp_path_factory.mktemp("masks")
    for folder in ("fake", "masks"):
        (place / folder).mkdir()
    half = np.zeros(SIZE[::-1], np.uint8)
    half[:, : SIZE[0] // 2] = 255
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6  # to be turned by a quarter, clockwise
    for number, path in enumerate(sorted((pictures / "fake").iterdir())[:24]):
        picture = Image.open(path).convert("RGB").resize(SIZE)
        picture.paste("gray", (0, 0, SIZE[0] // 2, SIZE[1]))
        target = place / "fake" / f"{number}.png"
        if number % 3:
            picture.save(target)
        else:
            picture.transpose(Image.Transpose.ROTATE_90).save(target, exif=on_its_side)
        Image.fromarray(half).save(place / "masks" / f"{number}.png")
    clare.extract(
        place / "features.zarr",
        fake={"toy": place / "fake"},
        masks={"toy": place / "masks"},
        features=["clip", "mask"],
        backbone="tiny",
        resize=80,
        recode="jpeg:95",
    )
    clare.train_head(
        place / "features.zarr",
        place / "run",
        preset="localize",
        decoder="linear",
        train=["toy"],
        lr=0.1,
        epochs=6,
        device="cpu",
    )
    return place


@pytest.fixture
def run(made, tmp_path):
    """That run, a test's own."""
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def images(made):
    return sorted((made / "fake").iterdir())[:6]


def change_record(run, **config):
    record = json.loads((run / "config.json").read_text())
    record["config"] |= config
    (run / "config.json").write_text(json.dumps(record))


def test_a_map_is_that_of_the_stored_features_at_the_images_own_size(made):
    detector = load_detector(made / "run", device="cpu")
    assert [one.name for one, *_ in detector.extractors] == ["clip"], "masks aren't needed any more"
    localizer = detector.run.detector
    assert isinstance(localizer, Localizer)
    data = clare.FeatureDataset(clare.open_store(made / "features.zarr"), subsets=["toy"])
    batch = data.read(range(12))
    with torch.inference_mode():
        maps = localizer.maps(batch).sigmoid()
        margins = localizer.margins(batch)
    whole = torch.nn.functional.interpolate(
        maps[:, None], SIZE[::-1], mode="bilinear", antialias=True
    )
    names = [data.sample_ids[index].rpartition("/")[2] for index in batch["index"]]
    for place, verdict in enumerate(detector.predict([made / "fake" / name for name in names])):
        found = verdict.map
        assert found is not None and found.dtype == np.float32 and verdict.size == SIZE
        np.testing.assert_allclose(found, whole[place, 0], atol=2e-3)
        assert verdict.margin == pytest.approx(margins[place].item(), abs=5e-3)
        assert verdict.fake_area == (found > 0.5).mean()
        assert found[:, :40].mean() > 0.2 + found[:, 56:].mean(), "the fake half is left"


def test_masks_overlays_and_a_list_are_written(clare, run, images, tmp_path):
    code, out, err = clare("predict", run, *images, "--device", "cpu", "--masks", "new/out")
    assert code == 0, err
    assert "fake area" in out and f"overlay of {len(images)} images" in " ".join(out.split())
    folder = tmp_path / "new" / "out"
    listed = json.loads((folder / "masks.json").read_text())
    assert listed["run"] == str(run) and listed["pixel_threshold"] == 0.5
    assert [one["path"] for one in listed["images"]] == list(map(str, images))
    verdicts = load_detector(run, device="cpu").predict(images)
    for one, verdict in zip(listed["images"], verdicts, strict=True):
        found = verdict.map
        assert found is not None
        with Image.open(folder / one["mask"]) as mask, Image.open(folder / one["overlay"]) as over:
            assert mask.mode == "L" and mask.size == SIZE == (one["width"], one["height"])
            np.testing.assert_allclose(np.asarray(mask), np.rint(255 * found), atol=1)
            assert over.mode == "RGB" and over.width >= 512
        assert one["mask"] == f"{unique_stem(verdict.path)}.png"
        assert (one["label"], one["score"]) == (verdict.label, pytest.approx(verdict.p_fake))
        assert one["fake_area"] == pytest.approx(verdict.fake_area)
        inside = np.zeros(found.shape, bool)
        for region in one["regions"]:
            left, top, right, bottom = region["box"]
            inside[top:bottom, left:right] = True
        assert one["regions"] and (one["small_regions"] or inside[found > 0.5].all())
    assert len(list(folder.iterdir())) == 2 * len(images) + 1


def test_regions_touch_edge_to_edge_and_small_ones_are_counted():
    called = np.zeros((100, 200), bool)
    called[10:30, 150:200] = True
    called[30:40, 140:150] = True  # touches by a corner alone
    called[60:64, 20:25] = True  # 20 of 20,000
    called[80:83, 0:6] = called[0, 0] = True
    regions, small = find_regions(called)
    assert [one.box for one in regions] == [
        (150, 10, 200, 30),
        (140, 30, 150, 40),
        (20, 60, 25, 64),
    ]
    assert [one.area for one in regions] == [0.05, 0.005, 0.001] and small == 2
    assert find_regions(np.zeros((4, 4), bool)) == ([], 0)


def test_an_interrupted_call_leaves_whole_files_and_lists_them(
    clare, run, images, tmp_path, monkeypatch
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "masks.json").write_text("an older list")
    judge = Predictor.detect

    def interrupted(self, inputs, frames, **how):
        for place, found in enumerate(judge(self, inputs, frames, **how)):
            if place == 4:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Predictor, "detect", interrupted)
    code, _, _ = clare("predict", run, *images, "--device", "cpu", "--masks", "out")
    assert code == 130
    listed = json.loads((tmp_path / "out" / "masks.json").read_text())["images"]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"masks.json", *(one[kind] for one in listed for kind in ("mask", "overlay"))}
    for name in files - {"masks.json"}:
        Image.open(tmp_path / "out" / name).load()


def test_a_file_that_is_gone_ends_the_call_and_the_others_are_listed(made, images, tmp_path):
    detector = load_detector(made / "run", device="cpu")
    copies = [shutil.copy(path, tmp_path) for path in images[:2]]
    verdicts = detector.predict(copies)
    verdicts[0].path.unlink()
    out = tmp_path / "out"
    with pytest.raises(ImageError, match="missing"), MaskFolder(out, detector, []) as folder:
        for verdict in verdicts:
            folder.write(verdict, InputImage.of_file(verdict.path))
    (listed,) = json.loads((out / "masks.json").read_text())["images"]
    assert listed["path"] == str(copies[1])


def test_frames_of_a_video_have_masks_in_its_upright_size(clare, run, tmp_path):
    pytest.importorskip("av")
    clip = write_clip(tmp_path / "clip.mp4", 5, turn=90)
    command = ("predict", run, clip, "--frames", 2, "--device", "cpu", "--masks", "out")
    assert clare(*command, "--out", "scores.jsonl")[0] == 0
    listed = json.loads((tmp_path / "out" / "masks.json").read_text())["images"]
    assert [(one["frame"], one["width"], one["height"]) for one in listed] == [
        (0, 96, 128),
        (4, 96, 128),
    ]
    for one in listed:
        with Image.open(tmp_path / "out" / one["mask"]) as mask:
            assert mask.size == (96, 128)
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    areas = [row["fake_area"] for row in rows]
    assert areas[2] == pytest.approx(sum(areas[:2]) / 2), "a video's area is that of its frames"


def test_what_a_localiser_has_not_seen_is_said(clare, run, images, tmp_path):
    code, out, err = clare("predict", run, images[0], "--device", "cpu", "--out", "found.csv")
    assert code == 0 and "learned on fakes alone" in err and "--empty-masks" in err
    (found,) = csv.DictReader((tmp_path / "found.csv").read_text("utf-8").splitlines())
    assert 0 < float(found["fake_area"]) < 1 and "even odds" in found["remarks"]
    out = clare("predict", run, images[0], "--device", "cpu")[1]
    assert "had no real images to choose a threshold on" in out
    assert "chosen on validation" not in out
    change_record(run, supervision="image")
    assert "never shown a mask" in clare("predict", run, images[0], "--device", "cpu")[2]


def test_a_detector_without_a_decoder_makes_no_masks(clare, run, images, monkeypatch):
    monkeypatch.setattr("clare.inference.predictor.Predictor", None)
    change_record(run, decoder="", fusion="cls", classifier="linear")
    code, _, err = clare("predict", run, images[0], "--masks", "out")
    assert code == 1 and "makes no masks: `clare train-head --decoder conv_4`" in err
    assert "leave --masks out" in err


def test_masks_and_explanations_need_two_folders(clare, run, images):
    both = ("--device", "cpu", "--masks", "out", "--explain")
    code, _, err = clare("predict", run, images[0], *both, "out/../out")
    assert code == 1 and "another folder with --explain" in err
    assert clare("predict", run, images[0], *both, "why")[0] == 0


def test_names_of_files_are_unique_and_never_too_long(tmp_path):
    names = ["a/0.png", "b/0.png", f"{'ü' * 120}.png", f"{'x' * 250}.png", "a\udcff.png"]
    stems = [unique_stem(tmp_path / name) for name in names]
    assert len(set(stems)) == len(names) and stems[0].startswith("0-")
    for stem in stems:
        (tmp_path / f"{stem}-overlay.png.12345678-12345678.partial").touch()


def test_deliveries_are_judged_by_their_maps_and_the_mask_is_that_of_the_image(
    clare, run, images, tmp_path
):
    command = ("predict", run, *images[:2], "--device", "cpu", "--masks")
    assert clare(*command, "plain", "--out", "plain.jsonl")[0] == 0
    again = ("--stability", "--times", 3)
    assert clare(*command, "stable", "--out", "stable.jsonl", *again)[0] == 0
    plain, stable = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("plain.jsonl", "stable.jsonl")
    )
    for one, other in zip(plain, stable, strict=True):
        assert other["fake_area"] == pytest.approx(one["fake_area"], abs=1e-6)
        assert other["deliveries"] == 3 and 0 <= other["agree"] <= 1
        assert other["score_low"] < other["score_high"]
        assert other["labels"] is None, "validation has fakes alone"
    for path in sorted((tmp_path / "plain").glob("*.png")):
        assert path.read_bytes() == (tmp_path / "stable" / path.name).read_bytes()
    assert len(list((tmp_path / "stable").glob("*.png"))) == 4, "a mask and an overlay an image"
