"""What file format, size, bytes and pixel statistics tell."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from clare.bootstrap import Figure, Resampling
from clare.heads.evaluation.baselines import measure_baselines
from clare.heads.evaluation.shortcuts import file_shortcuts, pixel_shortcuts
from clare.heads.metrics.predictions import Predictions
from clare.image_statistics import jpeg_size, laplacian_energy
from clare.shortcuts import free_aucs
from clare.store.feature_store import create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

COUNT = 40
GENERATOR = np.random.default_rng(0)
BYTES = GENERATOR.integers(1000, 9000, COUNT).tolist()


def columns(n: int) -> dict:
    """Fakes are PNG but for two, and smaller; bytes say nothing."""
    fake = n % 2
    return {
        "label": fake,
        "subset": "toy",
        "format": "png" if fake and n > 4 else "jpeg",
        "width": 64 + 64 * (1 - fake) + n // 10,
        "height": 64,
        "bytes": BYTES[n],
    }


ROWS = [Row(sample_id=str(n), view=0, content="", columns=columns(n), slot=n) for n in range(COUNT)]
PREDICTIONS = Predictions.of_rows(ROWS, np.zeros(COUNT))
ALL = {"toy": np.arange(COUNT)}


def aucs(shortcuts) -> dict:
    return dict(measure_baselines(ALL, PREDICTIONS, shortcuts, {}, Resampling(200)).subsets["toy"])


def test_a_container_and_a_size_give_fakes_away_in_either_direction():
    found = aucs(file_shortcuts(ROWS, []))
    assert found["size"].value == 1.0
    assert found["format"].value == pytest.approx(18 / 20 + 2 / 20 / 2)
    assert found["format"].n == COUNT
    assert found["bytes"].low < 0.5 <= found["bytes"].value < 0.75


def test_names_have_no_order():
    """The middle one of three formats may be the one that fakes have."""
    formats = ("a", "b", "c")
    rows = [
        Row(sample_id=str(n), view=0, content="", columns={"format": formats[n % 3]}, slot=n)
        for n in range(30)
    ]
    label = np.array([n % 3 == 1 for n in range(30)], np.int64)
    predictions = PREDICTIONS.take(np.arange(30))
    predictions = Predictions(**{**vars(predictions), "label": label})
    shortcuts = file_shortcuts(rows, [])
    sets = {"toy": np.arange(30)}
    found = measure_baselines(sets, predictions, shortcuts, {}, Resampling(0)).subsets["toy"]
    assert found["format"] == Figure(1.0, None, None, 30)
    assert found["size"] is None and found["bytes"] is None


def test_an_evaluation_and_an_audit_give_a_format_the_same_figure():
    """A name is judged on rows that it was not learned from: one that stands once says nothing."""
    formats = ["png" if n % 2 and n % 3 else f"raw{n}" for n in range(COUNT)]
    rows = [replace(row, columns={**row.columns, "format": name})
            for row, name in zip(ROWS, formats, strict=True)]  # fmt: skip
    found = aucs(file_shortcuts(rows, []))["format"]
    facts, label = {"format": np.array(formats)}, PREDICTIONS.label
    assert found == free_aucs(facts, label, PREDICTIONS.cluster, Resampling(200))["format"]
    assert 0.7 < found.value < 0.9, "a third of the fakes has a name of its own"


def test_a_row_of_unknown_format_is_left_out():
    rows = [replace(row, columns={**row.columns, "format": "" if n < 10 else "png"})
            for n, row in enumerate(ROWS)]  # fmt: skip
    found = aucs(file_shortcuts(rows, []))["format"]
    assert (found.value, found.n) == (0.5, COUNT - 10)


def test_what_extraction_made_equal_says_nothing_any_more():
    same = {"recode": "jpeg:95", "resize": 224}
    found = aucs(file_shortcuts(ROWS, [same, same]))
    for shortcut in ("format", "size"):
        assert found[shortcut] == Figure(0.5, 0.5, 0.5, COUNT)
    assert found["bytes"].value > 0.5
    half = aucs(file_shortcuts(ROWS, [same, {"recode": None, "resize": None}]))
    assert half["format"].value > 0.9 and half["size"].value == 1.0


def test_laplacian_energy_is_that_of_the_plain_formula():
    image = GENERATOR.integers(0, 256, (5, 6, 3), np.uint8)
    luma = image.astype(float) @ [0.299, 0.587, 0.114]
    squares = [
        (luma[y - 1, x] + luma[y + 1, x] + luma[y, x - 1] + luma[y, x + 1] - 4 * luma[y, x]) ** 2
        for y in range(1, 4)
        for x in range(1, 5)
    ]
    assert laplacian_energy(image) == pytest.approx(np.mean(squares), rel=1e-4)
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], 20, 0).repeat(3, 2)
    assert laplacian_energy(ramp) == pytest.approx(0, abs=1e-6)


def pictures() -> list[np.ndarray]:
    """Noise; the fakes' is blurred."""
    made = []
    for n in range(COUNT):
        noise = Image.fromarray(GENERATOR.integers(0, 256, (32, 32, 3), np.uint8))
        made.append(np.asarray(noise.filter(ImageFilter.GaussianBlur(2)) if n % 2 else noise))
    return made


def fill(store, images, failed=()) -> None:
    fingerprint, spec = Fingerprint("pixels", 1, ""), FeatureSpec("pixels", (32, 32, 3), "uint8")
    store.declare(fingerprint, [spec])
    feature = store.feature("toy", "pixels")
    values = np.zeros((SHARD_ROWS, *spec.shape), np.uint8)
    values[: len(images)] = images
    assert feature.claim(0)
    feature.write_shard(0, {"pixels": values}, dict.fromkeys(failed, "bad"), {})
    feature.release(0)


@pytest.fixture
def store(tmp_path):
    made = create_store(tmp_path / "features.zarr")
    made.assign_rows("toy", ROWS)
    return made


def test_blur_shows_in_pixels_and_in_thumbnails(store):
    images = pictures()
    named = [("toy", row) for row in ROWS]
    assert pixel_shortcuts(store, named) == ({}, None)

    packed = {}
    for n, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=85)
        packed[n] = buffer.getvalue()
    store.write_thumbnails("toy", 0, packed)
    shortcuts, source = pixel_shortcuts(store, named)
    assert source == "thumbnails"
    assert {name: auc.value for name, auc in aucs(shortcuts).items()} == {
        "laplacian": 1.0, "jpeg_size": 1.0,
    }  # fmt: skip

    fill(store, images)
    steps = []
    shortcuts, source = pixel_shortcuts(store, named[::-1], lambda *step: steps.append(step))
    assert source == "pixels" and steps[-1] == (COUNT, COUNT)
    for n, image in enumerate(images[::-1]):
        assert shortcuts["laplacian"][n] == pytest.approx(laplacian_energy(image))
        assert shortcuts["jpeg_size"][n] == jpeg_size(image)


def test_pixels_of_some_rows_only_are_not_used(store):
    fill(store, pictures(), failed=(3,))
    assert pixel_shortcuts(store, [("toy", row) for row in ROWS]) == ({}, None)
    assert pixel_shortcuts(store, [("toy", row) for row in ROWS[4:]])[1] == "pixels"
