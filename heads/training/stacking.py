"""When several runs take a step faster together, and how their products then become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from clare.heads.config import TrainConfig
from clare.heads.detector import Detector

STACKED_PARAMETERS = 250_000
"""Parameters, learning or not, up to which it is the calls that take time, not the arithmetic.

With two million (``lare`` + ``linear``) eight runs took 1.8 times as long together as one by one.
"""


class SharedInputs(TorchFunctionMode):
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


def has_dropout(detector: Detector) -> bool:
    """Whether its training draws random numbers."""
    settings = (detector.fusion.settings, detector.classifier.settings)
    return any(getattr(one, "dropout", 0) for one in settings) or any(
        isinstance(module, nn.Dropout) and module.p > 0 for module in detector.modules()
    )


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
    return small and not own_prompts and not has_dropout(detector)
