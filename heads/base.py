"""What a detector is made of: a fusion, image side, and a classifier, decision side.

Each is one file, in `clare.heads.fusion` or `clare.heads.classifiers`; the file's name is the
value of ``--fusion`` or ``--classifier``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from clare.heads.text.tower import TextTower

Role = Literal["cls", "tokens", "lare"]
"""What a field of the store is to a fusion."""

Inputs = Mapping[Role, torch.Tensor]
"""A batch by role, float32: cls (B, E), tokens (B, P, C), lare (B, 4, h, w)."""

Shapes = Mapping[Role, tuple[int, ...]]
"""Shapes of one row's inputs, without the batch axis."""


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
        roles: the inputs that it takes.
        width: D, the length of its vectors.
    """

    Settings: ClassVar[type] = NoSettings
    roles: ClassVar[tuple[Role, ...]]
    width: int

    def __init__(self, settings: Any, shapes: Shapes) -> None:
        super().__init__()
        self.settings = settings
        self.shapes = {role: tuple(shapes[role]) for role in self.roles}

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

    @abstractmethod
    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, D) to logits (B, 2), label 0 real and 1 fake."""

    def fit(self, vectors: torch.Tensor, labels: torch.Tensor) -> None:
        """Keep what it takes from all training vectors (N, D) at once; most take nothing."""
