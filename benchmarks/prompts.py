"""A training step of `cross_attn --query mean` with `cocoop`, three ways side by side in one run.

    python benchmarks/prompts.py [--batch N] [--rounds N] [--device NAME] [--json]

Sizes are ViT-L/14's (256 tokens of 1024; a text tower of 12 blocks, 768 wide), weights random and
the same for all ways, precision float32. A step is forward and backward to every learned weight.
Published: open_clip's text tower over all 77 positions, one image after another, and a fusion that
projects every token. Batched: the same tower over all images at once, with our fusion, so that it
differs in the text side alone. Every round each way has one turn, in a new order; ratios are
medians of the rounds' own ratios. Differences are the largest of the logits and of the gradients,
dropout off, each relative to the largest value.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from fusion import plain as plain_fusion  # type: ignore[import-not-found]  # stands beside it
from open_clip.transformer import QuickGELU, TextTransformer
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from clare.heads.base import Inputs, Shapes
from clare.heads.classifiers.cocoop import CoCoOp, CoCoOpSettings
from clare.heads.fusion.cross_attn import CrossAttnFusion, CrossAttnSettings
from clare.heads.layers.cosine import cosines, unit
from clare.heads.text.facts import TowerFacts
from clare.heads.text.prompts import CLASS_NAMES
from clare.heads.text.tower import TextTower

OURS, PUBLISHED, BATCHED = "ours", "published", "77 positions, batched"
SHAPES: Shapes = {"cls": (768,), "tokens": (256, 1024), "lare": (4, 32, 32)}
AIMS = {PUBLISHED: 10.0, BATCHED: 6.0}

Way = Callable[[Inputs], torch.Tensor]


class Model(nn.Module):
    """What is trained, and open_clip's tower with the same weights for the plain ways."""

    tokens: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fusion = CrossAttnFusion(CrossAttnSettings(query="mean"), SHAPES)
        sizes: dict[str, Any] = {"context_length": 77, "width": 768, "heads": 12, "layers": 12}
        self.tower = TextTransformer(**sizes, output_dim=768, act_layer=QuickGELU)
        self.tower.eval().requires_grad_(False)
        tensors = {**self.tower.state_dict(), "logit_scale": torch.tensor(100.0).log()}
        text = TextTower(tensors, TowerFacts(sizes, 768, True, 77, "SimpleTokenizer"))
        self.classifier = CoCoOp(CoCoOpSettings(), self.fusion.width, text)
        names = [f"{'X ' * 16}{name}." for name in CLASS_NAMES]
        self.register_buffer("tokens", text.tokenize(names))

    def ours(self, inputs: Inputs) -> torch.Tensor:
        return self.classifier(self.fusion(inputs))

    def published(self, inputs: Inputs) -> torch.Tensor:
        vectors = plain_fusion(self.fusion, inputs)
        prompts = self._prompts(vectors)
        return self._logits(vectors, torch.stack([self._read(of_one) for of_one in prompts]))

    def batched(self, inputs: Inputs) -> torch.Tensor:
        vectors = self.fusion(inputs)
        prompts = self._prompts(vectors)
        texts = self._read(prompts.flatten(0, 1)).unflatten(0, prompts.shape[:2])
        return self._logits(vectors, texts)

    def _prompts(self, vectors: torch.Tensor) -> torch.Tensor:
        """Embeddings of all prompts, (B, 2, 77, 768)."""
        contexts = self.classifier.prompts(unit(vectors))[:, None].expand(-1, 2, -1, -1)
        words = self.tower.token_embedding(self.tokens).expand(len(vectors), -1, -1, -1)
        return torch.cat([words[:, :, :1], contexts, words[:, :, 17:]], 2)

    def _read(self, prompts: torch.Tensor) -> torch.Tensor:
        """(n, 77, 768) to the text vectors (n, 768)."""
        x = prompts + self.tower.positional_embedding
        x = self.tower.ln_final(self.tower.transformer(x, attn_mask=self.tower.attn_mask))
        ends = self.tokens.argmax(-1).repeat(len(prompts) // 2)
        return x[torch.arange(len(x)), ends] @ self.tower.text_projection

    def _logits(self, vectors: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        projected = self.classifier.text_proj(texts)
        return self.classifier.text.logit_scale * cosines(vectors, projected)


def main() -> None:
    options = _options()
    torch.manual_seed(0)
    model = Model().to(options.device)
    ways: dict[str, Way] = {OURS: model.ours, PUBLISHED: model.published, BATCHED: model.batched}
    inputs, labels = _draw(options.batch, torch.device(options.device))
    seconds = race(model, ways, inputs, labels, options.rounds)
    report = {
        "batch": options.batch,
        "rounds": options.rounds,
        "ms": {way: statistics.median(found) * 1000 for way, found in seconds.items()},
        "ratios": {way: _ratio(seconds[way], seconds[OURS]) for way in (PUBLISHED, BATCHED)},
        "differ": differences(model, ways, inputs, labels),
        "aims": AIMS,
    }
    print(json.dumps(report, indent=2)) if options.json else show(report)


def race(
    model: Model, ways: Mapping[str, Way], inputs: Inputs, labels: torch.Tensor, rounds: int
) -> dict[str, list[float]]:
    """Seconds of every way's step in every round."""
    model.train()
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for number in rng.permutation(len(ways)):
            way = list(ways)[number]
            _wait(labels)
            began = time.perf_counter()
            step(model, ways[way], inputs, labels)
            _wait(labels)
            if turn:  # the first round warms up
                found[way].append(time.perf_counter() - began)
    return found


def step(model: Model, way: Way, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
    """Forward and backward; gives the logits."""
    model.zero_grad()
    logits = way(inputs)
    functional.cross_entropy(logits, labels).backward()
    return logits.detach()


def differences(
    model: Model, ways: Mapping[str, Way], inputs: Inputs, labels: torch.Tensor
) -> dict[str, list[float]]:
    """How far each plain way's logits and gradients are from ours."""
    model.eval()
    found: dict[str, list[float]] = {}
    mine: list[torch.Tensor] = []
    for name, way in ways.items():
        logits = step(model, way, inputs, labels)
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        if name == OURS:
            mine = [logits, *gradients]
            continue
        largest = max(float(one.abs().max()) for one in gradients)
        pairs = list(zip(mine, [logits, *gradients], strict=True))
        apart = [float((one - other).abs().max()) for one, other in pairs]
        found[name] = [apart[0] / float(logits.abs().max()), max(apart[1:]) / largest]
    return found


def show(report: dict[str, Any]) -> None:
    title = f"training step, float32, batch {report['batch']}, {report['rounds']} rounds"
    table = Table(title=title)
    for column in ("way", "ms", "ours is faster", "spread", "aim", "differ"):
        table.add_column(column, justify="left" if column == "way" else "right")
    table.add_row(OURS, f"{report['ms'][OURS]:.0f}")
    for way, ratio in report["ratios"].items():
        logits, gradients = report["differ"][way]
        table.add_row(
            way,
            f"{report['ms'][way]:.0f}",
            f"{ratio['median']:.1f}x",
            f"{ratio['low']:.1f}-{ratio['high']:.1f}",
            f">= {report['aims'][way]:g}x",
            f"{logits:.0e}, {gradients:.0e}",
        )
    Console().print(table)


def _ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def _draw(batch: int, device: torch.device) -> tuple[Inputs, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs: Any = {
        role: torch.randn(batch, *shape, generator=generator).to(device)
        for role, shape in SHAPES.items()
    }
    return inputs, (torch.arange(batch) % 2).to(device)


def _wait(labels: torch.Tensor) -> None:
    if labels.is_cuda:
        torch.cuda.synchronize()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
