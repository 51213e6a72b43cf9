"""Tiny models, written once a session, and prepared images to run them on."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from clare.pipeline.images.prepare import ImageSettings, load_views
from clare.pipeline.models.tiny import write_tiny_clip, write_tiny_diffusion


@pytest.fixture(scope="session")
def diffusion_folders(tmp_path_factory):
    """Prediction type to the folder of a tiny diffusion model."""
    root = tmp_path_factory.mktemp("diffusion")
    for kind in ("epsilon", "v_prediction"):
        write_tiny_diffusion(root / kind, kind)
    return {kind: root / kind for kind in ("epsilon", "v_prediction")}


@pytest.fixture(scope="session")
def clip_folders(tmp_path_factory):
    """Kind of tower to the folder of a tiny CLIP."""
    root = tmp_path_factory.mktemp("clip")
    for kind in ("vit", "rn50", "timm"):
        write_tiny_clip(root / kind, kind)
    return {kind: root / kind for kind in ("vit", "rn50", "timm")}


@pytest.fixture(scope="session")
def prepare_images():
    """Make prepared images of smooth random colours: (count, views=(0,)) -> list."""

    def make(count, views=(0,)):
        images = []
        for seed in range(count):
            rng = np.random.default_rng(seed)
            small = Image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8))
            file = io.BytesIO()
            small.resize((90, 70), Image.Resampling.BICUBIC).save(file, "PNG")
            data = file.getvalue()
            content = hashlib.sha256(data).hexdigest()
            images += load_views(data, ImageSettings(), views, content=content)
        return images

    return make


@pytest.fixture(scope="session")
def run():
    """Prepare images and run an extractor over them as one batch: field -> array."""

    def forward(extractor, images):
        rows = [extractor.prepare(image) for image in images]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return {name: value.numpy() for name, value in extractor.forward(stacked).items()}

    return forward
