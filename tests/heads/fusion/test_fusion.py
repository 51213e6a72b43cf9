"""What each fusion computes: the fast forms equal plain readings of the papers.

That every one keeps the contract stands in `tests/clare/testing`.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from clare.errors import InputError
from clare.heads import fusion
from clare.heads.base import Fusion
from clare.heads.config import DetectorConfig
from clare.heads.detector import Detector
from clare.heads.fusion.roi import cover
from clare.heads.layers.attention import FEW
from clare.heads.layers.steps import describe_steps
from clare.plugins import find_part
from clare.settings import build_settings

VIT_L14 = {"cls": (768,), "tokens": (256, 1024), "lare": (4, 32, 32)}
RN50 = {"cls": (1024,), "tokens": (196, 1024), "lare": (4, 32, 32)}
SMALL = {"cls": (12,), "tokens": (16, 24), "lare": (4, 8, 8)}
ODD = {"cls": (24,), "tokens": (9, 24), "lare": (4, 8, 8)}
"""A grid that LaRE's side is no multiple of, and a tower whose widths agree."""
PARTS = {"cls": (12,), "tokens": (16, 24), "parts": (2, 4)}

ATTENTIVE = [("esa", {}), ("cross_attn", {"query": "all"}), ("cross_attn", {"query": "mean"})]


def make(name, settings=None, shapes=SMALL, seed=0):
    torch.manual_seed(seed)
    found = find_part(fusion, name, Fusion)  # type: ignore[type-abstract]
    return found(build_settings(name, found.Settings, settings or {}), shapes)


def draw(shapes=SMALL, size=3, dtype=torch.float32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {
        role: torch.randn(size, *shape, generator=generator, dtype=dtype)
        for role, shape in shapes.items()
    }


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_fusions_without_attention_say_so():
    for name in ("cls", "lare", "concat"):
        assert make(name).attention(draw()) is None


@pytest.mark.parametrize("name", ["concat", "esa", "cross_attn"])
def test_tokens_that_form_no_square_are_refused(name):
    with pytest.raises(InputError, match="15 tokens form no square"):
        make(name, shapes={**SMALL, "tokens": (15, 24)})


@pytest.mark.parametrize("settings", [{"dropout": 1}, {"heads": 0}, {"query": "first"}])
def test_unusable_settings_are_refused(settings):
    with pytest.raises(InputError):
        make("cross_attn", settings)


# The reference's parameter counts, at ViT-L/14 and RN50.


def test_esa_has_the_published_parameters():
    part = make("esa", shapes=VIT_L14)
    assert count(part.attend) == 2_364_928
    assert count(part.spread) == 40
    assert count(part.channel) == 131_584
    assert count(part.image) == 787_456
    assert count(part) == 2_364_928 + 40 + 131_584 + 787_456
    assert part.width == 3072


def test_cross_attention_has_the_published_parameters():
    for query in ("all", "mean"):
        part = make("cross_attn", {"query": query}, VIT_L14)
        assert count(part) == 2_935_008 + 40 + 131_584 + 787_456
        assert part.width == 3072


def test_resnet_counts_are_those_of_lare2():
    part = make("esa", shapes=RN50)
    assert count(part.attend) == 2_303_488
    assert count(part.image) == 0  # both widths are 1024
    assert part.width == 3072


# The plain readings: all 257 tokens projected, every convolution run.


def with_mean(values):
    return torch.cat([values.mean(1, keepdim=True), values], 1)


def plain_attention(part, queries, tokens, bias=None):
    """(B, Q, C) asks; keys and values of every token and the mean; (B, Q, C), not normalised."""
    attend = part.attend
    keys_from = with_mean(tokens) + attend.position
    split = (attend.heads, attend.head_dim)
    q, k, v = (
        projection(values).unflatten(-1, split).transpose(1, 2)
        for projection, values in (
            (attend.query, queries),
            (attend.key, keys_from),
            (attend.value, keys_from),
        )
    )
    scores = q @ k.mT / attend.head_dim**0.5
    weights = torch.softmax(scores if bias is None else scores + bias[:, :, None], -1)
    dropped = functional.dropout(weights, attend.dropout.p, part.training)
    answers = attend.out((dropped @ v).transpose(1, 2).flatten(2))
    return functional.dropout(answers, attend.dropout.p, part.training), weights


def plain(part, inputs):
    """The fusion's vectors and, in a second value, its attention over mean and patches."""
    side = int(inputs["tokens"].shape[1] ** 0.5)
    pooled = functional.adaptive_avg_pool2d(inputs["lare"], side)
    tokens = inputs["tokens"]
    if hasattr(part, "position"):
        maps = pooled
        for step in part.spread:
            maps = functional.conv2d(maps, step.weight[:, :, None, None], step.bias)
        queries = with_mean(maps.flatten(2).mT) + part.position
        queries = queries[:, :1] if part.settings.query == "mean" else queries[:, 1:]
        found, weights = plain_attention(part, queries, tokens)
    else:
        maps = functional.conv2d(pooled, part.spread.weight[:, :, None, None], part.spread.bias)
        bias = with_mean(maps.flatten(2).mT).mT
        queries = (with_mean(tokens) + part.attend.position)[:, :1]
        found, weights = plain_attention(part, queries, tokens, bias)
    spatial = part.attend.norm(queries + found).mean(1)
    error = inputs["lare"].mean((2, 3))
    hidden = functional.relu(error @ part.channel.hidden.weight.T)
    channel = tokens.mean(1) * torch.sigmoid(hidden @ part.channel.weights.weight.T)
    return torch.cat([part.image(inputs["cls"]), spatial, channel], 1), weights


def outcome(part, vectors):
    """The vectors, and the gradients of one number made of them."""
    part.zero_grad()
    coefficients = torch.linspace(-1, 1, vectors.numel(), dtype=vectors.dtype)
    (vectors.flatten() * coefficients).square().sum().backward()
    return vectors.detach(), [p.grad for p in part.parameters() if p.requires_grad]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("shapes", [SMALL, ODD])
@pytest.mark.parametrize(("name", "settings"), ATTENTIVE)
def test_fast_forms_equal_the_plain_reading(name, settings, shapes, dropout):
    part = make(name, {**settings, "dropout": dropout}, shapes).double()
    with torch.no_grad():  # biases start at zero, which would hide where they go
        for parameter in part.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    inputs = draw(shapes, dtype=torch.float64)
    torch.manual_seed(7)
    ours = outcome(part, part(inputs))
    torch.manual_seed(7)
    theirs = outcome(part, plain(part, inputs)[0])
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


def test_what_is_answered_a_few_images_at_a_time_is_that_of_the_plain_reading():
    part = make("cross_attn", {"query": "all", "dropout": 1e-12}).double()  # which drops nothing
    for size in (1, FEW, FEW + 1, 3 * FEW):
        inputs = draw(size=size, dtype=torch.float64)
        ours, theirs = outcome(part, part(inputs)), outcome(part, plain(part, inputs)[0])
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("name", "settings"), ATTENTIVE)
def test_attention_is_that_of_the_plain_reading(name, settings):
    part = make(name, settings).double().eval()
    inputs = draw(dtype=torch.float64)
    weights = plain(part, inputs)[1].mean((1, 2))
    torch.testing.assert_close(
        part.attention(inputs), weights[:, 1:] + weights[:, :1] / 16, atol=1e-12, rtol=0
    )


def test_mean_query_sees_only_the_means_of_lare():
    inputs = draw()
    shuffled = inputs["lare"].flatten(2)[..., torch.randperm(64)].unflatten(2, (8, 8))
    moved = {**inputs, "lare": shuffled}
    mean, every, esa = (make(n, s).eval() for n, s in (ATTENTIVE[2], ATTENTIVE[1], ATTENTIVE[0]))
    torch.testing.assert_close(mean(inputs), mean(moved))
    assert (every(inputs) - every(moved)).abs().max() > 1e-3
    assert (esa(inputs) - esa(moved)).abs().max() > 1e-3


# RoI pooling.


@pytest.mark.parametrize("side", [3, 7, 16])
def test_a_part_over_a_cell_is_that_cell(side):
    cells = torch.arange(side)
    left, top = (axis.flatten() / side for axis in torch.meshgrid(cells, cells, indexing="xy"))
    boxes = torch.stack([left, top, left + 1 / side, top + 1 / side], -1)
    shares, known = cover(boxes[None], side)
    assert known.all()
    torch.testing.assert_close(shares[0], torch.eye(side * side), atol=1e-4, rtol=0)


def test_a_part_is_the_mean_of_what_lies_under_it():
    """Cells of ten pixels each, the box's edges between pixels."""
    grid = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    pixels = grid.repeat_interleave(10, 0).repeat_interleave(10, 1)
    shares, known = cover(torch.tensor([[[7, 12, 29, 33], [0, 0, 40, 40], [21, 4, 22, 6]]]) / 40, 4)
    plain = torch.stack([pixels[12:33, 7:29].mean(), grid.mean(), pixels[4:6, 21].mean()])
    assert known.all()
    torch.testing.assert_close((shares @ grid.flatten())[0], plain)


def test_what_is_marked_changes_the_parts_over_it_alone():
    part = make("roi", {"part_width": 8}, PARTS)
    inputs = {**draw(PARTS, 1), "parts": torch.tensor([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]])}
    marked = {**inputs, "tokens": inputs["tokens"].clone()}
    marked["tokens"][:, 15] += 1  # the last cell: below, on the right
    before, after = part(inputs)[0], part(marked)[0]
    assert torch.equal(before[:20], after[:20]) and not torch.isclose(before[20:], after[20:]).all()
    assert torch.equal(before[:12], inputs["cls"][0])


@pytest.mark.parametrize("box", [[0, 0, 0, 0], [0.5, 0.2, 0.5, 0.4], [1.5, 0, 2, 1]])
def test_a_part_that_is_not_there_is_a_vector_that_learns(box):
    part = make("roi", {"part_width": 8}, PARTS)
    inputs = {**draw(PARTS, 2), "parts": torch.tensor([[[0, 0, 1, 1], box]] * 2).float()}
    vectors = part(inputs)
    assert torch.equal(vectors[0, 20:], part.missing[1]) and vectors.isfinite().all()
    vectors.sum().backward()
    assert part.missing.grad[1].eq(2).all() and part.missing.grad[0].eq(0).all()


def test_a_part_has_a_width():
    with pytest.raises(InputError, match="part_width 0 is not at least 1"):
        make("roi", {"part_width": 0}, PARTS)


# LaRE over its noise steps: three of them, with two draws each.

STEPS = {"cls": (12,), "tokens": (16, 24), "lare_steps": (12, 2, 8, 8)}


@pytest.mark.parametrize("attention", ["esa", "cross_attn"])
def test_tokens_under_all_steps_are_the_attention_over_their_channels(attention):
    inputs = draw(STEPS)
    part = make("lare_tokens_t", {"attention": attention, "heads": 2}, STEPS).eval()
    joined = {**SMALL, "lare": (12, 8, 8)}
    plain = make(attention, {"heads": 2}, joined).eval()
    given = {**inputs, "lare": inputs["lare_steps"].mean(2)}
    torch.testing.assert_close(part(inputs), plain(given))
    torch.testing.assert_close(part.attention(inputs), plain.attention(given))


def test_a_trajectory_tells_level_spread_of_places_and_draws_and_movement_of_each_step():
    maps = draw(STEPS)["lare_steps"]
    found = describe_steps(maps).unflatten(1, (4, 4))
    for row, step, channel in itertools.product(range(3), range(3), range(4)):
        drawn = maps[row, 4 * step + channel].numpy()
        mean = drawn.mean(0)
        before = maps[row, 4 * (step - 1) + channel].numpy().mean(0) if step else mean
        expected = mean.mean(), mean.std(), drawn.std(0), mean - before
        told = [float(one[channel, step]) for one in found[row]]
        roots = [np.sqrt(np.square(one).mean()) for one in expected[2:]]
        assert told == pytest.approx([*expected[:2], *roots], abs=1e-5)


def test_a_trajectory_sees_draws_that_differ_and_steps_that_change_places():
    maps = draw(STEPS)["lare_steps"]
    part = make("lare_trajectory", shapes=STEPS).eval()
    same_draws = maps.mean(2, keepdim=True).expand_as(maps)
    other_order = torch.cat([maps[:, 4:8], maps[:, :4], maps[:, 8:]], 1)
    for other in (same_draws, other_order):
        assert not torch.allclose(part({"lare_steps": other}), part({"lare_steps": maps}))


def test_one_draw_has_no_spread():
    found = describe_steps(draw(STEPS)["lare_steps"][:, :, :1])
    assert found.isfinite().all() and not found[:, 8:12].any()


@pytest.mark.parametrize("name", ["lare_tokens_t", "lare_trajectory"])
def test_a_store_with_one_step_has_no_trajectory(name):
    with pytest.raises(InputError, match="several noise steps, and the store has one") as caught:
        make(name, shapes={**STEPS, "lare_steps": (4, 2, 8, 8)})
    assert "timesteps" in str(caught.value)


def test_all_steps_are_standardised_by_step_and_take_as_many_draws_as_are_asked_for():
    stored = torch.randn(64, 2, 3, 4, 6, 6) * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1, 1) + 5
    config = DetectorConfig("lare_trajectory", "linear", draws=2)
    detector = Detector(config, {"lare": (2, 3, 4, 6, 6)})
    detector.fit_statistics([{"lare": stored}])
    found = detector.inputs({"lare": stored})["lare_steps"]
    assert found.shape == (64, 8, 2, 6, 6)
    torch.testing.assert_close(found.mean((0, 2, 3, 4)), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std((0, 2, 3, 4)), torch.ones(8), atol=1e-3, rtol=0)
    with pytest.raises(InputError, match="4 LaRE draws"):
        Detector(DetectorConfig("lare_trajectory", "linear", draws=4), {"lare": (2, 3, 4, 6, 6)})
