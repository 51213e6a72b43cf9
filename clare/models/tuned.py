"""Towers that move: what a way of tuning is, and copies of a tower that share what stays."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from clare.models import tuning
from clare.models.image_tower import Tower
from clare.plugins import find_part, part_name
from clare.settings import build_settings


@dataclass(frozen=True)
class Moving:
    """What of a tower moves.

    Args:
        parameters: names in the tower.
        statistics: names of buffers that move without being learnt.
        trained: names of modules that are in training mode while a step is taken; all others stay
            in evaluation mode.
        told: what it is, in words: ``50 LayerNorms``.
    """

    parameters: tuple[str, ...]
    statistics: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    told: str = ""

    @property
    def names(self) -> frozenset[str]:
        """Of all tensors that move."""
        return frozenset((*self.parameters, *self.statistics))


@dataclass(frozen=True)
class TunedRecord:
    """What a saved detector says of the tower that was tuned with it.

    Args:
        way: of tuning.
        settings: of the way, those that differ from its defaults.
        tower: the fingerprint of the features that the tower made before, as plain JSON.
    """

    way: str
    settings: Mapping[str, Any]
    tower: Mapping[str, Any]


@dataclass(frozen=True)
class NoSettings:
    """The settings of a way that has none."""


class Tuning(ABC):
    """A way of tuning a tower: which of its parameters move.

    Args:
        settings: an instance of the class's ``Settings``.

    Attributes:
        Settings: frozen dataclass of plain values.
    """

    Settings: ClassVar[type] = NoSettings

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @abstractmethod
    def begin(self, tower: Tower, fields: Collection[str]) -> Moving:
        """What moves, by names that the tower's kind has; never by a part of a name.

        Modules may be put into the tower first, whose parameters are then among those that move;
        with their first values the tower has to give what it gave without them.

        Args:
            tower: a copy that may be changed; its tensors are shared with others.
            fields: of it that are read: what they do not depend on need not move.

        Raises:
            InputError: the tower has nothing that this way moves.
        """


def find_tuning(name: str) -> type[Tuning]:
    """A way of tuning by its name, or by the path of its file.

    Raises:
        InputError: there is no such way.
    """
    return find_part(tuning, name, Tuning)  # type: ignore[type-abstract]


def tune(
    tower: Tower, way: str, settings: Mapping[str, Any], fields: Collection[str]
) -> tuple[Tower, Moving]:
    """A copy of a tower of which a part moves. What stays is shared with it, not copied.

    Args:
        tower: left as it is.
        way: name of a way of tuning, or the path of its file.
        settings: those that differ from the way's defaults.
        fields: of the tower that are read.

    Returns:
        The copy, whose parameters that move are its own and need gradients, and what these are.

    Raises:
        InputError: there is no such way, a setting is not usable, or the tower has nothing that it
            moves.
    """
    found = find_tuning(way)
    shared = {id(one): one for one in (*tower.parameters(), *tower.buffers())}
    own = copy.deepcopy(tower, shared)
    moving = found(build_settings(part_name(way), found.Settings, settings)).begin(own, fields)
    own.requires_grad_(False)
    for name in moving.names:
        place, _, last = name.rpartition(".")
        module = own.get_submodule(place)
        tensor = getattr(module, last).detach().clone()
        parameter = name in moving.parameters
        setattr(module, last, nn.Parameter(tensor) if parameter else tensor)
    return own, moving
