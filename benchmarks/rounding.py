"""A lower precision's error where the device has no fast arithmetic of that type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


@contextmanager
def rounding(dtype: str) -> Iterator[None]:
    """Round all modules' weights for good, and their inputs and outputs meanwhile."""
    narrow = getattr(torch, dtype)

    def rounded(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value.to(narrow).to(value.dtype)
        return tuple(map(rounded, value)) if type(value) is tuple else value

    def before(module: torch.nn.Module, inputs: Any) -> Any:
        for parameter in module.parameters(recurse=False):
            parameter.data = rounded(parameter.data)
        return rounded(inputs)

    def after(module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        return rounded(output)

    hooks = register_module_forward_pre_hook(before), register_module_forward_hook(after)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
