"""Where the figures of a training go beside its own files: to TensorBoard, to Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from clare.errors import InputError
from clare.typed_json import to_json

if TYPE_CHECKING:
    from clare.heads.runs.record import Epoch, RunRecord

TITLES = {"tensorboard": "TensorBoard", "wandb": "Weights & Biases"}
"""By the name of a setting of `Machine`, which is that of the package and of the extra too."""


class Board(Protocol):
    """What shows a run's figures as it trains."""

    def add(self, history: Sequence[Epoch]) -> None:
        """Show the last epoch of a history."""

    def close(self) -> None:
        """Write what is still to be written."""


def require_boards(wanted: Mapping[str, object]) -> list[str]:
    """The boards that are asked for, before anything is loaded.

    Args:
        wanted: settings, of which those that are boards count where they are true.

    Raises:
        InputError: the package of one is not installed.
    """
    named = [name for name in TITLES if wanted.get(name)]
    for name in named:
        if find_spec(name) is None:
            raise InputError(
                f"{TITLES[name]} is not installed: pip install 'clare-features[{name}]'"
            )
    return named


def open_board(name: str, path: Path, record: RunRecord) -> Board:
    """A board for a run.

    Args:
        name: of `TITLES`.
        path: the run's folder, where its files go.
        record: what there is to know of the run.

    Raises:
        InputError: it can't begin, as where nobody is logged in.
    """
    return _TensorBoard(path) if name == "tensorboard" else _WeightsAndBiases(path, record)


class _TensorBoard:
    def __init__(self, path: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(path))

    def add(self, history: Sequence[Epoch]) -> None:
        last = history[-1]
        for name, value in last.items():
            self._writer.add_scalar(name, value, int(last["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """A run of theirs for each time that ours is begun or gone on with, with all its epochs.

    Nothing but the configuration and the figures is given: no code, no repository, no output.
    """

    def __init__(self, path: Path, record: RunRecord) -> None:
        import wandb

        silent = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False)
        try:
            self._run = wandb.init(
                project="clare",
                name=path.name,
                dir=str(path),
                config=to_json(record.config),
                reinit="create_new",
                settings=silent,
            )
        except wandb.Error as error:
            why = str(error).partition(". ")[0].rstrip(".")
            raise InputError(
                f"{TITLES['wandb']} can't begin ({why})",
                "log in with `wandb login`",
                "WANDB_MODE=offline in the environment keeps its files here",
            ) from error
        self._shown = 0

    def add(self, history: Sequence[Epoch]) -> None:
        for one in history[self._shown :]:
            self._run.log(one, step=int(one["epoch"]))
        self._shown = len(history)

    def close(self) -> None:
        self._run.finish()
