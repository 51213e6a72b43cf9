"""Towers that move: what a way of tuning is, and copies of a tower that share what stays."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from clare.advice import LeaveOut, Name, Set
from clare.errors import InputError
from clare.foreign import parse_json, read_bytes, reading
from clare.models import tuning
from clare.models.image_tower import Tower
from clare.models.weights import DETECTOR, TRAINED_ON, read_header, read_tensors
from clare.plugins import find_part, part_name
from clare.settings import build_settings
from clare.typed_json import from_json
from clare.wording import listed

DETECTOR_METADATA = "clare_detector"
"""What a saved detector's header says all of itself under."""

IN_DETECTOR = "fusion.tower."
"""How names of the tower's tensors begin in a saved detector."""

PIXELS = ("pixels",)
BLOCK = ("block_tokens", "block_cls")
"""What a tower may begin with: images, or patches and class token after one of its blocks."""


@dataclass(frozen=True)
class Moving:
    """What of a tower moves.

    Args:
        parameters: names in the tower.
        statistics: names of buffers that move without being learnt.
        trained: names of modules that are in training mode while a step is taken; all others stay
            in evaluation mode.
        told: what it is, in words: ``50 LayerNorms``.
        after: the block behind which everything that moves lies; None where pixels are read.
    """

    parameters: tuple[str, ...]
    statistics: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    told: str = ""
    after: int | None = None

    @property
    def names(self) -> frozenset[str]:
        """Of all tensors that move."""
        return frozenset((*self.parameters, *self.statistics))


@dataclass(frozen=True)
class BegunAs:
    """The fingerprint of the features that a tower made before it was tuned.

    Args:
        extractor: that reads it.
        version: of the extractor.
        weights: sha256 of those that it came with.
        settings: everything else that decides a value.
    """

    extractor: str
    version: int
    weights: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class TunedRecord:
    """What a saved detector says of the tower that was tuned with it.

    Args:
        way: of tuning.
        settings: of the way, those that differ from its defaults.
        tower: what it was before.
        origin: where its weights came from.
        fields: of the tower that the head reads.
    """

    way: str
    settings: Mapping[str, Any]
    tower: BegunAs
    origin: Mapping[str, str]
    fields: tuple[str, ...]


@dataclass(frozen=True)
class TunedTower:
    """What a finished run keeps of its tower.

    Args:
        record: what it says of it.
        tensors: that moved, by their names in the tower.
        seen: the file that says what the run, and those that it began from, were trained on.
    """

    record: TunedRecord
    tensors: Mapping[str, torch.Tensor]
    seen: bytes = b""

    @property
    def sha256(self) -> str:
        """Of the weights that the tower came with, and of what moved."""
        found = hashlib.sha256(self.record.tower.weights.encode())
        for name, value in sorted(self.tensors.items()):
            found.update(f"\n{name} {tuple(value.shape)}\n".encode())
            found.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def onto(self, tower: Tower) -> Tower:
        """A copy of the tower that it began as, with what moved in its place.

        Raises:
            InputError: the way of tuning is not there any more, or moves something else.
        """
        record = self.record
        own, moving = tune(tower, record.way, record.settings, record.fields)
        before = tower.state_dict()
        dtype = next(tower.visual.parameters()).dtype
        for name, parameter in own.named_parameters():
            if name not in before:  # what the way put in is made float32
                parameter.data = parameter.data.to(dtype)
        there = own.state_dict()
        if set(self.tensors) != moving.names or any(
            there[name].shape != value.shape for name, value in self.tensors.items()
        ):
            raise InputError(
                f"{part_name(record.way)} moves other tensors of this tower than the run has: use "
                "the version of clare that trained it"
            )
        with torch.no_grad():
            for name, value in self.tensors.items():
                there[name].copy_(value)
        return own.requires_grad_(False).eval()


def read_tuned(run: Path) -> TunedTower:
    """The tower of a finished run.

    Args:
        run: its folder.

    Raises:
        InputError: it is no finished run, its files are damaged, or it tuned no tower.
    """
    file = run / DETECTOR
    if not file.is_file():
        raise InputError(f"{run} is no finished run", Name("one that tuned its tower", "tuned"))
    header = read_header(file).get(DETECTOR_METADATA, "{}")
    with reading(file, "a detector"):
        known = parse_json(header).get("tuned")
        if known is None:
            raise InputError(f"{run} tuned no tower", Name("a run that did", "tuned"))
        record = from_json(TunedRecord, known, file)
    tensors = read_tensors(file)
    moved = {
        name.removeprefix(IN_DETECTOR): value
        for name, value in tensors.items()
        if name.startswith(IN_DETECTOR)
    }
    return TunedTower(record, moved, read_bytes(run / TRAINED_ON))


@dataclass(frozen=True)
class NoSettings:
    """The settings of a way that has none."""


class Tuning(ABC):
    """A way of tuning a tower: which of its parameters move.

    Args:
        settings: an instance of the class's ``Settings``.

    Attributes:
        Settings: frozen dataclass of plain values.
        reads: what the tower begins with: pixels, or what one of its blocks made.
        begins_as_it_was: whether the tower first gives what it gave.
    """

    Settings: ClassVar[type] = NoSettings
    reads: ClassVar[tuple[str, ...]] = PIXELS
    begins_as_it_was: ClassVar[bool] = True

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def after(self, depth: int) -> int | None:
        """The block, zero-based, whose output is read in the place of pixels; None for pixels.

        Args:
            depth: blocks of the tower.

        Raises:
            InputError: the tower has too few.
        """
        return None

    @abstractmethod
    def begin(self, tower: Tower, fields: Collection[str]) -> Moving:
        """What moves, by names that the tower's kind has; never by a part of a name.

        Modules may be put into the tower first, whose parameters are then among those that move;
        with their first values the tower gives what it gave without them, if `begins_as_it_was`.

        Args:
            tower: a copy that may be changed; its tensors are shared with others.
            fields: of it that are read: what they do not depend on is left out, as
                `Tower.read_by` tells.

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
    if not moving.parameters:
        raise InputError(
            f"{part_name(way)} moves nothing of this tower that {listed(fields)} depends on",
            Set("tune", "full", "moves all of it"),
            LeaveOut("tune"),
        )
    own.requires_grad_(False)
    for name in moving.names:
        place, _, last = name.rpartition(".")
        module = own.get_submodule(place)
        tensor = getattr(module, last).detach().clone()
        parameter = name in moving.parameters
        setattr(module, last, nn.Parameter(tensor) if parameter else tensor)
    return own, moving
