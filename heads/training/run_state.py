"""One run on its way: its history, its best epoch, whether it is complete."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clare.heads.runs.record import BEST, Epoch
from clare.heads.training.objectives import figures_of
from clare.heads.training.prepare import Prepared
from clare.heads.training.run_folder import Progress, RunFolder
from clare.heads.training.schedule import exhausted
from clare.heads.training.warm_start import take_channels


@dataclass
class RunState:
    """One run, from its preparation to its end.

    Args:
        run: its detector and rows.
        folder: where it is kept.
        progress: how far it is.
        failure: why it can't go on; None while it can.
    """

    run: Prepared
    folder: RunFolder
    progress: Progress
    failure: str | None = None

    @classmethod
    def open(cls, run: Prepared, folder: RunFolder) -> RunState:
        """A new run, or one that goes on from where its folder was left.

        Raises:
            InputError: what the folder keeps is damaged.
        """
        progress = folder.load() or Progress()
        if progress.epoch:
            # A tower that moves since is not the one that they were measured of.
            take_channels(run.detector, folder.path / BEST)
        return cls(run, folder, progress)

    @property
    def figures(self) -> list[float]:
        """What chooses the checkpoint after each epoch, higher being better."""
        select = self.run.config.select
        sign = -1 if select == "loss" else 1
        return [sign * record[f"val_{select}"] for record in self.progress.history]

    @property
    def parameters(self) -> int:
        """How many learn."""
        learning = self.run.detector.parameters_to_train(self.run.config.scope)
        return 0 if self.is_fitted else sum(value.numel() for value in learning.values())

    @property
    def is_fitted(self) -> bool:
        """Whether its classifier takes all training vectors at once, so that nothing is stepped."""
        return self.run.detector.is_fitted

    @property
    def complete(self) -> bool:
        """Whether no further epoch follows."""
        config = self.run.config
        done = self.progress.epoch >= (1 if self.is_fitted else config.epochs)
        return self.failure is not None or done or exhausted(config, self.figures)

    def add(self, record: Epoch, judged: NDArray, values: torch.Tensor) -> None:
        """Take an epoch's figures; what was judged (n, …) and the values are kept if the best.

        Args:
            record: of the epoch, to which its figures on validation are added.
            judged: of each row of validation, the margin first; see `Objective`.
            values: what `Learner.snapshot` gave.
        """
        if not (np.isfinite(judged[:, 0]).all() and math.isfinite(record.get("train_loss", 0.0))):
            self.failure = (
                f"{self.folder.path} failed in epoch {record['epoch']:.0f}: its loss or margins "
                "are no finite numbers; a lower learning rate may help"
            )
            self.folder.log(self.failure)
            return
        if (
            self.run.config.needs_masks("val")
            and not np.isfinite(judged[~self.run.apart, -1]).any()
        ):
            self.failure = (
                f"{self.folder.path} can't be chosen by validation: no mask of its fakes marks "
                "anything at 256 x 256"
            )
            self.folder.log(self.failure)
            return
        progress, before = self.progress, _rank(self.progress, self.figures)
        run = self.run
        choose = ~run.apart
        found = figures_of(run.detector, run.config, judged[choose], run.val.labels[choose])
        progress.history.append(record | found)
        # The control scores the last epoch: choosing the best one would find what is not there.
        if (
            self.run.config.shuffle_labels
            or _rank_of(progress.history[-1], self.figures[-1]) > before
        ):
            progress.best_epoch = int(record["epoch"])
            progress.best = values.detach().clone()
            progress.judged = judged
        self.folder.add_epoch(progress.history)


def _rank(progress: Progress, figures: Sequence[float]) -> tuple[float, float]:
    if not progress.best_epoch:
        return -math.inf, -math.inf
    place = progress.best_epoch - 1
    return _rank_of(progress.history[place], figures[place])


def _rank_of(record: Epoch, figure: float) -> tuple[float, float]:
    """Among equal figures, small sets often reach 1.0, the smaller loss is the better."""
    return figure, -record["val_loss"]
