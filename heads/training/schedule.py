"""The learning rate as a pure function of how far training is, so that nothing has to be saved."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clare.heads.config import TrainConfig


def learning_rate(
    config: TrainConfig, epoch: int, done: float, figures: Sequence[float] = ()
) -> float:
    """The rate of one step.

    A cosine counts its epochs after the warm-up but has the whole training as its period, as
    PyTorch's schedulers chained by Dassl do (CoOp, CLaRE); so it ends above ``min_lr``.

    Args:
        config: schedule and warm-up.
        epoch: counted from 1.
        done: share of the epoch's steps that are done.
        figures: what ``select`` was after each epoch before, higher being better; a plateau
            depends on them.
    """
    into = done if config.schedule_by == "step" else 0.0
    if epoch <= config.warmup_epochs:
        if config.warmup == "constant":
            return config.warmup_lr
        share = (epoch - 1 + done) / config.warmup_epochs
        return config.warmup_lr + (config.lr - config.warmup_lr) * share
    if config.schedule == "plateau":
        return config.lr * config.plateau_factor ** _falls(config, figures)
    if config.schedule == "cosine":
        period = config.cycle or config.epochs
        along = (epoch - 1 - config.warmup_epochs + into) % period / period
        return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * along)) / 2
    return config.lr


def exhausted(config: TrainConfig, figures: Sequence[float]) -> bool:
    """Whether training ends here: no gain for too long, or a plateau's rate fell below its end."""
    if config.schedule == "plateau":
        rate = config.lr * config.plateau_factor ** _falls(config, figures)
        if rate < config.min_lr * (1 - 1e-9):
            return True
    return config.patience is not None and _waited(figures, config.min_gain) >= config.patience


def _falls(config: TrainConfig, figures: Sequence[float]) -> int:
    """How often a plateau has lowered the rate; each fall starts a new count.

    As torch's ReduceLROnPlateau has it, patience is how many epochs without a gain are borne: the
    one beyond lowers the rate; what counts as a gain is ``min_gain``, where torch has 1e-4 of the
    best so far. DeCLIP begins a new count with the next epoch's figure as the best.
    """
    falls, waited, best = 0, 0, -math.inf
    for figure in figures:
        gain = 2 * config.min_gain if falls and config.plateau_forgets else config.min_gain
        if figure > best + gain:
            best, waited = figure, 0
        else:
            waited += 1
        if waited > config.plateau_patience:
            falls, waited = falls + 1, 0
            best = -math.inf if config.plateau_forgets else best
    return falls


def _waited(figures: Sequence[float], min_gain: float) -> int:
    best, waited = -math.inf, 0
    for figure in figures:
        if figure > best + min_gain:
            best, waited = figure, 0
        else:
            waited += 1
    return waited
