"""A training step of `cross_attn --query mean` with `cocoop`, three ways side by side in one run.

    python -m benchmarks.prompts

Sizes are ViT-L/14's (256 tokens of 1024; a text tower of 12 blocks, 768 wide), weights random and
the same for all ways, precision float32. A step is forward and backward to every learned weight.
Published: open_clip's text tower over all 77 positions, one image after another, and a fusion that
projects every token. Batched: the same tower over all images at once, with our fusion, so that it
differs in the text side alone. How far the ways are apart is the largest difference of the logits
and of the gradients, dropout off, each relative to the largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from open_clip.transformer import QuickGELU, TextTransformer
from torch import nn
from torch.nn import functional

from benchmarks.fusion import plain as plain_fusion
from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main, waiter
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


@dataclass(frozen=True)
class Sizes:
    batch: int = 8
    device: str = "cpu"


def parts(sizes: Sizes, folder: Path) -> Parts:
    torch.manual_seed(0)
    model = Model().to(sizes.device)
    ways: dict[str, Way] = {OURS: model.ours, PUBLISHED: model.published, BATCHED: model.batched}
    inputs, labels = _draw(sizes.batch, torch.device(sizes.device))
    yield Race(
        "training step",
        {name: partial(turn, model, way, inputs, labels) for name, way in ways.items()},
        [Ratio(OURS, other, aim) for other, aim in AIMS.items()],
        wait=waiter(sizes.device),
        facts=lambda: differences(model, ways, inputs, labels),
    )


def turn(model: Model, way: Way, inputs: Inputs, labels: torch.Tensor) -> None:
    """A step of training."""
    model.train()
    step(model, way, inputs, labels)


def step(model: Model, way: Way, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
    """Forward and backward; gives the logits."""
    model.zero_grad()
    logits = way(inputs)
    functional.cross_entropy(logits, labels).backward()
    return logits.detach()


def differences(
    model: Model, ways: Mapping[str, Way], inputs: Inputs, labels: torch.Tensor
) -> dict[str, float]:
    """How far each plain way's logits and gradients are from ours."""
    model.eval()
    found: dict[str, float] = {}
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
        found[f"{name}: logits are apart by"] = apart[0] / float(logits.abs().max())
        found[f"{name}: gradients"] = max(apart[1:]) / largest
    return found


def _draw(batch: int, device: torch.device) -> tuple[Inputs, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs: Any = {
        role: torch.randn(batch, *shape, generator=generator).to(device)
        for role, shape in SHAPES.items()
    }
    return inputs, (torch.arange(batch) % 2).to(device)


SCRIPT = Script("prompts", __doc__, parts, Sizes(), toy=Sizes(1), full=Sizes(16))

if __name__ == "__main__":
    main(SCRIPT)
