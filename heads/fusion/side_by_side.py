"""What several fields, or one, give in their poolings, side by side: the inputs of a probe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clare.errors import InputError
from clare.heads.base import INPUTS, Fusion, Inputs, Role, Shapes, role_named
from clare.heads.layers.pooling import POOLINGS, Pooling, class_direction, rows_of_direction
from clare.heads.layers.steps import CHANNELS


@dataclass(frozen=True)
class SideBySideSettings:
    """Settings of `side_by_side`.

    Args:
        parts: what stands side by side: cls, cls_2, cls_3 and so on as they are, tokens, tokens_2
            and so on and lare, lare_2 and so on as ROLE:POOLING, lare of another step than the
            first as ``lare:grid@1``.
    """

    parts: tuple[str, ...] = ("cls", "lare:grid")

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("side_by_side's parts are one or more, as cls,lare:grid")
        for part in self.parts:
            _Part.read(part)


class SideBySideFusion(Fusion):
    """Nothing is learnt by steps; D is the sum of the parts' widths.

    Draws of LaRE are averaged. The direction of tokens that are ranked comes from training rows.
    """

    Settings = SideBySideSettings

    def __init__(self, settings: SideBySideSettings, shapes: Shapes) -> None:
        self.roles = self.roles_of(settings)  # type: ignore[misc]  # each its own
        super().__init__(settings, shapes)
        self._parts = [_Part.read(part) for part in settings.parts]
        self.width = sum(self._width(part) for part in self._parts)
        for role in self._ranked:
            self.register_buffer(f"direction_{role}", torch.zeros(self.shapes[role][1]))

    @classmethod
    def roles_of(cls, settings: SideBySideSettings) -> tuple[Role, ...]:
        """Those of its parts."""
        parts = [_Part.read(part) for part in settings.parts]
        return tuple(dict.fromkeys(role for part in parts for role in part.roles))

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """(B, D)."""
        return torch.cat([self._vectors(part, inputs) for part in self._parts], -1)

    def rows_to_fit(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those that directions come from."""
        return rows_of_direction(labels) if self._ranked else super().rows_to_fit(labels)

    def fit(self, batches: Iterable[tuple[Inputs, torch.Tensor]]) -> None:
        """Find the direction of each field of tokens that is ranked."""
        found = class_direction(
            ({role: inputs[role] for role in self._ranked}, labels) for inputs, labels in batches
        )
        for role, direction in found.items():
            getattr(self, f"direction_{role}").copy_(direction)

    @property
    def _ranked(self) -> list[Role]:
        parts = self._parts
        return list(dict.fromkeys(p.role for p in parts if p.how is not None and p.how.ranked))

    def _width(self, part: _Part) -> int:
        if not part.is_lare:
            return self.shapes[part.role][-1]
        steps = self.shapes[part.role][0] // CHANNELS
        if part.step >= steps:
            raise InputError(
                f"side_by_side's part {part.name} is of step {part.step}: the store has {steps} "
                "steps of LaRE, named here by their place from 0 on, and not by how noisy they are"
            )
        assert part.how is not None  # LaRE is always pooled
        sides = self.shapes[part.role][2:]
        return part.how.pool(torch.zeros(1, CHANNELS, *sides), None).shape[1]

    def _vectors(self, part: _Part, inputs: Inputs) -> torch.Tensor:
        values = inputs[part.role]
        if part.how is None:
            return values
        if part.is_lare:
            return part.how.pool(_step(values, part.step), None)
        beside = None
        if part.how.weighed:
            beside = _step(inputs["lare_steps"], 0)
        elif part.how.ranked:
            beside = getattr(self, f"direction_{part.role}")
        return part.how.pool(values, beside)


@dataclass(frozen=True)
class _Part:
    """One of what stands side by side."""

    name: str
    role: Role
    how: Pooling | None
    step: int

    @classmethod
    def read(cls, text: str) -> _Part:
        """Of its name.

        Raises:
            InputError: there is no such part.
        """
        name, _, step = text.strip().partition("@")
        field, _, pooling = name.partition(":")
        kind = field.partition("_")[0]
        known = POOLINGS.get(kind, {})
        role = role_named(field.replace("lare", "lare_steps") if kind == "lare" else field)
        plain = kind == "cls" and not pooling
        stepped = not step or (kind == "lare" and step.isdecimal())
        if role is None or not (plain or pooling in known) or not stepped:
            tokens, lare = (", ".join(POOLINGS[kind]) for kind in ("tokens", "lare"))
            raise InputError(
                f"side_by_side has no part {text!r}: there are cls, tokens with {tokens}, lare "
                f"with {lare}, as in tokens:mean or lare:grid@1; cls_2, cls_3, tokens_2, "
                "tokens_3, lare_2 and so on are further fields"
            )
        return cls(text, role, known.get(pooling), int(step or 0))

    @property
    def is_lare(self) -> bool:
        """Whether it is of LaRE, all of whose steps are read."""
        return INPUTS[self.role].every

    @property
    def roles(self) -> tuple[Role, ...]:
        """What it reads."""
        weighed = self.how is not None and self.how.weighed
        return (self.role, "lare_steps") if weighed else (self.role,)


def _step(steps: torch.Tensor, number: int) -> torch.Tensor:
    """One step's mean of its draws, (B, 4, h, w), of (B, 4 T, D, h, w)."""
    start = CHANNELS * number
    return steps[:, start : start + CHANNELS].mean(2)
