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

from clare.advice import Set
from clare.errors import InputError
from clare.heads.base import Inputs
from clare.heads.config import TrainConfig
from clare.heads.detector import Detector
from clare.heads.layers.tower import TowerFusion
from clare.heads.model import Model, running_statistics
from clare.heads.training.objectives import create_objective
from clare.heads.training.optimizers import Optimizer, clip_rows
from clare.models.runtime import is_out_of_memory

STACKED_PARAMETERS = 250_000
"""Parameters, learning or not, up to which it is the calls that take time, not the arithmetic.

With two million (``lare`` + ``linear``) eight runs took 1.8 times as long together as one by one.
"""


def can_stack(model: Model, config: TrainConfig) -> bool:
    """Whether runs of this shape take a step faster together than one after another.

    Not with dropout, whose random numbers each run keeps for itself; nor where a single run fills
    the machine: with many parameters, or with a text tower that reads each image's own prompts.
    In bfloat16 a stacked product rounds otherwise than a single one, and the run would not be the
    same. A decoder's map of every pixel fills the machine whatever its size, and so does a tower.
    """
    if config.precision != "float32" or not isinstance(model, Detector) or model.base is not None:
        return False
    prompts = getattr(model.classifier, "prompts", None)
    own_prompts = getattr(prompts, "meta_net", None) is not None
    small = sum(parameter.numel() for parameter in model.parameters()) <= STACKED_PARAMETERS
    return small and not own_prompts and not _has_dropout(model)


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
        detectors: Sequence[Model],
        configs: Sequence[TrainConfig],
        labels: torch.Tensor,
        *,
        compile: bool = False,
    ) -> None:
        self.configs = list(configs)
        self.detectors = list(detectors)
        template, config = detectors[0], configs[0]
        self.device = next(iter(template.state_dict().values())).device
        self._objective = create_objective(template, config, labels)
        self.judged = self._objective.judged
        learning = set(template.parameters_to_train(config.scope))
        self._learning = [name for name, _ in template.named_parameters() if name in learning]
        frozen = {n: v.detach() for n, v in template.named_parameters() if n not in learning}
        self._shapes = {name: value.shape for name, value in template.named_parameters()}
        self.values = self._matrix(self._learning).requires_grad_()
        # Of a single run they stay where they are: a tower's are many, and shared with other runs.
        self._frozen = list(frozen) if len(detectors) > 1 else []
        self._constants = self._matrix(self._frozen)
        self._alone = {} if self._frozen else frozen
        # Running statistics move with every step; they are this learner's own, so that a
        # detector that is kept in between doesn't change them.
        self._moving = {
            name: value.clone() for name, value in running_statistics(self._objective).items()
        }
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

    def step(
        self,
        inputs: Inputs,
        labels: torch.Tensor,
        rates: Sequence[float],
        groups: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Learn from one batch.

        Args:
            inputs: of the fusion, shared by all runs.
            labels: (R, B).
            rates: R learning rates.
            groups: (B,) equal for rows of one pair, shared by all runs; for the pair loss.

        Returns:
            (R,) losses, on the device.

        Raises:
            InputError: the batch does not fit into the device's memory; says which does.
        """
        self._objective.train()
        number = self.optimizer.steps
        uniform = None
        if self.configs[0].slerp:
            uniform = torch.stack([_uniform(c.seed, number, labels.shape[1]) for c in self.configs])
            uniform = uniform.to(self.device)
        found = self._gradient(inputs, labels, uniform, groups)
        if found is None:  # and what the failed step held is free again
            raise self._too_large(inputs, labels, uniform, groups)
        losses, gradient = found
        if self.configs[0].clip is not None:
            clip_rows(gradient, self.configs[0].clip)
        self.optimizer.step(gradient, torch.tensor(rates, device=self.device)[:, None])
        return losses.detach()

    def _gradient(
        self,
        inputs: Inputs,
        labels: torch.Tensor,
        uniform: torch.Tensor | None,
        groups: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Losses (R,) and the gradient of their sum; None where memory is too small for them."""
        try:
            with self._randomness(self.optimizer.steps):
                losses = self._each(inputs, labels, uniform, groups)
                (gradient,) = torch.autograd.grad(losses.sum(), self.values)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                return None
            raise
        return losses, gradient

    def _too_large(
        self,
        inputs: Inputs,
        labels: torch.Tensor,
        uniform: torch.Tensor | None,
        groups: torch.Tensor | None,
    ) -> InputError:
        """That a batch does not fit, and how much of it does, found by halving it."""
        size = labels.shape[1] // 2
        while size > 1:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            part: Inputs = {role: value[:size] for role, value in inputs.items()}
            drawn = None if uniform is None else uniform[:, :, :size]
            some = None if groups is None else groups[:size]
            if self._gradient(part, labels[:, :size], drawn, some) is not None:
                break
            size //= 2
        advice = [Set("batch", size, effect="fits")] if size > 1 else []
        fusion = getattr(self.detectors[0], "fusion", None)
        if isinstance(fusion, TowerFusion) and not fusion.recomputes:
            advice.append(Set("recompute", True, effect="takes less for a third more time"))
        return InputError(
            f"there is not enough memory on {self.device} for a step on {labels.shape[1]} rows",
            *advice,
        )

    @torch.no_grad()
    def judge(self, inputs: Inputs) -> torch.Tensor:
        """(R, B, judged) float64, without dropout, and in float32 as they are once it is saved."""
        self._objective.eval()
        return self._each(inputs, None, None, None)

    def keep(self, runs: Sequence[int]) -> None:
        """Go on with some of the runs alone."""
        chosen = torch.tensor(list(runs), device=self.device)
        self.configs = [self.configs[run] for run in runs]
        self.detectors = [self.detectors[run] for run in runs]
        self.values = self.values.detach()[chosen].requires_grad_()
        self._constants = self._constants[chosen]
        self.optimizer.keep(self.values.detach(), chosen)

    def snapshot(self, run: int) -> torch.Tensor:
        """All that learns of a run, and its running statistics, as one flat tensor."""
        moving = [value.flatten() for value in self._moving.values()]
        return torch.cat([self.values.detach()[run], *moving])

    def state(self, run: int) -> dict[str, torch.Tensor]:
        """A run's `snapshot` and the optimiser's state, as flat tensors."""
        return {"values": self.snapshot(run), **self.optimizer.row(run)}

    def set_state(self, run: int, state: Mapping[str, torch.Tensor], steps: int) -> None:
        """Take back what `state` gave, after ``steps`` steps."""
        with torch.no_grad():
            values, moving = self._parts_of(state["values"].to(self.values))
            self.values[run] = values
            for name, value in moving.items():
                self._moving[name].copy_(value)
        self.optimizer.set_row(run, state, steps)

    @torch.no_grad()
    def write_back(self, run: int, snapshot: torch.Tensor) -> Model:
        """A run's detector, as it was at a `snapshot`."""
        detector = self.detectors[run]
        values, moving = self._parts_of(snapshot.to(self.device))
        own = {**dict(detector.named_parameters()), **running_statistics(detector)}
        for name, piece in self._pieces(values[None], self._learning).items():
            own[name].copy_(piece[0])
        for name, value in moving.items():
            own[name].copy_(value)
        for name, count in detector.named_buffers():
            if name.endswith("num_batches_tracked"):
                count.zero_()  # nothing reads it, and it counts other than this run's own steps
        return detector

    def _parts_of(self, snapshot: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The flat parameters of a snapshot, and its running statistics by name."""
        sizes = [value.numel() for value in self._moving.values()]
        values, *pieces = snapshot.split([self.values.shape[1], *sizes])
        return values, {
            name: piece.view(value.shape)
            for (name, value), piece in zip(self._moving.items(), pieces, strict=True)
        }

    def _each(
        self,
        inputs: Inputs,
        labels: torch.Tensor | None,
        uniform: torch.Tensor | None,
        groups: torch.Tensor | None,
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
                own = [None if each is None else 0 for each in (labels, uniform)]
                with _SharedInputs():
                    return vmap(self._one, in_dims=(0, None, *own, None))(
                        {**parameters, **constants}, inputs, labels, uniform, groups
                    )
            first = {name: value[0] for name, value in (parameters | constants).items()}
            one = self._compiled(
                first | self._alone | self._moving,
                inputs,
                None if labels is None else labels[0],
                None if uniform is None else uniform[0],
                groups,
            )
            return one[None]

    def _one(
        self,
        parameters: Mapping[str, torch.Tensor],
        inputs: Inputs,
        labels: torch.Tensor | None,
        uniform: torch.Tensor | None,
        groups: torch.Tensor | None,
    ) -> torch.Tensor:
        found: torch.Tensor = functional_call(
            self._objective, dict(parameters), (inputs, labels, uniform, groups)
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


def _has_dropout(model: Model) -> bool:
    """Whether its training draws random numbers."""
    return any(getattr(part.settings, "dropout", 0) for part in model.parts) or any(
        isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules()
    )
