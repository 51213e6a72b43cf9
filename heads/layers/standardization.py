"""Every channel of an input brought to mean 0 and deviation 1, as measured on training rows."""

from __future__ import annotations

import torch
from torch import nn


class Standardization(nn.Module):
    """Subtracts a mean and divides by a deviation, channel by channel.

    Both are buffers, saved with the detector; until they are set, values pass unchanged.

    Args:
        channels: how many there are.
        axis: of a batch, negative, along which they lie.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, channels: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        shape = (channels, *(1,) * (-axis - 1))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    def set(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Take a mean and a deviation a channel, (C,) each; a constant channel is only centred."""
        deviation = deviation.reshape(self.deviation.shape)
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The values in float32, standardised; what came in is left as it was."""
        return (values - self.mean).div_(self.deviation)


class Moments:
    """Mean and (population) deviation of channels over batches, in one pass.

    The batches' own moments are joined in float64 (Chan, Golub and LeVeque 1979).

    Args:
        axis: of a batch, negative, along which the channels lie.
    """

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._count = 0
        self.mean = torch.zeros(())
        self._scatter = torch.zeros(())

    def add(self, values: torch.Tensor) -> None:
        """Take a further batch into account."""
        channels = values.float().movedim(self._axis, 0).flatten(1)
        size, before = channels.shape[1], self._count
        self._count += size
        variance, mean = (moment.double() for moment in torch.var_mean(channels, 1, correction=0))
        step = mean - self.mean.to(mean)
        self.mean = self.mean.to(mean) + step * (size / self._count)
        self._scatter = (
            self._scatter.to(mean) + variance * size + step**2 * (before * size / self._count)
        )

    @property
    def deviation(self) -> torch.Tensor:
        """(C,) float64."""
        return (self._scatter / max(self._count, 1)).sqrt()
