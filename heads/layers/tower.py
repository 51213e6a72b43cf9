"""A fusion whose image tower moves: it looks at pixels, and the tower's fields are made inside."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from clare.heads.base import INPUTS, Fusion, Inputs, Role, Shapes
from clare.heads.layers.standardization import Standardization
from clare.models.image_tower import ClipTower, scale_and_shift
from clare.models.towers import LoadedTower
from clare.models.tuned import find_tuning, tune
from clare.store.spec import Fingerprint, split_field


def is_of_tower(role: Role) -> bool:
    """Whether an image tower makes this input: its class vector and all its tokens."""
    return role == "cls" or role.partition("_")[0] == "tokens"


@dataclass(frozen=True)
class BaseTower:
    """The tower that a run's tower begins as.

    Args:
        fingerprint: of the features that it made.
        loaded: the tower itself, float32. Runs share the tensors that do not move.
    """

    fingerprint: Fingerprint
    loaded: LoadedTower


class TowerFusion(Fusion):
    """A fusion over the fields of a tower of which a part moves.

    The roles are what the tower begins with, ``pixels`` or what a block of it made, and those of
    the fusion within that are not the tower's. Tokens are standardised here, since they are made
    here; means and deviations are of the tower as training finds it, and stay.

    Args:
        inner: the fusion within.
        base: the tower.
        way: of tuning.
        settings: of the way.
        fields: the tower's field by role of the fusion within.
        shapes: of one row's inputs, what the tower begins with among them.
        standardize: whether tokens are standardised by channel.

    Attributes:
        inner: the fusion within.
        tower: normalised images to fields, with its own copy of what moves.
        told: what moves, in words.
        standardizations: by role.
        recomputes: whether its blocks are computed once more in the backward pass.

    Raises:
        InputError: the way or a setting of it is not usable, or the tower has nothing that it
            moves.
    """

    _scale: torch.Tensor
    _shift: torch.Tensor

    def __init__(
        self,
        inner: Fusion,
        base: BaseTower,
        way: str,
        settings: Mapping[str, Any],
        fields: Mapping[Role, str],
        shapes: Shapes,
        *,
        standardize: bool,
    ) -> None:
        others = (role for role in inner.roles if role not in fields)
        self._reads: tuple[Any, ...] = find_tuning(way).reads
        self.roles = (*self._reads, *others)  # type: ignore[misc, arg-type]  # each its own
        super().__init__(inner.settings, shapes)
        self.inner, self.width = inner, inner.width
        self._fields = {role: split_field(name)[0] for role, name in fields.items()}
        loaded = base.loaded
        tower, moving = tune(loaded.module, way, settings, self._fields.values())
        self.tower, self._trained, self.told = tower, moving.trained, moving.told
        self._after, self.recomputes = moving.after, False
        self.tower.keep_residuals_float()
        self.tower.fold_projections()
        tensors = (f"tower.{name}" for name in tower.state_dict())
        self.still = frozenset(tensors) - {f"tower.{name}" for name in moving.names}
        scale, shift = scale_and_shift(loaded.mean, loaded.std)
        self.register_buffer("_scale", scale, persistent=False)
        self.register_buffer("_shift", shift, persistent=False)
        self.standardizations = nn.ModuleDict(
            {
                role: Standardization(inner.shapes[role][INPUTS[role].channel_axis], axis)
                for role in fields
                if standardize and INPUTS[role].standardized
                for axis in [INPUTS[role].channel_axis]
            }
        )

    def train(self, mode: bool = True) -> TowerFusion:
        """The tower stays in evaluation mode, but for what its way of tuning trains."""
        super().train(mode)
        self.tower.eval()
        for name in self._trained:
            self.tower.get_submodule(name).train(mode)
        return self

    def rows_to_fit(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those that the fusion within takes."""
        return self.inner.rows_to_fit(labels)

    def fit(self, batches: Iterable[tuple[Inputs, torch.Tensor]]) -> None:
        """Fit the fusion within, to the tower as it now is."""
        self.inner.fit((self._read(inputs), labels) for inputs, labels in batches)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """The vectors of the fusion within, (B, D)."""
        found: torch.Tensor = self.inner(self._read(inputs))
        return found

    def attention(self, inputs: Inputs) -> torch.Tensor | None:
        """Where the fusion within looks."""
        return self.inner.attention(self._read(inputs))

    def raw(self, inputs: Inputs) -> dict[Role, torch.Tensor]:
        """What the tower makes of what it begins with, by role, float32."""
        if self._after is None:
            pixels = inputs["pixels"].permute(0, 3, 1, 2).float()
            read = self.tower(pixels * self._scale + self._shift)
        else:
            assert isinstance(self.tower, ClipTower)
            patches, cls = (inputs[role].float() for role in self._reads)
            read = self.tower.go_on(patches, cls, self._after)
        return {role: read[name].float() for role, name in self._fields.items()}

    def recompute(self) -> None:
        """Compute the tower's blocks once more in the backward pass instead of keeping what they
        computed: less memory for a third more time."""
        self.recomputes = True
        for block in self.tower.blocks:
            block.forward = _Recomputed(block)

    def _read(self, inputs: Inputs) -> Inputs:
        """The inputs of the fusion within."""
        found = {role: v for role, v in inputs.items() if role not in self._reads}
        for role, value in self.raw(inputs).items():
            standard = role in self.standardizations
            found[role] = self.standardizations[role](value) if standard else value
        return found


class _Recomputed:
    """The forward pass of a block whose inside is computed again where its gradient is asked for.

    Parameters are handed over as they are at the call: a step puts its own in their place, and is
    over before the gradient is computed.
    """

    def __init__(self, block: nn.Module) -> None:
        self._block = copy.copy(block)  # the same parameters and modules, with its own forward
        # What is hung onto a block belongs to what is computed again, once.
        block._forward_pre_hooks, block._forward_hooks = OrderedDict(), OrderedDict()

    def __call__(self, *given: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._block(*given, **named)
        own = dict(self._block.named_parameters())

        def run(*values: torch.Tensor) -> Any:
            return functional_call(self._block, dict(zip(own, values, strict=True)), given, named)

        return checkpoint(run, *own.values(), use_reentrant=False, preserve_rng_state=False)
