"""Towers that were tuned already: read in half precision, with layers, and tuned again."""

from dataclasses import replace

import open_clip
import pytest
import torch

from clare.errors import InputError
from clare.models.runtime import Runtime
from clare.models.towers import ClipSettings, _reading, load_image_tower
from clare.models.tuned import BegunAs, TunedRecord, TunedTower, tune
from clare.models.tuning import list_tunings
from tests.fake_gpu import DEVICE, fake_gpu
from tests.heads.tuned_store import write_tower


def loaded(folder, runtime):
    return load_image_tower(ClipSettings(str(folder)), runtime).module


def tuned(tower, way, settings):
    """What a run keeps of the tower, its moved tensors changed a little."""
    fields = ("clip_cls", "clip_tokens")
    own, moving = tune(tower, way, settings, fields)
    state = own.state_dict()
    tensors = {name: state[name].clone() for name in moving.names}
    for value in tensors.values():
        value += 0.01
    return TunedTower(TunedRecord(way, settings, BegunAs("clip", 1, "ab", {}), {}, fields), tensors)


WAYS = [(way, {"last": 1} if way == "blocks" else {}) for way in list_tunings()]


@pytest.mark.parametrize(("way", "settings"), WAYS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_tuned_tower_is_read_in_half_precision(tmp_path, way, settings, dtype):
    write_tower(tmp_path / "model", "vit")
    kept = tuned(loaded(tmp_path / "model", Runtime()), way, settings)
    whole = kept.onto(loaded(tmp_path / "model", Runtime()))
    runtime = Runtime("cpu", dtype)
    half = kept.onto(loaded(tmp_path / "model", runtime))
    images = torch.randn(2, 3, 32, 32)
    expected, found = whole(images), half(images.to(runtime.torch_dtype))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].float(), value, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(("way", "settings"), WAYS)
def test_a_tuned_tower_is_read_in_half_precision_on_a_gpu(tmp_path, way, settings):
    write_tower(tmp_path / "model", "vit")
    kept = tuned(loaded(tmp_path / "model", Runtime()), way, settings)
    with fake_gpu() as mode:
        tensors = {name: mode.from_tensor(value) for name, value in kept.tensors.items()}
        tower = loaded(tmp_path / "model", Runtime(DEVICE, "float16"))
        own = replace(kept, tensors=tensors).onto(tower)
        found = own(torch.zeros(2, 3, 32, 32, dtype=torch.float16, device=DEVICE))
        assert {value.device.type for value in found.values()} == {DEVICE}


@pytest.mark.parametrize(
    ("way", "settings", "why"),
    [
        ("blocks", {"last": 1}, "blocks go on from the patches that are stored, without them"),
        ("visual_prompts", {}, "further ones would take their place"),
    ],
)
def test_visual_prompts_are_not_lost_in_a_second_tuning(tmp_path, way, settings, why):
    write_tower(tmp_path / "model", "vit")
    tower = loaded(tmp_path / "model", Runtime())
    prompted = tuned(tower, "visual_prompts", {}).onto(tower)
    with pytest.raises(InputError, match=f"tuned with visual prompts, and {why}"):
        tune(prompted, way, settings, ["clip_cls"])
    images = torch.randn(2, 3, 32, 32)
    again, _ = tune(prompted, "ln", {}, ["clip_cls"])
    assert torch.equal(again(images)["clip_cls"], prompted(images)["clip_cls"])


def test_layers_of_a_timm_tower_of_clip_are_read_beside_visual_prompts():
    config = open_clip.get_model_config("ViT-B-16-SigLIP")
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    with torch.device("meta"):
        visual = open_clip.model._build_vision_tower(config["embed_dim"], vision)
        tower, _ = _reading(visual, ClipSettings(layers=(3,)), Runtime("meta"))
        own, _ = tune(tower, "visual_prompts", {}, ["clip_cls"])
        images = torch.zeros(2, 3, 224, 224)
        shapes = {name: value.shape for name, value in tower(images).items()}
        assert shapes["clip_tokens_3"] == (2, 196, 768)
        assert {name: value.shape for name, value in own(images).items()} == shapes
