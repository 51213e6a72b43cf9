"""What an image costs an extractor, as its store keeps it beside its features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

COST = "cost.json"
"""The asset of an extractor that holds it."""


@dataclass(frozen=True)
class ExtractionCost:
    """Operations of one image: two for each product that is added up.

    Args:
        operations: of all that is stored of it.
        shared: those among them that are needed once, whatever number of noise steps is taken.
    """

    operations: int
    shared: int = 0


def count_operations(call: Callable[[], object]) -> int:
    """Operations of a call."""
    import warnings

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    # The fused attention of torch's own layer is one operation that the counter does not know.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that what is compiled is hooked
            with torch.inference_mode(), FlopCounterMode(display=False) as counter:
                call()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())
