"""One training step of a fusion against the published way to compute it, side by side in one run.

    python -m benchmarks.fusion

Shapes are ViT-L/14's (256 tokens of 1024 and their mean), weights random and the same for both,
precision float32. A step is forward and backward to every weight; features take no gradient. The
published way runs each convolution over the map and projects keys and values of all 257 tokens.
Where all queries ask, the limit is a step of what is left whatever algebra does (`limit`).
How far both are apart is the largest difference of the vectors and of the gradients, dropout off,
each relative to the largest value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main, waiter
from clare.heads import fusion
from clare.heads.base import Fusion, Inputs, Role, Shapes
from clare.heads.layers.attention import FEW
from clare.plugins import find_part
from clare.settings import build_settings

SHAPES: Shapes = {"cls": (768,), "tokens": (256, 1024), "lare": (4, 32, 32)}
CASES: list[tuple[str, str, dict[str, Any], float | None]] = [
    ("esa", "esa", {}, 8.0),
    ("cross_attn, mean query", "cross_attn", {"query": "mean"}, None),
    ("cross_attn, all queries", "cross_attn", {"query": "all"}, None),
]
"""What is shown, fusion, settings and the ratio aimed at."""

Forward = Callable[[Inputs], torch.Tensor]


@dataclass(frozen=True)
class Sizes:
    batch: int = 64
    device: str = "cpu"


def parts(sizes: Sizes, folder: Path) -> Parts:
    inputs = _draw(sizes.batch, torch.device(sizes.device))
    for title, name, settings, aim in CASES:
        part = _make(name, settings).to(sizes.device)
        ways: dict[str, Forward] = {"ours": part, "published": partial(plain, part)}
        turns = {way: partial(turn, part, forward, inputs) for way, forward in ways.items()}
        ratios = [Ratio("ours", "published", aim)]
        if settings.get("query") == "all":
            turns["limit"] = partial(turn, part, partial(limit, part), inputs)
            ratios.append(Ratio("ours", "limit", 0.8))
        yield Race(
            title,
            turns,
            ratios,
            share=0.3,
            wait=waiter(sizes.device),
            facts=partial(differences, part, ways, inputs),
        )


def turn(part: Fusion, forward: Forward, inputs: Inputs) -> None:
    """A step of training."""
    part.train()
    step(part, forward, inputs)


def step(part: Fusion, forward: Forward, inputs: Inputs) -> torch.Tensor:
    """Forward and backward; gives the vectors."""
    part.zero_grad()
    vectors = forward(inputs)
    coefficients = torch.linspace(-1, 1, vectors.shape[1], device=vectors.device)
    (vectors * coefficients).mean().backward()
    return vectors.detach()


def differences(part: Fusion, ways: dict[str, Forward], inputs: Inputs) -> dict[str, float]:
    """How far the ways are apart, relative to the largest value."""
    part.eval()
    vectors, gradients = [], []
    for forward in ways.values():
        vectors.append(step(part, forward, inputs))
        gradients.append([p.grad.clone() for p in part.parameters() if p.grad is not None])
    pairs = list(zip(*gradients, strict=True))
    largest = max(float(one.abs().max()) for one, _ in pairs)
    apart = max(float((one - other).abs().max()) for one, other in pairs)
    of_vectors = float((vectors[0] - vectors[1]).abs().max() / vectors[1].abs().max())
    return {"vectors are apart by": of_vectors, "gradients": apart / largest}


def plain(part: Any, inputs: Inputs) -> torch.Tensor:
    """The vectors of an `esa` or `cross_attn`, computed as published."""
    tokens, lare = inputs["tokens"], inputs["lare"]
    side = int(tokens.shape[1] ** 0.5)
    maps = functional.adaptive_avg_pool2d(lare, side)
    steps: Any = part.spread if isinstance(part.spread, torch.nn.ModuleList) else [part.spread]
    for convolution in steps:
        maps = functional.conv2d(maps, convolution.weight[:, :, None, None], convolution.bias)
    mapped, bias = _with_mean(maps.flatten(2).mT), None
    keys_from = _with_mean(tokens) + part.attend.position
    if hasattr(part, "position"):
        queries = mapped + part.position
        queries = queries[:, :1] if part.settings.query == "mean" else queries[:, 1:]
    else:
        queries, bias = keys_from[:, :1], mapped.mT[:, :, None]
    found = plain_attention(part.attend, queries, keys_from, bias)
    spatial = part.attend.norm(queries + found).mean(1)
    channel = part.channel(tokens.mean(1), lare)
    return torch.cat([part.image(inputs["cls"]), spatial, channel], 1)


def plain_attention(
    attend: Any, queries: torch.Tensor, keys_from: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Every key and value projected; softmax, dropout and products one after another."""
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
    weights = attend.dropout(torch.softmax(scores if bias is None else scores + bias, -1))
    answers: torch.Tensor = attend.out((weights @ v).transpose(1, 2).flatten(2))
    dropped: torch.Tensor = attend.dropout(answers)
    return dropped


def limit(part: Any, inputs: Inputs) -> torch.Tensor:
    """What no algebra takes away of `cross_attn` with all queries: (B, C) from the same weights.

    Keys and values of every token, attention, and for every query the way out, dropout and
    LayerNorm: each query drops and normalises something else, so nothing of it can be done once for
    all of them. Queries cost nothing here, nor do the mean token, positions and other branches.
    """
    attend, averaged = part.attend, []
    split = (attend.heads, attend.head_dim)
    weight = torch.cat([attend.key.weight, attend.value.weight])
    asking = part.position[1:]
    asked = attend.query(asking).unflatten(-1, split).transpose(0, 1)
    dropout = attend.dropout.p if part.training else 0.0
    every = inputs["tokens"]
    for tokens in every.split(FEW if every.device.type == "cpu" else len(every)):
        both = functional.linear(tokens, weight).unflatten(-1, (2, *split))
        keys, values = both.permute(2, 0, 3, 1, 4)
        answers = functional.scaled_dot_product_attention(
            asked.expand_as(keys), keys, values, dropout_p=dropout
        )
        found = attend.dropout(attend.out(answers.transpose(1, 2).flatten(2)))
        averaged.append(attend.norm(asking + found).mean(1))
    return torch.cat(averaged)


def _make(name: str, settings: dict[str, Any]) -> Fusion:
    torch.manual_seed(0)
    found = find_part(fusion, name, Fusion)  # type: ignore[type-abstract]
    return found(build_settings(name, found.Settings, settings), SHAPES)


def _draw(batch: int, device: torch.device) -> Inputs:
    generator = torch.Generator().manual_seed(1)
    roles: list[Role] = ["cls", "tokens", "lare"]
    return {
        role: torch.randn(batch, *SHAPES[role], generator=generator).to(device) for role in roles
    }


def _with_mean(values: torch.Tensor) -> torch.Tensor:
    return torch.cat([values.mean(1, keepdim=True), values], 1)


SCRIPT = Script("fusion", __doc__, parts, usual=Sizes(32), toy=Sizes(2), full=Sizes(64))

if __name__ == "__main__":
    main(SCRIPT)
