"""The beginning of Xception: its entry flow up to the second block with a shortcut."""

from __future__ import annotations

import hashlib
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WIDTH = 256
"""Channels of the map."""


class XceptionBeginning(nn.Module):
    """Images (B, 3, S, S) to the map after block 2, (B, 256, s, s); of 224 pixels s is 28.

    Xception (Chollet, CVPR 2017, figure 5), entry flow: two plain convolutions, then blocks of two
    separable ones and a pooling that halves the sides, beside a 1 x 1 convolution of stride 2. It
    has 190,816 parameters. The first two convolutions are not padded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.norm1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.norm2 = nn.BatchNorm2d(64)
        self.block1 = _Block(64, 128, begins_with_relu=False)
        self.block2 = _Block(128, WIDTH, begins_with_relu=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The map after block 2."""
        x = functional.relu(self.norm1(self.conv1(images)))
        x = functional.relu(self.norm2(self.conv2(x)))
        return cast(torch.Tensor, self.block2(self.block1(x)))


class _Block(nn.Module):
    """Two separable convolutions, the sides halved, beside a shortcut."""

    def __init__(self, before: int, after: int, *, begins_with_relu: bool) -> None:
        super().__init__()
        self.separable1, self.norm1 = _separable(before, after), nn.BatchNorm2d(after)
        self.separable2, self.norm2 = _separable(after, after), nn.BatchNorm2d(after)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(after)
        self.begins_with_relu = begins_with_relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = functional.relu(x) if self.begins_with_relu else x
        inner = functional.relu(self.norm1(self.separable1(inner)))
        inner = self.pool(self.norm2(self.separable2(inner)))
        return cast(torch.Tensor, inner + self.shortcut_norm(self.shortcut(x)))


def _separable(before: int, after: int) -> nn.Sequential:
    """A 3 x 3 convolution of each channel by itself, then one across channels."""
    return nn.Sequential(
        nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
        nn.Conv2d(before, after, 1, bias=False),
    )


def map_side(size: int) -> int:
    """The side of the map of images of a size, in positions."""
    for kernel, stride in ((3, 2), (3, 1), (1, 2), (1, 2)):
        size = (size - kernel) // stride + 1
    return size


def random_beginning(seed: int) -> XceptionBeginning:
    """An `XceptionBeginning` of seeded weights, in evaluation mode.

    Weights are uniform within 1 / sqrt(fan-in), PyTorch's own start, but drawn by numpy, whose
    streams are the same in all versions. Norms keep mean 0, variance 1, scale 1 and shift 0.

    Args:
        seed: 0 or more.
    """
    model = XceptionBeginning().eval()
    draw = np.random.Generator(np.random.Philox(key=seed))
    for parameter in model.parameters():
        if parameter.ndim == 4:
            values = draw.random(tuple(parameter.shape)) * 2 - 1
            bound = parameter[0].numel() ** -0.5
            parameter.data = torch.from_numpy((values * bound).astype(np.float32))
    return model


def weights_digest(model: nn.Module) -> str:
    """sha256 over the parameters, in their order."""
    found = hashlib.sha256()
    for parameter in model.parameters():
        found.update(parameter.detach().numpy().tobytes())
    return found.hexdigest()
