"""AdamW and SGD over many runs at once: a run is a row, with its own rate and decay.

torch.optim would need one parameter group a run, and a Python loop over them in every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Optimizer:
    """Lowers each row's loss, as `torch.optim.AdamW` or `torch.optim.SGD` would do alone.

    Args:
        values: (R, P) all parameters of R runs, changed in place.
        kind: ``adamw``, or ``sgd`` with momentum.
        weight_decay: (R, 1).
        momentum: (R, 1), of sgd.
    """

    def __init__(
        self,
        values: torch.Tensor,
        kind: Literal["adamw", "sgd"],
        weight_decay: torch.Tensor,
        momentum: torch.Tensor,
    ) -> None:
        self.values = values
        self.kind = kind
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.steps = 0
        names = ("mean", "square") if kind == "adamw" else ("velocity",)
        self.state = {name: torch.zeros_like(values) for name in names}

    @torch.no_grad()
    def step(self, gradient: torch.Tensor, rate: torch.Tensor) -> None:
        """One step by a gradient (R, P), which may be overwritten, at rates (R, 1)."""
        self.steps += 1
        if self.kind == "sgd":
            velocity = self.state["velocity"]
            gradient.add_(self.values * self.weight_decay)
            velocity.mul_(self.momentum).add_(gradient)
            self.values.sub_(velocity * rate)
            return
        mean, square = self.state["mean"], self.state["square"]
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        self.values.mul_(1 - rate * self.weight_decay)
        scale = (1 - BETAS[1] ** self.steps) ** 0.5
        ratio = torch.sqrt(square).div_(scale).add_(EPSILON).reciprocal_().mul_(mean)
        self.values.sub_(ratio.mul_(rate / (1 - BETAS[0] ** self.steps)))

    def row(self, run: int) -> dict[str, torch.Tensor]:
        """A run's part of the state, for `set_row`."""
        return {name: values[run] for name, values in self.state.items()}

    def set_row(self, run: int, state: Mapping[str, torch.Tensor], steps: int) -> None:
        """Take back what `row` gave, after ``steps`` steps."""
        self.steps = steps
        for name, values in self.state.items():
            values[run] = state[name].to(values)

    def keep(self, values: torch.Tensor, runs: torch.Tensor) -> None:
        """Go on with some of the runs alone, whose parameters are ``values``."""
        self.values = values
        self.state = {name: held[runs] for name, held in self.state.items()}
        self.weight_decay, self.momentum = self.weight_decay[runs], self.momentum[runs]


def clip_rows(gradient: torch.Tensor, largest: float) -> None:
    """Shorten, in place, each row whose norm is above ``largest``."""
    norms = gradient.norm(dim=1, keepdim=True)
    gradient.mul_((largest / (norms + 1e-6)).clamp(max=1.0))
