"""Towers by their own tensors: sizes from shapes, tuned norms, merged LoRA."""

import open_clip
import pytest
import timm
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clare.errors import WeightsError
from clare.models.carried import (
    CarriedModel,
    clip_image_tower,
    dinov2_tower,
    dinov3_tower,
    merge_lora,
    pe_tower,
    without_peft,
)
from clare.models.carried_clip import clip_model
from clare.models.hub import file_sha256


def test_equal_tensors_are_equal_files_whatever_their_order(tmp_path):
    torch.manual_seed(0)
    tensors = {name: torch.randn(3, 2) for name in "abc"}
    one = CarriedModel("tower", {"architecture": "x"}, tensors)
    other = CarriedModel("tower", {}, dict(reversed(tensors.items())))
    one.write(tmp_path / "deep" / "tower")
    assert sorted(file.name for file in (tmp_path / "deep" / "tower").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    written = file_sha256(tmp_path / "deep" / "tower" / "model.safetensors")
    assert one.sha256 == other.sha256 == written
    assert CarriedModel("tower", {}, {**tensors, "c": torch.zeros(3, 2)}).sha256 != written


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.floats(0.25, 8), st.integers(0, 99))
def test_a_merged_layer_gives_what_the_layer_and_its_lora_give_together(rank, alpha, seed):
    torch.manual_seed(seed)
    layer, down, up = nn.Linear(6, 5), torch.randn(rank, 6), torch.randn(5, rank)
    held = {f"blocks.0.fc.original_layer.{n}": v for n, v in layer.state_dict().items()}
    held |= {"blocks.0.fc.lora.lora_A": down, "blocks.0.fc.lora.lora_B": up, "norm.weight": down[0]}
    merged = merge_lora(held, alpha)
    assert set(merged) == {"blocks.0.fc.weight", "blocks.0.fc.bias", "norm.weight"}
    x = torch.randn(7, 6)
    expected = layer(x) + (x @ down.T) @ up.T * (alpha / rank)
    found = nn.functional.linear(x, merged["blocks.0.fc.weight"], merged["blocks.0.fc.bias"])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_half_of_a_lora_is_refused():
    held = {"fc.original_layer.weight": torch.zeros(2, 2), "fc.lora.lora_A": torch.zeros(1, 2)}
    with pytest.raises(WeightsError, match=r"fc\.lora\.lora_B is missing"):
        merge_lora(held, 1)


def test_of_a_norm_that_peft_tuned_the_tuned_copy_is_taken():
    held = {
        "base_model.model.norm.base_layer.weight": torch.zeros(2),
        "base_model.model.norm.ln_tuning_layers.default.weight": torch.ones(2),
        "base_model.model.fc.weight": torch.full((2, 2), 3.0),
    }
    found = without_peft(held)
    assert set(found) == {"norm.weight", "fc.weight"}
    assert found["norm.weight"].eq(1).all() and found["fc.weight"].eq(3).all()


def on_meta(make):
    with torch.device("meta"):
        return make()


def clip_state():
    config = transformers.CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
    )
    state = transformers.CLIPVisionModel(config).state_dict()
    return {f"vision_model.{n.removeprefix('vision_model.')}": v for n, v in state.items()}


def dinov3_state():
    config = transformers.DINOv3ViTConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=16,
        num_register_tokens=4,
    )
    return transformers.DINOv3ViTModel(config).state_dict()


def timm_state(name):
    return timm.create_model(name, num_classes=0).state_dict()


@pytest.mark.parametrize(
    ("architecture", "state", "tower"),
    [
        ("vit_large_patch14_clip_quickgelu_224", clip_state, clip_image_tower),
        (
            "vit_pe_core_large_patch14_336",
            lambda: timm_state("vit_pe_core_large_patch14_336"),
            pe_tower,
        ),
        ("vit_large_patch16_dinov3_qkvb", dinov3_state, dinov3_tower),
        (
            "vit_large_patch14_dinov2",
            lambda: timm_state("vit_large_patch14_dinov2"),
            dinov2_tower,
        ),
    ],
)
def test_the_published_sizes_give_the_published_architecture(architecture, state, tower):
    """Heads of attention, which no shape tells, among them."""
    config = tower(on_meta(state)).config
    assert config["architecture"] == architecture
    size = config["pretrained_cfg"]["input_size"][-1]
    own = {"num_classes": 0, "img_size": size}
    found = on_meta(lambda: timm.create_model(architecture, **own, **config["model_args"]))
    plain = on_meta(lambda: timm.create_model(architecture, **own))
    assert shapes(found) == shapes(plain)
    assert heads(found) == heads(plain)


def shapes(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def heads(model):
    return [part.num_heads for part in model.modules() if hasattr(part, "num_heads")]


@pytest.mark.parametrize("name", ["ViT-L-14", "ViT-B-32", "RN50"])
def test_a_whole_clip_of_openais_sizes_has_its_configuration(name):
    known = open_clip.get_model_config(name)
    state = on_meta(lambda: open_clip.CLIP(**{**known, "quick_gelu": True}).state_dict())
    found = clip_model(state).config["model_cfg"]
    again = on_meta(lambda: open_clip.CLIP(**found))
    assert {n: tuple(v.shape) for n, v in state.items()} == shapes(again)
    for key in ("image_size", "layers", "width"):
        assert found["vision_cfg"][key] == known["vision_cfg"][key]
    assert found["text_cfg"]["heads"] == known["text_cfg"]["heads"]
