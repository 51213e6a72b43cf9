"""Towers by their own tensors: sizes from shapes, tuned norms, merged LoRA."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clare.errors import WeightsError
from clare.models.carried import CarriedModel, merge_lora, without_peft
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
