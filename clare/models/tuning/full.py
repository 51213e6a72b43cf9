"""Everything in the tower moves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from torch.nn.modules.batchnorm import _BatchNorm

from clare.models.image_tower import Tower
from clare.models.tuned import Moving, Tuning
from clare.wording import counted


@dataclass(frozen=True)
class FullSettings:
    """Settings of `full`.

    Args:
        batchnorm: ``eval``: a ResNet's BatchNorms keep the statistics that they came with;
            ``train``: they take those of each batch, and their running means and variances move, as
            where LaRE² was trained.
    """

    batchnorm: Literal["eval", "train"] = "eval"


class FullTuning(Tuning):
    """Fine-tuning: all parameters of the image tower that what is read depends on."""

    Settings = FullSettings

    def begin(self, tower: Tower, fields: Collection[str]) -> Moving:
        """All parameters; BatchNorm's statistics where the setting says so."""
        names = tower.read_by(fields)
        read = {name.rpartition(".")[0] for name in names}
        norms = [n for n, one in tower.named_modules() if isinstance(one, _BatchNorm) and n in read]
        trained = norms if self.settings.batchnorm == "train" else []
        return Moving(
            tuple(names),
            tuple(f"{norm}.{name}" for norm in trained for name in _STATISTICS),
            tuple(trained),
            told="all that is read of the tower"
            + (
                f", {counted(len(norms), 'BatchNorm')} in {self.settings.batchnorm} mode"
                * bool(norms)
            ),
        )


_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
