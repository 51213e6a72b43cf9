"""From stored fields to a fusion's inputs: which field plays which role, and what is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import torch

from clare.errors import InputError
from clare.heads.base import Role

Specs = Mapping[str, tuple[int, ...]]
"""Shapes of one row of the store's fields."""

DEFAULT_FIELDS: Mapping[Role, str] = {"cls": "clip_cls", "tokens": "clip_tokens", "lare": "lare"}
"""The field that plays each role unless a configuration says otherwise."""

CHANNEL_AXES: Mapping[Role, int] = {"cls": -1, "tokens": -1, "lare": -3}
"""Where an input's channels lie."""

_RANKS: Mapping[Role, int] = {"cls": 1, "tokens": 2, "lare": 5}


def find_fields(
    fusion: str, roles: Sequence[Role], chosen: Mapping[Role, str], specs: Specs
) -> dict[Role, str]:
    """The stored field of each role that a fusion takes.

    Args:
        fusion: its name, for the messages.
        roles: those that it takes.
        chosen: field by role, where it differs from `DEFAULT_FIELDS`.
        specs: what the store has.

    Raises:
        InputError: there is no such role, or a field is missing or of another kind.
    """
    for role in chosen:
        if role not in get_args(Role):
            raise InputError(f"no role {role!r}: there are {', '.join(get_args(Role))}")
    found = {role: {**DEFAULT_FIELDS, **chosen}[role] for role in roles}
    for role, name in found.items():
        if name not in specs:
            raise InputError(
                f"fusion {fusion} takes {name!r} as {role}, which the store lacks: it has "
                f"{', '.join(sorted(specs))}"
            )
        if len(specs[name]) != _RANKS[role]:
            raise InputError(
                f"field {name!r} of shape {tuple(specs[name])} can't be {role}: that takes "
                f"{_RANKS[role]} axes"
            )
    return found


def input_shape(
    role: Role, stored: tuple[int, ...], timestep: int, draws: int | None
) -> tuple[int, ...]:
    """The shape of one row's input, of a field's stored shape.

    Raises:
        InputError: LaRE has no such timestep, or not as many draws.
    """
    if role != "lare":
        return stored
    if not 0 <= timestep < stored[0]:
        raise InputError(
            f"there is no LaRE timestep {timestep}: the store has {stored[0]}, counted from 0"
        )
    if draws is not None and not 1 <= draws <= stored[1]:
        raise InputError(f"{draws} LaRE draws can't be averaged: the store has {stored[1]}")
    return stored[2:]


def take(role: Role, stored: torch.Tensor, timestep: int, draws: int | None) -> torch.Tensor:
    """A role's values of a batch (B, *stored shape): of LaRE the mean of the draws, float32."""
    if role != "lare":
        return stored
    return stored[:, timestep, :draws].mean(1, dtype=torch.float32)
