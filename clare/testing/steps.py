"""A few steps of training: what a layer that starts at zero hides, shows after them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def take_steps(part: nn.Module, loss: Callable[[], torch.Tensor]) -> None:
    """Train a part for three steps, in place; no gradients stay.

    Args:
        part: whatever of it learns. None may.
        loss: that of one step, a scalar.
    """
    learning = [parameter for parameter in part.parameters() if parameter.requires_grad]
    if not learning:
        return
    optimizer = torch.optim.Adam(learning, lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        value = loss()
        if value.requires_grad:  # a test of its own says that nothing is learned
            value.backward()
        optimizer.step()
    optimizer.zero_grad()


def is_drawn(part: nn.Module) -> bool:
    """Whether a part starts from random numbers, not from zeros or ones alone."""
    return any(bool((values != values.flatten()[0]).any()) for values in part.parameters())
