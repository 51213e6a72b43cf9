"""What heads are made of: a fusion and a classifier, or a decoder that says which pixels are fake.

Each is one file, in `clare.heads.fusion`, `clare.heads.classifiers` or `clare.heads.decoders`,
whose name is the part's.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NewType, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clare.errors import InputError

Numbered = NewType("Numbered", str)
"""Further fields of vectors, of tokens or of LaRE: cls_3, tokens_3, tokens_4, lare_steps_2, …"""

_Named = Literal[
    "cls",
    "cls_2",
    "tokens",
    "tokens_2",
    "lare",
    "lare_steps",
    "parts",
    "mask",
    "pixels",
    "block_tokens",
    "block_cls",
]

Role = _Named | Numbered
"""What a field of the store is to a fusion or a decoder.

LaRE is one noise step of it, or all its steps with every draw. Parts are boxes: left, top, right
and bottom as shares of the image's sides, all zero where a part is not there. A mask is what a
decoder learns; pixels are what a tower looks at that is tuned, and block_tokens and block_cls what
the first of its blocks takes that moves.
"""

Inputs = Mapping[Role, torch.Tensor]
"""A batch by role, float32: cls and cls_2 (B, E), tokens (B, P, C), lare (B, 4, h, w), lare_steps
(B, 4 T, D, h, w) of T steps with D draws each, four channels a step, parts (B, N, 4), mask
(B, S, S), pixels (B, S, S, 3) of 0 to 255, block_tokens (B, P, D), block_cls (B, D)."""

Shapes = Mapping[Role, tuple[int, ...]]
"""Shapes of one row's inputs, without the batch axis."""


@dataclass(frozen=True)
class InputSpec:
    """How a role's input comes from a stored field.

    Args:
        field: that plays the role unless a configuration says otherwise; empty where it always
            does.
        axes: of a stored row.
        channel_axis: of an input, negative.
        standardized: whether its channels may be brought to mean 0 and deviation 1.
        drawn: whether rows are stored as (timesteps, draws, ...).
        every: whether all timesteps and draws of such rows are taken, the timesteps side by side as
            channels; else one timestep is taken and the draws are averaged.
    """

    field: str
    axes: int
    channel_axis: int = -1
    standardized: bool = True
    drawn: bool = False
    every: bool = False

    def shape(self, stored: tuple[int, ...], timestep: int, draws: int | None) -> tuple[int, ...]:
        """The shape of one row's input, of the stored shape.

        Raises:
            InputError: there is no such timestep, or there are fewer draws.
        """
        if not self.drawn:
            return stored
        if not (self.every or 0 <= timestep < stored[0]):
            raise InputError(
                f"there is no LaRE timestep {timestep}: the store has {stored[0]}, counted from 0"
            )
        if draws is not None and not 1 <= draws <= stored[1]:
            raise InputError(f"{draws} LaRE draws can't be averaged: the store has {stored[1]}")
        if self.every:
            steps, own, channels, *sides = stored
            return (steps * channels, own if draws is None else draws, *sides)
        return stored[2:]

    def as_stored(self, of_channels: torch.Tensor, stored: tuple[int, ...]) -> torch.Tensor:
        """A number of each channel of an input, laid out so that it goes with stored rows.

        Args:
            of_channels: as an input's standardisation holds it.
            stored: shape of one stored row.
        """
        if not self.every:
            return of_channels
        steps, _, channels, *sides = stored
        return of_channels.reshape(steps, 1, channels, *(1 for _ in sides))

    def take(self, stored: torch.Tensor, timestep: int, draws: int | None) -> torch.Tensor:
        """The input of a batch (B, *stored shape); the mean of draws is float32."""
        if not self.drawn:
            return stored
        if self.every:
            return stored[:, :, :draws].transpose(2, 3).flatten(1, 2)
        return stored[:, timestep, :draws].mean(1, dtype=torch.float32)


_NAMED: Mapping[Role, InputSpec] = {
    "cls": InputSpec("clip_cls", axes=1, standardized=False),
    "cls_2": InputSpec("", axes=1, standardized=False),
    "tokens": InputSpec("clip_tokens", axes=2),
    "tokens_2": InputSpec("clip_tokens_layer3", axes=2),
    "lare": InputSpec("lare", axes=5, channel_axis=-3, drawn=True),
    "lare_steps": InputSpec("lare", axes=5, channel_axis=-4, drawn=True, every=True),
    "parts": InputSpec("face_parts", axes=2, standardized=False),
    "mask": InputSpec("mask", axes=2, standardized=False),
    "pixels": InputSpec("pixels", axes=3, standardized=False),
    "block_tokens": InputSpec("", axes=2, standardized=False),
    "block_cls": InputSpec("", axes=1, standardized=False),
}

_SEVERAL: Mapping[str, Role] = {"cls": "cls", "tokens": "tokens", "lare_steps": "lare_steps"}
"""Of what there may be any number of fields: the role that numbered ones are like."""

_NUMBER = re.compile("[2-9]|[1-9][0-9]+")


class _InputSpecs(Mapping[Role, InputSpec]):
    """Numbered roles are found as the others are; only those that have a name are listed."""

    def __getitem__(self, role: Role) -> InputSpec:
        if role in _NAMED:
            return _NAMED[role]
        kind, _, number = role.rpartition("_")
        if kind not in _SEVERAL or not _NUMBER.fullmatch(number):
            raise KeyError(role)
        return replace(_NAMED[_SEVERAL[kind]], field="")

    def __iter__(self) -> Iterator[Role]:
        return iter(_NAMED)

    def __len__(self) -> int:
        return len(_NAMED)


INPUTS: Mapping[Role, InputSpec] = _InputSpecs()
"""Every role's input."""


def role_named(name: str) -> Role | None:
    """The role of a name, numbered ones too; None where there is none."""
    found = next((role for role in INPUTS if role == name), Numbered(name))
    return found if found in INPUTS else None


MAP = 256
"""Side of a decoder's map, as DeCLIP has it."""


class TextTower(Protocol):
    """The frozen text side of a CLIP, as a classifier sees it: `clare.heads.text.tower`.

    Attributes:
        width: of the token embeddings.
        embed_dim: of the text vectors.
        logit_scale: what cosines are multiplied with.
    """

    width: int
    embed_dim: int
    logit_scale: float

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text, up to the end-of-text token."""

    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """Embeddings of token ids, (tokens, width)."""

    def lay_out(self, prompts: Sequence[Sequence[Any]]) -> Any:
        """A tree of prompts for `encode_prompts`."""

    def encode_prompts(self, tree: Any, vectors: torch.Tensor) -> torch.Tensor:
        """Text vectors (B, prompts, embed_dim) of a tree whose slots vectors (B, S, width) fill."""

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Text vectors (texts, embed_dim), not normalised."""


@dataclass(frozen=True)
class NoSettings:
    """The settings of a part that has none."""


class Fusion(nn.Module, ABC):
    """Cached features of a batch of images to one vector each.

    Args:
        settings: an instance of the class's ``Settings``.
        shapes: of one row's inputs; every size inside is derived from them.

    Attributes:
        Settings: frozen dataclass of plain values.
        roles: the inputs that it takes; where settings decide them, see `roles_of`.
        width: D, the length of its vectors.
        follows_steps: whether it needs LaRE of several noise steps.
        still: names of tensors in it that stay as they were loaded, and are saved nowhere.
    """

    Settings: ClassVar[type] = NoSettings
    roles: ClassVar[tuple[Role, ...]]
    follows_steps: ClassVar[bool] = False
    width: int
    still: frozenset[str] = frozenset()

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__()
        self.settings = settings
        self.shapes = {role: tuple(shapes[role]) for role in self.roles}

    @classmethod
    def roles_of(cls, settings: Any) -> tuple[Role, ...]:
        """The inputs that it takes with some settings."""
        return cls.roles

    def rows_to_fit(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of the training rows that `fit` takes, of labels (N,); most take none."""
        return np.empty(0, np.int64)

    def fit(self, batches: Iterable[tuple[Inputs, torch.Tensor]]) -> None:
        """Keep what it takes from training rows and their labels (B,) before anything is learnt."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> torch.Tensor:
        """The vectors, (B, D), not normalised."""

    def attention(self, inputs: Inputs) -> torch.Tensor | None:
        """Where it looks: (B, P), each row summing to one; None if it has no attention."""
        return None


class Classifier(nn.Module, ABC):
    """Image vectors to two logits, real and fake.

    Args:
        settings: an instance of the class's ``Settings``.
        width: D, the length of the vectors.
        text: the frozen text tower of the store's CLIP; None if there is none.

    Attributes:
        Settings: frozen dataclass of plain values.
        needs_text: whether it takes a text tower.
        has_prompts: whether it learns prompts, in a child module named ``prompts``.
        normalizes: whether only the direction of a vector counts; slerp is for these alone.

    Raises:
        InputError: it needs a text tower and there is none, or a setting is not usable.
    """

    Settings: ClassVar[type] = NoSettings
    needs_text: ClassVar[bool] = False
    has_prompts: ClassVar[bool] = False

    def __init__(self, settings: Any, width: int, text: TextTower | None) -> None:
        super().__init__()
        self.settings = settings
        self.width = width

    @property
    def normalizes(self) -> bool:
        """Whether only the direction of a vector counts."""
        return True

    @property
    def is_fitted(self) -> bool:
        """Whether it takes all training vectors at once (`fit`), so that nothing is stepped."""
        return type(self).fit is not Classifier.fit

    def settled(self) -> nn.Module:
        """The same decision without what only learning needs, for a detector that is done with."""
        return self

    @abstractmethod
    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2), label 0 real and 1 fake."""

    def fit(self, vectors: torch.Tensor, labels: torch.Tensor) -> None:
        """Keep what it takes from all training vectors (N, D) at once; most take nothing."""


class Decoder(nn.Module, ABC):
    """Cached features of a batch of images to a map of logits each: which pixels are fake.

    Which inputs it takes, its configuration says: tokens, tokens_2, lare, each one or several.

    Args:
        settings: an instance of the class's ``Settings``.
        shapes: of one row's inputs; every size inside is derived from them.

    Attributes:
        Settings: frozen dataclass of plain values.

    Raises:
        InputError: it can't work on such inputs.
    """

    Settings: ClassVar[type] = NoSettings

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__()
        self.settings = settings
        self.shapes = {role: tuple(shape) for role, shape in shapes.items()}

    @abstractmethod
    def forward(self, inputs: Inputs) -> torch.Tensor:
        """Logits (B, 256, 256) over the squashed image, above 0 where it is rather fake."""
