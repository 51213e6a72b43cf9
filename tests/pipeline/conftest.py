"""Prepared images to run extractors on."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings


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
