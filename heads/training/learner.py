"""Detectors that learn: one, or several of one shape that take each step together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from clare.heads.base import Inputs
from clare.heads.config import TrainConfig
from clare.heads.detector import Detector
from clare.heads.training.losses import (
    alignment,
    class_weights,
    cross_entropy,
    slerp_within_class,
    uniformity,
)
from clare.heads.training.optimizers import Optimizer, clip_rows

STACKED_PARAMETERS = 250_000
"""Parameters, learning or not, up to which it is the calls that take time, not the arithmetic.

With two million (``lare`` + ``linear``) eight runs took 1.8 times as long together as one by one.
"""


class Objective(nn.Module):
    """The loss of a detector on a batch, or its margins.

    Args:
        detector: whose fusion and classifier are used.
        config: weights of the losses.
        weights: (2,) of the classes; None where they count as they come.
    """

    def __init__(
        self, detector: Detector, config: TrainConfig, weights: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.fusion, self.classifier = detector.fusion, detector.classifier
        self.config = config
        self.weights = weights

    def forward(
        self,
        inputs: Inputs,
        labels: torch.Tensor | None = None,
        uniform: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """A scalar; margins (B,) where no labels are given.

        Args:
            inputs: of the fusion.
            labels: (B,).
            uniform: (2, B) random numbers for slerp.
        """
        vectors = self.fusion(inputs)
        if labels is None:
            logits = self.classifier(vectors).double()
            return logits[:, 1] - logits[:, 0]
        if uniform is not None:
            vectors = slerp_within_class(vectors, labels, uniform)
        config = self.config
        loss = cross_entropy(self.classifier(vectors), labels, self.weights, config.label_smoothing)
        if config.alignment:
            loss = loss + config.alignment * alignment(vectors, labels)
        if config.uniformity:
            loss = loss + config.uniformity * uniformity(vectors)
        return loss


def can_stack(detector: Detector, config: TrainConfig) -> bool:
    """Whether runs of this shape take a step faster together than one after another.

    Not with dropout, whose random numbers each run keeps for itself; nor where a single run fills
    the machine: with many parameters, or with a text tower that reads each image's own prompts.
    In bfloat16 a stacked product rounds otherwise than a single one, and the run would not be the
    same.
    """
    if config.precision != "float32":
        return False
    prompts = getattr(detector.classifier, "prompts", None)
    own_prompts = getattr(prompts, "meta_net", None) is not None
    small = sum(parameter.numel() for parameter in detector.parameters()) <= STACKED_PARAMETERS
    return small and not own_prompts and not _has_dropout(detector)


class Learner:
    """Runs of one shape, whose parameters are the rows of one matrix.

    A run's values do not depend on which others stand beside it. Random numbers of a step follow
    from the run's seed and the step's number alone, so there is no random state to save.

    Args:
        detectors: one a run, alike but for their parameters, on one device; left as they are until
            `write_back`.
        configs: one a run, alike but for seeds, rates, decay and momentum.
        labels: (N,) of all training rows, for the balance of the classes.
        compile: whether a single run's step goes through ``torch.compile``.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        configs: Sequence[TrainConfig],
        labels: torch.Tensor,
        *,
        compile: bool = False,
    ) -> None:
        self.configs = list(configs)
        self.detectors = list(detectors)
        template, config = detectors[0], configs[0]
        self.device = next(iter(template.state_dict().values())).device
        weights = class_weights(labels).to(self.device) if config.balance else None
        self._objective = Objective(template, config, weights)
        learning = set(template.parameters_to_train(config.scope))
        self._learning = [name for name, _ in template.named_parameters() if name in learning]
        self._frozen = [name for name, _ in template.named_parameters() if name not in learning]
        self._shapes = {name: value.shape for name, value in template.named_parameters()}
        self.values = self._matrix(self._learning).requires_grad_()
        self._constants = self._matrix(self._frozen)
        column = {
            name: torch.tensor([[getattr(c, name)] for c in configs], device=self.device)
            for name in ("weight_decay", "momentum")
        }
        self.optimizer = Optimizer(
            self.values.detach(), config.optimizer, column["weight_decay"], column["momentum"]
        )
        self._random = _has_dropout(template)
        self._compiled = torch.compile(self._one) if compile and len(configs) == 1 else self._one

    def __len__(self) -> int:
        return len(self.configs)

    def step(self, inputs: Inputs, labels: torch.Tensor, rates: Sequence[float]) -> torch.Tensor:
        """Learn from one batch.

        Args:
            inputs: of the fusion, shared by all runs.
            labels: (R, B).
            rates: R learning rates.

        Returns:
            (R,) losses, on the device.
        """
        self._objective.train()
        number = self.optimizer.steps
        uniform = None
        if self.configs[0].slerp:
            uniform = torch.stack([_uniform(c.seed, number, labels.shape[1]) for c in self.configs])
            uniform = uniform.to(self.device)
        with self._randomness(number):
            losses = self._each(inputs, labels, uniform)
            (gradient,) = torch.autograd.grad(losses.sum(), self.values)
        if self.configs[0].clip is not None:
            clip_rows(gradient, self.configs[0].clip)
        self.optimizer.step(gradient, torch.tensor(rates, device=self.device)[:, None])
        return losses.detach()

    @torch.no_grad()
    def margins(self, inputs: Inputs) -> torch.Tensor:
        """(R, B) float64, without dropout, and in float32 as they are once it is saved."""
        self._objective.eval()
        return self._each(inputs, None, None)

    def keep(self, runs: Sequence[int]) -> None:
        """Go on with some of the runs alone."""
        chosen = torch.tensor(list(runs), device=self.device)
        self.configs = [self.configs[run] for run in runs]
        self.detectors = [self.detectors[run] for run in runs]
        self.values = self.values.detach()[chosen].requires_grad_()
        self._constants = self._constants[chosen]
        self.optimizer.keep(self.values.detach(), chosen)

    def state(self, run: int) -> dict[str, torch.Tensor]:
        """A run's parameters and the optimiser's state for them, as flat tensors."""
        return {"values": self.values.detach()[run], **self.optimizer.row(run)}

    def set_state(self, run: int, state: Mapping[str, torch.Tensor], steps: int) -> None:
        """Take back what `state` gave, after ``steps`` steps."""
        with torch.no_grad():
            self.values[run] = state["values"].to(self.values)
        self.optimizer.set_row(run, state, steps)

    @torch.no_grad()
    def write_back(self, run: int, values: torch.Tensor) -> Detector:
        """A run's detector, with the parameters of a row of ``values``."""
        detector = self.detectors[run]
        own = dict(detector.named_parameters())
        for name, piece in self._pieces(values.to(self.device)[None], self._learning).items():
            own[name].copy_(piece[0])
        return detector

    def _each(
        self, inputs: Inputs, labels: torch.Tensor | None, uniform: torch.Tensor | None
    ) -> torch.Tensor:
        """What `Objective` gives, of every run."""
        config = self.configs[0]
        half: AbstractContextManager[object] = nullcontext()
        if config.precision == "bfloat16" and labels is not None:
            half = torch.autocast(self.device.type, torch.bfloat16)
        with half:
            parameters = self._pieces(self.values, self._learning)
            constants = self._pieces(self._constants, self._frozen)
            if len(self) > 1:
                given = (0, None, None if labels is None else 0, None if uniform is None else 0)
                with _SharedInputs():
                    return vmap(self._one, in_dims=given)(
                        {**parameters, **constants}, inputs, labels, uniform
                    )
            first = {name: value[0] for name, value in (parameters | constants).items()}
            one = self._compiled(
                first,
                inputs,
                None if labels is None else labels[0],
                None if uniform is None else uniform[0],
            )
            return one[None]

    def _one(
        self,
        parameters: Mapping[str, torch.Tensor],
        inputs: Inputs,
        labels: torch.Tensor | None,
        uniform: torch.Tensor | None,
    ) -> torch.Tensor:
        found: torch.Tensor = functional_call(
            self._objective, dict(parameters), (inputs, labels, uniform)
        )
        return found

    def _matrix(self, names: Sequence[str]) -> torch.Tensor:
        """(R, P) the named parameters of all runs."""
        rows = []
        for detector in self.detectors:
            own = dict(detector.named_parameters())
            pieces = [own[name].detach().flatten() for name in names]
            rows.append(torch.cat(pieces) if pieces else torch.empty(0, device=self.device))
        return torch.stack(rows)

    def _pieces(self, matrix: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """(R, *shape) by name; one split, whose gradient is one concatenation."""
        if not names:
            return {}
        sizes = [math.prod(self._shapes[name]) for name in names]
        pieces = matrix.split(sizes, dim=1)
        return {
            name: piece.unflatten(1, self._shapes[name]).contiguous()
            if self._shapes[name]
            else piece[:, 0]
            for name, piece in zip(names, pieces, strict=True)
        }

    @contextmanager
    def _randomness(self, step: int) -> Iterator[None]:
        """Dropout's random numbers, from the seed and the step."""
        if not self._random:
            yield
            return
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(_derive(self.configs[0].seed, step))
            yield


def _uniform(seed: int, step: int, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(_derive(seed, step))
    return torch.rand(2, rows, generator=generator)


def _derive(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint32)[0])


class _SharedInputs(TorchFunctionMode):
    """Writes x W^T as (W x^T)^T, so that runs with one x and many W make a single product.

    PyTorch folds stacked matrices on the left side of a product; on the right side it copies x
    once a run and multiplies them one by one.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is functional.linear and not kwargs and args[0].dim() == 2:
            values, weight, *bias = args
            product = (weight @ values.mT).mT
            return product if not bias or bias[0] is None else product + bias[0]
        return func(*args, **(kwargs or {}))


def _has_dropout(detector: Detector) -> bool:
    """Whether its training draws random numbers."""
    settings = (detector.fusion.settings, detector.classifier.settings)
    return any(getattr(one, "dropout", 0) for one in settings) or any(
        isinstance(module, nn.Dropout) and module.p > 0 for module in detector.modules()
    )
