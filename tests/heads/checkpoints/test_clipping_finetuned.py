"""A fine-tuned CLIP: its file judges as open_clip does with the tensors and prompts in it."""

import open_clip
import pytest
import torch

from clare.errors import InputError, WeightsError
from clare.inference.import_head import import_head
from clare.models.carried_clip import clip_model
from clare.models.clip import load_clip
from tests.heads.checkpoints.published import (
    dassl_training,
    draw_photograph,
    judged,
    normalised,
    seeded,
)

VISION = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 64}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}


@pytest.fixture(scope="module")
def clip():
    config = {"embed_dim": 32, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT}
    model = seeded(open_clip.CLIP(**config))
    model.logit_scale.data.fill_(2.5)
    return model


def published(clip):
    """What Dassl saves: the image tower twice."""
    state = {f"text_encoder.clip_model.{name}": value for name, value in clip.state_dict().items()}
    state |= {f"image_encoder.{name}": value for name, value in clip.visual.state_dict().items()}
    state["logit_scale"] = clip.logit_scale.detach()
    return dassl_training(state, epoch=1)


def test_it_judges_as_a_plain_reading(tmp_path, clip):
    torch.save(published(clip), tmp_path / "model.pth.tar-1")
    image = draw_photograph(tmp_path / "photo.png", 64)
    run = import_head(tmp_path / "model.pth.tar-1", tmp_path / "run", store=tmp_path / "none.zarr")
    tokens = open_clip.tokenize(["a real photo.", "a fake photo."])
    with torch.no_grad():
        vectors = clip.encode_image(normalised(image, "clip"), normalize=True)
        texts = clip.encode_text(tokens, normalize=True)
        real, fake = (clip.logit_scale.exp() * vectors @ texts.T)[0].tolist()
    assert judged(tmp_path / "run", image) == pytest.approx(fake - real, abs=1e-5)
    assert run.record.imported is not None
    assert run.record.imported.format == "clipping_finetuned"
    assert run.record.extractors["clip"].origin["model"] == "tower"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("prompt_learner.ctx", torch.zeros(16, 64), r"it has prompt_learner\.ctx"),
        ("image_encoder.ln_post.bias", None, r"lacks visual\.ln_post\.bias"),
        ("image_encoder.extra", torch.zeros(1), r"it has visual\.extra"),
        ("logit_scale", torch.zeros(2), "logit_scale is"),
    ],
)
def test_what_is_missing_or_left_over_is_named(tmp_path, clip, name, value, told):
    found = published(clip)
    found["state_dict"][name] = value
    if value is None:
        del found["state_dict"][name]
        del found["state_dict"][f"text_encoder.clip_model.visual.{name.partition('.')[2]}"]
    torch.save(found, tmp_path / "model.pth.tar-1")
    with pytest.raises((InputError, WeightsError), match=told):
        import_head(tmp_path / "model.pth.tar-1", tmp_path / "run", store=tmp_path / "none.zarr")
    assert not (tmp_path / "run").exists()


def test_a_resnets_sizes_are_told_by_its_shapes(tmp_path):
    vision = {"image_size": 64, "layers": [1, 2, 3, 1], "width": 8, "patch_size": None}
    config = {"embed_dim": 32, "quick_gelu": True, "vision_cfg": vision, "text_cfg": TEXT}
    resnet = seeded(open_clip.CLIP(**config))
    clip_model(resnet.state_dict()).write(tmp_path / "resnet")
    found = load_clip(str(tmp_path / "resnet"), None, "auto", None).visual
    for name, value in resnet.visual.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    image = draw_photograph(tmp_path / "photo.png", 64)
    with torch.no_grad():
        pixels = normalised(image, "clip")
        torch.testing.assert_close(found(pixels), resnet.visual(pixels))
