"""The contract of an extractor."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from clare.models.runtime import Runtime
from clare.pipeline import extractors
from clare.pipeline.extractor import Extractor
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.prepare import PreparedImage, load_views
from clare.pipeline.images.settings import ImageSettings
from clare.plugins import part_name
from clare.store.spec import FeatureSpec
from clare.testing.part import PartContract

FACE = FaceMarks("24 8 66 60", "35 28 55 30 45 40 37 50 53 51", "mtcnn")

Values = dict[str, NDArray[np.generic]]


def prepare_images(
    count: int, images: ImageSettings | None = None, views: Sequence[int] = (0,)
) -> list[PreparedImage]:
    """Images of smooth random colours, 90x70 pixels, as extraction prepares them, with a face."""
    made = []
    for seed in range(count):
        colours = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(colours).resize((90, 70), Image.Resampling.BICUBIC).save(file, "PNG")
        content = hashlib.sha256(file.getvalue()).hexdigest()
        settings = images or ImageSettings()
        made += load_views(file.getvalue(), settings, views, face=FACE, content=content)
    return made


def run(extractor: Extractor, images: Sequence[PreparedImage]) -> Values:
    """The values of images as one batch, by field."""
    rows = [extractor.prepare(image) for image in images]
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return {name: value.numpy() for name, value in extractor.forward(stacked).items()}


class ExtractorContract(PartContract):
    """What every extractor promises, on a CPU."""

    package: ClassVar[ModuleType] = extractors
    base: ClassVar[type] = Extractor

    def make(
        self, runtime: Runtime | None = None, images: ImageSettings | None = None
    ) -> Extractor:
        """The extractor, its models loaded."""
        made: Extractor = self.find()(
            self.build_settings(), images or ImageSettings(), runtime or Runtime()
        )
        return made

    def test_its_model_over_pixels_gives_its_values(self) -> None:
        extractor, images = self.make(), prepare_images(2)
        if (model := extractor.pixel_model()) is None:
            pytest.skip("its values are no function of the pixels alone")
        pixels = torch.from_numpy(np.stack([image.pixels(model.size) for image in images]))
        mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (model.mean, model.std))
        with torch.inference_mode():
            found = model.module((pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std)
        values = run(extractor, images)
        for spec in extractor.fields:
            tolerance = 1e-2 if spec.dtype == "float16" else 1e-4
            given = torch.from_numpy(values[spec.field]).float()
            torch.testing.assert_close(found[spec.field], given, atol=tolerance, rtol=tolerance)

    def test_its_name_is_its_file(self) -> None:
        assert self.find().name == part_name(self.part)
        assert self.find().VERSION >= 1

    def test_its_values_are_what_its_fields_say(self) -> None:
        extractor = self.make()
        values = run(extractor, prepare_images(3))
        assert list(values) == [spec.field for spec in extractor.fields]
        for spec in extractor.fields:
            assert isinstance(spec, FeatureSpec) and spec.channel_axis < 0
            found = values[spec.field]
            assert found.shape == (3, *spec.shape), spec.field
            assert found.dtype == np.dtype(spec.dtype), spec.field
            if spec.dtype != "uint8":
                assert np.isfinite(found).all() and found.std() > 0, spec.field

    def test_images_are_prepared_in_threads(self) -> None:
        extractor = self.make()
        alone = [extractor.prepare(image) for image in prepare_images(8)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(extractor.prepare, prepare_images(8)))
        for one, other in zip(alone, together, strict=True):
            assert one.keys() == other.keys()
            for name, array in one.items():
                assert isinstance(array, np.ndarray) and np.array_equal(array, other[name]), name

    def test_a_row_depends_on_no_other(self) -> None:
        """Bit for bit: a batch has one size, and what stands beside a row in it is chance."""
        extractor, images = self.make(), prepare_images(6)
        first, again = run(extractor, images), run(extractor, images)
        turned = run(extractor, images[::-1])
        for field, values in first.items():
            assert np.array_equal(values, again[field]), field
            assert np.array_equal(values, turned[field][::-1]), field

    def test_nothing_learns_and_no_rows_share_memory(self) -> None:
        extractor = self.make()
        row = extractor.prepare(prepare_images(1)[0])
        inputs = {name: np.stack([array, array]) for name, array in row.items()}
        for field, tensor in extractor.forward(inputs).items():
            assert not tensor.requires_grad, field
            assert bool((tensor[0] == tensor[1]).all()), field

    def test_its_fingerprint_is_plain_and_the_same_each_time(self) -> None:
        extractor, images = self.make(), ImageSettings()
        fingerprint = extractor.fingerprint
        plain = fingerprint.to_json()
        assert json.loads(json.dumps(plain)) == plain
        assert fingerprint.extractor == extractor.name
        assert fingerprint.version == extractor.VERSION
        assert fingerprint.settings["images"] == images.to_json()
        assert self.make().fingerprint == fingerprint

    def test_its_fingerprint_tells_apart_what_decides_a_value(self) -> None:
        own, images = self.make(), prepare_images(2)
        assert self.make(images=ImageSettings(resize=48)).fingerprint.digest != (
            own.fingerprint.digest
        )
        low = self.make(Runtime(dtype="bfloat16"))
        if low.fingerprint == own.fingerprint:
            values = run(own, images)
            assert all(np.array_equal(v, values[f]) for f, v in run(low, images).items())

    def test_what_is_recorded_rebuilds_it(self) -> None:
        own = self.make()
        known = {setting.name for setting in fields(self.find().Settings)}
        recorded = {k: v for k, v in own.fingerprint.settings.items() if k in known}
        cls = self.find()
        again = cls(self.build_settings(**recorded), ImageSettings(), Runtime())
        assert again.fingerprint == own.fingerprint

    def test_its_assets_are_the_same_each_time(self) -> None:
        assert self.make().assets() == self.make().assets()
