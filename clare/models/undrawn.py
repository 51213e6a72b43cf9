"""Models that wait for their weights: made without the random numbers that those would replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

DRAWING = {
    *(torch.Tensor.normal_, torch.Tensor.uniform_),
    *(init.kaiming_uniform_, init.normal_, init.uniform_),
}
"""What fills a tensor with random numbers; of a large model this takes longer than to read its
weights. Numbers that are computed, as a mask of attention, stay."""


class Undrawn(TorchFunctionMode):
    """While it is entered, what should be filled with random numbers holds whatever lay there."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, unless it draws into a tensor."""
        if func in DRAWING:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
