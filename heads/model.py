"""What every head is at its core: named fields of a store, brought to what its parts take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from clare.errors import InputError
from clare.heads.base import INPUTS, Inputs, Role, Shapes
from clare.heads.config import DetectorConfig, Scope
from clare.heads.layers.standardization import Moments, Standardization

Specs = Mapping[str, tuple[int, ...]]
"""Shapes of one row of the store's fields."""


class Model(nn.Module, ABC):
    """Rows of a store to a margin each; `Detector` and `Localizer` are the two kinds.

    Args:
        config: its parts and what they read.
        specs: shapes of one row by stored field; may name more fields than are read.
        roles: that its parts take.

    Attributes:
        fields: the stored fields that it reads.
        specs: their shapes.
        shapes: of one row's inputs, by role.
        scored_together: rows that it takes at once where it does not learn.

    Raises:
        InputError: a field, a timestep or a number of draws is not usable.
    """

    scored_together: int = 128

    def __init__(self, config: DetectorConfig, specs: Specs, roles: Sequence[Role]) -> None:
        super().__init__()
        self.config = config
        self._field = fields_by_role(config, roles)
        for role, name in self._field.items():
            check_field(config, role, name, specs)
        self.fields = tuple(self._field.values())
        self.specs = {name: tuple(specs[name]) for name in self.fields}
        self.shapes: Shapes = {
            role: INPUTS[role].shape(self.specs[name], config.timestep, config.draws)
            for role, name in self._field.items()
        }
        self.standardizations = nn.ModuleDict(
            {
                role: Standardization(shape[INPUTS[role].channel_axis], INPUTS[role].channel_axis)
                for role, shape in self.shapes.items()
                if config.standardize and INPUTS[role].standardized
            }
        )

    @property
    def roles(self) -> tuple[Role, ...]:
        """The inputs that its parts take."""
        return tuple(self._field)

    @property
    @abstractmethod
    def parts(self) -> tuple[nn.Module, ...]:
        """Its parts, each with its ``settings``."""

    @property
    def is_fitted(self) -> bool:
        """Whether it takes all training rows at once, so that nothing is stepped."""
        return False

    def inputs(self, batch: Mapping[str, torch.Tensor]) -> Inputs:
        """What the parts take, float32, standardised.

        Args:
            batch: (B, *shape) by stored field, as the store's reader gives it, on the model's
                device.

        Returns:
            By role; ``lare`` is one timestep averaged over its draws.
        """
        inputs: dict[Role, torch.Tensor] = {}
        for role in self._field:
            values = self._stored(role, batch)
            standardized = role in self.standardizations
            inputs[role] = self.standardizations[role](values) if standardized else values.float()
        return inputs

    @abstractmethod
    def margins(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logit of fake less logit of real, (B,) float64; its sigmoid is p(fake)."""

    @abstractmethod
    def attention(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """Where it looks: (B, P), each row summing to one; None if it has no attention."""

    @property
    def still(self) -> frozenset[str]:
        """Names of tensors in it that stay as they were loaded, and are saved nowhere."""
        return frozenset()

    def set_statistics(self, statistics: Mapping[Role, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Take the channels' mean and deviation, (C,) each, by role; others are left alone."""
        for role, standardization in self.standardized().items():
            if role in statistics:
                standardization.set(*statistics[role])

    def fit_statistics(self, batches: Iterable[Mapping[str, torch.Tensor]]) -> None:
        """Measure the channels' mean and deviation over training rows, in one pass.

        Args:
            batches: by stored field, on the model's device; the class token is not needed.
        """
        moments = {role: Moments(part.axis) for role, part in self.standardized().items()}
        for batch in batches if moments else ():
            values = self.raw(batch)
            for role, found in moments.items():
                found.add(values[role])
        self.set_statistics({role: (m.mean, m.deviation) for role, m in moments.items()})

    def parameters_to_train(self, scope: Scope = "full") -> dict[str, nn.Parameter]:
        """The parameters that learn, by their name in the model.

        Raises:
            InputError: the scope names a part that it lacks.
        """
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def _stored(self, role: Role, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        stored = batch[self._field[role]]
        return INPUTS[role].take(stored, self.config.timestep, self.config.draws)

    def raw(self, batch: Mapping[str, torch.Tensor]) -> dict[Role, torch.Tensor]:
        """What is standardised, as it is before, of a batch as `inputs` takes it."""
        parts: Any = self.standardizations
        return {role: self._stored(role, batch) for role in parts}

    def standardized(self) -> dict[Role, Standardization]:
        """What brings the channels of an input to mean 0 and deviation 1, by role."""
        parts: Any = self.standardizations.items()
        return dict(parts)


def running_statistics(module: nn.Module) -> dict[str, torch.Tensor]:
    """BatchNorm's running means and variances, by name: what moves without being learnt."""
    still = {
        f"{place}.{name}"
        for place, one in module.named_modules()
        for name in getattr(one, "still", ())
    }
    return {
        name: value
        for name, value in module.named_buffers()
        if name.endswith(("running_mean", "running_var")) and name not in still
    }


def fields_by_role(config: DetectorConfig, roles: Iterable[Role]) -> dict[Role, str]:
    """The stored field of each role.

    Raises:
        InputError: the configuration names a role that there is not.
    """
    for role in config.fields:
        if role not in INPUTS:
            raise InputError(
                f"no role {role!r}: there are {', '.join(INPUTS)}, and cls_3, tokens_3, "
                "lare_steps_2 and so on for further fields of one kind"
            )
    return {role: config.fields.get(role, INPUTS[role].field) for role in roles}


def check_field(config: DetectorConfig, role: Role, name: str, specs: Specs) -> None:
    """Refuse a field that is not there, or can't play a role.

    Raises:
        InputError: it is not there, or of other axes.
    """
    part = f"decoder {config.decoder}" if config.decoder else f"fusion {config.fusion}"
    if name not in specs:
        raise InputError(
            f"{part} takes {name!r} as {role}, which the store lacks: it has "
            f"{', '.join(sorted(specs))}"
        )
    if len(specs[name]) != INPUTS[role].axes:
        raise InputError(
            f"field {name!r} of shape {tuple(specs[name])} can't be {role}: that takes "
            f"{INPUTS[role].axes} axes"
        )
