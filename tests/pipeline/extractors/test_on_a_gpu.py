"""Stage one rehearsed for a GPU: every extractor's forward pass, its tensors on one device."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clare.models.runtime import Runtime
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from tests.fake_gpu import DEVICE, fake_gpu

DTYPES = ("float16", "bfloat16", "float32")
LARE: dict[str, dict[str, Any]] = {
    "mean": {},
    "sample": {"latent": "sample"},
    "steps": {"timesteps": [10, 400], "draws": 2},
    "absolute, shared": {"error": "absolute", "noise": "shared"},
}


@pytest.fixture(scope="module")
def image():
    data = io.BytesIO()
    Image.new("RGB", (96, 80), "grey").save(data, "PNG")
    return load_views(data.getvalue(), ImageSettings(), [0], content="0" * 64)[0]


def require_fields_on_the_gpu(name, settings, dtype, image):
    with fake_gpu():
        extractor = create_extractor(name, settings, ImageSettings(), Runtime(DEVICE, dtype))
        inputs = {key: np.stack([value] * 3) for key, value in extractor.prepare(image).items()}
        found = extractor.forward(inputs)
        declared = {spec.field: (spec.shape, spec.dtype) for spec in extractor.fields}
        made = {
            field: (tuple(value.shape[1:]), str(value.dtype).removeprefix("torch."))
            for field, value in found.items()
        }
        assert made == declared
        assert {value.device.type for value in found.values()} == {DEVICE}
        assert {len(value) for value in found.values()} == {3}


@pytest.mark.parametrize(
    ("kind", "layers", "dtype"),
    [
        *(("vit", [0, 1], dtype) for dtype in DTYPES),
        ("rn50", ["layer1", "layer3"], "float16"),
        ("rn50", [], "bfloat16"),
        ("timm", [1], "float16"),
    ],
)
def test_clip(clip_folders, image, kind, layers, dtype):
    settings = {"model": str(clip_folders[kind]), "layers": layers}
    require_fields_on_the_gpu("clip", settings, dtype, image)


@pytest.mark.parametrize(
    ("how", "prediction", "dtype"),
    [
        *(("mean", "epsilon", dtype) for dtype in DTYPES),
        ("sample", "v_prediction", "float16"),
        ("steps", "v_prediction", "bfloat16"),
        ("steps", "epsilon", "float16"),
        ("absolute, shared", "epsilon", "float16"),
    ],
)
def test_lare(diffusion_folders, image, how, prediction, dtype):
    settings = {"model": str(diffusion_folders[prediction]), "size": 64, **LARE[how]}
    require_fields_on_the_gpu("lare", settings, dtype, image)


@pytest.mark.parametrize("left", ["_steps", "_scale", "_text"])
def test_a_tensor_left_on_the_cpu_is_found(diffusion_folders, image, left):
    with fake_gpu():
        settings = {"model": str(diffusion_folders["epsilon"]), "size": 64}
        extractor = create_extractor("lare", settings, ImageSettings(), Runtime(DEVICE, "float16"))
        setattr(extractor, left, getattr(extractor, left).cpu())
        inputs = {key: value[None] for key, value in extractor.prepare(image).items()}
        with pytest.raises((RuntimeError, torch._subclasses.UnsupportedFakeTensorException)):
            extractor.forward(inputs)
