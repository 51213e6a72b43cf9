"""Image towers as torch modules, read as the fields of an extractor."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from clare.models.runtime import Runtime


def scale_and_shift(
    mean: Sequence[float], std: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, 3, 1, 1) each: pixels of 0 to 255 times the first, plus the second, are normalised.

    Args:
        mean: that is subtracted from pixels of 0 to 1; R, G, B.
        std: that they are divided by then.
    """
    deviation = torch.tensor(std)
    scale, shift = 1 / (255 * deviation), -torch.tensor(mean) / deviation
    return scale.view(1, 3, 1, 1), shift.view(1, 3, 1, 1)


class Tower(nn.Module):
    """A tower in its place, whose ``forward_intermediates`` is run.

    Args:
        visual: the tower.
        tokens: the layer that each field of tokens holds, by the tower's own numbers.
        runtime: where and how it runs.
        indices: the layers that are asked for; those of the tokens if left out.
        how: further settings of ``forward_intermediates``.

    Attributes:
        has_prompts: whether learned tokens stand behind the patches in all but its last block.
    """

    has_prompts = False

    def __init__(
        self,
        visual: Any,
        tokens: Mapping[str, int],
        runtime: Runtime,
        indices: list[int] | None = None,
        **how: Any,
    ) -> None:
        super().__init__()
        self.visual = runtime.place(visual)
        for module in visual.modules():
            if isinstance(module, _BatchNorm):
                module.float()  # running variances do not fit half precision
        self._tokens, self._how = dict(tokens), how
        self._indices = indices or sorted(set(tokens.values()))
        self._compile = runtime.compile
        self._compiled: Any = None

    def keep_residuals_float(self) -> None:
        """Under autocast, add up a transformer's residual stream in float32, as its norms need.

        What follows the embedding of patches would else take over its lower precision.
        """
        inside: Any = getattr(self.visual, "trunk", self.visual)
        embed = getattr(inside, "patch_embed", getattr(inside, "conv1", None))
        if embed is not None and not hasattr(inside, "attnpool"):
            embed.register_forward_hook(_to_float)

    def fold_projections(self) -> None:
        """Where gradients are asked for, let attention multiply all tokens in one product.

        torch's attention turns (B, N, D) to (N, B, D), and where its weights stay and tokens need a
        gradient it then multiplies token by token: N small products, forward and backward.
        """
        for module in self.modules():
            if isinstance(module, nn.MultiheadAttention) and module.batch_first:
                module.register_forward_pre_hook(_lay_out)

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks, or stages, that it runs one after the other."""
        inside: Any = getattr(self.visual, "trunk", self.visual)
        if hasattr(inside, "attnpool"):
            layers = (inside.layer1, inside.layer2, inside.layer3, inside.layer4)
            return [block for layer in layers for block in layer]
        if hasattr(inside, "transformer"):
            return list(inside.transformer.resblocks)
        return list(getattr(inside, "blocks", getattr(inside, "stages", ())))

    @property
    def side(self) -> int:
        """Of its images, in pixels."""
        visual: Any = self.visual
        own = getattr(visual, "image_size", None) or visual.patch_embed.img_size
        return int(own[0] if isinstance(own, tuple | list) else own)

    def read_by(self, fields: Collection[str]) -> list[str]:
        """The parameters that one of some fields depends on, in their order.

        Those that gradients would reach from a pass of one blank image, in float32.

        Args:
            fields: of the tower; those of layers that it was not asked for may be among them.
        """
        shared: dict[int, Any] = {id(one): _in_float32(one) for one in self.buffers()}
        shared |= {id(one): nn.Parameter(_in_float32(one)) for one in self.parameters()}
        probe = copy.deepcopy(self, shared).eval()
        last = self._indices[-1]
        numbers = {n: k for n in fields if (k := layer_of(n)) is not None and k <= last}
        probe._tokens = {**self._tokens, **numbers}
        probe._indices = sorted({*self._indices, *numbers.values()})
        probe._compile = False
        device = next(self.parameters()).device
        with torch.enable_grad():
            found = probe(torch.zeros(1, 3, self.side, self.side, device=device))
        reached = _begun_with(found[name] for name in fields if name in found)
        return [name for name, one in probe.named_parameters() if id(one) in reached]

    def run(self, images: torch.Tensor) -> Any:
        """What the tower makes of normalised images (B, 3, S, S)."""
        visual: Any = self.visual
        if self._compile and self._compiled is None:  # not before, since a copy may be tuned
            self._compiled = torch.compile(visual.forward_intermediates, dynamic=False)
        run = self._compiled or visual.forward_intermediates
        return run(images, indices=self._indices, **self._how)

    def tokens(self, layers: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """The fields of tokens, (B, N, D), from the layers that were asked for.

        The last one has the patches alone; behind those of others learned tokens may stand.
        """
        flat = dict(zip(self._indices, map(_flat, layers), strict=True))
        count = flat[self._indices[-1]].shape[1] if self.has_prompts else None
        return {name: flat[layer][:, :count] for name, layer in self._tokens.items()}


class ClipTower(Tower):
    """A tower of open_clip: normalised images (B, 3, S, S) to field -> tensor, in one pass.

    Args:
        visual: the tower, without the projection of its class vector.
        projection: (D, E), applied to the class vector in float32; None where there is none.
        tokens: as of `Tower`, like what follows.
        vectors: the layer whose class token each further field holds.
    """

    projection: nn.Parameter | None

    def __init__(
        self,
        visual: Any,
        projection: torch.Tensor | None,
        tokens: Mapping[str, int],
        runtime: Runtime,
        indices: list[int] | None = None,
        vectors: Mapping[str, int] = MappingProxyType({}),
        **how: Any,
    ) -> None:
        super().__init__(visual, tokens, runtime, indices, **how)
        self._of_layers = dict(vectors)
        own = None if projection is None else projection.detach().float().to(runtime.device)
        matrix = None if own is None else nn.Parameter(own, requires_grad=False)
        self.register_parameter("projection", matrix)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """``clip_cls``, ``clip_cls_pre`` where there is a projection, and the tokens."""
        output = self.run(images)
        vectors = self._vectors(output["image_features"].float())
        if self._of_layers:
            by_number = dict(zip(self._indices, output["image_intermediates_prefix"], strict=True))
            vectors |= {name: by_number[layer][:, 0] for name, layer in self._of_layers.items()}
        return {**vectors, **self.tokens(output["image_intermediates"])}

    def go_on(
        self, patches: torch.Tensor, cls: torch.Tensor, after: int
    ) -> dict[str, torch.Tensor]:
        """The fields that depend on later blocks alone, of what one of the blocks made.

        Args:
            patches: (B, N, D) after the block.
            cls: the class token (B, D) after it.
            after: the block, zero-based; of open_clip's own vision transformers.
        """
        visual: Any = self.visual
        stream, layers = torch.cat([cls[:, None], patches], 1), {}
        for number, block in enumerate(self.blocks[after + 1 :], after + 1):
            stream = layers[number] = block(stream)
        pooled, _ = visual._pool(stream)  # as its own forward pass ends
        found = self._vectors(pooled.float())
        found |= {n: layers[k][:, 0] for n, k in self._of_layers.items() if k in layers}
        return found | {n: layers[k][:, 1:] for n, k in self._tokens.items() if k in layers}

    def _vectors(self, pre: torch.Tensor) -> dict[str, torch.Tensor]:
        """The class vectors (B, D), also times the projection (D, E) if there is one."""
        if self.projection is None:
            return {"clip_cls": pre}
        # Row by row: in a product of few rows the last bits depend on the place in the batch.
        rows = torch.bmm(pre[:, None], self.projection.expand(pre.shape[0], -1, -1))
        return {"clip_cls": rows[:, 0], "clip_cls_pre": pre}


class TimmTower(Tower):
    """A vision transformer of timm: normalised images to field -> tensor, in one pass."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """``tower_pooled``, ``tower_cls`` where there is a class token, and the tokens."""
        visual: Any = self.visual
        output, layers = self.run(images)  # all tokens after the final norm; the patches of blocks
        vectors = {"tower_pooled": visual.forward_head(output, pre_logits=True)}
        if getattr(visual, "cls_token", None) is not None:
            vectors["tower_cls"] = output[:, 0]
        return {**vectors, **self.tokens(layers)}


def layer_of(field: str) -> int | None:
    """The layer that a field's name ends with, by the tower's own numbers; None if with none."""
    number = field.rpartition("_")[2].removeprefix("layer")
    return int(number) if number.isdigit() else None


def _in_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory where it is float32 already, or of no floats."""
    return tensor.detach().float() if tensor.is_floating_point() else tensor


def _begun_with(results: Iterable[torch.Tensor]) -> set[int]:
    """The ids of the parameters that results were computed with."""
    seen: set[Any] = set()
    left: list[Any] = [one.grad_fn for one in results]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [before for before, _ in node.next_functions]
    return {id(node.variable) for node in seen if hasattr(node, "variable")}


def _to_float(module: nn.Module, given: Any, output: torch.Tensor) -> torch.Tensor:
    return output.float()


def _lay_out(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The same values, which lie one after the other once they are turned to (N, B, D).

    One tensor stays one: by that attention knows that queries, keys and values are the same.
    """
    tokens, *others = given
    if not torch.is_grad_enabled() or any(one is not tokens for one in others):
        return None
    turned = tokens.transpose(0, 1).contiguous().transpose(0, 1)
    return (turned,) * len(given)


def _flat(layer: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) to (B, h * w, C); what is tokens already stays."""
    return layer.flatten(2).transpose(1, 2) if layer.ndim == 4 else layer
