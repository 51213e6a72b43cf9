"""What each decoder computes: DeCLIP's sizes, and the same maps as a plain reading gives.

That every one keeps the contract stands in `tests/clare/testing`.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from clare.errors import InputError
from clare.heads import decoders
from clare.heads.base import Decoder
from clare.plugins import find_part
from clare.settings import build_settings

VIT = {"tokens": (256, 1024)}
LAYER1 = {"tokens": (3136, 256)}
LAYER2 = {"tokens": (784, 512)}
LAYER3 = {"tokens": (196, 1024)}
LAYER4 = {"tokens": (49, 2048)}
BOTH = {"tokens": (256, 1024), "tokens_2": (196, 1024)}


def make(name, shapes, settings=None) -> Decoder:
    found = find_part(decoders, name, Decoder)  # type: ignore[type-abstract]
    torch.manual_seed(0)
    return found(build_settings(name, found.Settings, settings or {}), shapes)


@pytest.mark.parametrize(
    ("name", "shapes", "published"),
    [
        ("linear", VIT, 1_025),
        ("attention", VIT, 25_193_473),
        ("conv_4", VIT, 17_412_481),
        ("conv_12", VIT, 34_826_241),
        ("conv_20", VIT, 52_240_001),
        ("conv_4", LAYER3, 17_412_481),
        ("conv_4", LAYER4, 30_519_681),
        ("conv_12", BOTH, 47_933_441),
        ("conv_20", BOTH, 65_347_201),
    ],
)
def test_parameters_are_as_many_as_in_declip(name, shapes, published):
    with torch.device("meta"):
        part = make(name, shapes)
    assert sum(parameter.numel() for parameter in part.parameters()) == published


def test_what_learns_of_the_published_attention():
    with torch.device("meta"):
        part = make("attention", VIT, {"train": "published"})
    learning = [name for name, value in part.named_parameters() if value.requires_grad]
    assert sum(part.get_parameter(name).numel() for name in learning) == 8_397_825
    assert sorted({name.rpartition(".")[0] for name in learning}) == [
        *("att1.mlp.c_fc", "att2.mlp.c_fc", "fc.0"),
    ]


@pytest.mark.parametrize(
    ("name", "shapes", "convolutions"),
    [
        ("conv_4", VIT, [0, 4, 8, 12, 16]),
        ("conv_12", VIT, [0, 3, 6, 10, 13, 16, 20, 23, 26, 30, 33, 36, 40]),
        ("conv_4", LAYER3, [0, 4, 8, 12, 17]),
        ("conv_4", LAYER4, [0, 4, 8, 12, 17]),
        ("conv_4", LAYER2, [0, 3, 7, 11, 16]),
        ("conv_4", LAYER1, [0, 3, 6, 10, 15]),
    ],
)
def test_convolutions_stand_at_the_numbers_of_declips_files(name, shapes, convolutions):
    with torch.device("meta"):
        part = make(name, shapes)
    sizes = {key: value.dim() for key, value in part.state_dict().items()}
    assert [int(key.split(".")[1]) for key, dim in sizes.items() if dim == 4] == convolutions


def test_conv_20_has_declips_keys():
    with torch.device("meta"):
        keys = list(make("conv_20", VIT).state_dict())
    assert len(keys) == 142 and keys[-1] == "fc.64.bias"
    assert {"fc.1.running_mean", "fc.1.num_batches_tracked"} < set(keys)


def test_linear_is_a_logit_a_patch_scaled_up():
    part = make("linear", {"tokens": (16, 5)})
    tokens = torch.randn(2, 16, 5)
    weight, bias = part.state_dict()["fc.0.weight"][0], part.state_dict()["fc.0.bias"]
    grid = torch.stack([(row @ weight + bias).view(4, 4) for row in tokens])
    expected = functional.interpolate(grid[:, None], (256, 256), mode="bicubic")[:, 0]
    torch.testing.assert_close(part({"tokens": tokens}), expected)


def test_attention_is_clips_own_block():
    """open_clip's residual block, in float64, with the same parameters put in."""
    from open_clip.transformer import LayerNorm, QuickGELU, ResidualAttentionBlock

    part = make("attention", {"tokens": (9, 32)}, {"heads": 4, "causal": True}).double()
    tokens = torch.randn(2, 9, 32, dtype=torch.float64)
    found = tokens
    mask = torch.full((9, 9), -torch.inf, dtype=torch.float64).triu(1)
    for name in ("att1", "att2"):
        block = ResidualAttentionBlock(32, 4, act_layer=QuickGELU, norm_layer=LayerNorm).double()
        block.load_state_dict(part.get_submodule(name).state_dict())
        found = block(found, attn_mask=mask)
    grid = (found @ part.state_dict()["fc.0.weight"][0] + part.state_dict()["fc.0.bias"]).view(
        2, 1, 3, 3
    )
    expected = functional.interpolate(grid, (256, 256), mode="bicubic")[:, 0]
    torch.testing.assert_close(part({"tokens": tokens}), expected)


def test_a_causal_position_sees_those_before_it_alone():
    part = make("attention", {"tokens": (16, 32)}, {"causal": True, "heads": 4}).eval()
    tokens = torch.randn(1, 16, 32)
    later = tokens.clone()
    later[:, 12:] = torch.randn(1, 4, 32)
    with torch.no_grad():
        one, other = part({"tokens": tokens}), part({"tokens": later})
    assert torch.equal(one[:, :64], other[:, :64])
    assert not torch.allclose(one[:, 192:], other[:, 192:])


def test_several_inputs_lie_over_the_grid_of_the_first():
    shapes = {"tokens": (16, 3), "tokens_2": (9, 2), "lare": (4, 8, 8)}
    part = make("linear", shapes)
    inputs = {role: torch.randn(2, *shape) for role, shape in shapes.items()}
    second = functional.interpolate(inputs["tokens_2"].mT.view(2, 2, 3, 3), (4, 4), mode="bilinear")
    lare = inputs["lare"].view(2, 4, 4, 2, 4, 2).mean((3, 5))
    stack = torch.cat([inputs["tokens"].mT.view(2, 3, 4, 4), second, lare], 1)
    weight = part.state_dict()["fc.0.weight"][0]
    grid = torch.einsum("bchw,c->bhw", stack, weight) + part.state_dict()["fc.0.bias"]
    expected = functional.interpolate(grid[:, None], (256, 256), mode="bicubic")[:, 0]
    torch.testing.assert_close(part(inputs), expected)


def test_the_finest_grid_keeps_what_lare_tells_of_small_places():
    shapes = {"tokens": (16, 3), "lare": (4, 8, 8)}
    part = make("linear", shapes, {"grid": "finest"})
    inputs = {role: torch.randn(2, *shape) for role, shape in shapes.items()}
    tokens = functional.interpolate(inputs["tokens"].mT.view(2, 3, 4, 4), (8, 8), mode="bilinear")
    stack = torch.cat([tokens, inputs["lare"]], 1)
    weight = part.state_dict()["fc.0.weight"][0]
    grid = torch.einsum("bchw,c->bhw", stack, weight) + part.state_dict()["fc.0.bias"]
    expected = functional.interpolate(grid[:, None], (256, 256), mode="bicubic")[:, 0]
    torch.testing.assert_close(part(inputs), expected)


def test_declips_start_is_drawn_for_batch_norms_scales_too():
    part = make("conv_4", {"tokens": (16, 8)}, {"start": "declip"})
    norms = [one for one in part.modules() if isinstance(one, nn.BatchNorm2d)]
    weights = torch.cat([one.weight.detach().flatten() for one in norms])
    assert weights.mean().abs() < 0.005 and 0.015 < weights.std() < 0.025
    assert all(not one.bias.any() for one in norms)


@pytest.mark.parametrize(
    ("name", "settings", "shapes", "said"),
    [
        ("linear", {}, {"tokens": (15, 8)}, "15 tokens form no square"),
        ("conv_4", {"start": "zero"}, {"tokens": (16, 8)}, "start"),
    ],
)
def test_what_a_decoder_cant_work_on_is_refused(name, settings, shapes, said):
    with pytest.raises(InputError, match=said):
        make(name, shapes, settings)
