"""Operations: how many a call takes, and how many a second a device makes of them."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from clare.models.extraction_cost import count_operations

PRODUCTS = 10


def count_tflop(call: Callable[[], object]) -> float:
    """Operations of a call, in units of 1e12."""
    return count_operations(call) / 1e12


def product_tflops(device: str, dtype: str, side: int) -> float:
    """What one large product of matrices reaches on a device: the practical limit, TFLOP/s."""
    matrix = torch.randn(side, side).to(device, getattr(torch, dtype))
    best = float("inf")
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        (matrix @ matrix)[:1].cpu()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best / 1e12
