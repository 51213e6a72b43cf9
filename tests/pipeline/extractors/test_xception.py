"""The random Xception: its size, its maps, and that a seed is all that decides its weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from clare.errors import InputError
from clare.models.runtime import Runtime
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.models.xception import XceptionBeginning, map_side, random_beginning
from clare.testing.extractor import prepare_images, run


def make(**settings):
    return create_extractor("xception", settings, ImageSettings(), Runtime())


def test_it_has_as_many_parameters_as_published():
    with torch.device("meta"):
        model = XceptionBeginning()
    assert sum(one.numel() for one in model.parameters()) == 190_816


@pytest.mark.parametrize(("size", "side"), [(224, 28), (256, 32), (64, 8), (16, 2)])
def test_sides_are_those_of_its_maps(size, side):
    images = torch.zeros(1, 3, size, size)
    with torch.inference_mode():
        assert random_beginning(0)(images).shape == (1, 256, side, side)
    assert map_side(size) == side


def test_tokens_are_the_map_of_the_normalised_image_row_by_row():
    extractor, images = make(), prepare_images(1)
    (spec,) = extractor.fields
    assert (spec.field, spec.shape, spec.dtype) == ("xception", (784, 256), "float16")
    pixels = torch.tensor(images[0].pixels(224)).permute(2, 0, 1).float() / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    with torch.inference_mode():
        whole = random_beginning(0)(((pixels - mean) / std)[None])[0].numpy()
    tokens = run(extractor, images)["xception"][0]
    for row, column in ((0, 0), (3, 17), (27, 27)):
        np.testing.assert_allclose(tokens[28 * row + column], whole[:, row, column], atol=1e-3)


def test_a_map_says_where():
    """A change of one corner of the picture changes that corner of the map, and nothing afar."""
    extractor = make(size=96)
    plain = np.full((1, 96, 96, 3), 90, np.uint8)
    changed = plain.copy()
    changed[:, :24, :24] = 200
    maps = [extractor.forward({"pixels": one})["xception"][0] for one in (plain, changed)]
    far = (maps[0] - maps[1]).abs().amax(1).reshape(12, 12)
    assert far[:3, :3].min() > 0 and far[6:].max() == 0 and far[:, 6:].max() == 0


def test_its_norms_are_frozen_at_their_start():
    model = random_beginning(0)
    images = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        model(images)
        block = model.block1
        x = functional.relu(model.conv2(functional.relu(model.conv1(images))))
        inner = block.separable2(functional.relu(block.separable1(x)))
        expected = functional.max_pool2d(inner, 3, 2, 1) + block.shortcut(x)
        torch.testing.assert_close(block(x), expected, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_seed_decides_its_weights():
    assert make(size=32).fingerprint == make(size=32).fingerprint
    assert make(size=32).fingerprint.weights != make(size=32, seed=1).fingerprint.weights
    assert make(size=32).fingerprint.weights == make(size=48).fingerprint.weights
    # In every version of numpy and torch: what was extracted can be made again.
    assert make(size=32).fingerprint.weights.startswith("43bcb0ee8d89e2e7")
    with pytest.raises(InputError, match="at least 16 pixels"):
        make(size=15)
    with pytest.raises(InputError, match="seed must be 0 or more"):
        make(seed=-1)
