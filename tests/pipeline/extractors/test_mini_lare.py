"""LaRE means what it says: a trained model predicts the noise, and every planted fault shows."""

import json
import shutil

import numpy as np
import pytest
import torch

from clare.models.mini import WEIGHTS, mini_overrides
from clare.models.runtime import Runtime
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.synthetic.faces import list_faces
from clare.pipeline.synthetic.fakes import draw_reals

COUNT = 12
DRAWS = 1
STEPS = (100, 200, 400)


@pytest.fixture(scope="module")
def images():
    people = list_faces(40_000 + np.arange(COUNT), np.zeros(COUNT, int))
    files = draw_reals(people).files
    return [load_views(f, ImageSettings(), [0], content=str(n))[0] for n, f in enumerate(files)]


@pytest.fixture
def edited(tmp_path):
    """A copy of the model, one entry of one of its configurations changed."""

    def edit(config, **entries):
        folder = tmp_path / "diffusion"
        shutil.copytree(WEIGHTS / "diffusion", folder)
        file = folder / config
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))
        return folder

    return edit


def make(model=None, **settings):
    own = mini_overrides()["lare"] | {"timesteps": STEPS, "draws": DRAWS} | settings
    if model is not None:
        own["model"] = str(model)
    return create_extractor("lare", own, ImageSettings(), Runtime())


def level(extractor, images):
    """Mean error (T,) over all pictures, draws and positions."""
    rows = [extractor.prepare(image) for image in images]
    inputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    maps = extractor.forward(inputs)["lare"].float().numpy()
    return maps.mean((0, 2, 3, 4, 5))


@pytest.fixture(scope="module")
def right(images):
    return level(make(), images)


def test_the_noise_is_predicted_better_the_more_there_is(right):
    """A model that knows nothing predicts zero, and its error is the noise's variance, 1."""
    assert np.all(np.diff(right) < 0)
    assert np.all(right < LIMITS), right


LIMITS = np.array([0.15, 0.09, 0.05])


def faults():
    """Name to what goes wrong: an edit of the model's configuration, or of the extractor."""

    def other_noise(extractor):
        generator = torch.Generator().manual_seed(0)
        add = extractor._scheduler.add_noise

        def add_other(clean, noise, steps):
            return add(clean, torch.randn(noise.shape, generator=generator), steps)

        extractor._scheduler.add_noise = add_other

    def other_step(by):
        def shift(extractor):
            unet = extractor._unet
            forward = unet.forward
            unet.forward = lambda x, t, **rest: forward(x, (t + by).clamp(0, 999), **rest)

        return shift

    schedule = "scheduler/scheduler_config.json"
    return {
        "noise": (None, other_noise),
        "later step": (None, other_step(60)),
        "earlier step": (None, other_step(-60)),
        "scaling": (("vae/config.json", {"scaling_factor": 0.18215}), None),
        "no scaling": (("vae/config.json", {"scaling_factor": 1.0}), None),
        "prediction": ((schedule, {"prediction_type": "v_prediction"}), None),
    }


@pytest.mark.parametrize("fault", faults())
def test_a_planted_fault_raises_the_error(fault, images, edited, right):
    edit, break_ = faults()[fault]
    extractor = make(edited(edit[0], **edit[1]) if edit else None)
    if break_ is not None:
        break_(extractor)
    assert np.all(level(extractor, images) > 1.05 * right)
