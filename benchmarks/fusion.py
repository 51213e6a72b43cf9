"""One training step of a fusion against the published way to compute it, side by side in one run.

    python benchmarks/fusion.py [--batch N] [--rounds N] [--device NAME] [--json]

Shapes are ViT-L/14's (256 tokens of 1024 and their mean), weights random and the same for both,
precision float32. A step is forward and backward to every weight; features take no gradient. The
published way runs each convolution over the map and projects keys and values of all 257 tokens.
Every round each contestant has one turn, in a new order; ratios are medians of the rounds' own
ratios. Differences are the largest of the vectors and of the gradients, dropout off, each relative
to the largest value.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from clare.heads import fusion
from clare.heads.base import Fusion, Inputs, Role, Shapes
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


def main() -> None:
    options = _options()
    device = torch.device(options.device)
    inputs = _draw(options.batch, device)
    rng = np.random.default_rng(0)
    report: dict[str, Any] = {"batch": options.batch, "rounds": options.rounds, "cases": []}
    for title, name, settings, aim in CASES:
        part = _make(name, settings).to(device)
        ways: dict[str, Forward] = {"ours": part, "published": partial(plain, part)}
        seconds = race(part, ways, inputs, options.rounds, rng)
        ratios = [p / o for p, o in zip(seconds["published"], seconds["ours"], strict=True)]
        report["cases"].append(
            {
                "case": title,
                "ms": {way: statistics.median(s) * 1000 for way, s in seconds.items()},
                "ratio": statistics.median(ratios),
                "low": min(ratios),
                "high": max(ratios),
                "aim": aim,
                **differences(part, ways, inputs),
            }
        )
    print(json.dumps(report, indent=2)) if options.json else show(report)


def race(
    part: Fusion, ways: dict[str, Forward], inputs: Inputs, rounds: int, rng: np.random.Generator
) -> dict[str, list[float]]:
    """Seconds of every way's step in every round."""
    part.train()
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for number in rng.permutation(len(ways)):
            way = list(ways)[number]
            _wait(inputs)
            began = time.perf_counter()
            step(part, ways[way], inputs)
            _wait(inputs)
            if turn:  # the first round warms up
                found[way].append(time.perf_counter() - began)
    return found


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
    return {"vectors_differ": of_vectors, "gradients_differ": apart / largest}


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


def show(report: dict[str, Any]) -> None:
    table = Table(title=f"fusion step, float32, batch {report['batch']}, {report['rounds']} rounds")
    for column in ("fusion", "published ms", "ours ms", "ratio", "spread", "aim", "differ"):
        table.add_column(column, justify="left" if column == "fusion" else "right")
    for case in report["cases"]:
        table.add_row(
            case["case"],
            f"{case['ms']['published']:.0f}",
            f"{case['ms']['ours']:.0f}",
            f"{case['ratio']:.1f}x",
            f"{case['low']:.1f}-{case['high']:.1f}",
            "" if case["aim"] is None else f">= {case['aim']:g}x",
            f"{case['vectors_differ']:.0e}, {case['gradients_differ']:.0e}",
        )
    Console().print(table)


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


def _wait(inputs: Inputs) -> None:
    if inputs["cls"].is_cuda:
        torch.cuda.synchronize()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
