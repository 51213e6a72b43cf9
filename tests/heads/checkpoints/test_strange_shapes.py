"""Files of formats that bring a tower, with one tensor of another shape: a sentence, or a head."""

from pathlib import Path

import open_clip
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clare.errors import InputError, WeightsError
from clare.heads.importing import find_format
from clare.models.checkpoint import Checkpoint
from tests.heads.checkpoints import test_clare, test_clipping_finetuned, test_dda, test_lare2
from tests.heads.checkpoints.test_tuned import clip, dinov3, layer, pe, peft, published


def finetuned():
    vision, text = test_clipping_finetuned.VISION, test_clipping_finetuned.TEXT
    made = open_clip.CLIP(embed_dim=32, quick_gelu=True, vision_cfg=vision, text_cfg=text)
    return test_clipping_finetuned.published(made)["state_dict"]


def lare2():
    made = open_clip.CLIP(
        embed_dim=test_lare2.WIDTH, vision_cfg=test_lare2.VISION, text_cfg=test_lare2.TEXT
    )
    return {
        f"clip_model.{n}": v for n, v in made.state_dict().items()
    } | test_lare2.Plain().state_dict()


FILES = {
    "gend": lambda: published(clip()[0], layer()),
    "gend ": lambda: published(pe()[0], layer()),
    "gend  ": lambda: published(dinov3()[0], layer()),
    "yermandy": lambda: published(peft(clip()[0]), layer()),
    "dda": lambda: test_dda.published(448)[2],
    "clipping_finetuned": finetuned,
    "lare2": lare2,
    "clare": lambda: test_clare.published(test_clare.Plain(2, shifted=True))["state_dict"],
}
"""State of a file by its format; spaces tell apart files of one."""


@pytest.fixture(scope="module")
def states():
    return {name: make() for name, make in FILES.items()}


@pytest.mark.parametrize("name", FILES)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 3), max_size=5))
def test_a_tensor_of_another_shape_is_no_traceback(states, name, place, shape):
    names = sorted(states[name])
    tensors = {**states[name], names[place % len(names)]: torch.zeros(shape)}
    checkpoint = Checkpoint(Path("strange.pth"), "", tensors, {})
    try:
        head = find_format(name.strip()).read(checkpoint)
    except (InputError, WeightsError) as error:
        assert "\n" not in str(error)
    else:
        assert head.tensors
